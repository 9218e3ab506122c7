package router

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// homes has some owners elsewhere, and remembers what goes there.
type homes struct {
	r    *Router
	away map[string]bool
	sent []string
	last *Answer
	told []Sequel
}

func (h *homes) Here(owner string) bool { return !h.away[owner] }
func (h *homes) Send(owner string, e *Envelope) {
	h.sent = append(h.sent, owner+" "+e.Stanza.ID)
	h.last = new(Answer)
	h.r.Forward(e, h.last)
}
func (h *homes) Tell(s Sequel) { h.told = append(h.told, s) }

func spread(t *testing.T, away []string, more ...Module) (*house, *homes) {
	h := newHouse(t, more...)
	f := &homes{r: h.Router, away: map[string]bool{}}
	for _, owner := range away {
		f.away[owner] = true
	}
	h.SetHomes(f)
	return h, f
}

func TestWhatIsForAnotherHomeIsHandedOver(t *testing.T) {
	var left, arrived, departed, handed []string
	see := func(to *[]string) Stage {
		f := func(e *Envelope) { *to = append(*to, e.Stanza.ID) }
		return Stage{Message: f, Presence: f, IQ: f}
	}
	h, f := spread(t, []string{"juliet@example.org", "hall@rooms.example.org", "example.org>peer.example"},
		Module{Name: "looking", Leaving: see(&left), Arriving: see(&arrived), Departing: see(&departed),
			HandedOver: func(e *Envelope) { handed = append(handed, e.Stanza.ID) }},
		Module{Name: "rooms", Service: &Service{Domains: func() []string { return []string{"rooms.example.org"} },
			Handle: func(e *Envelope) { e.Settle(Delivered) },
			Home: func(to jid.JID) string {
				if to.Local() == "" {
					return ""
				}
				return to.Bare().String()
			}}})
	h.SetRemote(nowhere{})
	for _, to := range []string{"juliet@example.org", "juliet@example.org/balcony", "hall@rooms.example.org/romeo",
		"rooms.example.org", "someone@peer.example", "someone@other.example", "romeo@example.org", "example.org"} {
		h.send(xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, To: jid.MustParse(to), ID: to})
	}
	if want := []string{"juliet@example.org juliet@example.org", "juliet@example.org juliet@example.org/balcony",
		"hall@rooms.example.org hall@rooms.example.org/romeo",
		"example.org>peer.example someone@peer.example"}; !slices.Equal(f.sent, want) {
		t.Errorf("handed over %q, want %q", f.sent, want)
	}
	if want := []string{"juliet@example.org", "juliet@example.org/balcony", "hall@rooms.example.org/romeo",
		"someone@peer.example"}; !slices.Equal(handed, want) {
		t.Errorf("seen handed over %q, want %q", handed, want)
	}
	if len(left) != 8 {
		t.Errorf("%d of 8 have been seen leaving", len(left))
	}
	if want := []string{"romeo@example.org"}; !slices.Equal(arrived, want) {
		t.Errorf("arrived %q, want %q: an account elsewhere has its stages there", arrived, want)
	}
	if want := []string{"someone@peer.example", "someone@other.example"}; !slices.Equal(departed, want) {
		t.Errorf("departed %q, want %q", departed, want)
	}
}

// nowhere is a Remote that takes everything.
type nowhere struct{}

func (nowhere) Admits(string) *xmpp.Error { return nil }
func (nowhere) Send(e *Envelope)          { e.Settle(Queued) }

func TestAnAnswerOfAnotherHomeSettlesTheEnvelope(t *testing.T) {
	var undone []uint64
	n := uint64(0)
	h, f := spread(t, []string{"juliet@example.org"}, Module{Name: "writing", Leaving: Stage{Message: func(e *Envelope) {
		n++
		e.OnRefusal(func(_ string, id uint64) { undone = append(undone, id) }, "romeo@example.org", n+1)
	}}})
	message := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "m", To: jid.MustParse("juliet@example.org")}
	e := h.send(message)
	if e.Outcome != Forwarded || len(e.Pendings) != 1 {
		t.Fatalf("outcome %v, %d pendings", e.Outcome, len(e.Pendings))
	}
	if done, _ := e.Pendings[0].Finished(); done {
		t.Fatal("acknowledged before the home has answered")
	}
	f.last.Finish(Stored, nil, 7, false, false)
	if done, err := e.Pendings[0].Finished(); !done || err != nil {
		t.Errorf("not acknowledged: %v %v", done, err)
	}
	if o, err := e.Settlement(); o != Stored || err != nil || e.Answer.StanzaID != 7 {
		t.Errorf("settled as %v %v, id %d", o, err, e.Answer.StanzaID)
	}
	if len(h.back.got) != 0 {
		t.Errorf("the sender got %q", h.back.got)
	}

	e = h.send(message)
	f.last.Finish(Refused, xmpp.ServiceUnavailable(""), 0, false, false)
	if err := e.Pendings[0].Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(h.back.got) != 1 || !strings.Contains(h.back.got[0], "service-unavailable") {
		t.Fatalf("the sender got %q, want the error", h.back.got)
	}
	if !slices.Equal(undone, []uint64{3}) {
		t.Errorf("taken back: %v", undone)
	}
	e = h.send(message)
	f.last.Finish(Refused, xmpp.ServiceUnavailable(""), 0, true, false)
	if err := e.Pendings[0].Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	quiet := message
	quiet.From = h.romeo.Addr()
	h.Route(&Envelope{Stanza: &quiet, Account: h.romeo.Bare(), Quiet: true})
	f.last.Finish(Refused, xmpp.ServiceUnavailable(""), 0, false, false)
	if len(h.back.got) != 1 {
		t.Errorf("the sender was told again: %q", h.back.got[1:])
	}
}

