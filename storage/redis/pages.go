package redis

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"jackdaw/storage"
)

// walk calls f with the records of a query in its direction, until f returns false. The limit does not count, and
// Before is set.
func (l *logSpace) walk(ctx context.Context, owner string, q storage.Query, f func(storage.Record) bool) error {
	if err := l.drain(ctx, owner); err != nil {
		return err
	}
	tell := func(records []storage.Record) bool {
		if q.Backward {
			slices.Reverse(records)
		}
		for _, r := range records {
			if r.ID > q.After && r.ID < q.Before && (q.Peer == "" || r.Peer == q.Peer) && !f(r) {
				return false
			}
		}
		return true
	}
	for more, again := true, false; more && q.After < q.Before; again = true {
		v, err := l.run(ctx, call{pageScript, l.keys(owner, "i", "p", "d", "o"),
			[]any{q.Peer, q.After, q.Before, min(q.Limit, atOnce) + 1, q.Backward, pageBytes, again}, false})
		if err != nil {
			return err
		}
		list, _ := v.([]any)
		if len(list) == 0 || len(list)%2 != 0 {
			return fmt.Errorf("read a page from redis: reply %v", v)
		}
		n, _ := list[0].(int64)
		more = n == 1 && len(list) > 2
		newest, err := readTail(list[1])
		if err != nil {
			return err
		}
		if q.Backward && !tell(newest.records) {
			return nil
		}
		for i := 2; i < len(list); i += 2 {
			m, err := readMember(list[i])
			if err != nil {
				return err
			}
			records, err := recordsOf(m, list[i+1])
			if err != nil {
				return err
			}
			if !tell(records) {
				return nil
			}
			if q.Backward {
				q.Before = m.name
			} else {
				q.After = max(q.After, m.last)
			}
		}
		if !q.Backward && !tell(newest.records) {
			return nil
		}
	}
	return nil
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
	if err := l.behind(ctx, owner); err != nil {
		return nil, false, err
	}
	var page []storage.Record
	more := false
	err := l.walk(ctx, owner, q, func(r storage.Record) bool {
		if more = len(page) == q.Limit; !more {
			page = append(page, r)
		}
		return !more
	})
	if err != nil {
		return nil, false, err
	}
	if q.Backward {
		slices.Reverse(page)
	}
	return page, more, nil
}

func (l *logSpace) Get(ctx context.Context, owner string, id uint64) (storage.Record, error) {
	if err := l.check(ctx, owner); err != nil {
		return storage.Record{}, err
	}
	if err := l.behind(ctx, owner); err != nil {
		return storage.Record{}, err
	}
	return l.one(ctx, owner, id, "")
}

// Lookup claims the owner, so that replicas have what is found; unless another node may write for it.
func (l *logSpace) Lookup(ctx context.Context, owner, dedup string) (storage.Record, *storage.Pending, error) {
	if err := l.check(ctx, owner); err != nil {
		return storage.Record{}, nil, err
	}
	if dedup == "" {
		return storage.Record{}, nil, storage.ErrNotFound
	}
	who, err := l.keep(ctx, owner)
	if err == nil && who == nil {
		r, err := l.one(ctx, owner, 0, dedup)
		if err == nil {
			err = l.barrier(ctx, owner)
		}
		return r, nil, err
	}
	if err != nil {
		return storage.Record{}, nil, err
	}
	defer l.free(who)
	r, err := l.one(ctx, owner, 0, dedup)
	if err == nil {
		err = l.holding(ctx, who)
	}
	if err != nil {
		return storage.Record{}, nil, err
	}
	var p *storage.Pending
	if st := who.logs[l.space]; st != nil {
		p = unfinished(st.wrote)
	}
	return r, p, nil
}

// one reads a record by its id or its Dedup value.
func (l *logSpace) one(ctx context.Context, owner string, id uint64, dedup string) (storage.Record, error) {
	if err := l.drain(ctx, owner); err != nil {
		return storage.Record{}, err
	}
	v, err := l.run(ctx, call{getScript, l.keys(owner, "i", "d", "x", "o"), []any{id, dedup}, false})
	if err != nil {
		return storage.Record{}, err
	}
	list, _ := v.([]any)
	if len(list) != 4 {
		return storage.Record{}, storage.ErrNotFound
	}
	newest, err := readTail(list[3])
	if err != nil {
		return storage.Record{}, err
	}
	if s, _ := list[0].(string); s != "" {
		if id, err = strconv.ParseUint(s, 10, 64); err != nil {
			return storage.Record{}, fmt.Errorf("read a record of redis: %w", err)
		}
	} else {
		t := tail{dedups: newest.dedups}
		for _, n := range days(l.today()) {
			id = cmp.Or(id, t.knows(n, dedup))
		}
		if id == 0 {
			return storage.Record{}, storage.ErrNotFound
		}
	}
	records := newest.records
	if list[1] != nil && !slices.ContainsFunc(records, func(r storage.Record) bool { return r.ID == id }) {
		var m member
		if m, err = readMember(list[1]); err == nil {
			records, err = recordsOf(m, list[2])
		}
	}
	if err != nil {
		return storage.Record{}, err
	}
	for _, r := range records {
		if r.ID == id {
			return r, nil
		}
	}
	return storage.Record{}, storage.ErrNotFound
}

// globEscape makes a prefix match itself in SCAN.
var globEscape = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`)

var tagUnescape = strings.NewReplacer("%25", "%", "%7B", "{", "%7D", "}")

// Owners reads the names of all keys, so its cost is that of the whole database.
func (l *logSpace) Owners(ctx context.Context, f func(string) bool) error {
	if err := l.check(ctx); err != nil {
		return err
	}
	if err := l.flush(ctx, false); err != nil {
		return err
	}
	before, after := l.o.Prefix+"{", "}:"+l.space+":"
	seen := make(map[string]bool) // SCAN may tell a key twice
	done := false
	err := l.eachMaster(ctx, func(c *redis.Client) error {
		for cursor := uint64(0); !done; {
			names, next, err := c.Scan(ctx, cursor, globEscape.Replace(before)+"*"+after+"[io]", 1000).Result()
			if err != nil {
				return err
			}
			for _, name := range names {
				tag, ok := strings.CutPrefix(name, before)
				tag, ok2 := strings.CutSuffix(tag[:max(len(tag)-1, 0)], after)
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
