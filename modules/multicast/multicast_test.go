package multicast

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const service = "multicast.example.org"

// house has romeo, who may multicast, juliet and nurse, who may not, and a remote for all domains but denied.example.
type house struct {
	*router.Router
	t                    *testing.T
	remote               *moduletest.Remote
	romeo, juliet, nurse *moduletest.Client
	most                 int
	broken               error
	left                 int // stanzas that the leaving stage saw
	blocked              jid.JID
}

func newHouse(t *testing.T, more ...router.Module) *house {
	h := &house{t: t, Router: moduletest.New("romeo", "juliet", "nurse"), most: 100,
		remote: &moduletest.Remote{Denied: map[string]bool{"denied.example": true}}}
	m := New(Options{Router: h.Router, Domains: func() []string { return []string{service} },
		May:           func(user jid.JID) (bool, error) { return user.Local() == "romeo", h.broken },
		MaxRecipients: func() int { return h.most },
		Blocks:        func(_, other jid.JID) bool { return other == h.blocked },
		Log:           moduletest.Discard()})
	count := func(*router.Envelope) { h.left++ }
	h.Use(append([]router.Module{m, {Name: "count", Leaving: router.Stage{Message: count, Presence: count}}}, more...)...)
	h.SetRemote(h.remote)
	h.romeo, h.juliet, h.nurse = h.login("romeo/a"), h.login("juliet/b"), h.login("nurse/c")
	return h
}

func (h *house) login(address string) *moduletest.Client {
	c := moduletest.Login(h.t, h.Router, address)
	c.Available(0)
	return c
}

// refused sends a stanza of romeo's and expects this error and nothing else to come of it.
func (h *house) refused(xml string, condition xmpp.Condition, text string) {
	h.t.Helper()
	h.refusedTo(h.romeo, xml, condition, text)
}

func (h *house) refusedTo(c *moduletest.Client, xml string, condition xmpp.Condition, text string) {
	h.t.Helper()
	e := c.Send(xml)
	if e.Err == nil || e.Err.Condition != condition || !strings.Contains(e.Err.Text, text) {
		h.t.Errorf("%s\nfared as %v %v, want %s with %q", xml, e.Outcome, e.Err, condition, text)
	}
	if got := c.Deliveries(); len(got) != 1 || got[0].Stanza.Type != xmpp.TypeError {
		h.t.Errorf("%s\nthe sender got %d stanzas", xml, len(got))
	}
	for _, other := range []*moduletest.Client{h.romeo, h.juliet, h.nurse} {
		other.Want()
	}
	if sent := h.remote.Sent(); len(sent) != 0 {
		h.t.Errorf("%s\nsent %s", xml, sent)
	}
}

func full(addresses string) string {
	return `<message to='` + service + `' id='1'><addresses xmlns='http://jabber.org/protocol/address'>` + addresses + `</addresses><body>hi</body></message>`
}

func seen(to, addresses string) string {
	return `<message from='romeo@example.org/a' to='` + to + `' id='1'><body>hi</body><addresses xmlns='http://jabber.org/protocol/address'>` + addresses + `</addresses></message>`
}

