package router

import (
	"slices"
	"strings"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Bind makes a session for a full address of ours. A session that has the address already is ended with a conflict (RFC
// 6120 §7.7.2.2). The error is ErrTooManySessions or ErrElsewhere.
func (r *Router) Bind(full jid.JID, out Outlet) (*Session, error) {
	s := &Session{addr: full, bare: full.Bare(), out: out, stats: &r.Stats}
	old, ok := r.table.add(s, int(r.max.Load()))
	if !ok {
		return nil, ErrTooManySessions
	}
	if old != nil {
		old.End("conflict", "replaced by a new session")
	}
	if !r.Here(s.bare.String()) { // asked after the session can be seen by Release
		r.bringStored(r.table.remove(s), s.bare)
		r.table.left(s)
		return nil, ErrElsewhere
	}
	for _, m := range r.Modules() {
		if m.Bound != nil {
			m.Bound(s)
		}
	}
	return s, nil
}

// Unbind ends a session. drain ends its outlet and returns what it had been given and never took, in order; that goes
// the way of stanzas that nobody took, ahead of what arrives from now on. It is called once, and must not call the
// router. It may be nil.
func (r *Router) Unbind(s *Session, drain func() []Undelivered) {
	last := s.Presence()
	var held *user
	var refused []*Envelope
	var left []Undelivered
	// In one step: what was sent to the session until now is among the rest, and what arrives from now on joins the
	// queue behind it.
	r.WithOwner(s.bare.String(), func() {
		held = r.table.remove(s)
		s.state.Store(nil)
		if drain == nil {
			s.unsupplied()
			return
		}
		for _, u := range append(drain(), s.unsupplied()...) {
			switch e := r.returned(s, &u); e.Outcome {
			case Refused:
				refused = append(refused, e)
			case Stored:
				left = append(left, u)
			}
		}
	})
	var batch Batch
	for _, e := range refused {
		e.Batch = &batch
		r.bounce(e)
	}
	batch.Flush()
	for _, m := range r.Modules() {
		if m.Ended != nil {
			m.Ended(s, last)
		}
	}
	r.untaken(s, left)
	r.bringStored(held, s.bare)
	r.table.left(s)
}

// Detached is for c2s: the session's connection is lost, and it waits to be resumed. left is what it had been given and
// has not taken. The session keeps that.
func (r *Router) Detached(s *Session, left []Undelivered) {
	r.untaken(s, slices.DeleteFunc(left, func(u Undelivered) bool {
		return !Storable(&u.Stanza) && u.Stanza.Type != xmpp.TypeGroupchat
	}))
}

func (r *Router) untaken(s *Session, left []Undelivered) {
	if len(left) == 0 {
		return
	}
	for _, f := range r.plan.Load().untaken {
		f(s, left)
	}
}

// returned finds another way for a stanza that a session never took (RFC 6120 §10, XEP-0198 §4). The caller holds the
// owner's lock, and the account is held: messages join the queue in storage.
func (r *Router) returned(s *Session, u *Undelivered) *Envelope {
	e := &Envelope{Stanza: &u.Stanza, Returned: true, Fate: Fate{Kept: u.Kept, owner: s.bare.String()}}
	switch {
	case u.Stanza.Kind == xmpp.Message && Storable(&u.Stanza):
		// A deleted account must not come back as a queue of messages.
		if r.mustExist(e, s.bare); !e.Settled() {
			r.unclaim(e)
		}
	case u.Stanza.Kind == xmpp.Message && u.Stanza.Type != xmpp.TypeHeadline,
		u.Stanza.Kind == xmpp.IQ && u.Stanza.IsRequest():
		e.Refuse(xmpp.RecipientUnavailable(""))
	default:
		e.Settle(Dropped)
	}
	if u.Receipt != nil {
		switch e.Outcome {
		case Refused:
			u.Receipt.Finish(e.Err)
		default:
			storage.Join(e.Pendings...).Then(u.Receipt.Finish)
		}
	}
	return e
}

// bringStored lets an account that is held catch up with what is in storage, through the session that is best placed,
// and ends the hold. Sessions without presence may have something to get, too: what names them.
func (r *Router) bringStored(u *user, bare jid.JID) {
	release := func() { r.table.release(u, bare.String()) }
	list, catchUp := u.list(), r.plan.Load().catchUp
	if best := mostAvailable(list); len(best) > 0 {
		list = best
	}
	if len(list) == 0 || catchUp == nil {
		release()
		return
	}
	catchUp(list[0], release)
}

// Hold lets messages for a session queue in storage until release is called, as they do for a whole account while a
// session of it catches up. It is for the module that catches up, under the owner's lock.
func (r *Router) Hold(s *Session) (release func()) {
	s.hold.Add(1)
	return func() { s.hold.Add(-1) }
}

// SetPresence records what the session broadcasts (nil: unavailable) and says whether it was unavailable before. The
// stanza must be owned (Clone). When the account thereby becomes able to take messages, what is stored for it is
// brought, ahead of new ones.
func (r *Router) SetPresence(s *Session, p *xmpp.Stanza, priority int8) (initial bool) {
	initial = s.state.Load() == nil
	if p == nil {
		s.state.Store(nil)
		return initial
	}
	could, catchUp := s.takes(), r.plan.Load().catchUp
	brings := !could && priority >= 0 && catchUp != nil
	if brings {
		// The hold comes first: a message must not pass between.
		r.WithOwner(s.bare.String(), func() {
			s.u.hold.Add(1)
			s.state.Store(&availability{p, priority})
		})
	} else {
		s.state.Store(&availability{p, priority})
	}
	if brings {
		catchUp(s, func() { r.table.release(s.u, s.bare.String()) })
	}
	return initial
}

// Sessions are those of an account, available or not. The slice must not be changed.
func (r *Router) Sessions(bare jid.JID) []*Session { return r.table.user(bare.String()).list() }

// Session is the one with this full address, or nil.
func (r *Router) Session(full jid.JID) *Session { return r.table.session(full) }

// Absent says that nobody is connected with this full address of ours, as far as this node can tell.
func (r *Router) Absent(full jid.JID) bool {
	return r.IsHome(full) && r.table.session(full) == nil
}

// EachSession calls f with every session until it returns false.
func (r *Router) EachSession(f func(*Session) bool) { r.table.each(f) }

// SessionCount is the number of sessions.
func (r *Router) SessionCount() int { return int(r.table.count.Load()) }

// WithOwner runs f while no message for that account is being put into storage for lack of a session. It must not be
// nested.
func (r *Router) WithOwner(bare string, f func()) {
	mu := &r.table.owners[r.table.index(bare)]
	mu.Lock()
	defer mu.Unlock()
	f()
}

// Taken is for c2s: the session has taken stanzas whose copies were kept.
func (r *Router) Taken(s *Session, kept []uint64) {
	if taken := r.plan.Load().taken; taken != nil && len(kept) > 0 {
		taken(s, kept)
	}
}

// endTime is how long the sessions of a deleted account have to end before its data go all the same.
const endTime = 30 * time.Second

// Remove ends the sessions of a deleted account and then erases what the modules keep of it. It must not be called by
// whoever routes for one of these sessions: it waits for them, so that contacts hear who has gone, and nothing of
// theirs is written after the data have been erased.
func (r *Router) Remove(user jid.JID) error {
	for _, s := range r.Sessions(user) {
		s.End("not-authorized", "the account was removed") // XEP-0077 §3.2
	}
	if none := r.table.whenNone(user.String()); none != nil {
		select {
		case <-none:
		case <-time.After(endTime):
			r.log.Warn("the data of an account are erased while it has sessions", "account", user)
		}
	}
	r.WithOwner(user.String(), func() {}) // whoever saw the account before its deletion has stored what came for it
	var failed []string
	for _, m := range r.plan.Load().all {
		if m.Removed != nil {
			if err := m.Removed(user); err != nil {
				failed = append(failed, m.Name+": "+err.Error())
			}
		}
	}
	if failed != nil {
		return errRemove(strings.Join(failed, "; "))
	}
	return nil
}

type errRemove string

func (e errRemove) Error() string { return "erase the data of the account: " + string(e) }
