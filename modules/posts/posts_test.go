package posts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

var andy, bob, eve = jid.MustParse("andy@example.org"), jid.MustParse("bob@example.org"), jid.MustParse("eve@example.net")

type house struct {
	*testing.T
	*Tracker
	store  *moduletest.Store
	router *router.Router
	limits Limits
	off    bool
	full   bool
	end    func()
}

// newHouse runs a tracker in the bubble of a test.
func newHouse(t *testing.T) *house {
	h := &house{T: t, store: moduletest.NewStore(), limits: Limits{
		Keep: 7 * 24 * time.Hour, Account: 1 << 20, All: 8 << 20, Streams: 2}}
	h.start()
	t.Cleanup(func() { h.end() })
	return h
}

func (h *house) start() {
	h.router = moduletest.New("andy", "bob")
	h.Tracker = New(Options{Router: h.router, Records: h.store.Log("posts"), Limits: func() Limits { return h.limits },
		Off: func() bool { return h.off }, Full: func() bool { return h.full }, Log: moduletest.Discard()})
	h.router.Use(h.Module())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Tracker.Run(ctx)
	}()
	t := h.Tracker
	h.end = func() {
		t.Close()
		cancel()
		<-done
	}
	synctest.Wait() // its first round is over: a test may change limits from here on
}

// kill starts anew with what is in storage.
func (h *house) kill() {
	t := h.Tracker
	t.mu.Lock()
	t.closed, t.dirty = true, nil
	t.mu.Unlock()
	h.end()
	h.start()
}

// sent posts to these, who all have this outcome.
func (h *house) sent(said bool, message string, o router.Outcome, to ...jid.JID) (string, posting.Tracking) {
	h.Helper()
	return h.sentFrom(andy, said, message, o, to...)
}

func (h *house) sentFrom(
	from jid.JID, said bool, message string, o router.Outcome, to ...jid.JID,
) (string, posting.Tracking) {
	h.Helper()
	id := h.NewID()
	if message == "" {
		message = id
	}
	p := h.Begin(posting.Sent{ID: id, Account: andy.String(), Sender: from, MessageID: message, Said: said}, len(to),
		func(i int) jid.JID { return to[i] })
	if p == nil {
		h.Fatal("not tracked")
	}
	if err := p.Settle(func(int) (router.Outcome, string, bool) { return o, "", true }).Wait(h.Context()); err != nil {
		h.Fatal(err)
	}
	return id, p
}

// is checks what is kept of a post.
func (h *house) is(id string, want ...string) {
	h.Helper()
	r, err := h.Record(h.Context(), andy.String(), id, 0, 100)
	if err != nil {
		h.Fatalf("%s: %v", id, err)
	}
	var got []string
	for _, b := range r.Recipients {
		got = append(got, strings.TrimSuffix(b.To.String()+" "+b.Outcome.String()+" "+b.Reason, " "))
	}
	if !slices.Equal(got, want) {
		h.Errorf("of %s is kept %q, not %q", id, got, want)
	}
}

func (h *house) peer(xml string) {
	h.Helper()
	s := moduletest.Parse(h, xml)
	h.router.Route(&router.Envelope{Stanza: s, Peer: s.From.Domain(), Quiet: true})
}

func TestWhatBecomesOfAMessageGoesUpOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		id, _ := h.sent(true, "", router.Stored, bob)
		h.is(id, "bob@example.org stored")
		for _, step := range []struct {
			told router.Outcome
			want string
		}{
			{router.Delivered, "delivered"}, {router.Taken, "taken"}, {router.Delivered, "taken"}, {router.Bounced, "bounced"},
			{router.Received, "received"}, {router.Displayed, "displayed"}, {router.Bounced, "displayed"},
			{router.Received, "displayed"},
		} {
			h.router.Tell(router.Sequel{From: andy, To: bob, ID: id, Outcome: step.told})
			h.is(id, "bob@example.org "+step.want)
		}
	})
}

