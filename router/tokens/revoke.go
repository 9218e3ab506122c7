package tokens

import (
	"context"
	"fmt"
	"time"

	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// Revoke removes a token. It counts no more when Revoke has been called, and never again when it returns. Errors:
// ErrID, ErrNotFound, accounts.ErrUnavailable, or the context's.
func (s *Service) Revoke(ctx context.Context, id string) error {
	if !isID(id) {
		return ErrID
	}
	s.changing.Lock()
	r, err := s.get(ctx, id)
	var pendings []*storage.Pending
	if err == nil {
		pendings, err = s.remove(ctx, id, r.Owner)
	}
	s.changing.Unlock()
	if err = settle(ctx, err, pendings); err != nil {
		return fmt.Errorf("revoke the token %s: %w", id, err)
	}
	return nil
}

// remove removes a token; what makes it count goes first. The caller holds changing.
func (s *Service) remove(ctx context.Context, id string, owner jid.JID) (pendings []*storage.Pending, err error) {
	p, err := s.o.Store.DeleteOwner(ctx, id)
	if err != nil {
		return nil, unavailable(err)
	}
	s.forget(id)
	_, q, err := s.o.Store.Update(ctx, owner.String(), storage.AnyVersion, storage.Change{Key: id, Delete: true})
	if err != nil {
		return nil, unavailable(err)
	}
	return []*storage.Pending{p, q}, nil
}

// Rotate makes a token like another, in its place: the other counts no longer than the overlap. What is made lives as
// long as the other was to live when it was made. A secret may be given as in Spec. Errors: those of Make and Revoke,
// and ErrSuperseded.
func (s *Service) Rotate(ctx context.Context, id string, overlap time.Duration, secret string) (string, Token, error) {
	if !isID(id) {
		return "", Token{}, ErrID
	}
	fail := func(err error) (string, Token, error) {
		return "", Token{}, fmt.Errorf("rotate the token %s: %w", id, err)
	}
	if overlap < 0 {
		return fail(fmt.Errorf("%v is no overlap", overlap))
	}
	s.changing.Lock()
	secret, next, pendings, err := s.rotate(ctx, id, overlap, secret)
	s.changing.Unlock()
	if err = settle(ctx, err, pendings); err != nil {
		return fail(err)
	}
	return secret, next.shown(usage{}), nil
}

func (s *Service) rotate(ctx context.Context, id string, overlap time.Duration, secret string,
) (_ string, next *record, pendings []*storage.Pending, err error) {
	old, err := s.get(ctx, id)
	if err != nil {
		return "", nil, nil, err
	}
	if old.Successor != "" {
		return "", nil, nil, fmt.Errorf("%w: %s", ErrSuperseded, old.Successor)
	}
	if _, err := s.o.Accounts.Get(ctx, old.Owner); err != nil {
		return "", nil, nil, err
	}
	ids, err := s.ids(ctx, old.Owner)
	switch {
	case err != nil:
		return "", nil, nil, err
	case s.crowded(ids):
		return "", nil, nil, ErrTooMany
	}
	if secret == "" {
		secret = Generate(old.Kind)
	}
	kind, err := parse(secret)
	if err == nil && kind != old.Kind {
		err = fmt.Errorf("the token begins with %s, not with %s: %w", kind, old.Kind, ErrMalformed)
	}
	if err != nil {
		return "", nil, nil, err
	}
	now := s.o.Now().UTC().Truncate(time.Second)
	fresh, sum := *old, digest(secret)
	next = &fresh
	next.Digest, next.Created = sum[:], now
	if !old.Expires.IsZero() {
		next.Expires = now.Add(old.Expires.Sub(old.Created))
	}
	if pendings, err = s.write(ctx, next); err != nil {
		return "", nil, nil, err
	}
	if overlap == 0 {
		gone, err := s.remove(ctx, id, old.Owner)
		return secret, next, append(pendings, gone...), err
	}
	if end := now.Add(overlap); old.Expires.IsZero() || end.Before(old.Expires) {
		old.Expires = end
	}
	old.Successor = next.id()
	_, p, err := s.o.Store.Update(ctx, id, storage.AnyVersion, storage.Change{Key: keyToken, Value: encode(old)})
	if err != nil {
		return "", nil, nil, unavailable(err)
	}
	return secret, next, append(pendings, p), nil
}

// accountChanged removes the tokens of an account that is no more. Those of one that is disabled wait until it is
// enabled again; another password leaves them as they are (docs/decisions/0036-tokens.md).
func (s *Service) accountChanged(user jid.JID, what accounts.Change) {
	if what != accounts.Deleted {
		return
	}
	ctx := context.Background()
	s.changing.Lock()
	pendings, err := s.removeAll(ctx, user)
	s.changing.Unlock()
	if err = settle(ctx, err, pendings); err != nil {
		s.o.Log.Error("remove the tokens of an account", "account", user, "error", err,
			"do", "nothing: they count no more, and go when storage is well")
	}
}

func (s *Service) removeAll(ctx context.Context, user jid.JID) (pendings []*storage.Pending, err error) {
	ids, err := s.ids(ctx, user)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		p, err := s.o.Store.DeleteOwner(ctx, id)
		if err != nil {
			return nil, unavailable(err)
		}
		s.forget(id)
		pendings = append(pendings, p)
	}
	p, err := s.o.Store.DeleteOwner(ctx, user.String())
	if err != nil {
		return nil, unavailable(err)
	}
	_, q, err := s.o.Store.Update(ctx, ownersOwner, storage.AnyVersion,
		storage.Change{Key: user.String(), Delete: true})
	if err != nil {
		return nil, unavailable(err)
	}
	return append(pendings, p, q), nil
}
