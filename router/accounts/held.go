package accounts

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// The sources of a permission.
const (
	SourceGrant  = "granted"
	SourceAdmins = "hosts[].admins"     // of the configuration
	SourceAdmin  = "follows from admin" // what PermAdmin implies
)

// SourceEveryone is the key of the configuration that gives a permission.
func SourceEveryone(p Permission) string { return "http.permissions." + string(p) }

// A Held permission is one that an account has, and where it has it from. The same one may come from several sources.
type Held struct {
	Permission Permission
	Source     string
	// Everybody says that every account of the server has it.
	Everybody bool
}

// Configured says that the configuration gives it, so that a revocation does not take it away.
func (h Held) Configured() bool { return h.Source != SourceGrant && h.Source != SourceAdmin }

// Held lists the permissions of an account by source. A disabled account has none of them while it is disabled; they
// are listed all the same. Errors: ErrNotFound, ErrUnavailable, or the context's.
func (s *Service) Held(ctx context.Context, user jid.JID) ([]Held, error) {
	a, err := s.users.store.Get(ctx, user.Bare().String())
	if err != nil {
		return nil, about(user.Bare().String(), err)
	}
	return s.settings.Load().held(user.Bare(), a), nil
}

// HeldOf is Held of an account that has been read.
func (s *Service) HeldOf(a Account) []Held {
	stored := storage.Account{}
	for _, p := range a.Permissions {
		stored.Permissions = append(stored.Permissions, string(p))
	}
	return s.settings.Load().held(a.User, stored)
}

func (c *settings) held(user jid.JID, a storage.Account) (all []Held) {
	admin := false
	add := func(h Held) {
		admin = admin || h.Permission == PermAdmin
		all = append(all, h)
	}
	for _, p := range a.Permissions {
		add(Held{Permission: Permission(p), Source: SourceGrant})
	}
	for _, rule := range c.everyone {
		matches := func(p Pattern) bool { return p.Matches(user) }
		if slices.ContainsFunc(rule.accounts, matches) {
			add(Held{Permission: rule.permission, Source: SourceEveryone(rule.permission),
				Everybody: slices.ContainsFunc(rule.accounts, func(p Pattern) bool { return p.every })})
		}
	}
	if c.admins[user] {
		add(Held{Permission: PermAdmin, Source: SourceAdmins})
	}
	if admin {
		add(Held{Permission: PermMulticast, Source: SourceAdmin})
		add(Held{Permission: PermForgeSender, Source: SourceAdmin})
	}
	slices.SortStableFunc(all, func(a, b Held) int { return strings.Compare(string(a.Permission), string(b.Permission)) })
	return all
}

// A StillHeld error says that what was revoked holds all the same.
type StillHeld struct{ Left []Held }

func (e *StillHeld) Error() string {
	var parts []string
	for _, h := range e.Left {
		if h.Source == SourceAdmin {
			parts = append(parts, fmt.Sprintf("%s follows from admin: revoke that", h.Permission))
			continue
		}
		parts = append(parts, fmt.Sprintf("%s is given by %s of the configuration: change it there, then `jackdaw reload`",
			h.Permission, h.Source))
	}
	return "no grant is left, but it holds all the same: " + strings.Join(parts, "; ")
}

// StillHeld says which of these permissions the account has though they are not granted; nil if none.
func (s *Service) StillHeld(ctx context.Context, user jid.JID, permissions ...Permission) error {
	all, err := s.Held(ctx, user)
	if err != nil {
		return err
	}
	var left []Held
	for _, h := range all {
		if slices.Contains(permissions, h.Permission) && h.Source != SourceGrant {
			left = append(left, h)
		}
	}
	if left == nil {
		return nil
	}
	return &StillHeld{left}
}
