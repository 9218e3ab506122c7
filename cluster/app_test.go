package cluster

import (
	"fmt"
	"slices"
	"time"
)

// An app is what a node does in a history, in small: messages to owners come in at any node, are handed to the home of
// the owner, written there under its fence, and acknowledged. What the home knows of an owner it answers from memory,
// as storage/redis does.
type app struct {
	n      *simulated
	owners map[int]*held
	ending map[int]bool // slots whose planned end has begun
	claims int
}

// row is what the store has of an owner, and record of a message to it.
type row struct {
	fence uint64
	token string
	log   []record
}

type record struct {
	id, message int
	fence       uint64
	node        string
	version     int
}

// A held is what a home knows of an owner.
type held struct {
	owner   int
	fence   uint64
	mark    string // of the claim
	serial  int
	claimed bool
	dropped bool
	busy    bool
	has     map[int]bool
	last    int // id
	version int
	queue   []job
}

type job struct {
	message int // 0: how many there are
	answer  func(result, int)
}

type result int

const (
	done result = iota
	elsewhere
	failed
)

func newApp(n *simulated) *app {
	return &app{n: n, owners: map[int]*held{}, ending: map[int]bool{}}
}

func (a *app) lost(slots []int, planned bool, finished func()) {
	for _, s := range slots {
		a.ending[s] = planned
	}
	var wait func()
	wait = func() {
		for owner, s := range a.n.w.owners {
			h := a.owners[owner]
			if h == nil || !slices.Contains(slots, s) {
				continue
			}
			if planned && h.busy && !h.dropped {
				a.n.do(5*time.Millisecond, wait)
				return
			}
			a.drop(h, elsewhere)
		}
		d := a.n.w.span(0, 20*time.Millisecond)
		if a.n.w.r.IntN(40) == 0 && !a.n.w.prompt {
			d = a.n.w.span(0, 8*time.Second)
		}
		a.n.do(d, func() {
			for _, s := range slots {
				delete(a.ending, s)
			}
			finished()
		})
	}
	wait()
}

// drop forgets an owner.
func (a *app) drop(h *held, why result) {
	if h.dropped {
		return
	}
	h.dropped = true
	if a.owners[h.owner] == h {
		delete(a.owners, h.owner)
	}
	queue := h.queue
	h.queue = nil
	for _, j := range queue {
		j.answer(why, 0)
	}
}

// take has a job done by the home of an owner, which should be this node.
func (a *app) take(owner int, j job) {
	slot := a.n.w.owners[owner]
	if _, ok := a.n.core.here(slot, a.n.clock()); !ok || a.ending[slot] {
		a.n.core.refresh = true
		a.n.pump()
		j.answer(elsewhere, 0)
		return
	}
	a.n.do(a.n.w.span(0, time.Millisecond), func() {
		fence, ok := a.n.core.here(slot, a.n.clock())
		if !ok || a.ending[slot] {
			j.answer(elsewhere, 0)
			return
		}
		h := a.owners[owner]
		if h != nil && h.fence != fence {
			a.drop(h, failed)
			h = nil
		}
		if h == nil {
			h = &held{owner: owner, fence: fence, has: map[int]bool{}}
			a.owners[owner] = h
		}
		h.queue = append(h.queue, j)
		a.work(h)
	})
}

// work does the next job.
func (a *app) work(h *held) {
	for !h.busy && !h.dropped && len(h.queue) > 0 {
		if !h.claimed {
			a.claim(h)
			return
		}
		j := h.queue[0]
		h.queue = h.queue[1:]
		fence, ok := a.n.core.here(a.n.w.owners[h.owner], a.n.clock())
		switch {
		case !ok || fence != h.fence:
			j.answer(elsewhere, 0)
		case j.message == 0:
			j.answer(done, len(h.has))
		case h.has[j.message]:
			j.answer(done, 0)
		default:
			a.write(h, j)
		}
	}
}

// request sends a step for an owner to the store until there is a reply, or the owner is dropped. If the node is not
// its home any more, it gives up.
func (a *app) request(h *held, step func(*row) bool, reply func(ok bool, log []record)) {
	h.busy = true
	answered := false
	var try func()
	try = func() {
		if answered {
			return
		}
		if h.dropped {
			answered, h.busy = true, false
			return
		}
		var ok bool
		var log []record
		a.n.w.keep.ask(a.n, func(k *kept, _ time.Time) {
			r := k.owners[h.owner]
			if r == nil {
				r = &row{}
				k.owners[h.owner] = r
			}
			ok = step(r)
			log = r.log[:len(r.log):len(r.log)]
		}, func() (func(), bool) {
			ok, log := ok, log
			return func() {
				if answered {
					return
				}
				answered, h.busy = true, false
				reply(ok, log)
			}, true
		})
		a.n.do(time.Second, try)
	}
	// What was decided may be sent much later, if the process stands still just now.
	a.n.do(a.n.w.span(0, 100*time.Microsecond), try)
}

