package accounts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

// awaitedOwner has, in the map of the secret, the names of users who are being imported.
const awaitedOwner = "awaited"

// Whole returns an account with its keys, for an export. Errors: ErrNotFound, ErrUnavailable, or the context's.
func (s *Service) Whole(ctx context.Context, user jid.JID) (storage.Account, error) {
	a, err := s.users.store.Get(ctx, user.Bare().String())
	if err != nil {
		return a, about(user.Bare().String(), err)
	}
	return a, nil
}

// Each calls f with the users of a domain, or of all domains if it is empty, in ascending order.
func (s *Service) Each(ctx context.Context, domain string, f func(user jid.JID) error) error {
	return pages(ctx, s.users.store, domain, func(a storage.Account) error {
		account, err := shown(a)
		if err != nil {
			return err
		}
		return f(account.User)
	})
}

// pages calls f with each account in turn.
func pages(ctx context.Context, store storage.Accounts, domain string, f func(storage.Account) error) error {
	const page = 1000
	after := ""
	for {
		list, err := store.List(ctx, domain, after, page)
		if err != nil {
			return fmt.Errorf("list accounts: %w", unavailable(err))
		}
		for _, a := range list {
			if err := f(a); err != nil {
				return err
			}
		}
		if len(list) < page {
			return nil
		}
		after = list[len(list)-1].User
	}
}

// Await keeps the name of an account that Restore is going to make: until then what is imported for it lies there
// without an account, and nobody else may get it by making one. Delete gives the name up, and what lies there. Errors:
// ErrUser, ErrUnavailable, or the context's.
func (s *Service) Await(ctx context.Context, user jid.JID) error {
	if !user.IsBare() || !named(user) {
		return fmt.Errorf("import %q: %w", user, ErrUser)
	}
	_, p, err := s.notes.Update(ctx, awaitedOwner, storage.AnyVersion,
		storage.Change{Key: user.String(), Value: []byte{1}})
	if err == nil {
		err = p.Wait(ctx)
	}
	if err != nil {
		return about(user.String(), err)
	}
	return nil
}

// awaited says whether Await keeps a name.
func (s *Service) awaited(ctx context.Context, user jid.JID) (bool, error) {
	_, err := s.notes.Get(ctx, awaitedOwner, user.String())
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// arrived ends what Await began.
func (s *Service) arrived(ctx context.Context, user jid.JID) (*storage.Pending, error) {
	_, p, err := s.notes.Update(ctx, awaitedOwner, storage.AnyVersion,
		storage.Change{Key: user.String(), Delete: true})
	return p, err
}

// Sound returns the keys of an imported account that can be used, and what is wrong with the others.
func Sound(list []storage.Credential) (sound []storage.Credential, wrong []error) {
	for _, c := range list {
		i := slices.IndexFunc(hashes[:], func(h sasl.Hash) bool { return h.String() == c.Hash })
		switch {
		case i < 0:
			wrong = append(wrong, fmt.Errorf("keys for %.40q are of no use here", c.Hash))
		case len(c.Salt) == 0 || len(c.Salt) > 1024 || c.Iterations < 1 || c.Iterations > sasl.MaxIterations ||
			len(c.StoredKey) != hashes[i].Size() || len(c.ServerKey) != hashes[i].Size():
			wrong = append(wrong, fmt.Errorf("keys for %s have a wrong length or number of iterations", c.Hash))
		default:
			sound = append(sound, c)
		}
	}
	return sound, wrong
}

// Restore makes an account as it was elsewhere. With a password its keys are derived; else it has those given, which
// must be sound, and without any nobody can log in before it is given a password. Errors: ErrUser, ErrPassword,
// ErrPermission, ErrExists, ErrUnavailable, or the context's.
func (s *Service) Restore(ctx context.Context, user jid.JID, a storage.Account, password string) error {
	if !user.IsBare() || !named(user) {
		return fmt.Errorf("import %q: %w", user, ErrUser)
	}
	var granted []Permission
	for _, p := range a.Permissions {
		granted = append(granted, Permission(p))
	}
	names, err := spell(granted)
	if err != nil {
		return err
	}
	slices.Sort(names)
	if password != "" {
		if err := fitting(password); err != nil {
			return err
		}
		if a.Credentials, err = s.derive(ctx, password); err != nil {
			return err
		}
	}
	a.User, a.Permissions, a.Domains = strings.Clone(user.String()), slices.Compact(names), nil
	now := time.Now().UTC()
	if a.Created.IsZero() {
		a.Created = now
	}
	if a.Changed.IsZero() {
		a.Changed = a.Created
	}
	if err := s.leaving.over(ctx, a.User); err != nil {
		return about(a.User, err)
	}
	p, err := s.users.store.Create(ctx, a)
	s.forget(user)
	if err == nil {
		err = s.reckon(ctx, a.User, a.Credentials)
	}
	if err != nil {
		return about(user.String(), err)
	}
	if err = p.Wait(ctx); err == nil {
		p, err = s.arrived(ctx, user)
	}
	if err != nil {
		return about(user.String(), err)
	}
	return s.settle(ctx, p, user, Created)
}
