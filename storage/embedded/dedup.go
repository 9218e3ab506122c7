package embedded

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"go.etcd.io/bbolt"

	"jackdaw/storage"
)

// Dedup values are kept by the day of their append. One is found for the rest of its day and the whole next one, so for
// 24 to 48 hours; then all of its day go. In the journal a value is a key; the tables and the tree know it by a hash,
// and the tree has the values of each merge as a run (runs.go). An earlier version had the keys in the tree.

// generation is the number of the day.
func (e *engine) generation() uint32 { return generationAt(e.now()) }

func generationAt(t time.Time) uint32 {
	return uint32(max(t.UnixMicro(), 0) / storage.DedupWindow.Microseconds())
}

// genDigits is the length of a generation in a key and in the name of a bucket.
const genDigits = 8

// border is the first generation that is not past: that of yesterday.
func (e *engine) border() uint32 { return dayBefore(e.generation()) }

func dayBefore(gen uint32) uint32 { return max(gen, 1) - 1 }

// dedupKey is the key of a value in the journal. That of the empty value stands for all values of the owner there are:
// it is only ever deleted.
func dedupKey(gen uint32, space, owner, value string) []byte {
	return appendDedupKey(make([]byte, 0, len(space)+len(owner)+len(value)+genDigits+3), gen, space, owner, value)
}

func appendDedupKey(dst []byte, gen uint32, space, owner, value string) []byte {
	var kind [1 + genDigits]byte
	putGeneration(kind[:], 'x', gen)
	dst = append(append(append(dst, kind[:]...), space...), 0)
	return append(append(append(dst, owner...), 0), value...)
}

func putGeneration(b []byte, kind byte, gen uint32) {
	b[0] = kind
	for i := genDigits; i > 0; i-- {
		b[i] = "0123456789abcdef"[gen&15]
		gen >>= 4
	}
}

// splitDedup divides the key of a value into its generation, "space NUL owner NUL" and the value.
func splitDedup(key []byte) (gen uint32, name, value []byte, err error) {
	if gen, err = bucketGeneration(key); err != nil {
		return 0, nil, nil, err
	}
	rest := key[1+genDigits:]
	cut := bytes.IndexByte(rest, 0) + 1
	end := bytes.IndexByte(rest[cut:], 0) + 1
	if cut <= 0 || end <= 0 {
		return 0, nil, nil, errBadOps
	}
	return gen, rest[:cut+end], rest[cut+end:], nil
}

// A valueID stands for a value of an owner in a space. Nobody can choose values that have one in common without the
// seed, which only this store knows. That a new value has by chance that of one of an owner's 100,000 happens once in
// 10^14 times.
type valueID struct{ owner, value uint64 }

type valueSeed [16]byte

// id is that of "space NUL owner NUL" and a value.
func (s *valueSeed) id(name, value []byte) valueID {
	var buf [256]byte
	b := append(append(append(buf[:0], s[:]...), name...), value...)
	owner, all := sha256.Sum256(b[:len(s)+len(name)]), sha256.Sum256(b)
	return valueID{binary.BigEndian.Uint64(owner[:]), max(binary.BigEndian.Uint64(all[:]), 1)}
}

// A valueKey is a value that a table has. With the value 0 it says that what the owner had before is gone.
type valueKey struct {
	gen uint32
	valueID
}

// A givenID is the id of the record that was appended with a value.
type givenID struct {
	id    uint64
	group uint64 // that carries it to the journal; 0: an earlier run
}

// tableValues are those of a shard's owners. They are written with the shard locked and mu held, and read with the
// shard locked for reading; those of a frozen table are not written any more.
type tableValues struct {
	of     map[valueKey]givenID
	erased bool // of holds keys with the value 0
}

// valueCost is the memory of a value in a table, roughly.
const valueCost = 80

// putValue is put for the key of a value; it returns false for what only an earlier version has written.
func (t *memtable) putValue(o op, group uint64) bool {
	gen, name, value, err := splitDedup(o.key)
	if err != nil || !o.deleted && len(o.value) != 8 {
		return false
	}
	shard := shardOf(string(name[bytes.IndexByte(name, 0)+1 : len(name)-1]))
	v := &t.values[shard]
	k := valueKey{gen, t.seed.id(name, value)}
	switch {
	case !o.deleted:
		t.giveValue(shard, k, givenID{binary.BigEndian.Uint64(o.value), group})
	case len(value) > 0:
		delete(v.of, k)
		return false // the tree may have it as a key
	default:
		maps.DeleteFunc(v.of, func(other valueKey, _ givenID) bool { return other.gen == gen && other.owner == k.owner })
		k.value, v.erased = 0, true
		t.giveValue(shard, k, givenID{})
	}
	return true
}

// giveValue is putValue for a value that is known by its hash already.
func (t *memtable) giveValue(shard uint64, k valueKey, given givenID) {
	v := &t.values[shard]
	if v.of == nil {
		v.of = make(map[valueKey]givenID)
	}
	v.of[k] = given
	t.bytes.Add(valueCost)
}

// value returns what a table knows of a value; last: what is below the table does not count. The caller holds the
// shard.
func (t *memtable) value(shard uint64, k valueKey) (given givenID, ok, last bool) {
	v := &t.values[shard]
	if given, ok = v.of[k]; !ok && v.erased {
		k.value = 0
		_, last = v.of[k]
	}
	return given, ok, last
}

