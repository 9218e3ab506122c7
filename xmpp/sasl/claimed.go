package sasl

import (
	"bytes"
	"unicode/utf8"
)

// Claimed is the name of the user that the first message of a client brings, as the client has written it: whose login
// it is, before anything has been verified. It says false where the message names nobody, or is not one that the
// mechanism would take.
func Claimed(m Mechanism, message []byte) (user string, ok bool) {
	_, token := m.TokenBinding()
	switch {
	case len(message) > MaxMessage:
		return "", false
	case token:
		name, _, cut := bytes.Cut(message, []byte{0})
		return string(name), cut && len(name) > 0 && len(name) <= MaxUser && utf8.Valid(name)
	case m == Plain:
		_, name, _, err := parsePlain(string(message))
		return name, err == nil
	case m.Hash() != 0:
		first, err := parseClientFirst(string(message))
		return first.user, err == nil
	}
	return "", false
}
