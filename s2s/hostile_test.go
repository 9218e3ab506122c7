package s2s

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/s2s/outbox"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

const verona = "verona.example"

// victim is a node at which a peer with a certificate of its own can call.
func victim(t *testing.T) (*world, *node, *tls.Certificate) {
	w := newWorld(t)
	return w, w.node(setup{domains: []string{montague}}), w.certificate(capulet)
}

func spoken(from, to, id string) string { return string(message(from, to, id)) }

// quiet makes sure that no message has come.
func (n *node) quiet() {
	n.t.Helper()
	if len(n.got) > 0 {
		n.t.Fatalf("a message came: %s", <-n.got)
	}
}

func TestStanzasBeforeAuthenticationEndTheStream(t *testing.T) {
	_, b, _ := victim(t)
	s := b.call()
	s.encrypt(capulet, montague, nil)
	s.say(spoken("juliet@"+capulet, romeo, "1"))
	s.expectOver("not-authorized")
	b.quiet()
}

func TestUnsolicitedDialbackAnswersProveNothing(t *testing.T) {
	_, b, _ := victim(t)
	s := b.call()
	s.encrypt(capulet, montague, nil)
	for _, answer := range []string{
		"<db:result from='" + capulet + "' to='" + montague + "' type='valid'/>",
		"<db:result from='" + montague + "' to='" + capulet + "' type='valid'/>",
		"<db:verify from='" + capulet + "' to='" + montague + "' id='" + s.id + "' type='valid'/>",
		"<db:verify from='" + montague + "' to='" + capulet + "' id='" + s.id + "' type='valid'/>",
		"<db:verify from='" + capulet + "' to='" + montague + "' type='error'/>",
	} {
		s.say(answer)
	}
	s.say(spoken("juliet@"+capulet, romeo, "1"))
	s.expectOver("not-authorized")
	b.quiet()
	if got := b.Stats.Unsolicited.Load(); got != 5 {
		t.Errorf("%d answers were counted", got)
	}
}

func TestSplicedKeysAreInvalid(t *testing.T) {
	w, b, _ := victim(t)
	a := w.node(setup{domains: []string{capulet}})
	for name, key := range map[string]func(id string) string{
		"of another stream":           func(string) string { return a.key(montague, capulet, "another") },
		"of another pair":             func(id string) string { return a.key(verona, capulet, id) },
		"the wrong way round":         func(id string) string { return a.key(capulet, montague, id) },
		"of a server with that name":  func(id string) string { return dialbackKey("guess", montague, capulet, id) },
		"of the receiver, as it were": func(id string) string { return b.key(montague, capulet, id) },
	} {
		s := b.call()
		s.encrypt(capulet, montague, nil)
		s.say("<db:result from='" + capulet + "' to='" + montague + "'>" + key(s.id) + "</db:result>")
		s.expect("result", "type='invalid'")
		s.expect("end")
		if got := b.Stats.KeysForged.Swap(0); got != 1 {
			t.Errorf("a key %s: counted %d times", name, got)
		}
	}
	b.quiet()
}

func TestKeyOfTheRightStreamIsTaken(t *testing.T) {
	w, b, _ := victim(t)
	a := w.node(setup{domains: []string{capulet}})
	s := b.call()
	s.encrypt(capulet, montague, nil)
	claim := "<db:result from='" + capulet + "' to='" + montague + "'>" + a.key(montague, capulet, s.id) + "</db:result>"
	s.say(claim)
	s.expect("result", "type='valid'")
	s.say(spoken("juliet@"+capulet, romeo, "1"))
	b.expect("juliet@"+capulet, romeo, "1")
	s.say(claim) // once more: it has been proved
	s.expect("result", "type='valid'")
	// A bad key for another domain does not end what is good.
	w.node(setup{domains: []string{verona}})
	s.say("<db:result from='" + verona + "' to='" + montague + "'>0123</db:result>")
	s.expect("result", "type='error'", "forbidden")
	s.say(spoken("escalus@"+verona, romeo, "2"))
	s.expectOver("invalid-from")
	b.quiet()
}

