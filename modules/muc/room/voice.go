package room

import (
	"strconv"
	"strings"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// callerNick names by which nick a post from outside is to be shown (XEP-0172).
var callerNick = xmpp.Name{Space: "http://jabber.org/protocol/nick", Local: "nick"}

// program is the nick of a program that speaks for an account, "" if the account speaks itself. The stanza is a post
// over HTTP; what a client says of its nick is not for the room.
func program(ev *Event) string {
	if ev.Account.IsZero() {
		return ""
	}
	el := ev.Stanza.Child(callerNick)
	if el == nil {
		return ""
	}
	return strings.TrimSpace(el.Text())
}

// outside is who speaks in the room without being in it: an account of this server whose post this is, or a program of
// its, by a nick of its own. It may what the account might if it entered. The seat is made for this one message and is
// nowhere in the room.
func (r *Room) outside(ev *Event, program string) (*Seat, *xmpp.Error) {
	user := ev.Account
	if user.IsZero() || user != ev.Stanza.From.Bare() {
		return nil, xmpp.NotAcceptable("you are not in this room") // §7.4
	}
	rank := r.AffiliationOf(user)
	switch {
	case rank == Outcast: // §7.2.7
		return nil, xmpp.Forbidden("you are banned from this room")
	case r.Conf.MembersOnly && rank < Member: // §7.2.6
		return nil, xmpp.RegistrationRequired("this room is for members only")
	case r.Conf.Password != "" && rank < Member: // §7.2.5: nobody can give one with a message
		return nil, xmpp.NotAuthorized("a room with a password hears members alone from outside")
	}
	o := &Occupant{User: user, Name: user.String(), Role: initialRole(rank, r.Conf.Moderated)}
	if was, ok := r.roles[o.Name]; ok && rank < Admin { // §5.1: a voice that was taken does not come back this way
		o.Role = was
	}
	nick, identity := program, o.Name
	if program != "" {
		// It is not taken for the person, whose messages clients would let it change (XEP-0421, XEP-0308).
		identity += "/" + program
	} else if nick = r.People[o.Name].Nick; nick == "" {
		nick = user.Local()
	}
	o.id = r.occupantID(identity)
	addr, err := r.freeNick(nick, o.Name)
	if err != nil {
		return nil, xmpp.NotAcceptable("this is not a nick")
	}
	o.Nick, o.Addr = addr.Resource(), addr
	return &Seat{Occupant: o, Full: user}, nil
}

// freeNick is the address in the room of a nick that no other user has, which is the one that is asked for or resembles
// it: who speaks from outside is heard even if somebody has taken its name.
func (r *Room) freeNick(nick, user string) (jid.JID, error) {
	addr, err := r.Addr.WithResource(nick)
	for n := 2; err == nil && r.taken(addr.Resource(), user); n++ {
		addr, err = r.Addr.WithResource(nick + " (" + strconv.Itoa(n) + ")")
	}
	return addr, err
}
