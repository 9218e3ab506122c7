package lookup

import (
	"context"
	"sync"
	"time"
)

const (
	// keepFound is how long an answer is believed. Go's resolver hides the TTL; five
	// minutes is what zones that move commonly use.
	keepFound = 5 * time.Minute

	// keepMissing is for the DNS's word that there is nothing (RFC 2308 §5 wants
	// negative answers kept).
	keepMissing = time.Minute

	// keepFailed is for no answer at all: long enough that a burst of stanzas to a
	// broken domain is one query (RFC 9520 §3.2).
	keepFailed = 5 * time.Second

	// maxEntries bounds each cache. Users choose which domains are asked for.
	maxEntries = 10000
)

// cache remembers answers for as long as fetch says, and lets all who ask for one
// key at the same time share one fetch.
type cache[K comparable, V any] struct {
	now   func() time.Time
	fetch func(ctx context.Context, key K) (answer V, keep time.Duration)

	mu      sync.Mutex // guards what follows, and is never held while something is fetched
	kept    map[K]entry[V]
	flights map[K]*flight[V]
}

type entry[V any] struct {
	answer  V
	expires time.Time
}

// flight is a fetch that runs. It is cancelled when nobody waits for it any more.
type flight[V any] struct {
	waiting int // guarded by cache.mu
	cancel  context.CancelFunc
	landed  chan struct{} // closed when answer is set
	answer  V
}

func newCache[K comparable, V any](now func() time.Time,
	fetch func(context.Context, K) (V, time.Duration)) *cache[K, V] {
	return &cache[K, V]{now: now, fetch: fetch, kept: map[K]entry[V]{}, flights: map[K]*flight[V]{}}
}

// get returns the answer for a key. The error is that of ctx, and concerns this
// caller only. The answer is shared and must not be changed.
func (c *cache[K, V]) get(ctx context.Context, key K) (V, error) {
	c.mu.Lock()
	if e, ok := c.kept[key]; ok && c.now().Before(e.expires) {
		c.mu.Unlock()
		return e.answer, nil
	}
	f := c.flights[key]
	if f == nil {
		// Not the caller's context: others may join, and outlive the caller.
		var flying context.Context
		f = &flight[V]{landed: make(chan struct{})}
		flying, f.cancel = context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
		c.flights[key] = f
		go c.fly(flying, key, f)
	}
	f.waiting++
	c.mu.Unlock()

	var err error
	select {
	case <-f.landed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f.waiting--
	if err != nil {
		if f.waiting == 0 && c.flights[key] == f {
			delete(c.flights, key) // whoever asks now starts anew
			f.cancel()
		}
		var none V
		return none, err
	}
	return f.answer, nil
}

func (c *cache[K, V]) fly(ctx context.Context, key K, f *flight[V]) {
	defer f.cancel()
	answer, keep := c.fetch(ctx, key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[key] != f {
		return // given up: the answer is that of the cancelled context
	}
	delete(c.flights, key)
	c.makeRoom(key)
	c.kept[key] = entry[V]{answer, c.now().Add(keep)}
	f.answer = answer
	close(f.landed)
}

// makeRoom drops, of a few entries that chance picks (the order of a map), those
// that have expired, else the one that will first. c.mu is held.
func (c *cache[K, V]) makeRoom(key K) {
	if _, ok := c.kept[key]; ok || len(c.kept) < maxEntries {
		return
	}
	const few = 16
	var first K
	seen, dropped, now := 0, 0, c.now()
	for k, e := range c.kept {
		switch {
		case !now.Before(e.expires):
			delete(c.kept, k)
			dropped++
		case seen == dropped || e.expires.Before(c.kept[first].expires):
			first = k
		}
		if seen++; seen == few {
			break
		}
	}
	if dropped == 0 {
		delete(c.kept, first)
	}
}
