package accounts

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

const (
	// grantedFor bounds how long a grant of another process that shares the store may go unseen.
	grantedFor = time.Hour
	// grantedDirty is how many changed accounts are looked at one by one; of more, all are.
	grantedDirty = 1000
)

// granted knows who was granted PermAdmin: after all accounts were looked at once, only those that change are.
type granted struct {
	asking sync.Mutex // held by whoever looks

	mu    sync.Mutex // guards the rest
	users map[jid.JID]bool
	dirty map[jid.JID]bool // changed since; nil until somebody has asked
	stale bool             // more have changed than are known
	read  time.Time        // when all were looked at
}

// changed is told of each account after a write to it can be seen.
func (g *granted) changed(user jid.JID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.dirty == nil || g.dirty[user]:
	case len(g.dirty) >= grantedDirty:
		g.stale = true
	default:
		if user, err := jid.Parse(strings.Clone(user.String())); err == nil { // it may be a slice of a whole request
			g.dirty[user] = true
		}
	}
}

// begin says whether all have to be looked at, and else which.
func (g *granted) begin() (all bool, some map[jid.JID]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	all = g.users == nil || g.stale || time.Since(g.read) > grantedFor
	some, g.dirty, g.stale = g.dirty, map[jid.JID]bool{}, false
	return all, some
}

// failed has all looked at the next time.
func (g *granted) failed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stale = true
}

func isGranted(a storage.Account) bool {
	return !a.Disabled && slices.Contains(a.Permissions, string(PermAdmin))
}

// Granted lists the accounts that were granted PermAdmin and may log in, of all domains, in order. Errors:
// ErrUnavailable, or the context's.
func (s *Service) Granted(ctx context.Context) ([]jid.JID, error) {
	g := &s.granted
	g.asking.Lock()
	defer g.asking.Unlock()
	all, some := g.begin()
	found, err := map[jid.JID]bool{}, error(nil)
	began := time.Now()
	if all {
		err = pages(ctx, s.users.store, "", func(a storage.Account) error {
			if !isGranted(a) {
				return nil
			}
			user, err := jid.Parse(a.User)
			found[user] = err == nil
			return err
		})
	} else {
		for user := range some {
			var a storage.Account
			if a, err = s.users.store.Get(ctx, user.String()); errors.Is(err, storage.ErrNotFound) {
				a, err = storage.Account{}, nil
			} else if err != nil {
				err = about(user.String(), err)
				break
			}
			found[user] = isGranted(a)
		}
	}
	if err != nil {
		g.failed()
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if all {
		g.users, g.read = map[jid.JID]bool{}, began
	}
	for user, is := range found {
		if delete(g.users, user); is {
			g.users[user] = true
		}
	}
	var list []jid.JID
	for user := range g.users {
		list = append(list, user)
	}
	slices.SortFunc(list, jid.JID.Compare)
	return list, nil
}
