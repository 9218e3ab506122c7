package certificate

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNamesAreReadFromTheCertificate(t *testing.T) {
	root := newRoot(t)
	leaf := issue(t, root, named(false, dnsName("a.example"), xmppAddr("b\u00fccher.example"), other(oidUPN, text(asn1.TagUTF8String, "a.example")),
		context(1, false, []byte("mail@a.example")), srvName("_xmpp-server.a.example"), ipName("192.0.2.1"), ipName("2001:db8::1"),
		dnsName("*.a.example"), xmppAddr("romeo@a.example"), srvName("_xmpp-client.a.example"))).cert
	want := Names{
		DNS:  []string{"a.example", "*.a.example"},
		XMPP: []string{"b\u00fccher.example", "romeo@a.example"},
		SRV:  []string{"_xmpp-server.a.example", "_xmpp-client.a.example"},
		IP:   []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
	}
	got, err := NamesOf(leaf)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v", got, err)
	}
	if !reflect.DeepEqual(got.DNS, leaf.DNSNames) {
		t.Errorf("crypto/x509 reads %v", leaf.DNSNames)
	}
	if s := got.String(); s != `"a.example", "*.a.example", XmppAddr "bücher.example", XmppAddr "romeo@a.example", `+
		`SRVName "_xmpp-server.a.example", SRVName "_xmpp-client.a.example", 192.0.2.1, 2001:db8::1` {
		t.Errorf("for the log: %s", s)
	}
	if n, err := NamesOf(root.cert); err != nil || !reflect.DeepEqual(n, Names{}) {
		t.Errorf("without the extension: %+v, %v", n, err)
	}
}

func TestManyNamesAreNotAllLogged(t *testing.T) {
	var n Names
	for i := range 1000 {
		n.DNS = append(n.DNS, fmt.Sprintf("a%d.example\n", i))
	}
	if s := n.String(); len(s) > 200 || !strings.HasSuffix(s, "and others") || strings.Contains(s, "\n") {
		t.Errorf("for the log: %s", s)
	}
}

func TestNamesMatchDomains(t *testing.T) {
	for _, c := range []struct {
		name   general
		domain string
		want   bool
	}{
		{dnsName("a.example"), "a.example", true},
		{dnsName("A.eXample"), "a.example", true},
		{dnsName("a.example"), "b.example", false},
		{dnsName("a.example."), "a.example", false},
		{dnsName("a.example\x00.b.example"), "a.example", false},
		{dnsName(""), "", false},
		{dnsName("xn--bcher-kva.example"), "b\u00fccher.example", true},
		{dnsName("XN--BCHER-KVA.example"), "b\u00fccher.example", true},
		{dnsName("*.a.example"), "x.a.example", true},
		{dnsName("*.A.example"), "b\u00fccher.a.example", true},
		{dnsName("*.xn--bcher-kva.example"), "x.b\u00fccher.example", true},
		{dnsName("*.a.example"), "a.example", false},
		{dnsName("*.a.example"), "x.y.a.example", false},
		{dnsName("*.a.example"), ".a.example", false},
		{dnsName("x*.a.example"), "xy.a.example", false},
		{dnsName("*x.a.example"), "yx.a.example", false},
		{dnsName("x.*.example"), "x.a.example", false},
		{dnsName("*.*.example"), "x.a.example", false},
		{dnsName("*"), "example", false},
		{dnsName("*.a.example"), "*.a.example", false},
		{dnsName("*"), "*", false},
		{dnsName("xn--*.example"), "b\u00fccher.example", false},
		{dnsName("a.example"), "\u0628a\u0628.example", false}, // no A-label
		{xmppAddr("a.example"), "a.example", true},
		{xmppAddr("A.Example"), "a.example", true},
		{xmppAddr("b\u00fccher.example"), "b\u00fccher.example", true},
		{xmppAddr("B\u00fcCHER.example"), "b\u00fccher.example", true},
		{xmppAddr("xn--bcher-kva.example"), "b\u00fccher.example", true},
		{xmppAddr("romeo@a.example"), "a.example", false},
		{xmppAddr("a.example/x"), "a.example", false},
		{xmppAddr("*.a.example"), "x.a.example", false},
		{xmppAddr("*.a.example"), "*.a.example", false},
		{xmppAddr(""), "", false},
		{other(oidXMPPAddr, text(asn1.TagIA5String, "a.example")), "a.example", false},
		{other(oidXMPPAddr, text(asn1.TagUTF8String, "a\xff.example")), "a.example", false},
		{srvName("_xmpp-server.a.example"), "a.example", true},
		{srvName("_XMPP-Server.A.example"), "a.example", true},
		{srvName("_xmpp-server.xn--bcher-kva.example"), "b\u00fccher.example", true},
		{srvName("_xmpp-server._tcp.a.example"), "a.example", false},
		{srvName("_xmpp-client.a.example"), "a.example", false},
		{srvName("_xmpps-server.a.example"), "a.example", false},
		{srvName("_xmpp-server.*.example"), "a.example", false},
		{srvName("a.example"), "a.example", false},
		{srvName("_xmpp-server."), "", false},
		{other(oidSRVName, text(asn1.TagUTF8String, "_xmpp-server.a.example")), "a.example", false},
		{other(oidSRVName, text(asn1.TagIA5String, "_xmpp-server.b\u00fccher.example")), "b\u00fccher.example", false},
		{other(oidUPN, text(asn1.TagUTF8String, "a.example")), "a.example", false},
		{context(6, false, []byte("a.example")), "a.example", false}, // URI
		{context(1, false, []byte("a.example")), "a.example", false}, // mail
		{ipName("192.0.2.1"), "192.0.2.1", true},
		{ipName("192.0.2.1"), "[::ffff:192.0.2.1]", true},
		{ipName("2001:db8::1"), "[2001:db8::1]", true},
		{context(tagIPAddress, false, net.ParseIP("192.0.2.1").To16()), "192.0.2.1", false},
		{context(tagIPAddress, false, []byte{192, 0, 2}), "192.0.2.0", false},
		{dnsName("2001:db8::1"), "[2001:db8::1]", false},
	} {
		n, err := parseNames(sequence(c.name))
		if err != nil || n.Match(c.domain) != c.want {
			t.Errorf("%v for %q: not %v (%v)", n, c.domain, c.want, err)
		}
	}
}

