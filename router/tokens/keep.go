package tokens

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// Kept is a Token with what is kept of the secret, for an export.
type Kept struct {
	Token
	SHA256 [sha256.Size]byte
}

// Refused is the error of what cannot be restored for a reason in itself.
type Refused struct{ Reason error }

// Error is the reason.
func (r Refused) Error() string { return r.Reason.Error() }

// Unwrap returns the reason.
func (r Refused) Unwrap() error { return r.Reason }

// Kept returns all tokens of an account, the oldest first.
func (s *Service) Kept(ctx context.Context, owner jid.JID) ([]Kept, error) {
	list, err := s.List(ctx, owner)
	if err != nil {
		return nil, err
	}
	all := make([]Kept, 0, len(list))
	for _, t := range list {
		r, err := s.get(ctx, t.ID)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, Kept{t, [sha256.Size]byte(r.Digest)})
	}
	return all, nil
}

// Restore stores a token that was kept elsewhere, for an account that need not be there yet; came is false where it is
// there already. Nothing is written if it is dry; else what it returns is to be awaited. The error is a Refused for
// what no token can be, or accounts.ErrUnavailable, or the context's.
func (s *Service) Restore(ctx context.Context, k Kept, dry bool) (came bool, pendings []*storage.Pending, err error) {
	spec := Spec{Kind: k.Kind, Owner: k.Owner, Label: k.Label, Hook: k.Hook, CIDRs: k.CIDRs, Rate: k.Rate,
		MaxBytes: k.MaxBytes}
	if k.Kind == KindAccount {
		spec.Scopes = k.Scopes
	}
	r, err := recordOf(spec)
	if err == nil && k.Successor != "" && !isID(k.Successor) {
		err = ErrID
	}
	if err != nil {
		return false, nil, Refused{err}
	}
	r.Digest, r.Successor = k.SHA256[:], k.Successor
	r.Created, r.Expires = k.Created.UTC(), k.Expires.UTC()
	s.changing.Lock()
	defer s.changing.Unlock()
	switch old, err := s.get(ctx, r.id()); {
	case err == nil && old.Owner == r.Owner:
		return false, nil, nil
	case err == nil:
		return false, nil, Refused{fmt.Errorf("the token %s is that of another account here", r.id())}
	case !errors.Is(err, ErrNotFound):
		return false, nil, err
	}
	ids, err := s.ids(ctx, r.Owner)
	switch {
	case err != nil:
		return false, nil, err
	case s.crowded(ids):
		return false, nil, Refused{ErrTooMany}
	case dry:
		return true, nil, nil
	}
	pendings, err = s.write(ctx, r)
	return err == nil, pendings, err
}
