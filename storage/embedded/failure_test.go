package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.etcd.io/bbolt"

	"jackdaw/storage"
)

// A refusing file system fails where the test says so; "create journal-" is a step and the start of a name. Of the
// tree, the library writes pages, syncs and truncates.
type refusing struct {
	osFiles
	mu   sync.Mutex
	fail map[string]error
	tree *bbolt.DB
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

func (r *refusing) openTree(path string) (*bbolt.DB, error) {
	tree, err := r.osFiles.openTree(path)
	if err != nil {
		return nil, err
	}
	write := writesOf(tree)
	inner := *write
	*write = func(b []byte, at int64) (int, error) {
		if err := r.check("write", path); err != nil {
			return 0, &fs.PathError{Op: "write", Path: path, Err: err} // as the system says it
		}
		return inner(b, at)
	}
	r.tree = tree
	return tree, nil
}

// replaceFile gives the library another file to sync and to truncate. No merge may run. It returns the one before.
func replaceFile(tree *bbolt.DB, f *os.File) *os.File {
	field := reflect.ValueOf(tree).Elem().FieldByName("file")
	at := (**os.File)(unsafe.Pointer(field.UnsafeAddr()))
	before := *at
	*at = f
	return before
}

func (d refusingDir) Sync() error {
	if err := d.r.check("sync", "names"); err != nil {
		return err
	}
	return d.syncer.Sync()
}

func (f *refusingFile) ReadAt(b []byte, at int64) (int, error) {
	if err := f.r.check("read", f.path); err != nil {
		return 0, &fs.PathError{Op: "read", Path: f.path, Err: err}
	}
	return f.file.ReadAt(b, at)
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
	deadline := time.After(time.Minute)
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
	_, _, p, err := e.Log("archive").Append(context.Background(), owner, storage.Record{Peer: "p", Data: data},
		storage.AppendOptions{})
	if err == nil {
		err = p.Wait(context.Background())
	}
	return err
}

// What cannot be done now leaves nothing in doubt: writes are acknowledged meanwhile, and it is done as soon as it can
// be.
func TestWhatCannotBeDoneNowIsDoneLater(t *testing.T) {
	for step, failure := range map[string]error{
		"create spare":    syscall.EMFILE,
		"create records-": syscall.EMFILE,
		"write records-":  syscall.ENOSPC,
		"write spare":     syscall.EDQUOT, // the journal was made as that
		"open records-":   syscall.EMFILE,
		"rename spare":    syscall.ENOSPC,
		"rename journal-": syscall.EACCES,
		"remove journal-": syscall.EACCES,
		"remove records-": syscall.EACCES,
		"write store.db":  syscall.ENOSPC,
	} {
		t.Run(step, func(t *testing.T) {
			files, notes := &refusing{}, &notebook{}
			dir := t.TempDir()
			opened, err := OpenWith(dir,
				Options{files: files, JournalBytes: 300_000, idle: 5 * time.Millisecond, again: time.Millisecond,
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
				if err == nil && step == "remove journal-" { // which is too large to be used again
					_, err = addTo(t, e, "owner0", 800_000)
				}
				// Memory is bounded, and a write may read.
				if err != nil && !errors.Is(err, errSlow) && !errors.Is(err, ErrNoRoom) && !errors.Is(err, failure) {
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
			if step == "open records-" {
				// A part of a segment is going to go. The segment is open for those who read it, as a removal does.
				for i := range 100 {
					if _, err := addTo(t, e, []string{"goes", "keeps"}[i%2], 1000); err != nil {
						t.Fatal(err)
					}
				}
				until(t, "there is a segment", settled)
				if _, _, err := e.Log("archive").Page(t.Context(), "goes", storage.Query{}); err != nil {
					t.Fatal(err)
				}
			}
			files.set(step, failure)
			p, err := addTo(t, e, "stays", 1000)
			if err != nil {
				t.Fatal(err)
			}
			if step == "open records-" {
				if _, err := e.Log("archive").DeleteOwner(t.Context(), "goes"); err != nil {
					t.Fatal(err)
				}
			}
			until(t, "it is told what cannot be done", func() bool {
				told := notes.count("for now")+notes.count("the disk is full") > 0
				if !told {
					churn()
				}
				return told
			})
			files.heal()
			if err := p.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			// A step and a full disk are told of one by one; writes are taken again when both are over.
			until(t, "it is told that all goes on", func() bool {
				e.mu.Lock()
				short := e.short
				e.mu.Unlock()
				return !short && notes.count("storage goes on")+notes.count("storage has given back") > 0
			})
			if err := appendTo(e, "stays", []byte("x")); err != nil {
				t.Fatal(err)
			}
			until(t, "all is merged", settled)
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if said, done := notes.count("level=ERROR"), notes.count("level=INFO"); said != done || said > 2 {
				t.Errorf("%d times it could not go on, %d times it did:\n%s", said, done, notes.b.String())
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

// breakTree has the library sync or truncate a file that cannot be, and returns the right one, or nil.
func (r *refusing) breakTree(t *testing.T, e *engine, step string) *os.File {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.merging || e.running {
		e.changed.Wait()
	}
	switch step {
	case "sync store.db":
		reading, writing, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { writing.Close() })
		return replaceFile(r.tree, reading)
	case "truncate store.db":
		f, err := os.Open(e.treePath)
		if err != nil {
			t.Fatal(err)
		}
		return replaceFile(r.tree, f)
	}
	return nil
}

// An error of fsync is final, told once with what to do, and to whoever runs the engine.
func TestWhatIsInDoubtIsFinal(t *testing.T) {
	// The file of a journal was made as the spare one. The library syncs and truncates the tree itself: a pipe can do
	// neither, a file for reading cannot be truncated.
	for step, failure := range map[string]syscall.Errno{
		"sync spare": syscall.EIO, "write spare": syscall.EIO, "sync records-": syscall.EIO, "sync names": syscall.EIO,
		"write store.db": syscall.EIO, "sync store.db": syscall.EINVAL, "truncate store.db": syscall.EINVAL,
	} {
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
			acknowledged := 1
			if step == "sync store.db" { // without a tree that has room enough it would be truncated first
				setKey(t, e, "owner", strings.Repeat("x", 1<<20))
				setKey(t, e, "owner", "small")
				for ; acknowledged < 200; acknowledged++ {
					if err := appendTo(e, "owner", make([]byte, 1000)); err != nil {
						t.Fatal(err)
					}
				}
			}
			tree := files.breakTree(t, e.(*engine), step)
			files.set(step, failure)
			for ; ; acknowledged++ {
				if err = appendTo(e, "owner", binary.BigEndian.AppendUint64(make([]byte, 1000), uint64(acknowledged))); err != nil {
					break
				}
			}
			told, now := <-failed, e.Err()
			if !strings.Contains(told.Error(), failure.Error()) || !errors.Is(err, storage.ErrUnavailable) ||
				!errors.Is(now, ErrFailed) {
				t.Errorf("told %v, the write got %v, Err is %v", told, err, now)
			}
			if strings.HasPrefix(step, "truncate") != strings.Contains(told.Error(), "file resize error: truncate") {
				t.Errorf("told %v", told) // lacksRoom knows it by these words
			}
			files.heal()
			if tree != nil {
				replaceFile(files.tree, tree).Close() // it was the test's own
			}
			if err := appendTo(e, "owner", []byte("x")); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("a write after the disk is well again: %v", err)
			}
			if n := notes.count("level=ERROR"); n != 1 || notes.count("start anew") != 1 {
				t.Errorf("%d errors were logged:\n%s", n, notes.b.String())
			}
			if err := e.Close(); !errors.Is(err, ErrFailed) {
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

// The end of a server that cannot go on is not a failure: what was acknowledged is in its journals.
func TestEngineThatCannotGoOnCanBeClosed(t *testing.T) {
	for step, failure := range map[string]error{"write records-": syscall.ENOSPC, "rename spare": syscall.EACCES} {
		t.Run(step, func(t *testing.T) {
			files, notes, dir := &refusing{}, &notebook{}, t.TempDir()
			e, err := OpenWith(dir, Options{files: files, JournalBytes: 30_000, again: time.Hour,
				Log: slog.New(slog.NewTextHandler(notes, nil)), Failed: func(err error) { t.Errorf("failed: %v", err) }})
			if err != nil {
				t.Fatal(err)
			}
			files.set(step, failure)
			var pendings []*storage.Pending
			until(t, "it is told what cannot be done", func() bool {
				if len(pendings) < 60 {
					p, err := addTo(t, e.(*engine), "owner", 1000)
					if err != nil {
						if !errors.Is(err, failure) { // the disk is full
							t.Fatal(err)
						}
						return true
					}
					pendings = append(pendings, p)
				}
				return notes.count("cannot go on for now")+notes.count("the disk is full") > 0
			})
			if err := e.Close(); !errors.Is(err, failure) || !errors.Is(err, storage.ErrUnavailable) ||
				errors.Is(err, ErrFailed) {
				t.Errorf("Close: %v", err)
			}
			if n := notes.count("level=ERROR"); n != 1 {
				t.Errorf("%d errors were logged:\n%s", n, notes.b.String())
			}
			acknowledged := 0
			for _, p := range pendings {
				if finished, err := p.Finished(); !finished {
					t.Error("somebody waits for ever")
				} else if err == nil {
					acknowledged++
				}
			}
			files.heal()
			if e, err = OpenWith(dir, Options{files: files}); err != nil {
				t.Fatal(err)
			}
			if n, _, err := e.Log("archive").Size(t.Context(), "owner"); err != nil || n < acknowledged || acknowledged == 0 {
				t.Errorf("%d records of %d, %v", n, acknowledged, err)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A start that fails says where, leaves everything as it was, and does not wait for what may never come.
func TestStartThatCannotDoWhatItMustSaysSo(t *testing.T) {
	files := newRAM(nil)
	e, err := OpenWith("data", Options{files: files, JournalBytes: 30_000, idle: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	p := newPromises()
	p.liveThroughTwoMerges(t, e.(*engine))
	killed := files.onDisk(t)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for step, failure := range map[string]error{
		"read journal-": syscall.EIO, "read store.db": syscall.EIO, "open journal-": syscall.EMFILE, "open store.db": syscall.EMFILE,
		"create spare": syscall.EMFILE, "rename spare": syscall.EACCES, "remove journal-": syscall.EACCES,
		"sync store.db": syscall.EIO, "sync names": syscall.EIO, "write store.db": syscall.EIO,
	} {
		t.Run(step, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(dir, os.DirFS(killed)); err != nil {
				t.Fatal(err)
			}
			refuse := &refusing{}
			refuse.set(step, failure)
			e, err := OpenWith(dir, Options{files: refuse, Log: slog.New(slog.DiscardHandler)})
			if err == nil {
				t.Fatal("it was opened", e.Close())
			}
			if !strings.Contains(err.Error(), failure.Error()) {
				t.Error(err)
			}
			if err := p.kept(dir); err != nil {
				t.Error(err)
			}
		})
	}
}

// A descriptor that is not there is no damage: whoever reads gets an error, and the records when there is one again.
func TestRecordsThatCannotBeReadNowAreNotDamaged(t *testing.T) {
	files, notes, dir := &refusing{}, &notebook{}, t.TempDir()
	e, err := OpenWith(dir, Options{files: files, Log: slog.New(slog.NewTextHandler(notes, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		if _, err := addTo(t, e.(*engine), "owner", 1000); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err = OpenWith(dir, Options{files: files, Log: slog.New(slog.NewTextHandler(notes, nil))}); err != nil {
		t.Fatal(err)
	}
	files.set("open records-", syscall.EMFILE)
	if _, _, err := e.Log("archive").Page(t.Context(), "owner", storage.Query{}); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("without descriptors: %v", err)
	}
	files.heal()
	if page, _, err := e.Log("archive").Page(t.Context(), "owner", storage.Query{}); err != nil || len(page) != 40 {
		t.Errorf("%d records, %v", len(page), err)
	}
	if n := e.(*engine).Damaged(); n != 0 || notes.b.Len() > 0 {
		t.Errorf("%d blocks are called damaged:\n%s", n, notes.b.String())
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// Checksums are a help: where they cannot be written nothing else is held up, and they are written with a later merge.
func TestChecksumsThatCannotBeWrittenAreSaidAndWrittenLater(t *testing.T) {
	for step, failure := range map[string]error{
		"create store.sums": syscall.EMFILE, "write store.sums": syscall.ENOSPC, "sync store.sums": syscall.EIO, "rename store.sums": syscall.EACCES,
	} {
		t.Run(step, func(t *testing.T) {
			files, notes, dir := &refusing{}, &notebook{}, t.TempDir()
			opened, err := OpenWith(dir,
				Options{files: files, idle: time.Millisecond, Log: slog.New(slog.NewTextHandler(notes, nil)),
					Failed: func(err error) { t.Errorf("failed: %v", err) }})
			if err != nil {
				t.Fatal(err)
			}
			e := opened.(*engine)
			setKey(t, e, "owner", "first")
			e.atRest(t)
			files.set(step, failure)
			setKey(t, e, "owner", "second")
			e.atRest(t)
			if notes.count("level=WARN") == 0 || notes.count("level=ERROR") > 0 {
				t.Errorf("it was told\n%s", notes.b.String())
			}
			if problems, err := Verify(copied(t, dir)); err != nil || len(problems) > 0 {
				t.Errorf("without the last checksums: %q, %v", problems, err)
			}
			files.heal()
			setKey(t, e, "owner", "third")
			e.atRest(t)
			states, err := readSums(osFiles{}, dir)
			if err != nil || len(states) != 2 || states[0].tx != e.lastTx {
				t.Errorf("%d states, %v", len(states), err)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// copied is a directory that holds the same.
func copied(t *testing.T, dir string) string {
	t.Helper()
	other := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return other
}

// Where places cannot be punched out of a file they are written over: the data are gone.
func TestPlacesThatCannotBePunchedAreWrittenOver(t *testing.T) {
	files, dir := &refusing{}, t.TempDir()
	opened, err := OpenWith(dir, Options{files: files, idle: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	e := opened.(*engine)
	files.set("punch records-", syscall.EOPNOTSUPP)
	for i := range 40 {
		for _, owner := range []string{"goes", "stays"} {
			if err := appendTo(e, owner, []byte(fmt.Sprintf("%s %0900d", owner, i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.atRest(t)
	held := func(text string) (n int) {
		for _, path := range segmentFiles(t, dir) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			n += bytes.Count(b, []byte(text))
		}
		return n
	}
	if held("goes 0") == 0 {
		t.Fatal("no segment holds the records")
	}
	if _, err := e.Log("archive").DeleteOwner(t.Context(), "goes"); err != nil {
		t.Fatal(err)
	}
	e.atRest(t)
	if gone, there := held("goes 0"), held("stays 0"); gone != 0 || there == 0 {
		t.Errorf("%d records that were removed are in segments, and %d that were not", gone, there)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
