package web

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"

	"jackdaw/wire"
)

// Under is what TLS is put on by a listener that has connections taken (Take), or has streams begin on them.
func Under(t *wire.Transport) net.Conn {
	w := &watchedConn{Conn: t}
	w.taken.Store(true)
	return w
}

// Take serves a connection that another listener has accepted and counted, and on which TLS was made over what Under
// returned. It waits for ServeTaken, and says false where the server is closing; the connection is the caller's then.
func (s *Server) Take(e wire.Entry) bool {
	w, ok := watched(e.TLS)
	if !ok {
		return false
	}
	w.pass = e.Pass
	w.taken.Store(false)
	c := net.Conn(e.TLS)
	if len(e.Early) > 0 {
		c = &earlyConn{Conn: e.TLS, early: e.Early}
	}
	return s.taken.give(c)
}

// ServeTaken serves what is taken until Shutdown; it returns nil then.
func (s *Server) ServeTaken() error {
	err := s.http.Serve(s.taken)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// An earlyConn is a connection of TLS some bytes of which were read before it was taken.
type earlyConn struct {
	*tls.Conn
	early []byte
}

// Read implements net.Conn.
func (c *earlyConn) Read(b []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.early)
	if c.early = c.early[n:]; len(c.early) == 0 {
		c.early = nil
	}
	return n, nil
}

// A handover is a listener that others fill.
type handover struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHandover() *handover { return &handover{conns: make(chan net.Conn), done: make(chan struct{})} }

// give says whether somebody has the connection.
func (h *handover) give(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
		return false
	}
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr { return &net.TCPAddr{} }
