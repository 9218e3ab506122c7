package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/idna"

	"jackdaw/config"
	"jackdaw/server/certificates"
	"jackdaw/storage"
)

// selfSignedFor is how long a certificate of our own making holds. Whoever
// trusts it has pinned it, so a short life would only break that pin.
const selfSignedFor = 10 * 365 * 24 * time.Hour

// renewBefore is how early one is made anew, at a start or reload.
const renewBefore = 30 * 24 * time.Hour

// A CertStore holds one certificate for each host, chosen by SNI (RFC 6066 §3).
// Reload exchanges them while streams go on: a handshake takes what is there
// when it begins. It is safe for concurrent use.
type CertStore struct {
	now    func() time.Time
	held   atomic.Pointer[heldCerts]
	issued issuer // nil: none come by themselves
}

// An issuer has certificates that came by themselves; nil is none for that A-label.
type issuer interface {
	Certificate(name string) *tls.Certificate
}

// heldCerts is never changed once published.
type heldCerts struct {
	byName map[string]*tls.Certificate // by A-label, lower case
	files  map[string]bool             // those that the configuration names
	first  *tls.Certificate            // for whoever names no host
	hosts  []hostCertificate           // in the order of the configuration
}

// NewCertStore loads the certificate of each host, and makes a self-signed one
// under data/certs for a host without. The error names the host and the file.
func NewCertStore(cfg *config.Config) (*CertStore, error) {
	return newCertStore(cfg, time.Now)
}

func newCertStore(cfg *config.Config, now func() time.Time) (*CertStore, error) {
	s := &CertStore{now: now}
	if err := s.Reload(cfg); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload reads all certificates anew. On an error the old ones stay.
func (s *CertStore) Reload(cfg *config.Config) error {
	next := &heldCerts{byName: map[string]*tls.Certificate{}, files: map[string]bool{}}
	for _, h := range cfg.Hosts {
		c, err := s.load(cfg.Data, h)
		if err != nil {
			return err
		}
		name, err := asciiName(h.Domain)
		if err != nil {
			return err
		}
		next.byName[name], next.files[name] = c, h.Cert != ""
		next.hosts = append(next.hosts, hostCertificate{domain: h.Domain, file: h.Cert, leaf: c.Leaf})
		if next.first == nil {
			next.first = c
		}
	}
	if next.first == nil {
		return errors.New("no host has a certificate, since there is no host")
	}
	s.held.Store(next)
	return nil
}

// asciiName is the form a domain has in SNI and certificates. Address literals
// (RFC 7622 §3.2) stay as they are.
func asciiName(domain string) (string, error) {
	if _, ok := address(domain); ok {
		return domain, nil
	}
	name, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", fmt.Errorf("certificate of %s: %w", domain, err)
	}
	return name, nil
}

func address(domain string) (net.IP, bool) {
	ip := net.ParseIP(strings.Trim(domain, "[]"))
	return ip, ip != nil
}

func (s *CertStore) load(data string, h config.Host) (*tls.Certificate, error) {
	if h.Cert == "" {
		return s.selfSigned(data, h.Domain)
	}
	return loadPair(h)
}

// loadPair reads the files that the configuration names for a host.
func loadPair(h config.Host) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(h.Cert, h.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s (%s, %s): %w", h.Domain, h.Cert, h.Key, err)
	}
	return &c, nil
}

// selfSigned returns the host's certificate under data/certs, made anew when it
// is missing, about to expire, or not for this host.
func (s *CertStore) selfSigned(data, domain string) (*tls.Certificate, error) {
	name, path, kept, err := readSelfSigned(data, domain)
	if err != nil {
		return nil, err
	}
	if kept != nil && kept.Leaf.VerifyHostname(name) == nil && s.now().Add(renewBefore).Before(kept.Leaf.NotAfter) {
		return kept, nil
	}
	text, err := s.sign(name)
	if err != nil {
		return nil, fmt.Errorf("make a self-signed certificate for %s: %w", domain, err)
	}
	if err := writePrivate(path, text); err != nil {
		return nil, fmt.Errorf("keep the self-signed certificate of %s: %w", domain, err)
	}
	c, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("read the self-signed certificate of %s: %w", domain, err)
	}
	return &c, nil
}

