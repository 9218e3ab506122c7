package router

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// outlet remembers what it was sent.
type outlet struct {
	got      []string
	gone     bool
	detached bool
	full     bool
	ended    string
	flushed  int
}

func (o *outlet) Send(d Delivery) (wake, ok bool) {
	if o.gone {
		return false, false
	}
	o.got = append(o.got, string(d.Stanza.Append(nil)))
	return true, true
}
func (o *outlet) Flush()                               { o.flushed++ }
func (o *outlet) Detached() bool                       { return o.detached }
func (o *outlet) Prompt() bool                         { return false }
func (o *outlet) Full() bool                           { return o.full }
func (o *outlet) WaitBelow(context.Context, int) error { return nil }
func (o *outlet) End(condition, text string)           { o.ended = condition }

type users map[string]bool

func (u users) Exists(_ context.Context, j jid.JID) (bool, error) { return u[j.String()], nil }

// house is a router with romeo, who sends from his orchard, and juliet.
type house struct {
	*Router
	t     *testing.T
	romeo *Session
	back  *outlet // what romeo gets
	store []string
}

func newHouse(t *testing.T, more ...Module) *house {
	h := &house{t: t, back: &outlet{}}
	h.Router = New(Options{Hosts: []string{"example.org"}, Log: slog.New(slog.DiscardHandler),
		Users: users{"romeo@example.org": true, "juliet@example.org": true}})
	keeper := Module{Name: "keeper",
		Unclaimed: func(e *Envelope) {
			h.store = append(h.store, string(e.Stanza.Append(nil)))
			e.Settle(Stored)
		},
		CatchUp: func(s *Session, done func()) { done() },
	}
	h.Use(append(more, keeper)...)
	h.romeo = h.bind("romeo@example.org/orchard", h.back)
	return h
}

func (h *house) bind(full string, o Outlet) *Session {
	h.t.Helper()
	s, err := h.Bind(jid.MustParse(full), o)
	if err != nil {
		h.t.Fatalf("bind %s: %v", full, err)
	}
	return s
}

func (h *house) send(s xmpp.Stanza) *Envelope {
	s.From = h.romeo.Addr()
	e := &Envelope{Stanza: &s, Session: h.romeo, Account: h.romeo.Bare()}
	h.Route(e)
	return e
}

func TestMessageWithoutToIsForTheSendersOwnAccount(t *testing.T) {
	for _, away := range []bool{false, true} {
		var kept string // as whoever keeps what is sent sees it
		h := newHouse(t, Module{Name: "sent", Leaving: Stage{Message: func(e *Envelope) { kept = e.Stanza.To.String() }}})
		phone := &outlet{}
		if !away {
			h.SetPresence(h.bind("romeo@example.org/phone", phone), &xmpp.Stanza{Kind: xmpp.Presence}, 0)
		}
		sent := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "1", Payload: []byte("<body>note</body>")}
		h.send(sent)
		got := phone.got
		if away {
			got = h.store
		}
		if len(got) != 1 || !strings.Contains(got[0], " to='romeo@example.org'") || kept != "romeo@example.org" {
			t.Errorf("away %v: %q, and sent to %q", away, got, kept)
		}
	}
}

func TestEveryAnswerHasTo(t *testing.T) {
	h := newHouse(t)
	for _, kind := range []xmpp.Kind{xmpp.IQ, xmpp.Message} {
		h.back.got = nil
		typ := xmpp.TypeGet
		if kind == xmpp.Message {
			typ = xmpp.TypeGroupchat
		}
		h.send(xmpp.Stanza{Kind: kind, Type: typ, ID: "1", Payload: []byte("<x xmlns='urn:x'/>"),
			Children: []xmpp.Child{{Name: xmpp.Name{Space: "urn:x", Local: "x"}, End: 18}}})
		if len(h.back.got) != 1 || !strings.Contains(h.back.got[0], " to='romeo@example.org/orchard'") ||
			!strings.Contains(h.back.got[0], " from='romeo@example.org'") {
			t.Errorf("%v: %q", kind, h.back.got)
		}
	}
}

