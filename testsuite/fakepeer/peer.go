// Package fakepeer is an XMPP server as another server sees it, for tests: it accepts streams, vouches for its
// domains as the authoritative server of dialback does, dials, and writes down every stanza that
// comes as the very bytes. It shares no code with the server, so that a mistake is not made twice.
//
// Left alone it behaves well: STARTTLS or direct TLS, SASL EXTERNAL (XEP-0178), dialback (XEP-0220) with keys of
// XEP-0185, bidirectional streams (XEP-0288), stream management with resumption (XEP-0198), answers to pings
// (XEP-0199). A Script makes it misbehave, and Open gives a stream on which a test says whatever it wants.
//
// It leaves out what no test of the server needs: users, DNS, resuming streams that it has dialled itself.
package fakepeer

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// Options of Start.
type Options struct {
	// Domains are those it serves. The first is the one whose name it uses where none is given.
	Domains []string
	// Certificates by domain. A domain without one uses that of the first.
	Certificates map[string]tls.Certificate
	// Roots are whom it believes when a server that connects shows a certificate.
	Roots *x509.CertPool

	NoExternal bool // never offers EXTERNAL
	NoDialback bool // neither offers nor accepts it
	NoTLS      bool // offers no STARTTLS
	Bidi       bool
	Management Management
	NoPings    bool // leaves pings without an answer
}

// Management is how much of XEP-0198 it offers.
type Management int

// The kinds of management.
const (
	Unmanaged   Management = iota
	Acknowledge            // without resumption
	Resume                 // what it has of a stream survives its own death
)

// A Script says how it misbehaves. Each part may be nil. They are called on the goroutine that reads the
// connection in question.
type Script struct {
	// Accept is given each connection that comes in. If it returns true the connection is its own.
	Accept func(net.Conn) bool
	// Element is given what comes at the top of a stream before anything else is done with it;
	// nothing else is if it returns true.
	Element func(*Link, Element) bool
	// Features may change the features that are offered.
	Features func(*Link, string) string
	// Reading is called before each read from the socket of a connection that came in.
	Reading func()
}

// A Pair is a direction.
type Pair struct{ From, To string }

// A Stanza is one that came.
type Stanza struct {
	Element
	From, To string // as they stand in it
	Pair     Pair   // their domains
	// Proved says whether the stream had proved the pair.
	Proved bool
	Link   int // the number of the link, from 1
	Life   int // how often the peer had been killed before
	// Handled is how many stanzas of the stream had come with it, where the stream is managed.
	Handled int
	At      time.Time
}

// Body is the text of the stanza's body, as it stands there.
func (s Stanza) Body() string {
	_, after, _ := strings.Cut(s.Raw, "<body>")
	body, _, _ := strings.Cut(after, "</body>")
	return body
}

// A Peer is a running one. Its methods may be called from any goroutine.
type Peer struct {
	Addr    string // HOST:PORT of STARTTLS
	AddrTLS string // of direct TLS

	o      Options
	t      testing.TB
	secret string // of dialback

	mu        sync.Mutex // guards what follows
	script    Script
	where     map[string]string
	life      int
	links     map[*Link]bool
	count     int // of links so far
	listeners []net.Listener
	managed   map[string]*managed
	confirmed map[int]int // by link
	got       []Stanza
	read      int // how many of got Until has returned
	wake      chan struct{}
	faults    []string
	dead      bool
	running   sync.WaitGroup
}

// Start runs a peer until the end of the test. The test fails if a stanza has come on a stream that had not proved its
// pair.
func Start(t testing.TB, o Options) *Peer {
	t.Helper()
	p := &Peer{
		Addr: harness.FreeAddr(), AddrTLS: harness.FreeAddr(), o: o, t: t, secret: random(),
		where: map[string]string{}, links: map[*Link]bool{}, managed: map[string]*managed{}, confirmed: map[int]int{},
		wake: make(chan struct{}), dead: true,
	}
	p.Restart()
	t.Cleanup(func() {
		p.Kill()
		p.running.Wait()
		for _, f := range p.Faults() {
			t.Errorf("peer %s: %s", o.Domains[0], f)
		}
	})
	return p
}

func random() string {
	b := make([]byte, 16)
	for i := range b {
		b[i] = byte(rand.UintN(256))
	}
	return hex.EncodeToString(b)
}

// Locate says where another server is: HOST:PORT, or tls:HOST:PORT for direct TLS. Its dialback keys are
// verified there, and Connect goes there.
func (p *Peer) Locate(domain, addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.where[domain] = addr
}

func (p *Peer) locate(domain string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.where[domain]
}

// Play replaces the script.
func (p *Peer) Play(s Script) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script = s
}

func (p *Peer) playing() Script {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.script
}

// Serves says whether a domain is one of its own.
func (p *Peer) Serves(domain string) bool {
	for _, d := range p.o.Domains {
		if d == domain {
			return true
		}
	}
	return false
}

