package recent

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// Values holds one value for each owner as the store has it, and forgets some when there are too many. A value is never
// changed, only replaced, so a reader waits for nobody once it is in memory. Values is safe for concurrent use.
type Values[V any] struct {
	load   func(owner string) (V, error)
	seed   maphash.Seed
	shards [shards]valueShard[V]
}

type valueShard[V any] struct {
	write sync.Mutex   // taken first, held while an owner's value is read from the store or replaced
	mu    sync.RWMutex // guards all
	all   map[string]*value[V]
	_     [32]byte // no two shards in one cache line
}

type value[V any] struct {
	v    V
	used atomic.Bool // since a value had to go
}

// mostValues bounds the values in memory, for each shard.
const mostValues = 1024

// NewValues returns an empty cache. load reads the value of an owner from the store; the owner is held meanwhile.
func NewValues[V any](load func(owner string) (V, error)) *Values[V] {
	c := &Values[V]{load: load, seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].all = map[string]*value[V]{}
	}
	return c
}

func (c *Values[V]) shard(owner string) *valueShard[V] {
	return &c.shards[maphash.String(c.seed, owner)%shards]
}

// Get returns the value of an owner.
func (c *Values[V]) Get(owner string) (V, error) {
	if v, known := c.shard(owner).look(owner); known {
		return v, nil
	}
	o := c.Hold(owner)
	defer o.Release()
	return o.Get()
}

func (sh *valueShard[V]) look(owner string) (v V, known bool) {
	sh.mu.RLock()
	one := sh.all[owner]
	sh.mu.RUnlock()
	if one == nil {
		return v, false
	}
	if !one.used.Load() { // else all readers would write to one cache line
		one.used.Store(true)
	}
	return one.v, true
}

// An Owner is one whose value nobody else replaces.
type Owner[V any] struct {
	c    *Values[V]
	sh   *valueShard[V]
	name string
}

// Hold has nobody else replace the value of an owner until Release. Others may read it. Whoever holds one owner must
// not ask for another: they share locks.
func (c *Values[V]) Hold(owner string) Owner[V] {
	sh := c.shard(owner)
	sh.write.Lock()
	return Owner[V]{c, sh, owner}
}

// Release ends what Hold began.
func (o Owner[V]) Release() { o.sh.write.Unlock() }

// Get returns the value.
func (o Owner[V]) Get() (V, error) {
	if v, known := o.sh.look(o.name); known {
		return v, nil
	}
	v, err := o.c.load(o.name)
	if err == nil {
		o.Put(v)
	}
	return v, err
}

// Put replaces the value by one that the store has by now. If there are too many, one that was not asked for lately is
// forgotten.
func (o Owner[V]) Put(v V) {
	sh := o.sh
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.all[o.name] == nil && len(sh.all) >= mostValues {
		// Two rounds are enough: the first takes away the marks.
		for range 2 {
			for name, one := range sh.all {
				if !one.used.Swap(false) {
					delete(sh.all, name)
					break
				}
			}
			if len(sh.all) < mostValues {
				break
			}
		}
	}
	// The name is kept for long: it must not hold a read buffer.
	sh.all[strings.Clone(o.name)] = &value[V]{v: v}
}

// Drop forgets the values of owners for which gone says true.
func (c *Values[V]) Drop(gone func(owner string) bool) {
	for i := range c.shards {
		sh := &c.shards[i]
		sh.write.Lock()
		sh.mu.Lock()
		for name := range sh.all {
			if gone(name) {
				delete(sh.all, name)
			}
		}
		sh.mu.Unlock()
		sh.write.Unlock()
	}
}

// Forget has the value read from the store when it is asked for next.
func (o Owner[V]) Forget() {
	o.sh.mu.Lock()
	defer o.sh.mu.Unlock()
	delete(o.sh.all, o.name)
}
