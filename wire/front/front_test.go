package front

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"jackdaw/config"
	"jackdaw/router/gate"
	"jackdaw/wire"
	"jackdaw/xmpp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// said is a log to read from.
type said struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A taken is what a protocol was given.
type taken struct {
	by string
	wire.Entry
}

// A port is a server with all protocols, that has its connections taken by the test.
type port struct {
	*Server
	at     string
	limits config.Limits
	log    said
	taken  chan taken
	closed bool // protocols take nothing
	certs  []tls.Certificate
}

func open(t testing.TB, change func(*port, *Options)) *port {
	t.Helper()
	p := &port{limits: config.Default().Limits, taken: make(chan taken, 10), certs: []tls.Certificate{certificate(t)}}
	take := func(by string) func(wire.Entry) bool {
		return func(e wire.Entry) bool {
			if !p.closed {
				p.taken <- taken{by, e}
			}
			return !p.closed
		}
	}
	own := func(change func(*tls.Config)) *tls.Config {
		c := &tls.Config{Certificates: p.certs, MinVersion: tls.VersionTLS12}
		change(c)
		return c
	}
	o := Options{
		Clients: &Protocol{Names: []string{xmpp.ALPNClient}, Take: take("clients"), TLS: own(func(c *tls.Config) {
			c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				if under, ok := wire.Under(h.Conn); ok {
					under.Cert = &p.certs[0]
				}
				return nil, nil
			}
		})},
		Web: &Protocol{Names: []string{"h2", "http/1.1"}, Take: take("web"), TLS: own(func(*tls.Config) {})},
		Peers: &Protocol{Names: []string{xmpp.ALPNServer}, Take: take("peers"), TLS: own(func(c *tls.Config) {
			c.ClientAuth, c.SessionTicketsDisabled = tls.RequestClientCert, true
		})},
		Gate: new(gate.Keeper), Limits: func() *config.Limits { return &p.limits },
		Log: slog.New(slog.NewTextHandler(&p.log, nil)),
	}
	if change != nil {
		change(p, &o)
	}
	p.Server = New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.at = l.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := p.Serve(l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		serving.Wait()
		close(p.taken)
		for one := range p.taken {
			_ = one.TLS.Close() // nobody else has it
		}
	})
	return p
}

// dial shakes hands and says something.
func (p *port) dial(t testing.TB, c *tls.Config, say string) (*tls.Conn, error) {
	t.Helper()
	c = c.Clone()
	c.InsecureSkipVerify, c.ServerName = true, "a.example"
	raw, err := net.Dial("tcp", p.at)
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, c)
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, say); err != nil {
		t.Fatal(err)
	}
	return conn, nil
}

// want waits until somebody has taken a connection.
func (p *port) want(t testing.TB, by string) taken {
	t.Helper()
	select {
	case one := <-p.taken:
		if one.by != by {
			t.Fatalf("taken by %s, want %s", one.by, by)
		}
		t.Cleanup(func() { _ = one.TLS.Close() })
		return one
	case <-time.After(10 * time.Second):
		t.Fatalf("nobody has taken it: %s", p.log.String())
	}
	return taken{}
}

// gone wants the other side to close.
func gone(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); err == nil || n > 0 {
		t.Fatalf("%d bytes, %v", n, err)
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Fatal("the connection was not closed")
	}
}

const (
	clientHeader = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" + xmpp.NSStream + "' to='a.example' version='1.0'>"
	serverHeader = "<stream:stream xmlns='jabber:server' xmlns:stream='" + xmpp.NSStream + "' to='a.example' from='b.example' version='1.0'>"
)

func TestTheProtocolSaysWhoseAConnectionIs(t *testing.T) {
	p := open(t, nil)
	for _, row := range []struct {
		asked []string
		by    string
		gets  string
	}{
		{[]string{"xmpp-client"}, "clients", "xmpp-client"},
		{[]string{"xmpp-server"}, "peers", "xmpp-server"},
		{[]string{"h2", "http/1.1"}, "web", "h2"},
		{[]string{"http/1.1"}, "web", "http/1.1"},
		{[]string{"xmpp-client", "http/1.1"}, "clients", "xmpp-client"},
		{[]string{"http/1.1", "xmpp-client"}, "web", "http/1.1"},
		{[]string{"acme-tls/1", "xmpp-server"}, "peers", "xmpp-server"},
	} {
		c, err := p.dial(t, &tls.Config{NextProtos: row.asked}, "hello")
		if err != nil {
			t.Errorf("%v: %v", row.asked, err)
			continue
		}
		one := p.want(t, row.by)
		if got := c.ConnectionState().NegotiatedProtocol; got != row.gets {
			t.Errorf("%v: %q", row.asked, got)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(one.TLS, b); err != nil || string(b) != "hello" || len(one.Early) > 0 {
			t.Errorf("%v: %q is to be read, %q was; %v", row.asked, b, one.Early, err)
		}
		if under, ok := wire.Under(one.TLS); !ok || under != one.Transport || !one.Secure || one.Pass == nil ||
			one.From != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("%v: %+v", row.asked, one.Entry)
		}
		if (one.Transport.Cert != nil) != (row.by == "clients") {
			t.Errorf("%v: the certificate is noted: %v", row.asked, one.Transport.Cert != nil)
		}
	}
}

