package c2s

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/wire"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

// errEnded is what WaitBelow returns for a session that is no more.
var errEnded = errors.New("session has ended")

// A session is the connection side of a bound resource: a queue, and for the time that there is one, a connection. It
// implements router.Outlet. With stream management it outlives its connection.
//
// Whoever has something to write and finds nobody writing takes the writer's role (conn.writing), writes until the
// queue is empty, and gives the role up. What the kernel does not take at once, the role goes with to a goroutine of
// its own.
type session struct {
	srv    *Server
	addr   jid.JID
	device string          // see router.Connection
	rs     *router.Session // set before anything else sees the session, but for what the router calls from Bind

	resuming sync.Mutex // held by the one who resumes it; taken before mu

	mu       sync.Mutex // guards the rest, and what conn says is guarded by it
	conn     *conn      // nil: detached
	queue    *chunk     // not given to a connection yet
	flight   []*chunk   // given to a connection and not taken by the client, oldest first
	late     *chunk     // came after the end began
	bytes    int        // of stanzas in all of them, unacknowledged ones included
	passed   uint64     // storable messages that the client has taken
	loose    bool       // there may be messages without a copy
	taken    []uint64   // kept copies to report; in the reporter's hands while reporting
	sm       *management
	idle     *inactivity // XEP-0352: nil while the client is active
	notify   chan struct{}
	ready    bool // rs is set and the bind result is out
	woken    bool // somebody has been told to call Flush
	leaving  bool // it is to end: its reader leaves the router first
	ending   bool // nothing more is given to the connection but what is queued
	draining bool // the kernel has not taken all that was written
	ended    bool // Unbind has what was left
	over     bool // beyond its hard bound
	listed   bool // waits for the reporter
	pinged   bool
	expires  time.Time // of the detached session
	began    int64     // second since 1970; set before anything else sees the session
	timer    entry

	// What the fields above come to, for those who only ask: see measure.
	pressed, full atomic.Bool
}

const (
	// readMark is how many bytes may be unwritten when the reader takes up the client's next stanza.
	readMark = 256 << 10
	// hardBound is how many times its share a session may have waiting, of what can wait nowhere else.
	hardBound = 4
	// maxSpilled is how many stanzas a client may leave unacknowledged that it has been written.
	maxSpilled = 100000
)

// Send implements router.Outlet.
func (s *session) Send(d router.Delivery) (wake, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return false, false
	case s.ending:
		if s.late == nil {
			s.late = newChunk()
		}
		s.late.add(&d)
		s.loose = true
		return false, true
	case s.idle != nil && s.withhold(&d):
		return false, true
	}
	if s.queue == nil {
		s.queue = newChunk()
	}
	s.bytes += s.queue.add(&d)
	s.loose = s.loose || s.queue.marks[len(s.queue.marks)-1].loose
	if s.sm != nil {
		s.sm.unacked++
	}
	s.measure()
	return s.wake(), true
}

// wake says whether the caller must call Flush. The caller holds mu.
func (s *session) wake() bool {
	if s.woken || s.conn == nil || s.conn.writing {
		return false
	}
	s.woken = true
	return true
}

// unwritten is how many bytes the kernel has not taken yet. The caller holds mu.
func (s *session) unwritten() int {
	n := 0
	if s.queue != nil {
		n = len(s.queue.buf)
	}
	if c := s.conn; c != nil {
		n += int(c.sent - c.written)
	}
	return n
}

// measure compares what waits with what may. There are two measures: what is not written yet, for which the reader
// waits before it handles the next stanza, and what the client has not acknowledged, which must not hold the reader up,
// since acknowledgements come through it. A session that is full ends by neither: others are told to find another way
// for what they bring (Full). Only what nobody can keep elsewhere may go on to the hard bound. The caller holds mu.
func (s *session) measure() {
	if s.over || s.ending {
		return
	}
	l := s.srv.limits()
	unwritten := s.unwritten()
	full, hard := unwritten > l.QueueBytes, hardBound
	over := unwritten > hardBound*l.QueueBytes
	if m := s.sm; m != nil {
		switch {
		case s.conn == nil: // it takes nothing
			hard, over = 1, false
		case s.bytes > max(l.UnackedBytes, m.spillAt), m.unacked-m.spilled > max(l.UnackedStanzas, m.spillOf):
			s.spill(l)
		}
		stanzas := m.unacked - m.spilled
		full = full || s.bytes > l.UnackedBytes || stanzas > l.UnackedStanzas
		over = over || s.bytes > hard*l.UnackedBytes || stanzas > hard*l.UnackedStanzas || m.spilled > maxSpilled
	}
	// Nearly always they are what they were, and a look is cheaper than a store.
	if pressed := unwritten > min(readMark, l.QueueBytes); pressed != s.pressed.Load() {
		s.pressed.Store(pressed)
	}
	if full != s.full.Load() {
		s.full.Store(full)
	}
	if over {
		s.overflow()
	}
}

