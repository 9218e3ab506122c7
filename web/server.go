// Package web is what all that speaks HTTP here shares: the server with its limits (RFC 9110, RFC 9112), and whose
// address a request is from behind proxies. What is served is not its business.
package web

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"jackdaw/router/gate"
	"jackdaw/wire"
)

// Limits bound what a connection may take its time for (docs/security.md).
type Limits struct {
	HeaderBytes int           // beyond: 431
	HeaderTime  time.Duration // beyond: 408
	BodyTime    time.Duration // beyond: 408
	Idle        time.Duration // between requests; then the connection is closed
	Streams     int           // at once on one connection of HTTP/2
}

// DefaultLimits are those of docs/jackdaw.yaml.
var DefaultLimits = Limits{
	HeaderBytes: 16 << 10,
	HeaderTime:  5 * time.Second,
	BodyTime:    15 * time.Second,
	Idle:        time.Minute,
	Streams:     100,
}

// writeTime bounds an answer, from the end of the header: the body may take its time, and so may storage.
const writeTime = time.Minute

// slop is what net/http adds to MaxHeaderBytes.
const slop = 4096

// A Server serves a handler on any number of listeners within limits, each of which is answered and not merely met with
// silence.
type Server struct {
	http  http.Server
	fast  fastPath
	taken *handover
}

