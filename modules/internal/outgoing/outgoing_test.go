package outgoing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/storage"
)

var errAway = errors.New("away")

// house is a queue with a program that does what it is told.
type house struct {
	*Queue
	t     *testing.T
	store *moduletest.Store
	on    atomic.Bool

	mu      sync.Mutex // guards the rest
	program func(text string) (final bool, err error)
	tries   []string
	ids     []uint64
	lost    []string
	busy    int
	most    int
}

func newHouse(t *testing.T, program func(text string) (final bool, err error)) *house {
	h := &house{t: t, store: moduletest.NewStore(), program: program}
	h.on.Store(true)
	h.open()
	t.Cleanup(func() { h.Close() })
	return h
}

// open starts anew over what is stored.
func (h *house) open() {
	h.Queue = New(Options{Log: h.store.Log("queue"), Owner: "bot", MaxRecords: 100, MaxBytes: 10_000, Age: time.Hour,
		Parallel: 2, On: h.on.Load, Logger: moduletest.Discard(),
		Sender: func(r storage.Record) string { sender, _, _ := strings.Cut(string(r.Data), " "); return sender },
		Try: func(ctx context.Context, r storage.Record) (bool, error) {
			h.mu.Lock()
			h.tries, h.ids = append(h.tries, string(r.Data)), append(h.ids, r.ID)
			h.busy++
			h.most = max(h.most, h.busy)
			h.mu.Unlock()
			defer func() { h.mu.Lock(); h.busy--; h.mu.Unlock() }()
			if strings.HasSuffix(string(r.Data), "slow") {
				select {
				case <-time.After(10 * time.Second):
				case <-ctx.Done():
					return false, ctx.Err()
				}
			}
			return h.program(string(r.Data))
		},
		Waits: func(storage.Record, error, time.Duration) {},
		Lost: func(r storage.Record, err error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.lost = append(h.lost, fmt.Sprintf("%s: %v", r.Data, err))
		}})
}

func (h *house) append(all ...string) {
	h.t.Helper()
	for _, text := range all {
		sender, _, _ := strings.Cut(text, " ")
		if _, err := h.Append(sender, []byte(text), ""); err != nil {
			h.t.Fatal(err)
		}
		h.Kick()
	}
}

// tried are the requests that were tried until now, with their ids.
func (h *house) tried() (all []string, ids []uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.tries), slices.Clone(h.ids)
}

// want compares what was tried with what should have been.
func (h *house) want(what string, got *[]string, want ...string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(*got, want) {
		h.t.Errorf("%s: %q, want %q", what, *got, want)
	}
}

func (h *house) left(want int) {
	h.t.Helper()
	if n, err := h.Size(h.t.Context()); err != nil || n != want {
		h.t.Errorf("%d are left, want %d; %v", n, want, err)
	}
}

func takes(string) (bool, error) { return false, nil }

func TestRequestsOfOneSenderGoInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, takes)
		h.append("ann 1 slow", "ann 2", "ann 3")
		synctest.Wait()
		h.want("at first", &h.tries, "ann 1 slow")
		time.Sleep(11 * time.Second)
		h.want("in the end", &h.tries, "ann 1 slow", "ann 2", "ann 3")
		h.left(0)
		h.Close()
	})
}

func TestOneSenderDoesNotWaitForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(text string) (bool, error) {
			if strings.HasPrefix(text, "ann 1") {
				return false, errAway
			}
			return false, nil
		})
		h.append("ann 1", "ann 2", "ben 1", "ben 2")
		time.Sleep(time.Minute)
		tries, _ := h.tried()
		for _, text := range []string{"ben 1", "ben 2"} {
			if !slices.Contains(tries, text) {
				t.Errorf("%s has not been tried", text)
			}
		}
		if slices.Contains(tries, "ann 2") {
			t.Error("ann 2 has overtaken ann 1")
		}
		h.left(2)
		h.Close()
	})
}

func TestNoMoreAreUnderWayThanMayBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, takes)
		for i := range 10 {
			h.append(fmt.Sprintf("u%d slow", i))
		}
		time.Sleep(51 * time.Second)
		h.left(0)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.most != 2 {
			t.Errorf("%d were under way at once", h.most)
		}
	})
}

