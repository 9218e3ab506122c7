package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"go.etcd.io/bbolt"

	"jackdaw/storage"
)

// Dedup values lie in buckets by the day of their append. One is found for the rest of its day and the whole next one,
// so for 24 to 48 hours; then its bucket goes as a whole.

// generation is the number of the day.
func (e *engine) generation() uint32 {
	return uint32(max(e.now().UnixMicro(), 0) / storage.DedupWindow.Microseconds())
}

// genDigits is the length of a generation in the name of a bucket.
const genDigits = 8

// border is the first generation that is not past: that of yesterday.
func (e *engine) border() uint32 { return max(e.generation(), 1) - 1 }

func dedupKey(gen uint32, space, owner, value string) []byte {
	var kind [1 + genDigits]byte
	kind[0] = 'x'
	for i := genDigits; i > 0; i-- {
		kind[i] = "0123456789abcdef"[gen&15]
		gen >>= 4
	}
	return append(ownerKey(string(kind[:]), space, owner, len(value)), value...)
}

// findDedup returns the id that a Dedup value was given, and its group.
func (e *engine) findDedup(space, owner, value string) (id, group uint64, ok bool, err error) {
	border := e.border()
	for _, gen := range *e.gens.Load() {
		// A generation of the future is one too: the clock went back.
		if gen < border {
			continue
		}
		v, group, ok, err := e.get(dedupKey(gen, space, owner, value))
		if err != nil || ok {
			if err == nil && len(v) != 8 {
				err = fmt.Errorf("read a dedup value of %s: %d bytes", owner, len(v))
			}
			if err != nil {
				return 0, 0, false, err
			}
			return binary.BigEndian.Uint64(v), group, true, nil
		}
	}
	return 0, 0, false, nil
}

// knowGeneration makes a generation known before its first value is written.
func (e *engine) knowGeneration(gen uint32) {
	if slices.Contains(*e.gens.Load(), gen) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	gens := *e.gens.Load()
	if !slices.Contains(gens, gen) {
		gens = append(slices.Clone(gens), gen)
		e.gens.Store(&gens)
	}
}

// stale says whether purge would find something.
func (e *engine) stale() bool {
	border := e.border()
	return slices.ContainsFunc(*e.gens.Load(), func(g uint32) bool { return g < border })
}

// purge drops the buckets of past generations, and returns those that stay.
func (e *engine) purge(tx *bbolt.Tx) (stay []uint32, err error) {
	border := e.border()
	var drop [][]byte
	c := tx.Cursor()
	for name, _ := c.Seek([]byte("x")); bytes.HasPrefix(name, []byte("x")); name, _ = c.Next() {
		gen, err := bucketGeneration(name)
		if err != nil {
			return nil, err
		}
		if gen < border {
			drop = append(drop, bytes.Clone(name))
		} else if !slices.Contains(stay, gen) {
			stay = append(stay, gen)
		}
	}
	for _, name := range drop {
		if err := tx.DeleteBucket(name); err != nil {
			return nil, err
		}
	}
	return stay, nil
}

func bucketGeneration(name []byte) (uint32, error) {
	if len(name) <= genDigits {
		return 0, fmt.Errorf("read the name of bucket %q", name)
	}
	gen, err := strconv.ParseUint(string(name[1:1+genDigits]), 16, 32)
	if err != nil {
		return 0, fmt.Errorf("read the name of bucket %q: %w", name, err)
	}
	return uint32(gen), nil
}

// loadGenerations finds the generations of the tree and the active table.
func (e *engine) loadGenerations() error {
	var gens []uint32
	know := func(name []byte) error {
		gen, err := bucketGeneration(name)
		if err == nil && !slices.Contains(gens, gen) {
			gens = append(gens, gen)
		}
		return err
	}
	err := e.read(func(tx *bbolt.Tx) error {
		c := tx.Cursor()
		for name, _ := c.Seek([]byte("x")); bytes.HasPrefix(name, []byte("x")); name, _ = c.Next() {
			if err := know(name); err != nil {
				return err
			}
		}
		return nil
	})
	for n := e.tables.Load().active.seek([]byte("x")); err == nil && n != nil && n.key[0] == 'x'; n = n.low.Load() {
		err = know(n.key)
	}
	e.gens.Store(&gens)
	return err
}
