package sasl

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestKeysVerifyTheirPasswordOnly(t *testing.T) {
	for _, h := range []Hash{SHA1, SHA256, SHA512} {
		k, err := NewKeys(h, "p\u00e4ss wort", MinIterations)
		if err != nil {
			t.Fatal(err)
		}
		if len(k.Salt) != SaltSize || len(k.StoredKey) != h.Size() || len(k.ServerKey) != h.Size() ||
			bytes.Equal(k.StoredKey, k.ServerKey) {
			t.Errorf("%v: %+v", h, k)
		}
		// OpaqueString composes, and takes every space for the same.
		for p, want := range map[string]bool{"p\u00e4ss wort": true, "pa\u0308ss\u00a0wort": true, "P\u00e4ss wort": false,
			"p\u00e4ss wort ": false, "": false, "\x00": false, strings.Repeat("x", MaxPassword+1): false} {
			if got := k.VerifyPassword(p); got != want {
				t.Errorf("%v: %.20q: %v", h, p, got)
			}
		}
		other, err := NewKeys(h, "p\u00e4ss wort", MinIterations)
		if err != nil || bytes.Equal(other.Salt, k.Salt) || bytes.Equal(other.StoredKey, k.StoredKey) {
			t.Errorf("%v: two keys of a password are the same, %v", h, err)
		}
		broken := k
		broken.StoredKey = nil
		if broken.VerifyPassword("p\u00e4ss wort") || (Keys{}).VerifyPassword("") {
			t.Error("incomplete keys verify a password")
		}
	}
}

func TestKeysNeedProperParameters(t *testing.T) {
	for _, c := range []struct {
		h        Hash
		password string
		salt     string
		n        int
		want     error
	}{
		{0, "x", "salt", 4096, ErrHash}, {SHA1, "x", "", 4096, ErrSalt}, {SHA1, "x", "salt", 4095, ErrIterations},
		{SHA1, "x", "salt", MaxIterations + 1, ErrIterations}, {SHA1, "", "salt", 4096, ErrPassword},
		{SHA1, "a\nb", "salt", 4096, ErrPassword}, {SHA1, "a\xff", "salt", 4096, ErrPassword},
		{SHA1, strings.Repeat("x", MaxPassword+1), "salt", 4096, ErrPassword},
	} {
		if k, err := DeriveKeys(c.h, c.password, []byte(c.salt), c.n); !errors.Is(err, c.want) || k.StoredKey != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestClientAndServerAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom([]Mechanism{ScramSHA1, ScramSHA1Plus, ScramSHA256, ScramSHA256Plus, ScramSHA512,
			ScramSHA512Plus}).Draw(t, "mechanism")
		password := rapid.StringN(1, 20, -1).Draw(t, "password")
		cred := Credentials{
			User:     rapid.StringMatching(`[a-z,=\x{fc} ]{1,10}`).Draw(t, "user"),
			Password: password,
			AuthzID:  rapid.StringMatching(`[a-z,=@]{0,10}`).Draw(t, "authzid"),
		}
		cfg := verona()
		if m.Plus() {
			cred.Binding = Binding{TLSExporter, rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "data")}
			cfg.Bindings = []Binding{{TLSServerEndPoint, []byte("x")}, cred.Binding}
		}
		// Few iterations: keys from elsewhere, and a quick test.
		salt := rapid.SliceOfN(rapid.Byte(), 1, 32).Draw(t, "salt")
		forms, err := Forms(password)
		if err != nil {
			return // so does an account
		}
		salted, err := saltedPassword(m.Hash(), forms[0], salt, 2)
		if err != nil {
			t.Fatal(err)
		}
		keys := Keys{Hash: m.Hash(), Salt: salt, Iterations: 2,
			StoredKey: m.Hash().sum(nil, m.Hash().mac(salted, clientKey)), ServerKey: m.Hash().mac(salted, serverKey)}
		cfg.Lookup = func(user string, _ Hash) (Keys, bool, error) { return keys, user == cred.User, nil }
		s, err := login(m, cfg, cred, nil)
		if err != nil || s.Username() != cred.User || s.AuthzID() != cred.AuthzID {
			t.Fatalf("%v: %q %q", err, s.Username(), s.AuthzID())
		}

		// Any byte of any message, changed on its way, ends the login.
		n := rapid.IntRange(0, 3).Draw(t, "message")
		bit := byte(1) << rapid.IntRange(0, 7).Draw(t, "bit")
		at := rapid.IntRange(0, 1<<16).Draw(t, "place")
		_, err = login(m, cfg, cred, func(i int, b []byte) []byte {
			if i == n {
				b[at%len(b)] ^= bit
			}
			return b
		})
		if err == nil {
			t.Fatalf("bit %08b of byte %d of message %d was changed and the login succeeded", bit, at, n)
		}
	})
}

