package roster

import (
	"context"
	"errors"
	"fmt"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// ErrFull is returned by Befriend.
var ErrFull = errors.New("the roster is full")

var preauth = xmpp.Name{Space: xmpp.NSPARS, Local: "preauth"}

// OnToken has f asked of a token in a request for a subscription of a contact to a user (XEP-0379). With ok the request
// is granted without asking the user, and the user asks for the same; settle then learns whether that was so. No roster
// is locked. It must be said before the module is used.
func (r *Roster) OnToken(f func(user, contact jid.JID, token string) (settle func(granted bool), ok bool)) {
	r.invited = f
}

// redeem finds out whether an arriving stanza is a request of somebody who was invited. Without a good token it is a
// request like others, and the token may be one of the user's client (XEP-0379 §4.1).
func (r *Roster) redeem(user, contact jid.JID, s *xmpp.Stanza) (w way, settle func(granted bool)) {
	if s.Type != xmpp.TypeSubscribe || r.invited == nil {
		return arriving, nil
	}
	el := s.Child(preauth)
	if el == nil {
		return arriving, nil
	}
	if has, err := r.Sees(user, contact); err != nil || has { // it needs no token
		return arriving, nil
	}
	settle, ok := r.invited(user, contact, el.Attr("token"))
	if !ok {
		return arriving, nil
	}
	return invited, settle
}

// answerInvited makes the subscription mutual (XEP-0379 §3.5). The client of a contact of ours should have approved
// before (§3.4), and need not: whoever has redeemed an invitation wants to be a contact.
func (r *Roster) answerInvited(e *router.Envelope, user, contact jid.JID) {
	if !r.router.Serves(contact.Domain()) || r.router.IsHome(contact) {
		if r.router.IsHome(contact) {
			r.act(e, xmpp.TypeSubscribed, contact, user)
		}
		r.act(e, xmpp.TypeSubscribe, user, contact)
		return
	}
	for _, one := range [][2]jid.JID{{user, contact}, {contact, user}} {
		p, err := r.Befriend(e.Batch, one[0], one[1])
		if err != nil {
			r.log.Warn("an invited user is no contact", "user", one[0], "contact", one[1], "error", err)
			return
		}
		e.Await(p)
	}
}

// act changes and sends what a client of the user would by such a stanza.
func (r *Roster) act(e *router.Envelope, t xmpp.Type, user, contact jid.JID) {
	on := router.Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.Presence, Type: t, From: user, To: contact}, Batch: e.Batch}
	fx, p, refused, err := r.change(user, contact, &on, leaving)
	switch {
	case err != nil:
		r.log.Warn("roster unavailable", "error", err)
		return
	case refused != nil, fx.before.To && t == xmpp.TypeSubscribe:
		return
	}
	e.Await(p)
	if fx.pass {
		r.post(e.Batch, t, user, contact)
		if t == xmpp.TypeSubscribed {
			r.announce(e.Batch, user, contact)
		}
	}
	r.changed(e.Batch, user, contact, fx.before, fx.next)
}

// Befriend gives a user a contact with both subscriptions, and answers what the contact has asked for; the contact's
// side is not touched. Errors: ErrFull, and the storage's.
func (r *Roster) Befriend(b *router.Batch, bare, contact jid.JID) (*storage.Pending, error) {
	if r.router.Serves(bare.Domain()) && !r.router.IsHome(bare) {
		return r.befriendAtHome(b, bare, contact), nil
	}
	switch ok, err := r.users.Exists(context.Background(), bare); {
	case err != nil:
		return nil, err
	case !ok:
		return nil, fmt.Errorf("befriend %s: there is no such account", bare)
	}
	u, err := r.lock(bare)
	if err != nil {
		return nil, err
	}
	before := u.state(contact)
	it := &Item{State: State{To: true, From: true}}
	if old := u.items[contact]; old != nil {
		it.Name, it.Groups = old.Name, old.Groups
		if old.isShared() {
			it.share(old.sharedGroups(), true, bothWays)
		}
	}
	if r.full(u, contact, it) {
		r.unlock(u)
		return nil, fmt.Errorf("befriend %s: %w", bare, ErrFull)
	}
	p, err := r.put(u, contact, it, nil, before.PendingIn)
	if err == nil && before != it.State {
		r.push(b, u, contact, it) // RFC 6121 §2.1.6
	}
	r.unlock(u)
	if err != nil {
		return nil, err
	}
	r.announce(b, bare, contact)
	r.changed(b, bare, contact, before, it.State)
	return p, nil
}

// befriendAtHome has Befriend done where a user is at home: what asks for it is a request that answers an invitation.
func (r *Roster) befriendAtHome(b *router.Batch, bare, contact jid.JID) *storage.Pending {
	on := router.Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeSubscribe, From: contact, To: bare,
		Payload: []byte("<preauth xmlns='" + xmpp.NSPARS + "'/>")}, Own: true, Quiet: true, Durable: true, Batch: b}
	r.router.Route(&on)
	return storage.Join(on.Pendings...)
}

// befriended does what befriendAtHome asks for, and says whether a stanza is such a request: only a server of ours says
// of its own that somebody was invited.
func (r *Roster) befriended(e *router.Envelope, user, contact jid.JID) bool {
	if !e.Own || e.Stanza.Type != xmpp.TypeSubscribe || e.Stanza.Child(preauth) == nil {
		return false
	}
	p, err := r.Befriend(e.Batch, user, contact)
	if err != nil {
		r.fail(e, err)
		return true
	}
	e.Await(p)
	e.Settle(router.Dropped)
	return true
}
