package embedded

import (
	"bytes"
	"errors"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"jackdaw/storage"
)

// get returns a copy of a key's value, and the group that carries it if it was written in this run.
func (e *engine) get(key []byte) (value []byte, group uint64, ok bool, err error) {
	// The tables before the tree: a table that is merged between the two is seen twice, not missed.
	t := e.tables.Load()
	found := t.active.get(key)
	if found == nil && t.frozen != nil {
		found = t.frozen.get(key)
	}
	if found != nil {
		return bytes.Clone(found.value), found.group, !found.deleted, nil
	}
	cut := bytes.IndexByte(key, 0)
	err = e.view(func(tx *bbolt.Tx) {
		if b := tx.Bucket(key[:cut]); b != nil {
			if v := b.Get(key[cut+1:]); v != nil {
				value, ok = append([]byte{}, v...), true
			}
		}
	})
	return value, 0, ok, err
}

// view reads the tree.
func (e *engine) view(f func(tx *bbolt.Tx)) error {
	err := guarded(e.treePath, func() error {
		return e.tree.View(func(tx *bbolt.Tx) error { f(tx); return nil })
	})
	if isDamage(err) {
		e.treeDamaged(err)
	}
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return storage.ErrClosed
	}
	return err
}

// treeDamaged tells once that the tree is damaged.
func (e *engine) treeDamaged(err error) {
	e.treeIsDamaged.Do(func() { e.log.Error("the store is damaged; what can be read is served", "error", err) })
}

// read is view for a function that may find an error.
func (e *engine) read(f func(tx *bbolt.Tx) error) (err error) {
	var inside error
	err = e.view(func(tx *bbolt.Tx) { inside = f(tx) })
	if err == nil {
		err = inside
	}
	return err
}

// scan calls f with the keys in [from, to) of one bucket, ascending or descending, until f returns false. f must not
// keep or change what it gets, nor write: the tree cannot grow while it is read.
func (e *engine) scan(from, to []byte, backward bool, f func(key, value []byte) bool) error {
	t := e.tables.Load()
	return e.view(func(tx *bbolt.Tx) { scanIn(tx, t, from, to, backward, f) })
}

func scanIn(tx *bbolt.Tx, t *tables, from, to []byte, backward bool, f func(key, value []byte) bool) {
	cut := bytes.IndexByte(from, 0) + 1
	r := reach{from, to, backward}
	sources := make([]source, 0, 3)
	sources = append(sources, &tableSource{reach: r, table: t.active})
	if t.frozen != nil {
		sources = append(sources, &tableSource{reach: r, table: t.frozen})
	}
	inTree := reach{from[cut:], nil, backward}
	if bytes.HasPrefix(to, from[:cut]) {
		inTree.to = to[cut:]
	}
	if b := tx.Bucket(from[:cut-1]); b != nil {
		sources = append(sources, &treeSource{cursor: b.Cursor(), reach: inTree})
	}
	for _, s := range sources {
		s.first()
	}
	for {
		// Of equal keys the first source's counts: it is the newest.
		var best []byte
		var winner source
		for _, s := range sources {
			if k := s.key(cut); k != nil {
				if c := bytes.Compare(k, best); winner == nil || (backward && c > 0) || (!backward && c < 0) {
					best, winner = k, s
				}
			}
		}
		if winner == nil {
			return
		}
		if value, deleted := winner.value(); !deleted && !f(best, value) {
			return
		}
		for _, s := range sources {
			if s != winner && bytes.Equal(s.key(cut), best) {
				s.step()
			}
		}
		winner.step()
	}
}

// A source is one of the things that scan merges.
type source interface {
	first()
	step()
	key(cut int) []byte // without the bucket; nil at the end
	value() (value []byte, deleted bool)
}

// reach is a range of keys and the direction it is walked in.
type reach struct {
	from, to []byte // to nil: to the end
	backward bool
}

func (r *reach) holds(key []byte) bool {
	return bytes.Compare(key, r.from) >= 0 && (r.to == nil || bytes.Compare(key, r.to) < 0)
}

type tableSource struct {
	reach
	table *memtable
	at    *node
}

func (s *tableSource) first() {
	if s.backward {
		s.at = s.table.before(s.to, nil)
	} else {
		s.at = s.table.seek(s.from)
	}
}

func (s *tableSource) step() {
	if s.backward {
		s.at = s.table.before(s.at.key, nil)
	} else {
		s.at = s.at.low.Load()
	}
}

func (s *tableSource) key(cut int) []byte {
	if s.at == nil || !s.holds(s.at.key) {
		return nil
	}
	return s.at.key[cut:]
}

func (s *tableSource) value() ([]byte, bool) {
	e := s.at.entry.Load()
	return e.value, e.deleted
}

type treeSource struct {
	reach
	cursor *bbolt.Cursor
	k, v   []byte
}

func (s *treeSource) first() {
	switch {
	case !s.backward:
		s.k, s.v = s.cursor.Seek(s.from)
	case s.to == nil:
		s.k, s.v = s.cursor.Last()
	default:
		if k, _ := s.cursor.Seek(s.to); k == nil {
			s.k, s.v = s.cursor.Last()
		} else {
			s.k, s.v = s.cursor.Prev()
		}
	}
}

func (s *treeSource) step() {
	if s.backward {
		s.k, s.v = s.cursor.Prev()
	} else {
		s.k, s.v = s.cursor.Next()
	}
}

func (s *treeSource) key(int) []byte {
	if s.k == nil || !s.holds(s.k) {
		return nil
	}
	return s.k
}

func (s *treeSource) value() ([]byte, bool) { return s.v, false }