func TestAnswersFindTheirPost(t *testing.T) {
	const receipt, marker = "<received xmlns='urn:xmpp:receipts' id='%s'/>", "<displayed xmlns='urn:xmpp:chat-markers:0' id='%s'/>"
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		c := moduletest.Login(h, h.router, "bob/phone")
		ours, _ := h.sent(true, "", router.Delivered, bob, eve)
		c.Send(fmt.Sprintf("<message to='andy@example.org'>"+receipt+"</message>", ours))
		h.peer(fmt.Sprintf("<message from='eve@example.net/x' to='andy@example.org/any'>"+marker+"</message>", ours))
		h.is(ours, "bob@example.org received", "eve@example.net displayed")

		given, _ := h.sent(false, "4711", router.Queued, eve)
		h.peer("<message type='error' from='eve@example.net' to='andy@example.org' id='4711'><error type='cancel'>" +
			"<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
		h.is(given, "eve@example.net bounced item-not-found")

		forged, _ := h.sentFrom(jid.MustParse("ticket@trac"), true, "", router.Delivered, bob)
		c.Send(fmt.Sprintf("<message to='ticket@trac'>"+receipt+"</message>", forged))
		h.is(forged, "bob@example.org received")
	})
}

func TestAnswersOfOthersSayNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		id, _ := h.sent(true, "", router.Delivered, bob)
		for _, xml := range []string{
			"<message from='eve@example.net' to='andy@example.org'><received xmlns='urn:xmpp:receipts' id='%s'/></message>",
			"<message from='bob@example.net' to='andy@example.org'><received xmlns='urn:xmpp:receipts' id='%s'/></message>",
			"<message from='eve@example.net' to='bob@example.org'><received xmlns='urn:xmpp:receipts' id='%s'/></message>",
			"<message from='eve@example.net' to='andy@example.org' type='error' id='%s'/>",
			"<message from='eve@example.net' to='andy@example.org'><received xmlns='urn:xmpp:receipts' id='%.5s'/></message>",
			"<message from='eve@example.net' to='andy@example.org'><received xmlns='urn:xmpp:receipts'/></message>",
		} {
			if strings.Contains(xml, "%") {
				xml = fmt.Sprintf(xml, id)
			}
			h.peer(xml)
		}
		synctest.Wait()
		h.is(id, "bob@example.org delivered")
	})
}

func TestOfTwoMessagesWithOneIDTheOlderIsTakenFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		first, _ := h.sent(false, "1234", router.Stored, bob)
		second, _ := h.sent(false, "1234", router.Stored, bob)
		tell := func() { h.router.Tell(router.Sequel{From: andy, To: bob, ID: "1234", Outcome: router.Taken}) }
		tell()
		h.is(first, "bob@example.org taken")
		h.is(second, "bob@example.org stored")
		tell()
		h.is(second, "bob@example.org taken")
	})
}

func TestWhatIsKeptSurvivesARestartAndAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		said, _ := h.sent(true, "", router.Stored, bob)
		quiet, _ := h.sent(false, "given", router.Stored, bob, eve)
		h.end() // in order
		h.start()
		synctest.Wait()
		h.is(said, "bob@example.org stored")
		h.is(quiet, "bob@example.org stored", "eve@example.net stored")

		// What happens after the restart finds posts from before it.
		h.router.Tell(router.Sequel{From: andy, To: bob, ID: said, Outcome: router.Taken})
		h.router.Tell(router.Sequel{From: andy, To: eve, ID: "given", Outcome: router.Delivered})
		synctest.Wait()
		h.is(said, "bob@example.org taken")
		time.Sleep(2 * flushAfter)
		synctest.Wait()

		// Whose sender is told the id is kept before it is told; others may be lost.
		last, _ := h.sent(true, "", router.Stored, bob)
		lost, _ := h.sent(false, "", router.Stored, bob)
		h.kill()
		h.is(said, "bob@example.org taken")
		h.is(quiet, "bob@example.org stored", "eve@example.net delivered")
		h.is(last, "bob@example.org stored")
		if _, err := h.Record(h.Context(), andy.String(), lost, 0, 1); !errors.Is(err, posting.ErrNoPost) {
			t.Errorf("a post that was not written is there: %v", err)
		}
	})
}

func TestAPostOfManyIsWrittenInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		var to []jid.JID
		for i := range 1000 {
			to = append(to, jid.MustParse(fmt.Sprintf("user%d@example.org", i)))
		}
		for _, said := range []bool{true, false} {
			id, _ := h.sent(said, "", router.Stored, to...)
			time.Sleep(2 * flushAfter)
			h.router.Tell(router.Sequel{From: andy, To: to[700], ID: id, Outcome: router.Taken})
			time.Sleep(2 * flushAfter)
			h.kill()
			r, err := h.Record(h.Context(), andy.String(), id, 699, 3)
			if err != nil || r.Total != 1000 || r.Counts[router.Stored] != 999 || r.Counts[router.Taken] != 1 {
				t.Fatalf("%+v, %v", r, err)
			}
			if len(r.Recipients) != 3 || r.Recipients[1].To != to[700] || r.Recipients[1].Outcome != router.Taken {
				t.Errorf("the recipients are %+v", r.Recipients)
			}
			h.router.Tell(router.Sequel{From: andy, To: to[999], ID: id, Outcome: router.Taken})
			time.Sleep(2 * flushAfter)
			h.kill()
			list, next, err := h.List(h.Context(), andy.String(), time.Time{}, "", 10, 5)
			last := list[len(list)-1]
			if err != nil || next != "" || last.Total != 1000 || last.Counts[router.Taken] != 2 || len(last.Recipients) != 5 {
				t.Errorf("%+v, %q, %v", last, next, err)
			}
		}
	})
}

func TestManyPostsAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for range 200 {
			id, _ := h.sent(false, "", router.Delivered, bob)
			h.router.Tell(router.Sequel{From: andy, To: bob, ID: id, Outcome: router.Taken})
		}
		time.Sleep(2 * flushAfter)
		synctest.Wait()
		n, _, err := h.store.Log("posts").Size(h.Context(), andy.String())
		if err != nil || n > 5 {
			t.Errorf("200 posts are %d records, %v", n, err)
		}
		var seen []string
		for cursor := ""; ; {
			list, next, err := h.List(h.Context(), andy.String(), time.Time{}, cursor, 7, 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				seen = append(seen, r.ID)
				if r.Counts[router.Taken] != 1 {
					t.Errorf("%+v", r)
				}
			}
			if cursor = next; next == "" {
				break
			}
		}
		if len(seen) != 200 || !slices.IsSorted(seen) || len(slices.Compact(seen)) != 200 {
			t.Errorf("the list has %d posts, in order: %v", len(seen), slices.IsSorted(seen))
		}
	})
}

func TestListBeginsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.sent(false, "", router.Delivered, bob)
		time.Sleep(time.Hour)
		since := time.Now()
		id, _ := h.sent(false, "", router.Delivered, bob)
		list, _, err := h.List(h.Context(), andy.String(), since, "", 10, 1)
		if err != nil || len(list) != 1 || list[0].ID != id {
			t.Errorf("%+v, %v", list, err)
		}
		for _, bad := range []string{"c", "cx", "c1-", "c-1", "1-1", "c1--1", "c0-0"} {
			if _, _, err := h.List(h.Context(), andy.String(), since, bad, 10, 1); !errors.Is(err, posting.ErrCursor) {
				t.Errorf("the cursor %q gives %v", bad, err)
			}
		}
	})
}

func TestPostsOfOthersAreNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		id, _ := h.sent(true, "", router.Delivered, bob)
		if _, err := h.Record(h.Context(), bob.String(), id, 0, 1); !errors.Is(err, posting.ErrNoPost) {
			t.Errorf("bob is told: %v", err)
		}
		if r, err := h.Record(h.Context(), "", id, 0, 1); err != nil || r.Account != andy.String() {
			t.Errorf("an administrator gets %+v, %v", r, err)
		}
	})
}

