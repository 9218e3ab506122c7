package embedded

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// A ram is a directory in memory, as running processes see it, and beside that what of it the disk has: what was made
// durable, and in which order the rest was done. A cut says how much of the rest the disk has got when the power goes.
//
// bbolt maps its file, so that one is a memfd; its pages are seen by the hook with which it writes them. It calls
// fdatasync before each meta page and after it, unless it was told not to: the calls themselves are not seen.
type ram struct {
	ordered bool // names become durable in order, as ext4 has it; else each by itself, as POSIX allows
	lies    lies
	// event is called when something has changed, one call at a time; nil: nobody looks.
	event func(what string)
	// fault is asked before something changes; with part a write that fails has written a part. After each page of the
	// tree it is asked once more, of its fsync.
	fault func(what string) (err error, part bool)

	mu      sync.Mutex
	random  *rand.Rand        // what becomes of what an fsync that failed should have made durable
	names   map[string]*inode // as they are in memory
	durable map[string]*inode // on the disk
	moves   []move            // what was done to names since
	path    bool              // the directory has a name on the disk
	mems    []*os.File
	broken  *os.File // the tree's, which cannot be made durable any more
}

// lies are what a file system says that is not so: negative controls.
type lies struct {
	sync  string // fsync of files whose names begin with this does nothing
	names bool   // nor does that of the directory
}

// A move is what was done to a name.
type move struct {
	name string
	node *inode // nil: it was removed
	from string // "": it was made
}

type inode struct {
	name    string // the last one
	data    []byte // in memory; of a tree in mem
	mem     *os.File
	disk    []byte
	pending []edit
	inDoubt bool // the tree's meta is written and nothing tells as yet that it was made durable
}

// An edit is what was done to a file that the disk may not have.
type edit struct {
	at   int64
	data []byte // nil: only the size changes
	size int64  // of the file, afterwards
}

// An image is what a disk holds: files by their names.
type image map[string][]byte

func newRAM(files image) *ram {
	f := &ram{names: map[string]*inode{}, path: len(files) > 0, random: rand.New(rand.NewPCG(7, uint64(len(files))))}
	for name, data := range files {
		f.names[name] = &inode{name: name, data: slices.Clone(data), disk: data}
	}
	f.durable = maps.Clone(f.names)
	return f
}

// close lets go of the memory of trees. The engine is closed.
func (f *ram) close() {
	for _, m := range append(f.mems, f.broken) {
		m.Close() // it is memory
	}
}

func (n *inode) bytes() []byte {
	if n.mem == nil {
		return n.data
	}
	b := make([]byte, n.size())
	if _, err := n.mem.ReadAt(b, 0); err != nil && len(b) > 0 {
		panic(err) // it is memory
	}
	return b
}

func (n *inode) size() int64 {
	if n.mem == nil {
		return int64(len(n.data))
	}
	info, err := n.mem.Stat()
	if err != nil {
		panic(err) // as above
	}
	return info.Size()
}

// grown is data with at least so many bytes.
func grown(data []byte, size int64) []byte {
	if more := size - int64(len(data)); more > 0 {
		data = append(data, make([]byte, more)...)
	}
	return data
}

func (e edit) apply(data []byte) []byte {
	data = grown(data, max(e.size, e.at+int64(len(e.data))))
	copy(data[e.at:], e.data)
	return data[:max(e.size, 0)]
}

// note adds to what the disk may not have.
func (n *inode) note(e edit) {
	e.data = slices.Clone(e.data)
	n.pending = append(n.pending, e)
}

func (n *inode) sync() {
	n.disk = slices.Clone(n.disk) // images have the one of before
	for _, e := range n.pending {
		n.disk = e.apply(n.disk)
	}
	n.pending, n.inDoubt = nil, false
}

// A manner is how much of something reaches the disk.
type manner int

const (
	nothing manner = iota
	everything
	some // pages, each as it was at some time
	torn // of some pages not all sectors
	manners
)

