package muc

import (
	"sync"

	"jackdaw/storage"
)

// memory counts the bytes that rooms hold of the latest messages, for clients that enter. One room has its bound, and
// the maker of rooms has a share of what there is for all (storage.Fair): a user with many rooms in use leaves
// something for the rooms of others.
type memory struct {
	mu     sync.Mutex // guards the rest
	all    int64
	rooms  map[*hosted]kept
	makers map[string]int64
}

// kept is what one room holds.
type kept struct {
	bytes int64
	maker string // bare address
}

// take counts bytes more of a room, unless that is too much.
func (m *memory) take(r *hosted, bytes int64, l Limits) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.rooms[r]
	if !ok {
		k.maker = r.Creator
	}
	if l.HistoryBytes > 0 && k.bytes+bytes > l.HistoryBytes || !storage.Fair(l.Memory, m.all, m.makers[k.maker], bytes) {
		return false
	}
	k.bytes += bytes
	m.rooms[r] = k
	m.makers[k.maker] += bytes
	m.all += bytes
	return true
}

// give counts bytes of a room that are gone.
func (m *memory) give(r *hosted, bytes int64) {
	if bytes == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.rooms[r]
	bytes = min(bytes, k.bytes) // of a room that is gone nothing counts any more
	if k.bytes -= bytes; k.bytes > 0 {
		m.rooms[r] = k
	} else {
		delete(m.rooms, r)
	}
	m.all -= bytes
	if m.makers[k.maker] -= bytes; m.makers[k.maker] <= 0 {
		delete(m.makers, k.maker)
	}
}

// forget counts a room that is gone.
func (m *memory) forget(r *hosted) {
	m.mu.Lock()
	bytes := m.rooms[r].bytes
	m.mu.Unlock()
	m.give(r, bytes)
}
