package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"jackdaw/storage"
)

// Where several nodes work on one prefix, nobody has a lease of it. An owner that is homed has one node that writes for
// it, under the fence of that home: all is as with one server, but what ends is told of that owner alone. Reads of an
// owner that is at home elsewhere ask Redis.
//
// An owner that is shared may be written for by any node, which knows nothing in advance: each write claims the owner
// anew, from whoever had it, reads what it needs, decides, and waits until Redis has it. If another node has claimed
// the owner meanwhile, the script changes nothing and the call is decided anew.

// Homes says where owners are at home. Its methods are called often, and must not block.
type Homes interface {
	// Fence returns the number under which this node writes for a homed owner; false if it is not its home now. Each
	// home of an owner has a higher one than those before.
	Fence(owner string) (fence uint64, ok bool)
	// Homed is false of an owner that is shared. The answer never changes. Domains that have accounts are shared.
	Homed(owner string) bool
}

// errRaced is that of a write for a shared owner that was refused since another node has claimed the owner.
var errRaced = fmt.Errorf("%w: redis: other nodes write for the same owner all the time", storage.ErrUnavailable)

func notHere(name string) error {
	return fmt.Errorf("%w: %w: %q", storage.ErrUnavailable, storage.ErrElsewhere, name)
}

// shared says whether all nodes write for an owner.
func (e *engine) shared(name string) bool { return e.o.Homes != nil && !e.o.Homes.Homed(name) }

// fence is that under which this node may claim an owner that is not shared.
func (e *engine) fence(name string) (uint64, error) {
	if e.o.Homes == nil {
		return e.lease.fence, nil
	}
	fence, ok := e.o.Homes.Fence(name)
	if !ok {
		return 0, notHere(name)
	}
	return fence, nil
}

// holds returns nil while this server has the lease, if there has to be one.
func (e *engine) holds(now time.Time) error {
	if e.o.Homes != nil {
		return nil
	}
	return e.lease.holds(now)
}

// moved returns an error if the claim of an owner is not that of its home any more.
func (e *engine) moved(o *owner) error {
	if e.o.Homes == nil || o.shared {
		return nil
	}
	if fence, ok := e.o.Homes.Fence(o.name); !ok || fence != o.fence {
		return notHere(o.name)
	}
	return nil
}

// keep is hold, but returns nil for an owner that other nodes may write for.
func (e *engine) keep(ctx context.Context, name string) (*owner, error) {
	if e.shared(name) {
		return nil, nil
	}
	o, err := e.hold(ctx, name)
	if errors.Is(err, storage.ErrElsewhere) {
		return nil, nil
	}
	return o, err
}

// behind is what goes before a read that asks Redis: the owner is claimed if it is at home here, and its writes have
// arrived. The caller does not have the owner.
func (e *engine) behind(ctx context.Context, name string) error {
	if e.o.Homes != nil && e.o.Homes.Homed(name) {
		if err := e.claimHere(ctx, name); err != nil {
			return err
		}
	}
	return e.drain(ctx, name)
}

// claimHere claims a homed owner if it is at home here.
func (e *engine) claimHere(ctx context.Context, name string) error {
	fence, ok := e.o.Homes.Fence(name)
	if !ok {
		return nil
	}
	e.mu.Lock()
	o := e.owners[name]
	claimed := o != nil && !o.stale && o.at == fence
	e.mu.Unlock()
	if claimed {
		return nil
	}
	o, err := e.hold(ctx, name)
	if err == nil {
		e.free(o)
	} else if errors.Is(err, storage.ErrElsewhere) {
		err = nil
	}
	return err
}

// barrierScript writes something, so that WAIT has something to wait for. KEYS: a key.
var barrierScript = redis.NewScript(`return redis.call('SET', KEYS[1], '', 'PX', 1000)`)

// barrier waits until the replicas that must have a write have all that was found of an owner that other nodes write
// for.
func (e *engine) barrier(ctx context.Context, name string) error {
	if e.o.WaitReplicas == 0 {
		return nil
	}
	_, err := e.run(ctx, call{barrierScript, []string{e.key(name, "owner", "b")}, nil, true})
	return err
}

// A race is a call that decides a write. For a shared owner it waits until that is durable, and is repeated when
// another node was faster.
type race struct {
	e      *engine
	name   string
	shared bool
	begun  time.Time
	pause  time.Duration
}

const (
	// briefly and longest bound the pause after a lost race.
	briefly, longest = 2 * time.Millisecond, 100 * time.Millisecond
)

func (e *engine) race(name string) race {
	r := race{e: e, name: name, shared: e.shared(name)}
	if r.shared {
		r.begun, r.pause = time.Now(), briefly
	}
	return r
}

// over takes what a call has come to. It returns that, or that the call has to be decided anew.
func (r *race) over(ctx context.Context, p *storage.Pending, err error) (bool, *storage.Pending, error) {
	if !r.shared {
		return true, p, err
	}
	if err == nil && p != nil {
		if err = r.e.drain(ctx, r.name); err == nil { // so that a removal does not wait for company
			// Its turn comes soon: those before it give up in time. Whoever calls from a function given to Then, which
			// must not be, would wait for itself.
			limited, cancel := context.WithTimeout(ctx, 2*Patience)
			err = p.Wait(limited)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) {
				err = cmp.Or(ctx.Err(), errBusy)
			}
		}
	}
	lost := errors.Is(err, errRaced) || errors.Is(err, errStale)
	if !lost || time.Since(r.begun) > Patience {
		return true, nil, err
	}
	select {
	case <-time.After(rand.N(r.pause)):
	case <-ctx.Done():
		return true, nil, ctx.Err()
	}
	r.pause = min(2*r.pause, longest)
	return false, nil, nil
}

// Release implements storage.Releaser.
func (e *engine) Release(ctx context.Context, gone func(owner string) bool) error {
	e.mu.Lock()
	all := make([]*owner, 0, len(e.owners))
	for _, o := range e.owners {
		if !o.shared {
			all = append(all, o)
		}
	}
	e.mu.Unlock()
	n := 0
	for _, o := range all {
		if gone(o.name) {
			all[n] = o
			n++
		}
	}
	all = all[:n]
	e.mu.Lock()
	for _, o := range all {
		e.hurry(o)
	}
	e.mu.Unlock()
	var first error
	for _, o := range all {
		if err := e.forget(ctx, o); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// forget waits until an owner is free and its writes have arrived, and forgets it. At the end of the context what was
// not sent fails.
func (e *engine) forget(ctx context.Context, o *owner) error {
	e.mu.Lock()
	if e.owners[o.name] != o {
		e.mu.Unlock()
		return nil // that is done
	}
	o.refs++
	e.mu.Unlock()
	err := e.enter(ctx, o)
	locked := err == nil
	if locked {
		err = e.drain(ctx, o.name)
		o.claimed, o.logs, o.maps, o.named = false, nil, nil, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	o.refs--
	o.at = 0
	if b := o.open; b != nil {
		// What is being sent ends by itself: with the fence, or in time.
		o.open, b.abandoned = nil, true
		e.close(b, notHere(o.name))
	}
	if locked {
		<-o.lock
	}
	if o.refs > 0 || o.sending != nil {
		o.stale = true // whoever has it decides nothing with what it knows
		return err
	}
	delete(e.owners, o.name)
	e.cost -= o.cost
	return err
}
