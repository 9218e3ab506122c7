package admin

import (
	"context"
	"sync"
	"time"

	"jackdaw/modules/upload"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

// MaxPage is how many accounts one answer may hold.
const MaxPage = 1000

// newUser reads the address of an account that is to be made.
func (s *Service) newUser(address string) (jid.JID, error) {
	j, err := user(address)
	if err == nil {
		err = s.served(j.Domain())
	}
	return j, err
}

// AddUser creates an account of a domain that is served here. Errors: accounts.ErrExists, accounts.ErrPassword.
func (s *Service) AddUser(ctx context.Context, by By, address, password string) error {
	j, err := s.newUser(address)
	if err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, j, "user.add", Login{Name: address, Password: password}, nil); passed {
		return err
	}
	return s.said(s.o.Accounts.Create(ctx, j, password), by, "account created", "account", j)
}

// AddUsers creates many accounts and calls done, one call at a time, with the index of each in list and how it went;
// nil is well. The error says that the rest was not settled.
func (s *Service) AddUsers(ctx context.Context, by By, list []Login, done func(index int, err error)) error {
	var good []accounts.NewAccount
	var index []int // in list, of each in good
	for i, l := range list {
		j, err := s.newUser(l.Name)
		if err != nil {
			done(i, err)
			continue
		}
		good, index = append(good, accounts.NewAccount{User: j, Password: l.Password}), append(index, i)
	}
	good, index = s.addElsewhere(ctx, by, good, index, done)
	return s.o.Accounts.CreateBatch(ctx, good, func(i int, err error) {
		done(index[i], s.said(err, by, "account created", "account", good[i].User))
	})
}

// atOnce is how many accounts are made elsewhere at a time.
const atOnce = 8

// addElsewhere has other nodes create the accounts that are at home there, and returns the others, of which all are
// for a server that is alone.
func (s *Service) addElsewhere(ctx context.Context, by By, list []accounts.NewAccount, index []int,
	done func(index int, err error)) (here []accounts.NewAccount, hereIndex []int) {
	if s.o.Elsewhere == nil {
		return list, index
	}
	var asked sync.WaitGroup
	var one sync.Mutex // guards done and what is returned
	free := make(chan struct{}, atOnce)
	for i, a := range list {
		free <- struct{}{}
		asked.Go(func() {
			defer func() { <-free }()
			passed, err := s.pass(ctx, by, a.User, "user.add", Login{Name: a.User.String(), Password: a.Password}, nil)
			one.Lock()
			defer one.Unlock()
			if passed {
				done(index[i], err)
				return
			}
			here, hereIndex = append(here, a), append(hereIndex, index[i])
		})
	}
	asked.Wait()
	return here, hereIndex
}

// SetPassword replaces a password and ends the live sessions. Errors: accounts.ErrPassword.
func (s *Service) SetPassword(ctx context.Context, by By, address, password string) error {
	j, err := user(address)
	if err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, j, "user.passwd", Login{Name: address, Password: password}, nil); passed {
		return err
	}
	return s.said(s.o.Accounts.SetPassword(ctx, j, password), by, "password set", "account", j)
}

// DeleteUser removes an account and all that is kept of it, and ends its sessions.
func (s *Service) DeleteUser(ctx context.Context, by By, address string) error {
	j, err := user(address)
	if err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, j, "user.del", NameRequest{address}, nil); passed {
		return err
	}
	return s.said(s.o.Accounts.Delete(ctx, j), by, "account removed", "account", j)
}

// Disable keeps an account from logging in and ends its live sessions.
func (s *Service) Disable(ctx context.Context, by By, address string) error {
	j, err := user(address)
	if err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, j, "user.switch", SwitchRequest{address, "off"}, nil); passed {
		return err
	}
	return s.said(s.o.Accounts.SetDisabled(ctx, j, true), by, "account disabled", "account", j)
}

// Enable lets a disabled account log in again.
func (s *Service) Enable(ctx context.Context, by By, address string) error {
	j, err := user(address)
	if err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, j, "user.switch", SwitchRequest{address, "on"}, nil); passed {
		return err
	}
	return s.said(s.o.Accounts.SetDisabled(ctx, j, false), by, "account enabled", "account", j)
}

// named reads an account and permissions.
func named(address string, list []string) (jid.JID, []accounts.Permission, error) {
	j, err := user(address)
	if err != nil {
		return j, nil, err
	}
	var all []accounts.Permission
	for _, one := range list {
		p, err := accounts.ParsePermission(one)
		if err != nil {
			return j, nil, err
		}
		all = append(all, p)
	}
	return j, all, nil
}

// Grant gives permissions, as accounts.ParsePermission reads them, in force at once.
func (s *Service) Grant(ctx context.Context, by By, address string, list []string) error {
	j, all, err := named(address, list)
	if err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, j, "user.grant", PermissionsRequest{address, list}, nil); passed {
		return err
	}
	return s.said(s.o.Accounts.Grant(ctx, j, all...), by, "permissions granted", "account", j, "permissions", all)
}

// Revoke takes grants back. The error is an *accounts.StillHeld if one holds all the same.
func (s *Service) Revoke(ctx context.Context, by By, address string, list []string) error {
	j, all, err := named(address, list)
	if err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, j, "user.revoke", PermissionsRequest{address, list}, nil); passed {
		return err
	}
	if err := s.said(s.o.Accounts.Revoke(ctx, j, all...), by, "permissions revoked", "account", j,
		"permissions", all); err != nil {
		return err
	}
	return s.o.Accounts.StillHeld(ctx, j, all...)
}

