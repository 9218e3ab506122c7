package s2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"jackdaw/s2s/certificate"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// incomingTLS returns the configuration for those who call. Their certificate is asked for and looked at by ourselves:
// crypto/tls would insist on the clientAuth purpose, with which public authorities no longer issue any. No tickets: a
// resumed session would bring the proof of another day.
func (s *Server) incomingTLS(o *tls.Config) *tls.Config {
	c := o.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12) // RFC 7590 §3.1, RFC 9325 §3.1.1
	c.ClientAuth = tls.RequestClientCert
	c.SessionTicketsDisabled = true
	c.DynamicRecordSizingDisabled = true
	c.NextProtos = []string{xmpp.ALPNServer} // XEP-0368 §3
	return c
}

// acceptTLS is the handshake of the side that is called. With a domain, which STARTTLS knows, its certificate is shown
// whatever the caller puts into SNI (RFC 6120 §13.7.1.2).
func (l *link) acceptTLS(domain string) error {
	c := l.srv.callers
	if domain != "" {
		c = c.Clone()
		c.NextProtos = nil // whoever has found a stream already is asked for no protocol
		if l.srv.o.Certificate != nil {
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return l.srv.o.Certificate(domain), nil }
		}
	}
	return l.handshake(l.ctx, tls.Server(l.Transport, c))
}

// openTLS is the handshake of the side that calls. What the peer shows is verified afterwards, since it depends on the
// policy what follows from it.
func (l *link) openTLS(ctx context.Context) error {
	c := &tls.Config{}
	if l.srv.o.TLS != nil {
		c = l.srv.o.TLS.Clone()
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.GetCertificate, c.Certificates, c.GetConfigForClient = nil, nil, nil
	c.DynamicRecordSizingDisabled = true
	c.NextProtos = nil
	if l.direct {
		c.NextProtos = []string{xmpp.ALPNServer} // XEP-0368 §3
	}
	c.ServerName = asciiName(l.remote) // XEP-0368 §3: the domain, not the name of the machine
	c.InsecureSkipVerify = true        // see certified
	c.ClientSessionCache = nil
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if l.srv.o.Certificate != nil && !l.bare {
			if own := l.srv.o.Certificate(l.local); own != nil {
				l.shown = true
				return own, nil
			}
		}
		return &tls.Certificate{}, nil
	}
	return l.handshake(ctx, tls.Client(l.Transport, c))
}

func (l *link) handshake(ctx context.Context, t *tls.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, l.srv.policy().limits.TLSTime)
	defer cancel()
	l.wmu.Lock() // nothing is to be said in between
	defer l.wmu.Unlock()
	if err := l.Transport.SetDeadline(time.Time{}); err != nil { // the context is the limit
		return err
	}
	l.until = time.Time{}
	if err := l.Handshake(ctx, t); err != nil {
		return err
	}
	if !l.outgoing && !l.known.Load() { // the handshake has taken from the time to authenticate, not ended it
		if err := l.Transport.SetReadDeadline(l.since.Add(l.srv.policy().limits.AuthTime)); err != nil {
			return err
		}
	}
	l.secured(t)
	return nil
}

// secured takes note of what TLS there is.
func (l *link) secured(t *tls.Conn) {
	c := t.ConnectionState()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.version, l.cipher = tls.VersionName(c.Version), tls.CipherSuiteName(c.CipherSuite)
}

// asciiName is a domain as TLS and the DNS write it; where it has no such form it is returned as it is.
func asciiName(domain string) string {
	for i := range len(domain) {
		if domain[i] >= 0x80 {
			if a, err := idna.Lookup.ToASCII(domain); err == nil {
				return a
			}
			break
		}
	}
	return strings.Trim(domain, "[]")
}

// certified says what is wrong with the peer's certificate as a proof of a domain; nil: nothing.
func (l *link) certified(domain string) error {
	var chain []*x509.Certificate
	if l.TLS != nil {
		chain = l.TLS.ConnectionState().PeerCertificates
	}
	return certificate.Verify(chain, domain, l.srv.o.Roots, l.srv.o.Now())
}

// judge looks at the certificate of the peer of the header.
func (l *link) judge() {
	l.certainty = l.certified(l.remote)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flaw = ""
	if l.certainty != nil {
		l.flaw = certificateText(l.certainty)
	}
}

// startTLS answers <starttls/> (RFC 6120 §5.4.2).
func (l *link) startTLS() error {
	if l.TLS != nil || l.srv.callers == nil || l.known.Load() {
		if err := l.write([]byte("<failure xmlns='" + xmpp.NSTLS + "'/>")); err != nil {
			return err
		}
		return &wire.Farewell{} // RFC 6120 §5.4.2.2
	}
	if !l.Empty() {
		// Sent before TLS and read after it: somebody in between (RFC 6120 §5.4.3.3).
		return wire.Fault(stream.PolicyViolation, "data behind <starttls/>")
	}
	if err := l.write([]byte("<proceed xmlns='" + xmpp.NSTLS + "'/>")); err != nil {
		return err
	}
	if err := l.acceptTLS(l.local); err != nil {
		return err
	}
	return l.again()
}
