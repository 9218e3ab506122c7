package accounts

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"net/netip"
	"time"
	"unicode/utf8"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

const (
	// rememberFor is how long after its derivation a password is known by its keyed hash; it bounds how long another
	// process that shares the store may have changed it unseen.
	rememberFor = 5 * time.Minute
	rememberMax = 1 << 16 // accounts of a kind

	secretSpace = "accounts"
	secretOwner = "server"
	secretKey   = "secret"
)

// hashes are those that keys are stored for: of the mechanisms that RFC 6120 §13.8 and RFC 7677 §4 ask for, and the
// strongest that clients know.
var hashes = [...]sasl.Hash{sasl.SHA1, sasl.SHA256, sasl.SHA512}

// remembered is the password an account was last verified with.
type remembered struct {
	mac     [sha256.Size]byte // keyed with a secret of this process
	expires time.Time
	account *storage.Account // as it was then; not changed
}

// A macState computes keyed hashes. It is pooled, since making one costs more than using it.
type macState struct {
	hash hash.Hash
	in   []byte
	out  [sha256.Size]byte
}

func newMACState(key []byte) *macState {
	return &macState{hash: hmac.New(sha256.New, key), in: make([]byte, 0, 256)}
}

// mac is the keyed hash of a name and a password.
func (s *Service) mac(name, password string) [sha256.Size]byte {
	m := s.macs.Get().(*macState)
	m.hash.Reset()
	// The length keeps ("ab", "c") and ("a", "bc") apart.
	m.in = binary.BigEndian.AppendUint32(m.in[:0], uint32(len(name)))
	m.in = append(append(m.in, name...), password...)
	m.hash.Write(m.in)
	clear(m.in) // no password stays in the pool
	m.hash.Sum(m.out[:0])
	out := m.out
	s.macs.Put(m)
	return out
}

// Verify says whether password is that of the user: nil, ErrNotAuthorized, ErrUnavailable or the context's error;
// ErrWaiting where the password is right and the account waits for approval. A wrong password, an unknown user and a
// disabled account cost a derivation each; a password that was right within five minutes costs none, until the account
// changes. Where the password is kept elsewhere, that is asked instead, and the error may be ErrAway. Verify does not
// know of the throttle: see Authenticate.
func (s *Service) Verify(ctx context.Context, user jid.JID, password string) error {
	_, err := s.verify(ctx, &s.users, user.Bare().String(), password, nil)
	return err
}

// Authenticate is Verify behind the throttle, to which it reports the outcome. The error may be an ErrThrottled too.
func (s *Service) Authenticate(ctx context.Context, from Source, user jid.JID, password string) error {
	_, err := s.authenticate(ctx, &s.users, from, user.Bare().String(), password)
	if err == nil {
		s.strengthen(ctx, user.Bare(), password)
	}
	return err
}

func (s *Service) authenticate(
	ctx context.Context, b *book, from Source, name, password string,
) (*storage.Account, error) {
	check := func() error { return s.throttle.Check(from, name) }
	if err := check(); err != nil {
		return nil, err
	}
	a, err := s.verify(ctx, b, name, password, check)
	switch {
	case err == nil:
		s.throttle.Succeeded(from, name)
	case errors.Is(err, ErrWaiting): // nobody has guessed
	case errors.Is(err, ErrNotAuthorized):
		s.throttle.Failed(from, name)
	}
	return a, err
}

// verify looks among the remembered passwords, then derives. again, if not nil, is asked once more after queueing for
// the derivation, so that many guesses at once do not all pass a throttle that none of them has met yet.
func (s *Service) verify(
	ctx context.Context, b *book, name, password string, again func() error,
) (*storage.Account, error) {
	if len(password) > sasl.MaxPassword {
		return nil, ErrNotAuthorized // depends on the password alone: no account is told from another
	}
	if e := s.settings.Load().elsewhere; b == &s.users && e.keeps(name) {
		return s.ask(ctx, e, name, password, again)
	}
	mac := s.mac(name, password)
	if a := b.recall(name, &mac); a != nil {
		return a, nil
	}
	if fitting(password) != nil {
		return nil, ErrNotAuthorized
	}
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	defer s.release()
	if again != nil {
		if err := again(); err != nil {
			return nil, err
		}
	}
	// Of many requests that came at once, the first has done the work for all.
	if a := b.recall(name, &mac); a != nil {
		return a, nil
	}
	epoch := b.remembered.epoch(name)
	a, err := b.store.Get(ctx, name)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, about(name, err)
	}
	switch right := s.fits(a, err == nil, name, password); {
	case right && waiting(a):
		return nil, ErrWaiting
	case !right || a.Disabled:
		return nil, ErrNotAuthorized
	}
	b.remembered.put(name, remembered{mac, time.Now().Add(rememberFor), &a}, epoch)
	return &a, nil
}

func (b *book) recall(name string, mac *[sha256.Size]byte) *storage.Account {
	r, ok := b.remembered.get(name)
	if !ok || subtle.ConstantTimeCompare(r.mac[:], mac[:]) != 1 || !time.Now().Before(r.expires) {
		return nil
	}
	return r.account
}

// fits checks a password by one derivation, whether there is an account or not. It takes the time of the iterations of
// new passwords for an account with fewer, such as an imported one. One with more, or with SHA-1 keys only, can be told
// from the others by time.
func (s *Service) fits(a storage.Account, found bool, name, password string) bool {
	iterations := s.settings.Load().iterations
	fake := sasl.FakeKeys(s.secret[:], sasl.SHA256, name, iterations)
	keys, ok := keysOf(a, sasl.SHA256)
	if !ok {
		keys, ok = keysOf(a, sasl.SHA1)
	}
	if !ok {
		keys = fake
	}
	right := keys.VerifyPassword(password)
	if fake.Iterations -= keys.Iterations; fake.Iterations > 0 {
		fake.VerifyPassword(password) // for the time it takes
	}
	return right && ok && found
}

