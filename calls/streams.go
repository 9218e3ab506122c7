package calls

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"jackdaw/router/gate"
	"jackdaw/wire"
)

const (
	// longestFrame is what the relay takes of one message; longer ones are passed over. A packet of Ethernet is shorter.
	longestFrame = 1599
	// stunHeader is how long the head of a STUN message is (RFC 8489 §5), channelHeader that of channel data (RFC 8656
	// §12.4).
	stunHeader, channelHeader = 20, 4
)

var errForeign = errors.New("what came is neither STUN nor channel data")

// A stream is a connection over TCP or TLS. Each of its reads returns one whole message, so that what reads it needs to
// put none together: however slowly a stranger sends one, it takes the one buffer here.
type stream struct {
	net.Conn
	s    *Server
	pass *gate.Pass
	buf  []byte // read and not returned
	skip int    // bytes to pass over
	once sync.Once
}

// Take serves a connection that came by TLS; it says false where the relay does not any more.
func (s *Server) Take(e wire.Entry) bool {
	return s.enter(&stream{Conn: e.TLS, s: s, pass: e.Pass, buf: append([]byte(nil), e.Early...)})
}

// Begins says whether these first bytes of a connection are those of STUN (RFC 7983 §7, RFC 8489 §5).
func Begins(b []byte) bool {
	return len(b) > 0 && b[0] < 4
}

// accept takes connections until the listener is closed.
func (s *Server) accept(l net.Listener) {
	err := gate.Accept(l, "calls", func() bool { return s.isClosed() }, nil, s.o.Log, func(c net.Conn) {
		from := gate.RemoteIP(c)
		pass, why := s.o.Gate.Admit(c, from, s.o.Limits())
		if why != "" {
			s.Stats.Refused.Add(1)
			_ = c.Close() // nothing can be said to it
			return
		}
		if !s.enter(&stream{Conn: c, s: s, pass: pass}) {
			pass.Leave()
			_ = c.Close() // likewise
		}
	})
	if err != nil && !s.isClosed() {
		s.o.Log.Error("listener ended", "listener", "calls", "error", err, "do", "restart this server")
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// enter begins to serve a stream, which has so long to get an allocation.
func (s *Server) enter(c *stream) bool {
	if c.SetReadDeadline(time.Now().Add(s.o.Limits().AuthTime)) != nil {
		return false
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.streams[c] = struct{}{}
	s.mu.Unlock()
	s.Stats.Connected.Add(1)
	if !s.hall.give(c) {
		_ = c.Close() // nobody has heard from it
	}
	return true
}

// settled gives the streams of a client time as long as it has an allocation, and only a little when it has none.
func (s *Server) settled(c client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := s.clients[c] != nil
	for st := range s.streams {
		if addrPort(st.RemoteAddr()) != c.at {
			continue
		}
		// An error says that it is closed.
		if has {
			st.pass.Known()
			_ = st.SetReadDeadline(time.Time{})
		} else {
			_ = st.SetReadDeadline(time.Now().Add(s.o.Limits().AuthTime))
		}
	}
}

// Read returns the next message. It implements net.Conn.
func (c *stream) Read(b []byte) (int, error) {
	for {
		for c.skip > 0 && len(c.buf) > 0 {
			n := min(c.skip, len(c.buf))
			c.buf, c.skip = c.buf[n:], c.skip-n
		}
		n, err := frame(c.buf)
		switch {
		case err != nil:
			return 0, err
		case c.skip > 0 || n == 0 || len(c.buf) < n && n <= min(longestFrame, len(b)):
		case n > min(longestFrame, len(b)):
			c.skip = n
			continue
		default:
			copy(b, c.buf[:n])
			if c.buf = c.buf[n:]; len(c.buf) == 0 {
				c.buf = nil // one that is silent holds no buffer
			}
			return n, nil
		}
		more := make([]byte, len(c.buf), 2*(longestFrame+1))
		copy(more, c.buf)
		n, err = c.Conn.Read(more[len(more):cap(more)])
		if c.buf = more[:len(more)+n]; n == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			return 0, err
		}
	}
}

// frame is how long the message is that begins here; 0: that cannot be seen yet.
func frame(b []byte) (int, error) {
	switch {
	case len(b) > 0 && b[0] >= 0x80:
		return 0, errForeign
	case len(b) < channelHeader:
		return 0, nil
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if b[0] >= 0x40 {
		return channelHeader + (n+3)&^3, nil // padded over TCP
	}
	return stunHeader + n, nil
}

// Write writes a message; a client that takes none for long is let go. It implements net.Conn.
func (c *stream) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.s.o.Limits().WriteStall)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(b)
	if err != nil {
		_ = c.Close() // what is half written cannot be mended
	}
	return n, err
}

// Close ends the stream. It implements net.Conn.
func (c *stream) Close() error {
	c.once.Do(func() {
		c.pass.Leave()
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		delete(c.s.streams, c)
	})
	return c.Conn.Close()
}

// A hall is the listener of all streams, by whichever door they came.
type hall struct {
	come chan net.Conn
	shut chan struct{}
	once sync.Once
}

func newHall() *hall { return &hall{come: make(chan net.Conn, 16), shut: make(chan struct{})} }

// give hands over a connection; false: nobody takes it.
func (h *hall) give(c net.Conn) bool {
	select {
	case h.come <- c:
		return true
	case <-h.shut:
		return false
	}
}

// Accept implements net.Listener.
func (h *hall) Accept() (net.Conn, error) {
	select {
	case c := <-h.come:
		return c, nil
	case <-h.shut:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *hall) Close() error {
	h.once.Do(func() { close(h.shut) })
	return nil
}

// Addr implements net.Listener.
func (h *hall) Addr() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPort{}) }
