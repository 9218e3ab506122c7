package attacks

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// TestAStrangersServerKeepsNobodyElseOut: one peer fills what strangers may fill for a user who is away. A friend
// elsewhere gets through, and the user sees it at the next login.
func TestAStrangersServerKeepsNobodyElseOut(t *testing.T) {
	t.Parallel()
	const evil, friendly, victim = "evil.example", "friendly.example", "victim@localhost"
	authority := peers.NewAuthority(t)
	o := fakepeer.Options{Domains: []string{evil, friendly}}.Certified(t, authority, peers.None)
	peer := fakepeer.Start(t, o)
	own := authority.Issue(harness.Domain, peers.None)
	s := harness.Start(t, harness.Options{Env: authority.Env(), Users: []string{"victim"},
		Federate: true, Cert: own.Cert, Key: own.Key, S2S: fmt.Sprintf("resolve: {%q: %q, %q: %q}", evil, peer.Addr, friendly, peer.Addr)})
	peer.Locate(harness.Domain, s.S2S)
	// say sends stanzas from a domain, and returns how many of them have come back when all have been dealt with.
	say := func(domain, stanzas string) (refused int) {
		t.Helper()
		link, err := peer.Connect(domain, harness.Domain, fakepeer.Way{})
		if err != nil {
			t.Fatal(err)
		}
		err = link.Send(stanzas + "<iq type='get' id='end' from='x@" + domain + "/x' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
		if err != nil {
			t.Fatal(err)
		}
		got, err := peer.Until(func(s fakepeer.Stanza) bool {
			return s.Attr("id") == "end" && strings.HasPrefix(s.To, "x@"+domain)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range got {
			if s.Attr("type") == "error" {
				refused++
			}
		}
		return refused
	}
	var flood strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&flood, "<presence type='subscribe' from='u%d@%s' to='%s'/>", i, evil, victim)
	}
	for i := range 1000 {
		fmt.Fprintf(&flood, "<message type='chat' id='m%d' from='u%d@%s/x' to='%s'><body>%s</body></message>", i, i, evil, victim, "buy")
	}
	if say(evil, flood.String()) == 0 {
		t.Error("nothing of the flood came back")
	}
	if n := say(friendly, "<presence type='subscribe' from='friend@"+friendly+"' to='"+victim+"'/>"+
		"<message type='chat' from='friend@"+friendly+"/x' to='"+victim+"'><body>hello</body></message>"); n != 0 {
		t.Errorf("%d stanzas of a friend came back", n)
	}
	c, err := harness.Connect(s.C2STLS, "victim", "den")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Conn.Close()
	if err := c.Send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	asked, written := false, false
	if _, err := c.Until(func(el string) bool {
		friend := strings.Contains(el, "friend@"+friendly)
		asked = asked || friend && harness.Attr(el, "type") == "subscribe"
		written = written || friend && strings.Contains(el, "<body>hello</body>")
		return asked && written
	}); err != nil {
		t.Errorf("%v: the request of the friend came: %v, the message: %v", err, asked, written)
	}
}