func TestWhatIsNotTakenIsTriedAgainUntilItIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(string) (bool, error) { return false, errAway })
		h.append("ann 1", "ann 2")
		time.Sleep(time.Hour - time.Second)
		h.left(2)
		h.want("meanwhile, lost", &h.lost)
		time.Sleep(2 * time.Second)
		h.left(0)
		h.want("lost", &h.lost, "ann 1: not taken in 1h0m0s", "ann 2: not taken in 1h0m0s")
		tries, ids := h.tried()
		if n := len(tries); n < 12 || n > 30 { // 1 s, 2 s, … 256 s, then every 5 min
			t.Errorf("there were %d tries", n)
		}
		if got := slices.Compact(tries); got[0] != "ann 1" || len(slices.Compact(ids)) != len(got) {
			t.Errorf("%v were tried as %v", got, ids)
		}
		h.Close()
	})
}

func TestWhatIsRefusedForGoodIsLostAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(text string) (bool, error) { return text == "ann 1", errIf(text == "ann 1") })
		h.append("ann 1", "ann 2")
		synctest.Wait()
		h.want("tried", &h.tries, "ann 1", "ann 2")
		h.want("lost", &h.lost, "ann 1: away")
		h.left(0)
		h.Close()
	})
}

func errIf(yes bool) error {
	if yes {
		return errAway
	}
	return nil
}

func TestARestartLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(string) (bool, error) { return false, errAway })
		h.append("ann 1", "ann 2 slow", "ben 1")
		synctest.Wait()
		h.Close()
		h.left(3)
		_, before := h.tried()
		h.tries, h.ids, h.program = nil, nil, takes
		h.open()
		h.Kick()
		time.Sleep(11 * time.Second)
		tries, ids := h.tried()
		if slices.Sort(tries); !slices.Equal(tries, []string{"ann 1", "ann 2 slow", "ben 1"}) {
			t.Errorf("%q were tried", tries)
		}
		if !slices.Contains(ids, before[0]) {
			t.Error("what was tried before has another id now")
		}
		h.left(0)
		h.Close()
	})
}

func TestWhileItIsOffNothingGoesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, takes)
		h.on.Store(false)
		h.append("ann 1")
		time.Sleep(time.Minute)
		h.want("tried", &h.tries)
		h.left(1)
		h.on.Store(true)
		h.Kick()
		synctest.Wait()
		h.want("tried", &h.tries, "ann 1")
		h.left(0)
		h.Close()
	})
}

func TestOnePeerLeavesRoomForOthers(t *testing.T) {
	h := newHouse(t, takes)
	h.on.Store(false)
	var full error
	for full == nil {
		_, full = h.Append("ann", []byte("ann "+strings.Repeat("x", 200)), "")
	}
	if !errors.Is(full, storage.ErrFull) {
		t.Fatal(full)
	}
	if _, err := h.Append("ben", []byte("ben 1"), ""); err != nil {
		t.Errorf("another: %v", err)
	}
	if n, _ := h.Size(t.Context()); n > 40 {
		t.Errorf("one has %d places of 100", n)
	}
}

func TestARepetitionIsQueuedOnce(t *testing.T) {
	h := newHouse(t, takes)
	h.on.Store(false)
	for range 2 {
		if _, err := h.Append("ann", []byte("ann 1"), "the same"); err != nil {
			t.Fatal(err)
		}
	}
	h.left(1)
}

func TestStorageThatIsAwayForAWhileLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, takes)
		h.on.Store(false)
		h.append("ann 1", "ann 2")
		synctest.Wait()
		h.store.Fail(storage.ErrUnavailable)
		h.on.Store(true)
		h.Kick()
		time.Sleep(time.Minute)
		h.want("tried", &h.tries)
		h.store.Fail(nil)
		time.Sleep(11 * time.Minute)
		h.want("tried", &h.tries, "ann 1", "ann 2")
		h.left(0)
		h.Close()
	})
}
