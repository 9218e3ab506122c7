package c2s

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/sasl"
)

const openPlain = "<stream:stream xmlns='jabber:client' xmlns:stream='" + xmpp.NSStream + "'"

// TestHeadersThatAreRefused has a case for each condition of RFC 6120 §4.9.3 that a stream header can earn.
func TestHeadersThatAreRefused(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	for _, c := range []struct{ sent, condition string }{
		{openPlain + " to='example.org' version='1.0'/>", "bad-format"},
		{"<stream:streams xmlns='jabber:client' xmlns:stream='" + xmpp.NSStream + "' to='example.org' version='1.0'>", "bad-format"},
		{"<stream:stream xmlns='jabber:server' xmlns:stream='" + xmpp.NSStream + "' to='example.org' version='1.0'>", "invalid-namespace"},
		{"<stream:stream xmlns='jabber:client' xmlns:stream='urn:other' to='example.org' version='1.0'>", "invalid-namespace"},
		{openPlain + " to='elsewhere.example' version='1.0'>", "host-unknown"},
		{openPlain + " to='a@b@c' version='1.0'>", "improper-addressing"},
		{openPlain + " to='romeo@example.org' version='1.0'>", "improper-addressing"},
		{openPlain + " version='1.0'>", "improper-addressing"},
		{openPlain + " to='example.org' from='@' version='1.0'>", "invalid-from"},
		{openPlain + " to='example.org'>", "unsupported-version"},
		{openPlain + " to='example.org' version='0.9'>", "unsupported-version"},
		{openPlain + " to='example.org' version='1'>", "unsupported-version"},
		{openPlain + " to='example.org' to='example.org'>", "not-well-formed"},
		{"GET / HTTP/1.1\r\n\r\n", "not-well-formed"},
		{"<?xml version='1.0' encoding='iso-8859-1'?>" + openPlain + ">", "unsupported-encoding"},
		{"\xfe\xff\x00<", "unsupported-encoding"},
		{"<!DOCTYPE a [<!ENTITY b 'c'>]>", "restricted-xml"},
		{openPlain + " to='&lol;'>", "restricted-xml"},
		{openPlain + " to='" + strings.Repeat("a", 9000), "policy-violation"},
	} {
		cl := h.connect(STARTTLS)
		cl.send(c.sent)
		if got := cl.read(); got != "<header>" {
			t.Errorf("%.60q: first came %s", c.sent, got)
		}
		cl.expectError(c.condition)
		cl.expect("EOF")
		cl.close()
	}
}

func TestHigherMinorVersionIsSpokenTo(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.connect(STARTTLS)
	defer c.close()
	c.send(openPlain + " to='Example.ORG' version='1.7' xml:lang='de'>")
	c.expect("<header>")
	if s := c.scan.Header(); s.Version != "1.0" || s.Lang != "en" || s.From.String() != host || len(s.ID) < 22 {
		t.Errorf("header: %+v", s)
	}
	c.expect("<starttls")
}

