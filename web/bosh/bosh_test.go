package bosh

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/config"
	"jackdaw/router/gate"
	"jackdaw/wire"
)

const (
	open   = "<body rid='100' to='example.org' wait='50' hold='1' ver='1.6' xmpp:version='1.0' xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'/>"
	header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.org' version='1.0'>"
)

// A house is a handler whose sessions are played by the test.
type house struct {
	*Handler
	t      *testing.T
	from   netip.Addr
	secure bool
	keeper gate.Keeper
	conns  chan wire.Entry
}

func newHouse(t *testing.T) *house {
	x := &house{t: t, from: netip.MustParseAddr("192.0.2.1"), secure: true, conns: make(chan wire.Entry, 1)}
	limits := config.Default().Limits
	x.Handler = New(Options{
		Take:   func(e wire.Entry) bool { x.conns <- e; return true },
		Admit:  func(c net.Conn, a netip.Addr) (*gate.Pass, string) { return x.keeper.Admit(c, a, &limits) },
		Source: func(*http.Request) (netip.Addr, bool) { return x.from, x.secure },
		Limits: func() Limits {
			l := Limits{After: wire.Limits(4000, &limits), Before: wire.Limits(2000, &limits), BodyTime: time.Second}
			l.Before.Elements = limits.PreauthElements
			return l
		},
	})
	return x
}

// An exchange is a request on its way.
type exchange struct {
	t    *testing.T
	w    *httptest.ResponseRecorder
	stop func()
	done chan struct{}
}

func (x *house) send(body string) *exchange {
	x.t.Helper()
	r := httptest.NewRequestWithContext(x.t.Context(), http.MethodPost, "/http-bind", strings.NewReader(body))
	ctx, cancel := context.WithCancel(r.Context())
	e := &exchange{t: x.t, w: httptest.NewRecorder(), stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(e.done)
		x.ServeHTTP(e.w, r.WithContext(ctx))
	}()
	synctest.Wait()
	return e
}

func (e *exchange) held() bool {
	select {
	case <-e.done:
		return false
	default:
		return true
	}
}

// answer is what the request got; it must be there.
func (e *exchange) answer() string {
	e.t.Helper()
	if e.held() {
		e.t.Fatal("the request is held")
	}
	return strings.TrimPrefix(e.w.Body.String(), "<body xmlns='http://jabber.org/protocol/httpbind'")
}

func (e *exchange) is(want string) {
	e.t.Helper()
	if got := e.answer(); got != want {
		e.t.Fatalf("got  %s\nwant %s", got, want)
	}
}

// A client is one with a session, which the test serves.
type client struct {
	*house
	net.Conn
	sid string
	rid int
}

// begin makes a session, whose first response has the features.
func (x *house) begin(open string) *client {
	x.t.Helper()
	e := x.send(open)
	c := &client{house: x, rid: 100}
	entry := <-x.conns
	c.Conn = entry.Transport.NetConn()
	c.says(header)
	c.write("<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>")
	a := e.answer()
	_, rest, ok := strings.Cut(a, " sid='")
	if !ok {
		x.t.Fatalf("no session: %s", a)
	}
	c.sid, _, _ = strings.Cut(rest, "'")
	return c
}

// says checks what has come in and not been read.
func (c *client) says(want string) {
	c.t.Helper()
	b := make([]byte, 1<<16)
	c.SetReadDeadline(time.Now().Add(time.Nanosecond))
	n := 0
	for {
		m, err := c.Read(b[n:])
		if n += m; err != nil {
			break
		}
	}
	c.SetReadDeadline(time.Time{})
	if string(b[:n]) != want {
		c.t.Fatalf("read %q, want %q", b[:n], want)
	}
	synctest.Wait()
}

func (c *client) write(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
}

// post sends the next request.
func (c *client) post(attrs, content string) *exchange {
	c.t.Helper()
	c.rid++
	return c.again(c.rid, attrs, content)
}

func (c *client) again(rid int, attrs, content string) *exchange {
	c.t.Helper()
	return c.send(fmt.Sprintf("<body rid='%d' sid='%s' %s xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'>%s</body>",
		rid, c.sid, attrs, content))
}

