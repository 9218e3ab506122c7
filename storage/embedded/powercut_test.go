package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"go.etcd.io/bbolt"

	"jackdaw/storage"
)

// A hasty file system makes nothing durable, which takes long.
type hasty struct{ osFiles }

type hastyFile struct{ file }

type hastyDir struct{ *os.File }

func (hastyDir) Sync() error { return nil }

func (hastyFile) Sync() error { return nil }

func (h hasty) create(path string) (file, error) {
	f, err := h.osFiles.create(path)
	return hastyFile{f}, err
}

func (h hasty) open(path string) (file, error) {
	f, err := h.osFiles.open(path)
	return hastyFile{f}, err
}

func (hasty) openDir(dir string) (syncer, error) {
	d, err := os.Open(dir)
	return hastyDir{d}, err
}
func (hasty) syncPath(string) error { return nil }

func (h hasty) openTree(path string) (*bbolt.DB, error) {
	tree, err := h.osFiles.openTree(path)
	if err == nil {
		tree.NoSync, tree.NoGrowSync = true, true
	}
	return tree, err
}

// A forgetful file system does everything in a directory, which is what a killed process leaves, and knows besides what
// of it would be there after a power cut. Punching is what reaches the disk at once: that is the worst case.
type forgetful struct {
	hasty
	dir string
	// event is called when something has changed, one call at a time.
	event func(what string)

	mu      sync.Mutex
	names   map[string]*inode // as they are in memory
	durable map[string]*inode // on the disk
	path    bool              // the directory has a name on the disk
}

type inode struct {
	data    []byte // on the disk
	pending []pendingWrite
	inDoubt bool // the tree's meta is written and nothing tells as yet that it was made durable
}

type pendingWrite struct {
	at   int64
	data []byte
}

// A cut says how much of what was not made durable is on the disk all the same.
type cut struct {
	names  bool
	writes func(i int) bool
}

var cuts = map[string]cut{
	"nothing":       {false, func(int) bool { return false }},
	"names":         {true, func(int) bool { return false }},
	"all":           {true, func(int) bool { return true }},
	"other writes":  {true, func(i int) bool { return i%2 == 1 }},
	"writes":        {false, func(int) bool { return true }},
	"first of them": {false, func(i int) bool { return i == 0 }},
}

func newForgetful(dir string) *forgetful {
	return &forgetful{dir: dir, event: func(string) {}, names: map[string]*inode{}, durable: map[string]*inode{}}
}

func (f *forgetful) node(path string) *inode { return f.names[filepath.Base(path)] }

func (n *inode) write(b []byte, at int64) {
	n.pending = append(n.pending, pendingWrite{at, slices.Clone(b)})
}

func (n *inode) sync() {
	n.data = n.after(func(int) bool { return true })
	n.pending, n.inDoubt = nil, false
}

// after is what the disk holds with some of what is pending.
func (n *inode) after(kept func(i int) bool) []byte {
	data := slices.Clone(n.data)
	for i, w := range n.pending {
		if !kept(i) {
			continue
		}
		if need := int(w.at) + len(w.data); need > len(data) {
			data = append(data, make([]byte, need-len(data))...)
		}
		copy(data[w.at:], w.data)
	}
	return data
}

// step does something to the files and tells of it. What a merge does with names and places comes after its commit.
func (f *forgetful) step(what string, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.names {
		if n.inDoubt && !strings.HasPrefix(what, "write "+filePrefix) && !strings.HasPrefix(what, "sync "+filePrefix) {
			n.sync()
		}
	}
	if err := do(); err != nil {
		return err
	}
	f.event(what)
	return nil
}

func (f *forgetful) makeDir(dir string) error { return f.hasty.makeDir(dir) }

func (f *forgetful) create(path string) (file, error) {
	var opened file
	err := f.step("create "+filepath.Base(path), func() (err error) {
		if f.node(path) == nil {
			f.names[filepath.Base(path)] = &inode{}
		}
		opened, err = f.hasty.create(path)
		return err
	})
	return &forgetfulFile{opened, f, filepath.Base(path), f.node(path)}, err
}