// attacks are inputs, each with the stream error it earns. Before is how far the attacker has come.
var attacks = []struct {
	name      string
	before    string // "", "tls", "auth", "bound"
	sent      string
	condition string
}{
	{"entity bomb in a stanza", "bound", "<message><body>&lol9;</body></message>", "restricted-xml"},
	{"document type inside the stream", "bound", "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><message/>", "restricted-xml"},
	{"comment", "bound", "<!-- x --><message/>", "restricted-xml"},
	{"processing instruction", "bound", "<?php x ?><message/>", "restricted-xml"},
	{"giant stanza before authentication", "tls", "<iq type='get' id='1'><query xmlns='jabber:iq:auth'>" + strings.Repeat("x", 9<<10), "policy-violation"},
	{"giant stanza", "bound", "<message to='juliet@example.org' id='big'><body>" + strings.Repeat("x", 257<<10), "policy-violation"},
	{"many small elements before authentication", "tls", "<iq id='1' type='get'>" + strings.Repeat("<a/>", 40), "policy-violation"},
	{"a flood before authentication", "tls", strings.Repeat("<enable xmlns='urn:xmpp:sm:3'>"+strings.Repeat(" ", 4000)+"</enable>", 20), "policy-violation"},
	{"stream in a stream", "bound", openPlain + " to='example.org' version='1.0'>", "bad-format"},
	{"a hundred thousand open tags", "bound", strings.Repeat("<a>", 100000), "policy-violation"},
	{"attribute flood", "bound", "<message" + flood(100) + "/>", "policy-violation"},
	{"element flood", "bound", "<message>" + strings.Repeat("<a/>", 5000) + "</message>", "policy-violation"},
	{"namespace flood", "bound", "<message" + strings.ReplaceAll(flood(70), " a", " xmlns:a") + "/>", "policy-violation"},
	{"undeclared prefix", "bound", "<message><a:b/></message>", "not-well-formed"},
	{"crossed tags", "bound", "<message><body></message></body>", "not-well-formed"},
	{"overlong UTF-8", "bound", "<message><body>\xc0\xaf</body></message>", "unsupported-encoding"},
	{"text between stanzas", "bound", "hello", "bad-format"},
	{"spoofed sender", "bound", "<message from='juliet@example.org' to='juliet@example.org' id='x'/>", "invalid-from"},
	{"spoofed resource", "bound", "<message from='romeo@example.org/other' to='juliet@example.org' id='x'/>", "invalid-from"},
	{"sender that is no address", "bound", "<message from='@@' to='juliet@example.org' id='x'/>", "invalid-from"},
	{"SASL after success", "bound", "<auth xmlns='" + xmpp.NSSASL + "' mechanism='PLAIN'>AGEAYg==</auth>", "unsupported-stanza-type"},
	{"STARTTLS after login", "bound", "<starttls xmlns='" + xmpp.NSTLS + "'/>", "unsupported-stanza-type"},
	{"unknown element", "bound", "<foo xmlns='urn:x'/>", "unsupported-stanza-type"},
	{"stanza of another namespace", "bound", "<message xmlns='jabber:server' to='juliet@example.org'/>", "unsupported-stanza-type"},
	{"stanza before TLS", "", "<message to='juliet@example.org' id='x'><body>x</body></message>", "not-authorized"},
	{"stanza before authentication", "tls", "<message to='juliet@example.org' id='x'><body>x</body></message>", "not-authorized"},
	{"stanza before bind", "auth", "<message to='juliet@example.org' id='x'><body>x</body></message>", "not-authorized"},
	{"SASL twice", "auth", "<auth xmlns='" + xmpp.NSSASL + "' mechanism='PLAIN'>AGEAYg==</auth>", "unsupported-stanza-type"},
	{"handled count that is no number", "managed", "<a xmlns='urn:xmpp:sm:3' h='-1'/>", "bad-format"},
	{"handled count beyond 32 bits", "managed", "<a xmlns='urn:xmpp:sm:3' h='4294967296'/>", "bad-format"},
	{"handled count beyond what was sent", "managed", "<a xmlns='urn:xmpp:sm:3' h='4294967295'/>", "undefined-condition"},
}

func flood(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " a%d='x'", i)
	}
	return b.String()
}

func TestAttacksEndTheStreamAndNothingElse(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			h.t = t
			c := h.connect(STARTTLS)
			defer c.close()
			c.header()
			if a.before != "" {
				c.startTLS().header()
			}
			if a.before == "auth" || a.before == "bound" || a.before == "managed" {
				c.login("romeo")
			}
			if a.before == "bound" || a.before == "managed" {
				c.bind("evil")
			}
			if a.before == "managed" {
				c.manage()
			}
			before := len(h.list(&h.routed))
			c.try(a.sent)
			c.expectError(a.condition)
			if got := h.list(&h.routed)[before:]; len(got) != 0 {
				t.Errorf("routed: %v", got)
			}
			c.expect("EOF")
		})
	}
	h.t = t
	alive := h.enter("juliet", "balcony")
	defer alive.close()
	alive.ping()
}

