package web

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// quick are limits that a test can wait for.
var quick = Limits{HeaderBytes: 16 << 10, HeaderTime: 150 * time.Millisecond, BodyTime: 250 * time.Millisecond,
	Idle: 5 * time.Second, Streams: 10}

// echo says who served a request, and repeats its body.
func echo(w http.ResponseWriter, r *http.Request) {
	who := "net/http"
	if _, ok := w.(*fastWriter); ok {
		who = "fast"
	}
	body, err := io.ReadAll(r.Body)
	w.Header()["Content-Type"] = []string{"text/plain"}
	fmt.Fprintf(w, "%s %s %s %v", who, r.RequestURI, body, err)
}

// onPath serves a handler with /message on the fast path, and returns where.
func onPath(t *testing.T, h http.HandlerFunc, l Limits) (*Server, string) {
	t.Helper()
	s := NewServer(h, l, slog.New(slog.DiscardHandler))
	s.FastPath("/message")
	n, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(n) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error("shutdown:", err)
		}
		if err := <-done; err != nil {
			t.Error("serve:", err)
		}
	})
	return s, n.Addr().String()
}

// A talk is a connection of a client that writes bytes.
type talk struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, address string) *talk {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // a test that fails ends
	return &talk{t, c, bufio.NewReader(c)}
}

func (c *talk) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads one answer.
func (c *talk) answer() (status int, body string, h http.Header) {
	c.t.Helper()
	r, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if r.Close {
		r.Header.Set("Connection", "close") // net/http has taken it out
	}
	return r.StatusCode, string(b), r.Header
}

// ended says that the server closes the connection, and sends nothing before.
func (c *talk) ended() {
	c.t.Helper()
	if b, err := io.ReadAll(c.r); len(b) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Errorf("before the end: %q, %v", b, err)
	}
}

const plain = "POST /message HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"

func TestFastPathTakesWhatIsPlain(t *testing.T) {
	_, address := onPath(t, echo, quick)
	for _, c := range []struct{ name, request, want string }{
		{"a post", plain, "fast /message hi <nil>"},
		{"a query", "POST /message?dry_run=1&x=%20 HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 0\r\n\r\n",
			"fast /message?dry_run=1&x=%20  <nil>"},
		{"fields of clients", "POST /message HTTP/1.1\r\nHost: a.b\r\nUser-Agent: curl/8\r\nAccept: */*\r\n" +
			"Connection: keep-alive\r\ncontent-length: 2\r\n\r\nhi", "fast /message hi <nil>"},
		{"another path", "POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", "net/http /other hi <nil>"},
		{"an escaped path", "POST /%6dessage HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", "net/http /%6dessage hi <nil>"},
		{"another method", "PUT /message HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", "net/http /message hi <nil>"},
		{"another version", "POST /message HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", "net/http /message hi <nil>"},
		{"chunks", "POST /message HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
			"net/http /message hi <nil>"},
		{"to be asked first", "POST /message HTTP/1.1\r\nHost: x\r\nExpect: something\r\nContent-Length: 2\r\n\r\nhi", ""},
		{"the last one", "POST /message HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
			"net/http /message hi <nil>"},
		{"a preference", "POST /message HTTP/1.1\r\nHost: x\r\nPrefer: wait=5\r\nContent-Length: 2\r\n\r\nhi",
			"net/http /message hi <nil>"},
		{"lines that end otherwise", "POST /message HTTP/1.1\nHost: x\nContent-Length: 2\n\nhi", "net/http /message hi <nil>"},
		{"a header that ends otherwise", "POST /message HTTP/1.1\r\nHost: x\r\nContent-Length: 2\n\nhi", "net/http /message hi <nil>"},
		{"the same length twice", "POST /message HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
			"net/http /message hi <nil>"},
		{"no length", "POST /message HTTP/1.1\r\nHost: x\r\n\r\n", "net/http /message  <nil>"},
		{"a long header", "POST /message HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 5000) +
			"\r\nContent-Length: 2\r\n\r\nhi", "net/http /message hi <nil>"},
		{"a long body", "POST /message HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("x", 70000),
			"net/http /message " + strings.Repeat("x", 70000) + " <nil>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := dial(t, address)
			conn.say(c.request)
			status, got, h := conn.answer()
			if c.want != "" && (status != 200 || got != c.want) || c.want == "" && status != http.StatusExpectationFailed {
				t.Errorf("%d %.80q, want %.80q", status, got, c.want)
			}
			if h.Get("Date") == "" && status == 200 {
				t.Error("an answer without a date")
			}
		})
	}
}

