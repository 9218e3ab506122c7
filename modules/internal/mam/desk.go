package mam

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	// InFlight is how many bytes a session may have queued or unacknowledged before it is sent more, and Portion how
	// many are sent before that is looked at again.
	InFlight = 256 << 10
	Portion  = 64 << 10
	// Waiting is how many queries of one client wait for the one that is being answered.
	Waiting = 20
)

// A Desk answers the queries of clients, those of one client in turn, so that one that reads slowly holds a page in
// memory and a goroutine. It is safe for concurrent use; what is exported is set before and does not change.
type Desk struct {
	Router *router.Router
	Log    *slog.Logger
	Limit  func() int // messages of one answer; asked for each
	Most   int        // clients that are answered at a time, shared (storage.Fair); 0: any number

	mu     sync.Mutex // guards asking
	asking map[client]*line
}

// A client is a session, or an address elsewhere. An address that is used again is another client: what is left of the
// first one's queries ends with it.
type client struct {
	session *router.Session
	addr    jid.JID
}

type line struct{ questions []Question }

// A Question is a query that somebody may ask.
type Question struct {
	IQ      xmpp.Stanza     // the head of the request, with both addresses; owned
	Session *router.Session // that asks; nil for a client elsewhere
	Archive Archive
	Query   *Query
	Match   Match
	Adapt   func(*storage.Record, *xmpp.Stanza) // makes of a message what who asks may see; nil: it stays as it is
}

// Ask has a question answered: by each result, then by the answer to the request. The envelope is settled unless there
// is an error, which is for the caller to return.
func (d *Desk) Ask(e *router.Envelope, q Question) *xmpp.Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	who := client{q.Session, q.IQ.From}
	l := d.asking[who]
	switch {
	case l == nil && !d.fits(who.addr), l != nil && len(l.questions) >= Waiting:
		return xmpp.ResourceConstraint("too many queries at once")
	case l == nil:
		if d.asking == nil {
			d.asking = map[client]*line{}
		}
		l = &line{}
		d.asking[who] = l
		go d.serve(who, l)
	}
	l.questions = append(l.questions, q)
	e.Settle(router.Delivered)
	return nil
}

// fits says whether one client more of an account or domain may be answered. The caller holds mu.
func (d *Desk) fits(who jid.JID) bool {
	most, all := int64(d.Most), int64(len(d.asking))
	if storage.Fair(most, all, all, 1) {
		return true
	}
	sharer, own := d.Router.Sharer(who), int64(0)
	for other := range d.asking {
		if d.Router.Sharer(other.addr) == sharer {
			own++
		}
	}
	return storage.Fair(most, all, own, 1)
}

// Clients is how many are being answered.
func (d *Desk) Clients() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.asking)
}

// serve answers a client until it has no more questions, or has gone.
func (d *Desk) serve(who client, l *line) {
	for ok := true; ; {
		d.mu.Lock()
		if len(l.questions) == 0 || !ok {
			delete(d.asking, who)
			d.mu.Unlock()
			return
		}
		q := l.questions[0]
		l.questions = l.questions[1:]
		d.mu.Unlock()
		ok = d.answer(&q)
	}
}

// answer answers one query. It returns false if the client has gone.
func (d *Desk) answer(q *Question) bool {
	ctx := context.Background()
	if !q.ready(ctx) {
		return false
	}
	var b router.Batch
	defer b.Flush()
	page, err := q.Query.Page(ctx, q.Archive, q.Match, d.Limit())
	if err != nil {
		var bad *xmpp.Error
		if !errors.As(err, &bad) {
			d.Log.Warn("archive unavailable", "error", err)
			bad = router.Unavailable()
		}
		reply := q.IQ.ErrorReply(bad)
		return d.give(q, &reply, &b)
	}
	sent := 0
	for i := range page.Records {
		if q.Query.Flip { // §4.3.4
			i = len(page.Records) - 1 - i
		}
		r := &page.Records[i]
		archived, err := ReadMessage(r.Data)
		if err != nil {
			d.Log.Error("archived message is skipped", "owner", q.Archive.Owner, "id", r.ID, "error", err)
			continue
		}
		if q.Adapt != nil {
			q.Adapt(r, &archived)
		}
		if sent >= Portion {
			b.Flush()
			if !q.ready(ctx) {
				return false
			}
			sent = 0
		}
		result := xmpp.Stanza{Kind: xmpp.Message, From: q.IQ.To, To: q.IQ.From,
			Payload: AppendResult(make([]byte, 0, len(r.Data)+300), q.Query.ID, r.ID, &archived)}
		sent += len(result.Payload)
		if !d.give(q, &result, &b) {
			return false
		}
	}
	reply := q.IQ.Result(page.Fin())
	return d.give(q, &reply, &b)
}

// ready waits until a session takes more. It returns false once that has ended.
func (q *Question) ready(ctx context.Context) bool {
	return q.Session == nil || q.Session.WaitBelow(ctx, InFlight) == nil
}

// give hands a stanza to the client that has asked.
func (d *Desk) give(q *Question, s *xmpp.Stanza, b *router.Batch) bool {
	if q.Session != nil {
		return q.Session.Send(b, router.Delivery{Stanza: s, Copy: true})
	}
	e := &router.Envelope{Stanza: s, Quiet: true, Batch: b}
	d.Router.Route(e)
	return e.Outcome != router.Refused
}
