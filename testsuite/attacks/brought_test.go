package attacks

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// quick lets an attacker do in seconds what he would otherwise do in an hour.
const quick = "limits: {stream_rate: 1000000000, stream_burst: 1000000000, peer_rate: 1000000000, peer_burst: 1000000000, room_message_rate: 1000}"

const kb = 1000

// brought has sessions given much: a session ends for not taking, never for that.
var brought = []ordeal{
	{name: "1,500 large subscription requests of a peer's users", memory: 128, peer: true, options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
		l := b.link(harness.Domain)
		for i := range 1500 {
			if err := l.Send(fmt.Sprintf("<presence type='subscribe' from='s%d@far.example' to='victim@localhost'><status>%s</status></presence>", i, strings.Repeat("x", 4*kb))); err != nil {
				break // turned away is right, too
			}
		}
		l.Send("<iq type='get' id='over' from='s@far.example' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
		friend := b.enter(innocentIP, "friend", "desk")
		defer friend.Close()
		if err := friend.Send("<presence type='subscribe' to='victim@localhost'/>"); err != nil {
			t.Fatal(err)
		}
		b.settled(friend)
		for _, managed := range []bool{false, true} {
			c := b.receives("victim", managed, func(el string) bool {
				return strings.HasPrefix(el, "<presence") && harness.Attr(el, "type") == "subscribe" && harness.Attr(el, "from") == "friend@localhost"
			})
			c.Close()
		}
	}},
	{name: "a large backlog of a contact", memory: 128, options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
		b.befriend("mallory", "victim")
		for _, managed := range []bool{false, true} {
			m := b.enter(attackerIP, "mallory", "lair")
			for i := range 36 {
				if err := m.Send(fmt.Sprintf("<message id='b%d' type='chat' to='victim@localhost'><body>%s</body></message>", i, strings.Repeat("x", 240*kb))); err != nil {
					t.Fatal(err)
				}
			}
			m.Send("<message id='last' type='chat' to='victim@localhost'><body>last</body></message>")
			b.settled(m)
			m.Close()
			c := b.receives("victim", managed, func(el string) bool { return strings.Contains(el, "<body>last</body>") })
			c.Close()
		}
	}},
	{name: "a large backlog of a stranger at a peer", memory: 128, peer: true, options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
		l := b.link(harness.Domain)
		for i := range 18 {
			if err := l.Send(fmt.Sprintf("<message id='b%d' type='chat' from='x@far.example' to='victim@localhost'><body>%s</body></message>", i, strings.Repeat("x", 500*kb))); err != nil {
				t.Fatal(err)
			}
		}
		friend := b.enter(innocentIP, "friend", "desk")
		defer friend.Close()
		if err := friend.Send("<message type='chat' to='victim@localhost'><body>from a friend</body></message>"); err != nil {
			t.Fatal(err)
		}
		b.settled(friend)
		c := b.receives("victim", true, func(el string) bool { return strings.Contains(el, "<body>from a friend</body>") })
		c.Close()
	}},
	{name: "the history of rooms", memory: 160, options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
		m := b.enter(attackerIP, "mallory", "lair")
		defer m.Close()
		const rooms = 3
		for r := range rooms {
			b.open(m, fmt.Sprintf("r%d@rooms.localhost", r))
			for i := range 20 {
				if err := m.Send(fmt.Sprintf("<message id='r%d-%d' type='groupchat' to='r%d@rooms.localhost'><body>%s</body></message>", r, i, r, strings.Repeat("x", 240*kb))); err != nil {
					t.Fatal(err)
				}
			}
			b.settled(m)
		}
		for _, managed := range []bool{false, true} {
			in := 0
			c := b.receives("victim", managed, func(el string) bool {
				if strings.HasPrefix(el, "<message") && strings.Contains(el, "<subject") {
					in++
				}
				return in == rooms
			}, func(c *harness.Client) {
				for r := range rooms { // as clients enter their bookmarks: without a pause
					c.Send(fmt.Sprintf("<presence to='r%d@rooms.localhost/victim'><x xmlns='http://jabber.org/protocol/muc'/></presence>", r))
				}
			})
			var talk []string // and then there is talk
			for i := range 20 {
				talk = append(talk, fmt.Sprintf("<message id='t%d' type='groupchat' to='r0@rooms.localhost'><body>%s</body></message>", i, strings.Repeat("y", 240*kb)))
			}
			said := make(chan string, 1)
			go func() {
				said <- flood(m, append(talk, "<message id='over' type='groupchat' to='r0@rooms.localhost'><body>over</body></message>")...)
			}()
			c.until(func(el string) bool { return strings.Contains(el, "<body>over</body>") })
			if ended := <-said; ended != "" {
				t.Fatalf("who talks has lost the stream: %s", ended)
			}
			c.Close()
		}
	}},
	{name: "fifty requests for a large roster at once", memory: 200, options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
		m := b.enter(attackerIP, "mallory", "lair")
		b.roster(m, 700)
		get := "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>"
		if err := m.Send(strings.Repeat(get, 50)); err != nil {
			t.Fatal(err)
		}
		<-time.After(3 * time.Second) // it does not read
		m.Conn.Close()
		var all []*harness.Client
		for i := range 8 {
			c := b.enter(attackerIP, "mallory", fmt.Sprintf("lair%d", i))
			if err := c.Send(get); err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
		<-time.After(2 * time.Second)
		for _, c := range all {
			c.Conn.Close()
		}
	}},
	{name: "a phone that drops out while it catches up", memory: 96, options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
		b.befriend("mallory", "victim")
		m := b.enter(attackerIP, "mallory", "lair")
		defer m.Close()
		for i := range 30 {
			if err := m.Send(fmt.Sprintf("<message id='b%d' type='chat' to='victim@localhost'><body>%s</body></message>", i, strings.Repeat("x", 100*kb))); err != nil {
				t.Fatal(err)
			}
		}
		b.settled(m)
		phone, err := harness.ConnectFrom(innocentIP, b.C2STLS, "victim", "phone")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := phone.Enable(); err != nil {
			t.Fatal(err)
		}
		phone.Send("<presence/>")
		if _, err := phone.Until(func(el string) bool { return strings.HasPrefix(el, "<message") }); err != nil {
			t.Fatal(err)
		}
		phone.Conn.Close()
		desk := b.enter(innocentIP, "victim", "desk")
		defer desk.Close()
		if err := m.Send("<message type='chat' to='victim@localhost'><body>now</body></message>"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := desk.Until(func(el string) bool { return strings.Contains(el, "<body>now</body>") }); err != nil {
			t.Fatalf("the other device gets nothing: %v", err)
		}
		if took := time.Since(began); took > patience {
			t.Errorf("the other device has waited for %v", took)
		}
	}},
}