func TestStanzasInTheNameOfAnotherDomainEndTheStream(t *testing.T) {
	for _, c := range []struct{ name, from, to, condition string }{
		{"another domain", "escalus@" + verona, romeo, "invalid-from"},
		{"a subdomain", "nurse@rooms." + capulet, romeo, "invalid-from"},
		{"ours", "tybalt@" + montague, romeo, "invalid-from"},
		{"to a host that is not ours", "juliet@" + capulet, "escalus@" + verona, "host-unknown"},
		{"to itself", "juliet@" + capulet, "nurse@" + capulet, "host-unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, b, cert := victim(t)
			s := b.call()
			s.prove(capulet, montague, cert)
			s.say(spoken("juliet@"+capulet, romeo, "good") + spoken(c.from, c.to, "bad") + spoken("juliet@"+capulet, romeo, "late"))
			b.expect("juliet@"+capulet, romeo, "good")
			s.expectOver(c.condition)
			b.quiet()
		})
	}
}

func TestStanzasWithoutAddressesEndTheStream(t *testing.T) {
	for _, x := range []string{"<message from='juliet@" + capulet + "'/>", "<message to='" + romeo + "'/>", "<presence/>"} {
		_, b, cert := victim(t)
		s := b.call()
		s.prove(capulet, montague, cert)
		s.say(x)
		s.expectOver("improper-addressing")
		b.quiet()
	}
}

func TestAddressesThatOnlyWeFindBadHurtNobodyElse(t *testing.T) {
	_, b, cert := victim(t)
	s := b.call()
	s.prove(capulet, montague, cert)
	s.say("<message from='@" + capulet + "' to='" + romeo + "' id='1'><body/></message>")
	s.say("<message from='juliet@" + capulet + "' to='@" + montague + "' id='2'><body/></message>")
	s.say(spoken("juliet@"+capulet, romeo, "3"))
	b.expect("juliet@"+capulet, romeo, "3")
	b.quiet()
}

func TestCertificateOfAnotherNameOffersNoExternal(t *testing.T) {
	w, b, _ := victim(t)
	for name, cert := range map[string]*tls.Certificate{
		"another name": w.certificate(verona),
		"expired": w.certificateOf(&x509.Certificate{DNSNames: []string{capulet},
			NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Minute)}, false),
		"self-signed": w.certificateOf(&x509.Certificate{DNSNames: []string{capulet}}, true),
		"none":        nil,
	} {
		s := b.call()
		if f := s.encrypt(capulet, montague, cert); strings.Contains(f, "EXTERNAL") {
			t.Errorf("%s: %s", name, f)
		}
		s.say("<auth xmlns='" + xmpp.NSSASL + "' mechanism='EXTERNAL'>=</auth>")
		s.expect("failure", "invalid-mechanism")
		s.say(spoken("juliet@"+capulet, romeo, "1"))
		s.expectOver("not-authorized")
	}
	b.quiet()
}

func TestExternalAsAnotherDomainIsRefused(t *testing.T) {
	_, b, cert := victim(t)
	s := b.call()
	s.encrypt(capulet, montague, cert)
	for _, as := range []string{verona, montague, "juliet@" + capulet, capulet + "/r"} {
		s.say("<auth xmlns='" + xmpp.NSSASL + "' mechanism='EXTERNAL'>" + base64.StdEncoding.EncodeToString([]byte(as)) + "</auth>")
		s.expect("failure", "invalid-authzid")
	}
	s.say("<auth xmlns='" + xmpp.NSSASL + "' mechanism='EXTERNAL'>!</auth>")
	s.expectOver("policy-violation") // too many attempts
}