// Restart listens, on the ports it had before.
func (p *Peer) Restart() {
	p.t.Helper()
	var listeners []net.Listener
	for i, addr := range []string{p.Addr, p.AddrTLS} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			p.t.Fatalf("fake peer: %v", err)
		}
		listeners = append(listeners, l)
		p.running.Go(func() { p.listen(l, i == 1) })
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners, p.dead = listeners, false
}

// Kill ends everything at once, as SIGKILL would: nothing is said to anybody, and what had arrived and was not read
// is lost. What was written down stays, and so does, with Resume, what is known of streams.
func (p *Peer) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return
	}
	p.dead = true
	p.life++
	for _, l := range p.listeners {
		l.Close()
	}
	for l := range p.links {
		l.Cut()
	}
	clear(p.links)
	if p.o.Management != Resume {
		clear(p.managed)
	}
}

// Cut closes all connections and goes on listening.
func (p *Peer) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.Cut()
	}
}

// Links is how many connections there are, in either direction.
func (p *Peer) Links() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Managed is how many of the connections have stream management enabled by the other side.
func (p *Peer) Managed() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.managed != nil {
			n++
		}
	}
	return n
}

// Confirmed is how many stanzas of a link were acknowledged before the other side asked for the last
// acknowledgement. If it asks only after it has got an answer, it knows that these have been taken.
func (p *Peer) Confirmed(link int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.confirmed[link]
}

func (p *Peer) listen(on net.Listener, direct bool) {
	for {
		conn, err := on.Accept()
		if err != nil {
			return
		}
		script := p.playing()
		if script.Accept != nil && script.Accept(conn) {
			continue
		}
		l := p.link(conn, true)
		if l == nil {
			continue
		}
		p.running.Go(func() {
			defer p.drop(l)
			l.serve(direct)
		})
	}
}

// link begins one; nil if the peer is dead.
func (p *Peer) link(conn net.Conn, incoming bool) *Link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		conn.Close()
		return nil
	}
	p.count++
	l := &Link{
		Stream: newStream(conn), Number: p.count, Incoming: incoming, peer: p, life: p.life,
		theirs: map[Pair]bool{}, ours: map[Pair]bool{}, answers: map[Pair]chan Element{},
	}
	if incoming {
		l.Stream.socket = &paced{Conn: conn, p: p}
		l.Stream.Conn = l.Stream.socket
	}
	p.links[l] = true
	return l
}

func (p *Peer) drop(l *Link) {
	l.Cut()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// paced asks the script before it reads.
type paced struct {
	net.Conn
	p *Peer
}

func (c *paced) Read(b []byte) (int, error) {
	if f := c.p.playing().Reading; f != nil {
		f()
	}
	return c.Conn.Read(b)
}

// record writes a stanza down, and counts it for stream management in the same moment.
func (p *Peer) record(l *Link, el Element) (Stanza, error) {
	s := Stanza{Element: el, From: el.Attr("from"), To: el.Attr("to"), Link: l.Number, At: time.Now()}
	s.Pair = Pair{domain(s.From), domain(s.To)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life != l.life {
		return s, errors.New("the peer was killed")
	}
	s.Life, s.Proved = l.life, l.theirs[s.Pair]
	if l.managed != nil {
		l.managed.handled++
		s.Handled = l.managed.handled
	}
	p.got = append(p.got, s)
	close(p.wake)
	p.wake = make(chan struct{})
	if !s.Proved {
		p.faults = append(p.faults, fmt.Sprintf("came on a stream that has not proved it: %s", el.Raw))
		return s, errors.New("invalid-from")
	}
	return s, nil
}

func domain(addr string) string {
	addr, _, _ = strings.Cut(addr, "/")
	if _, d, ok := strings.Cut(addr, "@"); ok {
		return d
	}
	return addr
}

// Faults are what the other server did that it must never do.
func (p *Peer) Faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.faults...)
}

func (p *Peer) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// Stanzas are all that have come so far, in order.
func (p *Peer) Stanzas() []Stanza {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Stanza(nil), p.got...)
}

// Until waits for a stanza for which f holds, and returns all that have come up to it since the last call. After
// Timeout it returns what came instead, with an error.
func (p *Peer) Until(f func(Stanza) bool) ([]Stanza, error) {
	late := time.After(Timeout)
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.read
	for n := from; ; {
		for ; n < len(p.got); n++ {
			if f(p.got[n]) {
				p.read = n + 1
				return append([]Stanza(nil), p.got[from:n+1]...), nil
			}
		}
		wake := p.wake
		p.mu.Unlock()
		var err error
		select {
		case <-wake:
		case <-late:
			err = errors.New("the stanza that is waited for did not come")
		}
		p.mu.Lock()
		if err != nil {
			p.read = len(p.got)
			return append([]Stanza(nil), p.got[from:]...), err
		}
	}
}

// Within waits until f holds for all that have come, and says whether it ever did.
func (p *Peer) Within(d time.Duration, f func([]Stanza) bool) bool {
	late := time.After(d)
	for {
		p.mu.Lock()
		wake, got := p.wake, p.got[:len(p.got):len(p.got)]
		p.mu.Unlock()
		if f(got) {
			return true
		}
		select {
		case <-wake:
		case <-late:
			return false
		}
	}
}