func (a *app) claim(h *held) {
	w := a.n.w
	a.claims++
	h.mark, h.serial = fmt.Sprintf("%d:%s.%d.%d:", h.fence, a.n.name, a.n.gen, a.claims), 0
	mark, fence := h.mark, h.fence
	a.request(h, func(r *row) bool {
		if r.fence > fence && !w.noFence {
			return false
		}
		r.fence, r.token = fence, mark+"0"
		return true
	}, func(ok bool, log []record) {
		if h.dropped {
			return
		}
		if !ok {
			a.drop(h, failed)
			return
		}
		h.claimed = true
		for _, r := range log {
			h.has[r.message] = true
			h.last, h.version = r.id, r.version
		}
		a.work(h)
	})
}

func (a *app) write(h *held, j job) {
	w := a.n.w
	expected, next := fmt.Sprint(h.mark, h.serial), fmt.Sprint(h.mark, h.serial+1)
	r := record{id: max(h.last+1, int(a.n.clock().wall/1000)), message: j.message, fence: h.fence, node: a.n.name,
		version: h.version + 1}
	if w.ackEarly {
		j.answer(done, 0)
	}
	a.request(h, func(o *row) bool {
		switch o.token {
		case next:
			return true // it was applied, and the reply was lost
		case expected:
		default:
			if !w.noFence {
				return false
			}
		}
		o.token = next
		// Late copies of a claim and of the write behind it may both arrive; its id makes that the same record.
		if !slices.ContainsFunc(o.log, func(x record) bool { return x.id == r.id && x.message == r.message }) {
			o.log = append(o.log, r)
		}
		return true
	}, func(ok bool, _ []record) {
		switch {
		case ok:
			// It is written, whatever has become of the lease meanwhile.
			j.answer(done, 0)
		default:
			j.answer(failed, 0)
			a.drop(h, failed)
		}
		if h.dropped {
			return
		}
		h.serial++
		h.last, h.version = r.id, r.version
		h.has[r.message] = true
		a.work(h)
	})
}

// post is what a client does at this node: it sends a message until it is acknowledged, or asks how many there are.
func (a *app) post(owner, message, tries int) {
	if tries == 0 {
		return
	}
	n, w := a.n, a.n.w
	slot := w.owners[owner]
	before := w.counted[owner]
	answered, gen := false, n.gen
	answer := func(r result, count int) {
		if answered || gen != n.gen {
			return // it is known, or the process that wanted to know it has ended
		}
		answered = true
		switch {
		case r == done && message == 0:
			w.tally.reads++
			if count < before {
				w.wrong("owner %d had %d acknowledged messages, and %s tells %d", owner, before, n.name, count)
			}
		case r == done:
			if _, ok := w.acked[message]; !ok {
				w.acked[message] = owner
				w.counted[owner]++
				w.tally.acked++
			}
		default:
			if r == elsewhere {
				n.core.refresh = true
				n.pump()
			}
			n.do(w.span(20*time.Millisecond, 200*time.Millisecond), func() { a.post(owner, message, tries-1) })
		}
	}
	n.do(1500*time.Millisecond, func() { answer(failed, 0) })
	home := n.core.places[slot].Node
	if home == n.name {
		a.take(owner, job{message, answer})
		return
	}
	for _, other := range w.nodes {
		if other.core == nil || other.name != home {
			continue
		}
		n.send(other, func() {
			other.app.take(owner, job{message, func(r result, count int) {
				other.send(n, func() { answer(r, count) })
			}})
		})
		return
	}
}

// check looks at what is in the store at the end.
func (w *world) check() {
	there := map[int]int{}
	for owner := range w.owners {
		r := w.keep.master.owners[owner]
		if r == nil {
			continue
		}
		writers := map[uint64]string{}
		for i, x := range r.log {
			there[x.message]++
			if there[x.message] > 1 {
				w.wrong("message %d is there %d times", x.message, there[x.message])
			}
			if writer, ok := writers[x.fence]; ok && writer != x.node {
				w.wrong("%s and %s have written for owner %d under fence %d", writer, x.node, owner, x.fence)
			}
			writers[x.fence] = x.node
			if i == 0 {
				continue
			}
			if last := r.log[i-1]; x.id <= last.id || x.version <= last.version || x.fence < last.fence {
				w.wrong("owner %d: %+v is behind %+v", owner, x, last)
			}
		}
	}
	for m, owner := range w.acked {
		if there[m] == 0 {
			w.wrong("message %d to owner %d was acknowledged and is not there", m, owner)
		}
	}
}