func TestExternalWithoutInitialResponse(t *testing.T) {
	_, b, cert := victim(t)
	s := b.call()
	s.encrypt(capulet, montague, cert)
	s.say("<response xmlns='" + xmpp.NSSASL + "'/>")
	s.expect("failure", "malformed-request")
	s.say("<auth xmlns='" + xmpp.NSSASL + "' mechanism='EXTERNAL'/>")
	s.expect("challenge")
	s.say("<response xmlns='" + xmpp.NSSASL + "'/>")
	s.expect("success")
	s.scan.Reset()
	s.header(verona, montague) // not whom it has proved
	s.expect("header")
	s.expectOver("invalid-from")
}

func TestHeadersThatAreNoGood(t *testing.T) {
	for _, c := range []struct{ name, from, to, condition string }{
		{"to nobody", capulet, "", "improper-addressing"},
		{"to a host that is not ours", capulet, verona, "host-unknown"},
		{"to a user", capulet, romeo, "improper-addressing"},
		{"from a user", "juliet@" + capulet, montague, "invalid-from"},
		{"from ourselves", montague, montague, "invalid-from"},
	} {
		_, b, _ := victim(t)
		s := b.call()
		s.header(c.from, c.to)
		s.expect("header")
		s.expectOver(c.condition)
	}
	for xml, condition := range map[string]string{
		"<stream:stream xmlns='jabber:client' xmlns:stream='" + xmpp.NSStream + "' to='" + montague + "' version='1.0'>": "invalid-namespace",
		"<stream:stream xmlns='jabber:server' xmlns:stream='" + xmpp.NSStream + "' to='" + montague + "'>":               "unsupported-version",
		"<message xmlns='jabber:server'/>": "invalid-namespace",
		"GET / HTTP/1.1\r\n\r\n":           "not-well-formed",
		"<stream:stream xmlns='jabber:server' xmlns:stream='" + xmpp.NSStream + "' to='" + montague + "' version='1.0'><!DOCTYPE x><message/>": "restricted-xml",
	} {
		_, b, _ := victim(t)
		s := b.call()
		s.say(xml)
		s.expect("header")
		if condition == "restricted-xml" {
			s.expect("features")
		}
		s.expectOver(condition)
	}
}

func TestClearTextBehindStarttlsEndsTheStream(t *testing.T) {
	_, b, _ := victim(t)
	s := b.call()
	s.introduce(capulet, montague)
	s.say("<starttls xmlns='" + xmpp.NSTLS + "'/><db:result from='" + capulet + "' to='" + montague + "'>key</db:result>")
	s.expectOver("policy-violation")
}

func TestTLSIsRequired(t *testing.T) {
	_, b, _ := victim(t)
	s := b.call()
	if f := s.introduce(capulet, montague); !strings.Contains(f, "<required/>") || strings.Contains(f, "dialback") || strings.Contains(f, "EXTERNAL") {
		t.Errorf("the features are %s", f)
	}
	s.say("<db:result from='" + capulet + "' to='" + montague + "'>key</db:result>")
	s.expect("type='error'", "policy-violation")
	s.say("<db:verify from='" + capulet + "' to='" + montague + "' id='1'>key</db:verify>")
	s.expect("type='error'", "policy-violation")
	s.say("<bidi xmlns='" + xmpp.NSBidi + "'/>")
	s.expectOver("unsupported-stanza-type")
}

func TestTooMuchBeforeAuthenticationEndsTheStream(t *testing.T) {
	w := newWorld(t)
	b := w.node(setup{domains: []string{montague}, change: func(c *config.Config) { c.Limits.PreauthElements = 5 }})
	s := b.call()
	s.introduce(capulet, montague)
	s.say("<message><body>" + strings.Repeat("x", 1<<20))
	s.expectOver("policy-violation")
	s = b.call()
	s.introduce(capulet, montague)
	s.say("<message>" + strings.Repeat("<x/>", 10))
	s.expectOver("policy-violation")
	s = b.call()
	s.encrypt(capulet, montague, nil)
	go func() { // the node stops reading some time
		_, _ = io.WriteString(s.conn, strings.Repeat("<db:verify from='"+capulet+"' to='"+montague+"' id='1'>key</db:verify>", 5000))
	}()
	for !strings.Contains(s.hear(), "policy-violation") {
	}
}

