package s2s

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/s2s/lookup"
	"jackdaw/s2s/outbox"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a store of one map.
type memory struct {
	storage.Engine
	mu   sync.Mutex // guards the rest
	data map[string][]byte
}

func (m *memory) Map(string) storage.Map { return (*memoryMap)(m) }
func (m *memory) Log(string) storage.Log { return nil } // see line

type memoryMap memory

var _ storage.Map = (*memoryMap)(nil)

func (m *memoryMap) Get(_ context.Context, owner, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.data[owner+" "+key]; ok {
		return b, nil
	}
	return nil, storage.ErrNotFound
}

func (m *memoryMap) Update(_ context.Context, owner string, version uint64, changes ...storage.Change) (
	uint64, *storage.Pending, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if version == 0 && len(m.data) > 0 {
		return 0, nil, storage.ErrConflict
	}
	for _, c := range changes {
		m.data[owner+" "+c.Key] = bytes.Clone(c.Value)
	}
	return 1, nil, nil
}

func (m *memoryMap) List(context.Context, string) ([]storage.Entry, uint64, error) {
	panic("not used")
}

func (m *memoryMap) Since(context.Context, string, uint64) ([]storage.Entry, uint64, bool, error) {
	panic("not used")
}

func (m *memoryMap) Size(context.Context, string) (int, int64, error) {
	panic("not used")
}

func (m *memoryMap) DeleteOwner(context.Context, string) (*storage.Pending, error) {
	panic("not used")
}

// damage changes what is kept.
func (m *memory) damage() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.data {
		m.data[k] = []byte{2, 1}
	}
	if len(m.data) != 1 {
		return errors.New("something else is kept")
	}
	return nil
}

func newStore() *memory { return &memory{data: map[string][]byte{}} }

// A world is what the servers of a test have in common: where they are, and whom they trust.
type world struct {
	t     testing.TB
	key   *ecdsa.PrivateKey
	ca    *x509.Certificate
	roots *x509.CertPool

	mu     sync.Mutex // guards the rest
	places map[string][]place
	dials  map[string]int
	conns  map[string]net.Conn // the last to each domain
}

type place struct {
	addr   string
	direct bool
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, places: map[string][]place{}, dials: map[string]int{}, conns: map[string]net.Conn{},
		roots: x509.NewCertPool()}
	w.key, w.ca = makeCertificate(t, nil, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "test authority"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	w.roots.AddCert(w.ca)
	return w
}

func makeCertificate(t testing.TB, by *x509.Certificate, byKey *ecdsa.PrivateKey, c *x509.Certificate) (
	*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	if by == nil {
		by, byKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, made
}

// certificate is one that the authority of the world has given out.
func (w *world) certificate(names ...string) *tls.Certificate {
	return w.certificateOf(&x509.Certificate{DNSNames: names}, false)
}

func (w *world) certificateOf(c *x509.Certificate, selfSigned bool) *tls.Certificate {
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} // as public authorities do it
	ca, caKey := w.ca, w.key
	if selfSigned {
		ca, caKey = nil, nil
	}
	key, made := makeCertificate(w.t, ca, caKey, c)
	return &tls.Certificate{Certificate: [][]byte{made.Raw}, PrivateKey: key, Leaf: made}
}

func (w *world) Targets(_ context.Context, domain string) ([]lookup.Target, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []lookup.Target
	for _, p := range w.places[domain] {
		host, port, _ := net.SplitHostPort(p.addr)
		n, _ := strconv.Atoi(port)
		all = append(all, lookup.Target{Domain: domain, Host: host, Port: uint16(n), DirectTLS: p.direct})
	}
	if len(all) == 0 {
		return nil, &lookup.Error{Reason: lookup.NameNotFound, Domain: domain}
	}
	return all, nil
}

func (w *world) DialTarget(ctx context.Context, t lookup.Target) (*lookup.Conn, error) {
	w.mu.Lock()
	w.dials[t.Domain]++
	w.mu.Unlock()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.String())
	if err != nil {
		return nil, &lookup.Error{Reason: lookup.Refused, Domain: t.Domain, Err: err}
	}
	w.mu.Lock()
	w.conns[t.Domain] = c
	w.mu.Unlock()
	return &lookup.Conn{Conn: c, DirectTLS: t.DirectTLS, Target: t.String()}, nil
}

