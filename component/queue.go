package component

import (
	"errors"
	"os"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// pieceSize is about what one write brings to the kernel. Stanzas are not cut: between two writes something else can be
// said.
const pieceSize = 64 << 10

// errAway is what an acknowledgement gets that waited for a component.
var errAway = errors.New("the component's stream ended before it took the stanza")

// outgoing holds stanzas for a component, one behind the other. Their bytes are all there is of them.
type outgoing struct {
	buf   []byte
	marks []mark
}

// A mark says where a stanza ends in its queue, and who waits for it.
type mark struct {
	end   int
	quiet bool             // its sender wants no error stanza
	wait  *storage.Pending // finishes when the kernel has the stanza, or an error is on its way; may be nil
}

// send queues a stanza and settles it. It does not wait.
//
// A component that takes less than it is sent is a service to everyone, and whoever floods it must not end it for all:
// messages and requests beyond the bound are refused, which their senders are told. Of presence and answers nobody
// would learn that they are missing, so they may take up as much again; beyond that the stream ends, and a component
// that connects anew begins with a clean slate.
func (l *link) send(e *router.Envelope) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending != nil {
		e.Refuse(away())
		return
	}
	q := &l.queue
	start := len(q.buf)
	q.buf = e.Stanza.Append(q.buf)
	size := len(q.buf) - start
	bound := l.limits.QueueBytes
	refusable := e.Stanza.Kind == xmpp.Message || e.Stanza.IsRequest()
	if !refusable {
		bound *= 2
	}
	if l.bytes > 0 && l.bytes+size > bound {
		q.buf = q.buf[:start]
		l.srv.Stats.Overflows.Add(1)
		e.Refuse(xmpp.ResourceConstraint("the service takes less than it is sent"))
		if !refusable {
			l.endNow(wire.Fault(stream.ResourceConstraint, "the component takes less than it is sent"), false)
		}
		return
	}
	m := mark{end: len(q.buf), quiet: e.Quiet}
	if e.Durable {
		m.wait = storage.NewPending()
		e.Await(m.wait)
	}
	q.marks = append(q.marks, m)
	l.bytes += size
	e.Settle(router.Delivered)
	if len(q.marks) == 1 {
		l.wake.Signal()
	}
}

// waiting is how many bytes the component has not taken.
func (l *link) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}

// inherit puts what an older stream of the same component never took before what has come for this one. The writer does
// not run yet.
func (l *link) inherit(old *outgoing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes += len(old.buf)
	old.add(&l.queue)
	l.queue = *old
	*old = outgoing{}
}

// add appends the stanzas of another queue.
func (q *outgoing) add(more *outgoing) {
	base := len(q.buf)
	q.buf = append(q.buf, more.buf...)
	for _, m := range more.marks {
		m.end += base
		q.marks = append(q.marks, m)
	}
}

// from returns the stanzas from the i-th on, as a queue of their own.
func (q *outgoing) from(i int) (rest outgoing) {
	start := 0
	if i > 0 {
		start = q.marks[i-1].end
	}
	rest.buf = append(rest.buf, q.buf[start:]...)
	for _, m := range q.marks[i:] {
		m.end -= start
		rest.marks = append(rest.marks, m)
	}
	return rest
}

// stall gives the next write the time that it may take; once the stream ends that is what is left of its last second.
func (l *link) stall() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending != nil {
		return l.Transport.WriteUntil(l.until)
	}
	return l.Transport.WriteUntil(time.Now().Add(l.limits.WriteStall))
}

// write brings out what is queued until the stream ends. What the component never took is in rest then.
func (l *link) write() {
	defer close(l.stopped)
	var now outgoing
	for {
		f := l.pick(&now)
		if f != nil {
			l.goodbye(f)
			break
		}
		done, err := l.writeAll(&now)
		if done < len(now.marks) {
			l.rest = now.from(done)
			if err == nil {
				l.goodbye(l.ended())
			}
			break
		}
		now.forget()
	}
	l.mu.Lock()
	l.rest.add(&l.queue)
	l.queue = outgoing{}
	l.mu.Unlock()
}

