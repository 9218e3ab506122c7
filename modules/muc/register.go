package muc

import (
	"strings"
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	nickField  = "muc#register_roomnick"
	allowField = "muc#register_allow"
	askerField = "jackdaw#register_jid" // the form of §9.9 does not say whose registration it is about
)

const (
	maxAsking = 100 // registrations of a room that wait for an admin
	maxAsked  = 50  // admins who are asked about one
)

// register makes the sender a member with a nick of its own (§7.10), or shows how. It is called with order held.
func (r *room) register(e *router.Envelope, q *xmpp.Element) {
	now := r.people[e.Stanza.From.Bare().String()]
	rank := r.affiliationOf(e.Stanza.From)
	switch {
	case rank == outcast:
		r.m.refuse(e, xmpp.NotAllowed("you are banned from this room"))
	case !r.conf.Registrations && rank < member:
		r.m.refuse(e, xmpp.NotAllowed("members are made by admins here"))
	case e.Stanza.Type == xmpp.TypeGet && now.Nick != "":
		w := xmpp.NewWriter(nil).Start(xmpp.NSRegister, "query").Start("", "registered").End().Leaf("", "username", now.Nick)
		r.m.o.Router.Answer(e, w.End().Bytes())
	case e.Stanza.Type == xmpp.TypeGet:
		form := forms.Form{Kind: forms.Ask, Type: nsRegForm, Title: "Registration with " + r.name,
			Fields: []forms.Field{{Var: nickField, Type: "text-single", Label: "Nick", Required: true, Values: some(now.Asks)}}}
		how := "Say which nick is to be yours in this room."
		if now.Asks != "" {
			how = "An admin has yet to approve of your registration."
		}
		w := xmpp.NewWriter(nil).Start(xmpp.NSRegister, "query").Leaf("", "instructions", how)
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

// enrol carries out what the sender has submitted.
func (r *room) enrol(e *router.Envelope, q *xmpp.Element, now person, rank affiliation) *xmpp.Error {
	o := order{user: e.Stanza.From.Bare(), affil: max(rank, member), setsNick: true}
	switch {
	case q.ChildLocal("remove") == nil:
		nick, bad := r.nickIn(q.Child(forms.Name))
		switch {
		case bad != nil:
			return bad
		case nick == "":
			r.m.o.Router.Answer(e, nil)
			return nil
		case !r.free(nick, o.user.String()):
			return xmpp.Conflict("this nick is taken")
		case rank < member && r.guarded(e.Stanza.From):
			return r.petition(e, nick)
		}
		o.nick = nick
	case now.Asks != "": // it is taken back
		return r.drop(e, o.user.String())
	case rank < member: // XEP-0077 §3.2
		return xmpp.RegistrationRequired("you are not registered with this room")
	case rank == member:
		o.affil = unaffiliated
	}
	pending, bad := r.changePeople(e, []order{o}, "")
	if bad != nil {
		return bad
	}
	r.m.o.Router.AnswerAfter(e, pending, nil)
	return nil
}

// nickIn reads the form; a cancelled one has no nick.
func (r *room) nickIn(x *xmpp.Element) (string, *xmpp.Error) {
	if x == nil {
		return "", xmpp.BadRequest("a form is needed")
	}
	form, bad := forms.Parse(x)
	switch {
	case bad != nil:
		return "", bad
	case form.Kind == forms.Cancel:
		return "", nil
	case form.Kind != forms.Submit || form.Type != nsRegForm || form.Field(nickField) == nil:
		return "", xmpp.BadRequest("this is not the form of the room")
	}
	addr, err := r.addr.WithResource(form.Field(nickField).Value())
	if err != nil || strings.TrimSpace(addr.Resource()) == "" {
		return "", xmpp.NotAcceptable("this is not a nick")
	}
	return addr.Resource(), nil
}

// free says whether a user may register a nick: nobody else bears it, has registered it or asks for it.
func (r *room) free(nick, user string) bool {
	for name, p := range r.people {
		if p.Asks == nick && name != user {
			return false
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.taken(nick, user)
}

// guarded says whether admins have to approve of a registration: where the owners want it, and where being a member is a way round
// what else keeps the sender from entering, reading or speaking.
func (r *room) guarded(who jid.JID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seats[who]
	return r.conf.Approval || r.conf.MembersOnly || r.conf.Password != "" && s == nil || r.conf.Moderated && (s == nil || s.role < participant)
}

// petition keeps a registration until an admin has decided, and asks them (§9.9).
func (r *room) petition(e *router.Envelope, nick string) *xmpp.Error {
	user := e.Stanza.From.Bare().String()
	p, asking, own := r.people[user], int64(0), int64(0)
	who := r.m.o.Router.Sharer(e.Stanza.From)
	for name, other := range r.people {
		if other.Asks != "" {
			asking++
			if one, err := jid.Parse(name); err == nil && r.m.o.Router.Sharer(one) == who {
				own++
			}
		}
	}
	switch {
	case p.Asks == nick: // they know
		pending, err := r.store()
		if err != nil {
			return r.m.fault(err)
		}
		r.m.o.Router.AnswerAfter(e, pending, nil)
		return nil
	case p.Asks == "" && !storage.Fair(maxAsking, asking, own, 1),
		!r.m.guests.mayTalk(user, r.m.o.Limits(), time.Now()) && !r.m.exempt(e):
		return xmpp.ResourceConstraint("too many want to register")
	}
	p.Asks = nick
	pending, bad := r.keepPerson(user, p)
	if bad != nil {
		return bad
	}
	form := forms.Form{Kind: forms.Ask, Type: nsRegForm, Title: "Registration request", Fields: []forms.Field{
		{Var: askerField, Type: "jid-single", Label: "Address", Values: []string{user}},
		{Var: nickField, Type: "text-single", Label: "Nick", Values: []string{nick}},
		{Var: allowField, Type: "boolean", Label: "May this user register with the room?", Values: []string{"0"}},
	}}
	w := xmpp.NewWriter(nil)
	form.Write(w)
	for _, to := range r.reachAdmins() { // it may be kept for who is not there
		r.m.o.Router.Post(&xmpp.Stanza{Kind: xmpp.Message, ID: newID(), From: r.addr, To: to, Payload: w.Bytes()}, e.Batch)
	}
	r.m.o.Router.AnswerAfter(e, pending, nil)
	return nil
}

// drop forgets what a user has asked for, of which nobody is told.
func (r *room) drop(e *router.Envelope, user string) *xmpp.Error {
	p := r.people[user]
	p.Asks = ""
	pending, bad := r.keepPerson(user, p)
	if bad != nil {
		return bad
	}
	if e.Stanza.Kind == xmpp.IQ {
		r.m.o.Router.AnswerAfter(e, pending, nil)
		return nil
	}
	e.Await(pending)
	e.Settle(router.Delivered)
	return nil
}

// keepPerson stores what has changed of somebody but for the affiliation. It is called with order held.
func (r *room) keepPerson(user string, p person) (*storage.Pending, *xmpp.Error) {
	if r.conf.Persistent && !r.locked {
		if err := r.m.index(user, r.name, !p.empty()); err != nil {
			return nil, r.m.fault(err)
		}
	}
	pending, err := r.store(personChange(user, p))
	if err != nil {
		return nil, r.m.fault(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setPerson(user, p)
	return pending, nil
}

// reachAdmins are the clients of admins and owners in the room, and the addresses of those who are not in it.
func (r *room) reachAdmins() (to []jid.JID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range append(r.named(owner), r.named(admin)...) {
		user, err := jid.Parse(name)
		if err != nil || r.m.o.Router.Services()[user.Domain()] == r.m.service || len(to) >= maxAsked {
			continue
		}
		if !r.inside(user) {
			to = append(to, user)
			continue
		}
		for _, s := range r.everybody() {
			if s.user == user {
				to = append(to, s.full)
			}
		}
	}
	return to
}

// decide is what an admin says of a registration (§9.9). It is called with order held.
func (r *room) decide(e *router.Envelope, form *forms.Form) {
	refuse := func(bad *xmpp.Error) { r.m.refuse(e, bad) }
	if r.affiliationOf(e.Stanza.From) < admin {
		refuse(xmpp.Forbidden("only admins approve of registrations"))
		return
	}
	allow := form.Field(allowField)
	if allow == nil {
		refuse(xmpp.BadRequest(allowField + " is missing"))
		return
	}
	yes, ok := allow.Bool()
	if !ok {
		refuse(xmpp.BadRequest(allowField + " is not a boolean"))
		return
	}
	user, nick := r.askerIn(form)
	switch {
	case nick == "":
		refuse(xmpp.ItemNotFound("nobody asks for this registration"))
		return
	case !yes:
		if bad := r.drop(e, user.String()); bad != nil {
			refuse(bad)
		}
		return
	case r.affiliationOf(user) == outcast: // with its domain, meanwhile
		refuse(xmpp.NotAllowed("this user is banned"))
		return
	case !r.free(nick, user.String()):
		refuse(xmpp.Conflict("this nick is taken by now"))
		return
	}
	pending, bad := r.changePeople(e, []order{{user: user, affil: member, setsNick: true, nick: nick, asked: true}}, "")
	if bad != nil {
		refuse(bad)
		return
	}
	e.Await(pending)
	e.Settle(router.Delivered)
}

// askerIn is whose registration a form is about, and the nick that was asked for; empty if there is no such thing.
func (r *room) askerIn(form *forms.Form) (user jid.JID, nick string) {
	who, wanted := "", ""
	if f := form.Field(askerField); f != nil {
		if j, err := jid.Parse(f.Value()); err == nil {
			who = j.Bare().String()
		}
	}
	if f := form.Field(nickField); f != nil {
		wanted = f.Value()
	}
	for name, p := range r.people {
		if p.Asks != "" && (name == who || who == "" && p.Asks == wanted) {
			user, err := jid.Parse(name)
			if err != nil {
				return jid.JID{}, ""
			}
			return user, p.Asks
		}
	}
	return jid.JID{}, ""
}

// enlist makes users members without a word to them. It is called with order held.
func (r *room) enlist(orders []order) (*storage.Pending, *xmpp.Error) {
	changes := make([]storage.Change, 0, len(orders))
	for _, o := range orders {
		name := o.user.String()
		changes = append(changes, personChange(name, r.enlisted(name)))
		if r.conf.Persistent && !r.locked {
			if err := r.m.index(name, r.name, true); err != nil {
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
		name := o.user.String()
		r.setPerson(name, r.enlisted(name))
	}
	return pending, nil
}

func (r *room) enlisted(user string) person {
	return person{Affiliation: member, Hats: r.people[user].Hats}
}
