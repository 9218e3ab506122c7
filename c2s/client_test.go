package c2s

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/web/bosh"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

const (
	host     = "example.org"
	password = "r0m30"
)

// noMap stands for the part of a map that accounts do not use.
type noMap struct{ storage.Map }

// memory is a store of accounts, and of nothing else.
type memory struct {
	storage.Engine
	noMap
	mu    sync.Mutex // guards the rest
	users map[string]storage.Account
	data  map[string][]byte
}

func (m *memory) Map(string) storage.Map        { return m }
func (m *memory) Accounts() storage.Accounts    { return (*memoryUsers)(m) }
func (m *memory) APIAccounts() storage.Accounts { return (*memoryUsers)(m) }

func (m *memory) List(context.Context, string) ([]storage.Entry, uint64, error) { return nil, 0, nil }

func (m *memory) Get(_ context.Context, owner, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.data[owner+" "+key]; ok {
		return b, nil
	}
	return nil, storage.ErrNotFound
}

func (m *memory) Update(_ context.Context, owner string, _ uint64, changes ...storage.Change) (
	uint64, *storage.Pending, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		m.data[owner+" "+c.Key] = slices.Clone(c.Value)
	}
	return 1, nil, nil
}

type memoryUsers memory

func (m *memoryUsers) Get(_ context.Context, user string) (storage.Account, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a, ok := m.users[user]; ok {
		return a, nil
	}
	return storage.Account{}, storage.ErrNotFound
}

func (m *memoryUsers) Create(_ context.Context, a storage.Account) (*storage.Pending, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users[a.User] = a
	return nil, nil
}

func (m *memoryUsers) Modify(_ context.Context, user string, f func(*storage.Account) error) (*storage.Pending, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.users[user]
	if !ok {
		return nil, storage.ErrNotFound
	}
	if err := f(&a); err != nil {
		return nil, err
	}
	m.users[user] = a
	return nil, nil
}

func (m *memoryUsers) Delete(context.Context, string) (*storage.Pending, error) {
	return nil, storage.ErrNotFound
}

func (m *memoryUsers) List(context.Context, string, string, int) ([]storage.Account, error) {
	return nil, nil
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return certificateOf(key)
})

// certificateOf is one of the host with this key.
func certificateOf(key crypto.Signer) tls.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host},
		// The first to ask may be in a bubble, whose time is long past.
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf} // as tls.X509KeyPair does
}

// A house is a server with a router and a module that stores nothing but remembers.
type house struct {
	*Server
	t        testing.TB
	router   *router.Router
	accounts *accounts.Service
	users    storage.Accounts
	door     *Server // where clients come in: itself, or the server of another node

	mu      sync.Mutex // guards the rest
	stored  []string   // ids of messages for which there was no session
	taken   []uint64
	copied  bool                              // set before anybody connects: given is kept before what is stored
	copies  []string                          // their ids, the first of them under storage id 1
	mute    bool                              // set before anybody connects: remember nothing
	routed  []string                          // ids of what clients sent
	ended   int                               // sessions
	pending func(e *router.Envelope)          // asked for each message while arriving
	deliver func(e *router.Envelope)          // asked for each message on its way to sessions
	onBound func(s *router.Session, b *house) // asked for each session
}

// open starts a server; change may alter its options.
func open(t testing.TB, change func(*Options)) *house {
	t.Helper()
	engine := &memory{users: map[string]storage.Account{}, data: map[string][]byte{}}
	svc, err := accounts.New(context.Background(), engine, accounts.Options{Iterations: sasl.MinIterations})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []string{"romeo", "juliet"} {
		if err := svc.Create(context.Background(), jid.MustParse(u+"@"+host), password); err != nil {
			t.Fatal(err)
		}
	}
	h := &house{t: t, accounts: svc, users: engine.Accounts()}
	h.router = router.New(router.Options{Hosts: []string{host}, Users: svc, MaxSessions: 20})
	h.router.Use(h.module())
	conf := config.Default()
	o := Options{Router: h.router, Accounts: svc, C2S: conf.C2S, Limits: conf.Limits,
		Framing: func(string) wire.Framing { return bosh.Framing() },
		TLS:     &tls.Config{Certificates: []tls.Certificate{certificate()}}}
	if change != nil {
		change(&o)
	}
	h.Server = New(o)
	h.door = h.Server
	return h
}