// readSelfSigned reads the certificate of our own making for a host: c is nil if there is none as yet. name is the
// host's in certificates.
func readSelfSigned(data, domain string) (name, path string, c *tls.Certificate, err error) {
	if name, err = asciiName(domain); err != nil {
		return "", "", nil, err
	}
	// One file for both, so that a crash never leaves a key that does not fit.
	path = filepath.Join(data, "certs", filepath.Base(name)+".pem")
	pair, err := tls.LoadX509KeyPair(path, path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return name, path, nil, nil
	case err != nil:
		return "", "", nil, fmt.Errorf("self-signed certificate of %s: %w; remove %s to have it made anew",
			domain, err, path)
	}
	return name, path, &pair, nil
}

// sign returns certificate and key as PEM.
func (s *CertStore) sign(name string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280 §4.1.2.2
	if err != nil {
		return nil, err
	}
	dns, ips := []string{name}, []net.IP(nil)
	if ip, ok := address(name); ok {
		dns, ips = nil, []net.IP{ip}
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     dns, // RFC 9525 §2: the common name does not count
		IPAddresses:  ips,
		NotBefore:    s.now().Add(-time.Hour),
		NotAfter:     s.now().Add(selfSignedFor),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		// Both ends of s2s use it.
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...), nil
}

// writePrivate replaces a file that only we may read, whole or not at all.
func writePrivate(path string, text []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing is left to remove when all went well
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = storage.SyncPath(dir)
	}
	return err
}

// GetCertificate chooses by the name the client asked for. Whoever names no host, or
// one that is not served here, gets the first host's: the stream header that
// follows says more clearly what is wrong than a failed handshake would.
func (s *CertStore) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.Certificate(hello.ServerName), nil
}

// Certificate is that of a domain (U-label or A-label), else that of the host above it, as rooms.example.org is below
// example.org, else the first host's. It is not to be changed. Whoever knows the domain of a stream, as STARTTLS does,
// asks for that when the client sends no SNI (RFC 6120 §13.7.1.2).
func (s *CertStore) Certificate(domain string) *tls.Certificate {
	held := s.held.Load()
	if c := s.of(held, domain); c != nil {
		return c
	}
	if _, above, ok := strings.Cut(domain, "."); ok {
		if c := s.of(held, above); c != nil {
			return c
		}
	}
	if c := s.of(held, held.hosts[0].domain); c != nil {
		return c
	}
	return held.first
}

// of is the certificate of exactly this name; nil: there is none.
func (s *CertStore) of(held *heldCerts, domain string) *tls.Certificate {
	own := held.byName[domain]
	if own == nil {
		name, err := asciiName(domain)
		if err != nil {
			return nil
		}
		domain, own = name, held.byName[name]
	}
	if s.issued != nil && !held.files[domain] {
		if c := s.issued.Certificate(domain); c != nil {
			return c
		}
	}
	return own
}

// inUse are the certificates of the hosts, in the order of the configuration.
func (s *CertStore) inUse() (all []hostCertificate) {
	for _, c := range s.held.Load().hosts {
		if name, err := asciiName(c.domain); err == nil && c.file == "" && s.issued != nil {
			if came := s.issued.Certificate(name); came != nil {
				c.leaf, c.issued = came.Leaf, true
			}
		}
		all = append(all, c)
	}
	return all
}

// TLSConfig is for listeners: TLS 1.2 at least, 1.3 preferred, session tickets on, and
// the protocols offered, such as "xmpp-client" (XEP-0368 §2). A connection that
// offers ALPN and none of these fails its handshake (RFC 7301 §3.2).
func (s *CertStore) TLSConfig(alpn ...string) *tls.Config {
	var challenges *tls.Config
	if c, ok := s.issued.(interface{ TLS() *tls.Config }); ok {
		challenges = c.TLS()
	}
	return &tls.Config{
		// Whoever looks for the answer to a challenge finds it on any port with TLS.
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			if challenges != nil && certificates.Asks(h) {
				return challenges, nil
			}
			return nil, nil
		},
		GetCertificate: s.GetCertificate,
		MinVersion:     tls.VersionTLS12, // RFC 9325 §3.1.1
		NextProtos:     alpn,
		// Of TLS 1.2 only suites with forward secrecy and AEAD (RFC 9325 §4.2); those of
		// 1.3 cannot be chosen, and are all good.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}
