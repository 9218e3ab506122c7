package storage

import (
	"encoding/json"
	"fmt"
	"strings"
)

// accountFormat is the version byte of an encoded Account.
const accountFormat = 1

// EncodeAccount is how engines write an account: a version byte, then JSON.
func EncodeAccount(a Account) ([]byte, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode account %s: %w", a.User, err)
	}
	return append([]byte{accountFormat}, b...), nil
}

// DecodeAccount reads what EncodeAccount of this or an earlier version wrote.
func DecodeAccount(b []byte) (Account, error) {
	var a Account
	if len(b) == 0 || b[0] != accountFormat {
		return a, fmt.Errorf("decode account: unknown format %.1x", b)
	}
	if err := json.Unmarshal(b[1:], &a); err != nil {
		return a, fmt.Errorf("decode account: %w", err)
	}
	return a, nil
}

// SplitUser divides a bare JID into what Accounts.List sorts by. A localpart holds no "@" (RFC 7622 §3.3.1), so the
// first one divides.
func SplitUser(user string) (domain, local string) {
	local, domain, ok := strings.Cut(user, "@")
	if !ok {
		return user, ""
	}
	return domain, local
}
