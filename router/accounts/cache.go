package accounts

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// shards is a power of two, and enough that cores seldom meet on a lock.
const shards = 64

// A cache is a bounded map that many goroutines read. It forgets something when it is full, and refuses a value that
// was read before its key was dropped.
type cache[V any] struct {
	seed maphash.Seed
	most int // entries in a shard
	// here says of which keys something may be kept, since nobody else changes what is behind it; nil: of all.
	here   atomic.Pointer[func(key string) bool]
	shards [shards]shard[V]
}

type shard[V any] struct {
	mu      sync.RWMutex // guards the rest
	epoch   uint64       // counts drops
	entries map[string]V
	_       [24]byte // keeps the locks of two shards out of one cache line
}

func newCache[V any](most int) *cache[V] {
	c := &cache[V]{seed: maphash.MakeSeed(), most: max(most/shards, 1)}
	for i := range c.shards {
		c.shards[i].entries = make(map[string]V)
	}
	return c
}

func (c *cache[V]) shard(key string) *shard[V] {
	return &c.shards[maphash.String(c.seed, key)%shards]
}

func (c *cache[V]) get(key string) (V, bool) {
	s := c.shard(key)
	s.mu.RLock()
	v, ok := s.entries[key]
	s.mu.RUnlock()
	return v, ok
}

// epoch is taken before reading what put will be given.
func (c *cache[V]) epoch(key string) uint64 {
	s := c.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.epoch
}

// put keeps a value unless the key may have been dropped since epoch.
func (c *cache[V]) put(key string, v V, epoch uint64) {
	if here := c.here.Load(); here != nil && !(*here)(key) {
		return
	}
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != epoch {
		return
	}
	if _, ok := s.entries[key]; !ok && len(s.entries) >= c.most {
		// Any will do: what is in use comes back at the price of one miss.
		for old := range s.entries {
			delete(s.entries, old)
			break
		}
	}
	// The key may be a slice of a whole request.
	s.entries[strings.Clone(key)] = v
}

func (c *cache[V]) drop(key string) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	delete(s.entries, key)
}

func (c *cache[V]) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.epoch++
		clear(s.entries)
		s.mu.Unlock()
	}
}
