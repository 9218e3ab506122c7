package certificate

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"jackdaw/xmpp/jid"

	"golang.org/x/net/idna"
)

// Names are the identities in a certificate, as it spells them.
type Names struct {
	DNS  []string     // dNSName
	XMPP []string     // XmppAddr, id-on-xmppAddr (RFC 6120 §13.7.1.4)
	SRV  []string     // SRVName, id-on-dnsSRV (RFC 4985): "_service.domain"
	IP   []netip.Addr // iPAddress
}

// The object identifiers of other names, in DER.
const (
	derXMPPAddr = "\x06\x08\x2b\x06\x01\x05\x05\x07\x08\x05" // 1.3.6.1.5.5.7.8.5
	derSRVName  = "\x06\x08\x2b\x06\x01\x05\x05\x07\x08\x07" // 1.3.6.1.5.5.7.8.7
)

// The tags of GeneralName (RFC 5280 §4.2.1.6).
const (
	tagOtherName = 0
	tagDNSName   = 2
	tagIPAddress = 7
)

// serverService is the service of SRVName for servers (RFC 6120 §13.7.1.2.1); with
// direct TLS it is no other (XEP-0368 §3).
const serverService = "_xmpp-server."

var errAltName = errors.New("the subject alternative names cannot be read")

// NamesOf reads the subject alternative names of a certificate. Names of other
// kinds, and such of these kinds as have no valid form, are passed over: they
// prove nothing. The error is for what is not ASN.1 at all.
func NamesOf(c *x509.Certificate) (Names, error) {
	for _, e := range c.Extensions {
		if e.Id.Equal(oidAltName) {
			return parseNames(e.Value) // crypto/x509 refuses a second one
		}
	}
	return Names{}, nil
}

func parseNames(der []byte) (n Names, err error) {
	all, rest, err := element(der)
	if err != nil || len(rest) > 0 || !isUniversal(all, asn1.TagSequence) || !all.IsCompound {
		return Names{}, errAltName
	}
	for rest = all.Bytes; len(rest) > 0; {
		var v asn1.RawValue
		if v, rest, err = element(rest); err != nil {
			return Names{}, err
		}
		if v.Class != asn1.ClassContextSpecific {
			return Names{}, errAltName
		}
		switch {
		case v.Tag == tagDNSName && !v.IsCompound && isASCII(v.Bytes):
			n.DNS = append(n.DNS, string(v.Bytes))
		case v.Tag == tagIPAddress && !v.IsCompound:
			// An IPv4 address in the form of IPv6 stays one: crypto/x509 held it against
			// constraints for IPv6.
			if ip, ok := netip.AddrFromSlice(v.Bytes); ok {
				n.IP = append(n.IP, ip)
			}
		case v.Tag == tagOtherName && v.IsCompound:
			if err := n.addOther(v.Bytes); err != nil {
				return Names{}, err
			}
		}
	}
	return n, nil
}

// addOther reads an OtherName: type-id, and [0] EXPLICIT value.
func (n *Names) addOther(der []byte) error {
	id, rest, err := element(der)
	if err != nil {
		return err
	}
	wrapped, rest, err := element(rest)
	if err != nil || len(rest) > 0 {
		return errAltName
	}
	kind := string(id.FullBytes)
	if kind != derXMPPAddr && kind != derSRVName ||
		wrapped.Class != asn1.ClassContextSpecific || wrapped.Tag != 0 || !wrapped.IsCompound {
		return nil
	}
	v, rest, err := element(wrapped.Bytes)
	switch {
	case err != nil || len(rest) > 0:
		return errAltName
	case v.IsCompound:
	case kind == derXMPPAddr && isUniversal(v, asn1.TagUTF8String) && utf8.Valid(v.Bytes):
		n.XMPP = append(n.XMPP, string(v.Bytes))
	case kind == derSRVName && isUniversal(v, asn1.TagIA5String) && isASCII(v.Bytes):
		n.SRV = append(n.SRV, string(v.Bytes))
	}
	return nil
}

