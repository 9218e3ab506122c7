package room

import (
	"strconv"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A Moderation is a message that a moderator takes back (XEP-0425 §4).
type Moderation struct {
	ID        uint64      // of the message in the archive
	Tombstone []byte      // what takes its place
	Told      xmpp.Stanza // what all are told
}

// Moderate says what becomes of a message that the room knows by an id. el, which may be nil, holds the element that
// says so, of the name retract, and the reason.
func (r *Room) Moderate(from jid.JID, message string, el *xmpp.Element, retract xmpp.Name, now time.Time) (
	m Moderation, bad *xmpp.Error) {
	seat := r.seats[from]
	id, err := strconv.ParseUint(message, 10, 64)
	switch {
	case seat == nil:
		return m, xmpp.NotAcceptable("you are not in this room")
	case seat.Role != Moderator:
		return m, xmpp.Forbidden("only moderators take back what others have said")
	case !r.Conf.Archived:
		return m, xmpp.FeatureNotImplemented("the room keeps no messages")
	case el == nil || el.Child(retract) == nil || message == "":
		return m, xmpp.BadRequest("which message is to be retracted is not said")
	case err != nil:
		return m, NoMessage()
	}
	reason := ""
	if c := el.ChildLocal("reason"); c != nil {
		reason = c.Text()
	}
	// What both the tombstone and the message to all say.
	say := func(w *xmpp.Writer) {
		w.Start(nsModerate, "moderated").Attr("by", seat.Addr.String()).Raw(appendOccupantID(nil, seat.id)).End()
		if reason != "" {
			w.Leaf("", "reason", reason)
		}
		w.End()
	}
	m.ID = id
	m.Told = xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: NewID(), From: r.Addr}
	w := xmpp.NewWriter(nil).Start(nsRetract, "retracted").Attr("stamp", xmpp.FormatTime(now)).Attr("id", m.Told.ID)
	say(w)
	m.Tombstone = w.Bytes()
	x := xmpp.NewWriter(nil).Start(nsRetract, "retract").Attr("id", message)
	say(x)
	x.Start(nsFasten, "apply-to").Attr("id", message).Start(nsOldModerate, "moderated").Attr("by", seat.Addr.String())
	x.Start(nsOldRetract, "retract").End()
	if reason != "" {
		x.Leaf("", "reason", reason)
	}
	m.Told.Payload = x.End().End().Bytes()
	return m, nil
}

// NoMessage is the error for an id that no message has.
func NoMessage() *xmpp.Error { return xmpp.ItemNotFound("there is no such message") }

// Announce gives a message of the room's own to all.
func (r *Room) Announce(fx *Effects, message xmpp.Stanza) {
	r.toAll(fx, fx.stanza(message, contentOf(message.Payload)))
}

// Buried is a message of the archive with a tombstone in its place: of what was said only the author's id stays
// (XEP-0424 §6).
func Buried(s xmpp.Stanza, tombstone []byte) xmpp.Stanza {
	s.Payload = append(append([]byte(nil), s.ChildBytes(OccupantName)...), tombstone...)
	s.Attrs, s.Children = nil, nil
	return s
}

// MayRead says whether somebody may ask the archive: everybody may who could enter now (XEP-0313 §6.1.2).
func (r *Room) MayRead(who jid.JID) *xmpp.Error {
	rank := r.AffiliationOf(who)
	switch {
	case !r.Conf.Archived:
		return xmpp.ServiceUnavailable("the room keeps no messages")
	case rank == Outcast, rank < Member && r.Conf.MembersOnly,
		rank < Member && r.Conf.Password != "" && r.seats[who] == nil:
		return xmpp.Forbidden("the messages of this room are for those who may enter it")
	}
	return nil
}

// Discloses says whether somebody may know the authors of messages, even where the room does not tell everybody
// (XEP-0313 §6.1.2).
func (r *Room) Discloses(to jid.JID) bool {
	by := r.partyOf(to)
	return by.role == Moderator || by.affiliation >= Admin
}
