package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// reached is a store that may be away.
type reached struct {
	Memory
	mu   sync.Mutex // guards away
	away map[string]bool
	err  error // what it answers to all
}

func (s *reached) cut(id string, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away == nil {
		s.away = map[string]bool{}
	}
	s.away[id] = away
}

func (s *reached) Do(ctx context.Context, r Request) (View, error) {
	s.mu.Lock()
	away, err := s.away[r.Member.ID], s.err
	s.mu.Unlock()
	if err != nil {
		return View{}, err
	}
	if away {
		<-ctx.Done()
		return View{}, ctx.Err()
	}
	return s.Memory.Do(ctx, r)
}

// notes are what a node has called.
type notes struct {
	*testing.T
	mu      sync.Mutex // guards the rest
	busy    [Slots]bool
	has     [Slots]bool
	planned int
	lost    int
	slow    time.Duration
}

func (n *notes) options(id string, s Store) Options {
	begin := func(slots []int) {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, s := range slots {
			if n.busy[s] {
				n.Errorf("slot %d: two calls at once", s)
			}
			n.busy[s] = true
		}
	}
	end := func(slots []int, has bool) {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, s := range slots {
			if n.has[s] == has {
				n.Errorf("slot %d is gained or lost twice", s)
			}
			n.busy[s], n.has[s] = false, has
		}
	}
	return Options{ID: id, Address: id + ":5270", Version: "1", Store: s, Log: slog.New(slog.DiscardHandler),
		Gained: func(slots []int, _ []Place) {
			begin(slots)
			<-time.After(time.Millisecond)
			end(slots, true)
		},
		Lost: func(slots []int, planned bool) {
			begin(slots)
			n.mu.Lock()
			if planned {
				n.planned += len(slots)
			} else {
				n.lost += len(slots)
			}
			slow := n.slow
			n.mu.Unlock()
			<-time.After(slow)
			end(slots, false)
		}}
}

func join(t *testing.T, o Options) *Node {
	t.Helper()
	n, err := Join(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// settle lets enough time pass for all moves.
func settle() { <-time.After(10 * time.Second) }

func here(n *Node) (count int) {
	for s := range Slots {
		if _, ok := n.Here(s); ok {
			count++
		}
	}
	return count
}

func leave(t *testing.T, n *Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.Leave(ctx); err != nil {
		t.Error(err)
	}
}

func TestNodesComeShareAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store reached
		na, nb := &notes{T: t}, &notes{T: t}
		a := join(t, na.options("a", &store))
		time.Sleep(time.Second)
		if got := here(a); got != Slots || a.Err() != nil {
			t.Fatalf("alone it has %d slots, %v", got, a.Err())
		}
		changed := a.Changed()
		b := join(t, nb.options("b", &store))
		<-changed
		settle()
		if here(a) != Slots/2 || here(b) != Slots/2 || na.planned != Slots/2 || na.lost != 0 {
			t.Errorf("%d and %d slots, %d moved", here(a), here(b), na.planned)
		}
		for s := range Slots {
			p, ok := a.Home(s)
			q, _ := b.Home(s)
			if fence, ok2 := map[string]*Node{"a": a, "b": b}[p.Node].Here(s); !ok || p != q || !ok2 || fence != p.Fence {
				t.Fatalf("slot %d: %+v, %+v, %d", s, p, q, fence)
			}
		}
		if m := a.Members(); len(m) != 2 || m[1].Address != "b:5270" || a.Speaks() != Protocol || a.ID() != "a" {
			t.Errorf("members %+v", m)
		}
		leave(t, a)
		if here(a) != 0 || a.Err() == nil || na.lost != 0 || na.planned != Slots {
			t.Errorf("after it has left: %d slots, %v, %d lost", here(a), a.Err(), na.lost)
		}
		settle()
		if got := here(b); got != Slots {
			t.Errorf("the last one has %d slots", got)
		}
		leave(t, b)
		if nb.planned != Slots || nb.lost != 0 {
			t.Errorf("the last one has lost %d, %d of them planned", nb.lost, nb.planned)
		}
		if v, err := store.Do(t.Context(), Request{Op: OpLook}); err != nil || len(v.Members) != 0 {
			t.Errorf("at the end: %+v, %v", v.Members, err)
		}
	})
}

func TestNodeWithoutItsStoreIsNobodysHomeBeforeItsLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store reached
		na, nb := &notes{T: t}, &notes{T: t}
		a, b := join(t, na.options("a", &store)), join(t, nb.options("b", &store))
		settle()
		store.cut("a", true)
		cut := time.Now()
		for here(a) > 0 {
			if here(a)+here(b) > Slots {
				t.Fatal("some slots have two homes")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(cut); took < 6*time.Second || took > DefaultLease {
			t.Errorf("it was at home for %v", took)
		}
		synctest.Wait()
		if na.lost != Slots/2 || a.Err() == nil {
			t.Errorf("%d slots were lost, %v", na.lost, a.Err())
		}
		for here(b) < Slots {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(cut); took > DefaultLease+2*time.Second {
			t.Errorf("the other one had them after %v", took)
		}
		store.cut("a", false)
		settle()
		if here(a) != Slots/2 || a.Err() != nil {
			t.Errorf("it is back with %d slots, %v", here(a), a.Err())
		}
		leave(t, b)
		leave(t, a)
	})
}

