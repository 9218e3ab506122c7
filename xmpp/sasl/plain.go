package sasl

import (
	"strings"
	"unicode/utf8"
)

// plain is the server's side of PLAIN (RFC 4616).
type plain struct {
	config  *Config
	step    step
	user    string
	authzID string
}

func (p *plain) Username() string { return p.user }
func (p *plain) AuthzID() string  { return p.authzID }

func (p *plain) Next(response []byte) (challenge []byte, done bool, err error) {
	at := p.step
	p.step = over
	switch {
	case at == atStart && response == nil:
		p.step = asked
		return []byte{}, false, nil
	case at > asked || len(response) > MaxMessage:
		return nil, false, MalformedRequest
	}
	authzID, user, password, err := parsePlain(string(response))
	if err != nil {
		return nil, false, err
	}
	p.authzID = authzID
	possible := false
	// What can be no name is refused at once: that tells nothing about accounts.
	if p.user, possible = p.config.prepare(user); !possible {
		return nil, false, NotAuthorized
	}
	switch ok, err := p.config.Verify(p.user, password); {
	case err != nil:
		return nil, false, asFailure(err)
	case !ok:
		return nil, false, NotAuthorized
	}
	return nil, true, nil
}

// parsePlain reads authzid NUL authcid NUL passwd (RFC 4616 §2).
func parsePlain(s string) (authzID, user, password string, err error) {
	if len(s) > MaxMessage || !utf8.ValidString(s) {
		return "", "", "", MalformedRequest
	}
	authzID, rest, ok := strings.Cut(s, "\x00")
	user, password, ok2 := strings.Cut(rest, "\x00")
	switch {
	case !ok || !ok2 || strings.IndexByte(password, 0) >= 0,
		user == "" || len(user) > MaxUser,
		password == "" || len(password) > MaxPassword:
		return "", "", "", MalformedRequest
	case len(authzID) > MaxAuthzID:
		return "", "", "", InvalidAuthzID
	}
	return authzID, user, password, nil
}
