// Package devices knows the clients of an account: the installations that say which they are when they log in (XEP-0388
// §2.3), and the tokens by which they log in without a password (XEP-0484). Users and administrators see a list of them
// and take the right to log in from one (XEP-0494).
//
// A device has one record, under a digest of the id that its client has chosen, which nobody is told. A token is good
// for the device and the mechanism that it was made for, until it expires or is used for the last time, the password is
// changed, the account disabled or the device removed. Tokens are kept as they are, since both sides of the mechanism
// need them: docs/decisions/0026-devices-and-tokens.md says what that means.
//
// Left out: devices that do not say which they are; what they do is seen in their sessions alone.
package devices

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

const (
	// Space is the name of the map that the devices are in.
	Space = "devices"
	// Most is how many devices of an account are remembered; the one that was away for longest is forgotten for another.
	Most = 50
	// maxName is how many characters are kept of what a client says of itself.
	maxName = 64
	// freshFor is how long a device's last login is not written again.
	freshFor = time.Hour
	// rotateAfter is the age at which a token is to be replaced, where its lifetime is not shorter.
	rotateAfter = 24 * time.Hour
	// epochKey is where it is kept since when tokens count again, beside the devices of the account.
	epochKey = ".since"
	// sweepAfter is the time from the start to the first look for devices that are away, sweepEvery that between two.
	sweepAfter = 10 * time.Minute
	sweepEvery = 24 * time.Hour
	// attempts is how often a change is tried that meets others of the same account.
	attempts = 20
)

// ErrNotFound says that there is no such device.
var ErrNotFound = errors.New("there is no such device")

// An Agent is a client's own word about itself (XEP-0388 §2.3). The id stays the same for an installation; "" says that
// there is none.
type Agent struct{ ID, Software, Device string }

// A Device is what may be shown of one.
type Device struct {
	ID          string // made by us; it says nothing of the client's own
	Software    string // such as "Gajim"; "" if the client does not say
	Name        string // such as "Romeo's laptop"; likewise
	First, Last time.Time
	Mechanism   sasl.Mechanism // of the last login
	Password    bool           // it has shown the present password
	Token       bool           // it can log in by one
	Expires     time.Time      // of the token
}

// Access says whether the device can log in by itself, as far as is known.
func (d Device) Access() bool { return d.Password || d.Token }

// A Login is one that has succeeded.
type Login struct {
	User      jid.JID // bare
	Agent     Agent   // with an id
	Mechanism sasl.Mechanism
	Began     time.Time // before anything was proved
}

// A Use is an attempt to log in with a token.
type Use struct {
	User       jid.JID // bare
	Agent      string  // the id
	Mechanism  sasl.Mechanism
	Count      uint64 // of uses, as the client counts; 0: it does not
	Invalidate bool   // it is the last use
}

// Options of New.
type Options struct {
	Store    storage.Map // of this service alone; the owner is a bare address
	Accounts *accounts.Service
	// Lifetime is how long a token is good, whenever one is made.
	Lifetime func() time.Duration
	// Keep is how long a device is remembered that is away and has no token; 0: for ever. It is asked whenever that
	// matters; nil: for ever.
	Keep func() time.Duration
	// Shown says whether somebody may see the devices; else no more is kept than tokens need, and nothing of others. It is
	// asked whenever that matters; nil: yes.
	Shown func() bool
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: nobody reads it
}

// A Service keeps the devices. It is safe for concurrent use.
type Service struct {
	o Options

	mu      sync.Mutex // guards removed
	removed []func(user jid.JID, device string)
}

// New returns the service. It hears of what happens to accounts.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Keep == nil {
		o.Keep = func() time.Duration { return 0 }
	}
	if o.Shown == nil {
		o.Shown = func() bool { return true }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{o: o}
	o.Accounts.OnChange(s.accountChanged)
	return s
}

