package posts

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/storage"
)

// remembers says whether something of andy is in memory.
func (h *house) remembers() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.accounts[andy.String()] != nil || h.unsaved != 0
}

func TestPostsOfAnAccountThatMovesAreWrittenAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		s := h.follow(0)
		next(h.T, s)
		id, _ := h.sent(false, "", router.Stored, bob)
		next(h.T, s)
		ended, waited := make(chan error, 1), make(chan bool, 1)
		other, p := h.sent(false, "", router.Delivered, bob)
		next(h.T, s)
		go func() {
			_, err := s.Next(t.Context())
			ended <- err
		}()
		go func() { waited <- p.Wait(t.Context()) }()
		synctest.Wait()
		gone := func(owner string) bool { return owner == andy.String() }
		if err := h.router.Release(t.Context(), gone, "", ""); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, posting.ErrClosed) {
			t.Errorf("a stream ended with %v", err)
		}
		<-waited
		s.Close()
		if h.remembers() {
			t.Error("the account is still in memory")
		}
		h.is(id, "bob@example.org stored") // from storage
		h.is(other, "bob@example.org delivered")
	})
}

func TestWhatBelongsToAnotherHomeIsNotWrittenAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.sent(false, "", router.Stored, bob)
		h.store.Fail(storage.ErrElsewhere)
		<-time.After(2 * flushAfter)
		synctest.Wait()
		if h.remembers() {
			t.Error("the account is still in memory")
		}
		h.store.Fail(nil)
	})
}