// survives is what the disk has of a file. The system writes whole pages, in any order, each as it is at that moment;
// a disk writes whole sectors.
func (n *inode) survives(r *rand.Rand, how manner) []byte {
	const page = 4096
	if how == nothing || len(n.pending) == 0 {
		return n.disk
	}
	if how == everything {
		data := slices.Clone(n.disk)
		for _, e := range n.pending {
			data = e.apply(data)
		}
		return data
	}
	size, most := int64(len(n.disk)), int64(len(n.disk))
	if at := r.IntN(len(n.pending) + 1); at > 0 {
		size = n.pending[at-1].size
	}
	touching := map[int64][]edit{}
	for _, e := range n.pending {
		most = max(most, e.size, e.at+int64(len(e.data)))
		for p := e.at / page; len(e.data) > 0 && p <= (e.at+int64(len(e.data))-1)/page; p++ {
			touching[p] = append(touching[p], e)
		}
	}
	data := grown(slices.Clone(n.disk), most)
	for _, p := range slices.Sorted(maps.Keys(touching)) {
		edits := touching[p]
		version := r.IntN(len(edits) + 1)
		part := int64(page)
		if how == torn && r.IntN(3) == 0 {
			part = sector
		}
		for from := p * page; from < (p+1)*page; from += part {
			if part == sector {
				version = []int{0, len(edits), r.IntN(len(edits) + 1)}[r.IntN(3)]
			}
			for _, e := range edits[:version] {
				lo, hi := max(from, e.at), min(from+part, e.at+int64(len(e.data)))
				if lo < hi {
					copy(data[lo:hi], e.data[lo-e.at:hi-e.at])
				}
			}
		}
	}
	return data[:size]
}

// cut is the disk when the power goes now, with as much of what was not made durable. The caller is an event.
func (f *ram) cut(r *rand.Rand, names, data manner) image {
	kept := maps.Clone(f.durable)
	prefix := r.IntN(len(f.moves) + 1)
	if !f.path && (names == nothing || names != everything && r.IntN(2) == 0) {
		return image{}
	}
	for i, m := range f.moves {
		keep := names == everything || names >= some && (f.ordered && i < prefix || !f.ordered && r.IntN(2) == 0)
		if keep {
			m.apply(kept)
		}
	}
	out := image{}
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		out[name] = kept[name].survives(r, data)
	}
	return out
}

func (m move) apply(names map[string]*inode) {
	if m.from != "" {
		delete(names, m.from)
	}
	if m.node == nil {
		delete(names, m.name)
	} else {
		names[m.name] = m.node
	}
}

// killed is what another process finds when this one is killed: everything, durable or not. The caller is an event, or
// nobody uses the directory.
func (f *ram) killed() *ram {
	after := newRAM(nil)
	after.ordered, after.path, after.moves = f.ordered, f.path, slices.Clone(f.moves)
	copies := map[*inode]*inode{}
	clone := func(n *inode) *inode {
		if n != nil && copies[n] == nil {
			copies[n] = &inode{name: n.name, data: slices.Clone(n.bytes()), disk: n.disk, pending: slices.Clone(n.pending)}
		}
		return copies[n]
	}
	for name, n := range f.names {
		after.names[name] = clone(n)
	}
	for name, n := range f.durable {
		after.durable[name] = clone(n)
	}
	for i := range after.moves {
		after.moves[i].node = clone(after.moves[i].node)
	}
	return after
}

