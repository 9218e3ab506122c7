package httpmessage

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage/embedded"
	"jackdaw/web"
)

// sink is a ResponseWriter that costs nothing.
type sink struct {
	h      http.Header
	status int
	n      int
}

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { s.n += len(b); return len(b), nil }

// quiet makes the service log nothing, as a server does that logs warnings only.
func (h *house) quiet() {
	h.o.Log = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func benchmark(b *testing.B, c call, body string) {
	benchmarkOn(b, func(*house) call { return c }, body)
}

func benchmarkOn(b *testing.B, make func(*house) call, body string) {
	h := newHouse(b)
	h.quiet()
	r := make(h).request()
	src := bytes.NewReader(nil)
	r.Body, r.ContentLength = io.NopCloser(src), int64(len(body))
	payload := []byte(body)
	s := &sink{h: http.Header{}}
	o := h.online("bob@" + host + "/x")
	handler := h.Handler()
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(payload)
		clear(s.h)
		s.n = 0
		o.got = o.got[:0]
		handler.ServeHTTP(s, r)
	}
	if s.n == 0 || s.status > 200 || len(o.got) != 1 {
		b.Fatalf("status %d, %d bytes, bob got %q", s.status, s.n, o.got)
	}
}

func BenchmarkPostXML(b *testing.B) { benchmark(b, call{}, toBob) }

// BenchmarkPostXMLWithToken and the next are BenchmarkPostXML, which has a password that is remembered, with a token.
func BenchmarkPostXMLWithToken(b *testing.B) {
	benchmarkOn(b, func(h *house) call { return call{}.bearing(h.token(nil, "send")) }, toBob)
}

func BenchmarkPostXMLWithTokenAsPassword(b *testing.B) {
	benchmarkOn(b, func(h *house) call { return call{password: h.token(nil, "send")} }, toBob)
}

func BenchmarkPostXMLWithReport(b *testing.B) {
	benchmark(b, call{headers: []string{"Accept: application/json"}}, toBob)
}

func BenchmarkPostJSON(b *testing.B) {
	benchmark(b, call{headers: []string{jsonType}}, `{"to": "bob@im.example.org", "body": "Hello"}`)
}

// BenchmarkPostOverTCP includes net/http, and a client that costs about as much.
func BenchmarkPostOverTCP(b *testing.B) {
	h := newHouse(b)
	h.quiet()
	h.online("bob@" + host + "/x")
	s := web.NewServer(h.Handler(), web.DefaultLimits, moduletest.Discard())
	address := h.serving(s, s.Serve, "tcp", "127.0.0.1:0")
	c, err := net.Dial("tcp", address)
	must(b, err)
	defer c.Close()
	request := []byte(strings.Replace(curl("", toBob), "Connection: close\r\n", "", 1))
	answer := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		if n, err := c.Read(answer); err != nil || !bytes.HasSuffix(answer[:n], []byte("OK\n")) {
			b.Fatalf("%q, %v", answer[:n], err)
		}
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkMulticast posts to 10,000, of whom 1,000 are online. Every copy is on disk before the answer.
func BenchmarkMulticast(b *testing.B) {
	h, users, body := thousands(b, 10000)
	e, err := embedded.Open(b.TempDir())
	must(b, err)
	defer e.Close()
	h.kept = e.Log("kept")
	h.router = router.New(router.Options{Hosts: []string{host}, Users: h.who, Log: moduletest.Discard()})
	m := keeper(h.kept)
	store := m.Unclaimed
	m.Delivering = func(e *router.Envelope, _ []*router.Session) {
		if store(e); e.Outcome == router.Stored {
			e.Settle(router.Undecided) // and now to the sessions
		}
	}
	h.router.Use(m)
	h.open()
	h.Configure(Settings{MaxBody: 1 << 20})
	h.quiet()
	for _, u := range users[:1000] {
		h.online(u + "/x")
	}
	before := cpu(b)
	for b.Loop() {
		w := h.do(call{headers: []string{jsonType}, body: body})
		if w.Code != 200 {
			b.Fatalf("answer %d %s", w.Code, w.Body)
		}
	}
	b.ReportMetric((cpu(b)-before).Seconds()/float64(b.N), "cpu-s/post")
}
