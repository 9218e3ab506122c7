package moduletest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"jackdaw/storage"
)

// A Store keeps maps and logs in memory. Its writes finish at once, unless Hold
// was called. It has no accounts.
type Store struct {
	mu    sync.Mutex // guards the rest
	maps  map[string]*Map
	logs  map[string]*Log
	fail  error
	group *storage.Pending // what held writes share
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{maps: map[string]*Map{}, logs: map[string]*Log{}} }

// Fail makes all calls return this error; nil ends that.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// Hold keeps writes pending until Release.
func (s *Store) Hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.group = storage.NewPending()
}

// Release finishes the held writes with this outcome.
func (s *Store) Release(err error) {
	s.mu.Lock()
	p := s.group
	s.group = nil
	s.mu.Unlock()
	if p != nil {
		p.Finish(err)
	}
}

// Map returns a space.
func (s *Store) Map(space string) storage.Map {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.maps[space] == nil {
		s.maps[space] = &Map{s: s, owners: map[string]*mapOwner{}}
	}
	return s.maps[space]
}

// Log returns a space.
func (s *Store) Log(space string) storage.Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logs[space] == nil {
		s.logs[space] = &Log{s: s, owners: map[string]*logOwner{}}
	}
	return s.logs[space]
}

// A Map is one in memory.
type Map struct {
	s      *Store
	owners map[string]*mapOwner
	floor  uint64 // what Since still knows
}

type mapOwner struct {
	version uint64
	entries map[string]storage.Entry
}

// Forget makes Since answer that it no longer knows versions up to this one.
func (m *Map) Forget(version uint64) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.floor = version
}

// Get implements storage.Map.
func (m *Map) Get(_ context.Context, owner, key string) ([]byte, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if m.s.fail != nil {
		return nil, m.s.fail
	}
	if o := m.owners[owner]; o != nil {
		if e, ok := o.entries[key]; ok && !e.Deleted {
			return slices.Clone(e.Value), nil
		}
	}
	return nil, storage.ErrNotFound
}

// List implements storage.Map.
func (m *Map) List(_ context.Context, owner string) ([]storage.Entry, uint64, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	o := m.owners[owner]
	if o == nil || m.s.fail != nil {
		return nil, 0, m.s.fail
	}
	var out []storage.Entry
	for _, key := range slices.Sorted(maps.Keys(o.entries)) {
		if e := o.entries[key]; !e.Deleted {
			out = append(out, e)
		}
	}
	return out, o.version, nil
}

// Update implements storage.Map.
func (m *Map) Update(_ context.Context, owner string, version uint64, changes ...storage.Change) (
	uint64, *storage.Pending, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if m.s.fail != nil {
		return 0, nil, m.s.fail
	}
	o := m.owners[owner]
	if o == nil {
		o = &mapOwner{entries: map[string]storage.Entry{}}
		m.owners[owner] = o
	}
	if version != storage.AnyVersion && version != o.version {
		return 0, nil, storage.ErrConflict
	}
	if len(changes) > 0 {
		o.version++
	}
	for _, c := range changes {
		e := storage.Entry{Key: c.Key, Value: slices.Clone(c.Value), Version: o.version, Deleted: c.Delete}
		o.entries[c.Key] = e
	}
	return o.version, m.s.group, nil
}

// Since implements storage.Map.
func (m *Map) Since(_ context.Context, owner string, version uint64) ([]storage.Entry, uint64, bool, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	o := m.owners[owner]
	if o == nil {
		return nil, 0, version == 0, m.s.fail
	}
	if version < m.floor || version > o.version || m.s.fail != nil {
		return nil, o.version, false, m.s.fail
	}
	var out []storage.Entry
	for _, e := range o.entries {
		if e.Version > version {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b storage.Entry) int { return int(a.Version) - int(b.Version) })
	return out, o.version, true, nil
}

// Size implements storage.Map.
func (m *Map) Size(_ context.Context, owner string) (keys int, bytes int64, err error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if o := m.owners[owner]; o != nil {
		for _, e := range o.entries {
			if !e.Deleted {
				keys, bytes = keys+1, bytes+int64(len(e.Key)+len(e.Value))
			}
		}
	}
	return keys, bytes, m.s.fail
}

// DeleteOwner implements storage.Map.
func (m *Map) DeleteOwner(_ context.Context, owner string) (*storage.Pending, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if m.s.fail != nil {
		return nil, m.s.fail
	}
	delete(m.owners, owner)
	return m.s.group, nil
}

// A Log is one in memory.
type Log struct {
	s      *Store
	owners map[string]*logOwner
}

type logOwner struct {
	last    uint64
	records []storage.Record
	dedup   map[string]uint64
}

