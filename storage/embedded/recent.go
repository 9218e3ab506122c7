package embedded

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// A recent is what a table holds of one owner's records in one log. Nearly all of it is records just appended, whose
// ids rise, so that a slice does what a sorted map would do, for a tenth of the price.
//
// It is written with the owner's shard locked and mu held, and read with the shard locked for reading; that of a frozen
// table is not written any more.
type recent struct {
	fresh []recordOp // ascending ids
	edits []recordOp // ascending ids too, none in fresh, all below its last: what became of older records

	peer *[]byte // of the last in fresh, which is that of the next one as a rule; nil: it is deleted, or there is none
	slot int     // where the table has it, among those of the shard
}

// put adds a write. It keeps the slices of o.
func (r *recent) put(o recordOp) {
	n := len(r.fresh)
	if n == 0 || r.fresh[n-1].id < o.id {
		if n == cap(r.fresh) {
			r.fresh = slices.Grow(r.fresh, max(4, min(n, mostGrown))) // fewer steps than append takes
		}
		r.fresh = append(r.fresh, o)
		r.peer = o.peer
		return
	}
	if i, ok := search(r.fresh, o.id); ok {
		r.fresh[i] = o
		return
	}
	i, ok := search(r.edits, o.id)
	if ok {
		r.edits[i] = o
	} else {
		r.edits = slices.Insert(r.edits, i, o)
	}
}

// get returns the write to a record, or nil.
func (r *recent) get(id uint64) *recordOp {
	if r == nil {
		return nil
	}
	for _, list := range [2][]recordOp{r.fresh, r.edits} {
		if i, ok := search(list, id); ok {
			return &list[i]
		}
	}
	return nil
}

// all are the writes by ascending ids, in buffer if it takes one.
func (r *recent) all(buffer []recordOp) []recordOp {
	if len(r.edits) == 0 {
		return r.fresh
	}
	fresh, edits := r.fresh, r.edits
	for buffer = buffer[:0]; len(fresh) > 0 && len(edits) > 0; {
		if fresh[0].id < edits[0].id {
			buffer, fresh = append(buffer, fresh[0]), fresh[1:]
		} else {
			buffer, edits = append(buffer, edits[0]), edits[1:]
		}
	}
	return append(append(buffer, fresh...), edits...)
}

// search finds an id, or where it belongs. Most that are looked for are the last.
func search(list []recordOp, id uint64) (int, bool) {
	if n := len(list); n == 0 || list[n-1].id < id {
		return n, false
	} else if list[n-1].id == id {
		return n - 1, true
	}
	return slices.BinarySearchFunc(list, id, func(o recordOp, id uint64) int {
		switch {
		case o.id < id:
			return -1
		case o.id > id:
			return 1
		}
		return 0
	})
}

// recentKey names an owner's log in a table: "space NUL owner NUL".
func recentKey(dst []byte, space, owner string) []byte {
	return append(append(append(append(dst, space...), 0), owner...), 0)
}

// splitRecord divides the key of a record, "lspace NUL owner NUL id peer", into the key of its recent and the rest.
func splitRecord(key []byte) (name, owner, rest []byte, err error) {
	cut := bytes.IndexByte(key, 0) + 1
	if cut <= 0 {
		return nil, nil, nil, errBadOps
	}
	end := bytes.IndexByte(key[cut:], 0) + 1
	if end <= 0 || len(key) < cut+end+8 {
		return nil, nil, nil, errBadOps
	}
	end += cut
	return key[1:end], key[cut : end-1], key[end:], nil
}

// recentOf returns what the table holds of an owner's log, or nil. The caller holds the shard.
func (t *memtable) recentOf(space, owner string) *recent {
	var buf [128]byte
	return t.recents[shardOf(owner)][string(recentKey(buf[:0], space, owner))]
}

// makeRecent is recentOf for a caller who is going to write.
func (t *memtable) makeRecent(shard uint64, name []byte) *recent {
	m := &t.recents[shard]
	r := (*m)[string(name)]
	if r == nil {
		if *m == nil {
			*m = make(map[string]*recent)
		}
		r = &recent{slot: len(t.slots[shard])}
		(*m)[string(name)] = r
		t.slots[shard] = append(t.slots[shard], r)
		t.bytes.Add(int64(len(name)) + 128)
	}
	return r
}

// putRecord is put for the key of a record that splitRecord can read.
func (t *memtable) putRecord(o op) {
	name, owner, rest, err := splitRecord(o.key)
	if err != nil {
		return
	}
	change, err := recordOpOf(rest, o.value, o.deleted)
	if err != nil {
		return
	}
	r := t.makeRecent(shardOf(string(owner)), name)
	if r.peer != nil && change.peer != nil && bytes.Equal(*r.peer, *change.peer) {
		change.peer = r.peer
	}
	r.put(change)
	t.bytes.Add(int64(len(o.key)+len(o.value)) + recordCost)
}

// recordCost is the memory of a record besides its peer and data, roughly.
const recordCost = 72

const (
	// mostExpected bounds what is made ready for appends that may not come, mostGrown by how many records a list grows.
	mostExpected = 1024
	mostGrown    = 128

	smallestChunk = 4 << 10
	largestChunk  = 64 << 10
	peerChunk     = 32 // names
)