// cut breaks the last connection to a domain.
func (w *world) cut(domain string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.conns[domain].Close() // that is the point
}

func (w *world) dialed(domain string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials[domain]
}

// nobody has no accounts: what the tests look at never comes so far.
type nobody struct{}

func (nobody) Exists(context.Context, jid.JID) (bool, error) { return false, nil }

// A node is one server.
type node struct {
	*Server
	t      testing.TB
	w      *world
	domain string
	router *router.Router
	conf   atomic.Pointer[config.Config]
	got    chan string // messages that came: "from to id body"
	addr   string
	queue  *line
}

type setup struct {
	domains     []string // the first is where the others are too
	certificate *tls.Certificate
	withoutTLS  bool
	direct      bool
	change      func(*config.Config)
	options     func(*Options)
	pendings    func(*router.Envelope)
	queues      bool // those of a server, not line
}

func (w *world) node(s setup) *node {
	w.t.Helper()
	n := &node{t: w.t, w: w, domain: s.domains[0], got: make(chan string, 10000)}
	conf := config.Default()
	if s.certificate == nil {
		s.certificate = w.certificate(s.domains...)
	}
	if s.change != nil {
		s.change(conf)
	}
	n.conf.Store(conf)
	n.router = router.New(router.Options{Hosts: s.domains, Users: nobody{}, Log: slog.New(slog.DiscardHandler)})
	n.router.Use(router.Module{Name: "witness", Arriving: router.Stage{Message: func(e *router.Envelope) {
		if s.pendings != nil {
			s.pendings(e)
		}
		n.got <- e.Peer + ": " + e.Stanza.From.String() + " " + e.Stanza.To.String() + " " + e.Stanza.ID
		e.Settle(router.Delivered)
	}}})
	o := Options{Router: n.router, Store: newStore(), Finder: w, Roots: w.roots,
		Settings: n.conf.Load,
		Log:      slog.New(slog.NewTextHandler(testLog{w.t}, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if !s.withoutTLS {
		o.Certificate = func(string) *tls.Certificate { return s.certificate }
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate, nil }}
	}
	if s.options != nil {
		s.options(&o)
	}
	n.Server = New(o)
	n.queue = &line{n: n, pairs: map[outbox.Pair]chan []byte{}, done: make(chan struct{})}
	if !s.queues {
		n.Server.queue = n.queue
	}
	n.router.SetRemote(n.Server)
	if err := n.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	n.addr = l.Addr().String()
	mode := STARTTLS
	if s.direct {
		mode = DirectTLS
	}
	served := make(chan error, 1)
	go func() { served <- n.Serve(l, mode) }()
	w.mu.Lock()
	for _, d := range s.domains {
		w.places[d] = []place{{n.addr, s.direct}}
	}
	w.mu.Unlock()
	w.t.Cleanup(func() {
		close(n.queue.done)
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		if err := n.Shutdown(ctx); err != nil {
			w.t.Errorf("shutdown of %s: %v", n.domain, err)
		}
		n.queue.all.Wait()
		if err := <-served; err != nil {
			w.t.Error(err)
		}
		if n.Stats.Panics.Load() > 0 {
			w.t.Error("the server panicked")
		}
	})
	return n
}

// settings and change are what a reload does.
func (n *node) settings() *config.Config { return n.conf.Load() }
func (n *node) change(c *config.Config)  { n.conf.Store(c) }

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Log(string(bytes.TrimSpace(b)))
	}
	return len(b), nil
}

// line is the simplest queue there can be: what cannot be sent is lost.
type line struct {
	n    *node
	all  sync.WaitGroup
	done chan struct{}

	mu    sync.Mutex // guards the rest
	pairs map[outbox.Pair]chan []byte
}

func (q *line) Seen(string)                   {}
func (q *line) Restore(context.Context) error { return nil }

func (q *line) Gained(context.Context, func(string) bool) error { return nil }

func (q *line) Release(context.Context, func(string) bool, bool) error { return nil }
func (q *line) Stop(context.Context) error                             { return nil }