func TestSilenceBeforeAuthenticationEndsTheStream(t *testing.T) {
	w := newWorld(t)
	b := w.node(setup{domains: []string{montague},
		change: func(c *config.Config) { c.Limits.AuthTime = 50 * time.Millisecond }})
	s := b.call()
	s.introduce(capulet, montague)
	s.expectOver("connection-timeout")
	direct := w.node(setup{domains: []string{verona}, direct: true,
		change: func(c *config.Config) { c.Limits.TLSTime = 50 * time.Millisecond }})
	if got := direct.call().hear(); got != "gone" {
		t.Errorf("heard %s", got)
	}
}

func TestHalfStreamsAreForgotten(t *testing.T) {
	_, b, cert := victim(t)
	s := b.call()
	s.prove(capulet, montague, cert)
	s.say("<message from='juliet@" + capulet + "' to='" + romeo + "'><body>Where")
	_ = s.conn.Close() // whatever comes of it
	s = b.call()
	s.say("<stream:st")
	_ = s.conn.Close() // likewise
	until(t, "all are forgotten", func() bool { return len(b.Links()) == 0 })
	b.quiet()
}

func TestClaimsForDomainsThatAreNotOurs(t *testing.T) {
	_, b, _ := victim(t)
	s := b.call()
	s.encrypt(capulet, montague, nil)
	for _, c := range []struct{ from, to, condition string }{
		{capulet, verona, "item-not-found"},
		{montague, montague, "not-allowed"},
	} {
		s.say("<db:result from='" + c.from + "' to='" + c.to + "'>key</db:result>")
		s.expect("type='error'", "from='"+c.to+"'", "to='"+c.from+"'", c.condition)
	}
	s.say("<db:verify from='" + capulet + "' to='" + verona + "' id='1'>key</db:verify>")
	s.expect("type='error'", "item-not-found")
	s.say("<db:verify from='" + capulet + "' to='" + montague + "' id='1'>key</db:verify>")
	s.expect("type='invalid'", "id='1'")
	s.say("<db:result from='juliet@" + capulet + "' to='" + montague + "'>key</db:result>")
	s.expectOver("improper-addressing")
}

func TestNoMoreKeysAreVerifiedThanIsGood(t *testing.T) {
	w, b, _ := victim(t)
	for _, d := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"} {
		w.stage(d + ".example") // they never answer
	}
	s := b.call()
	s.encrypt(capulet, montague, nil)
	for _, d := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"} {
		s.say("<db:result from='" + d + ".example' to='" + montague + "'>key</db:result>")
	}
	s.expect("type='error'", "to='k.example'", "resource-constraint")
}

func TestAuthorityThatCannotBeReached(t *testing.T) {
	_, b, _ := victim(t)
	s := b.call()
	s.encrypt(capulet, montague, nil)
	s.say("<db:result from='" + capulet + "' to='" + montague + "'>key</db:result>")
	s.expect("type='error'", "remote-server-not-found")
}

func TestAnswersOfTheAuthorityMustFitTheQuestion(t *testing.T) {
	w, b, _ := victim(t)
	g := w.stage(capulet)
	s := b.call()
	s.encrypt(capulet, montague, nil)
	s.say("<db:result from='" + capulet + "' to='" + montague + "'>key</db:result>")
	authority := g.enter()
	authority.acceptTLS(capulet, montague, g.cert, dialbackFeature)
	authority.expect("verify", "from='"+montague+"'", "to='"+capulet+"'", "id='"+s.id+"'", ">key<")
	for _, a := range []string{
		"<db:verify from='" + capulet + "' to='" + montague + "' id='another' type='valid'/>",
		"<db:verify from='" + verona + "' to='" + montague + "' id='" + s.id + "' type='valid'/>",
		"<db:verify from='" + capulet + "' to='" + verona + "' id='" + s.id + "' type='valid'/>",
		"<db:result from='" + capulet + "' to='" + montague + "' type='valid'/>",
		"<db:verify from='" + capulet + "' to='" + montague + "' id='" + s.id + "' type='invalid'/>",
	} {
		authority.say(a)
	}
	s.expect("result", "type='invalid'")
	if got := b.Stats.Unsolicited.Load(); got != 4 {
		t.Errorf("%d answers were counted as unsolicited", got)
	}
	authority.expectOver("")
}

