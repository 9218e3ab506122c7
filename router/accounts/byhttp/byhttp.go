// Package byhttp has a program that is asked by HTTP say whose passwords are right. docs/manual.md, "Accounts of a
// directory", has what is asked and answered.
//
// Left out: HTTP/2, proxies, redirections, and setting passwords.
package byhttp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"jackdaw/config"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

// maxAnswer bounds the body of an answer: as many of the longest addresses as may be asked for, as JSON.
const maxAnswer = 4 << 20

// A Program is an accounts.Backend.
type Program struct {
	url, token string
	client     *http.Client
}

// New returns the program that the configuration names, which must be valid. It reads the files that are named there
// and asks nobody.
func New(o config.AccountsHTTP) (*Program, error) {
	p := &Program{url: o.URL}
	roots, err := config.ReadRoots("accounts.http.ca_file", o.CAFile)
	if err != nil {
		return nil, err
	}
	if p.token, err = config.ReadSecret("accounts.http.token_file", o.TokenFile); err != nil {
		return nil, err
	}
	blank := func(r rune) bool { return r <= ' ' || r > '~' }
	if o.TokenFile != "" && (p.token == "" || strings.ContainsFunc(p.token, blank)) {
		return nil, fmt.Errorf("accounts.http.token_file: expected one word in %s", o.TokenFile)
	}
	p.client = &http.Client{
		// A password goes nowhere but where the configuration says.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			MaxConnsPerHost: 32, MaxIdleConnsPerHost: 4,
			IdleConnTimeout: 20 * time.Second, MaxResponseHeaderBytes: 64 << 10},
	}
	return p, nil
}

// String names the program.
func (p *Program) String() string { return "the program at " + p.url }

// ask posts a question, and returns the status and body of the answer.
func (p *Program) ask(ctx context.Context, question any) (status int, answer []byte, err error) {
	b, err := json.Marshal(question)
	if err != nil {
		return 0, nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(b))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return 0, nil, err
	case len(answer) > maxAnswer:
		return 0, nil, fmt.Errorf("%w: its body is longer than %d bytes", accounts.ErrStrange, maxAnswer)
	}
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		return 0, nil, fmt.Errorf("its status is %s", resp.Status)
	}
	return resp.StatusCode, answer, nil
}

// Check implements accounts.Backend.
func (p *Program) Check(ctx context.Context, user jid.JID, password string) error {
	if password == "" {
		return accounts.ErrNotAuthorized
	}
	status, _, err := p.ask(ctx, struct {
		User     string `json:"user"`
		Password string `json:"password"`
	}{user.Bare().String(), password})
	if err != nil {
		return err
	}
	switch status {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return accounts.ErrNotAuthorized
	}
	return fmt.Errorf("%w: its status is %d, expected 200, 401, 403 or 404", accounts.ErrStrange, status)
}

// list is a question, and its answer: of these users those who may log in.
type list struct {
	Users []string `json:"users"`
}

// Known implements accounts.Backend.
func (p *Program) Known(ctx context.Context, users []jid.JID) (known []jid.JID, err error) {
	question := list{Users: make([]string, len(users))}
	for i, user := range users {
		question.Users[i] = user.Bare().String()
	}
	status, body, err := p.ask(ctx, question)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Users *[]string `json:"users"`
	}
	if err := json.Unmarshal(body, &answer); status != http.StatusOK || err != nil || answer.Users == nil {
		return nil, fmt.Errorf(`%w: its status is %d, expected 200 with {"users": [those who may log in]}`,
			accounts.ErrStrange, status)
	}
	good := make(map[string]bool, len(*answer.Users))
	for _, name := range *answer.Users {
		good[name] = true
	}
	for _, user := range users {
		if good[user.Bare().String()] {
			known = append(known, user)
		}
	}
	return known, nil
}

// SetPassword implements accounts.Backend: it is not done.
func (p *Program) SetPassword(context.Context, jid.JID, string) error { return accounts.ErrElsewhere }
