package router

import (
	"context"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Storable says whether RFC 6121 §8.5 lets a message wait for its recipient. What else is not worth keeping (XEP-0160
// §3, XEP-0334) is for the module that keeps it.
func Storable(s *xmpp.Stanza) bool {
	return s.Kind == xmpp.Message && (s.Type == xmpp.TypeNormal || s.Type == xmpp.TypeChat)
}

// message delivers to an account of ours: RFC 6121 §8.5, table 1.
func (r *Router) message(e *Envelope, to jid.JID) {
	u := r.table.user(e.owner)
	// The hold is asked for after the targets: it is set before the session can be seen among them.
	offered := false
	targets := able(messageTargets(u.list(), e.Stanza, to), e.Stanza)
	if len(targets) > 0 && (!u.held() || !Storable(e.Stanza)) {
		if r.offer(e, targets); e.Settled() {
			return
		}
		if r.give(e, targets); e.Settled() {
			return
		}
		offered = true // and all of them have ended since the look
	}
	if r.unstorable(e, to); e.Settled() {
		return
	}
	r.toStorage(e, to, offered)
}

// toStorage keeps a message that no session takes. It looks again under the owner's lock, so that the message neither
// overtakes what is being brought from there nor arrives there after that has ended.
func (r *Router) toStorage(e *Envelope, to jid.JID, offered bool) {
	mu := &r.table.owners[r.table.index(e.owner)]
	mu.Lock()
	defer mu.Unlock()
	u := r.table.user(e.owner)
	var targets []*Session
	if !u.held() {
		targets = messageTargets(u.list(), e.Stanza, to)
		if free := able(targets, e.Stanza); len(free) > 0 {
			if !offered {
				r.offer(e, free)
			}
			if !e.Settled() {
				r.give(e, free)
			}
		}
	}
	// Asked here and not before, so that a message does not outlive the account that it is for.
	if !e.Settled() {
		r.mustExist(e, to)
	}
	if e.Settled() {
		return
	}
	r.keepGiven(u, e.owner)
	behind := r.plan.Load().behind
	if r.unclaim(e); e.Outcome != Stored || behind == nil {
		return
	}
	for _, s := range targets { // that were full, and may not be any more: nobody else would bring it
		if !s.Held() {
			behind(s)
		}
	}
}

// keepGiven has copies stored of what the sessions of an account have been given without one and have not taken, so
// that it stays ahead of what is stored from now on if they end. The caller holds the owner's lock.
func (r *Router) keepGiven(u *user, bare string) {
	keep := r.plan.Load().keep
	if keep == nil {
		return
	}
	for _, s := range r.table.unended(u, bare) {
		s.keepGiven(keep)
	}
}

// able leaves out the sessions that are not to get a message now: what can be stored waits there for those that are
// full or catch up, and headlines are not worth waiting.
func able(targets []*Session, m *xmpp.Stanza) []*Session {
	var waits func(*Session) bool
	switch m.Type {
	case xmpp.TypeNormal, xmpp.TypeChat:
		waits = (*Session).waits
	case xmpp.TypeHeadline:
		waits = (*Session).Full
	default:
		return targets
	}
	for _, s := range targets {
		if waits(s) {
			return filter(targets, func(s *Session) bool { return !waits(s) })
		}
	}
	return targets
}

// messageTargets are the sessions that a message goes to.
func messageTargets(list []*Session, s *xmpp.Stanza, to jid.JID) []*Session {
	if len(list) == 0 {
		return nil
	}
	if to.IsFull() {
		for i, one := range list { // §8.5.3.1, connected resources too
			if one.addr == to {
				return list[i : i+1]
			}
		}
		if s.Type != xmpp.TypeChat { // §8.5.3.2.1
			return nil
		}
	}
	switch s.Type {
	case xmpp.TypeNormal, xmpp.TypeChat: // §8.5.2.1.1
		return mostAvailable(list)
	case xmpp.TypeHeadline:
		return filter(list, (*Session).takes)
	}
	return nil
}

// mostAvailable are the sessions with the highest priority that is not negative.
func mostAvailable(list []*Session) []*Session {
	if len(list) == 1 {
		if list[0].takes() {
			return list
		}
		return nil
	}
	best, count := int8(-1), 0
	for _, s := range list {
		if a := s.state.Load(); a != nil && a.priority >= 0 {
			switch {
			case a.priority > best:
				best, count = a.priority, 1
			case a.priority == best:
				count++
			}
		}
	}
	if count == 0 {
		return nil
	}
	return filter(list, func(s *Session) bool {
		a := s.state.Load()
		return a != nil && a.priority == best
	})
}

func filter(list []*Session, keep func(*Session) bool) []*Session {
	var out []*Session
	for _, s := range list {
		if keep(s) {
			out = append(out, s)
		}
	}
	return out
}

// offer shows a message to the modules before it is given to sessions.
func (r *Router) offer(e *Envelope, targets []*Session) {
	for _, f := range r.plan.Load().delivering {
		if f(e, targets); e.Settled() {
			return
		}
	}
}

// give hands a message to sessions. It settles the message if one takes it, or if there is a copy in storage, which is
// brought when the end of those sessions has been dealt with.
func (r *Router) give(e *Envelope, targets []*Session) {
	d := Delivery{Stanza: e.Stanza, Kept: e.Kept, Copy: len(targets) > 1 && e.Kept == 0, Receipt: e.receipt}
	taken := e.Kept != 0
	for _, s := range targets {
		taken = r.sendTo(s, e, d) || taken
	}
	if taken {
		e.Settle(Delivered)
		e.Await(e.receipt)
	}
}

// unstorable decides what cannot wait in storage: RFC 6121 §8.5.1, §8.5.2, §8.5.3.2.
func (r *Router) unstorable(e *Envelope, to jid.JID) {
	switch e.Stanza.Type {
	case xmpp.TypeError, xmpp.TypeHeadline:
		e.Settle(Dropped)
	case xmpp.TypeGroupchat:
		e.Refuse(xmpp.ServiceUnavailable(""))
	case xmpp.TypeNormal:
		if to.IsFull() && !r.table.user(e.owner).held() && r.table.session(to) == nil { // §8.5.3.2.1: never silently
			e.Refuse(xmpp.ServiceUnavailable(""))
		}
	}
}

// mustExist refuses stanzas for accounts that are not there, in the way of any other refusal.
func (r *Router) mustExist(e *Envelope, to jid.JID) {
	switch ok, err := r.users.Exists(context.Background(), to.Bare()); {
	case err != nil:
		e.Refuse(Unavailable())
	case !ok:
		e.Refuse(xmpp.ServiceUnavailable(""))
	}
}

// unclaim offers a message to the modules that keep messages. The caller holds the owner's lock.
func (r *Router) unclaim(e *Envelope) {
	for _, f := range r.plan.Load().unclaimed {
		if f(e); e.Settled() {
			return
		}
	}
	e.Refuse(xmpp.ServiceUnavailable(""))
}

// presence delivers to an account of ours (RFC 6121 §8.5.2.1.2, §8.5.3). Subscriptions and probes have been answered by
// their modules while arriving.
func (r *Router) presence(e *Envelope, to jid.JID) {
	d := Delivery{Stanza: e.Stanza, Copy: true}
	e.Settle(Dropped)
	for _, s := range r.table.user(e.owner).list() {
		if to.IsFull() && s.addr != to || to.IsBare() && s.Presence() == nil {
			continue
		}
		if s.Full() && !r.wants(s, e) {
			continue
		}
		if r.sendTo(s, e, d) {
			e.Settle(Delivered)
		}
	}
}

// wants says whether a session that is full gets a presence.
func (r *Router) wants(s *Session, e *Envelope) bool {
	wanted := r.plan.Load().wanted
	return wanted == nil || e.Stanza.From.Bare() == s.bare || wanted(s, e)
}

// iq delivers to a session, or to the module that owns the payload (RFC 6121 §8.5.2.1.3, §8.5.3.1, §8.5.3.2.3).
func (r *Router) iq(e *Envelope, to jid.JID) {
	if to.IsFull() {
		s := r.table.session(to)
		if s != nil && e.Stanza.IsRequest() && s.Full() && (e.Session == nil || e.Session.bare != s.bare) {
			e.Refuse(xmpp.ResourceConstraint("the recipient is busy, try again later").WithType(xmpp.ErrorWait))
			return
		}
		if s != nil && r.sendTo(s, e, Delivery{Stanza: e.Stanza}) {
			e.Settle(Delivered)
			return
		}
		if e.Stanza.IsRequest() {
			e.Refuse(xmpp.ServiceUnavailable(""))
			return
		}
		e.Settle(Dropped)
		return
	}
	if !e.Stanza.IsRequest() {
		e.Settle(Dropped)
		return
	}
	plan := r.plan.Load()
	name, _ := e.Stanza.First()
	handle := plan.accountIQ[name]
	if handle == nil { // as where there is no account
		e.Refuse(xmpp.ServiceUnavailable(""))
		return
	}
	if !e.FromOwn() {
		switch ok, err := r.users.Exists(context.Background(), to.Bare()); {
		case err != nil:
			e.Refuse(Unavailable())
			return
		case !ok:
			handle = plan.nobodyIQ[name]
		}
	}
	if handle != nil {
		handle(e)
	}
	if !e.Settled() {
		e.Refuse(xmpp.ServiceUnavailable(""))
	}
}

// ownOnly refuses a request to an account that only the account itself may make. It comes before all that knows
// something of the account: which ones exist, and whom they have blocked, cannot be told from the answer or its time.
func (r *Router) ownOnly(e *Envelope, to jid.JID) bool {
	if to.IsFull() || !e.Stanza.IsRequest() || e.FromOwn() {
		return false
	}
	name, _ := e.Stanza.First()
	err := r.plan.Load().ownIQ[name]
	if err != nil {
		e.Refuse(err)
	}
	return err != nil
}

// toHost answers what is addressed to a domain of ours itself (RFC 6120 §10.5.2).
func (r *Router) toHost(e *Envelope) {
	switch {
	case e.Stanza.Kind == xmpp.Presence:
		e.Settle(Dropped)
	case e.Stanza.Kind == xmpp.Message:
		e.Refuse(xmpp.ServiceUnavailable(""))
	case !e.Stanza.IsRequest():
		e.Settle(Dropped)
	default:
		plan := r.plan.Load()
		name, _ := e.Stanza.First()
		if handle := plan.hostIQ[name]; handle != nil && e.Stanza.To.IsDomain() {
			handle(e)
		}
		if !e.Settled() {
			e.Refuse(xmpp.ServiceUnavailable(""))
		}
	}
}