// ended says whether the session is no more.
func (c *client) ended() bool {
	c.t.Helper()
	gone := c.find(c.sid) == nil
	c.SetReadDeadline(time.Time{})
	one := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, c.Conn)
		one <- err
	}()
	synctest.Wait()
	select {
	case err := <-one:
		if err != nil || !gone {
			c.t.Fatalf("half an end: %v, %v", err, gone)
		}
		return true
	default:
		c.SetReadDeadline(time.Unix(1, 0))
		<-one
		c.SetReadDeadline(time.Time{})
		if gone {
			c.t.Fatal("the session is not known any more, and goes on")
		}
		return false
	}
}

// over fails unless the session has ended, or has not.
func (c *client) over(want bool) {
	c.t.Helper()
	if got := c.ended(); got != want {
		c.t.Fatalf("the session has ended: %v, want %v", got, want)
	}
}

func play(t *testing.T, f func(t *testing.T, x *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := newHouse(t)
		f(t, x)
		x.mu.Lock()
		var all []*session
		for _, s := range x.sessions {
			all = append(all, s)
		}
		x.mu.Unlock()
		for _, s := range all {
			s.Close()
		}
		synctest.Wait()
	})
}

func TestSessionBegins(t *testing.T) {
	play(t, func(t *testing.T, x *house) {
		e := x.send(open)
		entry := <-x.conns
		c := &client{house: x, Conn: entry.Transport.NetConn()}
		if !e.held() {
			t.Fatal("answered before there was anything to say")
		}
		c.says(header)
		c.write("<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>")
		sid := ""
		for id := range x.sessions {
			sid = id
		}
		// §7.2, XEP-0206 §4
		e.is(" sid='" + sid + "' wait='50' requests='2' hold='1' ver='1.6' polling='2' inactivity='60' maxpause='150' ack='100'" +
			" from='example.org' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' xmpp:restartlogic='true'>" +
			"<stream:features xmlns:stream='http://etherx.jabber.org/streams'/></body>")
		if got := e.w.Header().Get("Content-Type"); got != "text/xml; charset=utf-8" {
			t.Error(got)
		}
		if entry.From != x.from || !entry.Secure || entry.Pass == nil || len(sid) != 22 {
			t.Errorf("%+v, sid %q", entry, sid)
		}
	})
}

func TestStanzasBothWays(t *testing.T) {
	play(t, func(t *testing.T, x *house) {
		c := x.begin(open)
		e := c.post("", "<message xmlns='jabber:client'><body>a</body></message><iq xmlns='jabber:client'/>")
		c.says("<message xmlns='jabber:client'><body>a</body></message><iq xmlns='jabber:client'/>")
		if !e.held() {
			t.Fatal("answered without anything to say")
		}
		c.write("<message from='a'><body>b&gt;</body><x y='>'/></message><a xmlns='urn:xmpp:sm:3' h='1'/><pres")
		e.is("><message xmlns='jabber:client' from='a'><body>b&gt;</body><x y='>'/></message><a xmlns='urn:xmpp:sm:3' h='1'/></body>")
		f := c.post("", "")
		c.says(" ")
		c.write("ence/>")
		f.is("><presence xmlns='jabber:client'/></body>")
	})
}

func TestRequestIsHeldForItsTimeAtMost(t *testing.T) {
	play(t, func(t *testing.T, x *house) {
		c := x.begin(strings.Replace(open, "wait='50'", "wait='20'", 1))
		e := c.post("", "")
		pass(20*time.Second - time.Millisecond)
		if !e.held() {
			t.Fatal("too early")
		}
		pass(time.Millisecond)
		synctest.Wait()
		e.is("/>")
	})
}

func TestNewRequestReleasesTheOneThatIsHeld(t *testing.T) {
	play(t, func(t *testing.T, x *house) {
		c := x.begin(open)
		e := c.post("", "")
		f := c.post("", "<presence xmlns='jabber:client'/>")
		if !e.held() {
			t.Fatal("answered though nothing was read: nothing would bound what a client sends")
		}
		c.says(" <presence xmlns='jabber:client'/>")
		e.is(" ack='102'/>") // §9.1
		if !f.held() {
			t.Fatal("the second is not held")
		}
	})
}

// pass lets time pass in a bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
