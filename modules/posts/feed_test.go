package posts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

// next returns what a stream tells within a moment.
func next(t *testing.T, s posting.Stream) (out []string, last uint64) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		list, err := s.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return out, last
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			if c.ID > 0 && c.ID < last {
				t.Errorf("id %d comes after %d", c.ID, last)
			}
			last = max(last, c.ID)
			switch {
			case c.Post == "":
				out = append(out, "ready")
			case c.Total > 0:
				out = append(out, fmt.Sprintf("%s of %d", c.Post, c.Total))
			default:
				out = append(out, fmt.Sprintf("%s %s %s", c.Post, c.To, c.Outcome))
			}
		}
	}
}

func (h *house) follow(since uint64) posting.Stream {
	h.Helper()
	s, err := h.Follow(andy.String(), since)
	if err != nil {
		h.Fatal(err)
	}
	return s
}

func wants(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("told %q, not %q", got, want)
	}
}

func TestAStreamTellsChangesAsTheyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.sent(true, "", router.Stored, bob)
		s := h.follow(0)
		defer s.Close()
		id, _ := h.sent(false, "", router.Stored, bob)
		h.router.Tell(router.Sequel{From: andy, To: bob, ID: id, Outcome: router.Taken})
		got, _ := next(h.T, s)
		wants(h.T, got, "ready", id+" of 1", id+" bob@example.org taken")
	})
}

func TestAStreamGoesOnWhereAnotherEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		s := h.follow(0)
		first, _ := h.sent(true, "", router.Stored, bob)
		_, last := next(h.T, s)
		s.Close()
		time.Sleep(time.Hour)
		second, _ := h.sent(false, "", router.Queued, bob)
		h.router.Tell(router.Sequel{From: andy, To: bob, ID: first, Outcome: router.Taken})
		synctest.Wait()
		h.end()
		h.start()
		synctest.Wait()
		s = h.follow(last)
		defer s.Close()
		h.router.Tell(router.Sequel{From: andy, To: bob, ID: second, Outcome: router.Delivered})
		time.Sleep(time.Second) // it is looked for once the index has been made
		got, _ := next(h.T, s)
		wants(h.T, got, first+" bob@example.org taken", second+" bob@example.org delivered", "ready", second+" bob@example.org delivered")
		got, _ = next(h.T, s)
		wants(h.T, got)
	})
}

func TestAStreamThatIsTooSlowMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.limits.Account = 8 << 20
		s := h.follow(0)
		defer s.Close()
		next(h.T, s)
		want := map[string]bool{}
		for range 2 * ringSize {
			id, _ := h.sent(false, "", router.Stored, bob)
			want[id+" bob@example.org stored"] = true
		}
		for {
			got, _ := next(h.T, s)
			if len(got) == 0 {
				break
			}
			for _, one := range got {
				delete(want, one)
			}
		}
		if len(want) > 0 {
			t.Errorf("%d of %d were not told", len(want), 2*ringSize)
		}
	})
}

func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		a, b := h.follow(0), h.follow(0)
		if _, err := h.Follow(andy.String(), 0); !errors.Is(err, posting.ErrStreams) {
			t.Errorf("a third: %v", err)
		}
		a.Close()
		h.follow(0).Close()
		b.Close()
		for i := range maxStreams {
			if _, err := h.Follow(fmt.Sprint("user", i), 0); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := h.Follow(bob.String(), 0); !errors.Is(err, posting.ErrStreams) {
			t.Errorf("one more: %v", err)
		}
	})
}

func TestStreamsEndWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		s := h.follow(0)
		next(h.T, s)
		ended := make(chan error, 1)
		go func() {
			_, err := s.Next(context.Background())
			ended <- err
		}()
		synctest.Wait()
		h.Quit()
		if err := <-ended; !errors.Is(err, posting.ErrClosed) {
			t.Errorf("it ended with %v", err)
		}
		s.Close()
		if _, err := h.Follow(andy.String(), 0); !errors.Is(err, posting.ErrClosed) {
			t.Errorf("another: %v", err)
		}
	})
}

func TestAStreamIsNotTheOthersBusiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		s, err := h.Follow(bob.String(), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		h.sent(true, "", router.Stored, bob, jid.MustParse("eve@example.net"))
		got, _ := next(h.T, s)
		wants(h.T, got, "ready")
	})
}
