package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"jackdaw/storage"
)

// A disk makes files that fail on demand.
type disk struct {
	failWrite, failSync atomic.Bool
	after               atomic.Int32 // calls of Write and Sync since the first failure
}

type diskFile struct {
	file
	*disk
}

func (d *disk) create(path string) (file, error) {
	f, err := createFile(path)
	return &diskFile{f, d}, err
}

func (f *diskFile) Write(b []byte) (int, error) {
	if f.failWrite.Load() {
		f.after.Add(1)
		n, _ := f.file.Write(b[:len(b)/2]) // a full disk takes a part
		return n, syscall.ENOSPC
	}
	return f.file.Write(b)
}

func (f *diskFile) Sync() error {
	if f.failSync.Load() {
		f.after.Add(1)
		return syscall.EIO
	}
	return f.file.Sync()
}

func TestNothingIsAcknowledgedAfterAFailedWrite(t *testing.T) {
	for name, breakIt := range map[string]func(*disk){
		"fsync fails": func(d *disk) { d.failSync.Store(true) },
		"disk full":   func(d *disk) { d.failWrite.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			d, dir := &disk{}, t.TempDir()
			e, err := OpenWith(dir, Options{create: d.create})
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

// journalOf writes three groups and returns the journal as a crash would leave it.
func journalOf(t *testing.T) (data []byte, ends []int) {
	dir := t.TempDir()
	opened, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	e := opened.(*engine)
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
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return data, ends
}

// reopened opens a directory that holds one journal, and counts the records.
func reopened(t *testing.T, journal []byte) (int, error) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, filePrefix+"0000000000000007"), journal, 0o600); err != nil {
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
	data, ends := journalOf(t)
	for cut := 0; cut <= len(data); cut += 3 {
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
	// A crash may also leave blocks of the last frame unwritten.
	torn := slices.Clone(data)
	clear(torn[ends[1]+40:])
	if n, err := reopened(t, torn); err != nil || n != 2 {
		t.Errorf("torn: %d records (%v)", n, err)
	}
}

func TestDamagedJournalIsRefused(t *testing.T) {
	data, ends := journalOf(t)
	for at := 0; at < ends[1]; at += 5 {
		damaged := slices.Clone(data)
		damaged[at] ^= 0x20
		if n, err := reopened(t, damaged); err == nil {
			t.Errorf("damage at byte %d: opened with %d records", at, n)
		}
	}
}

func FuzzReplay(f *testing.F) {
	b := &batch{}
	b.set([]byte("l\x00romeo\x00"), []byte("value"))
	b.delete([]byte("l\x00juliet\x00"))
	f.Add(b.ops)
	f.Add([]byte{opSet, 1, 'x'})
	f.Add([]byte{opDelete, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, ops []byte) {
		table, n := newMemtable(), 0
		err := eachOp(ops, func(o op) { table.put(o, 0); n += len(o.key) + len(o.value) })
		if n > len(ops) {
			t.Errorf("%d bytes were read of %d", n, len(ops))
		}
		// What was read is written the same way again.
		again := &batch{}
		if err == nil {
			_ = eachOp(ops, func(o op) {
				if o.deleted {
					again.delete(o.key)
				} else {
					again.set(o.key, o.value)
				}
			})
			if len(again.ops) > len(ops) {
				t.Errorf("%x is written as %x", ops, again.ops)
			}
		}
	})
}
