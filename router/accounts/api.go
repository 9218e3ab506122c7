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
)

// ErrName is returned for a name that no API account can have.
var ErrName = errors.New("not a name of an API account: it follows the rules for the part of an address before the @")

// An APIAccount may post through the gateway in the name of any user of its domains. It is no XMPP user. Its slices are
// shared and not to be changed.
type APIAccount struct {
	Name    string
	Domains []string // normalised, sorted
	Created time.Time
}

// MayPostFor says whether domain, normalised as jid.JID.Domain is, is one of the account's.
func (a APIAccount) MayPostFor(domain string) bool { return slices.Contains(a.Domains, domain) }

// apiName normalises a name. That of a local part is a good rule: letter case does not matter, and there is neither a
// colon, which would end it in HTTP Basic (RFC 7617 §2), nor an @, which would make it look like a user.
func apiName(name string) (string, error) {
	j, err := jid.New(name, "localhost", "")
	if err != nil || j.Local() == "" {
		return "", fmt.Errorf("%q: %w", name, ErrName)
	}
	return j.Local(), nil
}

// CreateAPI makes an API account for at least one domain. Errors: ErrName, ErrPassword, ErrExists, ErrUnavailable, one
// that names a bad domain, or the context's.
func (s *Service) CreateAPI(ctx context.Context, name, password string, domains []string) error {
	name, err := apiName(name)
	if err != nil {
		return err
	}
	if err := fitting(password); err != nil {
		return err
	}
	if len(domains) == 0 {
		return fmt.Errorf("%s: an API account needs at least one domain that it may post for", name)
	}
	var clean []string
	for _, d := range domains {
		j, err := jid.New("", d, "")
		if err != nil {
			return fmt.Errorf("domain %q: %w", d, err)
		}
		clean = append(clean, j.Domain())
	}
	slices.Sort(clean)
	credentials, err := s.derive(ctx, password)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	p, err := s.api.store.Create(ctx, storage.Account{
		User:        strings.Clone(name),
		Credentials: credentials,
		Domains:     slices.Compact(clean),
		Created:     now,
		Changed:     now,
	})
	return s.settleAPI(ctx, p, err, name)
}

// DeleteAPI removes an API account. Errors: ErrNotFound, ErrUnavailable, or the context's.
func (s *Service) DeleteAPI(ctx context.Context, name string) error {
	name, err := apiName(name)
	if err != nil {
		return err
	}
	p, err := s.api.store.Delete(ctx, name)
	return s.settleAPI(ctx, p, err, name)
}

func (s *Service) settleAPI(ctx context.Context, p *storage.Pending, err error, name string) error {
	s.api.remembered.drop(name)
	if err == nil {
		err = p.Wait(ctx)
	}
	if err != nil {
		return about(name, err)
	}
	return nil
}

// ListAPI returns all API accounts by name.
func (s *Service) ListAPI(ctx context.Context) ([]APIAccount, error) {
	var all []APIAccount
	err := pages(ctx, s.api.store, "", func(a storage.Account) error {
		all = append(all, shownAPI(&a))
		return nil
	})
	return all, err
}

// VerifyAPI is Verify for an API account, and returns it.
func (s *Service) VerifyAPI(ctx context.Context, name, password string) (APIAccount, error) {
	name, err := apiName(name)
	if err != nil {
		return APIAccount{}, ErrNotAuthorized
	}
	a, err := s.verify(ctx, &s.api, name, password, nil)
	if err != nil {
		return APIAccount{}, err
	}
	return shownAPI(a), nil
}

// AuthenticateAPI is Authenticate for an API account, and returns it.
func (s *Service) AuthenticateAPI(ctx context.Context, from Source, name, password string) (APIAccount, error) {
	name, err := apiName(name)
	if err != nil {
		return APIAccount{}, ErrNotAuthorized
	}
	a, err := s.authenticate(ctx, &s.api, from, name, password)
	if err != nil {
		return APIAccount{}, err
	}
	return shownAPI(a), nil
}

func shownAPI(a *storage.Account) APIAccount {
	return APIAccount{Name: a.User, Domains: a.Domains, Created: a.Created}
}
