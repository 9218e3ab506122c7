package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeCertificate makes the files of a certificate for a name that ends at that time.
func writeCertificate(t *testing.T, dir, name string, from, until time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: from,
		NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "test.crt"), filepath.Join(dir, "test.key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestCertificatesThatClientsRefuseAreWarnedOfAndServed(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Now()
	for _, c := range []struct {
		name        string
		from, until time.Time
		want        string // "": nothing is wrong
		level       string
	}{
		{"im.example", now.Add(-day), now.Add(60 * day), "", ""},
		{"im.example", now.Add(-day), now.Add(13*day + time.Hour), "ends on " + now.Add(13*day+time.Hour).UTC().Format(time.DateOnly) + ", in 13 days", "WARN"},
		{"im.example", now.Add(-9 * day), now.Add(-day), "expired on", "ERROR"},
		{"im.example", now.Add(day), now.Add(60 * day), "is not valid before", "ERROR"},
		{"www.example", now.Add(-day), now.Add(60 * day), "is of another name", "ERROR"},
	} {
		cfg := certConfig(t, "im.example")
		cfg.Hosts[0].Cert, cfg.Hosts[0].Key = writeCertificate(t, t.TempDir(), c.name, c.from, c.until)
		warnings, err := CheckCertificates(cfg, now)
		if err != nil {
			t.Errorf("%s: check refuses what a start takes: %v", c.want, err)
		}
		store, err := NewCertStore(cfg)
		if err != nil {
			t.Fatalf("%s: %v", c.want, err)
		}
		var log bytes.Buffer
		h := &house{o: RunOptions{Log: slog.New(slog.NewTextHandler(&log, nil))}, certs: store}
		same := h.sayCertificates()
		if c.want == "" {
			if len(warnings)+len(same)+log.Len() != 0 {
				t.Errorf("a good certificate: %q, %q, %s", warnings, same, &log)
			}
			continue
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], c.want) || len(same) != 1 || same[0] != warnings[0] {
			t.Errorf("%s: check says %q, the server %q", c.want, warnings, same)
		}
		if got := log.String(); !strings.Contains(got, "level="+c.level) || !strings.Contains(got, "do=") ||
			strings.Count(got, "\n") != 1 {
			t.Errorf("%s: the log says %s", c.want, got)
		}
	}
}

func TestCheckFailsOnWhatAStartRefuses(t *testing.T) {
	cfg := certConfig(t, "one.example", "two.example", "three.example")
	cfg.Hosts[0].Cert, cfg.Hosts[0].Key = "/nonexistent/c", "/nonexistent/k"
	kept := filepath.Join(cfg.Data, "certs", "two.example.pem")
	if err := writePrivate(kept, []byte("no PEM")); err != nil {
		t.Fatal(err)
	}
	_, err := CheckCertificates(cfg, time.Now())
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/c") || !strings.Contains(err.Error(), kept) ||
		strings.Contains(err.Error(), "three") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(cfg.Data, "certs", "three.example.pem")); err == nil {
		t.Error("check made a certificate")
	}
	if _, err := NewCertStore(cfg); err == nil {
		t.Error("a start takes it")
	}
}