// Whoever asks is told what has changed since it joined.
func TestRefreshLooksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store reached
		a := join(t, (&notes{T: t}).options("a", &store))
		time.Sleep(time.Second)
		b := Member{ID: "b", Run: "1"}
		if _, err := store.Do(t.Context(), Request{Op: OpJoin, Member: b, Lease: time.Minute}); err != nil {
			t.Fatal(err)
		}
		if len(a.Members()) != 1 {
			t.Error("it knows already")
		}
		begun := time.Now()
		a.Refresh(t.Context())
		if len(a.Members()) != 2 || time.Since(begun) > 0 {
			t.Errorf("%d members after %v", len(a.Members()), time.Since(begun))
		}
		store.cut("a", true)
		a.Refresh(t.Context()) // ends, though in vain
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Leave(ctx); !errors.Is(err, context.DeadlineExceeded) || here(a) != 0 {
			t.Errorf("leaving without a store: %v", err)
		}
		a.Refresh(t.Context())
	})
}

func TestSlowEndHoldsAMoveUpForHalfALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store reached
		na := &notes{T: t, slow: time.Minute}
		a := join(t, na.options("a", &store))
		time.Sleep(time.Second)
		b := join(t, (&notes{T: t}).options("b", &store))
		begun := time.Now()
		for here(b) == 0 {
			if here(a) < Slots-64 {
				t.Fatalf("%d are left at the same time", here(a))
			}
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(begun); took < DefaultLease/2 || took > DefaultLease+2*time.Second {
			t.Errorf("the first slots moved after %v", took)
		}
		na.mu.Lock()
		na.slow = 0
		na.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if here(a) != Slots/2 || here(b) != Slots/2 {
			t.Errorf("%d and %d slots", here(a), here(b))
		}
		leave(t, a)
		leave(t, b)
	})
}

func TestJoiningIsRefusedWithWhatToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store reached
		quiet := (&notes{T: t}).options
		a := join(t, quiet("a", &store))
		if _, err := Join(t.Context(), quiet("a", &store)); err == nil || !strings.Contains(err.Error(), "an id of its own") {
			t.Errorf("a second node with the same id: %v", err)
		}
		leave(t, a)

		// One that was killed has its lease for a while.
		dead := Member{ID: "a", Run: "0", Started: time.Now()}
		if _, err := store.Do(t.Context(), Request{Op: OpJoin, Member: dead, Lease: DefaultLease}); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		a = join(t, quiet("a", &store))
		if took := time.Since(begun); took < DefaultLease || took > DefaultLease+2*time.Second {
			t.Errorf("it joined after %v", took)
		}
		leave(t, a)

		m := Member{ID: "new", Protocol: 9, Oldest: Protocol + 1}
		if _, err := store.Do(t.Context(), Request{Op: OpJoin, Member: m, Lease: DefaultLease}); err != nil {
			t.Fatal(err)
		}
		_, err := Join(t.Context(), quiet("a", &store))
		if err == nil || !strings.Contains(err.Error(), "upgrade by a version") {
			t.Errorf("with a node that is too new: %v", err)
		}
		for want, err := range map[string]error{
			"end that one first": &SingleError{"host x"}, "is away": errors.New("it is away"),
		} {
			s := &reached{err: err}
			if _, err := Join(t.Context(), quiet("a", s)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", want, err)
			}
		}
		for _, o := range []Options{{ID: "a b"}, {Lease: time.Second, Renew: time.Second}} {
			if _, err := Join(t.Context(), o); err == nil {
				t.Errorf("%+v is no mistake", o)
			}
		}
	})
}

func TestNodesThatDoNotHearEachOtherPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store reached
		var mu sync.Mutex // guards cut
		var cut time.Time
		var all []*Node
		for i := range 3 {
			id := fmt.Sprint("n", i)
			o := (&notes{T: t}).options(id, &store)
			o.Silence = func(other string) time.Duration {
				mu.Lock()
				defer mu.Unlock()
				if !cut.IsZero() && (id == "n0" || other == "n0") {
					return time.Since(cut)
				}
				return 0
			}
			all = append(all, join(t, o))
			time.Sleep(time.Second)
		}
		settle()
		mu.Lock()
		cut = time.Now()
		mu.Unlock()
		time.Sleep(25 * time.Second)
		if here(all[0]) != 0 || here(all[1]) != Slots/2 || here(all[2]) != Slots/2 {
			t.Errorf("%d, %d and %d slots", here(all[0]), here(all[1]), here(all[2]))
		}
		if err := all[0].Err(); err == nil || !strings.Contains(err.Error(), "does not hear") {
			t.Errorf("the one that left says %v", err)
		}
		mu.Lock()
		cut = time.Time{}
		mu.Unlock()
		settle()
		if all[0].Err() != nil || here(all[0]) < Slots/3 {
			t.Errorf("it is back with %d slots, %v", here(all[0]), all[0].Err())
		}
		// One that can be reached for moments only does not come and go all the time.
		joined := 0
		for begun := time.Now(); time.Since(begun) < time.Hour; time.Sleep(time.Second) {
			err := all[0].Err() // which waits for a node that may be asking Silence
			mu.Lock()
			if err == nil && cut.IsZero() {
				joined++
				cut = time.Now()
			} else if err != nil {
				cut = time.Time{}
			}
			mu.Unlock()
		}
		if joined < 5 || joined > 20 {
			t.Errorf("it has joined %d times in an hour", joined)
		}
		mu.Lock()
		cut = time.Time{}
		mu.Unlock()
		time.Sleep(15 * time.Minute)
		for _, n := range all {
			leave(t, n)
		}
	})
}
