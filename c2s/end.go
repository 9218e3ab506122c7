package c2s

import (
	"context"
	"errors"
	"slices"
	"time"

	"jackdaw/router"
	"jackdaw/wire"
	"jackdaw/xmpp/stream"
)

// errLost is the cause of a farewell where there is nobody to say it to.
var errLost = errors.New("the connection was lost")

// A departure says how a reader leaves the router.
type departure int32

// The departures.
const (
	stays        departure = iota
	leavesLast             // after what the client has already sent
	leavesAtOnce           // after the stanza at hand
)

// maxLast bounds what is read from a client whose session ends, in bytes.
const maxLast = 1 << 20

// errLeft is why a reader stops that has been told to leave the router.
var errLeft = errors.New("reader has left the router")

// departureFor is how the reader leaves before this farewell. A client that did nothing wrong has what it sent until
// now handled. One that is put out has not: its account may be gone.
func departureFor(f *wire.Farewell) departure {
	switch f.Condition {
	case stream.Conflict, stream.SystemShutdown:
		return leavesLast
	}
	return leavesAtOnce
}

// dismiss returns when the session's reader has left the router. Until then whatever the reader handles is answered and
// acknowledged as ever, and from then on the session sends nothing more. With stop it returns at the latest when that
// is closed.
func (s *session) dismiss(how departure, stop <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.ready && !s.ended { // the router called from inside Bind
		if s.wait(stop) {
			return
		}
	}
	for c := s.recall(how); c != nil && s.conn == c && !c.withdrawn; {
		if s.wait(stop) {
			return
		}
	}
}

// recall tells the reader to leave the router, and returns its connection. The caller holds mu.
func (s *session) recall(how departure) *conn {
	c := s.conn
	if c == nil || !s.ready || c.withdrawn {
		return nil
	}
	if departure(c.leave.Load()) < how {
		c.leave.Store(int32(how))
	}
	c.Transport.Interrupt()
	s.changed() // the reader may be waiting for something else
	return c
}

// finish ends the session for good: what is queued is written as far as that goes at once, the farewell said, and what
// the client never took goes back through the router, once. The caller has set ending, and the reader has left the
// router.
func (s *session) finish(f *wire.Farewell) {
	s.srv.timers.remove(&s.timer)
	if s.srv.streams.Closed() {
		s.settleAcks(s.srv.stopCtx())
	}
	stop := make(chan struct{})
	timer := time.AfterFunc(wire.FarewellTime, func() { close(stop) })
	defer timer.Stop()

	s.mu.Lock()
	for !s.ready && !s.ended { // the router called from inside Bind
		s.wait(nil)
	}
	if s.ended { // Bind did not work out
		s.mu.Unlock()
		return
	}
	c := s.conn
	late := f.Cause != nil
	for c != nil && !late && !c.failed && (c.writing || s.queue != nil) {
		if c.writing {
			late = s.wait(stop)
			continue
		}
		c.writing = true
		s.write(c)
		s.mu.Lock()
	}
	if c != nil {
		if polite := !c.writing && !c.failed && f.Cause == nil; polite {
			c.writing = true
			last := c.Framing.AppendEnd(s.lastAck(nil), f)
			s.mu.Unlock()
			c.Goodbye(last)
			s.mu.Lock()
			c.writing = false
		} else {
			// Half a stanza may be on its way; nothing can be said after it. The drain is over before what is left is counted,
			// so that nothing goes both ways.
			_ = c.Transport.Close() // it is gone either way
			for c.writing {
				s.wait(nil)
			}
			s.settle(c)
		}
		c.dead.Store(true)
		c.Transport.Interrupt()
	}
	s.conn = nil
	rs, kept := s.rs, s.taken
	s.taken = nil
	s.mu.Unlock()

	s.forget()
	if rs == nil {
		s.leave()
		return
	}
	s.sayEnded(f)
	s.srv.router.Taken(rs, kept)
	s.srv.router.Unbind(rs, s.leave)
	s.srv.Stats.Sessions.Add(-1)
}

// leave ends the outlet: from here on Send refuses. It returns what the client never took.
func (s *session) leave() []router.Undelivered {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := s.remains()
	s.ended = true
	s.changed()
	return rest
}