// onDisk writes what is there into a directory of the system.
func (f *ram) onDisk(t *testing.T) (dir string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	dir = filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, n := range f.names {
		if err := os.WriteFile(filepath.Join(dir, name), n.bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// step does something to the files and tells of it. The committer writes the journal while the tree is written;
// whatever else happens does so after the commit.
func (f *ram) step(what string, do func() error, part func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.names {
		if n.inDoubt && !strings.HasPrefix(what, "write "+filePrefix) && !strings.HasPrefix(what, "sync "+filePrefix) {
			n.sync()
		}
	}
	if f.fault != nil {
		if err, some := f.fault(what); err != nil {
			if part != nil && (some || strings.HasPrefix(what, "sync ")) {
				part()
			}
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if f.event != nil {
		f.event(what)
	}
	return nil
}

func notThere(op, path string) error { return &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist} }

// move notes what is done to a name, and does it. The caller holds mu.
func (f *ram) move(m move) {
	f.moves = append(f.moves, m)
	m.apply(f.names)
	if m.node != nil {
		m.node.name = m.name
	}
}

// settleNames makes durable what was done to names. The caller holds mu.
func (f *ram) settleNames() { f.durable, f.moves = maps.Clone(f.names), nil }

// syncNames is fsync of the directory.
func (f *ram) syncNames(what string) error {
	return f.step(what, func() error {
		if !f.lies.names {
			f.settleNames()
			f.path = f.path || what == "sync path"
		}
		return nil
	}, nil)
}

func (f *ram) create(path string) (file, error) {
	name := filepath.Base(path)
	var n *inode
	err := f.step("create "+name, func() error {
		if n = f.names[name]; n == nil {
			n = &inode{}
			f.move(move{name: name, node: n})
		}
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	return &ramFile{f, n}, nil
}

func (f *ram) open(path string) (file, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.names[filepath.Base(path)]; n != nil {
		return &ramFile{f, n}, nil
	}
	return nil, notThere("open", path)
}

func (f *ram) rename(from, to string) error {
	a, b := filepath.Base(from), filepath.Base(to)
	return f.step("rename "+a, func() error {
		n := f.names[a]
		if n == nil {
			return notThere("rename", from)
		}
		f.move(move{name: b, node: n, from: a})
		return nil
	}, nil)
}

func (f *ram) remove(path string) error {
	name := filepath.Base(path)
	f.mu.Lock()
	there := f.names[name] != nil
	f.mu.Unlock()
	if !there {
		return notThere("remove", path)
	}
	return f.step("remove "+name, func() error { f.move(move{name: name}); return nil }, nil)
}

type ramEntry struct {
	fs.DirEntry
	name string
	size int64
}

func (e ramEntry) Name() string               { return e.name }
func (e ramEntry) Info() (fs.FileInfo, error) { return ramInfo{size: e.size}, nil }

type ramInfo struct {
	fs.FileInfo
	size int64
}

func (i ramInfo) Size() int64 { return i.size }

func (f *ram) readDir(string) (entries []os.DirEntry, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(f.names)) {
		entries = append(entries, ramEntry{name: name, size: f.names[name].size()})
	}
	return entries, nil
}

func (f *ram) makeDir(string) error { return nil }

type ramDir struct{ f *ram }

func (ramDir) Close() error { return nil }

func (d ramDir) Sync() error { return d.f.syncNames("sync names") }

func (f *ram) openDir(string) (syncer, error) { return ramDir{f}, nil }

func (f *ram) syncPath(string) error { return f.syncNames("sync path") }

func (*ram) total(string) (int64, error) { return 1 << 30, nil }

func (*ram) lock(string) (func(), error) { return func() {}, nil }

// writesOf is what the library writes pages with.
func writesOf(tree *bbolt.DB) *func(b []byte, at int64) (int, error) {
	hook := reflect.ValueOf(tree).Elem().FieldByName("ops").FieldByName("writeAt")
	return (*func(b []byte, at int64) (int, error))(unsafe.Pointer(hook.UnsafeAddr()))
}

func (f *ram) openTree(path string) (*bbolt.DB, error) {
	name := filepath.Base(path)
	f.mu.Lock()
	n := f.names[name]
	fresh := n == nil
	if fresh {
		n = &inode{name: name}
	}
	if n.mem == nil {
		fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
		if err != nil {
			f.mu.Unlock()
			return nil, err
		}
		mem := os.NewFile(uintptr(fd), name)
		if _, err := mem.WriteAt(n.data, 0); err != nil {
			panic(err) // it is memory
		}
		n.mem, n.data, f.mems = mem, nil, append(f.mems, mem)
	}
	f.mu.Unlock()
	tree, err := openTreeWith(path, func(string, int, os.FileMode) (*os.File, error) {
		return os.OpenFile(fmt.Sprint("/proc/self/fd/", n.mem.Fd()), os.O_RDWR, 0)
	})
	if err != nil {
		return nil, err
	}
	if fresh { // the library has made it, in two steps
		all := n.bytes()
		steps := []func(){
			func() { f.move(move{name: name, node: n}) },
			func() { n.note(edit{0, all[:len(all)/2], int64(len(all) / 2)}) },
			func() { n.note(edit{int64(len(all) / 2), all[len(all)/2:], int64(len(all))}) },
			n.sync,
		}
		for _, do := range steps {
			if err := f.step("make "+name, func() error { do(); return nil }, nil); err != nil {
				return nil, closed(tree, err)
			}
		}
	}
	tree.NoSync = f.lies.sync != "" && strings.HasPrefix(treeName, f.lies.sync)
	write := writesOf(tree)
	inner, page, known := *write, int64(os.Getpagesize()), n.size()
	*write = func(b []byte, at int64) (count int, err error) {
		what := "write " + n.name
		isMeta := at < 2*page
		if isMeta {
			what = "meta " + n.name
		}
		put := func(b []byte) {
			if size := n.size(); size > known { // it grew, and was made durable
				n.note(edit{size: size})
				n.syncTree(tree)
				known = size
			}
			if isMeta {
				n.syncTree(tree)
			}
			if count, err = inner(b, at); err == nil {
				known = n.size()
				n.note(edit{at, b, known})
				n.inDoubt = isMeta && !tree.NoSync
			}
		}
		failure := f.step(what, func() error { put(b); return err }, func() { put(b[:len(b)/2]) })
		if failure != nil {
			return count, &fs.PathError{Op: "write", Path: path, Err: failure} // as the system says it
		}
		f.failSync(tree, n)
		return count, nil
	}
	return tree, nil
}

// failSync lets the library's next fdatasync fail if it is to: it gets a pipe, which has none.
func (f *ram) failSync(tree *bbolt.DB, n *inode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault == nil {
		return
	}
	if err, _ := f.fault("sync " + n.name); err == nil || f.broken != nil {
		return
	}
	reading, writing, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	writing.Close() // it is the test's own
	f.broken = replaceFile(tree, reading)
	n.disk, n.pending, n.inDoubt = slices.Clone(n.survives(f.random, some)), nil, false
}

// closed closes a tree after an error, which is the one to tell.
func closed(tree *bbolt.DB, err error) error {
	tree.Close() // as above
	return err
}

func (n *inode) syncTree(tree *bbolt.DB) {
	if !tree.NoSync {
		n.sync()
	}
}

type ramFile struct {
	f *ram
	n *inode
}

func (r *ramFile) ReadAt(b []byte, at int64) (int, error) {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	if r.n.mem != nil {
		return r.n.mem.ReadAt(b, at)
	}
	if at > int64(len(r.n.data)) {
		return 0, io.EOF
	}
	if n := copy(b, r.n.data[at:]); n < len(b) {
		return n, io.EOF
	}
	return len(b), nil
}

// put does an edit, in memory. The caller holds mu.
func (r *ramFile) put(e edit) {
	r.n.note(e)
	if r.n.mem == nil {
		r.n.data = e.apply(r.n.data)
	} else if _, err := r.n.mem.WriteAt(e.data, e.at); err != nil {
		panic(err) // it is memory
	}
}

func (r *ramFile) WriteAt(b []byte, at int64) (int, error) {
	put := func(b []byte) { r.put(edit{at, b, max(r.n.size(), at+int64(len(b)))}) }
	written := 0
	err := r.f.step("write "+r.name(), func() error { put(b); written = len(b); return nil },
		func() { written = len(b) / 2; put(b[:written]) })
	return written, err
}

func (r *ramFile) name() string {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.n.name
}

func (r *ramFile) Size() (int64, error) {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.n.size(), nil
}

func (r *ramFile) Allocate(size int64, within bool) error {
	return r.f.step("allocate "+r.name(), func() error {
		if !within && size > r.n.size() {
			r.put(edit{size: size})
		}
		return nil
	}, nil)
}

func (r *ramFile) Truncate(size int64) error {
	return r.f.step("truncate "+r.name(), func() error { r.put(edit{size: size}); return nil }, nil)
}

func (r *ramFile) Punch(at, size int64) error {
	return r.f.step("punch "+r.name(), func() error {
		r.put(edit{at, make([]byte, min(size, max(r.n.size()-at, 0))), r.n.size()})
		return nil
	}, nil)
}

// Sync makes a file durable. Where that fails the system takes what was written for clean all the same, whatever of it
// the disk has.
func (r *ramFile) Sync() error {
	name := r.name()
	return r.f.step("sync "+name, func() error {
		if r.f.lies.sync == "" || !strings.HasPrefix(name, r.f.lies.sync) {
			// ext4 commits what was done to names with a file that is new or has grown.
			grew := func(e edit) bool { return e.size != int64(len(r.n.disk)) }
			isNew := func(m move) bool { return m.node == r.n }
			if r.f.ordered && (slices.ContainsFunc(r.n.pending, grew) || slices.ContainsFunc(r.f.moves, isNew)) {
				r.f.settleNames()
			}
			r.n.sync()
		}
		return nil
	}, func() {
		r.n.disk, r.n.pending = slices.Clone(r.n.survives(r.f.random, some)), nil
	})
}

func (*ramFile) Close() error { return nil }
