package s2s

import (
	"errors"
	"slices"
	"strings"
	"time"

	"jackdaw/s2s/outbox"
	"jackdaw/storage"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	watchEvery = 2 * time.Second

	pingDelay   = 100 * time.Millisecond // how long after a stanza the peer is asked whether it has taken it
	pingMany    = 200                    // stanzas, after which it is asked at once
	pingPatient = 10 * time.Second       // then TCP's word is enough
	ackPatient  = time.Minute            // then the peer is gone
	idleTime    = 10 * time.Minute       // then a stream that we opened is closed
	closeTime   = 2 * time.Second        // how long one that nobody wants any more waits for acknowledgements

	pingPrefix = "s2s-" // of ids
)

// outflow is what we write to a link and how we know that the peer has taken it: by stream management (XEP-0198), else
// by the answer to a ping behind it (XEP-0199), since servers handle a stream in order; from a peer that answers none,
// by TCP. The link's mu guards it.
type outflow struct {
	written, taken int64    // stanzas
	flushed        int64    // of these, given to the socket
	flight         []flying // written and not taken, oldest first
	asked          bool     // an <r/> or a ping is out
	askedAt        time.Time
	covers         int64       // of the ping: what was written before it
	ping           string      // its id
	timer          *time.Timer // until the next ping, or look at the kernel
	kernel         bool        // TCP's word it is
	stuck          time.Time   // since when the kernel has brought out nothing; zero: it has nothing to bring out
	reached        int64       // bytes that it had brought out then, but for what TLS adds
	backoff        time.Duration
	drained        chan struct{} // closed when all has been taken; nil: nobody waits for that

	sm    bool
	id    string // to resume with; "" not at all
	base  int64  // what was written before stream management
	h     uint32 // the peer's last
	acked int64  // what it has counted
}

// flying are stanzas of one pair that were written together.
type flying struct {
	c *carrier
	n int
}

// A carrier is a pair's use of a link. It implements outbox.Stream.
type carrier struct {
	l      *link
	pair   outbox.Pair
	acked  outbox.Acked
	closed bool // the link's mu guards it
}

// carry gives a pair the use of the link; nil if it has no right to it or the link is over.
func (l *link) carry(p outbox.Pair, acked outbox.Acked) *carrier {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.granted[p]; !ok || l.ended {
		return nil
	}
	c := &carrier{l: l, pair: p, acked: acked}
	l.carriers[c] = struct{}{}
	return c
}

// Over is closed when the link has ended.
func (c *carrier) Over() <-chan struct{} { return c.l.ctx.Done() }

// Limit is the most bytes of a stanza that the peer says it takes (XEP-0478); 0 if it has not said.
func (c *carrier) Limit() int {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	return c.l.limit
}

// Cause says why the link has ended (outbox.Stream).
func (c *carrier) Cause() *outbox.Failure {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		return nil
	}
	f := *l.srv.failure(l.cause)
	said, ok := errors.AsType[*remoteError](l.cause)
	f.Blames = ok && said.blames()
	f.Alone = !slices.ContainsFunc(l.out.flight, func(o flying) bool { return o.c.pair != c.pair })
	return &f
}

// Write sends stanzas (outbox.Stream).
func (c *carrier) Write(xml []byte, n int) error {
	l := c.l
	l.wmu.Lock()
	defer l.wmu.Unlock()
	l.mu.Lock()
	if l.ended {
		defer l.mu.Unlock()
		return l.srv.failure(l.cause)
	}
	o := &l.out
	o.written += int64(n)
	o.flight = append(o.flight, flying{c, n})
	b := append(l.wbuf[:0], l.control...) // it was there first
	l.control = l.control[:0]
	all := o.written
	tail := l.ask(c.pair)
	l.mu.Unlock()

	var err error
	if len(b)+len(xml)+len(tail) <= maxPiece {
		b = append(append(b, xml...), tail...)
		err = l.send(b)
	} else {
		for _, part := range [...][]byte{b, xml, tail} {
			if err == nil {
				err = l.send(part)
			}
		}
	}
	if cap(b) <= 2*maxPiece {
		l.wbuf = b
	}
	if err != nil {
		l.broke(err)
		return l.srv.failure(err)
	}
	l.stanzasOut.Add(int64(n))
	l.srv.Stats.StanzasOut.Add(int64(n))
	l.mu.Lock()
	o.flushed = all
	l.mu.Unlock()
	return nil
}

