package sasl

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
)

// The channel binding types for TLS (RFC 9266, RFC 5929 §4).
const (
	TLSExporter       = "tls-exporter"
	TLSServerEndPoint = "tls-server-end-point"
)

// Binding is what identifies the channel below to both ends.
type Binding struct {
	Type string // the registered name
	Data []byte
}

// Exporter returns the tls-exporter binding of a connection whose handshake is
// over, false if there is none. It is given for TLS 1.3 only: for TLS 1.2 it
// would need the extended master secret, and implementations disagree on whether
// an empty context differs from none there (RFC 9266 §3, RFC 5705 §4).
func Exporter(cs *tls.ConnectionState) (Binding, bool) {
	if cs.Version < tls.VersionTLS13 || !cs.HandshakeComplete {
		return Binding{}, false
	}
	data, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return Binding{}, false
	}
	return Binding{TLSExporter, data}, true
}

// ServerEndPoint returns the tls-server-end-point binding of a certificate, false
// if it has none because its signature uses no hash or more than one. The
// result can be kept as long as the certificate.
func ServerEndPoint(leaf *x509.Certificate) (Binding, bool) {
	var h crypto.Hash
	switch leaf.SignatureAlgorithm {
	// RFC 5929 §4.1: the hash of the signature, or SHA-256 for MD5 and SHA-1.
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS:
		h = crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		h = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		h = crypto.SHA512
	default:
		return Binding{}, false
	}
	d := h.New()
	d.Write(leaf.Raw) // A hash never returns an error.
	return Binding{TLSServerEndPoint, d.Sum(nil)}, true
}
