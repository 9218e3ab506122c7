package roster

import "jackdaw/xmpp"

// State is what there is between a user and a contact, from the user's side: the nine states of
// RFC 6121 appendix A.1 and the pre-approval of §3.4.
type State struct {
	To         bool // the user is subscribed to the contact
	From       bool // the contact is subscribed to the user
	PendingOut bool // the user has asked; never together with To
	PendingIn  bool // the contact has asked; never together with From
	Approved   bool // the contact's next request is granted; never together with From or PendingIn
}

// An effect is what a subscription stanza does.
type effect struct {
	next    State
	pass    bool // route it on, or deliver it
	granted bool // answer with 'subscribed' on the user's behalf; inbound only
}

// outbound is what a user's own stanza does: RFC 6121 appendix A.2.
func (s State) outbound(t xmpp.Type) effect {
	n := s
	switch t {
	case xmpp.TypeSubscribe: // A.2.1
		n.PendingOut = !s.To
		return effect{next: n, pass: true}
	case xmpp.TypeUnsubscribe: // A.2.2
		n.To, n.PendingOut = false, false
		return effect{next: n, pass: true}
	case xmpp.TypeSubscribed: // A.2.3
		switch {
		case s.PendingIn:
			n.From, n.PendingIn = true, false
			return effect{next: n, pass: true}
		case !s.From:
			n.Approved = true // §3.4.2: noted, not routed
		}
		return effect{next: n}
	case xmpp.TypeUnsubscribed: // A.2.4
		n.From, n.PendingIn, n.Approved = false, false, false
		return effect{next: n, pass: s.From || s.PendingIn}
	}
	return effect{next: s}
}

// inbound is what a contact's stanza does: RFC 6121 appendix A.3.
func (s State) inbound(t xmpp.Type) effect {
	n := s
	switch t {
	case xmpp.TypeSubscribe: // A.3.1
		switch {
		case s.From: // §3.1.3: has it already
			return effect{next: n, granted: true}
		case s.Approved: // §3.4.2; the approval is used up
			n.From, n.Approved = true, false
			return effect{next: n, granted: true}
		}
		n.PendingIn = true
		return effect{next: n, pass: !s.PendingIn}
	case xmpp.TypeUnsubscribe: // A.3.2
		n.From, n.PendingIn = false, false
	case xmpp.TypeSubscribed: // A.3.3
		if s.PendingOut {
			n.To, n.PendingOut = true, false
		}
	case xmpp.TypeUnsubscribed: // A.3.4
		n.To, n.PendingOut = false, false
	}
	return effect{next: n, pass: n != s}
}

// subscription is the attribute of a roster item (RFC 6121 §2.1.2.5).
func (s State) subscription() string {
	switch {
	case s.To && s.From:
		return "both"
	case s.To:
		return "to"
	case s.From:
		return "from"
	}
	return "none"
}