func TestRecordsGoWithTheirTimeAndWithTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		old, _ := h.sent(true, "", router.Delivered, bob)
		time.Sleep(8 * 24 * time.Hour)
		young, _ := h.sent(true, "", router.Delivered, bob)
		time.Sleep(2 * time.Hour)
		if _, err := h.Record(h.Context(), andy.String(), old, 0, 1); !errors.Is(err, posting.ErrNoPost) {
			t.Errorf("the old one: %v", err)
		}
		h.is(young, "bob@example.org delivered")
		if err := h.router.Remove(andy); err != nil {
			t.Fatal(err)
		}
		h.router.Tell(router.Sequel{From: andy, To: bob, ID: young, Outcome: router.Taken})
		time.Sleep(2 * flushAfter)
		if n, _, _ := h.store.Log("posts").Size(h.Context(), andy.String()); n != 0 {
			t.Errorf("%d records of an account that is gone", n)
		}
	})
}

func TestAnAccountKeepsItsNewestOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.limits.Account = 64 << 10
		first, _ := h.sent(true, "", router.Delivered, bob)
		last := ""
		for range 2000 {
			last, _ = h.sent(true, "", router.Delivered, bob, eve)
		}
		time.Sleep(2 * cachedFor)
		h.sent(false, "", router.Delivered, bob)
		time.Sleep(2 * cachedFor)
		if _, err := h.Record(h.Context(), andy.String(), first, 0, 1); !errors.Is(err, posting.ErrNoPost) {
			t.Errorf("the first: %v", err)
		}
		h.is(last, "bob@example.org delivered", "eve@example.net delivered")
		if _, size, _ := h.store.Log("posts").Size(h.Context(), andy.String()); size > h.limits.Account {
			t.Errorf("%d bytes are kept", size)
		}
	})
}

func TestTooManyRecordsOfAllGoEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.limits.All = 100 << 10
		for range 20 {
			for range 100 {
				h.sent(true, "", router.Delivered, bob, eve)
			}
			time.Sleep(time.Hour)
		}
		if size, err := h.count(h.Context()); err != nil || size > h.limits.All || size == 0 {
			t.Errorf("%d bytes, %v", size, err)
		}
		if h.Stats.Missed.Load() > 0 {
			t.Errorf("%d were not tracked", h.Stats.Missed.Load())
		}
	})
}

func TestNothingIsTrackedWithoutRoomOrWhileOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		begin := func() posting.Tracking {
			return h.Begin(posting.Sent{ID: h.NewID(), Account: "a", Sender: andy, MessageID: "x"}, 1,
				func(int) jid.JID { return bob })
		}
		h.off = true
		if begin() != nil {
			t.Error("tracked while off")
		}
		h.off, h.full = false, true
		if begin() != nil {
			t.Error("tracked with a full disk")
		}
		h.full = false
		p := begin()
		if p == nil {
			t.Fatal("not tracked")
		}
		p.Drop()
		if h.unsaved != 0 || len(h.accounts) != 0 {
			t.Errorf("of what was dropped %d bytes are left, %d accounts", h.unsaved, len(h.accounts))
		}
	})
}

func TestStorageThatFailsLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		id, _ := h.sent(false, "", router.Stored, bob)
		h.store.Fail(storage.ErrUnavailable)
		time.Sleep(5 * flushAfter)
		h.router.Tell(router.Sequel{From: andy, To: bob, ID: id, Outcome: router.Taken})
		time.Sleep(5 * flushAfter)
		h.store.Fail(nil)
		time.Sleep(5 * flushAfter)
		h.kill()
		h.is(id, "bob@example.org taken")
	})
}

func TestMemoryIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for i := range 300 {
			h.sent(i%2 == 0, fmt.Sprint(i%3), router.Stored, bob, eve)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.unsaved != 0 || h.cached.bytes != 0 || h.cached.Len() != 0 || len(h.accounts) != 0 || len(h.dirty) != 0 {
			t.Errorf("%d bytes to write, %d cached in %d pages, %d accounts, %d pages to write", h.unsaved, h.cached.bytes,
				h.cached.Len(), len(h.accounts), len(h.dirty))
		}
	})
}

func TestWaitEndsWhenNothingMoreIsToBeExpected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		wait := func(p posting.Tracking, d time.Duration) (time.Duration, bool) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), d)
			defer cancel()
			waited := p.Wait(ctx)
			return time.Since(began), waited
		}
		id, p := h.sent(true, "", router.Delivered, bob, eve)
		in := func(d time.Duration, to jid.JID, o router.Outcome) {
			id := id
			time.AfterFunc(d, func() { h.router.Tell(router.Sequel{From: andy, To: to, ID: id, Outcome: o}) })
		}
		in(3*time.Second, bob, router.Taken)
		in(5*time.Second, eve, router.Delivered)
		// Delivered is no news of what was delivered, so this one waits to the end.
		if d, _ := wait(p, 30*time.Second); d != 30*time.Second {
			t.Errorf("waited %s", d)
		}
		id, p = h.sent(true, "", router.Queued, bob, eve)
		in(3*time.Second, bob, router.Taken)
		in(5*time.Second, eve, router.Delivered)
		if d, _ := wait(p, 30*time.Second); d != 5*time.Second {
			t.Errorf("waited %s", d)
		}
		if o, _ := p.Now(0); o != router.Taken {
			t.Errorf("bob's copy is %s", o)
		}
		if d, _ := wait(p, time.Second); d != 0 {
			t.Errorf("waited %s once more", d)
		}
		_, p = h.sent(true, "", router.Queued, bob)
		for range maxWaitsOf {
			go wait(p, time.Minute)
		}
		synctest.Wait()
		if _, waited := wait(p, time.Second); waited {
			t.Error("one more could wait")
		}
		h.Quit()
		synctest.Wait()
		if h.waits != 0 {
			t.Errorf("%d wait on", h.waits)
		}
	})
}

func TestAnswersBeforeThePostIsSettledCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		id := h.NewID()
		p := h.Begin(posting.Sent{ID: id, Account: andy.String(), Sender: andy, MessageID: id, Said: true}, 1,
			func(int) jid.JID { return bob })
		h.router.Tell(router.Sequel{From: andy, To: bob, ID: id, Outcome: router.Taken})
		p.Settle(func(int) (router.Outcome, string, bool) { return router.Delivered, "", true })
		h.is(id, "bob@example.org taken")
		if !p.Wait(h.Context()) {
			t.Error("it is waited for")
		}
	})
}

// stanza is for benchmarks: a message between people, as nearly all are.
var stanza = &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, From: bob, To: andy, ID: "x",
	Payload: []byte("<body>hi</body>")}

func BenchmarkPostThatIsTaken(b *testing.B) {
	r := moduletest.New()
	t := New(Options{Router: r, Records: moduletest.NewStore().Log("posts"), Log: moduletest.Discard(),
		Limits: func() Limits { return Limits{Account: 1 << 20} }, Off: func() bool { return false }})
	defer t.Close()
	b.ReportAllocs()
	for b.Loop() {
		id := t.NewID()
		p := t.Begin(posting.Sent{ID: id, Account: "andy@example.org", Sender: andy, MessageID: id}, 1, func(int) jid.JID { return bob })
		if p == nil { // the disk is slower
			continue
		}
		p.Settle(func(int) (router.Outcome, string, bool) { return router.Delivered, "", true })
		t.sequel(router.Sequel{From: andy, To: bob, ID: id, Outcome: router.Taken})
	}
}

func BenchmarkMessageOfOthers(b *testing.B) {
	t := New(Options{})
	t.indexed = true
	s := *stanza
	s.Children = xmpp.Index(s.Payload)
	b.ReportAllocs()
	for b.Loop() {
		t.see(&s, bob)
	}
}