// keep copies b into memory that lives as long as the table.
func (t *memtable) keep(b []byte) []byte {
	if len(b) > largestChunk/4 {
		return bytes.Clone(b)
	}
	if len(b) > cap(t.chunk)-len(t.chunk) {
		t.chunk = make([]byte, 0, max(min(2*cap(t.chunk), largestChunk), smallestChunk, len(b)))
	}
	n := len(t.chunk)
	t.chunk = append(t.chunk, b...)
	return t.chunk[n:len(t.chunk):len(t.chunk)]
}

// keepPeer is keep for the name of a peer, which many records may have in common.
func (t *memtable) keepPeer(name []byte) *[]byte {
	if len(t.peers) == cap(t.peers) {
		t.peers = make([][]byte, 0, peerChunk)
	}
	t.peers = append(t.peers, t.keep(name))
	return &t.peers[len(t.peers)-1]
}

// A dedupValue is the Dedup value of an append. Its key is nil if there is none, and the caller's.
type dedupValue struct {
	key []byte
	valueKey
}

// writeRecord is write for an append: the record under its key, its Dedup value, and the batch of what goes with it,
// which may be empty. The caller holds the shard.
func (l *logSpace) writeRecord(
	st *logState, shard uint64, owner string, key []byte, id uint64, peer string, data []byte, v dedupValue, b *batch,
) (ticket, error) {
	switch {
	case b.tooLong || len(key) > maxKey || len(v.key) > maxKey:
		return ticket{}, errTooLong
	case len(data) > largestWrite:
		return ticket{}, errTooLarge
	}
	e := l.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	g, active, err := e.admit()
	if err != nil {
		return ticket{}, err
	}
	var list *recent
	if st.table == active.serial {
		list = active.slots[shard][st.slot]
	} else {
		var buf [128]byte
		list = active.makeRecent(shard, recentKey(buf[:0], l.space, owner))
		st.slot = list.slot
		if list.fresh == nil { // it is going to have about as many as the one before, or a few more
			list.fresh = make([]recordOp, 0, min(st.lately+st.lately/8, mostExpected))
		}
		st.table, st.lately = active.serial, 0
	}
	st.lately++
	active.bytes.Add(int64(len(peer)+len(data)) + recordCost)
	r := recordOp{id: id, peer: list.peer} // of slices that the table has; those given stay the caller's
	if r.peer == nil || string(*r.peer) != peer {
		r.peer = active.keepPeer(key[len(key)-len(peer):])
	}
	if w := g.find(data); w != nil {
		r.data = w.data
		g.frame = appendSame(g.frame, key, w.at, len(data))
	} else {
		g.frame = appendSet(g.frame, key, data)
		r.data = active.keep(data)
		g.note(r.data)
	}
	list.put(r)
	if v.key != nil {
		var given [8]byte
		binary.BigEndian.PutUint64(given[:], id)
		g.frame = appendSet(g.frame, v.key, given[:])
		active.giveValue(shard, v.valueKey, givenID{id, g.number})
	}
	e.add(g, active, b)
	return ticket{g.pending, g.number}, nil
}

// A cursor gives records one after the other, in the order of a walk.
type cursor interface {
	// here is the record at hand; nil at the end.
	here() *recordOp
	step()
}

// A recentCursor walks through a part of a recent.
type recentCursor struct {
	list     []recordOp // what is left
	backward bool
}

// within is the part of a list with ids from lo to hi, both included.
func within(list []recordOp, lo, hi uint64) []recordOp {
	from, _ := search(list, lo)
	to, ok := search(list, hi)
	if ok {
		to++
	}
	return list[from:max(from, to)]
}

func (c *recentCursor) here() *recordOp {
	switch {
	case len(c.list) == 0:
		return nil
	case c.backward:
		return &c.list[len(c.list)-1]
	}
	return &c.list[0]
}

func (c *recentCursor) step() {
	if c.backward {
		c.list = c.list[:len(c.list)-1]
	} else {
		c.list = c.list[1:]
	}
}

// walk calls f with the records that cursors give, each id once as the first cursor has it, until f returns false. With
// a peer other records are left out.
func walk(cursors []cursor, backward bool, peer []byte, f func(record) bool) {
	for {
		var best *recordOp
		for _, c := range cursors {
			if o := c.here(); o != nil && (best == nil || backward && o.id > best.id || !backward && o.id < best.id) {
				best = o
			}
		}
		if best == nil || !best.deleted() && (peer == nil || bytes.Equal(*best.peer, peer)) && !f(best.record()) {
			return
		}
		id := best.id
		for _, c := range cursors {
			if o := c.here(); o != nil && o.id == id {
				c.step()
			}
		}
	}
}

// ownersInTables are those who may have records in the tables.
func (l *logSpace) ownersInTables() map[string]bool {
	owners := map[string]bool{}
	prefix := append([]byte(l.space), 0)
	for i := range l.shards {
		s := &l.shards[i]
		s.RLock()
		t := l.tables.Load()
		for _, table := range []*memtable{t.active, t.frozen} {
			if table == nil {
				continue
			}
			for name := range table.recents[i] {
				if len(name) > len(prefix) && name[:len(prefix)] == string(prefix) {
					owners[name[len(prefix):len(name)-1]] = true
				}
			}
		}
		s.RUnlock()
	}
	return owners
}

// holds says whether an owner has records.
func (l *logSpace) holds(owner string) (found bool, err error) {
	s := l.shard(owner)
	s.RLock()
	defer s.RUnlock()
	err = l.records(owner, 0, 0, false, func(record) bool { found = true; return false })
	return found, err
}
