package component

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within is how long a test waits for what must happen.
const within = time.Minute

type nobody struct{}

func (nobody) Exists(context.Context, jid.JID) (bool, error) { return false, nil }

// A house is a server on loopback with the components bot.example.org and irc.example.org. Everything that is sent to
// users.example.org, which stands for everyone else, comes out of got.
type house struct {
	*Server
	t      testing.TB
	router *router.Router
	addr   string
	got    chan string
	log    *record
	served chan error

	mu      sync.Mutex // guards the rest
	secrets map[string]string
	limits  config.Limits
}

func newHouse(t testing.TB, change func(*config.Limits)) *house {
	t.Helper()
	return newHouseOf(t, change, nil)
}

// newHouseOf is newHouse where there are other nodes.
func newHouseOf(t testing.TB, change func(*config.Limits), elsewhere Elsewhere) *house {
	t.Helper()
	h := &house{t: t, got: make(chan string, 1<<16), log: &record{}, served: make(chan error, 1),
		limits:  config.Default().Limits,
		secrets: map[string]string{"bot.example.org": "botsecret", "irc.example.org": "ircsecret"}}
	if change != nil {
		change(&h.limits)
	}
	h.router = router.New(router.Options{Hosts: []string{"example.org"}, Users: nobody{}})
	h.Server = New(Options{Router: h.router, Elsewhere: elsewhere, Settings: h.settingsNow, Limits: h.limitsNow,
		Log: slog.New(slog.NewTextHandler(h.log, nil))})
	everyone := router.Module{Name: "everyone", Service: &router.Service{
		Domains: func() []string { return []string{"users.example.org"} },
		Handle: func(e *router.Envelope) {
			h.got <- string(e.Stanza.Append(nil))
			e.Settle(router.Delivered)
		}}}
	h.router.Use(h.Module(), everyone)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = ln.Addr().String()
	go func() { h.served <- h.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-h.served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if n := h.Stats.Panics.Load(); n != 0 {
			t.Errorf("%d panics:\n%s", n, h.log)
		}
		if a, b := h.Stats.Connections.Load(), h.Stats.Links.Load(); a != 0 || b != 0 {
			t.Errorf("after the shutdown there are %d connections, %d links", a, b)
		}
	})
	return h
}

func (h *house) settingsNow() config.Component {
	h.mu.Lock()
	defer h.mu.Unlock()
	return config.Component{Secrets: h.secrets}
}

func (h *house) limitsNow() config.Limits {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.limits
}

func (h *house) configure(secrets map[string]string) {
	h.mu.Lock()
	h.secrets = secrets
	h.mu.Unlock()
	h.router.Use(h.router.Modules()...)
	h.Reload()
}

// route sends a stanza from outside into the router.
func (h *house) route(xml string, change func(*router.Envelope)) *router.Envelope {
	h.t.Helper()
	x, err := stream.ParseStanza([]byte(xml), stream.Limits{Bytes: 1 << 26})
	if err != nil {
		h.t.Fatal(err)
	}
	e := &router.Envelope{Stanza: x}
	if change != nil {
		change(e)
	}
	h.router.Route(e)
	return e
}

// expect takes what everyone else got next.
func (h *house) expect(want ...string) {
	h.t.Helper()
	select {
	case got := <-h.got:
		for _, w := range want {
			if !strings.Contains(got, w) {
				h.t.Errorf("users got %s, which lacks %s", got, w)
			}
		}
	case <-time.After(within):
		h.t.Fatalf("users got nothing, want %q\n%s", want, h.log)
	}
}

// nothing says that nobody has got anything.
func (h *house) nothing() {
	h.t.Helper()
	select {
	case got := <-h.got:
		h.t.Errorf("users got %s", got)
	default:
	}
}

// eventually polls.
func (h *house) eventually(what string, ok func() bool) {
	h.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(within); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			h.t.Fatalf("not in time: %s\n%s", what, h.log)
		}
	}
}

// record collects a log.
type record struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// A program is the other end of a stream.
type program struct {
	net.Conn
	t    testing.TB
	scan stream.Scanner
	buf  []byte
}

// dial connects and sends this.
func (h *house) dial(text string) *program {
	h.t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	p := &program{Conn: c, t: h.t}
	h.t.Cleanup(func() { c.Close() })
	p.say(text)
	return p
}

const opening = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='"

func header(domain string) string { return opening + domain + "'>" }

// pipe connects by a pipe, of which nothing is taken that the component does not read.
func (h *house) pipe(domain, secret string) *program {
	h.t.Helper()
	ours, theirs := net.Pipe()
	h.t.Cleanup(func() { theirs.Close() })
	h.accept(ours)
	p := &program{Conn: theirs, t: h.t}
	p.say(header(domain))
	return p.proves(secret)
}

// connect is dial with the whole negotiation.
func (h *house) connect(domain, secret string) *program {
	h.t.Helper()
	return h.dial(header(domain)).proves(secret)
}

// proves goes on behind the header.
func (p *program) proves(secret string) *program {
	p.t.Helper()
	p.say(p.handshake(secret))
	if got := p.next(); got != "<handshake/>" {
		p.t.Fatalf("the handshake was answered by %s", got)
	}
	return p
}

// handshake reads the server's header and returns the proof.
func (p *program) handshake(secret string) string {
	p.t.Helper()
	if got := p.next(); got != "header" {
		p.t.Fatalf("the header was answered by %s", got)
	}
	sum := sha1.Sum([]byte(p.scan.Header().ID + secret))
	return "<handshake>" + hex.EncodeToString(sum[:]) + "</handshake>"
}

func (p *program) say(text string) {
	p.t.Helper()
	if err := p.SetWriteDeadline(time.Now().Add(within)); err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// next returns the next item: "header", the XML of an element, "end", or "closed".
func (p *program) next() string {
	p.t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(within)) // where the other end of a pipe has closed it, reading says so
	for {
		if len(p.buf) > 0 {
			item, n, err := p.scan.Scan(p.buf)
			if err != nil {
				p.t.Fatalf("the server's XML: %v: %s", err, p.buf)
			}
			used := p.buf[:n]
			p.buf = p.buf[n:]
			switch item {
			case stream.ItemHeader:
				return "header"
			case stream.ItemEnd:
				return "end"
			case stream.ItemStanza, stream.ItemElement:
				return string(used)
			}
		}
		chunk := make([]byte, 32<<10)
		n, err := p.Read(chunk)
		p.buf = append(p.buf, chunk[:n]...)
		if n > 0 {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.t.Fatal("the server says nothing")
		}
		return "closed"
	}
}

// expect takes the next item.
func (p *program) expect(want ...string) {
	p.t.Helper()
	got := p.next()
	for _, w := range want {
		if !strings.Contains(got, w) {
			p.t.Errorf("the component got %s, which lacks %s", got, w)
		}
	}
}

// ends says that the stream ends with this error next.
func (p *program) ends(condition stream.Condition) {
	p.t.Helper()
	p.expect("<stream:error><" + string(condition) + " xmlns='" + xmpp.NSStreamErrors + "'/>")
	p.expect("end")
	p.expect("closed")
}
