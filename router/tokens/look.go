package tokens

import (
	"context"
	"errors"
	"fmt"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

const (
	// lookAfter is the time from the start to the first look for tokens that expire, lookEvery that between two.
	lookAfter = 10 * time.Minute
	lookEvery = time.Hour
)

// warnings are how long before the end of a token its owner is told, if the token lives at least twice as long.
var warnings = [...]time.Duration{14 * 24 * time.Hour, 3 * 24 * time.Hour, 24 * time.Hour}

// look goes through the tokens of all who are at home here: owners are told of those that expire soon, and those are
// removed that have long expired.
func (s *Service) look(ctx context.Context) {
	owners, err := s.Owners(ctx)
	for _, owner := range owners {
		if err == nil && s.o.Accounts.IsHome(owner) {
			err = s.lookAt(ctx, owner)
		}
	}
	if err != nil && ctx.Err() == nil {
		s.o.Log.Warn("not all tokens were looked at that expire", "error", err)
	}
}

func (s *Service) lookAt(ctx context.Context, owner jid.JID) error {
	ids, err := s.ids(ctx, owner)
	if err != nil {
		return err
	}
	left := len(ids)
	for _, id := range ids {
		gone, err := s.lookAtOne(ctx, id, owner)
		if err != nil {
			return err
		}
		if gone {
			left--
		}
	}
	if left > 0 {
		return nil
	}
	return s.forgetOwner(ctx, owner)
}

// forgetOwner removes an account from those that have tokens, if it still has none.
func (s *Service) forgetOwner(ctx context.Context, owner jid.JID) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if ids, err := s.ids(ctx, owner); err != nil || len(ids) > 0 {
		return err
	}
	_, _, err := s.o.Store.Update(ctx, ownersOwner, storage.AnyVersion,
		storage.Change{Key: owner.String(), Delete: true}) // if that is lost, it is done the next time
	return err
}

// lookAtOne looks at one token, and says whether it is gone.
func (s *Service) lookAtOne(ctx context.Context, id string, owner jid.JID) (gone bool, err error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	r, err := s.get(ctx, id)
	if errors.Is(err, ErrNotFound) { // its writing or its removal was cut off
		_, err = s.remove(ctx, id, owner)
		return err == nil, err
	}
	if err != nil {
		return false, err
	}
	now := s.o.Now()
	keep := keepExpired
	if r.Successor != "" {
		keep = 0
	}
	rights, err := s.o.Accounts.Rights(ctx, owner)
	if err != nil {
		return false, err
	}
	if !r.Expires.IsZero() && now.Sub(r.Expires) > keep || rights.Active() && !r.isOf(rights.Created()) {
		_, err = s.remove(ctx, id, owner)
		return err == nil, err
	}
	return false, s.warn(ctx, id, r, now)
}

// warn tells the owner of a token that it expires, once for each of the warnings. It is noted before: who was not told
// because of a crash is told the next time, and nobody twice.
func (s *Service) warn(ctx context.Context, id string, r *record, now time.Time) error {
	stage := 0
	for i, before := range warnings {
		if r.Expires.Sub(now) <= before && r.Expires.Sub(r.Created) >= 2*before {
			stage = i + 1
		}
	}
	if stage == 0 || r.Expires.IsZero() || r.expired(now) || r.Successor != "" {
		return nil
	}
	u, err := s.written(ctx, id)
	if err != nil || u.Told >= stage {
		return err
	}
	u.Told = stage
	_, p, err := s.o.Store.Update(ctx, id, storage.AnyVersion, storage.Change{Key: keyUsage, Value: encode(u)})
	if err == nil {
		err = p.Wait(ctx)
	}
	if err != nil {
		return unavailable(err)
	}
	s.o.Tell(r.Owner, r.warning(id, now))
	return nil
}

// warning is the line that the owner gets.
func (r *record) warning(id string, now time.Time) string {
	name := id
	if r.Label != "" {
		name = fmt.Sprintf("“%s” (%s)", r.Label, id)
	}
	days := int((r.Expires.Sub(now) + 24*time.Hour - 1) / (24 * time.Hour)) // rounded up
	in := fmt.Sprintf("in %d days", days)
	if days <= 1 {
		in = "within a day"
	}
	return fmt.Sprintf("The token %s expires %s, on %s: what posts with it will be refused then. "+
		"An administrator makes one in its place with `jackdaw token rotate %s`.",
		name, in, r.Expires.UTC().Format("2006-01-02 15:04 UTC"), id)
}
