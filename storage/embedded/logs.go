package embedded

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"jackdaw/storage"
)

// logSpace implements storage.Log.
type logSpace struct {
	*engine
	space string
}

// logState is what an Append must know of an owner: guarded by the owner's shard.
type logState struct {
	space string
	other *logState // of the same owner in another space

	last    uint64 // the highest id ever given
	records int
	bytes   int64
	unsaved int    // appends since it was written
	floor   uint64 // no record has an id below; not stored

	// lately is how many appends the table with this serial number has, for the one after it; slot is where it has the
	// owner's.
	table  uint64
	lately int
	slot   int
}

const (
	stateFormat = 1
	// saveEvery bounds what load counts anew: the sizes are written with each removal, but only with every so many
	// appends.
	saveEvery = 64
	// cachedStates bounds the owners whose states one shard remembers.
	cachedStates = 256
)

func (l *logSpace) recordKey(owner string, id uint64, peer string) []byte {
	return l.appendKey(make([]byte, 0, len(l.space)+len(owner)+len(peer)+11), owner, id, peer)
}

func (l *logSpace) appendKey(dst []byte, owner string, id uint64, peer string) []byte {
	dst = append(append(append(dst, 'l'), l.space...), 0)
	dst = append(append(dst, owner...), 0)
	return append(binary.BigEndian.AppendUint64(dst, id), peer...)
}

// state returns an owner's state. The caller holds the shard.
func (l *logSpace) state(s *shard, owner string) (*logState, error) {
	if st := l.cached(s, owner); st != nil {
		return st, nil
	}
	st, err := l.load(owner)
	if err != nil {
		return nil, err
	}
	if s.logs == nil || len(s.logs) >= cachedStates {
		s.logs = make(map[string]*logState)
	}
	st.other = s.logs[owner]
	s.logs[owner] = st
	return st, nil
}

// cached returns an owner's state if it is in memory. The caller holds the shard.
func (l *logSpace) cached(s *shard, owner string) *logState {
	st := s.logs[owner]
	for st != nil && st.space != l.space {
		st = st.other
	}
	return st
}

// forget takes an owner's state out of memory. The caller holds the shard.
func (l *logSpace) forget(s *shard, owner string) {
	first := s.logs[owner]
	switch {
	case first == nil:
	case first.space != l.space:
		for st := first; st.other != nil; st = st.other {
			if st.other.space == l.space {
				st.other = st.other.other
				return
			}
		}
	case first.other == nil:
		delete(s.logs, owner)
	default:
		s.logs[owner] = first.other
	}
}

// load reads the state that was written last, and counts the records that were appended since: removals and the state
// they leave are written together.
func (l *logSpace) load(owner string) (st *logState, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read the size of %s's %s: %w", owner, l.space, err)
		}
	}()
	st = &logState{space: l.space}
	v, _, ok, err := l.get(ownerKey("s", l.space, owner, 0))
	if err != nil {
		return nil, err
	}
	if ok {
		if len(v) != 25 || v[0] != stateFormat {
			return nil, fmt.Errorf("unknown format %.1x", v)
		}
		st.last = binary.BigEndian.Uint64(v[1:])
		st.records = int(binary.BigEndian.Uint64(v[9:]))
		st.bytes = int64(binary.BigEndian.Uint64(v[17:]))
	}
	err = l.records(owner, st.last, 0, false, func(r record) bool {
		st.last = r.id
		st.records++
		st.bytes += int64(len(r.data))
		st.unsaved++
		return true
	})
	return st, err
}

func (l *logSpace) save(b *batch, owner string, st *logState) {
	v := make([]byte, 0, 25)
	v = append(v, stateFormat)
	v = binary.BigEndian.AppendUint64(v, st.last)
	v = binary.BigEndian.AppendUint64(v, uint64(st.records))
	v = binary.BigEndian.AppendUint64(v, uint64(st.bytes))
	b.set(ownerKey("s", l.space, owner, 0), v)
}

