// Package recent keeps in memory what the store knows of the owners used last. A Cache holds what somebody works with,
// for as long as that lasts, and of the rest as much as there is room for. Values holds what is only read and replaced.
package recent

import (
	"hash/maphash"
	"strings"
	"sync"
)

const shards = 64

// A Place is embedded in what a Cache holds. The zero value is ready.
type Place struct {
	owner      string
	use        int  // how many have taken it and not given it back
	gone       bool // dropped: it is in the hands of those who have taken it alone
	cost       int  // when it became idle
	prev, next *Place
}

func (p *Place) place() *Place { return p }

// Held is a pointer to a struct that embeds a Place.
type Held interface{ place() *Place }

// A Cache holds one value for each owner. It is safe for concurrent use; the values have locks of their own.
type Cache[V Held] struct {
	most  int
	make  func(owner string) V
	stays func(V) bool

	seed   maphash.Seed
	shards [shards]shard[V]
}

type shard[V Held] struct {
	mu   sync.Mutex // guards the rest, and the places
	all  map[string]V
	idle Place // of a ring of those that nobody works with; next is the latest
	cost int   // of the ring
}

// New returns an empty cache. What is idle may cost most together, for each of 64 parts of the owners; the latest one
// of each is kept whatever it costs. Make makes the value of an owner who is not known. What stays, if stays is not
// nil, does not become idle; it is asked again when Settle is called. Both are called with a part of the cache locked.
func New[V Held](most int, make func(owner string) V, stays func(V) bool) *Cache[V] {
	c := &Cache[V]{most: most, make: make, stays: stays, seed: maphash.MakeSeed()}
	for i := range c.shards {
		sh := &c.shards[i]
		sh.all = map[string]V{}
		sh.idle.prev, sh.idle.next = &sh.idle, &sh.idle
	}
	return c
}

func (c *Cache[V]) shard(owner string) *shard[V] {
	return &c.shards[maphash.String(c.seed, owner)%shards]
}

// Take returns the value of an owner, which is not forgotten before Give. The name may lie in a request's buffer.
func (c *Cache[V]) Take(owner string) V {
	sh := c.shard(owner)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	v, known := sh.all[owner]
	if !known {
		owner = strings.Clone(owner)
		v = c.make(owner)
		v.place().owner = owner
		sh.all[owner] = v
	}
	p := v.place()
	p.use++
	sh.wake(p)
	return v
}

// Lone makes the value of an owner who is not to be kept: it is for whoever called alone, who gives it back all the
// same.
func (c *Cache[V]) Lone(owner string) V {
	v := c.make(owner)
	p := v.place()
	p.owner, p.gone, p.use = owner, true, 1
	return v
}

// Give gives back what Take has returned. It costs so much while it is idle.
func (c *Cache[V]) Give(v V, cost int) {
	p := v.place()
	sh := c.shard(p.owner)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	p.use--
	c.rest(sh, v, cost)
}

// Settle lets a value become idle that no longer stays. If somebody works with it, Give does that. Nobody works with
// the value while cost is called.
func (c *Cache[V]) Settle(owner string, cost func(V) int) {
	sh := c.shard(owner)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if v, known := sh.all[owner]; known && v.place().use == 0 {
		c.rest(sh, v, cost(v))
	}
}

// Drop forgets the values of owners for which gone says true. Who works with one goes on with it, and others get a new
// one.
func (c *Cache[V]) Drop(gone func(owner string) bool) {
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		for owner, v := range sh.all {
			if gone(owner) {
				p := v.place()
				p.gone = true
				sh.wake(p)
				delete(sh.all, owner)
			}
		}
		sh.mu.Unlock()
	}
}

// rest makes a value idle unless it is needed, and forgets those that were used longest ago. The caller holds the
// shard.
func (c *Cache[V]) rest(sh *shard[V], v V, cost int) {
	p := v.place()
	if p.use > 0 || p.gone || p.next != nil || c.stays != nil && c.stays(v) {
		return
	}
	p.cost = cost
	p.prev, p.next = &sh.idle, sh.idle.next
	p.prev.next, p.next.prev = p, p
	for sh.cost += cost; sh.cost > c.most && sh.idle.prev != p; {
		old := sh.idle.prev
		sh.wake(old)
		delete(sh.all, old.owner)
	}
}

// wake takes a value out of the idle ones. The caller holds the shard.
func (sh *shard[V]) wake(p *Place) {
	if p.next != nil {
		p.prev.next, p.next.prev = p.next, p.prev
		p.prev, p.next = nil, nil
		sh.cost -= p.cost
	}
}
