package privilege

import (
	"strings"
	"testing"
	"testing/synctest"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// nodes are two: here, where the gateway and ben are at home, and far, where ann is.
func nodes(t *testing.T, f func(here, far *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		here, far := newHouse(t, everything), newHouse(t, everything)
		moduletest.Link(moduletest.HomeOf("ann@example.org", "zoe@example.org"), here.Router, far.Router)
		f(here, far)
	})
}

func TestWhatAComponentDoesForAUserIsDoneAtTheUsersHome(t *testing.T) {
	nodes(t, func(here, far *house) {
		here.own = func(e *router.Envelope) { t.Error("it was asked where the user is not at home") }
		far.own = func(e *router.Envelope) { far.Answer(e, []byte("<a xmlns='own'/>")) }
		here.want(here.brings(rosterGet), `<iq type='result' id='1' from='ann@example.org' to='irc.example.org'>`+
			`<query xmlns='jabber:iq:roster'><item jid='ann@example.org'/></query></iq>`)
		here.brings(strings.Replace(rosterSet, "x@irc.example.org'", "x@irc.example.org' subscription='both'", 1))
		if len(far.friends) != 1 || here.friends != nil {
			t.Errorf("befriended there %q and here %q", far.friends, here.friends)
		}
		here.want(here.brings(strings.Replace(says, "FROM", "ann@example.org", 1)),
			`<message from='ann@example.org' to='x@irc.example.org' type='chat'><body>hi</body></message>`)
		if len(far.left) != 1 || !strings.HasPrefix(far.left[0], "ann@example.org says ") || here.left != nil {
			t.Errorf("it went as %q there and %q here", far.left, here.left)
		}
		here.want(here.brings(asks("set", "set", "ann@example.org", "<q xmlns='own'/>")),
			`<iq type='result' id='o' from='ann@example.org' to='irc.example.org'><privilege xmlns='urn:xmpp:privilege:2'>`+
				`<forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='result' id='i' from='ann@example.org' `+
				`to='ann@example.org'><a xmlns='own'/></iq></forwarded></privilege></iq>`)
		// Another client, who answers the user.
		ben := moduletest.Login(t, here.Router, "ben/b")
		here.brings(strings.Replace(asks("get", "get", "", "<q xmlns='own'/>"), "id='i'", "id='i' to='ben@example.org/b'", 1))
		asked := ben.Deliveries()
		if len(asked) != 1 || asked[0].Stanza.From.String() != "ann@example.org" {
			t.Fatalf("ben got %v", asked)
		}
		ben.Send(`<iq type='result' to='ann@example.org' id='` + asked[0].Stanza.ID + `'><b xmlns='own'/></iq>`)
		synctest.Wait()
		if got := here.take(); len(got) != 1 || !strings.Contains(got[0], "<b xmlns='own'/>") {
			t.Errorf("answered with %q", got)
		}
		for _, xml := range []string{
			strings.Replace(asks("get", "get", "", "<q xmlns='own'/>"), "ann@", "zoe@", 1),
			strings.Replace(says, "FROM", "zoe@example.org", 1),
		} {
			if got := here.brings(xml); len(got) != 1 || !strings.Contains(got[0], "<forbidden") {
				t.Errorf("for nobody: %q", got)
			}
		}
		if len(here.p.asked) != 0 || len(far.p.asked) != 0 {
			t.Errorf("still waiting: %v, %v", here.p.asked, far.p.asked)
		}
	})
}

func TestARequestForAUserWhoMovesIsAnswered(t *testing.T) {
	nodes(t, func(here, far *house) {
		moduletest.Login(t, here.Router, "ben/b")
		here.brings(strings.Replace(asks("get", "get", "", "<q xmlns='own'/>"), "id='i'", "id='i' to='ben@example.org/b'", 1))
		if err := far.Release(t.Context(), func(owner string) bool { return owner == "ann@example.org" }, "", ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := here.take(); len(got) != 1 || !strings.Contains(got[0], "<remote-server-timeout") {
			t.Errorf("answered with %q", got)
		}
	})
}

func TestEachNodeTellsAComponentWhoIsThere(t *testing.T) {
	nodes(t, func(here, far *house) {
		moduletest.Login(t, far.Router, "ann/a").Available(0)
		here.p.Connected(gateway)
		if got := here.take(); len(got) != 1 || !strings.Contains(got[0], "<privilege") {
			t.Errorf("told by its own node: %q", got)
		}
		far.p.Present(gateway)
		here.want(here.take(), `<presence from='ann@example.org/a' to='irc.example.org'/>`)
		far.p.Reloaded() // it is connected elsewhere
		if got := here.take(); got != nil {
			t.Errorf("told by another node, too: %q", got)
		}
		here.p.Reloaded()
		if got := here.take(); len(got) != 1 {
			t.Errorf("told of its privileges: %q", got)
		}
		far.v.Presence = false
		if far.p.Present(gateway); far.p.Watches(gateway) || here.take() != nil {
			t.Error("it is told what it may not know")
		}
	})
}

// The home of the user looks at the privilege, too: its configuration may be newer.
func TestAComponentWithoutAPrivilegeHasNoneAtAnotherHome(t *testing.T) {
	nodes(t, func(here, far *house) {
		far.v.Message = false
		if got := here.brings(strings.Replace(says, "FROM", "ann@example.org", 1)); len(got) != 1 ||
			!strings.Contains(got[0], "<forbidden") || far.left != nil {
			t.Errorf("answered with %q; sent %q", got, far.left)
		}
		s := moduletest.Parse(t, rosterGet)
		s.From = jid.MustParse(gateway)
		e := &router.Envelope{Stanza: s, Account: jid.MustParse("mallory@example.org"), Quiet: true} // forged, over HTTP
		if here.Route(e); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondForbidden {
			t.Errorf("%v, %v", e.Outcome, e.Err)
		}
	})
}
