package muc

import (
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

var (
	infoQuery     = xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "query"}
	itemsQuery    = xmpp.Name{Space: xmpp.NSDiscoItems, Local: "query"}
	pingName      = xmpp.Name{Space: xmpp.NSPing, Local: "ping"}
	cardName      = xmpp.Name{Space: xmpp.NSVCard, Local: "vCard"}
	registerQuery = xmpp.Name{Space: xmpp.NSRegister, Local: "query"}
	adminQuery    = xmpp.Name{Space: nsAdmin, Local: "query"}
	ownerQuery    = xmpp.Name{Space: nsOwner, Local: "query"}
	moderateName  = xmpp.Name{Space: nsModerate, Local: "moderate"}
)

// iq is a request to a room or through it.
func (m *Rooms) iq(e *router.Envelope) {
	s := e.Stanza
	switch {
	case s.Type == xmpp.TypeInvalid:
		m.refuse(e, xmpp.BadRequest("a type of iq that does not exist"))
	case s.IsAnswer():
		e.Settle(router.Dropped)
		m.answered(e)
	case !m.proven(e):
		e.Refuse(xmpp.Forbidden("only a session may ask a room"))
	case s.To.IsFull():
		m.through(e)
	default:
		m.asked(e)
	}
}

// asked is a request to the room itself.
func (m *Rooms) asked(e *router.Envelope) {
	name, _ := e.Stanza.First()
	el := e.Stanza.Child(name)
	if el == nil {
		m.refuse(e, xmpp.BadRequest(""))
		return
	}
	set := e.Stanza.Type == xmpp.TypeSet
	switch {
	case name == pingName && !set:
		m.visit(e, nil, func(*room) { m.o.Router.Answer(e, nil) })
	case name == infoQuery && !set:
		m.visit(e, nil, func(r *room) { r.info(e, el) })
	case name == itemsQuery && !set:
		m.visit(e, nil, func(r *room) { r.items(e, el) })
	case name == cardName && !set:
		m.visit(e, nil, func(r *room) { r.showCard(e) })
	case name == cardName:
		m.visitInOrder(e, nil, func(r *room) { r.keepCard(e) })
	case name == registerQuery:
		m.visitInOrder(e, nil, func(r *room) { r.register(e, el) })
	case name == adminQuery && !set:
		m.visit(e, nil, func(r *room) { r.list(e, el) })
	case name == adminQuery:
		m.visitInOrder(e, nil, func(r *room) { r.administer(e, el) })
	case name == ownerQuery && !set:
		m.visit(e, nil, func(r *room) { r.showForm(e) })
	case name == ownerQuery:
		m.visitInOrder(e, nil, func(r *room) { r.own(e, el) })
	case name == mam.QueryName || name == mam.MetadataName && !set:
		m.query(e, el)
	case name == commandName && set:
		m.visitInOrder(e, nil, func(r *room) { r.command(e, el) })
	case name == moderateName && set:
		m.visitInOrder(e, nil, func(r *room) { r.moderate(e, el.Attr("id"), el, retractName) })
	case name == fastenedName && set:
		m.visitInOrder(e, nil, func(r *room) {
			r.moderate(e, el.Attr("id"), el.Child(oldModerateName), oldRetractName)
		})
	default:
		m.refuse(e, xmpp.ServiceUnavailable(""))
	}
}

// A question is a request that was passed on to an occupant's client.
type question struct {
	asker jid.JID // full address
	id    string  // of the request
	of    jid.JID // the occupant that was asked
	to    jid.JID // whose answer it is to be
	since time.Time
}

// questions are those that wait for their answers, by the ids under which they were passed on.
type questions map[string]question

const (
	maxQuestions = 500             // shared by those in the room (storage.Fair)
	patience     = 5 * time.Minute // after which nobody waits any more
)

