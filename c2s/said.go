package c2s

import (
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"time"

	"jackdaw/router"
	"jackdaw/wire"
	"jackdaw/xmpp/stream"
)

// What the log says of the streams of clients: one line when a session begins, is resumed, loses its connection and
// ends, and for what strangers do wrong before they have logged in, a line a minute and address (gate.Lines).

// connection tells where the client is. The caller holds the session's mu, or is the only one to know the connection.
func (c *conn) connection() router.Connection {
	out := router.Connection{Address: c.from}
	if v := c.tlsVersion(); v != 0 {
		out.TLS = tls.VersionName(v)
	}
	return out
}

// Connection implements router.Connected.
func (s *session) Connection() router.Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := router.Connection{}
	if s.conn != nil {
		out = s.conn.connection()
	} else {
		out.Expires = s.expires
	}
	out.Since, out.Device = time.Unix(s.began, 0), s.device
	return out
}

// Confirms implements router.Confirmer.
func (s *session) Confirms() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sm != nil
}

// noTLS stands in the log for a stream in the clear.
const noTLS = "none"

func (g *greeting) sayLogin() {
	at := g.connection()
	g.srv.log.Info("client logged in", "session", g.s.addr, "from", at.Address, "tls", orNone(at.TLS),
		"mechanism", string(g.how))
}

func (g *greeting) sayResumed() {
	at := g.connection()
	g.srv.log.Info("client resumed its session", "session", g.s.addr, "from", at.Address, "tls", orNone(at.TLS),
		"mechanism", string(g.how))
}

func orNone(version string) string {
	if version == "" {
		return noTLS
	}
	return version
}

// sayDetached says that the session waits for its client.
func (s *session) sayDetached(why string, window time.Duration) {
	s.srv.log.Info("client is away, its session waits", "session", s.addr, "why", why, "for", window)
}

func (s *session) sayEnded(f *wire.Farewell) {
	s.srv.log.Info("client session ended", "session", s.addr, "why", why(f),
		"lasted", time.Since(time.Unix(s.began, 0)).Round(time.Second))
}

// why is the reason in words.
func why(f *wire.Farewell) string {
	if f.Polite() {
		return "the client closed its stream"
	}
	return f.Error()
}

// A tlsError is why a handshake came to nothing.
type tlsError struct{ error }

func (e *tlsError) Unwrap() error { return e.error }

// sayStranger says why a connection ended before the client was let in, where that is a mistake which somebody can
// mend.
func (g *greeting) sayStranger(err error) {
	failed, inTLS := errors.AsType[*tlsError](err)
	what, do := "", ""
	unread := g.Unread()
	switch {
	case !inTLS && g.mode == STARTTLS && !g.began && len(unread) > 0 && unread[0] == 0x16: // RFC 8446 §5.1
		what, do = "TLS from the first byte on a port for STARTTLS", "give the client the port of listen.c2s_tls"
	case !inTLS, errors.Is(err, io.EOF): // somebody who looks whether the port is open says nothing
		return
	case plainText(failed):
		what = "no TLS on a port for direct TLS, the client begins in plain text"
		do = "give the client the port of listen.c2s, or have it use direct TLS"
	}
	if what != "" {
		g.srv.sayAbout(g.source.Addr, "client does not speak what the port does", "what", what, "do", do)
		return
	}
	g.srv.sayAbout(g.source.Addr, "TLS with a client failed", "error", failed.error)
}

// plainText says that what came for a TLS record is text: XML, or a request of HTTP.
func plainText(err *tlsError) bool {
	bad, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok {
		return false
	}
	for _, b := range bad.RecordHeader {
		if b < ' ' && b != '\t' && b != '\r' && b != '\n' || b > '~' {
			return false
		}
	}
	return true
}

// sayAbout writes a line about an address, if that has not caused one lately.
func (s *Server) sayAbout(a netip.Addr, message string, args ...any) {
	held, ok := s.lines.Say(a)
	if !ok {
		return
	}
	args = append([]any{"from", a}, args...)
	if held > 0 {
		args = append(args, "more_before", held)
	}
	s.log.Info(message, args...)
}

// sayRefused says that the stream of a client ended by an error of its own before it was let in. Guessed passwords have
// their own lines.
func (g *greeting) sayRefused(f *wire.Farewell) {
	if f.Condition == "" || f.Condition == stream.SystemShutdown || g.failures > 0 {
		return
	}
	g.srv.sayAbout(g.source.Addr, "client refused before login", "why", why(f), "host", g.host.String())
}
