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

// A Permission is something an account may do: one of the constants, or a narrowed PermForgeSender such as
// "forge_sender=*@trac" (see Pattern).
type Permission string

// The permissions there are. PermAdmin implies PermMulticast and PermForgeSender, and no other.
const (
	PermHTTPMessage Permission = "http_message" // post with POST /message
	PermMulticast   Permission = "multicast"    // address many at once
	PermForgeSender Permission = "forge_sender" // send in another's name
	PermGateway     Permission = "xmppgateway"  // use the gateway API
	PermAdmin       Permission = "admin"
)

var permissions = []Permission{PermHTTPMessage, PermMulticast, PermForgeSender, PermGateway, PermAdmin}

// ParsePermission reads a permission and normalises the pattern of a narrowed one. The error wraps ErrPermission or
// ErrPattern and lists what there is.
func ParsePermission(s string) (Permission, error) {
	name, pattern, narrowed := strings.Cut(s, "=")
	if !slices.Contains(permissions, Permission(name)) {
		return "", fmt.Errorf("%q: %w: there are http_message, multicast, forge_sender, forge_sender=PATTERN, "+
			"xmppgateway and admin", s, ErrPermission)
	}
	if !narrowed {
		return Permission(name), nil
	}
	if Permission(name) != PermForgeSender {
		return "", fmt.Errorf("%q: %w: only forge_sender can be narrowed", s, ErrPermission)
	}
	p, err := ParsePattern(pattern)
	if err != nil {
		return "", fmt.Errorf("forge_sender=%w", err)
	}
	if p.every {
		return PermForgeSender, nil
	}
	return PermForgeSender + "=" + Permission(p.String()), nil
}

// Pattern returns the pattern of a narrowed permission; ok is false for all others.
func (p Permission) Pattern() (pattern Pattern, ok bool) {
	name, s, narrowed := strings.Cut(string(p), "=")
	if !narrowed || Permission(name) != PermForgeSender {
		return Pattern{}, false
	}
	pattern, err := ParsePattern(s)
	return pattern, err == nil
}

const (
	rightsMax = 1 << 16
	// rightsFor bounds how long another process that shares the store may have changed something unseen; our own
	// changes are seen at once.
	rightsFor = time.Minute
)

// Rights are all that one account may do, from its grants, the configuration and what these imply. They are a snapshot:
// ask again for each request. Immutable, safe for concurrent use.
type Rights struct {
	user    jid.JID
	exists  bool
	active  bool
	found   bool              // there is an account of that name, whatever it may do
	hashes  [len(hashes)]bool // of which it has keys
	has     []Permission
	forge   []Pattern
	created moment
	changed moment
	expires moment
}

// A moment is a time in a third of its room, since there are Rights for each account with a session: nanoseconds since
// 1970, 0 for the zero time.
type moment int64

func momentOf(t time.Time) moment {
	if t.IsZero() {
		return 0
	}
	return moment(t.UnixNano())
}

func (m moment) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(m)).UTC()
}

// fresh says that they need not be read again.
func (r *Rights) fresh() bool { return time.Now().Before(r.expires.time()) }

// User is whose they are; zero where Active is false.
func (r *Rights) User() jid.JID { return r.user }

// Created is when the account was made; zero where Active is false.
func (r *Rights) Created() time.Time { return r.created.time() }

// Changed is when the password was set; zero for an account that is not there.
func (r *Rights) Changed() time.Time { return r.changed.time() }

// Active says that there is such an account and that it is not disabled.
func (r *Rights) Active() bool { return r.active }

// Has says whether the account has a permission. PermForgeSender means that it may use every sender; see MayForge for
// those that are narrowed.
func (r *Rights) Has(p Permission) bool { return slices.Contains(r.has, p) }

// MayForge says whether the account may send in the name of sender; everybody who may log in may in his own, with any
// resource. Where such a stanza may go is not decided here.
func (r *Rights) MayForge(sender jid.JID) bool {
	if !r.active || sender.IsZero() {
		return false
	}
	if sender.MatchesBare(r.user) || r.Has(PermForgeSender) {
		return true
	}
	for _, p := range r.forge {
		if p.Matches(sender) {
			return true
		}
	}
	return false
}

// Rights returns what the user may do: nothing if there is no such account or it is disabled, whatever the
// configuration says, so that "*" never means an address of another server. The error is ErrUnavailable, only if
// nothing was known about the user before, or the context's.
func (s *Service) Rights(ctx context.Context, user jid.JID) (*Rights, error) {
	user = user.Bare()
	key := user.String()
	old, known := s.rights.get(key)
	if known && old.fresh() {
		return old, nil
	}
	epoch := s.rights.epoch(key)
	a, err := s.users.store.Get(ctx, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		if known && ctx.Err() == nil {
			return old, nil // better than to refuse what was allowed a minute ago
		}
		return nil, about(key, err)
	}
	r := s.rightsOf(user, a, err == nil)
	s.rights.put(key, r, epoch)
	return r, nil
}

// learn takes an account that was just read for its rights too, unless they are known. It was read after epoch.
func (s *Service) learn(user jid.JID, a storage.Account, epoch uint64) {
	if old, known := s.rights.get(user.String()); !known || !old.fresh() {
		s.rights.put(user.String(), s.rightsOf(user, a, true), epoch)
	}
}

// rightsOf are those of an account as it is stored, if there is one.
func (s *Service) rightsOf(user jid.JID, a storage.Account, found bool) *Rights {
	r := s.settings.Load().rights(user, a, found && !a.Disabled)
	// One that waits for approval is nobody to others: nothing is stored for it, and nobody learns of it.
	r.exists, r.expires = found && !waiting(a), momentOf(time.Now().Add(rightsFor))
	if r.found = found; found {
		held := keyring(a)
		r.hashes, r.changed = held.hashes, momentOf(held.changed)
	}
	return r
}

func (c *settings) rights(user jid.JID, a storage.Account, active bool) *Rights {
	if active {
		user, _ = jid.Parse(strings.Clone(user.String())) // the caller's may be a slice of a whole request
	}
	r := &Rights{user: user, active: active, created: momentOf(a.Created)}
	if !active {
		r.user, r.created = jid.JID{}, 0
		return r
	}
	for _, h := range c.held(user, a) {
		if pattern, ok := h.Permission.Pattern(); ok {
			r.forge = append(r.forge, pattern)
		}
		r.has = append(r.has, h.Permission)
	}
	return r
}

// Permitted is Rights and Has in one; false when the storage cannot tell.
func (s *Service) Permitted(ctx context.Context, user jid.JID, p Permission) bool {
	r, err := s.Rights(ctx, user)
	return err == nil && r.Has(p)
}

// MayForge is Rights and Rights.MayForge in one; false when the storage cannot tell.
func (s *Service) MayForge(ctx context.Context, user, sender jid.JID) bool {
	r, err := s.Rights(ctx, user)
	return err == nil && r.MayForge(sender)
}