// Users lists up to limit accounts (at most MaxPage, which 0 means) of a host, or with "" of all, that come after the
// address from in ascending order of domain and user; "" begins. next is where to go on, "" if there are no more. The
// accounts have no LastLogin, LastSeen and Stored.
func (s *Service) Users(ctx context.Context, host, from string, limit int) (page []UserInfo, next string, err error) {
	if host != "" {
		if host, err = domain(host); err != nil {
			return nil, "", err
		}
	}
	if from != "" {
		j, err := user(from)
		if err != nil {
			return nil, "", err
		}
		from = j.String()
	}
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	list, err := s.o.Accounts.Page(ctx, host, from, limit+1)
	if err != nil {
		return nil, "", err
	}
	if host != "" && from == "" && len(list) == 0 {
		// A host that was taken out of the configuration may have accounts still.
		if err := s.served(host); err != nil {
			return nil, "", err
		}
	}
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].User.String()
	}
	addresses := make([]string, len(list))
	for i, a := range list {
		addresses[i] = a.User.String()
	}
	counts := s.counts(ctx, addresses)
	page = make([]UserInfo, len(list))
	for i, a := range list {
		page[i] = s.shown(a, counts[addresses[i]])
	}
	return page, next, nil
}

func (s *Service) shown(a accounts.Account, sessions int) UserInfo {
	u := UserInfo{JID: a.User.String(), Disabled: a.Disabled, Pending: a.Waiting, Created: a.Created, Changed: a.Changed,
		Sessions:    sessions,
		Permissions: []string{}, Rights: []RightInfo{}} // not null in JSON
	for _, p := range a.Permissions {
		u.Permissions = append(u.Permissions, string(p))
	}
	for _, h := range s.o.Accounts.HeldOf(a) {
		u.Rights = append(u.Rights, RightInfo{Permission: string(h.Permission), Source: h.Source,
			Everybody: h.Everybody})
	}
	return u
}

// User shows one account.
func (s *Service) User(ctx context.Context, address string) (UserInfo, error) {
	j, err := user(address)
	if err != nil {
		return UserInfo{}, err
	}
	var there UserInfo
	if passed, err := s.pass(ctx, Command, j, "user.show", NameRequest{address}, &there); passed {
		return there, err
	}
	a, err := s.o.Accounts.Get(ctx, j)
	if err != nil {
		return UserInfo{}, err
	}
	sessions := s.sessionsOf(j)
	newest := time.Time{}
	for _, one := range sessions {
		if one.Since.After(newest) {
			newest = one.Since
		}
	}
	u := s.shown(a, len(sessions))
	u.LastLogin = newest
	if s.o.Kept == nil {
		return u, nil
	}
	login, left, err := s.o.Kept.LastTimes(ctx, j)
	if err != nil {
		return UserInfo{}, err
	}
	if login.After(u.LastLogin) {
		u.LastLogin = login
	}
	if len(sessions) == 0 {
		u.LastSeen = left
	}
	keep, own, err := s.o.Kept.KeepOf(ctx, j)
	if err != nil {
		return UserInfo{}, err
	}
	if own {
		u.Keep = keptFor(keep)
	}
	stored, err := s.o.Kept.Stored(ctx, j)
	for _, one := range stored {
		u.Stored = append(u.Stored, StoredInfo(one))
	}
	if err == nil && s.o.Uploads != nil {
		var files upload.Usage
		if files, err = s.o.Uploads.Used(ctx, j); files.Files > 0 {
			u.Stored = append(u.Stored, StoredInfo{Space: "uploads", Records: files.Files, Bytes: files.Bytes})
		}
	}
	return u, err
}

// RosterOf is the roster of an account as XML (RFC 6121 §2.2), and how many items it has.
func (s *Service) RosterOf(ctx context.Context, address string) (query []byte, items int, err error) {
	j, err := user(address)
	if err != nil {
		return nil, 0, err
	}
	if _, err := s.o.Accounts.Get(ctx, j); err != nil {
		return nil, 0, err
	}
	return s.o.Roster.Query(j)
}

// AddAPIAccount creates an account of the gateway for some domains. Errors: accounts.ErrName, accounts.ErrExists,
// accounts.ErrPassword.
func (s *Service) AddAPIAccount(ctx context.Context, by By, account, password string, domains []string) error {
	for _, d := range domains {
		name, err := domain(d)
		if err != nil {
			return err
		}
		if err := s.served(name); err != nil {
			return err
		}
	}
	return s.said(s.o.Accounts.CreateAPI(ctx, account, password, domains), by, "API account created",
		"account", account, "domains", domains)
}

// DeleteAPIAccount removes an API account.
func (s *Service) DeleteAPIAccount(ctx context.Context, by By, account string) error {
	return s.said(s.o.Accounts.DeleteAPI(ctx, account), by, "API account removed", "account", account)
}

// APIAccounts lists all API accounts.
func (s *Service) APIAccounts(ctx context.Context) ([]APIAccountInfo, error) {
	list, err := s.o.Accounts.ListAPI(ctx)
	var out []APIAccountInfo
	for _, a := range list {
		out = append(out, APIAccountInfo(a))
	}
	return out, err
}
