package muc

import (
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// maxAsking is how many registrations of a room wait for an admin.
const maxAsking = 100

// register makes the sender a member with a nick of its own (§7.10), or shows how. It is called with order held.
func (r *hosted) register(e *router.Envelope, q *xmpp.Element) {
	bad := r.MayRegister(e.Stanza.From)
	switch {
	case bad != nil:
	case e.Stanza.Type == xmpp.TypeGet:
		r.m.o.Router.Answer(e, r.Registration(e.Stanza.From))
		return
	default:
		bad = r.enrol(e, q)
	}
	if bad != nil {
		r.m.refuse(e, bad)
		return
	}
	r.endIfOverInOrder(e)
}

// enrol carries out what the sender has submitted.
func (r *hosted) enrol(e *router.Envelope, q *xmpp.Element) *xmpp.Error {
	var what room.Registering
	var bad *xmpp.Error
	r.with(func() { what, bad = r.Register(e.Stanza.From, q) })
	var pending *storage.Pending
	switch {
	case bad != nil:
	case what.Petition != "":
		pending, bad = r.petition(e, what.Petition)
	case what.Withdrawn:
		pending, bad = r.withdraw(e.Stanza.From.Bare().String())
	case what.Item != nil:
		pending, bad = r.affiliate(e, []room.Item{*what.Item}, "")
	}
	if bad == nil {
		r.m.o.Router.AnswerAfter(e, pending, nil)
	}
	return bad
}

// petition keeps a registration until an admin has decided, and asks them (§9.9).
func (r *hosted) petition(e *router.Envelope, nick string) (*storage.Pending, *xmpp.Error) {
	user := e.Stanza.From.Bare().String()
	k, asking, own := room.Known{User: user, Person: r.People[user]}, int64(0), int64(0)
	sharer := r.m.o.Router.Sharer(e.Stanza.From)
	for name, other := range r.People {
		if other.Asks != "" {
			asking++
			if one, err := jid.Parse(name); err == nil && r.m.o.Router.Sharer(one) == sharer {
				own++
			}
		}
	}
	switch {
	case k.Asks == nick: // they know
		pending, err := r.store()
		if err != nil {
			return nil, r.m.fault(err)
		}
		return pending, nil
	case k.Asks == "" && !storage.Fair(maxAsking, asking, own, 1),
		!r.m.guests.mayTalk(user, r.m.o.Limits(), time.Now()) && !r.m.exempt(e):
		return nil, xmpp.ResourceConstraint("too many want to register")
	}
	k.Asks = nick
	pending, bad := r.keepPeople([]room.Known{k})
	if bad != nil {
		return nil, bad
	}
	var form []byte
	var admins []jid.JID
	r.with(func() { form, admins = r.Petition(user, nick) })
	for _, to := range admins { // it may be kept for an admin who is not there
		r.m.o.Router.Emit(&xmpp.Stanza{Kind: xmpp.Message, ID: room.NewID(), From: r.Addr, To: to, Payload: form}, e.Batch)
	}
	return pending, nil
}

// withdraw forgets what a user has asked for, of which nobody is told.
func (r *hosted) withdraw(user string) (*storage.Pending, *xmpp.Error) {
	k := room.Known{User: user, Person: r.People[user]}
	k.Asks = ""
	return r.keepPeople([]room.Known{k})
}

// decide is what an admin says of a registration (§9.9). It is called with order held.
func (r *hosted) decide(e *router.Envelope, form *forms.Form) {
	var item *room.Item
	var refused string
	var bad *xmpp.Error
	r.with(func() { item, refused, bad = r.Decide(e.Stanza.From, form) })
	var pending *storage.Pending
	switch {
	case bad != nil:
	case item == nil:
		pending, bad = r.withdraw(refused)
	default:
		pending, bad = r.affiliate(e, []room.Item{*item}, "")
	}
	if bad == nil {
		e.Await(pending)
	}
	r.m.conclude(e, bad)
}
