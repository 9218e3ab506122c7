package room

import (
	"strings"

	"jackdaw/modules/internal/forms"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	nickField  = "muc#register_roomnick"
	allowField = "muc#register_allow"
	askerField = "jackdaw#register_jid" // the form of §9.9 does not say whose registration it is about
)

// maxAsked is how many admins are asked about one registration.
const maxAsked = 50

// MayRegister says whether somebody may ask about registering with the room (§7.10).
func (r *Room) MayRegister(who jid.JID) *xmpp.Error {
	switch rank := r.AffiliationOf(who); {
	case rank == Outcast:
		return xmpp.NotAllowed("you are banned from this room")
	case !r.Conf.Registrations && rank < Member:
		return xmpp.NotAllowed("members are made by admins here")
	}
	return nil
}

// Registration shows which nick a user has registered, or how to register one (§7.10).
func (r *Room) Registration(who jid.JID) []byte {
	now := r.People[who.Bare().String()]
	w := xmpp.NewWriter(nil).Start(xmpp.NSRegister, "query")
	if now.Nick != "" {
		return w.Start("", "registered").End().Leaf("", "username", now.Nick).End().Bytes()
	}
	form := forms.Form{Kind: forms.Ask, Type: NSRegister, Title: "Registration with " + r.Name,
		Fields: []forms.Field{{Var: nickField, Type: "text-single", Label: "Nick", Required: true, Values: some(now.Asks)}}}
	how := "Say which nick is to be yours in this room."
	if now.Asks != "" {
		how = "An admin has yet to approve of your registration."
	}
	w.Leaf("", "instructions", how)
	form.Write(w)
	return w.End().Bytes()
}

// A Registering is what becomes of a registration that somebody has submitted. The zero value is nothing: it was
// cancelled.
type Registering struct {
	Item      *Item  // what the user becomes at once
	Petition  string // the nick that an admin has to approve of
	Withdrawn bool   // the user no longer asks
}

// Register works out what a submitted registration changes (§7.10, XEP-0077 §3.2).
func (r *Room) Register(from jid.JID, q *xmpp.Element) (what Registering, bad *xmpp.Error) {
	user, rank := from.Bare(), r.AffiliationOf(from)
	item := &Item{User: user, Affiliation: max(rank, Member), SetsNick: true}
	switch {
	case q.ChildLocal("remove") == nil:
		nick, bad := r.nickIn(q.Child(forms.Name))
		switch {
		case bad != nil:
			return what, bad
		case nick == "":
			return what, nil
		case !r.free(nick, user.String()):
			return what, xmpp.Conflict("this nick is taken")
		case rank < Member && r.guarded(from):
			return Registering{Petition: nick}, nil
		case !r.mayBeKnown(from):
			return what, xmpp.ResourceConstraint("too many are registered with this room")
		}
		item.Nick = nick
	case r.People[user.String()].Asks != "": // it is taken back
		return Registering{Withdrawn: true}, nil
	case rank < Member: // XEP-0077 §3.2
		return what, xmpp.RegistrationRequired("you are not registered with this room")
	case rank == Member:
		item.Affiliation = Unaffiliated
	}
	return Registering{Item: item}, nil
}

// nickIn reads the form. A cancelled one has no nick.
func (r *Room) nickIn(x *xmpp.Element) (string, *xmpp.Error) {
	if x == nil {
		return "", xmpp.BadRequest("a form is needed")
	}
	form, bad := forms.Parse(x)
	switch {
	case bad != nil:
		return "", bad
	case form.Kind == forms.Cancel:
		return "", nil
	case form.Kind != forms.Submit || form.Type != NSRegister || form.Field(nickField) == nil:
		return "", xmpp.BadRequest("this is not the form of the room")
	}
	addr, err := r.Addr.WithResource(form.Field(nickField).Value())
	if err != nil || strings.TrimSpace(addr.Resource()) == "" {
		return "", xmpp.NotAcceptable("this is not a nick")
	}
	return addr.Resource(), nil
}

