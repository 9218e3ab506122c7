package muc

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// ErrNoRoom is returned to administrators for a room that is not there.
var ErrNoRoom = errors.New("there is no such room")

// A Summary is what administrators see of a room in a list.
type Summary struct {
	Addr      jid.JID
	Name      string // as its owners call it
	Creator   string // bare address
	Public    bool
	Occupants int
}

// A Detail is what they see of one room.
type Detail struct {
	Summary
	Description     string
	Persistent      bool
	Locked          bool // it waits for its maker to configure it
	MembersOnly     bool
	Password        bool
	Moderated       bool
	NonAnonymous    bool
	Archived        bool
	Owners, Admins  []string   // bare addresses, in order
	Members         int        // who are none of these
	Outcasts        int        // who are banned
	Inside          []Presence // in the order in which they came
	ArchivedRecords int
	ArchivedBytes   int64
}

// A Presence is somebody in a room.
type Presence struct{ Nick, User, Role, Affiliation string }

// List lists the rooms at a domain of the service by their local parts: up to limit (0: all) that come after the given
// one. more says that there are others.
func (m *Rooms) List(domain, after string, limit int) (page []Summary, more bool, err error) {
	d, users, err := m.catalogue(domain)
	if err != nil {
		return nil, false, err
	}
	for local, l := range d.after(after) {
		addr, err := jid.New(local, domain, "")
		if err != nil {
			continue // it was written by nobody
		}
		page = append(page, Summary{Addr: addr, Name: l.Name, Creator: l.Creator, Public: l.Public})
	}
	slices.SortFunc(page, func(a, b Summary) int { return cmp.Compare(a.Addr.Local(), b.Addr.Local()) })
	if more = limit > 0 && len(page) > limit; more {
		page = page[:limit]
	}
	for i := range page {
		page[i].Occupants = m.occupants(page[i].Addr, users)
	}
	return page, more, nil
}

// after are the rooms whose local part comes after another.
func (d *directory) after(local string) map[string]listing {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := map[string]listing{}
	for one, l := range d.rooms {
		if one > local {
			all[one] = l
		}
	}
	return all
}

// Show shows a room. Errors: ErrNoRoom, the storage's, or the context's.
func (m *Rooms) Show(ctx context.Context, addr jid.JID) (d Detail, err error) {
	err = m.administered(addr, func(r *hosted) error {
		r.with(func() { d = r.detail() })
		return nil
	})
	if err == nil {
		d.ArchivedRecords, d.ArchivedBytes, err = m.o.Archive.Size(ctx, addr.String())
	}
	return d, err
}

// detail is called with the room locked.
func (r *hosted) detail() Detail {
	d := Detail{
		Summary: Summary{Addr: r.Addr, Name: r.Conf.Name, Creator: r.Creator, Public: r.Conf.Public,
			Occupants: len(r.Occupants())},
		Description: r.Conf.Description, Persistent: r.Conf.Persistent, Locked: r.Locked,
		MembersOnly: r.Conf.MembersOnly, Password: r.Conf.Password != "", Moderated: r.Conf.Moderated,
		NonAnonymous: r.Conf.NonAnonymous, Archived: r.Conf.Archived,
		Owners: r.Named(room.Owner), Admins: r.Named(room.Admin),
		Members: len(r.Named(room.Member)), Outcasts: len(r.Named(room.Outcast)),
	}
	for _, o := range r.Occupants() {
		d.Inside = append(d.Inside, Presence{Nick: o.Nick, User: o.Name, Role: o.Role.String(),
			Affiliation: r.AffiliationOf(o.User).String()})
	}
	return d
}

// Destroy ends a room and deletes all that is kept of it (§10.9). Who is in it sees the reason. Errors: ErrNoRoom, the
// storage's, or the context's.
func (m *Rooms) Destroy(ctx context.Context, addr jid.JID, reason string) error {
	var erased *storage.Pending
	err := m.administered(addr, func(r *hosted) error {
		erased = r.end(room.NewDestruction(reason))
		return nil
	})
	if err != nil {
		return err
	}
	return erased.Wait(ctx)
}

// end tells everybody inside that the room ends, and erases it. It is called with order held.
func (r *hosted) end(d *room.Destruction) *storage.Pending {
	b := new(router.Batch)
	defer b.Flush()
	r.with(func() {
		r.state = gone
		c := r.carrier(b)
		r.Destroy(&c.Effects, d)
		c.carryOut()
	})
	return r.erase()
}

// Own makes a user an owner of a room. Errors: ErrNoRoom, the storage's, or the context's.
func (m *Rooms) Own(ctx context.Context, addr, user jid.JID) error {
	var kept *storage.Pending
	err := m.administered(addr, func(r *hosted) error {
		b := new(router.Batch)
		defer b.Flush()
		service, err := jid.New("", addr.Domain(), "")
		if err != nil {
			return err
		}
		e := &router.Envelope{Batch: b, Stanza: &xmpp.Stanza{Kind: xmpp.IQ, From: service, To: addr}}
		var bad *xmpp.Error
		kept, bad = r.affiliate(e, []room.Item{{User: user.Bare(), Affiliation: room.Owner}}, "")
		if bad != nil {
			return bad
		}
		return nil
	})
	if err != nil {
		return err
	}
	return kept.Wait(ctx)
}

// administered calls f with order of a room held.
func (m *Rooms) administered(addr jid.JID, f func(r *hosted) error) (err error) {
	for { // a room that is let go of meanwhile is read again
		r, bad := m.find(addr, nil)
		switch {
		case bad != nil && bad.Condition == xmpp.CondItemNotFound:
			return ErrNoRoom
		case bad != nil:
			return bad
		}
		if r.visited(&r.order, func(r *hosted) { err = f(r) }) {
			return err
		}
	}
}