func (f *forgetful) open(path string) (file, error) {
	opened, err := f.hasty.open(path)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return &forgetfulFile{opened, f, filepath.Base(path), f.node(path)}, nil
}

func (f *forgetful) rename(from, to string) error {
	return f.step("rename "+filepath.Base(from), func() error {
		if err := f.hasty.rename(from, to); err != nil {
			return err
		}
		f.names[filepath.Base(to)] = f.node(from)
		delete(f.names, filepath.Base(from))
		return nil
	})
}

func (f *forgetful) remove(path string) error {
	return f.step("remove "+filepath.Base(path), func() error {
		if err := f.hasty.remove(path); err != nil {
			return err
		}
		delete(f.names, filepath.Base(path))
		return nil
	})
}

type forgetfulDir struct {
	syncer
	f *forgetful
}

func (f *forgetful) openDir(dir string) (syncer, error) {
	d, err := f.hasty.openDir(dir)
	return forgetfulDir{d, f}, err
}

func (d forgetfulDir) Sync() error {
	return d.f.step("sync names", func() error { d.f.durable = maps.Clone(d.f.names); return nil })
}

func (f *forgetful) syncPath(dir string) error {
	return f.step("sync path", func() error { f.durable, f.path = maps.Clone(f.names), true; return nil })
}

// writesOf is what the library writes pages with.
func writesOf(tree *bbolt.DB) *func(b []byte, at int64) (int, error) {
	hook := reflect.ValueOf(tree).Elem().FieldByName("ops").FieldByName("writeAt")
	return (*func(b []byte, at int64) (int, error))(unsafe.Pointer(hook.UnsafeAddr()))
}

// openTree looks on while bbolt writes. It calls fdatasync before each meta page, and after it.
func (f *forgetful) openTree(path string) (*bbolt.DB, error) {
	name := filepath.Base(path)
	fresh := f.node(path) == nil
	tree, err := f.hasty.openTree(path)
	if err != nil {
		return nil, err
	}
	if fresh {
		all, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		n := &inode{}
		for _, part := range [][2]int{{0, 0}, {0, len(all) / 2}, {len(all) / 2, len(all)}} {
			_ = f.step("make "+name, func() error { f.names[name] = n; n.write(all[part[0]:part[1]], int64(part[0])); return nil })
		}
		_ = f.step("made "+name, func() error { n.sync(); return nil })
	}
	write := writesOf(tree)
	node, inner := f.node(path), *write
	*write = func(b []byte, at int64) (count int, err error) {
		what := "write a page"
		isMeta := at < 2*int64(os.Getpagesize())
		if isMeta {
			what = "write meta"
		}
		err = f.step(what, func() error {
			if isMeta {
				node.sync()
			}
			node.write(b, at)
			node.inDoubt = isMeta
			count, err = inner(b, at)
			return err
		})
		return count, err
	}
	return tree, nil
}

type forgetfulFile struct {
	file
	f    *forgetful
	name string
	node *inode
}

func (f *forgetfulFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.f.step("write "+f.name, func() error {
		f.node.write(b, at)
		n, err = f.file.WriteAt(b, at)
		return err
	})
	return n, err
}

func (f *forgetfulFile) Sync() error {
	return f.f.step("sync "+f.name, func() error { f.node.sync(); return nil })
}

func (f *forgetfulFile) Punch(at, size int64) error {
	return f.f.step("punch "+f.name, func() error {
		copy(f.node.data[min(at, int64(len(f.node.data))):], make([]byte, size))
		f.node.write(make([]byte, size), at)
		return f.file.Punch(at, size)
	})
}

// killed is what another process finds when this one is killed: everything, durable or not.
func (f *forgetful) killed(t *testing.T) *forgetful {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(dir, os.DirFS(f.dir)); err != nil {
		t.Fatal(err)
	}
	after := newForgetful(dir)
	after.path = f.path
	copies := map[*inode]*inode{}
	clone := func(names map[string]*inode) map[string]*inode {
		out := map[string]*inode{}
		for name, n := range names {
			if copies[n] == nil {
				copies[n] = &inode{data: slices.Clone(n.data), pending: slices.Clone(n.pending)}
			}
			out[name] = copies[n]
		}
		return out
	}
	after.names, after.durable = clone(f.names), clone(f.durable)
	return after
}