func TestWhoAsksForAnotherProtocolIsTold(t *testing.T) {
	p := open(t, nil)
	for _, asked := range [][]string{{"acme-tls/1"}, {"stun.turn", "smtp"}, {"http/1.0"}} {
		if _, err := p.dial(t, &tls.Config{NextProtos: asked}, ""); err == nil || !strings.Contains(err.Error(), "no application protocol") {
			t.Errorf("%v: %v", asked, err)
		}
	}
	none := open(t, func(_ *port, o *Options) { o.Peers = nil })
	if _, err := none.dial(t, &tls.Config{NextProtos: []string{"xmpp-server"}}, ""); err == nil ||
		!strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("a peer of a server that has none: %v", err)
	}
}

func TestWithoutAProtocolTheFirstBytesSay(t *testing.T) {
	p := open(t, nil)
	for _, row := range []struct{ say, by string }{
		{clientHeader, "clients"},
		{serverHeader, "peers"},
		{"\n " + serverHeader, "peers"},
		{strings.ReplaceAll(clientHeader, " xmlns='jabber:client'", ""), "clients"},
		{"<stream:stream xmlns='jabber:component:accept' xmlns:stream='" + xmpp.NSStream + "'>", "clients"},
		{"<nonsense", ""},
		{"<nonsense/>", "clients"},
		{"<!DOCTYPE html>", "clients"},
		{"<stream:stream xmlns='" + strings.Repeat("x", mostHeard), "clients"},
		{"GET / HTTP/1.1\r\n", "web"},
		{"OPTIONS * HTTP/1.1\r\n", "web"},
		{"\r\nGET / HTTP/1.1\r\n", "web"},
		{"get / HTTP/1.1\r\n", "nobody"},
		{" /", "nobody"},
		{strings.Repeat("A", longestMethod+1), "nobody"},
		{strings.Repeat(" ", mostHeard), "nobody"},
		{"EHLO\r\n", "nobody"},
		{"\x00\x01", "nobody"},
	} {
		c, err := p.dial(t, &tls.Config{}, row.say)
		if err != nil {
			t.Fatal(err)
		}
		switch row.by {
		case "":
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		case "nobody":
			gone(t, c)
		default:
			if one := p.want(t, row.by); !strings.HasPrefix(row.say, string(one.Early)) || len(one.Early) == 0 {
				t.Errorf("%q: early is %q", row.say, one.Early)
			}
		}
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := p.log.String(); strings.Count(s, "nobody's") != 1 || !strings.Contains(s, errForeign.Error()) {
		t.Errorf("logged: %s", s)
	}
}

func TestTheFirstBytesMayComeOneByOne(t *testing.T) {
	p := open(t, nil)
	for say, by := range map[string]string{clientHeader: "clients", serverHeader: "peers", "DELETE /": "web"} {
		c, err := p.dial(t, &tls.Config{}, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range []byte(say) {
			if _, err := c.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		p.want(t, by)
	}
}

func TestAPeerIsAskedForItsCertificate(t *testing.T) {
	p := open(t, nil)
	for _, row := range []struct {
		asked []string
		by    string
		shown bool
	}{{[]string{"xmpp-server"}, "peers", true}, {nil, "peers", true}, {[]string{"xmpp-client"}, "clients", false}, {[]string{"h2"}, "web", false}} {
		_, err := p.dial(t, &tls.Config{NextProtos: row.asked, Certificates: p.certs}, serverHeader)
		if err != nil {
			t.Fatal(err)
		}
		if one := p.want(t, row.by); (len(one.TLS.ConnectionState().PeerCertificates) > 0) != row.shown {
			t.Errorf("%v: a certificate was shown: %v", row.asked, !row.shown)
		}
	}
}

// sessions is a cache of one, whatever the name.
type sessions struct {
	held *tls.ClientSessionState
	got  chan struct{}
}

func (s *sessions) Get(string) (*tls.ClientSessionState, bool) { return s.held, s.held != nil }
func (s *sessions) Put(_ string, state *tls.ClientSessionState) {
	if s.held == nil && state != nil {
		s.held = state
		close(s.got)
	}
}

func TestATicketIsGoodForItsProtocolAlone(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		p := open(t, nil)
		resumes := func(cache *sessions, asked, by string) bool {
			config := &tls.Config{NextProtos: []string{asked}, ClientSessionCache: cache, MaxVersion: version}
			c, err := p.dial(t, config, "hello")
			if err != nil {
				t.Fatalf("%s: %v", asked, err)
			}
			one := p.want(t, by)
			if _, err := one.TLS.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); err != nil { // with it comes the ticket
				t.Fatal(err)
			}
			if (one.Transport.Cert != nil) != (by == "clients") {
				t.Errorf("%s: the certificate is noted: %v", asked, one.Transport.Cert != nil)
			}
			return one.TLS.ConnectionState().DidResume
		}
		for _, row := range []struct{ asked, by, other, otherBy string }{
			{"xmpp-client", "clients", "http/1.1", "web"}, {"h2", "web", "xmpp-client", "clients"}, {"h2", "web", "xmpp-server", "peers"},
		} {
			cache := &sessions{got: make(chan struct{})}
			if resumes(cache, row.asked, row.by) {
				t.Errorf("%s resumed nothing", row.asked)
			}
			<-cache.got
			if resumes(cache, row.other, row.otherBy) {
				t.Errorf("%s resumed a session of %s", row.other, row.asked)
			}
			if !resumes(cache, row.asked, row.by) {
				t.Errorf("%s did not resume its own session", row.asked)
			}
		}
		none := &sessions{got: make(chan struct{})}
		if resumes(none, "xmpp-server", "peers"); none.held != nil {
			t.Error("a peer was given a ticket")
		}
	}
}

func TestWhoSaysNothingIsClosed(t *testing.T) {
	p := open(t, func(p *port, _ *Options) { p.limits.TLSTime = 30 * time.Millisecond })
	raw, err := net.Dial("tcp", p.at)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	gone(t, raw)
	p = open(t, func(p *port, _ *Options) { p.limits.AuthTime = 30 * time.Millisecond })
	for _, say := range []string{"", "<", "GE"} {
		c, err := p.dial(t, &tls.Config{}, say)
		if err != nil {
			t.Fatal(err)
		}
		gone(t, c)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.Stats.Failed.Load() != 3 || p.Stats.Accepted.Load() != 3 {
		t.Errorf("%d failed of %d", p.Stats.Failed.Load(), p.Stats.Accepted.Load())
	}
}

func TestWhatIsNotTLSIsSaid(t *testing.T) {
	p := open(t, nil)
	raw, err := net.Dial("tcp", p.at)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := io.WriteString(raw, clientHeader); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(raw); err != nil || len(b) > 7 { // an alert at most
		t.Errorf("%q, %v", b, err)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := p.log.String(); !strings.Contains(s, "the client begins in plain text") || !strings.Contains(s, "do=") {
		t.Errorf("logged: %s", s)
	}
}

func TestTheGateCountsAConnectionOnce(t *testing.T) {
	g := new(gate.Keeper)
	p := open(t, func(_ *port, o *Options) { o.Gate = g })
	g.Bound(2, nil)
	for range 2 {
		if _, err := p.dial(t, &tls.Config{NextProtos: []string{"h2"}}, ""); err != nil {
			t.Fatal(err)
		}
	}
	first, second := p.want(t, "web"), p.want(t, "web")
	first.Pass.Known()
	second.Pass.Known()
	if g.Reserve() {
		t.Error("there is room for a third")
	}
	first.Pass.Leave()
	if !g.Reserve() {
		t.Error("there is no room for another")
	}
}

func TestWhoIsClosingTakesNothing(t *testing.T) {
	g := new(gate.Keeper)
	p := open(t, func(p *port, o *Options) { p.closed, o.Gate = true, g })
	g.Bound(1, nil)
	c, err := p.dial(t, &tls.Config{NextProtos: []string{"xmpp-client"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	gone(t, c)
	if err := p.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !g.Reserve() {
		t.Error("it is counted still")
	}
}

func TestShutdownClosesWhatIsNobodys(t *testing.T) {
	p := open(t, nil)
	raw, err := net.Dial("tcp", p.at)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	waits, err := p.dial(t, &tls.Config{}, "<")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone(t, raw)
	gone(t, waits)
}

// FuzzFirstBytes has anything come first, in pieces: nothing panics, nothing is lost, and the pieces make no
// difference.
func FuzzFirstBytes(f *testing.F) {
	for _, s := range []string{clientHeader, serverHeader, "GET / HTTP/1.1\r\n", "<!DOCTYPE", "\x16\x03", "PRI * HTTP/2.0\r\n\r\nSM"} {
		f.Add([]byte(s), 3)
	}
	f.Add([]byte(strings.Repeat("A", longestMethod+1)+" /"), 1)
	s := &Server{o: Options{Clients: &Protocol{}, Web: &Protocol{}, Peers: &Protocol{}}}
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		size = max(size%64, 1)
		one, early, err := s.listen(bytes.NewReader(b))
		many, early2, err2 := s.listen(&pieces{b, size})
		if one != many || (err == nil) != (err2 == nil) {
			t.Fatalf("%p, %v at once, %p, %v in pieces of %d", one, err, many, err2, size)
		}
		if !bytes.HasPrefix(b, early) || !bytes.HasPrefix(b, early2) || len(early) > mostHeard {
			t.Fatalf("%q of %q", early, b)
		}
	})
}

type pieces struct {
	b    []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b[:min(p.size, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}