// ask sees to it that the peer is asked what it has taken, now or soon: it returns what goes behind the stanzas. The
// caller holds mu.
func (l *link) ask(p outbox.Pair) []byte {
	o := &l.out
	switch {
	case o.sm && !o.asked:
		o.asked, o.askedAt = true, time.Now()
		return []byte(wire.RequestAck)
	case o.sm || o.asked:
	case o.kernel:
		if o.timer == nil {
			o.backoff = 10 * time.Millisecond
			l.later(o.backoff, l.askKernel)
		}
	case o.written-o.taken >= pingMany:
		return l.newPing(p)
	case o.timer == nil:
		l.later(pingDelay, func() { l.pingNow(p) })
	}
	return nil
}

// later runs f once. The caller holds mu, and f takes it.
func (l *link) later(d time.Duration, f func()) { l.out.timer = time.AfterFunc(d, f) }

// A ping is one that is on its way.
type ping struct {
	l *link
	p outbox.Pair
}

// newPing makes the ping that asks for all that has been written so far. The caller holds mu.
func (l *link) newPing(p outbox.Pair) []byte {
	o := &l.out
	from, err := jid.Parse(p.Local)
	to, err2 := jid.Parse(p.Remote)
	if err != nil || err2 != nil { // they are domains of the pair: never
		return nil
	}
	o.asked, o.askedAt, o.covers, o.ping = true, time.Now(), o.written, pingPrefix+wire.NewID()
	l.srv.mu.Lock()
	l.srv.pings[o.ping] = &ping{l, p}
	l.srv.mu.Unlock()
	s := xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: o.ping, From: from, To: to,
		Payload: []byte("<ping xmlns='" + xmpp.NSPing + "'/>")}
	return s.Append(nil)
}

// pingNow asks for what was written a moment ago.
func (l *link) pingNow(p outbox.Pair) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := &l.out
	o.timer = nil
	if !l.ended && !o.sm && !o.asked && !o.kernel && o.written > o.taken {
		l.sayLocked(l.newPing(p))
	}
}

// pong takes the answer to a ping, be it a result or an error, on whatever link it comes. It says whether it was one.
func (s *Server) pong(x *xmpp.Stanza) bool {
	if !x.IsAnswer() || !strings.HasPrefix(x.ID, pingPrefix) || !x.From.IsDomain() || !x.To.IsDomain() {
		return false
	}
	s.mu.Lock()
	g := s.pings[x.ID]
	if g == nil || g.p != (outbox.Pair{Local: x.To.Domain(), Remote: x.From.Domain()}) {
		s.mu.Unlock()
		return false
	}
	delete(s.pings, x.ID)
	s.mu.Unlock()
	l := g.l
	l.mu.Lock()
	defer l.mu.Unlock()
	o := &l.out
	if l.ended || o.ping != x.ID {
		return true
	}
	o.asked, o.ping = false, ""
	o.kernel = false // it answers after all
	o.credit(o.covers, false)
	if o.written > o.taken && o.timer == nil { // written since
		l.later(pingDelay, func() { l.pingNow(g.p) })
	}
	return true
}

// credit says that the peer has taken the oldest stanzas, up to so many since the start. The pairs are told, unless the
// link is over (outbox.Acked).
func (o *outflow) credit(up int64, over bool) {
	n := min(up, o.written) - o.taken
	if n <= 0 {
		return
	}
	o.taken += n
	done := 0
	for n > 0 {
		f := &o.flight[done]
		k := min(int64(f.n), n)
		f.n -= int(k)
		n -= k
		if !over {
			f.c.acked(int(k))
		}
		if f.n == 0 {
			*f = flying{}
			done++
		}
	}
	if done > 0 {
		left := copy(o.flight, o.flight[done:])
		clear(o.flight[left:])
		o.flight = o.flight[:left]
	}
	if o.drained != nil && o.taken == o.written {
		close(o.drained)
		o.drained = nil
	}
}

// stop ends the waiting. The caller holds mu.
func (o *outflow) stop() {
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
	}
}

