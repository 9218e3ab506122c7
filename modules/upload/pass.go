package upload

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// The Authorization header of a slot holds a pass: all that is known of the slot, signed with a key that is in the
// storage. So a file is taken for a slot that another server on the same storage has given, or this one before it was
// started anew.

const (
	passVersion = 1
	// longestPass is what surely fits into a header. A slot with a longer one is good with who gave it alone.
	longestPass = 4 << 10

	keyOwner = "slots"
	keyName  = "key"
)

var passText = base64.RawURLEncoding

// passKey reads the key of passes, or makes it, once.
func (s *Service) passKey(ctx context.Context) ([]byte, error) {
	s.keyed.Lock()
	defer s.keyed.Unlock()
	for s.key == nil {
		b, err := s.o.Keys.Get(ctx, keyOwner, keyName)
		switch {
		case err == nil && (len(b) < 2 || b[0] != passVersion):
			return nil, errors.New("the key of slots is kept in a form that this version does not know")
		case err == nil:
			s.key = b[1:]
			continue
		case !errors.Is(err, storage.ErrNotFound):
			return nil, fmt.Errorf("read the key of slots: %w", err)
		}
		record := make([]byte, 33)
		record[0] = passVersion
		rand.Read(record[1:]) // never fails
		_, p, err := s.o.Keys.Update(ctx, keyOwner, 0, storage.Change{Key: keyName, Value: record})
		if err == nil {
			err = p.Wait(ctx)
		}
		if err != nil && !errors.Is(err, storage.ErrConflict) { // another server was faster
			return nil, fmt.Errorf("keep the key of slots: %w", err)
		}
	}
	return s.key, nil
}

// pass is the secret of a slot.
func (s *Service) pass(ctx context.Context, sl *slot) (string, error) {
	key, err := s.passKey(ctx)
	if err != nil {
		return "", err
	}
	b := binary.AppendUvarint([]byte{passVersion}, uint64(sl.created.Unix()))
	b = binary.AppendUvarint(b, uint64(sl.size))
	until := uint64(0)
	if !sl.until.IsZero() {
		until = uint64(sl.until.UnixMilli())
	}
	b = binary.AppendUvarint(b, until)
	for _, text := range []string{sl.owner.String(), sl.kind} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	if pass := passText.EncodeToString(signed(key, sl.id, sl.name, b)); len(pass) <= longestPass {
		return pass, nil
	}
	return rand.Text(), nil
}

// signed puts the signature before what is said of a slot, whose id and name are in its address.
func signed(key []byte, id, name string, b []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(id)) // always as long; these never fail
	h.Write(b)
	h.Write([]byte{0}) // in no name, and b says how long it is
	h.Write([]byte(name))
	return append(h.Sum(nil), b...)
}

// errNoPass: whoever shows it has no slot. errLate: it was good once.
var (
	errNoPass = errors.New("no pass for a slot")
	errLate   = errors.New("the slot has expired")
)

// passed returns the slot that a pass is for.
func passed(key []byte, id, name, pass string, now time.Time) (*slot, error) {
	if len(pass) > longestPass {
		return nil, errNoPass
	}
	all, err := passText.Strict().DecodeString(pass)
	if err != nil || len(all) <= sha256.Size || !hmac.Equal(all, signed(key, id, name, all[sha256.Size:])) {
		return nil, errNoPass
	}
	// Whatever follows was written by a server of ours, though perhaps of another version.
	b := all[sha256.Size:]
	if b[0] != passVersion {
		return nil, errNoPass
	}
	b = b[1:]
	var n [3]uint64
	for i := range n {
		width := 0
		if n[i], width = binary.Uvarint(b); width <= 0 {
			return nil, errNoPass
		}
		b = b[width:]
	}
	var texts [2]string
	for i := range texts {
		length, width := binary.Uvarint(b)
		if width <= 0 || length > uint64(len(b)-width) {
			return nil, errNoPass
		}
		texts[i] = string(b[width : width+int(length)])
		b = b[width+int(length):]
	}
	owner, err := jid.Parse(texts[0])
	if err != nil {
		return nil, errNoPass
	}
	created := time.Unix(int64(n[0]), 0)
	sl := &slot{id: id, secret: pass, owner: owner, name: name, kind: texts[1], size: int64(n[1]), created: created,
		expires: created.Add(slotTime)}
	if n[2] != 0 {
		sl.until = time.UnixMilli(int64(n[2]))
	}
	if !now.Before(sl.expires) {
		return nil, errLate
	}
	return sl, nil
}

// given returns the slot of a request that this server does not know, nil for one that it knows. Whether another server
// has given one cannot be known without its pass, so that whoever shows none is told what he would be told there.
func (s *Service) given(r *http.Request, id, name string) (*slot, *refusal) {
	s.mu.Lock()
	here := s.slots[id] != nil
	s.mu.Unlock()
	if here {
		return nil, nil
	}
	at, ok := nameOf(id)
	if !ok {
		return nil, notFound
	}
	pass, shown := strings.CutPrefix(r.Header.Get("Authorization"), scheme)
	if !shown {
		return nil, noPass
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	key, err := s.passKey(ctx)
	if err != nil {
		s.o.Log.Warn("file not taken", "file", short(id), "error", err)
		return nil, tryAgain
	}
	sl, err := passed(key, id, name, pass, time.Now())
	switch {
	case errors.Is(err, errLate):
		return nil, notFound
	case err != nil:
		return nil, noPass
	}
	switch there, err := s.store.Has(ctx, []string{at}); {
	case err != nil:
		s.met(err)
		return nil, s.failed(sl, err)
	case there[0]:
		return nil, &refusal{http.StatusConflict, "Conflict: the slot is used."}
	}
	return sl, nil
}

// adopt puts a slot that another server has given among those that are known here. The caller holds mu.
func (s *Service) adopt(sl *slot) {
	owner := sl.owner.String()
	if s.users[owner] == nil {
		s.users[owner] = map[*slot]bool{}
	}
	s.users[owner][sl], s.slots[sl.id] = true, sl
}

// Claimed is the account that a request to put a file says its slot is of, as a bare address; "" for none. Nothing is
// checked: it is for whoever passes the request on to the account's home.
func Claimed(r *http.Request) string {
	pass, shown := strings.CutPrefix(r.Header.Get("Authorization"), scheme)
	if r.Method != http.MethodPut || !shown || len(pass) > longestPass {
		return ""
	}
	b, err := passText.Strict().DecodeString(pass)
	if err != nil || len(b) <= sha256.Size || b[sha256.Size] != passVersion {
		return ""
	}
	b = b[sha256.Size+1:]
	var v uint64
	for range 4 { // when it was made, size, until when, and the length of the owner
		n := 0
		if v, n = binary.Uvarint(b); n <= 0 {
			return ""
		}
		b = b[n:]
	}
	if v > uint64(len(b)) {
		return ""
	}
	owner, err := jid.Parse(string(b[:v]))
	if err != nil || !owner.IsBare() || owner.Local() == "" {
		return ""
	}
	return owner.String()
}
