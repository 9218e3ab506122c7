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
	// near are some of all, each at the place that its owner's name has. They are read without a lock, and written with
	// mu held, also for reading: whoever replaces a value finds what a reader has put there.
	near [nearby]atomic.Pointer[value[V]]
	_    [24]byte // no two shards in one cache line
}

type value[V any] struct {
	name string
	v    V
	used atomic.Bool // since a value had to go
}

const (
	// mostValues bounds the values in memory, for each shard.
	mostValues = 1024
	// nearby is how many of them are found without a lock.
	nearby = 16
)

// NewValues returns an empty cache. load reads the value of an owner from the store; the owner is held meanwhile.
func NewValues[V any](load func(owner string) (V, error)) *Values[V] {
	c := &Values[V]{load: load, seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].all = map[string]*value[V]{}
	}
	return c
}

// find returns the shard of an owner, and the place among those near.
func (c *Values[V]) find(owner string) (sh *valueShard[V], at uint64) {
	h := maphash.String(c.seed, owner)
	return &c.shards[h%shards], h / shards % nearby
}

// Get returns the value of an owner.
func (c *Values[V]) Get(owner string) (V, error) {
	sh, at := c.find(owner)
	if v, known := sh.look(owner, at); known {
		return v, nil
	}
	o := c.Hold(owner)
	defer o.Release()
	return o.Get()
}

func (sh *valueShard[V]) look(owner string, at uint64) (v V, known bool) {
	one := sh.near[at].Load()
	if one == nil || one.name != owner {
		sh.mu.RLock()
		if one = sh.all[owner]; one != nil {
			sh.near[at].Store(one)
		}
		sh.mu.RUnlock()
		if one == nil {
			return v, false
		}
	}
	if !one.used.Load() { // else all readers would write to one cache line
		one.used.Store(true)
	}
	return one.v, true
}

// drop forgets a value. The caller holds mu.
func (sh *valueShard[V]) drop(one *value[V]) {
	delete(sh.all, one.name)
	for i := range sh.near {
		if sh.near[i].Load() == one {
			sh.near[i].Store(nil)
		}
	}
}

// An Owner is one whose value nobody else replaces.
type Owner[V any] struct {
	c    *Values[V]
	sh   *valueShard[V]
	at   uint64
	name string
}

// Hold has nobody else replace the value of an owner until Release. Others may read it. Whoever holds one owner must
// not ask for another: they share locks.
func (c *Values[V]) Hold(owner string) Owner[V] {
	sh, at := c.find(owner)
	sh.write.Lock()
	return Owner[V]{c, sh, at, owner}
}

// Release ends what Hold began.
func (o Owner[V]) Release() { o.sh.write.Unlock() }

// Get returns the value.
func (o Owner[V]) Get() (V, error) {
	if v, known := o.sh.look(o.name, o.at); known {
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
			for _, one := range sh.all {
				if !one.used.Swap(false) {
					sh.drop(one)
					break
				}
			}
			if len(sh.all) < mostValues {
				break
			}
		}
	}
	// The name is kept for long: it must not hold a read buffer.
	one := &value[V]{name: strings.Clone(o.name), v: v}
	sh.all[one.name] = one
	sh.near[o.at].Store(one)
}

// Drop forgets the values of owners for which gone says true.
func (c *Values[V]) Drop(gone func(owner string) bool) {
	for i := range c.shards {
		sh := &c.shards[i]
		sh.write.Lock()
		sh.mu.Lock()
		for name, one := range sh.all {
			if gone(name) {
				sh.drop(one)
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
	if one := o.sh.all[o.name]; one != nil {
		o.sh.drop(one)
	}
}
