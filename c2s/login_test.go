package c2s

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/sasl"
)

func TestTwoClientsLogInAndTalk(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	romeo := h.enter("romeo", "orchard")
	defer romeo.close()

	juliet := h.connect(STARTTLS)
	defer juliet.close()
	f := juliet.header()
	if !strings.Contains(f, "<required/>") || strings.Contains(f, "mechanisms") {
		t.Errorf("features before TLS: %s", f)
	}
	juliet.startTLS().header()
	juliet.login("juliet").bind("balcony")
	if juliet.jid != "juliet@example.org/balcony" {
		t.Errorf("bound to %s", juliet.jid)
	}

	romeo.send("<message type='chat' to='juliet@example.org' id='m1'><body>Soft!</body></message>")
	juliet.expect("from='romeo@example.org/orchard'", "id='m1'", "<body>Soft!</body>")
	juliet.send("<message type='chat' to='romeo@example.org/orchard' id='m2'><body>Ay me!</body></message>")
	romeo.expect("from='juliet@example.org/balcony'", "id='m2'")
	romeo.send("</stream:stream>").expect("</end>")
	romeo.expect("EOF")
}

func TestEachMechanismLogsIn(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	for _, m := range []sasl.Mechanism{sasl.ScramSHA256Plus, sasl.ScramSHA256, sasl.ScramSHA1Plus, sasl.ScramSHA1,
		sasl.Plain} {
		c := h.connect(DirectTLS).handshake()
		f := c.header()
		if !strings.Contains(f, ">"+string(m)+"<") || !strings.Contains(f, "type='tls-exporter'") || !strings.Contains(f, "type='tls-server-end-point'") {
			t.Errorf("features: %s", f)
		}
		cred := sasl.Credentials{User: "romeo", Password: password}
		if m.Plus() {
			cs := c.tls.ConnectionState()
			cred.Binding, _ = sasl.Exporter(&cs)
			if m.Hash() == sasl.SHA1 {
				cred.Binding, _ = sasl.ServerEndPoint(cs.PeerCertificates[0])
			}
		}
		if got := c.auth(m, cred); !strings.HasPrefix(got, "<success") {
			t.Errorf("%s: %s", m, got)
		}
		c.close()
	}
}

func TestLoginsThatFailSayWhy(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	ok := sasl.Credentials{User: "romeo", Password: password}
	for _, a := range []struct {
		name string
		m    sasl.Mechanism
		cred sasl.Credentials
		why  string
	}{
		{"wrong password", sasl.ScramSHA256, sasl.Credentials{User: "romeo", Password: "x"}, "not-authorized"},
		{"wrong password in clear", sasl.Plain, sasl.Credentials{User: "romeo", Password: "x"}, "not-authorized"},
		{"unknown user", sasl.ScramSHA1, sasl.Credentials{User: "mercutio", Password: "x"}, "not-authorized"},
		{"unknown user in clear", sasl.Plain, sasl.Credentials{User: "mercutio", Password: "x"}, "not-authorized"},
		{"no name", sasl.ScramSHA1, sasl.Credentials{User: "a b", Password: "x"}, "not-authorized"},
		{"another's authorization", sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password, AuthzID: "juliet@example.org"}, "invalid-authzid"},
		{"another's authorization in clear", sasl.Plain, sasl.Credentials{User: "romeo", Password: password, AuthzID: "juliet@example.org"}, "invalid-authzid"},
		{"authorization at another host", sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password, AuthzID: "romeo@example.com"}, "invalid-authzid"},
		{"authorization for a resource", sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password, AuthzID: "romeo@example.org/x"}, "invalid-authzid"},
		{"channel binding taken from the list", sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password, Binding: sasl.Binding{Type: "tls-exporter", Data: []byte("x")}}, "not-authorized"},
		{"another channel", sasl.ScramSHA1Plus, sasl.Credentials{User: "romeo", Password: password, Binding: sasl.Binding{Type: "tls-exporter", Data: []byte("x")}}, "not-authorized"},
		{"unknown binding", sasl.ScramSHA1Plus, sasl.Credentials{User: "romeo", Password: password, Binding: sasl.Binding{Type: "tls-unique", Data: []byte("x")}}, "not-authorized"},
	} {
		c := h.connect(DirectTLS).handshake()
		c.header()
		if got := c.auth(a.m, a.cred); !strings.Contains(got, "<"+a.why+"/>") {
			t.Errorf("%s: %s", a.name, got)
		}
		if got := c.auth(sasl.ScramSHA256, ok); !strings.HasPrefix(got, "<success") {
			t.Errorf("%s: then %s", a.name, got)
		}
		c.close()
	}
	c := h.connect(DirectTLS).handshake()
	defer c.close()
	c.header()
	if got := c.auth(sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password, AuthzID: "Romeo@example.org"}); !strings.HasPrefix(got, "<success") {
		t.Errorf("own authorization: %s", got)
	}
}

