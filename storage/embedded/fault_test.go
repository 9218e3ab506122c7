package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"jackdaw/storage"
	"jackdaw/storage/storetest"
)

// creating makes files in a way of its own.
type creating struct {
	osFiles
	f func(path string) (file, error)
}

func (c creating) create(path string) (file, error) { return c.f(path) }

// A disk makes files that fail on demand.
type disk struct {
	osFiles
	failWrite, failSync atomic.Bool
	full                atomic.Bool  // so a write fails
	after               atomic.Int32 // calls of WriteAt and Sync since the first failure

	held atomic.Pointer[chan struct{}] // WriteAt and Sync wait until it is closed
}

// hold has the disk hang until release is called.
func (d *disk) hold() (release func()) {
	c := make(chan struct{})
	d.held.Store(&c)
	return sync.OnceFunc(func() { d.held.Store(nil); close(c) })
}

func (d *disk) wait() {
	if c := d.held.Load(); c != nil {
		<-*c
	}
}

type diskFile struct {
	file
	*disk
}

func (d *disk) create(path string) (file, error) {
	f, err := d.osFiles.create(path)
	return &diskFile{f, d}, err
}

func (f *diskFile) WriteAt(b []byte, at int64) (int, error) {
	f.wait()
	if f.failWrite.Load() {
		f.after.Add(1)
		n, _ := f.file.WriteAt(b[:len(b)/2], at) // a full disk takes a part
		if f.full.Load() {
			return n, syscall.ENOSPC
		}
		return n, syscall.EIO
	}
	return f.file.WriteAt(b, at)
}

func (f *diskFile) Sync() error {
	f.wait()
	if f.failSync.Load() {
		f.after.Add(1)
		return syscall.EIO
	}
	return f.file.Sync()
}