// keysOf returns the keys of an account for one hash, if it has sound ones. Those of a second form follow in a
// credential of their own, with the same salt.
func keysOf(a storage.Account, h sasl.Hash) (k sasl.Keys, ok bool) {
	for _, c := range a.Credentials {
		switch {
		case c.Hash != h.String() || len(c.Salt) == 0 || c.Iterations <= 0 ||
			len(c.StoredKey) != h.Size() || len(c.ServerKey) != h.Size():
		case !ok:
			k = sasl.Keys{Hash: h, Salt: c.Salt, Iterations: c.Iterations, StoredKey: c.StoredKey, ServerKey: c.ServerKey}
			ok = true
		case bytes.Equal(c.Salt, k.Salt) && c.Iterations == k.Iterations:
			k.OtherStoredKey, k.OtherServerKey = c.StoredKey, c.ServerKey
		}
	}
	return k, ok
}

// Keys returns the keys of a user for SCRAM. For an unknown or disabled user, and for one without keys for this hash,
// ok is false and the keys are fake: no password fits, and they stay the same, also over a restart, so that nobody can
// tell (RFC 5802 §9). Those of an account that waits for approval come with ErrWaiting: whoever proves the password is
// to be told so, and not let in. The error is else ErrUnavailable or the context's.
func (s *Service) Keys(ctx context.Context, user jid.JID, h sasl.Hash) (keys sasl.Keys, ok bool, err error) {
	name := user.Bare().String()
	c := s.settings.Load()
	fake := sasl.FakeKeys(s.secret[:], h, name, c.iterations)
	if c.elsewhere.keeps(name) { // any that are here are of another time
		return fake, false, nil
	}
	epoch := s.rights.epoch(name)
	a, err := s.users.store.Get(ctx, name)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return sasl.Keys{}, false, about(name, err)
	}
	if err == nil { // a login asks for them next
		s.learn(user.Bare(), a, epoch)
	}
	keys, ok = keysOf(a, h)
	if waits := waiting(a); !ok || err != nil || a.Disabled && !waits {
		return fake, false, nil
	} else if waits {
		return keys, true, ErrWaiting
	}
	return keys, true, nil
}

// FakeParameters returns what sasl.Config needs for its own fake keys: the secret, a copy, and the iterations of new
// passwords.
func (s *Service) FakeParameters() (secret []byte, iterations int) {
	return append([]byte(nil), s.secret[:]...), s.settings.Load().iterations
}

// derive makes the keys of a password for all hashes, in one slot.
func (s *Service) derive(ctx context.Context, password string) ([]storage.Credential, error) {
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	defer s.release()
	iterations := s.settings.Load().iterations
	out := make([]storage.Credential, 0, len(hashes))
	for _, h := range hashes {
		k, err := sasl.NewKeys(h, password, iterations)
		if err != nil {
			return nil, fmt.Errorf("derive keys: %w", err)
		}
		out = appendCredentials(out, k)
	}
	return out, nil
}

// acquire queues for one of the slots of derivations, two to a core.
func (s *Service) acquire(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Service) release() { <-s.slots }

// fitting says why something cannot be a password: what it is once a client has prepared it must be allowed
// (sasl.Forms).
func fitting(password string) error {
	switch {
	case password == "":
		return fmt.Errorf("%w: it is empty", ErrPassword)
	case len(password) > sasl.MaxPassword:
		return fmt.Errorf("%w: it is longer than %d bytes", ErrPassword, sasl.MaxPassword)
	case !utf8.ValidString(password):
		return fmt.Errorf("%w: it is not valid UTF-8", ErrPassword)
	}
	if _, err := sasl.Forms(password); err != nil {
		return fmt.Errorf("%w: it has control characters or others that are not allowed (RFC 8265 §4.2), "+
			"or becomes longer than %d bytes",
			ErrPassword, sasl.MaxPassword)
	}
	return nil
}

// loadSecret reads the secret of fake keys, or makes it on an empty store.
func loadSecret(ctx context.Context, m storage.Map) (secret [32]byte, err error) {
	const version = 1
	for {
		b, err := m.Get(ctx, secretOwner, secretKey)
		if err == nil {
			if len(b) != 1+len(secret) || b[0] != version {
				return secret, errors.New("its record is of an unknown version or damaged")
			}
			copy(secret[:], b[1:])
			return secret, nil
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return secret, err
		}
		rand.Read(secret[:]) // never returns an error
		record := append([]byte{version}, secret[:]...)
		_, p, err := m.Update(ctx, secretOwner, 0, storage.Change{Key: secretKey, Value: record})
		if errors.Is(err, storage.ErrConflict) {
			continue // another process was first
		}
		if err != nil {
			return secret, err
		}
		return secret, p.Wait(ctx)
	}
}

// A Source is where an attempt to log in comes from.
type Source struct {
	Addr netip.Addr // of the client; of what X-Forwarded-For says if a trusted proxy does
	// Exempt is set for loopback and unix sockets, unless the address comes from a trusted proxy's header: limits do
	// not apply there, except to the program that fails against one account again and again.
	Exempt bool
}

// Network is what counts as one address: that of IPv4, the /64 of IPv6.
func (s Source) Network() netip.Addr {
	a := s.Addr.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64) // an error only for more bits than there are
		a = p.Addr()
	}
	return a
}
