package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Files are those of an authority, and what it has signed for servers and their clients. All are PEM.
type Files struct{ CA, Cert, Key string }

// StartTLS is Start for a server that speaks TLS alone, and only with who shows it the certificate of the files.
func StartTLS(t testing.TB, files *Files, options ...string) *Server {
	t.Helper()
	return start(t, files, append(slices.Clone(usual), options...))
}

// StartClusterTLS is StartCluster for such servers.
func StartClusterTLS(t testing.TB, files *Files) []*Server {
	t.Helper()
	return startCluster(t, files, 0)
}

// Certificates makes an authority and a certificate for 127.0.0.1 and redis.example.
func Certificates(t testing.TB) *Files {
	t.Helper()
	dir := t.TempDir()
	f := &Files{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	caKey, key := newKey(t), newKey(t)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	own := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "redis"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"redis.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	write(t, f.CA, "CERTIFICATE", sign(t, ca, ca, caKey, caKey))
	write(t, f.Cert, "CERTIFICATE", sign(t, own, ca, key, caKey))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f.Key, "PRIVATE KEY", der)
	return f
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, c, by *x509.Certificate, key, byKey *ecdsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func write(t testing.TB, path, kind string, der []byte) {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// listen are the options for a port.
func (f *Files) listen(port int) []string {
	if f == nil {
		return []string{"--port", strconv.Itoa(port)}
	}
	return []string{"--port", "0", "--tls-port", strconv.Itoa(port), "--tls-ca-cert-file", f.CA, "--tls-cert-file", f.Cert,
		"--tls-key-file", f.Key, "--tls-auth-clients", "yes", "--tls-replication", "yes", "--tls-cluster", "yes"}
}

// cli are the options of redis-cli.
func (f *Files) cli() []string {
	if f == nil {
		return nil
	}
	return []string{"--tls", "--cacert", f.CA, "--cert", f.Cert, "--key", f.Key}
}
