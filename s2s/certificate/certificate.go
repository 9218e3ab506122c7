// Package certificate says which domains a peer's certificate proves, and whether
// to believe it: the chain (RFC 5280), its purpose, and the identity (RFC 9525,
// RFC 6120 §13.7.1.2) by dNSName, XmppAddr, SRVName and, for address literals,
// iPAddress. The common name of the subject proves nothing (RFC 9525 §2).
//
// It is there for both directions, since crypto/tls cannot do it: it insists that
// the certificate of an incoming peer has the clientAuth purpose, and knows
// neither XmppAddr nor SRVName.
//
// Left out: revocation (CRL, OCSP), certificate transparency, DANE, POSH, and
// wildcards in SRVName.
package certificate

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Reason is why a certificate does not prove a domain.
type Reason int

// The reasons.
const (
	Missing          Reason = iota + 1 // no certificate at all
	Expired                            // or one above it
	NotYetValid                        // or one above it
	SelfSigned                         // and not among the roots itself
	UnknownAuthority                   // or an intermediate certificate was not sent
	WrongPurpose                       // neither for servers nor for clients
	OtherName                          // good, but not for this domain
	Invalid                            // anything else; Err says what
)

// String returns a text that may be shown to anybody.
func (r Reason) String() string {
	switch r {
	case Missing:
		return "no certificate was presented"
	case Expired:
		return "the certificate has expired"
	case NotYetValid:
		return "the certificate is not yet valid"
	case SelfSigned:
		return "the certificate is self-signed"
	case UnknownAuthority:
		return "the certificate is not issued by an authority we trust"
	case WrongPurpose:
		return "the certificate is not for servers"
	case OtherName:
		return "the certificate is for another name"
	case Invalid:
		return "the certificate is invalid"
	}
	return "unknown"
}

// Error is what every error of Verify is.
type Error struct {
	Reason Reason
	Domain string // that was to be proved
	Err    error  // details for the log; may be nil
}

// Error is for logs. What it quotes of the certificate was chosen by the peer.
func (e *Error) Error() string {
	s := "certificate of " + e.Domain + ": " + e.Reason.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Text is for stanza errors and bounces, and quotes nothing.
func (e *Error) Text() string { return e.Reason.String() }

func (e *Error) Unwrap() error { return e.Err }

// Verify checks that a peer's chain proves a domain: the chain leads to one of
// roots (nil: those of the system) and is valid now, and the certificate is for the
// domain (see Names.Match), which is in U-labels, as jid.JID.Domain returns it. The
// chain is as the peer sent it, its own certificate first; it is not changed. The
// error is an *Error.
//
// Purposes: serverAuth, clientAuth, any or none named will do, in both directions.
// A server is both client and server of its peers (RFC 6120 §13.7.1); public
// authorities issue certificates with serverAuth only, and those made for
// outgoing streams alone, by private ones, have clientAuth only.
func Verify(chain []*x509.Certificate, domain string, roots *x509.CertPool, now time.Time) error {
	if len(chain) == 0 || chain[0] == nil {
		return &Error{Reason: Missing, Domain: domain}
	}
	leaf := chain[0]
	names, err := NamesOf(leaf)
	if err != nil {
		return &Error{Invalid, domain, err}
	}
	o := x509.VerifyOptions{
		Roots:         roots,
		Intermediates: x509.NewCertPool(),
		CurrentTime:   now,
		// A certificate with the any purpose, or with none named, has these too.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	paths, err := handled(leaf).Verify(o)
	if err != nil {
		return &Error{reason(leaf, err, now), domain, err}
	}
	by := names.match(domain)
	permits := func(path []*x509.Certificate) bool { return permitted(path, domain) }
	if by == byOtherName && !slices.ContainsFunc(paths, permits) {
		return &Error{Invalid, domain, errors.New("an authority may not issue certificates for the name")}
	}
	if by == nothing {
		return &Error{OtherName, domain, fmt.Errorf("it is for %s", names)}
	}
	return nil
}

// handled returns the certificate with its subject alternative names taken for
// understood: crypto/x509 gives up on a critical extension that holds other names
// only, and NamesOf has read these.
func handled(c *x509.Certificate) *x509.Certificate {
	rest := slices.DeleteFunc(slices.Clone(c.UnhandledCriticalExtensions), oidAltName.Equal)
	if len(rest) == len(c.UnhandledCriticalExtensions) {
		return c
	}
	cp := *c // whoever else holds the certificate does not see the change
	cp.UnhandledCriticalExtensions = rest
	return &cp
}

// oidAltName is id-ce-subjectAltName (RFC 5280 §4.2.1.6).
var oidAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

func reason(leaf *x509.Certificate, err error, now time.Time) Reason {
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		switch {
		case e.Reason == x509.Expired && e.Cert != nil && now.Before(e.Cert.NotBefore):
			return NotYetValid
		case e.Reason == x509.Expired:
			return Expired
		case e.Reason == x509.IncompatibleUsage:
			return WrongPurpose
		}
		return Invalid
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if string(leaf.RawIssuer) == string(leaf.RawSubject) &&
			leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil {
			return SelfSigned
		}
		return UnknownAuthority
	}
	return Invalid
}

// permitted says that no authority of the path is kept from issuing for a domain.
// crypto/x509 holds the constraints on dNSName against dNSName only (RFC 5280
// §4.2.1.10), so that an authority that may issue for its own domain only could
// name any other in an XmppAddr.
func permitted(path []*x509.Certificate, domain string) bool {
	name, ok := asciiName(domain)
	for _, c := range path[min(1, len(path)):] {
		below := func(limit string) bool { return isBelow(name, strings.ToLower(limit)) }
		ok = ok && !slices.ContainsFunc(c.ExcludedDNSDomains, below) &&
			(len(c.PermittedDNSDomains) == 0 || slices.ContainsFunc(c.PermittedDNSDomains, below))
	}
	return ok
}

func isBelow(name, limit string) bool {
	return limit == "" || name == limit || strings.HasSuffix(name, "."+strings.TrimPrefix(limit, "."))
}
