package posts

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
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

// shire is a node that nobody is at home on but one.
type shire string

func (n shire) Here(owner string) bool        { return owner == string(n) }
func (n shire) Send(string, *router.Envelope) {}
func (n shire) Tell(router.Sequel)            {}

// An answer is seen at the home of whom it is for, who has posted: where it was sent nobody knows the post.
func TestAnswersAreSeenAtTheHomeOfWhoPosted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const receipt = "<message to='andy@example.org'><received xmlns='urn:xmpp:receipts' id='mine'/></message>"
		h := newHouse(t)
		bobs := moduletest.Login(h.T, h.router, "bob/desk")
		id, _ := h.sent(true, "mine", router.Stored, bob)
		h.router.SetHomes(shire(bob.String()))
		bobs.Send(receipt)
		h.is(id, "bob@example.org stored")
		h.router.SetHomes(shire(andy.String()))
		s := moduletest.Parse(h.T, receipt)
		s.From = bobs.Session.Addr()
		h.router.Receive(&router.Envelope{Stanza: s, Session: h.router.Standin(s.From), Account: bob})
		h.is(id, "bob@example.org received")
	})
}