func TestServerThatInjectsBehindProceedIsNotBelieved(t *testing.T) {
	w := newWorld(t)
	a := w.node(setup{domains: []string{capulet}})
	g := w.stage(montague)
	o := a.opening(montague)
	s := g.enter()
	s.welcome(montague, capulet, "1", starttlsFeature)
	s.expect("starttls")
	s.say("<proceed xmlns='" + xmpp.NSTLS + "'/><db:result from='" + montague + "' to='" + capulet + "' type='valid'/>")
	o.fails(t, "the server sent data in clear behind its consent to TLS")
	if a.Stats.Injected.Load() != 1 {
		t.Error("not counted")
	}
}

func TestServerThatAnswersForAnotherPair(t *testing.T) {
	w := newWorld(t)
	a := w.node(setup{domains: []string{capulet}})
	g := w.stage(montague)
	o := a.opening(montague)
	s := g.enter()
	if chain := s.acceptTLS(montague, capulet, g.cert, dialbackFeature); len(chain) != 1 ||
		chain[0].VerifyHostname(capulet) != nil {
		t.Errorf("it showed %d certificates", len(chain))
	}
	s.expect("result", a.key(montague, capulet, "two"))
	s.say("<db:result from='" + verona + "' to='" + capulet + "' type='valid'/>")
	s.say("<db:result from='" + montague + "' to='" + verona + "' type='valid'/>")
	s.say("<db:verify from='" + montague + "' to='" + capulet + "' id='two' type='valid'/>")
	s.say("<db:result from='" + montague + "' to='" + capulet + "' type='invalid'/>")
	o.fails(t, "authentication was refused")
	if got := a.Stats.Unsolicited.Load(); got != 3 {
		t.Errorf("%d were unsolicited", got)
	}
}

func TestServerThatSendsOnOurStreamWithoutBeingAllowed(t *testing.T) {
	for name, self := range map[string]bool{"without bidi": false, "with bidi and a certificate of its own making": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.node(setup{domains: []string{capulet}})
			g := w.stage(montague)
			features := dialbackFeature
			if self {
				g.cert = w.certificateOf(&x509.Certificate{DNSNames: []string{montague}}, true)
				features += bidiFeature
			}
			o := a.opening(montague)
			s := g.enter()
			s.acceptTLS(montague, capulet, g.cert, features)
			s.expect("<db:result")
			s.say("<db:result from='" + montague + "' to='" + capulet + "' type='valid'/>")
			stream := o.open(t)
			for _, from := range []string{romeo, "escalus@" + verona} {
				s.say("<message type='error' id='1' from='" + from + "' to='juliet@" + capulet + "'/>")
			}
			s.say(spoken(romeo, "juliet@"+capulet, "2"))
			s.expectOver("not-authorized")
			if !self { // errors may come back from whom we have called for certain
				a.expect(romeo, "juliet@"+capulet, "1")
			}
			<-stream.Over()
			a.quiet()
		})
	}
}

func TestServerOnABidirectionalStreamSpeaksForItselfOnly(t *testing.T) {
	w := newWorld(t)
	a := w.node(setup{domains: []string{capulet}})
	g := w.stage(montague)
	o := a.opening(montague)
	s := g.enter()
	s.acceptExternal(montague, capulet, g.cert, bidiFeature, "")
	stream := o.open(t)
	s.say(spoken(romeo, "juliet@"+capulet, "1"))
	a.expect(romeo, "juliet@"+capulet, "1")
	s.say(spoken("escalus@"+verona, "juliet@"+capulet, "2"))
	s.expectOver("invalid-from")
	<-stream.Over()
	a.quiet()
}

