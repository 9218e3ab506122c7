package sasl

import (
	"encoding/hex"
	"errors"
	"testing"
)

func TestTokensLogInOverTheirChannelAlone(t *testing.T) {
	here := []Binding{{TLSExporter, []byte("this")}, {TLSServerEndPoint, []byte("cert")}}
	config := func(m Mechanism) *Config {
		return &Config{Bindings: here, Token: func(user string, of Mechanism, proves func([]byte) bool) (bool, error) {
			return user == "romeo" && of == m && proves([]byte("secret")), nil
		}}
	}
	for _, a := range []struct {
		m       Mechanism
		binding []byte
		want    error
	}{
		{HTSHA256Exporter, []byte("this"), nil},
		{HTSHA256EndPoint, []byte("cert"), nil},
		{HTSHA256None, nil, nil},
		{HTSHA256Exporter, []byte("that"), NotAuthorized},
		{HTSHA256Exporter, nil, NotAuthorized},
		{HTSHA256EndPoint, []byte("this"), NotAuthorized},
		{HTSHA256None, []byte("this"), NotAuthorized},
	} {
		s, err := New(a.m, config(a.m))
		if err != nil {
			t.Fatal(err)
		}
		answer, done, err := s.Next(TokenMessage("romeo", "secret", a.binding))
		if err != a.want || done != (err == nil) || s.Username() != "romeo" {
			t.Errorf("%s with %q: %v, %v", a.m, a.binding, done, err)
		}
		if err == nil && (!TokenAnswered(answer, "secret", a.binding) || TokenAnswered(answer, "other", a.binding)) {
			t.Errorf("%s: answered with %x", a.m, answer)
		}
		if _, _, err := s.Next(TokenMessage("romeo", "secret", a.binding)); err != MalformedRequest {
			t.Errorf("once more: %v", err)
		}
	}
	for _, message := range []string{"", "romeo", "romeo\x00", "romeo\x00short", "\x00" + string(make([]byte, 32)),
		"romeo\x00" + string(make([]byte, 33)), "\xff\x00" + string(make([]byte, 32))} {
		s, err := New(HTSHA256None, config(HTSHA256None))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Next([]byte(message)); err != MalformedRequest {
			t.Errorf("%q: %v", message, err)
		}
	}
	if _, err := New(HTSHA256Exporter, &Config{Token: config("").Token}); !errors.Is(err, InvalidMechanism) {
		t.Errorf("without a binding: %v", err)
	}
	if _, err := New(HTSHA256None, &Config{}); !errors.Is(err, InvalidMechanism) {
		t.Errorf("without tokens: %v", err)
	}
	s, err := New(HTSHA256None, config(HTSHA256None))
	if err != nil {
		t.Fatal(err)
	}
	if challenge, done, err := s.Next(nil); challenge == nil || done || err != nil { // no initial response
		t.Errorf("%v, %v", done, err)
	}
	if _, done, err := s.Next(TokenMessage("romeo", "secret", nil)); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
}

// The values were computed by another program, as draft-schmaus-kitten-sasl-ht-09 says; the token is that of XEP-0484,
// example 3.
func TestTokenMessagesAreThoseOfTheDraft(t *testing.T) {
	const secret = "WXZzciBwYmFmdmZnZiBqdmd1IGp2eXFhcmZm"
	for _, a := range []struct{ binding, initiator, responder string }{
		{"", "9097787461a184e0fa84ec00c1381190b6c4d16a8ec4453c7b2ac5e7fcf935ed",
			"4e513409631474863b986c9f3e8c1e27ca29d1d7ab9ed4097e7afd6007bf9c62"},
		{"tls-exporter data", "a1e4353b83558eac9b9242319d807c028e05d570bda33717a643ffe66e54c7e9",
			"0f3b2307040b97b6ed15a49066b900a6e1c3feedfdf89cf7582ac5c19d776a26"},
	} {
		message := TokenMessage("romeo", secret, []byte(a.binding))
		if got := hex.EncodeToString(message); got != hex.EncodeToString([]byte("romeo\x00"))+a.initiator {
			t.Errorf("with %q: %s", a.binding, got)
		}
		m, bindings := HTSHA256None, []Binding(nil)
		if a.binding != "" {
			m, bindings = HTSHA256Exporter, []Binding{{TLSExporter, []byte(a.binding)}}
		}
		try := func(_ string, _ Mechanism, proves func([]byte) bool) (bool, error) {
			return proves([]byte(secret)), nil
		}
		s, err := New(m, &Config{Bindings: bindings, Token: try})
		if err != nil {
			t.Fatal(err)
		}
		if answer, done, err := s.Next(message); !done || err != nil || hex.EncodeToString(answer) != a.responder {
			t.Errorf("with %q: answered with %x, %v", a.binding, answer, err)
		}
	}
}

func FuzzTokenMessage(f *testing.F) {
	f.Add(TokenMessage("romeo", "other", nil))
	f.Fuzz(func(t *testing.T, message []byte) {
		s, err := New(HTSHA256None, &Config{Token: func(_ string, _ Mechanism, proves func([]byte) bool) (bool, error) {
			return proves([]byte("secret")), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, done, _ := s.Next(message); done && string(message[len(message)-32:]) != string(TokenMessage("", "secret", nil)[1:]) {
			t.Errorf("%q logged in", message)
		}
	})
}