// A record as it lies in the store; its slices are not to be kept.
type record struct {
	id         uint64
	peer, data []byte
}

func (r record) copied() storage.Record {
	return storage.Record{ID: r.id, Peer: string(r.peer), Data: append([]byte{}, r.data...)}
}

// records calls f with the records between two ids, both exclusive, 0 being open.
func (l *logSpace) records(owner string, after, before uint64, backward bool, f func(record) bool) error {
	return l.recordsOf(owner, nil, after, before, backward, f)
}

// recordsOf is records for those of one peer, or of all if it is nil. f must not write: the tree cannot grow while it
// is read. The caller holds the shard.
func (l *logSpace) recordsOf(
	owner string, peer []byte, after, before uint64, backward bool, f func(record) bool,
) error {
	if after == ^uint64(0) {
		return nil
	}
	lo, hi := after+1, before-1 // included; of nothing before, hi is the highest there is
	if lo > hi {
		return nil
	}
	// What was trimmed a moment ago lies below, as records and as what tells of their end.
	if st := l.cached(l.shard(owner), owner); st != nil {
		if lo = max(lo, st.floor); lo > hi {
			return nil
		}
	}
	// The tables before the tree: a table that is merged between the two is seen twice, not missed.
	t := l.tables.Load()
	cursors := make([]cursor, 0, 5)
	for _, table := range [2]*memtable{t.active, t.frozen} {
		if table == nil {
			continue
		}
		if r := table.recentOf(l.space, owner); r != nil {
			cursors = append(cursors, &recentCursor{within(r.fresh, lo, hi), backward})
			if len(r.edits) > 0 {
				cursors = append(cursors, &recentCursor{within(r.edits, lo, hi), backward})
			}
		}
	}
	var blocks *blockCursor
	l.segments.reading.RLock()
	defer l.segments.reading.RUnlock()
	err := l.view(func(tx *bbolt.Tx) {
		if blocks = newBlockCursor(tx, &l.segments, l.space, owner, peer, lo, hi, backward); blocks != nil {
			cursors = append(cursors, blocks)
			defer blocks.close()
		}
		walk(cursors, backward, peer, func(r record) bool { return (blocks == nil || blocks.err == nil) && f(r) })
	})
	if err == nil && blocks != nil {
		err = blocks.err
	}
	return err
}

func (l *logSpace) Append(
	ctx context.Context, owner string, r storage.Record, o storage.AppendOptions,
) (uint64, bool, *storage.Pending, error) {
	if err := l.check(ctx, owner, r.Peer); err != nil {
		return 0, false, nil, err
	}
	id, dup, t, err := l.append(owner, r, o)
	return id, dup, t.pending, err
}

