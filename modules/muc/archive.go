package muc

import (
	"context"
	"errors"

	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	// inFlight is how many bytes a session may have queued or unacknowledged before it is sent more, and portion how many
	// are sent before that is looked at again.
	inFlight = 256 << 10
	portion  = 64 << 10
	// waiting is how many queries of one client wait for the one that is being answered.
	waiting = 20
	// queriedAtOnce is how many clients' queries are answered at a time.
	queriedAtOnce = 1000
)

// An asker is a client whose queries are being answered, one after the other, so that one that reads slowly holds one page
// in memory and one goroutine.
type asker struct{ queries []query }

type query struct {
	iq      xmpp.Stanza // the head only
	session *router.Session
	room    string
	q       *mam.Query
	match   mam.Match
	sees    bool // addresses
}

// query answers what is asked of the archive of a room (XEP-0313 §6.1.2).
func (m *Rooms) query(e *router.Envelope, el *xmpp.Element) {
	var one query
	metadata := false
	m.visit(e, nil, func(r *room) {
		s := e.Stanza
		if bad := r.mayRead(s.From); bad != nil {
			m.refuse(e, bad)
			return
		}
		switch {
		case el.Name == mam.MetadataName:
			metadata = true
			return
		case s.Type == xmpp.TypeGet:
			m.o.Router.Answer(e, mam.Form())
			return
		}
		q, bad := mam.Parse(el)
		if bad != nil {
			m.refuse(e, bad)
			return
		}
		one = query{iq: xmpp.Stanza{Kind: xmpp.IQ, Type: s.Type, ID: s.ID, From: s.From, To: s.To}, session: e.Session, room: r.name, q: q,
			sees: r.conf.NonAnonymous || r.partyOf(s.From).role == moderator || r.affiliationOf(s.From) >= admin}
		one.match = r.match(q.With, one.sees)
	})
	switch {
	case e.Settled():
	case metadata:
		b, err := mam.Metadata(context.Background(), mam.Archive{Log: m.o.Archive, Owner: e.Stanza.To.String()})
		if err != nil {
			m.refuse(e, m.fault(err))
			return
		}
		m.o.Router.Answer(e, b)
	default:
		m.enqueue(e, one)
	}
}

// mayRead says who may ask: who could enter now (XEP-0313 §6.1.2).
func (r *room) mayRead(who jid.JID) *xmpp.Error {
	rank := r.affiliationOf(who)
	switch {
	case !r.conf.Archived:
		return xmpp.ServiceUnavailable("the room keeps no messages")
	case rank == outcast, r.conf.MembersOnly && rank < member, r.conf.Password != "" && rank < member && r.seats[who] == nil:
		return xmpp.Forbidden("the messages of this room are for those who may enter it")
	}
	return nil
}

// match says which records 'with' asks for: those of an occupant, or of a user where addresses are no secret.
func (r *room) match(with jid.JID, sees bool) mam.Match {
	switch {
	case with.IsZero() || with == r.addr:
		return mam.Match{}
	case with.Bare() == r.addr:
		return mam.Match{Also: func(rec *storage.Record) bool {
			s, err := mam.ReadMessage(rec.Data)
			return err == nil && s.From == with
		}}
	case sees:
		return mam.Match{Peer: with.Bare().String()}
	}
	return mam.Match{Also: func(*storage.Record) bool { return false }}
}

func (m *Rooms) enqueue(e *router.Envelope, one query) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := e.Stanza.From
	who := m.asking[from]
	switch {
	case who == nil && len(m.asking) >= queriedAtOnce, who != nil && len(who.queries) >= waiting:
		m.refuse(e, xmpp.ResourceConstraint("too many queries at once"))
		return
	case who == nil:
		who = &asker{}
		m.asking[from] = who
		go m.answer(from, who)
	}
	who.queries = append(who.queries, one)
	e.Settle(router.Delivered)
}

// answer sends what a client has asked for until nothing is left or the client has gone.
func (m *Rooms) answer(from jid.JID, who *asker) {
	ok := true
	for {
		m.mu.Lock()
		if len(who.queries) == 0 || !ok {
			delete(m.asking, from)
			m.mu.Unlock()
			return
		}
		one := who.queries[0]
		who.queries = who.queries[1:]
		m.mu.Unlock()
		ok = m.send(&one)
	}
}

// send answers one query. It returns false if the client has gone.
func (m *Rooms) send(one *query) bool {
	ctx := context.Background()
	var b router.Batch
	defer b.Flush()
	give := func(s *xmpp.Stanza) bool {
		if one.session != nil {
			return one.session.Send(&b, router.Delivery{Stanza: s, Copy: true})
		}
		e := &router.Envelope{Stanza: s, Quiet: true, Batch: &b}
		m.o.Router.Route(e)
		return e.Outcome != router.Refused
	}
	ready := func() bool { return one.session == nil || one.session.WaitBelow(ctx, inFlight) == nil }
	if !ready() {
		return false
	}
	page, err := one.q.Page(ctx, mam.Archive{Log: m.o.Archive, Owner: one.room}, one.match, m.o.Limits().Page)
	if err != nil {
		var bad *xmpp.Error
		if !errors.As(err, &bad) {
			bad = m.fault(err)
		}
		reply := one.iq.ErrorReply(bad)
		return give(&reply)
	}
	sent := 0
	for i := range page.Records {
		if one.q.Flip {
			i = len(page.Records) - 1 - i
		}
		rec := &page.Records[i]
		archived, err := mam.ReadMessage(rec.Data)
		if err != nil {
			m.o.Log.Error("archived message is skipped", "room", one.room, "id", rec.ID, "error", err)
			continue
		}
		if !one.sees { // the room may have told addresses when this was said
			archived.Payload, archived.Children = archived.Without(userName), nil
		}
		result := xmpp.Stanza{Kind: xmpp.Message, From: one.iq.To, To: one.iq.From,
			Payload: mam.AppendResult(make([]byte, 0, len(rec.Data)+300), one.q.ID, rec.ID, &archived)}
		if sent += len(result.Payload); sent >= portion {
			b.Flush()
			if !ready() {
				return false
			}
			sent = 0
		}
		if !give(&result) {
			return false
		}
	}
	reply := one.iq.Result(page.Fin())
	return give(&reply)
}
