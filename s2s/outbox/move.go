package outbox

import (
	"context"
	"time"
)

// Release ends what is sent from here to the peers whose pairs are at home on another node from now on; all pairs with
// one remote domain have one home. What comes meanwhile is refused. Planned, streams that are up get a moment to take
// what waits; else the next home may be sending the same already. What is left stays on disk or goes there, as in Stop.
// It returns when that is done and nothing is on its way to storage any more, or with the context's error.
func (o *Outbox) Release(ctx context.Context, gone func(owner string) bool, planned bool) error {
	l := o.limits()
	var leaving []*domain
	for _, d := range o.all() {
		if !gone(ownerOf(Pair{Remote: d.name})) {
			continue
		}
		d.mu.Lock()
		if !d.dead && !d.closed {
			d.closed, d.moving = true, true
			d.relieve(l, true)
			leaving = append(leaving, d)
		}
		d.mu.Unlock()
	}
	if len(leaving) == 0 {
		return nil
	}
	most := time.Duration(0)
	if planned {
		most = drainTime
		if end, ok := ctx.Deadline(); ok {
			most = min(most, time.Until(end)/2)
		}
	}
	o.drain(ctx, leaving, most)
	var err error
	for _, d := range leaving {
		if e := o.finish(ctx, d, moving); e != nil && err == nil {
			err = e
		}
	}
	if e := o.settle(ctx, leaving); e != nil && err == nil {
		err = e
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range leaving {
		d.mu.Lock()
		d.dead = true
		if o.domains[d.name] == d {
			delete(o.domains, d.name)
		}
		d.mu.Unlock()
	}
	return err
}

// settle waits until nobody works with the pairs of domains any more.
func (o *Outbox) settle(ctx context.Context, all []*domain) error {
	look := time.NewTicker(removeAfter)
	defer look.Stop()
	for {
		busy := false
		for _, d := range all {
			d.mu.Lock()
			for _, p := range d.pairs {
				busy = busy || p.busy()
			}
			d.mu.Unlock()
		}
		if !busy {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