// TestMessageDeliveryRules has one case for each cell of RFC 6121 §8.5.4, table 1: the type of the message, the kind of
// address, and the sessions of the recipient with their priorities.
func TestMessageDeliveryRules(t *testing.T) {
	const unavailable = 100 // a connected resource that has not sent presence
	types := []xmpp.Type{xmpp.TypeNormal, xmpp.TypeChat, xmpp.TypeGroupchat, xmpp.TypeHeadline, xmpp.TypeError}
	rows := []struct {
		name, to string
		sessions map[string]int
		want     [5]string // normal, chat, groupchat, headline, error
	}{
		{"no account, bare", "nobody@example.org", nil, [5]string{"error", "error", "error", "ignored", "ignored"}},
		{"no account, full", "nobody@example.org/x", nil, [5]string{"error", "error", "error", "ignored", "ignored"}},
		{"no session, bare", "juliet@example.org", nil, [5]string{"stored", "stored", "error", "ignored", "ignored"}},
		{"no session, full", "juliet@example.org/a", nil, [5]string{"error", "stored", "error", "ignored", "ignored"}},
		{"connected only, bare", "juliet@example.org", map[string]int{"a": unavailable}, [5]string{"stored", "stored", "error", "ignored", "ignored"}},
		{"connected only, full match", "juliet@example.org/a", map[string]int{"a": unavailable}, [5]string{"a", "a", "a", "a", "a"}},
		{"negative, bare", "juliet@example.org", map[string]int{"a": -1, "b": -5}, [5]string{"stored", "stored", "error", "ignored", "ignored"}},
		{"negative, full match", "juliet@example.org/a", map[string]int{"a": -1, "b": -5}, [5]string{"a", "a", "a", "a", "a"}},
		{"negative, full no match", "juliet@example.org/c", map[string]int{"a": -1, "b": -5}, [5]string{"error", "stored", "error", "ignored", "ignored"}},
		{"one, bare", "juliet@example.org", map[string]int{"a": 0}, [5]string{"a", "a", "error", "a", "ignored"}},
		{"one, full match", "juliet@example.org/a", map[string]int{"a": 0}, [5]string{"a", "a", "a", "a", "a"}},
		{"one, full no match", "juliet@example.org/c", map[string]int{"a": 0}, [5]string{"error", "a", "error", "ignored", "ignored"}},
		{"several, bare", "juliet@example.org", map[string]int{"a": 1, "b": 5, "c": 5, "d": -1}, [5]string{"b c", "b c", "error", "a b c", "ignored"}},
		{"several, full match", "juliet@example.org/a", map[string]int{"a": 1, "b": 5, "d": -1}, [5]string{"a", "a", "a", "a", "a"}},
		{"several, full match of a negative one", "juliet@example.org/d", map[string]int{"a": 1, "b": 5, "d": -1}, [5]string{"d", "d", "d", "d", "d"}},
		{"several, full no match", "juliet@example.org/x", map[string]int{"a": 1, "b": 5, "c": -1}, [5]string{"error", "b", "error", "ignored", "ignored"}},
	}
	for _, row := range rows {
		for i, typ := range types {
			t.Run(row.name+", "+fmt.Sprint(typ), func(t *testing.T) {
				h := newHouse(t)
				outlets := map[string]*outlet{}
				for res, prio := range row.sessions {
					outlets[res] = &outlet{}
					s := h.bind("juliet@example.org/"+res, outlets[res])
					if prio != unavailable {
						h.SetPresence(s, &xmpp.Stanza{Kind: xmpp.Presence}, int8(prio))
					}
				}
				m := xmpp.Stanza{Kind: xmpp.Message, Type: typ, To: jid.MustParse(row.to), ID: "1", Payload: []byte("<body>hi</body>")}
				foreseen, _ := h.Foresee(&m, true)
				h.send(m)
				var got []string
				for res, o := range outlets {
					if len(o.got) > 0 {
						got = append(got, res)
						if o.flushed == 0 {
							t.Errorf("%s was not flushed", res)
						}
					}
				}
				slices.Sort(got)
				if len(h.store) > 0 {
					got = append(got, "stored")
				}
				if len(h.back.got) > 0 {
					if !strings.Contains(h.back.got[0], "service-unavailable") {
						t.Errorf("error is %s", h.back.got[0])
					}
					got = append(got, "error")
				}
				if len(got) == 0 {
					got = []string{"ignored"}
				}
				g := strings.Join(got, " ")
				if g != row.want[i] {
					t.Errorf("got %q, want %q", g, row.want[i])
				}
				outcome := Delivered
				if of, other := map[string]Outcome{"stored": Stored, "error": Refused, "ignored": Dropped}[g]; other {
					outcome = of
				}
				if foreseen != outcome {
					t.Errorf("foreseen: %s, and %s", foreseen, g)
				}
			})
		}
	}
}

