package muc

import (
	"bytes"
	"slices"

	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// administer carries out what an admin wants, all or none (§8, §9, §10.3 to §10.8). It is called with order held.
func (r *hosted) administer(e *router.Envelope, q *xmpp.Element) {
	var items []room.Item
	var bad *xmpp.Error
	actor := ""
	r.with(func() {
		items, actor, bad = r.Ordered(e.Stanza.From, q)
		if bad == nil && items[0].IsRole {
			c := r.carrier(e.Batch)
			c.asked = e
			r.Assign(&c.Effects, items, actor)
			c.carryOut()
		}
	})
	if bad == nil && !items[0].IsRole {
		var pending *storage.Pending
		if pending, bad = r.affiliate(e, items, actor); bad == nil {
			r.m.o.Router.AnswerAfter(e, pending, nil)
		}
	}
	if bad != nil {
		r.m.refuse(e, bad)
		return
	}
	r.endIfOverInOrder(e)
}

// affiliate stores new affiliations and lets them take effect. It is called with order held.
func (r *hosted) affiliate(e *router.Envelope, items []room.Item, actor string) (*storage.Pending, *xmpp.Error) {
	next := make([]room.Known, len(items))
	for i, item := range items {
		next[i] = r.Next(item)
	}
	pending, bad := r.storePeople(next)
	if bad != nil {
		return nil, bad
	}
	var later []xmpp.Stanza
	r.with(func() {
		for i, item := range items {
			c := r.carrier(e.Batch)
			r.Affiliate(&c.Effects, item, next[i], e.Stanza.From, actor)
			later = append(later, c.carryOut()...)
		}
	})
	r.m.carryLater(later, e.Batch)
	return pending, nil
}

// storePeople stores what the room is to know of users, with other changes, if there are any. It is called with order
// held.
func (r *hosted) storePeople(people []room.Known, others ...storage.Change) (*storage.Pending, *xmpp.Error) {
	if r.Conf.Persistent && !r.Locked {
		for _, k := range people {
			if err := r.m.index(k.User, r.Name, !k.Empty()); err != nil {
				return nil, r.m.fault(err)
			}
		}
	}
	pending, err := r.store(append(others, r.personChanges(people)...)...)
	if err != nil {
		return nil, r.m.fault(err)
	}
	return pending, nil
}

// keepPeople is storePeople for what takes effect without a word to anybody.
func (r *hosted) keepPeople(people []room.Known) (*storage.Pending, *xmpp.Error) {
	pending, bad := r.storePeople(people)
	if bad != nil {
		return nil, bad
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range people {
		r.Learn(k)
	}
	return pending, nil
}

// Admit makes a user a member of a room that is for members only, and has no word for it yet: neither a good one nor a
// bad one. Nobody is told. Where there is no such room nothing happens.
func (m *Rooms) Admit(user, addr jid.JID) error {
	if !slices.Contains(m.o.Domains(), addr.Domain()) {
		return nil
	}
	for {
		r, bad := m.find(addr, nil)
		switch {
		case bad != nil && bad.Condition == xmpp.CondItemNotFound:
			return nil
		case bad != nil:
			return bad
		}
		var failed *xmpp.Error
		there := r.visited(&r.order, func(r *hosted) {
			if r.Conf.MembersOnly && r.AffiliationOf(user) == room.Unaffiliated {
				p := r.People[user.Bare().String()]
				p.Affiliation, p.Asks = room.Member, ""
				_, failed = r.keepPeople([]room.Known{{User: user.Bare().String(), Person: p}})
			}
		})
		switch {
		case failed != nil:
			return failed
		case there: // else it is let go of, and read again
			return nil
		}
	}
}

// command carries out what is said about hats (XEP-0317 §4). It is called with order held.
func (r *hosted) command(e *router.Envelope, el *xmpp.Element) {
	answer, change, bad := r.Command(e.Stanza.From, el)
	var pending *storage.Pending
	if change != nil {
		pending, bad = r.storePeople(change.People, storage.Change{Key: hatsKey, Value: encode(change.Hats)})
	}
	if bad != nil {
		r.m.refuse(e, bad)
		return
	}
	if change != nil {
		r.with(func() {
			c := r.carrier(e.Batch)
			r.SetHats(&c.Effects, change)
			c.carryOut()
		})
	}
	r.m.o.Router.AnswerAfter(e, pending, answer)
}

// showCard gives the room's <vCard/> to whoever asks (XEP-0486 §3.4).
func (r *hosted) showCard(e *router.Envelope) {
	card := r.Card
	if card == nil {
		card = []byte("<vCard xmlns='vcard-temp'/>")
	}
	r.m.o.Router.Answer(e, card)
}

// keepCard is an owner's setting of it (XEP-0486 §3.2). It is called with order held.
func (r *hosted) keepCard(e *router.Envelope) {
	card := bytes.Clone(e.Stanza.ChildBytes(room.CardName))
	if bad := r.MaySetCard(e.Stanza.From, card); bad != nil {
		r.m.refuse(e, bad)
		return
	}
	was := r.Card
	set := func(card []byte) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.SetCard(card)
	}
	set(card)
	change := cardChange(r.Card)
	change.Delete = r.Card == nil
	pending, err := r.store(change)
	if err != nil {
		set(was)
		r.m.refuse(e, r.m.fault(err))
		return
	}
	r.with(func() {
		c := r.carrier(e.Batch)
		r.TellCard(&c.Effects)
		c.carryOut()
	})
	r.m.o.Router.AnswerAfter(e, pending, nil)
}
