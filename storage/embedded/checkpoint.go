package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.etcd.io/bbolt"
)

// freeze begins a checkpoint. The caller holds mu and is the committer.
func (e *engine) freeze() {
	e.merging = true
	e.tables.Store(&tables{active: newMemtable(&e.seed), frozen: e.tables.Load().active})
}

// settle runs when there was no write for a while: it merges what there is, so that an idle server holds little memory
// and opens quickly after a crash.
func (e *engine) settle() {
	e.mu.Lock()
	busy := e.running || e.merging || e.closed.Load() || e.err != nil || !e.current.empty()
	if busy || e.tables.Load().active.empty() && !e.unfinished() {
		e.mu.Unlock()
		return
	}
	e.running = true // in the committer's place
	e.mu.Unlock()
	ready := e.prepare()
	e.mu.Lock()
	// With writes on their way the border between tables would not be that between journals; the committer that takes
	// them calls again.
	var old []*journal
	if ready = ready && e.err == nil && e.current.empty(); ready {
		// Buffers grow as large as the largest group.
		e.spare, e.current.frame = nil, newGroup(0, nil).frame
		if e.tables.Load().active.empty() {
			e.merging = true
		} else {
			e.freeze()
			old = append(old, e.journal)
		}
	}
	e.mu.Unlock()
	if ready && old != nil && e.nextJournal() != nil {
		e.mu.Lock()
		e.merging, ready = false, false
		e.mu.Unlock()
	}
	if ready {
		go e.checkpoint(old)
	}
	e.commit()
}

// unfinished says whether the last merge has left something for the next.
func (e *engine) unfinished() bool { return len(e.kept) > 0 || e.segments.unfinished.Load() }

// A reserve is the file of the next journal, already open: a checkpoint must not fail because there is no descriptor or
// no room for a new file when it begins.
type reserve struct {
	file file
	size int
}

// prepare makes the reserve if there is none. The caller is the committer.
func (e *engine) prepare() bool {
	e.mu.Lock()
	wait := e.merging || e.reserve != nil || time.Now().Before(e.resume)
	ready := e.reserve != nil
	e.mu.Unlock()
	if wait {
		return ready
	}
	const what = "make a file for the next journal"
	err := e.makeReserve()
	if isFull(err) && e.noRoom(what, err) {
		err = e.makeReserve()
	}
	if err != nil {
		e.hindered(what, err)
		return false
	}
	e.goesOn()
	return true
}

