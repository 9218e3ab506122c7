package embedded

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"jackdaw/storage"
)

// mapSpace implements storage.Map. A value is the version and a byte that says whether the key is deleted, then what
// the caller gave.
type mapSpace struct {
	*engine
	space string
}

// mapState is the version of an owner and what Since must know.
type mapState struct {
	version uint64
	floor   uint64 // deletions up to this version are forgotten
	deleted uint64 // keys that are kept as deleted
}

// maxDeleted bounds the deleted keys kept for Since.
const maxDeleted = 1000

const (
	valueHeader = 9
	valueLive   = 0
	valueGone   = 1
)

func (m *mapSpace) key(owner, key string) []byte {
	return append(ownerKey("m", m.space, owner, len(key)), key...)
}

// state returns the state of an owner, and the group that carries it.
func (m *mapSpace) state(owner string) (st mapState, group uint64, err error) {
	v, group, ok, err := m.get(ownerKey("v", m.space, owner, 0))
	if err != nil || !ok {
		return st, group, err
	}
	if len(v) != 25 || v[0] != stateFormat {
		return st, 0, fmt.Errorf("read the version of %s's %s: unknown format %.1x", owner, m.space, v)
	}
	n := binary.BigEndian
	return mapState{n.Uint64(v[1:]), n.Uint64(v[9:]), n.Uint64(v[17:])}, group, nil
}

func (m *mapSpace) save(b *batch, owner string, st mapState) {
	v := append(make([]byte, 0, 25), stateFormat)
	v = binary.BigEndian.AppendUint64(v, st.version)
	v = binary.BigEndian.AppendUint64(v, st.floor)
	v = binary.BigEndian.AppendUint64(v, st.deleted)
	b.set(ownerKey("v", m.space, owner, 0), v)
}

func splitValue(v []byte) (version uint64, gone bool, value []byte, err error) {
	if len(v) < valueHeader {
		return 0, false, nil, fmt.Errorf("read a value: %d bytes", len(v))
	}
	return binary.BigEndian.Uint64(v), v[8] == valueGone, v[valueHeader:], nil
}

func (m *mapSpace) Get(ctx context.Context, owner, key string) ([]byte, error) {
	if err := m.check(ctx, owner); err != nil {
		return nil, err
	}
	s := m.shard(owner)
	s.RLock()
	defer s.RUnlock()
	v, _, ok, err := m.get(m.key(owner, key))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, storage.ErrNotFound
	}
	_, gone, value, err := splitValue(v)
	if err == nil && gone {
		err = storage.ErrNotFound
	}
	return value, err
}

// entries calls f with each key of an owner, also the deleted ones. The value is not to be kept.
func (m *mapSpace) entries(owner string, f func(storage.Entry)) error {
	prefix := ownerKey("m", m.space, owner, 0)
	skip := len(owner) + 1
	var bad error
	err := m.scan(prefix, ending(prefix), false, func(k, v []byte) bool {
		e := storage.Entry{Key: string(k[skip:])}
		if e.Version, e.Deleted, e.Value, bad = splitValue(v); bad == nil {
			f(e)
		}
		return bad == nil
	})
	if err == nil {
		err = bad
	}
	return err
}

func (m *mapSpace) List(ctx context.Context, owner string) ([]storage.Entry, uint64, error) {
	if err := m.check(ctx, owner); err != nil {
		return nil, 0, err
	}
	s := m.shard(owner)
	s.RLock()
	defer s.RUnlock()
	st, _, err := m.state(owner)
	if err != nil {
		return nil, 0, err
	}
	var list []storage.Entry
	err = m.entries(owner, func(e storage.Entry) {
		if !e.Deleted {
			e.Value = append([]byte{}, e.Value...)
			list = append(list, e)
		}
	})
	return list, st.version, err
}

