package archive

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
	// inFlight is how many bytes a session may have queued or unacknowledged before it is sent more.
	inFlight = 256 << 10
	// burst is how many bytes are sent before that is looked at again.
	burst = 64 << 10
	// waiting is how many queries of one session wait for the one that is being answered.
	waiting = 20
)

func forbid(e *router.Envelope) { e.Refuse(xmpp.Forbidden("")) } // XEP-0313 §8.1

// owned lets only the owner of an archive in.
func (a *Archive) owned(name xmpp.Name, handle func(*router.Envelope, *xmpp.Element)) func(*router.Envelope) {
	return func(e *router.Envelope) {
		switch el := e.Stanza.Child(name); {
		case e.Session == nil || !e.FromOwn():
			forbid(e)
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

// An asker is a session whose queries are being answered, one after the other, so that a client that reads
// slowly holds one page in memory and one goroutine.
type asker struct{ questions []question }

type question struct {
	iq    xmpp.Stanza // the head only
	query *mam.Query
}

// query answers with the form (§4.1.5), or sees to it that the results are sent.
func (a *Archive) query(e *router.Envelope, el *xmpp.Element) {
	if e.Stanza.Type == xmpp.TypeGet {
		a.o.Router.Answer(e, mam.Form())
		return
	}
	q, bad := mam.Parse(el)
	if bad != nil {
		e.Refuse(bad)
		return
	}
	s := e.Session
	one := question{iq: xmpp.Stanza{Kind: xmpp.IQ, Type: e.Stanza.Type, ID: e.Stanza.ID, From: s.Addr(), To: e.Stanza.To}, query: q}
	if one.iq.To.IsZero() {
		one.iq.To = s.Bare()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	who := a.asking[s]
	switch {
	case who == nil:
		who = &asker{}
		a.asking[s] = who
		go a.answer(s, who)
	case len(who.questions) > waiting:
		e.Refuse(xmpp.ResourceConstraint("too many queries at once"))
		return
	}
	who.questions = append(who.questions, one)
	e.Settle(router.Delivered)
}

// answer sends what a session has asked for until nothing is left or the session has ended.
func (a *Archive) answer(s *router.Session, who *asker) {
	ok := true
	for {
		a.mu.Lock()
		if len(who.questions) == 0 || !ok {
			delete(a.asking, s)
			a.mu.Unlock()
			return
		}
		one := who.questions[0]
		who.questions = who.questions[1:]
		a.mu.Unlock()
		ok = a.send(s, &one)
	}
}

// send answers one query. It returns false if the session has ended.
func (a *Archive) send(s *router.Session, one *question) bool {
	ctx := context.Background()
	if s.WaitBelow(ctx, inFlight) != nil {
		return false
	}
	m := match(s.Bare(), one.query.With)
	page, err := one.query.Page(ctx, mam.Archive{Log: a.o.Messages, Owner: s.Bare().String()}, m, a.o.Limits().Page)
	if err != nil {
		var bad *xmpp.Error
		if !errors.As(err, &bad) {
			a.o.Log.Warn("archive unavailable", "error", err)
			bad = router.Unavailable()
		}
		reply := one.iq.ErrorReply(bad)
		return s.SendNow(router.Delivery{Stanza: &reply, Copy: true})
	}
	var batch router.Batch
	defer batch.Flush()
	sent := 0
	for i := range page.Records {
		if one.query.Flip { // §4.3.4
			i = len(page.Records) - 1 - i
		}
		r := &page.Records[i]
		archived, err := mam.ReadMessage(r.Data)
		if err != nil {
			a.o.Log.Error("archived message is skipped", "owner", s.Bare(), "id", r.ID, "error", err)
			continue
		}
		result := xmpp.Stanza{Kind: xmpp.Message, From: s.Bare(), To: s.Addr(),
			Payload: mam.AppendResult(make([]byte, 0, len(r.Data)+300), one.query.ID, r.ID, &archived)}
		if sent >= burst {
			batch.Flush()
			if s.WaitBelow(ctx, inFlight) != nil {
				return false
			}
			sent = 0
		}
		sent += len(result.Payload)
		if !s.Send(&batch, router.Delivery{Stanza: &result, Copy: true}) {
			return false
		}
	}
	reply := one.iq.Result(page.Fin())
	return s.Send(&batch, router.Delivery{Stanza: &reply, Copy: true})
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
