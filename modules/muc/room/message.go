package room

import (
	"strconv"
	"strings"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// An Utterance is a message to all on its way: checked, but not yet given to anybody (§7.4).
type Utterance struct {
	Author  *Occupant
	ID      string
	Payload []byte // as all will see it
	Subject bool   // it is a new subject (§8.1), not a message
	sent    *xmpp.Stanza
	seat    *Seat
	from    jid.JID // the occupant's, should it change its nick meanwhile
}

// Say says whether the sender may say this, and makes of it what the others get.
func (r *Room) Say(ev *Event) (u Utterance, bad *xmpp.Error) {
	s := ev.Stanza
	seat, as := r.SeatOf(ev), program(ev)
	if seat == nil || as != "" {
		if seat, bad = r.outside(ev, as); bad != nil {
			return u, bad
		}
	}
	isSubject := s.Has(SubjectName) && !s.Has(BodyName) && !s.Has(threadName) // §8.1
	switch {
	case seat.Role == Visitor: // §7.4
		return u, xmpp.Forbidden("you have no voice in this room")
	case isSubject && seat.Role != Moderator && !r.Conf.ChangeSubject: // §8.1
		return u, xmpp.Forbidden("only moderators change the subject")
	}
	if bad := r.Conf.mayReact(s); bad != nil {
		return u, bad
	}
	u = Utterance{Author: seat.Occupant, ID: s.ID, Subject: isSubject, sent: s, seat: seat, from: seat.Addr}
	if u.ID == "" { // §7.4
		u.ID = NewID()
	}
	u.Payload = appendOccupantID(r.clean(s, seat), seat.id)
	return u, nil
}

// clean is what an occupant says, without what only the room or this server says (§17.3, XEP-0359 §3, XEP-0421 §4), and
// without the nick by which who is outside is shown already.
func (r *Room) clean(s *xmpp.Stanza, seat *Seat) []byte {
	kept := s.WithoutFunc(func(c xmpp.Child, raw []byte) bool {
		switch c.Name {
		case JoinName, UserName, OccupantName, hatsName:
			return true
		case callerNick:
			return seat.Seats == nil
		case stanzaIDName:
			return r.ownsID(raw)
		case delayName:
			return delayedBy(raw, r.Addr)
		case RetractName: // XEP-0425 §6: only the room moderates
			return strings.Contains(string(raw), nsModerate)
		case FastenedName:
			return strings.Contains(string(raw), nsOldModerate)
		}
		return false
	})
	return append(make([]byte, 0, len(kept)+256), kept...)
}

// ownsID says whether a stanza-id is in the name of the room or of another address of this server, for all of which the
// room answers. The ids that others have given stay (XEP-0359 §3, rules 2 and 3).
func (r *Room) ownsID(raw []byte) bool {
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return true
	}
	by, err := jid.Parse(el.Attr("by"))
	return err != nil || r.server.Owns(by.Domain())
}

// delayedBy says whether a delay is in the name of the room, or cannot be read.
func delayedBy(raw []byte, room jid.JID) bool {
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return true
	}
	j, err := jid.Parse(el.Attr("from"))
	return err == nil && j.Bare() == room
}

// Record is what the archive of the room is to hold of an utterance (XEP-0313 §6.1.2); ok is false if that is nothing.
func (r *Room) Record(u *Utterance) (kept xmpp.Stanza, ok bool) {
	if !r.Conf.Archived || !worthKeeping(u.sent) {
		return kept, false
	}
	kept = u.head()
	kept.Payload = u.Payload
	if r.Conf.NonAnonymous { // XEP-0313 §6.1.2: for those who may know it
		n := notice{affiliation: r.Rank(u.Author), role: u.Author.Role}
		kept.Payload = n.append(u.Payload[:len(u.Payload):len(u.Payload)], u.seat.Full, false)
	}
	return kept, true
}

func (u *Utterance) head() xmpp.Stanza {
	return xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: u.ID, Lang: u.sent.Lang, From: u.from}
}

// Retraction is which message of its author's an utterance takes back, and what takes its place in the archive
// (XEP-0424 §5, §6); ok is false if it takes back none.
func (u *Utterance) Retraction(now time.Time) (id uint64, tombstone []byte, ok bool) {
	raw := u.sent.ChildBytes(RetractName)
	if raw == nil {
		return 0, nil, false
	}
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return 0, nil, false
	}
	if id, err = strconv.ParseUint(el.Attr("id"), 10, 64); err != nil {
		return 0, nil, false
	}
	w := xmpp.NewWriter(nil).Start(nsRetract, "retracted").Attr("id", u.ID).Attr("stamp", xmpp.FormatTime(now))
	return id, w.End().Bytes(), true
}

// NewSubject is the one that an utterance sets.
func (u *Utterance) NewSubject(now time.Time) Subject {
	var xml []byte
	for _, c := range xmpp.Index(u.sent.Payload) {
		if c.Name == SubjectName {
			xml = append(xml, u.sent.Payload[c.Start:c.End]...)
		}
	}
	return Subject{By: u.from.Resource(), XML: string(xml), Changed: now.UTC(), ID: u.ID, Author: u.Author.id}
}

// Spread gives an utterance to all (§7.4), or if it is repeated, to its sender alone.
func (r *Room) Spread(fx *Effects, u *Utterance, repeated bool) {
	stanza := fx.stanza(u.head(), contentOf(u.Payload))
	switch {
	case !repeated:
		r.toAll(fx, stanza)
	case r.seats[u.seat.Full] == u.seat:
		fx.to(u.seat, stanza)
	}
}

// Said is what is to be remembered of an utterance; ok is false if that is nothing.
func (u *Utterance) Said(archived uint64, now time.Time) (s Said, ok bool) {
	if u.Subject || !ForHistory(u.sent) {
		return s, false
	}
	return Said{From: u.from, ID: u.ID, Lang: u.sent.Lang, Payload: u.Payload, At: now, Archived: archived,
		Author: u.Author.Name, Dated: Dated(u.sent)}, true
}

// Dated says whether a message says itself when it was said.
func Dated(s *xmpp.Stanza) bool { return s.Has(delayName) }

// ForHistory says whether a message is shown to those who enter later: it has a text, or is marked to be stored, such
// as an encrypted one, and is not for those alone who are there (XEP-0334 §4.2, §4.4).
func ForHistory(s *xmpp.Stanza) bool {
	return !s.Has(noStoreHint) && (s.Has(BodyName) || s.Has(storeHint))
}

// worthKeeping says whether a message goes into the archive of a room: one that has content, and not one that tells a
// state (XEP-0313 §6.1.2), as hints have it (XEP-0334).
func worthKeeping(s *xmpp.Stanza) bool {
	children := s.Children
	if children == nil {
		children = xmpp.Index(s.Payload)
	}
	var content, store, noStore bool
	for _, c := range children {
		switch c.Name.Space {
		case xmpp.NSHints:
			store = store || c.Name.Local == "store"
			noStore = noStore || c.Name.Local == "no-store" || c.Name.Local == "no-permanent-store"
		case nsRetract:
			if c.Name.Local == "retract" { // XEP-0424 §6
				return true
			}
		case xmpp.NSClient:
			content = content || c.Name.Local != "thread"
		case xmpp.NSMarkers:
			content = content || c.Name.Local == "displayed"
		case xmpp.NSChatStates, xmpp.NSStanzaID, xmpp.NSDelay, xmpp.NSMUCUser, nsOccupant:
		default:
			content = true
		}
	}
	return store || content && !noStore
}
