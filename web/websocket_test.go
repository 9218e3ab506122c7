package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"jackdaw/config"
	"jackdaw/router/gate"
	"jackdaw/wire"
)

var allowed []string

// origins serves im.example.org and a name that is not of ASCII.
var origins = Origins{Allowed: func() []string { return allowed }, Serves: func(d string) bool {
	return d == "im.example.org" || d == "bücher.example" || d == "localhost"
}}

// sockets hand their streams to take.
func sockets(take func(wire.Entry) bool) *WebSockets {
	limits := config.Default().Limits
	return &WebSockets{Origins: origins, Take: take, Limits: func() *config.Limits { return &limits },
		Trusted: func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }}
}

// asked is a request for an upgrade, changed by "Header: value" lines; one without a value takes the header away.
func asked(changes ...string) *http.Request {
	r := httptest.NewRequest("GET", PathWebSocket, nil)
	r.RemoteAddr = "192.0.2.7:5555"
	for _, h := range append([]string{"Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: chat, xmpp"}, changes...) {
		name, value, _ := strings.Cut(h, ":")
		r.Header.Del(name)
		if value = strings.TrimSpace(value); value != "" {
			r.Header.Set(name, value)
		}
	}
	return r
}

func TestHandshakesThatAreNoneAreRefused(t *testing.T) {
	s := sockets(func(wire.Entry) bool { t.Error("taken"); return false })
	old, newer, posted := asked(), asked(), asked()
	old.ProtoMinor = 0
	newer.ProtoMajor, newer.ProtoMinor = 2, 0
	posted.Method = "POST"
	body := asked()
	body.ContentLength = 1
	for name, c := range map[string]struct {
		r      *http.Request
		status int
		header string // of the answer
	}{
		"POST":                     {posted, 405, "Allow: GET"},
		"HTTP/1.0":                 {old, 505, ""},
		"HTTP/2":                   {newer, 505, ""},
		"no upgrade":               {asked("Upgrade:"), 426, "Upgrade: websocket"},
		"an upgrade to h2c":        {asked("Upgrade: h2c"), 426, "Upgrade: websocket"},
		"one that is not for us":   {asked("Connection: close"), 426, "Upgrade: websocket"},
		"an old version":           {asked("Sec-WebSocket-Version: 8"), 426, "Sec-WebSocket-Version: 13"},
		"no key":                   {asked("Sec-WebSocket-Key:"), 400, ""},
		"a short key":              {asked("Sec-WebSocket-Key: AAAA"), 400, ""},
		"a key that is not base64": {asked("Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!!!"), 400, ""},
		"no subprotocol":           {asked("Sec-WebSocket-Protocol:"), 400, ""},
		"another subprotocol":      {asked("Sec-WebSocket-Protocol: mqtt"), 400, ""},
		"a body":                   {body, 400, ""},
		"a page of elsewhere":      {asked("Origin: https://evil.example"), 403, "Vary: Origin"},
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, c.r)
		header, value, _ := strings.Cut(c.header, ": ")
		if w.Code != c.status || w.Header().Get(header) != value {
			t.Errorf("%s: %d %v %s", name, w.Code, w.Header(), w.Body)
		}
		if c.r.ProtoMajor == 2 && len(w.Header()["Upgrade"])+len(w.Header()["Connection"]) > 0 {
			t.Errorf("%s: %v is not for HTTP/2", name, w.Header()) // RFC 9113 §8.2.2
		}
	}
}

