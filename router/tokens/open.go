package tokens

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"jackdaw/router/accounts"
	"jackdaw/storage"
)

const (
	// flushEvery is how often the uses of a token are written at most.
	flushEvery = 5 * time.Minute
)

// used is what is known in memory of a token that was used not long ago.
type used struct {
	// raw and token are the record as it was stored when last seen, and what it says: it is read anew from storage for
	// each use, and taken apart only when it has changed.
	raw   []byte
	token *record

	full time.Time // when as many uses as may come at once may come again
	// What is not written yet: how often, and when and where last.
	uses int64
	last time.Time
	from netip.Addr
}

// Open takes a token that somebody presents from somewhere, and returns what is known of it when it may be used now. A
// failure counts in the throttle of failed logins, by the address; but a token that is good opens also where an address
// waits, since nobody guesses 130 bits: so nobody keeps programs out by failing beside them. Errors: ErrMalformed,
// ErrUnknown, ErrExpired, ErrAddress, ErrOwner, ErrOff, or in their place an accounts.ErrThrottled; a TooFast; with
// accounts.ErrUnavailable the storage is in trouble; or the context's.
func (s *Service) Open(ctx context.Context, secret string, from accounts.Source) (Token, error) {
	t, err := s.Try(ctx, secret, from)
	return t, s.Count(secret, from, err)
}

// Count has the throttle hear what Try has said, and returns that, or an accounts.ErrThrottled in its place.
func (s *Service) Count(secret string, from accounts.Source, err error) error {
	if err == nil || !Wrong(err) {
		return err
	}
	throttle, name := s.o.Accounts.Throttle(), "token "+IDOf(secret) // no account has such a name
	if slow := throttle.Check(from, name); slow != nil {
		return slow
	}
	throttle.Failed(from, name)
	return err
}

// Wrong says that an error of Open or Try is about the token: another try with it will fail, too.
func Wrong(err error) bool {
	for _, one := range [...]error{ErrMalformed, ErrUnknown, ErrExpired, ErrAddress, ErrOwner, ErrKind,
		ErrOff} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// Try is Open without the throttle: Count may follow. With ErrExpired, ErrAddress and ErrOwner
// the token is known, and returned.
func (s *Service) Try(ctx context.Context, secret string, from accounts.Source) (Token, error) {
	kind, err := parse(secret)
	switch {
	case err != nil:
		return Token{}, err
	case !s.o.On():
		return Token{}, ErrOff
	}
	sum := digest(secret)
	id := idOf(sum)
	raw, err := s.o.Store.Get(ctx, id, keyToken)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return Token{}, ErrUnknown
	case err != nil:
		return Token{}, unavailable(err)
	}
	r, err := s.recall(id, raw)
	if err != nil {
		return Token{}, fmt.Errorf("the token %s: %w", id, err)
	}
	if r.Kind != kind || subtle.ConstantTimeCompare(r.Digest, sum[:]) != 1 {
		return Token{}, ErrUnknown
	}
	t, now := r.shown(usage{}), s.o.Now()
	switch {
	case r.expired(now):
		return t, ErrExpired
	case !r.within(from.Addr):
		return t, ErrAddress
	}
	rights, err := s.o.Accounts.Rights(ctx, r.Owner)
	if err != nil {
		return Token{}, err
	}
	if !rights.Active() || !r.isOf(rights.Created()) {
		return t, ErrOwner
	}
	switch err := s.o.Accounts.Vouch(ctx, r.Owner); {
	case errors.Is(err, accounts.ErrNotAuthorized):
		return t, ErrOwner
	case err != nil:
		return Token{}, err
	}
	if wait := s.use(id, raw, r, from.Addr, now); wait > 0 {
		return t, TooFast{t, wait}
	}
	return t, nil
}

// recall takes a record apart, unless that was done before.
func (s *Service) recall(id string, raw []byte) (*record, error) {
	s.mu.Lock()
	u := s.used[id]
	s.mu.Unlock()
	if u != nil && bytes.Equal(u.raw, raw) {
		return u.token, nil
	}
	return decodeToken(raw)
}

