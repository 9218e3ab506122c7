package muc

import (
	"context"

	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// queriedAtOnce is how many clients' queries are answered at a time.
const queriedAtOnce = 1000

// query answers what is asked of the archive of a room (XEP-0313 §6.1.2).
func (m *Rooms) query(e *router.Envelope, el *xmpp.Element) {
	var one mam.Question
	metadata := false
	m.visit(e, nil, func(r *room) {
		s := e.Stanza
		if bad := r.mayRead(s.From); bad != nil {
			m.refuse(e, bad)
			return
		}
		switch {
		case el.HasAttr("node"): // XEP-0313 §6.1.3: it would ask for something else than messages
			m.refuse(e, xmpp.FeatureNotImplemented("nodes have no archives"))
			return
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
		rank := r.affiliationOf(s.From)
		sees := r.conf.NonAnonymous || r.partyOf(s.From).role == moderator || rank >= admin
		one = mam.Question{IQ: xmpp.Stanza{Kind: xmpp.IQ, Type: s.Type, ID: s.ID, From: s.From, To: s.To}, Session: e.Session,
			Archive: mam.Archive{Log: m.o.Archive, Owner: r.name}, Query: q, Match: r.match(q.With, sees)}
		switch {
		case !sees: // the room may have told addresses when something was said
			one.Adapt = func(_ *storage.Record, s *xmpp.Stanza) { s.Payload, s.Children = s.Without(userName), nil }
		case rank >= admin || r.partyOf(s.From).role == moderator:
			one.Adapt = r.disclose
		}
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
		if bad := m.desk.Ask(e, one); bad != nil {
			m.refuse(e, bad)
		}
	}
}

// disclose adds who has said something, for those who may know it though the room did not tell everybody (XEP-0313 §6.1.2).
func (r *room) disclose(rec *storage.Record, s *xmpp.Stanza) {
	who, err := jid.Parse(rec.Peer)
	if err != nil || s.Has(userName) {
		return // the room itself, or it has been told
	}
	w := xmpp.NewWriter(append(make([]byte, 0, len(s.Payload)+200), s.Payload...)).Start(xmpp.NSMUCUser, "x").Start("", "item")
	r.with(func() { w.Attr("affiliation", r.affiliationOf(who).String()) })
	s.Payload, s.Children = w.Attr("jid", who.String()).End().End().Bytes(), nil
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
