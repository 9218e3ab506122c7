package relay

import (
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/cluster"
	"jackdaw/router"
)

const (
	maxTold = 64 << 10 // bytes of sequels that wait for a node, or for a home to be known
	maxHops = 4        // nodes that pass a sequel on, since each knew a little less than the last
)

// A telling is a sequel on its way to the home of the sender of the message.
type telling struct {
	what router.Sequel
	hops byte // nodes that were told and were not the home
	// since is when it began to wait here, and looks how often this node had looked where homes are until then.
	since time.Duration
	looks uint64
}

func (t *telling) cost() int {
	return len(t.what.From.String()) + len(t.what.To.String()) + len(t.what.ID) + 8
}

func (t *telling) append(b []byte) []byte {
	var own []byte
	own = appendString(own, t.what.From.String())
	own = appendString(own, t.what.To.String())
	own = appendString(own, t.what.ID)
	own = append(own, byte(t.what.Outcome), t.hops)
	return appendBytes(append(b, itemSequel), own)
}

// readTelling reads what append has written. Earlier versions end with the outcome.
func readTelling(b []byte) (t telling, ok bool) {
	in := text{reader: reader{b: b}}
	in.s = string(b)
	t.what = router.Sequel{From: in.address(), To: in.address(), ID: in.string()}
	t.what.Outcome = router.Outcome(in.byte())
	if !in.bad && len(in.b) > 0 {
		t.hops = in.byte()
	}
	return t, !in.bad
}

// tellings are those that wait. They know their bound; what is too much is not told.
type tellings struct {
	mu   sync.Mutex // guards the rest
	list []telling
	cost int
	some atomic.Bool
}

func (w *tellings) add(all ...telling) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range all {
		if cost := t.cost(); w.cost+cost <= maxTold {
			w.list, w.cost = append(w.list, t), w.cost+cost
		}
	}
	w.some.Store(len(w.list) > 0)
}

// take takes all of them.
func (w *tellings) take() (all []telling) {
	if !w.some.Load() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	all, w.list, w.cost = w.list, nil, 0
	w.some.Store(false)
	return all
}

// Tell implements router.Homes.
func (r *Relay) Tell(s router.Sequel) {
	slot := cluster.SlotOf(s.From.Bare().String())
	if _, here := r.here(slot); here {
		r.o.Router.Hear(s)
		return
	}
	t := telling{what: s}
	if home, ok := r.o.Node.Home(slot); !ok || home.Node == r.o.Node.ID() || !r.tellAt(home.Node, t) {
		r.hold(t)
	}
}

// heard takes a sequel that another node has told. It may have known a home that is none any more.
func (r *Relay) heard(t telling) {
	if _, here := r.here(cluster.SlotOf(t.what.From.Bare().String())); here {
		r.o.Router.Hear(t.what)
		return
	}
	if t.hops++; t.hops <= maxHops {
		r.hold(t)
	}
}

// tellAt has a node told.
func (r *Relay) tellAt(node string, t telling) bool {
	p := r.peer(node)
	if p == nil {
		return false
	}
	p.told.add(t)
	if s := p.stream(); s != nil {
		s.Flush()
	}
	return true
}

// hold keeps sequels until this node knows where their homes are.
func (r *Relay) hold(all ...telling) {
	if len(all) == 0 {
		return
	}
	for i := range all {
		if all[i].since == 0 {
			all[i].since = r.now()
		}
		all[i].looks = r.looks.Load()
	}
	r.held.add(all...)
	r.isStale()
}

// tellHeld passes on what waits for its home to be known: for as long as an envelope may wait, and not by what this
// node knew already when another one took it for the home.
func (r *Relay) tellHeld() {
	var rest []telling
	for _, t := range r.held.take() {
		slot := cluster.SlotOf(t.what.From.Bare().String())
		if _, here := r.here(slot); here {
			r.o.Router.Hear(t.what)
			continue
		}
		if r.now()-t.since >= r.o.Patience {
			continue // who is told may miss one
		}
		home, ok := r.o.Node.Home(slot)
		if !ok || home.Node == r.o.Node.ID() || r.looks.Load() == t.looks || !r.tellAt(home.Node, t) {
			rest = append(rest, t)
		}
	}
	if len(rest) > 0 {
		r.held.add(rest...)
		r.isStale()
	}
}
