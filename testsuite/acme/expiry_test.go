package acme

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

func TestAnAdministratorHearsOfACertificateThatEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pair.pem")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{harness.Domain},
		NotBefore: time.Now().Add(-80 * 24 * time.Hour), NotAfter: time.Now().Add(9 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{Cert: file, Key: file, Users: []string{"admin", "juliet"}})
	admin, err := harness.Connect(s.C2STLS, "admin", "desk")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.Send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	message, err := admin.Until(func(el string) bool { return strings.HasPrefix(el, "<message") })
	if err != nil || !strings.Contains(message, "The certificate of localhost ends on") || !strings.Contains(message, file) {
		t.Errorf("%v: %s", err, message)
	}
	res, err := http.Get("http://" + s.Metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `jackdaw_certificate_expiry_seconds{host="localhost"}`) {
		t.Error("no metric says when it ends")
	}
}
