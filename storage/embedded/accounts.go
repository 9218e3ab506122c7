package embedded

import (
	"bytes"
	"context"

	"jackdaw/storage"
)

// accounts implements storage.Accounts.
type accounts struct {
	*engine
	bucket string
	hosted bool // users are bare JIDs
}

func (a *accounts) key(user string) []byte {
	if !a.hosted {
		return append(ownerKey(a.bucket, "", "", len(user)), user...)
	}
	domain, local := storage.SplitUser(user)
	return append(ownerKey(a.bucket, "", domain, len(local)), local...)
}

func (a *accounts) Get(ctx context.Context, user string) (storage.Account, error) {
	if err := a.check(ctx, user); err != nil {
		return storage.Account{}, err
	}
	return a.read(user)
}

func (a *accounts) read(user string) (storage.Account, error) {
	v, _, ok, err := a.get(a.key(user))
	if err != nil {
		return storage.Account{}, err
	}
	if !ok {
		return storage.Account{}, storage.ErrNotFound
	}
	return storage.DecodeAccount(v)
}

// step runs f alone among the steps on one user, and writes what it returns; nil deletes.
func (a *accounts) step(
	ctx context.Context, user string, removes bool, f func(storage.Account, error) (*storage.Account, error),
) (*storage.Pending, error) {
	if err := a.checkWrite(ctx, removes, user); err != nil {
		return nil, err
	}
	s := a.shard(user)
	s.Lock()
	defer s.Unlock()
	changed, err := f(a.read(user))
	if err != nil {
		return nil, err
	}
	b := &batch{}
	if changed == nil {
		b.delete(a.key(user))
	} else {
		changed.User = user
		v, err := storage.EncodeAccount(*changed)
		if err != nil {
			return nil, err
		}
		b.set(a.key(user), v)
	}
	t, err := a.write(b)
	return t.pending, err
}

func (a *accounts) Create(ctx context.Context, account storage.Account) (*storage.Pending, error) {
	return a.step(ctx, account.User, false, func(_ storage.Account, err error) (*storage.Account, error) {
		switch err {
		case nil:
			return nil, storage.ErrExists
		case storage.ErrNotFound:
			return &account, nil
		}
		return nil, err
	})
}

func (a *accounts) Modify(ctx context.Context, user string, f func(*storage.Account) error) (*storage.Pending, error) {
	return a.step(ctx, user, false, func(account storage.Account, err error) (*storage.Account, error) {
		if err == nil {
			err = f(&account)
		}
		return &account, err
	})
}

func (a *accounts) Delete(ctx context.Context, user string) (*storage.Pending, error) {
	return a.step(ctx, user, true, func(_ storage.Account, err error) (*storage.Account, error) { return nil, err })
}

func (a *accounts) List(ctx context.Context, domain, after string, limit int) ([]storage.Account, error) {
	if err := a.check(ctx, domain, after); err != nil {
		return nil, err
	}
	if domain != "" && !a.hosted {
		return nil, nil
	}
	if limit <= 0 {
		limit = 100
	}
	from := append([]byte(a.bucket), 0)
	to := ending(from)
	if domain != "" {
		from = ownerKey(a.bucket, "", domain, 0)
		to = ending(from)
	}
	if after != "" {
		if next := append(a.key(after), 0); bytes.Compare(next, from) > 0 {
			from = next
		}
	}
	if bytes.Compare(from, to) >= 0 {
		return nil, nil
	}
	var list []storage.Account
	var bad error
	err := a.scan(from, to, false, func(_, v []byte) bool {
		var account storage.Account
		if account, bad = storage.DecodeAccount(v); bad != nil {
			return false
		}
		list = append(list, account)
		return len(list) < limit
	})
	if err == nil {
		err = bad
	}
	return list, err
}