func element(der []byte) (v asn1.RawValue, rest []byte, err error) {
	if rest, err = asn1.Unmarshal(der, &v); err != nil {
		return v, nil, errAltName
	}
	return v, rest, nil
}

func isUniversal(v asn1.RawValue, tag int) bool {
	return v.Class == asn1.ClassUniversal && v.Tag == tag
}

func isASCII(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c >= utf8.RuneSelf })
}

// Matches says whether a certificate is for a domain, and not whether to believe
// it: that is Verify.
func Matches(c *x509.Certificate, domain string) bool {
	n, err := NamesOf(c)
	return err == nil && n.Match(domain)
}

// Match says whether one of the names is a domain, which is in U-labels, as
// jid.JID.Domain returns it: a dNSName, in which a wildcard may stand for the whole
// left-most label (RFC 9525 §6.3), an XmppAddr that is a domain and no user, an
// SRVName of _xmpp-server. Address literals are iPAddress only. Names are compared
// as A-labels, without regard to case.
func (n Names) Match(domain string) bool { return n.match(domain) != nothing }

// kind is what a domain is proved by.
type kind int

const (
	nothing kind = iota
	byKnownName
	byOtherName // of which crypto/x509 knows nothing
)

func (n Names) match(domain string) kind {
	if ip, ok := literal(domain); ok {
		if slices.Contains(n.IP, ip) {
			return byKnownName
		}
		return nothing
	}
	name, ok := asciiName(domain)
	if !ok {
		return nothing
	}
	if slices.ContainsFunc(n.DNS, func(pattern string) bool { return matchDNS(pattern, name) }) {
		return byKnownName
	}
	for _, x := range n.XMPP {
		if j, err := jid.Parse(x); err == nil && j.IsDomain() {
			if a, ok := asciiName(j.Domain()); ok && a == name {
				return byOtherName
			}
		}
	}
	for _, s := range n.SRV {
		if strings.ToLower(s) == serverService+name {
			return byOtherName
		}
	}
	return nothing
}

// matchDNS takes a name in lower case and without a wildcard of its own.
func matchDNS(pattern, name string) bool {
	pattern = strings.ToLower(pattern)
	if parent, ok := strings.CutPrefix(pattern, "*."); ok {
		label, rest, ok := strings.Cut(name, ".")
		return ok && label != "" && rest == parent
	}
	return pattern == name
}

// literal reads a domain that is an IP address (RFC 7622 §3.2).
func literal(domain string) (netip.Addr, bool) {
	if len(domain) > 2 && domain[0] == '[' && domain[len(domain)-1] == ']' {
		domain = domain[1 : len(domain)-1]
	}
	ip, err := netip.ParseAddr(domain)
	return ip.Unmap(), err == nil && ip.Zone() == ""
}

// asciiName is the form of a domain in certificates (RFC 9525 §6.3). A wildcard is
// no domain.
func asciiName(domain string) (string, bool) {
	name := strings.ToLower(domain)
	if !isASCII([]byte(name)) {
		var err error
		if name, err = idna.Lookup.ToASCII(name); err != nil {
			return "", false
		}
	}
	return name, name != "" && !strings.Contains(name, "*")
}

// String lists the names, for the log; a certificate may have thousands.
func (n Names) String() string {
	const most = 8
	var all []string
	add := func(prefix string, names []string) {
		for _, s := range names[:min(len(names), most)] {
			all = append(all, prefix+strconv.QuoteToGraphic(s))
		}
	}
	add("", n.DNS)
	add("XmppAddr ", n.XMPP)
	add("SRVName ", n.SRV)
	for _, ip := range n.IP[:min(len(n.IP), most)] {
		all = append(all, ip.String())
	}
	switch {
	case len(all) == 0:
		return "no name"
	case len(n.DNS)+len(n.XMPP)+len(n.SRV)+len(n.IP) > most:
		return strings.Join(all[:most], ", ") + " and others"
	}
	return strings.Join(all, ", ")
}