func (h *house) wantSent(want ...string) {
	h.t.Helper()
	got := h.remote.Sent()
	if len(got) != len(want) {
		h.t.Fatalf("sent %d stanzas, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range want {
		moduletest.Same(h.t, got[i], want[i])
	}
}

func TestToAndCcAreShownAndBccIsHidden(t *testing.T) {
	h := newHouse(t)
	e := h.romeo.Send(full(`<address type='to' jid='Juliet@example.org' desc='J'/><address type='bcc' jid='nurse@example.org/c' desc='N'/>` +
		`<address type='cc' jid='paris@b.example' node='n'/><address type='bcc' jid='tybalt@b.example'/>` +
		`<address type='replyto' jid='romeo@example.org'/><address type='replyroom' jid='room@rooms.example.org'/><address type='noreply'/>` +
		`<address type='ofrom' jid='ceo@example.org'/>`))
	if e.Outcome != router.Delivered {
		t.Errorf("outcome %v %v", e.Outcome, e.Err)
	}
	const all = `<address type='to' jid='Juliet@example.org' desc='J' delivered='true'/><address type='cc' jid='paris@b.example' node='n' delivered='true'/>` +
		`<address type='replyto' jid='romeo@example.org'/><address type='replyroom' jid='room@rooms.example.org'/><address type='noreply'/>`
	h.juliet.Want(seen("juliet@example.org", all))
	h.nurse.Want(seen("nurse@example.org/c", all+`<address type='bcc' jid='nurse@example.org/c' desc='N'/>`))
	h.wantSent(seen("paris@b.example", all), seen("tybalt@b.example", all+`<address type='bcc' jid='tybalt@b.example'/>`))
	h.romeo.Want()
	if h.left != 1 {
		t.Errorf("the leaving stage saw %d stanzas: that of the client and not the copies", h.left)
	}
}

func TestWithoutTheNamespaceNobodySeesAnAddress(t *testing.T) {
	h := newHouse(t)
	for _, to := range []string{service, "multicast"} {
		h.romeo.Send(`<message to='` + to + `' type='chat'><addresses><address jid='juliet@example.org'/><address type='to' jid='paris@b.example'/>` +
			`<address type='cc' jid='JULIET@example.org'/></addresses><body>hi</body></message>`)
		h.juliet.Want(`<message from='romeo@example.org/a' to='juliet@example.org' type='chat'><body>hi</body></message>`)
		h.wantSent(`<message from='romeo@example.org/a' to='paris@b.example' type='chat'><body>hi</body></message>`)
		h.romeo.Want()
	}
}

func TestTheIndexOfACopyIsThatOfItsPayload(t *testing.T) {
	var got []string
	h := newHouse(t, router.Module{Name: "look", Arriving: router.Stage{Message: func(e *router.Envelope) {
		if want := xmpp.Index(e.Stanza.Payload); !slices.Equal(want, e.Stanza.Children) {
			t.Errorf("index %v, want %v", e.Stanza.Children, want)
		}
		got = append(got, string(e.Stanza.ChildBytes(xmpp.Name{Space: xmpp.NSAddress, Local: "addresses"})))
	}}})
	h.romeo.Send(full(`<address type='bcc' jid='juliet@example.org' desc='a longer one &lt;&amp;'/><address type='bcc' jid='nurse@example.org'/><address type='to' jid='romeo@example.org'/>`))
	if len(got) != 3 || !strings.Contains(got[0], "longer") || strings.Contains(got[1], "longer") || strings.Contains(got[2], "bcc") {
		t.Errorf("copies have %q", got)
	}
}

func TestWhoIsNamedAgainGetsOneCopy(t *testing.T) {
	h := newHouse(t)
	h.romeo.Send(full(`<address type='bcc' jid='juliet@example.org'/><address type='to' jid='Juliet@Example.org'/><address type='bcc' jid='juliet@example.org'/>`))
	h.juliet.Want(seen("juliet@example.org", `<address type='to' jid='Juliet@Example.org' delivered='true'/>`))
}

func TestWhatIsDeliveredAlreadyIsNotDeliveredAgain(t *testing.T) {
	h := newHouse(t)
	h.romeo.Send(full(`<address type='to' jid='juliet@example.org' delivered='true'/><address type='to' jid='nurse@example.org'/><address type='bcc' jid='paris@b.example' delivered='true'/>`))
	h.juliet.Want()
	h.nurse.Want(seen("nurse@example.org", `<address type='to' jid='juliet@example.org' delivered='true'/><address type='to' jid='nurse@example.org' delivered='true'/>`))
	h.wantSent()
	h.refused(full(`<address type='to' jid='juliet@example.org' delivered='true'/>`), xmpp.CondBadRequest, "nobody")
}

func TestMistakesInTheListAreNamedAndNothingIsSent(t *testing.T) {
	h := newHouse(t)
	const juliet = `<address type='to' jid='juliet@example.org'/>`
	for _, row := range []struct {
		list string
		cond xmpp.Condition
		text string
	}{
		{``, xmpp.CondBadRequest, "nobody"},
		{`<address type='replyto' jid='juliet@example.org'/>`, xmpp.CondBadRequest, "nobody"},
		{juliet + `<address jid='nurse@example.org'/>`, xmpp.CondBadRequest, "address 2 is of no type"},
		{juliet + `<address type='x' jid='nurse@example.org'/>`, xmpp.CondBadRequest, "address 2 is of no type"},
		{juliet + `<address type='to'/>`, xmpp.CondBadRequest, "address 2 has no jid"},
		{juliet + `<address type='to' desc='Nurse'/>`, xmpp.CondBadRequest, "address 2 has no jid"},
		{juliet + `<address type='cc' jid='a@b' uri='sip:a@b'/>`, xmpp.CondBadRequest, "both jid and uri"},
		{juliet + `<address type='cc' node='a' uri='sip:a@b'/>`, xmpp.CondBadRequest, "both uri and node"},
		{juliet + `<address type='cc' jid='a@b.example' delivered='no'/>`, xmpp.CondBadRequest, "delivered"},
		{juliet + `<address type='cc' jid='@'/>`, xmpp.CondJIDMalformed, `address 2, "@"`},
		{juliet + `<address type='replyto' jid='@'/>`, xmpp.CondJIDMalformed, `address 2, "@"`},
		{juliet + `<address type='cc' uri='sip:a@b'/>`, xmpp.CondJIDMalformed, `sip:a@b`},
		{juliet + `</addresses><addresses xmlns='http://jabber.org/protocol/address'>` + juliet, xmpp.CondBadRequest, "more than one"},
		{juliet + `<address type='bcc' jid='x@denied.example'/>`, xmpp.CondForbidden, `"x@denied.example" (not-allowed)`},
		{juliet + `<address type='bcc' jid='` + service + `'/>`, xmpp.CondForbidden, "no recipient"},
		{juliet + `<address type='bcc' jid='multicast'/>`, xmpp.CondForbidden, "no recipient"},
	} {
		h.refused(full(row.list), row.cond, row.text)
	}
	h.refused(`<message to='multicast'><body>hi</body></message>`, xmpp.CondBadRequest, "requires addresses")
	h.refused(`<message to='multicast'><addresses><address jid='juliet@example.org' type='replyto'/></addresses></message>`, xmpp.CondBadRequest, "not one to deliver to")
	h.refused(`<message to='multicast'><addresses><address jid='@'/></addresses></message>`, xmpp.CondJIDMalformed, `"@"`)
	h.refused(`<message to='x@`+service+`'><addresses><address jid='juliet@example.org'/></addresses></message>`, xmpp.CondServiceUnavailable, "")
	h.blocked = jid.MustParse("juliet@example.org")
	h.refused(full(juliet), xmpp.CondForbidden, "blocked by you")
}

func TestRepliesElsewhereAndWhatIsNotUnderstoodPass(t *testing.T) {
	h := newHouse(t)
	h.romeo.Send(full(`<address type='to' jid='juliet@example.org'><x xmlns='urn:x'/></address><address type='replyto' uri='sip:a@b'/><y xmlns='urn:y'/>`))
	h.juliet.Want(seen("juliet@example.org", `<address type='to' jid='juliet@example.org' delivered='true'><x xmlns='urn:x'/></address><address type='replyto' uri='sip:a@b'/>`))
}

func TestRecipientsAreBounded(t *testing.T) {
	h := newHouse(t)
	h.most = 2
	const three = `<address type='to' jid='juliet@example.org'/><address type='cc' jid='nurse@example.org'/><address type='to' jid='juliet@example.org'/><address type='bcc' jid='a@b.example'/>`
	h.refused(full(three), xmpp.CondNotAcceptable, `"a@b.example"`)
	h.refused(`<message to='multicast'><addresses>`+three+`</addresses></message>`, xmpp.CondNotAcceptable, `"a@b.example"`)
	h.most = 3
	if e := h.romeo.Send(full(three)); e.Outcome != router.Delivered {
		t.Errorf("%v %v", e.Outcome, e.Err)
	}
}

func TestOnlySessionsWithThePermissionMayMulticast(t *testing.T) {
	h := newHouse(t)
	list := full(`<address type='to' jid='juliet@example.org'/>`)
	h.refusedTo(h.nurse, list, xmpp.CondForbidden, "permission")
	h.refusedTo(h.nurse, strings.Replace(strings.Replace(list, "message", "presence", 2), "<body>hi</body>", "", 1), xmpp.CondForbidden, "permission")
	for _, peer := range []string{"b.example", ""} { // a peer, and a component
		s := moduletest.Parse(t, list)
		s.From = jid.MustParse("romeo@b.example/x")
		e := &router.Envelope{Stanza: s, Peer: peer, Quiet: true}
		if h.Route(e); e.Err == nil || e.Err.Condition != xmpp.CondForbidden {
			t.Errorf("from %q: %v %v", peer, e.Outcome, e.Err)
		}
	}
	h.juliet.Want()
	h.broken = errors.New("storage is away")
	h.refused(list, xmpp.CondResourceConstraint, "try again")
}

func TestARefusedCopyComesBackToItsSenderAlone(t *testing.T) {
	h := newHouse(t)
	h.romeo.Send(full(`<address type='to' jid='nobody@example.org'/><address type='to' jid='juliet@example.org'/>`))
	got := h.romeo.Deliveries()
	if len(got) != 1 || got[0].Stanza.Type != xmpp.TypeError || got[0].Stanza.From.String() != "nobody@example.org" || got[0].Stanza.ID != "1" {
		t.Errorf("romeo got %v", got)
	}
	if len(h.juliet.Received()) != 1 {
		t.Error("juliet went without")
	}
	if e := h.romeo.Send(strings.Replace(full(`<address type='to' jid='juliet@example.org'/>`), "<message", "<message type='error'", 1)); e.Outcome != router.Dropped {
		t.Errorf("an error fared as %v", e.Outcome)
	}
	h.juliet.Want()
}

func TestCopiesInheritWhatTheSenderWasPromised(t *testing.T) {
	var got []string
	h := newHouse(t, router.Module{Name: "look", Arriving: router.Stage{Message: func(e *router.Envelope) {
		got = append(got, fmt.Sprint(e.Stanza.To, " ", e.Durable, " ", e.Account, " ", e.Session.Addr(), " ",
			strings.ReplaceAll(e.Dedup, "\n", " ")))
	}}})
	h.romeo.SendDurable(`<message to='multicast'><origin-id xmlns='urn:xmpp:sid:0' id='o1'/><addresses><address jid='juliet@example.org/b'/><address jid='nurse@example.org'/></addresses></message>`)
	want := []string{
		"juliet@example.org/b true romeo@example.org romeo@example.org/a " + router.OriginKey(h.romeo.Addr(), "o1") + " b",
		"nurse@example.org true romeo@example.org romeo@example.org/a ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("copies have\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTheServiceSaysWhatItIs(t *testing.T) {
	h := newHouse(t)
	ask := func(payload string) string {
		return `<iq type='get' id='1' to='` + service + `'>` + payload + `</iq>`
	}
	result := func(payload string) string {
		return `<iq type='result' id='1' from='` + service + `' to='nurse@example.org/c'>` + payload + `</iq>`
	}
	const info = `<query xmlns='http://jabber.org/protocol/disco#info'><identity category='service' type='multicast' name='Multicast'/><feature var='http://jabber.org/protocol/address'/>` +
		`<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/><feature var='urn:xmpp:ping'/></query>`
	h.nurse.Send(ask(`<query xmlns='http://jabber.org/protocol/disco#info'/>`))
	h.nurse.Want(result(info))
	h.nurse.Send(ask(`<query xmlns='http://jabber.org/protocol/disco#items'/>`))
	h.nurse.Want(result(`<query xmlns='http://jabber.org/protocol/disco#items'/>`))
	h.nurse.Send(ask(`<ping xmlns='urn:xmpp:ping'/>`))
	h.nurse.Want(result(``))
	h.refusedTo(h.nurse, ask(`<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>`), xmpp.CondItemNotFound, "")
	h.refusedTo(h.nurse, ask(`<addresses xmlns='http://jabber.org/protocol/address'/>`), xmpp.CondServiceUnavailable, "")
	h.refusedTo(h.nurse, strings.Replace(ask(`<ping xmlns='urn:xmpp:ping'/>`), "get", "set", 1), xmpp.CondServiceUnavailable, "")
	if e := h.nurse.Send(`<iq type='result' id='9' to='` + service + `'/>`); e.Outcome != router.Dropped {
		t.Errorf("an answer fared as %v", e.Outcome)
	}
	h.nurse.Received()

	s := moduletest.Parse(t, ask(`<query xmlns='http://jabber.org/protocol/disco#info'/>`))
	s.From = jid.MustParse("b.example")
	h.Route(&router.Envelope{Stanza: s, Peer: "b.example"})
	h.wantSent(`<iq type='result' id='1' from='` + service + `' to='b.example'>` + info + `</iq>`)
}