func TestServerWithAnotherNameInItsHeader(t *testing.T) {
	w := newWorld(t)
	a := w.node(setup{domains: []string{capulet}})
	g := w.stage(montague)
	o := a.opening(montague)
	s := g.enter()
	s.welcome(verona, capulet, "1", starttlsFeature)
	o.fails(t, "the server's stream could not be understood")
	s.expect("error", "invalid-from")
}

func TestServersFailuresInWords(t *testing.T) {
	for _, c := range []struct {
		name, say, text string
		permanent       bool
	}{
		{"stream error", "<stream:error><undefined-condition xmlns='" + xmpp.NSStreamErrors + "'/></stream:error></stream:stream>",
			"the server closed the stream: undefined-condition", false},
		{"host unknown", "<stream:error><host-unknown xmlns='" + xmpp.NSStreamErrors + "'/></stream:error></stream:stream>",
			"the server closed the stream: host-unknown", true},
		{"close", "</stream:stream>", "the server closed the stream", false},
		{"no sense", "<message", "the server did not answer in time", false},
		{"rubbish", "<<<", "the server's stream could not be understood", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.node(setup{domains: []string{capulet},
				change: func(c *config.Config) { c.Limits.AuthTime = 200 * time.Millisecond }})
			o := a.opening(montague)
			<-o.done // there is nobody
			g := w.stage(montague)
			o = a.opening(montague)
			s := g.enter()
			s.expect("header")
			s.say("<stream:stream xmlns='jabber:server' xmlns:stream='" + xmpp.NSStream + "' from='" + montague + "' id='1' version='1.0'>" + c.say)
			if f := o.fails(t, c.text); f.Permanent != c.permanent {
				t.Errorf("the failure is %+v", f)
			}
		})
	}
}

func TestNobodyIsProvedForMorePairsThanIsGood(t *testing.T) {
	w := newWorld(t)
	b := w.node(setup{domains: []string{montague}})
	l := newLink(b.Server, newStranger(t, &deaf{}).conn, false)
	n := 0
	for ; n < 2*maxPairs; n++ {
		if !l.prove(outbox.Pair{Local: montague, Remote: strings.Repeat("x", n+1) + ".example"}, byDialback, "") {
			break
		}
	}
	if n != maxPairs {
		t.Errorf("%d pairs were taken", n)
	}
}

func TestJIDMalformedSaysWhatIsWrong(t *testing.T) {
	for say, want := range map[string]string{
		"<message from='a@capulet.example' to='@' id='1'/>": xmpp.BadToText,
		"<message from='@' to='a@b.example' id='1'/>":       "'from' is no address",
	} {
		var l link
		in := "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
		if item, _, err := l.Scanner.Scan([]byte(in)); item != stream.ItemHeader || err != nil {
			t.Fatal(item, err)
		}
		if item, _, err := l.Scanner.Scan([]byte(say)); item != stream.ItemStanza || err != nil {
			t.Fatal(item, err)
		}
		if bad := l.unfit(l.Scanner.Stanza()); bad == nil || bad.Condition != xmpp.CondJIDMalformed || bad.Text != want {
			t.Errorf("%s: %v", say, bad)
		}
	}
}

func TestRequestOfAPeerThatIsAnsweredHereNeedsNoID(t *testing.T) {
	_, b, _ := victim(t)
	for to, want := range map[string]bool{montague: true, romeo: true, romeo + "/x": false, verona: false} {
		x := xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, From: jid.MustParse("juliet@" + capulet + "/x"),
			To: jid.MustParse(to), Children: make([]xmpp.Child, 1)}
		if bad := (&link{srv: b.Server}).unfit(&x); (bad == nil) != want {
			t.Errorf("%s: %v", to, bad)
		}
	}
}
