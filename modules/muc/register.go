package muc

import (
	"strings"

	"jackdaw/modules/internal/forms"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

const nickField = "muc#register_roomnick"

// register makes the sender a member with a nick of its own (§7.10), or shows how. It is called with order held.
func (r *room) register(e *router.Envelope, q *xmpp.Element) {
	name := e.Stanza.From.Bare().String()
	now := r.people[name]
	rank := r.affiliationOf(e.Stanza.From)
	switch {
	case r.locked && rank != owner:
		r.m.refuse(e, xmpp.ItemNotFound("there is no such room"))
	case rank == outcast:
		r.m.refuse(e, xmpp.NotAllowed("you are banned from this room"))
	case !r.conf.Registrations && rank < member:
		r.m.refuse(e, xmpp.NotAllowed("members are made by admins here"))
	case e.Stanza.Type == xmpp.TypeGet && now.Nick != "":
		w := xmpp.NewWriter(nil).Start(xmpp.NSRegister, "query").Start("", "registered").End().Leaf("", "username", now.Nick)
		r.m.o.Router.Answer(e, w.End().Bytes())
	case e.Stanza.Type == xmpp.TypeGet:
		form := forms.Form{Kind: forms.Ask, Type: nsRegForm, Title: "Registration with " + r.name,
			Fields: []forms.Field{{Var: nickField, Type: "text-single", Label: "Nick", Required: true}}}
		w := xmpp.NewWriter(nil).Start(xmpp.NSRegister, "query").Leaf("", "instructions", "Say which nick is to be yours in this room.")
		form.Write(w)
		r.m.o.Router.Answer(e, w.End().Bytes())
	default:
		if bad := r.enrol(e, q, now, rank); bad != nil {
			r.m.refuse(e, bad)
			return
		}
		r.settleLater(e)
	}
}

func (r *room) enrol(e *router.Envelope, q *xmpp.Element, now person, rank affiliation) *xmpp.Error {
	o := order{user: e.Stanza.From.Bare(), affil: max(rank, member), setsNick: true}
	if q.ChildLocal("remove") != nil { // XEP-0077 §3.2
		if now.Affiliation < member {
			return xmpp.RegistrationRequired("you are not registered with this room")
		}
		if o.affil = now.Affiliation; o.affil == member {
			o.affil = unaffiliated
		}
	} else {
		x := q.Child(forms.Name)
		if x == nil {
			return xmpp.BadRequest("a form is needed")
		}
		form, bad := forms.Parse(x)
		switch {
		case bad != nil:
			return bad
		case form.Kind == forms.Cancel:
			r.m.o.Router.Answer(e, nil)
			return nil
		case form.Kind != forms.Submit || form.Type != nsRegForm || form.Field(nickField) == nil:
			return xmpp.BadRequest("this is not the form of the room")
		}
		addr, err := r.addr.WithResource(form.Field(nickField).Value())
		if err != nil || strings.TrimSpace(addr.Resource()) == "" {
			return xmpp.NotAcceptable("this is not a nick")
		}
		o.nick = addr.Resource()
		r.mu.Lock()
		taken := r.taken(o.nick, o.user.String())
		r.mu.Unlock()
		if taken {
			return xmpp.Conflict("this nick is taken")
		}
	}
	pending, bad := r.changePeople(e, []order{o}, "")
	if bad != nil {
		return bad
	}
	r.m.o.Router.AnswerAfter(e, pending, nil)
	return nil
}

// enlist makes users members without a word to them. It is called with order held.
func (r *room) enlist(orders []order) (*storage.Pending, *xmpp.Error) {
	changes := make([]storage.Change, 0, len(orders))
	for _, o := range orders {
		changes = append(changes, personChange(o.user.String(), person{Affiliation: member}))
		if r.conf.Persistent && !r.locked {
			if err := r.m.index(o.user.String(), r.name, true); err != nil {
				return nil, r.m.fault(err)
			}
		}
	}
	pending, err := r.store(changes...)
	if err != nil {
		return nil, r.m.fault(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range orders {
		r.setPerson(o.user.String(), person{Affiliation: member})
	}
	return pending, nil
}