func TestBytesInjectedBehindStartTLSAreNotUsed(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.connect(STARTTLS)
	defer c.close()
	c.header()
	plain := base64.StdEncoding.EncodeToString([]byte("\x00romeo\x00" + password))
	c.send("<starttls xmlns='" + xmpp.NSTLS + "'/><auth xmlns='" + xmpp.NSSASL + "' mechanism='PLAIN'>" + plain + "</auth>")
	c.expectError("policy-violation")
	if h.Stats.Logins.Load() != 0 {
		t.Error("the injected login counted")
	}
}

func TestStartTLSIsOfferedOnce(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.connect(STARTTLS)
	defer c.close()
	c.header()
	c.startTLS()
	if f := c.header(); strings.Contains(f, "<starttls") {
		t.Errorf("features: %s", f)
	}
	c.send("<starttls xmlns='"+xmpp.NSTLS+"'/>").expect("<failure", xmpp.NSTLS)
	c.expect("</end>")
	c.expect("EOF")
}

func TestNoLoginWithoutTLS(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.connect(STARTTLS)
	defer c.close()
	c.header()
	for _, m := range []sasl.Mechanism{sasl.Plain, sasl.ScramSHA1} {
		if got := c.auth(m, sasl.Credentials{User: "romeo", Password: password}); !strings.Contains(got, "<encryption-required") {
			t.Errorf("%s: %s", m, got)
		}
	}
}

func TestStreamDoesNotChangeItsHost(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	h.router.SetHosts([]string{host, "other.example"})
	c := h.connect(DirectTLS).handshake()
	defer c.close()
	c.header()
	c.auth(sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password})
	c.scan.Reset()
	c.send(strings.Replace(header, host, "other.example", 1)).expectError("host-unknown")
}

func TestHeaderAfterLoginNamesTheUserOrNobody(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.connect(DirectTLS).handshake()
	defer c.close()
	c.header()
	c.auth(sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password})
	c.scan.Reset()
	c.send(strings.Replace(header, " to=", " from='juliet@example.org' to=", 1)).expectError("invalid-from")
}