// TestIQDeliveryRules is RFC 6121 §8.5.1, §8.5.2.1.3 and §8.5.3, and RFC 6120 §10.3.3, §10.5.
func TestIQDeliveryRules(t *testing.T) {
	payload := xmpp.Name{Space: "urn:xmpp:ping", Local: "ping"}
	rows := []struct {
		name, to string
		typ      xmpp.Type
		payload  string
		want     string
	}{
		{"to a session", "juliet@example.org/a", xmpp.TypeGet, "<ping xmlns='urn:xmpp:ping'/>", "a"},
		{"result to a session", "juliet@example.org/a", xmpp.TypeResult, "", "a"},
		{"to a session that is gone", "juliet@example.org/b", xmpp.TypeGet, "<ping xmlns='urn:xmpp:ping'/>", "service-unavailable"},
		{"result to a session that is gone", "juliet@example.org/b", xmpp.TypeResult, "", ""},
		{"error to a session that is gone", "juliet@example.org/b", xmpp.TypeError, "", ""},
		{"to an account, owned payload", "juliet@example.org", xmpp.TypeGet, "<ping xmlns='urn:xmpp:ping'/>", "account"},
		{"to an account, from itself alone", "juliet@example.org", xmpp.TypeGet, "<own xmlns='own'/>",
			"service-unavailable"},
		{"to nobody, from itself alone", "nobody@example.org", xmpp.TypeGet, "<own xmlns='own'/>",
			"service-unavailable"},
		{"to one's own account", "romeo@example.org", xmpp.TypeGet, "<own xmlns='own'/>", "own"},
		{"to an account, an error of its own", "juliet@example.org", xmpp.TypeGet, "<no xmlns='own'/>", "forbidden"},
		{"to nobody, an error of its own", "nobody@example.org", xmpp.TypeGet, "<no xmlns='own'/>", "forbidden"},
		{"to an account, unknown payload", "juliet@example.org", xmpp.TypeGet, "<x xmlns='y'/>", "service-unavailable"},
		{"to nobody", "nobody@example.org", xmpp.TypeGet, "<ping xmlns='urn:xmpp:ping'/>", "service-unavailable"},
		{"result to an account", "juliet@example.org", xmpp.TypeResult, "", ""},
		{"without address", "", xmpp.TypeSet, "<ping xmlns='urn:xmpp:ping'/>", "account"},
		{"to the host", "example.org", xmpp.TypeGet, "<ping xmlns='urn:xmpp:ping'/>", "host"},
		{"to the host, unknown payload", "example.org", xmpp.TypeGet, "<x xmlns='y'/>", "service-unavailable"},
		{"to a resource of the host", "example.org/r", xmpp.TypeGet, "<ping xmlns='urn:xmpp:ping'/>", "service-unavailable"},
		{"to another domain", "b.example", xmpp.TypeGet, "<ping xmlns='urn:xmpp:ping'/>", "remote-server-not-found"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got := ""
			m := Module{Name: "ping", IQ: []IQ{
				{Payload: payload, Scope: Host, Handle: func(e *Envelope) { got = "host"; e.Settle(Delivered) }},
				{Payload: payload, Scope: Account, Handle: func(e *Envelope) { got = "account"; e.Settle(Delivered) },
					NoAccount: func(*Envelope) {}},
				{Payload: xmpp.Name{Space: "own", Local: "own"}, Scope: Account,
					Handle: func(e *Envelope) { got = "own"; e.Settle(Delivered) }},
				{Payload: xmpp.Name{Space: "own", Local: "no"}, Scope: Account, Others: xmpp.Forbidden(""),
					Handle: func(e *Envelope) { got = "no"; e.Settle(Delivered) }},
			}}
			h := newHouse(t, m)
			a := &outlet{}
			h.bind("juliet@example.org/a", a)
			s := xmpp.Stanza{Kind: xmpp.IQ, Type: row.typ, ID: "q", Payload: []byte(row.payload)}
			if row.to != "" {
				s.To = jid.MustParse(row.to)
			}
			h.send(s)
			if len(a.got) > 0 {
				got = "a"
			}
			for _, b := range h.back.got {
				e, err := xmpp.ParseElement([]byte(b))
				if err != nil || e.Attr("id") != "q" || e.Attr("type") != "error" {
					t.Fatalf("romeo got %s (%v)", b, err)
				}
				got = string(xmpp.ParseError(e.Child(xmpp.Name{Space: xmpp.NSClient, Local: "error"})).Condition)
			}
			if got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestPresenceGoesToAvailableSessions(t *testing.T) {
	h := newHouse(t)
	a, b, c := &outlet{}, &outlet{}, &outlet{}
	h.SetPresence(h.bind("juliet@example.org/a", a), &xmpp.Stanza{Kind: xmpp.Presence}, 0)
	h.SetPresence(h.bind("juliet@example.org/b", b), &xmpp.Stanza{Kind: xmpp.Presence}, -1)
	h.bind("juliet@example.org/c", c)
	h.send(xmpp.Stanza{Kind: xmpp.Presence, To: jid.MustParse("juliet@example.org")})
	if len(a.got) != 1 || len(b.got) != 1 || len(c.got) != 0 {
		t.Errorf("a got %d, b %d, c %d; want 1, 1, 0", len(a.got), len(b.got), len(c.got))
	}
	h.send(xmpp.Stanza{Kind: xmpp.Presence, To: jid.MustParse("juliet@example.org/c")})
	if len(c.got) != 1 || len(a.got) != 1 {
		t.Errorf("directed: c got %d, a %d; want 1, 1", len(c.got), len(a.got))
	}
}

func TestASecondOwnerOfAPayloadPanics(t *testing.T) {
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "second") {
			t.Errorf("recovered %v, want a panic that names the module", r)
		}
	}()
	q := []IQ{{Payload: xmpp.Name{Space: "a", Local: "b"}, Scope: Host, Handle: func(*Envelope) {}}}
	New(Options{}).Use(Module{Name: "first", IQ: q}, Module{Name: "second", IQ: q})
}

// A session that was full when a message came may have taken what waited for it when the message is in storage.
func TestWhatWasStoredSinceASessionWasFullIsBroughtToIt(t *testing.T) {
	slow := &outlet{full: true}
	var behind []*Session
	r := New(Options{Hosts: []string{"example.org"}, Log: slog.New(slog.DiscardHandler),
		Users: users{"juliet@example.org": true}})
	r.Use(Module{Name: "keeper",
		Unclaimed: func(e *Envelope) {
			slow.full = false
			e.Settle(Stored)
		},
		CatchUp: func(_ *Session, done func()) { done() },
		Behind:  func(s *Session) { behind = append(behind, s) }})
	juliet, err := r.Bind(jid.MustParse("juliet@example.org/balcony"), slow)
	if err != nil {
		t.Fatal(err)
	}
	r.SetPresence(juliet, &xmpp.Stanza{Kind: xmpp.Presence, From: juliet.Addr()}, 0)
	e := &Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, From: jid.MustParse("romeo@example.net/a"),
		To: juliet.Bare(), Payload: []byte("<body/>")}}
	r.Route(e)
	if e.Outcome != Stored || len(slow.got) > 0 || len(behind) != 1 || behind[0] != juliet {
		t.Errorf("%v; %d came, %d catch up", e.Outcome, len(slow.got), len(behind))
	}
	release := r.Hold(juliet)
	r.Route(&Envelope{Stanza: e.Stanza})
	if release(); len(behind) != 1 {
		t.Error("who is at it was told again")
	}
}