// settled returns when all that the client has sent has been handled.
func (b *battle) settled(c *harness.Client) {
	b.t.Helper()
	if ended := flood(c); ended != "" {
		b.t.Fatalf("the stream has ended: %s", ended)
	}
}

// befriend makes two users contacts.
func (b *battle) befriend(one, other string) {
	b.t.Helper()
	for _, pair := range [][2]string{{one, other}, {other, one}} {
		c := b.enter(innocentIP, pair[0], "setup")
		if err := c.Send("<presence type='subscribe' to='" + pair[1] + "@localhost'/><presence type='subscribed' to='" + pair[1] + "@localhost'/>"); err != nil {
			b.t.Fatal(err)
		}
		b.settled(c)
		c.Close()
	}
}

// open makes a room that is open to all.
func (b *battle) open(c *harness.Client, room string) {
	b.t.Helper()
	form := "<iq type='set' id='cfg-" + room + "' to='" + room + "'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>"
	if el, err := c.Ask("cfg-"+room, "<presence to='"+room+"/m'><x xmlns='http://jabber.org/protocol/muc'/></presence>"+form); err != nil || harness.Attr(el, "type") != "result" {
		b.t.Fatalf("open %s: %s, %v", room, el, err)
	}
}

// roster gives the client's account n contacts that take 10 kB each.
func (b *battle) roster(c *harness.Client, n int) {
	b.t.Helper()
	var groups strings.Builder
	for g := range 20 {
		fmt.Fprintf(&groups, "<group>%d%s</group>", g, strings.Repeat("g", 500))
	}
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("<iq type='set' id='s%d'><query xmlns='jabber:iq:roster'><item jid='c%d@localhost'>%s</item></query></iq>", i, i, groups.String()))
	}
	if ended := flood(c, all...); ended != "" {
		b.t.Fatalf("the stream has ended: %s", ended)
	}
}

// A taker is a client that takes what it gets, and acknowledges it as clients do.
type taker struct {
	*harness.Client
	b       *battle
	managed bool
	stanzas int
}

// receives logs in, does what comes first, and takes what comes until the wanted stanza has come. The session must live
// on.
func (b *battle) receives(user string, managed bool, wanted func(el string) bool,
	first ...func(c *harness.Client)) *taker {
	b.t.Helper()
	c, err := harness.ConnectFrom(innocentIP, b.C2STLS, user, fmt.Sprintf("home-%v", managed))
	if err != nil {
		b.t.Fatal(err)
	}
	k := &taker{Client: c, b: b, managed: managed}
	if managed {
		if _, err := c.Enable(); err != nil {
			b.t.Fatal(err)
		}
	}
	c.Send("<presence/>")
	for _, f := range first {
		f(c)
	}
	k.until(wanted)
	c.Send("<iq type='get' id='lives' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
	k.until(func(el string) bool { return strings.HasPrefix(el, "<iq") && harness.Attr(el, "id") == "lives" })
	return k
}

// until takes what comes until the wanted stanza has come.
func (k *taker) until(wanted func(el string) bool) {
	k.b.t.Helper()
	for over := false; !over; {
		el, err := k.Next()
		if err != nil {
			k.b.t.Fatalf("managed=%v: after %d stanzas: %v", k.managed, k.stanzas, err)
		}
		switch {
		case strings.HasPrefix(el, "<stream:error"):
			k.b.t.Fatalf("managed=%v: after %d stanzas: %s", k.managed, k.stanzas, el)
		case strings.HasPrefix(el, "<r "):
			k.acknowledge()
			continue
		case strings.HasPrefix(el, "<a "):
			continue
		}
		k.stanzas++
		over = wanted(el)
	}
	if k.managed {
		k.acknowledge()
	}
}

func (k *taker) acknowledge() { k.Send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", k.stanzas)) }
