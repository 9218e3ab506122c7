package s2s

import (
	"crypto/x509"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/xmpp"
)

const (
	capulet  = "capulet.example"
	montague = "montague.example"
	romeo    = "romeo@" + montague
)

func TestPeersWithCertificatesUseExternal(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(setup{domains: []string{capulet}}), w.node(setup{domains: []string{montague}})
	s, acks := a.open(montague)
	a.send(s, romeo, "1")
	b.expect("juliet@"+capulet, romeo, "1")
	acks.wait(t, 1)
	out, in := a.link(true), b.link(false)
	if len(out.Pairs) != 1 || out.Pairs[0] != (ProvedPair{capulet, montague, "external"}) || out.TLS != "TLS 1.3" ||
		out.DirectTLS || !out.Managed {
		t.Errorf("the outgoing link is %+v", out)
	}
	if len(in.Pairs) != 1 || in.Pairs[0] != (ProvedPair{montague, capulet, "external"}) || in.StanzasIn != 1 {
		t.Errorf("the incoming link is %+v", in)
	}
	if !out.Bidirectional || !in.Bidirectional {
		t.Error("the stream carries one direction only")
	}
}

func TestDirectTLS(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(setup{domains: []string{capulet}}), w.node(setup{domains: []string{montague}, direct: true})
	s, _ := a.open(montague)
	a.send(s, romeo, "1")
	b.expect("juliet@"+capulet, romeo, "1")
	if out := a.link(true); !out.DirectTLS || out.Pairs[0].By != "external" {
		t.Errorf("the outgoing link is %+v", out)
	}
}

func TestPeersWithSelfSignedCertificatesUseDialback(t *testing.T) {
	w := newWorld(t)
	own := func(d string) setup {
		return setup{domains: []string{d}, certificate: w.certificateOf(&x509.Certificate{DNSNames: []string{d}}, true)}
	}
	a, b := w.node(own(capulet)), w.node(own(montague))
	s, acks := a.open(montague)
	a.send(s, romeo, "1")
	b.expect("juliet@"+capulet, romeo, "1")
	acks.wait(t, 1)
	if out, in := a.link(true), b.link(false); out.Pairs[0].By != "dialback" || in.Pairs[0].By != "dialback" || out.Bidirectional {
		t.Errorf("the links are %+v and %+v", out, in)
	}
	if w.dialed(capulet) != 1 {
		t.Errorf("the authoritative server was called %d times", w.dialed(capulet))
	}
}

func TestPlainTextOnlyWhereItIsAllowed(t *testing.T) {
	w := newWorld(t)
	a := w.node(setup{domains: []string{capulet},
		change: func(c *config.Config) { c.S2S.AllowPlaintext = []string{montague} }})
	b := w.node(setup{domains: []string{montague}, withoutTLS: true,
		change: func(c *config.Config) { c.S2S.RequireTLS = false }})
	c := w.node(setup{domains: []string{"verona.example"}})
	s, acks := a.open(montague)
	a.send(s, romeo, "1")
	b.expect("juliet@"+capulet, romeo, "1")
	acks.wait(t, 1)
	if out := a.link(true); out.TLS != "" || out.Pairs[0].By != "dialback" {
		t.Errorf("the outgoing link is %+v", out)
	}
	if f := c.refused(montague); !f.Permanent || f.Text != "the server does not offer TLS, which is required" {
		t.Errorf("the failure is %+v", f)
	}
}

func TestCertificatesThatAreNoGood(t *testing.T) {
	for _, c := range []struct {
		name string
		cert x509.Certificate
		want string
	}{
		{"expired", x509.Certificate{DNSNames: []string{montague}, NotBefore: time.Now().Add(-2 * time.Hour),
			NotAfter: time.Now().Add(-time.Hour)},
			"the certificate has expired"},
		{"of another name", x509.Certificate{DNSNames: []string{"verona.example"}}, "the certificate is for another name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			b := w.node(setup{domains: []string{montague}, certificate: w.certificateOf(&c.cert, false)})
			strict := w.node(setup{domains: []string{capulet}, change: func(c *config.Config) { c.S2S.Dialback = false }})
			strictToo := w.node(setup{domains: []string{"tybalt.example"},
				change: func(c *config.Config) { c.S2S.RequireCertificate = []string{montague} }})
			for _, n := range []*node{strict, strictToo} {
				if f := n.refused(montague); !f.Permanent || f.Text != c.want || f.Condition != xmpp.CondRemoteServerNotFound {
					t.Errorf("the failure of %s is %+v", n.domain, f)
				}
				// the other way round: it proves nothing to us
				if f := b.refused(n.domain); f.Permanent || f.Text != "the server could not verify this one: not-authorized" {
					t.Errorf("the failure towards %s is %+v", n.domain, f)
				}
			}
			lenient := w.node(setup{domains: []string{"verona.example"}})
			s, _ := lenient.open(montague)
			if out := lenient.link(true); out.Bidirectional {
				t.Error("a server without a valid certificate may send on our stream")
			}
			s.Close()
		})
	}
}

func TestDeniedDomains(t *testing.T) {
	w := newWorld(t)
	a := w.node(setup{domains: []string{capulet}, change: func(c *config.Config) { c.S2S.Deny = []string{montague} }})
	b := w.node(setup{domains: []string{montague}})
	if err := a.Admits(montague); err == nil || err.Condition != xmpp.CondNotAllowed {
		t.Errorf("admitted: %v", err)
	}
	if f := a.refused(montague); !f.Permanent {
		t.Errorf("the failure is %+v", f)
	}
	if f := b.refused(capulet); f.Text != "the server closed the stream: policy-violation" {
		t.Errorf("the failure is %+v", f)
	}
	only := w.node(setup{domains: []string{"verona.example"}, change: func(c *config.Config) { c.S2S.Allow = []string{capulet} }})
	if only.Admits(montague) == nil || only.Admits(capulet) != nil {
		t.Error("the allow list admits another")
	}
}
