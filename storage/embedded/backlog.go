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
	// leastRoom and mostRoom bound what waits for the committer; between them it is the size of a journal. The most is
	// thousands of records to an fsync: more would only be memory, and there are three such buffers at times.
	leastRoom = 64 << 10
	mostRoom  = 1 << 20
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

// A backlog is the state of the writers who wait. The engine's mu guards all but full.
type backlog struct {
	full    atomic.Bool // whoever is going to write asks awaitTurn first
	waiting int
	until   time.Time // when those who wait give up
	alarm   *time.Timer
	stuck   bool // somebody has given up since there was progress
	telling bool // the committer tells of a group: whoever waits could be whom it waits for
}

func (b *backlog) init(e *engine) {
	b.alarm = time.AfterFunc(time.Hour, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if b.waiting > 0 && !time.Now().Before(b.until) {
			b.stuck = true
			e.changed.Broadcast()
		}
	})
	b.alarm.Stop()
}

// progress tells those who wait that there is room, or will be soon. The caller holds mu.
func (e *engine) progress() {
	e.backlog.stuck = false
	e.backlog.extend()
	e.fill()
	e.changed.Broadcast()
}

// extend has those who wait do so for longestWait from now.
func (b *backlog) extend() {
	if b.waiting > 0 {
		b.until = time.Now().Add(longestWait)
		b.alarm.Reset(longestWait)
	}
}

// fill notes whether there is room. The caller holds mu.
func (e *engine) fill() {
	if full := e.short || e.crowded(1) || e.behind(1); full != e.backlog.full.Load() {
		e.backlog.full.Store(full)
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
// locked, so that whoever waits holds up nobody who only reads. One that only removes waits later.
func (e *engine) awaitTurn(removes bool) error {
	if !e.backlog.full.Load() {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	times := 1
	if removes {
		times = spareRoom
	}
	return e.awaitRoom(times, 1, !removes)
}

// awaitRoom returns when the group and the table have so many times the usual room. What adds something and is not
// under way yet is refused while the disk is full. The caller holds mu.
func (e *engine) awaitRoom(group int, table int64, adds bool) error {
	b := &e.backlog
	for again := false; ; again = true {
		most := group
		if b.telling {
			most = spareRoom
		}
		late := e.behind(table)
		switch {
		case e.err != nil:
			return e.err
		case e.closed.Load():
			return storage.ErrClosed
		case adds && e.short:
			return ErrNoRoom
		case !late && !e.crowded(most):
			return nil
		case b.stuck || b.telling && !(late && e.merging): // else only the committer makes room, and may wait for this
			return errSlow
		}
		switch b.waiting++; {
		case b.waiting > 1:
		case again: // woken, perhaps without any progress
			b.alarm.Reset(time.Until(b.until))
		default:
			b.extend()
		}
		if !e.current.empty() { // it may hold nothing but lazy batches
			e.hurry()
		}
		e.changed.Wait()
		if b.waiting--; b.waiting == 0 {
			b.alarm.Stop()
		}
	}
}

// tell tells whoever waits for a group of its outcome. What is called may write, or wait for a lock that a writer
// holds: until it returns no writer waits for the committer.
func (e *engine) tell(g *group, err error) {
	e.mu.Lock()
	e.backlog.telling = true
	if e.backlog.waiting > 0 {
		e.changed.Broadcast()
	}
	e.mu.Unlock()
	g.pending.Finish(err)
	e.mu.Lock()
	e.backlog.telling = false
	e.mu.Unlock()
}
