package attacks

import (
	"bufio"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// A taker is a client that counts what it is given and acknowledges it when it is asked.
type taker struct {
	*testing.T
	*harness.Client
	managed bool
	got     int // stanzas
}

func newTaker(t *testing.T, s *harness.Server, user string, managed bool) *taker {
	t.Helper()
	c, err := harness.Connect(s.C2STLS, user, "den")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	k := &taker{T: t, Client: c, managed: managed}
	if managed {
		if _, err := c.Enable(); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func (k *taker) say(xml string) {
	k.Helper()
	if err := k.Send(xml); err != nil {
		k.Fatalf("the session has ended: %v", err)
	}
}

// until takes stanzas, and returns the first for which f holds.
func (k *taker) until(f func(el string) bool) string {
	k.Helper()
	for {
		el, err := k.Next()
		switch {
		case err != nil:
			k.Fatalf("the session has ended after %d stanzas: %v %.300s", k.got, err, el)
		case strings.HasPrefix(el, "<r "):
			k.say("<a xmlns='urn:xmpp:sm:3' h='" + strconv.Itoa(k.got) + "'/>")
			continue
		case strings.HasPrefix(el, "<a "):
			continue
		}
		k.got++
		if f(el) {
			return el
		}
	}
}

// served says that the session is there and is answered.
func (k *taker) served() {
	k.Helper()
	k.say("<iq type='get' id='served' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
	k.until(func(el string) bool { return harness.Attr(el, "id") == "served" })
}

func both(t *testing.T, f func(t *testing.T, managed bool)) {
	for _, managed := range []bool{false, true} {
		t.Run(fmt.Sprintf("managed=%t", managed), func(t *testing.T) { f(t, managed) })
	}
}

// component logs a program in that may speak for every address of its domain.
func component(t *testing.T, addr, domain, secret string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='%s'>", domain)
	r := bufio.NewReader(c)
	var head string
	id := regexp.MustCompile(`\sid=['"]([^'"]+)`)
	for id.FindStringSubmatch(head) == nil {
		part, err := r.ReadString('>')
		if err != nil {
			t.Fatal(err)
		}
		head += part
	}
	sum := sha1.Sum([]byte(id.FindStringSubmatch(head)[1] + secret))
	fmt.Fprintf(c, "<handshake>%s</handshake>", hex.EncodeToString(sum[:]))
	if got, err := r.ReadString('>'); err != nil || !strings.HasPrefix(got, "<handshake") {
		t.Fatalf("got %q, %v", got, err)
	}
	go r.WriteTo(nowhere{}) // errors that come back
	return c
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

func TestManySubscriptionRequestsKeepNobodyOut(t *testing.T) {
	addr := harness.FreeAddr()
	s := harness.Start(t, harness.Options{Users: []string{"victim"}, Fast: true, Listen: fmt.Sprintf("component: [%q]", addr),
		Config: "component:\n  secrets: {flood.localhost: s3cret}"})
	c := component(t, addr, "flood.localhost", "s3cret")
	status := strings.Repeat("x", 4<<10-200)
	const n = 2000
	for i := range n {
		if _, err := fmt.Fprintf(c, "<presence type='subscribe' id='s%d' from='u%d@flood.localhost' to='victim@localhost'><status>%s</status></presence>", i, i, status); err != nil {
			t.Fatal(err)
		}
	}
	// What it asks last is answered when all of it has been handled.
	fmt.Fprint(c, "<message from='last@flood.localhost' to='victim@localhost' type='chat'><body>last</body></message>")
	first := newTaker(t, s, "victim", false)
	first.say("<presence><priority>1</priority></presence>")
	first.until(func(el string) bool { return strings.Contains(el, ">last<") })
	first.served()
	both(t, func(t *testing.T, managed bool) {
		k := newTaker(t, s, "victim", managed)
		k.say("<presence/>")
		seen := 0
		k.until(func(el string) bool {
			if strings.Contains(el, "type='subscribe'") {
				seen++
			}
			return strings.HasPrefix(el, "<presence") && strings.Contains(el, "den'")
		})
		for seen < 100 { // how many one domain may leave is for others to bound
			k.until(func(el string) bool { return strings.Contains(el, "type='subscribe'") })
			seen++
		}
		k.served()
	})
}

func TestLargeOfflineMessagesKeepNobodyOut(t *testing.T) {
	both(t, func(t *testing.T, managed bool) {
		s := harness.Start(t, harness.Options{Users: []string{"victim", "mallory"}, Fast: true})
		// Somebody the victim knows: what strangers may leave is bounded anyhow.
		v := newTaker(t, s, "victim", false)
		v.say("<iq type='set' id='add'><query xmlns='jabber:iq:roster'><item jid='mallory@localhost'/></query></iq>")
		v.until(func(el string) bool { return harness.Attr(el, "id") == "add" })
		v.say("</stream:stream>")
		v.NextWithin(time.Second)
		m := newTaker(t, s, "mallory", false)
		const n = 36
		body := strings.Repeat("x", 240<<10)
		for i := range n {
			m.say(fmt.Sprintf("<message to='victim@localhost' type='chat' id='m%d'><body>%s</body></message>", i, body))
		}
		m.served()
		k := newTaker(t, s, "victim", managed)
		k.say("<presence/>")
		for i := range n {
			el := k.until(func(el string) bool { return strings.HasPrefix(el, "<message") })
			if id := harness.Attr(el, "id"); id != fmt.Sprintf("m%d", i) {
				t.Fatalf("%s came as number %d", id, i)
			}
		}
		k.served()
	})
}

func TestLargeRoomHistoryAndTalkThrowNobodyOut(t *testing.T) {
	s := harness.Start(t, harness.Options{Users: []string{"victim", "mallory"}, Fast: true})
	const room = "den@rooms.localhost"
	m := newTaker(t, s, "mallory", false)
	m.say("<presence to='" + room + "/mallory'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	m.say("<iq type='set' id='open' to='" + room + "'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>")
	m.until(func(el string) bool { return harness.Attr(el, "id") == "open" })
	body := strings.Repeat("x", 240<<10)
	talk := func(from, to int) {
		for i := from; i < to; i++ {
			m.say(fmt.Sprintf("<message to='%s' type='groupchat' id='m%d'><body>%s</body></message>", room, i, body))
			m.until(func(el string) bool { return strings.Contains(el, fmt.Sprintf("id='m%d'", i)) })
		}
	}
	talk(0, 20)
	next := 20
	both(t, func(t *testing.T, managed bool) {
		k := newTaker(t, s, "victim", managed)
		k.say("<presence to='" + room + "/victim'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
		talk(next, next+5) // nobody has read anything of the history yet
		next += 5
		last := -1
		for last < next-1 {
			el := k.until(func(el string) bool { return strings.HasPrefix(el, "<message") && strings.Contains(el, "<body") })
			i, err := strconv.Atoi(strings.TrimPrefix(harness.Attr(el, "id"), "m"))
			if err != nil || last >= 0 && i != last+1 {
				t.Fatalf("%.200s came after number %d", el, last)
			}
			last = i
		}
		k.served()
	})
}

// memory is the peak and the present resident size of a process in bytes.
func memory(t *testing.T, pid int) (peak, now int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	read := func(key string) int {
		_, after, _ := strings.Cut(string(b), key+":")
		n, err := strconv.Atoi(strings.Fields(after)[0])
		if err != nil {
			t.Fatal(err)
		}
		return n << 10
	}
	return read("VmHWM"), read("VmRSS")
}

func TestPipelinedRequestsForALargeRosterTakeLittleMemory(t *testing.T) {
	s := harness.Start(t, harness.Options{Users: []string{"mallory", "witness"}, Fast: true})
	m := newTaker(t, s, "mallory", false)
	const items = 400
	group := strings.Repeat("g", 990)
	for i := range items {
		var groups strings.Builder
		for g := range 10 {
			fmt.Fprintf(&groups, "<group>%d%s</group>", g, group)
		}
		m.say(fmt.Sprintf("<iq type='set' id='r%d'><query xmlns='jabber:iq:roster'><item jid='u%d@far.example'>%s</item></query></iq>", i, i, &groups))
		if i%50 == 49 {
			m.until(func(el string) bool { return harness.Attr(el, "id") == fmt.Sprintf("r%d", i) })
		}
	}
	_, before := memory(t, s.PID())
	m.say(strings.Repeat("<iq type='get' id='all'><query xmlns='jabber:iq:roster'/></iq>", 50))
	witness := newTaker(t, s, "witness", false)
	began := time.Now()
	witness.served()
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("others wait for %s", d)
	}
	// The client reads none of it; what is not answered yet waits for it.
	deadline := time.Now().Add(3 * time.Second)
	for time.Now().Before(deadline) {
		witness.served()
	}
	if peak, _ := memory(t, s.PID()); peak-before > 96<<20 {
		t.Errorf("%d MiB more than before", (peak-before)>>20)
	}
}