// use notes a use, or says how long to wait for one.
func (s *Service) use(id string, raw []byte, r *record, from netip.Addr, now time.Time) (wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.used[id]
	if u == nil || !bytes.Equal(u.raw, raw) {
		next := &used{raw: raw, token: r}
		if u != nil {
			next.full, next.uses, next.last, next.from = u.full, u.uses, u.last, u.from
		}
		s.used[id] = next
		u = next
	}
	// The generic cell rate algorithm: each use puts off by one the time when all of the burst is there again.
	full := u.full
	if full.Before(now) {
		full = now
	}
	full = full.Add(r.Rate.Every)
	if wait := full.Sub(now) - time.Duration(r.Rate.Burst)*r.Rate.Every; wait > 0 {
		return wait
	}
	u.full = full
	u.uses++
	u.last, u.from = now, from
	return 0
}

// forget drops what is known in memory of a token.
func (s *Service) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.used, id)
}

// usage is how a token was used, also what is not written yet.
func (s *Service) usage(ctx context.Context, id string) (usage, error) {
	u, err := s.written(ctx, id)
	if err != nil {
		return u, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.used[id]; now != nil {
		now.addTo(&u)
	}
	return u, nil
}

// written is the usage that is stored.
func (s *Service) written(ctx context.Context, id string) (u usage, err error) {
	b, err := s.o.Store.Get(ctx, id, keyUsage)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return u, nil
	case err != nil:
		return u, unavailable(err)
	}
	if err := decode(b, &u); err != nil {
		return u, fmt.Errorf("the uses of the token %s: %w", id, err)
	}
	return u, nil
}

func (now *used) addTo(u *usage) {
	if now.uses > 0 {
		u.Uses += now.uses
		u.Last, u.From = now.last.UTC().Truncate(time.Minute), now.from
	}
}

// Run writes how tokens are used, tells owners of those that expire soon, and forgets those that have long expired,
// until ctx ends. What was not written is written then, before Run returns.
func (s *Service) Run(ctx context.Context) {
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	look := time.NewTimer(lookAfter)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			s.flush(context.WithoutCancel(ctx))
			return
		case <-flush.C:
			s.flush(ctx)
		case <-look.C:
			s.look(ctx)
			look.Reset(lookEvery)
		}
	}
}

// flush writes the uses that are not written. A use that cannot be written is tried again.
func (s *Service) flush(ctx context.Context) {
	now := s.o.Now()
	s.mu.Lock()
	var due []string
	for id, u := range s.used {
		switch {
		case u.uses > 0:
			due = append(due, id)
		case u.full.Before(now):
			delete(s.used, id)
		}
	}
	s.mu.Unlock()
	var pendings []*storage.Pending
	for _, id := range due {
		p, err := s.flushOne(ctx, id)
		if err != nil {
			s.o.Log.Warn("write when tokens were used", "error", err)
			break
		}
		pendings = append(pendings, p)
	}
	if err := settle(ctx, nil, pendings); err != nil {
		s.o.Log.Warn("write when tokens were used", "error", err)
	}
}

// flushOne writes the uses of a token, if it is still there.
func (s *Service) flushOne(ctx context.Context, id string) (*storage.Pending, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if _, err := s.get(ctx, id); errors.Is(err, ErrNotFound) { // it has not been revoked here
		s.forget(id)
		return nil, nil
	}
	u, err := s.written(ctx, id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	fresh := s.used[id]
	if fresh == nil {
		s.mu.Unlock()
		return nil, nil
	}
	fresh.addTo(&u)
	uses := fresh.uses
	s.mu.Unlock()
	_, p, err := s.o.Store.Update(ctx, id, storage.AnyVersion, storage.Change{Key: keyUsage, Value: encode(u)})
	if err != nil {
		return nil, unavailable(err)
	}
	s.mu.Lock()
	if fresh := s.used[id]; fresh != nil {
		fresh.uses -= uses
	}
	s.mu.Unlock()
	return p, nil
}
