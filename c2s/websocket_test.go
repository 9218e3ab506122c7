package c2s

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"jackdaw/router"
	"jackdaw/web"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

// A socket is a connection by WebSocket that a client of the tests can write and read as if it were one of TCP. Its
// other half is of another hand than the server's.
type socket struct {
	net.Conn // for deadlines, and to be cut
	ws       *websocket.Conn
	ctx      context.Context
	out      stream.Scanner
	rest     []byte // written and not sent
	in       []byte // received and not read
}

// Write sends each item in a message of its own (RFC 7395 §3.3).
func (s *socket) Write(p []byte) (int, error) {
	if strings.HasPrefix(string(p), "<?xml") { // the stream begins anew
		s.out.Reset()
	}
	s.out.SetLimits(stream.Limits{Bytes: 1 << 22})
	s.rest = append(s.rest, p...)
	for {
		item, n, err := s.out.Scan(s.rest)
		if err != nil {
			return 0, err
		}
		var doc []byte
		switch item {
		case stream.ItemNone:
			return len(p), nil
		case stream.ItemHeader:
			h := s.out.Header()
			doc = []byte("<open xmlns='" + xmpp.NSFraming + "' to='" + h.To.String() + "' version='1.0'/>")
		case stream.ItemEnd:
			doc = []byte("<close xmlns='" + xmpp.NSFraming + "'/>")
		case stream.ItemStanza:
			doc = s.out.Stanza().AppendQualified(nil)
		default:
			_, doc = s.out.Element()
		}
		s.rest = s.rest[n:]
		if err := s.ws.Write(s.ctx, websocket.MessageText, doc); err != nil {
			return 0, err
		}
	}
}

// Read gives what messages have, with the header and the end as they are over TCP.
func (s *socket) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		kind, doc, err := s.ws.Read(s.ctx)
		switch {
		case websocket.CloseStatus(err) == websocket.StatusNormalClosure:
			_ = s.Conn.Close() // the server waits for that
			return 0, io.EOF
		case err != nil:
			return 0, err
		case kind != websocket.MessageText:
			return 0, errors.New("a message is not text")
		case strings.HasPrefix(string(doc), "<open "):
			doc = []byte(strings.Replace(strings.TrimSuffix(string(doc), "/>"), "<open xmlns='"+xmpp.NSFraming+"'",
				"<stream:stream xmlns='jabber:client' xmlns:stream='"+xmpp.NSStream+"'", 1) + ">")
		case strings.HasPrefix(string(doc), "<close "):
			doc = []byte(stream.Close)
		}
		s.in = doc
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n, nil
}

// sockets serves WebSockets for the house and returns where.
func (h *house) sockets(secure bool) string {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	handler := &web.WebSockets{Take: h.door.Take, Limits: h.limits, Trusted: func() []netip.Prefix { return nil },
		Origins: web.Origins{Allowed: func() []string { return nil }, Serves: h.router.Serves}}
	s := web.NewServer(handler, web.DefaultLimits, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() {
		if secure {
			done <- s.ServeTLS(l, &tls.Config{Certificates: []tls.Certificate{certificate()}})
			return
		}
		done <- s.Serve(l)
	}()
	h.t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(context.Background()), <-done); err != nil {
			h.t.Error(err)
		}
	})
	return l.Addr().String()
}

// dial opens a connection by WebSocket to one of sockets.
func (h *house) dial(addr string, secure bool) *client {
	h.t.Helper()
	var raw net.Conn
	ctx := h.t.Context()
	options := &websocket.DialOptions{Subprotocols: []string{"xmpp"}, HTTPClient: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			raw, err = new(net.Dialer).DialContext(ctx, network, addr)
			return raw, err
		}}}}
	scheme := "ws://"
	if secure {
		scheme = "wss://"
	}
	ws, _, err := websocket.Dial(ctx, scheme+addr+web.PathWebSocket, options)
	if err != nil {
		h.t.Fatal(err)
	}
	ws.SetReadLimit(1 << 22)
	s := &socket{Conn: raw, ws: ws, ctx: ctx}
	h.t.Cleanup(func() { _ = ws.CloseNow() }) // the server has most often
	return &client{t: h.t, conn: raw, c: s}
}

