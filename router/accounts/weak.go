package accounts

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

// weakOwner has, in the map of the secret, the users who have no keys of SHA-256: imported ones.
const weakOwner = "weak"

// weak knows the accounts that have keys of SHA-1 and none of SHA-256. What a client is offered before it has said
// whose it is must fit them, too: most clients try the strongest mechanism only, and take a refusal for a wrong
// password.
type weak struct {
	mu    sync.Mutex // guards the rest
	users map[string]bool
	hosts map[string]int // how many of them
}

func (w *weak) load(ctx context.Context, notes storage.Map) error {
	entries, _, err := notes.List(ctx, weakOwner)
	if err != nil {
		return fmt.Errorf("load the accounts without keys of SHA-256: %w", unavailable(err))
	}
	w.users, w.hosts = map[string]bool{}, map[string]int{}
	for _, e := range entries {
		w.set(e.Key, true)
	}
	return nil
}

func (w *weak) has(user string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.users[user]
}

func (w *weak) set(user string, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, host, _ := strings.Cut(user, "@")
	switch {
	case on && !w.users[user]:
		w.users[user] = true
		w.hosts[host]++
	case !on && w.users[user]:
		delete(w.users, user)
		w.hosts[host]--
	}
}

// OnlySHA1 says whether some account of a host can log in by SCRAM with SHA-1 alone, as imported ones can whose server
// kept no other keys. They get others when their password is shown or set anew.
func (s *Service) OnlySHA1(host string) bool {
	s.weak.mu.Lock()
	defer s.weak.mu.Unlock()
	return s.weak.hosts[host] > 0
}

// reckon notes whether an account lacks keys of SHA-256, now that it has these. Nobody waits for it to be written: it
// is noted again when it matters.
func (s *Service) reckon(ctx context.Context, user string, credentials []storage.Credential) error {
	a := storage.Account{Credentials: credentials}
	_, one := keysOf(a, sasl.SHA1)
	_, two := keysOf(a, sasl.SHA256)
	on := one && !two
	if on == s.weak.has(user) {
		return nil
	}
	_, _, err := s.notes.Update(ctx, weakOwner, storage.AnyVersion,
		storage.Change{Key: user, Value: []byte{1}, Delete: !on})
	if err == nil {
		s.weak.set(user, on)
	}
	return err
}

// strengthen gives an account that lacks keys those of all hashes, now that its password is known. It is an improvement
// and no more: an error is left to the next time.
func (s *Service) strengthen(ctx context.Context, user jid.JID, password string) {
	name := user.String()
	if !s.weak.has(name) || s.settings.Load().elsewhere.keeps(name) {
		return
	}
	since, err := s.Keyring(ctx, user)
	if err != nil {
		return
	}
	credentials, err := s.derive(ctx, password)
	if err != nil {
		return
	}
	var kept []storage.Credential
	err = s.modify(ctx, user, 0, func(a *storage.Account) error {
		if a.Changed.Equal(since.changed) { // else the password is another by now
			a.Credentials = credentials
		}
		kept = a.Credentials
		return nil
	})
	if err == nil {
		_ = s.reckon(ctx, name, kept) // see above
	}
}
