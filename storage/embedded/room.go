package embedded

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"jackdaw/storage"
)

// Memory is bounded: writers who outrun the disk wait, each with what it has in hand, until the committer takes the
// group or the checkpoint ends. A disk that hangs must not hold them for ever, and with them whoever needs their
// owners: after longestWait without any progress writes are refused at once, until there is some.

const (
	// largestWrite bounds one write, a record or all changes of an Update.
	largestWrite = 256 << 20
	// leastRoom and mostRoom bound what waits for the committer; between them it is the size of a journal.
	leastRoom = 64 << 10
	mostRoom  = 256 << 20
	// spareRoom is how many times as much may wait of those who make room, must not wait, or have waited already.
	spareRoom = 4

	longestWait = 10 * time.Second
)

// The length of a frame is written in 32 bits.
const _ uint32 = frameHeader + spareRoom*mostRoom + 2*largestWrite

var (
	errTooLarge = errors.New("a write of more than 256 MiB")
	errSlow     = fmt.Errorf("%w now: the disk does not keep up", storage.ErrUnavailable)
)

// A room is the state of those who wait. The engine's mu guards all but full.
type room struct {
	full      atomic.Bool // whoever is going to write asks awaitTurn first
	waiting   int
	until     time.Time // when those who wait give up
	alarm     *time.Timer
	stuck     bool // somebody has given up since there was progress
	finishing bool // the committer tells of a group: whoever waits could be whom it waits for
}

func (r *room) init(e *engine) {
	r.alarm = time.AfterFunc(time.Hour, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if r.waiting > 0 && !time.Now().Before(r.until) {
			r.stuck = true
			e.changed.Broadcast()
		}
	})
	r.alarm.Stop()
}

// progress tells those who wait that there is room, or will be soon. The caller holds mu.
func (e *engine) progress() {
	e.room.stuck = false
	e.room.extend()
	e.fill()
	e.changed.Broadcast()
}

// extend has those who wait do so for longestWait from now.
func (r *room) extend() {
	if r.waiting > 0 {
		r.until = time.Now().Add(longestWait)
		r.alarm.Reset(longestWait)
	}
}

// fill notes whether there is room. The caller holds mu.
func (e *engine) fill() {
	if full := e.crowded(1) || e.behind(1); full != e.room.full.Load() {
		e.room.full.Store(full)
	}
}

// crowded says whether the group has no room for another write. The caller holds mu.
func (e *engine) crowded(times int) bool {
	return len(e.current.frame) > times*min(max(e.limit, leastRoom), mostRoom)
}

// behind says whether the checkpoint cannot follow. The caller holds mu.
func (e *engine) behind(times int64) bool {
	return (e.merging || e.obstacle != nil) && e.tables.Load().active.bytes.Load() > times*2*int64(e.limit)
}

// awaitTurn returns when there is room for a write, or an error if that is to be refused. It comes before the owner is
// locked, so that whoever waits holds up nobody who only reads. A lazy write, which removes records, waits later.
func (e *engine) awaitTurn(lazy bool) error {
	if !e.room.full.Load() {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	times := 1
	if lazy {
		times = spareRoom
	}
	return e.awaitRoom(times, 1)
}

// awaitRoom returns when the group and the table have so many times the usual room. The caller holds mu.
func (e *engine) awaitRoom(group int, table int64) error {
	r := &e.room
	for again := false; ; again = true {
		most := group
		if r.finishing {
			most = spareRoom
		}
		late := e.behind(table)
		switch {
		case e.err != nil:
			return e.err
		case e.finished:
			return storage.ErrClosed
		case !late && !e.crowded(most):
			return nil
		case r.stuck || r.finishing && !(late && e.merging): // else only the committer makes room, and may wait for this
			return errSlow
		}
		switch r.waiting++; {
		case r.waiting > 1:
		case again: // woken, perhaps without any progress
			r.alarm.Reset(time.Until(r.until))
		default:
			r.extend()
		}
		if !e.current.empty() { // it may hold nothing but lazy batches
			e.hurry()
		}
		e.changed.Wait()
		if r.waiting--; r.waiting == 0 {
			r.alarm.Stop()
		}
	}
}

// finish tells whoever waits for a group of its outcome. What is called may write, or wait for a lock that a writer
// holds: until it returns no writer waits for the committer.
func (e *engine) finish(g *group, err error) {
	e.mu.Lock()
	e.room.finishing = true
	if e.room.waiting > 0 {
		e.changed.Broadcast()
	}
	e.mu.Unlock()
	g.pending.Finish(err)
	e.mu.Lock()
	e.room.finishing = false
	e.mu.Unlock()
}
