package room

import (
	"strings"

	"jackdaw/modules/internal/forms"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// maxInvited bounds the invitations of one message.
const maxInvited = 20

// Inviter is the client that may invite (§7.8.2, §9.5).
func (r *Room) Inviter(ev *Event) (*Seat, *xmpp.Error) {
	seat, rank := r.SeatOf(ev), r.AffiliationOf(ev.Stanza.From)
	switch {
	case seat == nil:
		return nil, xmpp.NotAcceptable("you are not in this room")
	case r.Conf.MembersOnly && rank < Admin && !(r.Conf.AllowInvites && rank == Member): // §9.5
		return nil, xmpp.Forbidden("only admins invite into this room")
	}
	return seat, nil
}

// Invitations are what goes to those who are invited, and the users who must become members first, so that they may
// enter (§9.5).
func (r *Room) Invitations(by *Seat, s *xmpp.Stanza, x *xmpp.Element) (
	out []xmpp.Stanza, members []Known, bad *xmpp.Error) {
	for _, c := range x.Children() {
		if c.Name != inviteName {
			continue
		}
		to, err := jid.Parse(c.Attr("to"))
		switch {
		case err != nil || to.Local() == "":
			return nil, nil, xmpp.JIDMalformed("this is not the address of a user")
		case r.server.Rooms(to.Domain()):
			return nil, nil, xmpp.ItemNotFound("rooms are not invited")
		case r.AffiliationOf(to) == Outcast:
			return nil, nil, xmpp.NotAllowed("this user is banned")
		case len(out) == maxInvited:
			return nil, nil, xmpp.PolicyViolation("too many are invited at once")
		}
		reason := ""
		if el := c.ChildLocal("reason"); el != nil {
			reason = el.Text()
		}
		from := by.Full.Bare()
		if !r.Conf.NonAnonymous {
			from = by.Addr
		}
		id := s.ID
		if id == "" || len(out) > 0 {
			id = NewID()
		}
		out = append(out, xmpp.Stanza{Kind: xmpp.Message, ID: id, Lang: s.Lang, From: r.Addr, To: to,
			Payload: r.invitation(from, reason, c.ChildLocal("continue"))})
		if r.Conf.MembersOnly && r.AffiliationOf(to) < Member {
			user := to.Bare().String()
			members = append(members, Known{user, Person{Affiliation: Member, Hats: r.People[user].Hats}})
			if bad := r.mayKnow(user); bad != nil {
				return nil, nil, bad
			}
		}
	}
	return out, members, nil
}

// Decline is what the inviter is told by a user who does not want to come (§7.8.2).
func (r *Room) Decline(s *xmpp.Stanza, el *xmpp.Element) (out xmpp.Stanza, bad *xmpp.Error) {
	to, err := jid.Parse(el.Attr("to"))
	switch {
	case err != nil:
		return out, xmpp.JIDMalformed("nobody has invited by this address")
	case to.Bare() == r.Addr: // invited by the address in the room
		o := r.byNick[to.Resource()]
		if o == nil {
			return out, xmpp.ItemNotFound("who has invited has left")
		}
		to = o.Seats[0].Full
	case !r.inside(to) && r.AffiliationOf(to) < Member:
		return out, xmpp.ItemNotFound("nobody has invited by this address")
	}
	w := xmpp.NewWriter(nil).Start(xmpp.NSMUCUser, "x").Start("", "decline").Attr("from", s.From.Bare().String())
	if reason := el.ChildLocal("reason"); reason != nil {
		w.Leaf("", "reason", strings.TrimSpace(reason.Text()))
	}
	return xmpp.Stanza{Kind: xmpp.Message, ID: s.ID, From: r.Addr, To: to, Payload: w.End().End().Bytes()}, nil
}

const voiceAllow = "muc#request_allow"

// GrantsVoice says whether a form of §8.6 is a moderator's word, and not a visitor's wish.
func GrantsVoice(form *forms.Form) bool { return form.Field(voiceAllow) != nil }

// WishesVoice says whether the sender may ask for voice (§7.13): the visitor, or nil if it has voice already.
func (r *Room) WishesVoice(from jid.JID) (*Seat, *xmpp.Error) {
	seat := r.seats[from]
	switch {
	case seat == nil:
		return nil, xmpp.NotAcceptable("you are not in this room")
	case !r.Conf.VoiceRequests:
		return nil, xmpp.Forbidden("nobody is asked for voice in this room")
	case seat.Role != Visitor:
		return nil, nil
	}
	return seat, nil
}

// AskForVoice asks the moderators on behalf of a visitor (§8.6).
func (r *Room) AskForVoice(fx *Effects, seat *Seat) {
	ask := forms.Form{Kind: forms.Ask, Type: NSRequest, Title: "Voice request", Fields: []forms.Field{
		{Var: "muc#role", Type: "list-single", Label: "Requested role", Values: []string{"participant"},
			Options: []forms.Option{{Label: "Participant", Value: "participant"}}},
		{Var: "muc#jid", Type: "jid-single", Label: "Address", Values: []string{seat.Full.String()}},
		{Var: "muc#roomnick", Type: "text-single", Label: "Nick", Values: []string{seat.Nick}},
		{Var: voiceAllow, Type: "boolean", Label: "May this occupant speak?", Values: []string{"0"}},
	}}
	w := xmpp.NewWriter(nil)
	ask.Write(w)
	told := fx.stanza(xmpp.Stanza{Kind: xmpp.Message, ID: NewID(), From: r.Addr},
		content{xml: append(w.Bytes(), "<no-store xmlns='urn:xmpp:hints'/>"...)})
	for _, o := range r.occupants {
		if o.Role == Moderator {
			for _, s := range o.Seats {
				fx.ifPresent(s, told)
			}
		}
	}
}

// GrantVoice gives voice to an occupant that has asked for it, if a moderator allows it (§8.6).
func (r *Room) GrantVoice(fx *Effects, from jid.JID, form *forms.Form) *xmpp.Error {
	by := r.seats[from]
	if by == nil {
		return xmpp.NotAcceptable("you are not in this room")
	}
	nick := ""
	if f := form.Field("muc#roomnick"); f != nil {
		nick = f.Value()
	}
	o := r.byNick[nick]
	yes, ok := form.Field(voiceAllow).Bool()
	switch {
	case by.Role != Moderator:
		return xmpp.Forbidden("only moderators give voice")
	case !ok:
		return xmpp.BadRequest("muc#request_allow is not a boolean")
	case o == nil:
		return nobody()
	case yes && o.Role == Visitor:
		r.giveRole(fx, o, Participant, notice{actor: by.Nick})
	}
	return nil
}