// enterBy does it all by WebSocket.
func (h *house) enterBy(addr string, secure bool, user, resource string) *client {
	h.t.Helper()
	c := h.dial(addr, secure)
	c.header()
	return c.login(user).bind(resource)
}

// leave ends the stream and the connection.
func (c *client) leave() {
	c.t.Helper()
	c.send(stream.Close).expect("</end>")
	c.close()
}

func TestAStreamOverWebSocketIsOneAsOverTCP(t *testing.T) {
	for name, secure := range map[string]bool{"in clear": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			h := open(t, nil)
			defer h.close()
			at := h.sockets(secure)
			romeo := h.dial(at, secure)
			if features := romeo.header(); strings.Contains(features, "starttls") || !strings.Contains(features, "SCRAM-SHA-1<") ||
				strings.Contains(features, "-PLUS") != secure {
				t.Errorf("features %s", features)
			}
			romeo.login("romeo").bind("page")
			juliet := h.enter("juliet", "phone")
			romeo.send("<message to='" + juliet.jid + "' id='m1' type='chat'><body>Wherefore?</body></message>")
			juliet.expect("id='m1'", "from='"+romeo.jid+"'", "<body>Wherefore?</body>")
			juliet.send("<message to='" + romeo.jid + "' id='m2' type='chat'><body>" + strings.Repeat("x", 100000) + "</body></message>")
			romeo.expect("id='m2'", "from='"+juliet.jid+"'")
			s := h.router.Session(jid.MustParse(romeo.jid))
			if at := s.Connection(); at.Address != netip.MustParseAddr("127.0.0.1") || (at.TLS != "") != secure {
				t.Errorf("it is said to be at %+v", at)
			}
			romeo.ping()
			romeo.send(stream.Close)
			if got := romeo.read(); got != "</end>" {
				t.Errorf("got %s", got)
			}
			if got := romeo.read(); got != "EOF" { // the closing frame, with 1000
				t.Errorf("got %s", got)
			}
			juliet.leave()
		})
	}
}

func TestASessionIsResumedOnAnotherTransport(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	at := h.sockets(true)
	romeo := h.enter("romeo", "phone")
	id := romeo.manage()
	h.message(romeo.jid, "m1", 0)
	romeo.expectMessages("m1")
	h.cut(romeo)
	h.message("romeo@example.org/phone", "m2", 0)
	page := h.dial(at, true)
	page.header()
	page.login("romeo").askResume(id, 0).expect("<resumed", "previd='"+id+"'")
	page.jid = "romeo@example.org/phone"
	page.expectMessages("m1", "m2")
	h.cut(page)
	h.message("romeo@example.org/phone", "m3", 0)
	back := h.resume("romeo", id, 1)
	back.expect("<resumed")
	back.expectMessages("m2", "m3")
	back.leave()
}

// A client that has resumed may be wrong about its resource, and not about its account.
func TestAResumedSessionKnowsItsOwnAddress(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	juliet := h.enter("juliet", "phone")
	first := h.enter("romeo", "page")
	first.send("<message to='" + juliet.jid + "' from='romeo@example.org/reloaded'/>").expectError("invalid-from")
	first.close()
	first = h.enter("romeo", "page")
	id := first.manage()
	h.cut(first)
	page := h.resume("romeo", id, 0)
	page.expect("<resumed")
	page.send("<message to='" + juliet.jid + "' from='romeo@example.org/reloaded' id='m1'/>")
	juliet.expect("id='m1'", "from='romeo@example.org/page'")
	page.send("<message to='" + juliet.jid + "' from='tybalt@example.org/x' id='m2'/>").expectError("invalid-from")
	juliet.leave()
}

