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

// mapSpace implements storage.Map; updateScript says how a map lies in Redis.
type mapSpace struct {
	*engine
	space string
}

// maxDeleted bounds the deleted keys kept for Since.
const maxDeleted = 1000

func (m *mapSpace) name(owner string) string { return m.key(owner, m.space, "m") }

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

func (m *mapSpace) Get(ctx context.Context, owner, key string) ([]byte, error) {
	if err := m.check(ctx, owner); err != nil {
		return nil, err
	}
	v, err := m.run(ctx, call{readScript, []string{m.name(owner)}, []any{"k" + key}, false})
	if err != nil {
		return nil, err
	}
	s, ok := v.(string)
	if !ok {
		return nil, storage.ErrNotFound
	}
	e, err := entry(key, s)
	if err == nil && e.Deleted {
		err = storage.ErrNotFound
	}
	return e.Value, err
}

// all reads a map at one moment.
func (m *mapSpace) all(ctx context.Context, owner string) (entries []storage.Entry, version, floor uint64, err error) {
	if err := m.check(ctx, owner); err != nil {
		return nil, 0, 0, err
	}
	v, err := m.run(ctx, call{readScript, []string{m.name(owner)}, nil, false})
	if err != nil {
		return nil, 0, 0, err
	}
	list, _ := v.([]any)
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
	wanted := "*"
	if version != storage.AnyVersion {
		wanted = strconv.FormatUint(version, 10)
	}
	final := make(map[string]int, len(changes))
	for i, c := range changes {
		final[c.Key] = i
	}
	args := []any{tokenLife.Milliseconds(), wanted, maxDeleted}
	for i, c := range changes {
		if final[c.Key] != i {
			continue
		}
		if c.Delete {
			args = append(args, c.Key, "D", "")
		} else {
			args = append(args, c.Key, "L", c.Value)
		}
	}
	v, err := m.run(ctx, call{updateScript, []string{m.newToken(owner, m.space), m.name(owner)}, args, true})
	if err != nil {
		return 0, nil, err
	}
	s, _ := v.(string)
	if s == "conflict" {
		return 0, nil, storage.ErrConflict
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, nil, fmt.Errorf("update in redis: reply %q", v)
	}
	return n, nil, nil
}

func (m *mapSpace) Size(ctx context.Context, owner string) (int, int64, error) {
	if err := m.check(ctx, owner); err != nil {
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
	_, err := m.run(ctx, call{unlinkScript, []string{m.name(owner)}, nil, true})
	return nil, err
}
