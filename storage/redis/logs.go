package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"jackdaw/storage"
)

// logSpace implements storage.Log. An owner has in a space:
//
//	meta  hash: last (the highest id ever given), b (bytes of data)
//	i     sorted set by id: "id:peer"
//	p     sorted set by name: "peer NUL id", with 16 digits
//	d     hash: id → data
//	x<n>  hash: Dedup value → id, of the day n; expires by itself
type logSpace struct {
	*engine
	space string
}

// largest is the first number that Lua and the scores of Redis do not tell from its neighbours: as an id, the year
// 2255.
const largest = 1 << 53

// atOnce bounds what one script deletes, since Redis does nothing else meanwhile.
const atOnce = 500

// keys are the keys of a call: those named, or with "x" the three days of Dedup values.
func (l *logSpace) keys(owner string, first []string, kinds ...string) []string {
	keys := first
	for _, kind := range kinds {
		if kind != "x" {
			keys = append(keys, l.key(owner, l.space, kind))
			continue
		}
		day := max(l.o.Now().UnixMicro(), 0) / storage.DedupWindow.Microseconds()
		// The day after, too: another node's clock may be ahead, or ours went back.
		for _, d := range []int64{day, day - 1, day + 1} {
			keys = append(keys, l.key(owner, l.space, "x"+strconv.FormatInt(d, 10)))
		}
	}
	return keys
}

// appended reads the reply of appendScript.
func appended(v any) (id uint64, dup bool, err error) {
	s, _ := v.(string)
	switch s {
	case "full":
		return 0, false, storage.ErrFull
	case "late":
		return 0, false, storage.ErrConflict
	}
	s, dup = strings.CutSuffix(s, " dup")
	if id, err = strconv.ParseUint(s, 10, 64); err != nil {
		err = fmt.Errorf("append to redis: reply %q", v)
	}
	return id, dup, err
}

func (l *logSpace) Append(
	ctx context.Context, owner string, r storage.Record, o storage.AppendOptions,
) (uint64, bool, *storage.Pending, error) {
	if err := l.check(ctx, owner, r.Peer); err != nil {
		return 0, false, nil, err
	}
	if o.At >= largest {
		return 0, false, nil, storage.ErrConflict
	}
	keys := l.keys(owner, []string{l.newToken(owner, l.space)}, "meta", "i", "p", "d", "x")
	v, err := l.run(ctx, call{appendScript, keys, []any{
		tokenLife.Milliseconds(), max(l.o.Now().UnixMicro(), 0), r.Peer, r.Data, o.Dedup, o.MaxRecords, o.MaxBytes,
		(2*storage.DedupWindow + Patience).Milliseconds(), o.Fair, o.At,
	}, true})
	if err != nil {
		return 0, false, nil, err
	}
	id, dup, err := appended(v)
	return id, dup, nil, err
}

// record reads "id:peer" and data.
func record(member, data any) (storage.Record, error) {
	m, _ := member.(string)
	d, ok := data.(string)
	digits, peer, _ := strings.Cut(m, ":")
	id, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || !ok {
		return storage.Record{}, fmt.Errorf("read a record of redis: %q, %T", member, data)
	}
	return storage.Record{ID: id, Peer: peer, Data: []byte(d)}, nil
}

