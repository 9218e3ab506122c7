package cluster

import (
	"container/heap"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"
)

// A world is one history: nodes, what they share, the network between all of them, and what goes wrong, in one
// goroutine and by one random number. The same seed is always the same history.
type world struct {
	controls
	r     *rand.Rand
	now   time.Duration
	queue events
	seq   int
	story []string // what went wrong on purpose, and when
	found []string // what must not be

	nodes   []*simulated
	share   *redis // what nodes share
	keep    *redis // what owners have
	owners  []int  // their slots
	cut     map[[2]int]int
	rough   bool // messages between nodes are lost and late
	prompt  bool // planned ends take no long time
	quiet   time.Duration
	tally   tally
	acked   map[int]int // messages to their owners
	counted []int       // acknowledged messages of each owner
	last    int         // the last message
}

// controls are what a history leaves out on purpose, so that it must be found.
type controls struct {
	noFence, ackEarly, fromReply, noWait bool
	only                                 []int // kinds of faults; all if empty
}

// tally counts what has happened, to see that histories are worth something.
type tally struct{ acked, reads, expelled, lapsed, gained, failovers, events int }

type event struct {
	at  time.Duration
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	x := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return x
}

// began is when histories begin.
var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newWorld(seed uint64, c controls) *world {
	w := &world{controls: c, r: rand.New(rand.NewPCG(seed, 15)), cut: map[[2]int]int{}, acked: map[int]int{}}
	w.share, w.keep = newRedis(w, 100), newRedis(w, 101)
	for range 8 {
		w.owners = append(w.owners, w.r.IntN(Slots))
		w.counted = append(w.counted, 0)
	}
	return w
}

func (w *world) after(d time.Duration, f func()) {
	w.seq++
	heap.Push(&w.queue, event{w.now + max(d, 0), w.seq, f})
}

// run lets time pass.
func (w *world) run(until time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= until && len(w.found) < 5 {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		w.tally.events++
		e.do()
	}
	w.now = until
}

func (w *world) wrong(format string, args ...any) {
	w.found = append(w.found, fmt.Sprintf("%v: ", w.now)+fmt.Sprintf(format, args...))
}

func (w *world) tell(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%v: ", w.now)+fmt.Sprintf(format, args...))
}

// span is a random time.
func (w *world) span(from, to time.Duration) time.Duration {
	return from + time.Duration(w.r.Int64N(int64(to-from)))
}

// way is how long a message is on its way; false: for ever.
func (w *world) way(from, to int) (time.Duration, bool) {
	if w.cut[[2]int{from, to}] > 0 {
		return 0, false
	}
	if w.rough {
		switch w.r.IntN(10) {
		case 0:
			return 0, false
		case 1:
			return w.span(0, 2500*time.Millisecond), true
		}
	}
	return w.span(100*time.Microsecond, 3*time.Millisecond), true
}

// longAgo is when what has not happened has.
const longAgo = -time.Hour

// A simulated is one machine and what runs on it.
type simulated struct {
	w      *world
	index  int
	name   string
	core   *core // nil: nothing runs
	app    *app
	gen    int // of the process
	paused bool
	asleep bool     // with its machine
	later  []func() // what waits until it goes on
	slept  time.Duration
	woke   time.Duration // when it had slept last
	skew   time.Duration // of its clock
	back   time.Duration // when that was set back last
	wakes  int
	heard  map[string]time.Duration
	begun  time.Duration
}

func (n *simulated) clock() instant {
	return instant{n.w.now - n.slept, began.Add(n.w.now + n.skew).UnixNano()}
}

// do lets something happen in the process after a while, unless that ends before. While it does not run, it waits.
func (n *simulated) do(d time.Duration, f func()) {
	gen := n.gen
	n.w.after(d, func() { n.arrive(gen, f) })
}

func (n *simulated) arrive(gen int, f func()) {
	switch {
	case gen != n.gen || n.core == nil:
	case n.paused:
		n.later = append(n.later, f)
	default:
		f()
	}
}

// start starts a process.
func (n *simulated) start(name string) {
	n.gen++
	n.name, n.begun, n.paused, n.asleep, n.later, n.heard = name, n.w.now, false, false, nil, map[string]time.Duration{}
	gen, runs := n.gen, 0
	s := settings{member: Member{ID: name, Protocol: 1}, log: slog.New(slog.DiscardHandler),
		newRun: func() string {
			runs++
			return fmt.Sprintf("%s.%d.%d", name, gen, runs)
		},
		silence: func(id string) time.Duration {
			if _, ok := n.heard[id]; !ok {
				n.heard[id] = n.clock().mono
			}
			return n.clock().mono - n.heard[id]
		}}
	s.fill(DefaultLease, DefaultRenew)
	n.core = newCore(s)
	n.app = newApp(n)
	n.do(0, n.pump)
	n.do(0, n.ping)
}

func (n *simulated) kill() {
	n.gen++
	n.core, n.paused, n.asleep, n.later = nil, false, false, nil
}

// pause stops it; asleep: its whole machine, whose monotonic clock stands still.
func (n *simulated) pause(asleep bool) { n.paused, n.asleep = true, asleep }

