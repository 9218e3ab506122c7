package sasl

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func unbase64(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func mustDerive(h Hash, password string, salt []byte) Keys {
	k, err := DeriveKeys(h, password, salt, MinIterations)
	if err != nil {
		panic(err)
	}
	return k
}

// julietKeys are made once: a derivation takes a millisecond.
var julietKeys = map[Hash]Keys{
	SHA1:   mustDerive(SHA1, "r0m30myr0m30", []byte("salt of sha-1---")),
	SHA256: mustDerive(SHA256, "r0m30myr0m30", []byte("salt of sha-256-")),
	SHA512: mustDerive(SHA512, "r0m30myr0m30", []byte("salt of sha-512-")),
}

var channel = []Binding{{TLSExporter, []byte("exported")}, {TLSServerEndPoint, []byte("certificate")}}

// verona knows juliet.
func verona(bindings ...Binding) *Config {
	return &Config{
		Bindings: bindings,
		Prepare: func(user string) (string, bool) {
			return strings.ToLower(user), !strings.Contains(user, "/")
		},
		Lookup: func(user string, h Hash) (Keys, bool, error) {
			if user != "juliet" {
				return Keys{}, false, nil
			}
			return julietKeys[h], true, nil
		},
		Verify: func(user, password string) (bool, error) {
			return user == "juliet" && password == "r0m30myr0m30", nil
		},
		FakeSecret:     []byte("0123456789abcdef"),
		FakeIterations: MinIterations,
	}
}

// login runs a whole exchange; alter may change each message on its way.
func login(m Mechanism, cfg *Config, cred Credentials, alter func(n int, message []byte) []byte) (Server, error) {
	if alter == nil {
		alter = func(_ int, message []byte) []byte { return message }
	}
	s, err := New(m, cfg)
	if err != nil {
		return nil, err
	}
	c, err := NewClient(m, cred)
	if err != nil {
		return nil, err
	}
	message := c.Start()
	for n := 0; ; n += 2 {
		challenge, done, err := s.Next(alter(n, message))
		if err != nil {
			return s, err
		}
		challenge = alter(n+1, challenge)
		if done {
			return s, c.Finish(challenge)
		}
		if message, err = c.Next(challenge); err != nil {
			return s, err
		}
	}
}

func TestExchangesOfTheSpecificationsSucceed(t *testing.T) {
	for _, c := range []struct {
		m                                      Mechanism
		nonce, salt, first, server, final, end string
	}{
		// RFC 5802 §5
		{ScramSHA1, "3rfcNHYJY1ZVvWVs7j", "QSXCR+Q6sek8bf92",
			"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
			"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="},
		// RFC 7677 §3
		{ScramSHA256, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "W22ZaJ0SNY7soEsUEjb6gQ==",
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
	} {
		cfg := verona()
		cfg.Lookup = func(user string, h Hash) (Keys, bool, error) {
			return mustDerive(h, "pencil", unbase64(c.salt)), user == "user", nil
		}
		srv, err := New(c.m, cfg)
		if err != nil {
			t.Fatal(err)
		}
		srv.(*scram).nonce = func() string { return c.nonce }
		got, done, err := srv.Next([]byte(c.first))
		if string(got) != c.server || done || err != nil {
			t.Errorf("%s: %q, %v, %v; want %q", c.m, got, done, err, c.server)
		}
		got, done, err = srv.Next([]byte(c.final))
		if string(got) != c.end || !done || err != nil || srv.Username() != "user" {
			t.Errorf("%s: %q, %v, %v; want %q", c.m, got, done, err, c.end)
		}

		cl, err := NewClient(c.m, Credentials{User: "user", Password: "pencil"})
		if err != nil {
			t.Fatal(err)
		}
		cl.nonce = strings.TrimPrefix(c.first, "n,,n=user,r=")
		cl.bare = c.first[3:]
		if got := cl.Start(); string(got) != c.first {
			t.Errorf("client of %s starts with %q", c.m, got)
		}
		if got, err := cl.Next([]byte(c.server)); string(got) != c.final || err != nil {
			t.Errorf("client of %s: %q, %v; want %q", c.m, got, err, c.final)
		}
		if err := cl.Finish([]byte(c.end)); err != nil {
			t.Errorf("client of %s: %v", c.m, err)
		}
	}
}

func TestEveryMechanismLogsIn(t *testing.T) {
	for _, m := range []Mechanism{ScramSHA512Plus, ScramSHA512, ScramSHA256Plus, ScramSHA256,
		ScramSHA1Plus, ScramSHA1, Plain} {
		for _, b := range channel {
			cfg, cred := verona(), Credentials{User: "Juliet", Password: "r0m30myr0m30", AuthzID: "a=b,c@verona"}
			if m.Plus() {
				cfg.Bindings, cred.Binding = channel, b
			}
			s, err := login(m, cfg, cred, nil)
			if err != nil {
				t.Errorf("%s with %s: %v", m, b.Type, err)
			} else if s.Username() != "juliet" || s.AuthzID() != "a=b,c@verona" {
				t.Errorf("%s: user %q, authzid %q", m, s.Username(), s.AuthzID())
			}
			cred.Password += "x"
			if s, err = login(m, cfg, cred, nil); err != NotAuthorized || s.Username() != "juliet" {
				t.Errorf("%s with a wrong password: %v", m, err)
			}
			cred.User, cred.Password = "nobody", "r0m30myr0m30"
			if s, err = login(m, cfg, cred, nil); err != NotAuthorized || s.Username() != "nobody" {
				t.Errorf("%s with an unknown user: %v", m, err)
			}
			cred.User = "ju/liet"
			if _, err = login(m, cfg, cred, nil); err != NotAuthorized {
				t.Errorf("%s with what is no name: %v", m, err)
			}
		}
	}
}

func TestChannelBindingIsEnforced(t *testing.T) {
	const bare = "n=juliet,r=abc"
	for _, c := range []struct {
		name     string
		m        Mechanism
		bindings []Binding
		header   string
		want     error
	}{
		{"none wanted, none announced", ScramSHA1, nil, "n,,", nil},
		{"none wanted, some announced", ScramSHA1, channel, "n,,", nil},
		{"the announcement did not arrive", ScramSHA1, channel, "y,,", NotAuthorized},
		{"none was announced", ScramSHA1, nil, "y,,", nil},
		{"binding without -PLUS", ScramSHA1, channel, "p=tls-exporter,,", MalformedRequest},
		{"-PLUS without binding", ScramSHA1Plus, channel, "n,,", MalformedRequest},
		{"-PLUS and not announced", ScramSHA1Plus, channel, "y,,", MalformedRequest},
		{"announced type", ScramSHA1Plus, channel, "p=tls-exporter,,", nil},
		{"other announced type", ScramSHA256Plus, channel, "p=tls-server-end-point,,", nil},
		{"type not announced", ScramSHA1Plus, channel, "p=tls-unique,,", NotAuthorized},
		{"type in other case", ScramSHA1Plus, channel, "p=TLS-exporter,,", NotAuthorized},
		{"type without data", ScramSHA1Plus, []Binding{{Type: TLSExporter}}, "p=tls-exporter,,", NotAuthorized},
	} {
		s, err := New(c.m, verona(c.bindings...))
		if err != nil {
			t.Fatal(err)
		}
		if _, done, err := s.Next([]byte(c.header + bare)); err != c.want || done {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	cred := Credentials{User: "juliet", Password: "r0m30myr0m30", Binding: Binding{TLSExporter, []byte("another channel")}}
	if _, err := login(ScramSHA256Plus, verona(channel...), cred, nil); err != NotAuthorized {
		t.Errorf("a login relayed from another channel: %v", err)
	}
	if _, err := login(ScramSHA256, verona(channel...), cred, nil); err != NotAuthorized {
		t.Errorf("a client that was shown no -PLUS: %v", err)
	}
	if _, err := New(ScramSHA1Plus, verona()); err != InvalidMechanism {
		t.Errorf("-PLUS without a channel: %v", err)
	}
}

func TestUnknownUserLooksLikeAKnownOneUntilTheEnd(t *testing.T) {
	challenge := func(cfg *Config, m Mechanism, user string) string {
		t.Helper()
		s, err := New(m, cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.(*scram).nonce = func() string { return "xyz" }
		c, _, err := s.Next([]byte("n,,n=" + user + ",r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		return string(c)
	}
	known, tybalt := challenge(verona(), ScramSHA1, "juliet"), challenge(verona(), ScramSHA1, "tybalt")
	if len(known) != len(tybalt) {
		t.Errorf("%q is told from %q", tybalt, known)
	}
	if again := challenge(verona(), ScramSHA1, "TYBALT"); again != tybalt {
		t.Errorf("salt of an unknown user changes from %q to %q", tybalt, again)
	}
	for what, other := range map[string]string{
		"name": challenge(verona(), ScramSHA1, "paris"),
		"hash": challenge(verona(), ScramSHA256, "tybalt"),
		"secret": challenge(func() *Config {
			c := verona()
			c.FakeSecret = []byte("another secret--")
			return c
		}(), ScramSHA1, "tybalt"),
	} {
		if other == tybalt {
			t.Errorf("salt does not depend on the %s", what)
		}
	}
	// Keys that cannot be used are as good as none.
	for _, k := range []Keys{{}, julietKeys[SHA256], {Hash: SHA1, Salt: []byte("x"), Iterations: 1}} {
		cfg := verona()
		cfg.Lookup = func(string, Hash) (Keys, bool, error) { return k, true, nil }
		if got := challenge(cfg, ScramSHA1, "tybalt"); got != tybalt {
			t.Errorf("with bad keys: %q, want %q", got, tybalt)
		}
	}
	if FakeKeys([]byte("0123456789abcdef"), SHA1, "tybalt", MinIterations).VerifyPassword("x") {
		t.Error("a password fits fake keys")
	}
}

func TestAnErrorOfTheStoreIsTemporary(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, c := range []struct {
		err  error
		want Failure
	}{{broken, TemporaryAuthFailure}, {AccountDisabled, AccountDisabled}, {fmt.Errorf("x: %w", CredentialsExpired),
		CredentialsExpired}} {
		cfg := verona()
		cfg.Lookup = func(string, Hash) (Keys, bool, error) { return Keys{}, false, c.err }
		cfg.Verify = func(string, string) (bool, error) { return true, c.err }
		for _, m := range []Mechanism{ScramSHA1, Plain} {
			_, err := login(m, cfg, Credentials{User: "juliet", Password: "x"}, nil)
			if Condition(err) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%s: %v", m, err)
			}
		}
	}
	if Condition(broken) != TemporaryAuthFailure || Condition(Aborted) != Aborted {
		t.Error("Condition does not find the condition")
	}
}

func TestALoginIsUsedOnce(t *testing.T) {
	for _, m := range []Mechanism{ScramSHA1, Plain} {
		cred := Credentials{User: "juliet", Password: "r0m30myr0m30"}
		s, err := login(m, verona(), cred, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewClient(m, cred)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if b, done, err := s.Next(c.Start()); b != nil || done || err != MalformedRequest {
				t.Errorf("%s after its end: %q, %v, %v", m, b, done, err)
			}
		}
		if s, err = New(m, verona()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Next([]byte("rubbish")); err != MalformedRequest {
			t.Errorf("%s: %v", m, err)
		}
		if _, done, err := s.Next(c.Start()); done || err != MalformedRequest {
			t.Errorf("%s goes on after an error: %v, %v", m, done, err)
		}
	}
}

func TestMissingInitialResponseIsAskedForOnce(t *testing.T) {
	for _, m := range []Mechanism{ScramSHA1, Plain} {
		s, err := New(m, verona())
		if err != nil {
			t.Fatal(err)
		}
		if b, done, err := s.Next(nil); b == nil || len(b) != 0 || done || err != nil {
			t.Errorf("%s: %q, %v, %v", m, b, done, err)
		}
		c, err := NewClient(m, Credentials{User: "juliet", Password: "r0m30myr0m30"})
		if err != nil {
			t.Fatal(err)
		}
		if b, done, err := s.Next(c.Start()); err != nil || done != (m == Plain) || (b == nil) != done {
			t.Errorf("%s then: %q, %v, %v", m, b, done, err)
		}
		if s, err = New(m, verona()); err != nil {
			t.Fatal(err)
		}
		// An empty response was sent, which is not the same as none.
		if _, _, err := s.Next([]byte{}); err != MalformedRequest {
			t.Errorf("%s: empty: %v", m, err)
		}
		if s, err = New(m, verona()); err != nil {
			t.Fatal(err)
		}
		s.Next(nil)
		if _, _, err := s.Next(nil); err != MalformedRequest {
			t.Errorf("%s: nothing twice: %v", m, err)
		}
		if s, err = New(m, verona()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Next(bytes.Repeat([]byte("n"), MaxMessage+1)); err != MalformedRequest {
			t.Errorf("%s: too long: %v", m, err)
		}
	}
}

func TestMechanismsThatCannotWorkAreRefused(t *testing.T) {
	for _, c := range []struct {
		m  Mechanism
		do func(*Config)
	}{
		{"SCRAM-MD5", func(*Config) {}}, {"", func(*Config) {}}, {"plain", func(*Config) {}},
		{Plain, func(c *Config) { c.Verify = nil }},
		{ScramSHA1, func(c *Config) { c.Lookup = nil }},
		{ScramSHA1, func(c *Config) { c.FakeSecret = nil }},
		{ScramSHA1, func(c *Config) { c.FakeIterations = 0 }},
	} {
		cfg := verona()
		c.do(cfg)
		if s, err := New(c.m, cfg); s != nil || err != InvalidMechanism {
			t.Errorf("%q: %v, %v", c.m, s, err)
		}
	}
	if _, err := NewClient("SCRAM-MD5", Credentials{}); err != InvalidMechanism {
		t.Errorf("client: %v", err)
	}
	if _, err := NewClient(ScramSHA1Plus, Credentials{}); err != InvalidMechanism {
		t.Errorf("client without channel: %v", err)
	}
}

func TestClientBelievesNoImpostor(t *testing.T) {
	start := func() *Client {
		c, err := NewClient(ScramSHA1, Credentials{User: "juliet", Password: "x"})
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		return c
	}
	own := start().nonce
	for _, challenge := range []string{
		"", "r=abc,s=QQ==,i=4096", "r=" + own + ",s=QQ==,i=4096", "r=" + own + "x,s=QQ==,i=999999999",
		"r=" + own + "x,s=QQ==,i=0", "r=" + own + "x,s=Q,i=1", "r=" + own + "x,s=QR==,i=1", "m=x,r=" + own + "x,s=QQ==,i=1",
	} {
		c := start()
		c.nonce = own
		if b, err := c.Next([]byte(challenge)); b != nil || err != ErrServer {
			t.Errorf("%q: %q, %v", challenge, b, err)
		}
	}
	for _, end := range []string{"", "v=", "v=AAAA", "e=other-error", "v=" + base64.StdEncoding.EncodeToString(make([]byte, 20))} {
		c := start()
		if _, err := c.Next([]byte("r=" + c.nonce + "x,s=QQ==,i=1")); err != nil {
			t.Fatal(err)
		}
		if err := c.Finish([]byte(end)); err != ErrServer {
			t.Errorf("%q: %v", end, err)
		}
	}
	if err := start().Finish([]byte("v=")); err != ErrServer {
		t.Errorf("success without challenge: %v", err)
	}
}
