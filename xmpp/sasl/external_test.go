package sasl

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// capulet believes certificates of two domains; the stream came from the first.
func capulet() *Config {
	return &Config{External: func(authzID string) (bool, error) {
		switch authzID {
		case "", "montague.example", "rooms.montague.example":
			return true, nil
		case "verona.example":
			return false, errors.New("the certificates cannot be read")
		case "paris.example":
			return false, InvalidAuthzID
		}
		return false, nil
	}}
}

func TestExternalIsDecidedByTheCallback(t *testing.T) {
	for authzID, want := range map[string]Failure{
		"":                       "",
		"montague.example":       "",
		"rooms.montague.example": "",
		"tybalt.example":         NotAuthorized,
		"verona.example":         TemporaryAuthFailure,
		"paris.example":          InvalidAuthzID,
		"b\u00fccher.example":    NotAuthorized,
	} {
		s, err := login(External, capulet(), Credentials{AuthzID: authzID}, nil)
		if want == "" && err != nil || want != "" && (err == nil || Condition(err) != want) {
			t.Errorf("%q: %v, want %q", authzID, err, want)
		}
		if s.AuthzID() != authzID || s.Username() != "" {
			t.Errorf("%q: acts as %q, named %q", authzID, s.AuthzID(), s.Username())
		}
	}
	if _, err := login(External, capulet(), Credentials{AuthzID: "verona.example"}, nil); err == nil ||
		!strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestExternalWithoutInitialResponseIsAsked(t *testing.T) {
	s, err := New(External, capulet())
	if err != nil {
		t.Fatal(err)
	}
	if challenge, done, err := s.Next(nil); challenge == nil || len(challenge) > 0 || done || err != nil {
		t.Fatalf("asks %q, %v, %v", challenge, done, err)
	}
	// An empty response element is an answer, whatever became of it on the way.
	if challenge, done, err := s.Next(nil); challenge != nil || !done || err != nil || s.AuthzID() != "" {
		t.Errorf("%q, %v, %v", challenge, done, err)
	}
	if _, done, err := s.Next([]byte("montague.example")); done || err != MalformedRequest {
		t.Errorf("a message after the end: %v, %v", done, err)
	}
}

func TestExternalIsReadStrictly(t *testing.T) {
	for in, want := range map[string]Failure{
		"a\x00b": MalformedRequest, "\x00": MalformedRequest, "\xff.example": MalformedRequest, "\xc0\x80": MalformedRequest,
		strings.Repeat("a", MaxAuthzID+1): InvalidAuthzID, strings.Repeat("a", MaxMessage+1): MalformedRequest,
	} {
		called := false
		s, err := New(External, &Config{External: func(string) (bool, error) { called = true; return true, nil }})
		if err != nil {
			t.Fatal(err)
		}
		if _, done, err := s.Next([]byte(in)); done || err != want || called || s.AuthzID() != "" {
			t.Errorf("%.40q: %v, %v, called %v; want %v", in, done, err, called, want)
		}
		if _, done, err := s.Next([]byte("montague.example")); done || err != MalformedRequest {
			t.Errorf("a second try after %.40q: %v, %v", in, done, err)
		}
	}
}

func TestExternalNeedsTheCallback(t *testing.T) {
	if s, err := New(External, verona()); err != InvalidMechanism {
		t.Errorf("%v, %v", s, err)
	}
	for _, m := range []Mechanism{Plain, ScramSHA256} {
		if s, err := New(m, capulet()); err != InvalidMechanism {
			t.Errorf("%s without keys: %v, %v", m, s, err)
		}
	}
	if External.Hash() != 0 || External.Plus() {
		t.Error("EXTERNAL has a hash")
	}
}

func TestExternalClientSaysOneThing(t *testing.T) {
	for _, authzID := range []string{"", "montague.example"} {
		c, err := NewClient(External, Credentials{AuthzID: authzID, User: "romeo", Password: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		if first := c.Start(); first == nil || string(first) != authzID {
			t.Errorf("starts with %q, want %q", first, authzID)
		}
		if answer, err := c.Next([]byte("r=a,s=QQ==,i=4096")); err != ErrServer {
			t.Errorf("answers a challenge by %q, %v", answer, err)
		}
		if err := c.Finish([]byte("more")); err != ErrServer {
			t.Errorf("data with the success: %v", err)
		}
		if err := c.Finish(nil); err != ErrServer {
			t.Errorf("a second end: %v", err)
		}
	}
}

func FuzzExternal(f *testing.F) {
	for _, s := range []string{"", "montague.example", "a\x00b", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		a, err := parseExternal(in)
		if err == nil && (a != in || !utf8.ValidString(a) || strings.ContainsRune(a, 0) || len(a) > MaxAuthzID) {
			t.Errorf("%q read as %q", in, a)
		}
		if f := Condition(err); err != nil && f != MalformedRequest && f != InvalidAuthzID {
			t.Errorf("%q: %v", in, err)
		}
	})
}