// remains takes out what the client never took, in order. The caller holds mu.
func (s *session) remains() (rest []router.Undelivered) {
	broken := &s.srv.Stats.Unreadable
	for _, f := range s.flight {
		rest = f.undelivered(rest, broken)
	}
	if s.idle != nil {
		s.release()
	}
	for _, q := range []*chunk{s.queue, s.late} {
		if q != nil {
			rest = q.undelivered(rest, broken)
		}
	}
	s.flight, s.queue, s.late, s.bytes = nil, nil, nil, 0
	return rest
}

// lost is what the reader does when its connection has ended without a word: the session waits to be resumed, or ends
// as f says.
func (s *session) lost(c *conn, f *wire.Farewell) {
	s.mu.Lock()
	if s.conn != c || s.leaving || s.ending {
		s.mu.Unlock()
		return
	}
	window := time.Duration(0)
	if s.sm != nil && !s.srv.streams.Closed() {
		window = s.sm.window
		if s.sm.lossy {
			window = 0
		}
	}
	if window == 0 {
		s.ending = true
		s.changed()
		s.mu.Unlock()
		s.finish(f)
		return
	}
	s.detach(time.Now().Add(window))
	var left []router.Undelivered
	for _, f := range append(slices.Clone(s.flight), s.queue) {
		if f != nil {
			left = f.undelivered(left, &s.srv.Stats.Unreadable)
		}
	}
	s.mu.Unlock()
	s.srv.timers.add(&s.timer, window)
	s.srv.Stats.Detached.Add(1)
	s.sayDetached(why(f), window)
	s.srv.router.Detached(s.rs, left)
}

// bringOut waits a little for what is being written to a client by another node. On a connection of our own the kernel
// has that by now, such as the last frame of a WebSocket.
func (s *session) bringOut(c *conn) {
	ctx, cancel := s.srv.within(wire.FarewellTime)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.conn == c && c.writing && !s.wait(ctx.Done()) {
	}
	if s.conn != c || c.writing {
		return
	}
	c.writing = true
	s.mu.Unlock()
	if produced, accepted := c.Transport.Written(); produced != accepted {
		_ = c.Transport.Drain(wire.FarewellTime) // whoever does not hear it has gone
	}
	s.mu.Lock()
	c.writing = false
	s.changed()
}

// depart is what the reader does when the node with the connection stops: the stream ends, and the session waits if it
// can for its client to come back by another node.
func (s *session) depart(c *conn) {
	f := wire.Fault(stream.SystemShutdown, "")
	ctx, cancel := s.srv.within(wire.FarewellTime)
	defer cancel()
	s.settleAcks(ctx)
	s.mu.Lock()
	late := s.sm == nil || s.sm.window == 0 || s.sm.lossy // then it ends, and the end is said as ever
	for !late && s.conn == c && !c.failed && !s.leaving && !s.ending && (c.writing || s.queue != nil) {
		if c.writing {
			late = s.wait(ctx.Done())
			continue
		}
		c.writing = true
		s.write(c)
		s.mu.Lock()
	}
	if !late && s.conn == c && !c.failed && !c.writing && !s.leaving && !s.ending {
		c.writing = true
		last := c.Framing.AppendEnd(s.lastAck(nil), f)
		s.mu.Unlock()
		c.Goodbye(last)
		c.dead.Store(true)
		s.mu.Lock()
		c.writing = false
		s.changed()
	}
	s.mu.Unlock()
	s.lost(c, f)
}

// detach takes the connection away. The caller holds mu.
func (s *session) detach(expires time.Time) {
	s.conn = nil
	s.woken = false
	s.expires = expires
	s.sm.asked, s.sm.doubt = false, nil
	for _, f := range s.flight {
		f.keep = true // the writer of the old connection may be at it
	}
	if s.idle != nil { // XEP-0352 §5: the state does not survive
		s.release()
	}
	s.changed()
}

// forget takes the session out of the server's books.
func (s *session) forget() {
	s.srv.mu.Lock()
	delete(s.srv.sessions, s)
	s.srv.mu.Unlock()
	if s.sm != nil && s.sm.id != "" {
		s.srv.resumable.remove(s)
	}
}

// settleAcks waits until what the client has sent is stored, so that it can be told.
func (s *session) settleAcks(ctx context.Context) {
	for {
		s.mu.Lock()
		if s.sm == nil || !s.sm.advance(s) {
			s.mu.Unlock()
			return
		}
		p := s.sm.gates[s.sm.head].p
		s.mu.Unlock()
		// Its outcome is advance's to read.
		if _ = p.Wait(ctx); ctx.Err() != nil {
			return
		}
	}
}
