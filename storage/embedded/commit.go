package embedded

import (
	"bytes"
	"time"

	"jackdaw/storage"
)

// A group is the writes that one fsync makes durable.
type group struct {
	number  uint64
	frame   []byte    // begins with room for the header
	writes  int       // that are not lazy
	urgent  bool      // holds more than lazy batches, or these have waited enough
	since   time.Time // urgent
	pending *storage.Pending

	// written are data of records in the frame that may come again, the oldest of them being overwritten next.
	written [4]written
	oldest  int
}

// written are data at a place in a frame, and the copy that a table has.
type written struct {
	at   int
	data []byte
}

// leastShared is the length from which on it pays to look for data.
const leastShared = 64

// find returns where the frame has these data, nil if it is not known.
func (g *group) find(data []byte) *written {
	if len(data) >= leastShared {
		for i := range g.written {
			if w := &g.written[i]; len(w.data) == len(data) && bytes.Equal(w.data, data) {
				return w
			}
		}
	}
	return nil
}

// note remembers the data that the frame ends with.
func (g *group) note(kept []byte) {
	g.written[g.oldest] = written{len(g.frame) - len(kept), kept}
	g.oldest = (g.oldest + 1) % len(g.written)
}

func newGroup(number uint64, buffer []byte) *group {
	return &group{number: number, frame: append(buffer[:0], make([]byte, frameHeader)...), pending: storage.NewPending()}
}

func (g *group) empty() bool { return len(g.frame) == frameHeader }

// laziness is how long lazy batches wait for a group that is written anyway. The comment of storage.Log.Remove speaks
// of it.
const laziness = 50 * time.Millisecond

// A ticket is a write on its way: its pending, and the number of its group. Groups become durable in the order of their
// numbers.
type ticket struct {
	pending *storage.Pending
	group   uint64
}

// write applies a batch in memory and queues it for the committer. The caller holds the shards of the owners written
// to. The batch is the engine's afterwards.
func (e *engine) write(b *batch) (ticket, error) {
	switch {
	case b.tooLong:
		return ticket{}, errTooLong
	case len(b.ops) > largestWrite:
		return ticket{}, errTooLarge
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	g, active, err := e.admit()
	if err != nil {
		return ticket{}, err
	}
	e.add(g, active, b)
	return ticket{g.pending, g.number}, nil
}

// admit returns the group and the table that the next write goes to. The caller holds mu, which is let go of while it
// waits: that is seldom, since it has been through awaitTurn.
func (e *engine) admit() (*group, *memtable, error) {
	if err := e.awaitRoom(spareRoom, 2, false); err != nil {
		return nil, nil, err
	}
	return e.current, e.tables.Load().active, nil
}

// add puts a batch into a group and a table that admit has just returned.
func (e *engine) add(g *group, active *memtable, b *batch) {
	// The caller has just made these ops, so they can be read.
	_ = eachOp(b.ops, func(o op) { active.put(o, g.number) })
	if b.lazy && g.empty() {
		e.overdue.Reset(laziness)
	}
	g.frame = append(g.frame, b.ops...)
	if !b.lazy {
		g.writes++
		e.hurry()
	}
	e.fill()
}

// hurry has the current group written. The caller holds mu.
func (e *engine) hurry() {
	g := e.current
	if !g.urgent {
		g.urgent, g.since = true, time.Now()
	}
	if e.expected > 0 && g.writes >= e.expected {
		e.expected = 0
		e.gathered <- struct{}{} // has room for the one that gather waits for
	}
	if !e.running {
		e.running = true
		go e.commit()
	}
}

// flush runs when lazy batches have waited enough. Should they have gone with a group meanwhile, those of the next one
// go early.
func (e *engine) flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.current.empty() {
		e.hurry()
	}
}

// rests is the answer to a write that rests on what a group carries, and writes nothing itself: the ticket of the group
// while it is on its way, none once it is durable, and the engine's error if it never will be.
func (e *engine) rests(number uint64) (ticket, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ticketOf(number)
}

// restsOnAll is rests for a caller who cannot tell the group: the answer waits for all that was written before.
func (e *engine) restsOnAll() (*storage.Pending, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := e.current.number
	if e.current.empty() {
		last--
	}
	t, err := e.ticketOf(last)
	return t.pending, err
}

