package strangers

import (
	"context"
	"errors"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// What is in quarantine for one user is bounded, and so is what is there of one sender and of one domain, so that none
// can shut the others out.
const (
	keep        = 30 * 24 * time.Hour
	maxMessages = 200
	maxBytes    = 1 << 20
	maxOfSender = 20
	page        = 50
)

// quarantine keeps a message of a stranger.
func (s *Strangers) quarantine(e *router.Envelope, user jid.JID) {
	ctx, name, from := context.Background(), user.String(), e.Stanza.From.Bare()
	switch exists, err := s.Users.Exists(ctx, user); {
	case err != nil:
		e.Refuse(router.Unavailable())
		return
	case !exists: // the router refuses it, as any other
		return
	}
	if _, err := s.Quarantine.Trim(ctx, name, storage.IDAt(time.Now().Add(-keep))); err != nil {
		s.Log.Warn("what was in quarantine for long stays", "user", user, "error", err)
	}
	if s.Full != nil && s.Full() {
		e.Refuse(xmpp.ResourceConstraint("the server has no room for messages that wait at the moment"))
		return
	}
	record := storage.Record{Peer: from.String(), Data: mam.AppendMessage(nil, e.Stanza)}
	of, _, err := s.Quarantine.Page(ctx, name, storage.Query{Peer: from.String(), Limit: maxOfSender})
	if err == nil && len(of) >= maxOfSender {
		err = storage.ErrFull
	}
	if err == nil {
		err = s.fair(ctx, name, from, int64(len(record.Data)))
	}
	var p *storage.Pending
	dup := false
	if err == nil {
		_, dup, p, err = s.Quarantine.Append(ctx, name, record,
			storage.AppendOptions{Dedup: e.DedupKey(), MaxRecords: maxMessages, MaxBytes: maxBytes})
	}
	switch {
	case errors.Is(err, storage.ErrFull):
		e.Refuse(xmpp.ResourceConstraint("too many messages wait for the recipient").WithType(xmpp.ErrorWait))
		return
	case err != nil:
		s.Log.Warn("message of a stranger cannot be kept", "user", user, "error", err)
		e.Refuse(router.Unavailable())
		return
	}
	e.Await(p)
	e.Settle(router.Stored)
	if len(of) == 0 && !dup {
		s.Remind(name, s.Router.Sharer(from), reminder(from))
	}
	// Between the look into the roster and the append the stranger may have become known.
	if known, err := s.knows(user, from); err == nil && known {
		s.do(user, job{of: from})
	}
}

// fair is storage.ErrFull if a stranger, with all others of the same domain, has its share of a user's quarantine.
// Records are by sender, so the domain's are counted here, and only when it matters.
func (s *Strangers) fair(ctx context.Context, user string, from jid.JID, more int64) error {
	n, size, err := s.Quarantine.Size(ctx, user)
	if err != nil {
		return err
	}
	fits := func(records, bytes int64) bool {
		return storage.Fair(maxMessages, int64(n), records, 1) && storage.Fair(maxBytes, size, bytes, more)
	}
	if fits(int64(n), size) {
		return nil
	}
	if n >= maxMessages || size+more > maxBytes {
		return storage.ErrFull
	}
	records, _, err := s.Quarantine.Page(ctx, user, storage.Query{Limit: maxMessages})
	if err != nil {
		return err
	}
	who, own, bytes := s.Router.Sharer(from), int64(0), int64(0)
	for i := range records {
		if other, err := jid.Parse(records[i].Peer); err == nil && s.Router.Sharer(other) == who {
			own, bytes = own+1, bytes+int64(len(records[i].Data))
		}
	}
	if !fits(own, bytes) {
		return storage.ErrFull
	}
	return nil
}

// A job is something to be done for a user in the background.
type job struct {
	of   jid.JID // let go of what is in quarantine of this address
	look bool    // see what is in quarantine at all: the user has come
}

// work is what is to be done for a user, one after the other.
type work struct{ jobs []job }

// do has a job done.
func (s *Strangers) do(user jid.JID, j job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if w := s.busy[user]; w != nil {
		for _, o := range w.jobs {
			if o == j {
				return
			}
		}
		w.jobs = append(w.jobs, j)
		return
	}
	w := &work{jobs: []job{j}}
	s.busy[user] = w
	s.running.Go(func() {
		for {
			s.mu.Lock()
			if len(w.jobs) == 0 || s.closed {
				delete(s.busy, user)
				s.mu.Unlock()
				return
			}
			j := w.jobs[0]
			w.jobs = w.jobs[1:]
			s.mu.Unlock()
			if err := s.work(user, j); err != nil {
				s.Log.Warn("what is in quarantine waits", "user", user, "error", err)
			}
		}
	})
}

func (s *Strangers) work(user jid.JID, j job) error {
	if !j.look {
		// What has changed in the roster may be a request that waits for an answer.
		if known, err := s.knows(user, j.of); err != nil || !known {
			return err
		}
		return s.release(user, j.of.String())
	}
	ctx, name := context.Background(), user.String()
	if n, _, err := s.Quarantine.Size(ctx, name); err != nil || n == 0 {
		return err
	}
	if !s.holds(user.Domain()) { // the administrator wants no quarantine any more
		return s.release(user, "")
	}
	senders, err := s.senders(ctx, name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	again := s.reminded[user]
	s.reminded[user] = true
	s.mu.Unlock()
	for _, from := range senders {
		switch known, err := s.knows(user, from); {
		case err != nil:
			return err
		case known: // it could not be brought when it should have been
			if err := s.release(user, from.String()); err != nil {
				return err
			}
		case !again: // a reminder may have ended with the server
			s.Remind(name, s.Router.Sharer(from), reminder(from))
		}
	}
	return nil
}

// senders are those of whom something is in quarantine, in the order of their first messages.
func (s *Strangers) senders(ctx context.Context, user string) (all []jid.JID, err error) {
	seen := map[string]bool{}
	for after, more := uint64(0), true; more; {
		var records []storage.Record
		if records, more, err = s.Quarantine.Page(ctx, user, storage.Query{After: after, Limit: page}); err != nil {
			return nil, err
		}
		for i := range records {
			r := &records[i]
			after = r.ID
			if from, err := jid.Parse(r.Peer); err == nil && !seen[r.Peer] {
				seen[r.Peer] = true
				all = append(all, from)
			}
		}
	}
	return all, nil
}

// release lets out what is in quarantine of a sender, or of all, in order.
func (s *Strangers) release(user jid.JID, peer string) error {
	ctx, name := context.Background(), user.String()
	for after := uint64(0); ; {
		records, more, err := s.Quarantine.Page(ctx, name, storage.Query{Peer: peer, After: after, Limit: page})
		if err != nil {
			return err
		}
		for i := range records {
			after = records[i].ID
			if err := s.letGo(ctx, name, &records[i]); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// letGo routes one message, and forgets it when it is where it belongs.
func (s *Strangers) letGo(ctx context.Context, user string, r *storage.Record) error {
	m, err := mam.ReadMessage(r.Data)
	if err != nil {
		s.Log.Error("message of a stranger is skipped", "user", user, "id", r.ID, "error", err)
		return nil
	}
	m.Children = xmpp.Index(m.Payload)
	e := &router.Envelope{Stanza: &m, Durable: true, Dedup: dedup(&m, user, r)}
	s.released.Store(e, r.Time())
	s.Router.Route(e)
	s.released.Delete(e)
	if e.Outcome == router.Refused && e.Err != nil && e.Err.Type == xmpp.ErrorWait {
		return e.Err
	}
	for _, p := range e.Pendings {
		if err := p.Wait(ctx); err != nil {
			return err
		}
	}
	if o, refused := e.Settlement(); o == router.Refused && refused != nil && refused.Type == xmpp.ErrorWait {
		return refused
	}
	_, err = s.Quarantine.Remove(ctx, user, r.ID)
	return err
}

// dedup tells a message that is sent again, or let go again after a crash.
func dedup(m *xmpp.Stanza, user string, r *storage.Record) string {
	if raw := m.ChildBytes(xmpp.Name{Space: xmpp.NSStanzaID, Local: "origin-id"}); raw != nil {
		if el, err := xmpp.ParseElement(raw); err == nil && el.Attr("id") != "" {
			return router.OriginKey(m.From, el.Attr("id"))
		}
	}
	return "held " + user + " " + mam.FormatID(r.ID)
}

// Close ends what runs in the background and returns when it has ended. What is in quarantine stays there.
func (s *Strangers) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
}