func TestMalformedLoginsSayWhyAndAreNotFailedLogins(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	auth := func(mechanism, text string) string {
		return "<auth xmlns='" + xmpp.NSSASL + "' mechanism='" + mechanism + "'>" + text + "</auth>"
	}
	c := h.connect(DirectTLS).handshake()
	defer c.close()
	c.header()
	c.send(auth("DIGEST-MD5", "")).expect("<failure", "<invalid-mechanism/>")
	c.send(auth("PLAIN", "!!")).expect("<failure", "<incorrect-encoding/>")
	c.send(auth("PLAIN", "=")).expect("<failure", "<malformed-request/>")
	c.send(auth("SCRAM-SHA-1", "")).expect("<challenge")
	c.send("<abort xmlns='"+xmpp.NSSASL+"'/>").expect("<failure", "<aborted/>")
	for range 15 { // four for each login that may fail
		c.send("<response xmlns='"+xmpp.NSSASL+"'/>").expect("<failure", "<malformed-request/>")
	}
	if n := h.Stats.AuthFailures.Load(); n != 0 {
		t.Errorf("%d failed logins", n)
	}
	c.send(auth("DIGEST-MD5", "")).expect("<failure", "<invalid-mechanism/>")
	c.expectError("policy-violation")

	c = h.connect(DirectTLS).handshake()
	defer c.close()
	c.header()
	c.send(auth("PLAIN", "")).expect("<challenge")
	c.send("<response xmlns='" + xmpp.NSSASL + "'>AHJvbWVvAHIwbTMw</response>").expect("<success")
}

func TestGuessingIsSlowedDownForTheAccountAndTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, withoutTLS)
		defer h.close()
		for range 20 {
			c := h.pipe()
			c.header()
			for range 4 {
				if got := c.auth(sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: "x"}); !strings.Contains(got, "<not-authorized/>") {
					t.Fatalf("got %s", got)
				}
			}
			c.close()
		}
		c := h.pipe()
		c.header()
		if got := c.auth(sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password}); !strings.Contains(got, "<not-authorized/>") {
			t.Errorf("the right password among many wrong ones: %s", got)
		}
		c.close()
		time.Sleep(10 * time.Minute)
		c = h.pipe()
		defer c.close()
		c.header()
		c.login("romeo")
	})
}

func TestPasswordsInClearAreForLoopbackAndOnDemand(t *testing.T) {
	h := open(t, func(o *Options) { o.C2S.RequireTLS = false })
	defer h.close()
	c := h.connect(STARTTLS)
	defer c.close()
	if f := c.header(); strings.Contains(f, ">PLAIN<") || strings.Contains(f, "PLUS") || !strings.Contains(f, ">SCRAM-SHA-1<") || strings.Contains(f, "required") {
		t.Errorf("features: %s", f)
	}
	g := open(t, withoutTLS)
	defer g.close()
	d := g.connect(STARTTLS)
	defer d.close()
	if f := d.header(); !strings.Contains(f, ">PLAIN<") {
		t.Errorf("features: %s", f)
	}
	d.auth(sasl.Plain, sasl.Credentials{User: "romeo", Password: password})
	d.header()
	d.bind("x").ping()
}

func TestFeaturesAfterLogin(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.connect(DirectTLS).handshake()
	defer c.close()
	f := c.header()
	if !strings.Contains(f, "<max-bytes>8192</max-bytes>") {
		t.Errorf("before login: %s", f)
	}
	c.auth(sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password})
	f = c.header()
	for _, want := range []string{"<bind ", "<session ", "<optional/>", "<sm ", "<csi ", "<max-bytes>262144</max-bytes>", "<idle-seconds>600</idle-seconds>", "<feature xmlns='urn:test'/>"} {
		if !strings.Contains(f, want) {
			t.Errorf("no %s in %s", want, f)
		}
	}
}

func TestResumedTLSSessionStillBindsTheChannel(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	cache := tls.NewLRUClientSessionCache(1)
	for i := range 2 {
		c := h.connect(DirectTLS)
		c.tls = tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true, ServerName: host, ClientSessionCache: cache})
		c.c = c.tls
		c.header()
		cs := c.tls.ConnectionState()
		if cs.DidResume != (i == 1) {
			t.Errorf("connection %d: resumed %t", i, cs.DidResume)
		}
		b, _ := sasl.ServerEndPoint(cs.PeerCertificates[0])
		got := c.auth(sasl.ScramSHA256Plus, sasl.Credentials{User: "romeo", Password: password, Binding: b})
		if !strings.HasPrefix(got, "<success") {
			t.Errorf("connection %d: %s", i, got)
		}
		c.close()
	}
}

func TestDirectTLSSpeaksOurProtocolOnly(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	a, b := tcpPair(t)
	h.accept(a, DirectTLS)
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true, ServerName: host, NextProtos: []string{"h2"}})
	if err := c.Handshake(); err == nil {
		t.Error("a client of another protocol was let in")
	}
	_ = b.Close()
}

type register struct{ got chan string }

