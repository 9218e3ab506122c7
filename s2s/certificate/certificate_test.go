package certificate

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func wantGood(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func wantReason(t *testing.T, what string, err error, want Reason) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Reason != want || e.Text() != want.String() || e.Domain == "" ||
		!strings.Contains(err.Error(), e.Text()) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

func chainOf(c ...*x509.Certificate) []*x509.Certificate { return c }

func TestCertificateOfATrustedAuthorityProvesItsNames(t *testing.T) {
	root := newRoot(t)
	chain := chainOf(root.leaf(t, "a.example", "conference.a.example"))
	for _, domain := range []string{"a.example", "conference.a.example"} {
		wantGood(t, domain, Verify(chain, domain, root.pool(), now))
	}
	for _, domain := range []string{"b.example", "x.a.example", "example", "", "xa.example", "a.example.", "192.0.2.1"} {
		err := Verify(chain, domain, root.pool(), now)
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason != OtherName || !strings.Contains(err.Error(), `"a.example"`) {
			t.Errorf("%q: %v", domain, err)
		}
	}
}

func TestNoCertificateIsToldAsSuch(t *testing.T) {
	wantReason(t, "nil", Verify(nil, "a.example", nil, now), Missing)
	wantReason(t, "empty", Verify([]*x509.Certificate{}, "a.example", nil, now), Missing)
}

func TestSystemRootsDoNotKnowOurAuthority(t *testing.T) {
	wantReason(t, "system", Verify(chainOf(newRoot(t).leaf(t, "a.example")), "a.example", nil, now), UnknownAuthority)
}

func TestTimesAreChecked(t *testing.T) {
	root := newRoot(t)
	chain := chainOf(issue(t, root, &x509.Certificate{DNSNames: []string{"a.example"},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Minute)}).cert)
	wantGood(t, "now", Verify(chain, "a.example", root.pool(), now))
	wantReason(t, "later", Verify(chain, "a.example", root.pool(), now.Add(2*time.Minute)), Expired)
	wantReason(t, "earlier", Verify(chain, "a.example", root.pool(), now.Add(-2*time.Minute)), NotYetValid)

	old := newCA(t, root, &x509.Certificate{NotBefore: now.Add(-2 * time.Minute), NotAfter: now.Add(-time.Minute)})
	wantReason(t, "under an expired authority", Verify(chainOf(old.leaf(t, "a.example"), old.cert), "a.example", root.pool(), now), Expired)
	early := newCA(t, root, &x509.Certificate{NotBefore: now.Add(time.Minute), NotAfter: now.Add(2 * time.Minute)})
	wantReason(t, "under a future authority", Verify(chainOf(early.leaf(t, "a.example"), early.cert), "a.example", root.pool(), now), NotYetValid)
}

func TestIntermediateCertificatesAreUsedAndNeeded(t *testing.T) {
	root := newRoot(t)
	first := newCA(t, root, &x509.Certificate{})
	second := newCA(t, first, &x509.Certificate{})
	leaf := second.leaf(t, "a.example")
	wantGood(t, "in order", Verify(chainOf(leaf, second.cert, first.cert), "a.example", root.pool(), now))
	wantGood(t, "in disorder, with the root", Verify(chainOf(leaf, root.cert, first.cert, second.cert), "a.example", root.pool(), now))
	wantReason(t, "one missing", Verify(chainOf(leaf, second.cert), "a.example", root.pool(), now), UnknownAuthority)
	wantReason(t, "all missing", Verify(chainOf(leaf), "a.example", root.pool(), now), UnknownAuthority)
	// What a peer sends is no root.
	strange := newRoot(t)
	wantReason(t, "own root", Verify(chainOf(strange.leaf(t, "a.example"), strange.cert), "a.example", root.pool(), now), UnknownAuthority)
	// A certificate for a server issues none.
	server := issue(t, root, &x509.Certificate{DNSNames: []string{"b.example"}})
	forged := server.leaf(t, "a.example")
	if err := Verify(chainOf(forged, server.cert), "a.example", root.pool(), now); err == nil {
		t.Error("a server's certificate issued another")
	}
	// A good certificate further down proves nothing: its key was not used.
	wantReason(t, "second in line", Verify(chainOf(strange.leaf(t, "a.example"), leaf), "a.example", root.pool(), now), UnknownAuthority)
}

