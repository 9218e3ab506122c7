package muc

import (
	"strings"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// private passes a message to one occupant (§7.5).
func (m *Rooms) private(e *router.Envelope) {
	var to []jid.JID
	var copied xmpp.Stanza
	m.visit(e, nil, func(r *room) {
		s := e.Stanza
		seat := r.seatOf(e)
		if seat == nil {
			m.refuse(e, xmpp.NotAcceptable("you are not in this room"))
			return
		}
		o := r.byNick[s.To.Resource()]
		switch {
		case o == nil:
			m.refuse(e, xmpp.ItemNotFound("there is nobody of that nick"))
			return
		case seat.role < r.conf.PM:
			m.refuse(e, xmpp.Forbidden("you may not send private messages here"))
			return
		}
		payload := append(appendOccupantID(r.clean(s), seat.id), "<x xmlns='http://jabber.org/protocol/muc#user'/>"...)
		copied = xmpp.Stanza{Kind: xmpp.Message, Type: s.Type, ID: s.ID, Lang: s.Lang, From: seat.addr,
			Attrs: s.Attrs, Payload: payload}
		for _, one := range o.seats {
			to = append(to, one.full)
			seat.wrote(letter{id: s.ID, to: one.full, of: o.addr})
		}
	})
	if e.Settled() {
		return
	}
	// Not with the room locked: this may be kept in storage until the client has taken it.
	out := &router.Envelope{Batch: e.Batch}
	for _, full := range to {
		if m.o.Router.Serves(full.Domain()) && m.o.Router.Session(full) == nil {
			continue // it is leaving; the message is for nobody else at that account
		}
		copied.To = full
		out.Reset()
		out.Stanza, out.Quiet, out.Durable = &copied, true, e.Durable
		if key := e.DedupKey(); key != "" {
			out.Dedup = key + "\n" + full.Resource()
		}
		if m.o.Router.Route(out); out.Outcome != router.Refused {
			e.Settle(router.Delivered)
		}
		e.Await(out.Pendings...)
	}
	if !e.Settled() {
		m.refuse(e, xmpp.RecipientUnavailable(""))
	}
}

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
func (s *seat) wrote(l letter) {
	if len(l.id) > maxLetterID {
		return
	}
	if len(s.letters) >= maxLetters {
		s.letters = append(s.letters[:0], s.letters[1:]...)
	}
	l.id = strings.Clone(l.id)
	s.letters = append(s.letters, l)
}

// cameBack tells who has written a private message that an error came back for it: the room stands between the two (RFC
// 6120 §8.3.1, XEP-0045 §7.5). An error for anything else is not passed on: it may be that of a message to all, whose
// sender would take it for the room's.
func (m *Rooms) cameBack(e *router.Envelope) {
	s := e.Stanza
	m.mu.Lock()
	r := m.rooms[s.To.Bare()]
	m.mu.Unlock()
	// What an account posts over HTTP in the name of another address is no word of that one's client.
	if r == nil || !r.ready.Load() || !s.To.IsFull() || e.Session == nil && !e.Account.IsZero() {
		return
	}
	var back *xmpp.Stanza
	r.with(func() {
		o := r.byNick[s.To.Resource()]
		if o == nil {
			return
		}
		for _, writer := range o.seats {
			for i, l := range writer.letters {
				if l.id == s.ID && l.to == s.From {
					writer.letters = append(writer.letters[:i], writer.letters[i+1:]...)
					back = &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeError, ID: l.id, From: l.of, To: writer.full,
						Payload: veiled(s.Err(), s.From).Append(nil)}
					return
				}
			}
		}
	})
	if back != nil {
		m.o.Router.Post(back, e.Batch)
		e.Settle(router.Delivered)
	}
}

// veiled is an error of an occupant's client or server as others may see it: without its real address (§17.4).
func veiled(err *xmpp.Error, who jid.JID) *xmpp.Error {
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
