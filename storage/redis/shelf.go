package redis

import (
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"jackdaw/storage"
)

// A write that was taken is not given up because Redis is away. Sessions have been given what it says, and if its
// sender were told to send it again, they would get it twice. So what has waited for Patience waits on, however long,
// and what comes for the same owner behind it is refused at once. It ends with the owner's home, or with the server.

// mostShelved bounds the bytes of what waits so; beyond it writes fail.
const mostShelved = 16 << 20

// shelve has the writes of an owner wait until Redis is back, and says whether they may. They finish by themselves from
// then on: later writes for others do not wait for them. The caller holds mu.
func (e *engine) shelve(o *owner, why error) bool {
	batches := slices.DeleteFunc([]*batch{o.sending, o.open}, func(b *batch) bool { return b == nil })
	more := 0
	for _, b := range batches {
		more += b.bytes - b.shelved
	}
	if o.shared || e.closing || e.onShelf+more > mostShelved {
		return false
	}
	for _, b := range batches {
		for _, w := range b.writes {
			w.shelved = true
		}
		b.shelved = b.bytes
	}
	e.onShelf += more
	e.dismiss(more)
	if more > 0 {
		e.order = slices.DeleteFunc(e.order, func(w *write) bool { return w.shelved })
		e.finishSoon() // those behind them may be done
	}
	o.waits, o.queued = why, true
	e.shelf = append(e.shelf, o)
	return true
}

// unshelve sends what is on the shelf once more, if Redis can be reached, and ends what waits for owners that are at
// home here no more. It says whether there was anything.
func (e *engine) unshelve(reachable bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.shelf
	e.shelf = nil
	for _, o := range all {
		switch err := e.moved(o); {
		case err != nil:
			e.fail(o, err)
		case reachable:
			e.enqueue(o)
		default:
			e.shelf = append(e.shelf, o)
		}
	}
	if len(all) == 0 {
		e.short = nil // nothing else would tell that Redis takes writes again
	}
	return len(all) > 0
}

// refuses says whether Redis is there and takes no writes now: it has no memory, or cannot write its files.
func refuses(err error) bool {
	return redis.HasErrorPrefix(err, "OOM") || redis.HasErrorPrefix(err, "MISCONF")
}

// lacking is why no write is taken, whoever it is for; nil: it is. In a cluster the other masters go on. The caller
// holds mu.
func (e *engine) lacking() error {
	if e.cluster != nil {
		return nil
	}
	return e.short
}

// shorten notes that, and returns what callers get. The caller holds mu.
func (e *engine) shorten(err error) error {
	if e.short == nil {
		e.o.Log.Error("redis takes no writes: nothing more is acknowledged, and it is tried again", "error", err,
			"do", "give redis more memory (maxmemory), or room on its disk")
		e.short = fmt.Errorf("%w: redis: %w", storage.ErrUnavailable, err)
	}
	return e.short
}

// unlucky returns why the writes of an owner wait for Redis, nil if they do not. The caller holds mu.
func (e *engine) unlucky(o *owner) error {
	if o == nil || e.closing {
		return nil
	}
	return o.waits
}
