package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"jackdaw/storage"
)

// A refusing file system fails where the test says so; "create journal-" is a step and the start of a name.
type refusing struct {
	osFiles
	mu   sync.Mutex
	fail map[string]error
}

func (r *refusing) set(step string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = map[string]error{step: err}
}

func (r *refusing) heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = nil
}

func (r *refusing) check(step, path string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for prefix, err := range r.fail {
		if strings.HasPrefix(step+" "+filepath.Base(path), prefix) {
			return err
		}
	}
	return nil
}

type refusingFile struct {
	file
	r    *refusing
	path string
}

type refusingDir struct {
	syncer
	r *refusing
}

func (r *refusing) opened(step, path string, f func(string) (file, error)) (file, error) {
	if err := r.check(step, path); err != nil {
		return nil, err
	}
	inner, err := f(path)
	if err != nil {
		return nil, err
	}
	return &refusingFile{inner, r, path}, nil
}

func (r *refusing) create(path string) (file, error) {
	return r.opened("create", path, r.osFiles.create)
}
func (r *refusing) open(path string) (file, error) { return r.opened("open", path, r.osFiles.open) }

func (r *refusing) rename(from, to string) error {
	if err := r.check("rename", from); err != nil {
		return err
	}
	return r.osFiles.rename(from, to)
}

func (r *refusing) remove(path string) error {
	if err := r.check("remove", path); err != nil {
		return err
	}
	return r.osFiles.remove(path)
}

func (r *refusing) openDir(dir string) (syncer, error) {
	d, err := r.osFiles.openDir(dir)
	return refusingDir{d, r}, err
}

func (d refusingDir) Sync() error {
	if err := d.r.check("sync", "names"); err != nil {
		return err
	}
	return d.syncer.Sync()
}

func (f *refusingFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.r.check("write", f.path); err != nil {
		return 0, err
	}
	return f.file.WriteAt(b, at)
}

func (f *refusingFile) Sync() error {
	if err := f.r.check("sync", f.path); err != nil {
		return err
	}
	return f.file.Sync()
}

func (f *refusingFile) Punch(at, size int64) error {
	if err := f.r.check("punch", f.path); err != nil {
		return err
	}
	return f.file.Punch(at, size)
}

// A notebook keeps what is logged.
type notebook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *notebook) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(b)
}

func (n *notebook) count(text string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Count(n.b.String(), text)
}

// until waits for what the engine does by itself.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !f() {
		select {
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

// appendTo writes one record for good.
func appendTo(e storage.Engine, owner string, data []byte) error {
	_, _, p, err := e.Log("archive").Append(context.Background(), owner, storage.Record{Peer: "p", Data: data}, storage.AppendOptions{})
	if err == nil {
		err = p.Wait(context.Background())
	}
	return err
}

// What cannot be done now leaves nothing in doubt: writes are acknowledged meanwhile, and it is done as soon as it can be.
func TestWhatCannotBeDoneNowIsDoneLater(t *testing.T) {
	for step, failure := range map[string]error{
		"create spare":    syscall.EMFILE,
		"create records-": syscall.EMFILE,
		"write records-":  syscall.ENOSPC,
		"rename spare":    syscall.ENOSPC,
		"rename journal-": syscall.EACCES,
		"remove records-": syscall.EACCES,
	} {
		t.Run(step, func(t *testing.T) {
			files, notes := &refusing{}, &notebook{}
			dir := t.TempDir()
			opened, err := OpenWith(dir, Options{files: files, JournalBytes: 300_000, idle: 5 * time.Millisecond, again: time.Millisecond,
				Log: slog.New(slog.NewTextHandler(notes, nil)), Failed: func(err error) { t.Errorf("failed: %v", err) }})
			if err != nil {
				t.Fatal(err)
			}
			e := opened.(*engine)
			// Records that fill a segment and are given up, so that there is something to make and to remove.
			churn := func() {
				t.Helper()
				var err error
				for i := 0; i < 50 && err == nil; i++ {
					_, err = addTo(t, e, fmt.Sprint("owner", i%2), 1000)
				}
				for i := 0; i < 2 && err == nil; i++ {
					_, err = e.Log("archive").DeleteOwner(t.Context(), fmt.Sprint("owner", i))
				}
				if err != nil && !errors.Is(err, errSlow) { // memory is bounded
					t.Fatal(err)
				}
			}
			if step != "create spare" { // it is there once it was made
				churn()
			}
			settled := func() bool {
				e.mu.Lock()
				defer e.mu.Unlock()
				tables := e.tables.Load()
				return !e.merging && tables.frozen == nil && tables.active.empty() && !e.unfinished()
			}
			files.set(step, failure)
			p, err := addTo(t, e, "stays", 1000)
			if err != nil {
				t.Fatal(err)
			}
			until(t, "it is told what cannot be done", func() bool {
				told := notes.count("cannot go on for now") > 0
				if !told {
					churn()
				}
				return told
			})
			files.heal()
			if err := p.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			until(t, "it is told that it goes on", func() bool { return notes.count("storage goes on") > 0 })
			if err := appendTo(e, "stays", []byte("x")); err != nil {
				t.Fatal(err)
			}
			until(t, "all is merged", settled)
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if n, _, err := again.Log("archive").Size(t.Context(), "stays"); err != nil || n != 2 {
				t.Errorf("%d records, %v", n, err)
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// An error of fsync is final, told once with what to do, and to whoever runs the engine.
func TestWhatIsInDoubtIsFinal(t *testing.T) {
	// The file of a journal was made as the spare one.
	for _, step := range []string{"sync spare", "write spare", "sync records-", "sync names"} {
		t.Run(step, func(t *testing.T) {
			files, notes := &refusing{}, &notebook{}
			failed := make(chan error, 2)
			dir := t.TempDir()
			e, err := OpenWith(dir, Options{files: files, JournalBytes: 30_000, idle: time.Hour,
				Log: slog.New(slog.NewTextHandler(notes, nil)), Failed: func(err error) { failed <- err }})
			if err != nil {
				t.Fatal(err)
			}
			if err := appendTo(e, "owner", []byte("first")); err != nil {
				t.Fatal(err)
			}
			files.set(step, syscall.EIO)
			acknowledged := 1
			for ; ; acknowledged++ {
				if err = appendTo(e, "owner", make([]byte, 1000)); err != nil {
					break
				}
			}
			if told := <-failed; !errors.Is(told, syscall.EIO) || !errors.Is(err, storage.ErrUnavailable) || !errors.Is(e.Err(), syscall.EIO) {
				t.Errorf("told %v, the write got %v, Err is %v", told, err, e.Err())
			}
			files.heal()
			if err := appendTo(e, "owner", []byte("x")); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("a write after the disk is well again: %v", err)
			}
			if n := notes.count("level=ERROR"); n != 1 || notes.count("start anew") != 1 {
				t.Errorf("%d errors were logged:\n%s", n, notes.b.String())
			}
			if err := e.Close(); !errors.Is(err, syscall.EIO) {
				t.Errorf("Close: %v", err)
			}
			if e, err = Open(dir); err != nil {
				t.Fatal(err)
			}
			if n, _, err := e.Log("archive").Size(t.Context(), "owner"); err != nil || n < acknowledged {
				t.Errorf("%d records of %d, %v", n, acknowledged, err)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			select {
			case err := <-failed:
				t.Errorf("told again: %v", err)
			default:
			}
		})
	}
}