func TestOriginsAreThoseOfOurHostsAndConfiguredOnes(t *testing.T) {
	defer func() { allowed = nil }()
	for _, c := range []struct {
		allowed []string
		origin  string
		want    bool
	}{
		{nil, "", true}, // no browser
		{nil, "https://im.example.org", true},
		{nil, "https://IM.example.org:8443", true},
		{nil, "https://xn--bcher-kva.example", true}, // as browsers say bücher.example (RFC 6454 §6.2)
		{nil, "http://localhost:8000", true},
		{nil, "http://im.example.org", false}, // whoever sits on the way
		{nil, "https://im.example.org.evil.example", false},
		{nil, "https://im.example.org@evil.example", false},
		{nil, "https://evil.example/im.example.org", false},
		{nil, "https://xn--a.example", false},
		{nil, "null", false},
		{nil, "file://", false},
		{nil, "chrome-extension://im.example.org", false},
		{nil, "https://", false},
		{nil, "%zz", false},
		{[]string{"https://chat.example.net/"}, "https://chat.example.net", true},
		{[]string{"https://chat.example.net"}, "https://chat.example.net:444", false},
		{[]string{"https://chat.example.net"}, "http://chat.example.net", false},
		{[]string{"*"}, "https://evil.example", true},
		{[]string{"*"}, "null", true},
	} {
		allowed = c.allowed
		w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil)
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		said := "" // to the browser
		if c.want {
			said = c.origin
		}
		if got := origins.Allow(w, r); got != c.want || (w.Code == http.StatusForbidden) == c.want ||
			w.Header().Get("Access-Control-Allow-Origin") != said {
			t.Errorf("%q with %v: %d %v", c.origin, c.allowed, w.Code, w.Header())
		}
		if w.Header().Get("Vary") != "Origin" || w.Header().Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%q: %v", c.origin, w.Header())
		}
	}
	allowed = nil
	w, r := httptest.NewRecorder(), httptest.NewRequest("OPTIONS", "/", nil)
	r.Header.Set("Origin", "https://im.example.org")
	if origins.Allow(w, r) || w.Code != http.StatusNoContent || w.Header().Get("Access-Control-Allow-Methods") == "" ||
		w.Header().Get("Access-Control-Allow-Headers") != "Content-Type" {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
	w = httptest.NewRecorder()
	r.Header.Set("Origin", "https://evil.example\x00"+strings.Repeat("x", 1000))
	allowed := origins.Allow(w, r)
	if said := w.Body.String(); allowed || w.Code != http.StatusForbidden || len(said) > 300 || strings.Contains(said, "\x00") {
		t.Errorf("preflight of elsewhere: %d %q", w.Code, w.Body)
	}
}

// Whoever could be said to be on this machine would have no limits.
func TestProxiesCannotBeToldThatAClientIsHere(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8")}
	for _, c := range []struct{ peer, forwarded, want string }{
		{"10.0.0.1:1", "192.0.2.7", "192.0.2.7"},
		{"10.0.0.1:1", "127.0.0.1, 192.0.2.7", "192.0.2.7"},
		{"10.0.0.1:1", "::1, 10.0.0.9", "10.0.0.9"},
		{"10.0.0.1:1", "::1", "10.0.0.1"},
		{"127.0.0.1:1", "192.0.2.7, 127.0.0.1", "192.0.2.7"},
		{"127.0.0.1:1", "127.0.0.2", "127.0.0.2"},
		{"127.0.0.1:1", "127.0.0.2, 10.0.0.9", "10.0.0.9"},
		{"127.0.0.1:1", "nonsense, 10.0.0.9", "10.0.0.9"},
		{"192.0.2.7:1", "127.0.0.1", "192.0.2.7"},  // no proxy of ours
		{"@", "127.0.0.1, 192.0.2.7", "192.0.2.7"}, // a unix socket
		{"@", "::1", "invalid IP"},
		{"@", "", "invalid IP"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		r.Header.Set("X-Forwarded-For", c.forwarded)
		if got := ClientOf(r, trusted); got.Addr.String() != c.want {
			t.Errorf("%s says %q: %v", c.peer, c.forwarded, got)
		}
	}
}

// serve has a handler behind an HTTP server whose connections are counted.
func serve(t *testing.T, h http.Handler, trusted bool, secure bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limits := config.Default().Limits
	counted := &gate.Listener{Listener: l, Keeper: new(gate.Keeper), Limits: func() *config.Limits { return &limits },
		Trusted: func(netip.Addr) bool { return trusted }}
	s := NewServer(h, DefaultLimits, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() {
		if secure {
			c := httptest.NewUnstartedServer(nil) // for its certificate
			c.StartTLS()
			defer c.Close()
			done <- s.ServeTLS(counted, c.TLS)
			return
		}
		done <- s.Serve(counted)
	}()
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(context.Background()), <-done); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// upgraded asks for an upgrade and returns the connection and the status.
func upgraded(t *testing.T, at string, secure bool, early string, changes ...string) (net.Conn, *http.Response) {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	t.Cleanup(func() { _ = c.Close() })
	var b strings.Builder
	if err := asked(changes...).Write(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, b.String()+early); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, resp
}

func TestAnUpgradeHandsTheConnectionOver(t *testing.T) {
	for name, secure := range map[string]bool{"in clear": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			got := make(chan wire.Entry, 1)
			at := serve(t, sockets(func(e wire.Entry) bool { got <- e; return true }), false, secure)
			// A client may not send before the answer; one that does loses nothing.
			c, resp := upgraded(t, at, secure, "early")
			e := <-got
			if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || // RFC 6455 §1.3
				resp.Header.Get("Sec-WebSocket-Protocol") != "xmpp" || resp.Header.Get("Sec-WebSocket-Extensions") != "" {
				t.Errorf("%d %v", resp.StatusCode, resp.Header)
			}
			if !e.Secure || (e.TLS != nil) != secure || e.From != netip.MustParseAddr("127.0.0.1") || e.Pass == nil {
				t.Errorf("%+v", e)
			}
			read := io.Reader(e.Transport)
			if secure {
				read = e.TLS
			}
			b := make([]byte, len("early"))
			n := copy(b, e.Early)
			if _, err := io.ReadFull(read, b[n:]); err != nil || string(b) != "early" {
				t.Errorf("%q, %v", b, err)
			}
			_ = c.Close() // and what was read stays
			if _, err := read.Read(b); err == nil {
				t.Error("there is more to read")
			}
			_ = e.Transport.Close()
		})
	}
}