// module makes every session available, keeps ids and has no storage.
func (h *house) module() router.Module {
	see := func(e *router.Envelope) {
		if h.mute {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if e.Session != nil {
			h.routed = append(h.routed, e.Stanza.ID)
		}
	}
	return router.Module{Name: "test", StreamFeature: "<feature xmlns='urn:test'/>",
		Leaving: router.Stage{Message: see, Presence: see, IQ: see},
		Arriving: router.Stage{Message: func(e *router.Envelope) {
			h.mu.Lock()
			f := h.pending
			h.mu.Unlock()
			if f != nil {
				f(e)
			}
		}},
		Delivering: func(e *router.Envelope, _ []*router.Session) {
			h.mu.Lock()
			f := h.deliver
			h.mu.Unlock()
			if f != nil {
				f(e)
			}
		},
		Unclaimed: func(e *router.Envelope) {
			h.mu.Lock()
			if !h.copied || e.Kept == 0 { // else it is there
				h.stored = append(h.stored, e.Stanza.ID)
			}
			h.mu.Unlock()
			e.Settle(router.Stored)
		},
		Keep: func(_ *router.Session, given []router.Undelivered) {
			h.mu.Lock()
			defer h.mu.Unlock()
			for i := range given {
				if h.copied && given[i].Kept == 0 {
					h.copies = append(h.copies, given[i].Stanza.ID)
					h.stored = append(h.stored, given[i].Stanza.ID)
					given[i].Kept = uint64(len(h.copies))
				}
			}
		},
		Taken: func(_ *router.Session, kept []uint64) {
			h.mu.Lock()
			h.taken = append(h.taken, kept...)
			if h.copied {
				h.stored = slices.DeleteFunc(h.stored, func(id string) bool {
					i := slices.Index(h.copies, id)
					return i >= 0 && slices.Contains(kept, uint64(i+1))
				})
			}
			h.mu.Unlock()
		},
		CatchUp: func(_ *router.Session, done func()) { done() },
		Bound: func(s *router.Session) {
			h.router.SetPresence(s, &xmpp.Stanza{Kind: xmpp.Presence, From: s.Addr()}, 0)
			h.mu.Lock()
			f := h.onBound
			h.mu.Unlock()
			if f != nil {
				f(s, h)
			}
		},
		Ended: func(*router.Session, *xmpp.Stanza) {
			h.mu.Lock()
			h.ended++
			h.mu.Unlock()
		},
		IQ: []router.IQ{{Payload: xmpp.Name{Space: "urn:test", Local: "query"}, Scope: router.Host | router.Account,
			Handle: func(e *router.Envelope) { h.router.Answer(e, nil) }}},
	}
}

// close shuts the server down and sees that nothing is left of it.
func (h *house) close() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		h.t.Errorf("shutdown: %v", err)
	}
	if n := h.Stats.Sessions.Load(); n != 0 || h.router.SessionCount() != 0 {
		h.t.Errorf("%d sessions are left, the router knows %d", n, h.router.SessionCount())
	}
	if n := h.Stats.Unreadable.Load(); n != 0 {
		h.t.Errorf("%d stanzas could not be read back", n)
	}
}

func (h *house) list(of *[]string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(*of)
}

// within is how long a test waits for what must happen.
const within = time.Minute

// eventually polls.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(within); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// A client is the other end, as raw as it gets.
type client struct {
	t    testing.TB
	conn net.Conn // under TLS
	c    net.Conn
	tls  *tls.Conn
	scan stream.Scanner
	buf  []byte
	used int
	in   chan []byte // from a pipe, so that the server can always write
	jid  string
}

// connect opens a connection over TCP.
func (h *house) connect(m Mode) *client {
	h.t.Helper()
	a, b := tcpPair(h.t)
	h.door.accept(a, m)
	return &client{t: h.t, conn: b, c: b}
}

