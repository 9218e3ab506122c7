package relay

import (
	"time"
)

const (
	settleTime   = time.Second           // how long answers of the home before are awaited
	retryMin     = 20 * time.Millisecond // until a home that did not know of it is asked again
	retryMax     = 200 * time.Millisecond
	placeEvery   = 50 * time.Millisecond
	refreshEvery = 100 * time.Millisecond
)

// tryPlace begins a round if the home of the slot is known and can be reached. The caller holds the queue's mu.
func (r *Relay) tryPlace(q *queue, t time.Duration) {
	if q.old > 0 && t < q.until || t < q.retry {
		return
	}
	home, ok := r.o.Node.Home(q.slot)
	if !ok || home.Node == r.o.Node.ID() && r.released[q.slot].Load() == home.Fence {
		r.isStale()
		return
	}
	p := r.peer(home.Node)
	if p == nil {
		return
	}
	if s := p.stream(); s != nil {
		r.begin(q, s, home.Fence)
	}
}

// place finds homes for what waits, and refuses what has waited too long.
func (r *Relay) place() {
	tick := time.NewTicker(placeEvery)
	defer tick.Stop()
	changed := r.o.Node.Changed()
	for {
		anew := false
		select {
		case <-changed:
			changed, anew = r.o.Node.Changed(), true
		case <-r.wake:
		case <-tick.C:
		case <-r.ctx.Done():
			return
		}
		r.tellHeld()
		if r.waiting.Load() == 0 {
			continue
		}
		for i := range r.queues {
			if q := &r.queues[i]; q.open.Load() > 0 {
				r.look(q, anew)
			}
		}
	}
}

// look does for one queue what there is to do.
func (r *Relay) look(q *queue, anew bool) {
	t := r.now()
	q.mu.Lock()
	if len(q.list) == 0 {
		q.mu.Unlock()
		return
	}
	if anew && q.stream != nil {
		// What the home before has taken it may answer yet: when it gives a slot away it has finished with it.
		if home, ok := r.o.Node.Home(q.slot); ok && (home.Node != q.stream.p.node || home.Fence != q.fence) {
			q.stall(t+settleTime, t)
		}
	}
	out := q.expired(r, t-r.o.Patience)
	if q.stream == nil && len(q.list) > 0 {
		r.tryPlace(q, t)
	}
	to := q.stream
	q.mu.Unlock()
	if to != nil {
		to.Flush()
	}
	r.fail(out)
}

// isStale says that what this node knows of homes may be out of date.
func (r *Relay) isStale() {
	select {
	case r.stale <- struct{}{}:
	default:
	}
}

// refresh looks anew where homes are, when somebody has found one missing.
func (r *Relay) refresh() {
	for {
		select {
		case <-r.stale:
		case <-r.ctx.Done():
			return
		}
		r.o.Node.Refresh(r.ctx)
		r.looks.Add(1)
		r.wakeUp()
		select {
		case <-time.After(refreshEvery):
		case <-r.ctx.Done():
			return
		}
	}
}