func TestSecondBindIsRefused(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("romeo", "orchard")
	defer c.close()
	c.send("<iq type='set' id='b2'><bind xmlns='"+xmpp.NSBind+"'/></iq>").expect("type='error'", "id='b2'", "<not-allowed")
	c.send("<iq type='set' id='s'><session xmlns='"+xmpp.NSSession+"'/></iq>").expect("type='result'", "id='s'")
	if n := h.router.SessionCount(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

func TestUnfitStanzasAreAnswered(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("romeo", "orchard")
	defer c.close()
	for _, x := range []struct{ sent, condition string }{
		{"<iq type='get' to='juliet@example.org/balcony'><query xmlns='urn:test'/></iq>", "bad-request"},
		{"<iq type='get' id='1'/>", "bad-request"},
		{"<iq type='set' id='1'><query xmlns='urn:test'/><query xmlns='urn:test'/></iq>", "bad-request"},
		{"<iq type='foo' id='1'><query xmlns='urn:test'/></iq>", "bad-request"},
		{"<iq id='1'><query xmlns='urn:test'/></iq>", "bad-request"},
		{"<presence type='foo' id='1'/>", "bad-request"},
		{"<message to='a@b@c' id='1'/>", "jid-malformed"},
		{"<presence to='r@example.org/a\u202eb' id='1'/>",
			"jid-malformed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" +
				"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>'to' is no address"},
		{"<iq to='@' type='get' id='1'><query xmlns='urn:test'/></iq>", "jid-malformed"},
		{"<iq to='example.org' type='get' id='1'><query xmlns='urn:nobody'/></iq>", "service-unavailable"},
	} {
		c.send(x.sent).expect("type='error'", "<"+x.condition)
	}
	c.send("<iq type='result' id='1' to='a@b@c'/><message type='error' to='a@b@c'/>").ping() // no answers to answers
	if got := h.list(&h.routed); strings.Join(got, " ") != "1 sync" {
		t.Errorf("routed: %v", got)
	}
}

func TestBindGivesAndPreparesResources(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.connect(DirectTLS).handshake()
	defer c.close()
	c.header()
	f := c.login("romeo")
	f.send("<iq type='get' id='1'><bind xmlns='"+xmpp.NSBind+"'/></iq>").expect("type='error'", "<bad-request")
	g := h.connect(DirectTLS).handshake() // RFC 6120 §7.7.1: one that cannot be is replaced
	defer g.close()
	g.header()
	g.login("juliet")
	g.send("<iq type='set' id='2'><bind xmlns='"+xmpp.NSBind+"'><resource>a\u0085b</resource></bind></iq>").expect("type='result'", "<jid>juliet@example.org/")
	f.send("<iq type='set' id='3'><bind xmlns='" + xmpp.NSBind + "'/></iq>")
	got := f.expect("type='result'", "<jid>romeo@example.org/")
	if i := strings.Index(got, "org/"); len(got[i:strings.Index(got, "</jid>")]) != len("org/")+22 {
		t.Errorf("resource in %s", got)
	}
	other := h.enter("romeo", "orchard")
	defer other.close()
	again := h.enter("romeo", "orchard")
	defer again.close()
	other.expectError("conflict")
	again.ping()
}

func TestTooManyResourcesAreRefused(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	for i := range 20 {
		c := h.enter("romeo", fmt.Sprint(i))
		defer c.close()
	}
	c := h.connect(DirectTLS).handshake()
	defer c.close()
	c.header()
	c.login("romeo").send("<iq type='set' id='3'><bind xmlns='"+xmpp.NSBind+"'/></iq>").expect("type='error'", "<resource-constraint")
}

func TestSlowlorisIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, nil)
		defer h.close()
		c := h.pipe()
		defer c.close()
		began := time.Now()
		for i := 0; ; i++ {
			if _, err := c.conn.Write([]byte(header[i%20 : i%20+1])); err != nil {
				break
			}
			time.Sleep(time.Second)
			if i == 15 { // let it begin anew as white space
				i = -1
			}
			if time.Since(began) > time.Minute {
				t.Fatal("it goes on for ever")
			}
		}
		if d := time.Since(began); d < 10*time.Second || d > 35*time.Second {
			t.Errorf("cut off after %s", d)
		}
		eventually(t, "nothing is left of it", func() bool { return h.Stats.Connections.Load() == 0 })
	})
}

func TestSilentConnectionIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, nil)
		defer h.close()
		began := time.Now()
		c := h.pipe()
		defer c.close()
		for range c.in {
			continue
		}
		if d := time.Since(began); d < 29*time.Second || d > 35*time.Second {
			t.Errorf("cut off after %s", d)
		}
	})
}

func TestHalfAnInputIsNeverUsed(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("romeo", "orchard")
	c.send("<message to='juliet@example.org' id='half'><body>x</body></message")
	c.close()
	eventually(t, "the session is gone", func() bool { return h.router.SessionCount() == 0 })
	if got := h.list(&h.routed); len(got) != 0 {
		t.Errorf("routed: %v", got)
	}
}

func TestLargestStanzaPasses(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	romeo, juliet := h.enter("romeo", "orchard"), h.enter("juliet", "balcony")
	defer romeo.close()
	defer juliet.close()
	body := bytes.Repeat([]byte("x"), 250<<10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, part := range [][]byte{[]byte("<message to='juliet@example.org' id='big'><body>"), body, []byte("</body></message>")} {
			if _, err := io.Copy(romeo.c, bytes.NewReader(part)); err != nil {
				t.Error(err)
			}
		}
	}()
	if got := juliet.expect("id='big'"); len(got) < len(body) {
		t.Errorf("%d bytes arrived", len(got))
	}
	<-done
}
