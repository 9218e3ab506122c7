package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// TLSFiles say whom to believe and who we are; all are PEM files.
type TLSFiles struct {
	CA         string // empty: the authorities of the system
	Cert, Key  string // both or neither
	ServerName string // in the certificates of Redis; empty: the host of each address
}

// Load reads the files. The certificate is read anew for each connection: it may be renewed while the server runs.
func (f TLSFiles) Load() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.ServerName}
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("read storage.redis.tls.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read storage.redis.tls.ca: %s holds no certificate in PEM", f.CA)
		}
	}
	if f.Cert != "" {
		own := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
			if err != nil {
				return nil, fmt.Errorf("read storage.redis.tls.cert and key: %w", err)
			}
			return &pair, nil
		}
		if _, err := own(nil); err != nil {
			return nil, err
		}
		c.GetClientCertificate = own
	}
	return c, nil
}

// adviseTLS adds what to do about an error of TLS, which is on or not; ok is false for any other.
func adviseTLS(err error, on bool) (advised error, ok bool) {
	what := ""
	switch s := err.Error(); {
	case on && errors.Is(err, context.DeadlineExceeded), errors.As(err, new(tls.RecordHeaderError)):
		// Without TLS Redis waits for the end of a line.
		what = "does Redis speak TLS there? check the port, or let storage.redis.url begin with redis://"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		what = "set storage.redis.tls.ca to the certificate of who signs for Redis"
	case errors.As(err, new(x509.HostnameError)):
		what = "use a name that the certificate of Redis has, or set storage.redis.tls.server_name"
	case errors.As(err, new(x509.CertificateInvalidError)):
		what = "give Redis a certificate that is valid"
	case strings.Contains(s, "remote error: tls: "):
		what = "Redis refuses our certificate: set storage.redis.tls.cert and key to one that its tls-ca-cert-file has signed"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		what = "if Redis expects TLS there, let storage.redis.url begin with rediss://"
	default:
		return err, false
	}
	return fmt.Errorf("%w; %s", err, what), true
}