func TestSelfSignedIsToldAsSuchUnlessTrusted(t *testing.T) {
	self := issue(t, nil, &x509.Certificate{DNSNames: []string{"a.example"}})
	wantReason(t, "unknown", Verify(chainOf(self.cert), "a.example", newRoot(t).pool(), now), SelfSigned)
	wantGood(t, "trusted by itself", Verify(chainOf(self.cert), "a.example", self.pool(), now))
	// Another's signature under the name of the issuer is not self-signed.
	root := newRoot(t)
	same := issue(t, root, &x509.Certificate{DNSNames: []string{"a.example"},
		Subject: pkix.Name{CommonName: root.cert.Subject.CommonName}})
	wantReason(t, "same name", Verify(chainOf(same.cert), "a.example", newRoot(t).pool(), now), UnknownAuthority)
}

func TestAuthorityOfTheSameNameWithAnotherKeyIsUnknown(t *testing.T) {
	root := newRoot(t)
	double := newCA(t, nil, &x509.Certificate{Subject: pkix.Name{CommonName: root.cert.Subject.CommonName}})
	wantReason(t, "double", Verify(chainOf(double.leaf(t, "a.example"), double.cert), "a.example", root.pool(), now), UnknownAuthority)
}

func TestPurposes(t *testing.T) {
	root := newRoot(t)
	for _, c := range []struct {
		what    string
		usage   []x509.ExtKeyUsage
		unknown []asn1.ObjectIdentifier
		good    bool
	}{
		{"none named", nil, nil, true},
		{"serverAuth", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, nil, true},
		{"clientAuth", []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, nil, true},
		{"both", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, nil, true},
		{"any", []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, nil, true},
		{"mail", []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection, x509.ExtKeyUsageCodeSigning}, nil, false},
		{"unknown", nil, []asn1.ObjectIdentifier{{1, 2, 3}}, false},
	} {
		leaf := issue(t, root, &x509.Certificate{DNSNames: []string{"a.example"}, ExtKeyUsage: c.usage,
			UnknownExtKeyUsage: c.unknown}).cert
		if err := Verify(chainOf(leaf), "a.example", root.pool(), now); c.good {
			wantGood(t, c.what, err)
		} else {
			wantReason(t, c.what, err, WrongPurpose)
		}
	}
	mail := newCA(t, root, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}})
	wantReason(t, "authority for mail", Verify(chainOf(mail.leaf(t, "a.example"), mail.cert), "a.example", root.pool(), now), WrongPurpose)
}

func TestCommonNameProvesNothing(t *testing.T) {
	root := newRoot(t)
	leaf := issue(t, root, &x509.Certificate{Subject: pkix.Name{CommonName: "a.example"}}).cert
	err := Verify(chainOf(leaf), "a.example", root.pool(), now)
	wantReason(t, "no alternative name", err, OtherName)
	if !strings.Contains(fmt.Sprint(err), "no name") {
		t.Errorf("for the log: %v", err)
	}
	leaf = issue(t, root, &x509.Certificate{Subject: pkix.Name{CommonName: "a.example"}, EmailAddresses: []string{"a@a.example"}}).cert
	wantReason(t, "mail only", Verify(chainOf(leaf), "a.example", root.pool(), now), OtherName)
}

func TestOtherNamesProveADomainAlsoWhenCritical(t *testing.T) {
	root := newRoot(t)
	for _, critical := range []bool{false, true} {
		for what, n := range map[string]general{"XmppAddr": xmppAddr("a.example"), "SRVName": srvName("_xmpp-server.a.example")} {
			leaf := issue(t, root, named(critical, n)).cert
			if unhandled := len(leaf.UnhandledCriticalExtensions); critical != (unhandled == 1) {
				t.Fatalf("crypto/x509 left %d extensions", unhandled)
			}
			wantGood(t, what, Verify(chainOf(leaf), "a.example", root.pool(), now))
			wantReason(t, what, Verify(chainOf(leaf), "b.example", root.pool(), now), OtherName)
			if critical && len(leaf.UnhandledCriticalExtensions) != 1 {
				t.Error("the certificate was changed")
			}
		}
	}
}

func TestOtherCriticalExtensionsAreNotUnderstood(t *testing.T) {
	root := newRoot(t)
	c := named(true, xmppAddr("a.example"))
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true,
		Value: []byte{5, 0}})
	wantReason(t, "unknown extension", Verify(chainOf(issue(t, root, c).cert), "a.example", root.pool(), now), Invalid)
	// Of an authority the names are not ours to understand.
	odd := named(true, xmppAddr("a.example"))
	middle := newCA(t, root, odd)
	if err := Verify(chainOf(middle.leaf(t, "a.example"), middle.cert), "a.example", root.pool(), now); err == nil {
		t.Error("an authority with a critical extension unknown to crypto/x509 was believed")
	}
}