func (e *engine) makeReserve() error {
	f, err := e.files.create(e.spareFile())
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil && e.ahead > 0 {
		if err = f.Allocate(e.ahead, true); !isFull(err) {
			err = nil // this file system cannot
		}
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reserve = &reserve{f, int(size)}
	return nil
}

// nextJournal ends the journal and begins a new one in the reserve.
func (e *engine) nextJournal() error {
	if err := e.untilDone("end the journal", e.journal.end); err != nil {
		return err
	}
	return e.untilDone("begin a journal", func() error { return e.begin(e.journal.number + 1) })
}

// begin begins a journal in the reserve.
func (e *engine) begin(number uint64) error {
	next := newJournal(e.dir, number, e.limit, e.reserve)
	if err := e.files.rename(e.spareFile(), next.path); err != nil {
		return err
	}
	if err := e.names.sync(); err != nil {
		return err
	}
	e.mu.Lock()
	e.journal, e.reserve = next, nil
	e.mu.Unlock()
	return nil
}

// checkpoint merges the frozen table into the tree. old are its journals, none if there is nothing to merge and only
// what the last merge has left is to be done.
func (e *engine) checkpoint(old []*journal) {
	frozen, last := e.tables.Load().frozen, e.merged
	if len(old) == 0 {
		frozen = newMemtable(&e.seed)
	} else {
		last = old[len(old)-1].mark()
	}
	err := e.untilDone("merge the journal", func() error { return e.merge(frozen, last) })
	if err == nil {
		err = e.giveBack(old)
	}
	if err == nil {
		if bad := e.makeFilters(); bad != nil {
			e.log.Error("dedup values cannot be read", "error", bad, "directory", e.dir)
		}
	}
	if err == nil && time.Since(e.inspected) >= e.inspectEvery {
		e.inspect()
	}
	e.mu.Lock()
	busy := e.running
	e.mu.Unlock()
	if !busy { // the next merge would fetch it all again
		e.release()
		e.segments.buf = nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil { // else reads still need the frozen table, and the next Open its journal
		e.tables.Store(&tables{active: e.tables.Load().active})
	}
	e.endMerge()
	e.progress()
}

// endMerge ends the turn of a merge. The caller holds mu.
func (e *engine) endMerge() {
	e.merging = false
	// settle may have run meanwhile, in vain.
	if !e.running && !e.closed.Load() && (e.unfinished() || !e.tables.Load().active.empty()) {
		e.settling.Reset(e.idle)
	}
}

// giveBack lets go of the room of records, and of the journals whose merge is not the last one any more; it keeps that
// of the last one, which may be none. What cannot be removed now is tried again after the next merge: the order stays
// that of the journals.
func (e *engine) giveBack(last []*journal) error {
	if e.isHeld() {
		e.kept = append(e.kept, last...)
		return nil
	}
	left := e.segments.giveBack()
	for len(e.kept) > 0 && !inDoubt(left) {
		if err := e.setAside(e.kept[0]); err != nil {
			left = errors.Join(left, err)
			break
		}
		e.kept = e.kept[1:]
	}
	if inDoubt(left) {
		return e.fail("give room back", left)
	}
	e.tellLitter(left)
	e.kept = append(e.kept, last...)
	return nil
}

// setAside makes a journal the reserve, or removes it if there is one or if it grew far beyond the limit. It does so
// for good: if it came back after a power cut without those that followed it, replaying it would undo what they did.
func (e *engine) setAside(j *journal) error {
	if j.file == nil || e.reserve != nil || j.capacity > 2*max(e.limit, len(zeros)) {
		err := removeDurably(e.files, e.names, j.path)
		if err == nil && j.file != nil {
			j.close() // nothing in it is needed any more
		}
		return err
	}
	if err := e.files.rename(j.path, e.spareFile()); errors.Is(err, fs.ErrNotExist) {
		return j.close() // somebody has removed it
	} else if err != nil {
		return err
	}
	if err := e.names.sync(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reserve = &reserve{j.file, j.capacity}
	return nil
}

// update is a transaction on the tree. Its error is in doubt if it may have been committed, or half.
func (e *engine) update(f func(tx *bbolt.Tx) error) error {
	var inside error
	var id uint64
	err := guarded(e.treePath, func() error {
		return e.tree.Update(func(tx *bbolt.Tx) error {
			// The library takes the newest state that it finds whole: what it was going to add to must be the last one.
			if id = uint64(tx.ID()); id != e.lastTx+1 {
				inside = doubt{fmt.Errorf("the newest state of %s is damaged; the next start goes back to the one before it",
					e.treePath)}
			} else {
				inside = f(tx)
			}
			return inside
		})
	})
	if isDamage(err) && inside == nil {
		e.broken = true
	}
	if err != nil && inside == nil && !lacksRoom(err) {
		return doubt{err}
	}
	if err == nil {
		e.lastTx = id
	}
	return err
}

// journalsBucket is where the tree notes the last journal that was merged into it:
//
//	j  the journals    "merged" → number, checksum of its first frame
var journalsBucket, mergedKey = []byte("j"), []byte("merged")

func noteMerged(tx *bbolt.Tx, last mark) error {
	b, err := tx.CreateBucketIfNotExists(journalsBucket)
	if err != nil {
		return err
	}
	return b.Put(mergedKey, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, last.number), last.first))
}

// mergedInto returns the last journal that is in a tree, the zero mark if it does not know.
func mergedInto(tx *bbolt.Tx) mark {
	if b := tx.Bucket(journalsBucket); b != nil {
		if v := b.Get(mergedKey); len(v) == 12 {
			return mark{binary.BigEndian.Uint64(v), binary.BigEndian.Uint32(v[8:])}
		}
	}
	return mark{}
}

// merge writes a table into the tree in one transaction, and purges the Dedup values whose time is over.
//
// What it frees is given back when the next merge is durable, and the journals of this one, the last of which is given,
// are kept as long: until then the tree as it was before this merge is whole, too.
func (e *engine) merge(t *memtable, last mark) error {
	var known *knowledge
	var rows map[uint32][]row
	var out *placer
	err := e.update(func(tx *bbolt.Tx) error {
		var bucket *bbolt.Bucket
		var name []byte
		var given [][]byte // damaged blocks
		for n := t.head[0].Load(); n != nil; n = n.low.Load() {
			cut := bytes.IndexByte(n.key, 0)
			if cut <= 0 {
				return errBadOps
			}
			if n.key[0] == 'p' { // of a journal of an earlier version
				continue
			}
			if n.key[0] == 'y' {
				given = append(given, n.key[1:])
				continue
			}
			if bucket == nil || !bytes.Equal(name, n.key[:cut]) {
				var err error
				name = n.key[:cut]
				if bucket, err = tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
				// Most keys are appended to what their owner has, so nothing will go between those there are: full
				// pages make the file smaller and merging cheaper.
				bucket.FillPercent = 0.9
			}
			var err error
			if entry := n.entry.Load(); entry.deleted {
				err = bucket.Delete(n.key[cut+1:])
			} else {
				err = bucket.Put(n.key[cut+1:], entry.value)
			}
			if err != nil {
				return err
			}
		}
		out = e.segments.begin(tx)
		if err := mergeRecords(tx, t, out); err != nil {
			return err
		}
		for _, key := range given {
			if err := out.giveUp(key); err != nil {
				return err
			}
		}
		if err := out.note(); err != nil {
			return err
		}
		if err := noteMerged(tx, last); err != nil {
			return err
		}
		var err error
		if rows, err = e.mergeValues(tx, t); err != nil {
			return err
		}
		if err := e.purge(tx); err != nil {
			return err
		}
		known, err = knowledgeIn(tx)
		return err
	})
	if err != nil {
		return err
	}
	e.merged, e.once = last, !t.empty()
	if err := e.writeSums(); err != nil {
		e.log.Warn("checksums of the store were not written; it is not checked when it is opened next", "error", err)
	}
	out.committed()
	e.knowRuns(known, rows)
	return nil
}