// Append implements storage.Log.
func (l *Log) Append(_ context.Context, owner string, r storage.Record, o storage.AppendOptions) (
	uint64, bool, *storage.Pending, error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.fail != nil {
		return 0, false, nil, l.s.fail
	}
	w := l.owners[owner]
	if w == nil {
		w = &logOwner{dedup: map[string]uint64{}}
		l.owners[owner] = w
	}
	if id, ok := w.dedup[o.Dedup]; ok && o.Dedup != "" {
		return id, true, l.s.group, nil
	}
	size := int64(len(r.Data))
	for _, x := range w.records {
		size += int64(len(x.Data))
	}
	own, ownSize := 0, int64(0)
	for _, x := range w.records {
		if x.Peer == r.Peer {
			own, ownSize = own+1, ownSize+int64(len(x.Data))
		}
	}
	more := int64(len(r.Data))
	fair := storage.Fair(int64(o.MaxRecords), int64(len(w.records)), int64(own), 1) &&
		storage.Fair(o.MaxBytes, size-more, ownSize, more)
	if o.Fair && r.Peer != "" && !fair {
		return 0, false, nil, storage.ErrFull
	}
	if o.MaxRecords > 0 && len(w.records) >= o.MaxRecords || o.MaxBytes > 0 && size > o.MaxBytes {
		return 0, false, nil, storage.ErrFull
	}
	switch {
	case o.At == 0:
		w.last = max(w.last+1, storage.IDAt(time.Now()))
	case o.At <= w.last:
		return 0, false, nil, storage.ErrConflict
	default:
		w.last = o.At
	}
	r.ID, r.Data = w.last, slices.Clone(r.Data)
	w.records = append(w.records, r)
	if o.Dedup != "" {
		w.dedup[o.Dedup] = r.ID
	}
	return r.ID, false, l.s.group, nil
}

// Page implements storage.Log.
func (l *Log) Page(_ context.Context, owner string, q storage.Query) ([]storage.Record, bool, error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.fail != nil || l.owners[owner] == nil {
		return nil, false, l.s.fail
	}
	var out []storage.Record
	for _, r := range l.owners[owner].records {
		if r.ID > q.After && (q.Before == 0 || r.ID < q.Before) && (q.Peer == "" || q.Peer == r.Peer) {
			out = append(out, r)
		}
	}
	limit := q.Limit
	if limit == 0 {
		limit = 100
	}
	if len(out) <= limit {
		return out, false, nil
	}
	if q.Backward {
		return out[len(out)-limit:], true, nil
	}
	return out[:limit], true, nil
}

// Get implements storage.Log.
func (l *Log) Get(_ context.Context, owner string, id uint64) (storage.Record, error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.fail != nil {
		return storage.Record{}, l.s.fail
	}
	if w := l.owners[owner]; w != nil {
		for _, r := range w.records {
			if r.ID == id {
				return r, nil
			}
		}
	}
	return storage.Record{}, storage.ErrNotFound
}

// Lookup implements storage.Log.
func (l *Log) Lookup(ctx context.Context, owner, dedup string) (storage.Record, *storage.Pending, error) {
	l.s.mu.Lock()
	var id uint64
	if w := l.owners[owner]; w != nil {
		id = w.dedup[dedup]
	}
	p := l.s.group
	l.s.mu.Unlock()
	r, err := l.Get(ctx, owner, id)
	if err != nil {
		p = nil
	}
	return r, p, err
}

// Remove implements storage.Log.
func (l *Log) Remove(_ context.Context, owner string, ids ...uint64) (*storage.Pending, error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if w := l.owners[owner]; w != nil && l.s.fail == nil {
		w.records = slices.DeleteFunc(slices.Clone(w.records),
			func(r storage.Record) bool { return slices.Contains(ids, r.ID) })
	}
	return l.s.group, l.s.fail
}

// Replace implements storage.Log.
func (l *Log) Replace(_ context.Context, owner string, id uint64, data []byte) (*storage.Pending, error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.fail != nil {
		return nil, l.s.fail
	}
	if w := l.owners[owner]; w != nil {
		for i := range w.records {
			if w.records[i].ID == id {
				w.records = slices.Clone(w.records)
				w.records[i].Data = slices.Clone(data)
				return l.s.group, nil
			}
		}
	}
	return nil, storage.ErrNotFound
}

// Trim implements storage.Log.
func (l *Log) Trim(_ context.Context, owner string, before uint64) (*storage.Pending, error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if w := l.owners[owner]; w != nil && l.s.fail == nil {
		w.records = slices.DeleteFunc(slices.Clone(w.records), func(r storage.Record) bool { return r.ID < before })
	}
	return l.s.group, l.s.fail
}

// Size implements storage.Log.
func (l *Log) Size(_ context.Context, owner string) (records int, bytes int64, err error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if w := l.owners[owner]; w != nil {
		for _, r := range w.records {
			records, bytes = records+1, bytes+int64(len(r.Data))
		}
	}
	return records, bytes, l.s.fail
}

// DeleteOwner implements storage.Log.
func (l *Log) DeleteOwner(_ context.Context, owner string) (*storage.Pending, error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	delete(l.owners, owner)
	return l.s.group, l.s.fail
}

// Owners implements storage.Log.
func (l *Log) Owners(_ context.Context, f func(owner string) bool) error {
	l.s.mu.Lock()
	var owners []string
	for owner, w := range l.owners {
		if len(w.records) > 0 {
			owners = append(owners, owner)
		}
	}
	err := l.s.fail
	l.s.mu.Unlock()
	for _, owner := range owners {
		if err != nil || !f(owner) { // which may use the store
			break
		}
	}
	return err
}
