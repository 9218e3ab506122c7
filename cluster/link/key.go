package link

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"time"
)

// A Key makes a node a node: whoever has it is trusted by all nodes of the cluster. Its methods derive what is used
// from it; it is never used itself. The zero value is no key.
type Key struct{ secret [keySize]byte }

const (
	keySize   = 32
	keyPrefix = "jackdaw-cluster-key-1:"
	keyNote   = "# The key of a jackdaw cluster: the same on all of its nodes. Whoever has it can pose as one of them.\n"
	maxFile   = 4 << 10
)

// NewKey makes a key.
func NewKey() Key {
	var k Key
	_, _ = rand.Read(k.secret[:]) // never fails (Go 1.24)
	return k
}

// String hides the key, so that it gets into no log.
func (Key) String() string { return "cluster key" }

// Derive returns n bytes that only holders of the key know, others for each purpose. It panics for n above 8,160, which
// nobody needs.
func (k Key) Derive(purpose string, n int) []byte {
	b, err := hkdf.Key(sha256.New, k.secret[:], nil, "jackdaw cluster: "+purpose, n)
	if err != nil {
		panic("cluster/link: " + err.Error())
	}
	return b
}

// WriteKey makes the file, for its owner alone. It replaces none.
func WriteKey(file string, k Key) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("there is a file %s already: copy it to the other nodes, or remove it for another key", file)
	}
	if err != nil {
		return fmt.Errorf("write the cluster key: %w", err)
	}
	_, err = io.WriteString(f, keyNote+keyPrefix+base64.RawURLEncoding.EncodeToString(k.secret[:])+"\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("write the cluster key: %w", err), os.Remove(file))
	}
	return nil
}

// ReadKey reads the file that WriteKey made. It refuses one that others than its owner may read.
func ReadKey(file string) (Key, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, fmt.Errorf("there is no cluster key at %s: make one with 'jackdaw cluster init' on one node, "+
			"and copy the file to all others", file)
	}
	if err != nil {
		return Key{}, fmt.Errorf("read the cluster key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("read the cluster key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Key{}, fmt.Errorf("others can read the cluster key %s (mode %04o): run chmod 600 on it, "+
			"or make another key if somebody may have read it", file, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return Key{}, fmt.Errorf("read the cluster key: %w", err)
	}
	k, ok := parseKey(text)
	if !ok {
		return Key{}, fmt.Errorf("%s holds no cluster key: copy the file of another node as it is, "+
			"or make one with 'jackdaw cluster init'", file)
	}
	return k, nil
}

func parseKey(text []byte) (k Key, ok bool) {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		value, found := bytes.CutPrefix(line, []byte(keyPrefix))
		if !found || ok || base64.RawURLEncoding.DecodedLen(len(value)) != keySize {
			return Key{}, false
		}
		if _, err := base64.RawURLEncoding.Strict().Decode(k.secret[:], value); err != nil {
			return Key{}, false
		}
		ok = true
	}
	return k, ok
}

// forEver is how long certificates are valid: they live in memory only, and the clocks of nodes need not agree.
var (
	forEver = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) // RFC 5280 §4.1.2.5: no well-defined end
	always  = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
)

// tlsConfig returns what proves that this is the node, to whoever has the same key, and asks the same of others. The
// authority is derived from the key; the certificate is made anew, and its private key never leaves the process.
func (k Key) tlsConfig(id string) (*tls.Config, error) {
	authority := ed25519.NewKeyFromSeed(k.Derive("authority of links", ed25519.SeedSize))
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "jackdaw cluster"},
		NotBefore: always, NotAfter: forEver, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, root, root, authority.Public(), authority)
	if err != nil {
		return nil, fmt.Errorf("make the authority of links: %w", err)
	}
	if root, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("make the authority of links: %w", err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of the node: %w", err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: id},
		DNSNames: []string{nameOf(id)}, NotBefore: always, NotAfter: forEver, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if der, err = x509.CreateCertificate(rand.Reader, leaf, root, public, authority); err != nil {
		return nil, fmt.Errorf("make the certificate of the node: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &tls.Config{
		Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		RootCAs:                pool,
		ClientCAs:              pool,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"jackdaw-link"},
		SessionTicketsDisabled: true,
		// A batch that is at hand is to leave in few writes.
		DynamicRecordSizingDisabled: true,
	}, nil
}

// nameOf is the name in a certificate that stands for the id of a node, which may have any characters.
func nameOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16]) + ".node.invalid"
}

// idOf is the id that a certificate of the cluster's authority proves.
func idOf(state tls.ConnectionState) string { return state.PeerCertificates[0].Subject.CommonName }
