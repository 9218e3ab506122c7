package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"jackdaw/storage"
)

// fillSegments appends records of some owners and merges them, and returns the ids of each owner.
func fillSegments(t testing.TB, m *merged, owners, each int) map[string][]uint64 {
	t.Helper()
	ids := map[string][]uint64{}
	for i := range owners * each {
		owner := fmt.Sprint("owner", i%owners)
		id, _, _, err := m.log.Append(t.Context(), owner,
			storage.Record{Peer: "p", Data: fmt.Appendf(nil, "%s record %0300d", owner, i)}, storage.AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ids[owner] = append(ids[owner], id)
	}
	m.mergeNow(t)
	m.sound(t)
	return ids
}

func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, segmentPrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// taken is how much of a disk the segments take.
func taken(t testing.TB, dir string) (bytes int64) {
	t.Helper()
	for _, path := range segmentFiles(t, dir) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	return bytes
}

func TestSegmentIsGivenUpWhenNothingIsLeftInIt(t *testing.T) {
	m := openMerged(t)
	for round := range 3 {
		ids := fillSegments(t, m, 3, 200)
		if n := len(segmentFiles(t, m.dir)); n != 1 {
			t.Fatalf("%d segments hold the records", n)
		}
		for owner, all := range ids {
			if _, err := m.log.Trim(t.Context(), owner, all[len(all)-1]); err != nil {
				t.Fatal(err)
			}
		}
		m.mergeNow(t)
		m.sound(t)
		if files := segmentFiles(t, m.dir); len(files) != 0 {
			t.Errorf("round %d: %q are left", round, files)
		}
	}
}

func TestRoomOfRemovedRecordsIsGivenBackAtOnce(t *testing.T) {
	m := openMerged(t)
	fillSegments(t, m, 4, 1000)
	before := taken(t, m.dir)
	for i := range 3 {
		if _, err := m.log.DeleteOwner(t.Context(), fmt.Sprint("owner", i)); err != nil {
			t.Fatal(err)
		}
	}
	m.mergeNow(t)
	m.sound(t)
	if after := taken(t, m.dir); after > before*3/10 {
		t.Errorf("a quarter of the records takes %d bytes of %d", after, before)
	}
	if page, _, err := m.log.Page(t.Context(), "owner3", storage.Query{Limit: 2000}); err != nil || len(page) != 1000 {
		t.Errorf("%d records of the owner who stays, %v", len(page), err)
	}
}

func TestBlocksFillTheirRoom(t *testing.T) {
	m := openMerged(t)
	for i := range 4000 {
		if _, _, _, err := m.log.Append(t.Context(), fmt.Sprint("owner", i%7),
			storage.Record{Data: make([]byte, 200+i%150)}, storage.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 || i == 2000 { // little by little, and a lot
			m.mergeNow(t)
		}
	}
	m.mergeNow(t)
	m.sound(t)
	var room, used int64
	err := m.tree.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("karchive")).ForEach(func(k, v []byte) error {
			if r, ok, err := readRef(v, 1); err != nil || ok {
				room, used = room+r.padded(), used+int64(r.size)
				return err
			}
			return nil
		})
	})
	if err != nil || used == 0 || used < room*9/10 {
		t.Errorf("%d bytes lie in %d, %v", used, room, err)
	}
}

// What is replaced is nowhere in the segments any more, whether the file system can give room back or not.
func TestReplacedDataLeaveTheSegments(t *testing.T) {
	m := openMerged(t)
	ids := fillSegments(t, m, 2, 300)
	secret := func() bool {
		for _, path := range segmentFiles(t, m.dir) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, fmt.Appendf(nil, "owner0 record %0300d", 100)) {
				return true
			}
		}
		return false
	}
	if !secret() {
		t.Fatal("the record is in no segment")
	}
	if _, err := m.log.Replace(t.Context(), "owner0", ids["owner0"][50], []byte("retracted")); err != nil {
		t.Fatal(err)
	}
	m.mergeNow(t)
	m.sound(t)
	if secret() {
		t.Error("the record is still in a segment")
	}
	page, _, err := m.log.Page(t.Context(), "owner0", storage.Query{Limit: 1000})
	if err != nil || len(page) != 300 || string(page[50].Data) != "retracted" || !strings.Contains(string(page[51].Data), "record 000") {
		t.Errorf("%d records, %v", len(page), err)
	}
}

