package fakepeer

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"

	"jackdaw/testsuite/peers"
)

// Certified gives the options a certificate of an authority for each domain, sound or flawed, and has the peer
// believe that authority and no other.
func (o Options) Certified(t testing.TB, a *peers.Authority, flaw peers.Flaw) Options {
	t.Helper()
	pem, err := os.ReadFile(a.File)
	if err != nil {
		t.Fatal(err)
	}
	o.Roots = x509.NewCertPool()
	o.Roots.AppendCertsFromPEM(pem)
	o.Certificates = map[string]tls.Certificate{}
	for _, d := range o.Domains {
		o.Certificates[d] = Load(t, a.Issue(d, flaw))
	}
	return o
}

// Load reads a certificate with its key.
func Load(t testing.TB, files peers.Certificate) tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