// askKernel looks whether TCP has brought out what was written.
func (l *link) askKernel() {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := &l.out
	o.timer = nil
	if l.ended || !o.kernel || o.taken == o.written {
		return
	}
	up := o.flushed
	if left, ok := l.Transport.Unsent(); ok && left > 0 {
		if out := l.bytesOut.Load() - int64(left); o.stuck.IsZero() || out > o.reached {
			o.stuck, o.reached = time.Now(), out
		}
		o.backoff = min(2*o.backoff, time.Second)
		l.later(o.backoff, l.askKernel)
		return
	}
	o.stuck = time.Time{}
	o.credit(up, false)
	if o.taken < o.written {
		l.later(o.backoff, l.askKernel)
	}
}

// ackFrom takes the peer's <a/> (XEP-0198 §4).
func (l *link) ackFrom(h uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := &l.out
	if !o.sm {
		return nil // of no meaning, and no harm
	}
	n := int64(h - o.h) // modulo 2^32
	if sent := o.written - o.base - o.acked; n > sent {
		return wire.TooHigh(h, o.h+uint32(sent))
	}
	o.h = h
	o.acked += n
	o.asked = false
	o.credit(o.base+o.acked, l.ended)
	switch {
	case o.written == o.taken:
	case n > 0: // sent since
		l.askAck()
	case o.timer == nil: // it has not come so far, and is not to be pressed
		l.later(time.Second, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			o.timer = nil
			l.askAck()
		})
	}
	return nil
}

// askAck asks for an acknowledgement unless that has been done. The caller holds mu.
func (l *link) askAck() {
	o := &l.out
	if !o.asked && o.written > o.taken {
		o.asked, o.askedAt = true, time.Now()
		l.sayLocked([]byte(wire.RequestAck)) // behind what is being written now
	}
}

// Close says that the pair needs the link no longer (outbox.Stream). It waits for acknowledgements for a moment.
func (c *carrier) Close() {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	delete(l.carriers, c)
	o := &l.out
	if !l.ended && o.taken < o.written {
		switch {
		case o.sm:
			l.askAck()
		case !o.asked && !o.kernel:
			l.sayLocked(l.newPing(c.pair))
		}
		if o.drained == nil {
			o.drained = make(chan struct{})
		}
		drained := o.drained
		l.mu.Unlock()
		t := time.NewTimer(closeTime)
		select {
		case <-drained:
		case <-l.ctx.Done():
		case <-t.C:
		}
		t.Stop()
		l.mu.Lock()
	}
	// The peer may be using one that carries both directions; left alone, it is closed some time.
	if unused := l.outgoing && !l.bidi && len(l.carriers) == 0; unused && !l.ended {
		l.mu.Unlock()
		l.part(&wire.Farewell{})
		l.mu.Lock()
	}
}

// look is what is done to each link now and then.
func (l *link) look(now time.Time) {
	l.mu.Lock()
	o := &l.out
	var f *wire.Farewell
	var stored *storage.Pending
	if l.in != nil && !l.ended { // a write that failed is to end the stream though nobody asks
		stored = l.advance()
	}
	switch {
	case l.ended:
	case o.sm && o.asked && now.Sub(o.askedAt) > ackPatient, !o.stuck.IsZero() && now.Sub(o.stuck) > ackPatient:
		f = wire.Fault("connection-timeout", "no acknowledgement")
	case o.ping != "" && now.Sub(o.askedAt) > pingPatient:
		l.srv.mu.Lock()
		delete(l.srv.pings, o.ping)
		l.srv.mu.Unlock()
		o.asked, o.ping, o.kernel = false, "", true
		o.backoff = 10 * time.Millisecond
		if o.timer == nil {
			l.later(o.backoff, l.askKernel)
		}
	case l.outgoing && l.known.Load() && o.taken == o.written && len(l.verifies)+len(l.results) == 0 &&
		now.Unix()-max(l.heard.Load(), l.spoke.Load()) > int64(idleTime/time.Second):
		f = &wire.Farewell{}
	}
	l.mu.Unlock()
	if stored != nil {
		stored.Then(l.stored)
	}
	if f == nil {
		return
	}
	if f.Condition != "" {
		l.srv.Stats.Silent.Add(1)
		l.end(f) // there is nobody to tell it; and it may be resumed
		return
	}
	l.part(f)
}
