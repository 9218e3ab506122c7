package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

const host = "example.org"

// issuer answers a question about any token with a status and a body, and keeps the last question.
type issuer struct {
	*httptest.Server
	status int
	body   string
	asked  url.Values
	head   http.Header
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{status: http.StatusOK}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.Method != http.MethodPost {
			t.Errorf("asked with %s: %v", r.Method, err)
		}
		i.asked, i.head = r.PostForm, r.Header
		w.Header().Set("Location", i.URL+"/elsewhere")
		w.WriteHeader(i.status)
		_, _ = io.WriteString(w, i.body)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) server(t *testing.T, o config.OAuth) *Server {
	t.Helper()
	o.URL = i.URL
	if o.Username == "" {
		o.Username = "username"
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestATokenIsIntrospected(t *testing.T) {
	i := newIssuer(t)
	s := i.server(t, config.OAuth{ClientID: "jack daw", ClientSecretFile: file(t, "s&cret\n"), Scope: "xmpp", Discovery: "https://x/"})
	exp := time.Now().Add(time.Hour).Truncate(time.Second)
	i.body = fmt.Sprintf(`{"active":true,"username":"Romeo","scope":"a xmpp","exp":%d,"token_type":"Bearer","more":[1]}`, exp.Unix())
	user, until, err := s.Whose(t.Context(), host, "a+b/c=")
	if err != nil || user.String() != "romeo@example.org" || !until.Equal(exp) {
		t.Errorf("%s until %s, %v", user, until, err)
	}
	if i.asked.Get("token") != "a+b/c=" || i.asked.Get("token_type_hint") != "access_token" ||
		i.head.Get("Authorization") != "Basic amFjaytkYXc6cyUyNmNyZXQ=" { // jack+daw:s%26cret
		t.Errorf("asked %v with %v", i.asked, i.head)
	}
	if err := s.Check(t.Context(), jid.MustParse("romeo@example.org"), "x"); err != nil {
		t.Errorf("as his password: %v", err)
	}
	if err := s.Check(t.Context(), jid.MustParse("juliet@example.org"), "x"); !errors.Is(err, accounts.ErrNotAuthorized) {
		t.Errorf("as the password of another: %v", err)
	}
	i.asked = nil
	if err := s.Check(t.Context(), jid.MustParse("romeo@example.org"), ""); !errors.Is(err, accounts.ErrNotAuthorized) || i.asked != nil {
		t.Errorf("an empty one: %v", err)
	}
	if scope, discovery := s.Terms(); scope != "xmpp" || discovery != "https://x/" {
		t.Errorf("terms: %q, %q", scope, discovery)
	}
}

func TestAnswersAboutATokenAreJudged(t *testing.T) {
	silent := errors.New("no answer")
	now := time.Now().Unix()
	for _, row := range []struct {
		name, body string
		status     int
		o          config.OAuth
		want       error
	}{
		{"inactive", `{"active":false}`, 200, config.OAuth{}, accounts.ErrNotAuthorized},
		{"expired", fmt.Sprintf(`{"active":true,"username":"romeo","exp":%d}`, now-1), 200, config.OAuth{}, accounts.ErrNotAuthorized},
		{"no scope", `{"active":true,"username":"romeo"}`, 200, config.OAuth{Scope: "xmpp"}, accounts.ErrScope},
		{"another scope", `{"active":true,"username":"romeo","scope":"xmppx mail"}`, 200, config.OAuth{Scope: "xmpp"}, accounts.ErrScope},
		{"half of the scope", `{"active":true,"username":"romeo","scope":"xmpp"}`, 200, config.OAuth{Scope: "xmpp chat"}, accounts.ErrScope},
		{"for another", `{"active":true,"username":"romeo","aud":["mail"]}`, 200, config.OAuth{Audience: "im"}, accounts.ErrNotAuthorized},
		{"for nobody", `{"active":true,"username":"romeo"}`, 200, config.OAuth{Audience: "im"}, accounts.ErrNotAuthorized},
		{"for us", `{"active":true,"username":"romeo","aud":["mail","im"]}`, 200, config.OAuth{Audience: "im"}, nil},
		{"for us alone", `{"active":true,"username":"romeo","aud":"im"}`, 200, config.OAuth{Audience: "im"}, nil},
		{"a refresh token", `{"active":true,"username":"romeo","token_type":"refresh_token"}`, 200, config.OAuth{}, accounts.ErrNotAuthorized},
		{"another claim", `{"active":true,"sub":"romeo","username":"x"}`, 200, config.OAuth{Username: "sub"}, nil},
		{"without the claim", `{"active":true,"sub":"romeo"}`, 200, config.OAuth{}, accounts.ErrStrange},
		{"a claim that is no text", `{"active":true,"username":7}`, 200, config.OAuth{}, accounts.ErrStrange},
		{"an address", `{"active":true,"username":"romeo@example.org"}`, 200, config.OAuth{Address: true}, nil},
		{"an address elsewhere", `{"active":true,"username":"romeo@example.net"}`, 200, config.OAuth{Address: true}, accounts.ErrNotAuthorized},
		{"an address of no user", `{"active":true,"username":"example.org"}`, 200, config.OAuth{Address: true}, accounts.ErrStrange},
		{"an unexpected address", `{"active":true,"username":"romeo@example.org"}`, 200, config.OAuth{}, accounts.ErrStrange},
		{"no word of active", `{"username":"romeo"}`, 200, config.OAuth{}, accounts.ErrStrange},
		{"active as a text", `{"active":"true","username":"romeo"}`, 200, config.OAuth{}, accounts.ErrStrange},
		{"active is null", `{"active":null,"username":"romeo"}`, 200, config.OAuth{}, accounts.ErrStrange},
		{"a strange time", `{"active":true,"username":"romeo","exp":"soon"}`, 200, config.OAuth{}, accounts.ErrStrange},
		{"no JSON", `<html>`, 200, config.OAuth{}, accounts.ErrStrange},
		{"a list", `[]`, 200, config.OAuth{}, accounts.ErrStrange},
		{"too long", `{"active":true,"username":"romeo","x":"` + strings.Repeat("x", maxAnswer) + `"}`, 200, config.OAuth{}, accounts.ErrStrange},
		{"we are not known", `{"error":"invalid_client"}`, 401, config.OAuth{}, silent},
		{"a redirection", ``, 307, config.OAuth{}, silent},
		{"a fault", `{"active":true,"username":"romeo"}`, 500, config.OAuth{}, silent},
	} {
		i := newIssuer(t)
		i.status, i.body = row.status, row.body
		user, _, err := i.server(t, row.o).Whose(t.Context(), host, "x")
		answer := errors.Is(err, accounts.ErrNotAuthorized) || errors.Is(err, accounts.ErrStrange)
		switch {
		case row.want == nil && (err != nil || user.String() != "romeo@example.org"),
			row.want == silent && (err == nil || answer),
			row.want != nil && row.want != silent && !errors.Is(err, row.want):
			t.Errorf("%s: %s, %v; want %v", row.name, user, err, row.want)
		}
	}
}

func TestWhoAsksGivesUpWithTheContext(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer s.Close()
	o, err := New(config.OAuth{URL: s.URL, Username: "username"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := o.Whose(ctx, host, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestAnEmptySecretIsSaid(t *testing.T) {
	_, err := New(config.OAuth{ClientID: "x", ClientSecretFile: file(t, "\n")})
	if err == nil || !strings.Contains(err.Error(), "client_secret_file") {
		t.Error(err)
	}
}

// FuzzAnswer: whatever an authorization server says, whoever comes in is a user of the host.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"active":true,"username":"romeo","exp":99999999999,"aud":["a"],"scope":"x"}`, `{"active":true,"username":"a@b"}`,
		`{"active":true,"username":"\u0000"}`, `{"active":false}`, `[]`, `{"active":true,"exp":1e300}`, ``} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, body string, address bool) {
		s := &Server{o: config.OAuth{Username: "username", Address: address}}
		user, _, err := s.read([]byte(body), host)
		if err == nil && (user.Domain() != host || user.Local() == "" || !user.IsBare()) {
			t.Fatalf("%q: %s", body, user)
		}
	})
}
