package embedded

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"sort"
	"sync/atomic"

	"go.etcd.io/bbolt"
)

// Dedup values are random, so as keys of the tree those of each merge lie on as many pages as there are. So a merge
// writes its values as one sorted run, and small runs become larger ones. Nearly all values that are looked for are not
// there, which a filter in memory tells; the rest are looked for in each run of the generation.
//
//	h  runs of a generation    "n" number → rows in the run; "r" number, first row's hashes → format, chunk of rows;
//	                           "o" owner → number: what earlier runs have of it is gone
//
// A row is the hash of an owner, that of a value, and the id that it was given; rows are sorted.
const (
	runFormat = 1
	rowBytes  = 24
	// chunkRows is how many rows lie under one key. A page of the tree has two keys at least.
	chunkRows = 160
	// leastRun is how many rows a run has before others follow it, mostRun how many runs have that become one: it bounds
	// what a merge writes anew.
	leastRun = 512
	mostRun  = 128 << 10
)

// seedKey is where the tree has the seed of hashes, in the bucket of journals.
var seedKey = []byte("seed")

// A row is a value in a run.
type row struct {
	valueID
	id uint64
}

func (a row) compare(b row) int {
	return cmp.Or(cmp.Compare(a.owner, b.owner), cmp.Compare(a.value, b.value))
}

// chunk is what is found in a bucket of runs.
func chunk(k, v []byte) (rows []byte, err error) {
	if len(k) != 21 || len(v) == 0 || v[0] != runFormat || (len(v)-1)%rowBytes != 0 {
		return nil, fmt.Errorf("read a run of dedup values, %x: %w", k, errBadBlock)
	}
	return v[1:], nil
}

func rowAt(rows []byte, i int) row {
	b := rows[i*rowBytes : (i+1)*rowBytes]
	n := binary.BigEndian
	return row{valueID{n.Uint64(b), n.Uint64(b[8:])}, n.Uint64(b[16:])}
}

func runKey(kind byte, number uint32) []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, 21), kind), number)
}

func chunkKey(number uint32, first valueID) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(runKey('r', number), first.owner), first.value)
}

func erasedKey(owner uint64) []byte { return binary.BigEndian.AppendUint64([]byte{'o'}, owner) }

func runsBucket(gen uint32) []byte {
	b := make([]byte, 1+genDigits)
	putGeneration(b, 'h', gen)
	return b
}

