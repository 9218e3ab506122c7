package forged

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const bot = "bot.example.org"

// house has romeo, who is connected, juliet, who is not, a component, and peers everywhere else.
type house struct {
	*router.Router
	t      *testing.T
	forged *Forged
	store  *moduletest.Store
	remote *moduletest.Remote
	romeo  *moduletest.Client
	hook   string
}

func newHouse(t *testing.T) *house {
	h := &house{t: t, Router: moduletest.New("romeo", "juliet"), store: moduletest.NewStore(), remote: &moduletest.Remote{}}
	h.open()
	h.romeo = moduletest.Login(t, h.Router, "romeo/orchard")
	h.romeo.Available(0)
	return h
}

// open starts the module anew over what is stored.
func (h *house) open() {
	h.forged = New(Options{Router: h.Router, Users: moduletest.Users{"romeo@example.org": true, "juliet@example.org": true},
		Store: h.store.Map("forged"), Replies: h.store.Log("forged"), Hook: func() string { return h.hook }, Log: moduletest.Discard()})
	h.t.Cleanup(h.forged.Close)
	h.Use(h.forged.Module(), router.Module{Name: "others",
		Unclaimed: func(e *router.Envelope) { e.Settle(router.Stored) },
		Service: &router.Service{Domains: func() []string { return []string{bot} },
			Handle: func(e *router.Envelope) { e.Settle(router.Delivered) }}})
	h.SetRemote(h.remote)
}

// post sends a message in another name, for an account of ours.
func (h *house) post(from, to string) *router.Envelope {
	h.t.Helper()
	e := &router.Envelope{Stanza: moduletest.Parse(h.t, `<message type='chat' from='`+from+`' to='`+to+`'><body>a</body></message>`),
		Account: jid.MustParse("andy@example.org"), Durable: true, Quiet: true}
	h.Route(e)
	if h.romeo != nil {
		h.romeo.Received()
	}
	return e
}

// say sends a stanza that no client sent: of a component, a module, or a peer.
func (h *house) say(peer, xml string) *router.Envelope {
	h.t.Helper()
	e := &router.Envelope{Stanza: moduletest.Parse(h.t, xml), Peer: peer, Quiet: true}
	h.Route(e)
	return e
}

// leaves says whether a reply of romeo's goes out.
func (h *house) leaves(to string) bool {
	h.t.Helper()
	e := h.romeo.Send(`<message type='chat' to='` + to + `'><body>thanks</body></message>`)
	sent := h.remote.Sent()
	switch {
	case len(sent) == 1 && e.Outcome == router.Queued:
		return true
	case len(sent) != 0 || e.Err == nil || e.Err.Condition != xmpp.CondServiceUnavailable ||
		!strings.Contains(e.Err.Text, "takes no replies"):
		h.t.Errorf("a reply to %s fared as %v, %v; %q left", to, e.Outcome, e.Err, sent)
	}
	if got := h.romeo.Deliveries(); len(got) != 1 || got[0].Stanza.Type != xmpp.TypeError ||
		got[0].Stanza.From.Bare().String() != jid.MustParse(to).Bare().String() {
		h.t.Errorf("romeo learned of the refusal by %v", got)
	}
	return false
}

func TestRepliesToAForgedForeignSenderDoNotLeave(t *testing.T) {
	h := newHouse(t)
	if !h.leaves("ticket-1@trac") {
		t.Error("a message left not before anything was forged")
	}
	h.post("ticket-1@trac/x", "romeo@example.org")
	for _, to := range []string{"ticket-1@trac", "ticket-1@trac/x", "TICKET-1@trac"} {
		if h.leaves(to) {
			t.Errorf("a reply left for %s", to)
		}
	}
	if !h.leaves("ticket-2@trac") {
		t.Error("a message to another address of the domain did not leave")
	}
	for _, xml := range []string{`<iq type='get' id='1' to='ticket-1@trac'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`, `<presence to='ticket-1@trac'/>`} {
		if e := h.romeo.Send(xml); e.Outcome != router.Refused || len(h.remote.Sent()) != 0 {
			t.Errorf("%s fared as %v", xml, e.Outcome)
		}
	}
	if n := h.forged.Stats.Refused.Load(); n != 5 {
		t.Errorf("%d replies are counted", n)
	}
}

