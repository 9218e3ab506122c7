package attacks

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
)

const declared = 200_000 // bytes of a namespace

var (
	uri  = "urn:" + strings.Repeat("u", declared)
	many = strings.Repeat("<a:x/>", 4000)
	// grown is, in a stanza, what would be 800 MB if each child declared what it uses.
	grown = " xmlns:a='" + uri + "'><body>x</body>" + many
)

// amplified are stanzas that would have the server write far more than it reads, which is bounded.
var amplified = []ordeal{
	{name: "a namespace that each child of a message needs", memory: 96, run: func(t *testing.T, b *battle) {
		b.four(func(c *harness.Client) {
			b.refused(flood(c, "<message to='victim@localhost/r'"+grown+"</message>"))
		})
	}},
	{name: "a namespace in a message to a room", memory: 96, run: func(t *testing.T, b *battle) {
		b.hall()
		b.four(func(c *harness.Client) {
			b.refused(flood(c, "<presence to='"+hall+"/mallory'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
				"<message type='groupchat' to='"+hall+"'"+grown+"</message>"))
		})
		b.joins()
	}},
	{name: "a namespace in a message of a peer to a room", memory: 96, peer: true, run: func(t *testing.T, b *battle) {
		b.hall()
		for range 4 {
			l := b.link("rooms.localhost")
			l.Send("<presence from='x@far.example/x' to='" + hall + "/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>" +
				"<message type='groupchat' from='x@far.example/x' to='" + hall + "'" + grown + "</message>")
			b.gone(l)
		}
		b.joins()
	}},
	{name: "a namespace in a message of a component", memory: 96, program: true, run: func(t *testing.T, b *battle) {
		for range 4 {
			c := b.attach()
			b.refused(flood(c, "<message from='x@bot.localhost' to='victim@localhost'"+grown+"</message>"))
		}
	}},
	{name: "a namespace in a message of a component that uses the namespace of clients", memory: 96, program: true, run: func(t *testing.T, b *battle) {
		for range 4 {
			c := b.attach()
			b.refused(flood(c, "<message xmlns='jabber:client' from='x@bot.localhost' to='victim@localhost'"+grown+"</message>"))
		}
	}},
	{name: "a namespace in a message of a component to a room", memory: 96, program: true, run: func(t *testing.T, b *battle) {
		b.hall()
		for range 4 {
			c := b.attach()
			b.refused(flood(c, "<presence from='x@bot.localhost/x' to='"+hall+"/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
				"<message type='groupchat' from='x@bot.localhost/x' to='"+hall+"'"+grown+"</message>"))
		}
		b.joins()
	}},
	{name: "a namespace in the answer of a component", memory: 96, program: true, run: func(t *testing.T, b *battle) {
		for i := range 4 {
			c, v := b.attach(), b.enter(innocentIP, "victim", fmt.Sprintf("desk%d", i))
			if err := v.Send("<iq type='get' id='asked' to='bot.localhost'><query xmlns='urn:q'/></iq>"); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Until(func(el string) bool { return strings.HasPrefix(el, "<iq") }); err != nil {
				t.Fatal(err)
			}
			// An error may have any number of children.
			b.refused(flood(c, "<iq type='error' id='asked' from='bot.localhost' to='"+v.JID+"'"+grown+
				"<error type='cancel'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"))
			v.Close()
		}
	}},
	{name: "a namespace of the stream that each stanza needs", memory: 96, run: func(t *testing.T, b *battle) {
		for range 4 {
			c, err := harness.LoginFrom(attackerIP, b.C2STLS, "mallory", " xmlns:a='"+uri+"'")
			if err != nil { // refused is right, too
				continue
			}
			if err := c.Bind("lair"); err == nil {
				stanza := "<message to='victim@localhost/r'><body>x</body>" + many + "</message>"
				flood(c, stanza, stanza, stanza)
			}
			c.Conn.Close()
		}
	}},
	{name: "a namespace in private XML", memory: 96, run: func(t *testing.T, b *battle) {
		b.four(func(c *harness.Client) {
			flood(c, "<iq type='set' id='1'><query xmlns='jabber:iq:private'><p xmlns='urn:p' xmlns:a='"+uri+"'>"+many+"</p></query></iq>",
				"<iq type='get' id='2'><query xmlns='jabber:iq:private'><p xmlns='urn:p'/></query></iq>")
		})
	}},
	{name: "a namespace in an item of an event", memory: 96, run: func(t *testing.T, b *battle) {
		b.four(func(c *harness.Client) {
			flood(c, "<iq type='set' id='1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:p'><item id='1'><p xmlns='urn:p' xmlns:a='"+
				uri[:60_000]+"'>"+many+"</p></item></publish></pubsub></iq>",
				"<iq type='get' id='2'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:p'/></pubsub></iq>")
		})
	}},
	{name: "a namespace in a message over HTTP", memory: 96, run: func(t *testing.T, b *battle) {
		for range 4 {
			body := "<message to='victim@localhost'" + grown + "</message>"
			req, err := http.NewRequest("POST", "http://"+b.HTTP+"/message", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", basic("mallory@localhost"))
			req.Header.Set("Content-Type", "application/xml")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("the answer is %s", resp.Status)
			}
		}
	}},
	{name: "a namespace in a message of a peer", memory: 96, peer: true, run: func(t *testing.T, b *battle) {
		for range 4 {
			l := b.link(harness.Domain)
			l.Send("<message from='x@far.example' to='victim@localhost'" + grown + "</message>")
			b.gone(l)
		}
	}},
	{name: "one piece of private XML named 4,000 times", memory: 96, run: func(t *testing.T, b *battle) {
		b.four(func(c *harness.Client) {
			flood(c, "<iq type='set' id='1'><query xmlns='jabber:iq:private'><p xmlns='urn:p'>"+strings.Repeat("x", declared)+"</p></query></iq>",
				"<iq type='get' id='2'><query xmlns='jabber:iq:private'>"+strings.Repeat("<p xmlns='urn:p'/>", 4000)+"</query></iq>")
		})
	}},
}

