package archive

import (
	"context"

	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// owned reads a request of the owner of an archive.
func owned(name xmpp.Name, handle func(*router.Envelope, *xmpp.Element)) func(*router.Envelope) {
	return func(e *router.Envelope) {
		switch el := e.Stanza.Child(name); {
		case el == nil:
			e.Refuse(xmpp.BadRequest(""))
		default:
			handle(e, el)
		}
	}
}

func (a *Archive) fail(e *router.Envelope, err error) {
	a.o.Log.Warn("archive unavailable", "error", err)
	e.Refuse(router.Unavailable())
}

// metadata tells the ends of the archive (§5).
func (a *Archive) metadata(e *router.Envelope, _ *xmpp.Element) {
	if e.Stanza.Type != xmpp.TypeGet {
		e.Refuse(xmpp.BadRequest(""))
		return
	}
	b, err := mam.Metadata(context.Background(), mam.Archive{Log: a.o.Messages, Owner: e.Session.Bare().String()})
	if err != nil {
		a.fail(e, err)
		return
	}
	a.o.Router.Answer(e, b)
}

// bound tells a session that is being bound the ends of the archive as they are then (XEP-0386 §4.2).
func (a *Archive) bound(s *router.Session, _ *xmpp.Element) []byte {
	b, err := mam.Metadata(context.Background(), mam.Archive{Log: a.o.Messages, Owner: s.Bare().String()})
	if err != nil {
		a.o.Log.Warn("archive unavailable", "error", err)
		return nil // the client asks again, and is told
	}
	return b
}

// query answers with the form (§4.1.5), or sees to it that the results are sent.
func (a *Archive) query(e *router.Envelope, el *xmpp.Element) {
	if e.Stanza.Type == xmpp.TypeGet {
		a.o.Router.Answer(e, mam.Form(a.search.on()))
		return
	}
	if el.HasAttr("node") { // §6.1.3: it would ask for something else than messages
		e.Refuse(xmpp.FeatureNotImplemented("nodes have no archives"))
		return
	}
	parse := mam.Parse
	if a.search.on() {
		parse = mam.ParseSearch
	}
	q, bad := parse(el)
	if bad != nil {
		e.Refuse(bad)
		return
	}
	s := e.Session
	m := match(s.Bare(), q.With)
	if q.Text != "" {
		if bad := a.search.find(&m, s.Bare(), q); bad != nil {
			e.Refuse(bad)
			return
		}
	}
	iq := xmpp.Stanza{Kind: xmpp.IQ, Type: e.Stanza.Type, ID: e.Stanza.ID, From: s.Addr(), To: e.Stanza.To}
	if iq.To.IsZero() {
		iq.To = s.Bare()
	}
	bad = a.desk.Ask(e, mam.Question{IQ: iq, Session: s, Archive: mam.Archive{Log: a.o.Messages, Owner: s.Bare().String()},
		Query: q, Match: m})
	if bad != nil {
		e.Refuse(bad)
	}
}

// match says which records 'with' asks for (§4.1.1).
func match(owner, with jid.JID) mam.Match {
	switch {
	case with.IsZero():
		return mam.Match{}
	case with.IsFull():
		m := mam.Match{Also: func(r *storage.Record) bool {
			s, err := mam.ReadMessage(r.Data)
			return err == nil && (s.From == with || s.To == with)
		}}
		if with.Bare() != owner { // a resource of the owner is a side of any conversation
			m.Peer = with.Bare().String()
		}
		return m
	default:
		return mam.Match{Peer: with.String()} // with the own address: what the owner sent to it, which has that as peer
	}
}
