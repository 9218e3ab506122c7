package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"jackdaw/router/accounts"
)

// each calls f with the accounts of a host, or with "" of all, in order until it returns false.
func (s *Service) each(ctx context.Context, host string, f func(accounts.Account) bool) error {
	for from := ""; ; {
		page, err := s.o.Accounts.Page(ctx, host, from, MaxPage)
		if err != nil {
			return err
		}
		for _, a := range page {
			if !f(a) {
				return nil
			}
		}
		if len(page) < MaxPage {
			return nil
		}
		from = page[len(page)-1].User.String()
	}
}

// Count counts the accounts of a host, or with "" of all, and those of them that are disabled. It reads all of them.
func (s *Service) Count(ctx context.Context, host string) (all, disabled int, err error) {
	err = s.each(ctx, host, func(a accounts.Account) bool {
		all++
		if a.Disabled {
			disabled++
		}
		return true
	})
	return all, disabled, err
}

// DisabledUsers lists up to limit accounts of a host that are disabled; more says that there are others.
func (s *Service) DisabledUsers(ctx context.Context, host string, limit int) (list []string, more bool, err error) {
	err = s.each(ctx, host, func(a accounts.Account) bool {
		if a.Disabled {
			if more = len(list) == limit; more {
				return false
			}
			list = append(list, a.User.String())
		}
		return true
	})
	return list, more, err
}

// Admins lists the accounts that are administrators, in order: by a grant, and by the configuration, which only its
// file changes. An account may be in both. It reads all accounts.
func (s *Service) Admins(ctx context.Context) (granted, configured []string, err error) {
	err = s.each(ctx, "", func(a accounts.Account) bool {
		for _, h := range s.o.Accounts.HeldOf(a) {
			switch {
			case h.Permission != accounts.PermAdmin:
			case h.Source == accounts.SourceGrant:
				granted = append(granted, a.User.String())
			default:
				configured = append(configured, a.User.String())
			}
		}
		return true
	})
	return granted, configured, err
}

// SetAdmins makes these accounts the administrators, by grants and revocations. It changes nothing if one is no account
// or none would be left. The error is joined of *accounts.StillHeld for those who stay administrators by the
// configuration though they are not in the list.
func (s *Service) SetAdmins(ctx context.Context, by By, list []string) error {
	const most = 100
	if len(list) > most {
		return fmt.Errorf("%d administrators; at most %d can be named at once", len(list), most)
	}
	var want []string
	for _, address := range list {
		j, err := user(address)
		if err != nil {
			return err
		}
		if _, err := s.o.Accounts.Get(ctx, j); err != nil {
			return err
		}
		want = append(want, j.String())
	}
	granted, configured, err := s.Admins(ctx)
	if err != nil {
		return err
	}
	if len(want)+len(configured) == 0 {
		return errors.New("nobody would be an administrator any more: name at least one account")
	}
	var wrong []error
	for _, address := range want {
		if !slices.Contains(granted, address) && !slices.Contains(configured, address) {
			wrong = append(wrong, s.Grant(ctx, by, address, []string{string(accounts.PermAdmin)}))
		}
	}
	for _, address := range granted {
		if !slices.Contains(want, address) {
			wrong = append(wrong, s.Revoke(ctx, by, address, []string{string(accounts.PermAdmin)}))
		}
	}
	for _, address := range configured {
		if j, err := user(address); err == nil && !slices.Contains(want, address) && !slices.Contains(granted, address) {
			wrong = append(wrong, s.o.Accounts.StillHeld(ctx, j, accounts.PermAdmin))
		}
	}
	return errors.Join(wrong...)
}
