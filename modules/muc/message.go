package muc

import (
	"strings"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

var (
	bodyName    = xmpp.Name{Space: xmpp.NSClient, Local: "body"}
	subjectName = xmpp.Name{Space: xmpp.NSClient, Local: "subject"}
	threadName  = xmpp.Name{Space: xmpp.NSClient, Local: "thread"}
	storeHint   = xmpp.Name{Space: xmpp.NSHints, Local: "store"}
	noStoreHint = xmpp.Name{Space: xmpp.NSHints, Local: "no-store"}
)

// message is what is said to all, to one occupant, or to the room itself (§7.4, §7.5, §7.8, §7.13).
func (m *Rooms) message(e *router.Envelope) {
	s := e.Stanza
	switch {
	case s.Type == xmpp.TypeError:
		e.Settle(router.Dropped)
		m.cameBack(e)
		if err := s.Err(); deadly(err.Condition) && m.proven(e) {
			m.part(e, departure{codes: []int{333}, reason: "an error came back: " + string(err.Condition)})
		}
	case s.To.IsFull() && s.Type == xmpp.TypeGroupchat: // §7.5
		m.refuse(e, xmpp.BadRequest("what is for all goes to the room itself"))
	case s.To.IsFull():
		m.private(e)
	case s.Type == xmpp.TypeGroupchat:
		m.groupchat(e)
	default:
		m.toRoom(e)
	}
}

// seatOf is the sender's client in the room, or nil. Who posts over HTTP in its own name has no resource: any of
// its clients speaks for it.
func (r *room) seatOf(e *router.Envelope) *seat {
	from := e.Stanza.From
	if s := r.seats[from]; s != nil {
		s.heard, s.asked = time.Now(), time.Time{}
		return s
	}
	if e.Session == nil && e.Account == from.Bare() && !e.Account.IsZero() {
		for _, o := range r.occupants {
			if o.user == e.Account {
				return o.seats[0]
			}
		}
	}
	return nil
}

// groupchat reflects a message to everybody (§7.4).
func (m *Rooms) groupchat(e *router.Envelope) {
	m.visitInOrder(e, nil, func(r *room) {
		if bad := r.say(e); bad != nil {
			m.refuse(e, bad)
		}
	})
}

// An utterance is a message to all on its way.
type utterance struct {
	r       *room
	e       *router.Envelope
	o       *occupant
	seat    *seat
	from    jid.JID // the occupant's, should it change its nick meanwhile
	payload []byte
	subject bool
	id      string
}

// say is called with order held.
func (r *room) say(e *router.Envelope) *xmpp.Error {
	u := utterance{r: r, e: e}
	var bad *xmpp.Error
	r.with(func() { bad = u.prepare() })
	if bad != nil {
		return bad
	}
	if !r.m.guests.mayTalk(u.o.name, r.m.o.Limits(), time.Now()) && !r.m.exempt(e) {
		return xmpp.ResourceConstraint("you are sending too fast")
	}
	archived, dup, bad := u.archive()
	if bad != nil {
		return bad
	}
	if u.subject {
		if bad := u.keepSubject(dup); bad != nil {
			return bad
		}
	}
	r.with(func() { u.spread(archived, dup) })
	return nil
}

// prepare says whether the sender may say this, and makes of it what the others get.
func (u *utterance) prepare() *xmpp.Error {
	r, s := u.r, u.e.Stanza
	if u.seat = r.seatOf(u.e); u.seat == nil {
		return xmpp.NotAcceptable("you are not in this room") // §7.4
	}
	u.o = u.seat.occupant
	u.subject = s.Has(subjectName) && !s.Has(bodyName) && !s.Has(threadName) // §8.1
	switch {
	case u.o.role == visitor:
		return xmpp.Forbidden("you have no voice in this room")
	case u.subject && u.o.role != moderator && !r.conf.ChangeSubject:
		return xmpp.Forbidden("only moderators change the subject")
	}
	u.from, u.id = u.o.addr, s.ID
	if u.id == "" { // §7.4
		u.id = newID()
	}
	u.payload = appendOccupantID(r.clean(s), u.o.id)
	return nil
}

// clean is what an occupant says without what only the room, or this server, says (§17.3, XEP-0359 §3, XEP-0421 §4).
func (r *room) clean(s *xmpp.Stanza) []byte {
	kept := s.WithoutFunc(func(c xmpp.Child, raw []byte) bool {
		switch c.Name {
		case mucName, userName, occupantName, hatsName:
			return true
		case stanzaID:
			return r.ownsID(raw)
		case delayName:
			return delayedBy(raw, r.addr)
		case retractName: // XEP-0425 §6: only the room moderates
			return strings.Contains(string(raw), nsModerate)
		case fastenedName:
			return strings.Contains(string(raw), nsOldModerate)
		}
		return false
	})
	return append(make([]byte, 0, len(kept)+256), kept...)
}

// ownsID says whether a stanza-id is in the name of the room or of another address of this server, for all of which the
// room answers (router.Envelope.Own). What others have given stays (XEP-0359 §3, rules 2 and 3).
func (r *room) ownsID(raw []byte) bool {
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return true
	}
	by, err := jid.Parse(el.Attr("by"))
	return err != nil || r.m.o.Router.Owns(by.Domain())
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

// archive gives the message its place. A repetition keeps the first one's.
func (u *utterance) archive() (id uint64, dup bool, bad *xmpp.Error) {
	r := u.r
	if !r.conf.Archived || !worthKeeping(u.e.Stanza) || r.m.o.Full != nil && r.m.o.Full() {
		return 0, false, nil
	}
	kept := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: u.id, Lang: u.e.Stanza.Lang, From: u.from, Payload: u.payload}
	if r.conf.NonAnonymous { // XEP-0313 §6.1.2: for those who may know it
		n := notice{affiliation: r.rank(u.o), role: u.o.role}
		kept.Payload = n.append(u.payload[:len(u.payload):len(u.payload)], u.seat.full, false)
	}
	o := storage.AppendOptions{Dedup: u.e.DedupKey()}
	id, dup, p, err := r.record(storage.Record{Peer: u.o.name, Data: mam.AppendMessage(nil, &kept)}, o)
	if err != nil {
		return 0, false, r.m.fault(err)
	}
	u.e.Await(p)
	if !dup {
		if bad := u.retract(); bad != nil {
			return 0, false, bad
		}
	}
	return id, dup, nil
}

