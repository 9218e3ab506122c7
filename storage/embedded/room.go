package embedded

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"jackdaw/storage"
)

// A full disk is no failure: a write that found no room is done again when there is some, at the same place and with
// the same bytes, and only then acknowledged. Meanwhile what adds something is refused, and removals go on, which make
// room. So that they can, and that what was accepted before is acknowledged soon, room is kept for bad times: each
// journal has all of its blocks from the start, and a file is given up for the merge, which is what gives room back.
const (
	// roomName is of the file. While it is given up it holds the size that it had, in digits.
	roomName = "room"
	// roomPart is which part of the disk the file takes at most, and each journal from the start; mostAhead bounds both.
	roomPart  = 20
	mostAhead = 8 << 20
	// leastKept is below which it is not worth it.
	leastKept = 64 << 10
)

// A room is what is kept for bad times. Nobody who holds the engine's mu locks its own.
type room struct {
	mu     sync.Mutex // guards the rest
	files  fileSystem
	path   string
	file   file  // open as long as the engine: giving up must not need a descriptor; nil: nothing can be kept
	size   int64 // that is kept, or is going to be again; 0: none
	held   bool
	closed bool
	again  *time.Timer // runs regain
}

// ErrNoRoom is what whoever adds something gets while the disk is full, of which the engine's log has told.
var ErrNoRoom = fmt.Errorf("%w now: %w", storage.ErrUnavailable, syscall.ENOSPC)

// isFull says whether there was no room on the disk. The tree's file may have to grow, of which its library only tells
// in words.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		err != nil && strings.Contains(err.Error(), syscall.ENOSPC.Error())
}

// part is how much of a disk may be taken beforehand, most at most.
func part(files fileSystem, dir string, most int64) int64 {
	all, err := files.total(dir)
	if err != nil {
		return 0 // where it is not known nothing can be allocated either
	}
	return min(most, all/roomPart)
}

// openRoom keeps room, as much as two journals. What was given up before and cannot be had again now is no error.
func (e *engine) openRoom() error {
	r := &e.room
	r.files, r.path = e.files, filepath.Join(e.dir, roomName)
	r.again = time.AfterFunc(time.Hour, e.regain)
	r.again.Stop() // until it is given up
	wanted := part(e.files, e.dir, 2*min(int64(e.limit), mostAhead))
	if wanted < leastKept {
		return nil
	}
	f, err := r.files.create(r.path)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.file = f
	switch before := givenUp(f, size); {
	case size >= leastKept:
		r.size, r.held = size, true
		return nil
	case before > 0:
		r.size = before
		_ = r.take(2) // else it is tried again
		return nil
	}
	// The first time: a disk that is nearly full already keeps little.
	for r.size = wanted; r.size >= leastKept; r.size /= 2 {
		if r.take(4) == nil {
			return nil
		}
	}
	r.size = 0
	r.release()
	return nil
}

// givenUp returns the size that a file had before it was given up; 0: it was not.
func givenUp(f file, size int64) int64 {
	if size == 0 || size > 20 {
		return 0
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return 0
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || n < leastKept {
		return 0
	}
	return n
}

// take keeps room, if so many times as much is there: else it would be given up again at once. A file system that
// cannot keep room keeps none. The caller holds mu, or nobody else has the engine yet.
func (r *room) take(times int64) error {
	err := r.file.Allocate(times*r.size, false)
	if err == nil {
		err = r.file.Truncate(r.size)
	}
	if err == nil { // a power cut may take it: the next start tries again
		r.held = true
		return nil
	}
	r.release()
	if !isFull(err) {
		r.size = 0
		return nil
	}
	return err
}

// release gives the room to the file system. The caller holds mu, or nobody else has the engine yet. What cannot be
// done is no matter: the file holds nothing.
func (r *room) release() {
	_ = r.file.Truncate(0)
	if r.size > 0 {
		_, _ = r.file.WriteAt(strconv.AppendInt(nil, r.size, 10), 0)
	}
	_ = r.file.Sync() // blocks can be used again when it is durable that they are free
	r.held = false
}

// giveUp is release for anybody, once; it returns whether there was something to give.
func (r *room) giveUp() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held || r.closed {
		return false
	}
	r.release()
	return true
}

// close lets go of the file.
func (r *room) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.again != nil {
		r.again.Stop()
	}
	if r.closed = true; r.file == nil {
		return nil
	}
	return r.file.Close()
}

// noRoom has what adds something refused from now on, and gives up the room that is kept. It returns true if there is
// some now that was not there before.
func (e *engine) noRoom(what string, err error) bool {
	e.mu.Lock()
	if !e.short {
		e.log.Error("the disk is full: nothing more is taken, removals go on; make room, it is tried again",
			"failed", what, "error", err, "directory", e.dir)
	}
	e.short = true
	e.fill()
	e.changed.Broadcast()
	e.mu.Unlock()
	e.room.again.Reset(e.again)
	return e.room.giveUp()
}

// regain runs while there is no room, and ends that when nobody waits for room and that for bad times is there again.
func (e *engine) regain() {
	e.mu.Lock()
	if e.closed.Load() || e.err != nil || !e.short {
		e.mu.Unlock()
		return
	}
	held := e.lacking > 0
	e.mu.Unlock()
	if held || !e.room.regained() {
		e.room.again.Reset(e.again)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed.Load() {
		return
	}
	e.short = false
	e.log.Info("there is room on the disk again: storage goes on", "directory", e.dir)
	e.progress()
}

// regained says whether all that is kept is there.
func (r *room) regained() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.whole() || !r.closed && r.take(2) == nil
}

// whole says whether all is kept that can be. The caller holds mu, or nobody else has the engine yet.
func (r *room) whole() bool { return r.held || r.size == 0 || r.file == nil }
