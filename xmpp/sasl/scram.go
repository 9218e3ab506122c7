package sasl

import (
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"strconv"
)

// step is how far a login has come.
type step uint8

const (
	atStart    step = iota // nothing was read
	asked                  // the client was asked for its first message
	challenged             // the server's first message is out
	over
)

// scram is the server's side of SCRAM (RFC 5802 §5).
type scram struct {
	config *Config
	hash   Hash
	plus   bool
	nonce  func() string

	step   step
	first  clientFirst
	user   string
	server string // the server-first-message
	full   string // both nonces
	data   []byte // the channel binding data
	keys   Keys
	known  bool
}

// newNonce returns 26 printable characters with 130 random bits.
func newNonce() string { return rand.Text() }

func (s *scram) Username() string { return s.user }
func (s *scram) AuthzID() string  { return s.first.authzID }

func (s *scram) Next(response []byte) (challenge []byte, done bool, err error) {
	at := s.step
	s.step = over // unless a branch below says otherwise
	if len(response) > MaxMessage {
		return nil, false, MalformedRequest
	}
	switch at {
	case atStart, asked:
		if at == atStart && response == nil {
			s.step = asked
			return []byte{}, false, nil
		}
		if challenge, err = s.begin(string(response)); err == nil {
			s.step = challenged
		}
		return challenge, false, err
	case challenged:
		challenge, err = s.finish(string(response))
		return challenge, err == nil, err
	}
	return nil, false, MalformedRequest
}

// begin answers the client-first-message.
func (s *scram) begin(message string) ([]byte, error) {
	var err error
	if s.first, err = parseClientFirst(message); err != nil {
		return nil, err
	}
	possible := false
	s.user, possible = s.config.prepare(s.first.user)
	if err := s.bind(); err != nil {
		return nil, err
	}
	// Made for known users too: their logins are to take no less time.
	fake := FakeKeys(s.config.FakeSecret, s.hash, s.user, s.config.FakeIterations)
	if possible {
		if s.keys, s.known, err = s.config.Lookup(s.user, s.hash); err != nil {
			return nil, asFailure(err)
		}
	}
	if !s.known || !s.keys.usable(s.hash) {
		s.keys, s.known = fake, false
	}

	s.full = s.first.nonce + s.nonce()
	b := make([]byte, 0, len(s.full)+base64.StdEncoding.EncodedLen(len(s.keys.Salt))+24)
	b = append(b, "r="...)
	b = append(b, s.full...)
	b = append(b, ",s="...)
	b = base64.StdEncoding.AppendEncode(b, s.keys.Salt)
	b = append(b, ",i="...)
	b = strconv.AppendInt(b, int64(s.keys.Iterations), 10)
	b = s.config.appendProtection(b, s.hash)
	s.server = string(b)
	return b, nil
}

// bind applies RFC 5802 §6 to the flag of the client.
func (s *scram) bind() error {
	switch {
	// A -PLUS mechanism was chosen if and only if the flag is 'p'.
	case s.plus != (s.first.flag == 'p'):
		return MalformedRequest
	// The client supports channel binding and believes that we do not: somebody
	// took the -PLUS mechanisms out of our list.
	case s.first.flag == 'y' && len(s.config.Bindings) > 0:
		return NotAuthorized
	case !s.plus:
		return nil
	}
	for _, b := range s.config.Bindings {
		if b.Type == s.first.binding && len(b.Data) > 0 {
			s.data = b.Data
			return nil
		}
	}
	// A type that this connection does not have, such as tls-unique with TLS 1.3 (RFC 9266 §3): nothing is wrong with
	// the request, but the authentication fails (RFC 5802 §6).
	return NotAuthorized
}

// finish answers the client-final-message.
func (s *scram) finish(message string) ([]byte, error) {
	m, err := parseClientFinal(message)
	if err != nil {
		return nil, err
	}
	n := s.hash.Size()
	var room [sha512.Size + 2]byte // base64 decodes into whole groups of three
	if len(m.proof) != base64.StdEncoding.EncodedLen(n) {
		return nil, IncorrectEncoding
	}
	if got, err := base64.StdEncoding.Strict().Decode(room[:], []byte(m.proof)); err != nil || got != n {
		return nil, IncorrectEncoding
	}
	proof := room[:n]

	// The texts are compared, since there is only one right way to write it.
	want := make([]byte, 0, base64.StdEncoding.EncodedLen(len(s.first.header)+len(s.data)))
	want = base64.StdEncoding.AppendEncode(want, append([]byte(s.first.header), s.data...))
	right := subtle.ConstantTimeCompare(want, []byte(m.binding))
	right &= subtle.ConstantTimeCompare([]byte(s.full), []byte(m.nonce))

	auth := authMessage(s.first.bare, s.server, m.withoutProof)
	serverKey := s.keys.ServerKey
	proved := s.proves(proof, s.keys.StoredKey, auth)
	if len(s.keys.OtherStoredKey) == n && s.proves(proof, s.keys.OtherStoredKey, auth) == 1 {
		proved, serverKey = 1, s.keys.OtherServerKey
	}
	if right&proved != 1 || !s.known {
		return nil, NotAuthorized
	}
	return base64.StdEncoding.AppendEncode([]byte("v="), s.hash.mac(serverKey, auth)), nil
}

// proves returns 1 if proof is that of the key that is stored, else 0.
func (s *scram) proves(proof, stored, auth []byte) int {
	// RFC 5802 §3: ClientKey := ClientProof XOR HMAC(StoredKey, AuthMessage)
	var room, keyRoom [sha512.Size]byte
	key := room[:len(proof)]
	subtle.XORBytes(key, proof, s.hash.mac(stored, auth))
	return subtle.ConstantTimeCompare(s.hash.sum(keyRoom[:0], key), stored)
}

// authMessage is what both proofs sign (RFC 5802 §3).
func authMessage(clientFirstBare, serverFirst, clientFinalWithoutProof string) []byte {
	b := make([]byte, 0, len(clientFirstBare)+len(serverFirst)+len(clientFinalWithoutProof)+2)
	b = append(append(b, clientFirstBare...), ',')
	b = append(append(b, serverFirst...), ',')
	return append(b, clientFinalWithoutProof...)
}