// erasedBefore is the number of the first run that counts for an owner.
func erasedBefore(b *bbolt.Bucket, owner uint64) uint32 {
	if v := b.Get(erasedKey(owner)); len(v) == 4 {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// eachRun calls f with the runs of a bucket, the last first.
func eachRun(b *bbolt.Bucket, f func(number uint32, count int) (more bool, err error)) error {
	c := b.Cursor()
	back := c.Prev
	if k, _ := c.Seek([]byte{'n' + 1}); k == nil {
		back = c.Last
	}
	for k, v := back(); bytes.HasPrefix(k, []byte{'n'}); k, v = c.Prev() {
		if len(k) != 5 || len(v) != 4 {
			return fmt.Errorf("read a run of dedup values, %x: %w", k, errBadBlock)
		}
		more, err := f(binary.BigEndian.Uint32(k[1:]), int(binary.BigEndian.Uint32(v)))
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// eachChunk calls f with the chunks of runs whose keys begin so.
func eachChunk(b *bbolt.Bucket, prefix []byte, f func(k, rows []byte)) error {
	c := b.Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		rows, err := chunk(k, v)
		if err != nil {
			return err
		}
		f(k, rows)
	}
	return nil
}

// inRun looks for a value in one run.
func inRun(b *bbolt.Bucket, number uint32, id valueID) (found row, ok bool, err error) {
	c, key := b.Cursor(), chunkKey(number, id)
	k, v := c.Seek(key)
	if k == nil {
		k, v = c.Last()
	} else if !bytes.Equal(k, key) {
		k, v = c.Prev()
	}
	if !bytes.HasPrefix(k, key[:5]) {
		return row{}, false, nil
	}
	rows, err := chunk(k, v)
	if err != nil {
		return row{}, false, err
	}
	n := len(rows) / rowBytes
	i := sort.Search(n, func(i int) bool { return rowAt(rows, i).compare(row{valueID: id}) >= 0 })
	if i < n {
		found = rowAt(rows, i)
	}
	return found, i < n && found.valueID == id, nil
}

// inRuns looks for a value in the runs of its generation.
func (e *engine) inRuns(k valueKey) (id uint64, ok bool, err error) {
	err = e.read(func(tx *bbolt.Tx) error {
		b := tx.Bucket(runsBucket(k.gen))
		if b == nil {
			return nil
		}
		return eachRun(b, func(number uint32, _ int) (bool, error) {
			found, here, err := inRun(b, number, k.valueID)
			if here {
				id, ok = found.id, number >= erasedBefore(b, k.owner)
			}
			return !here, err // those before are older
		})
	})
	return id, ok, err
}

// mergeValues writes the values of a table as runs, and returns their rows.
func (e *engine) mergeValues(tx *bbolt.Tx, t *memtable) (map[uint32][]row, error) {
	border := e.border()
	rows, erased := map[uint32][]row{}, map[uint32][]uint64{}
	for i := range t.values {
		for k, given := range t.values[i].of {
			switch {
			case k.gen < border: // it would be dropped at once
			case k.value == 0:
				erased[k.gen] = append(erased[k.gen], k.owner)
			default:
				rows[k.gen] = append(rows[k.gen], row{k.valueID, given.id})
			}
		}
	}
	if len(rows) > 0 {
		b, err := tx.CreateBucketIfNotExists(journalsBucket)
		if err == nil && b.Get(seedKey) == nil {
			err = b.Put(seedKey, e.seed[:])
		}
		if err != nil {
			return nil, err
		}
	}
	for _, gen := range slices.Sorted(maps.Keys(erased)) {
		if rows[gen] == nil && tx.Bucket(runsBucket(gen)) != nil {
			rows[gen] = []row{}
		}
	}
	for _, gen := range slices.Sorted(maps.Keys(rows)) {
		if err := e.addRun(tx, gen, rows[gen], erased[gen]); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// addRun sorts rows and adds them to a generation whose earlier rows of these owners are gone.
func (e *engine) addRun(tx *bbolt.Tx, gen uint32, rows []row, erased []uint64) error {
	b, err := tx.CreateBucketIfNotExists(runsBucket(gen))
	if err != nil {
		return err
	}
	b.FillPercent = 0.9 // numbers rise
	sequence, err := b.NextSequence()
	if err != nil {
		return err
	}
	number := uint32(sequence)
	for _, owner := range erased {
		if err := b.Put(erasedKey(owner), runKey('n', number)[1:]); err != nil {
			return err
		}
	}
	if len(rows) == 0 {
		return nil
	}
	slices.SortFunc(rows, row.compare)
	since := map[uint64]uint32{}
	c := b.Cursor()
	for k, v := c.Seek([]byte{'o'}); len(k) == 9 && len(v) == 4 && k[0] == 'o'; k, v = c.Next() {
		since[binary.BigEndian.Uint64(k[1:])] = binary.BigEndian.Uint32(v)
	}
	var gone [][]byte
	err = eachRun(b, func(n uint32, count int) (bool, error) {
		if count > max(len(rows), e.leastRun) || count+len(rows) > e.mostRun {
			return false, nil
		}
		old := make([]row, 0, count)
		gone = append(gone, runKey('n', n))
		err := eachChunk(b, runKey('r', n), func(k, chunk []byte) {
			gone = append(gone, bytes.Clone(k))
			for i := range len(chunk) / rowBytes {
				if r := rowAt(chunk, i); n >= since[r.owner] {
					old = append(old, r)
				}
			}
		})
		rows = mergeRows(old, rows)
		return true, err
	})
	for _, k := range gone {
		if err == nil {
			err = b.Delete(k)
		}
	}
	if err == nil {
		err = b.Put(runKey('n', number), binary.BigEndian.AppendUint32(nil, uint32(len(rows))))
	}
	for ; len(rows) > 0 && err == nil; rows = rows[min(chunkRows, len(rows)):] {
		v := append(make([]byte, 0, 1+chunkRows*rowBytes), runFormat)
		for _, r := range rows[:min(chunkRows, len(rows))] {
			v = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(v, r.owner), r.value)
			v = binary.BigEndian.AppendUint64(v, r.id)
		}
		err = b.Put(chunkKey(number, rows[0].valueID), v)
	}
	return err
}

// mergeRows brings sorted rows together.
func mergeRows(a, b []row) []row {
	out := make([]row, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].compare(b[0]) < 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// A filter tells of most values that they are in no run: of one that is not it says so 98 times in 100. It is written
// by merges, and read by all meanwhile.
type filter struct {
	lines []atomic.Uint64 // of 512 bits, all that one value needs
	rows  int             // in it; the merge's
	most  int             // that it is made for
}

const (
	lineWords   = 8
	filterBits  = 10 // of each row
	filterMarks = 6  // that a row has, of nine bits each
	leastFilter = 8 << 10
)

func newFilter(most int) *filter {
	most = max(most, leastFilter)
	lines := most*filterBits/(lineWords*64) + 1
	return &filter{lines: make([]atomic.Uint64, lines*lineWords), most: most}
}

// line returns the words of a value and the places in them.
func (f *filter) line(id valueID) ([]atomic.Uint64, uint64) {
	n, _ := bits.Mul64(id.value, uint64(len(f.lines)/lineWords))
	return f.lines[n*lineWords : (n+1)*lineWords], id.value * 0x9e3779b97f4a7c15
}

func (f *filter) add(id valueID) {
	words, places := f.line(id)
	for range filterMarks {
		words[places>>6&(lineWords-1)].Or(1 << (places & 63))
		places >>= 9
	}
	f.rows++
}

// mayHold is false if a value is certainly in no run of before.
func (f *filter) mayHold(id valueID) bool {
	if f == nil {
		return true
	}
	words, places := f.line(id)
	for range filterMarks {
		if words[places>>6&(lineWords-1)].Load()&(1<<(places&63)) == 0 {
			return false
		}
		places >>= 9
	}
	return true
}

// knowRuns notes what a merge has written, before its table goes.
func (e *engine) knowRuns(known *knowledge, rows map[uint32][]row) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.known.Load()
	border := e.border()
	for _, gen := range before.gens { // one that began meanwhile is in the active table
		if gen >= border {
			known.know(gen)
		}
	}
	for gen := range known.runs {
		f, had := before.runs[gen]
		if !had {
			f = newFilter(len(rows[gen]))
		}
		if f != nil {
			for _, r := range rows[gen] {
				f.add(r.valueID)
			}
		}
		known.runs[gen] = f
	}
	e.known.Store(known)
}

// makeFilters makes those that are not there since the start, and larger ones. Only merges change what they are made
// of; the caller has the turn of one.
func (e *engine) makeFilters() error {
	for gen, f := range e.known.Load().runs {
		if f != nil && f.rows <= f.most {
			continue
		}
		var made *filter
		err := e.read(func(tx *bbolt.Tx) error {
			b := tx.Bucket(runsBucket(gen))
			if b == nil {
				return nil
			}
			all := 0
			err := eachRun(b, func(_ uint32, count int) (bool, error) { all += count; return true, nil })
			if err != nil {
				return err
			}
			made = newFilter(2 * all)
			return eachChunk(b, []byte{'r'}, func(_, rows []byte) {
				for i := range len(rows) / rowBytes {
					made.add(rowAt(rows, i).valueID)
				}
			})
		})
		if err != nil {
			return err
		}
		e.mu.Lock()
		next := *e.known.Load()
		next.runs = maps.Clone(next.runs)
		next.runs[gen] = made
		e.known.Store(&next)
		e.mu.Unlock()
	}
	return nil
}

// loadSeed reads the seed of hashes, or makes one, which the first run brings into the tree.
func (e *engine) loadSeed(tx *bbolt.Tx) {
	if b := tx.Bucket(journalsBucket); b != nil {
		if v := b.Get(seedKey); len(v) == len(e.seed) {
			copy(e.seed[:], v)
			return
		}
	}
	rand.Read(e.seed[:]) // never fails
}

// verifyRuns returns an error if the rows of a run are not as many as they should be, or not in order.
func verifyRuns(tx *bbolt.Tx) error {
	return dedupBuckets(tx, func(kind byte, gen uint32, name []byte) error {
		b := tx.Bucket(name)
		if kind != 'h' || b == nil {
			return nil
		}
		counts, last := map[uint32]int{}, map[uint32]row{}
		bad := error(nil)
		err := eachChunk(b, []byte{'r'}, func(k, rows []byte) {
			number := binary.BigEndian.Uint32(k[1:])
			for i := range len(rows) / rowBytes {
				if r := rowAt(rows, i); last[number].compare(r) > 0 {
					bad = fmt.Errorf("run %d of dedup values of day %d is not in order", number, gen)
				} else {
					last[number] = r
				}
			}
			counts[number] += len(rows) / rowBytes
		})
		if err == nil {
			err = eachRun(b, func(number uint32, count int) (bool, error) {
				if counts[number] != count {
					bad = fmt.Errorf("run %d of dedup values of day %d has %d rows instead of %d", number, gen, counts[number], count)
				}
				delete(counts, number)
				return true, nil
			})
		}
		for number := range counts {
			bad = fmt.Errorf("run %d of dedup values of day %d is not known", number, gen)
		}
		return cmp.Or(err, bad)
	})
}
