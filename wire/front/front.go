// Package front serves a port that everything shares, such as 443: TLS begins with the first byte, and the protocol
// that the client then asks for says whose the connection is (ALPN, RFC 7301; XEP-0368): that of clients, of peers or
// of the web. Without ALPN, which XEP-0368 §5 tells servers to reckon with, the first bytes after the handshake say it:
// a request of HTTP, or the header of a stream, whose content namespace is that of clients or of peers.
//
// Until then a connection is within the limits of all strangers: it has been counted by the gate, the handshake takes
// limits.tls_time at most and what follows without ALPN limits.auth_time. Whoever takes it goes on as with one of its
// own listeners.
//
// Each protocol has its own configuration of TLS, and tickets of its own: a session of one is never resumed as another.
package front

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"jackdaw/config"
	"jackdaw/router/gate"
	"jackdaw/wire"
)

// A Protocol is something that a connection may be for.
type Protocol struct {
	Names []string    // in ALPN; the first is that in Stats
	TLS   *tls.Config // of its own listeners; names of protocols are set here, on a copy
	// Take serves a connection; it says false where it does not any more.
	Take func(wire.Entry) bool
	// Begins says whether a connection without ALPN that begins with these bytes is for it; it is asked of Others. Nil:
	// nothing but its names leads to it.
	Begins func(b []byte) bool

	taken atomic.Int64
}

// Taken is how many connections were for this protocol.
func (p *Protocol) Taken() int64 { return p.taken.Load() }

// Options of New.
type Options struct {
	// Clients and Web are always there, Peers where this server federates. Whatever else is to share the port, as
	// acme-tls/1 (RFC 8737) or stun.turn (RFC 7443), comes into Others: its names in ALPN lead to it, or what it begins
	// with.
	Clients, Peers, Web *Protocol
	Others              []*Protocol

	// Under makes what TLS is put on. Nil: the transport.
	Under  func(*wire.Transport) net.Conn
	Gate   *gate.Keeper
	Limits func() *config.Limits
	Log    *slog.Logger
}

// Stats count since the start.
type Stats struct {
	Accepted atomic.Int64
	Refused  atomic.Int64 // by the limits of an address
	Failed   atomic.Int64 // they became nobody's: no TLS, no protocol of ours, nothing said
	Panics   atomic.Int64 // faults of the server
}

// A Server serves such ports. It is safe for concurrent use.
type Server struct {
	Stats Stats

	o       Options
	tls     *tls.Config
	streams wire.Service[*visitor]
	lines   gate.Lines
}

// A visitor is a connection of which it is not known yet whose it is.
type visitor struct {
	conn net.Conn
	from netip.Addr
	pass *gate.Pass
}

// New returns a server that serves nothing yet. Shutdown frees it.
func New(o Options) *Server {
	s := &Server{o: o}
	if s.o.Under == nil {
		s.o.Under = func(t *wire.Transport) net.Conn { return t }
	}
	s.tls = s.config()
	s.streams = wire.Service[*visitor]{Who: "stranger", Log: o.Log, Gate: o.Gate, Limits: o.Limits, Framing: wire.Bytes{},
		Accepted: &s.Stats.Accepted, Refused: &s.Stats.Refused, Panics: &s.Stats.Panics,
		OnRefused: func(from netip.Addr, why string) {
			s.say(from, "connection to the port of listen.tls refused", "why", why)
		}}
	s.streams.Open()
	return s
}

// Protocols are all there are.
func (s *Server) Protocols() []*Protocol {
	all := []*Protocol{s.o.Clients, s.o.Web}
	if s.o.Peers != nil {
		all = append(all, s.o.Peers)
	}
	return append(all, s.o.Others...)
}

// Serve accepts connections until the listener is closed, by Shutdown or by the caller. It returns nil after Shutdown.
func (s *Server) Serve(l net.Listener) error { return s.streams.Serve(l, s.accept) }

// accept begins to serve a connection.
func (s *Server) accept(c net.Conn) {
	s.streams.Admit(c, true, func(from netip.Addr, pass *gate.Pass) bool {
		v := &visitor{c, from, pass}
		if !s.streams.Enter(v) {
			return false
		}
		go func() {
			defer s.streams.Workers.Done()
			err := s.receive(v)
			s.streams.Leave(v)
			if err != nil {
				pass.Leave()
				_ = c.Close() // nothing can be said to it that it would understand
				s.Stats.Failed.Add(1)
				s.sayFailed(from, err)
			}
		}()
		return true
	})
}

var (
	errClosing = errors.New("the server is closing")
	errForeign = errors.New("what came is neither XMPP nor HTTP")
)

// receive finds out whose a connection is, and has it taken; an error says that it is nobody's.
func (s *Server) receive(v *visitor) (err error) {
	defer s.streams.Recover(&err)
	t := wire.NewTransport(v.conn)
	if err := t.SetDeadline(time.Now().Add(s.o.Limits().TLSTime)); err != nil {
		return err
	}
	c := tls.Server(s.o.Under(t), s.tls)
	if err := c.HandshakeContext(context.Background()); err != nil { // the deadline ends it
		return &tlsError{err}
	}
	e := wire.Entry{Transport: t, TLS: c, Framing: wire.Bytes{}, Secure: true, From: v.from, Pass: v.pass}
	p := s.named(c.ConnectionState().NegotiatedProtocol)
	if p == nil {
		if err := t.SetDeadline(time.Now().Add(s.o.Limits().AuthTime)); err != nil {
			return err
		}
		if p, e.Early, err = s.listen(c); err != nil {
			return err
		}
	}
	if err := t.SetDeadline(time.Time{}); err != nil { // whoever takes it has its own
		return err
	}
	p.taken.Add(1)
	if !p.Take(e) {
		return errClosing
	}
	return nil
}

// named is the protocol of a name in ALPN; nil: there is none.
func (s *Server) named(name string) *Protocol {
	if name != "" {
		for _, p := range s.Protocols() {
			for _, n := range p.Names {
				if n == name {
					return p
				}
			}
		}
	}
	return nil
}

// A tlsError is why a handshake came to nothing.
type tlsError struct{ error }

func (e *tlsError) Unwrap() error { return e.error }

// sayFailed says why a connection became nobody's, where that is a mistake which somebody can mend.
func (s *Server) sayFailed(from netip.Addr, err error) {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, errClosing):
		// Whoever looks whether a port is open says nothing.
	case errors.As(err, new(tls.RecordHeaderError)):
		s.say(from, "no TLS on the port of listen.tls, the client begins in plain text",
			"do", "give the client the port of listen.c2s or listen.http, or have it use TLS from the first byte")
	case errors.As(err, new(*tlsError)):
		s.say(from, "TLS failed on the port of listen.tls", "error", err)
	default:
		s.say(from, "a connection to the port of listen.tls was nobody's", "error", err)
	}
}

// say logs something that a stranger has done, a line a minute and address.
func (s *Server) say(from netip.Addr, what string, args ...any) {
	if held, ok := s.lines.Say(from); ok {
		s.streams.Log.Info(what, append([]any{"from", from, "held_back", held}, args...)...)
	}
}

// Shutdown stops accepting, and closes what is nobody's yet. Those who have taken connections end them by themselves.
func (s *Server) Shutdown(ctx context.Context) error {
	s.streams.Close()
	for _, v := range s.streams.All() {
		_ = v.conn.Close() // its goroutine finds out
	}
	return s.streams.Wait(ctx, func(*visitor) {})
}
