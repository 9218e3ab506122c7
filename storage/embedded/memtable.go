package embedded

import (
	"bytes"
	"hash/maphash"
	"math/rand/v2"
	"sync/atomic"
)

// A memtable is the writes that are not in the tree yet: a skip list, and beside it the records of logs by their
// owners. One goroutine at a time writes the list; any number read meanwhile, without locks. Nothing is ever taken out:
// a deletion is an entry of its own that hides what the tree holds.
type memtable struct {
	head  [levels]atomic.Pointer[node]
	bytes atomic.Int64 // of memory, roughly

	recents [shards]map[string]*recent // by the shard of the owner, which guards them
	slots   [shards][]*recent          // the same, in the order in which they were made: see logState
	chunk   []byte                     // where keep puts what is next
	peers   [][]byte                   // where keepPeer does
	serial  uint64                     // of no other table

	values [shards]tableValues // Dedup values likewise
	seed   *valueSeed
}

// seed is of the hashes that this process knows owners by.
var seed = maphash.MakeSeed()

// shards is how many parts the owners are divided into.
const shards = 256

func shardOf(owner string) uint64 { return maphash.String(seed, owner) % shards }

// levels suffice for 4^10 entries.
const levels = 10

type node struct {
	key   []byte
	entry atomic.Pointer[entry]
	first entry // what entry points to until the key is written again
	low   atomic.Pointer[node]
	high  []atomic.Pointer[node] // levels 1 and up; most nodes have none
}

type entry struct {
	value   []byte
	deleted bool
	group   uint64 // that carried it to the journal; 0: an earlier run
}

func newMemtable(s *valueSeed) *memtable { return &memtable{serial: serials.Add(1), seed: s} }

var serials atomic.Uint64

func (t *memtable) empty() bool { return t.bytes.Load() == 0 }

func (n *node) next(level int) *atomic.Pointer[node] {
	if level == 0 {
		return &n.low
	}
	return &n.high[level-1]
}

// before fills path with the last node below key on each level; nil is the head.
func (t *memtable) before(key []byte, path *[levels]*node) *node {
	var at *node
	for level := levels - 1; level >= 0; level-- {
		for {
			next := t.after(at, level)
			if next == nil || bytes.Compare(next.key, key) >= 0 {
				break
			}
			at = next
		}
		if path != nil {
			path[level] = at
		}
	}
	return at
}

func (t *memtable) after(n *node, level int) *node {
	if n == nil {
		return t.head[level].Load()
	}
	return n.next(level).Load()
}

// seek returns the first node at or above key, or nil.
func (t *memtable) seek(key []byte) *node {
	n := t.after(t.before(key, nil), 0)
	// A writer may have put nodes between the two steps.
	for n != nil && bytes.Compare(n.key, key) < 0 {
		n = n.low.Load()
	}
	return n
}

// get returns the entry of a key, or nil.
func (t *memtable) get(key []byte) *entry {
	if n := t.seek(key); n != nil && bytes.Equal(n.key, key) {
		return n.entry.Load()
	}
	return nil
}

// put keeps the slices of o.
func (t *memtable) put(o op, group uint64) {
	if o.key[0] == 'l' {
		t.putRecord(o)
		return
	}
	if o.key[0] == 'x' && t.putValue(o, group) {
		return
	}
	height := 1
	for r := rand.Uint32(); r&3 == 0 && height < levels; r >>= 2 {
		height++
	}
	var path [levels]*node
	t.before(o.key, &path)
	at := t.after(path[0], 0)
	if at != nil && bytes.Equal(at.key, o.key) {
		at.entry.Store(&entry{o.value, o.deleted, group})
		t.bytes.Add(int64(len(o.value)) + 48)
		return
	}
	n := &node{key: o.key, first: entry{o.value, o.deleted, group}}
	n.entry.Store(&n.first)
	if height > 1 {
		n.high = make([]atomic.Pointer[node], height-1)
	}
	for level := range height {
		n.next(level).Store(t.after(path[level], level))
	}
	// A reader that comes from below finds the node whole.
	for level := range height {
		if at := path[level]; at != nil {
			at.next(level).Store(n)
		} else {
			t.head[level].Store(n)
		}
	}
	t.bytes.Add(int64(len(o.key)+len(o.value)) + 112)
}
