package roster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"jackdaw/modules/internal/recent"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// idleCost bounds, for each part of the cache, the rosters of users without a session: one each, one for each item and
// one for each 256 bytes of them.
const idleCost = 2000

// user is the roster of one user. Whoever reads or changes it holds mu, so that
// writes and pushes have the same order; nobody routes a stanza meanwhile.
type user struct {
	recent.Place
	bare jid.JID

	mu       sync.Mutex // guards the rest
	loaded   bool
	version  uint64
	packed   packed            // the items, while nobody changes them
	items    map[jid.JID]*Item // the same, between open and unlock
	opened   bool
	changed  bool             // the items are others than those packed
	size     int              // of the items in bytes
	requests map[jid.JID]bool // who has asked for a subscription and not been answered
}

// newCache holds the rosters of users who have a session, from their first use on, and the most recently used of
// others.
func (r *Roster) newCache() *recent.Cache[*user] {
	return recent.New(idleCost, func(bare string) *user { return &user{bare: jid.MustParse(bare)} },
		func(u *user) bool { return len(r.router.Sessions(u.bare)) > 0 })
}

// lock returns the roster of a user, loaded, locked and open to be changed; unlock gives it back.
func (r *Roster) lock(bare jid.JID) (*user, error) {
	u, err := r.look(bare)
	if err == nil {
		u.open()
	}
	return u, err
}

// look is lock for who only reads, and does not look at items.
func (r *Roster) look(bare jid.JID) (*user, error) {
	take := r.cache.Take
	if !r.router.Alone() && !r.router.Here(bare.String()) { // another node changes it
		take = r.cache.Lone
	}
	u := take(bare.String())
	u.mu.Lock()
	if err := r.load(u); err != nil {
		r.unlock(u)
		return nil, err
	}
	return u, nil
}

func (r *Roster) unlock(u *user) {
	u.close()
	cost := u.weight()
	u.mu.Unlock()
	r.cache.Give(u, cost)
}

// ended lets go of the roster with the last session.
func (r *Roster) ended(bare jid.JID) { r.cache.Settle(bare.String(), (*user).weight) }

// load reads a roster. The caller holds mu.
func (r *Roster) load(u *user) error {
	if u.loaded {
		return nil
	}
	entries, version, err := r.store.List(context.Background(), u.bare.String())
	if err != nil {
		return fmt.Errorf("load roster of %s: %w", u.bare, err)
	}
	u.version, u.packed, u.size, u.requests = version, packed{}, 0, nil
	lines := make([]line, 0, len(entries))
	for _, e := range entries {
		kind, contact, err := readKey(e.Key)
		if err != nil {
			return fmt.Errorf("load roster of %s: key %q: %w", u.bare, e.Key, err)
		}
		if kind == requestKey {
			u.setRequest(contact, true)
			continue
		}
		lines = append(lines, line{contact, e.Value})
	}
	u.packed = pack(lines)
	for i := range u.packed.n() {
		contact := u.packed.contact(i)
		item, err := fieldsOf(u.packed.record(i))
		if err != nil {
			return fmt.Errorf("load roster of %s: contact %s: %w", u.bare, contact, err)
		}
		u.size += item.size(contact)
	}
	u.loaded = true
	return nil
}

// open makes items of what is packed. The caller holds mu.
func (u *user) open() {
	if u.opened {
		return
	}
	u.opened = true
	n := u.packed.n()
	if n == 0 {
		return
	}
	u.items = make(map[jid.JID]*Item, n)
	known := map[string][]string{}
	for i := range n {
		u.items[u.packed.contact(i)] = u.packed.read(i, known)
	}
}

// close packs the items, and lets go of what is not loaded any more. The caller holds mu.
func (u *user) close() {
	switch {
	case !u.loaded:
		u.packed = packed{}
	case u.changed:
		lines := make([]line, 0, len(u.items))
		for contact, it := range u.items {
			lines = append(lines, line{contact, it.record()})
		}
		u.packed = pack(lines)
	}
	u.items, u.opened, u.changed = nil, false, false
}

func readKey(key string) (kind string, contact jid.JID, err error) {
	for _, kind := range [...]string{itemKey, requestKey} {
		if s, ok := strings.CutPrefix(key, kind); ok {
			contact, err = jid.Parse(s)
			return kind, contact, err
		}
	}
	return "", contact, errRecord
}

// setItem changes the items of a roster that is open.
func (u *user) setItem(contact jid.JID, it *Item) {
	u.changed = true
	u.size += it.size(contact) - u.items[contact].size(contact)
	switch {
	case it == nil:
		delete(u.items, contact)
		return
	case u.items == nil:
		u.items = map[jid.JID]*Item{}
	}
	u.items[contact] = it
}

// weight is the cost of an idle roster.
func (u *user) weight() int { return 1 + u.packed.n() + u.size/256 }

func (u *user) setRequest(contact jid.JID, on bool) {
	switch {
	case !on:
		delete(u.requests, contact)
		return
	case u.requests == nil:
		u.requests = map[jid.JID]bool{}
	}
	u.requests[contact] = true
}

// state is what there is between the user and a contact, in the roster or not.
func (u *user) state(contact jid.JID) (s State) {
	if it := u.items[contact]; it != nil {
		s = it.State
	}
	s.PendingIn = u.requests[contact]
	return s
}

// put stores an item (nil: removes it) and a request with it, if there is one or one to forget, and
// changes the roster in memory. If all is so already, the Pending is that of the roster as it is. The caller holds mu.
func (r *Roster) put(u *user, contact jid.JID, it *Item, request *xmpp.Stanza, forget bool) (*storage.Pending, error) {
	change := storage.Change{Key: itemKey + contact.String(), Delete: it == nil}
	if it != nil {
		change.Value = it.record()
	}
	old := u.items[contact]
	changes := []storage.Change{change}
	if old == nil && it == nil || old != nil && it != nil && old.equal(it) {
		changes = nil
	}
	switch {
	case request != nil:
		changes = append(changes, storage.Change{Key: requestKey + contact.String(), Value: requestRecord(request)})
	case forget:
		changes = append(changes, storage.Change{Key: requestKey + contact.String(), Delete: true})
	}
	version, p, err := r.store.Update(context.Background(), u.bare.String(), u.version, changes...)
	if err != nil {
		u.loaded = false // whoever wrote meanwhile, what is in memory is not what is stored
		return nil, fmt.Errorf("store roster of %s: %w", u.bare, err)
	}
	u.version = version
	u.setItem(contact, it)
	switch {
	case request != nil:
		u.setRequest(contact, true)
	case forget:
		u.setRequest(contact, false)
	}
	return p, nil
}

func (it *Item) equal(o *Item) bool {
	return it.Name == o.Name && it.State == o.State && slices.Equal(it.Groups, o.Groups) &&
		it.shared == o.shared && it.own == o.own && it.under == o.under
}
