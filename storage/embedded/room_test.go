package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"jackdaw/storage"
)

func (f *refusingFile) Allocate(size int64, within bool) error {
	if err := f.r.check("allocate", f.path); err != nil {
		return err
	}
	return f.file.Allocate(size, within)
}

// sizeOf is that of a file of a store.
func sizeOf(t *testing.T, dir, name string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// While the disk is full, what was accepted waits, what adds something is refused, and removals are taken. With room
// again all of it is acknowledged.
func TestAFullDiskTakesRemovalsAndGoesOnWithRoom(t *testing.T) {
	for _, failure := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		files, notes, dir := &refusing{}, &notebook{}, t.TempDir()
		e, err := OpenWith(dir, Options{files: files, again: time.Millisecond, idle: time.Hour,
			Log: slog.New(slog.NewTextHandler(notes, nil)), Failed: func(err error) { t.Errorf("failed: %v", err) }})
		if err != nil {
			t.Fatal(err)
		}
		log := e.Log("archive")
		gone, _, p, err := log.Append(t.Context(), "owner", storage.Record{Data: []byte("gone")}, storage.AppendOptions{})
		if err == nil {
			err = p.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := appendTo(e, "leaves", []byte("x")); err != nil {
			t.Fatal(err)
		}
		setKey(t, e.(*engine), "owner", "value")
		if p, err = e.Accounts().Create(t.Context(), storage.Account{User: "a@b"}); err == nil {
			err = p.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if kept := sizeOf(t, dir, roomName); kept != 2*mostAhead {
			t.Errorf("%d bytes are kept for bad times", kept)
		}
		// As long as this fails room cannot be had again.
		files.set("", failure)
		accepted, err := addTo(t, e.(*engine), "owner", 1000)
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the disk is full", func() bool { return notes.count("the disk is full") == 1 })
		until(t, "room is given up", func() bool { return sizeOf(t, dir, roomName) < 20 })
		err = e.Err()
		if !errors.Is(err, ErrNoRoom) || !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, ErrFailed) {
			t.Errorf("Err: %v", err)
		}
		for what, f := range map[string]func() error{
			"a record": func() error { return appendTo(e, "owner", []byte("x")) },
			"a key": func() error {
				_, _, err := e.Map("roster").Update(t.Context(), "owner", storage.AnyVersion, storage.Change{Key: "n"})
				return err
			},
			"an account": func() error { _, err := e.Accounts().Create(t.Context(), storage.Account{User: "n@b"}); return err },
		} {
			if err := f(); !errors.Is(err, ErrNoRoom) {
				t.Errorf("%s: %v", what, err)
			}
		}
		var removals []*storage.Pending
		for what, f := range map[string]func() (*storage.Pending, error){
			"a record": func() (*storage.Pending, error) { return log.Remove(t.Context(), "owner", gone) },
			"an owner": func() (*storage.Pending, error) { return log.DeleteOwner(t.Context(), "leaves") },
			"a key": func() (*storage.Pending, error) {
				_, p, err := e.Map("roster").Update(t.Context(), "owner", storage.AnyVersion,
					storage.Change{Key: "k", Delete: true})
				return p, err
			},
			"an account": func() (*storage.Pending, error) { return e.Accounts().Delete(t.Context(), "a@b") },
		} {
			p, err := f()
			if err != nil {
				t.Errorf("%s is not removed: %v", what, err)
			}
			removals = append(removals, p)
		}
		if finished, _ := accepted.Finished(); finished {
			t.Error("a write that is not on the disk was answered")
		}
		files.heal()
		for _, p := range append(removals, accepted) {
			if err := p.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		}
		until(t, "it goes on", func() bool { return e.Err() == nil })
		if kept := sizeOf(t, dir, roomName); kept != 2*mostAhead {
			t.Errorf("%d bytes are kept for bad times again", kept)
		}
		if err := appendTo(e, "owner", []byte("x")); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if notes.count("level=ERROR") != 1 || notes.count("level=INFO") != 1 {
			t.Errorf("it was told\n%s", notes.b.String())
		}
		if e, err = Open(dir); err != nil {
			t.Fatal(err)
		}
		for owner, want := range map[string]int{"owner": 2, "leaves": 0} {
			if n, _, err := e.Log("archive").Size(t.Context(), owner); err != nil || n != want {
				t.Errorf("%s has %d records, %v", owner, n, err)
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A start needs no room: what it cannot merge it has in memory, and merges it when there is some. A crash meanwhile
// changes nothing.
func TestAStartNeedsNoRoom(t *testing.T) {
	before := newRAM(nil)
	e, err := OpenWith("data", Options{files: before, JournalBytes: 30_000, idle: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	p := newPromises()
	p.liveThroughTwoMerges(t, e.(*engine))
	killed := before.onDisk(t)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"write records-", "write store.db", "allocate spare", "create records-"} {
		t.Run(step, func(t *testing.T) {
			dir, files, notes := filepath.Join(t.TempDir(), "data"), &refusing{}, &notebook{}
			if err := os.CopyFS(dir, os.DirFS(killed)); err != nil {
				t.Fatal(err)
			}
			open := func() storage.Engine {
				t.Helper()
				// Journals of this size are allocated beforehand.
				e, err := OpenWith(dir, Options{files: files, JournalBytes: 100_000,
					again: time.Millisecond, idle: time.Millisecond,
					Log:    slog.New(slog.NewTextHandler(notes, nil)),
					Failed: func(err error) { t.Errorf("failed: %v", err) }})
				if err != nil {
					t.Fatal(err)
				}
				return e
			}
			files.set(step, syscall.ENOSPC)
			e := open()
			full := notes.count("the disk is full") > 0
			if full != errors.Is(e.Err(), ErrNoRoom) && notes.count("goes on") == 0 {
				t.Errorf("it was told %s, Err is %v", notes.b.String(), e.Err())
			}
			if err := p.kept(copied(t, dir)); err != nil {
				t.Errorf("after a crash: %v", err)
			}
			files.heal()
			until(t, "it goes on", func() bool { return e.Err() == nil })
			if err := appendTo(e, "another", []byte("x")); err != nil {
				t.Fatal(err)
			}
			e.(*engine).atRest(t)
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			if problems, err := Verify(dir); err != nil || len(problems) > 0 {
				t.Errorf("%q, %v", problems, err)
			}
			if err := p.kept(dir); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestADiskThatIsNearlyFullKeepsLittleRoom(t *testing.T) {
	files, dir := &refusing{}, t.TempDir()
	files.set("allocate room", syscall.ENOSPC)
	for range 2 { // the second start is not short of what the first did not keep
		e, err := OpenWith(dir, Options{files: files})
		if err != nil {
			t.Fatal(err)
		}
		if err := appendTo(e, "owner", []byte("x")); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	files.set("allocate room", errors.ErrUnsupported)
	if e, err := OpenWith(dir, Options{files: files}); err != nil || e.Err() != nil || e.Close() != nil {
		t.Errorf("on a file system that keeps no room: %v", err)
	}
}

func TestRoomThatWasGivenUpIsMissedAtTheNextStart(t *testing.T) {
	files, notes, dir := &refusing{}, &notebook{}, t.TempDir()
	o := Options{files: files, again: time.Millisecond, Log: slog.New(slog.NewTextHandler(notes, nil))}
	e, err := OpenWith(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	files.set("allocate room", syscall.ENOSPC)
	e.(*engine).noRoom("test", syscall.ENOSPC)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if e, err = OpenWith(dir, o); err != nil {
		t.Fatal(err)
	}
	if err := appendTo(e, "owner", []byte("x")); !errors.Is(err, ErrNoRoom) {
		t.Errorf("a write: %v", err)
	}
	files.heal()
	until(t, "it goes on", func() bool { return e.Err() == nil })
	if kept := sizeOf(t, dir, roomName); kept != 2*mostAhead {
		t.Errorf("%d bytes are kept", kept)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// A journal that could not be merged at the start is ended, since others are going to follow it, and what was put right
// in it is written back.
func TestAJournalThatCouldNotBeMergedIsEnded(t *testing.T) {
	data, ends := journalOf(t, true)
	number := binary.BigEndian.Uint64(data[8:]) >> 32
	for name, change := range map[string]func(b []byte){
		"whole":   func([]byte) {},
		"mended":  func(b []byte) { b[ends[1]+5] ^= 1 },
		"cut off": func(b []byte) { clear(b[ends[2]-1:]) },
	} {
		b, dir := slices.Clone(data), t.TempDir()
		change(b)
		path := filepath.Join(dir, fmt.Sprintf("%s%016x", filePrefix, number))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		read := func() (groups int, last *journal) {
			t.Helper()
			r := replayer{files: osFiles{}, dir: dir, log: slog.New(slog.DiscardHandler)}
			_, found, err := r.replay(func([]byte) error { groups++; return nil })
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return groups, found[0]
		}
		before, j := read()
		if err := (&engine{files: osFiles{}}).endLate(j); err != nil {
			t.Fatal(err)
		}
		next := filepath.Join(dir, fmt.Sprintf("%s%016x", filePrefix, number+1))
		if err := os.WriteFile(next, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if after, j := read(); after != before || !j.ended || j.mended != nil {
			t.Errorf("%s: %d groups instead of %d, ended: %v, mended: %v", name, after, before, j.ended, j.mended != nil)
		}
	}
}
