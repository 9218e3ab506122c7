package redis

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"jackdaw/storage"
)

// mapSpace implements storage.Map. An owner has in a space one hash: v (version), f (deletions up to this version are
// forgotten), n (keys kept as deleted), and for each key "k" and its name → version, ":", "L" (lives) or "D", value.
type mapSpace struct {
	*engine
	space string
}

const (
	// maxDeleted bounds the deleted keys kept for Since.
	maxDeleted = 1000

	// mostFields and mostBytesOfMap bound a map that is in memory as a whole.
	mostFields     = 500
	mostBytesOfMap = 256 << 10
)

func (m *mapSpace) name(owner string) string { return m.key(owner, m.space, "m") }

// A mapState is what is known of an owner's map. The owner's lock guards it.
type mapState struct {
	version, floor uint64
	gone           int
	entries        map[string]storage.Entry // all, also the deleted ones; nil: not in memory
	bytes          int                      // of entries
	wrote          *storage.Pending         // the last write
}

func (st *mapState) cost() int { return 256 + st.bytes }

func costOf(e storage.Entry) int { return len(e.Key) + len(e.Value) + 128 }

// put notes an entry, unless the map is not in memory.
func (st *mapState) put(e storage.Entry) {
	if st.entries == nil {
		return
	}
	if before, ok := st.entries[e.Key]; ok {
		st.bytes -= costOf(before)
	}
	st.entries[e.Key] = e
	if st.bytes += costOf(e); st.bytes > mostBytesOfMap || len(st.entries) > mostFields {
		st.entries, st.bytes = nil, 0
	}
}

// list are the entries by their keys, with values that are the caller's.
func (st *mapState) list() []storage.Entry {
	list := make([]storage.Entry, 0, len(st.entries))
	for _, e := range st.entries {
		if !e.Deleted {
			e.Value = append([]byte{}, e.Value...)
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b storage.Entry) int { return cmp.Compare(a.Key, b.Key) })
	return list
}

// entry reads a value, "version:Lvalue".
func entry(key, v string) (storage.Entry, error) {
	digits, rest, ok := strings.Cut(v, ":")
	version, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || rest == "" {
		return storage.Entry{}, fmt.Errorf("read key %q of redis: unknown format", key)
	}
	e := storage.Entry{Key: key, Version: version, Deleted: rest[0] == 'D'}
	if !e.Deleted {
		e.Value = []byte(rest[1:])
	}
	return e, nil
}

// state returns what is known of a map; the caller has the owner.
func (m *mapSpace) state(ctx context.Context, o *owner) (*mapState, error) {
	if st := o.maps[m.space]; st != nil {
		return st, nil
	}
	v, err := m.run(ctx, call{mapScript, []string{m.name(o.name)}, []any{mostFields}, false})
	if err != nil {
		return nil, err
	}
	list, _ := v.([]any)
	if len(list) != 4 {
		return nil, fmt.Errorf("read %s's %s from redis: reply %v", o.name, m.space, v)
	}
	st := &mapState{}
	var gone uint64
	for i, n := range []*uint64{&st.version, &st.floor, &gone} {
		s, _ := list[i].(string)
		if *n, err = strconv.ParseUint(s, 10, 64); err != nil {
			return nil, fmt.Errorf("read %s's %s from redis: %w", o.name, m.space, err)
		}
	}
	st.gone = int(gone)
	if all, ok := list[3].([]any); ok {
		entries, _, _, err := m.read(o.name, all)
		if err != nil {
			return nil, err
		}
		st.entries = make(map[string]storage.Entry, len(entries))
		for _, e := range entries {
			st.put(e)
		}
	}
	if o.maps == nil {
		o.maps = map[string]*mapState{}
	}
	o.maps[m.space] = st
	return st, nil
}

// seen calls f with a map that is in memory as a whole, and says whether it is.
func (m *mapSpace) seen(ctx context.Context, owner string, f func(*mapState)) (bool, error) {
	o, err := m.peek(ctx, owner)
	if o == nil || err != nil {
		return false, err
	}
	defer m.free(o)
	st := o.maps[m.space]
	if st == nil || st.entries == nil {
		return false, nil
	}
	f(st)
	return true, nil
}

func (m *mapSpace) Get(ctx context.Context, owner, key string) ([]byte, error) {
	if err := m.check(ctx, owner); err != nil {
		return nil, err
	}
	var e storage.Entry
	found := false
	seen, err := m.seen(ctx, owner, func(st *mapState) {
		if e, found = st.entries[key]; found {
			e.Value = append([]byte{}, e.Value...)
		}
	})
	if err != nil {
		return nil, err
	}
	if !seen {
		if err := m.behind(ctx, owner); err != nil {
			return nil, err
		}
		v, err := m.run(ctx, call{readScript, []string{m.name(owner)}, []any{"k" + key}, false})
		if err != nil {
			return nil, err
		}
		var s string
		if s, found = v.(string); found {
			if e, err = entry(key, s); err != nil {
				return nil, err
			}
		}
	}
	if !found || e.Deleted {
		return nil, storage.ErrNotFound
	}
	return e.Value, nil
}

