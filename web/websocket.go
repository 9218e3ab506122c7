package web

import (
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"jackdaw/config"
	"jackdaw/router/gate"
	"jackdaw/wire"
)

// PathWebSocket is where streams over WebSocket begin.
const PathWebSocket = "/xmpp-websocket"

// WebSockets upgrades requests to streams (RFC 7395, RFC 6455 §4.2).
type WebSockets struct {
	Origins Origins
	Trusted func() []netip.Prefix // proxies whose word counts
	Limits  func() *config.Limits
	Take    func(e wire.Entry) bool // serves a stream; false: nobody does any more
}

// answerTime is how long it may take until a client has read the answers to what it asked before.
const answerTime = 5 * time.Second

// ServeHTTP implements http.Handler.
func (s *WebSockets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.Origins.Allow(w, r) {
		return
	}
	accept, ok := upgrade(w, r)
	if !ok {
		return
	}
	client := ClientOf(r, s.Trusted())
	e := wire.Entry{Framing: new(wire.WebSocket), Secure: client.Protected(r), From: client.Addr}
	e.Pass, _ = r.Context().Value(passKey{}).(*gate.Pass)
	if why := e.Pass.Carry(e.From, s.Limits()); why != "" {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "Too many requests: "+why+".", http.StatusTooManyRequests)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "Internal server error.", http.StatusInternalServerError)
		return
	}
	e.TLS, e.Transport = leave(conn)
	e.Early, _ = buffered.Reader.Peek(buffered.Reader.Buffered()) // no more than there is
	if c, ok := conn.(*earlyConn); ok {
		e.Early = append(e.Early, c.early...)
	}
	// Who does not read them keeps nobody here.
	if err = e.Transport.WriteUntil(time.Now().Add(answerTime)); err == nil {
		_, err = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Accept: " + accept + "\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n"))
	}
	if err != nil || !s.Take(e) {
		_ = conn.Close() // it has gone, or we have
	}
}

// leave takes a connection out of HTTP.
func leave(c net.Conn) (*tls.Conn, *wire.Transport) {
	if early, ok := c.(*earlyConn); ok {
		c = early.Conn
	}
	t, secure := c.(*tls.Conn)
	if secure {
		c = t.NetConn()
	}
	if w, ok := c.(*watchedConn); ok {
		w.taken.Store(true)
		c = w.Conn
	}
	if transport, ok := c.(*wire.Transport); ok {
		return t, transport
	}
	return nil, wire.NewTransport(c)
}

// accepts is what RFC 6455 §1.3 puts behind the key.
const accepts = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// upgrade checks the client's part of the handshake and returns what proves that it was understood. Else it has
// answered.
func upgrade(w http.ResponseWriter, r *http.Request) (accept string, ok bool) {
	key := r.Header.Get("Sec-WebSocket-Key")
	raw, err := base64.StdEncoding.DecodeString(key)
	switch {
	case r.ProtoMajor != 1 || r.ProtoMinor < 1: // RFC 6455 §4.2.1; HTTP/2 has ways of its own (RFC 8441), not offered
		http.Error(w, "WebSocket needs HTTP/1.1.", http.StatusHTTPVersionNotSupported)
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "Method not allowed. Use GET.", http.StatusMethodNotAllowed)
	case !lists(r, "Connection", "upgrade") || !lists(r, "Upgrade", "websocket"):
		w.Header().Set("Upgrade", "websocket") // RFC 9110 §15.5.22
		w.Header().Set("Connection", "Upgrade")
		http.Error(w, "This is for WebSocket.", http.StatusUpgradeRequired)
	case r.Header.Get("Sec-WebSocket-Version") != "13": // RFC 6455 §4.4
		w.Header().Set("Sec-WebSocket-Version", "13")
		http.Error(w, "Bad request: the version of WebSocket is 13.", http.StatusUpgradeRequired)
	case err != nil || len(raw) != 16:
		http.Error(w, "Bad request: Sec-WebSocket-Key is not 16 bytes in base64.", http.StatusBadRequest)
	case !lists(r, "Sec-WebSocket-Protocol", "xmpp"): // RFC 7395 §3.1
		http.Error(w, "Bad request: the subprotocol xmpp is not asked for.", http.StatusBadRequest)
	case r.ContentLength != 0:
		http.Error(w, "Bad request: an upgrade has no body.", http.StatusBadRequest)
	default:
		h := sha1.Sum([]byte(key + accepts))
		return base64.StdEncoding.EncodeToString(h[:]), true
	}
	return "", false
}

// lists says whether a header that is a list has a token.
func lists(r *http.Request, header, token string) bool {
	for _, line := range r.Header.Values(header) {
		for one := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(one), token) {
				return true
			}
		}
	}
	return false
}