// spread gives the message to all, and remembers it for those who enter. Who has repeated it gets it alone.
func (u *utterance) spread(archived uint64, dup bool) {
	r := u.r
	payload := u.payload
	if archived != 0 {
		payload = router.AppendStanzaID(payload, r.name, archived)
	}
	p := r.post(u.e.Batch)
	p.durable = u.e
	p.head = xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: u.id, Lang: u.e.Stanza.Lang, From: u.from}
	p.with(contentOf(payload))
	u.e.Settle(router.Delivered)
	if dup {
		if r.seats[u.seat.full] == u.seat {
			p.to(u.seat)
		}
		return
	}
	p.broadcast()
	if !u.subject && forHistory(u.e.Stanza) {
		r.remember(said{from: u.from, id: u.id, lang: u.e.Stanza.Lang, payload: payload, at: time.Now(), archived: archived, author: u.o.name,
			dated: u.e.Stanza.Has(delayName)})
	}
	p.finish()
}

// forHistory says whether a message is shown to those who enter later: what has a text, or is marked to be stored, such
// as an encrypted one, and is not for those alone who are there (XEP-0334 §4.2, §4.4).
func forHistory(s *xmpp.Stanza) bool {
	return !s.Has(noStoreHint) && (s.Has(bodyName) || s.Has(storeHint))
}

// worthKeeping says whether a message goes into the archive of a room: what has content, and not what tells a state
// (XEP-0313 §6.1.2), as hints have it (XEP-0334).
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
