package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// ALPN is the protocol by which an authority looks for an answer over TLS (RFC 8737 §4).
const ALPN = "acme-tls/1"

// PathChallenge is where it looks over HTTP (RFC 8555 §8.3).
const PathChallenge = "/.well-known/acme-challenge/"

// prove shows that a name is ours. Which challenge is used depends on how often the name has failed: if one way is
// closed, the other may be open.
func (v *visit) prove(ctx context.Context, who acme.Account, url, name string, failures int) error {
	z, err := v.client.GetAuthorization(ctx, who, url)
	if err != nil {
		return err
	}
	if z.Status == acme.StatusValid { // of an order before
		return nil
	}
	c, ok := choose(z.Challenges, v.set.Challenges, failures)
	if !ok {
		return errors.New("the authority offers neither tls-alpn-01 nor http-01 for this name")
	}
	remove, err := v.answer(c, name)
	if err != nil {
		return err
	}
	defer remove()
	if _, err := v.client.InitiateChallenge(ctx, who, c); err != nil {
		return err
	}
	if _, err := v.client.PollAuthorization(ctx, who, z); err != nil {
		return &proofError{by: c.Type, error: err}
	}
	return nil
}

// choose takes the challenge whose turn it is, of those that are offered.
func choose(offered []acme.Challenge, order []string, failures int) (c acme.Challenge, ok bool) {
	if len(order) == 0 {
		order = []string{TLSALPN01, HTTP01}
	}
	var ours []acme.Challenge
	for _, t := range order {
		i := slices.IndexFunc(offered, func(c acme.Challenge) bool { return c.Type == t && goodToken(c.Token) })
		if i >= 0 {
			ours = append(ours, offered[i])
		}
	}
	if len(ours) == 0 {
		return c, false
	}
	return ours[failures%len(ours)], true
}

// goodToken says whether a token is one (RFC 8555 §8.1: base64url). It becomes the name of a file.
func goodToken(s string) bool {
	return s != "" && len(s) <= 200 && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
}

// answer keeps the answer to a challenge where every process on this directory finds it, until remove.
func (v *visit) answer(c acme.Challenge, name string) (remove func(), err error) {
	file, text := v.path(challengesDir, "http", c.Token), []byte(c.KeyAuthorization)
	if c.Type == TLSALPN01 {
		file = v.path(challengesDir, "tls", name+".pem")
		if text, err = challengePair(name, c.KeyAuthorization, time.Now()); err != nil {
			return nil, err
		}
	}
	if err := noteFile(file, text); err != nil {
		return nil, &diskError{err}
	}
	return func() { _ = os.Remove(file) }, nil // what is left over is nobody's answer
}

// idPeACMEIdentifier is id-pe-acmeIdentifier (RFC 8737 §6.1).
var idPeACMEIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}

// challengePair is the certificate that answers a challenge over TLS, with its key as PEM (RFC 8737 §3).
func challengePair(name, authorization string, now time.Time) ([]byte, error) {
	sum := sha256.Sum256([]byte(authorization))
	value, err := asn1.Marshal(sum[:])
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "challenge"},
		DNSNames: []string{name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: idPeACMEIdentifier, Critical: true, Value: value}}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return pairOf([][]byte{der}, key)
}

func pairOf(chain [][]byte, key *ecdsa.PrivateKey) ([]byte, error) {
	text, err := formatKey(key)
	if err != nil {
		return nil, err
	}
	out := []byte(text)
	for _, der := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out, nil
}

var errNoChallenge = errors.New("no challenge is open for this name")

// TLS is the configuration for connections that ask for nothing but ALPN. Handshakes with others fail.
func (s *Service) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{ALPN}, SessionTicketsDisabled: true,
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if !slices.Contains(s.settings.Load().Names, h.ServerName) { // nothing else becomes a path
				return nil, errNoChallenge
			}
			text, err := readFile(s.path(challengesDir, "tls", h.ServerName+".pem"))
			if err != nil || text == nil {
				return nil, errNoChallenge
			}
			c, err := tls.X509KeyPair(text, text)
			if err != nil {
				return nil, errNoChallenge
			}
			return &c, nil
		}}
}

// Asks says whether somebody asks for the answer to a challenge and for nothing else (RFC 8737 §3).
func Asks(h *tls.ClientHelloInfo) bool {
	return len(h.SupportedProtos) == 1 && h.SupportedProtos[0] == ALPN
}

// ServeHTTP answers below PathChallenge.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.URL.Path, PathChallenge)
	if !ok || !goodToken(token) || len(s.settings.Load().Names) == 0 {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "use GET", http.StatusMethodNotAllowed)
		return
	}
	text, err := readFile(s.path(challengesDir, "http", token))
	if err != nil || text == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream") // RFC 8555 §8.3
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(text) // whoever has gone does not want it
}

// request is what is to be signed: the name and the key (RFC 8555 §7.4).
func request(name string, key *ecdsa.PrivateKey) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
}

// longest bounds a chain.
const longest = 10

// checked is what an authority has sent, with the key, as it is kept: for our key and this name, valid now, and each
// signed by the next.
func checked(text []byte, key *ecdsa.PrivateKey, name string, now time.Time) ([]byte, error) {
	var chain [][]byte
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("the authority sent a %s instead of a certificate", clean(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read the certificate that the authority sent: %w", err)
		}
		if chain, all = append(chain, block.Bytes), append(all, c); len(chain) > longest {
			return nil, errors.New("the authority sent too many certificates")
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the authority sent no certificate")
	}
	leaf := all[0]
	switch {
	case !key.PublicKey.Equal(leaf.PublicKey):
		return nil, errors.New("the authority sent a certificate for another key")
	case leaf.VerifyHostname(name) != nil:
		return nil, fmt.Errorf("the authority sent a certificate for other names (%s)",
			clean(strings.Join(leaf.DNSNames, ", ")))
	case !leaf.NotAfter.After(now):
		return nil, fmt.Errorf("the authority sent a certificate that has expired on %s",
			leaf.NotAfter.UTC().Format(time.DateTime))
	case !leaf.NotAfter.After(leaf.NotBefore):
		return nil, errors.New("the authority sent a certificate that is never valid")
	}
	for i := range all[:len(all)-1] {
		if err := all[i].CheckSignatureFrom(all[i+1]); err != nil {
			return nil, fmt.Errorf("the authority sent a chain that does not hold: %w", err)
		}
	}
	return pairOf(chain, key)
}

func macKey(key []byte) string { return base64.RawURLEncoding.EncodeToString(key) }
