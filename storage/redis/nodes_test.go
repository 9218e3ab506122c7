package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/cluster"
	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
)

// nodes opens the store of nodes.
func nodes(t *testing.T, o Options) *Nodes {
	t.Helper()
	n, err := OpenNodes(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// asker asks for a node.
type asker struct {
	*testing.T
	n       *Nodes
	member  cluster.Member
	version uint64
}

func (a *asker) do(op cluster.Op, r cluster.Request) (cluster.View, error) {
	r.Op, r.Member, r.Version = op, a.member, a.version
	if r.Lease == 0 {
		r.Lease, r.Grace = 10*time.Second, 500*time.Millisecond
	}
	return a.n.Do(a.Context(), r)
}

func (a *asker) must(op cluster.Op, r cluster.Request) cluster.View {
	a.Helper()
	v, err := a.do(op, r)
	if err != nil {
		a.Fatalf("%s of %s: %v", op, a.member.ID, err)
	}
	return v
}

func onEach(t *testing.T, test func(t *testing.T, o Options)) {
	t.Run("one server", func(t *testing.T) { test(t, Options{Addrs: []string{redistest.Start(t).Addr}}) })
	t.Run("a Cluster", func(t *testing.T) { test(t, Options{Addrs: redistest.Addrs(redistest.StartCluster(t))}) })
}

func claims(v cluster.View, from, to int, node string) (list []cluster.Claim) {
	for s := from; s < to; s++ {
		c := cluster.Claim{Slot: s, To: node}
		if v.Places != nil {
			c.Fence = v.Places[s].Fence
		}
		list = append(list, c)
	}
	return list
}

func TestNodesTakeGiveAndLeaveSlots(t *testing.T) {
	onEach(t, func(t *testing.T, o Options) {
		n := nodes(t, o)
		if v, err := n.Look(t.Context()); err != nil || v.Version != 0 || len(v.Members) != 0 {
			t.Fatalf("an empty store: %+v, %v", v, err)
		}
		a := &asker{t, n, cluster.Member{ID: "a", Run: "a1", Address: "10.0.0.1:5270", Version: "1"}, 0}
		b := &asker{t, n, cluster.Member{ID: "b", Run: "b1"}, 0}
		v := a.must(cluster.OpJoin, cluster.Request{})
		b.must(cluster.OpJoin, cluster.Request{})
		all := claims(v, 0, cluster.Slots, "")
		v = a.must(cluster.OpTake, cluster.Request{Claims: all})
		first := v.Places[0].Fence
		if first < uint64(time.Now().Add(-time.Hour).UnixMilli()) {
			t.Errorf("a fence below the time: %d", first)
		}
		for s, p := range v.Places {
			if p != (cluster.Place{Node: "a", Fence: first}) {
				t.Fatalf("slot %d is %+v", s, p)
			}
		}
		if len(v.Members) != 2 || v.Members[0].Address != "10.0.0.1:5270" || v.Members[0].Left < 9*time.Second {
			t.Errorf("members %+v", v.Members)
		}
		// Nobody takes what has a home, whatever is known of its fence.
		v = b.must(cluster.OpTake, cluster.Request{Claims: claims(v, 0, 10, "")})
		if v.Places[0].Node != "a" {
			t.Error("a slot that has a home was taken")
		}
		before := v
		v = a.must(cluster.OpGive, cluster.Request{Claims: claims(v, 0, 10, "b"), Above: first + 1000})
		if v.Places[9].Node != "b" || v.Places[9].Fence <= first+1000 || v.Places[10].Node != "a" {
			t.Errorf("after the move: %+v, %+v", v.Places[9], v.Places[10])
		}
		// What comes late does nothing.
		a.version = v.Version
		for op, list := range map[cluster.Op][]cluster.Claim{
			cluster.OpGive: claims(before, 0, 10, "b"), cluster.OpTake: claims(before, 0, 10, ""),
		} {
			if v := a.must(op, cluster.Request{Claims: list}); v.Places != nil || v.Version != a.version {
				t.Errorf("a late %s changed something", op)
			}
		}
		// Whoever leaves gets nothing more.
		b.must(cluster.OpRenew, cluster.Request{Leaving: true})
		v = a.must(cluster.OpGive, cluster.Request{Claims: claims(v, 10, 20, "b")})
		if v.Places[10].Node != "a" || !v.Members[1].Leaving {
			t.Errorf("a node that leaves got a slot: %+v", v.Members)
		}
		b.must(cluster.OpLeave, cluster.Request{})
		if _, err := b.do(cluster.OpRenew, cluster.Request{}); !errors.Is(err, cluster.ErrGone) {
			t.Errorf("after it has left: %v", err)
		}
		v = a.must(cluster.OpTake, cluster.Request{Claims: claims(v, 0, 10, "")})
		if v.Places[0].Node != "a" {
			t.Error("the slot of a node that has left was not taken")
		}
	})
}

func TestOfTwoThatRaceForSlotsEachIsTakenOnce(t *testing.T) {
	onEach(t, func(t *testing.T, o Options) {
		views := make(chan cluster.View, 2)
		var both sync.WaitGroup
		for _, id := range []string{"a", "b"} {
			x := &asker{t, nodes(t, o), cluster.Member{ID: id, Run: id}, 0}
			x.must(cluster.OpJoin, cluster.Request{})
			both.Go(func() {
				var last cluster.View
				for s := 0; s < cluster.Slots; s += 64 {
					v, err := x.do(cluster.OpTake, cluster.Request{Claims: claims(cluster.View{}, s, s+64, "")})
					if err != nil {
						t.Error(err)
						return
					}
					last = v
				}
				views <- last
			})
		}
		both.Wait()
		v, err := nodes(t, o).Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fences, owners := map[uint64]string{}, map[string]int{}
		for s, p := range v.Places {
			owners[p.Node]++
			if other, ok := fences[p.Fence]; ok && other != p.Node {
				t.Fatalf("slot %d has the fence of another node", s)
			}
			fences[p.Fence] = p.Node
		}
		if owners["a"]+owners["b"] != cluster.Slots || len(fences) != 16 {
			t.Errorf("slots %v, %d fences", owners, len(fences))
		}
		close(views)
		for seen := range views {
			for s, p := range seen.Places {
				if p.Fence != 0 && p != v.Places[s] {
					t.Errorf("slot %d was %+v for one of them, and is %+v", s, p, v.Places[s])
				}
			}
		}
	})
}

func TestLeaseOfANodeRunsOutAndItsSlotsAreTaken(t *testing.T) {
	n := nodes(t, Options{Addrs: []string{redistest.Start(t).Addr}})
	a := &asker{t, n, cluster.Member{ID: "a", Run: "a1"}, 0}
	b := &asker{t, n, cluster.Member{ID: "b", Run: "b1"}, 0}
	short := cluster.Request{Lease: 200 * time.Millisecond, Grace: 100 * time.Millisecond}
	v := a.must(cluster.OpJoin, short)
	b.must(cluster.OpJoin, cluster.Request{})
	short.Claims = claims(v, 0, cluster.Slots, "")
	taken := time.Now() // the lease begins later
	v = a.must(cluster.OpTake, short)
	again := &asker{t, n, cluster.Member{ID: "a", Run: "a2"}, 0}
	var used *cluster.UsedError
	if _, err := again.do(cluster.OpJoin, cluster.Request{}); !errors.As(err, &used) || used.By.Run != "a1" {
		t.Errorf("a second node with the same id: %v", err)
	}
	list := claims(v, 0, cluster.Slots, "")
	eventually(t, "its slots can be taken", func() bool {
		v = b.must(cluster.OpTake, cluster.Request{Claims: list, Grace: 100 * time.Millisecond, Lease: 10 * time.Second})
		return v.Places[0].Node == "b"
	})
	if took := time.Since(taken); took < 290*time.Millisecond {
		t.Errorf("they were taken after %v", took)
	}
	if _, err := a.do(cluster.OpRenew, cluster.Request{}); !errors.Is(err, cluster.ErrGone) {
		t.Errorf("after its lease: %v", err)
	}
	again.must(cluster.OpJoin, cluster.Request{})
	// A node that has lost its lease may replace itself at once.
	third := &asker{t, n, cluster.Member{ID: "a", Run: "a3"}, 0}
	third.must(cluster.OpJoin, cluster.Request{Replaces: "a2"})
}

func TestWhatAnEarlierRunHadIsFree(t *testing.T) {
	n := nodes(t, Options{Addrs: []string{redistest.Start(t).Addr}})
	a := &asker{t, n, cluster.Member{ID: "a", Run: "a1"}, 0}
	v := a.must(cluster.OpJoin, cluster.Request{})
	v = a.must(cluster.OpTake, cluster.Request{Claims: claims(v, 0, 5, "")})
	fence := v.Places[0].Fence
	a.member.Run = "a2"
	v = a.must(cluster.OpJoin, cluster.Request{Replaces: "a1"})
	if v.Places[0] != (cluster.Place{Fence: fence}) {
		t.Errorf("the slot is %+v", v.Places[0])
	}
}

func TestOneExpulsionCountsForOneView(t *testing.T) {
	n := nodes(t, Options{Addrs: []string{redistest.Start(t).Addr}})
	var all []*asker
	for _, id := range []string{"a", "b", "c"} {
		x := &asker{t, n, cluster.Member{ID: id, Run: id}, 0}
		x.must(cluster.OpJoin, cluster.Request{})
		all = append(all, x)
	}
	a, b, c := all[0], all[1], all[2]
	v := a.must(cluster.OpRenew, cluster.Request{Silent: []string{"b", "c"}})
	if strings.Join(v.Members[0].Silent, "+") != "b+c" || v.Members[0].Since < 0 || v.Members[0].Since > time.Minute {
		t.Errorf("what a tells: %+v", v.Members[0])
	}
	a.version, b.version = v.Version, v.Version
	v = a.must(cluster.OpExpel, cluster.Request{Other: "b"})
	if v.Members[1].Expelled != "a" {
		t.Errorf("b is not expelled: %+v", v.Members[1])
	}
	v = b.must(cluster.OpExpel, cluster.Request{Other: "a"})
	if v.Members[0].Expelled != "" || v.Members[1].Expelled == "" {
		t.Error("a decision from an old view counted")
	}
	c.must(cluster.OpRenew, cluster.Request{Lease: time.Hour})
	if v = b.must(cluster.OpRenew, cluster.Request{Lease: time.Hour}); v.Members[1].Left > 10*time.Second {
		t.Error("the lease of a node that was expelled is renewed")
	}
	b.must(cluster.OpLeave, cluster.Request{})
	v = b.must(cluster.OpJoin, cluster.Request{})
	if v.Members[1].Expelled != "" {
		t.Error("it is expelled for ever")
	}
}

func TestNodesAndASingleServerRefuseEachOther(t *testing.T) {
	onEach(t, func(t *testing.T, o Options) {
		single, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		a := &asker{t, nodes(t, o), cluster.Member{ID: "a", Run: "a1"}, 0}
		var other *cluster.SingleError
		_, err = a.do(cluster.OpJoin, cluster.Request{})
		if !errors.As(err, &other) || !strings.Contains(err.Error(), "since 20") {
			t.Errorf("a node is told %v", err)
		}
		if err := single.Close(); err != nil {
			t.Fatal(err)
		}
		a.must(cluster.OpJoin, cluster.Request{})
		for range 2 {
			if _, err = Open(t.Context(), o); !errors.Is(err, errNodes) {
				t.Errorf("a single server is told %v", err)
			}
			a.must(cluster.OpRenew, cluster.Request{})
		}
		a.must(cluster.OpLeave, cluster.Request{})
		open(t, o)
	})
}

// A single server whose lease lapsed while nodes came and went must not take it up again.
func TestSingleServerThatSleptFindsThatNodesWereThere(t *testing.T) {
	s := redistest.Start(t)
	o := Options{Addrs: []string{s.Addr}}
	single := open(t, o).(*engine)
	single.stop()
	single.probing.Wait()
	s.CLI("del", heldKey)
	a := &asker{t, nodes(t, o), cluster.Member{ID: "a", Run: "a1"}, 0}
	a.must(cluster.OpJoin, cluster.Request{})
	a.must(cluster.OpLeave, cluster.Request{})
	if err := single.renew(t.Context()); !errors.Is(err, storage.ErrTaken) {
		t.Errorf("it is told %v", err)
	}
}

func TestNodesWaitForReplicas(t *testing.T) {
	master := redistest.Start(t)
	o := Options{Addrs: []string{master.Addr}}
	n := nodes(t, o)
	replica := redistest.StartReplica(t, master)
	n.e.o.WaitReplicas = 1
	a := &asker{t, n, cluster.Member{ID: "a", Run: "a1"}, 0}
	a.must(cluster.OpJoin, cluster.Request{})
	replica.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := n.Do(ctx, cluster.Request{Op: cluster.OpRenew, Member: a.member, Lease: 10 * time.Second})
	if !errors.Is(err, errReplicas) {
		t.Errorf("without its replica: %v", err)
	}
	if _, err := n.Look(t.Context()); err != nil {
		t.Errorf("a look: %v", err)
	}
}

// Nodes of other versions say more of themselves, or less.
func TestMemberOfAnotherVersionIsRead(t *testing.T) {
	s := redistest.Start(t)
	n := nodes(t, Options{Addrs: []string{s.Addr}})
	a := &asker{t, n, cluster.Member{ID: "a", Run: "a1"}, 0}
	a.must(cluster.OpJoin, cluster.Request{})
	for said, want := range map[string]cluster.Member{
		`b1 {"id":"b","address":"b:1","protocol":7,"oldest":2,"zone":{"rack":4}}`: {ID: "b", Run: "b1", Address: "b:1",
			Protocol: 7, Oldest: 2},
		`b2 {"id":"b"}`: {ID: "b", Run: "b2"},
	} {
		s.CLI("hset", "{server}:nodes:members", "b", said)
		s.CLI("hset", "{server}:nodes:leases", "b", fmt.Sprint(time.Now().Add(time.Hour).UnixMilli()))
		if v := a.must(cluster.OpRenew, cluster.Request{}); len(v.Members) != 2 || v.Members[1].Member != want {
			t.Errorf("%s is read as %+v", said, v.Members)
		}
	}
	v := a.must(cluster.OpTake, cluster.Request{Claims: claims(cluster.View{}, 0, 10, "")})
	if got := v.Count(); got["a"] != 10 || got[""] != cluster.Slots-10 {
		t.Errorf("slots %v", got)
	}
}

// Real nodes on a real Redis: they share, one is killed, one leaves.
func TestNodesShareARealRedis(t *testing.T) {
	s := redistest.Start(t)
	var log journal
	join := func(id string) (*cluster.Node, context.CancelFunc) {
		store := nodes(t, Options{Addrs: []string{s.Addr}})
		cut := make(chan struct{})
		n, err := cluster.Join(t.Context(), cluster.Options{ID: id, Address: id + ".example:5270", Store: &severed{store, cut},
			Lease: 2 * time.Second, Renew: 500 * time.Millisecond, Log: log.logger()})
		if err != nil {
			t.Fatal(err)
		}
		return n, sync.OnceFunc(func() { close(cut) })
	}
	count := func(n *cluster.Node) (here int) {
		for s := range cluster.Slots {
			if _, ok := n.Here(s); ok {
				here++
			}
		}
		return here
	}
	a, _ := join("a")
	eventually(t, "the first has all", func() bool { return count(a) == cluster.Slots })
	b, cutB := join("b")
	c, _ := join("c")
	eventually(t, "they share", func() bool {
		return count(a)+count(b)+count(c) == cluster.Slots && min(count(a), count(b), count(c)) == cluster.Slots/3
	})
	cutB()
	begun := time.Now()
	eventually(t, "the others have its slots", func() bool { return count(a)+count(c) == cluster.Slots })
	if took := time.Since(begun); took > 2*time.Second+2*time.Second {
		t.Errorf("they were taken after %v", took)
	}
	if n := count(b); n != 0 || b.Err() == nil {
		t.Errorf("%d slots are at home at the one that was cut off, which says %v", n, b.Err())
	}
	if err := a.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "the last has all", func() bool { return count(c) == cluster.Slots })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Leave(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the one that was cut off leaves: %v", err)
	}
	if err := c.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if v, err := nodes(t, Options{Addrs: []string{s.Addr}}).Look(t.Context()); err != nil || len(v.Members) != 0 {
		t.Errorf("at the end: %+v, %v", v.Members, err)
	}
	if t.Failed() {
		fmt.Println(&log)
	}
}

// severed is a store that is not reached any more once cut is closed.
type severed struct {
	*Nodes
	cut chan struct{}
}

func (s *severed) Do(ctx context.Context, r cluster.Request) (cluster.View, error) {
	select {
	case <-s.cut:
		<-ctx.Done()
		return cluster.View{}, ctx.Err()
	default:
		return s.Nodes.Do(ctx, r)
	}
}
