package sasl

import (
	"bytes"
	"crypto/subtle"
	"unicode/utf8"
)

// The mechanisms for tokens (draft-schmaus-kitten-sasl-ht-09), one for each kind of channel binding: with tls-exporter,
// with tls-server-end-point, and without any.
const (
	HTSHA256Exporter Mechanism = "HT-SHA-256-EXPR"
	HTSHA256EndPoint Mechanism = "HT-SHA-256-ENDP"
	HTSHA256None     Mechanism = "HT-SHA-256-NONE"
)

// TokenBinding returns the channel binding type of a mechanism for tokens, "" for the one without. ok is false for any
// other mechanism.
func (m Mechanism) TokenBinding() (binding string, ok bool) {
	switch m {
	case HTSHA256Exporter:
		return TLSExporter, true
	case HTSHA256EndPoint:
		return TLSServerEndPoint, true
	case HTSHA256None:
		return "", true
	}
	return "", false
}

// token is the server's side of HT: a message of the client, and the answer that proves who we are.
type token struct {
	config  *Config
	m       Mechanism
	binding []byte
	step    step
	user    string
}

func (t *token) Username() string { return t.user }
func (t *token) AuthzID() string  { return "" }

func (t *token) Next(response []byte) (answer []byte, done bool, err error) {
	at := t.step
	t.step = over
	if at == atStart && response == nil {
		t.step = asked
		return []byte{}, false, nil
	}
	name, proof, ok := bytes.Cut(response, []byte{0})
	if at > asked || !ok || len(name) == 0 || len(name) > MaxUser || !utf8.Valid(name) || len(proof) != SHA256.Size() {
		return nil, false, MalformedRequest
	}
	possible := false
	if t.user, possible = t.config.prepare(string(name)); !possible {
		return nil, false, NotAuthorized
	}
	proves := func(secret []byte) bool {
		want := SHA256.mac(secret, append([]byte("Initiator"), t.binding...))
		if subtle.ConstantTimeCompare(want, proof) != 1 {
			return false
		}
		answer = SHA256.mac(secret, append([]byte("Responder"), t.binding...))
		return true
	}
	switch ok, err := t.config.Token(t.user, t.m, proves); {
	case err != nil:
		return nil, false, asFailure(err)
	case !ok || answer == nil:
		return nil, false, NotAuthorized
	}
	return answer, true, nil
}

// TokenMessage is what a client says that logs in with a token. The binding is that of the mechanism.
func TokenMessage(user, secret string, binding []byte) []byte {
	proof := SHA256.mac([]byte(secret), append([]byte("Initiator"), binding...))
	return append(append([]byte(user), 0), proof...)
}

// TokenAnswered says whether an answer is that of the server which knows the token.
func TokenAnswered(answer []byte, secret string, binding []byte) bool {
	want := SHA256.mac([]byte(secret), append([]byte("Responder"), binding...))
	return subtle.ConstantTimeCompare(want, answer) == 1
}