// What RFC 9112 refuses is refused as by net/http, and nothing of it comes to a handler.
func TestFastPathRefusesNothingItself(t *testing.T) {
	served := 0
	_, address := onPath(t, func(http.ResponseWriter, *http.Request) { served++ }, quick)
	for _, request := range []string{
		"POST /message HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi",                                               // §3.2
		"POST /message HTTP/1.1\r\nHost: x\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",                         // §3.2
		"POST /message HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",               // §6.3
		"POST /message HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\nhi",                                   // §6.3
		"POST /message HTTP/1.1\r\nHost: x\r\nContent-Length : 2\r\n\r\nhi",                                   // §5.1
		"POST /message HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nhi",                       // RFC 9110 §5.5
		"POST /message HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 2\r\n\r\n0", // §6.1
	} {
		c := dial(t, address)
		c.say(request)
		if status, _, _ := c.answer(); status != 400 && status != 501 {
			t.Errorf("%q: %d", request, status)
		}
		c.ended()
	}
	if served != 0 {
		t.Errorf("%d were served", served)
	}
}

// A connection brings as many requests as it likes, in any pieces; after one that is not plain the rest are net/http's.
func TestFastPathKeepsConnections(t *testing.T) {
	_, address := onPath(t, echo, quick)
	c := dial(t, address)
	expect := func(want string) {
		t.Helper()
		if _, got, _ := c.answer(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for range 3 {
		c.say(plain)
		expect("fast /message hi <nil>")
	}
	c.say(strings.Repeat(plain, 20)) // more than is read at a time, so that some come in two pieces
	for range 20 {
		expect("fast /message hi <nil>")
	}
	for _, piece := range []string{"POST /mess", "age HTTP/1.1\r\nHost: x\r", "\nContent-Length: 4\r\n\r\n", "a", "bcd"} {
		c.say(piece)
		<-time.After(10 * time.Millisecond) // so that they are pieces
	}
	expect("fast /message abcd <nil>")
	c.say(plain + "GET /message HTTP/1.1\r\nHost: x\r\n\r\n" + plain)
	expect("fast /message hi <nil>")
	expect("net/http /message  <nil>")
	expect("net/http /message hi <nil>")
}

func TestFastPathBoundsTime(t *testing.T) {
	_, address := onPath(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(quick.BodyTime)) // every transport of these can
		echo(w, r)
	}, quick)
	c := dial(t, address)
	c.say("POST /message HTTP/1.1\r\nHo")
	if status, got, _ := c.answer(); status != http.StatusRequestTimeout {
		t.Error("a header that does not end:", status, got)
	}
	c.ended()
	for _, before := range []string{"", plain} { // a header that comes byte by byte has no more time
		c = dial(t, address)
		c.say(before)
		if before != "" {
			c.answer()
		}
		stop := make(chan struct{})
		go func() {
			for _, b := range []byte(strings.Repeat("POST /message HTTP/1.1\r\nX: y\r\n", 100)) {
				select {
				case <-stop:
					return
				case <-time.After(quick.HeaderTime / 5):
				}
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		if status, got, _ := c.answer(); status != http.StatusRequestTimeout || time.Since(began) > 10*quick.HeaderTime {
			t.Errorf("a slow header: %d %s, after %v", status, got, time.Since(began))
		}
		close(stop)
	}
	c = dial(t, address)
	c.say("POST /message HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
	if _, got, _ := c.answer(); !strings.HasPrefix(got, "fast /message ab read tcp") {
		t.Error("a body that does not end:", got)
	}
	c.ended()
	c = dial(t, address) // says nothing
	c.ended()
}

// What a handler leaves of a body is read, since the next request stands behind it, but not for ever.
func TestFastPathReadsWhatIsLeft(t *testing.T) {
	_, address := onPath(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "close" {
			w.Header().Set("Connection", "close")
		}
		w.WriteHeader(http.StatusForbidden)
	}, quick)
	long := "Content-Length: 60000\r\n\r\n" + strings.Repeat("x", 60000)
	c := dial(t, address)
	for range 2 {
		c.say("POST /message HTTP/1.1\r\nHost: x\r\n" + long)
		if status, body, h := c.answer(); status != http.StatusForbidden || body != "" || h.Get("Connection") != "" {
			t.Error(status, body, h)
		}
	}
	c.say("POST /message?close HTTP/1.1\r\nHost: x\r\n" + long)
	if status, _, h := c.answer(); status != http.StatusForbidden || h.Get("Connection") != "close" {
		t.Error(status, h)
	}
	c.ended()
	c = dial(t, address)
	c.say("POST /message HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
	c.answer()
	c.ended() // the rest never came
}

// A handler that panics loses its connection and no other; what it keeps of a request reads nothing of the next.
func TestFastPathAfterHandlers(t *testing.T) {
	var kept io.Reader
	_, address := onPath(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "panic" {
			panic("a fault")
		}
		if kept != nil {
			if n, err := kept.Read(make([]byte, 5)); n != 0 || err == nil {
				t.Errorf("the body of the request before has %d bytes: %v", n, err)
			}
		}
		kept = r.Body
		echo(w, r)
	}, quick)
	c := dial(t, address)
	c.say("POST /message?panic HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	c.ended()
	c = dial(t, address)
	for range 2 {
		c.say(plain)
		if _, got, _ := c.answer(); got != "fast /message hi <nil>" {
			t.Error(got)
		}
	}
}

// A stop waits for a request that is served, tells its client that the connection ends, and closes the others.
func TestFastPathStops(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, address := onPath(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-leave
		echo(w, r)
	}, quick)
	idle, busy := dial(t, address), dial(t, address)
	for _, c := range []*talk{idle, busy} {
		c.say(plain)
		<-entered
		if c == idle {
			leave <- struct{}{}
			c.answer()
		}
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	idle.ended()
	select {
	case err := <-stopped:
		t.Error("the stop has not waited:", err)
	case <-time.After(50 * time.Millisecond):
	}
	leave <- struct{}{}
	if status, body, h := busy.answer(); status != 200 || body != "fast /message hi <nil>" || h.Get("Connection") != "close" {
		t.Error(status, body, h)
	}
	busy.ended()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A stop that does not wait any longer closes what is left.
func TestFastPathStopsInTime(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, address := onPath(t, func(http.ResponseWriter, *http.Request) { close(entered); <-leave }, quick)
	c := dial(t, address)
	c.say(plain)
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	c.ended()
	close(leave)
}

// A failingListener fails as often before a connection comes.
type failingListener struct {
	net.Listener
	times int
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.times--; l.times >= 0 {
		return nil, syscall.EMFILE
	}
	return l.Listener.Accept()
}

// Errors of a listener that pass are waited out, as net/http does.
func TestFastPathOutlivesErrors(t *testing.T) {
	s := NewServer(http.HandlerFunc(echo), quick, slog.New(slog.DiscardHandler))
	s.FastPath("/message")
	n, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(&failingListener{n, 3}) }()
	c := dial(t, n.Addr().String())
	c.say(plain)
	if _, got, _ := c.answer(); got != "fast /message hi <nil>" {
		t.Error(got)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What the fast path takes it reads as net/http does.
func FuzzFastPath(f *testing.F) {
	f.Add([]byte(plain))
	f.Add([]byte("POST /message?a=b HTTP/1.1\r\nhost: x:80\r\nCONTENT-LENGTH: 0\r\nA: 1\r\na:\t2 \r\nConnection: Keep-Alive\r\n\r\n"))
	f.Add([]byte("POST /message HTTP/1.1\r\nHost: x\r\nContent-Length: 007\r\nX-\xff: \xff\r\n\r\n"))
	s := NewServer(http.HandlerFunc(echo), quick, slog.New(slog.DiscardHandler))
	s.FastPath("/message")
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &fastConn{s: s, header: http.Header{}, blank: &http.Request{Method: http.MethodPost}}
		c.buf = c.room[:copy(c.room[:], b)]
		size := c.head()
		if size == 0 {
			c.promising()
			return
		}
		if !c.promising() || !c.parse(size) {
			return
		}
		want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			t.Fatalf("net/http does not take %q: %v", b[:size], err)
		}
		got := &c.req
		if got.Host != want.Host || got.RequestURI != want.RequestURI || *got.URL != *want.URL ||
			got.ContentLength != want.ContentLength || len(want.TransferEncoding) > 0 || want.Close ||
			fmt.Sprint(got.Header) != fmt.Sprint(want.Header) {
			t.Fatalf("%q is\n%+v\n, to net/http\n%+v", b[:size], got, want)
		}
	})
}
