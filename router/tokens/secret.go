package tokens

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// A Kind says what a token opens. It is what the token begins with.
type Kind string

// The kinds there are.
const (
	KindAccount Kind = "jdt" // acts as its account, within its scopes
	KindHook    Kind = "jdh" // opens one hook, and does nothing else
)

// Length is that of every token, in characters, all of them of a-z and 0-9: a token can stand in a path, in a header
// and where other servers have the id of a hook.
const Length = prefixLength + randomLength + sumLength

const (
	prefixLength = len(KindAccount)
	randomLength = 26 // of 5 bits each
	sumLength    = 7  // 32 bits
	idLength     = 16 // of a digest: 80 bits
)

// letters are those of RFC 4648 §6, in lower case.
var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ErrMalformed says that something is no token, or one that was not copied well. It needs no look-up.
var ErrMalformed = errors.New("this is no token: it is jdt or jdh, 26 letters and digits, and 7 more that prove them")

// Generate returns a new token of a kind, which nobody knows yet: Spec.Secret takes it.
func Generate(k Kind) string {
	s := string(k) + strings.ToLower(rand.Text()) // 26 characters of 5 bits
	proof := sum(s)
	return s + string(proof[:])
}

// Of is the token of a kind with these bytes, which whoever calls has made so that nobody guesses them, and looks up
// without this package: it is in no storage here.
func Of(k Kind, b [16]byte) string {
	s := string(k) + letters.EncodeToString(b[:]) // 26 characters
	proof := sum(s)
	return s + string(proof[:])
}

// BytesOf are the bytes of a token that Of has made; ok is false for what is none of this kind.
func BytesOf(k Kind, secret string) (b [16]byte, ok bool) {
	if kind, ok := KindOf(secret); !ok || kind != k {
		return b, false
	}
	raw, err := letters.DecodeString(secret[prefixLength : prefixLength+randomLength])
	if err != nil || len(raw) != len(b) {
		return b, false
	}
	return [16]byte(raw), true
}

// sum are the last characters of a token, by which a typing error is found: its CRC-32 (IEEE 802.3).
func sum(s string) (proof [sumLength]byte) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], crc32.ChecksumIEEE([]byte(s)))
	letters.Encode(proof[:], b[:])
	return proof
}

// KindOf says which kind of token something has the form of, proof included; ok is false for everything else. It looks
// nothing up: a password could have the form, too.
func KindOf(s string) (k Kind, ok bool) {
	if len(s) != Length {
		return "", false
	}
	for _, c := range []byte(s[prefixLength : prefixLength+randomLength]) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return "", false
		}
	}
	k = Kind(s[:prefixLength])
	const body = prefixLength + randomLength
	proof := sum(s[:body])
	return k, (k == KindAccount || k == KindHook) && s[body:] == string(proof[:])
}

// parse is KindOf as an error. The error does not repeat what it is about.
func parse(s string) (Kind, error) {
	k, ok := KindOf(s)
	if !ok {
		return "", ErrMalformed
	}
	return k, nil
}

// digest is what is kept of a token.
func digest(s string) [sha256.Size]byte { return sha256.Sum256([]byte(s)) }

// idOf is the id of the token with a digest: the first 80 bits of it. It may be shown: it says nothing of the token.
func idOf(d [sha256.Size]byte) string { return letters.EncodeToString(d[:10]) }

// IDOf is the id that a token has, whether it is known or not.
func IDOf(secret string) string { return idOf(digest(secret)) }

// isID says whether something can be an id.
func isID(s string) bool {
	b, err := letters.DecodeString(s)
	return err == nil && len(s) == idLength && len(b) == 10
}

// ErrID says that something cannot be the id of a token.
var ErrID = fmt.Errorf("an id of a token has %d letters and digits: `jackdaw token list` shows it", idLength)
