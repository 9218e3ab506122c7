// Package share keeps tables of a bounded size that many fill, so that none of them takes the places of the others:
// each has its share, see storage.Fair, and whoever wants more loses what it put there first.
package share

import (
	"container/list"

	"jackdaw/storage"
)

// A Table maps keys to values, each of which somebody has put there. It is not safe for concurrent use.
type Table[K comparable, V any] struct {
	most    int64
	all     int64 // weight of everything
	entries map[K]*list.Element
	sharers map[string]*sharer
}

type sharer struct {
	name  string
	taken int64
	own   list.List // of entry; the front is the first
}

type entry[K comparable, V any] struct {
	key    K
	value  V
	weight int64
	of     *sharer
}

// New returns an empty table for entries of that weight together.
func New[K comparable, V any](most int64) *Table[K, V] {
	return &Table[K, V]{most: most, entries: map[K]*list.Element{}, sharers: map[string]*sharer{}}
}

// Len is the number of entries, Weight what they weigh together.
func (t *Table[K, V]) Len() int      { return len(t.entries) }
func (t *Table[K, V]) Weight() int64 { return t.all }

// Get returns the value of a key.
func (t *Table[K, V]) Get(key K) (value V, ok bool) {
	if e := t.entries[key]; e != nil {
		return e.Value.(*entry[K, V]).value, true
	}
	return value, false
}

// Put puts a value there, in place of what was there under that key, and returns the keys that had to go for it. What
// belongs to nobody, "", is bounded by the table alone. What is heavier than the table is not kept.
func (t *Table[K, V]) Put(who string, key K, value V, weight int64) (gone []K) {
	t.Delete(key)
	for len(t.entries) > 0 {
		s := t.sharers[who]
		if who == "" {
			if t.all+weight <= t.most {
				break
			}
		} else if storage.Fair(t.most, t.all, s.weight(), weight) {
			break
		}
		if s == nil {
			s = t.largest()
		}
		first := s.own.Front().Value.(*entry[K, V]).key
		t.Delete(first)
		gone = append(gone, first)
	}
	if weight > t.most {
		return gone
	}
	s := t.sharers[who]
	if s == nil {
		s = &sharer{name: who}
		t.sharers[who] = s
	}
	s.taken += weight
	t.all += weight
	t.entries[key] = s.own.PushBack(&entry[K, V]{key, value, weight, s})
	return gone
}

// Delete takes a key out, if it is there.
func (t *Table[K, V]) Delete(key K) {
	at := t.entries[key]
	if at == nil {
		return
	}
	e := at.Value.(*entry[K, V])
	delete(t.entries, key)
	e.of.own.Remove(at)
	e.of.taken -= e.weight
	t.all -= e.weight
	if e.of.own.Len() == 0 {
		delete(t.sharers, e.of.name)
	}
}

func (s *sharer) weight() int64 {
	if s == nil {
		return 0
	}
	return s.taken
}

// largest is who has most.
func (t *Table[K, V]) largest() (s *sharer) {
	for _, one := range t.sharers {
		if s == nil || one.taken > s.taken {
			s = one
		}
	}
	return s
}
