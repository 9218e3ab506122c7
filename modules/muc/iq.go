package muc

import (
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

var (
	infoQuery     = xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "query"}
	itemsQuery    = xmpp.Name{Space: xmpp.NSDiscoItems, Local: "query"}
	registerQuery = xmpp.Name{Space: xmpp.NSRegister, Local: "query"}
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
	set, from := e.Stanza.Type == xmpp.TypeSet, e.Stanza.From
	answer := func(payload []byte, bad *xmpp.Error) {
		if bad != nil {
			m.refuse(e, bad)
			return
		}
		m.o.Router.Answer(e, payload)
	}
	switch {
	case name == room.PingName && !set:
		m.visit(e, nil, func(*hosted) { m.o.Router.Answer(e, nil) })
	case name == infoQuery && !set:
		m.visit(e, nil, func(r *hosted) { answer(r.Info(from, el.Attr("node"))) })
	case name == itemsQuery && !set:
		m.visit(e, nil, func(r *hosted) { answer(r.Items(from, el.Attr("node"))) })
	case name == room.CardName && !set:
		m.visit(e, nil, func(r *hosted) { r.showCard(e) })
	case name == room.CardName:
		m.visitInOrder(e, nil, func(r *hosted) { r.keepCard(e) })
	case name == registerQuery:
		m.visitInOrder(e, nil, func(r *hosted) { r.register(e, el) })
	case name == room.AdminQuery && !set:
		m.visit(e, nil, func(r *hosted) { answer(r.List(from, el)) })
	case name == room.AdminQuery:
		m.visitInOrder(e, nil, func(r *hosted) { r.administer(e, el) })
	case name == room.OwnerQuery && !set:
		m.visit(e, nil, func(r *hosted) { answer(r.Form(from, m.choice())) })
	case name == room.OwnerQuery:
		m.visitInOrder(e, nil, func(r *hosted) { r.own(e, el) })
	case name == mam.QueryName || name == mam.MetadataName && !set:
		m.query(e, el)
	case name == room.CommandName && set:
		m.visitInOrder(e, nil, func(r *hosted) { r.command(e, el) })
	case name == room.ModerateName && set:
		m.visitInOrder(e, nil, func(r *hosted) { r.moderate(e, el.Attr("id"), el, room.RetractName) })
	case name == room.FastenedName && set:
		m.visitInOrder(e, nil, func(r *hosted) {
			r.moderate(e, el.Attr("id"), el.Child(room.OldModerateName), room.OldRetractName)
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
	m.visit(e, nil, func(r *hosted) {
		s, now := e.Stanza, time.Now()
		p, bad := r.Through(s, now)
		switch {
		case bad != nil:
			m.refuse(e, bad)
			return
		case p.Self:
			m.o.Router.Answer(e, nil)
			return
		}
		id, ok := r.questions.ask(question{asker: s.From, id: s.ID, of: p.Of, to: p.To, since: now})
		if !ok {
			m.refuse(e, xmpp.ResourceConstraint("too many requests are on their way"))
			return
		}
		on = &xmpp.Stanza{Kind: xmpp.IQ, Type: s.Type, ID: id, Lang: s.Lang, From: p.From, To: p.To, Payload: s.Payload,
			Children: s.Children}
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
func (all *questions) ask(q question) (id string, ok bool) {
	if *all == nil {
		*all = questions{}
	}
	if n := int64(len(*all)); !storage.Fair(maxQuestions, n, n, 1) {
		all.forget(q.since)
		own, asker := int64(0), q.asker.Bare()
		for _, old := range *all {
			if old.asker.MatchesBare(asker) {
				own++
			}
		}
		if !storage.Fair(maxQuestions, int64(len(*all)), own, 1) {
			return "", false
		}
	}
	id = room.NewID()
	(*all)[id] = q
	return id, true
}

// forget lets go of the questions that nobody waits for any more.
func (all *questions) forget(now time.Time) {
	for id, q := range *all {
		if now.Sub(q.since) > patience {
			delete(*all, id)
		}
	}
}

// take removes the question that an answer is for.
func (all *questions) take(answer *xmpp.Stanza) (q question, ok bool) {
	if q, ok = (*all)[answer.ID]; ok && q.to == answer.From {
		delete(*all, answer.ID)
		return q, true
	}
	return question{}, false
}

// answered passes an answer back, or takes it for a sign of life.
func (m *Rooms) answered(e *router.Envelope) {
	s := e.Stanza
	r := m.inMemory(s.To.Bare())
	if r == nil {
		return
	}
	var q question
	ok := false
	r.with(func() {
		q, ok = r.questions.take(s)
		ok = ok && r.Seat(q.asker) != nil
		if !s.To.IsFull() && s.ID == pingID {
			ev := event(e)
			c := r.carrier(e.Batch)
			r.Answered(&c.Effects, &ev)
			c.carryOut()
		}
	})
	r.endIfOver()
	if ok {
		back := xmpp.Stanza{Kind: xmpp.IQ, Type: s.Type, ID: q.id, Lang: s.Lang, From: q.of, To: q.asker,
			Payload: s.Payload, Children: s.Children}
		if err := s.Err(); err != nil {
			back.Payload, back.Children = room.Veiled(err, s.From).Append(nil), nil
		}
		m.o.Router.Emit(&back, e.Batch)
		e.Settle(router.Delivered)
	}
}
