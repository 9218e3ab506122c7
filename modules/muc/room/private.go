package room

import (
	"strings"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Private is a private message as the clients of its recipient get it, but for their addresses, which are to (§7.5).
func (r *Room) Private(ev *Event) (copied xmpp.Stanza, to []jid.JID, bad *xmpp.Error) {
	s := ev.Stanza
	seat := r.SeatOf(ev)
	if seat == nil {
		return copied, nil, xmpp.NotAcceptable("you are not in this room")
	}
	o := r.byNick[s.To.Resource()]
	switch {
	case o == nil:
		return copied, nil, nobody()
	case seat.Role < r.Conf.PM:
		return copied, nil, xmpp.Forbidden("you may not send private messages here")
	}
	if bad = r.Conf.mayReact(s); bad != nil {
		return copied, nil, bad
	}
	payload := append(appendOccupantID(r.clean(s, seat), seat.id), "<x xmlns='http://jabber.org/protocol/muc#user'/>"...)
	for _, one := range o.Seats {
		to = append(to, one.Full)
		seat.wrote(letter{id: s.ID, to: one.Full, of: o.Addr})
	}
	return xmpp.Stanza{Kind: xmpp.Message, Type: s.Type, ID: s.ID, Lang: s.Lang, From: seat.Addr, Attrs: s.Attrs,
		Payload: payload}, to, nil
}

func nobody() *xmpp.Error { return xmpp.ItemNotFound("there is nobody of that nick") }

// A letter is a private message that was passed on, to be recognised if it comes back.
type letter struct {
	id string
	to jid.JID // whose error it would be: the full address of a client
	of jid.JID // the occupant that it was for
}

const (
	maxLetters  = 20  // of one client, the latest
	maxLetterID = 256 // bytes of an id that is remembered
)

// wrote remembers a letter of this client. The id is cloned.
func (s *Seat) wrote(l letter) {
	if len(l.id) > maxLetterID {
		return
	}
	if len(s.letters) >= maxLetters {
		s.letters = append(s.letters[:0], s.letters[1:]...)
	}
	l.id = strings.Clone(l.id)
	s.letters = append(s.letters, l)
}

// CameBack is what the writer of a private message is told when an error comes back for it: the room stands between the
// two (RFC 6120 §8.3.1, XEP-0045 §7.5). It is nil for any other error. That may be the error of a message to all, whose
// sender would take it for the room's.
func (r *Room) CameBack(s *xmpp.Stanza) *xmpp.Stanza {
	o := r.byNick[s.To.Resource()]
	if o == nil {
		return nil
	}
	for _, writer := range o.Seats {
		for i, l := range writer.letters {
			if l.id == s.ID && l.to == s.From {
				writer.letters = append(writer.letters[:i], writer.letters[i+1:]...)
				return &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeError, ID: l.id, From: l.of, To: writer.Full,
					Payload: Veiled(s.Err(), s.From).Append(nil)}
			}
		}
	}
	return nil
}

// Veiled is an error of an occupant's client or server as others may see it: without its real address (§17.4).
func Veiled(err *xmpp.Error, who jid.JID) *xmpp.Error {
	c := *err
	c.By = jid.JID{}
	name := who.Bare().String()
	if strings.Contains(c.Text, name) {
		c.Text = ""
	}
	if strings.Contains(c.URI, name) {
		c.URI = ""
	}
	if c.App != nil && strings.Contains(string(c.App.Append(nil)), name) {
		c.App = nil
	}
	return &c
}

// A Passage is how a request to an occupant goes through the room (§17.4).
type Passage struct {
	From jid.JID // the asker's, in the room
	Of   jid.JID // the occupant that is asked
	To   jid.JID // where the request goes
	Self bool    // the client pings itself: the room answers (XEP-0410 §3.3)
}

// Through says how a request goes through the room.
func (r *Room) Through(s *xmpp.Stanza, now time.Time) (p Passage, bad *xmpp.Error) {
	name, _ := s.First()
	seat := r.seats[s.From]
	if seat == nil {
		if name.Space == xmpp.NSDiscoInfo || name.Space == xmpp.NSDiscoItems { // §6.6
			return p, xmpp.BadRequest("you are not in this room")
		}
		return p, Outside()
	}
	seat.alive(now)
	o := r.byNick[s.To.Resource()]
	if o == nil {
		return p, nobody()
	}
	p = Passage{From: seat.Addr, Of: o.Addr, To: o.Seats[0].Full,
		Self: o == seat.Occupant && name == PingName && s.Type == xmpp.TypeGet}
	if name == CardName && s.Type == xmpp.TypeGet {
		p.To = p.To.Bare() // where vCards are kept (XEP-0054 §3.2)
	}
	return p, nil
}

// Outside is the error of XEP-0410 §3.2, whose type is not that of RFC 6120.
func Outside() *xmpp.Error {
	return xmpp.NotAcceptable("you are not in this room").WithType(xmpp.ErrorCancel)
}
