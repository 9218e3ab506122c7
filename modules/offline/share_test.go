package offline

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestAStrangersDomainLeavesRoomForOthersAndContacts(t *testing.T) {
	for name, o := range map[string]Options{"messages": {MaxMessages: 40}, "bytes": {MaxBytes: 40 * 1000}} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t, o)
			body := strings.Repeat("x", 900)
			send := func(from string) bool {
				e := &router.Envelope{Quiet: true, Stanza: moduletest.Parse(t,
					`<message type='chat' from='`+from+`' to='juliet@example.org'><body>`+body+`</body></message>`)}
				c.r.Route(e)
				if e.Outcome == router.Refused && (e.Err.Condition != xmpp.CondResourceConstraint || e.Err.Type != xmpp.ErrorWait) {
					t.Fatalf("%s: %v", from, e.Err)
				}
				return e.Outcome == router.Stored
			}
			flood := func(format string) (n int) {
				for i := range 60 {
					if send(fmt.Sprintf(format, i)) {
						n++
					}
				}
				return n
			}
			if n := flood("x%d@evil.example/x"); n != 10 {
				t.Errorf("%d messages of one domain wait", n)
			}
			if n := flood("x@%d.evil.example/x"); n != 0 {
				t.Errorf("%d more of its subdomains", n)
			}
			if !send("someone@example.net/x") || !send("rosaline@example.org/x") {
				t.Error("other strangers do not get through")
			}
			c.known["friend@evil.example"] = true
			if !send("friend@evil.example/x") {
				t.Error("a contact of that domain does not get through")
			}
			for i := range 40 {
				flood("x%d@evil" + strconv.Itoa(i) + ".example/x")
			}
			n := 0
			for c.romeo.Send(message(body)).Outcome == router.Stored {
				n++
			}
			if n < 3 {
				t.Errorf("strangers have left room for %d messages of contacts", n)
			}
		})
	}
}

func TestNothingMoreWaitsWhenTheDiskIsFull(t *testing.T) {
	full := false
	c := newScene(t, Options{})
	c.m.limits = func() Options { return Options{Full: full} }
	j := c.juliet("b")
	j.Available(0)
	c.romeo.Send(message("given"))
	full = true
	j.Logout() // without having taken it
	c.wantStored(1)
	if e := c.romeo.Send(hi); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondResourceConstraint ||
		e.Err.Type != xmpp.ErrorWait {
		t.Errorf("%v, %v", e.Outcome, e.Err)
	}
	full = false
	c.romeo.Send(hi)
	c.wantStored(2)
}

func TestProgramsThatSpeakForOthersAndTheHouseAreNoStrangers(t *testing.T) {
	c := newScene(t, Options{MaxMessages: 8})
	for i := range 8 {
		from, account := "ticket@trac", jid.MustParse("romeo@example.org")
		if i%2 == 0 {
			from, account = "example.org", jid.JID{}
		}
		e := &router.Envelope{Quiet: true, Account: account, Stanza: moduletest.Parse(t,
			`<message type='chat' from='`+from+`' to='juliet@example.org'><body>x</body></message>`)}
		if c.r.Route(e); e.Outcome != router.Stored {
			t.Fatalf("message %d: %v, %v", i, e.Outcome, e.Err)
		}
	}
}