func TestErrorsToAForgedForeignSenderAreDroppedAndCounted(t *testing.T) {
	h := newHouse(t)
	h.post("ticket-1@trac/x", "romeo@example.org")
	const failed = `<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`
	for _, e := range []*router.Envelope{
		h.romeo.Send(`<message type='error' to='ticket-1@trac/x'>` + failed + `</message>`),
		h.romeo.Send(`<iq type='error' id='1' to='ticket-1@trac/x'>` + failed + `</iq>`),
		h.romeo.Send(`<iq type='result' id='1' to='ticket-1@trac/x'/>`),
		h.say("", `<message type='error' from='romeo@example.org' to='ticket-1@trac/x'>`+failed+`</message>`),
	} {
		if e.Outcome != router.Dropped {
			t.Errorf("%s fared as %v", e.Stanza.Append(nil), e.Outcome)
		}
	}
	h.Bounce(moduletest.Parse(t, `<message from='ticket-1@trac/x' to='romeo@example.org/gone'/>`), xmpp.RecipientUnavailable(""))
	if sent := h.remote.Sent(); len(sent) != 0 {
		t.Errorf("%q left", sent)
	}
	h.romeo.Want()
	if n := h.forged.Stats.Dropped.Load(); n != 5 {
		t.Errorf("%d errors are counted", n)
	}
}

func TestOnlyTheRecipientIsConcerned(t *testing.T) {
	h := newHouse(t)
	h.post("ticket-1@trac", "juliet@example.org")
	h.post("ticket-1@trac", "nobody@example.org")
	if !h.leaves("ticket-1@trac") {
		t.Error("romeo's message did not leave, though juliet got the forged one")
	}
	if entries, _, err := h.store.Map("forged").List(t.Context(), "nobody@example.org"); len(entries) != 0 || err != nil {
		t.Errorf("for somebody who does not exist %v is remembered, %v", entries, err)
	}
}

func TestWhoProvesToBeRealIsAnswered(t *testing.T) {
	h := newHouse(t)
	forge := func() {
		h.post("alice@b.example", "romeo@example.org/orchard")
		h.say("b.example", `<message type='error' from='alice@b.example' to='romeo@example.org'/>`)
		h.say("b.example", `<message from='carol@b.example' to='romeo@example.org'/>`)
		h.romeo.Received()
		if h.leaves("alice@b.example") {
			t.Error("a reply left")
		}
	}
	for _, proof := range []string{`<message type='chat'`, `<presence`, `<iq type='get' id='1'`} {
		forge()
		h.say("b.example", proof+` from='alice@b.example/phone' to='romeo@example.org/orchard'/>`)
		h.romeo.Received()
		if !h.leaves("alice@b.example") {
			t.Errorf("after %s no reply left", proof)
		}
		h.open()
		if !h.leaves("alice@b.example") {
			t.Error("that she is real is forgotten after a restart")
		}
	}
}

func TestAServiceDoesNotReplyEither(t *testing.T) {
	h := newHouse(t)
	h.post("ticket-1@trac", "x@"+bot)
	reply := `<message from='y@` + bot + `/z' to='ticket-1@trac'><body>unknown command</body></message>`
	if e := h.say("", reply); e.Outcome != router.Refused || len(h.remote.Sent()) != 0 {
		t.Errorf("a reply fared as %v", e.Outcome)
	}
	h.say("trac", `<message from='ticket-1@trac' to='`+bot+`'/>`)
	if e := h.say("", reply); e.Outcome != router.Queued || len(h.remote.Sent()) != 1 {
		t.Errorf("a reply to somebody real fared as %v", e.Outcome)
	}
}

func TestOneselfAndOurOwnDomainsAreNotForeign(t *testing.T) {
	h := newHouse(t)
	for _, from := range []string{"andy@example.org", "ticket-1@example.org", "x@" + bot} {
		h.post(from, "romeo@example.org")
	}
	h.say("b.example", `<message from='alice@b.example' to='romeo@example.org'/>`)
	if _, version, _ := h.store.Map("forged").List(t.Context(), "romeo@example.org"); version != 0 {
		t.Errorf("something was written: version %d", version)
	}
}

func TestItIsRememberedForAWeekAndOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.post("ticket-1@trac", "romeo@example.org")
		time.Sleep(6 * 24 * time.Hour)
		if h.leaves("ticket-1@trac") {
			t.Error("a reply left after six days")
		}
		h.open()
		h.post("ticket-1@trac", "romeo@example.org")
		time.Sleep(7 * 24 * time.Hour)
		h.open()
		if h.leaves("ticket-1@trac") {
			t.Error("a reply left seven days after the last message")
		}
		time.Sleep(2 * time.Hour)
		if !h.leaves("ticket-1@trac") {
			t.Error("a reply did not leave, though the week is over")
		}
	})
}

func TestAStreamOfMessagesWritesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for range 100 {
			h.post("ticket-1@trac", "romeo@example.org")
		}
		if _, version, _ := h.store.Map("forged").List(t.Context(), "romeo@example.org"); version != 1 {
			t.Errorf("%d writes", version)
		}
		h.store.Hold()
		if e := h.post("ticket-2@trac", "romeo@example.org"); len(e.Pendings) != 1 {
			t.Errorf("the message waits for %d writes", len(e.Pendings))
		}
		h.store.Release(nil)
	})
}

func TestTheOldestOfTooManyGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for i := range maxSenders + 1 {
			h.post(fmt.Sprintf("ticket-%d@trac", i), "romeo@example.org")
			time.Sleep(time.Second)
		}
		if !h.leaves("ticket-0@trac") || h.leaves("ticket-1@trac") || h.leaves(fmt.Sprintf("ticket-%d@trac", maxSenders)) {
			t.Error("not the oldest one was forgotten")
		}
		time.Sleep(8 * 24 * time.Hour)
		h.post("ticket-x@trac", "romeo@example.org")
		if entries, _, _ := h.store.Map("forged").List(t.Context(), "romeo@example.org"); len(entries) != 1 {
			t.Errorf("%d senders are kept, all but one of them expired", len(entries))
		}
	})
}

func TestWhatCannotBeRememberedIsNotDelivered(t *testing.T) {
	h := newHouse(t)
	h.store.Fail(storage.ErrUnavailable)
	if e := h.post("ticket-1@trac", "romeo@example.org"); e.Err == nil || e.Err.Condition != xmpp.CondResourceConstraint {
		t.Errorf("a forged message fared as %v", e.Outcome)
	}
	if e := h.romeo.Send(`<message to='alice@b.example'/>`); e.Err == nil || e.Err.Condition != xmpp.CondResourceConstraint {
		t.Errorf("a message to a peer fared as %v", e.Outcome)
	}
	if e := h.romeo.Send(`<message type='error' to='alice@b.example'/>`); e.Outcome != router.Dropped {
		t.Errorf("an error fared as %v", e.Outcome)
	}
	if e := h.say("b.example", `<message type='chat' from='alice@b.example' to='romeo@example.org'/>`); e.Outcome != router.Delivered {
		t.Errorf("a message of a peer fared as %v", e.Outcome)
	}
	h.store.Fail(nil)
	h.post("ticket-1@trac", "romeo@example.org")
	h.store.Fail(storage.ErrUnavailable)
	if h.leaves("ticket-1@trac") {
		t.Error("what is known is forgotten while storage is away")
	}
}

func TestAWriteThatFailedIsNoMemory(t *testing.T) {
	h := newHouse(t)
	h.store.Hold()
	h.post("ticket-1@trac", "romeo@example.org")
	if h.leaves("ticket-1@trac") {
		t.Error("a reply left before the write had ended")
	}
	h.store.Release(errors.New("the disk is full"))
	if sh, _ := h.forged.pairs.shard("romeo@example.org"); len(sh.owners) != 0 {
		t.Errorf("%v is kept in memory", sh.owners)
	}
}

func TestWhatIsKeptOfAnAccountGoesWithIt(t *testing.T) {
	h := newHouse(t)
	h.post("ticket-1@trac", "romeo@example.org")
	if err := h.forged.Module().Removed(jid.MustParse("romeo@example.org")); err != nil {
		t.Fatal(err)
	}
	if !h.leaves("ticket-1@trac") {
		t.Error("it is still remembered")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	p := newPairs(moduletest.NewStore().Map("forged"))
	for i := range 2 * shards * cached {
		if _, err := p.add(fmt.Sprintf("u%d@example.org", i), "a@b"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range p.shards {
		if n := len(p.shards[i].owners); n > cached {
			t.Fatalf("%d owners in one shard", n)
		}
	}
}

func FuzzRecordsAreReadOrRefused(f *testing.F) {
	f.Add(record(1))
	f.Add([]byte{recordVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		if at, ok := readRecord(b); ok && string(record(at)) != string(b) {
			t.Errorf("%x is read as %d", b, at)
		}
	})
}
