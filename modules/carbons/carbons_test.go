package carbons

import (
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	enable  = `<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>`
	disable = `<iq type='set' id='c'><disable xmlns='urn:xmpp:carbons:2'/></iq>`
	hi      = `<message to='juliet@example.org' type='chat' id='1'><body>hi</body></message>`
)

type scene struct {
	*testing.T
	r *router.Router
}

func newScene(t *testing.T) *scene {
	c := &scene{t, moduletest.New("romeo", "juliet")}
	c.r.Use(New(c.r))
	return c
}

// login brings an available client, with carbons if its resource starts with c.
func (c *scene) login(address string, priority int8) *moduletest.Client {
	j := moduletest.Login(c.T, c.r, address)
	j.Available(priority)
	if strings.Contains(address, "/c") {
		j.Send(enable)
		j.Received()
	}
	return j
}

func received(user, to, message string) string {
	return `<message type='chat' from='` + user + `' to='` + to + `'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>` +
		message + `</forwarded></received></message>`
}

func sent(user, to, message string) string {
	return strings.ReplaceAll(received(user, to, message), "received", "sent")
}

func TestOtherClientsSeeWhatOneSends(t *testing.T) {
	c := newScene(t)
	a, b, plain, juliet := c.login("romeo/a", 0), c.login("romeo/c1", 0), c.login("romeo/b", 0), c.login("juliet/j", 0)
	a.Send(hi)
	b.Want(sent("romeo@example.org", "romeo@example.org/c1",
		`<message xmlns='jabber:client' type='chat' id='1' from='romeo@example.org/a' to='juliet@example.org'><body>hi</body></message>`))
	a.Want()
	plain.Want()
	juliet.Want(`<message type='chat' id='1' from='romeo@example.org/a' to='juliet@example.org'><body>hi</body></message>`)
	b.Send(hi) // its own copy it need not see
	b.Want()
}

func TestOtherClientsSeeWhatOneIsGiven(t *testing.T) {
	c := newScene(t)
	romeo := c.login("romeo/a", 0)
	first, second, negative, plain := c.login("juliet/c1", 5), c.login("juliet/c2", 1), c.login("juliet/c3", -1), c.login("juliet/b", 1)
	romeo.Send(hi)
	got := `<message xmlns='jabber:client' type='chat' id='1' from='romeo@example.org/a' to='juliet@example.org'><body>hi</body></message>`
	first.Want(got)
	second.Want(received("juliet@example.org", "juliet@example.org/c2", got))
	negative.Want(received("juliet@example.org", "juliet@example.org/c3", got))
	plain.Want()
}

func TestFullAddressIsCopiedToTheOthers(t *testing.T) {
	c := newScene(t)
	romeo, one, two := c.login("romeo/a", 0), c.login("juliet/c1", 0), c.login("juliet/c2", 0)
	romeo.Send(strings.Replace(hi, "juliet@example.org", "juliet@example.org/c1", 1))
	got := `<message xmlns='jabber:client' type='chat' id='1' from='romeo@example.org/a' to='juliet@example.org/c1'><body>hi</body></message>`
	one.Want(got)
	two.Want(received("juliet@example.org", "juliet@example.org/c2", got))
}

func TestClientThatTakesNothingSeesWhatIsStored(t *testing.T) {
	c := newScene(t)
	romeo, juliet := c.login("romeo/a", 0), c.login("juliet/c1", -1)
	romeo.Send(hi)
	if got := juliet.Received(); len(got) != 1 || !strings.Contains(got[0], "<received ") {
		t.Errorf("got %s", got)
	}
}

func TestCopiesAreNeverStored(t *testing.T) {
	c := newScene(t)
	romeo, _, other := c.login("romeo/a", 0), c.login("juliet/b", 0), c.login("juliet/c1", -1)
	romeo.Send(hi)
	for _, d := range other.Deliveries() {
		if !d.Copy {
			t.Error("a copy would find another way")
		}
	}
}

func TestNoteToOneselfIsCopiedOnce(t *testing.T) {
	c := newScene(t)
	a, b, other := c.login("romeo/c1", 0), c.login("romeo/c2", 5), c.login("romeo/c3", 0)
	a.Send(`<message to='romeo@example.org' type='chat'><body>note</body></message>`)
	got := `<message xmlns='jabber:client' type='chat' from='romeo@example.org/c1' to='romeo@example.org'><body>note</body></message>`
	b.Want(got)
	other.Want(received("romeo@example.org", "romeo@example.org/c3", got))
	a.Want()
}