func TestNothingIsAcknowledgedAfterAFailedWrite(t *testing.T) {
	for name, breakIt := range map[string]func(*disk){
		"fsync fails": func(d *disk) { d.failSync.Store(true) },
		"write fails": func(d *disk) { d.failWrite.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			d, dir := &disk{}, t.TempDir()
			e, err := OpenWith(dir, Options{files: d})
			if err != nil {
				t.Fatal(err)
			}
			l := e.Log("archive")
			write := func(data string) (*storage.Pending, error) {
				_, _, p, err := l.Append(t.Context(), "romeo", storage.Record{Data: []byte(data)}, storage.AppendOptions{})
				return p, err
			}
			p, err := write("acknowledged")
			if err == nil {
				err = p.Wait(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}

			breakIt(d)
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					p, err := write("doubtful")
					if err == nil {
						err = p.Wait(t.Context())
					}
					if !errors.Is(err, storage.ErrUnavailable) {
						t.Errorf("a write after the failure: %v", err)
					}
				})
			}
			wg.Wait()
			// The disk is well again, but nobody knows what it holds.
			d.failSync.Store(false)
			d.failWrite.Store(false)
			for range 3 {
				if p, err := write("later"); !errors.Is(err, storage.ErrUnavailable) || p != nil {
					t.Errorf("a write after the disk is well again: %v", err)
				}
			}
			if err := e.Err(); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("Err: %v", err)
			}
			if _, err := e.Map("roster").Get(t.Context(), "romeo", "k"); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("a read after the failure: %v", err)
			}
			if n := d.after.Load(); n != 1 {
				t.Errorf("the journal was tried %d times", n)
			}
			if err := e.Close(); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("Close: %v", err)
			}

			if e, err = Open(dir); err != nil {
				t.Fatal(err)
			}
			records, _, err := e.Log("archive").Page(t.Context(), "romeo", storage.Query{})
			if err != nil || len(records) == 0 || string(records[0].Data) != "acknowledged" {
				t.Errorf("after a restart: %v, %v", records, err)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNoAnswerRestsOnAFailedWrite(t *testing.T) {
	for name, breakIt := range map[string]func(*disk){
		"fsync fails": func(d *disk) { d.failSync.Store(true) },
		"write fails": func(d *disk) { d.failWrite.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			d := &disk{}
			e, err := OpenWith(t.TempDir(), Options{files: d})
			if err != nil {
				t.Fatal(err)
			}
			var release func()
			storetest.AfterFailure(t, e, storetest.Fault{
				Hold: func() { release = d.hold() },
				Fail: func() { breakIt(d); release() },
			})
			if err := e.Close(); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// journalOf writes three groups and returns the journal as a crash would leave it. With an earlier life, the file holds
// frames of two journals before.
func journalOf(t *testing.T, earlier bool) (data []byte, ends []int) {
	dir := t.TempDir()
	opened, err := OpenWith(dir, Options{JournalBytes: 8000})
	if err != nil {
		t.Fatal(err)
	}
	e := opened.(*engine)
	for n := 0; earlier && e.journalNumber() < 5; n++ {
		_, _, p, err := e.Log("earlier").Append(t.Context(), "romeo", storage.Record{Data: fmt.Append(nil, n)}, storage.AppendOptions{})
		if err == nil {
			err = p.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{"one", "two", "three"} {
		_, _, p, err := e.Log("archive").Append(t.Context(), "romeo", storage.Record{Data: []byte(s)}, storage.AppendOptions{})
		if err == nil {
			err = p.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		e.mu.Lock()
		ends = append(ends, e.journal.size)
		e.mu.Unlock()
	}
	if data, err = os.ReadFile(e.journal.path); err != nil {
		t.Fatal(err)
	}
	if stale := bytes.Count(data[ends[2]:], []byte(frameMagic)); earlier != (stale > 10) {
		t.Fatalf("the file holds %d frames of earlier journals", stale)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return data, ends
}

func testReplayer(dir string) replayer {
	return replayer{files: osFiles{}, dir: dir, log: slog.New(slog.DiscardHandler)}
}

func (e *engine) journalNumber() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.journal.number
}

// reopened opens a directory that holds one journal, and counts the records.
func reopened(t *testing.T, journal []byte) (int, error) {
	dir := t.TempDir()
	number := uint64(1)
	if len(journal) >= 12 && journal[11] == 5 {
		number = 5
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s%016x", filePrefix, number)), journal, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := Open(dir)
	if err != nil {
		return 0, err
	}
	n, _, err := e.Log("archive").Size(t.Context(), "romeo")
	if err2 := e.Close(); err == nil {
		err = err2
	}
	return n, err
}

func TestUnfinishedFrameAtTheEndIsDropped(t *testing.T) {
	for _, earlier := range []bool{false, true} {
		data, ends := journalOf(t, earlier)
		for cut := 0; cut <= ends[2]; cut += 3 {
			want := 0
			for _, end := range ends {
				if cut >= end {
					want++
				}
			}
			if n, err := reopened(t, data[:cut]); err != nil || n != want {
				t.Errorf("cut at %d: %d records, want %d (%v)", cut, n, want, err)
			}
		}
		if n, err := reopened(t, data); err != nil || n != 3 {
			t.Errorf("whole: %d records (%v)", n, err)
		}
		// A crash may also leave blocks of the last frame unwritten, as they were before.
		for at := ends[1]; at < ends[2]; at++ {
			torn := slices.Clone(data)
			for i := at; i < ends[2]; i++ {
				torn[i] ^= 0x55
			}
			if n, err := reopened(t, torn); err != nil || n != 2 {
				t.Errorf("torn at %d: %d records (%v)", at, n, err)
			}
		}
	}
}

func TestDamagedJournalIsRefused(t *testing.T) {
	for _, earlier := range []bool{false, true} {
		data, ends := journalOf(t, earlier)
		for at := 0; at < ends[1]; at += 5 {
			damaged := slices.Clone(data)
			damaged[at] ^= 0x20
			if n, err := reopened(t, damaged); err == nil {
				t.Errorf("damage at byte %d: opened with %d records", at, n)
			}
		}
	}
}

// A crash before the first frame of a journal leaves a file full of another's frames.
func TestFramesOfAnEarlierJournalAreNotReplayed(t *testing.T) {
	data, _ := journalOf(t, true)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, filePrefix+"0000000000000006"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	done, found, err := testReplayer(dir).replay(func(ops []byte) error {
		t.Errorf("%q was replayed", ops)
		return nil
	})
	if err != nil || len(done) != 0 || len(found) != 1 || found[0].number != 6 {
		t.Errorf("%v, %v, %v", done, found, err)
	}
}

// Only the last journal may lack its end.
func TestJournalWithoutItsEndIsRefusedBeforeOthers(t *testing.T) {
	data, ends := journalOf(t, true)
	frames := binary.BigEndian.Uint64(data[ends[1]+8:]) & 0xffffffff
	end := &journal{number: 5, frames: frames, size: ends[2], capacity: len(data)}
	for _, ended := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, filePrefix+"0000000000000005")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if ended {
			f, err := osFiles{}.create(path)
			if err != nil {
				t.Fatal(err)
			}
			if end.file = f; end.end() != nil {
				t.Fatal("the journal could not be ended")
			}
		}
		if err := os.WriteFile(filepath.Join(dir, filePrefix+"0000000000000006"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		n := uint64(0)
		_, _, err := testReplayer(dir).replay(func([]byte) error { n++; return nil })
		if n != frames || (err == nil) != ended {
			t.Errorf("ended %v: %d frames, %v", ended, n, err)
		}
	}
}

// framesOf is a journal that holds these groups.
func framesOf(number uint64, ended bool, groups ...[]byte) (data []byte) {
	if ended {
		groups = append(groups, nil)
	}
	for i, ops := range groups {
		frame := append(make([]byte, frameHeader), ops...)
		copy(frame, frameMagic)
		binary.BigEndian.PutUint32(frame[4:], uint32(len(ops)))
		binary.BigEndian.PutUint64(frame[8:], frameNumber(number, uint64(i)+1))
		binary.BigEndian.PutUint32(frame[16:], frameSum(frame))
		data = append(data, frame...)
	}
	return data
}

func TestMissingJournalIsNamed(t *testing.T) {
	for _, test := range []struct {
		numbers []uint64
		names   []string // what the error speaks of
	}{
		{[]uint64{4, 5, 6}, nil},
		{[]uint64{6}, nil},
		{[]uint64{4, 6}, []string{"journal-0000000000000005 is missing", "journal-0000000000000004 and",
			"move journal-0000000000000006"}},
		{[]uint64{4, 5, 9}, []string{"journal-0000000000000006 is missing", "move journal-0000000000000009"}},
	} {
		dir := t.TempDir()
		for i, n := range test.numbers {
			b := &batch{}
			b.set(fmt.Appendf(nil, "m\x00romeo\x00%d", n), append(make([]byte, valueHeader), byte(n)))
			path := filepath.Join(dir, fmt.Sprintf("%s%016x", filePrefix, n))
			if err := os.WriteFile(path, framesOf(n, i < len(test.numbers)-1, b.ops), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		e, err := Open(dir)
		if err == nil {
			err = e.Close()
		}
		if test.names == nil && err != nil {
			t.Errorf("%v: %v", test.numbers, err)
		}
		for _, name := range test.names {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%v: %v, without %q", test.numbers, err, name)
			}
		}
		left, _ := filepath.Glob(filepath.Join(dir, filePrefix+"*"))
		if test.names != nil && len(left) != len(test.numbers) {
			t.Errorf("%v: %v are left", test.numbers, left)
		}
	}
}

// Numbers may begin again after a clean end, so no file of an earlier run is written over.
func TestSpareFileDoesNotOutliveARun(t *testing.T) {
	data, _ := journalOf(t, true)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, spareName), data, 0o600); err != nil {
		t.Fatal(err)
	}
	opened, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(opened.(*engine).journal.path); err != nil || info.Size() != 0 {
		t.Errorf("the first journal: %v, %v", info, err)
	}
	if err := opened.Close(); err != nil {
		t.Error(err)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) != 2 { // the tree, and room
		t.Errorf("files after Close: %v, %v", files, err)
	}
}

func FuzzReplay(f *testing.F) {
	b := &batch{}
	b.set([]byte("l\x00romeo\x00"), []byte("value"))
	b.delete([]byte("l\x00juliet\x00"))
	f.Add(b.ops)
	f.Add([]byte{opSet, 1, 'x'})
	f.Add([]byte{opDelete, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Add(appendSame(b.ops, []byte("larchive\x00juliet\x0012345678romeo"), 10, 5))
	f.Fuzz(func(t *testing.T, ops []byte) {
		table := newMemtable(&valueSeed{})
		var read []string
		again := &batch{}
		_ = eachOp(ops, func(o op) {
			table.put(o, 0)
			read = append(read, fmt.Sprintf("%q %q %v", o.key, o.value, o.deleted))
			if o.deleted {
				again.delete(o.key)
			} else {
				again.set(o.key, o.value)
			}
		})
		// What was read is read again when it is written without what it shares.
		n := 0
		if err := eachOp(again.ops, func(o op) {
			if one := fmt.Sprintf("%q %q %v", o.key, o.value, o.deleted); n >= len(read) || one != read[n] {
				t.Errorf("operation %d was read as %s", n, one)
			}
			n++
		}); err != nil || n != len(read) {
			t.Errorf("%d operations of %d, %v", n, len(read), err)
		}
	})
}