func TestStreamsThroughAProxyAreCountedByClient(t *testing.T) {
	got := make(chan wire.Entry, 1)
	s := sockets(func(e wire.Entry) bool { got <- e; return true })
	s.Trusted = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
	most := s.Limits().UnauthenticatedPerAddress
	s.Limits().ConnectBurst = most + 1
	at := serve(t, s, true, false)
	var all []wire.Entry
	from := func(a string) *http.Response {
		_, resp := upgraded(t, at, false, "", "X-Forwarded-For: "+a, "X-Forwarded-Proto: https")
		if resp.StatusCode == 101 {
			all = append(all, <-got)
		}
		return resp
	}
	for range most {
		if resp := from("192.0.2.7"); resp.StatusCode != 101 {
			t.Fatal(resp.Status)
		}
	}
	if resp := from("192.0.2.7"); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %s", resp.Status)
	}
	if resp := from("192.0.2.8"); resp.StatusCode != 101 {
		t.Errorf("of another: %s", resp.Status)
	}
	for _, e := range all {
		if !e.Secure || !strings.HasPrefix(e.From.String(), "192.0.2.") {
			t.Errorf("%+v", e)
		}
		_ = e.Transport.Close()
	}
	if resp := from("192.0.2.7"); resp.StatusCode != 101 {
		t.Errorf("when they have left: %s", resp.Status)
	}
	_ = all[len(all)-1].Transport.Close()
}

// hijacked is an answer whose connection nobody reads.
type hijacked struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// A client may have asked for much before and read nothing of it.
func TestWhoDoesNotReadTheHandshakeIsLeft(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"in clear": func(c net.Conn) net.Conn { return &watchedConn{Conn: c, plain: true} },
		"below":    func(c net.Conn) net.Conn { return &watchedConn{Conn: wire.NewTransport(c)} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				s := sockets(func(wire.Entry) bool { t.Error("taken"); return true })
				s.ServeHTTP(&hijacked{httptest.NewRecorder(), wrap(near)}, asked())
				if _, err := near.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the connection is open: %v", err)
				}
				if _, err := io.ReadAll(far); err != nil {
					t.Errorf("the connection is open: %v", err)
				}
			})
		})
	}
}
