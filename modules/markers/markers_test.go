package markers

import (
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A way is how a stanza may come to romeo.
type way string

const (
	user    way = "another user"
	own     way = "another client of his"
	post    way = "a post under his own address"
	peer    way = "a peer"
	room    way = "a room of a peer"
	program way = "a component"
	server  way = "the server"
)

var everybody = []way{user, own, post, peer, room, program, server}

type house struct {
	*router.Router
	t      *testing.T
	romeo  *moduletest.Client
	tablet *moduletest.Client
	juliet *moduletest.Client
}

func newHouse(t *testing.T) *house {
	h := &house{t: t, Router: moduletest.New("romeo", "juliet")}
	h.Use(New(h.Router), router.Module{Name: "component", Service: &router.Service{Domains: func() []string { return []string{"bot.example.org"} },
		Handle: func(e *router.Envelope) { e.Settle(router.Delivered) }}})
	h.romeo, h.tablet, h.juliet = moduletest.Login(t, h.Router, "romeo/orchard"),
		moduletest.Login(t, h.Router, "romeo/tablet"), moduletest.Login(t, h.Router, "juliet/balcony")
	h.romeo.Available(0)
	return h
}

// send brings a stanza to romeo that way.
func (h *house) send(w way, xml string) *router.Envelope {
	h.t.Helper()
	s := moduletest.Parse(h.t, xml)
	e := &router.Envelope{Stanza: s}
	from := ""
	switch w {
	case user:
		e.Session, e.Account, from = h.juliet.Session, h.juliet.Bare(), "juliet@example.org/balcony"
	case own:
		e.Session, e.Account, from = h.tablet.Session, h.tablet.Bare(), "romeo@example.org/tablet"
	case post:
		e.Account, from = h.juliet.Bare(), "romeo@example.org"
	case peer:
		e.Peer, from = "b.example", "tybalt@b.example/x"
	case room:
		e.Peer, from = "rooms.b.example", "room@rooms.b.example"
	case program:
		from = "bot.example.org"
	case server:
		from = "romeo@example.org"
	}
	e.Stanza.From = jid.MustParse(from)
	h.Route(e)
	return e
}

func TestWhatOnlyTheServerMaySayIsTakenOut(t *testing.T) {
	const (
		inside  = `<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='juliet@example.org'><body>meet me</body></message></forwarded>`
		sent    = `<sent xmlns='urn:xmpp:carbons:2'>` + inside + `</sent>`
		copied  = `<received xmlns='urn:xmpp:carbons:2'>` + inside + `</received>`
		result  = `<result xmlns='urn:xmpp:mam:2' id='1'>` + inside + `</result>`
		old     = `<result xmlns='urn:xmpp:mam:0' id='1'>` + inside + `</result>`
		fin     = `<fin xmlns='urn:xmpp:mam:0'/>`
		host    = `<delay xmlns='urn:xmpp:delay' from='EXAMPLE.org' stamp='2002-09-10T23:08:25Z'/>`
		account = `<delay xmlns='urn:xmpp:delay' from='romeo@example.org' stamp='2002-09-10T23:08:25Z'/>`
		oldest  = `<x xmlns='jabber:x:delay' from='example.org' stamp='20020910T23:08:25'/>`
		nobody  = `<delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25Z'/>`
		others  = `<delay xmlns='urn:xmpp:delay' from='room@rooms.b.example' stamp='2002-09-10T23:08:25Z'/>`
		private = `<private xmlns='urn:xmpp:carbons:2'/>`
		deeper  = `<z xmlns='urn:z'>` + copied + `</z>`
	)
	h := newHouse(t)
	for _, row := range []struct {
		element string
		passes  []way
	}{
		{sent, nil},
		{copied, nil},
		{result, []way{room, program, server}},
		{old, []way{room, program, server}},
		{fin, []way{room, program, server}},
		{host, []way{server}},
		{account, []way{own, server}},
		{oldest, []way{server}},
		{nobody, everybody},
		{others, everybody},
		{private, everybody},
		{deeper, everybody},
	} {
		for _, to := range []string{"romeo@example.org", "romeo@example.org/orchard"} {
			for _, w := range everybody {
				h.send(w, `<message to='`+to+`' type='chat'><body>a</body>`+row.element+`<x xmlns='urn:x'/></message>`)
				passes := ""
				for _, p := range row.passes {
					if p == w {
						passes = row.element
					}
				}
				got := h.romeo.Deliveries()
				if len(got) != 1 {
					t.Fatalf("%s from %s: romeo got %d stanzas", row.element, w, len(got))
				}
				if want := `<body>a</body>` + passes + `<x xmlns='urn:x'/>`; string(got[0].Stanza.Payload) != want {
					t.Errorf("from %s to %s came\n%s\nwant\n%s", w, to, got[0].Stanza.Payload, want)
				}
			}
		}
	}
}

func TestTheIndexIsThatOfWhatIsLeft(t *testing.T) {
	h := newHouse(t)
	e := h.send(user, `<message to='romeo@example.org' type='chat'><sent xmlns='urn:xmpp:carbons:2'/><body>a</body></message>`)
	if b := e.Stanza.ChildBytes(xmpp.Name{Space: xmpp.NSClient, Local: "body"}); string(b) != "<body>a</body>" {
		t.Errorf("the body is %q", b)
	}
}

func TestPresenceLosesDelaysInOurName(t *testing.T) {
	h := newHouse(t)
	h.send(peer, `<presence to='romeo@example.org'><delay xmlns='urn:xmpp:delay' from='example.org' stamp='2002-09-10T23:08:25Z'/><status>a</status></presence>`)
	h.romeo.Want(`<presence to='romeo@example.org' from='tybalt@b.example/x'><status>a</status></presence>`)
}

func TestPushesThatOthersForgeAreRefused(t *testing.T) {
	h := newHouse(t)
	for _, payload := range []string{
		`<query xmlns='jabber:iq:roster'><item jid='tybalt@b.example' subscription='both'/></query>`,
		`<block xmlns='urn:xmpp:blocking'><item jid='juliet@example.org'/></block>`,
		`<unblock xmlns='urn:xmpp:blocking'/>`,
		`<query xmlns='jabber:iq:privacy'><list name='public'/></query>`,
	} {
		for _, w := range []way{user, own, peer, room, program} {
			e := h.send(w, `<iq type='set' id='1' to='romeo@example.org/orchard'>`+payload+`</iq>`)
			if e.Err == nil || e.Err.Condition != xmpp.CondServiceUnavailable {
				t.Errorf("%s from %s fared as %v", payload, w, e.Outcome)
			}
			h.romeo.Want()
		}
		for _, from := range []string{"romeo@example.org", "example.org"} {
			push := `<iq type='set' id='1' to='romeo@example.org/orchard' from='` + from + `'>` + payload + `</iq>`
			h.Emit(moduletest.Parse(t, push), nil)
			h.romeo.Want(push)
		}
	}
	for _, harmless := range []string{
		`<iq type='get' id='1' to='romeo@example.org/orchard'><query xmlns='jabber:iq:roster'/></iq>`,
		`<iq type='set' id='1' to='romeo@example.org/orchard'><query xmlns='urn:x'/></iq>`,
	} {
		if e := h.send(peer, harmless); e.Outcome != router.Delivered {
			t.Errorf("%s fared as %v", harmless, e.Outcome)
		}
	}
}