// free says whether a user may register a nick: nobody else bears it, has registered it or asks for it.
func (r *Room) free(nick, user string) bool {
	for name, p := range r.People {
		if p.Asks == nick && name != user {
			return false
		}
	}
	return !r.taken(nick, user)
}

// guarded says whether admins have to approve of a registration. They have to where the owners want it, and where being
// a member is a way round what else keeps the sender from entering, reading or speaking.
func (r *Room) guarded(who jid.JID) bool {
	s := r.seats[who]
	return r.Conf.Approval || r.Conf.MembersOnly || r.Conf.Password != "" && s == nil ||
		r.Conf.Moderated && (s == nil || s.Role < Participant)
}

// Petition is the form in which admins are asked about a registration (§9.9), and their addresses: the clients of those
// who are in the room, else the users.
func (r *Room) Petition(user, nick string) (payload []byte, to []jid.JID) {
	form := forms.Form{Kind: forms.Ask, Type: NSRegister, Title: "Registration request", Fields: []forms.Field{
		{Var: askerField, Type: "jid-single", Label: "Address", Values: []string{user}},
		{Var: nickField, Type: "text-single", Label: "Nick", Values: []string{nick}},
		{Var: allowField, Type: "boolean", Label: "May this user register with the room?", Values: []string{"0"}},
	}}
	w := xmpp.NewWriter(nil)
	form.Write(w)
	for _, name := range append(r.Named(Owner), r.Named(Admin)...) {
		user, err := jid.Parse(name)
		if err != nil || r.server.Rooms(user.Domain()) || len(to) >= maxAsked {
			continue
		}
		if !r.inside(user) {
			to = append(to, user)
			continue
		}
		for _, s := range r.Seats() {
			if s.User == user {
				to = append(to, s.Full)
			}
		}
	}
	return w.Bytes(), to
}

// Decide is what an admin says of a registration (§9.9): the item that makes the user a member, or if that is nil, the
// user who is refused.
func (r *Room) Decide(from jid.JID, form *forms.Form) (item *Item, refused string, bad *xmpp.Error) {
	if r.AffiliationOf(from) < Admin {
		return nil, "", xmpp.Forbidden("only admins approve of registrations")
	}
	allow := form.Field(allowField)
	if allow == nil {
		return nil, "", xmpp.BadRequest(allowField + " is missing")
	}
	yes, ok := allow.Bool()
	if !ok {
		return nil, "", xmpp.BadRequest(allowField + " is not a boolean")
	}
	user, nick := r.askerIn(form)
	switch {
	case nick == "":
		return nil, "", xmpp.ItemNotFound("nobody asks for this registration")
	case !yes:
		return nil, user.String(), nil
	case r.AffiliationOf(user) == Outcast: // with its domain, meanwhile
		return nil, "", xmpp.NotAllowed("this user is banned")
	case !r.free(nick, user.String()):
		return nil, "", xmpp.Conflict("this nick is taken by now")
	}
	return &Item{User: user, Affiliation: Member, SetsNick: true, Nick: nick, Asked: true}, "", nil
}

// askerIn is the user whose registration a form is about, and the nick that was asked for, empty if there is no such
// registration.
func (r *Room) askerIn(form *forms.Form) (user jid.JID, nick string) {
	asker, wanted := "", ""
	if f := form.Field(askerField); f != nil {
		if j, err := jid.Parse(f.Value()); err == nil {
			asker = j.Bare().String()
		}
	}
	if f := form.Field(nickField); f != nil {
		wanted = f.Value()
	}
	for name, p := range r.People {
		if p.Asks != "" && (name == asker || asker == "" && p.Asks == wanted) {
			user, err := jid.Parse(name)
			if err != nil {
				return jid.JID{}, ""
			}
			return user, p.Asks
		}
	}
	return jid.JID{}, ""
}
