package calls

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"jackdaw/xmpp/jid"
)

// Lifetime is how long credentials are good.
const Lifetime = 12 * time.Hour

// longestUsername is that of RFC 8489 §14.3, in bytes.
const longestUsername = 508

// Credentials are those of one account at the relay.
type Credentials struct {
	Username, Password string
	Expires            time.Time
}

// A mint makes credentials and knows its own again without remembering them. The username is the account and the time
// at which they were made, sealed: it goes over the wire in the clear, so it says nothing to whoever reads it, and
// nobody makes one up, so that no account is looked for in the name of strangers. The password is its HMAC.
type mint struct {
	seal cipher.AEAD
	key  [sha256.Size]byte
}

func newMint(derive func(purpose string, of ...string) [sha256.Size]byte) (*mint, error) {
	secret := derive("calls", "username")
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	return &mint{seal: seal, key: derive("calls", "password")}, err
}

// errTooLong says that an address does not fit into a username.
var errTooLong = errors.New("the address of the account is too long for a relay")

// issue makes credentials for an account, a bare address.
func (m *mint) issue(user jid.JID, now time.Time) (c Credentials, err error) {
	plain := binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano()))
	sealed := m.seal.Seal(nil, nil, append(plain, user.Bare().String()...), nil)
	c.Username = base64.RawURLEncoding.EncodeToString(sealed)
	if len(c.Username) > longestUsername {
		return Credentials{}, fmt.Errorf("%s: %w", user.Bare(), errTooLong)
	}
	c.Password, c.Expires = m.password(c.Username), now.Add(Lifetime)
	return c, nil
}

func (m *mint) password(username string) string {
	mac := hmac.New(sha256.New, m.key[:])
	mac.Write([]byte(username)) // a hash never returns an error
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// open says whose a username is, and when it was made; false for one that this server has not made.
func (m *mint) open(username string) (user jid.JID, made time.Time, ok bool) {
	if len(username) > longestUsername {
		return user, made, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(username)
	if err != nil {
		return user, made, false
	}
	plain, err := m.seal.Open(nil, nil, sealed, nil) // which compares in constant time
	if err != nil || len(plain) < 8 {
		return user, made, false
	}
	user, err = jid.Parse(string(plain[8:]))
	return user, time.Unix(0, int64(binary.BigEndian.Uint64(plain))), err == nil
}

// patience is how long the relay waits for storage to say whether an account is there. Others wait meanwhile.
const patience = time.Second

// allowed says whose a username is, if it is still good for anything: it has not expired, and the account is there, is
// not disabled, and is the one for which it was made and not another of the same name.
func (s *Server) allowed(username string) (user jid.JID, ok bool) {
	user, made, ok := s.mint.open(username)
	if !ok || time.Since(made) > Lifetime {
		return user, false
	}
	return user, s.active(user, made)
}

// active says whether an account is there and may log in, and has been there since a time.
func (s *Server) active(user jid.JID, since time.Time) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	created, ok, err := s.o.Account(ctx, user)
	if err != nil {
		s.o.Log.Warn("whether an account may use the relay for calls cannot be found out", "account", user, "error", err)
		return false
	}
	return ok && !created.After(since)
}
