package c2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"
	"time"

	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/sasl"
)

var errNoCertificate = errors.New("no certificate for this name")

// prepareTLS returns a copy of the configuration that is ours: it speaks our protocol (XEP-0368 §4), writes what it is
// given in as few records as possible, and remembers which certificate a connection was shown.
func (s *Server) prepareTLS(o *tls.Config) *tls.Config {
	c := o.Clone()
	c.NextProtos = []string{xmpp.ALPNClient}
	c.DynamicRecordSizingDisabled = true
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12) // RFC 7590 §3.1, RFC 9325 §3.1.1
	choose := func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if o.GetCertificate != nil {
			if cert, err := o.GetCertificate(h); cert != nil || err != nil {
				return cert, err
			}
		}
		for i := range o.Certificates {
			if h.SupportsCertificate(&o.Certificates[i]) == nil {
				return &o.Certificates[i], nil
			}
		}
		if len(o.Certificates) == 0 {
			return nil, errNoCertificate
		}
		return &o.Certificates[0], nil
	}
	c.Certificates = nil
	c.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if t, ok := wire.Under(h.Conn); ok && t.Cert != nil {
			return t.Cert, nil
		}
		return choose(h)
	}
	// This is asked on a resumed TLS session too, which GetCertificate is not.
	c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if o.GetConfigForClient != nil {
			if other, err := o.GetConfigForClient(h); other != nil || err != nil {
				return other, err
			}
		}
		if t, ok := wire.Under(h.Conn); ok {
			cert, err := choose(h)
			if err != nil {
				return nil, err
			}
			t.Cert = cert
		}
		return nil, nil
	}
	return c
}

// TLS is the configuration of the listeners for direct TLS; nil: there is none. It is not to be changed.
func (s *Server) TLS() *tls.Config { return s.tls }

// handshake puts TLS on the connection, unless the server is closing.
func (c *conn) handshake() error {
	until := time.Now().Add(c.srv.limits().TLSTime)
	if err := c.Transport.SetDeadline(until); err != nil {
		return err
	}
	if c.srv.streams.Closed() { // it may have been interrupted before
		c.Transport.Interrupt()
	}
	if err := c.Handshake(context.Background(), tls.Server(c.Transport, c.srv.tls)); err != nil {
		return &tlsError{err}
	}
	c.secure = true
	return nil
}

// bindings are the channel bindings of the connection, by preference (RFC 9266, RFC 5929).
func (c *conn) bindings() (out []sasl.Binding) {
	cs := c.TLS.ConnectionState()
	if b, ok := sasl.Exporter(&cs); ok {
		out = append(out, b)
	}
	if b, ok := c.srv.ends.of(c.Transport.Cert); ok {
		out = append(out, b)
	}
	return out
}

// endPoints remembers the tls-server-end-point binding of the certificates in use.
type endPoints struct {
	mu sync.Mutex // guards by
	by map[*tls.Certificate]endPoint
}

type endPoint struct {
	sasl.Binding
	ok bool
}

func (e *endPoints) of(cert *tls.Certificate) (sasl.Binding, bool) {
	if cert == nil || len(cert.Certificate) == 0 {
		return sasl.Binding{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if b, known := e.by[cert]; known {
		return b.Binding, b.ok
	}
	leaf := cert.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return sasl.Binding{}, false
		}
	}
	if len(e.by) >= 64 || e.by == nil { // certificates are replaced now and then
		e.by = map[*tls.Certificate]endPoint{}
	}
	b, ok := sasl.ServerEndPoint(leaf)
	e.by[cert] = endPoint{b, ok}
	return b, ok
}
