package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

// A Keyring says what keys an account has, of the password that it had then.
type Keyring struct {
	hashes  [len(hashes)]bool
	changed time.Time
}

// Has says whether the account has keys of this hash.
func (h Keyring) Has(hash sasl.Hash) bool {
	i := slices.Index(hashes[:], hash)
	return i >= 0 && h.hashes[i]
}

func keyring(a storage.Account) (h Keyring) {
	for i, hash := range hashes {
		_, h.hashes[i] = keysOf(a, hash)
	}
	h.changed = a.Changed
	return h
}

// Keyring says which keys an account has. Errors: ErrNotFound, ErrUnavailable, or the context's.
func (s *Service) Keyring(ctx context.Context, user jid.JID) (Keyring, error) {
	a, err := s.users.store.Get(ctx, user.Bare().String())
	if err != nil {
		return Keyring{}, about(user.Bare().String(), err)
	}
	return keyring(a), nil
}

// Shown says which keys an account has, for somebody who has proved nothing: for one that does not exist, some that it
// might have, always the same, so that nobody learns by them whether it does (XEP-0388 §3). Of two names that nobody
// has one seems to lack what accounts made by older versions lack. Errors: ErrUnavailable, or the context's.
func (s *Service) Shown(ctx context.Context, user jid.JID) (h Keyring, err error) {
	r, err := s.Rights(ctx, user)
	if err != nil {
		return h, err
	}
	if !r.found {
		lot := s.Derive("keys", user.Bare().String())[0]
		for i, hash := range hashes {
			h.hashes[i] = hash == sasl.SHA1 || lot >= 0x80 || hash == sasl.SHA256 && lot >= 0x08
		}
		return h, nil
	}
	return Keyring{r.hashes, r.Changed()}, nil
}

// NewSalt is what keys are made with that somebody else derives: a fresh salt, and the iterations of new passwords.
func (s *Service) NewSalt() (salt []byte, iterations int) {
	salt = make([]byte, sasl.SaltSize)
	rand.Read(salt) // never returns an error
	return salt, s.settings.Load().iterations
}

// AddKeys gives an account keys of a hash that it had none of, beside those it has. Nothing is changed where its
// password was set since, or somebody else has given it such keys. Errors: ErrNotFound, ErrUnavailable, or the
// context's.
func (s *Service) AddKeys(ctx context.Context, user jid.JID, since Keyring, k sasl.Keys) error {
	var kept []storage.Credential
	return s.modifyThen(ctx, user, 0, func(a *storage.Account) error {
		if _, has := keysOf(*a, k.Hash); !has && a.Changed.Equal(since.changed) {
			a.Credentials = appendCredentials(slices.Clip(a.Credentials), k)
		}
		kept = a.Credentials
		return nil
	}, func() error { return s.reckon(ctx, user.Bare().String(), kept) })
}

// appendCredentials appends keys as they are stored.
func appendCredentials(dst []storage.Credential, k sasl.Keys) []storage.Credential {
	c := storage.Credential{Hash: k.Hash.String(), Salt: k.Salt, Iterations: k.Iterations,
		StoredKey: k.StoredKey, ServerKey: k.ServerKey}
	dst = append(dst, c)
	if k.OtherStoredKey != nil {
		c.StoredKey, c.ServerKey = k.OtherStoredKey, k.OtherServerKey
		dst = append(dst, c)
	}
	return dst
}

// Derive makes of these words what nobody can who does not know the secret of this server, and what stays the same over
// a restart. The purpose keeps one use apart from another.
func (s *Service) Derive(purpose string, of ...string) (sum [sha256.Size]byte) {
	m := hmac.New(sha256.New, s.secret[:])
	m.Write([]byte(purpose)) // a hash never returns an error
	for _, word := range of {
		m.Write([]byte{0})
		m.Write([]byte(word))
	}
	m.Sum(sum[:0])
	return sum
}