func TestBothEndsOfAConnectionHaveTheSameBindings(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		near, far := net.Pipe()
		server := tls.Server(near,
			&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}},
				MaxVersion: version})
		client := tls.Client(far, &tls.Config{RootCAs: pool, ServerName: "localhost", MaxVersion: version})
		shaken := make(chan error, 1)
		go func() { shaken <- client.Handshake() }()
		if err := errors.Join(server.Handshake(), <-shaken); err != nil {
			t.Fatal(err)
		}
		ss, cs := server.ConnectionState(), client.ConnectionState()
		a, okA := Exporter(&ss)
		b, okB := Exporter(&cs)
		if want := version == tls.VersionTLS13; okA != want || okB != want || !bytes.Equal(a.Data, b.Data) ||
			want && len(a.Data) != 32 {
			t.Errorf("tls-exporter of %x: %v %v, %v %v", version, a, okA, b, okB)
		}
		b, okB = ServerEndPoint(cs.PeerCertificates[0])
		if sum := sha256.Sum256(raw); !okB || b.Type != TLSServerEndPoint || !bytes.Equal(b.Data, sum[:]) {
			t.Errorf("tls-server-end-point: %v %v", b, okB)
		}
		near.Close()
		far.Close()
	}
	for alg, size := range map[x509.SignatureAlgorithm]int{x509.SHA1WithRSA: 32, x509.SHA384WithRSAPSS: 48,
		x509.ECDSAWithSHA512: 64, x509.PureEd25519: 0} {
		if b, ok := ServerEndPoint(&x509.Certificate{SignatureAlgorithm: alg, Raw: raw}); ok != (size > 0) ||
			len(b.Data) != size {
			t.Errorf("%v: %d bytes", alg, len(b.Data))
		}
	}
}

// BenchmarkServerLogin is the server's part of a login with stored keys, the
// client's messages being made beforehand.
func BenchmarkServerLogin(b *testing.B) {
	for _, m := range []Mechanism{ScramSHA1, ScramSHA256, ScramSHA256Plus} {
		b.Run(string(m), func(b *testing.B) {
			c, err := NewClient(m, Credentials{User: "juliet", Password: "r0m30myr0m30", Binding: channel[0]})
			if err != nil {
				b.Fatal(err)
			}
			if !m.Plus() {
				c.header = "n,,"
			}
			cfg := verona(channel...)
			start := func() *scram {
				s, err := New(m, cfg)
				if err != nil {
					b.Fatal(err)
				}
				return s.(*scram)
			}
			fixed := func() string { return "0123456789abcdefghijklmnop" }
			first := c.Start()
			s := start()
			s.nonce = fixed
			challenge, _, err := s.Next(first)
			if err != nil {
				b.Fatal(err)
			}
			final, err := c.Next(challenge)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				s := start()
				newNonce() // its cost belongs to a login
				s.nonce = fixed
				if _, _, err := s.Next(first); err != nil {
					b.Fatal(err)
				}
				if _, done, err := s.Next(final); !done {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestPasswordsArePreparedAsClientsDo(t *testing.T) {
	for in, want := range map[string][]string{
		"r0m30 my r0m30": {"r0m30 my r0m30"},
		"p\u00e4ss":      {"p\u00e4ss"},
		"pa\u0308ss":     {"p\u00e4ss"},
		"a\u00a0b":       {"a b"},
		"\u00b5torrent":  {"\u03bctorrent", "\u00b5torrent"}, // micro sign
		"m\u00b2":        {"m2", "m\u00b2"},
		"\uff11\ufb01":   {"1fi", "\uff11\ufb01"}, // full width, ligature
		"\u2026\u00bd":   {"...1\u20442", "\u2026\u00bd"},
		"a\u00adb":       {"ab"}, // OpaqueString forbids a soft hyphen
		"\U0001f600":     {"\U0001f600"},
		"I\u00adX":       {"IX"}, // RFC 4013 §3, and the next two
		"\u00aa":         {"a", "\u00aa"},
		"\u2168":         {"IX", "\u2168"},
	} {
		if got, err := Forms(in); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "\u0007", "a\nb", "a\u0085", "\u00ad", "\ufeff", "\ue000", "\ufdd0", "a\xff", strings.Repeat("x", MaxPassword+1)} {
		if got, err := Forms(in); err != ErrPassword {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestEitherFormOfAPasswordLogsIn(t *testing.T) {
	const typed, prepared = "\u00b5torrent", "\u03bctorrent"
	keys, err := NewKeys(SHA256, typed, MinIterations)
	if err != nil || !keys.VerifyPassword(typed) || !keys.VerifyPassword(prepared) || keys.VerifyPassword("utorrent") {
		t.Fatalf("%+v, %v", keys, err)
	}
	// SCRAM proves the first form, and with only the other's keys known as the second, that.
	cfg := verona()
	for _, k := range []Keys{keys, {Hash: keys.Hash, Salt: keys.Salt, Iterations: keys.Iterations,
		StoredKey: keys.OtherStoredKey,
		ServerKey: keys.OtherServerKey, OtherStoredKey: keys.StoredKey, OtherServerKey: keys.ServerKey}} {
		cfg.Lookup = func(string, Hash) (Keys, bool, error) { return k, true, nil }
		if _, err := login(ScramSHA256, cfg, Credentials{User: "juliet", Password: typed}, nil); err != nil {
			t.Error(err)
		}
		if _, err := login(ScramSHA256, cfg, Credentials{User: "juliet", Password: "other"}, nil); err != NotAuthorized {
			t.Errorf("a wrong password: %v", err)
		}
	}
	// Keys made when OpaqueString alone counted.
	old := Keys{Hash: keys.Hash, Salt: keys.Salt, Iterations: keys.Iterations, StoredKey: keys.OtherStoredKey,
		ServerKey: keys.OtherServerKey}
	if !old.VerifyPassword(typed) || old.VerifyPassword(prepared) {
		t.Error("old keys")
	}
}