// OnRemoved has f called when a device was removed, by its user or an administrator. Listeners stay for ever.
func (s *Service) OnRemoved(f func(user jid.JID, device string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = append(slices.Clip(s.removed), f)
}

// ID is the id of the device of a user whose client has chosen this id for itself.
func ID(user jid.JID, agent string) string {
	sum := sha256.Sum256([]byte("device\x00" + user.Bare().String() + "\x00" + agent))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// List returns the devices of an account, the one that was here last before the others.
func (s *Service) List(ctx context.Context, user jid.JID) ([]Device, error) {
	a, err := s.o.Accounts.Get(ctx, user)
	if err != nil {
		return nil, err
	}
	since, err := s.since(ctx, user)
	if err != nil && !errors.Is(err, sasl.NotAuthorized) {
		return nil, err
	}
	active := err == nil
	entries, _, err := s.o.Store.List(ctx, user.Bare().String())
	if err != nil {
		return nil, fmt.Errorf("list the devices of %s: %w", user.Bare(), err)
	}
	var all []Device
	for _, e := range entries {
		if e.Key == epochKey {
			continue
		}
		r, err := decode(e.Value)
		if err != nil {
			return nil, fmt.Errorf("a device of %s: %w", user.Bare(), err)
		}
		if s.stale(r) {
			continue
		}
		d := Device{ID: e.Key, Software: r.Software, Name: r.Name, First: r.First, Last: r.Last, Mechanism: r.Mechanism,
			Password: active && r.Password.After(a.Changed)}
		for _, t := range r.Tokens {
			if active && t.good(since, s.o.Now()) {
				d.Token = true
				if t.Expires.After(d.Expires) {
					d.Expires = t.Expires
				}
			}
		}
		all = append(all, d)
	}
	slices.SortStableFunc(all, func(a, b Device) int { return b.Last.Compare(a.Last) })
	return all, nil
}

// Remove takes the right to log in by token from a device and forgets it. It returns when that is durable and its
// sessions have been ended. Errors: ErrNotFound, the engine's, or the context's.
func (s *Service) Remove(ctx context.Context, user jid.JID, device string) error {
	err := s.change(ctx, user, device, func(_ map[string]*record, r *record) error {
		if r.isNew {
			return ErrNotFound
		}
		r.gone = true
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	listeners := s.removed
	s.mu.Unlock()
	for _, f := range listeners {
		f(user.Bare(), device)
	}
	return nil
}

// Seen notes a login. It need not be awaited: a login that is forgotten is one that nobody sees in a list.
func (s *Service) Seen(ctx context.Context, l Login) error {
	software, name := s.words(l.Agent)
	since := time.Time{}
	if !isToken(l.Mechanism) { // it is not that of an account that is no more
		var err error
		if since, err = s.since(ctx, l.User); err != nil {
			return err
		}
	}
	now := s.o.Now()
	id := ID(l.User, l.Agent.ID)
	if r, err := s.get(ctx, l.User, id); err == nil && r.Software == software && r.Name == name &&
		r.Mechanism == l.Mechanism && now.Sub(r.Last) < freshFor && (isToken(l.Mechanism) || r.Password.After(since)) {
		return nil
	}
	return s.change(ctx, l.User, id, func(_ map[string]*record, r *record) error {
		switch {
		case r.isNew && isToken(l.Mechanism): // it has been removed since
			return ErrNotFound
		case r.isNew && !s.o.Shown():
			r.gone = true
		default:
			r.seen(software, name, l, now)
		}
		return nil
	})
}

// Issue makes a token for a device that has logged in, and returns it when it is durable. A token that was made before
// and has not been used is good no more (XEP-0484 §3.5). Where the right to log in was taken back since the login
// began, the error is sasl.NotAuthorized.
func (s *Service) Issue(ctx context.Context, l Login, m sasl.Mechanism) (secret string, expires time.Time, err error) {
	now := s.o.Now()
	t := &token{Secret: rand.Text() + rand.Text(), Mechanism: m, Issued: l.Began,
		Expires: now.Add(s.o.Lifetime()).Truncate(time.Second)}
	id := ID(l.User, l.Agent.ID)
	err = s.change(ctx, l.User, id, func(_ map[string]*record, r *record) error {
		if r.isNew && isToken(l.Mechanism) { // the device was removed after it had proved its token
			return sasl.NotAuthorized
		}
		software, name := s.words(l.Agent)
		r.seen(software, name, l, now)
		r.Tokens = slices.DeleteFunc(r.Tokens, func(t *token) bool { return t.Fresh })
		t.Fresh = true
		r.Tokens = append(r.Tokens, t)
		return nil
	})
	if err != nil {
		return "", time.Time{}, err
	}
	// Whoever disabled the account or changed its password meanwhile has looked before this was written.
	since, err := s.since(ctx, l.User)
	if err == nil && !t.good(since, now) {
		err = sasl.NotAuthorized
	}
	if err != nil {
		return "", time.Time{}, errors.Join(err, s.forgetTokens(ctx, l.User, id))
	}
	return t.Secret, t.Expires, nil
}

// Use tries the tokens of a device: proves says whether a secret is the one that the client has. It returns when what
// came of it is durable; due says that the client is to be given another token. The error is a sasl.Failure where none
// is good: NotAuthorized, or CredentialsExpired for one that was; else the storage is in trouble.
func (s *Service) Use(ctx context.Context, u Use, proves func(secret []byte) bool) (due bool, err error) {
	since, err := s.since(ctx, u.User)
	if err != nil && !errors.Is(err, sasl.NotAuthorized) {
		return false, err
	}
	active := err == nil
	now := s.o.Now()
	id := ID(u.User, u.Agent)
	r, err := s.get(ctx, u.User, id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		r = &record{}
	case err != nil:
		return false, err
	}
	t, err := r.match(u, since, now, proves)
	if err == nil && !active {
		err = sasl.NotAuthorized
	}
	if err != nil {
		return false, err
	}
	due = now.Sub(t.Issued) >= min(rotateAfter, s.o.Lifetime()/2)
	if !t.Fresh && u.Count == 0 && !u.Invalidate && len(r.Tokens) == 1 {
		return due, nil // nothing changes
	}
	secret := t.Secret
	return due, s.change(ctx, u.User, id, func(_ map[string]*record, r *record) error {
		// It is looked at again, since another login may have come between.
		t, err := r.match(u, since, now, func(b []byte) bool { return string(b) == secret })
		if err != nil {
			return err
		}
		t.Count = max(t.Count, u.Count)
		// XEP-0484 §3.5: a use ends what was made for the device before.
		r.Tokens = slices.DeleteFunc(r.Tokens, func(other *token) bool {
			return other != t && (!other.Fresh || other.Expires.Before(t.Expires)) || other == t && u.Invalidate
		})
		t.Fresh = false
		return nil
	})
}

// match finds the token that is meant, the newest first.
func (r *record) match(u Use, since, now time.Time, proves func([]byte) bool) (*token, error) {
	var found *token
	tried := 0
	for _, fresh := range [...]bool{true, false} {
		for _, t := range r.Tokens {
			if t.Fresh != fresh || t.Mechanism != u.Mechanism { // XEP-0484 §3.4: it is bound to its mechanism
				continue
			}
			tried++
			if found == nil && proves([]byte(t.Secret)) {
				found = t
			}
		}
	}
	for ; tried < 2; tried++ { // an account without tokens takes as long
		proves([]byte("no token has only lower-case letters and spaces"))
	}
	switch {
	case found == nil:
		return nil, sasl.NotAuthorized
	case !found.good(since, now):
		return nil, sasl.CredentialsExpired // XEP-0484 §4.2
	case u.Count > 0 && u.Count <= found.Count:
		return nil, sasl.NotAuthorized // it is a replay (XEP-0484 §3.4)
	}
	return found, nil
}

// since is when the present password of an account was set, or its tokens were taken back; tokens of before count no
// more. The error is sasl.NotAuthorized for an account that is not there or disabled.
func (s *Service) since(ctx context.Context, user jid.JID) (time.Time, error) {
	a, err := s.o.Accounts.Get(ctx, user)
	switch {
	case errors.Is(err, accounts.ErrNotFound), err == nil && !a.Active():
		return time.Time{}, sasl.NotAuthorized
	case err != nil:
		return time.Time{}, err
	}
	b, err := s.o.Store.Get(ctx, user.Bare().String(), epochKey)
	if errors.Is(err, storage.ErrNotFound) {
		return a.Changed, nil
	}
	r := &record{}
	if err == nil {
		r, err = decode(b)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("since when tokens of %s count: %w", user.Bare(), err)
	}
	if r.Last.After(a.Changed) {
		return r.Last, nil
	}
	return a.Changed, nil
}

// accountChanged takes tokens back, also those that logins under way would get, and forgets the devices of an account
// that is no more.
func (s *Service) accountChanged(user jid.JID, what accounts.Change) {
	ctx := context.Background()
	var p *storage.Pending
	var err error
	switch what {
	case accounts.PasswordChanged, accounts.Disabled: // it may be enabled again, and its tokens are not to be good then
		_, p, err = s.o.Store.Update(ctx, user.String(), storage.AnyVersion,
			storage.Change{Key: epochKey, Value: (&record{Last: s.o.Now()}).encode()})
	case accounts.Deleted:
		p, err = s.o.Store.DeleteOwner(ctx, user.String())
	}
	if err == nil {
		err = p.Wait(ctx)
	}
	if err != nil {
		s.o.Log.Error("take back the tokens of an account", "account", user, "error", err,
			"do", "change its password when storage is well")
	}
}

// forgetTokens leaves a device as it is, without tokens, and nothing of an account that is no more.
func (s *Service) forgetTokens(ctx context.Context, user jid.JID, id string) error {
	if _, err := s.o.Accounts.Get(ctx, user); errors.Is(err, accounts.ErrNotFound) {
		p, err := s.o.Store.DeleteOwner(ctx, user.Bare().String())
		if err == nil {
			err = p.Wait(ctx)
		}
		return err
	}
	return s.change(ctx, user, id, func(_ map[string]*record, r *record) error {
		r.gone = r.isNew
		r.Tokens = nil
		return nil
	})
}

func (s *Service) get(ctx context.Context, user jid.JID, id string) (*record, error) {
	b, err := s.o.Store.Get(ctx, user.Bare().String(), id)
	if err != nil {
		return nil, err
	}
	return decode(b)
}

// change has f change the record of a device, in one step with what is there, and returns when it is durable.
func (s *Service) change(ctx context.Context, user jid.JID, id string,
	f func(all map[string]*record, r *record) error) error {
	owner := user.Bare().String()
	for range attempts {
		entries, version, err := s.o.Store.List(ctx, owner)
		if err != nil {
			return fmt.Errorf("read the devices of %s: %w", owner, err)
		}
		all := map[string]*record{}
		for _, e := range entries {
			if e.Key == epochKey {
				continue
			}
			if all[e.Key], err = decode(e.Value); err != nil {
				return fmt.Errorf("a device of %s: %w", owner, err)
			}
		}
		r := all[id]
		if r == nil {
			r = &record{isNew: true}
			all[id] = r
		}
		if err := f(all, r); err != nil {
			return err
		}
		if r.isNew && r.gone {
			return nil
		}
		changes := []storage.Change{{Key: id, Value: r.encode(), Delete: r.gone}}
		for key, other := range all {
			if other != r && s.stale(other) {
				changes = append(changes, storage.Change{Key: key, Delete: true})
				delete(all, key)
			}
		}
		if r.isNew {
			changes = append(changes, crowdedOut(all, r)...)
		}
		_, p, err := s.o.Store.Update(ctx, owner, version, changes...)
		switch {
		case errors.Is(err, storage.ErrConflict):
			continue
		case err == nil:
			err = p.Wait(ctx)
		}
		if err != nil {
			return fmt.Errorf("write a device of %s: %w", owner, err)
		}
		return nil
	}
	return fmt.Errorf("write a device of %s: %w", owner, storage.ErrConflict)
}

// crowdedOut are the devices that are forgotten for a new one.
func crowdedOut(all map[string]*record, fresh *record) (out []storage.Change) {
	for len(all)-len(out) > Most {
		oldest := ""
		for id, r := range all {
			gone := slices.ContainsFunc(out, func(c storage.Change) bool { return c.Key == id })
			if !gone && r != fresh && (oldest == "" || r.Last.Before(all[oldest].Last)) {
				oldest = id
			}
		}
		out = append(out, storage.Change{Key: oldest, Delete: true})
	}
	return out
}

// Run forgets the devices that have been away for too long, soon and then once a day, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	t := time.NewTimer(sweepAfter)
	defer t.Stop()
	for ; ; t.Reset(sweepEvery) {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.o.Log.Warn("not all devices that are away are forgotten", "error", err)
		}
	}
}

// sweep forgets them now, those of accounts that are at home here. An account whose devices change meanwhile waits for
// the next time.
func (s *Service) sweep(ctx context.Context) error {
	if s.o.Keep() == 0 {
		return nil
	}
	all, err := s.o.Accounts.List(ctx, "")
	if err != nil {
		return err
	}
	for _, a := range all {
		if !s.o.Accounts.IsHome(a.User) {
			continue
		}
		owner := a.User.String()
		entries, version, err := s.o.Store.List(ctx, owner)
		if err != nil {
			return fmt.Errorf("read the devices of %s: %w", owner, err)
		}
		var changes []storage.Change
		for _, e := range entries {
			if r, err := decode(e.Value); err == nil && e.Key != epochKey && s.stale(r) {
				changes = append(changes, storage.Change{Key: e.Key, Delete: true})
			}
		}
		if len(changes) == 0 {
			continue
		}
		_, p, err := s.o.Store.Update(ctx, owner, version, changes...)
		if err == nil {
			err = p.Wait(ctx)
		}
		if err != nil && !errors.Is(err, storage.ErrConflict) {
			return fmt.Errorf("forget devices of %s: %w", owner, err)
		}
	}
	return nil
}

// stale says that a device is to be forgotten.
func (s *Service) stale(r *record) bool {
	now, keep := s.o.Now(), s.o.Keep()
	return keep > 0 && now.Sub(r.Last) > keep &&
		!slices.ContainsFunc(r.Tokens, func(t *token) bool { return now.Before(t.Expires) })
}

// words are what is kept of what a client says of itself.
func (s *Service) words(a Agent) (software, name string) {
	if !s.o.Shown() {
		return "", ""
	}
	return clean(a.Software), clean(a.Device)
}

// isToken says whether a mechanism proves a token.
func isToken(m sasl.Mechanism) bool {
	_, ok := m.TokenBinding()
	return ok
}

// clean is what is kept of a client's words: one line that can be shown.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || unicode.IsSpace(r) {
			return r
		}
		return -1
	}, s)
	out := []rune(strings.Join(strings.Fields(s), " "))
	return strings.TrimSpace(string(out[:min(len(out), maxName)]))
}
