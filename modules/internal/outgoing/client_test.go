package outgoing

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// program answers as it is told.
func program(t *testing.T, f http.HandlerFunc) string {
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

func do(t *testing.T, public bool, r Request) (Answer, error) {
	t.Helper()
	c := NewClient(1, public)
	defer c.Close()
	return c.Do(t.Context(), r)
}

func TestARequestIsSigned(t *testing.T) {
	var got http.Header
	var body []byte
	url := program(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "12 °C")
	})
	a, err := do(t, false, Request{URL: url, Body: []byte(`{"a":1}`), Key: "b-1-2", Secret: "s3cret"})
	if err != nil || a.Status != 200 || a.Type != "text/plain" || string(a.Body) != "12 °C" {
		t.Errorf("%+v, %v", a, err)
	}
	if string(body) != `{"a":1}` || got.Get("Idempotency-Key") != "b-1-2" || got.Get("Content-Type") != "application/json" {
		t.Errorf("%s with %v", body, got)
	}
	at, mac, ok := strings.Cut(strings.TrimPrefix(got.Get("X-Jackdaw-Signature"), "t="), ",v1=")
	h := hmac.New(sha256.New, []byte("s3cret"))
	fmt.Fprintf(h, "%s.%s", at, body)
	if !ok || mac != hex.EncodeToString(h.Sum(nil)) {
		t.Errorf("the signature is %s", got.Get("X-Jackdaw-Signature"))
	}
	if _, err = do(t, false, Request{URL: url, Key: "b-1-3"}); err != nil || got.Get("X-Jackdaw-Signature") != "" {
		t.Errorf("without a secret it is signed, %v", err)
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	reached := false
	other := program(t, func(http.ResponseWriter, *http.Request) { reached = true })
	url := program(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other, http.StatusTemporaryRedirect)
	})
	a, err := do(t, false, Request{URL: url})
	if err != nil || a.Status != http.StatusTemporaryRedirect || reached {
		t.Errorf("%+v, %v; the other was asked: %v", a, err, reached)
	}
	if taken, final := Taken(a.Status); taken || final {
		t.Error("a redirect is an answer")
	}
}

func TestAnAnswerIsBounded(t *testing.T) {
	for name, f := range map[string]http.HandlerFunc{
		"body": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		},
		"packed": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "" {
				t.Errorf("a packed answer is asked for: %v", r.Header)
			}
			_, _ = w.Write(make([]byte, MaxAnswer+1))
		},
	} {
		a, err := do(t, false, Request{URL: program(t, f)})
		if !errors.Is(err, ErrLong) || a.Status != 200 || a.Body != nil {
			t.Errorf("%s: %d with %d bytes, %v", name, a.Status, len(a.Body), err)
		}
	}
	url := program(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", maxHead)) })
	if a, err := do(t, false, Request{URL: url}); err == nil || a.Status != 0 {
		t.Errorf("a long head: %+v, %v", a, err)
	}
}

// What is public is decided on the address that is dialled, not on the name.
func TestWhatIsNotPublicIsNotReached(t *testing.T) {
	reached := false
	url := program(t, func(http.ResponseWriter, *http.Request) { reached = true })
	byName := strings.Replace(url, "127.0.0.1", "localhost", 1)
	for _, one := range []string{url, byName, strings.Replace(url, "127.0.0.1", "[::ffff:127.0.0.1]", 1)} {
		if _, err := do(t, true, Request{URL: one}); !errors.Is(err, ErrNotPublic) || reached {
			t.Errorf("%s: %v; reached: %v", one, err, reached)
		}
	}
	if _, err := do(t, false, Request{URL: byName}); err != nil || !reached {
		t.Errorf("without the guard: %v; reached: %v", err, reached)
	}
}

func TestNoProxyIsUsedAndNoErrorHoldsTheURL(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	_, err := do(t, true, Request{URL: "http://user:password@10.0.0.1/token"})
	if !errors.Is(err, ErrNotPublic) || strings.Contains(err.Error(), "password") || strings.Contains(err.Error(), "token") {
		t.Errorf("%v", err)
	}
	if _, err = do(t, true, Request{URL: "http://a b/token"}); err == nil || strings.Contains(err.Error(), "token") {
		t.Errorf("%v", err)
	}
}

func TestTheStatusSaysWhetherToTryAgain(t *testing.T) {
	for _, row := range []struct {
		status       int
		taken, final bool
	}{{200, true, false}, {202, true, false}, {204, true, false}, {302, false, false}, {400, false, true},
		{410, false, true},
		{408, false, false}, {425, false, false}, {429, false, false}, {500, false, false}, {503, false, false}} {
		if taken, final := Taken(row.status); taken != row.taken || final != row.final {
			t.Errorf("%d: taken %v, final %v", row.status, taken, final)
		}
	}
}

func TestSignature(t *testing.T) { // RFC 4231 has no such input: reckoned by OpenSSL
	if got := Signature("key", time.Unix(1795867200, 0), []byte("{}")); got !=
		"t=1795867200,v1=e3770886dbd2fea47abab085029e834705b84146a25705489addfda3a6369163" {
		t.Error(got)
	}
}
