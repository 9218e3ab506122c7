// Package sasl holds the SASL mechanisms of XMPP streams (RFC 6120 §6) as pure
// state machines: SCRAM (RFC 5802, RFC 7677) with and without channel binding,
// PLAIN (RFC 4616), and EXTERNAL (RFC 4422 Appendix A) for streams between
// servers. They are given the decoded octets of a message and return those of the
// answer. Base64 on the wire, XML, throttling and the check that a user may act as
// the authorization identity are the caller's part.
//
// Left out: ANONYMOUS, the mandatory extensions of SCRAM (there is none), and its
// attribute e=, whose place the failure element takes.
package sasl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits in bytes on what a peer sends. The longest addresses fit.
const (
	MaxMessage  = 8192
	MaxUser     = 1023
	MaxAuthzID  = 3071
	MaxPassword = 1024
	maxNonce    = 1024
)

// Mechanism is a name in the IANA registry of SASL mechanisms.
type Mechanism string

// The mechanisms that New and NewClient know.
const (
	ScramSHA512Plus Mechanism = "SCRAM-SHA-512-PLUS"
	ScramSHA512     Mechanism = "SCRAM-SHA-512"
	ScramSHA256Plus Mechanism = "SCRAM-SHA-256-PLUS"
	ScramSHA256     Mechanism = "SCRAM-SHA-256"
	ScramSHA1Plus   Mechanism = "SCRAM-SHA-1-PLUS"
	ScramSHA1       Mechanism = "SCRAM-SHA-1"
	Plain           Mechanism = "PLAIN"
	External        Mechanism = "EXTERNAL"
)

// Hash returns the hash function of a SCRAM mechanism, 0 for any other.
func (m Mechanism) Hash() Hash {
	switch m {
	case ScramSHA1, ScramSHA1Plus:
		return SHA1
	case ScramSHA256, ScramSHA256Plus:
		return SHA256
	case ScramSHA512, ScramSHA512Plus:
		return SHA512
	}
	return 0
}

// Scram returns the SCRAM mechanism of a hash function, with or without channel binding.
func Scram(h Hash, plus bool) Mechanism {
	m := Mechanism("SCRAM-" + h.String())
	if plus {
		m += "-PLUS"
	}
	return m
}

// Plus says that m binds the login to the channel below (RFC 5802 §6).
func (m Mechanism) Plus() bool { return m.Hash() != 0 && strings.HasSuffix(string(m), "-PLUS") }

// Failure is a defined condition of a failed login, named as the element that
// reports it (RFC 6120 §6.5). As an error it says no more than that.
type Failure string

// The defined conditions.
const (
	Aborted              Failure = "aborted"
	AccountDisabled      Failure = "account-disabled"
	CredentialsExpired   Failure = "credentials-expired"
	EncryptionRequired   Failure = "encryption-required"
	IncorrectEncoding    Failure = "incorrect-encoding"
	InvalidAuthzID       Failure = "invalid-authzid"
	InvalidMechanism     Failure = "invalid-mechanism"
	MalformedRequest     Failure = "malformed-request"
	MechanismTooWeak     Failure = "mechanism-too-weak"
	NotAuthorized        Failure = "not-authorized"
	TemporaryAuthFailure Failure = "temporary-auth-failure"
)

func (f Failure) Error() string { return string(f) }

// Condition returns the condition to report for an error of this package:
// TemporaryAuthFailure where the error names none.
func Condition(err error) Failure {
	if f, ok := errors.AsType[Failure](err); ok {
		return f
	}
	return TemporaryAuthFailure
}

// asFailure gives an error of a callback a condition and keeps its cause for
// the log.
func asFailure(err error) error {
	if _, ok := errors.AsType[Failure](err); ok {
		return err
	}
	return fmt.Errorf("%w: %w", TemporaryAuthFailure, err)
}

// Server is the server's side of one login. It serves one login only and one
// goroutine at a time.
type Server interface {
	// Next takes the next message of the client and returns the answer, which
	// belongs to the caller; response is not kept. A nil response to the first
	// call stands for an auth element without initial response and is answered
	// by an empty challenge (RFC 6120 §6.4.2). When done, the login succeeded
	// and a challenge that is not nil goes with the success. Every error has a
	// Condition and ends the login.
	Next(response []byte) (challenge []byte, done bool, err error)

	// Username returns the name that the client claims, after Config.Prepare,
	// once it was read; also when the login fails later. With EXTERNAL it is "": what
	// was proved is known outside.
	Username() string

	// AuthzID returns the authorization identity as the client sent it, "" if it
	// sent none. The caller checks it before it believes the login (RFC 6120
	// §6.3.8).
	AuthzID() string
}