// afterCut is a directory as it is when the power is back.
func (f *forgetful) afterCut(t *testing.T, c cut) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cut")
	names := f.durable
	if c.names {
		names = f.names
	}
	if !f.path && !c.names {
		return dir
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, n := range names {
		if err := os.WriteFile(filepath.Join(dir, name), n.after(c.writes), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// promises are what was acknowledged: the records of owners, as they must be found.
type promises struct {
	mu   sync.Mutex
	want map[string]map[uint64]string
	gone map[uint64]bool // may be there or not
}

func newPromises() *promises {
	return &promises{want: map[string]map[uint64]string{}, gone: map[uint64]bool{}}
}

// lived is the directory of a store that was used for a while and closed, and what it has promised.
func lived(t *testing.T) (dir string, p *promises) {
	t.Helper()
	dir, p = filepath.Join(t.TempDir(), "data"), newPromises()
	e, err := OpenWith(dir, Options{files: hasty{}})
	if err != nil {
		t.Fatal(err)
	}
	p.live(t, e, 60)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, p
}

func (p *promises) set(owner string, id uint64, data string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.want[owner] == nil {
		p.want[owner] = map[uint64]string{}
	}
	p.want[owner][id] = data
}

// kept opens a directory and looks for everything that was promised.
func (p *promises) kept(dir string) error {
	e, err := OpenWith(dir, Options{files: hasty{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	err = p.keptBy(e.Log("archive"))
	return errors.Join(err, e.Close())
}

func (p *promises) keptBy(l storage.Log) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for owner, want := range p.want {
		page, _, err := l.Page(context.Background(), owner, storage.Query{Limit: 1 << 20})
		if err != nil {
			return err
		}
		got := map[uint64]string{}
		for _, r := range page {
			got[r.ID] = string(r.Data)
		}
		for id, data := range want {
			if p.gone[id] {
				continue
			}
			if found, ok := got[id]; !ok {
				return fmt.Errorf("%s has lost record %d of %d", owner, id, len(want))
			} else if found != data {
				return fmt.Errorf("record %d of %s is %.20q…, not %.20q…", id, owner, found, data)
			}
		}
	}
	return nil
}

// live writes for a while: records that fill blocks, some that are replaced, and one owner whose records all go.
func (p *promises) live(t *testing.T, e storage.Engine, rounds int) {
	t.Helper()
	l := e.Log("archive")
	wait := func(pending *storage.Pending, err error) {
		t.Helper()
		if err == nil {
			err = pending.Wait(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var all []uint64
	for i := range rounds {
		owner := fmt.Sprint("owner", i%2)
		data := fmt.Sprintf("%0900d", i)
		id, _, pending, err := l.Append(context.Background(), owner, storage.Record{Peer: "p", Data: []byte(data)},
			storage.AppendOptions{})
		wait(pending, err)
		p.set(owner, id, data)
		if all = append(all, id); i%23 == 22 {
			old := all[i-20+i%2]
			of := fmt.Sprint("owner", (i-20+i%2)%2)
			p.mu.Lock()
			p.gone[old] = true // either of the two until this is acknowledged
			p.mu.Unlock()
			pending, err := l.Replace(context.Background(), of, old, []byte("retracted"))
			wait(pending, err)
			p.set(of, old, "retracted")
			p.mu.Lock()
			delete(p.gone, old)
			p.mu.Unlock()
		}
	}
}

// Whenever the power is cut, and whatever of the unsafe writes is on the disk then, nothing acknowledged is lost.
func TestPowerCutAtEveryStepLosesNothing(t *testing.T) {
	f := newForgetful(filepath.Join(t.TempDir(), "data"))
	p := newPromises()
	var kills []*forgetful
	events := 0
	f.event = func(what string) {
		if strings.HasPrefix(what, "write "+filePrefix) && events%9 != 0 {
			events++
			return // there are many
		}
		events++
		if what == "write meta" || strings.HasPrefix(what, "punch") {
			kills = append(kills, f.killed(t))
		}
		for name, c := range cuts {
			if err := p.kept(f.afterCut(t, c)); err != nil {
				t.Errorf("event %d, %s, cut with %s: %v", events, what, name, err)
			}
		}
	}
	e, err := OpenWith(f.dir, Options{files: f, JournalBytes: 30_000, idle: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	p.live(t, e, 60)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if len(kills) < 3 {
		t.Errorf("%d commits were seen", len(kills))
	}
}

// A killed process leaves writes in memory that the next one reads; the power may be cut while that one recovers.
func TestPowerCutDuringRecoveryLosesNothing(t *testing.T) {
	f := newForgetful(filepath.Join(t.TempDir(), "data"))
	p := newPromises()
	type life struct {
		*forgetful
		*promises
	}
	var lives []life
	f.event = func(what string) {
		if what == "write meta" {
			p.mu.Lock()
			now := &promises{want: map[string]map[uint64]string{}, gone: maps.Clone(p.gone)}
			for owner, records := range p.want {
				now.want[owner] = maps.Clone(records)
			}
			p.mu.Unlock()
			lives = append(lives, life{f.killed(t), now})
		}
	}
	e, err := OpenWith(f.dir, Options{files: f, JournalBytes: 30_000, idle: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	p.live(t, e, 90)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for n, l := range lives {
		l.event = func(what string) {
			for name, c := range cuts {
				if err := l.kept(l.afterCut(t, c)); err != nil {
					t.Errorf("killed at commit %d, %s, cut with %s: %v", n, what, name, err)
				}
			}
		}
		again, err := OpenWith(l.dir, Options{files: l.forgetful, JournalBytes: 30_000, idle: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.keptBy(again.Log("archive")); err != nil {
			t.Errorf("killed at commit %d: %v", n, err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A first start that is cut off leaves nothing that the next one stumbles over, whether a kill or a cut ends it.
func TestFirstStartThatIsCutOffIsBegunAnew(t *testing.T) {
	f := newForgetful(filepath.Join(t.TempDir(), "data"))
	nothing := &promises{}
	var kills []*forgetful
	f.event = func(what string) {
		kills = append(kills, f.killed(t))
		for name, c := range cuts {
			if err := nothing.kept(f.afterCut(t, c)); err != nil {
				t.Errorf("%s, cut with %s: %v", what, name, err)
			}
		}
	}
	e, err := OpenWith(f.dir, Options{files: f})
	if err != nil {
		t.Fatal(err)
	}
	f.event = func(string) {}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	// Killed first, then cut as soon as something has been acknowledged.
	for n, k := range kills {
		p := newPromises()
		e, err := OpenWith(k.dir, Options{files: k})
		if err != nil {
			t.Fatal(err)
		}
		p.live(t, e, 3)
		for name, c := range cuts {
			if err := p.kept(k.afterCut(t, c)); err != nil {
				t.Errorf("killed at %d, cut with %s: %v", n, name, err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// An earlier version made the tree under its own name.
func TestTreeThatAnEarlierVersionHalfMadeIsBegunAnew(t *testing.T) {
	whole := filepath.Join(t.TempDir(), treeName)
	tree, err := osFiles{}.openTree(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for pages := range 16 { // each set of pages that may have reached the disk
		half := make([]byte, len(b))
		for n := range newTreePages {
			if pages>>n&1 == 1 {
				copy(half[n*page:], b[n*page:(n+1)*page])
			}
		}
		for _, size := range []int{len(b), len(b) / 2, 0} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, treeName), half[:size], 0o600); err != nil {
				t.Fatal(err)
			}
			if err := (&promises{}).kept(dir); err != nil {
				t.Errorf("pages %b, %d bytes: %v", pages, size, err)
			}
		}
	}
}