// ticketOf is rests for a caller who holds mu.
func (e *engine) ticketOf(number uint64) (ticket, error) {
	switch {
	case number <= e.durable:
		return ticket{}, nil
	case e.flying != nil && number == e.flying.number:
		return ticket{e.flying.pending, number}, nil
	case e.err != nil:
		return ticket{}, e.err
	}
	return ticket{e.current.pending, e.current.number}, nil
}

// earlyDelay is how long the lying server of ackearly sits on what it acknowledged.
const earlyDelay = 20 * time.Millisecond

// commit makes groups durable for as long as there are any.
func (e *engine) commit() {
	for {
		e.gather()
		if e.journal.size >= e.limit/2 {
			e.prepare()
		}
		e.mu.Lock()
		g := e.current
		if !g.urgent {
			e.running = false
			if !e.closed.Load() {
				e.settling.Reset(e.idle)
			}
			e.changed.Broadcast()
			e.mu.Unlock()
			return
		}
		e.current, e.flying = newGroup(g.number+1, e.spare), g
		e.spare = nil
		e.progress()
		// Freezing here keeps the border between journals that between tables: all that the frozen table holds is in
		// this journal or an earlier one.
		freeze := e.err == nil && !e.merging && e.reserve != nil && e.journal.size+len(g.frame) >= e.limit
		if freeze {
			e.freeze()
		}
		err := e.err
		e.mu.Unlock()

		if err == nil && !e.ackEarly {
			begun := time.Now()
			err = e.append(g)
			e.pace.took, e.pace.writes = time.Since(begun), g.writes
		}
		e.tell(g, err)
		if err == nil && e.ackEarly {
			time.Sleep(earlyDelay)
			err = e.append(g)
		}

		old, written := e.journal, err == nil
		if freeze && written {
			err = e.nextJournal()
		}
		e.mu.Lock()
		e.flying = nil
		if written {
			e.durable = g.number
		}
		if cap(g.frame) <= max(1<<20, e.limit) {
			e.spare = g.frame
		}
		if freeze && err != nil {
			e.merging = false
		}
		e.progress()
		e.mu.Unlock()
		if freeze && err == nil {
			go e.checkpoint([]*journal{old})
		}
	}
}

// pace is what gather knows of the last group. Only the committer uses it.
type pace struct {
	took   time.Duration // to write it
	writes int           // in it; 0: nothing to gather
	skip   int           // so many groups are not gathered, after a vain wait
}

const (
	// longestGather bounds how long a group is held for those who were just answered; three times the time of the last
	// group does too. It takes some 1 ms of two busy cores until sixteen of them have had their answer and written
	// again; waiting for less was in vain.
	longestGather = 1500 * time.Microsecond
	// vainGathers is for how many groups nothing is gathered after less than half of those came.
	vainGathers = 4
)

// gather waits for those whom the last group answered to write again. Without it, senders who wait for each answer fall
// into two parts that take turns, each with an fsync of its own: the first to come back starts a group that nobody else
// is in. With sixteen of them there are 2.2 times as many groups then, and a record costs 1.45 times the CPU
// (BenchmarkKeptCopiesOfSixteen). A writer who is alone never waits.
func (e *engine) gather() {
	p := &e.pace
	last := p.writes
	p.writes = 0
	if last < 2 {
		return
	}
	if p.skip > 0 {
		p.skip--
		return
	}
	e.mu.Lock()
	if e.closed.Load() || e.err != nil || e.backlog.waiting > 0 { // a writer who waits for room does not come
		e.mu.Unlock()
		return
	}
	e.expected = last + e.current.writes
	e.mu.Unlock()
	e.patience.Reset(min(3*p.took, longestGather))
	select {
	case <-e.gathered:
		e.patience.Stop()
		return
	case <-e.patience.C:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.expected == 0 {
		<-e.gathered // just now
		return
	}
	if e.current.writes <= e.expected/2 {
		p.skip = vainGathers
	}
	e.expected = 0
}

// append makes a group durable. Its error is final for the engine.
func (e *engine) append(g *group) error {
	if g.empty() { // an empty frame would be that of end
		return nil
	}
	if err := e.journal.append(g.frame); err != nil {
		first := err
		err := e.untilDone("write the journal", func() error {
			if err := first; err != nil {
				first = nil
				return err
			}
			return e.journal.append(g.frame)
		})
		if err != nil {
			return err
		}
	}
	if f := e.observer.Load(); f != nil {
		(*f)(time.Since(g.since))
	}
	return nil
}