func (s *session) overflow() {
	s.over = true
	s.srv.Stats.Overflows.Add(1)
	s.begin(wire.Fault(stream.ResourceConstraint, "the client does not take what is sent to it"))
}

// Full implements router.Outlet.
func (s *session) Full() bool { return s.full.Load() }

// keepPace holds the reader of c up until the client has nearly taken the answers to what it has asked before, so that
// a client gets no more answers than it reads. A client that reads nothing for limits.write_stall loses its connection.
func (c *conn) keepPace() {
	s := c.s
	if s == nil || !s.pressed.Load() {
		return
	}
	c.flushAll() // what is to be waited for, and what others wait for
	s.mu.Lock()
	defer s.mu.Unlock()
	c.waits = true
	for s.pressed.Load() && s.conn == c && !c.leaves() && !c.failed {
		s.wait(nil)
	}
	c.waits = false
	c.heard.Store(c.srv.now.Load()) // it may have said much meanwhile
}

// Flush implements router.Outlet.
func (s *session) Flush() {
	s.mu.Lock()
	s.woken = false
	if c := s.conn; c != nil && !c.writing {
		c.writing = true
		s.write(c)
		return
	}
	s.mu.Unlock()
}

// maxPiece is how much is given to a connection before it is seen whether it takes it: what it does not take is copied.
const maxPiece = 256 << 10

// write is the writer's work. The caller holds mu and has the role; both are given up.
func (s *session) write(c *conn) {
	for s.conn == c && !c.failed && (c.chunk != nil || s.queue != nil) {
		if c.chunk == nil {
			s.load(c)
		}
		q := c.chunk
		piece := c.ahead[:min(len(c.ahead), maxPiece)]
		c.ahead = c.ahead[len(piece):]
		s.mu.Unlock()
		err := c.Send(piece)
		left := c.progress()
		s.mu.Lock()
		if len(c.ahead) == 0 || err != nil {
			s.unload(c, q)
		}
		s.settle(c)
		if err != nil {
			c.fail()
			break
		}
		if left {
			s.draining = true
			s.srv.streams.Workers.Add(1)
			go s.drain(c)
			s.mu.Unlock()
			return
		}
	}
	if c.chunk != nil { // detached in the midst of it
		s.unload(c, c.chunk)
	}
	c.writing = false
	s.changed()
	s.mu.Unlock()
}

// load gives the queue to a connection. The caller holds mu and has the writer's role.
func (s *session) load(c *conn) {
	q := s.queue
	s.queue = nil
	if s.sm != nil && !s.sm.asked && len(q.marks) > 0 {
		q.buf = append(q.buf, wire.RequestAck...)
		s.sm.asked = true
	}
	q.base, q.busy = c.sent, true
	c.sent += int64(len(q.buf))
	c.chunk, c.ahead = q, q.buf
	if len(q.marks) > 0 || s.sm == nil { // for the client or the kernel to have it
		s.flight = append(s.flight, q)
	}
}

// unload ends the writing of a chunk. The caller holds mu and has the writer's role.
func (s *session) unload(c *conn, q *chunk) {
	c.chunk, c.ahead = nil, nil
	q.busy = false
	switch {
	case s.sm == nil: // settle sees to it
	case len(q.marks) == 0: // it waits for nobody
		q.free()
	default:
		s.tidy() // some may be acknowledged already
	}
}

// drain brings out what the kernel did not take, then goes on as the writer.
func (s *session) drain(c *conn) {
	defer s.srv.streams.Workers.Done()
	for {
		err := c.Transport.Drain(s.srv.limits().WriteStall)
		left := c.progress()
		s.mu.Lock()
		s.settle(c)
		s.changed()
		switch {
		case err != nil:
			if errors.Is(err, os.ErrDeadlineExceeded) {
				s.srv.Stats.Overflows.Add(1)
			}
			c.fail()
			if c.chunk != nil {
				s.unload(c, c.chunk)
			}
			c.writing, s.draining = false, false
			s.mu.Unlock()
			return
		case !left:
			s.draining = false
			s.write(c)
			return
		}
		s.mu.Unlock()
	}
}

