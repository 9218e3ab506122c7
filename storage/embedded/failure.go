package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"jackdaw/storage"
)

// Failures are of two kinds. After an error of fsync, or of a write to the journal or the tree, nobody knows what the
// disk holds: it is *in doubt*, and final. Everything else leaves what counts on the disk as it was: no room (room.go),
// no descriptor, a file that cannot be created or removed. Then nothing goes further for *now*; it is tried again, and
// what was accepted goes on as soon as it works.

// doubt is an error after which nobody knows what the disk holds.
type doubt struct{ error }

func (d doubt) Unwrap() error { return d.error }

func inDoubt(err error) bool { return errors.As(err, new(doubt)) }

// lacksRoom says whether a commit of the tree failed before its meta page was written, for want of room.
func lacksRoom(err error) bool {
	var path *fs.PathError
	written := errors.As(err, &path) && path.Op == "write" || strings.HasPrefix(err.Error(), "file resize error")
	return isFull(err) && written
}

// ErrFailed is what all writes get after a failure in doubt, of which the engine's log has told.
var ErrFailed = fmt.Errorf("%w until a restart", storage.ErrUnavailable)

// fail ends the engine's acknowledgements for ever, and returns what writes get from now on.
func (e *engine) fail(what string, err error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.err != nil:
	case e.closed.Load() && !inDoubt(err): // whoever closes the engine gets it; the next Open does what was left
		e.err = fmt.Errorf("%w: %s: %w", storage.ErrUnavailable, what, err)
	default:
		e.err = fmt.Errorf("%w: %s: %w", ErrFailed, what, err)
		e.log.Error("storage has failed: nothing is acknowledged any more; see to the disk, then start anew: "+
			"nothing acknowledged is lost", "failed", what, "error", err, "directory", e.dir)
		if e.failed != nil {
			go e.failed(e.err)
		}
	}
	e.changed.Broadcast()
	return e.err
}

// hindered notes that something cannot be done now.
func (e *engine) hindered(what string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.obstacle == nil && !isFull(err) {
		e.log.Error("storage cannot go on for now: see to descriptors, room and rights; it is tried again",
			"failed", what, "error", err, "directory", e.dir)
	}
	e.obstacle = fmt.Errorf("%s: %w", what, err)
	e.resume = time.Now().Add(e.again)
}

// lack counts who waits for room.
func (e *engine) lack(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lacking += n
}

// goesOn notes that what could not be done has been.
func (e *engine) goesOn() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.obstacle != nil {
		if !isFull(e.obstacle) { // of which regain tells
			e.log.Info("storage goes on", "directory", e.dir)
		}
		e.obstacle = nil
		e.progress()
	}
}

// tellLitter tells what could not be given back after a merge, or that all was. Nothing waits for it, and the next
// merge tries again.
func (e *engine) tellLitter(err error) {
	if err != nil && !e.littered {
		e.log.Error("storage cannot give room back for now: see to descriptors and rights; it is tried again",
			"error", err, "directory", e.dir)
	} else if err == nil && e.littered {
		e.log.Info("storage has given back what it could not", "directory", e.dir)
	}
	e.littered = err != nil
}

// untilDone tries something until it is done. It fails when that has left something in doubt, or the engine is closed.
func (e *engine) untilDone(what string, f func() error) error {
	for {
		err := f()
		if err == nil {
			e.goesOn()
			return nil
		}
		if inDoubt(err) || !e.tryAgain(what, err) {
			return e.fail(what, err)
		}
	}
}

// tryAgain returns true when it is time to try again what could not be done, false when the engine is closed meanwhile.
func (e *engine) tryAgain(what string, err error) bool {
	if isFull(err) {
		if e.noRoom(what, err) {
			return true
		}
		e.lack(1)
		defer e.lack(-1)
	}
	e.hindered(what, err)
	timer := time.NewTimer(e.again)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.closing:
		return false
	}
}
