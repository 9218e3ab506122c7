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
)

// What one stanza makes the server write is bounded by what it reads.
var amplified = []ordeal{
	{name: "a namespace that each child of a message needs", memory: 96, run: func(t *testing.T, b *battle) {
		b.four(func(c *harness.Client) {
			flood(c, "<message to='victim@localhost/r' xmlns:a='"+uri+"'><body>x</body>"+many+"</message>")
		})
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
			body := "<message to='victim@localhost' xmlns:a='" + uri + "'><body>x</body>" + many + "</message>"
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
			l := b.link()
			l.Send("<message from='x@far.example' to='victim@localhost' xmlns:a='" + uri + "'><body>x</body>" + many + "</message>")
			for {
				if _, err := l.Next(); err != nil {
					break
				}
			}
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

// link is a stream of the peer that nobody reads but the caller.
func (b *battle) link() *fakepeer.Link {
	b.t.Helper()
	l, err := b.peer.Open(far, harness.Domain, fakepeer.Way{From: strangerIP})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := l.External(); err != nil {
		b.t.Fatal(err)
	}
	return l
}
