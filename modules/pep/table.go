package pep

import "sync"

// A table is a map for concurrent use. For one entry each of many sessions a sync.Map takes five times as much. The
// zero value is empty.
type table[K comparable, V any] struct {
	mu sync.RWMutex // guards m
	m  map[K]V
}

// load returns what is there, the zero value if nothing is.
func (t *table[K, V]) load(k K) (v V, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	v, ok = t.m[k]
	return v, ok
}

// swap puts something there and returns what was there before.
func (t *table[K, V]) swap(k K, v V) (was V, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[K]V{}
	}
	was, ok = t.m[k]
	t.m[k] = v
	return was, ok
}

// remove forgets what is there.
func (t *table[K, V]) remove(k K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if delete(t.m, k); len(t.m) == 0 {
		t.m = nil // which may be large
	}
}

func (t *table[K, V]) size() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.m)
}
