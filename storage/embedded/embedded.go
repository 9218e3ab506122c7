// Package embedded keeps everything in one directory on the local disk. It is the default engine: no server, one
// process, safe against crashes.
//
// A write goes into a memory table, where reads find it at once, and into the group that the committer takes next. The
// committer appends a whole group to a journal, one frame with a checksum, and calls fsync once; then the group's
// pending finishes. When the journal has grown enough, the memory table is frozen and merged into a B+ tree file
// (bbolt) in one transaction, and the file of its journal is used for a later one. Opening replays what journals there
// are. Reads merge the two tables and the tree. Full blocks of records lie in files beside the tree, which refers to
// them.
//
// An error of fsync is final: nothing is acknowledged any more, and nothing is tried again, since nobody knows what the
// disk holds. A full disk is not: what adds something is refused until there is room again (room.go).
// docs/decisions/0001-embedded-store.md says why bbolt and why a journal before it. Left out: more than one process,
// encryption, giving space in the tree's file back to the file system (it is used again).
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"jackdaw/storage"
)

// Options are for tests and for tuning; the zero value is right for a server.
type Options struct {
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// JournalBytes is how large a journal may grow before it is merged into the tree; it bounds memory (to some four
	// times as much, and 256 KiB) and the time to open. 0: 8 MiB.
	JournalBytes int
	// Failed is called once when the store cannot acknowledge until it is opened anew; nil: nobody is told.
	Failed func(error)
	// Log gets what somebody must act on or may want to know; nil: slog.Default().
	Log *slog.Logger

	files fileSystem    // nil: those of the operating system
	idle  time.Duration // without writes until the journal is merged; 0: 5 s
	again time.Duration // until what cannot be done now is tried again; 0: 1 s
	// inspectEvery is how often some pages of the tree are compared with their checksums; 0: once a minute
	inspectEvery time.Duration
	leastRun     int // of Dedup values; 0: as runs.go says
	// ackEarly has pendings finish before their group is written: a lie, for negative controls.
	ackEarly bool
}

// engine implements storage.Engine.
//
// Locks are taken in this order: a shard's, then mu.
type engine struct {
	now       func() time.Time
	limit     int
	files     fileSystem
	dir       string
	treePath  string // joined once: every read names it
	tree      *bbolt.DB
	treeFile  file      // the tree's, for its checksums
	states    []state   // the last two of the tree; the merge's
	lastTx    uint64    // of the last transaction; the merge's
	nextPage  int       // that inspect begins with; the merge's
	inspected time.Time // when it ran last; the merge's
	// broken: the library has panicked in a transaction and may not let go of its locks.
	broken        bool
	littered      bool      // the last merge could not give everything back; the merge's
	treeIsDamaged sync.Once // told
	log           *slog.Logger
	// segments are what the tree refers to.
	segments segments
	room     room
	ahead    int64 // that a journal has of the disk from the start
	names    names
	merged   mark                   // the last journal that is in the tree; the merge's
	ackEarly bool                   // of Options
	once     bool                   // the last merge changed something: the tree before it is another one; the merge's
	tables   atomic.Pointer[tables] // replaced under mu
	closed   atomic.Bool            // Close has begun; stored under mu
	// observer is that of Observe; it may be nil.
	observer atomic.Pointer[func(time.Duration)]

	known atomic.Pointer[knowledge] // of Dedup values; replaced under mu
	seed  valueSeed
	// leastRun and mostRun are how many rows runs of Dedup values have.
	leastRun, mostRun int

	failed  func(error)   // of Options
	again   time.Duration // of Options
	closing chan struct{} // closed by Close

	idle         time.Duration
	settling     *time.Timer // runs settle
	overdue      *time.Timer // runs flush
	inspectEvery time.Duration
	inspecting   *time.Timer // runs inspectNext

	shards [shards]shard

	pace     pace          // the committer's
	patience *time.Timer   // of gather
	gathered chan struct{} // tells gather that all it expects are there

	mu       sync.Mutex // guards the rest
	expected int        // writes of the current group for which gather waits; 0: it does not
	changed  sync.Cond  // of mu: a checkpoint or the committer ended
	current  *group     // what the committer takes next
	flying   *group     // what it is writing
	durable  uint64     // the number of the last group that is durable; those of earlier runs are 0
	running  bool       // the committer runs
	merging  bool       // a checkpoint runs
	journal  *journal
	kept     []*journal // that the last merge has moved into the tree
	reserve  *reserve   // nil: none
	short    bool       // the disk is full
	lacking  int        // who waits for room
	held     int        // backups that are under way
	tight    bool       // Open has met a full disk
	late     []*journal // that Open has replayed and could not merge
	obstacle error      // what cannot be done now; nil: nothing
	resume   time.Time  // when it is tried again
	spare    []byte     // a buffer for the next group
	backlog  backlog
	err      error
}