// through passes a request on to an occupant (§17.4), but for a ping to oneself (XEP-0410 §3.3).
func (m *Rooms) through(e *router.Envelope) {
	var on *xmpp.Stanza
	m.visit(e, nil, func(r *room) {
		s := e.Stanza
		name, _ := s.First()
		seat := r.seats[s.From]
		if seat == nil {
			bad := outside()
			if name.Space == xmpp.NSDiscoInfo || name.Space == xmpp.NSDiscoItems {
				bad = xmpp.BadRequest("you are not in this room") // §6.6
			}
			m.refuse(e, bad)
			return
		}
		seat.heard, seat.asked = time.Now(), time.Time{}
		o := r.byNick[s.To.Resource()]
		switch {
		case o == nil:
			m.refuse(e, xmpp.ItemNotFound("there is nobody of that nick"))
			return
		case o == seat.occupant && name == pingName && s.Type == xmpp.TypeGet:
			m.o.Router.Answer(e, nil)
			return
		}
		to := o.seats[0].full
		if name == cardName && s.Type == xmpp.TypeGet {
			to = to.Bare() // where vCards are kept (XEP-0054 §3.2)
		}
		id, ok := r.ask(question{asker: s.From, id: s.ID, of: o.addr, to: to, since: time.Now()})
		if !ok {
			m.refuse(e, xmpp.ResourceConstraint("too many requests are on their way"))
			return
		}
		on = &xmpp.Stanza{Kind: xmpp.IQ, Type: s.Type, ID: id, Lang: s.Lang, From: seat.addr, To: to, Payload: s.Payload, Children: s.Children}
		e.Settle(router.Delivered)
	})
	if on == nil {
		return
	}
	// Not with the room locked: the answer may come at once. So may the error, which goes the same way.
	out := &router.Envelope{Stanza: on, Batch: e.Batch}
	m.o.Router.Route(out)
}

// ask remembers a question. Those that nobody waits for any more make room.
func (r *room) ask(q question) (id string, ok bool) {
	if r.questions == nil {
		r.questions = questions{}
	}
	if all := int64(len(r.questions)); !storage.Fair(maxQuestions, all, all, 1) {
		own, who := int64(0), q.asker.Bare()
		for id, old := range r.questions {
			switch {
			case q.since.Sub(old.since) > patience:
				delete(r.questions, id)
			case old.asker.MatchesBare(who):
				own++
			}
		}
		if !storage.Fair(maxQuestions, int64(len(r.questions)), own, 1) {
			return "", false
		}
	}
	id = newID()
	r.questions[id] = q
	return id, true
}

// answered passes an answer back, or takes it for a sign of life.
func (m *Rooms) answered(e *router.Envelope) {
	s := e.Stanza
	m.mu.Lock()
	r := m.rooms[s.To.Bare()]
	m.mu.Unlock()
	if r == nil || !r.ready.Load() {
		return
	}
	var q question
	ok := false
	r.with(func() {
		q, ok = r.questions[s.ID]
		if ok = ok && q.to == s.From; ok {
			delete(r.questions, s.ID)
			ok = r.seats[q.asker] != nil
		}
		if seat := r.seats[s.From]; seat != nil && !s.To.IsFull() && s.ID == probeID {
			if err := s.Err(); err != nil && deadly(err.Condition) {
				r.leave(e.Batch, seat, departure{codes: []int{333}, reason: "a ping came back: " + string(err.Condition)})
			} else {
				seat.heard, seat.asked = time.Now(), time.Time{}
			}
		}
	})
	r.settle()
	if ok {
		back := xmpp.Stanza{Kind: xmpp.IQ, Type: s.Type, ID: q.id, Lang: s.Lang, From: q.of, To: q.asker,
			Payload: s.Payload, Children: s.Children}
		if err := s.Err(); err != nil {
			back.Payload, back.Children = veiled(err, s.From).Append(nil), nil
		}
		m.o.Router.Post(&back, e.Batch)
		e.Settle(router.Delivered)
	}
}

const (
	// silence is after what time a client of another server is asked for a sign of life, and answerWithin when it is
	// taken for gone without one.
	silence      = 15 * time.Minute
	answerWithin = 2 * time.Minute

	probeID = "alive"
)

// probe looks for clients that have gone without a word: those of other servers, from which no end of a session is heard.
func (r *room) probe(now time.Time) {
	var ask []jid.JID
	var b router.Batch
	r.mu.Lock()
	if r.state == open {
		for _, s := range r.everybody() {
			switch {
			case s.session != nil || now.Sub(s.heard) < silence:
			case s.asked.IsZero():
				s.asked = now
				ask = append(ask, s.full)
			case now.Sub(s.asked) > answerWithin:
				r.leave(&b, s, departure{codes: []int{333}, reason: "no sign of life"})
			}
		}
		for id, q := range r.questions {
			if now.Sub(q.since) > patience {
				delete(r.questions, id)
			}
		}
	}
	r.mu.Unlock()
	for _, to := range ask { // what refuses it comes back as an error
		r.m.o.Router.Route(&router.Envelope{Batch: &b, Stanza: &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: probeID, From: r.addr, To: to,
			Payload: []byte("<ping xmlns='urn:xmpp:ping'/>")}})
	}
	b.Flush()
	r.settle()
}