func (register) Offered(h string) (inBand, byToken bool) { return h == host, h == host }

func (r register) Visit(h string, _ accounts.Source) func(context.Context, *xmpp.Stanza) xmpp.Stanza {
	n := 0
	return func(_ context.Context, iq *xmpp.Stanza) xmpp.Stanza {
		n++
		r.got <- fmt.Sprintf("%s %s %d", h, iq.Type, n)
		return iq.Result(nil)
	}
}

func TestRegistrationIsOfferedOverTLSOnly(t *testing.T) {
	r := register{make(chan string, 1)}
	h := open(t, func(o *Options) { o.Register = r })
	defer h.close()
	const query = "<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>"
	const preauth = "<iq type='set' id='p' to='example.org'><preauth xmlns='urn:xmpp:pars:0' token='x'/></iq>"
	c := h.connect(STARTTLS)
	defer c.close()
	if f := c.header(); strings.Contains(f, "iq-register") || strings.Contains(f, "ibr-token") {
		t.Errorf("features: %s", f)
	}
	c.startTLS()
	if f := c.header(); !strings.Contains(f, "iq-register") || !strings.Contains(f, "urn:xmpp:ibr-token:0") {
		t.Errorf("features: %s", f)
	}
	c.send(preauth).expect("type='result'", "id='p'")
	if got := <-r.got; got != "example.org set 1" {
		t.Errorf("asked for %s", got)
	}
	c.send(query).expect("type='result'", "id='r'")
	if got := <-r.got; got != "example.org get 2" { // on the same visit
		t.Errorf("asked for %s", got)
	}
	for _, one := range []string{query, preauth} {
		d := h.connect(STARTTLS)
		defer d.close()
		d.header()
		d.send(one).expectError("not-authorized")
	}
}

// distant is a connection from an address that limits apply to.
type distant struct{ net.Conn }

func (distant) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

func TestConnectionBeyondTheLimitHearsWhy(t *testing.T) {
	h := open(t, func(o *Options) { o.Limits.ConnectBurst = 1 })
	defer h.close()
	for i := range 2 {
		a, b := tcpPair(t)
		h.accept(distant{a}, STARTTLS)
		c := &client{t: t, conn: b, c: b}
		if i == 0 {
			c.header()
		} else {
			c.expect("<header>")
			c.expectError("policy-violation")
		}
		c.close()
	}
	if h.Stats.Refused.Load() != 1 {
		t.Error("not counted")
	}
}

// COMPAT(go-sendxmpp 0.5.6): it ends what it sends with a newline, so that one stands before the XML declaration of the
// next stream.
func TestNewlinesBehindWhatEndsAStreamAreNoData(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.connect(STARTTLS)
	defer c.close()
	c.header()
	c.send("<starttls xmlns='" + xmpp.NSTLS + "'/>\r\n").expect("<proceed")
	c.handshake().header()
	plain := base64.StdEncoding.EncodeToString([]byte("\x00romeo\x00" + password))
	c.send("<auth xmlns='" + xmpp.NSSASL + "' mechanism='PLAIN'>" + plain + "</auth>\n").expect("<success")
	c.send("\n").header()
	c.bind("orchard")

	d := h.connect(STARTTLS)
	defer d.close()
	d.header()
	d.send("<starttls xmlns='" + xmpp.NSTLS + "'/>\n<x/>").expectError("policy-violation")
}

// COMPAT(slixmpp 1.8): four mechanisms that cannot work come before the one that does.
func TestMechanismsThatDoNotSuitLeaveEveryAttemptAndOneLine(t *testing.T) {
	var mu sync.Mutex
	var log strings.Builder
	h := open(t, func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(b)
		}), nil))
	})
	defer h.close()
	lines := func() int {
		mu.Lock()
		defer mu.Unlock()
		return strings.Count(log.String(), "login failed")
	}
	unfit := sasl.Credentials{User: "romeo", Password: password, Binding: sasl.Binding{Type: "tls-unique", Data: []byte("x")}}
	c := h.connect(DirectTLS).handshake()
	c.header()
	for range 4 {
		c.auth(sasl.ScramSHA256Plus, unfit)
	}
	for range 4 { // the fifth would end the stream
		if got := c.auth(sasl.Plain, sasl.Credentials{User: "romeo", Password: "x"}); !strings.Contains(got, "<not-authorized/>") {
			t.Fatal(got)
		}
	}
	if got := c.auth(sasl.Plain, sasl.Credentials{User: "romeo", Password: password}); !strings.HasPrefix(got, "<success") {
		t.Errorf("then %s", got)
	}
	c.close()
	eventually(t, "one line for each wrong password", func() bool { return h.Stats.Connections.Load() == 0 && lines() == 4 })
	c = h.connect(DirectTLS).handshake()
	c.header()
	for range 4 {
		c.auth(sasl.ScramSHA256Plus, unfit)
	}
	c.close()
	eventually(t, "one line for no login at all", func() bool { return h.Stats.Connections.Load() == 0 && lines() == 5 })
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