func TestWhatIsCarriedHasLeftItsSenderAlready(t *testing.T) {
	leaving := 0
	h, _ := spread(t, nil, Module{Name: "looking", Leaving: Stage{Message: func(*Envelope) { leaving++ }}})
	from := jid.MustParse("nurse@example.org/hall")
	s := h.Standin(from)
	m := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "m", From: from, To: jid.MustParse("romeo@example.org")}
	e := Envelope{Stanza: &m, Session: s, Account: from.Bare()}
	h.Receive(&e)
	if leaving != 0 || e.Outcome != Stored {
		t.Errorf("seen leaving %d times, %v", leaving, e.Outcome)
	}
	// What a stand-in is sent goes the way of its address.
	got := &outlet{}
	h.bind("nurse@example.org/hall", got)
	s.SendNow(Delivery{Stanza: &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeResult, ID: "r", From: m.To}})
	if len(got.got) != 1 || !strings.Contains(got.got[0], `id='r'`) {
		t.Errorf("sent %q", got.got)
	}
}

func TestASessionIsNotMadeWhereItsAccountIsNotAtHome(t *testing.T) {
	h, _ := spread(t, []string{"juliet@example.org"})
	if _, err := h.Bind(jid.MustParse("juliet@example.org/balcony"), &outlet{}); !errors.Is(err, ErrElsewhere) {
		t.Errorf("error %v, want ErrElsewhere", err)
	}
	if n := len(h.Sessions(jid.MustParse("juliet@example.org"))); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

// ending is an outlet whose session leaves when it is told to end.
type ending struct {
	outlet
	left func()
}

func (o *ending) End(condition, text string) {
	o.outlet.End(condition, text)
	go o.left()
}

func TestReleaseEndsSessionsBeforeModulesForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		h, f := spread(t, nil, Module{Name: "looking",
			Ended: func(s *Session, _ *xmpp.Stanza) { order = append(order, "ended "+s.Addr().String()) },
			Moved: func(gone func(string) bool) {
				if !gone("juliet@example.org") || gone("romeo@example.org") {
					t.Error("asked of the wrong owners")
				}
				order = append(order, "moved")
			}})
		out := &ending{}
		s := h.bind("juliet@example.org/balcony", out)
		taken := storage.NewPending()
		out.left = func() {
			h.Unbind(s, func() []Undelivered {
				return []Undelivered{{Receipt: taken, Stanza: xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "left"}}}
			})
		}
		f.away["juliet@example.org"] = true
		err := h.Release(context.Background(), func(owner string) bool { return owner == "juliet@example.org" },
			"system-shutdown", "")
		if want := []string{"ended juliet@example.org/balcony", "moved"}; err != nil || !slices.Equal(order, want) {
			t.Errorf("%v, %q, want %q", err, order, want)
		}
		if done, err := taken.Finished(); !done || err != nil || len(h.store) != 1 {
			t.Errorf("what was not taken is not stored: %v %v %q", done, err, h.store)
		}
		if h.back.ended != "" {
			t.Error("the session of an account that stays has ended")
		}
	})
}

func TestASequelIsToldAtTheHomeOfTheSender(t *testing.T) {
	var told []Sequel
	h, f := spread(t, []string{"juliet@example.org"}, Module{Name: "looking", Sequel: func(s Sequel) { told = append(told, s) }})
	h.Tell(Sequel{From: jid.MustParse("romeo@example.org"), ID: "here"})
	h.Tell(Sequel{From: jid.MustParse("juliet@example.org/x"), ID: "there"})
	if len(told) != 1 || told[0].ID != "here" || len(f.told) != 1 || f.told[0].ID != "there" {
		t.Errorf("told here %v, there %v", told, f.told)
	}
}

func TestWhatIsCarriedIsRefusedWithoutAWordAndHandedOverNoFurther(t *testing.T) {
	h, f := spread(t, []string{"romeo@example.org"})
	from := jid.MustParse("nurse@example.org/hall")
	m := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: "m", From: from, To: jid.MustParse("romeo@example.org")}
	e := Envelope{Stanza: &m, Session: h.Standin(from), Account: from.Bare()}
	h.Receive(&e)
	if e.Outcome != Refused || e.Err == nil || len(f.sent) != 0 {
		t.Errorf("%v %v, handed over %q", e.Outcome, e.Err, f.sent)
	}
	if routed := h.Stats.Routed[0].Load(); routed != 1 {
		t.Errorf("%d messages were routed, the error among them", routed)
	}
}

// flushed counts.
type flushed int

func (f *flushed) Flush() { *f++ }

func TestBatchFlushesOnceWhoeverIsAddedInARow(t *testing.T) {
	var b Batch
	var one, other flushed
	b.Add(&one)
	b.Add(&one)
	b.Add(&other)
	b.Flush()
	b.Flush()
	if one != 1 || other != 1 {
		t.Errorf("flushed %d and %d times", one, other)
	}
}
