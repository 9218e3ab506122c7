package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/storage"
)

// damageTree changes a bit in a page of the tree under a server that runs, and returns the page. which says of each
// page with data whether it will do.
func damageTree(t *testing.T, e *engine, which func(page []byte) bool) int {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.merging || e.running {
		e.changed.Wait()
	}
	f, err := os.OpenFile(e.treePath, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() // what was written is to be read by others only
	page := make([]byte, os.Getpagesize())
	for n, sum := range e.states[0].of {
		if sum == 0 {
			continue
		}
		if _, err := f.ReadAt(page, int64(n*len(page))); err != nil {
			t.Fatal(err)
		}
		if pageFlags(page) != pageBranch && which(page) {
			if _, err := f.WriteAt([]byte{page[len(page)-1] ^ 1}, int64((n+1)*len(page)-1)); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no page will do")
	return 0
}

// atRest waits until everything is merged and nothing is left to be given back.
func (e *engine) atRest(t *testing.T) {
	t.Helper()
	until(t, "all is merged", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return !e.merging && !e.running && e.tables.Load().frozen == nil && e.tables.Load().active.empty() && !e.unfinished()
	})
}

func setKey(t *testing.T, e storage.Engine, owner, value string) {
	t.Helper()
	_, p, err := e.Map("roster").Update(context.Background(), owner, storage.AnyVersion,
		storage.Change{Key: "k", Value: []byte(value)})
	if err == nil {
		err = p.Wait(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A server that runs finds a changed page of the tree by itself, whether anybody writes or not.
func TestRunningServerFindsAChangedPage(t *testing.T) {
	for _, written := range []bool{false, true} {
		t.Run(fmt.Sprint("written ", written), func(t *testing.T) {
			notes := &notebook{}
			opened, err := OpenWith(t.TempDir(),
				Options{files: hasty{}, idle: time.Millisecond, inspectEvery: 5 * time.Millisecond,
					Log: slog.New(slog.NewTextHandler(notes, nil))})
			if err != nil {
				t.Fatal(err)
			}
			e := opened.(*engine)
			for i := range 400 { // a tree of more pages than are compared at once
				setKey(t, e, fmt.Sprint("owner", i), strings.Repeat("value ", 800))
			}
			e.atRest(t)
			if n := len(e.states[0].of); n < leastInspected+100 {
				t.Fatalf("a tree of %d pages", n)
			}
			if n := notes.count("level=ERROR"); n != 0 {
				t.Fatalf("%d errors", n)
			}
			page := damageTree(t, e, func(page []byte) bool { return strings.Contains(string(page), "owner7\x00k") })
			told := func() bool {
				if written {
					setKey(t, e, "another", "value")
				}
				return notes.count("level=ERROR") > 0
			}
			until(t, "the page is found", told)
			if notes.count(fmt.Sprintf("page %d at byte %d", page, page*os.Getpagesize())) != 1 ||
				notes.count("see to the disk and restore the directory from a backup") != 1 {
				t.Errorf("it was told\n%s", notes.b.String())
			}
			setKey(t, e, "another", "value") // it goes on
			e.atRest(t)
			if n := notes.count("level=ERROR"); n != 1 {
				t.Errorf("it was told %d times", n)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A readFile calls a function before it is read.
type readFile struct {
	file
	before func(at int64)
}

func (f readFile) ReadAt(b []byte, at int64) (int, error) {
	f.before(at)
	return f.file.ReadAt(b, at)
}

// Whoever closes the store does not wait for all the pages of a turn.
func TestInspectionEndsWhenTheStoreIsClosed(t *testing.T) {
	opened, err := OpenWith(t.TempDir(), Options{files: hasty{}, idle: time.Millisecond, inspectEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	e := opened.(*engine)
	for i := range 400 {
		setKey(t, e, fmt.Sprint("owner", i), strings.Repeat("value ", 800))
	}
	e.atRest(t)
	if n := len(e.states[0].of); n < leastInspected {
		t.Fatalf("a tree of %d pages", n)
	}
	whole, last := e.treeFile, int64(0)
	e.treeFile = readFile{whole, func(at int64) {
		if last = at / int64(os.Getpagesize()); last > 1 {
			e.closed.Store(true)
		}
	}}
	e.nextPage = 0
	e.inspectNext()
	if last < 2 || last >= pagesAtOnce {
		t.Errorf("page %d was read", last)
	}
	e.treeFile = whole
	e.closed.Store(false)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// A page that is read and written anew by a merge gets a new checksum, so it is compared before.
func TestMergeTellsOfAChangedPageThatItHasRead(t *testing.T) {
	dir, notes := t.TempDir(), &notebook{}
	opened, err := OpenWith(dir,
		Options{files: hasty{}, idle: time.Millisecond, Log: slog.New(slog.NewTextHandler(notes, nil))})
	if err != nil {
		t.Fatal(err)
	}
	e := opened.(*engine)
	for i := range 50 {
		setKey(t, e, fmt.Sprint("owner", i), strings.Repeat("value ", 100))
	}
	e.atRest(t)
	page := damageTree(t, e, func(page []byte) bool { return strings.Contains(string(page), "owner7\x00k") })
	setKey(t, e, "owner7", "value")
	e.atRest(t)
	if notes.count("level=ERROR") != 1 || notes.count("the last merge has read what the disk had changed") != 1 ||
		notes.count(fmt.Sprintf("page %d at byte", page)) != 1 {
		t.Errorf("it was told\n%s", notes.b.String())
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// The library falls back to the state before when the page that names the newest is damaged. A merge must not go on
// from there: what was merged last would be lost with its journal.
func TestMergeDoesNotGoOnFromAnOldState(t *testing.T) {
	dir, notes := t.TempDir(), &notebook{}
	failed := make(chan error, 1)
	opened, err := OpenWith(dir, Options{files: hasty{}, JournalBytes: 30_000, idle: time.Hour,
		Log: slog.New(slog.NewTextHandler(notes, nil)), Failed: func(err error) { failed <- err }})
	if err != nil {
		t.Fatal(err)
	}
	e := opened.(*engine)
	p := newPromises()
	p.liveThroughTwoMerges(t, e)
	damageMeta(t, e.treePath)
	for err = nil; err == nil; {
		err = appendTo(e, "owner", make([]byte, 1000))
	}
	if told := <-failed; !strings.Contains(told.Error(), "the newest state of") {
		t.Errorf("failed: %v", told)
	}
	if e.Close() == nil {
		t.Error("closed as if nothing had happened")
	}
	if err := p.kept(dir); err != nil {
		t.Error(err)
	}
	if problems, err := Verify(dir); err != nil || len(problems) > 0 {
		t.Errorf("after another start: %q, %v", problems, err)
	}
}

// liveThroughTwoMerges ends when no merge runs, and two states of the tree have checksums.
func (p *promises) liveThroughTwoMerges(t *testing.T, e *engine) {
	t.Helper()
	for states := 0; states < 2; {
		p.live(t, e, 60)
		until(t, "no merge runs", func() bool {
			e.mu.Lock()
			defer e.mu.Unlock()
			if e.merging || e.running {
				return false
			}
			states = len(e.states)
			return true
		})
	}
}

// damageMeta changes a bit of the page that names the newest state of a tree.
func damageMeta(t *testing.T, path string) {
	t.Helper()
	f, err := osFiles{}.open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() // what was written is to be read by others only
	metas, err := readMetas(f)
	if err != nil || len(metas) != 2 {
		t.Fatalf("%d metas, %v", len(metas), err)
	}
	at := int64(metas[0].tx%2)*int64(metas[0].size) + pageHeader + 20
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{b[0] ^ 1}, at); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedNewestMetaIsLeftForTheOneBefore(t *testing.T) {
	f := newRAM(nil)
	e, err := OpenWith("data", Options{files: f, JournalBytes: 30_000, idle: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	p := newPromises()
	p.liveThroughTwoMerges(t, e.(*engine))
	dir := f.onDisk(t)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	damageMeta(t, filepath.Join(dir, treeName))
	if problems, err := Verify(dir); err != nil || len(problems) != 1 {
		t.Errorf("verified: %q, %v", problems, err)
	}
	lost := filepath.Join(t.TempDir(), "lost")
	if err := os.CopyFS(lost, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	notes := &notebook{}
	for round := range 2 {
		e, err := OpenWith(dir, Options{Log: slog.New(slog.NewTextHandler(notes, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.keptBy(e.Log("archive")); err != nil {
			t.Errorf("start %d: %v", round, err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if problems, err := Verify(dir); err != nil || len(problems) > 0 {
			t.Errorf("after start %d: %q, %v", round, problems, err)
		}
	}
	if n := notes.count(`level=ERROR msg="the newest state of the store is damaged`); n != 1 {
		t.Errorf("told %d times:\n%s", n, notes.b.String())
	}
	// Without the journals something acknowledged would be missing.
	journals, err := filepath.Glob(filepath.Join(lost, filePrefix+"*"))
	if err != nil || len(journals) == 0 {
		t.Fatalf("%q, %v", journals, err)
	}
	for _, path := range journals {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.kept(lost); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("without journals: %v", err)
	}
}

// Without checksums nothing can be compared, which is said; the next merge writes them anew.
func TestDamagedChecksumsAreTold(t *testing.T) {
	dir, p := lived(t)
	whole, err := os.ReadFile(filepath.Join(dir, sumsName))
	if err != nil {
		t.Fatal(err)
	}
	for _, bit := range []int{0, 100, len(whole)*4 + 3, len(whole)*8 - 1} {
		b := slices.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(filepath.Join(dir, sumsName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if problems, err := Verify(dir); err != nil || len(problems) != 1 || !strings.Contains(problems[0], sumsName) {
			t.Errorf("bit %d: verified: %q, %v", bit, problems, err)
		}
		notes := &notebook{}
		e, err := OpenWith(dir, Options{files: hasty{}, Log: slog.New(slog.NewTextHandler(notes, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if n := notes.count("level=WARN"); n != 1 {
			t.Errorf("bit %d: told %d times", bit, n)
		}
		setKey(t, e, "owner", fmt.Sprint(bit))
		if err := errors.Join(p.keptBy(e.Log("archive")), e.Close()); err != nil {
			t.Error(err)
		}
		if problems, err := Verify(dir); err != nil || len(problems) > 0 {
			t.Errorf("bit %d: after a merge: %q, %v", bit, problems, err)
		}
	}
}

// The head of the list of free pages says how long it is: whatever is in it, nothing panics and no memory is asked for.
func TestEachBitOfTheHeadOfTheFreeListIsFound(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	e, err := OpenWith(dir, Options{files: hasty{}})
	if err != nil {
		t.Fatal(err)
	}
	setKey(t, e, "owner", "value")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, treeName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	states, err := readSums(osFiles{}, dir)
	if err != nil || len(states) != 2 {
		t.Fatalf("%d states, %v", len(states), err)
	}
	f, err := osFiles{}.open(path)
	if err != nil {
		t.Fatal(err)
	}
	metas, err := readMetas(f)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	for bit := range pageHeader * 8 {
		at := int(metas[0].free)*metas[0].size + bit/8
		b[at] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if problems, err := Verify(dir); err != nil || len(problems) == 0 {
			t.Errorf("bit %d: verified as whole, %v", bit, err)
		}
		f, err := osFiles{}.open(path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = (&pageReader{file: f, size: metas[0].size}).freePages(metas[0]) // an error, or a list
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		b[at] ^= 1 << (bit % 8)
	}
}

// What is compared while others write and merges run is whole.
func TestInspectionAmongMergesFindsNothing(t *testing.T) {
	notes, dir := &notebook{}, t.TempDir()
	e, err := OpenWith(dir,
		Options{files: hasty{}, JournalBytes: 30_000, idle: time.Millisecond, inspectEvery: 100 * time.Microsecond,
			Log: slog.New(slog.NewTextHandler(notes, nil))})
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for i := range 150 {
				owner := fmt.Sprint("owner", w, i%20)
				if err := appendTo(e, owner, make([]byte, 500)); err != nil {
					t.Error(err)
				}
				if _, _, err := e.Map("roster").Update(t.Context(), owner, storage.AnyVersion,
					storage.Change{Key: fmt.Sprint(i), Value: make([]byte, 300)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	e.(*engine).atRest(t)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if notes.b.Len() > 0 {
		t.Errorf("it was told\n%s", notes.b.String())
	}
	if problems, err := Verify(dir); err != nil || len(problems) > 0 {
		t.Errorf("verified: %q, %v", problems, err)
	}
}
