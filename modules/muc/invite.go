package muc

import (
	"strings"
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// maxInvited bounds the invitations of one message.
const maxInvited = 20

// toRoom is a message to the room itself that is not for all: an invitation, a declined one, or about voice.
func (m *Rooms) toRoom(e *router.Envelope) {
	s := e.Stanza
	if x := s.Child(userName); x != nil && s.Type == xmpp.TypeNormal {
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
		case form.Kind == forms.Submit && form.Type == nsRequest:
			m.visitInOrder(e, nil, func(r *room) { r.voice(e, form) })
			return
		case form.Kind == forms.Submit && form.Type == nsRegForm:
			m.visitInOrder(e, nil, func(r *room) { r.decide(e, form) })
			return
		}
	}
	m.visit(e, nil, func(r *room) {
		if r.seats[s.From] == nil {
			m.refuse(e, xmpp.NotAcceptable("you are not in this room"))
			return
		}
		m.refuse(e, xmpp.BadRequest("what is for all has the type groupchat")) // §17.2
	})
}

// invite sends invitations on (§7.8.2).
func (m *Rooms) invite(e *router.Envelope, x *xmpp.Element) {
	var out []xmpp.Stanza
	m.visitInOrder(e, nil, func(r *room) {
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
		if one.Outcome == router.Refused && len(out) == 1 {
			m.refuse(e, xmpp.ItemNotFound("the invitation cannot be delivered"))
			return
		}
	}
	e.Settle(router.Delivered)
}

// invitations are what goes out. It is called with order held.
func (r *room) invitations(e *router.Envelope, x *xmpp.Element) (out []xmpp.Stanza, bad *xmpp.Error) {
	var orders []order
	r.mu.Lock()
	seat := r.seatOf(e)
	rank := r.affiliationOf(e.Stanza.From)
	r.mu.Unlock()
	switch {
	case seat == nil:
		return nil, xmpp.NotAcceptable("you are not in this room")
	case r.conf.MembersOnly && rank < admin && !(r.conf.AllowInvites && rank == member): // §9.5
		return nil, xmpp.Forbidden("only admins invite into this room")
	case !r.m.guests.mayTalk(seat.name, r.m.o.Limits(), time.Now()) && !r.m.exempt(e):
		return nil, xmpp.ResourceConstraint("you are sending too fast")
	}
	for _, c := range x.Children() {
		if c.Name != (xmpp.Name{Space: xmpp.NSMUCUser, Local: "invite"}) {
			continue
		}
		to, err := jid.Parse(c.Attr("to"))
		switch {
		case err != nil || to.Local() == "":
			return nil, xmpp.JIDMalformed("this is not the address of a user")
		case r.m.o.Router.Services()[to.Domain()] == r.m.service:
			return nil, xmpp.ItemNotFound("rooms are not invited")
		case r.affiliationOf(to) == outcast:
			return nil, xmpp.NotAllowed("this user is banned")
		case len(out) == maxInvited:
			return nil, xmpp.PolicyViolation("too many are invited at once")
		}
		reason := ""
		if el := c.ChildLocal("reason"); el != nil {
			reason = el.Text()
		}
		from := seat.full.Bare()
		if !r.conf.NonAnonymous {
			from = seat.addr
		}
		id := e.Stanza.ID
		if id == "" || len(out) > 0 {
			id = newID()
		}
		out = append(out, xmpp.Stanza{Kind: xmpp.Message, ID: id, Lang: e.Stanza.Lang, From: r.addr, To: to,
			Payload: r.invitation(from, reason, c.ChildLocal("continue"))})
		if r.conf.MembersOnly && r.affiliationOf(to) < member {
			orders = append(orders, order{user: to.Bare(), affil: member})
		}
	}
	if len(orders) > 0 { // §9.5: who is invited may enter
		pending, bad := r.enlist(orders)
		if bad != nil {
			return nil, bad
		}
		e.Await(pending)
	}
	return out, nil
}

// decline tells the inviter (§7.8.2).
func (m *Rooms) decline(e *router.Envelope, el *xmpp.Element) {
	to, err := jid.Parse(el.Attr("to"))
	if err != nil {
		m.refuse(e, xmpp.JIDMalformed("nobody has invited by this address"))
		return
	}
	var out xmpp.Stanza
	m.visit(e, nil, func(r *room) {
		if to.Bare() == r.addr { // invited by the address in the room
			o := r.byNick[to.Resource()]
			if o == nil {
				m.refuse(e, xmpp.ItemNotFound("who has invited has left"))
				return
			}
			to = o.seats[0].full
		} else if !r.inside(to) && r.affiliationOf(to) < member {
			m.refuse(e, xmpp.ItemNotFound("nobody has invited by this address"))
			return
		}
		w := xmpp.NewWriter(nil).Start(xmpp.NSMUCUser, "x").Start("", "decline").Attr("from", e.Stanza.From.Bare().String())
		if reason := el.ChildLocal("reason"); reason != nil {
			w.Leaf("", "reason", strings.TrimSpace(reason.Text()))
		}
		out = xmpp.Stanza{Kind: xmpp.Message, ID: e.Stanza.ID, From: r.addr, To: to, Payload: w.End().End().Bytes()}
	})
	if e.Settled() {
		return
	}
	m.o.Router.Post(&out, e.Batch)
	e.Settle(router.Delivered)
}

// inside says whether a user has a client in the room.
func (r *room) inside(user jid.JID) bool {
	for _, o := range r.occupants {
		if o.user == user.Bare() {
			return true
		}
	}
	return false
}

// voice is a visitor's wish to speak, or what a moderator says of it (§7.13, §8.6). It is called with order held.
func (r *room) voice(e *router.Envelope, form *forms.Form) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seat := r.seats[e.Stanza.From]
	switch allow := form.Field("muc#request_allow"); {
	case seat == nil:
		r.m.refuse(e, xmpp.NotAcceptable("you are not in this room"))
	case allow != nil:
		r.grant(e, seat, form, allow)
	case !r.conf.VoiceRequests:
		r.m.refuse(e, xmpp.Forbidden("nobody is asked for voice in this room"))
	case seat.role != visitor:
		e.Settle(router.Dropped)
	case !r.m.guests.mayTalk(seat.name, r.m.o.Limits(), time.Now()):
		r.m.refuse(e, xmpp.ResourceConstraint("you are sending too fast"))
	default:
		ask := forms.Form{Kind: forms.Ask, Type: nsRequest, Title: "Voice request", Fields: []forms.Field{
			{Var: "muc#role", Type: "list-single", Label: "Requested role", Values: []string{"participant"}, Options: []forms.Option{{Label: "Participant", Value: "participant"}}},
			{Var: "muc#jid", Type: "jid-single", Label: "Address", Values: []string{seat.full.String()}},
			{Var: "muc#roomnick", Type: "text-single", Label: "Nick", Values: []string{seat.nick}},
			{Var: "muc#request_allow", Type: "boolean", Label: "May this occupant speak?", Values: []string{"0"}},
		}}
		w := xmpp.NewWriter(nil)
		ask.Write(w)
		p := r.post(e.Batch)
		p.head = xmpp.Stanza{Kind: xmpp.Message, ID: newID(), From: r.addr, Payload: append(w.Bytes(), "<no-store xmlns='urn:xmpp:hints'/>"...)}
		for _, v := range r.occupants {
			if v.role == moderator {
				for _, s := range v.seats {
					if !r.m.o.Router.Serves(s.full.Domain()) || r.m.o.Router.Session(s.full) != nil {
						p.to(s)
					}
				}
			}
		}
		p.finish()
		e.Settle(router.Delivered)
	}
}

// grant gives voice to who has asked for it.
func (r *room) grant(e *router.Envelope, by *seat, form *forms.Form, allow *forms.Field) {
	nick := ""
	if f := form.Field("muc#roomnick"); f != nil {
		nick = f.Value()
	}
	o := r.byNick[nick]
	yes, ok := allow.Bool()
	switch {
	case by.role != moderator:
		r.m.refuse(e, xmpp.Forbidden("only moderators give voice"))
	case !ok:
		r.m.refuse(e, xmpp.BadRequest("muc#request_allow is not a boolean"))
	case o == nil:
		r.m.refuse(e, xmpp.ItemNotFound("there is nobody of that nick"))
	default:
		e.Settle(router.Delivered)
		if yes && o.role == visitor {
			o.role = participant
			r.keepRole(o)
			p := r.post(e.Batch)
			p.refresh(o, visitor, notice{actor: by.nick})
		}
	}
}