// all reads a map at one moment.
func (m *mapSpace) all(ctx context.Context, owner string) (entries []storage.Entry, version, floor uint64, err error) {
	if err := m.check(ctx, owner); err != nil {
		return nil, 0, 0, err
	}
	seen, err := m.seen(ctx, owner, func(st *mapState) {
		entries, version, floor = st.list(), st.version, st.floor
	})
	if seen || err != nil {
		return entries, version, floor, err
	}
	if err := m.behind(ctx, owner); err != nil {
		return nil, 0, 0, err
	}
	v, err := m.run(ctx, call{readScript, []string{m.name(owner)}, nil, false})
	if err != nil {
		return nil, 0, 0, err
	}
	list, _ := v.([]any)
	return m.read(owner, list)
}

// read reads the fields of a map and their values.
func (m *mapSpace) read(owner string, list []any) (entries []storage.Entry, version, floor uint64, err error) {
	for i := 0; i+1 < len(list); i += 2 {
		field, _ := list[i].(string)
		value, _ := list[i+1].(string)
		switch {
		case field == "v":
			version, err = strconv.ParseUint(value, 10, 64)
		case field == "f":
			floor, err = strconv.ParseUint(value, 10, 64)
		case strings.HasPrefix(field, "k"):
			var e storage.Entry
			e, err = entry(field[1:], value)
			entries = append(entries, e)
		}
		if err != nil {
			return nil, 0, 0, fmt.Errorf("read %s's %s: %w", owner, m.space, err)
		}
	}
	slices.SortFunc(entries, func(a, b storage.Entry) int { return cmp.Compare(a.Key, b.Key) })
	return entries, version, floor, nil
}

func (m *mapSpace) List(ctx context.Context, owner string) ([]storage.Entry, uint64, error) {
	entries, version, _, err := m.all(ctx, owner)
	return slices.DeleteFunc(entries, func(e storage.Entry) bool { return e.Deleted }), version, err
}

func (m *mapSpace) Since(ctx context.Context, owner string, version uint64) ([]storage.Entry, uint64, bool, error) {
	entries, current, floor, err := m.all(ctx, owner)
	if err != nil || version < floor || version > current {
		return nil, current, false, err
	}
	entries = slices.DeleteFunc(entries, func(e storage.Entry) bool { return e.Version <= version })
	slices.SortStableFunc(entries, func(a, b storage.Entry) int { return cmp.Compare(a.Version, b.Version) })
	return entries, current, true, nil
}

func (m *mapSpace) Update(
	ctx context.Context, owner string, version uint64, changes ...storage.Change,
) (uint64, *storage.Pending, error) {
	if err := m.check(ctx, owner); err != nil {
		return 0, nil, err
	}
	for r := m.race(owner); ; {
		v, p, err := m.update(ctx, owner, version, changes)
		if over, p, err := r.over(ctx, p, err); over {
			return v, p, err
		}
	}
}

func (m *mapSpace) update(
	ctx context.Context, owner string, version uint64, changes []storage.Change,
) (uint64, *storage.Pending, error) {
	o, err := m.hold(ctx, owner)
	if err != nil {
		return 0, nil, err
	}
	defer m.free(o)
	st, err := m.state(ctx, o)
	if err != nil {
		return 0, nil, err
	}
	if version != storage.AnyVersion && version != st.version {
		return 0, nil, storage.ErrConflict
	}
	if len(changes) == 0 {
		if err := m.holding(ctx, o); err != nil {
			return 0, nil, err
		}
		return st.version, unfinished(st.wrote), nil
	}
	final := make(map[string]int, len(changes))
	for i, c := range changes {
		final[c.Key] = i
	}
	changes = slices.Clone(changes)
	n := 0
	for i, c := range changes {
		if final[c.Key] == i {
			changes[n] = c
			n++
		}
	}
	changes = changes[:n]
	return m.change(ctx, o, st, changes)
}