// NewServer returns a server for this handler, of which a Service may be one part.
func NewServer(h http.Handler, l Limits, log *slog.Logger) *Server {
	s := &Server{taken: newHandover()}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true) // on TLS
	s.http = http.Server{
		Handler:           Closing(h),
		MaxHeaderBytes:    max(l.HeaderBytes-slop, 1),
		ReadHeaderTimeout: l.HeaderTime,
		// The handler sets the exact time of a body; this one holds for bodies that it leaves unread.
		ReadTimeout:  l.HeaderTime + l.BodyTime,
		WriteTimeout: writeTime,
		IdleTimeout:  l.Idle,
		Protocols:    protocols,
		HTTP2:        &http.HTTP2Config{MaxConcurrentStreams: l.Streams},
		ConnState:    watchState,
		ConnContext:  connContext,
		ErrorLog:     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// connContext is the context of requests on a connection.
func connContext(ctx context.Context, c net.Conn) context.Context {
	return withPeer(context.WithValue(ctx, passKey{}, passOf(c)), c)
}

// Closing ends a connection of HTTP/1 after a request with Transfer-Encoding. One that has Content-Length as well is an
// attempt to have two programs see two requests (RFC 9112 §6.1: "MUST close the connection"). net/http has taken that
// field away when a handler looks, so it is done for all of them; that may cost whoever sends without a length a new
// connection. Every listener for HTTP has it.
func Closing(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// Serve accepts on a plain listener, TCP or unix, until Shutdown or Close; it returns nil then. The listener is closed
// with it.
func (s *Server) Serve(l net.Listener) error {
	watched := watchedListener{l, true}
	l = watched
	if len(s.fast.paths) > 0 {
		l = s.onFastPath(watched)
	}
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Protocols are the names of ALPN of what is served here (RFC 7301).
var Protocols = []string{"h2", "http/1.1"}

// TLS is a copy of a configuration as connections to be served here need it.
func TLS(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.NextProtos = Protocols
	c.DynamicRecordSizingDisabled = true // what leaves here is short or a stream
	return c
}

// ServeTLS is Serve with TLS and HTTP/2. The configuration is not changed.
func (s *Server) ServeTLS(l net.Listener, c *tls.Config) error {
	err := s.http.Serve(tlsListener{watchedListener{l, false}, TLS(c)})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown takes no more connections, lets requests under way finish, and closes what is left when the context ends.
func (s *Server) Shutdown(ctx context.Context) error {
	_ = s.taken.Close() // whoever gives it another has it back
	fast := make(chan error, 1)
	go func() { fast <- s.fast.shutdown(ctx) }()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close() // the context's error is the one to tell
	}
	return errors.Join(err, <-fast)
}

// watchedListener makes connections that know when a request stopped halfway.
type watchedListener struct {
	net.Listener
	plain bool
}

// Accept implements net.Listener.
func (l watchedListener) Accept() (net.Conn, error) { return l.accept() }

func (l watchedListener) accept() (*watchedConn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &watchedConn{Conn: c, plain: l.plain}, nil
}

// A tlsListener puts TLS on its connections, over a transport, so that a stream that begins on one can read by the
// descriptor (wire.Transport).
type tlsListener struct {
	watchedListener
	config *tls.Config
}

// Accept implements net.Listener.
func (l tlsListener) Accept() (net.Conn, error) {
	c, err := l.accept()
	if err != nil {
		return nil, err
	}
	c.Conn = wire.NewTransport(c.Conn)
	return tls.Server(c, l.config), nil
}

// A watchedConn says why it is about to be closed where net/http does not: when a header did not arrive in time.
type watchedConn struct {
	net.Conn
	pass  *gate.Pass // of one that was taken; the others have theirs below
	plain bool
	late  atomic.Bool // the last read ended with a time-out
	asked atomic.Bool // something was read since the last write
	taken atomic.Bool // a stream has it
	early []byte      // was read for another, and comes first
}

// Read implements net.Conn.
func (c *watchedConn) Read(b []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(b, c.early)
		if c.early = c.early[n:]; len(c.early) == 0 {
			c.early = nil
		}
		return n, nil
	}
	n, err := c.Conn.Read(b)
	// net/http ends its watch of a connection during a request with a time-out of its own making.
	if late := err != nil && errors.Is(err, os.ErrDeadlineExceeded); late != c.late.Load() {
		c.late.Store(late)
	}
	if n > 0 && !c.asked.Load() {
		c.asked.Store(true)
	}
	return n, err
}

// Write implements net.Conn.
func (c *watchedConn) Write(b []byte) (int, error) {
	c.asked.Store(false)
	return c.Conn.Write(b)
}

// SetWriteDeadline implements net.Conn. A transport has its own idea of that, which counts for streams alone.
func (c *watchedConn) SetWriteDeadline(d time.Time) error {
	if t, ok := c.Conn.(*wire.Transport); ok && !c.taken.Load() {
		return t.WriteUntil(d)
	}
	return c.Conn.SetWriteDeadline(d)
}

// Close implements net.Conn.
func (c *watchedConn) Close() error {
	if c.plain {
		c.answer(c)
	}
	c.pass.Leave()
	return c.Conn.Close()
}

// NetConn is the connection below.
func (c *watchedConn) NetConn() net.Conn { return c.Conn }

// watched is what a connection was made on, TLS or another.
func watched(c net.Conn) (*watchedConn, bool) {
	for {
		if w, ok := c.(*watchedConn); ok {
			return w, true
		}
		above, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil, false
		}
		c = above.NetConn()
	}
}

// slowHeader is the answer to a header that did not arrive in time (RFC 9110 §15.5.9).
const slowHeader = "HTTP/1.1 408 Request Timeout\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
	"Request timeout: the header did not arrive in time.\n"

// answer writes, to this connection or to the one above it, if a request stopped halfway.
func (c *watchedConn) answer(to net.Conn) {
	if c.late.Load() && c.asked.Swap(false) {
		_ = to.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = to.Write([]byte(slowHeader)) // a client that slow may be gone
	}
}

// watchState is told by net/http what becomes of a connection. Between two requests one may be closed for the sake of
// another.
//
// A slow header on a connection under TLS must be answered before TLS is closed: the hook is called when a first
// request is complete or has failed.
func watchState(c net.Conn, state http.ConnState) {
	if pass := passOf(c); pass != nil && (state == http.StateActive || state == http.StateIdle) {
		pass.Idle(state == http.StateIdle)
	}
	if w, ok := watched(c); ok && !w.plain && state == http.StateActive {
		w.answer(c)
	}
}

// passKey is where the context of a request has the *gate.Pass of its connection.
type passKey struct{}

// passOf is the pass of a connection, under TLS or not; nil if nobody has counted it.
func passOf(c net.Conn) *gate.Pass {
	w, ok := watched(c)
	if !ok {
		return nil
	}
	if w.pass != nil {
		return w.pass
	}
	c = w.Conn
	if t, ok := c.(*wire.Transport); ok {
		c = t.NetConn()
	}
	if counted, ok := c.(*gate.Conn); ok {
		return counted.Pass
	}
	return nil
}

// Authenticated notes that a request had good credentials: its connection is no stranger's any more.
func Authenticated(r *http.Request) {
	if pass, ok := r.Context().Value(passKey{}).(*gate.Pass); ok && pass != nil {
		pass.Known()
	}
}

// TurnAway answers a plain connection that is not let in, without waiting for what it wants.
func TurnAway(c net.Conn, why string) {
	if c.SetWriteDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	_, _ = c.Write([]byte("HTTP/1.1 429 Too Many Requests\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\nConnection: close\r\n\r\n" +
		"Too many requests: " + why + ".\n")) // a courtesy
	if cw, ok := c.(interface{ CloseWrite() error }); ok {
		_ = cw.CloseWrite() // so is this
	}
}
