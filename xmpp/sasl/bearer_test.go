package sasl

import (
	"errors"
	"strings"
	"testing"
)

func bearerOf(t testing.TB, shown *Bearer) Server {
	t.Helper()
	s, err := New(OAuthBearer, &Config{Bearer: func(b Bearer) (string, *BearerRefusal, error) {
		*shown = b
		switch b.Token {
		case "good":
			return "romeo", nil, nil
		case "away":
			return "", nil, errors.New("away")
		}
		return "", &BearerRefusal{Status: BearerToken, Scope: "xmpp", Discovery: "https://x.example/"}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestATokenLogsIn(t *testing.T) {
	for message, want := range map[string]string{
		"n,,\x01auth=Bearer good\x01\x01":                                                         "",
		"n,a=romeo@example.org,\x01auth=Bearer good\x01\x01":                                      "romeo@example.org",
		"y,a=a=2Cb=3D@example.org,\x01host=example.org\x01port=5222\x01auth=bEARER  good\x01\x01": "a,b=@example.org",
		"n,,\x01more=x=y\x01auth=Bearer good\x01\x01":                                             "",
	} {
		var shown Bearer
		s := bearerOf(t, &shown)
		if challenge, done, err := s.Next(nil); err != nil || done || challenge == nil || len(challenge) > 0 {
			t.Errorf("without a message: %q, %v, %v", challenge, done, err)
		}
		challenge, done, err := s.Next([]byte(message))
		if err != nil || !done || challenge != nil || s.Username() != "romeo" || s.AuthzID() != want {
			t.Errorf("%q: %q, %v, %v, %q as %q", message, challenge, done, err, s.Username(), s.AuthzID())
		}
		if strings.Contains(message, "host=") && shown.Host != "example.org" {
			t.Errorf("%q: host %q", message, shown.Host)
		}
		if _, _, err := s.Next([]byte(message)); err != MalformedRequest {
			t.Errorf("once more: %v", err)
		}
	}
}

func TestATokenThatIsNoGoodIsRefusedWithTheReason(t *testing.T) {
	for _, message := range []string{"n,,\x01auth=Bearer bad\x01\x01", "n,,\x01auth=\x01\x01", "n,,\x01\x01"} {
		for _, response := range []string{"\x01", "n,,\x01auth=Bearer good\x01\x01", ""} {
			var shown Bearer
			s := bearerOf(t, &shown)
			challenge, done, err := s.Next([]byte(message))
			const want = `{"status":"invalid_token","scope":"xmpp","openid-configuration":"https://x.example/"}`
			if string(challenge) != want || done || err != nil {
				t.Errorf("%q: %q, %v, %v", message, challenge, done, err)
			}
			if _, done, err := s.Next([]byte(response)); done || err != NotAuthorized || s.Username() != "" {
				t.Errorf("then %q: %v, %v", response, done, err)
			}
			if _, done, err := s.Next([]byte("n,,\x01auth=Bearer good\x01\x01")); done || err != MalformedRequest {
				t.Errorf("and then: %v, %v", done, err)
			}
		}
	}
	var shown Bearer
	if _, _, err := bearerOf(t, &shown).Next([]byte("n,,\x01auth=Bearer away\x01\x01")); Condition(err) != TemporaryAuthFailure {
		t.Errorf("away: %v", err)
	}
	if _, err := New(OAuthBearer, &Config{}); !errors.Is(err, InvalidMechanism) {
		t.Errorf("where nobody knows tokens: %v", err)
	}
}

var badBearers = []string{"", "\x01", "n,\x01auth=Bearer good\x01\x01", "n,,auth=Bearer good\x01\x01", "n,,\x01auth=Bearer good\x01",
	"n,,\x01auth=Bearer good", "n,,\x01auth=Basic good\x01\x01", "n,,\x01auth=Bearer\x01\x01", "n,,\x01auth=Bearer a b\x01\x01",
	"n,,\x01auth=Bearer good\x01auth=Bearer bad\x01\x01", "n,,\x01host=a\x01host=b\x01auth=Bearer good\x01\x01",
	"p=tls-exporter,,\x01auth=Bearer good\x01\x01", "x,,\x01auth=Bearer good\x01\x01", "n,romeo,\x01auth=Bearer good\x01\x01",
	"n,a=,\x01auth=Bearer good\x01\x01", "n,a=a=b,\x01auth=Bearer good\x01\x01", "n,,x\x01auth=Bearer good\x01\x01",
	"n,,\x01auth=Bearer good\x01\x01\x01", "n,,\x01auth\x01\x01", "n,,\x01=x\x01\x01", "n,,\x01a1=x\x01\x01", "n,,\x01auth=Bearer g\x00d\x01\x01",
	"n,,\x01auth=Bearer \xff\x01\x01", "n,,\x01auth=Bearer é\x01\x01", "n,,\x01auth=Bearer " + strings.Repeat("x", MaxBearer+1) + "\x01\x01",
	"n,,\x01x=" + strings.Repeat("x", MaxMessage) + "\x01\x01"}

func TestWhatIsNoMessageOfOAuthBearerIsRefused(t *testing.T) {
	for _, message := range badBearers {
		var shown Bearer
		challenge, done, err := bearerOf(t, &shown).Next([]byte(message))
		if err != MalformedRequest || done || challenge != nil {
			t.Errorf("%.100q: %q, %v, %v", message, challenge, done, err)
		}
		if shown.Token != "" {
			t.Errorf("%.100q: somebody was asked for %q", message, shown.Token)
		}
	}
}

// FuzzBearer: whatever a client says, no token is looked at that has more than RFC 6750 allows, and what is written
// anew is read alike.
func FuzzBearer(f *testing.F) {
	for _, s := range append(badBearers, "n,,\x01auth=Bearer good\x01\x01", "n,a=x@y,\x01host=h\x01auth=Bearer good\x01\x01") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, message string) {
		authzID, shown, err := parseBearer(message)
		if err != nil {
			return
		}
		if len(shown.Token) > MaxBearer || strings.ContainsAny(shown.Token, " \x00\x01") || strings.ContainsRune(shown.Host, 1) {
			t.Fatalf("%q: %+v", message, shown)
		}
		again := "n,"
		if authzID != "" {
			again += "a=" + encodeName(authzID)
		}
		if again += ",\x01"; shown.Host != "" {
			again += "host=" + shown.Host + "\x01"
		}
		if shown.Token != "" {
			again += "auth=Bearer " + shown.Token + "\x01"
		}
		id, b, err := parseBearer(again + "\x01")
		if err != nil && len(again) < MaxMessage || err == nil && (id != authzID || b != shown) {
			t.Fatalf("%q: %q, %+v; written as %q: %q, %+v, %v", message, authzID, shown, again, id, b, err)
		}
	})
}
