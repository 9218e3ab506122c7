package archive

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A message that is refused since storage has gone away in the middle of it cannot be taken out of the archives then.
// When it is sent again it is a new one all the same, and the first goes as soon as it can.
func TestWhatWasRefusedWithoutStorageIsNewWhenItComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempt := 0
		var h *house
		h = newHouse(t, router.Module{Name: "keeper", Unclaimed: func(e *router.Envelope) {
			if attempt++; attempt == 1 {
				h.store.Fail(storage.ErrUnavailable)
				e.Refuse(xmpp.ResourceConstraint(""))
				return
			}
			if e.Repeated != (attempt == 3) {
				t.Errorf("attempt %d is taken for a repetition: %v", attempt, e.Repeated)
			}
			e.Settle(router.Stored)
		}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { h.a.Run(ctx); close(ended) }()
		defer func() { stop(); <-ended }()
		send := func() router.Outcome {
			e := &router.Envelope{Account: jid.MustParse("romeo@example.org"), Durable: true, Quiet: true, Dedup: "key",
				Stanza: moduletest.Parse(t, `<message from='romeo@example.org' to='nurse@example.org' type='chat'><body>x</body></message>`)}
			h.r.Route(e)
			return e.Outcome
		}
		if o := send(); o != router.Refused {
			t.Errorf("without storage: %v", o)
		}
		h.store.Fail(nil)
		if n := len(h.records("nurse")); n != 1 {
			t.Fatalf("%d messages are there, which storage should have kept", n)
		}
		if o := send(); o != router.Stored {
			t.Errorf("sent again: %v", o)
		}
		if o := send(); o != router.Stored || attempt != 3 {
			t.Errorf("and again: %v, attempt %d", o, attempt)
		}
		<-time.After(2 * againEvery)
		for _, user := range []string{"romeo", "nurse"} {
			if n := len(h.records(user)); n != 1 {
				t.Errorf("%s: %d messages", user, n)
			}
		}
		if all := h.a.refused.all(); len(all) != 0 {
			t.Errorf("still known are %v", all)
		}
	})
}

// Accounts that move are forgotten, and so many are known, and no more.
func TestRemainsAreBoundedAndMove(t *testing.T) {
	h := newHouse(t)
	for i := range mostRefused {
		if !h.a.refused.add([]string{"a@x", "b@x"}[i%2], uint64(i)) {
			t.Fatalf("no room for %d", i)
		}
	}
	if h.a.refused.add("a@x", mostRefused) {
		t.Error("there is room for more than may be")
	}
	h.a.moved(func(owner string) bool { return owner == "a@x" })
	if h.a.refused.has("a@x", 0) || !h.a.refused.has("b@x", 1) || h.a.refused.n != mostRefused/2 {
		t.Errorf("%d are left", h.a.refused.n)
	}
}