func (l *logSpace) Page(ctx context.Context, owner string, q storage.Query) ([]storage.Record, bool, error) {
	if err := l.check(ctx, owner, q.Peer); err != nil {
		return nil, false, err
	}
	if q.Limit <= 0 {
		q.Limit = 100
	}
	if q.Before == 0 || q.Before > largest {
		q.Before = largest
	}
	if q.After >= largest {
		return nil, false, nil
	}
	v, err := l.run(ctx, call{pageScript, l.keys(owner, nil, "i", "p", "d"),
		[]any{q.Peer, q.After, q.Before, q.Limit + 1, q.Backward}, false})
	if err != nil {
		return nil, false, err
	}
	list, _ := v.([]any)
	var page []storage.Record
	for i := 0; i+1 < len(list); i += 2 {
		r, err := record(list[i], list[i+1])
		if err != nil {
			return nil, false, err
		}
		page = append(page, r)
	}
	more := len(page) > q.Limit
	if more {
		page = page[:q.Limit]
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
	return l.one(ctx, call{getScript, l.keys(owner, nil, "i", "d", "x"), []any{id, ""}, false})
}

// Lookup is a write to the replicas: what the master has may have failed to reach them.
func (l *logSpace) Lookup(ctx context.Context, owner, dedup string) (storage.Record, *storage.Pending, error) {
	if err := l.check(ctx, owner); err != nil {
		return storage.Record{}, nil, err
	}
	if dedup == "" {
		return storage.Record{}, nil, storage.ErrNotFound
	}
	r, err := l.one(ctx, call{getScript, l.keys(owner, nil, "i", "d", "x"), []any{0, dedup}, l.o.WaitReplicas > 0})
	return r, nil, err
}

func (l *logSpace) one(ctx context.Context, c call) (storage.Record, error) {
	v, err := l.run(ctx, c)
	if err != nil {
		return storage.Record{}, err
	}
	if list, _ := v.([]any); len(list) == 2 {
		return record(list[0], list[1])
	}
	return storage.Record{}, storage.ErrNotFound
}

func (l *logSpace) Remove(ctx context.Context, owner string, ids ...uint64) (*storage.Pending, error) {
	if err := l.check(ctx, owner); err != nil {
		return nil, err
	}
	for len(ids) > 0 {
		some := ids[:min(len(ids), atOnce)]
		ids = ids[len(some):]
		args := make([]any, len(some))
		for i, id := range some {
			args[i] = id
		}
		if _, err := l.run(ctx, call{removeScript, l.keys(owner, nil, "meta", "i", "p", "d"), args, true}); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (l *logSpace) Replace(ctx context.Context, owner string, id uint64, data []byte) (*storage.Pending, error) {
	if err := l.check(ctx, owner); err != nil {
		return nil, err
	}
	if id >= largest {
		return nil, storage.ErrNotFound
	}
	v, err := l.run(ctx, call{replaceScript, l.keys(owner, nil, "meta", "i", "d"), []any{id, data}, true})
	if n, _ := v.(int64); err == nil && n == 0 {
		err = storage.ErrNotFound
	}
	return nil, err
}

func (l *logSpace) Trim(ctx context.Context, owner string, before uint64) (*storage.Pending, error) {
	if err := l.check(ctx, owner); err != nil {
		return nil, err
	}
	for {
		v, err := l.run(ctx, call{trimScript, l.keys(owner, nil, "meta", "i", "p", "d"), []any{before, atOnce}, true})
		if n, _ := v.(int64); err != nil || n < atOnce {
			return nil, err
		}
	}
}

func (l *logSpace) Size(ctx context.Context, owner string) (int, int64, error) {
	if err := l.check(ctx, owner); err != nil {
		return 0, 0, err
	}
	v, err := l.run(ctx, call{sizeScript, l.keys(owner, nil, "meta", "i"), nil, false})
	if err != nil {
		return 0, 0, err
	}
	return sizes(v)
}

// sizes reads a number and bytes.
func sizes(v any) (n int, bytes int64, err error) {
	if list, _ := v.([]any); len(list) == 2 {
		n, _ := list[0].(int64)
		b, _ := list[1].(int64)
		return int(n), b, nil
	}
	return 0, 0, fmt.Errorf("read the size from redis: reply %v", v)
}

func (l *logSpace) DeleteOwner(ctx context.Context, owner string) (*storage.Pending, error) {
	if err := l.check(ctx, owner); err != nil {
		return nil, err
	}
	_, err := l.run(ctx, call{unlinkScript, l.keys(owner, nil, "meta", "i", "p", "d", "x"), nil, true})
	return nil, err
}

// globEscape makes a prefix match itself in SCAN.
var globEscape = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`)

var tagUnescape = strings.NewReplacer("%25", "%", "%7B", "{", "%7D", "}")

// Owners reads the names of all keys, so its cost is that of the whole database.
func (l *logSpace) Owners(ctx context.Context, f func(string) bool) error {
	if err := l.check(ctx); err != nil {
		return err
	}
	before, after := l.o.Prefix+"{", "}:"+l.space+":i"
	seen := make(map[string]bool) // SCAN may tell a key twice
	done := false
	err := l.eachMaster(ctx, func(c *redis.Client) error {
		for cursor := uint64(0); !done; {
			names, next, err := c.Scan(ctx, cursor, globEscape.Replace(before)+"*"+after, 1000).Result()
			if err != nil {
				return err
			}
			for _, name := range names {
				tag, ok := strings.CutPrefix(name, before)
				tag, ok2 := strings.CutSuffix(tag, after)
				if !ok || !ok2 || strings.Contains(tag, "}") || seen[tag] || done {
					continue
				}
				seen[tag] = true
				owner := tagUnescape.Replace(tag)
				if tag == "%" {
					owner = ""
				}
				done = !f(owner)
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		err = l.lost(err)
	}
	return err
}