func (q *line) Push(e *router.Envelope) {
	e.Settle(router.Queued)
	p := outbox.Pair{Local: e.Stanza.From.Domain(), Remote: e.Stanza.To.Domain()}
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.pairs[p]
	if c == nil {
		c = make(chan []byte, 1000)
		q.pairs[p] = c
		q.all.Go(func() { q.send(p, c) })
	}
	c <- e.Stanza.Append(nil)
}

func (q *line) send(p outbox.Pair, c chan []byte) {
	var s outbox.Stream
	for {
		var b []byte
		select {
		case b = <-c:
		case <-q.done:
			return
		}
		if s == nil || s.Write(b, 1) != nil {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			var err error
			if s, err = q.n.Open(ctx, p, func(int) {}); err == nil {
				_ = s.Write(b, 1) // lost then
			} else {
				s = nil
			}
			cancel()
		}
	}
}

// within is how long a test waits for what must happen.
const within = time.Minute

// counter counts acknowledgements.
type counter struct {
	mu   sync.Mutex // guards n
	n    int
	more chan struct{}
}

func newCounter() *counter { return &counter{more: make(chan struct{}, 1)} }

func (c *counter) add(n int) {
	c.mu.Lock()
	c.n += n
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func (c *counter) get() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// wait waits until exactly so many have come.
func (c *counter) wait(t testing.TB, want int) {
	t.Helper()
	limit := time.After(within)
	for c.get() < want {
		select {
		case <-c.more:
		case <-limit:
			t.Fatalf("%d stanzas were acknowledged, want %d", c.get(), want)
		}
	}
	if got := c.get(); got != want {
		t.Fatalf("%d stanzas were acknowledged, want %d", got, want)
	}
}

// open opens a stream to another node and fails the test if that fails.
func (n *node) open(remote string) (outbox.Stream, *counter) {
	n.t.Helper()
	return n.openPair(outbox.Pair{Local: n.domain, Remote: remote})
}

func (n *node) openPair(p outbox.Pair) (outbox.Stream, *counter) {
	n.t.Helper()
	c := newCounter()
	ctx, cancel := context.WithTimeout(n.t.Context(), within)
	defer cancel()
	s, err := n.Open(ctx, p, c.add)
	if err != nil {
		n.t.Fatalf("open %s to %s: %v", p.Local, p.Remote, err)
	}
	return s, c
}

// refused opens a stream and returns why that failed.
func (n *node) refused(remote string) *outbox.Failure {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), within)
	defer cancel()
	s, err := n.Open(ctx, outbox.Pair{Local: n.domain, Remote: remote}, func(int) { n.t.Error("acknowledged") })
	if err == nil {
		s.Close()
		n.t.Fatalf("a stream from %s to %s", n.domain, remote)
	}
	f, ok := err.(*outbox.Failure)
	if !ok {
		n.t.Fatalf("%T is no Failure: %v", err, err)
	}
	return f
}

func message(from, to, id string) []byte {
	return (&xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: id, From: jid.MustParse(from), To: jid.MustParse(to),
		Payload: []byte("<body>Wherefore?</body>")}).Append(nil)
}

// send writes one message.
func (n *node) send(s outbox.Stream, to, id string) {
	n.t.Helper()
	if err := s.Write(message("juliet@"+n.domain, to, id), 1); err != nil {
		n.t.Fatal(err)
	}
}

// expect waits for the next message that arrives here.
func (n *node) expect(from, to, id string) {
	n.t.Helper()
	want := jid.MustParse(from).Domain() + ": " + from + " " + to + " " + id
	select {
	case got := <-n.got:
		if got != want {
			n.t.Fatalf("got %q, want %q", got, want)
		}
	case <-time.After(within):
		n.t.Fatalf("nothing came, want %q", want)
	}
}

// until polls a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	limit := time.After(within)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("never: " + what)
		}
	}
}

// link is the description of the one link of that direction.
func (n *node) link(outgoing bool) Link {
	n.t.Helper()
	var found []Link
	until(n.t, "one link", func() bool {
		found = found[:0]
		for _, l := range n.Links() {
			if l.Outgoing == outgoing && l.Authenticated {
				found = append(found, l)
			}
		}
		return len(found) == 1
	})
	return found[0]
}
