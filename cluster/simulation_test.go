package cluster

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seeds = flag.Int("seeds", usualSeeds, "how many histories are simulated")
	seed  = flag.Uint64("seed", 0, "the only history to simulate, and to tell")
)

// history lets one seed happen, and returns what it has come to.
func history(seed uint64, c controls) *world {
	w := newWorld(seed, c)
	for i := range 3 + w.r.IntN(2) {
		n := &simulated{w: w, index: i, skew: w.span(-time.Second, time.Second), woke: longAgo, back: longAgo}
		w.nodes = append(w.nodes, n)
		w.after(w.span(0, 3*time.Second), func() { n.start(fmt.Sprint("n", i)) })
	}
	w.after(5*time.Second, w.traffic)
	w.run(12 * time.Second)
	for range 1 + w.r.IntN(5) {
		at := w.span(0, 25*time.Second)
		w.after(at, w.fault)
	}
	w.quiet = w.now
	w.run(w.now + 25*time.Second)
	w.run(max(w.quiet, w.now))
	w.homes()
	w.run(w.now + 30*time.Second)
	w.even()
	w.check()
	if w.tally.expelled > 8 {
		w.wrong("nodes were expelled %d times", w.tally.expelled)
	}
	return w
}

// traffic goes on for ever.
func (w *world) traffic() {
	n := w.nodes[w.r.IntN(len(w.nodes))]
	owner, message := w.r.IntN(len(w.owners)), 0
	if w.r.IntN(4) > 0 {
		w.last++
		message = w.last
	}
	if n.core != nil {
		n.do(0, func() { n.app.post(owner, message, 12) })
	}
	w.after(w.span(20*time.Millisecond, 400*time.Millisecond), w.traffic)
}

// until has something end after a while. The last end begins the quiet time.
func (w *world) until(d time.Duration, f func()) {
	w.quiet = max(w.quiet, w.now+d)
	w.after(d, f)
}

// sever cuts one direction for a while, or both.
func (w *world) sever(a, b int, d time.Duration) {
	pairs := [][2]int{{a, b}, {b, a}}
	switch w.r.IntN(4) {
	case 0:
		pairs = pairs[:1]
	case 1:
		pairs = pairs[1:]
	}
	w.tell("cut %v for %v", pairs, d)
	for _, p := range pairs {
		w.cut[p]++
		w.until(d, func() { w.cut[p]-- })
	}
}

// fault lets something go wrong.
func (w *world) fault() {
	n := w.nodes[w.r.IntN(len(w.nodes))]
	d := w.span(100*time.Millisecond, 25*time.Second)
	kind := w.r.IntN(12)
	if len(w.only) > 0 {
		kind = w.only[kind%len(w.only)]
	}
	switch kind {
	case 0, 1:
		if other := w.nodes[w.r.IntN(len(w.nodes))]; other != n {
			w.sever(n.index, other.index, d)
		}
	case 2:
		for _, other := range w.nodes {
			if other != n {
				w.sever(n.index, other.index, d)
			}
		}
	case 3:
		w.sever(n.index, w.share.index, d)
		w.sever(n.index, w.keep.index, d)
	case 4:
		w.sever(n.index, []int{w.share.index, w.keep.index}[w.r.IntN(2)], d)
	case 5, 6:
		if n.core == nil || n.paused {
			return
		}
		gen, asleep := n.gen, w.r.IntN(2) == 0 && w.now-n.back > DefaultLease
		w.tell("pause %s for %v, asleep: %v", n.name, d, asleep)
		n.pause(asleep)
		w.until(d, func() {
			if gen == n.gen {
				n.resume(d)
			}
		})
	case 7:
		if n.core == nil {
			return
		}
		name := n.name
		if w.r.IntN(2) == 0 {
			name += "'"
		}
		w.tell("kill %s, and start %s after %v", n.name, name, d)
		n.kill()
		w.until(d, func() { n.start(name) })
	case 8:
		if n.core == nil {
			return
		}
		w.tell("%s leaves, and starts again after %v", n.name, d)
		n.do(0, func() {
			n.core.leave()
			n.pump()
		})
		w.until(d, func() {
			n.kill()
			n.start(n.name)
		})
	case 9:
		for _, s := range [][]*redis{{w.share}, {w.keep}, {w.share, w.keep}}[w.r.IntN(3)] {
			d := w.span(0, 4*time.Second)
			w.tell("redis %d fails over within %v", s.index, d)
			s.away = true
			w.until(d, func() {
				s.failover()
				s.away = false
			})
		}
	case 10:
		w.tell("all is rough for %v", d)
		w.rough = true
		w.until(d, func() { w.rough = false })
	case 11:
		s := []*redis{w.share, w.keep}[w.r.IntN(2)]
		slow := w.span(0, 800*time.Millisecond)
		w.tell("the replica of redis %d is %v behind for %v", s.index, slow, d)
		s.slow = slow
		w.until(d, func() { s.slow = 0 })
		// A sleep and a clock that is set back within one lease: no clock of the node tells how old its lease is then. It
		// takes itself for the home of its slots until it asks, and only the fence refuses what it writes.
		rested := !n.asleep && w.now-n.woke > DefaultLease
		if jump := w.span(-5*time.Second, 5*time.Second); w.r.IntN(3) == 0 && (jump > 0 || rested) {
			w.tell("the clock of %s is set by %v", n.name, jump)
			n.skew += jump
			if jump < 0 {
				n.back = w.now
			}
		}
	}
}

