package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/storage"
)

// backedUp copies a store, and from the one before what has not changed. It returns how many files it has linked.
func backedUp(t *testing.T, e storage.Engine, to string, before map[string]string) (until time.Time, linked int) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	until, err := e.(*engine).Backup(t.Context(), func(f BackupFile) error {
		at := filepath.Join(to, f.Name)
		if from, ok := before[f.Name+" "+f.Key]; ok && f.Key != "" {
			linked++
			before[f.Name+" "+f.Key] = at
			return os.Link(from, at)
		}
		if f.Key != "" {
			before[f.Name+" "+f.Key] = at
		}
		out, err := os.Create(at)
		if err != nil {
			return err
		}
		return errors.Join(f.Copy(out), out.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	return until, linked
}

// Whatever is written, removed and merged while a store is copied: the copy is whole, and has what was acknowledged
// before its moment.
func TestABackupHasAllThatWasAcknowledgedBeforeIt(t *testing.T) {
	dir := t.TempDir()
	e, err := OpenWith(dir, Options{JournalBytes: 100_000, idle: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	type written struct {
		owner string
		id    uint64
		at    time.Time
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	done := make([][]written, 4)
	for n := range done {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				owner := fmt.Sprintf("owner%d-%d", n, i%3)
				id, _, p, err := e.Log("archive").Append(t.Context(), owner, storage.Record{Data: make([]byte, 3000)},
					storage.AppendOptions{})
				if err == nil {
					err = p.Wait(t.Context())
				}
				if err != nil {
					t.Error(err)
					return
				}
				done[n] = append(done[n], written{owner, id, time.Now()})
				passing := fmt.Sprint("passing", n)
				if err := appendTo(e, passing, make([]byte, 3000)); err != nil {
					t.Error(err)
				}
				if i%50 == 0 {
					if _, err := e.Log("archive").DeleteOwner(t.Context(), passing); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	before, copies, moments := map[string]string{}, []string{}, []time.Time{}
	for n := range 5 {
		to := filepath.Join(t.TempDir(), fmt.Sprint(n))
		until, _ := backedUp(t, e, to, before)
		copies, moments = append(copies, to), append(moments, until)
	}
	stop.Store(true)
	wg.Wait()
	for n, dir := range copies {
		if problems, err := Verify(dir); err != nil || len(problems) > 0 {
			t.Errorf("copy %d: %q, %v", n, problems, err)
		}
		again, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		missing := 0
		for _, list := range done {
			for _, w := range list {
				if w.at.After(moments[n]) {
					continue
				}
				if _, err := again.Log("archive").Get(t.Context(), w.owner, w.id); err != nil {
					missing++
				}
			}
		}
		if missing > 0 {
			t.Errorf("copy %d: %d acknowledged records are missing", n, missing)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
	e.(*engine).atRest(t) // what was held is given back
	if list := e.(*engine).kept; len(list) > 1 {
		t.Errorf("%d journals are still held", len(list))
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func TestASecondBackupCopiesOnlySegmentsThatHaveChanged(t *testing.T) {
	e, err := OpenWith(t.TempDir(), Options{JournalBytes: 100_000, idle: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := addTo(t, e.(*engine), "stays", 3000); err != nil {
			t.Fatal(err)
		}
		if _, err := addTo(t, e.(*engine), "goes", 3000); err != nil {
			t.Fatal(err)
		}
	}
	e.(*engine).atRest(t)
	before := map[string]string{}
	for n, want := range []int{0, 1} {
		if _, linked := backedUp(t, e, filepath.Join(t.TempDir(), "copy"), before); linked != want {
			t.Errorf("backup %d has linked %d segments", n, linked)
		}
	}
	if _, err := e.Log("archive").DeleteOwner(t.Context(), "goes"); err != nil {
		t.Fatal(err)
	}
	e.(*engine).atRest(t)
	to := filepath.Join(t.TempDir(), "copy")
	if _, linked := backedUp(t, e, to, before); linked != 0 {
		t.Error("what was removed is still in the backup")
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	// A backup that nobody reads ends with the store.
	_, err = e.(*engine).Backup(t.Context(), func(BackupFile) error { return nil })
	if !errors.Is(err, storage.ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}

func TestCloseEndsABackup(t *testing.T) {
	e, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := appendTo(e, "owner", []byte("x")); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	_, err = e.(*engine).Backup(t.Context(), func(f BackupFile) error {
		go func() { closed <- e.Close() }()
		<-e.(*engine).closing
		return f.Copy(io.Discard)
	})
	if !errors.Is(err, storage.ErrClosed) {
		t.Errorf("the backup: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
}