// pick waits for stanzas and takes them from the queue. It returns the farewell instead once the stream ends and
// nothing is to be written before that.
func (l *link) pick(now *outgoing) *wire.Farewell {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue.marks) == 0 && l.ending == nil {
		l.wake.Wait()
	}
	if f := l.ending; f != nil && (!l.drain || len(l.queue.marks) == 0) {
		return f
	}
	*now, l.queue = l.queue, *now
	return nil
}

// forget empties the queue. It keeps the memory, unless that was for a burst.
func (q *outgoing) forget() {
	if cap(q.buf) > 4*pieceSize {
		*q = outgoing{}
		return
	}
	clear(q.marks)
	q.buf, q.marks = q.buf[:0], q.marks[:0]
}

// cutShort says whether the stream ends without what is queued.
func (l *link) cutShort() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ending != nil && !l.drain
}

// writeAll writes a queue in pieces and says how many stanzas the kernel has taken: all, or the stream ends. Without an
// error no stanza has been cut, and the component can still be told why.
func (l *link) writeAll(q *outgoing) (done int, err error) {
	at := 0
	for done < len(q.marks) {
		if l.cutShort() {
			return done, nil
		}
		last := done
		for last+1 < len(q.marks) && q.marks[last].end-at < pieceSize {
			last++
		}
		n := 0
		if err = l.stall(); err == nil {
			n, err = l.Write(q.buf[at:q.marks[last].end])
		}
		first := done
		for done <= last && q.marks[done].end <= at+n {
			done++
		}
		l.taken(q.marks[first:done], n)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && l.ended() == nil {
				l.srv.Stats.Stalls.Add(1)
				err = errors.New("the component takes nothing")
			}
			l.end(&wire.Farewell{Cause: err}, false)
			return done, err
		}
		at += n
	}
	return done, nil
}

// taken takes note that the kernel has these stanzas, and n bytes more of the queue than before.
func (l *link) taken(marks []mark, n int) {
	l.mu.Lock()
	l.bytes -= n
	l.mu.Unlock()
	l.out.Add(int64(len(marks)))
	l.srv.Stats.Sent.Add(int64(len(marks)))
	for _, m := range marks {
		if m.wait != nil {
			m.wait.Finish(nil)
		}
	}
}

// goodbye says why the stream ends.
func (l *link) goodbye(f *wire.Farewell) {
	if f.Cause != nil || l.stall() != nil {
		return
	}
	_, _ = l.Write(l.Framing.AppendEnd(nil, f)) // whoever does not hear it sees the connection end
}

// giveBack tells the senders of stanzas that a component never took. Each gets to know it once, in the way it can use:
// an HTTP post by its answer, everyone else by an error stanza. That counts as the acknowledgement that a stream
// management waits for: to leave it out would end the stream of each client that has just written to the component
// (XEP-0198 §4).
func (s *Server) giveBack(q *outgoing) {
	start := 0
	for _, m := range q.marks {
		raw := q.buf[start:m.end]
		start = m.end
		s.Stats.Returned.Add(1)
		switch {
		case !m.quiet:
			s.bounce(raw, m.wait)
		case m.wait != nil:
			m.wait.Finish(errAway)
		}
	}
	*q = outgoing{}
}

// bounce routes the error for one stanza, and finishes wait, which may be nil, when it is safe.
func (s *Server) bounce(raw []byte, wait *storage.Pending) {
	// No limits but our own: it has been through them once, and grown a little since.
	x, err := stream.ParseStanza(raw, stream.Limits{Bytes: 1 << 26, Depth: 1 << 10, Elements: 1 << 20, Attributes: 1 << 10,
		Declarations: 1 << 10})
	if err != nil { // a stanza that we made ourselves
		s.log.Error("read a queued stanza back", "error", err)
		s.Stats.Panics.Add(1)
		if wait != nil {
			wait.Finish(errAway)
		}
		return
	}
	var safe []*storage.Pending
	if x.Type != xmpp.TypeError && x.Type != xmpp.TypeResult { // RFC 6120 §8.3.1
		reply := x.ErrorReply(away())
		e := router.Envelope{Stanza: &reply, Quiet: true, Durable: wait != nil}
		s.router.Route(&e)
		safe = e.Pendings
	}
	if wait != nil {
		storage.Join(safe...).Then(wait.Finish)
	}
}