// change writes changes of different keys.
func (m *mapSpace) change(
	ctx context.Context, o *owner, st *mapState, changes []storage.Change,
) (uint64, *storage.Pending, error) {
	kinds, err := m.kinds(ctx, o, st, changes)
	if err != nil {
		return 0, nil, err
	}
	next := *st
	next.version++
	head := strconv.FormatUint(next.version, 10)
	var put []storage.Entry
	var fields []string // their names and values
	bytes := 128
	for i, c := range changes {
		e := storage.Entry{Key: c.Key, Version: next.version, Deleted: c.Delete}
		value := head + ":D"
		switch {
		case c.Delete && kinds[i] != 'L':
			continue
		case c.Delete:
			next.gone++
		default:
			if kinds[i] == 'D' {
				next.gone--
			}
			e.Value = append([]byte{}, c.Value...)
			value = head + ":L" + string(c.Value)
		}
		put = append(put, e)
		fields = append(fields, "k"+c.Key, value)
		bytes += len(c.Key) + len(value) + 64
	}
	var forgotten []string
	if next.gone > maxDeleted {
		if forgotten, err = m.forget(ctx, o, &next, changes); err != nil {
			return 0, nil, err
		}
	}
	p, err := m.write(ctx, o, bytes, false, func(b *batch) {
		k := b.key(m.name(o.name), hash)
		for i := 0; i < len(fields); i += 2 {
			k.set(fields[i], fields[i+1])
		}
		for _, key := range forgotten {
			k.remove("k" + key)
		}
		k.set("v", head)
		k.set("f", strconv.FormatUint(next.floor, 10))
		k.set("n", strconv.Itoa(next.gone))
	})
	if err != nil {
		return 0, nil, err
	}
	st.version, st.floor, st.gone, st.wrote = next.version, next.floor, next.gone, p
	for _, key := range forgotten {
		if e, ok := st.entries[key]; ok {
			st.bytes -= costOf(e)
			delete(st.entries, key)
		}
	}
	for _, e := range put {
		st.put(e)
	}
	return st.version, p, nil
}

// kinds tells of the keys of changes whether they live, 'L', are kept as deleted, 'D', or are not there, 0.
func (m *mapSpace) kinds(ctx context.Context, o *owner, st *mapState, changes []storage.Change) ([]byte, error) {
	kinds := make([]byte, len(changes))
	if st.entries != nil {
		for i, c := range changes {
			if e, ok := st.entries[c.Key]; ok && e.Deleted {
				kinds[i] = 'D'
			} else if ok {
				kinds[i] = 'L'
			}
		}
		return kinds, nil
	}
	if err := m.drain(ctx, o.name); err != nil {
		return nil, err
	}
	args := make([]any, len(changes))
	for i, c := range changes {
		args[i] = "k" + c.Key
	}
	v, err := m.run(ctx, call{kindsScript, []string{m.name(o.name)}, args, false})
	if err != nil {
		return nil, err
	}
	list, _ := v.([]any)
	if len(list) != len(changes) {
		return nil, fmt.Errorf("read %s's %s from redis: reply %v", o.name, m.space, v)
	}
	for i, one := range list {
		if s, _ := one.(string); s != "" {
			kinds[i] = s[0]
		}
	}
	return kinds, nil
}

// forget finds the keys that were deleted before these changes.
func (m *mapSpace) forget(
	ctx context.Context, o *owner, next *mapState, changes []storage.Change,
) (forgotten []string, err error) {
	written := make(map[string]bool, len(changes))
	for _, c := range changes {
		written[c.Key] = true
	}
	var all []storage.Entry
	if next.entries != nil {
		all = next.list()
	} else {
		// What is gathered has arrived: kinds has asked.
		v, err := m.run(ctx, call{readScript, []string{m.name(o.name)}, nil, false})
		if err != nil {
			return nil, err
		}
		list, _ := v.([]any)
		if all, _, _, err = m.read(o.name, list); err != nil {
			return nil, err
		}
	}
	for _, e := range all {
		if e.Deleted && !written[e.Key] {
			next.gone--
			next.floor = max(next.floor, e.Version)
			forgotten = append(forgotten, e.Key)
		}
	}
	return forgotten, nil
}

func (m *mapSpace) Size(ctx context.Context, owner string) (keys int, bytes int64, err error) {
	if err := m.check(ctx, owner); err != nil {
		return 0, 0, err
	}
	seen, err := m.seen(ctx, owner, func(st *mapState) {
		for _, e := range st.entries {
			if !e.Deleted {
				keys, bytes = keys+1, bytes+int64(len(e.Key)+len(e.Value))
			}
		}
	})
	if seen || err != nil {
		return keys, bytes, err
	}
	if err := m.behind(ctx, owner); err != nil {
		return 0, 0, err
	}
	v, err := m.run(ctx, call{mapSizeScript, []string{m.name(owner)}, nil, false})
	if err != nil {
		return 0, 0, err
	}
	return sizes(v)
}

func (m *mapSpace) DeleteOwner(ctx context.Context, owner string) (*storage.Pending, error) {
	if err := m.check(ctx, owner); err != nil {
		return nil, err
	}
	for r := m.race(owner); ; {
		p, err := m.drop(ctx, owner)
		if over, p, err := r.over(ctx, p, err); over {
			return p, err
		}
	}
}

func (m *mapSpace) drop(ctx context.Context, owner string) (*storage.Pending, error) {
	o, err := m.hold(ctx, owner)
	if err != nil {
		return nil, err
	}
	defer m.free(o)
	p, err := m.write(ctx, o, 128, false, func(b *batch) { b.key(m.name(owner), hash).drop() })
	if err != nil {
		return nil, err
	}
	if o.maps == nil {
		o.maps = map[string]*mapState{}
	}
	o.maps[m.space] = &mapState{entries: map[string]storage.Entry{}, wrote: p}
	return p, nil
}
