// Package groups has the members of a group find each other in their rosters, as the configuration names groups for
// each host: everybody, or by list.
//
// It says who belongs together; package roster writes that into the rosters and tells the clients. All of a host is
// looked at anew after a start, a reload, and whenever an account has come or gone; what is right is not written. Each
// of several nodes writes the rosters of users at home there, and looks anew every 15 s.
// There is no specification for this: to clients such contacts are as any others, but that they cannot be removed.
package groups

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"jackdaw/config"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// Rosters is where groups are written to.
type Rosters interface {
	Share(ctx context.Context, b *router.Batch, user jid.JID, want map[jid.JID][]string) (
		gained, lost []jid.JID, p *storage.Pending, err error)
	Seen(b *router.Batch, user jid.JID, gained, lost []jid.JID)
}

// Accounts are those that exist.
type Accounts interface {
	Page(ctx context.Context, domain, after string, limit int) ([]accounts.Account, error)
}

const (
	// gather is how long it waits for other accounts that are made with one.
	gather = 200 * time.Millisecond
	// again is when it tries again after storage has failed.
	again = time.Minute
	// page is how many accounts are read at once.
	page = 1000
	// elsewhere is how often a node looks at what other nodes may have changed.
	elsewhere = 15 * time.Second
)

// Groups is made by Of. Poke and Run are for any goroutine.
type Groups struct {
	config   func() *config.Config
	accounts Accounts
	rosters  Rosters
	marks    storage.Map // what a host's rosters were last made to say, so that a start need not look at each
	log      *slog.Logger
	poked    chan struct{}
	// home says whether a user is at home here; nil where there is one node. Each of several writes the rosters of those
	// who are, and knows what they were last made to say: done, by host. It is of Run alone.
	home func(user jid.JID) bool
	done map[string][]byte
}

// Of makes the groups of a server.
func Of(p parts.Parts, rosters Rosters) *Groups {
	g := &Groups{config: p.Config, accounts: p.Accounts, rosters: rosters, marks: p.Store.Map("groups"), log: p.Log,
		poked: make(chan struct{}, 1), done: map[string][]byte{}}
	if !p.Router.Alone() {
		g.home = p.Router.IsHome
	}
	p.Accounts.OnChange(func(_ jid.JID, what accounts.Change) {
		if what == accounts.Created || what == accounts.Deleted {
			g.Poke()
		}
	})
	return g
}

// Poke says that the groups or the accounts may have changed.
func (g *Groups) Poke() {
	select {
	case g.poked <- struct{}{}:
	default: // it has been said already
	}
}

// Run writes groups into rosters until ctx ends.
func (g *Groups) Run(ctx context.Context) {
	for {
		next := g.poked
		var retry <-chan time.Time
		if g.home != nil {
			retry = time.After(elsewhere)
		}
		if err := g.all(ctx); err != nil && ctx.Err() == nil {
			g.log.Warn("shared groups are not as they should be", "error", err, "again_in", again)
			retry = time.After(again)
		}
		select {
		case <-ctx.Done():
			return
		case <-retry:
		case <-next:
			select {
			case <-ctx.Done():
				return
			case <-time.After(gather):
			}
		}
	}
}

// all does each host.
func (g *Groups) all(ctx context.Context) error {
	var errs []error
	for _, h := range g.config().Hosts {
		if err := g.host(ctx, h); err != nil {
			errs = append(errs, fmt.Errorf("groups of %s: %w", h.Domain, err))
		}
	}
	return errors.Join(errs...)
}

// Keys of a host: a digest of who is with whom, after its version, and a record for each user who has contacts by
// groups.
const (
	markKey     = "mark"
	userKey     = "user " // and the bare address
	markVersion = 1
)

// host brings the rosters of a host to what its groups say.
func (g *Groups) host(ctx context.Context, h config.Host) error {
	entries, _, err := g.marks.List(ctx, h.Domain)
	if err != nil || len(entries) == 0 && len(h.Groups) == 0 {
		return err
	}
	had := map[jid.JID]bool{}
	var last []byte
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Key, userKey)
		if !ok {
			last = e.Value
			continue
		}
		if user, err := jid.Parse(name); err == nil {
			had[user] = true
		}
	}
	everybody, err := g.everybody(ctx, h.Domain)
	if err != nil {
		return err
	}
	members := g.members(h, everybody)
	mark := digest(members)
	if g.home != nil {
		mark, last = g.ours(mark, members), g.done[h.Domain] // what other nodes have done is not known
	}
	if slices.Equal(mark, last) {
		return nil
	}
	// Whose roster is going to change is known before it does, and that it is as it should be after all are.
	changes := []storage.Change{{Key: markKey, Delete: true}}
	now := map[jid.JID]bool{}
	for _, m := range members {
		for _, a := range m.who {
			if now[a.User] = true; !had[a.User] {
				changes = append(changes, storage.Change{Key: userKey + a.User.String(), Value: []byte{markVersion}})
			}
			had[a.User] = true
		}
	}
	if err := g.mark(ctx, h.Domain, changes...); err != nil {
		return err
	}
	exists := make(map[jid.JID]bool, len(everybody))
	for _, a := range everybody {
		exists[a.User] = true
	}
	if err := g.share(ctx, members, slices.SortedFunc(maps.Keys(had), jid.JID.Compare), exists); err != nil {
		return err
	}
	changes = []storage.Change{{Key: markKey, Value: mark, Delete: len(h.Groups) == 0 || g.home != nil}}
	for user := range had {
		if !now[user] && g.here(user) {
			changes = append(changes, storage.Change{Key: userKey + user.String(), Delete: true})
		}
	}
	if err := g.mark(ctx, h.Domain, changes...); err != nil {
		return err
	}
	if g.home != nil {
		g.done[h.Domain] = mark
	}
	return nil
}

