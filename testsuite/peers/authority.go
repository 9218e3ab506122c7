package peers

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An Authority signs the certificates of a test's servers. Its files are in the test's
// temporary directory and readable by everybody, as servers may run as other users.
type Authority struct {
	File string // PEM of its own certificate

	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// A Flaw is what is wrong with a certificate.
type Flaw string

// The flaws. None is a certificate that the authority signed for the domain.
const (
	None       Flaw = ""
	Expired    Flaw = "expired"
	OtherName  Flaw = "of-another-name" // signed for other.example
	SelfSigned Flaw = "self-signed"
)

// A Certificate is where one is, as PEM.
type Certificate struct {
	Cert string
	Key  string
	Both string // in one file
}

// NewAuthority makes one.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir()}
	if err := os.Chmod(a.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: "authority of the tests"},
		NotBefore: now.Add(-400 * 24 * time.Hour), NotAfter: now.Add(100 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = sign(t, template, template, &a.key.PublicKey, a.key)
	a.File = a.write("authority.pem", encode("CERTIFICATE", a.cert.Raw))
	return a
}

// Trust has whoever trusts this authority trust others, too, whose certificates are in the text. It comes before a
// server reads the file.
func (a *Authority) Trust(pem []byte) {
	a.t.Helper()
	own, err := os.ReadFile(a.File)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(a.File, append(own, pem...), 0o644); err != nil {
		a.t.Fatal(err)
	}
}

// Env tells a program that reads the system's roots by crypto/x509 or OpenSSL to trust
// this authority and nobody else.
func (a *Authority) Env() []string {
	return []string{"SSL_CERT_FILE=" + a.File, "SSL_CERT_DIR=" + filepath.Join(a.dir, "empty")}
}

// Issue makes a certificate for a domain. Like those of the public authorities of
// today it is for servers only (serverAuth).
func (a *Authority) Issue(domain string, flaw Flaw) Certificate {
	return a.issue([]string{domain}, flaw, x509.ExtKeyUsageServerAuth)
}

// IssueFor is Issue for several domains and 60 days, and only the given purposes.
func (a *Authority) IssueFor(domains []string, purposes ...x509.ExtKeyUsage) Certificate {
	return a.issue(domains, lasting, purposes...)
}

const lasting Flaw = "lasting" // which is none

// IssueForBoth is Issue with the purpose clientAuth too, which some peers want to see
// when they are connected to.
func (a *Authority) IssueForBoth(domain string, flaw Flaw) Certificate {
	return a.issue([]string{domain}, flaw, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

func (a *Authority) issue(domains []string, flaw Flaw, purposes ...x509.ExtKeyUsage) Certificate {
	a.t.Helper()
	now := time.Now()
	key := newKey(a.t)
	names, until, parent, signer := domains, now.Add(24*time.Hour), a.cert, a.key
	template := &x509.Certificate{
		SerialNumber: serial(a.t), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: purposes,
		NotBefore: now.Add(-90 * 24 * time.Hour), BasicConstraintsValid: true,
	}
	switch flaw {
	case lasting:
		until = now.Add(60 * 24 * time.Hour)
	case Expired:
		until = now.Add(-24 * time.Hour)
	case OtherName:
		names = []string{"other.example"}
	case SelfSigned:
		parent, signer = template, key
	}
	template.Subject, template.DNSNames, template.NotAfter = pkix.Name{CommonName: names[0]}, names, until
	cert := encode("CERTIFICATE", sign(a.t, template, parent, &key.PublicKey, signer).Raw)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	private := encode("PRIVATE KEY", der)
	file := domains[0] + "-" + string(flaw) + "-" + template.SerialNumber.Text(36)
	return Certificate{
		Cert: a.write(file+".crt", cert),
		Key:  a.write(file+".key", private),
		Both: a.write(file+".pem", append(cert, private...)),
	}
}

func (a *Authority) write(name string, text []byte) string {
	a.t.Helper()
	p := filepath.Join(a.dir, name)
	if err := os.WriteFile(p, text, 0o644); err != nil {
		a.t.Fatal(err)
	}
	return p
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func sign(t testing.TB, template, parent *x509.Certificate, public *ecdsa.PublicKey,
	key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func encode(kind string, der []byte) []byte {
	var b bytes.Buffer
	// Writing to memory does not fail.
	pem.Encode(&b, &pem.Block{Type: kind, Bytes: der})
	return b.Bytes()
}
