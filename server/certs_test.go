package server

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"jackdaw/config"
)

func certConfig(t *testing.T, domains ...string) *config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Hosts = nil
	for _, d := range domains {
		cfg.Hosts = append(cfg.Hosts, config.Host{Domain: d})
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func mustStore(t *testing.T, cfg *config.Config) *CertStore {
	t.Helper()
	s, err := NewCertStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// handshake returns both ends' view, and ends the connections.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		raw, err := l.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		c := tls.Server(raw, server)
		if c.Handshake() == nil {
			c.Write([]byte("x")) // carries the session ticket of TLS 1.3 along
			c.Read(make([]byte, 1))
		}
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, client)
	err = c.Handshake()
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	state := c.ConnectionState()
	c.Close()
	<-served
	return state, err
}

func trusting(certs ...*tls.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c.Leaf)
	}
	return pool
}

func TestEachHostShowsItsOwnCertificateBySNI(t *testing.T) {
	s := mustStore(t, certConfig(t, "one.example", "bücher.example", "192.0.2.7"))
	pool := trusting(s.Certificate("one.example"), s.Certificate("bücher.example"))
	for _, name := range []string{"one.example", "xn--bcher-kva.example"} {
		state, err := handshake(t, s.TLSConfig(), &tls.Config{ServerName: name, RootCAs: pool})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if state.Version != tls.VersionTLS13 {
			t.Errorf("%s: version %x", name, state.Version)
		}
	}
	if err := s.Certificate("192.0.2.7").Leaf.VerifyHostname("192.0.2.7"); err != nil {
		t.Error(err)
	}
}

func TestWithoutSNIOrForAStrangerItIsTheFirstHostsCertificate(t *testing.T) {
	s := mustStore(t, certConfig(t, "one.example", "two.example"))
	for sni, want := range map[string]string{
		"": "one.example", "stranger.example": "one.example", "two.example": "two.example", "TWO.example": "two.example",
		"rooms.two.example": "two.example", "rooms.stranger.example": "one.example",
	} {
		state, err := handshake(t, s.TLSConfig(), &tls.Config{ServerName: sni, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := state.PeerCertificates[0].DNSNames[0]; got != want {
			t.Errorf("SNI %q: got %s, want %s", sni, got, want)
		}
	}
}

func TestSelfSignedCertificateStaysOverARestartAndIsPrivate(t *testing.T) {
	cfg := certConfig(t, "localhost")
	first := mustStore(t, cfg).Certificate("localhost")
	again := mustStore(t, cfg).Certificate("localhost")
	if !first.Leaf.Equal(again.Leaf) {
		t.Error("the second start made another certificate")
	}
	path := filepath.Join(cfg.Data, "certs", "localhost.pem")
	for p, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700, cfg.Data: 0o700} {
		if st, err := os.Stat(p); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", p, st.Mode(), err)
		}
	}
}

func TestSelfSignedCertificateIsRenewedBeforeItExpires(t *testing.T) {
	cfg := certConfig(t, "localhost")
	first := mustStore(t, cfg).Certificate("localhost")
	for _, tt := range []struct {
		left    time.Duration
		renewed bool
	}{{2 * renewBefore, false}, {renewBefore / 2, true}, {-time.Hour, true}} {
		now := func() time.Time { return first.Leaf.NotAfter.Add(-tt.left) }
		s, err := newCertStore(cfg, now)
		if err != nil {
			t.Fatal(err)
		}
		got := s.Certificate("localhost")
		if got.Leaf.Equal(first.Leaf) == tt.renewed {
			t.Errorf("%s before its end: renewed is %v", tt.left, !tt.renewed)
		}
		if !now().Before(got.Leaf.NotAfter) {
			t.Errorf("%s before its end: an expired certificate is shown", tt.left)
		}
		first = got
	}
}

func TestReloadTakesNewFilesAndLeavesStreamsAlone(t *testing.T) {
	from := certConfig(t, "im.example")
	mustStore(t, from)
	made := filepath.Join(from.Data, "certs", "im.example.pem")
	shown := filepath.Join(t.TempDir(), "im.pem")
	install := func() {
		t.Helper()
		b, err := os.ReadFile(made)
		if err == nil {
			err = os.WriteFile(shown, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	install()
	cfg := certConfig(t, "im.example")
	cfg.Hosts[0].Cert, cfg.Hosts[0].Key = shown, shown
	s := mustStore(t, cfg)
	server := s.TLSConfig()
	before := s.Certificate("im.example")

	near, far := net.Pipe()
	echoed := make(chan error, 1)
	go func() {
		c := tls.Server(far, server)
		b := make([]byte, 1)
		for range 2 {
			if _, err := c.Read(b); err != nil {
				echoed <- err
				return
			}
			c.Write(b)
		}
		echoed <- nil
	}()
	c := tls.Client(near, &tls.Config{ServerName: "im.example", RootCAs: trusting(before)})
	echo := func() {
		t.Helper()
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	echo()

	if err := os.Remove(made); err != nil {
		t.Fatal(err)
	}
	mustStore(t, from) // makes another
	install()
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	echo()
	if err := <-echoed; err != nil {
		t.Error(err)
	}
	near.Close()
	far.Close()

	after := s.Certificate("im.example")
	if after.Leaf.Equal(before.Leaf) {
		t.Fatal("the old certificate is still shown")
	}
	if _, err := handshake(t, server, &tls.Config{ServerName: "im.example", RootCAs: trusting(after)}); err != nil {
		t.Error(err)
	}
}

func TestReloadWithABrokenFileKeepsTheOldCertificate(t *testing.T) {
	cfg := certConfig(t, "im.example")
	s := mustStore(t, cfg)
	before := s.Certificate("im.example")
	broken := filepath.Join(t.TempDir(), "broken.pem")
	if err := os.WriteFile(broken, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	next := *cfg
	next.Hosts = []config.Host{{Domain: "im.example", Cert: broken, Key: broken}}
	if err := s.Reload(&next); err == nil {
		t.Error("a broken file was accepted")
	}
	if s.Certificate("im.example") != before {
		t.Error("the old certificate is gone")
	}
}

func TestOldTLSAndForeignProtocolsAreRefused(t *testing.T) {
	s := mustStore(t, certConfig(t, "localhost"))
	for name, client := range map[string]*tls.Config{
		"TLS 1.1":   {MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10},
		"CBC suite": {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}},
		"ALPN":      {NextProtos: []string{"h2"}},
	} {
		client.InsecureSkipVerify = true
		if state, err := handshake(t, s.TLSConfig("xmpp-client"), client); err == nil {
			t.Errorf("%s: accepted, version %x", name, state.Version)
		}
	}
	state, err := handshake(t, s.TLSConfig("xmpp-client"), &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"xmpp-client"}, MaxVersion: tls.VersionTLS12})
	if err != nil || state.NegotiatedProtocol != "xmpp-client" {
		t.Errorf("TLS 1.2 with xmpp-client: %q, %v", state.NegotiatedProtocol, err)
	}
}

func TestSessionsAreResumedWithTickets(t *testing.T) {
	s := mustStore(t, certConfig(t, "localhost"))
	server := s.TLSConfig()
	client := &tls.Config{
		ServerName: "localhost", RootCAs: trusting(s.Certificate("localhost")),
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	for i, want := range []bool{false, true} {
		state, err := handshake(t, server, client)
		if err != nil {
			t.Fatal(err)
		}
		if state.DidResume != want {
			t.Errorf("handshake %d: resumed is %v", i+1, state.DidResume)
		}
	}
}