// What comes while a session is being replaced must not overtake what the old one was given and did not take.
func TestWhatComesForAReplacedSessionWaitsForItsRest(t *testing.T) {
	h := newHouse(t)
	s1 := h.bind("juliet@example.org/a", &outlet{})
	fresh := &outlet{}
	s2 := h.bind("juliet@example.org/a", fresh)
	h.SetPresence(s2, &xmpp.Stanza{Kind: xmpp.Presence, From: s2.Addr()}, 0)
	for _, to := range []string{"juliet@example.org", "juliet@example.org/a"} {
		e := h.send(xmpp.Stanza{Kind: xmpp.Message, To: jid.MustParse(to), Type: xmpp.TypeChat, ID: "new", Payload: []byte("<body/>")})
		if e.Outcome != Stored || len(fresh.got) > 0 {
			t.Errorf("to %s: %v, and %d have come", to, e.Outcome, len(fresh.got))
		}
	}
	h.Unbind(s1, nil)
	h.send(xmpp.Stanza{Kind: xmpp.Message, To: s2.Addr(), Type: xmpp.TypeChat, ID: "newer", Payload: []byte("<body/>")})
	if len(fresh.got) != 1 {
		t.Errorf("afterwards %d have come", len(fresh.got))
	}
}

func TestBindReplacesTheSessionWithTheSameAddress(t *testing.T) {
	h := newHouse(t)
	old, fresh := &outlet{}, &outlet{}
	s1 := h.bind("juliet@example.org/a", old)
	s2 := h.bind("juliet@example.org/a", fresh)
	if old.ended != "conflict" {
		t.Errorf("the old one ended with %q", old.ended)
	}
	h.Unbind(s1, nil) // the old one leaving must not take the new one along
	if s2.u.held() {
		t.Error("messages are held back for ever")
	}
	if h.Session(s2.Addr()) != s2 {
		t.Error("the new session is gone with the old one")
	}
	if h.SessionCount() != 2 {
		t.Errorf("%d sessions, want 2", h.SessionCount())
	}
}

