package kill

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

const room = "stop@rooms.localhost"

// A server that is told to stop acknowledges nothing that it neither keeps, nor delivers, nor bounces: to a room, to a
// user who is away, to a component.
func TestAStopKeepsOrBouncesWhatItAcknowledges(t *testing.T) {
	addr := harness.FreeAddr()
	s := harness.Start(t, harness.Options{Users: []string{"talker", "sleeper"}, Listen: fmt.Sprintf("component: [%q]", addr),
		Config: "limits: {room_message_rate: 1000000}\nmodules: {offline: {max_messages: 1000000}}\ncomponent: {secrets: {bot.localhost: s3cret}}"})
	for round := range rounds(6) {
		bot := attach(t, addr)
		talker := &talker{round: round, errors: map[string]bool{}}
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			talker.talk(t, s.C2STLS)
		}()
		talker.awaitAcknowledged(t, 50+37*round%200)
		if code := s.Stop(); code != 0 {
			t.Fatalf("the server exits with %d", code)
		}
		<-stopped
		<-bot.gone
		s.Launch()
		kept := talker.kept(t, s.C2STLS)
		for _, id := range talker.sent[:talker.acknowledged] {
			if !kept[id] && !bot.got[id] && !talker.errors[id] {
				t.Errorf("round %d: %s was acknowledged (%d of %d) and is lost", round, id, talker.acknowledged, len(talker.sent))
			}
		}
	}
}

// A talker is a client with stream management that writes as fast as it can.
type talker struct {
	round  int
	errors map[string]bool // ids of messages that came back

	mu           sync.Mutex // guards the rest while talking
	sent         []string   // ids, in order
	acknowledged int        // of them
}

func (k *talker) awaitAcknowledged(t *testing.T, n int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(harness.Timeout); time.Now().Before(end); <-tick.C {
		k.mu.Lock()
		acknowledged := k.acknowledged
		k.mu.Unlock()
		if acknowledged >= n {
			return
		}
	}
	t.Fatal("nothing is acknowledged")
}

// talk writes until the server ends the stream, and reads to its end.
func (k *talker) talk(t *testing.T, addr string) {
	c, err := harness.Connect(addr, "talker", "mouth")
	if err != nil {
		t.Error(err)
		return
	}
	var writing sync.WaitGroup
	defer writing.Wait()
	defer c.Conn.Close()
	if k.round == 0 {
		enterRoom(t, c)
	} else if _, err := c.Ask("j", "<presence to='"+room+"/talker'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence><iq id='j' type='get' to='"+room+"/talker'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
		t.Error(err)
		return
	}
	if _, err := c.Enable(); err != nil {
		t.Error(err)
		return
	}
	writing.Go(func() {
		for i := 0; ; i++ {
			to, typ := [...]string{room, "sleeper@localhost", "echo@bot.localhost"}[i%3], [...]string{"groupchat", "chat", "chat"}[i%3]
			id := fmt.Sprintf("x%d-%d", k.round, i)
			k.mu.Lock()
			k.sent = append(k.sent, id)
			k.mu.Unlock()
			if c.Send(fmt.Sprintf("<message id='%s' type='%s' to='%s'><body>%s</body></message><r xmlns='urn:xmpp:sm:3'/>", id, typ, to, id)) != nil {
				return
			}
		}
	})
	for {
		el, err := c.Next()
		if err != nil {
			return
		}
		switch {
		case strings.HasPrefix(el, "<a "):
			h, err := strconv.Atoi(harness.Attr(el, "h"))
			if err != nil {
				t.Error(err)
			}
			k.mu.Lock()
			k.acknowledged = h
			k.mu.Unlock()
		case strings.HasPrefix(el, "<message") && harness.Attr(el, "type") == "error":
			k.errors[harness.Attr(el, "id")] = true
		}
	}
}

func enterRoom(t *testing.T, c *harness.Client) {
	t.Helper()
	form := "<iq type='set' id='cfg' to='" + room + "'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>" +
		"<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>" +
		"<field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query></iq>"
	if el, err := c.Ask("cfg", "<presence to='"+room+"/talker'><x xmlns='http://jabber.org/protocol/muc'/></presence>"+form); err != nil || harness.Attr(el, "type") != "result" {
		t.Fatalf("open a room: %s, %v", el, err)
	}
}

var bodies = regexp.MustCompile(`<body>(x\d+-\d+)</body>`)

// kept are the messages in the archive of the room and those that wait for the user who is away.
func (k *talker) kept(t *testing.T, addr string) map[string]bool {
	t.Helper()
	kept := map[string]bool{}
	c, err := harness.Connect(addr, "talker", "eyes")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	note := func(el string) {
		for _, m := range bodies.FindAllStringSubmatch(el, -1) {
			kept[m[1]] = true
		}
	}
	// Of the archive, what is new: pages from the end, until one holds the first message of this round.
	for before, page := "<before/>", 0; ; page++ {
		id := fmt.Sprintf("q%d", page)
		if err := c.Send("<iq type='set' id='" + id + "' to='" + room + "'><query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'>" +
			"<max>100</max>" + before + "</set></query></iq>"); err != nil {
			t.Fatal(err)
		}
		fin, err := c.Until(func(el string) bool {
			note(el)
			return strings.HasPrefix(el, "<iq") && harness.Attr(el, "id") == id
		})
		if err != nil {
			t.Fatal(err)
		}
		_, first, more := strings.Cut(fin, "<first")
		_, first, _ = strings.Cut(first, ">")
		first, _, _ = strings.Cut(first, "<")
		if !more || strings.Contains(fin, "complete='true'") || kept[fmt.Sprintf("x%d-0", k.round)] {
			break
		}
		before = "<before>" + first + "</before>"
	}
	z, err := harness.Connect(addr, "sleeper", "bed")
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if err := z.Send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	marker := fmt.Sprintf("marker-%d", k.round)
	if err := c.Send("<message to='sleeper@localhost' type='chat'><body>" + marker + "</body></message>"); err != nil {
		t.Fatal(err)
	}
	if _, err := z.Until(func(el string) bool { note(el); return strings.Contains(el, marker) }); err != nil {
		t.Fatal(err)
	}
	return kept
}

// A bot is a component (XEP-0114) that remembers what it is sent.
type bot struct {
	got  map[string]bool // ids; to be read when gone is closed
	gone chan struct{}
}

func attach(t *testing.T, addr string) *bot {
	t.Helper()
	c, err := harness.Attach("", addr, "bot.localhost", "s3cret")
	if err != nil {
		t.Fatal(err)
	}
	b := &bot{got: map[string]bool{}, gone: make(chan struct{})}
	go func() {
		defer close(b.gone)
		defer c.Conn.Close()
		for {
			el, err := c.Next()
			if m := bodies.FindStringSubmatch(el); m != nil {
				b.got[m[1]] = true
			}
			if errors.Is(err, harness.ErrStreamEnd) {
				return
			}
			if err != nil {
				t.Errorf("the component's stream: %v", err)
				return
			}
		}
	}()
	return b
}