// ours is a mark that is another one, too, when other users are at home here.
func (g *Groups) ours(mark []byte, members []membership) []byte {
	h := sha256.New()
	h.Write(mark)
	for _, m := range members {
		for _, a := range m.who {
			fmt.Fprintln(h, g.home(a.User))
		}
	}
	return h.Sum(nil)
}

// here says whether this node writes the roster of a user.
func (g *Groups) here(user jid.JID) bool { return g.home == nil || g.home(user) }

func (g *Groups) mark(ctx context.Context, host string, changes ...storage.Change) error {
	_, p, err := g.marks.Update(ctx, host, storage.AnyVersion, changes...)
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

// everybody is who has an account on a host.
func (g *Groups) everybody(ctx context.Context, host string) (all []accounts.Account, err error) {
	for after := ""; ; {
		list, err := g.accounts.Page(ctx, host, after, page)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			if !a.Waiting { // it comes with its approval
				all = append(all, a)
			}
		}
		if len(list) < page {
			return all, nil
		}
		after = list[len(list)-1].User.String()
	}
}

// A membership is a group with those of its members who exist.
type membership struct {
	name string
	who  []accounts.Account
}

// members are those of the groups of a host, by name.
func (g *Groups) members(h config.Host, everybody []accounts.Account) (all []membership) {
	for _, group := range h.Groups {
		m := membership{name: group.Name, who: everybody}
		if !slices.Contains(group.Members, config.Everybody) {
			m.who = nil
			for _, a := range everybody {
				if slices.Contains(group.Members, a.User.String()) {
					m.who = append(m.who, a)
				}
			}
		}
		if len(m.who) > config.MaxMembers {
			g.log.Error("a shared group is too large, and left out", "host", h.Domain, "group", m.name, "members", len(m.who),
				"most", config.MaxMembers, "do", "name members in hosts[].groups, or several groups")
			continue
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b membership) int { return cmp.Compare(a.name, b.name) })
	return all
}

// digest is the mark of what the rosters of a host say. An account that was removed and made anew begins with a roster
// that says nothing.
func digest(members []membership) []byte {
	h := sha256.New()
	for _, m := range members {
		fmt.Fprintf(h, "%q\n", m.name)
		for _, a := range m.who {
			fmt.Fprintf(h, "\t%q %d\n", a.User, a.Created.UnixNano())
		}
	}
	return h.Sum([]byte{markVersion})
}

// wanted are the contacts that a user has by groups, and in which.
func wanted(members []membership, user jid.JID) map[jid.JID][]string {
	want := map[jid.JID][]string{}
	for _, m := range members {
		if !slices.ContainsFunc(m.who, func(a accounts.Account) bool { return a.User == user }) {
			continue
		}
		for _, a := range m.who {
			if a.User != user {
				want[a.User] = append(want[a.User], m.name)
			}
		}
	}
	return want
}

// share writes what the groups say into rosters, and then tells who sees whom now. Of users who are gone there is
// nothing to write.
func (g *Groups) share(ctx context.Context, members []membership, rosters []jid.JID, exists map[jid.JID]bool) error {
	type seen struct {
		user         jid.JID
		gained, lost []jid.JID
	}
	var all []seen
	var b router.Batch
	var errs []error
	for _, user := range rosters {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !exists[user], !g.here(user):
			continue
		}
		gained, lost, p, err := g.rosters.Share(ctx, &b, user, wanted(members, user))
		b.Flush()
		if err == nil {
			err = p.Wait(ctx)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(gained)+len(lost) > 0 {
			all = append(all, seen{user, gained, lost})
		}
	}
	for _, s := range all {
		g.rosters.Seen(&b, s.user, s.gained, s.lost)
		b.Flush()
	}
	if len(all) > 0 {
		g.log.Info("shared groups written", "rosters", len(all))
	}
	return errors.Join(errs...)
}