// A crash between the commit of a merge and what comes after it leaves room to be given back, and files that nobody
// knows.
func TestOpenFinishesWhatAMergeHasLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	open := func() (*engine, storage.Log) {
		e, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return e.(*engine), e.Log("archive")
	}
	e, log := open()
	var last [2]uint64
	for i := range 1000 {
		id, _, _, err := log.Append(t.Context(), fmt.Sprint("owner", i%2), storage.Record{Data: make([]byte, 400)},
			storage.AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		last[i%2] = id
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	before := taken(t, dir)
	e, log = open()
	p, err := log.Trim(t.Context(), "owner0", last[0])
	if err == nil {
		err = p.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	// The crash: everything but what comes after the commit.
	err = e.update(func(tx *bbolt.Tx) error {
		p := e.segments.begin(tx)
		if err := mergeRecords(tx, e.tables.Load().active, p); err != nil {
			return err
		}
		return p.note()
	})
	if err != nil {
		t.Fatal(err)
	}
	crashed := filepath.Join(t.TempDir(), "crashed")
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(crashed, "records-0000ffff"), []byte("of a merge that was cut off"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	dir = crashed
	e, log = open()
	if after := taken(t, dir); after > before*6/10 || after == 0 {
		t.Errorf("half of the records takes %d bytes of %d", after, before)
	}
	if files := segmentFiles(t, dir); len(files) != 1 {
		t.Errorf("segments are %q", files)
	}
	for owner, want := range map[string]int{"owner0": 1, "owner1": 500} {
		if n, _, err := log.Size(t.Context(), owner); err != nil || n != want {
			t.Errorf("%s has %d records, %v", owner, n, err)
		}
		if page, _, err := log.Page(t.Context(), owner, storage.Query{Limit: 1000}); err != nil || len(page) != want {
			t.Errorf("%s has a page of %d records, %v", owner, len(page), err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	// It is told in the tree until the next merge only.
	e, log = open()
	if _, _, _, err := log.Append(t.Context(), "owner1", storage.Record{Data: []byte("x")}, storage.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e, _ = open()
	if len(e.segments.left) != 0 {
		t.Errorf("%v are still to be given back", e.segments.left)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedSegmentsAreFound(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(path string) error
		opens  bool
	}{
		"missing": {os.Remove, false},
		"short":   {func(path string) error { return os.Truncate(path, 5000) }, false},
		"changed": {func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for at := 100; at < len(b); at += segmentPage {
				b[at] ^= 1
			}
			return os.WriteFile(path, b, 0o600)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			e, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			for range 200 {
				if _, _, _, err := e.Log("archive").Append(t.Context(), "romeo",
					storage.Record{Peer: "p", Data: make([]byte, 400)}, storage.AppendOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if err := test.damage(segmentFiles(t, dir)[0]); err != nil {
				t.Fatal(err)
			}
			e, err = Open(dir)
			if !test.opens {
				if err == nil || !strings.Contains(err.Error(), "records-") {
					t.Fatalf("opened: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range []storage.Query{{Limit: 500}, {Limit: 500, Peer: "p"}} {
				// What the tree itself holds of the owner is served.
				if page, _, err := e.Log("archive").Page(t.Context(), "romeo", q); err != nil || len(page) > 50 {
					t.Errorf("%+v: %d records, %v", q, len(page), err)
				}
			}
			if n := e.(*engine).Damaged(); n == 0 {
				t.Error("nothing is said to be damaged")
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestReadersSeeTheirBlocksWhileOthersAreGivenBack(t *testing.T) {
	m := openMerged(t)
	const each = 300
	ids := fillSegments(t, m, 2, each)["owner0"]
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				page, _, err := m.log.Page(t.Context(), "owner0", storage.Query{Limit: 2 * each})
				if err != nil || len(page) != each {
					t.Errorf("%d records, %v", len(page), err)
					return
				}
			}
		})
	}
	for round := range 40 {
		for i := 0; i < each; i += 25 {
			if _, err := m.log.Replace(t.Context(), "owner0", ids[i], fmt.Appendf(nil, "%0400d", round)); err != nil {
				t.Fatal(err)
			}
		}
		m.mergeNow(t)
	}
	close(stop)
	wg.Wait()
	m.sound(t)
}

func TestSegmentsThatCannotBeWrittenEndAcknowledgements(t *testing.T) {
	var broken sync.Map // the kinds of files that fail
	create := func(path string) (file, error) {
		d := &disk{}
		f, err := d.create(path)
		if _, bad := broken.Load("segments"); bad && strings.Contains(path, segmentPrefix) {
			d.failWrite.Store(true)
			d.full.Store(true)
		}
		return f, err
	}
	dir := t.TempDir()
	e, err := OpenWith(dir, Options{JournalBytes: 100_000, files: creating{f: create}})
	if err != nil {
		t.Fatal(err)
	}
	broken.Store("segments", true)
	acknowledged := 0
	for ; ; acknowledged++ {
		var p *storage.Pending
		if _, _, p, err = e.Log("archive").Append(t.Context(), "romeo", storage.Record{Data: make([]byte, 1000)},
			storage.AppendOptions{}); err == nil {
			err = p.Wait(t.Context())
		}
		if err != nil {
			break
		}
	}
	if !errors.Is(err, storage.ErrUnavailable) || !errors.Is(e.Err(), syscall.ENOSPC) {
		t.Errorf("after %d records: %v, %v", acknowledged, err, e.Err())
	}
	if err := e.Close(); err == nil {
		t.Error("closed as if nothing had been")
	}
	for range 2 {
		if e, err = Open(dir); err != nil {
			t.Fatal(err)
		}
		if n, _, err := e.Log("archive").Size(t.Context(), "romeo"); err != nil || n < acknowledged {
			t.Errorf("%d records of %d, %v", n, acknowledged, err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A tree of before segments has full blocks in itself. They stay there until something in them changes.
func TestFullBlocksInTheTreeAreRead(t *testing.T) {
	m := openMerged(t)
	var ids []uint64
	for i := range 100 {
		id, _, _, err := m.log.Append(t.Context(), "romeo",
			storage.Record{Peer: "p", Data: fmt.Appendf(nil, "%0300d", i)}, storage.AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	// As the version before wrote it.
	err := m.update(func(tx *bbolt.Tx) error { return mergeRecords(tx, m.tables.Load().active, nil) })
	if err != nil {
		t.Fatal(err)
	}
	m.tables.Store(&tables{active: newMemtable(&m.seed)})
	if len(segmentFiles(t, m.dir)) > 0 {
		t.Fatal("the tree is not one of before segments")
	}
	read := func() (data []string) {
		page, _, err := m.log.Page(t.Context(), "romeo", storage.Query{Peer: "p", Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			data = append(data, string(r.Data))
		}
		return data
	}
	want := read()
	if len(want) != 100 {
		t.Fatalf("%d records", len(want))
	}
	for i := range 100 {
		if _, _, _, err := m.log.Append(t.Context(), "romeo",
			storage.Record{Peer: "p", Data: fmt.Appendf(nil, "%0300d", 100+i)}, storage.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("%0300d", 100+i))
	}
	if _, err := m.log.Replace(t.Context(), "romeo", ids[3], []byte("R")); err != nil {
		t.Fatal(err)
	}
	want[3] = "R"
	m.mergeNow(t)
	if got := read(); !slices.Equal(got, want) {
		t.Errorf("%d records, not as they were written", len(got))
	}
	if len(segmentFiles(t, m.dir)) != 1 {
		t.Error("what came later is in no segment")
	}
}

func FuzzReadRef(f *testing.F) {
	f.Add(ref{1, 4096, 9000, 7, 12}.append(nil, 5), uint64(5))
	f.Fuzz(func(t *testing.T, b []byte, id uint64) {
		if r, ok, err := readRef(b, id); err == nil && ok {
			if back, _, err := readRef(r.append(nil, id), id); err != nil || back != r {
				t.Errorf("%+v became %+v, %v", r, back, err)
			}
		}
	})
}