func TestMatchesReadsTheCertificate(t *testing.T) {
	leaf := newRoot(t).leaf(t, "a.example")
	if !Matches(leaf, "a.example") || Matches(leaf, "b.example") {
		t.Errorf("a certificate for %v", leaf.DNSNames)
	}
}

func TestBrokenNamesAreRefused(t *testing.T) {
	good := sequence(dnsName("a.example"))
	for what, der := range map[string][]byte{
		"empty":                      {},
		"truncated":                  good[:len(good)-1],
		"something behind":           append(good[:len(good):len(good)], 0),
		"no sequence":                marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true}),
		"primitive sequence":         {asn1.TagSequence, 0},
		"not context-specific":       sequence(text(asn1.TagIA5String, "a.example")),
		"truncated name":             sequence(general{0x82, 9, 'a'}),
		"other name without a value": sequence(context(tagOtherName, true, marshal(oidXMPPAddr))),
		"other name without a type":  sequence(context(tagOtherName, true, nil)),
		"two values": sequence(context(tagOtherName, true,
			append(marshal(oidXMPPAddr), append(context(0, true, nil), 5, 0)...))),
		"empty value": sequence(other(oidXMPPAddr, nil)),
		"two texts": sequence(other(oidXMPPAddr, append(text(asn1.TagUTF8String, "a.example"),
			text(asn1.TagUTF8String, "b.example")...))),
	} {
		if n, err := parseNames(der); err == nil {
			t.Errorf("%s: read as %+v", what, n)
		}
	}
}

func TestNamesOfUnknownFormAreNoNames(t *testing.T) {
	for what, n := range map[string]general{
		"UPN of any form":          other(oidUPN, []byte{5, 0}),
		"huge type":                other(asn1.ObjectIdentifier{2, 25, 1<<31 - 1, 1<<31 - 1}, []byte{5, 0}),
		"primitive other name":     context(tagOtherName, false, []byte("a.example")),
		"constructed dNSName":      context(tagDNSName, true, text(asn1.TagIA5String, "a.example")),
		"value with another tag":   context(tagOtherName, true, append(marshal(oidXMPPAddr), context(1, true, text(asn1.TagUTF8String, "a.example"))...)),
		"constructed text":         other(oidXMPPAddr, marshal(asn1.RawValue{Tag: asn1.TagUTF8String, IsCompound: true})),
		"directory name":           context(4, true, []byte{0x30, 0}),
		"dNSName that is not IA5":  dnsName("b\u00fccher.example"),
		"address of wrong length":  context(tagIPAddress, false, make([]byte, 8)),
		"SRVName that is not text": other(oidSRVName, []byte{5, 0}),
	} {
		if got, err := parseNames(sequence(n)); err != nil || !reflect.DeepEqual(got, Names{}) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add(sequence(dnsName("*.a.example"), xmppAddr("a.example"), srvName("_xmpp-server.a.example"), ipName("192.0.2.1")), "a.example")
	f.Add(sequence(xmppAddr("b\u00fccher.example"), other(oidUPN, []byte{5, 0})), "b\u00fccher.example")
	f.Add(sequence(ipName("2001:db8::1"), context(4, true, []byte{0x30, 0})), "[2001:db8::1]")
	f.Add([]byte{0x30, 0x80, 0, 0}, "")
	f.Fuzz(func(t *testing.T, der []byte, domain string) {
		n, err := parseNames(der)
		if err != nil {
			if !reflect.DeepEqual(n, Names{}) {
				t.Errorf("names beside an error: %+v", n)
			}
			return
		}
		for _, s := range append(append([]string{}, n.DNS...), n.SRV...) {
			if !isASCII([]byte(s)) || !strings.Contains(string(der), s) {
				t.Errorf("%q is not in there", s)
			}
		}
		for _, s := range n.XMPP {
			if !utf8.ValidString(s) || !strings.Contains(string(der), s) {
				t.Errorf("%q is not in there", s)
			}
		}
		if n.Match(domain) && len(n.DNS)+len(n.SRV)+len(n.XMPP)+len(n.IP) == 0 {
			t.Errorf("%q matches nothing", domain)
		}
		_ = n.String()
		leaf := &x509.Certificate{Raw: der}
		if Matches(leaf, domain) {
			t.Errorf("%q is proved without the extension", domain)
		}
	})
}
