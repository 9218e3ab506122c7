package mam

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A bureau is a desk with an archive of n messages of 30 KB.
func bureau(t *testing.T, n int, adapt func(*storage.Record, *xmpp.Stanza)) (
	*Desk, func(e *router.Envelope, id int) *xmpp.Error) {
	log := moduletest.NewStore().Log("messages")
	for i := range n {
		s := xmpp.Stanza{Kind: xmpp.Message, From: jid.MustParse("a@b.example"),
			Payload: []byte(fmt.Sprintf("<body>%d%s</body>", i, strings.Repeat("x", 30<<10)))}
		if _, _, _, err := log.Append(t.Context(), "room", storage.Record{Data: AppendMessage(nil, &s)},
			storage.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	d := &Desk{Router: moduletest.New("juliet"), Log: moduletest.Discard(), Limit: func() int { return 100 }}
	return d, func(e *router.Envelope, id int) *xmpp.Error {
		q, bad := parse(t, "", "")
		if bad != nil {
			t.Fatal(bad)
		}
		return d.Ask(e, Question{IQ: xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: fmt.Sprint(id), From: e.Stanza.From,
			To: jid.MustParse("room@c.example")},
			Session: e.Session, Archive: Archive{Log: log, Owner: "room"}, Query: q, Adapt: adapt})
	}
}

// envelope is one that a client sends.
func envelope(c *moduletest.Client) *router.Envelope {
	return &router.Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, From: c.Session.Addr()},
		Session: c.Session}
}

func TestADeskShowsAMessageAsItIsAdapted(t *testing.T) {
	d, ask := bureau(t, 2, func(_ *storage.Record, s *xmpp.Stanza) { s.Payload, s.Children = []byte("<body>hidden</body>"), nil })
	juliet := moduletest.Login(t, d.Router, "juliet/desk")
	e := envelope(juliet)
	if bad := ask(e, 1); bad != nil || e.Outcome != router.Delivered {
		t.Fatal(bad, e.Outcome)
	}
	juliet.Wait(3)
	got := juliet.Received()
	if !strings.Contains(got[1], "<body>hidden</body>") || strings.Contains(got[1], "xxx") || !strings.Contains(got[2], "<count>2</count>") {
		t.Errorf("juliet got %.300s", got)
	}
}

func TestADeskServesOnlySoMany(t *testing.T) {
	d, ask := bureau(t, 0, nil)
	d.Most = 2
	d.asking = map[client]*line{{addr: jid.MustParse("a@b.example/x")}: {}, {addr: jid.MustParse("c@b.example/x")}: {}}
	e := envelope(moduletest.Login(t, d.Router, "juliet/desk"))
	if bad := ask(e, 1); bad == nil || bad.Condition != xmpp.CondResourceConstraint || e.Settled() {
		t.Errorf("a third client: %v", bad)
	}
}

func TestClientsOfOneDomainLeaveADeskToOthers(t *testing.T) {
	d, ask := bureau(t, 0, nil)
	d.Most = 20
	d.asking = map[client]*line{}
	taken := 0
	for i := range 20 {
		who := jid.MustParse(fmt.Sprintf("a%d@%d.evil.example/x", i, i))
		d.mu.Lock()
		if d.fits(who) {
			d.asking[client{addr: who}] = &line{}
			taken++
		}
		d.mu.Unlock()
	}
	if taken != 5 {
		t.Errorf("%d clients of one domain are answered at a time", taken)
	}
	if bad := ask(envelope(moduletest.Login(t, d.Router, "juliet/desk")), 1); bad != nil {
		t.Errorf("another is refused: %v", bad)
	}
}

// Whoever comes with the address of a session that has ended does not end with it.
func TestANewSessionOfAnAddressIsAnswered(t *testing.T) {
	d, ask := bureau(t, 12, nil) // more than what may be in flight
	before := moduletest.Login(t, d.Router, "juliet/desk")
	for i := range 3 {
		if bad := ask(envelope(before), i); bad != nil {
			t.Fatal(bad)
		}
	}
	now := moduletest.Login(t, d.Router, "juliet/desk")
	if bad := ask(envelope(now), 7); bad != nil {
		t.Fatal(bad)
	}
	for {
		now.Wait(1)
		for _, s := range now.Received() {
			if strings.Contains(s, "<fin ") && strings.Contains(s, "id='7'") {
				return
			}
		}
		now.Take()
	}
}