// settle lets go of what the kernel has accepted. With stream management only the client's word counts. The caller
// holds mu.
func (s *session) settle(c *conn) {
	if s.conn != c {
		return
	}
	c.written = c.accepted
	if s.sm != nil {
		s.eased()
		return
	}
	done := 0
	for _, f := range s.flight {
		for f.first < len(f.marks) && f.base+int64(f.marks[f.first].end) <= c.accepted {
			s.pop(f)
		}
		if f.base+int64(len(f.buf)) > c.accepted {
			break
		}
		f.free()
		done++
	}
	s.shift(done)
	s.report()
	s.eased()
	s.changed()
}

// eased measures anew where there was much. The caller holds mu.
func (s *session) eased() {
	if s.pressed.Load() || s.full.Load() {
		if s.measure(); !s.pressed.Load() {
			s.changed()
		}
	}
}

// pop takes the oldest stanza of a chunk as delivered. The caller holds mu.
func (s *session) pop(f *chunk) {
	m := &f.marks[f.first]
	f.first++
	s.bytes -= int(m.end - m.start)
	if m.storable {
		s.passed++
	}
	if m.start == m.end {
		s.sm.spilled--
	}
	if m.kept != 0 {
		s.taken = append(s.taken, m.kept)
	}
	if m.receipt != nil {
		// Whoever waits for it only notes that it has come.
		m.receipt.Finish(nil)
		m.receipt = nil
	}
}

// shift forgets the oldest n chunks in flight. The caller holds mu.
func (s *session) shift(n int) {
	if n == 0 {
		return
	}
	k := copy(s.flight, s.flight[n:])
	clear(s.flight[k:])
	if s.flight = s.flight[:k]; k == 0 && cap(s.flight) > 4 {
		s.flight = nil
	}
}

// report lets the router know which kept copies have been taken: on another goroutine, since the caller may hold the
// router's locks. The caller holds mu.
func (s *session) report() {
	if len(s.taken) > 0 && !s.listed {
		s.listed = true
		s.srv.reports.add(s)
	}
}

// reportNow is the reporter's part.
func (s *session) reportNow() {
	s.mu.Lock()
	kept := s.taken
	s.taken, s.listed = nil, false
	rs := s.rs
	s.mu.Unlock()
	if rs != nil {
		s.srv.router.Taken(rs, kept)
	}
}

// nonza appends what is not a stanza and says whether the caller must flush. The caller holds mu.
func (s *session) nonza(b ...string) bool {
	if s.ending {
		return false
	}
	if s.queue == nil {
		s.queue = newChunk()
	}
	for _, p := range b {
		s.queue.buf = append(s.queue.buf, p...)
	}
	s.measure()
	return s.wake()
}

// changed wakes whoever waits for a change. The caller holds mu.
func (s *session) changed() {
	if s.notify != nil {
		close(s.notify)
		s.notify = nil
	}
}

// wait gives mu up until something has changed or stop is closed. The caller holds mu.
func (s *session) wait(stop <-chan struct{}) (stopped bool) {
	if s.notify == nil {
		s.notify = make(chan struct{})
	}
	n := s.notify
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-n:
		return false
	case <-stop:
		return true
	}
}

// Prompt implements router.Outlet. Stream management has the client say what it has taken.
func (s *session) Prompt() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sm == nil && s.conn != nil && !s.draining && !s.ending && s.idle == nil && s.conn.Transport.Prompt()
}

// Detached implements router.Outlet.
func (s *session) Detached() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn == nil
}

// WaitBelow implements router.Outlet.
func (s *session) WaitBelow(ctx context.Context, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.leaving || s.ending:
			return errEnded
		case s.bytes < n && !s.full.Load():
			return nil
		case s.wait(ctx.Done()):
			return ctx.Err()
		}
	}
}

// End implements router.Outlet.
func (s *session) End(condition, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin(wire.Fault(stream.Condition(condition), text))
}

// begin starts the end on a goroutine of its own. The caller holds mu.
func (s *session) begin(f *wire.Farewell) {
	if s.leaving || s.ending {
		return
	}
	s.leaving = true
	s.changed()
	s.srv.streams.Workers.Add(1)
	go func() {
		defer s.srv.streams.Workers.Done()
		s.dismiss(departureFor(f), nil)
		s.mu.Lock()
		s.ending = true
		s.changed()
		s.mu.Unlock()
		s.finish(f)
	}()
}