// A shard orders the calls of the owners that hash to it: writers exclude everyone, so a reader sees all of an Update
// or nothing.
type shard struct {
	sync.RWMutex
	logs map[string]*logState // a cache, by owner: the first of a list
}

// tables are the writes that the tree does not hold yet.
type tables struct{ active, frozen *memtable } // frozen may be nil

// Open opens the store in a directory, which is created with mode 0700 if it is not there.
func Open(dir string) (storage.Engine, error) { return OpenWith(dir, Options{}) }

// OpenWith opens the store with options.
func OpenWith(dir string, o Options) (storage.Engine, error) {
	e, err := open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("open data directory %s: %w", dir, err)
	}
	return e, nil
}

func open(dir string, o Options) (*engine, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.JournalBytes <= 0 {
		o.JournalBytes = 8 << 20
	}
	if o.idle <= 0 {
		o.idle = 5 * time.Second
	}
	if o.again <= 0 {
		o.again = time.Second
	}
	if o.inspectEvery <= 0 {
		o.inspectEvery = inspectEvery
	}
	if o.leastRun <= 0 {
		o.leastRun = leastRun
	}
	if o.files == nil {
		o.files = osFiles{}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	tree, states, err := openTree(o.files, dir, o.Log)
	if err != nil {
		return nil, err
	}
	dirNames, err := o.files.openDir(dir)
	if err != nil {
		tree.Close() // the first error is the one to tell
		return nil, err
	}
	treeFile, err := o.files.open(filepath.Join(dir, treeName))
	if err != nil {
		tree.Close() // as above
		dirNames.Close()
		return nil, err
	}
	e := &engine{now: o.Now, limit: o.JournalBytes, files: o.files, dir: dir, treePath: filepath.Join(dir, treeName),
		tree: tree, treeFile: treeFile, states: states, log: o.Log, names: names{dirNames}, again: o.again,
		failed: o.Failed, ackEarly: o.ackEarly || ackEarly, closing: make(chan struct{})}
	e.segments.dir, e.segments.files, e.segments.names = dir, o.files, e.names
	e.segments.damages.log = o.Log
	e.leastRun, e.mostRun = o.leastRun, o.leastRun*(mostRun/leastRun)
	e.ahead = part(o.files, dir, min(int64(o.JournalBytes), mostAhead))
	e.changed.L = &e.mu
	e.idle, e.settling = o.idle, time.AfterFunc(time.Hour, e.settle)
	e.settling.Stop() // until there was a write
	e.overdue = time.AfterFunc(time.Hour, e.flush)
	e.overdue.Stop() // until there was a lazy write
	e.inspectEvery, e.inspecting = o.inspectEvery, time.AfterFunc(time.Hour, e.inspectNext)
	e.inspecting.Stop() // until the store is open
	e.patience, e.gathered = time.NewTimer(time.Hour), make(chan struct{}, 1)
	e.patience.Stop()
	e.backlog.init(e)
	if err = e.openRoom(); err == nil {
		err = e.recover()
	}
	if err != nil {
		e.closeFiles() // the first error is the one to tell
		return nil, err
	}
	if len(e.states) > 0 {
		// A server that is started often would otherwise never come to the last ones.
		e.nextPage = rand.IntN(len(e.states[0].of))
	}
	if !e.room.whole() || e.tight {
		e.noRoom("open the store", syscall.ENOSPC)
	}
	if len(e.late) > 0 {
		e.merging = true
		go e.checkpoint(e.late)
	}
	e.inspected = time.Now() // small trees have just been
	e.inspecting.Reset(e.inspectEvery)
	return e, nil
}

// recover brings the tree up to date with the journals of the last run.
func (e *engine) recover() error {
	if err := removeDurably(e.files, e.names, e.spareFile()); err != nil {
		return err
	}
	old := false
	err := e.view(func(tx *bbolt.Tx) {
		old, e.merged, e.lastTx = outdated(tx), mergedInto(tx), uint64(tx.ID())
		e.loadSeed(tx)
	})
	if err != nil {
		return err
	}
	if old {
		if err := e.update(convert); err != nil {
			return fmt.Errorf("bring the records into blocks: %w", err)
		}
	}
	e.tables.Store(&tables{active: newMemtable(&e.seed)})
	e.known.Store(&knowledge{})
	done, found, err := replayer{files: e.files, dir: e.dir, merged: e.merged, log: e.log}.replay(func(ops []byte) error {
		var bad error
		err := eachOp(ops, func(o op) {
			if o.key[0] == 'l' && bad == nil {
				_, _, _, bad = splitRecord(o.key)
			}
			if o.key[0] == 'x' && bad == nil {
				_, _, _, bad = splitDedup(o.key)
			}
			e.tables.Load().active.put(o, 0)
		})
		return errors.Join(err, bad)
	})
	if err != nil {
		return err
	}
	// What these journals hold is in the tree, which is durable. Without them the tree of before cannot be gone back
	// to, so what that refers to is given back after them.
	for _, j := range done {
		if err := removeDurably(e.files, e.names, j.path); err != nil {
			return err
		}
	}
	if err := e.segments.load(e); err != nil {
		return err
	}
	if err := e.loadGenerations(); err != nil {
		return err
	}
	last := e.merged
	if len(found) > 0 {
		last = found[len(found)-1].mark()
	}
	e.kept = found
	replayed := e.tables.Load().active
	err = e.orWithRoom(func() error { return e.mergeTwice(replayed, last) })
	switch late := isFull(err) && !inDoubt(err); {
	case late && len(found) > 0 && e.merged != last: // all is merged when there is room
		if err := e.endLate(found[len(found)-1]); err != nil {
			return err
		}
		e.late, e.kept = found, nil
		e.tables.Store(&tables{active: newMemtable(&e.seed), frozen: replayed})
	case err != nil && !late:
		return err
	default:
		if !late {
			e.kept = nil // removed
		}
		e.tables.Store(&tables{active: newMemtable(&e.seed)})
	}
	e.tight = isFull(err)
	e.current = newGroup(1, nil)
	err = e.orWithRoom(e.makeReserve)
	if isFull(err) { // a journal that grows does until there is room
		ahead := e.ahead
		e.ahead, e.tight = 0, true
		err, e.ahead = e.makeReserve(), ahead
	}
	if err != nil {
		return err
	}
	return e.begin(last.number + 1)
}

// spareFile is where the file of a journal waits for a later one.
func (e *engine) spareFile() string { return filepath.Join(e.dir, spareName) }

func (e *engine) Map(space string) storage.Map { return &mapSpace{e, space} }
func (e *engine) Log(space string) storage.Log { return &logSpace{e, space} }
func (e *engine) Accounts() storage.Accounts   { return &accounts{e, "a", true} }
func (e *engine) APIAccounts() storage.Accounts {
	return &accounts{e, "b", false}
}

func (e *engine) Promise() string {
	return "embedded store: acknowledged after fsync; neither a crash nor a power cut loses what was acknowledged"
}

// Observe implements storage.Observer: f gets the time from the first write of a group that somebody waits for until
// the group is durable.
func (e *engine) Observe(f func(d time.Duration)) {
	if f == nil {
		e.observer.Store(nil)
		return
	}
	e.observer.Store(&f)
}

func (e *engine) Err() error {
	if e.closed.Load() {
		return storage.ErrClosed
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil && e.short {
		return ErrNoRoom
	}
	if e.err == nil && e.obstacle != nil && e.backlog.stuck {
		return fmt.Errorf("%w now: %w", storage.ErrUnavailable, e.obstacle)
	}
	return e.err
}

// Close writes what is on its way and merges it, so that the next Open is quick.
func (e *engine) Close() error {
	e.mu.Lock()
	if e.closed.Load() {
		e.mu.Unlock()
		return storage.ErrClosed
	}
	e.closed.Store(true)
	close(e.closing)
	e.settling.Stop()
	e.overdue.Stop()
	e.inspecting.Stop()
	e.changed.Broadcast()
	if !e.current.empty() {
		e.hurry()
	}
	for e.running || e.merging || e.held > 0 {
		e.changed.Wait()
	}
	failed := e.err
	e.mu.Unlock()

	// After an error the tree is left alone: the next Open replays the journals.
	err := failed
	if failed == nil {
		e.kept = append(e.kept, e.journal)
		err = e.orWithRoom(func() error { return e.mergeTwice(e.tables.Load().active, e.journal.mark()) })
		if err == nil {
			err = removeDurably(e.files, e.names, e.spareFile())
		}
	}
	if err2 := e.closeFiles(); err == nil {
		err = err2
	}
	return err
}

// orWithRoom does something again with the room that was kept for it, if there was none.
func (e *engine) orWithRoom(f func() error) error {
	err := f()
	if isFull(err) && !inDoubt(err) && e.room.giveUp() {
		err = f()
	}
	return err
}

// mergeTwice brings a table into the tree, whose journals are those kept, and merges nothing after it: both states of
// the tree are whole then without any journal.
func (e *engine) mergeTwice(t *memtable, last mark) error {
	if !t.empty() || e.stale() {
		if err := e.mergeAndGiveBack(t, last); err != nil {
			return err
		}
	}
	if e.once || e.segments.unfinished.Load() {
		if err := e.mergeAndGiveBack(newMemtable(&e.seed), e.merged); err != nil {
			return err
		}
	}
	for _, j := range e.kept {
		if err := removeDurably(e.files, e.names, j.path); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) mergeAndGiveBack(t *memtable, last mark) error {
	if err := e.merge(t, last); err != nil {
		return err
	}
	err := e.segments.giveBack()
	if inDoubt(err) {
		return err
	}
	e.tellLitter(err)
	return nil
}

// closeFiles closes all that is open.
func (e *engine) closeFiles() error {
	err := errors.Join(e.room.close(), e.segments.close(), e.names.Close(), e.treeFile.Close())
	if !e.broken {
		err = errors.Join(err, e.tree.Close())
	}
	for _, j := range e.kept {
		if j.file != nil && j != e.journal {
			err = errors.Join(err, j.close())
		}
	}
	if e.journal != nil {
		err = errors.Join(err, e.journal.close())
	}
	if e.reserve != nil {
		err = errors.Join(err, e.reserve.file.Close())
	}
	return err
}

// shard returns the shard of an owner.
func (e *engine) shard(owner string) *shard {
	return &e.shards[shardOf(owner)]
}

// errNUL refuses names that would not be kept apart.
var errNUL = errors.New("a name holds a NUL")

// check is the start of every call.
func (e *engine) check(ctx context.Context, names ...string) error {
	if e.closed.Load() {
		return storage.ErrClosed
	}
	for _, name := range names {
		if strings.IndexByte(name, 0) >= 0 {
			return fmt.Errorf("%w: %q", errNUL, name)
		}
	}
	return ctx.Err()
}

// checkWrite is the start of every call that writes to one owner.
func (e *engine) checkWrite(ctx context.Context, removes bool, names ...string) error {
	if err := e.check(ctx, names...); err != nil {
		return err
	}
	return e.awaitTurn(removes)
}