func (l *logSpace) append(
	owner string, r storage.Record, o storage.AppendOptions,
) (id uint64, dup bool, t ticket, err error) {
	if err := l.awaitTurn(false); err != nil {
		return 0, false, ticket{}, err
	}
	at := shardOf(owner)
	s := &l.shards[at]
	s.Lock()
	defer s.Unlock()
	now := l.now() // once: it costs as much as a lock or two
	var value dedupValue
	if o.Dedup != "" {
		value.gen = generationAt(now)
		value.valueID = l.valueID(l.space, owner, o.Dedup)
		id, group, found, err := l.findValue(l.space, owner, o.Dedup, value.valueID, dayBefore(value.gen))
		if err != nil {
			return 0, false, ticket{}, err
		}
		if found {
			if t, err = l.rests(group); err != nil {
				return 0, false, ticket{}, err
			}
			return id, true, t, nil
		}
	}
	st, err := l.state(s, owner)
	if err != nil {
		return 0, false, ticket{}, err
	}
	if o.MaxRecords > 0 && st.records+1 > o.MaxRecords || o.MaxBytes > 0 && st.bytes+int64(len(r.Data)) > o.MaxBytes {
		return 0, false, ticket{}, storage.ErrFull
	}
	if fair, err := l.fair(owner, st, r, o); err != nil || !fair {
		return 0, false, ticket{}, cmp.Or(err, storage.ErrFull)
	}
	next := *st
	switch {
	case o.At == 0:
		next.last = max(st.last+1, storage.IDAt(now))
	case o.At <= st.last:
		return 0, false, ticket{}, storage.ErrConflict
	default:
		next.last = o.At
	}
	next.records++
	next.bytes += int64(len(r.Data))
	next.unsaved++

	var buf [256]byte
	key := l.appendKey(buf[:0], owner, next.last, r.Peer)
	var b batch
	if o.Dedup != "" {
		l.knowGeneration(value.gen)
		var buf [256]byte
		value.key = appendDedupKey(buf[:0], value.gen, l.space, owner, o.Dedup)
	}
	if next.unsaved >= saveEvery {
		next.unsaved = 0
		l.save(&b, owner, &next)
	}
	if t, err = l.writeRecord(&next, at, owner, key, next.last, r.Peer, r.Data, value, &b); err != nil {
		return 0, false, ticket{}, err
	}
	*st = next
	return next.last, false, t, nil
}

// fair says whether a record's peer keeps within its share. It counts only when all that there is, were it that peer's,
// would be more. The caller holds the shard.
func (l *logSpace) fair(owner string, st *logState, r storage.Record, o storage.AppendOptions) (bool, error) {
	fits := func(records int, bytes int64) bool {
		return storage.Fair(int64(o.MaxRecords), int64(st.records), int64(records), 1) &&
			storage.Fair(o.MaxBytes, st.bytes, bytes, int64(len(r.Data)))
	}
	if !o.Fair || r.Peer == "" || fits(st.records, st.bytes) {
		return true, nil
	}
	records, bytes := 0, int64(0)
	err := l.recordsOf(owner, []byte(r.Peer), 0, 0, false, func(r record) bool {
		records, bytes = records+1, bytes+int64(len(r.data))
		return true
	})
	return fits(records, bytes), err
}

func (l *logSpace) Page(
	ctx context.Context, owner string, q storage.Query,
) (page []storage.Record, more bool, err error) {
	if err := l.check(ctx, owner, q.Peer); err != nil {
		return nil, false, err
	}
	if q.Limit <= 0 {
		q.Limit = 100
	}
	s := l.shard(owner)
	s.RLock()
	defer s.RUnlock()
	add := func(r record) bool {
		if more = len(page) == q.Limit; !more {
			page = append(page, r.copied())
		}
		return !more
	}
	var peer []byte
	if q.Peer != "" {
		peer = []byte(q.Peer)
	}
	err = l.recordsOf(owner, peer, q.After, q.Before, q.Backward, add)
	if err != nil {
		return nil, false, err
	}
	if q.Backward {
		for i, j := 0, len(page)-1; i < j; i, j = i+1, j-1 {
			page[i], page[j] = page[j], page[i]
		}
	}
	return page, more, nil
}

func (l *logSpace) Get(ctx context.Context, owner string, id uint64) (storage.Record, error) {
	if err := l.check(ctx, owner); err != nil {
		return storage.Record{}, err
	}
	s := l.shard(owner)
	s.RLock()
	defer s.RUnlock()
	return l.read(owner, id)
}

func (l *logSpace) read(owner string, id uint64) (found storage.Record, err error) {
	err = l.one(owner, id, func(r record) { found = r.copied() })
	if err == nil && found.ID == 0 {
		err = storage.ErrNotFound
	}
	return found, err
}

