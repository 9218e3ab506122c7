package sasl

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// OAuthBearer shows a token of OAuth 2.0 (RFC 7628). It needs TLS (§3.1), and is not bound to it.
const OAuthBearer Mechanism = "OAUTHBEARER"

// MaxBearer bounds a token.
const MaxBearer = 4096

// A Bearer is what a client shows by OAuthBearer.
type Bearer struct {
	Token string
	Host  string // that the client says to have connected to; "" if it does not say
}

// A BearerRefusal is what a client is told whose token is not good (RFC 7628 §3.2.2). Its Condition is NotAuthorized.
type BearerRefusal struct {
	Status    string `json:"status"`                         // a BearerStatus
	Scope     string `json:"scope,omitempty"`                // that a good token has
	Discovery string `json:"openid-configuration,omitempty"` // where it is told how to get one
}

// The values of Status (RFC 6750 §3.1).
const (
	BearerRequest = "invalid_request"
	BearerToken   = "invalid_token"
	BearerScope   = "insufficient_scope"
)

func (r *BearerRefusal) Error() string { return string(NotAuthorized) }

// Unwrap has Condition find NotAuthorized.
func (r *BearerRefusal) Unwrap() error { return NotAuthorized }

// bearer is the server's side of OAUTHBEARER.
type bearer struct {
	config  *Config
	step    step
	refused bool // and the client has been told why
	user    string
	authzID string
}

func (b *bearer) Username() string { return b.user }
func (b *bearer) AuthzID() string  { return b.authzID }

func (b *bearer) Next(response []byte) (challenge []byte, done bool, err error) {
	at := b.step
	b.step = over
	switch {
	case b.refused: // §3.2.3: a single %x01, or another response, ends it alike
		b.refused = false
		return nil, false, NotAuthorized
	case at == atStart && response == nil:
		b.step = asked
		return []byte{}, false, nil
	case at > asked:
		return nil, false, MalformedRequest
	}
	authzID, shown, err := parseBearer(string(response))
	if err != nil {
		return nil, false, err
	}
	b.authzID = authzID
	user, refusal, err := b.config.Bearer(shown)
	if err != nil {
		return nil, false, asFailure(err)
	}
	if refusal != nil {
		b.refused = true
		challenge, err = json.Marshal(refusal)
		return challenge, false, err
	}
	b.user = user
	return nil, true, nil
}

// parseBearer reads the one message (RFC 7628 §3.1): a header of RFC 5801 §4 without binding, and pairs of keys and
// values. Keys that are not known are passed over. A message without a token asks how to get one (§4.3): its Token is
// "".
func parseBearer(s string) (authzID string, shown Bearer, err error) {
	if len(s) > MaxMessage || !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return "", shown, MalformedRequest
	}
	header, rest, ok := strings.Cut(s, "\x01")
	flag, name, ok2 := strings.Cut(header, ",")
	name, end, ok3 := strings.Cut(name, ",")
	if !ok || !ok2 || !ok3 || end != "" || flag != "n" && flag != "y" { // §3.1: no p=: nothing is bound
		return "", shown, MalformedRequest
	}
	if name != "" {
		escaped, is := strings.CutPrefix(name, "a=")
		if authzID, ok = decodeName(escaped); !is || !ok || authzID == "" {
			return "", shown, MalformedRequest
		}
		if len(authzID) > MaxAuthzID {
			return "", shown, InvalidAuthzID
		}
	}
	auth := false
	for rest != "\x01" { // kvsep at the end, behind that of the last pair
		pair, more, ok := strings.Cut(rest, "\x01")
		key, value, ok2 := strings.Cut(pair, "=")
		if !ok || !ok2 || key == "" || strings.ContainsFunc(key, noLetter) {
			return "", shown, MalformedRequest
		}
		rest = more
		switch key {
		case "auth":
			if auth {
				return "", shown, MalformedRequest
			}
			auth = true
			if shown.Token, ok = bearerToken(value); !ok {
				return "", shown, MalformedRequest
			}
		case "host":
			if shown.Host != "" {
				return "", shown, MalformedRequest
			}
			shown.Host = value
		}
	}
	return authzID, shown, nil
}

func noLetter(r rune) bool { return r > 127 || !isLetter(byte(r)) }

// bearerToken reads "Bearer TOKEN" (RFC 6750 §2.1), or nothing.
func bearerToken(value string) (token string, ok bool) {
	if value == "" {
		return "", true
	}
	scheme, token, ok := strings.Cut(value, " ")
	token = strings.Trim(token, " ")
	bad := func(r rune) bool { return r <= ' ' || r > '~' }
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > MaxBearer ||
		strings.ContainsFunc(token, bad) {
		return "", false
	}
	return token, true
}