func TestBindRefusesTooManySessions(t *testing.T) {
	r := New(Options{Hosts: []string{"example.org"}, MaxSessions: 2})
	for i := range 3 {
		_, err := r.Bind(jid.MustParse(fmt.Sprintf("a@example.org/%d", i)), &outlet{})
		if (err == ErrTooManySessions) != (i == 2) {
			t.Errorf("session %d: %v", i, err)
		}
	}
}

// What a session never took joins the queue in storage, in order, and what arrives while that is brought does not
// overtake it.
func TestUndeliveredMessagesKeepTheirOrder(t *testing.T) {
	var order []string
	var done func()
	var h *house
	m := Module{Name: "order",
		Unclaimed: func(e *Envelope) { order = append(order, e.Stanza.ID); e.Settle(Stored) },
	}
	h = &house{t: t, back: &outlet{}}
	h.Router = New(Options{Hosts: []string{"example.org"}, Users: users{"juliet@example.org": true, "romeo@example.org": true}})
	m.CatchUp = func(_ *Session, d func()) { done = d }
	h.Use(m)
	h.romeo = h.bind("romeo@example.org/orchard", h.back)
	phone, laptop := &outlet{}, &outlet{}
	p := h.bind("juliet@example.org/phone", phone)
	h.SetPresence(p, &xmpp.Stanza{Kind: xmpp.Presence}, 5)
	done()
	l := h.bind("juliet@example.org/laptop", laptop)
	h.SetPresence(l, &xmpp.Stanza{Kind: xmpp.Presence}, 0)
	done()
	done = nil

	msg := func(id string) xmpp.Stanza {
		return xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: id, From: h.romeo.Addr(), To: jid.MustParse("juliet@example.org")}
	}
	h.Unbind(p, func() []Undelivered {
		phone.gone = true
		return []Undelivered{{Stanza: msg("1")}, {Stanza: msg("2")}}
	})
	if done == nil {
		t.Fatal("the account was not asked to catch up")
	}
	h.send(msg("3")) // arrives while 1 and 2 are brought
	if got := strings.Join(order, " "); got != "1 2 3" || len(laptop.got) != 0 {
		t.Errorf("stored %q and delivered %v, want 1 2 3 and none", got, laptop.got)
	}
	done()
	h.send(msg("4"))
	if len(laptop.got) != 1 {
		t.Errorf("the laptop got %v after catching up, want message 4", laptop.got)
	}
}

