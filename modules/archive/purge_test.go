package archive

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// slow is a log whose trims take their time.
type slow struct {
	storage.Log
	work  func()
	trims []time.Time
}

func (s *slow) Trim(ctx context.Context, owner string, before uint64) (*storage.Pending, error) {
	s.trims = append(s.trims, time.Now())
	s.work()
	return s.Log.Trim(ctx, owner, before)
}

func (h *house) add(owner string, n int) {
	h.Helper()
	for range n {
		if _, _, _, err := h.log.Append(h.Context(), owner+"@example.org", storage.Record{Data: []byte{1}},
			storage.AppendOptions{}); err != nil {
			h.Fatal(err)
		}
	}
}

func TestMessagesGoWhenTheirTimeHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.keep.Store(int64(30 * 24 * time.Hour))
		h.add("romeo", 3)
		ctx, cancel := context.WithCancel(t.Context())
		go h.a.Run(ctx)
		time.Sleep(24 * time.Hour)
		h.add("romeo", 1)
		h.add("juliet", 1)
		left := func(want ...int) {
			t.Helper()
			synctest.Wait()
			if got := []int{len(h.records("romeo")), len(h.records("juliet"))}; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("left: %v, want %v", got, want)
			}
		}
		time.Sleep(29*24*time.Hour - 2*time.Hour)
		left(4, 1)
		time.Sleep(4 * time.Hour)
		left(1, 1)
		h.keep.Store(0) // for ever, from a reload on
		time.Sleep(100 * 24 * time.Hour)
		left(1, 1)
		h.keep.Store(int64(time.Hour))
		time.Sleep(2 * time.Hour)
		left(0, 0)
		cancel()
		synctest.Wait()
	})
}

func TestMessagesOfAnAccountGoWhenItsOwnTimeHasCome(t *testing.T) {
	for name, c := range map[string]struct {
		all, own time.Duration
		is       bool
		left     int
	}{
		"as for all":         {all: 48 * time.Hour, left: 2},
		"sooner":             {48 * time.Hour, 2 * time.Hour, true, 0},
		"later":              {time.Hour, 48 * time.Hour, true, 2},
		"for ever":           {time.Hour, 0, true, 2},
		"others for ever":    {0, time.Hour, true, 0},
		"as for all, again":  {all: time.Hour, left: 0},
		"all for ever again": {left: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.keep.Store(int64(c.all))
				romeo := jid.MustParse("romeo@example.org")
				if !c.is { // what was said before is taken back
					if err := h.a.SetKeep(t.Context(), romeo, time.Second, true); err != nil {
						t.Fatal(err)
					}
				}
				if err := h.a.SetKeep(t.Context(), romeo, c.own, c.is); err != nil {
					t.Fatal(err)
				}
				if keep, own, err := h.a.KeepOf(t.Context(), romeo); keep != c.own || own != c.is || err != nil {
					t.Errorf("%v, %v, %v", keep, own, err)
				}
				h.add("romeo", 2)
				time.Sleep(24 * time.Hour)
				h.a.keeper.Round(t.Context(), time.Now())
				if got := len(h.records("romeo")); got != c.left {
					t.Errorf("%d messages are left", got)
				}
			})
		})
	}
}

func TestPurgeRestsLongerThanItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		log := &slow{Log: h.log, work: func() { time.Sleep(20 * time.Millisecond) }}
		h.a.keeper.Log = log
		h.add("romeo", 10*mam.PurgeAtOnce+1)
		h.add("juliet", 1)
		time.Sleep(time.Hour)
		h.keep.Store(int64(time.Minute))
		h.a.keeper.Round(t.Context(), time.Now())
		if len(h.records("romeo"))+len(h.records("juliet")) != 0 {
			t.Error("something is left")
		}
		if len(log.trims) != 12 {
			t.Errorf("%d steps", len(log.trims))
		}
		for i, at := range log.trims {
			if i > 0 && at.Sub(log.trims[i-1]) < 90*time.Millisecond {
				t.Errorf("step %d comes %v after the one before", i, at.Sub(log.trims[i-1]))
			}
		}
	})
}

func TestPurgeEndsWithItsContextAndGoesOnAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.keep.Store(int64(time.Hour))
		h.add("romeo", 1)
		h.store.Fail(storage.ErrUnavailable)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { h.a.Run(ctx); close(ended) }()
		time.Sleep(5 * time.Hour)
		h.store.Fail(nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(h.records("romeo")); n != 0 {
			t.Errorf("%d messages are left after storage came back", n)
		}
		h.add("romeo", 100*mam.PurgeAtOnce)
		time.Sleep(90 * time.Minute)
		cancel()
		<-ended
	})
}
