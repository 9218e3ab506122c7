package roster

import (
	"context"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func isSubscription(t xmpp.Type) bool { return t >= xmpp.TypeSubscribe && t <= xmpp.TypeUnsubscribed }

// leaving changes the sender's side of a subscription (RFC 6121 §3, appendix A.2) and sends the stanza on.
func (r *Roster) leaving(e *router.Envelope) {
	if !isSubscription(e.Stanza.Type) {
		return
	}
	user, contact := e.Session.Bare(), e.Stanza.To.Bare()
	if contact.IsZero() || contact == user {
		e.Settle(router.Dropped)
		return
	}
	fx, p, refused, err := r.change(user, contact, e, leaving)
	switch {
	case err != nil:
		r.fail(e, err)
		return
	case refused != nil:
		e.Refuse(refused)
		return
	}
	e.Await(p)
	if !fx.pass {
		e.Settle(router.Dropped)
		return
	}
	// It goes on from here and not after the stage, since what follows must follow it.
	stamped := *e.Stanza
	stamped.From, stamped.To = user, contact // §3.1.2, §3.2.2, §3.3.2: bare addresses
	on := router.Envelope{Stanza: &stamped, Account: e.Account, Durable: e.Durable, Quiet: true, Batch: e.Batch}
	r.router.Route(&on)
	e.Await(on.Pendings...) // also of one that is refused
	switch e.Stanza.Type {
	case xmpp.TypeSubscribed: // §3.1.5
		r.announce(e.Batch, user, contact)
	case xmpp.TypeUnsubscribed: // §3.2.2
		if fx.before.From {
			r.withdraw(e.Batch, user, contact)
		}
	}
	r.changed(e.Batch, user, contact, fx.before, fx.next)
	if on.Outcome == router.Refused {
		e.Refuse(on.Err)
		return
	}
	e.Follow(&on)
}

// arriving changes the recipient's side of a subscription (RFC 6121 §3, appendix A.3).
func (r *Roster) arriving(e *router.Envelope) {
	if !isSubscription(e.Stanza.Type) || e.Stanza.To.IsZero() {
		return
	}
	user, contact := e.Stanza.To.Bare(), e.Stanza.From.Bare()
	if contact.IsZero() || contact == user {
		e.Settle(router.Dropped)
		return
	}
	if len(r.router.Sessions(user)) == 0 {
		switch ok, err := r.users.Exists(context.Background(), user); {
		case err != nil:
			r.fail(e, err)
			return
		case !ok: // §8.5.1: silently
			e.Settle(router.Dropped)
			return
		}
	}
	if r.befriended(e, user, contact) {
		return
	}
	way, settle := r.redeem(user, contact, e.Stanza)
	fx, p, refused, err := r.change(user, contact, e, way)
	if settle != nil {
		settle(err == nil && refused == nil && fx.granted)
	}
	switch {
	case err != nil:
		r.fail(e, err)
		return
	case refused != nil:
		e.Refuse(refused)
		return
	}
	e.Await(p)
	e.Settle(router.Dropped)
	if fx.pass {
		e.Settle(router.Delivered)
	}
	if fx.granted {
		r.post(e.Batch, xmpp.TypeSubscribed, user, contact)
		r.announce(e.Batch, user, contact)
	}
	if settle != nil && fx.granted {
		r.answerInvited(e, user, contact)
	}
	if e.Stanza.Type == xmpp.TypeUnsubscribe && fx.before.From { // §3.3.3
		r.withdraw(e.Batch, user, contact)
	}
	r.changed(e.Batch, user, contact, fx.before, fx.next)
}

// A way is that of a subscription stanza: from the user, to the user, or to a user who has invited the contact.
type way uint8

const (
	leaving way = iota
	arriving
	invited
)

func (w way) step(s State, t xmpp.Type) effect {
	switch w {
	case leaving:
		return s.outbound(t)
	case invited: // as if the user had approved before
		s.Approved, s.PendingIn = true, false
	}
	return s.inbound(t)
}

type changed struct {
	effect
	before State
}

// change takes one step of a state: it stores the new one, gives an arriving stanza to the user's
// resources and tells them about the item, in this order (RFC 6121 §3.1.6, §3.2.3, §3.3.3).
func (r *Roster) change(user, contact jid.JID, e *router.Envelope, w way) (
	changed, *storage.Pending, *xmpp.Error, error) {
	u, err := r.lock(user)
	if err != nil {
		return changed{}, nil, nil, err
	}
	defer r.unlock(u)
	old := u.items[contact]
	before := u.state(contact)
	fx := changed{w.step(before, e.Stanza.Type), before}
	if old.isShared() && fx.next != before {
		if w == leaving {
			return fx, nil, errShared, nil
		}
		// It holds for what there is without the groups, as when the account of the contact goes.
		it := *old
		if e.Stanza.Type != xmpp.TypeSubscribe {
			it.under = old.under.inbound(e.Stanza.Type).next
		}
		p, err := r.put(u, contact, &it, nil, false)
		return changed{effect{next: before, granted: fx.granted}, before}, p, nil, err
	}
	next := fx.next
	var request *xmpp.Stanza
	if next.PendingIn && !before.PendingIn {
		if old == nil && !r.mayWait(u, contact) {
			return fx, nil, xmpp.ResourceConstraint("too many requests wait for an answer"), nil
		}
		small := smallRequest(e.Stanza)
		request = small
		e.Replace(small)
	}
	forget := before.PendingIn && !next.PendingIn
	it := old
	next.PendingIn = false
	switch {
	case old != nil && old.State != next:
		it = &Item{Name: old.Name, Groups: old.Groups, State: next}
	case old == nil && next != State{}: // §3.1.2, §3.1.5, §3.4.2: whoever is dealt with gets an item
		it = &Item{State: next}
		if r.full(u, contact, it) {
			return fx, nil, xmpp.ResourceConstraint("the roster is full"), nil
		}
	}
	p, err := r.put(u, contact, it, request, forget)
	if err != nil {
		return fx, nil, nil, err
	}
	if w != leaving && fx.pass {
		r.deliver(e, user)
	}
	if it != old {
		r.push(e.Batch, u, contact, it)
	}
	return fx, p, nil, nil
}

// mayWait says whether the request of somebody who is not in the roster may wait for an answer, beside those of others.
// Whoever is in the roster may always. The caller holds the roster.
func (r *Roster) mayWait(u *user, contact jid.JID) bool {
	most, all := int64(r.limits().MaxItems), int64(len(u.requests))
	if storage.Fair(most, all, all, 1) {
		return true
	}
	who, own := r.router.Sharer(contact), int64(0)
	for other := range u.requests {
		if r.router.Sharer(other) == who {
			own++
		}
	}
	return storage.Fair(most, all, own, 1)
}

// deliver gives a stanza to the available resources if it is a request (RFC 6121 §3.1.3), else to the
// interested ones (§3.1.6, §3.2.3, §3.3.3).
func (r *Roster) deliver(e *router.Envelope, user jid.JID) {
	for _, s := range r.router.Sessions(user) {
		if s.Presence() != nil || s.Is(router.FlagRoster) && e.Stanza.Type != xmpp.TypeSubscribe {
			s.Send(e.Batch, router.Delivery{Stanza: e.Stanza, Copy: true})
		}
	}
}

// part ends what there was with a contact who has been removed from the roster (RFC 6121 §2.5.2).
func (r *Roster) part(e *router.Envelope, user, contact jid.JID, before State) {
	if before.To || before.PendingOut {
		r.post(e.Batch, xmpp.TypeUnsubscribe, user, contact)
	}
	if before.From {
		r.post(e.Batch, xmpp.TypeUnsubscribed, user, contact)
		r.withdraw(e.Batch, user, contact)
	}
}

func (r *Roster) post(b *router.Batch, t xmpp.Type, user, contact jid.JID) {
	r.router.Emit(&xmpp.Stanza{Kind: xmpp.Presence, Type: t, From: user, To: contact}, b)
}

// announce sends the presence of the user's available resources to a contact.
func (r *Roster) announce(b *router.Batch, user, contact jid.JID) {
	for _, s := range r.router.Sessions(user) {
		if p := s.Presence(); p != nil {
			c := *p
			c.From, c.To = s.Addr(), contact
			r.router.Emit(&c, b)
		}
	}
}

// withdraw tells a contact that the user's available resources are unavailable, which from now on is all it may know.
func (r *Roster) withdraw(b *router.Batch, user, contact jid.JID) {
	for _, s := range r.router.Sessions(user) {
		if s.Presence() != nil {
			r.router.Emit(&xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: s.Addr(), To: contact}, b)
		}
	}
}

// removed ends all subscriptions of a deleted account, so that nobody waits for it (XEP-0077 §3.2),
// and forgets its roster.
func (r *Roster) removed(user jid.JID) error {
	u, err := r.lock(user)
	if err != nil {
		return err
	}
	items, requests := u.items, u.requests
	p, err := r.store.DeleteOwner(context.Background(), user.String())
	if err == nil {
		u.loaded, u.size, u.requests = false, 0, nil
	}
	r.unlock(u)
	if err != nil {
		return err
	}
	e := router.Envelope{Batch: new(router.Batch)}
	for contact, it := range items {
		r.part(&e, user, contact, it.State)
	}
	for contact := range requests {
		r.post(e.Batch, xmpp.TypeUnsubscribed, user, contact)
	}
	e.Batch.Flush()
	return p.Wait(context.Background())
}