func TestUndeliveredRequestsAreAnsweredWithAnError(t *testing.T) {
	h := newHouse(t)
	s := h.bind("juliet@example.org/a", &outlet{})
	h.Unbind(s, func() []Undelivered {
		return []Undelivered{
			{Stanza: xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: "7", From: h.romeo.Addr(), To: s.Addr(),
				Payload: []byte("<q xmlns='z'/>")}},
			{Stanza: xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeError, ID: "8", From: h.romeo.Addr(), To: s.Addr()}},
		}
	})
	if len(h.back.got) != 1 || !strings.Contains(h.back.got[0], "recipient-unavailable") {
		t.Errorf("romeo got %v, want one recipient-unavailable", h.back.got)
	}
}

func TestAdmitDecidesOnSenderAndPath(t *testing.T) {
	r := New(Options{Hosts: []string{"a.example", "b.example"}})
	for _, c := range []struct{ from, to, want string }{
		{"x@a.example", "y@b.example", ""},
		{"ticket@trac", "y@b.example", ""},
		{"x@a.example", "y@remote.example", "remote-server-not-found"},
		{"ticket@trac", "y@remote.example", "not-allowed"},
	} {
		got := ""
		if err := r.Admit(jid.MustParse(c.from), jid.MustParse(c.to)); err != nil {
			got = string(err.Condition)
		}
		if got != c.want {
			t.Errorf("%s to %s: %q, want %q", c.from, c.to, got, c.want)
		}
	}
}

func TestRequestsToHostsAndAccountsAreAnsweredHere(t *testing.T) {
	r := New(Options{Hosts: []string{"a.example", "b.example"}})
	r.Use(Module{Name: "rooms", Service: &Service{Domains: func() []string { return []string{"rooms.a.example"} }}})
	for to, want := range map[string]bool{"a.example": true, "x@b.example": true, "x@a.example/y": false, "a.example/y": false,
		"rooms.a.example": false, "x@remote.example": false} {
		if got := r.Answers(jid.MustParse(to)); got != want {
			t.Errorf("%s: %v", to, got)
		}
	}
}

func BenchmarkRouteChatToBareAddress(b *testing.B) {
	r := New(Options{Hosts: []string{"example.org"}, Users: users{}})
	r.Use()
	romeo, _ := r.Bind(jid.MustParse("romeo@example.org/orchard"), sink{})
	juliet, _ := r.Bind(jid.MustParse("juliet@example.org/balcony"), sink{})
	r.SetPresence(juliet, &xmpp.Stanza{Kind: xmpp.Presence}, 0)
	s := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, From: romeo.Addr(), To: juliet.Bare(), Payload: []byte("<body>hi</body>")}
	e := &Envelope{Batch: new(Batch)}
	b.ReportAllocs()
	for b.Loop() {
		e.Reset()
		e.Stanza, e.Session = &s, romeo
		r.Route(e)
	}
}

type sink struct{}

func (sink) Send(Delivery) (bool, bool)           { return false, true }
func (sink) Flush()                               {}
func (sink) Detached() bool                       { return false }
func (sink) Prompt() bool                         { return true }
func (sink) Full() bool                           { return false }
func (sink) WaitBelow(context.Context, int) error { return nil }
func (sink) End(string, string)                   {}

func TestACopyDoesNotLeaveItsSessionAgain(t *testing.T) {
	left := 0
	h := newHouse(t, Module{Name: "look", Leaving: Stage{Message: func(*Envelope) { left++ }}})
	for range 2 {
		h.Route(&Envelope{Session: h.romeo, Account: h.romeo.Bare(), Left: left > 0, Stanza: &xmpp.Stanza{
			Kind: xmpp.Message, Type: xmpp.TypeChat, From: h.romeo.Addr(), To: jid.MustParse("juliet@example.org")}})
	}
	if left != 1 || len(h.store) != 2 {
		t.Errorf("the leaving stage saw %d stanzas of 2, of which %d are stored", left, len(h.store))
	}
}
