package muc

import (
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// toRoom is a message to the room itself that is not for all: an invitation, a declined one, or about voice.
func (m *Rooms) toRoom(e *router.Envelope) {
	s := e.Stanza
	if x := s.Child(room.UserName); x != nil && s.Type == xmpp.TypeNormal {
		if x.ChildLocal("invite") != nil {
			m.invite(e, x)
			return
		}
		if decline := x.ChildLocal("decline"); decline != nil {
			m.decline(e, decline)
			return
		}
	}
	if x := s.Child(forms.Name); x != nil && s.Type == xmpp.TypeNormal {
		form, bad := forms.Parse(x)
		switch {
		case bad != nil:
		case !m.proven(e):
			e.Refuse(xmpp.Forbidden("only a session may do this"))
			return
		case form.Kind == forms.Cancel: // §8.6, §9.9: a moderator says nothing of what was asked
			e.Settle(router.Dropped)
			return
		case form.Kind == forms.Submit && form.Type == room.NSRequest:
			m.visitInOrder(e, nil, func(r *hosted) { r.with(func() { r.voice(e, form) }) })
			return
		case form.Kind == forms.Submit && form.Type == room.NSRegister:
			m.visitInOrder(e, nil, func(r *hosted) { r.decide(e, form) })
			return
		}
	}
	if e.Session == nil && !e.Account.IsZero() && s.Has(room.BodyName) {
		m.groupchat(e) // whoever posts to many over HTTP need not know which of them are rooms
		return
	}
	m.visit(e, nil, func(r *hosted) {
		if r.Seat(s.From) == nil {
			m.refuse(e, xmpp.NotAcceptable("you are not in this room"))
			return
		}
		m.refuse(e, xmpp.BadRequest("what is for all has the type groupchat")) // §17.2
	})
}

// invite sends invitations on (§7.8.2).
func (m *Rooms) invite(e *router.Envelope, x *xmpp.Element) {
	var out []xmpp.Stanza
	m.visitInOrder(e, nil, func(r *hosted) {
		var bad *xmpp.Error
		if out, bad = r.invitations(e, x); bad != nil {
			m.refuse(e, bad)
		}
	})
	if e.Settled() {
		return
	}
	// Without any lock: the address may be anywhere.
	for i := range out {
		one := &router.Envelope{Stanza: &out[i], Batch: e.Batch, Quiet: true, Durable: e.Durable}
		m.o.Router.Route(one)
		e.Await(one.Pendings...)
		if len(out) != 1 {
			continue
		}
		bad := xmpp.ItemNotFound("the invitation cannot be delivered")
		switch {
		case one.Outcome == router.Refused:
			m.refuse(e, bad)
			return
		case one.Answer != nil: // who is invited is at home on another node, which says later what becomes of it
			bad.By = e.Stanza.To.Bare()
			m.refuseLater(one, e.Stanza.ErrorReply(bad))
		}
	}
	e.Settle(router.Delivered)
}

// refuseLater sends an error if a stanza that was forwarded proves to be refused.
func (m *Rooms) refuseLater(e *router.Envelope, reply xmpp.Stanza) {
	answer := e.Answer
	storage.Join(e.Pendings...).Then(func(error) {
		if answer.Outcome == router.Refused {
			go m.o.Router.Emit(&reply, nil) // which may have to wait for storage
		}
	})
}

// invitations are what goes out. It is called with order held.
func (r *hosted) invitations(e *router.Envelope, x *xmpp.Element) (out []xmpp.Stanza, bad *xmpp.Error) {
	var by *room.Seat
	r.with(func() {
		ev := event(e)
		by, bad = r.Inviter(&ev)
	})
	switch {
	case bad != nil:
		return nil, bad
	case !r.m.guests.mayTalk(by.Name, r.m.o.Limits(), time.Now()) && !r.m.exempt(e):
		return nil, xmpp.ResourceConstraint("you are sending too fast")
	}
	var members []room.Known
	r.with(func() { out, members, bad = r.Invitations(by, e.Stanza, x) }) // the inviter may just change its nick
	if bad != nil {
		return nil, bad
	}
	if len(members) > 0 { // §9.5: whoever is invited may enter
		pending, bad := r.keepPeople(members)
		if bad != nil {
			return nil, bad
		}
		e.Await(pending)
	}
	return out, nil
}

// decline tells the inviter (§7.8.2).
func (m *Rooms) decline(e *router.Envelope, el *xmpp.Element) {
	var out xmpp.Stanza
	m.visit(e, nil, func(r *hosted) {
		var bad *xmpp.Error
		if out, bad = r.Decline(e.Stanza, el); bad != nil {
			m.refuse(e, bad)
		}
	})
	if e.Settled() {
		return
	}
	m.o.Router.Emit(&out, e.Batch)
	e.Settle(router.Delivered)
}

// voice is a visitor's wish to speak, or what a moderator says of it (§7.13, §8.6). It is called with both locks held.
func (r *hosted) voice(e *router.Envelope, form *forms.Form) {
	c := r.carrier(e.Batch)
	defer c.carryOut()
	if room.GrantsVoice(form) {
		r.m.conclude(e, r.GrantVoice(&c.Effects, e.Stanza.From, form))
		return
	}
	seat, bad := r.WishesVoice(e.Stanza.From)
	switch {
	case bad != nil:
		r.m.refuse(e, bad)
	case seat == nil:
		e.Settle(router.Dropped)
	case !r.m.guests.mayTalk(seat.Name, r.m.o.Limits(), time.Now()):
		r.m.refuse(e, xmpp.ResourceConstraint("you are sending too fast"))
	default:
		r.AskForVoice(&c.Effects, seat)
		e.Settle(router.Delivered)
	}
}
