package embedded

import (
	"bytes"
	"context"

	"go.etcd.io/bbolt"

	"jackdaw/storage"
)

// trimAtOnce is how many records Trim and DeleteOwner delete in one batch.
const trimAtOnce = 5000

func (l *logSpace) Trim(ctx context.Context, owner string, before uint64) (*storage.Pending, error) {
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
	return l.trim(owner, st, before)
}

func (l *logSpace) trim(owner string, st *logState, before uint64) (*storage.Pending, error) {
	last, err := l.trimRecords(owner, st, before)
	if err != nil {
		return nil, err
	}
	b, next := &batch{}, *st
	if err := l.giveUp(b, owner, &next, before); err != nil || len(b.ops) == 0 {
		return last, err
	}
	return l.shrink(owner, st, next, b)
}

func (l *logSpace) trimRecords(owner string, st *logState, before uint64) (last *storage.Pending, err error) {
	for {
		b, next, n := &batch{}, *st, 0
		err := l.records(owner, 0, 0, false, func(r record) bool {
			if r.id >= before || n == trimAtOnce {
				return false
			}
			l.drop(b, owner, &next, r)
			next.floor = r.id + 1
			n++
			return true
		})
		if err != nil || n == 0 && last != nil {
			return last, err
		}
		if last, err = l.shrink(owner, st, next, b); err != nil || n < trimAtOnce {
			return last, err
		}
	}
}

func (l *logSpace) DeleteOwner(ctx context.Context, owner string) (*storage.Pending, error) {
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
	if _, err := l.trim(owner, st, ^uint64(0)); err != nil {
		return nil, err
	}
	l.forget(s, owner)
	if err := l.forgetValues(owner); err != nil {
		return nil, err
	}
	prefixes := [][]byte{ownerKey("s", l.space, owner, 0)}
	for _, gen := range l.known.Load().keys {
		prefixes = append(prefixes, dedupKey(gen, l.space, owner, ""))
	}
	return l.deleteRanges(prefixes...)
}

// deleteRanges deletes all keys that begin with the prefixes, each ending in a NUL. The caller holds the shard.
func (e *engine) deleteRanges(prefixes ...[]byte) (*storage.Pending, error) {
	var last *storage.Pending
	for _, prefix := range prefixes {
		bucket := prefix[:bytes.IndexByte(prefix, 0)+1]
		for from := prefix; from != nil; {
			b, start := &batch{}, from
			from = nil
			n := 0
			err := e.scan(start, ending(prefix), false, func(k, _ []byte) bool {
				key := append(bytes.Clone(bucket), k...)
				if n++; n > trimAtOnce {
					from = key
					return false
				}
				b.delete(key)
				return true
			})
			if err != nil {
				return nil, err
			}
			if len(b.ops) > 0 {
				t, err := e.write(b)
				if err != nil {
					return nil, err
				}
				last = t.pending
			}
		}
	}
	if last == nil { // what is not there may be on its way out
		return e.restsOnAll()
	}
	return last, nil
}

func (l *logSpace) Owners(ctx context.Context, f func(string) bool) error {
	if err := l.check(ctx); err != nil {
		return err
	}
	// Those in the tables first: what is merged meanwhile is in both, not in none.
	recent := l.ownersInTables()
	for owner := range recent {
		if more, err := l.callWith(ctx, owner, f); err != nil || !more {
			return err
		}
	}
	for from := []byte{}; ; {
		// A few at a time: f may write, and the tree cannot grow while it is read.
		var owners []string
		err := l.view(func(tx *bbolt.Tx) {
			b := tx.Bucket([]byte("k" + l.space))
			if b == nil {
				return
			}
			c := b.Cursor()
			for k, _ := c.Seek(from); k != nil && len(owners) < 100; k, _ = c.Seek(from) {
				cut := bytes.IndexByte(k, 0)
				if cut < 0 {
					return
				}
				owners = append(owners, string(k[:cut]))
				from = append(append(from[:0], k[:cut]...), 1) // above all keys of this owner
			}
		})
		if err != nil {
			return err
		}
		if len(owners) == 0 {
			return nil
		}
		for _, owner := range owners {
			if recent[owner] {
				continue
			}
			if more, err := l.callWith(ctx, owner, f); err != nil || !more {
				return err
			}
		}
	}
}

// callWith calls f with an owner who has records.
func (l *logSpace) callWith(ctx context.Context, owner string, f func(string) bool) (more bool, err error) {
	if err := l.check(ctx); err != nil {
		return false, err
	}
	found, err := l.holds(owner)
	return err == nil && (!found || f(owner)), err
}