// Someone in a browser closes the page: the browser says so with a closing frame and no <close/> (RFC 7395 §3.6).
func TestAClosedPageMayComeBack(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	page := h.enterBy(h.sockets(true), true, "romeo", "page")
	id := page.manage()
	s := h.router.Session(jid.MustParse(page.jid))
	if err := page.c.(*socket).ws.Close(websocket.StatusGoingAway, ""); err != nil { // which waits for the answer
		t.Error(err)
	}
	eventually(t, "the session is detached", s.Detached)
	back := h.resume("romeo", id, 0)
	back.expect("<resumed")
	back.leave()
}

// What is sent to a page that has closed is no more delivered than it would be to nobody: the browser drops it.
func TestMessagesForAClosedPageAreKept(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	page := h.enterBy(h.sockets(false), false, "romeo", "page")
	entered, leave := make(chan struct{}), make(chan struct{})
	h.mu.Lock()
	h.deliver = func(e *router.Envelope) {
		if e.Stanza.ID == "first" {
			close(entered)
			<-leave
		}
	}
	h.mu.Unlock()
	c := h.streams.All()[0]
	unread := func() int { _, n := c.Transport.Kernel(); return n }
	message := func(id string) string {
		return "<message to='" + page.jid + "' id='" + id + "'><body>x</body></message>"
	}
	page.send(message("first"))
	<-entered
	page.send(message("late"))
	eventually(t, "the message is there", func() bool { return unread() > 0 })
	n, closed := unread(), make(chan error, 1)
	go func() { closed <- page.c.(*socket).ws.Close(websocket.StatusGoingAway, "") }()
	eventually(t, "the closing frame is there", func() bool { return unread() > n })
	close(leave) // what is behind the first message is read at once
	if err := <-closed; err != nil {
		t.Error(err)
	}
	eventually(t, "the message is kept", func() bool { return slices.Equal(h.list(&h.stored), []string{"late"}) })
}

func TestPingsOfAWebSocketAreAnswered(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	page := h.dial(h.sockets(true), true)
	page.header()
	page.login("romeo").bind("page")
	pong := make(chan error, 1)
	go func() { pong <- page.c.(*socket).ws.Ping(t.Context()) }()
	// The pong is seen by whoever reads.
	read := make(chan string, 1)
	go func() { read <- page.read() }()
	if err := <-pong; err != nil {
		t.Error(err)
	}
	h.message(page.jid, "m1", 0)
	if got := <-read; !strings.Contains(got, "id='m1'") {
		t.Errorf("got %s", got)
	}
	page.leave()
}

func TestShutdownTellsAWebSocketWhy(t *testing.T) {
	h := open(t, nil)
	page := h.enterBy(h.sockets(true), true, "romeo", "page")
	stranger := h.dial(h.sockets(true), true)
	stranger.header()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.close()
	}()
	for _, c := range []*client{page, stranger} {
		c.expectError("system-shutdown")
		if got := c.read(); got != "EOF" {
			t.Errorf("after the end came %s", got)
		}
	}
	<-done
}

func TestLimitsHoldForMessagesOfAWebSocket(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	at := h.sockets(true)
	long := func(n int) string {
		return "<message to='juliet@example.org'><body>" + strings.Repeat("x", n) + "</body></message>"
	}
	stranger := h.dial(at, true)
	stranger.header()
	stranger.try(long(h.settings().MaxStanzaPreauth)).expectError("policy-violation")
	page := h.enterBy(at, true, "romeo", "page")
	page.try(long(h.settings().MaxStanza)).expectError("policy-violation")
	eventually(t, "the session has ended", func() bool { return h.over() == 1 })
}

func TestAWebSocketThatReadsSlowlySlowsNobody(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	page, phone := h.enterBy(h.sockets(true), true, "romeo", "page"), h.enter("juliet", "phone")
	for range 35 { // more than the kernel takes, and less than may wait
		h.post(page.jid, "big", 100000, 0)
		h.message(phone.jid, "small", 0)
		phone.expectMessages("small")
	}
	for range 35 {
		page.expect("id='big'")
	}
	page.leave()
	phone.leave()
}