// narrow is connect over TCP that takes little at a time.
func (h *house) narrow(secure bool) *client {
	h.t.Helper()
	a, b := tcpPair(h.t)
	for _, err := range []error{a.(*net.TCPConn).SetWriteBuffer(64 << 10), b.(*net.TCPConn).SetReadBuffer(64 << 10)} {
		if err != nil {
			h.t.Fatal(err)
		}
	}
	m := STARTTLS
	if secure {
		m = DirectTLS
	}
	h.door.accept(a, m)
	return &client{t: h.t, conn: b, c: b}
}

// pipe opens a connection without a socket, for tests in a bubble.
func (h *house) pipe() *client { return h.pipeFrom(func(c net.Conn) net.Conn { return c }) }

func (h *house) pipeFrom(remote func(net.Conn) net.Conn) *client {
	a, b := net.Pipe()
	h.door.accept(remote(a), STARTTLS)
	c := &client{t: h.t, conn: b, c: b, in: make(chan []byte, 1000)}
	go func() {
		defer close(c.in)
		for {
			p := make([]byte, 4096)
			n, err := b.Read(p)
			if n > 0 {
				c.in <- p[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return c
}

func tcpPair(t testing.TB) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type result struct {
		net.Conn
		error
	}
	got := make(chan result, 1)
	go func() {
		c, err := l.Accept()
		got <- result{c, err}
	}()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.error != nil {
		t.Fatal(r.error)
	}
	return r.Conn, client
}

func (c *client) send(xml string) *client {
	c.t.Helper()
	if _, err := io.WriteString(c.c, xml); err != nil {
		c.t.Fatalf("send %.60q: %v", xml, err)
	}
	return c
}

// try sends where the server may have hung up already.
func (c *client) try(xml string) *client {
	_, _ = io.WriteString(c.c, xml) // what comes back tells
	return c
}

// read returns the next item as XML: stanzas normalised, "<header>", "</end>", or "EOF".
func (c *client) read() string {
	c.t.Helper()
	for {
		item, n, err := c.scan.Scan(c.buf[c.used:])
		if err != nil {
			c.t.Fatalf("the server wrote bad XML: %v in %q", err, c.buf[c.used:])
		}
		c.used += n
		switch item {
		case stream.ItemHeader:
			return "<header>"
		case stream.ItemStanza:
			return string(c.scan.Stanza().Append(nil))
		case stream.ItemElement:
			_, raw := c.scan.Element()
			return string(raw)
		case stream.ItemEnd:
			return "</end>"
		}
		c.buf = slices.Delete(c.buf, 0, c.used)
		c.used = 0
		if c.in != nil && c.tls == nil {
			p, ok := <-c.in
			if !ok {
				return "EOF"
			}
			c.buf = append(c.buf, p...)
			continue
		}
		if err := c.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
			c.t.Fatal(err)
		}
		p := make([]byte, 64<<10)
		n, err = c.c.Read(p)
		c.buf = append(c.buf, p[:n]...)
		if n == 0 {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				c.t.Fatal("nothing came from the server")
			}
			return "EOF"
		}
	}
}

// expect reads items until one that is not an <r/>, which must contain all of the parts.
func (c *client) expect(parts ...string) string {
	c.t.Helper()
	got := c.read()
	for strings.HasPrefix(got, "<r ") && !slices.Contains(parts, "<r ") {
		got = c.read()
	}
	for _, p := range parts {
		if !strings.Contains(got, p) {
			c.t.Fatalf("got %s\nwant it to hold %s", got, p)
		}
	}
	return got
}

// expectError reads up to a stream error with the condition, and the end.
func (c *client) expectError(condition string) {
	c.t.Helper()
	for {
		switch got := c.read(); {
		case strings.Contains(got, "<"+condition+" ") && strings.Contains(got, xmpp.NSStreamErrors):
			if end := c.read(); end != "</end>" {
				c.t.Fatalf("after the error came %s", end)
			}
			return
		case got == "</end>", got == "EOF", strings.Contains(got, xmpp.NSStreamErrors):
			c.t.Fatalf("got %s, want the stream error %s", got, condition)
		}
	}
}

func (c *client) close() {
	_ = c.conn.Close() // the test is over, or wants it cut
	if c.in != nil {
		for range c.in { // until the pump has ended
			continue
		}
	}
}

const header = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" + xmpp.NSStream + "' to='" + host + "' version='1.0'>"

// header opens a stream and returns the features.
func (c *client) header() string {
	c.t.Helper()
	c.scan.Reset()
	c.send(header)
	c.expect("<header>")
	return c.expect("features")
}

func (c *client) startTLS() *client {
	c.t.Helper()
	c.send("<starttls xmlns='" + xmpp.NSTLS + "'/>").expect("<proceed")
	return c.handshake()
}

// clientTLS is how a client speaks TLS; a cache has it resume.
func clientTLS(cache tls.ClientSessionCache) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: host, NextProtos: []string{"xmpp-client"},
		ClientSessionCache: cache}
}

