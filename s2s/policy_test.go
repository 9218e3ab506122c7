package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/s2s/lookup"
	"jackdaw/s2s/outbox"
	"jackdaw/xmpp"
)

func TestKeysAreThoseOfTheSpecification(t *testing.T) {
	// XEP-0185 §3
	const hashed = "a7136eb1f46c9ef18c5e78c36ca257067c69b3d518285f0b18a96c33beae9acc"
	if got := dialbackKey(hashed, "xmpp.example.com", "example.org", "D60000229F"); got != "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643" {
		t.Errorf("the key is %s", got)
	}
}

func TestNodesOfOneStoreConfirmEachOthersKeys(t *testing.T) {
	w := newWorld(t)
	store := newStore()
	shared := func(o *Options) { o.Store = store }
	a, b := w.node(setup{domains: []string{capulet}, options: shared}),
		w.node(setup{domains: []string{capulet}, options: shared})
	other := w.node(setup{domains: []string{verona}})
	if k := a.key(montague, capulet, "1"); k != b.key(montague, capulet, "1") || k == other.key(montague, capulet, "1") ||
		len(k) != 64 {
		t.Errorf("the keys are %s, %s and %s", k, b.key(montague, capulet, "1"), other.key(montague, capulet, "1"))
	}
	if err := store.damage(); err != nil {
		t.Fatal(err)
	}
	if err := a.loadSecret(t.Context()); err == nil {
		t.Error("a secret of another version was taken")
	}
}

func TestReloadHoldsForStreamsThatAreThere(t *testing.T) {
	w, b, cert := victim(t)
	_ = w
	s := b.call()
	s.prove(capulet, montague, cert)
	s.say(spoken("juliet@"+capulet, romeo, "1"))
	b.expect("juliet@"+capulet, romeo, "1")
	changed := *b.settings()
	changed.S2S.Deny = []string{capulet}
	b.change(&changed)
	s.say(spoken("juliet@"+capulet, romeo, "2"))
	s.expectOver("policy-violation")
	b.quiet()
}

func TestPanicEndsThatStreamOnly(t *testing.T) {
	w := newWorld(t)
	b := w.node(setup{domains: []string{montague}, pendings: func(e *router.Envelope) {
		if e.Stanza.ID == "boom" {
			panic("boom")
		}
	}})
	s, other := b.call(), b.call()
	s.prove(capulet, montague, w.certificate(capulet))
	other.prove(verona, montague, w.certificate(verona))
	s.say(spoken("juliet@"+capulet, romeo, "boom"))
	s.expectOver("internal-server-error")
	other.say(spoken("escalus@"+verona, romeo, "1"))
	b.expect("escalus@"+verona, romeo, "1")
	if got := b.Stats.Panics.Swap(0); got != 1 {
		t.Errorf("%d panics were counted", got)
	}
}

func TestStanzaThatIsTooLargeEndsTheStream(t *testing.T) {
	w := newWorld(t)
	b := w.node(setup{domains: []string{montague}, change: func(c *config.Config) { c.Limits.ServerStanzaBytes = 10000 }})
	s := b.call()
	if f := s.prove(capulet, montague, w.certificate(capulet)); !strings.Contains(f, "<max-bytes>10000</max-bytes>") {
		t.Errorf("the limit is not announced: %s", f)
	}
	s.say(strings.Replace(spoken("juliet@"+capulet, romeo, "1"), "Wherefore?", strings.Repeat("x", 9000), 1))
	b.expect("juliet@"+capulet, romeo, "1")
	s.say(strings.Replace(spoken("juliet@"+capulet, romeo, "2"), "Wherefore?", strings.Repeat("x", 10000), 1))
	s.expectOver("policy-violation")
}

// far makes connections that come from elsewhere.
type far struct{ net.Listener }

type farConn struct{ net.Conn }

func (f far) Accept() (net.Conn, error) {
	c, err := f.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return farConn{c}, nil
}

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

