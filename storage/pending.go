package storage

import (
	"context"
	"sync"
)

// A Pending is a write on its way to a durable place. All writes of one group commit share one. A nil Pending is a
// write that is durable already.
type Pending struct {
	mu       sync.Mutex // guards the rest
	finished bool
	running  bool // Finish is calling functions; Then queues behind them
	err      error
	done     chan struct{} // made when somebody waits
	then     []func(error)
}

// NewPending is for engines.
func NewPending() *Pending { return &Pending{} }

// Finish completes the write with its outcome and runs what Then was given, in order, on this goroutine. Engines call
// it once.
func (p *Pending) Finish(err error) {
	p.mu.Lock()
	p.finished, p.err, p.running = true, err, true
	if p.done != nil {
		close(p.done)
	}
	// A Then that comes while these run must not overtake them: acknowledgements leave in the order of the writes.
	for len(p.then) > 0 {
		then := p.then
		p.then = nil
		p.mu.Unlock()
		for _, f := range then {
			f(err)
		}
		p.mu.Lock()
	}
	p.running = false
	p.mu.Unlock()
}

// Finished says whether the write has completed, and how.
func (p *Pending) Finished() (bool, error) {
	if p == nil {
		return true, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.finished, p.err
}

// Then runs f once with the outcome: at once if the write has completed, else on the engine's goroutine, so f must not
// block. Functions given to one Pending run in the order they were given.
func (p *Pending) Then(f func(error)) {
	if p == nil {
		f(nil)
		return
	}
	p.mu.Lock()
	if !p.finished || p.running {
		p.then = append(p.then, f)
		p.mu.Unlock()
		return
	}
	err := p.err
	p.mu.Unlock()
	f(err)
}

// Wait returns the outcome, or the context's error if that ends first; the write may still complete then.
func (p *Pending) Wait(ctx context.Context) error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	if p.finished {
		defer p.mu.Unlock()
		return p.err
	}
	if p.done == nil {
		p.done = make(chan struct{})
	}
	done := p.done
	p.mu.Unlock()
	select {
	case <-done:
		_, err := p.Finished()
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Join returns a write that is durable when all of these are, and fails with the first of them that has failed. It
// keeps no hold of the slice.
func Join(writes ...*Pending) *Pending {
	var one *Pending
	var open []*Pending // where there are several
	for _, p := range writes {
		if done, err := p.Finished(); done && err == nil {
			continue
		}
		switch {
		case one == nil:
			one = p
			continue
		case open == nil:
			open = append(make([]*Pending, 0, len(writes)), one)
		}
		open = append(open, p)
	}
	if open == nil {
		return one
	}
	all := NewPending()
	var next func(i int)
	next = func(i int) {
		if i == len(open) {
			all.Finish(nil)
			return
		}
		open[i].Then(func(err error) {
			if err != nil {
				all.Finish(err)
				return
			}
			next(i + 1)
		})
	}
	next(0)
	return all
}