func TestConstrainedAuthorityCannotNameOthersInOtherNames(t *testing.T) {
	root := newRoot(t)
	for what, c := range map[string]*x509.Certificate{
		"permitted": {PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"A.example"}},
		"below":     {PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"x.example", ".example"}, ExcludedDNSDomains: []string{"b.example"}},
		"excluded":  {ExcludedDNSDomains: []string{"B.example", "c.example"}},
	} {
		ca := newCA(t, root, c)
		srv := func(s string) general { return srvName("_xmpp-server." + s) }
		for _, name := range []func(string) general{xmppAddr, srv, dnsName} {
			for domain, good := range map[string]bool{"a.example": true, "x.a.example": true, "b.example": false, "x.b.example": false} {
				leaf := issue(t, ca, named(false, name(domain))).cert
				if err := Verify(chainOf(leaf, ca.cert), domain, root.pool(), now); good {
					wantGood(t, what+" "+domain, err)
				} else {
					wantReason(t, what+" "+domain, err, Invalid)
				}
			}
		}
	}
	// Everything excluded, as authorities for mail have it.
	none := newCA(t, root, &x509.Certificate{PermittedDNSDomains: []string{"only.example"}, PermittedIPRanges: []*net.IPNet{}})
	leaf := issue(t, none, named(false, dnsName("only.example"), xmppAddr("a.example"))).cert
	wantGood(t, "its own", Verify(chainOf(leaf, none.cert), "only.example", root.pool(), now))
	wantReason(t, "beside its own", Verify(chainOf(leaf, none.cert), "a.example", root.pool(), now), Invalid)
}

func TestSecondPathMayPermitWhatTheFirstDoesNot(t *testing.T) {
	root := newRoot(t)
	free := newCA(t, root, &x509.Certificate{})
	// The same authority once more, cross-signed with a constraint.
	template := &x509.Certificate{Subject: free.cert.Subject, SerialNumber: free.cert.SerialNumber,
		NotBefore: free.cert.NotBefore, NotAfter: free.cert.NotAfter, IsCA: true, BasicConstraintsValid: true,
		PermittedDNSDomains: []string{"b.example"}}
	der, err := x509.CreateCertificate(nil, template, root.cert, free.key.Public(), root.key)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	leaf := issue(t, free, named(false, xmppAddr("a.example"))).cert
	wantGood(t, "both", Verify(chainOf(leaf, bound, free.cert), "a.example", root.pool(), now))
	wantReason(t, "bound", Verify(chainOf(leaf, bound), "a.example", root.pool(), now), Invalid)
}

func TestAddressLiteralNeedsAnAddress(t *testing.T) {
	root := newRoot(t)
	chain := chainOf(issue(t, root, named(false, ipName("192.0.2.1"), ipName("2001:db8::1"))).cert)
	for _, domain := range []string{"192.0.2.1", "[2001:db8::1]", "[2001:DB8:0::1]"} {
		wantGood(t, domain, Verify(chain, domain, root.pool(), now))
	}
	for _, domain := range []string{"192.0.2.2", "[2001:db8::2]", "1.2.0.192.in-addr.arpa"} {
		wantReason(t, domain, Verify(chain, domain, root.pool(), now), OtherName)
	}
	names := named(false, dnsName("192.0.2.1"), dnsName("*.0.2.1"), xmppAddr("192.0.2.1"), srvName("_xmpp-server.192.0.2.1"))
	chain = chainOf(issue(t, root, names).cert)
	wantReason(t, "other kinds", Verify(chain, "192.0.2.1", root.pool(), now), OtherName)
}

func TestUnreadableNamesAreInvalid(t *testing.T) {
	root := newRoot(t)
	c := named(false, context(tagOtherName, true, []byte{6, 1}))
	leaf := issue(t, root, c).cert
	wantReason(t, "broken", Verify(chainOf(leaf), "a.example", root.pool(), now), Invalid)
	if Matches(leaf, "a.example") {
		t.Error("broken names match")
	}
}

func TestEveryReasonHasAText(t *testing.T) {
	seen := map[string]bool{"": true, Reason(0).String(): true}
	for r := Missing; r <= Invalid; r++ {
		if seen[r.String()] {
			t.Errorf("reason %d: %q", r, r)
		}
		seen[r.String()] = true
	}
}
