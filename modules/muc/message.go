package muc

import (
	"context"
	"errors"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// message is what is said to all, to one occupant, or to the room itself (§7.4, §7.5, §7.8, §7.13).
func (m *Rooms) message(e *router.Envelope) {
	s := e.Stanza
	switch {
	case m.ordered(e):
	case s.Type == xmpp.TypeError:
		e.Settle(router.Dropped)
		m.cameBack(e)
		if m.proven(e) {
			m.partFor(e, s.Err())
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

// groupchat reflects a message to everybody (§7.4).
func (m *Rooms) groupchat(e *router.Envelope) {
	m.visitInOrder(e, nil, func(r *hosted) {
		if bad := r.say(e); bad != nil {
			m.refuse(e, bad)
		}
	})
}

// say is called with order held, so that the archive and all occupants have the same order.
func (r *hosted) say(e *router.Envelope) (bad *xmpp.Error) {
	var u room.Utterance
	r.with(func() {
		ev := event(e)
		u, bad = r.Say(&ev)
	})
	if bad != nil {
		return bad
	}
	if !r.m.guests.mayTalk(u.Author.Name, r.m.o.Limits(), time.Now()) && !r.m.exempt(e) {
		return xmpp.ResourceConstraint("you are sending too fast")
	}
	archived, repeated, bad := r.archive(e, &u)
	if bad != nil {
		return bad
	}
	if u.Subject {
		if bad := r.keepSubject(e, &u, repeated); bad != nil {
			return bad
		}
	}
	if archived != 0 {
		e.Identify(archived) // for whoever posts and has to name it later
		u.Payload = router.AppendStanzaID(u.Payload, r.Name, archived)
	}
	r.with(func() {
		e.Settle(router.Delivered)
		c := r.carrier(e.Batch)
		c.durable = e
		r.Spread(&c.Effects, &u, repeated)
		if said, ok := u.Said(archived, time.Now()); ok && !repeated {
			r.remember(said)
		}
		c.carryOut()
	})
	return nil
}

// archive gives the message its place. A repetition keeps the first one's.
func (r *hosted) archive(e *router.Envelope, u *room.Utterance) (id uint64, repeated bool, bad *xmpp.Error) {
	kept, ok := r.Record(u)
	if !ok || r.m.o.Full != nil && r.m.o.Full() {
		return 0, false, nil
	}
	id, repeated, p, err := r.record(storage.Record{Peer: u.Author.Name, Data: mam.AppendMessage(nil, &kept)},
		storage.AppendOptions{Dedup: e.DedupKey()})
	if err != nil {
		return 0, false, r.m.fault(err)
	}
	e.Await(p)
	if repeated {
		return id, true, nil
	}
	// A message of another's, or one that is not there, stays as it is: clients see by the occupant ids whose wish it is
	// to take back what.
	if taken, tombstone, ok := u.Retraction(time.Now()); ok {
		p, err := r.bury(taken, u.Author.Name, tombstone)
		switch {
		case errors.Is(err, storage.ErrNotFound):
		case err != nil:
			return 0, false, r.m.fault(err)
		}
		e.Await(p)
	}
	return id, false, nil
}

// keepSubject stores a new subject. A repetition waits for the first, since which another may have come. It is called
// with order held.
func (r *hosted) keepSubject(e *router.Envelope, u *room.Utterance, repeated bool) *xmpp.Error {
	next := u.NewSubject(time.Now())
	var changes []storage.Change
	if !repeated {
		changes = []storage.Change{{Key: subjectKey, Value: encode(next)}}
	}
	p, err := r.store(changes...)
	if err != nil {
		return r.m.fault(err)
	}
	e.Await(p)
	if !repeated {
		r.mu.Lock()
		r.Subject = next
		r.mu.Unlock()
	}
	return nil
}

// bury replaces a message in the archive, and forgets it for those who enter. author, if not empty, is the user who
// must have sent it. It is called with order held.
func (r *hosted) bury(id uint64, author string, tombstone []byte) (*storage.Pending, error) {
	ctx := context.Background()
	was, err := r.m.o.Archive.Get(ctx, r.Name, id)
	if err != nil {
		return nil, err
	}
	s, err := mam.ReadMessage(was.Data)
	if err != nil || author != "" && was.Peer != author {
		return nil, storage.ErrNotFound
	}
	s = room.Buried(s, tombstone)
	pending, err := r.m.o.Archive.Replace(ctx, r.Name, id, mam.AppendMessage(nil, &s))
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.m.memory.give(r, r.Unsay(id))
	r.mu.Unlock()
	return pending, nil
}

// moderate takes back what another has said (XEP-0425 §4): the message that the room knows by the id. el, which may be
// nil, holds the element that says so, of this name, and the reason. It is called with order held.
func (r *hosted) moderate(e *router.Envelope, message string, el *xmpp.Element, retract xmpp.Name) {
	var one room.Moderation
	var bad *xmpp.Error
	r.with(func() { one, bad = r.Moderate(e.Stanza.From, message, el, retract, time.Now()) })
	if bad != nil {
		r.m.refuse(e, bad)
		return
	}
	buried, err := r.bury(one.ID, "", one.Tombstone)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		r.m.refuse(e, room.NoMessage())
		return
	case err != nil:
		r.m.refuse(e, r.m.fault(err))
		return
	}
	e.Await(buried)
	told := one.Told
	kept, _, pending, err := r.record(storage.Record{Data: mam.AppendMessage(nil, &told)}, storage.AppendOptions{})
	if err != nil {
		r.m.refuse(e, r.m.fault(err))
		return
	}
	told.Payload = router.AppendStanzaID(told.Payload, r.Name, kept)
	r.with(func() {
		c := r.carrier(e.Batch)
		r.Announce(&c.Effects, told)
		c.carryOut()
	})
	r.m.o.Router.AnswerAfter(e, pending, nil)
}

// private passes a message to one occupant (§7.5).
func (m *Rooms) private(e *router.Envelope) {
	var to []jid.JID
	var copied xmpp.Stanza
	m.visit(e, nil, func(r *hosted) {
		var bad *xmpp.Error
		ev := event(e)
		if copied, to, bad = r.Private(&ev); bad != nil {
			m.refuse(e, bad)
		}
	})
	if e.Settled() {
		return
	}
	// Not with the room locked: this may be kept in storage until the client has taken it.
	out := &router.Envelope{Batch: e.Batch}
	for _, full := range to {
		if m.o.Router.Absent(full) {
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

// cameBack tells the writer of a private message that an error came back for it (§7.5).
func (m *Rooms) cameBack(e *router.Envelope) {
	r := m.inMemory(e.Stanza.To.Bare())
	// What an account posts over HTTP in the name of another address is no word of that one's client.
	if r == nil || !e.Stanza.To.IsFull() || e.Session == nil && !e.Account.IsZero() {
		return
	}
	var back *xmpp.Stanza
	r.with(func() { back = r.CameBack(e.Stanza) })
	if back != nil {
		m.o.Router.Emit(back, e.Batch)
		e.Settle(router.Delivered)
	}
}
