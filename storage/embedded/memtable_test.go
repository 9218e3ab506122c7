package embedded

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// Owners take turns, ids rise for each, and some keys are written again, as logs do.
func TestMemtableHoldsWhatManyOwnersPutLast(t *testing.T) {
	m, want := newMemtable(&valueSeed{}), map[string]string{}
	for i := range uint64(30000) {
		id := i
		if rand.IntN(4) == 0 {
			id = rand.Uint64N(i + 1)
		}
		key := ownerKey("m", "x", fmt.Sprint(rand.IntN(2000)), 8)
		if rand.IntN(3) > 0 {
			key = binary.BigEndian.AppendUint64(key, id)
		}
		value := fmt.Append(nil, i)
		m.put(op{key: key, value: value, deleted: i%5 == 0}, 1)
		want[string(key)] = fmt.Sprint(string(value), i%5 == 0)
	}
	keys := slices.Sorted(maps.Keys(want))
	at := m.head[0].Load()
	for _, key := range keys {
		if at == nil || string(at.key) != key {
			t.Fatalf("%q is not where it belongs", key)
		}
		if e := m.get([]byte(key)); e == nil || fmt.Sprint(string(e.value), e.deleted) != want[key] {
			t.Fatalf("%q is not as it was put last", key)
		}
		at = at.low.Load()
	}
	if at != nil {
		t.Errorf("%q was never put", at.key)
	}
}

func TestMemtableReadersMissNothingWhileAWriterWrites(t *testing.T) {
	m := newMemtable(&valueSeed{})
	key := func(i int) []byte { return binary.BigEndian.AppendUint32([]byte("m\x00"), uint32(i)) }
	const n = 20000
	for i := 0; i < n; i += 2 {
		m.put(op{key: key(i), value: key(i)}, 1)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		for _, i := range rand.Perm(n / 2) {
			m.put(op{key: key(2*i + 1)}, 2)
		}
	})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := 2 * rand.IntN(n/2)
				if e := m.get(key(i)); e == nil || string(e.value) != string(key(i)) {
					t.Errorf("key %d is not found", i)
					return
				}
			}
		})
	}
	wg.Wait()
	count, last := 0, -1
	for at := m.head[0].Load(); at != nil; at = at.low.Load() {
		if i := int(binary.BigEndian.Uint32(at.key[2:])); i <= last {
			t.Fatalf("key %d after %d", i, last)
		} else {
			last = i
		}
		count++
	}
	if count != n {
		t.Errorf("%d keys, want %d", count, n)
	}
	if e := m.get(key(n)); e != nil {
		t.Error("a key was found that was never put")
	}
}
