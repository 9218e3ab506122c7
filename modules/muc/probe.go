package muc

import (
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// probed answers an occupant, or its server in the name of the user, who asks for the presence of an occupant (§17.3).
// Nobody else is told who is in a room, or that there is one.
func (m *Rooms) probed(e *router.Envelope) {
	s := e.Stanza
	m.mu.Lock()
	r := m.rooms[s.To.Bare()]
	m.mu.Unlock()
	if r == nil || !r.ready.Load() || !s.To.IsFull() || !m.proven(e) {
		return
	}
	r.with(func() {
		asker := r.occupantOf(s)
		if asker == nil {
			return
		}
		p := r.post(e.Batch)
		switch o := r.byNick[s.To.Resource()]; {
		case o == asker:
			p.head = xmpp.Stanza{Kind: xmpp.Presence, From: o.addr, Lang: o.seats[0].lang}
			n := notice{affiliation: r.rank(o), role: o.role}
			p.with(r.payload(o, o.seats[0].show, &n, o.seats[0].full, true))
		case o != nil && r.shows(o.role):
			p.head = xmpp.Stanza{Kind: xmpp.Presence, From: o.addr, Lang: o.seats[0].lang}
			p.with(r.available(o, r.sees(asker)))
		default:
			p.head = xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: s.To}
			n := notice{affiliation: unaffiliated}
			p.with(contentOf(n.append(nil, jid.JID{}, false)))
		}
		p.head.ID = s.ID
		p.to(&seat{full: s.From})
		e.Settle(router.Delivered)
	})
}

// occupantOf is the occupant that a stanza is from, by its client or in the name of its user; nil for who is not in the
// room.
func (r *room) occupantOf(s *xmpp.Stanza) *occupant {
	if seat := r.seats[s.From]; seat != nil {
		return seat.occupant
	}
	if s.From.IsBare() {
		for _, o := range r.occupants {
			if o.user == s.From {
				return o
			}
		}
	}
	return nil
}
