package embedded

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"jackdaw/storage"
)

// openValues is an engine whose runs are small, with a clock of the test's own.
func openValues(t *testing.T, f *ram, now *time.Time) *engine {
	t.Helper()
	e, err := openStory(f, Options{Now: func() time.Time { return *now }, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// repeated says whether an append with a value finds one of before, and with which id.
func repeated(t *testing.T, e *engine, owner, value string) (uint64, bool) {
	t.Helper()
	id, dup, p, err := e.Log("offline").Append(t.Context(), owner, storage.Record{}, storage.AppendOptions{Dedup: value})
	if err == nil {
		err = p.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return id, dup
}

// runsOf are the runs of all generations, by how many rows they have.
func runsOf(t *testing.T, e *engine) (counts []int) {
	t.Helper()
	err := e.read(func(tx *bbolt.Tx) error {
		return dedupBuckets(tx, func(kind byte, gen uint32, name []byte) error {
			if kind != 'h' {
				return fmt.Errorf("there is a bucket %q", name)
			}
			return eachRun(tx.Bucket(name), func(_ uint32, n int) (bool, error) { counts = append(counts, n); return true, nil })
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func TestValuesAreKnownInTablesAndRuns(t *testing.T) {
	now := time.Unix(100*86400+80000, 0)
	f := newRAM(nil)
	defer f.close()
	e := openValues(t, f, &now)
	given := map[string]uint64{}
	check := func(when string) {
		t.Helper()
		for value, id := range given {
			if got, dup := repeated(t, e, "romeo", value); !dup || got != id {
				t.Fatalf("%s, %q was given %d: %d, %v", when, value, id, got, dup)
			}
		}
	}
	merges := 0
	for i := range 3000 {
		value := fmt.Sprint("value\x00", i)
		id, dup := repeated(t, e, "romeo", value)
		if dup {
			t.Fatalf("%q is new", value)
		}
		given[value] = id
		if i%50 == 49 {
			mergeAll(t, e)
			merges++
			if i == 1499 { // the next ones are of another day
				now = now.Add(3 * time.Hour)
			}
		}
	}
	check("in runs")
	counts := runsOf(t, e)
	if rows := sum(counts); rows != 3000 || len(counts) > merges/4 {
		t.Errorf("%d rows, %d runs of %d merges: %d", rows, len(counts), merges, counts)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = openValues(t, f, &now)
	check("without filters")
	if _, dup := repeated(t, e, "juliet", "value\x001"); dup {
		t.Error("a value of another owner")
	}
	mergeAll(t, e)
	for gen, f := range e.known.Load().runs {
		if f == nil {
			t.Errorf("a merge has not made the filter of generation %d", gen)
		}
	}
	check("with filters that were made anew")
	now = now.Add(48 * time.Hour)
	if _, dup := repeated(t, e, "romeo", "value\x001"); dup {
		t.Error("a value of the day before yesterday")
	}
	mergeAll(t, e)
	if counts := runsOf(t, e); len(counts) != 1 {
		t.Errorf("runs after two days: %d", counts)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func sum(list []int) (n int) {
	for _, v := range list {
		n += v
	}
	return n
}

// mergeAll brings all that was written into the tree.
func mergeAll(t *testing.T, e *engine) {
	t.Helper()
	until(t, "all is merged", func() bool {
		e.settle() // in vain while something runs
		e.mu.Lock()
		defer e.mu.Unlock()
		tables := e.tables.Load()
		return !e.merging && !e.running && tables.frozen == nil && tables.active.empty()
	})
}

// Wherever an owner's values are when all of it is deleted, they are gone, those of others and later ones are not.
func TestValuesOfADeletedOwnerAreGone(t *testing.T) {
	for _, merges := range []string{"none", "before", "between", "after", "before, after"} {
		t.Run(merges, func(t *testing.T) {
			now := time.Unix(100*86400, 0)
			f := newRAM(nil)
			defer f.close()
			e := openValues(t, f, &now)
			merge := func(when string) {
				if len(merges) >= len(when) && (merges[:len(when)] == when || merges[len(merges)-len(when):] == when) {
					mergeAll(t, e)
				}
			}
			for _, owner := range []string{"romeo", "juliet"} {
				repeated(t, e, owner, "old")
			}
			merge("before")
			if p, err := e.Log("offline").DeleteOwner(t.Context(), "romeo"); err != nil || p.Wait(t.Context()) != nil {
				t.Fatal(err)
			}
			merge("between")
			repeated(t, e, "romeo", "new")
			merge("after")
			for range 2 {
				for _, want := range []struct {
					owner, value string
					known        bool
				}{{"juliet", "old", true}, {"romeo", "new", true}, {"romeo", "old", false}} {
					_, _, known, err := e.findDedup("offline", want.owner, want.value)
					if err != nil || known != want.known {
						t.Errorf("%s of %s is known: %v, %v", want.value, want.owner, known, err)
					}
				}
				for i := range 20 { // these become one run with those before
					repeated(t, e, "juliet", fmt.Sprint(rand.Uint64(), i))
				}
				mergeAll(t, e)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// An earlier version has the values as keys in the tree and in its journals. They count until their time is over.
func TestValuesOfAnEarlierVersionAreKnown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	now := time.Unix(100*86400, 0)
	open := func() *engine {
		e, err := OpenWith(dir, Options{files: hasty{}, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		return e.(*engine)
	}
	e := open()
	err := e.update(func(tx *bbolt.Tx) error {
		for _, owner := range []string{"romeo", "juliet"} {
			key := dedupKey(e.generation(), "offline", owner, "value")
			b, err := tx.CreateBucketIfNotExists(key[:1+genDigits+len("offline")])
			if err != nil {
				return err
			}
			if err := b.Put(key[1+genDigits+len("offline")+1:], binary.BigEndian.AppendUint64(nil, 7)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open()
	if id, dup := repeated(t, e, "romeo", "value"); !dup || id != 7 {
		t.Errorf("%d, %v", id, dup)
	}
	repeated(t, e, "romeo", "another")
	if p, err := e.Log("offline").DeleteOwner(t.Context(), "romeo"); err != nil || p.Wait(t.Context()) != nil {
		t.Fatal(err)
	}
	for range 2 {
		for owner, want := range map[string]bool{"romeo": false, "juliet": true} {
			if _, _, known, err := e.findDedup("offline", owner, "value"); err != nil || known != want {
				t.Errorf("that of %s is known: %v, %v", owner, known, err)
			}
		}
		mergeAll(t, e)
	}
	now = now.Add(48 * time.Hour)
	repeated(t, e, "romeo", "another")
	mergeAll(t, e)
	runsOf(t, e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// A filter never says of a value that it is not there when it is, and seldom the other way round.
func TestFilterKnowsWhatIsThere(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, rows := range []int{1, 100, leastFilter, 100_000} {
		f := newFilter(rows)
		var ids []valueID
		for range rows {
			ids = append(ids, valueID{1, r.Uint64()})
			f.add(ids[len(ids)-1])
		}
		for _, id := range ids {
			if !f.mayHold(id) {
				t.Fatalf("of %d rows, one is not there", rows)
			}
		}
		wrong := 0
		for range 10_000 {
			if f.mayHold(valueID{1, r.Uint64()}) {
				wrong++
			}
		}
		if wrong > 200 {
			t.Errorf("%d of 10,000 that are not among %d are taken to be", wrong, rows)
		}
	}
}