// four attacks from as many sessions, one after the other.
func (b *battle) four(attack func(c *harness.Client)) {
	for i := range 4 {
		c := b.enter(attackerIP, "mallory", fmt.Sprintf("lair%d", i))
		attack(c)
		c.Close()
	}
}

// refused expects a stream to have ended because of what was too much.
func (b *battle) refused(ended string) {
	b.t.Helper()
	if !strings.Contains(ended, "policy-violation") {
		b.t.Errorf("the stream has ended with %.200q", ended)
	}
}

// gone waits for the end of a peer's stream.
func (b *battle) gone(l *fakepeer.Link) {
	for {
		if _, err := l.Next(); err != nil {
			return
		}
	}
}

// attach connects as the component, from elsewhere.
func (b *battle) attach() *harness.Client {
	b.t.Helper()
	c, err := harness.Attach(attackerIP, b.components, bot, secret)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// hall is a room.
const hall = "hall@rooms.localhost"

// hall opens the room for all, with two occupants who read what comes.
func (b *battle) hall() {
	b.t.Helper()
	friend := b.enter(innocentIP, "friend", "desk")
	b.open(friend, hall)
	victim := b.enter(innocentIP, "victim", "desk")
	b.enters(victim)
	for _, c := range []*harness.Client{friend, victim} {
		b.t.Cleanup(c.Close)
		go io.Copy(io.Discard, c.Conn) // to the end of the connection
	}
}

// enters has a client join the room, and returns when it has the room's history.
func (b *battle) enters(c *harness.Client) {
	b.t.Helper()
	if err := c.Send("<presence to='" + hall + "/" + c.JID[strings.Index(c.JID, "/")+1:] + "'><x xmlns='http://jabber.org/protocol/muc'/></presence>"); err != nil {
		b.t.Fatal(err)
	}
	subject := func(el string) bool { return strings.HasPrefix(el, "<message") && strings.Contains(el, "<subject") }
	if _, err := c.Until(subject); err != nil {
		b.t.Fatalf("%s does not get into the room: %v", c.JID, err)
	}
}

// joins has somebody come to the room afterwards: what is kept of it is no burden either.
func (b *battle) joins() {
	b.t.Helper()
	c := b.enter(innocentIP, "victim", "new")
	defer c.Close()
	b.enters(c)
}

// link is a stream of the peer that nobody reads but the caller.
func (b *battle) link(to string) *fakepeer.Link {
	b.t.Helper()
	l, err := b.peer.Open(far, to, fakepeer.Way{From: strangerIP, Addr: b.S2S})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := l.External(); err != nil {
		b.t.Fatal(err)
	}
	return l
}
