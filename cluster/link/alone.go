package link

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// Envelopes are what links carry most of, in many small writes, and they have their own flow control (package relay).
// So between nodes that both know how they have a connection of their own, without yamux in it: no goroutine of yamux
// has to be woken for a write, nor to read, and the bytes of clients are not before them in a queue. It belongs to the
// session of the same two nodes, and ends with that.

// withOwn is the protocol from which on a connection may be one stream.
const withOwn = 2

// Beat is how often both ends of a stream of envelopes write something, which may say nothing. What has a connection of
// its own is taken for dead after five of them without a word.
const Beat = 2 * time.Second

// own says whether the streams of a kind have connections of their own.
func (k Kind) own() bool { return k == Envelopes }

// An alone is a stream that has a connection of its own.
type alone struct {
	*conn
	s      *session // that it belongs to
	l      *Links
	until  time.Duration // when reading ends, if nothing comes; its one reader has it
	closed atomic.Bool
}

// Read reads what the other end has written, which must come in time.
func (a *alone) Read(p []byte) (int, error) {
	patience := a.l.times.patience
	if until := time.Duration(now()) + patience; until-a.until > patience/10 {
		a.until = until
		_ = a.Conn.SetReadDeadline(time.Now().Add(patience)) // an error shows at the read
	}
	n, err := a.Conn.Read(p)
	a.s.conn.in.Add(int64(n))
	a.l.Stats.BytesIn.Add(int64(n))
	return n, a.fail(err)
}

// SetReadDeadline does nothing: Read has one.
func (a *alone) SetReadDeadline(time.Time) error { return nil }

// Write returns when the connection has taken all of it.
func (a *alone) Write(p []byte) (int, error) {
	n, err := a.Conn.Write(p)
	a.s.conn.out.Add(int64(n))
	a.l.Stats.BytesOut.Add(int64(n))
	return n, a.fail(err)
}

func (a *alone) fail(err error) error {
	if err != nil && a.closed.Load() {
		return net.ErrClosed
	}
	return err
}

// Close ends the connection.
func (a *alone) Close() error {
	if a.closed.Swap(true) {
		return nil
	}
	a.s.disown(a)
	return a.conn.Close()
}

// adopt has a stream end with the session. It says whether that has not ended yet.
func (s *session) adopt(a *alone) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	if s.own == nil {
		s.own = map[*alone]bool{}
	}
	s.own[a] = true
	return true
}

func (s *session) disown(a *alone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.own, a)
}

// endOwn ends all that the session has adopted.
func (s *session) endOwn() {
	s.mu.Lock()
	s.over = true
	all := s.own
	s.own = nil
	s.mu.Unlock()
	for a := range all {
		_ = a.Close() // it says nothing of use
	}
}

// openAlone opens a stream that has a connection of its own, to the other end of a session.
func (p *peer) openAlone(ctx context.Context, s *session, k Kind) (net.Conn, error) {
	l := p.l
	ctx, cancel := context.WithTimeout(ctx, l.times.shake)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	p.mu.Lock()
	address := p.address
	p.mu.Unlock()
	var d net.Dialer
	below, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("open a stream to node %s: %w", s.node, err)
	}
	g, err := l.shake(ctx, below, s.node, k)
	if err == nil && g.version < withOwn { // it was replaced by an earlier version just now
		err = errNotAlone
	}
	a := &alone{conn: g.conn, s: s, l: l}
	if err == nil && !s.adopt(a) {
		err = net.ErrClosed
	}
	if err != nil {
		_ = below.Close() // it says nothing of use
		return nil, fmt.Errorf("open a stream to node %s: %w", s.node, err)
	}
	return a, nil
}

var errNotAlone = fmt.Errorf("it takes no such connection any more")

// takeAlone serves a stream of another node that has a connection of its own, until it ends.
func (l *Links) takeAlone(g greeted) {
	f := l.handlers[g.kind]
	a := &alone{conn: g.conn, l: l}
	if f == nil || !l.adopt(g.node, a) {
		l.Stats.Refused.Add(1)
		_ = g.conn.Close() // it says nothing of use
		l.log.Debug("a connection for one stream was refused", "node", g.node, "kind", byte(g.kind))
		return
	}
	l.Stats.Streams.Add(1)
	f(g.node, a)
}

// adopt finds the session with a node that a stream belongs to. The node has it already; here it may be there soon.
func (l *Links) adopt(node string, a *alone) bool {
	tick := time.NewTicker(l.times.shake / 100)
	defer tick.Stop()
	for range 100 {
		l.mu.Lock()
		a.s = l.in[node]
		l.mu.Unlock()
		if a.s != nil && a.s.adopt(a) {
			return true
		}
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			return false
		}
	}
	return false
}