// one calls f with the record of an id, if there is one.
func (l *logSpace) one(owner string, id uint64, f func(record)) error {
	if id == 0 {
		return nil
	}
	// Most that are looked for were written a moment ago.
	t := l.tables.Load()
	for _, table := range [2]*memtable{t.active, t.frozen} {
		if table == nil {
			continue
		}
		if o := table.recentOf(l.space, owner).get(id); o != nil {
			if !o.deleted() {
				f(o.record())
			}
			return nil
		}
	}
	return l.records(owner, id-1, id+1, false, func(r record) bool {
		if r.id == id {
			f(r)
		}
		return false
	})
}

func (l *logSpace) Lookup(ctx context.Context, owner, dedup string) (storage.Record, *storage.Pending, error) {
	if err := l.check(ctx, owner); err != nil {
		return storage.Record{}, nil, err
	}
	s := l.shard(owner)
	s.RLock()
	defer s.RUnlock()
	id, group, ok, err := l.findDedup(l.space, owner, dedup)
	if err == nil && (!ok || dedup == "") {
		err = storage.ErrNotFound
	}
	if err != nil {
		return storage.Record{}, nil, err
	}
	found, err := l.read(owner, id)
	if err != nil {
		return storage.Record{}, nil, err
	}
	t, err := l.rests(group)
	if err != nil {
		return storage.Record{}, nil, err
	}
	return found, t.pending, nil
}

func (l *logSpace) Remove(ctx context.Context, owner string, ids ...uint64) (*storage.Pending, error) {
	if err := l.checkWrite(ctx, true, owner); err != nil {
		return nil, err
	}
	s := l.shard(owner)
	s.Lock()
	defer s.Unlock()
	st, err := l.state(s, owner)
	if err != nil {
		return nil, err
	}
	b, next, seen := &batch{}, *st, make(map[uint64]bool, len(ids))
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		if err := l.one(owner, id, func(r record) { l.drop(b, owner, &next, r) }); err != nil {
			return nil, err
		}
	}
	return l.shrink(owner, st, next, b)
}

func (l *logSpace) Replace(ctx context.Context, owner string, id uint64, data []byte) (*storage.Pending, error) {
	if err := l.checkWrite(ctx, false, owner); err != nil {
		return nil, err
	}
	s := l.shard(owner)
	s.Lock()
	defer s.Unlock()
	st, err := l.state(s, owner)
	if err != nil {
		return nil, err
	}
	b, next := &batch{}, *st
	err = l.one(owner, id, func(r record) {
		b.set(l.recordKey(owner, id, string(r.peer)), data)
		next.bytes += int64(len(data) - len(r.data))
	})
	switch {
	case err != nil:
		return nil, err
	case len(b.ops) == 0:
		return nil, storage.ErrNotFound
	}
	// What load counts anew is what was appended since.
	next.unsaved = 0
	l.save(b, owner, &next)
	t, err := l.write(b)
	if err == nil {
		*st = next
	}
	return t.pending, err
}

// drop deletes one record within a batch.
func (l *logSpace) drop(b *batch, owner string, st *logState, r record) {
	b.delete(l.recordKey(owner, r.id, string(r.peer)))
	st.records--
	st.bytes -= int64(len(r.data))
}

// shrink writes the deletions of a batch with the state that they leave.
func (l *logSpace) shrink(owner string, st *logState, next logState, b *batch) (*storage.Pending, error) {
	if len(b.ops) == 0 { // what is not there may be on its way out
		return l.restsOnAll()
	}
	next.unsaved = 0
	l.save(b, owner, &next)
	b.lazy = true
	t, err := l.write(b)
	if err == nil {
		*st = next
	}
	return t.pending, err
}

func (l *logSpace) Size(ctx context.Context, owner string) (int, int64, error) {
	if err := l.check(ctx, owner); err != nil {
		return 0, 0, err
	}
	s := l.shard(owner)
	s.Lock()
	defer s.Unlock()
	// Each login asks, and most have nothing: what is only looked at is not remembered.
	st := l.cached(s, owner)
	if st == nil {
		var err error
		if st, err = l.load(owner); err != nil {
			return 0, 0, err
		}
	}
	return st.records, st.bytes, nil
}