func (c *client) handshake() *client {
	c.t.Helper()
	return c.handshakeWith(nil)
}

func (c *client) handshakeWith(cache tls.ClientSessionCache) *client {
	c.t.Helper()
	c.tls = tls.Client(c.conn, clientTLS(cache))
	if err := c.tls.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.c = c.tls
	return c
}

// auth logs in by SASL and returns the answer to the last message.
func (c *client) auth(m sasl.Mechanism, cred sasl.Credentials) string {
	c.t.Helper()
	cl, err := sasl.NewClient(m, cred)
	if err != nil {
		c.t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	c.send("<auth xmlns='" + xmpp.NSSASL + "' mechanism='" + string(m) + "'>" + b64(cl.Start()) + "</auth>")
	for {
		got := c.read()
		el, err := xmpp.ParseElement([]byte(got))
		if err != nil {
			c.t.Fatalf("%s: %v", got, err)
		}
		data, err := base64.StdEncoding.DecodeString(el.Text())
		if err != nil {
			return got
		}
		switch el.Name.Local {
		case "challenge":
			r, err := cl.Next(data)
			if err != nil {
				c.t.Fatal(err)
			}
			c.send("<response xmlns='" + xmpp.NSSASL + "'>" + b64(r) + "</response>")
		case "success":
			if err := cl.Finish(data); err != nil {
				c.t.Fatal(err)
			}
			return got
		default:
			return got
		}
	}
}

// login goes up to the features after authentication.
func (c *client) login(user string) *client {
	c.t.Helper()
	m := sasl.ScramSHA1
	if got := c.auth(m, sasl.Credentials{User: user, Password: password}); !strings.HasPrefix(got, "<success") {
		c.t.Fatalf("login: %s", got)
	}
	c.header()
	return c
}

// bind binds a resource.
func (c *client) bind(resource string) *client {
	c.t.Helper()
	c.send("<iq type='set' id='bind'><bind xmlns='" + xmpp.NSBind + "'><resource>" + resource + "</resource></bind></iq>")
	got := c.expect("id='bind'", "type='result'", "<jid>")
	c.jid = got[strings.Index(got, "<jid>")+5 : strings.Index(got, "</jid>")]
	return c
}

// enter does it all over TLS.
func (h *house) enter(user, resource string) *client {
	h.t.Helper()
	c := h.connect(DirectTLS).handshake()
	c.header()
	return c.login(user).bind(resource)
}

// enterPlain does it all without TLS, over a pipe; the server must allow it.
func (h *house) enterPlain(user, resource string) *client {
	h.t.Helper()
	c := h.pipe()
	c.header()
	return c.login(user).bind(resource)
}

func withoutTLS(o *Options) { o.C2S.RequireTLS, o.AllowPlainWithoutTLS = false, true }

// ping makes sure that the server has handled all that was sent.
func (c *client) ping() {
	c.t.Helper()
	c.send("<iq type='get' id='sync' to='" + host + "'><query xmlns='urn:test'/></iq>")
	c.expect("id='sync'", "type='result'")
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
