package bosh

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"jackdaw/wire"
)

// input is what requests have brought and c2s has not read. The session's mu guards it.
type input struct {
	in       []byte
	taken    int64 // bytes read since the beginning
	readable sync.Cond
	until    time.Time // reads return at the latest then
	alarm    *time.Timer
}

// output is what responses carry. The session's mu guards it.
type output struct {
	out      []byte // accepted and not carried: at most one element, which has not come to its end
	cut      cutter
	writable sync.Cond
	patient  time.Duration // how long a write may wait while there are requests; 0: for ever
	set      time.Time     // when that was said
	strict   bool          // and while there are none
	bell     *time.Timer
	closed   bool
}

// unread is how much waits to be read. The caller holds mu.
func (s *session) unread() int { return len(s.in) }

// AwaitRead implements wire.Awaiter: a session that waits holds no buffer.
func (s *session) AwaitRead(poll bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.await(poll)
}

// await waits for something to read. The caller holds mu.
func (s *session) await(poll bool) error {
	for {
		switch {
		case !s.until.IsZero() && !time.Now().Before(s.until):
			return os.ErrDeadlineExceeded
		case len(s.in) > 0:
			return nil
		case s.closed, s.over:
			return io.EOF
		case poll:
			return wire.ErrAgain
		}
		s.readable.Wait()
	}
}

// Read implements net.Conn.
func (s *session) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.await(false); err != nil {
		return 0, err
	}
	n := copy(p, s.in)
	s.taken += int64(n)
	if s.in = s.in[n:]; len(s.in) == 0 {
		s.in = nil
	}
	s.advance() // there is place for more
	return n, nil
}

// Write implements net.Conn. It waits for a request to answer and takes what the response carries, which may be less
// than all. What ends the stream it takes in any case.
func (s *session) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := ends(p)
	if !last {
		p = p[:min(len(p), maxPiece)]
	}
	for !last && (len(s.held) == 0 || s.held[0].waiter == nil) && !s.closed && !s.over {
		if s.stalled() {
			return 0, os.ErrDeadlineExceeded
		}
		s.writable.Wait()
	}
	if s.closed || s.over {
		return 0, net.ErrClosed
	}
	s.out = s.cut.feed(s.out, p)
	content := s.out[:s.cut.whole]
	switch {
	case s.cut.ended:
		s.farewell(content)
	case len(content) > 0:
		s.respond(content, false, "")
		s.out = append([]byte(nil), s.out[len(content):]...)
		s.cut.whole = 0
		s.ease()
		s.alone()
	}
	return len(p), nil
}

// Prompt says whether a request is here that can carry what is written.
func (s *session) Prompt() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held) > 0 && s.held[0].waiter != nil
}

// farewell ends the session with what is written last. Where no request is there to carry it, the next one finds it.
// The caller holds mu.
func (s *session) farewell(content []byte) {
	if s.finish(content, s.cut.condition) {
		s.settle()
		return
	}
	s.words = s.compose(&request{body: body{rid: s.last}}, content, true, s.cut.condition)
	s.heard = make(chan struct{})
	s.h.part(s)
	s.advance()
}

// stalled says whether a write has waited for long enough. While the client has no request here, as it may for a while,
// it is patient: what ends the session then is inactivity. The caller holds mu.
func (s *session) stalled() bool {
	if s.patient == 0 || !s.strict && s.absent != nil {
		return false
	}
	from := s.set
	if !s.strict && s.since.After(from) {
		from = s.since
	}
	left := time.Until(from.Add(s.patient))
	if left <= 0 {
		return true
	}
	if s.bell != nil {
		s.bell.Stop()
	}
	s.bell = s.wake(left, &s.writable)
	return false
}

func (s *session) wake(d time.Duration, c *sync.Cond) *time.Timer {
	return time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.Broadcast()
	})
}

// Close implements net.Conn.
func (s *session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed = true; !s.over {
		s.shut("remote-connection-failed", nil)
	}
	for _, t := range []*time.Timer{s.alarm, s.bell} {
		if t != nil {
			t.Stop()
		}
	}
	s.readable.Broadcast()
	s.writable.Broadcast()
	return nil
}

// SetReadDeadline implements net.Conn.
func (s *session) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if s.until = t; s.alarm != nil {
		s.alarm.Stop()
		s.alarm = nil
	}
	if left := time.Until(t); !t.IsZero() && left > 0 {
		s.alarm = s.wake(left, &s.readable)
	}
	s.readable.Broadcast()
	return nil
}

// SetWriteDeadline implements net.Conn. It bounds how long the client may leave what waits for it, not how long it may
// be without a request.
func (s *session) SetWriteDeadline(t time.Time) error { return s.writeDeadline(t, false) }

func (s *session) writeDeadline(t time.Time, strict bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.patient, s.set, s.strict = 0, time.Now(), strict
	if !t.IsZero() {
		s.patient = max(t.Sub(s.set), 1)
	}
	s.writable.Broadcast()
	return nil
}

// SetDeadline implements net.Conn. Unlike that of a write, this one is for a client that has yet to show that it is
// one.
func (s *session) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.writeDeadline(t, true)
}

// LocalAddr implements net.Conn.
func (s *session) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr implements net.Conn.
func (s *session) RemoteAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &net.TCPAddr{IP: s.owner.AsSlice(), Zone: s.owner.Zone()}
}
