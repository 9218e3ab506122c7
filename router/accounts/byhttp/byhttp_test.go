package byhttp

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

var (
	romeo  = jid.MustParse("romeo@example.org")
	juliet = jid.MustParse("juliet@example.org")
)

func program(t *testing.T, o config.AccountsHTTP) *Program {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.CloseIdleConnections)
	return p
}

// file has a text in a file.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAProgramIsAskedAsTheManualSays(t *testing.T) {
	var asked []string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		asked = append(asked, r.Method+" "+r.URL.String()+" "+r.Header.Get("Content-Type")+" "+
			r.Header.Get("Authorization")+" "+string(b))
		var q struct {
			User, Password string
			Users          []string
		}
		if err != nil || json.Unmarshal(b, &q) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		switch {
		case q.Users != nil:
			_, _ = io.WriteString(w, `{"users": ["romeo@example.org", "mercutio@example.org"], "more": 1}`)
		case q.Password == "a \"quote\"\r\nX: y":
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer s.Close()
	ca := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	p := program(t, config.AccountsHTTP{URL: s.URL + "/x?y=z", TokenFile: file(t, "secret\n"), CAFile: ca})
	if err := p.Check(t.Context(), romeo, "a \"quote\"\r\nX: y"); err != nil {
		t.Error(err)
	}
	if err := p.Check(t.Context(), romeo, "wrong"); !errors.Is(err, accounts.ErrNotAuthorized) {
		t.Errorf("a wrong password: %v", err)
	}
	known, err := p.Known(t.Context(), []jid.JID{juliet, romeo})
	if err != nil || !slices.Equal(known, []jid.JID{romeo}) {
		t.Errorf("known: %v, %v", known, err)
	}
	const head = "POST /x?y=z application/json Bearer secret "
	if want := []string{
		head + `{"user":"romeo@example.org","password":"a \"quote\"\r\nX: y"}`,
		head + `{"user":"romeo@example.org","password":"wrong"}`,
		head + `{"users":["juliet@example.org","romeo@example.org"]}`,
	}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	// Nobody is asked for an empty password, and nobody else's certificate will do.
	if err := p.Check(t.Context(), romeo, ""); !errors.Is(err, accounts.ErrNotAuthorized) || len(asked) != 3 {
		t.Errorf("an empty password: %v, %q", err, asked)
	}
	stranger := program(t, config.AccountsHTTP{URL: s.URL})
	if err := stranger.Check(t.Context(), romeo, "x"); err == nil || errors.Is(err, accounts.ErrNotAuthorized) ||
		!strings.Contains(err.Error(), "certificate") || len(asked) != 3 {
		t.Errorf("a certificate that nobody trusts: %v, %q", err, asked)
	}
	if err := p.SetPassword(t.Context(), romeo, "x"); !errors.Is(err, accounts.ErrElsewhere) {
		t.Errorf("set: %v", err)
	}
}

func TestAnswersOfAProgram(t *testing.T) {
	status, body := 0, ""
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a password was sent elsewhere")
	}))
	defer elsewhere.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", elsewhere.URL)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	defer s.Close()
	p := program(t, config.AccountsHTTP{URL: s.URL})
	silent := errors.New("no answer")
	kind := func(err error) error {
		for _, one := range [...]error{nil, accounts.ErrNotAuthorized, accounts.ErrStrange} {
			if errors.Is(err, one) {
				return one
			}
		}
		return silent
	}
	for _, c := range []struct {
		status       int
		check, known error
	}{
		{200, nil, accounts.ErrStrange}, // it has no users
		{204, accounts.ErrStrange, accounts.ErrStrange},
		{302, accounts.ErrStrange, accounts.ErrStrange},
		{307, accounts.ErrStrange, accounts.ErrStrange}, // which would have the password sent on
		{400, accounts.ErrStrange, accounts.ErrStrange},
		{401, accounts.ErrNotAuthorized, accounts.ErrStrange},
		{403, accounts.ErrNotAuthorized, accounts.ErrStrange},
		{404, accounts.ErrNotAuthorized, accounts.ErrStrange},
		{429, silent, silent},
		{500, accounts.ErrStrange, accounts.ErrStrange},
		{502, silent, silent},
		{503, silent, silent},
		{504, silent, silent},
	} {
		status = c.status
		if err := kind(p.Check(t.Context(), romeo, "x")); err != c.check {
			t.Errorf("%d: %v, want %v", c.status, err, c.check)
		}
		if _, err := p.Known(t.Context(), []jid.JID{romeo}); kind(err) != c.known {
			t.Errorf("%d for many: %v, want %v", c.status, err, c.known)
		}
	}
	status = 200
	for _, b := range []string{`{}`, `[]`, `null`, `{"users": "romeo@example.org"}`, `{"users": [1]}`, `{"users": null}`,
		"\xff", strings.Repeat(" ", maxAnswer+1)} {
		body = b
		if known, err := p.Known(t.Context(), []jid.JID{romeo}); kind(err) != accounts.ErrStrange || known != nil {
			t.Errorf("%.30q: %v, %v", b, known, err)
		}
	}
	body = `{"users": []}`
	if known, err := p.Known(t.Context(), []jid.JID{romeo}); err != nil || len(known) > 0 {
		t.Errorf("nobody: %v, %v", known, err)
	}
}

func TestASlowProgramIsLeft(t *testing.T) {
	hold := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	defer s.Close()
	defer close(hold)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := program(t, config.AccountsHTTP{URL: s.URL}).Check(ctx, romeo, "x")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want that of the context", err)
	}
}

func TestATokenIsOneWord(t *testing.T) {
	for _, text := range []string{"", "\n", "two words", "a\r\nX: y", "ü"} {
		_, err := New(config.AccountsHTTP{URL: "https://example.org", TokenFile: file(t, text)})
		if err == nil || !strings.Contains(err.Error(), "accounts.http.token_file") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