// Config is what the mechanisms need from the server. It is not changed and may
// be shared by any number of logins.
type Config struct {
	// Bindings are the channel bindings of this connection. They are given to
	// every mechanism, -PLUS or not, if and only if -PLUS mechanisms were
	// announced: a client that says it saw none is then refused.
	Bindings []Binding

	// Prepare returns the one spelling under which a name is stored; false for
	// what can be no name. It may be nil. Without it the different spellings of
	// an unknown name would have different salts, and those of a known name not.
	Prepare func(user string) (string, bool)

	// Lookup returns the keys of a user for one hash, false for an unknown user
	// and for one without such keys. An error that is no Failure becomes
	// TemporaryAuthFailure. Only SCRAM calls it.
	Lookup func(user string, h Hash) (Keys, bool, error)

	// Verify checks a password, which is not yet normalised. To take the same
	// time for an unknown user, it asks FakeKeys. Errors as for Lookup. Only
	// PLAIN calls it.
	Verify func(user, password string) (bool, error)

	// External says whether what the client proved outside of SASL, by its
	// certificate, lets it act as the authorization identity; "" stands for the one
	// that the caller derives from that proof (RFC 4422 §3.4.1), for a server the
	// 'from' of its stream (XEP-0178 §3). Errors as for Lookup. Only EXTERNAL calls
	// it.
	External func(authzID string) (bool, error)

	// Token has the tokens of a user tried that are for this mechanism: proves says whether the client has used one. It
	// returns true for one that is good, and has noted by then that it was used; CredentialsExpired for one that was.
	// Errors as for Lookup. Only the mechanisms for tokens call it.
	Token func(user string, m Mechanism, proves func(secret []byte) bool) (bool, error)

	// Bearer says whose a token is. Where it is not good, the refusal is for the client. Errors as for Lookup. Only
	// OAuthBearer calls it.
	Bearer func(shown Bearer) (user string, refusal *BearerRefusal, err error)

	// Announced is what the client was shown (Announcement), for SCRAM to prove it to the client; "" proves nothing.
	Announced string

	// TLSVersion is that of the connection, such as tls.VersionTLS13, for SCRAM to prove it to the client (XEP-0515);
	// 0 stands for none.
	TLSVersion uint16

	// FakeSecret and FakeIterations are the parameters of FakeKeys for unknown
	// users. The secret is the server's own, at least 16 bytes, and survives a
	// restart.
	FakeSecret     []byte
	FakeIterations int
}

func (c *Config) prepare(user string) (string, bool) {
	if c.Prepare == nil {
		return user, true
	}
	p, ok := c.Prepare(user)
	if !ok {
		return user, false
	}
	return p, true
}

// New starts a login by mechanism m. The error is InvalidMechanism for a
// mechanism that is unknown or cannot work with this configuration.
func New(m Mechanism, c *Config) (Server, error) {
	if kind, ok := m.TokenBinding(); ok {
		i := slices.IndexFunc(c.Bindings, func(b Binding) bool { return b.Type == kind })
		switch {
		case c.Token == nil || kind != "" && i < 0:
			return nil, InvalidMechanism
		case kind == "":
			return &token{config: c, m: m}, nil
		}
		return &token{config: c, m: m, binding: c.Bindings[i].Data}, nil
	}
	switch h := m.Hash(); {
	case m == Plain && c.Verify != nil:
		return &plain{config: c}, nil
	case m == OAuthBearer && c.Bearer != nil:
		return &bearer{config: c}, nil
	case m == External && c.External != nil:
		return &external{config: c}, nil
	case h == 0 || c.Lookup == nil || len(c.FakeSecret) < 16 || c.FakeIterations < 1,
		m.Plus() && len(c.Bindings) == 0:
		return nil, InvalidMechanism
	default:
		return &scram{config: c, hash: h, plus: m.Plus(), nonce: newNonce}, nil
	}
}
