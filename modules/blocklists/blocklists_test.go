package blocklists

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func hash(of string) string {
	s := sha256.Sum256([]byte(of))
	return hex.EncodeToString(s[:])
}

// service is a publish-subscribe service at rtbl.example.
type service struct {
	r *router.Router

	mu         sync.Mutex // guards the rest
	items      []string
	pages      int // items of one page; 0: it knows no pages
	refuse     string
	silent     bool
	pretends   string // answers come from there
	asked      []string
	subscriber string
	during     func() // called before a page is answered
}

// handle takes what leaves for the service, as the peer would.
func (s *service) handle(e *router.Envelope) {
	e.Settle(router.Delivered)
	el := e.Stanza.Child(xmpp.Name{Space: xmpp.NSPubSub, Local: "pubsub"})
	if el == nil {
		return
	}
	verb := el.Children()[0]
	s.mu.Lock()
	s.asked = append(s.asked, verb.Name.Local)
	during, silent := s.during, s.silent
	reply := e.Stanza.Result(nil)
	switch {
	case s.refuse != "":
		reply = e.Stanza.ErrorReply(xmpp.ItemNotFound(s.refuse))
	case verb.Name.Local == "subscribe":
		s.subscriber = verb.Attr("jid")
		reply = e.Stanza.Result([]byte("<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscription node='bans' subscription='subscribed'/></pubsub>"))
	case verb.Name.Local == "items":
		reply = e.Stanza.Result(s.page(el))
	}
	if s.pretends != "" {
		reply.From = jid.MustParse(s.pretends)
	}
	s.mu.Unlock()
	if silent {
		return
	}
	if during != nil && verb.Name.Local == "items" {
		during()
	}
	s.r.Route(&router.Envelope{Quiet: true, Peer: "rtbl.example", Stanza: &reply})
}

// page is the answer to a request for items; the caller holds mu.
func (s *service) page(el *xmpp.Element) []byte {
	some, last := s.items, ""
	if set := el.Child(xmpp.Name{Space: xmpp.NSRSM, Local: "set"}); set != nil && s.pages > 0 {
		if after := set.ChildLocal("after"); after != nil {
			some = some[slices.Index(some, after.Text())+1:]
		}
		if some = some[:min(len(some), s.pages)]; len(some) > 0 {
			last = "<set xmlns='http://jabber.org/protocol/rsm'><last>" + some[len(some)-1] + "</last></set>"
		}
	}
	var b strings.Builder
	for _, id := range some {
		fmt.Fprintf(&b, "<item id='%s'><report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'/></item>", id)
	}
	return []byte("<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='bans'>" + b.String() + "</items>" + last + "</pubsub>")
}

// house is a server that follows one list.
type house struct {
	*testing.T
	r       *router.Router
	store   *moduletest.Store
	s       *service
	l       *Lists
	sources []Source
	log     *slog.Logger
	stop    func()
}

var bans = Source{jid.MustParse("rtbl.example"), "bans"}

// newHouse belongs into a bubble of synctest.
func newHouse(t *testing.T, items ...string) *house {
	h := &house{T: t, r: moduletest.New("juliet"), store: moduletest.NewStore(), sources: []Source{bans},
		log: moduletest.Discard()}
	h.s = &service{r: h.r, items: items}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *house) start() {
	if h.stop != nil {
		h.stop()
	}
	h.l = New(Options{Router: h.r, Kept: h.store.Map("blocklists"), Sources: func() []Source { return h.sources },
		Address: func(i int) string { return fmt.Sprint("secret", i) }, Host: func() string { return "example.org" },
		Log: h.log})
	// The service is one of this router, so that what goes there needs no peer.
	h.r.Use(h.l.Module(), router.Module{Name: "service", Service: &router.Service{Domains: func() []string { return []string{"rtbl.example"} },
		Handle: h.s.handle}})
	ctx, cancel := context.WithCancel(h.Context())
	var running sync.WaitGroup
	running.Go(func() { h.l.Run(ctx) })
	h.stop = func() { cancel(); running.Wait() }
	synctest.Wait()
}

// listed wants these on the list, of those that the tests know.
func (h *house) listed(want ...string) {
	h.Helper()
	synctest.Wait()
	for _, who := range []string{"tybalt@spam.example", "paris@good.example", "x@bad.example", "x@plain.example"} {
		if got := h.l.Listed(jid.MustParse(who + "/x")); got != slices.Contains(want, who) {
			h.Errorf("%s is listed: %v", who, got)
		}
	}
}

// event has the service, or somebody else, tell what has happened.
func (h *house) event(from, payload string) *router.Envelope {
	h.Helper()
	e := &router.Envelope{Quiet: true, Peer: "rtbl.example", Stanza: moduletest.Parse(h.T, `<message from='`+from+`' to='secret0@example.org'>`+
		`<event xmlns='http://jabber.org/protocol/pubsub#event'>`+payload+`</event></message>`)}
	h.r.Route(e)
	return e
}

func TestAListIsReadAndFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, hash("tybalt@spam.example"), hash("bad.example"), "plain.example", "no id", "")
		h.listed("tybalt@spam.example", "x@bad.example", "x@plain.example")
		if h.s.subscriber != "secret0@example.org" || h.l.Entries() != 3 {
			t.Errorf("%s has subscribed to %d entries", h.s.subscriber, h.l.Entries())
		}
		if h.l.Listed(jid.JID{}) || h.l.Listed(jid.MustParse("tybalt@example.org")) {
			t.Error("nobody, or an account of this server, is listed")
		}
		h.event("rtbl.example", "<items node='bans'><item id='"+hash("paris@good.example")+"'/><retract id='"+hash("bad.example")+"'/></items>")
		h.listed("tybalt@spam.example", "paris@good.example", "x@plain.example")
		h.event("rtbl.example", "<items node='other'><retract id='plain.example'/></items>")
		h.listed("tybalt@spam.example", "paris@good.example", "x@plain.example")
		h.event("rtbl.example", "<purge node='bans'/>")
		h.listed()
	})
}

func TestPagesAreReadToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var items []string
		for i := range 50 {
			items = append(items, hash(fmt.Sprint(i)))
		}
		h := newHouse(t)
		h.s.mu.Lock()
		h.s.pages, h.s.items = 7, append(items, hash("tybalt@spam.example"))
		h.s.mu.Unlock()
		h.start()
		h.listed("tybalt@spam.example")
		if h.l.Entries() != 51 {
			t.Errorf("%d entries", h.l.Entries())
		}
		// What comes and goes while pages are read.
		done := false
		h.s.mu.Lock()
		h.s.during = func() {
			if !done {
				done = true
				h.event("rtbl.example", "<items node='bans'><item id='"+hash("paris@good.example")+"'/><retract id='"+hash("tybalt@spam.example")+"'/></items>")
			}
		}
		h.s.mu.Unlock()
		h.start()
		h.listed("paris@good.example")
	})
}

func TestOnlyTheServiceIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, hash("tybalt@spam.example"))
		for _, from := range []string{"rtbl.example/x", "a@rtbl.example", "spam.example"} {
			e := h.event(from, "<items node='bans'><retract id='"+hash("tybalt@spam.example")+"'/></items>")
			if e.Outcome != router.Refused || e.Err.Condition != xmpp.CondServiceUnavailable {
				t.Errorf("an event of %s: %v, %v", from, e.Outcome, e.Err)
			}
		}
		h.listed("tybalt@spam.example")
		h.s.mu.Lock()
		h.s.pretends, h.s.items = "spam.example", nil
		h.s.mu.Unlock()
		h.start()
		synctest.Wait()
		h.listed("tybalt@spam.example")
		time.Sleep(patience + time.Second)
		h.listed("tybalt@spam.example")
		h.s.mu.Lock()
		h.s.pretends = ""
		h.s.mu.Unlock()
		time.Sleep(againMax)
		h.listed()
	})
}

func TestWhatIsKnownHoldsOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, hash("tybalt@spam.example"), "plain.example")
		h.s.mu.Lock()
		h.s.refuse = "gone"
		h.s.mu.Unlock()
		h.start()
		h.listed("tybalt@spam.example", "x@plain.example")
		h.s.mu.Lock()
		h.s.refuse, h.s.silent = "", true
		h.s.mu.Unlock()
		time.Sleep(againMax)
		h.listed("tybalt@spam.example", "x@plain.example")
		h.s.mu.Lock()
		h.s.silent, h.s.items = false, []string{"bad.example"}
		h.s.mu.Unlock()
		time.Sleep(2 * againMax)
		h.listed("x@bad.example")
		h.start()
		h.listed("x@bad.example")
	})
}

// node is one of several that has all slots or none.
type node struct{ all atomic.Bool }

func (n *node) Here(string) bool              { return n.all.Load() }
func (n *node) Send(string, *router.Envelope) {}
func (n *node) Tell(router.Sequel)            {}

func TestANodeWithoutSlotsWaitsForThemQuietly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "plain.example")
		var log strings.Builder
		var n node
		h.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
		h.r.SetHomes(&n)
		h.start()
		h.listed()
		if !h.l.On() || log.Len() > 0 {
			t.Errorf("on %t, the log says %q", h.l.On(), log.String())
		}
		n.all.Store(true)
		<-time.After(homeless)
		h.listed("x@plain.example")
	})
}

// chosen is one of several nodes that has what a test says. What leaves for another node goes nowhere.
type chosen struct {
	node
	here atomic.Pointer[string]
}

func (n *chosen) Here(owner string) bool {
	return owner == *n.here.Load() || !strings.HasPrefix(owner, "secret")
}

func TestAnAddressThatMovesIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "plain.example")
		var n chosen
		first, second := "secret0@example.org", "secret3@example.org"
		n.here.Store(&first)
		h.r.SetHomes(&n)
		h.s.mu.Lock()
		h.s.silent = true // as if its answers went elsewhere
		h.s.mu.Unlock()
		h.start()
		h.s.mu.Lock()
		h.s.silent = false
		h.s.mu.Unlock()
		n.here.Store(&second)
		began := time.Now()
		if err := h.r.Release(t.Context(), func(owner string) bool { return owner == first }, "", ""); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if h.s.subscriber != second || time.Since(began) > time.Second {
			t.Errorf("%s has subscribed after %v", h.s.subscriber, time.Since(began))
		}
		h.listed("x@plain.example")
	})
}

// What is known is not that of the slots which are at home on a node: these are others after each start.
func TestNodesKeepInCommonWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "plain.example") // as a server that is alone
		h.listed("x@plain.example")
		var n node
		n.all.Store(true)
		h.r.SetHomes(&n)
		h.s.mu.Lock()
		h.s.silent = true
		h.s.mu.Unlock()
		h.start()
		h.listed("x@plain.example")
		if size, _, _ := h.store.Map("blocklists").Size(t.Context(), "secret0@example.org"); size != 0 {
			t.Errorf("%d entries are kept where the nodes do not look for them", size)
		}
		h.event("rtbl.example", "<items node='bans'><item id='"+hash("tybalt@spam.example")+"'/></items>")
		h.listed("tybalt@spam.example", "x@plain.example")
		n.all.Store(false)
		h.start()
		h.listed("tybalt@spam.example", "x@plain.example")
		h.sources = nil
		h.l.Poke()
		h.listed()
		h.start()
		h.listed()
		if size, _, _ := h.store.Map("blocklists").Size(t.Context(), inCommon); size != 0 {
			t.Errorf("%d entries of a list that nobody wants are kept", size)
		}
	})
}

func TestALostSubscriptionIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "plain.example")
		h.event("rtbl.example", "<subscription node='bans' subscription='none'/>")
		h.s.mu.Lock()
		h.s.items = []string{"bad.example"}
		h.s.mu.Unlock()
		time.Sleep(2 * againMin)
		h.listed("x@bad.example")
		h.event("rtbl.example", "<delete node='bans'/>")
		h.listed()
		time.Sleep(2 * againMin)
		h.listed("x@bad.example")
		h.s.mu.Lock()
		h.s.items = []string{"plain.example"}
		h.s.mu.Unlock()
		time.Sleep(refresh + time.Minute)
		h.listed("x@plain.example")
	})
}

func TestAListThatNobodyWantsIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "plain.example")
		h.listed("x@plain.example")
		h.sources = nil
		h.l.Poke()
		h.listed()
		if n, _, _ := h.store.Map("blocklists").Size(t.Context(), "secret0@example.org"); n != 0 || h.l.Entries() != 0 || h.l.On() {
			t.Errorf("%d entries are stored, %d known", n, h.l.Entries())
		}
		if h.s.asked[len(h.s.asked)-1] != "unsubscribe" {
			t.Errorf("the service was asked %q", h.s.asked)
		}
		h.sources = []Source{bans}
		h.l.Poke()
		h.listed("x@plain.example")
		h.sources = nil // while the server is off
		h.start()
		if n, _, _ := h.store.Map("blocklists").Size(t.Context(), "secret0@example.org"); n != 0 {
			t.Errorf("%d entries are stored", n)
		}
	})
}

func TestAListIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		one := h.l.of(bans.Service)[0]
		var c change
		for i := range mostEntries + 10 {
			c.on = append(c.on, sha256.Sum256(fmt.Append(nil, i)))
		}
		one.apply(t.Context(), c)
		if h.l.Entries() != mostEntries {
			t.Errorf("%d entries", h.l.Entries())
		}
	})
}

func TestWithoutStorageAListHoldsUntilTheServerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.store.Fail(storage.ErrUnavailable)
		h.event("rtbl.example", "<items node='bans'><item id='plain.example'/></items>")
		h.listed("x@plain.example")
		h.store.Fail(nil)
	})
}

func TestNobodyElseIsForTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for _, to := range []string{"juliet@example.org", "secret1@example.org"} {
			e := &router.Envelope{Quiet: true, Stanza: moduletest.Parse(t, `<message from='rtbl.example' to='`+to+`'>`+
				`<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='bans'><item id='plain.example'/></items></event></message>`)}
			h.r.Route(e)
		}
		h.listed()
	})
}

func FuzzEvent(f *testing.F) {
	f.Add("<items node='bans'><item id='plain.example'/><retract id='x'/></items><purge node='bans'/>")
	f.Add("<items><item/></items><subscription node='bans'/>")
	f.Fuzz(func(t *testing.T, payload string) {
		el, err := xmpp.ParseElement([]byte("<event xmlns='http://jabber.org/protocol/pubsub#event'>" + payload + "</event>"))
		if err != nil {
			return
		}
		if c := readEvent(el, "bans"); c.ended && !c.all && len(c.on) > len(payload) {
			t.Errorf("%s: %+v", payload, c)
		}
	})
}
