package invitations

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"jackdaw/xmpp/jid"
)

// Kind says what an invitation leads to.
type Kind string

// The kinds.
const (
	Account Kind = "account" // an account, and a contact where one is named
	Contact Kind = "contact" // a contact of whoever has an account already
	Reset   Kind = "reset"   // a new password of an account
)

// recordVersion is the first byte of a record.
const recordVersion = 1

// Keys of the map, whose owners are hosts. Both are changed together.
const (
	tokenKey = "t " // and the hash of the token: a record
	nameKey  = "n " // and a local part that is kept for an invitation: the hash
)

// A record is an invitation as it is stored, under the hash of its token. The token itself is kept nowhere.
type record struct {
	Kind    Kind      `json:"kind"`
	By      jid.JID   `json:"by"`             // who has made it; zero: an administrator by command
	Contact jid.JID   `json:"contact"`        // whom one gets as a contact; zero: nobody
	Name    string    `json:"name,omitempty"` // the local part that one gets, or whose password is set; "": any
	Most    int       `json:"most"`           // uses
	Used    int       `json:"used"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Claims  []claim   `json:"claims,omitempty"`
}

// A claim is a use that has begun.
type claim struct {
	User jid.JID   `json:"user"`
	At   time.Time `json:"at"`
}

func (r *record) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	return append([]byte{recordVersion}, b...), err
}

func readRecord(b []byte) (*record, error) {
	if len(b) == 0 || b[0] != recordVersion {
		return nil, fmt.Errorf("read an invitation: unknown format %.1x", b)
	}
	r := new(record)
	if err := json.Unmarshal(b[1:], r); err != nil {
		return nil, fmt.Errorf("read an invitation: %w", err)
	}
	return r, nil
}

// left is how many uses may begin.
func (r *record) left() int { return r.Most - r.Used - len(r.Claims) }

// idSize is how many digits of the hash name an invitation among others, which is no help to whoever guesses tokens.
const idSize = 12

// maxToken bounds what is taken for a token, before anything is done with it.
const maxToken = 64

// hash is what a token is known by; ok is false for what no token can be.
func hash(token string) (h string, ok bool) {
	if token == "" || len(token) > maxToken || strings.IndexFunc(token, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) >= 0 {
		return "", false
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:]), true
}
