// Package oauth has an authorization server say whose an access token is, by introspection (RFC 7662).
//
// Left out: tokens that are checked by their signature (RFC 9068), since a token that was revoked is still signed;
// HTTP/2, proxies and redirections; and setting passwords.
package oauth

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"jackdaw/config"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

// maxAnswer bounds the body of an answer.
const maxAnswer = 64 << 10

// A Server is an accounts.Bearers.
type Server struct {
	o      config.OAuth
	secret string
	client *http.Client
}

// New returns the authorization server that the configuration names, which must be valid. It reads the files that are
// named there and asks nobody.
func New(o config.OAuth) (*Server, error) {
	s := &Server{o: o}
	roots, err := config.ReadRoots("accounts.oauth.ca_file", o.CAFile)
	if err != nil {
		return nil, err
	}
	if s.secret, err = config.ReadSecret("accounts.oauth.client_secret_file", o.ClientSecretFile); err != nil {
		return nil, err
	}
	if o.ClientSecretFile != "" && s.secret == "" {
		return nil, fmt.Errorf("accounts.oauth.client_secret_file: %s is empty; expected the secret of %s",
			o.ClientSecretFile, o.ClientID)
	}
	s.client = &http.Client{
		// A token goes nowhere but where the configuration says.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			MaxConnsPerHost: 32, MaxIdleConnsPerHost: 16,
			IdleConnTimeout: 20 * time.Second, MaxResponseHeaderBytes: 64 << 10},
	}
	return s, nil
}

// String names the server.
func (s *Server) String() string { return "the authorization server at " + s.o.URL }

// Terms implements accounts.Bearers.
func (s *Server) Terms() (scope, discovery string) { return s.o.Scope, s.o.Discovery }

// Whose implements accounts.Bearers.
func (s *Server) Whose(ctx context.Context, host, token string) (user jid.JID, until time.Time, err error) {
	body, err := s.introspect(ctx, token)
	if err != nil {
		return user, until, err
	}
	return s.read(body, host)
}

// introspect asks about a token (RFC 7662 §2.1), and returns the body of the answer.
func (s *Server) introspect(ctx context.Context, token string) ([]byte, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.o.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if s.o.ClientID != "" { // RFC 6749 §2.3.1: as in a form, and then as HTTP Basic has it
		r.SetBasicAuth(url.QueryEscape(s.o.ClientID), url.QueryEscape(s.secret))
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden: // RFC 7662 §2.3
		return nil, fmt.Errorf("its status is %s: it does not take accounts.oauth.client_id and client_secret_file",
			resp.Status)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("its status is %s, expected 200", resp.Status)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("%w: its body is longer than %d bytes", accounts.ErrStrange, maxAnswer)
	}
	return body, nil
}

// read is what an answer says (RFC 7662 §2.2).
func (s *Server) read(body []byte, host string) (user jid.JID, until time.Time, err error) {
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(body, &claims); err != nil {
		return user, until, fmt.Errorf("%w: it is no object of JSON", accounts.ErrStrange)
	}
	var active *bool
	if json.Unmarshal(claims["active"], &active) != nil || active == nil {
		return user, until, fmt.Errorf("%w: it does not say whether the token is active", accounts.ErrStrange)
	}
	if !*active {
		return user, until, accounts.ErrNotAuthorized
	}
	now := time.Now()
	if exp, ok, bad := number(claims["exp"]); bad {
		return user, until, fmt.Errorf("%w: its exp is no time", accounts.ErrStrange)
	} else if ok {
		if until = exp; !now.Before(until) {
			return user, until, accounts.ErrNotAuthorized
		}
	}
	if kind := text(claims["token_type"]); kind != "" && !strings.EqualFold(kind, "Bearer") &&
		!strings.EqualFold(kind, "access_token") { // COMPAT(Keycloak 25): token_type is what others have in RFC 9068
		return user, until, accounts.ErrNotAuthorized
	}
	if s.o.Audience != "" && !slices.Contains(texts(claims["aud"]), s.o.Audience) {
		return user, until, accounts.ErrNotAuthorized
	}
	granted := strings.Fields(text(claims["scope"]))
	for _, one := range strings.Fields(s.o.Scope) {
		if !slices.Contains(granted, one) {
			return user, until, accounts.ErrScope
		}
	}
	user, err = s.user(text(claims[s.o.Username]), host)
	return user, until, err
}

// user is whose a token is, by the claim that says so.
func (s *Server) user(name, host string) (jid.JID, error) {
	if name == "" {
		return jid.JID{}, fmt.Errorf("%w: it has no %s, which accounts.oauth.username asks for", accounts.ErrStrange,
			s.o.Username)
	}
	if !s.o.Address {
		user, err := jid.New(name, host, "")
		if err != nil {
			return jid.JID{}, fmt.Errorf("%w: its %s is no user name; is it an address (accounts.oauth.address)?",
				accounts.ErrStrange, s.o.Username)
		}
		return user, nil
	}
	user, err := jid.Parse(name)
	switch {
	case err != nil || user.Local() == "" || user.Resource() != "":
		return jid.JID{}, fmt.Errorf("%w: its %s is no address, which accounts.oauth.address asks for",
			accounts.ErrStrange, s.o.Username)
	case user.Domain() != host:
		return jid.JID{}, accounts.ErrNotAuthorized
	}
	return user, nil
}

// text is a string, "" for what is none.
func text(raw json.RawMessage) (s string) {
	_ = json.Unmarshal(raw, &s) // "" then
	return s
}

// texts are one string or several.
func texts(raw json.RawMessage) (all []string) {
	if json.Unmarshal(raw, &all) == nil {
		return all
	}
	return []string{text(raw)}
}

// number is a time in seconds (RFC 7519 §2).
func number(raw json.RawMessage) (t time.Time, ok, bad bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return t, false, false
	}
	var n float64
	if json.Unmarshal(raw, &n) != nil || n < 0 || n > 1<<40 {
		return t, false, true
	}
	return time.Unix(int64(n), 0), true, false
}

// Check implements accounts.Backend: the password is a token.
func (s *Server) Check(ctx context.Context, user jid.JID, password string) error {
	if password == "" {
		return accounts.ErrNotAuthorized
	}
	whose, _, err := s.Whose(ctx, user.Domain(), password)
	if err == nil && whose != user.Bare() {
		err = accounts.ErrNotAuthorized
	}
	return err
}

// Known implements accounts.Backend. Nobody is known but by a token, and it is not asked (accounts.Bearers).
func (s *Server) Known(context.Context, []jid.JID) ([]jid.JID, error) {
	return nil, accounts.ErrStrange
}

// SetPassword implements accounts.Backend: it is not done.
func (s *Server) SetPassword(context.Context, jid.JID, string) error { return accounts.ErrElsewhere }