func (m *mapSpace) Update(
	ctx context.Context, owner string, version uint64, changes ...storage.Change,
) (uint64, *storage.Pending, error) {
	adds := slices.ContainsFunc(changes, func(c storage.Change) bool { return !c.Delete })
	if err := m.checkWrite(ctx, !adds, owner); err != nil {
		return 0, nil, err
	}
	s := m.shard(owner)
	s.Lock()
	defer s.Unlock()
	st, group, err := m.state(owner)
	if err != nil {
		return 0, nil, err
	}
	if version != storage.AnyVersion && version != st.version {
		return 0, nil, storage.ErrConflict
	}
	if len(changes) == 0 {
		t, err := m.rests(group)
		return st.version, t.pending, err
	}
	st.version++
	final := make(map[string]int, len(changes))
	for i, c := range changes {
		final[c.Key] = i
	}
	b := &batch{}
	for i, c := range changes {
		if final[c.Key] != i {
			continue
		}
		if err := m.change(b, owner, &st, c); err != nil {
			return 0, nil, err
		}
	}
	if st.deleted > maxDeleted {
		if err := m.forget(b, owner, &st, changes); err != nil {
			return 0, nil, err
		}
	}
	m.save(b, owner, st)
	t, err := m.write(b)
	if err != nil {
		return 0, nil, err
	}
	return st.version, t.pending, nil
}

func (m *mapSpace) change(b *batch, owner string, st *mapState, c storage.Change) error {
	key := m.key(owner, c.Key)
	old, _, found, err := m.get(key)
	if err != nil {
		return err
	}
	gone := false
	if found {
		if _, gone, _, err = splitValue(old); err != nil {
			return err
		}
	}
	kind := byte(valueLive)
	if c.Delete {
		if !found || gone {
			return nil
		}
		c.Value, kind = nil, valueGone
		st.deleted++
	} else if gone {
		st.deleted--
	}
	v := binary.BigEndian.AppendUint64(make([]byte, 0, valueHeader+len(c.Value)), st.version)
	b.set(key, append(append(v, kind), c.Value...))
	return nil
}

// forget takes out the keys that were deleted before this batch.
func (m *mapSpace) forget(b *batch, owner string, st *mapState, changes []storage.Change) error {
	written := make(map[string]bool, len(changes))
	for _, c := range changes {
		written[c.Key] = true
	}
	err := m.entries(owner, func(e storage.Entry) {
		if e.Deleted && !written[e.Key] {
			st.deleted--
			st.floor = max(st.floor, e.Version)
			b.delete(m.key(owner, e.Key))
		}
	})
	return err
}

func (m *mapSpace) Since(ctx context.Context, owner string, version uint64) ([]storage.Entry, uint64, bool, error) {
	if err := m.check(ctx, owner); err != nil {
		return nil, 0, false, err
	}
	s := m.shard(owner)
	s.RLock()
	defer s.RUnlock()
	st, _, err := m.state(owner)
	if err != nil {
		return nil, 0, false, err
	}
	if version < st.floor || version > st.version {
		return nil, st.version, false, nil
	}
	var changes []storage.Entry
	err = m.entries(owner, func(e storage.Entry) {
		if e.Version > version {
			if e.Value = bytes.Clone(e.Value); e.Deleted {
				e.Value = nil
			}
			changes = append(changes, e)
		}
	})
	slices.SortStableFunc(changes, func(a, b storage.Entry) int { return cmp.Compare(a.Version, b.Version) })
	return changes, st.version, true, err
}

func (m *mapSpace) Size(ctx context.Context, owner string) (keys int, bytes int64, err error) {
	if err := m.check(ctx, owner); err != nil {
		return 0, 0, err
	}
	s := m.shard(owner)
	s.RLock()
	defer s.RUnlock()
	err = m.entries(owner, func(e storage.Entry) {
		if !e.Deleted {
			keys, bytes = keys+1, bytes+int64(len(e.Key)+len(e.Value))
		}
	})
	return keys, bytes, err
}

func (m *mapSpace) DeleteOwner(ctx context.Context, owner string) (*storage.Pending, error) {
	if err := m.checkWrite(ctx, true, owner); err != nil {
		return nil, err
	}
	s := m.shard(owner)
	s.Lock()
	defer s.Unlock()
	return m.deleteRanges(ownerKey("m", m.space, owner, 0), ownerKey("v", m.space, owner, 0))
}