// A knowledge is what there is of values. It is replaced under mu.
type knowledge struct {
	gens []uint32           // generations that have any
	runs map[uint32]*filter // those that have some in runs; a filter is nil until it is made
	keys []uint32           // those whose values an earlier version has put into the tree as keys
}

// findDedup returns the id that a Dedup value was given, and its group. The caller holds the shard.
func (e *engine) findDedup(space, owner, value string) (id, group uint64, ok bool, err error) {
	return e.findValue(space, owner, value, e.valueID(space, owner, value), e.border())
}

func (e *engine) valueID(space, owner, value string) valueID {
	var buf [256]byte
	return e.seed.id(recentKey(buf[:0], space, owner), []byte(value))
}

// findValue is findDedup for a value whose hash is known, and what border is now.
func (e *engine) findValue(space, owner, value string, hash valueID, border uint32) (
	id, group uint64, ok bool, err error,
) {
	k, shard := valueKey{valueID: hash}, shardOf(owner)
	// The tables before the rest: what is merged between the two is seen twice, not missed.
	t := e.tables.Load()
	known := e.known.Load()
generations:
	for _, k.gen = range known.gens {
		// A generation of the future is one too: the clock went back.
		if k.gen < border {
			continue
		}
		for _, table := range [2]*memtable{t.active, t.frozen} {
			if table == nil {
				continue
			}
			given, ok, last := table.value(shard, k)
			if ok {
				return given.id, given.group, true, nil
			}
			if last {
				continue generations
			}
		}
		if f, any := known.runs[k.gen]; any && f.mayHold(k.valueID) {
			if id, ok, err = e.inRuns(k); ok || err != nil {
				return id, 0, ok, err
			}
		}
		if slices.Contains(known.keys, k.gen) {
			v, group, ok, err := e.get(dedupKey(k.gen, space, owner, value))
			if err == nil && ok && len(v) != 8 {
				err = fmt.Errorf("read a dedup value of %s: %d bytes", owner, len(v))
			}
			if err != nil {
				return 0, 0, false, err
			}
			if ok {
				return binary.BigEndian.Uint64(v), group, true, nil
			}
		}
	}
	return 0, 0, false, nil
}

// forgetValues deletes all values of an owner. The caller holds the shard.
func (l *logSpace) forgetValues(owner string) error {
	b := &batch{}
	for _, gen := range l.known.Load().gens {
		b.delete(dedupKey(gen, l.space, owner, ""))
	}
	if len(b.ops) == 0 {
		return nil
	}
	_, err := l.write(b)
	return err
}

// knowGeneration makes a generation known before its first value is written.
func (e *engine) knowGeneration(gen uint32) {
	if slices.Contains(e.known.Load().gens, gen) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	next := *e.known.Load()
	if !slices.Contains(next.gens, gen) {
		next.gens = append(slices.Clone(next.gens), gen)
		e.known.Store(&next)
	}
}

// stale says whether purge would find something.
func (e *engine) stale() bool {
	border := e.border()
	return slices.ContainsFunc(e.known.Load().gens, func(g uint32) bool { return g < border })
}

// dedupBuckets calls f with the buckets that hold values of a generation: x, keys, and h, runs.
func dedupBuckets(tx *bbolt.Tx, f func(kind byte, gen uint32, name []byte) error) error {
	c := tx.Cursor()
	for _, kind := range []byte{'h', 'x'} {
		prefix := []byte{kind}
		for name, _ := c.Seek(prefix); bytes.HasPrefix(name, prefix); name, _ = c.Next() {
			gen, err := bucketGeneration(name)
			if err == nil {
				err = f(kind, gen, name)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// purge drops the buckets of past generations.
func (e *engine) purge(tx *bbolt.Tx) error {
	border := e.border()
	var drop [][]byte
	err := dedupBuckets(tx, func(_ byte, gen uint32, name []byte) error {
		if gen < border {
			drop = append(drop, bytes.Clone(name))
		}
		return nil
	})
	for _, name := range drop {
		if err == nil {
			err = tx.DeleteBucket(name)
		}
	}
	return err
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

// knowledgeIn is what the tree has.
func knowledgeIn(tx *bbolt.Tx) (*knowledge, error) {
	k := &knowledge{runs: map[uint32]*filter{}}
	err := dedupBuckets(tx, func(kind byte, gen uint32, _ []byte) error {
		if kind == 'h' {
			k.runs[gen] = nil
		} else if !slices.Contains(k.keys, gen) {
			k.keys = append(k.keys, gen)
		}
		k.know(gen)
		return nil
	})
	return k, err
}

func (k *knowledge) know(gen uint32) {
	if !slices.Contains(k.gens, gen) {
		k.gens = append(k.gens, gen)
	}
}

// loadGenerations finds the generations of the tree and the active table.
func (e *engine) loadGenerations() error {
	var known *knowledge
	err := e.read(func(tx *bbolt.Tx) (err error) { known, err = knowledgeIn(tx); return err })
	if err != nil {
		return err
	}
	active := e.tables.Load().active
	for i := range active.values {
		for k := range active.values[i].of {
			known.know(k.gen)
		}
	}
	for n := active.seek([]byte("x")); n != nil && n.key[0] == 'x'; n = n.low.Load() {
		gen, err := bucketGeneration(n.key)
		if err != nil {
			return err
		}
		known.know(gen)
	}
	e.known.Store(known)
	return nil
}
