package redis

import (
	"context"
	"errors"
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
	if err := a.check(ctx, user); err != nil {
		return storage.Account{}, err
	}
	v, err := a.read(ctx, user)
	if err != nil {
		return storage.Account{}, err
	}
	return storage.DecodeAccount([]byte(v))
}

// read returns an account as it stands, or is going to stand, in Redis.
func (a *accounts) read(ctx context.Context, user string) (string, error) {
	domain, space, local := a.place(user)
	key := a.key(domain, space, "h")
	// A shared owner's writes may be refused yet.
	if s, there, known := a.written(domain, key, local); known && !a.shared(domain) {
		if !there {
			return "", storage.ErrNotFound
		}
		return s, nil
	}
	v, err := a.run(ctx, call{readScript, []string{key}, []any{local}, false})
	if err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", storage.ErrNotFound
	}
	return s, nil
}

// step writes what decide makes of an account that is there, or not: its new form, or "" to delete it.
func (a *accounts) step(
	ctx context.Context, user string, decide func(now string, there bool) (string, error),
) (*storage.Pending, error) {
	domain, _, _ := a.place(user)
	for r := a.race(domain); ; {
		p, err := a.stepOnce(ctx, user, decide)
		if over, p, err := r.over(ctx, p, err); over {
			return p, err
		}
	}
}

func (a *accounts) stepOnce(
	ctx context.Context, user string, decide func(now string, there bool) (string, error),
) (*storage.Pending, error) {
	domain, space, local := a.place(user)
	o, err := a.hold(ctx, domain)
	if err != nil {
		return nil, err
	}
	defer a.free(o)
	now, err := a.read(ctx, user)
	there := err == nil
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	form, err := decide(now, there)
	if err != nil {
		return nil, err
	}
	h, z := a.key(domain, space, "h"), a.key(domain, space, "z")
	return a.write(ctx, o, len(form)+128, false, func(b *batch) {
		if form == "" {
			b.key(h, hash).remove(local)
			b.key(z, sorted).remove(local)
			return
		}
		b.key(h, hash).set(local, form)
		if !there {
			b.key(z, sorted).set(local, "")
		}
	})
}

func (a *accounts) Create(ctx context.Context, account storage.Account) (*storage.Pending, error) {
	if err := a.check(ctx, account.User); err != nil {
		return nil, err
	}
	form, err := storage.EncodeAccount(account)
	if err != nil {
		return nil, err
	}
	named, err := a.name(ctx, account.User)
	if err != nil {
		return nil, err
	}
	p, err := a.step(ctx, account.User, func(_ string, there bool) (string, error) {
		if there {
			return "", storage.ErrExists
		}
		return string(form), nil
	})
	if err != nil {
		return nil, err
	}
	return storage.Join(named, p), nil
}

// name has the domain of a user among those that have accounts.
func (a *accounts) name(ctx context.Context, user string) (*storage.Pending, error) {
	if !a.hosted {
		return nil, nil
	}
	domain, _, _ := a.place(user)
	if a.o.Homes != nil {
		_, err := a.run(ctx, call{memberScript, []string{a.domains()}, []any{domain}, true})
		return nil, err
	}
	o, err := a.hold(ctx, "domains")
	if err != nil {
		return nil, err
	}
	defer a.free(o)
	if p, ok := o.named[domain]; ok {
		return unfinished(p), nil
	}
	p, err := a.write(ctx, o, len(domain)+64, false, func(b *batch) { b.key(a.domains(), plain).set(domain, "") })
	if err != nil {
		return nil, err
	}
	if o.named == nil {
		o.named = map[string]*storage.Pending{}
	}
	o.named[domain] = p
	return p, nil
}

func (a *accounts) Modify(ctx context.Context, user string, f func(*storage.Account) error) (*storage.Pending, error) {
	if err := a.check(ctx, user); err != nil {
		return nil, err
	}
	return a.step(ctx, user, func(now string, there bool) (string, error) {
		if !there {
			return "", storage.ErrNotFound
		}
		account, err := storage.DecodeAccount([]byte(now))
		if err != nil {
			return "", err
		}
		if err := f(&account); err != nil {
			return "", err
		}
		account.User = user
		form, err := storage.EncodeAccount(account)
		return string(form), err
	})
}

func (a *accounts) Delete(ctx context.Context, user string) (*storage.Pending, error) {
	if err := a.check(ctx, user); err != nil {
		return nil, err
	}
	return a.step(ctx, user, func(_ string, there bool) (string, error) {
		if !there {
			return "", storage.ErrNotFound
		}
		return "", nil
	})
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
		if err := a.drain(ctx, "domains"); err != nil {
			return nil, err
		}
		v, err := a.run(ctx, call{membersScript, []string{a.domains()}, nil, false})
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
		if err := a.drain(ctx, d); err != nil {
			return nil, err
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
