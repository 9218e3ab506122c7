package sasl

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"hash"
)

// Hash is a hash function of SCRAM. The numbers are fit for storage.
type Hash uint8

// The hash functions of the SCRAM mechanisms.
const (
	SHA1   Hash = 1
	SHA256 Hash = 2
	SHA512 Hash = 3
)

// String returns the name in the form of the IANA registry, such as "SHA-256".
func (h Hash) String() string {
	switch h {
	case SHA1:
		return "SHA-1"
	case SHA256:
		return "SHA-256"
	case SHA512:
		return "SHA-512"
	}
	return "unknown"
}

// Size returns the length of a digest in bytes, 0 for an unknown hash.
func (h Hash) Size() int {
	switch h {
	case SHA1:
		return sha1.Size
	case SHA256:
		return sha256.Size
	case SHA512:
		return sha512.Size
	}
	return 0
}

// new returns the constructor rather than a method value, which would be
// allocated at each use.
func (h Hash) new() func() hash.Hash {
	switch h {
	case SHA1:
		return sha1.New
	case SHA256:
		return sha256.New
	default:
		return sha512.New
	}
}

// sum appends the digest of b to dst.
func (h Hash) sum(dst, b []byte) []byte {
	switch h {
	case SHA1:
		d := sha1.Sum(b)
		return append(dst, d[:]...)
	case SHA256:
		d := sha256.Sum256(b)
		return append(dst, d[:]...)
	default:
		d := sha512.Sum512(b)
		return append(dst, d[:]...)
	}
}

// mac returns HMAC(key, text).
func (h Hash) mac(key, text []byte) []byte {
	m := hmac.New(h.new(), key)
	m.Write(text) // A hash never returns an error.
	return m.Sum(nil)
}

// The constants of RFC 5802 §3.
var (
	clientKey = []byte("Client Key")
	serverKey = []byte("Server Key")
)

// SaltSize is the length of the salts of NewKeys and FakeKeys in bytes.
const SaltSize = 16

// The least and the greatest number of iterations for new keys (RFC 7677 §4).
// Keys from elsewhere may have less.
const (
	MinIterations = 4096
	MaxIterations = 10_000_000
)

// The reasons for which no keys can be made.
var (
	ErrPassword   = errors.New("password is empty, too long or has forbidden characters")
	ErrIterations = errors.New("number of iterations is out of range")
	ErrSalt       = errors.New("salt is empty")
	ErrHash       = errors.New("hash is unknown")
)

// Keys are what is stored of a password for one hash (RFC 5802 §3). They let a
// server check a login but do not let it log in elsewhere. The slices are shared
// and not to be changed.
type Keys struct {
	Hash       Hash
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte

	// The same of the password's second form, with the same salt; nil where it has one only (Forms).
	OtherStoredKey []byte
	OtherServerKey []byte
}

// NewKeys derives keys with a fresh salt. The keys of an account for several
// hashes have different salts, as those of FakeKeys have.
func NewKeys(h Hash, password string, iterations int) (Keys, error) {
	salt := make([]byte, SaltSize)
	rand.Read(salt) // never fails
	return DeriveKeys(h, password, salt, iterations)
}

// DeriveKeys derives keys from a password as it was typed; it takes some
// milliseconds, and twice as long for a password of two Forms: whoever logs in may
// prove either. The salt is kept.
func DeriveKeys(h Hash, password string, salt []byte, iterations int) (Keys, error) {
	switch {
	case h.Size() == 0:
		return Keys{}, ErrHash
	case len(salt) == 0:
		return Keys{}, ErrSalt
	case iterations < MinIterations || iterations > MaxIterations:
		return Keys{}, ErrIterations
	}
	forms, err := Forms(password)
	if err != nil {
		return Keys{}, err
	}
	k := Keys{Hash: h, Salt: salt, Iterations: iterations}
	for i, form := range forms {
		salted, err := saltedPassword(h, form, salt, iterations)
		if err != nil {
			return Keys{}, err
		}
		one := SaltedKeys(h, salted, salt, iterations)
		if i == 0 {
			k.StoredKey, k.ServerKey = one.StoredKey, one.ServerKey
		} else {
			k.OtherStoredKey, k.OtherServerKey = one.StoredKey, one.ServerKey
		}
	}
	return k, nil
}

// SaltedKeys makes keys of what a client has derived of a password, the SaltedPassword of RFC 5802 §3, which has the
// size of the hash. The salt is kept.
func SaltedKeys(h Hash, salted, salt []byte, iterations int) Keys {
	return Keys{Hash: h, Salt: salt, Iterations: iterations,
		StoredKey: h.sum(nil, h.mac(salted, clientKey)), ServerKey: h.mac(salted, serverKey)}
}

// FakeKeys returns keys for a user who does not exist. The salt depends on the
// secret, the hash and the name only, so that it is as stable as a real one, and
// no password fits; a check takes the time of a real one.
func FakeKeys(secret []byte, h Hash, user string, iterations int) Keys {
	salt := SHA256.mac(secret, []byte(h.String()+"\x00"+user))
	return Keys{
		Hash:       h,
		Salt:       salt[:SaltSize:SaltSize],
		Iterations: iterations,
		// Nobody knows what hashes to zeros.
		StoredKey: make([]byte, h.Size()),
		ServerKey: make([]byte, h.Size()),
	}
}

// VerifyPassword says whether k was derived from password, as it was typed or as
// a client has prepared it, in constant time but for the lengths. It takes as
// long as DeriveKeys.
func (k Keys) VerifyPassword(password string) bool {
	forms, err := Forms(password)
	if err != nil || !k.usable(k.Hash) {
		return false
	}
	right := 0
	for _, form := range forms { // keys made before there were two forms are of the last
		salted, err := saltedPassword(k.Hash, form, k.Salt, k.Iterations)
		if err != nil {
			return false
		}
		stored := k.Hash.sum(nil, k.Hash.mac(salted, clientKey))
		right |= subtle.ConstantTimeCompare(stored, k.StoredKey) | subtle.ConstantTimeCompare(stored, k.OtherStoredKey)
	}
	return right == 1
}

// usable says that k is complete and made with h.
func (k Keys) usable(h Hash) bool {
	n := h.Size()
	return k.Hash == h && n > 0 && len(k.Salt) > 0 && len(k.StoredKey) == n && len(k.ServerKey) == n &&
		k.Iterations >= 1 && k.Iterations <= MaxIterations
}

// saltedPassword is Hi(password, salt, i) of RFC 5802 §3, of a password that has been prepared.
func saltedPassword(h Hash, password string, salt []byte, iterations int) ([]byte, error) {
	return pbkdf2.Key(h.new(), password, salt, iterations, h.Size())
}