// homes sees to it that each slot has been at home somewhere in time.
func (w *world) homes() {
	const most = DefaultLease + 2*time.Second
	var had [Slots]bool
	for end := w.now + most; w.now < end; w.run(min(w.now+200*time.Millisecond, end)) {
		w.count(func(s int) { had[s] = true })
	}
	if s := slices.Index(had[:], false); s >= 0 {
		w.wrong("slot %d had no home for %v after the last fault: %+v", s, most, w.share.master.nodes.places[s])
	}
}

// count calls f for each slot that is at home somewhere, and returns how many each node has.
func (w *world) count(f func(slot int)) (counts []int) {
	for _, n := range w.nodes {
		count := 0
		if n.core != nil && !n.paused {
			now := n.clock()
			for s := range Slots {
				if _, ok := n.core.here(s, now); ok {
					count++
					f(s)
				}
			}
		}
		counts = append(counts, count)
	}
	return counts
}

// even sees to it that the nodes share all slots at the end.
func (w *world) even() {
	all := 0
	counts := w.count(func(int) { all++ })
	for i := len(w.nodes) - 1; i >= 0; i-- {
		if c := w.nodes[i].core; c.exiled && c.penalty > 0 && counts[i] == 0 {
			counts = slices.Delete(counts, i, i+1) // it was expelled again, and waits longer
		}
	}
	if all != Slots || slices.Max(counts) > slices.Min(counts)+1 {
		w.wrong("the nodes have %v slots", counts)
	}
}

// TestPlannedMovesLeaveSlotsWithoutAHomeForAMomentOnly has nodes come and go without faults.
func TestPlannedMovesLeaveSlotsWithoutAHomeForAMomentOnly(t *testing.T) {
	var longest time.Duration
	for seed := range uint64(5) {
		w := newWorld(seed, controls{})
		for i := range 4 {
			n := &simulated{w: w, index: i, woke: longAgo, back: longAgo}
			w.nodes = append(w.nodes, n)
			w.after(time.Duration(i*i)*6*time.Second, func() { n.start(fmt.Sprint("n", i)) })
		}
		w.prompt = true
		leaving := w.nodes[w.r.IntN(3)]
		w.after(80*time.Second, func() {
			leaving.core.leave()
			leaving.pump()
		})
		w.run(2 * time.Second)
		var since [Slots]time.Duration
		for w.now < 120*time.Second {
			w.run(w.now + 10*time.Millisecond)
			w.count(func(s int) { since[s] = w.now })
			for _, at := range since {
				longest = max(longest, w.now-at)
			}
		}
		if w.tally.lapsed > 0 || leaving.core.phase != ended || len(w.found) > 0 {
			t.Errorf("seed %d: %+v, %v", seed, w.tally, w.found)
		}
	}
	t.Log("at most", longest)
	if longest > 300*time.Millisecond {
		t.Errorf("a slot had no home for %v", longest)
	}
}

// simulate lets many seeds happen until one has found something, and returns that, and what they have come to.
func simulate(first, many int, c controls) (bad uint64, found *world, sum tally) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // what a history leaves behind is small
	var next atomic.Uint64
	next.Store(uint64(first))
	var mu sync.Mutex // guards what is returned
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for {
				seed := next.Add(1) - 1
				mu.Lock()
				over := found != nil && seed > bad
				mu.Unlock()
				if seed >= uint64(first+many) || over {
					return
				}
				w := history(seed, c)
				mu.Lock()
				sum.acked += w.tally.acked
				sum.reads += w.tally.reads
				sum.expelled += w.tally.expelled
				sum.lapsed += w.tally.lapsed
				sum.gained += w.tally.gained
				sum.failovers += w.tally.failovers
				sum.events += w.tally.events
				if len(w.found) > 0 && (found == nil || seed < bad) {
					bad, found = seed, w
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return bad, found, sum
}

func TestHistoriesWithFaultsKeepThePromises(t *testing.T) {
	if *seed != 0 {
		w := history(*seed, controls{})
		t.Logf("%+v\n%v", w.tally, w)
		if len(w.found) > 0 {
			t.Fail()
		}
		return
	}
	bad, found, sum := simulate(1, *seeds, controls{})
	t.Logf("%d histories: %+v", *seeds, sum)
	if found != nil {
		t.Fatalf("seed %d (go test ./cluster -run Histories -seed %d -v):\n%v", bad, bad, found)
	}
	if *seeds >= 500 && min(sum.acked, sum.reads, sum.expelled, sum.lapsed, sum.failovers) < *seeds/20 {
		t.Errorf("too little has happened: %+v", sum)
	}
}

// What is left out on purpose has to be found, or the histories prove nothing.
func TestHistoriesFindWhatIsLeftOut(t *testing.T) {
	for name, c := range map[string]controls{
		"the fence":                    {noFence: true},
		"writing before acknowledging": {ackEarly: true},
		"counting from the asking":     {fromReply: true, only: []int{3, 10}},
		"waiting for replicas":         {noWait: true, only: []int{9, 11}},
	} {
		t.Run(name, func(t *testing.T) {
			bad, found, _ := simulate(1, 1000, c)
			if found == nil {
				t.Fatal("not found")
			}
			t.Logf("seed %d finds: %s", bad, found.found[0])
		})
	}
}

func TestTheSameSeedIsTheSameHistory(t *testing.T) {
	for seed := range uint64(5) {
		a, b := history(seed, controls{}), history(seed, controls{})
		if a.tally != b.tally || a.String() != b.String() || a.now != b.now {
			t.Errorf("seed %d: %+v, then %+v", seed, a.tally, b.tally)
		}
	}
}
