package redis

import (
	"context"
	"fmt"
	"slices"

	"jackdaw/storage"
)

// accounts implements storage.Accounts. The accounts of a domain lie in one slot, so that they can be listed in order:
// a hash h by localpart and a sorted set z of the localparts. The set of the domains is a key of its own; a domain may
// stand there without accounts.
type accounts struct {
	*engine
	hosted bool // users are bare JIDs
}

// place is the owner, for the hash tag, and the space of a user's account.
func (a *accounts) place(user string) (domain, space, local string) {
	if !a.hosted {
		return "api", "api-accounts", user
	}
	domain, local = storage.SplitUser(user)
	return domain, "accounts", local
}

func (a *accounts) domains() string { return a.key("domains", "accounts", "s") }

func (a *accounts) Get(ctx context.Context, user string) (storage.Account, error) {
	v, err := a.read(ctx, user)
	if err != nil {
		return storage.Account{}, err
	}
	return storage.DecodeAccount([]byte(v))
}

func (a *accounts) read(ctx context.Context, user string) (string, error) {
	if err := a.check(ctx, user); err != nil {
		return "", err
	}
	domain, space, local := a.place(user)
	v, err := a.run(ctx, call{readScript, []string{a.key(domain, space, "h")}, []any{local}, false})
	if err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", storage.ErrNotFound
	}
	return s, nil
}

// step runs one of the writing scripts and translates its reply.
func (a *accounts) step(ctx context.Context, user string, c call, args ...any) error {
	domain, space, local := a.place(user)
	c.keys = []string{a.newToken(domain, space), a.key(domain, space, "h"), a.key(domain, space, "z")}
	c.args = append([]any{tokenLife.Milliseconds(), local}, args...)
	c.write = true
	v, err := a.run(ctx, c)
	switch {
	case err != nil:
		return err
	case v == "ok":
		return nil
	case v == "exists":
		return storage.ErrExists
	case v == "gone":
		return storage.ErrNotFound
	case v == "changed":
		return storage.ErrConflict
	}
	return fmt.Errorf("write account %s to redis: reply %q", user, v)
}

func (a *accounts) Create(ctx context.Context, account storage.Account) (*storage.Pending, error) {
	if err := a.check(ctx, account.User); err != nil {
		return nil, err
	}
	b, err := storage.EncodeAccount(account)
	if err != nil {
		return nil, err
	}
	if a.hosted {
		domain, _, _ := a.place(account.User)
		if _, err := a.run(ctx, call{domainsScript, []string{a.domains()}, []any{domain}, true}); err != nil {
			return nil, err
		}
	}
	return nil, a.step(ctx, account.User, call{script: createScript}, b)
}

func (a *accounts) Modify(ctx context.Context, user string, f func(*storage.Account) error) (*storage.Pending, error) {
	for {
		old, err := a.read(ctx, user)
		if err != nil {
			return nil, err
		}
		account, err := storage.DecodeAccount([]byte(old))
		if err != nil {
			return nil, err
		}
		if err := f(&account); err != nil {
			return nil, err
		}
		account.User = user
		b, err := storage.EncodeAccount(account)
		if err != nil {
			return nil, err
		}
		if err := a.step(ctx, user, call{script: swapScript}, old, b); err != storage.ErrConflict {
			return nil, err
		}
	}
}

func (a *accounts) Delete(ctx context.Context, user string) (*storage.Pending, error) {
	if err := a.check(ctx, user); err != nil {
		return nil, err
	}
	return nil, a.step(ctx, user, call{script: deleteScript})
}

func (a *accounts) List(ctx context.Context, domain, after string, limit int) ([]storage.Account, error) {
	if err := a.check(ctx, domain, after); err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = 100
	}
	afterDomain, _, afterLocal := a.place(after)
	domains := []string{domain}
	switch {
	case !a.hosted && domain != "":
		return nil, nil
	case !a.hosted:
		domains[0] = afterDomain
	case domain == "":
		v, err := a.run(ctx, call{domainsScript, []string{a.domains()}, nil, false})
		if err != nil {
			return nil, err
		}
		domains = nil
		list, _ := v.([]any)
		for _, d := range list {
			s, _ := d.(string)
			domains = append(domains, s)
		}
		slices.Sort(domains)
	}
	var found []storage.Account
	for _, d := range domains {
		least := "-"
		if after != "" && d == afterDomain {
			least = "(" + afterLocal
		} else if after != "" && d < afterDomain {
			continue
		}
		_, space, _ := a.place("")
		v, err := a.run(ctx, call{listScript, []string{a.key(d, space, "h"), a.key(d, space, "z")},
			[]any{least, limit - len(found)}, false})
		if err != nil {
			return nil, err
		}
		list, _ := v.([]any)
		for _, item := range list {
			s, _ := item.(string)
			account, err := storage.DecodeAccount([]byte(s))
			if err != nil {
				return nil, err
			}
			if found = append(found, account); len(found) == limit {
				return found, nil
			}
		}
	}
	return found, nil
}