func TestRulesOfEligibility(t *testing.T) {
	const x = `<x xmlns='http://jabber.org/protocol/muc#user'/>`
	for _, test := range []struct {
		name, xml      string
		sent, received bool
	}{
		{"chat", `<message type='chat' to='a@b'/>`, true, true},
		{"normal with a body", `<message to='a@b'><body>x</body></message>`, true, true},
		{"normal without", `<message to='a@b'><subject>x</subject></message>`, false, false},
		{"headline", `<message to='a@b' type='headline'><body>x</body></message>`, false, false},
		{"groupchat", `<message to='a@b' type='groupchat'><body>x</body></message>`, false, false},
		{"error", `<message to='a@b' type='error'><body>x</body></message>`, false, false},
		{"receipt", `<message to='a@b'><received xmlns='urn:xmpp:receipts' id='1'/></message>`, true, true},
		{"state", `<message to='a@b'><active xmlns='http://jabber.org/protocol/chatstates'/></message>`, true, true},
		{"marker", `<message to='a@b'><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/></message>`, true, true},
		{"direct invitation", `<message to='a@b'><x xmlns='jabber:x:conference' jid='r@c'/></message>`, true, true},
		{"mediated invitation", `<message to='a@b'><x xmlns='http://jabber.org/protocol/muc#user'><invite from='c@d'/></x></message>`, true, true},
		{"private message of a room", `<message to='a@b/c' type='chat'><body>x</body>` + x + `</message>`, true, false},
		{"private", `<message to='a@b' type='chat'><body>x</body><private xmlns='urn:xmpp:carbons:2'/></message>`, false, false},
		{"no-copy to a full address", `<message to='a@b/c' type='chat'><no-copy xmlns='urn:xmpp:hints'/></message>`, false, false},
		{"no-copy to a bare address", `<message to='a@b' type='chat'><no-copy xmlns='urn:xmpp:hints'/></message>`, true, true},
		{"a copy", `<message to='a@b' type='chat'><sent xmlns='urn:xmpp:carbons:2'/></message>`, false, false},
	} {
		s := moduletest.Parse(t, test.xml)
		if got := eligible(s, true); got != test.sent {
			t.Errorf("%s, sent: %v", test.name, got)
		}
		if got := eligible(s, false); got != test.received {
			t.Errorf("%s, received: %v", test.name, got)
		}
	}
}

func TestPrivateStaysInTheMessage(t *testing.T) {
	c := newScene(t)
	romeo, juliet := c.login("romeo/a", 0), c.login("juliet/j", 0)
	romeo.Send(`<message to='juliet@example.org'><private xmlns='urn:xmpp:carbons:2'/></message>`)
	juliet.Want(`<message from='romeo@example.org/a' to='juliet@example.org'><private xmlns='urn:xmpp:carbons:2'/></message>`)
}

func TestEnablingAndDisablingMayBeRepeated(t *testing.T) {
	c := newScene(t)
	a, j := c.login("romeo/a", 0), c.login("juliet/j", 0)
	for _, turn := range []struct {
		xml string
		on  bool
	}{{enable, true}, {enable, true}, {disable, false}, {disable, false}, {enable, true}} {
		a.Send(turn.xml)
		a.Want(`<iq type='result' id='c' from='romeo@example.org' to='romeo@example.org/a'/>`)
		if a.Is(router.FlagCarbons) != turn.on {
			t.Errorf("after %s: %v", turn.xml, !turn.on)
		}
	}
	if e := j.Send(`<iq type='set' id='c' to='romeo@example.org'><disable xmlns='urn:xmpp:carbons:2'/></iq>`); e.Err == nil || e.Err.Condition != xmpp.CondNotAllowed {
		t.Errorf("somebody else's: %v, %v", e.Outcome, e.Err)
	}
	if e := a.Send(`<iq type='get' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>`); e.Err == nil || e.Err.Condition != xmpp.CondBadRequest {
		t.Errorf("get: %v, %v", e.Outcome, e.Err)
	}
}

func TestUserWithOneSessionCostsNothing(t *testing.T) {
	c := newScene(t)
	romeo, juliet := c.login("romeo/c1", 0), c.login("juliet/c1", 0)
	m := &module{c.r}
	s := moduletest.Parse(t, hi)
	e := &router.Envelope{Stanza: s, Session: romeo.Session}
	to := []*router.Session{juliet.Session}
	if n := testing.AllocsPerRun(100, func() { m.leaving(e); m.delivering(e, to) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// XEP-0386 §4.2
func TestCarbonsAreEnabledWithTheBinding(t *testing.T) {
	c := newScene(t)
	a, b, juliet := c.login("romeo/a", 0), c.login("romeo/b", 0), c.login("juliet/j", 0)
	if got := c.r.InlineFeatures(); len(got) != 1 || got[0] != xmpp.NSCarbons {
		t.Errorf("announced: %q", got)
	}
	request, err := xmpp.ParseElement([]byte("<enable xmlns='urn:xmpp:carbons:2'/>"))
	if err != nil {
		t.Fatal(err)
	}
	session := c.r.Session(jid.MustParse("romeo@example.org/b"))
	if got := c.r.BindInline(session, []*xmpp.Element{request}); len(got) != 0 {
		t.Errorf("answered with %s", got)
	}
	a.Send(hi)
	b.Want(sent("romeo@example.org", "romeo@example.org/b",
		`<message xmlns='jabber:client' type='chat' id='1' from='romeo@example.org/a' to='juliet@example.org'><body>hi</body></message>`))
	juliet.Received()
}
