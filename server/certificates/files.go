package certificates

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"jackdaw/storage"
)

// The files of a directory: NAME.pem with the key and the chain of a name, NAME.json with its record, an account of
// each authority, what answers challenges, and the lock. None is ever changed in place.
const (
	lockFile      = "lock"
	challengesDir = "challenges"
	// maxFile bounds what is read of one.
	maxFile = 1 << 20
)

// A record is what is known of a name besides its certificate.
type record struct {
	Version   int       `json:"version"`   // recordVersion
	Directory string    `json:"directory"` // of the authority that the certificate is from; "" for none
	Asked     string    `json:"asked"`     // of the authority that the next four are about
	Failures  int       `json:"failures"`  // one after the other
	Tried     time.Time `json:"tried,omitzero"`
	Next      time.Time `json:"next,omitzero"`       // no order before
	NotBefore time.Time `json:"not_before,omitzero"` // the authority's word on it
	Underway  bool      `json:"underway,omitempty"`  // an attempt has begun, and has not ended yet
	Missing   bool      `json:"missing,omitempty"`   // it has no address in the DNS
	Problem   string    `json:"problem,omitempty"`   // of the last attempt
	Do        string    `json:"do,omitempty"`
	Window    window    `json:"window"`
}

const recordVersion = 1

// load reads what is known of a name. What is there and cannot be made sense of is as good as not there.
func (s *Service) load(name string) (*held, error) {
	h := &held{}
	text, err := readFile(s.path(name + ".json"))
	if err != nil {
		return nil, err
	}
	if text != nil && (json.Unmarshal(text, &h.record) != nil || h.record.Version != recordVersion) {
		h.record = record{}
	}
	pair, err := readFile(s.path(name + ".pem"))
	if err != nil || pair == nil {
		return h, err
	}
	if c, err := tls.X509KeyPair(pair, pair); err == nil && c.Leaf.VerifyHostname(name) == nil {
		h.cert = &c
	}
	return h, nil
}

func (s *Service) saveRecord(name string, r record) error {
	r.Version = recordVersion
	return s.saveJSON(name+".json", r, writeFile)
}

// noteRecord is saveRecord for what may be lost with the power: it would only be asked for again.
func (s *Service) noteRecord(name string, r record) error {
	r.Version = recordVersion
	return s.saveJSON(name+".json", r, noteFile)
}

func (s *Service) saveJSON(name string, v any, write func(string, []byte) error) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return write(s.path(name), append(text, '\n'))
}

// An account is ours at an authority.
type account struct {
	Directory string    `json:"directory"`
	Location  string    `json:"location"` // RFC 8555 §7.3; "": it is still to be made
	Email     string    `json:"email"`
	KeyID     string    `json:"key_id"` // of the external account that it is bound to
	Key       string    `json:"key"`    // PEM
	Failures  int       `json:"failures"`
	Next      time.Time `json:"next,omitzero"` // not to be asked for before
	Problem   string    `json:"problem,omitempty"`
	Do        string    `json:"do,omitempty"`

	key *ecdsa.PrivateKey
}

func accountFile(directory string) string {
	sum := sha256.Sum256([]byte(directory))
	return "account-" + hex.EncodeToString(sum[:8]) + ".json"
}

// loadAccount reads the account for these settings; there may be none as yet.
func (s *Service) loadAccount(set *Settings) (a account, err error) {
	text, err := readFile(s.path(accountFile(set.Directory)))
	if err != nil {
		return a, err
	}
	if text == nil || json.Unmarshal(text, &a) != nil || a.Directory != set.Directory || a.KeyID != set.KeyID {
		return account{Directory: set.Directory, KeyID: set.KeyID}, nil
	}
	if a.key, err = parseKey(a.Key); err != nil {
		return account{Directory: set.Directory, KeyID: set.KeyID}, nil
	}
	return a, nil
}

func (s *Service) saveAccount(a account) (err error) {
	if a.key != nil {
		if a.Key, err = formatKey(a.key); err != nil {
			return err
		}
	}
	return s.saveJSON(accountFile(a.Directory), a, writeFile)
}

func formatKey(key *ecdsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

func parseKey(text string) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no key")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if key, ok := k.(*ecdsa.PrivateKey); ok {
		return key, nil
	}
	return nil, errors.New("not a key of ECDSA")
}

// readFile returns nil for a file that is not there.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxFile)
	}
	return text, err
}

// writeFile replaces a file that only we may read, whole or not at all, and returns when it is on disk.
func writeFile(path string, text []byte) error {
	err := replaceFile(path, text, (*os.File).Sync)
	if err == nil {
		err = storage.SyncPath(filepath.Dir(path))
	}
	return err
}

// noteFile is writeFile without waiting for the disk.
func noteFile(path string, text []byte) error {
	return replaceFile(path, text, func(*os.File) error { return nil })
}

// replaceFile calls before with what is written, before others see it.
func replaceFile(path string, text []byte, before func(*os.File) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing is left to remove when all went well
	if _, err = f.Write(text); err == nil {
		err = before(f)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

var errLocked = errors.New("another process orders certificates")

// lock keeps other processes on the same directory from ordering until unlock, or until this one ends.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, err
	}
	return func() { _ = f.Close() }, nil // with it goes the lock
}
