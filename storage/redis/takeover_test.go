package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/cluster"
	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
)

// resides is what a real node believes of homes.
type resides struct {
	node   atomic.Pointer[cluster.Node]
	asleep atomic.Bool // it does not notice any more that a slot has gone
	fences [cluster.Slots]atomic.Uint64
}

func (r *resides) Homed(owner string) bool { return cluster.Homed(owner) }

func (r *resides) Fence(owner string) (uint64, bool) {
	slot := cluster.SlotOf(owner)
	if r.asleep.Load() {
		fence := r.fences[slot].Load()
		return fence, fence > 0
	}
	n := r.node.Load()
	if n == nil {
		return 0, false
	}
	fence, ok := n.Here(slot)
	if ok {
		r.fences[slot].Store(fence)
	}
	return fence, ok
}

// A nodeOf is a node with its engine.
type nodeOf struct {
	*cluster.Node
	*resides
	e     *engine
	sever func()
}

func join(t *testing.T, o Options, id string) *nodeOf {
	t.Helper()
	const lease = 2 * time.Second
	n := &nodeOf{resides: &resides{}}
	withHomes := o
	withHomes.Homes = n.resides
	n.e = open(t, withHomes).(*engine)
	cut := make(chan struct{})
	n.sever = sync.OnceFunc(func() { close(cut) })
	var err error
	n.Node, err = cluster.Join(t.Context(), cluster.Options{ID: id, Address: id + ".example:5270",
		Store: &severed{nodes(t, o), cut}, Lease: lease, Renew: lease / 4, Log: o.Log,
		Lost: func(slots []int, planned bool) {
			ctx, cancel := context.WithTimeout(context.Background(), lease/2)
			defer cancel()
			gone := make(map[int]bool, len(slots))
			for _, s := range slots {
				gone[s] = true
			}
			err := n.e.Release(ctx, func(owner string) bool { return gone[cluster.SlotOf(owner)] })
			if planned && err != nil {
				t.Errorf("%s gives slots away: %v", id, err)
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	n.node.Store(n.Node)
	return n
}

func TestNodesTakeOverWithoutLossAndTheOldOneIsRefused(t *testing.T) {
	var log journal
	o := Options{Addrs: []string{redistest.Start(t).Addr}, Log: log.logger()}
	all := []*nodeOf{join(t, o, "a"), join(t, o, "b"), join(t, o, "c")}
	const owners = 12
	type told struct {
		texts []string
		last  uint64 // id
	}
	var mu sync.Mutex // guards the rest
	acknowledged := map[string]*told{}
	by := map[int]int{}
	refused := 0
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for o := range owners {
		owner := fmt.Sprintf("user%d@montague.example", o)
		acknowledged[owner] = &told{}
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				i := n % len(all) // most are not the home, and say so
				text := fmt.Sprint(n)
				id, _, p, err := all[i].e.Log("archive").Append(t.Context(), owner, storage.Record{Data: []byte(text)},
					storage.AppendOptions{})
				if err == nil {
					err = p.Wait(t.Context())
				}
				mu.Lock()
				a := acknowledged[owner]
				switch {
				case err == nil && id <= a.last:
					t.Errorf("%s: id %d after %d", owner, id, a.last)
				case err == nil:
					a.texts, a.last = append(a.texts, text), id
					by[i]++
				case errors.Is(err, storage.ErrElsewhere):
					refused++
				case !errors.Is(err, storage.ErrUnavailable):
					t.Errorf("%s: %v", owner, err)
				}
				mu.Unlock()
			}
		})
	}
	wrote := func(i int) func() bool {
		mu.Lock()
		before := by[i]
		mu.Unlock()
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return by[i] > before+20
		}
	}
	for i := range all {
		eventually(t, fmt.Sprint("node ", i, " writes"), wrote(i))
	}
	// One leaves as planned.
	if err := all[0].Leave(t.Context()); err != nil {
		t.Error(err)
	}
	for _, i := range []int{1, 2} {
		eventually(t, fmt.Sprint("node ", i, " goes on"), wrote(i))
	}
	// One is cut off and does not notice, as a process that was paused. Its engine goes on.
	all[1].asleep.Store(true)
	all[1].sever()
	begun := time.Now()
	everything := func() bool {
		for s := range cluster.Slots {
			if _, ok := all[2].Here(s); !ok {
				return false
			}
		}
		return true
	}
	eventually(t, "the last has all slots", everything)
	t.Logf("taken over after %v", time.Since(begun))
	eventually(t, "the last goes on", wrote(2))
	// What it has not claimed yet is the old home's still; it claims all with a write for each.
	for owner := range acknowledged {
		if _, err := put(all[2].e, owner); err != nil {
			t.Errorf("the new home: %v", err)
		}
	}
	mu.Lock()
	before := by[1]
	mu.Unlock()
	eventually(t, "the last goes on", wrote(2))
	close(stop)
	wg.Wait()
	if by[1] > before+owners { // one each may have been on its way
		t.Errorf("%d writes of the old home were acknowledged", by[1]-before)
	}
	for owner, a := range acknowledged {
		allThere(t, owner, data(t, all[2].e, owner), a.texts)
		if v, err := put(all[2].e, owner); v != 2 || err != nil {
			t.Errorf("%s: version %d, %v", owner, v, err)
		}
	}
	t.Logf("acknowledged by node: %v; elsewhere: %d", by, refused)
}
