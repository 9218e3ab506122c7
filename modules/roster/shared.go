package roster

import (
	"context"
	"fmt"
	"slices"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// bothWays is what there is between two members of a shared group.
var bothWays = State{To: true, From: true}

// errShared is what a user gets who takes leave of a contact in a shared group.
var errShared = xmpp.NotAllowed("the administrators share this contact")

// isShared says whether the administrators have put the contact into a group; of none they have not.
func (it *Item) isShared() bool { return it != nil && it.shared > 0 }

// share puts groups of the administrators on top of an item that the caller has just made.
func (it *Item) share(groups []string, own bool, under State) {
	mine := slices.DeleteFunc(slices.Clone(it.Groups), func(g string) bool { return slices.Contains(groups, g) })
	it.Groups = slices.Concat(groups, mine)
	it.shared = int32(len(groups))
	it.own, it.under, it.State = own, under, bothWays
}

// unshared is the item without groups of the administrators: as it was before, but for what the user has renamed since;
// nil if it was not there.
func (it *Item) unshared() *Item {
	switch {
	case !it.isShared():
		return it
	case !it.own:
		return nil
	}
	return &Item{Name: it.Name, Groups: it.Groups[it.shared:], State: it.under}
}

// Share has the user's roster hold these contacts in these groups, each in one at least, and nobody else in a group of
// the administrators. Its clients are told. gained and lost are the contacts who may see the user's presence now and
// could not before, and the other way round: see Seen. The Pending is that of the roster as it is then.
func (r *Roster) Share(ctx context.Context, b *router.Batch, user jid.JID, want map[jid.JID][]string) (
	gained, lost []jid.JID, p *storage.Pending, err error) {
	u, err := r.lock(user)
	if err != nil {
		return nil, nil, nil, err
	}
	defer r.unlock(u)
	next := map[jid.JID]*Item{} // of those that change; nil goes
	for contact, old := range u.items {
		if old.isShared() && want[contact] == nil {
			next[contact] = old.unshared()
		}
	}
	var changes []storage.Change
	for contact, groups := range want {
		old := u.items[contact]
		it := &Item{Name: contact.Local()}
		switch {
		case old.isShared():
			own := &Item{Name: old.Name, Groups: old.Groups[old.shared:]}
			own.share(groups, old.own, old.under)
			it = own
		case old != nil:
			it = &Item{Name: old.Name, Groups: old.Groups}
			it.share(groups, true, State{To: old.State.To, From: old.State.From, Approved: old.State.Approved})
		default:
			it.share(groups, false, State{})
		}
		if old == nil || !old.equal(it) {
			next[contact] = it
		}
		if u.requests[contact] { // is answered by it
			changes = append(changes, storage.Change{Key: requestKey + contact.String(), Delete: true})
			defer u.setRequest(contact, false)
		}
	}
	for contact, it := range next {
		c := storage.Change{Key: itemKey + contact.String(), Delete: it == nil}
		if it != nil {
			c.Value = it.record()
		}
		changes = append(changes, c)
	}
	version, p, err := r.store.Update(ctx, user.String(), u.version, changes...)
	if err != nil {
		u.loaded = false
		return nil, nil, nil, fmt.Errorf("store roster of %s: %w", user, err)
	}
	u.version = version
	for contact, it := range next {
		before, after := u.state(contact), State{}
		if it != nil {
			after = it.State
		}
		u.setItem(contact, it)
		r.push(b, u, contact, it)
		switch {
		case after.From && !before.From:
			gained = append(gained, contact)
		case before.From && !after.From:
			lost = append(lost, contact)
		}
	}
	return gained, lost, p, nil
}

// Seen tells those who may see the user's presence since a call of Share, and those who may no longer. It is called
// when their rosters have changed, too.
func (r *Roster) Seen(b *router.Batch, user jid.JID, gained, lost []jid.JID) {
	for _, contact := range gained {
		r.announce(b, user, contact)
		r.changed(b, user, contact, State{}, bothWays)
	}
	for _, contact := range lost {
		r.withdraw(b, user, contact)
		r.changed(b, user, contact, bothWays, State{})
	}
}