// resume lets it go on after that time.
func (n *simulated) resume(d time.Duration) {
	if !n.paused {
		return
	}
	if n.asleep {
		n.slept += d
		n.woke = n.w.now
	}
	n.paused, n.asleep = false, false
	waiting := n.later
	n.later = nil
	for _, f := range waiting {
		n.do(n.w.span(0, time.Millisecond), f)
	}
}

// pump is what Node.loop does.
func (n *simulated) pump() {
	was := n.core.phase
	r, wake := n.core.next(n.clock())
	if was == in && n.core.phase == out {
		n.w.tally.lapsed++
	}
	for _, b := range n.core.callbacks {
		n.call(b)
	}
	n.core.callbacks = nil
	if r != nil {
		n.ask(*r)
	}
	n.wakes++
	mine := n.wakes
	n.do(wake-n.clock().mono, func() {
		if mine == n.wakes {
			n.pump()
		}
	})
}

func (n *simulated) call(b *callback) {
	done := func() {
		n.core.finished(b)
		n.pump()
	}
	if b.gained {
		n.w.tally.gained += len(b.slots)
		n.onlyHome(b.slots)
		n.do(n.w.span(0, 5*time.Millisecond), done)
		return
	}
	n.app.lost(b.slots, b.planned, done)
}

// onlyHome sees to it that nobody else is at home where this node is now.
func (n *simulated) onlyHome(slots []int) {
	for _, other := range n.w.nodes {
		if other == n || other.core == nil || other.paused {
			continue
		}
		for _, s := range slots {
			if _, ok := other.core.here(s, other.clock()); ok {
				n.w.wrong("slot %d is at home at %s and at %s", s, n.name, other.name)
				return
			}
		}
	}
}

var errLate = errors.New("no reply in time")

// ask sends a request to what the nodes share.
func (n *simulated) ask(r Request) {
	answered := false
	answer := func(v View, err error) {
		if answered {
			return
		}
		answered = true
		was := n.core.phase
		if err == nil && r.Op == OpLeave && n.core.exiled {
			n.w.tally.expelled++
		}
		n.core.reply(n.clock(), v, err)
		if was == in && n.core.phase == out && r.Op != OpLeave {
			n.w.tally.lapsed++
		}
		if n.w.fromReply && err == nil && n.core.phase == in {
			n.core.extend(n.clock())
		}
		n.pump()
	}
	n.do(DefaultLease/10, func() { answer(View{}, errLate) })
	var v View
	var err error
	n.w.share.ask(n, func(d *kept, now time.Time) { v, err = d.nodes.apply(now, r) }, func() (func(), bool) {
		v, err := v, err
		return func() { answer(v, err) }, r.Op != OpLook && err == nil
	})
}

// ping hears from the other nodes, there and back.
func (n *simulated) ping() {
	for _, other := range n.w.nodes {
		if other == n || other.core == nil {
			continue
		}
		n.send(other, func() {
			other.send(n, func() { n.heard[other.name] = n.clock().mono })
		})
	}
	n.do(2*time.Second, n.ping)
}

// send has something happen at another node, if it arrives.
func (n *simulated) send(to *simulated, f func()) {
	d, ok := n.w.way(n.index, to.index)
	if ok {
		gen := to.gen
		n.w.after(d, func() { to.arrive(gen, f) })
	}
}

// A redis is a master with a replica that follows it.
type redis struct {
	w       *world
	index   int
	gen     int // rises with each fail-over
	away    bool
	master  *kept
	replica *kept
	lag     time.Duration // when the replica has what was written last
	slow    time.Duration
}

// kept is what a redis has.
type kept struct {
	nodes  data
	owners map[int]*row
}

func newKept() *kept { return &kept{owners: map[int]*row{}} }

func (k *kept) clone() *kept {
	c := newKept()
	c.nodes = k.nodes.clone()
	for o, r := range k.owners {
		copied := *r
		copied.log = append([]record(nil), r.log...)
		c.owners[o] = &copied
	}
	return c
}

func newRedis(w *world, index int) *redis {
	return &redis{w: w, index: index, master: newKept(), replica: newKept()}
}

// ask sends a step for a node, which has to come to the same on the replica. then is asked right after it, for the
// reply, and whether it waits for the replica.
func (s *redis) ask(n *simulated, step func(*kept, time.Time), then func() (reply func(), wait bool)) {
	w, gen := s.w, n.gen
	there, ok := w.way(n.index, s.index)
	if !ok {
		return
	}
	w.after(there, func() {
		if s.away {
			return
		}
		now := began.Add(w.now)
		step(s.master, now)
		reply, wait := then()
		master := s.gen
		s.lag = max(s.lag, w.now+w.span(0, time.Millisecond)+s.slow)
		answer := func() {
			if back, ok := w.way(s.index, n.index); ok {
				w.after(back, func() { n.arrive(gen, reply) })
			}
		}
		w.after(s.lag-w.now, func() {
			if master != s.gen {
				return
			}
			step(s.replica, now)
			if wait && !w.noWait {
				answer()
			}
		})
		if !wait || w.noWait {
			answer()
		}
	})
}

// failover makes the replica the master. What it did not have is lost.
func (s *redis) failover() {
	s.gen++
	s.w.tally.failovers++
	s.master, s.lag = s.replica, s.w.now
	s.replica = s.master.clone()
}

// String tells the history.
func (w *world) String() string {
	return strings.Join(w.story, "\n") + "\nfound:\n" + strings.Join(w.found, "\n")
}