func TestConnectionsOfAnAddressAreCounted(t *testing.T) {
	w := newWorld(t)
	b := w.node(setup{domains: []string{montague}, change: func(c *config.Config) {
		c.Limits.UnauthenticatedPerAddress, c.Limits.ConnectionsPerAddress = 1, 2
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(far{l}, STARTTLS) }()
	b.addr = l.Addr().String()
	first := b.call()
	first.encrypt(capulet, montague, w.certificate(capulet))
	second := b.call()
	second.expect("header")
	second.expectOver("policy-violation")
	first.logIn(capulet, montague)
	third := b.call()
	third.prove(verona, montague, w.certificate(verona))
	fourth := b.call()
	fourth.expect("header")
	fourth.expectOver("policy-violation")
	_ = third.conn.Close() // makes room
	until(t, "there is room", func() bool { return len(b.Links()) == 1 })
	until(t, "it is counted", func() bool {
		s := b.call()
		defer s.conn.Close()
		s.header(capulet, montague)
		s.expect("header")
		return strings.Contains(s.hear(), "features")
	})
	if b.Stats.Refused.Load() < 2 {
		t.Errorf("%d were refused", b.Stats.Refused.Load())
	}
	_ = l.Close() // ends Serve
	if err := <-served; err == nil {
		t.Error("Serve says nothing of a listener that was closed")
	}
}

// hello is what a node says first in TLS to a server of that domain.
func hello(t *testing.T, domain string, direct bool) *tls.ClientHelloInfo {
	w := newWorld(t)
	a := w.node(setup{domains: []string{capulet}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w.mu.Lock()
	w.places[domain] = []place{{l.Addr().String(), direct}}
	w.mu.Unlock()
	o := a.opening(domain)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !direct {
		s := newStranger(t, c)
		s.welcome(domain, capulet, "1", starttlsFeature)
		s.expect("starttls")
		s.say("<proceed xmlns='" + xmpp.NSTLS + "'/>")
	}
	var got *tls.ClientHelloInfo
	hear := func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		got = h
		return nil, net.ErrClosed // that was enough
	}
	_ = tls.Server(c, &tls.Config{GetConfigForClient: hear}).Handshake()
	_ = c.Close() // that is all
	o.fails(t, "TLS could not be negotiated")
	return got
}

func TestTLSNamesTheDomain(t *testing.T) {
	for domain, want := range map[string]string{montague: montague, "bücher.example": "xn--bcher-kva.example"} {
		for _, direct := range []bool{false, true} {
			h := hello(t, domain, direct)
			if h.ServerName != want {
				t.Errorf("%s: SNI is %q", domain, h.ServerName)
			}
			if alpn := strings.Join(h.SupportedProtos, " "); direct && alpn != "xmpp-server" || !direct && alpn != "" {
				t.Errorf("%s: ALPN is %q", domain, alpn)
			}
			for _, v := range h.SupportedVersions {
				if v < tls.VersionTLS12 {
					t.Errorf("%s: %s is offered", domain, tls.VersionName(v))
				}
			}
		}
	}
}

func TestOldTLSAndTicketsAreRefused(t *testing.T) {
	w, b, cert := victim(t)
	s := b.call()
	s.introduce(capulet, montague)
	s.say("<starttls xmlns='" + xmpp.NSTLS + "'/>")
	s.expect("proceed")
	if err := tls.Client(s.conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10,
		MaxVersion: tls.VersionTLS11}).Handshake(); err == nil {
		t.Error("TLS 1.1 was agreed on")
	}
	direct := w.node(setup{domains: []string{verona}, direct: true})
	c := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: verona,
		Certificates: []tls.Certificate{*cert},
		NextProtos:   []string{"xmpp-server"}}
	for range 2 {
		s := direct.call()
		t2 := tls.Client(s.conn, c)
		if err := t2.Handshake(); err != nil {
			t.Fatal(err)
		}
		s.conn = t2
		s.introduce(capulet, verona) // a ticket would have come by now
		if t2.ConnectionState().DidResume {
			t.Error("a session was resumed")
		}
	}
}

func TestSilentTargetDoesNotKeepUsFromTheNext(t *testing.T) {
	w := newWorld(t)
	w.stage(montague) // it accepts, and that is all
	a := w.node(setup{domains: []string{capulet}})
	w.mu.Lock()
	silent := w.places[montague]
	w.mu.Unlock()
	b := w.node(setup{domains: []string{montague}})
	w.mu.Lock()
	w.places[montague] = append(silent, place{b.addr, false})
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second) // the silent one has half of it
	defer cancel()
	if _, err := a.Open(ctx, outbox.Pair{Local: capulet, Remote: montague}, func(int) {}); err != nil {
		t.Error(err)
	}
}

func TestFailuresSayEverythingOnce(t *testing.T) {
	s := newWorld(t).node(setup{domains: []string{capulet}}).Server
	for want, err := range map[string]error{
		"the connection was refused by all addresses: dial tcp 192.0.2.1:5269: connection refused": &lookup.Error{Reason: lookup.Refused,
			Domain: montague, Err: errors.New("dial tcp 192.0.2.1:5269: connection refused")},
		"the name was not found":                                &lookup.Error{Reason: lookup.NameNotFound, Domain: montague},
		"authentication was refused":                            errRefused,
		"the server closed the stream":                          errClosed,
		"the server closed the stream: conflict":                &remoteError{condition: "conflict"},
		"the server closed the stream: conflict: you are not x": &remoteError{condition: "conflict", text: "you are not x"},
	} {
		if got := s.failure(err).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
