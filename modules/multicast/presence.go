package multicast

import (
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// maxShown is how many addresses a session may have shown itself to through the service.
const maxShown = 1000

// presence sends directed presence to many (§5.1).
func (m *module) presence(e *router.Envelope) {
	switch e.Stanza.Type {
	case xmpp.TypeAvailable, xmpp.TypeUnavailable:
	default: // a subscription is made with one contact, whose server keeps it
		e.Settle(router.Dropped)
		return
	}
	if !listed(e.Stanza) {
		if e.Stanza.Type == xmpp.TypeUnavailable && e.Peer == "" {
			m.gone(e.Stanza.From, e.Stanza, e.Batch)
		}
		e.Settle(router.Dropped)
		return
	}
	l := m.list(e)
	if l == nil {
		return
	}
	if !m.note(e.Stanza.From, l.to, e.Stanza.Type == xmpp.TypeAvailable) {
		e.Refuse(xmpp.ResourceConstraint("too many addresses have been sent presence"))
		return
	}
	m.send(e, l)
}

func listed(s *xmpp.Stanza) bool {
	return s.Has(xmpp.Name{Space: xmpp.NSAddress, Local: "addresses"}) ||
		s.Has(xmpp.Name{Space: xmpp.NSClient, Local: "addresses"})
}

// note remembers who sees somebody from now on, or no longer does. It says whether there was room for all.
func (m *module) note(whose jid.JID, to []recipient, available bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.shown[whose]
	if !available {
		for _, r := range to {
			delete(all, r.to)
		}
		if len(all) == 0 {
			delete(m.shown, whose)
		}
		return true
	}
	n := len(all)
	for _, r := range to {
		if _, known := all[r.to]; !known {
			n++
		}
	}
	if n > maxShown {
		return false
	}
	if all == nil {
		all = map[jid.JID]struct{}{}
		m.shown[whose] = all
	}
	for _, r := range to {
		all[r.to] = struct{}{}
	}
	return true
}

// leaving tells those who saw a session when it is no longer available.
func (m *module) leaving(e *router.Envelope) {
	if e.Stanza.Type == xmpp.TypeUnavailable && e.Stanza.To.IsZero() {
		m.gone(e.Session.Addr(), e.Stanza, e.Batch)
	}
}

// ended is leaving for a session that did not say so itself.
func (m *module) ended(s *router.Session, _ *xmpp.Stanza) {
	if other := m.Router.Session(s.Addr()); other != nil && other.Presence() != nil {
		return // another one is available under this address by now, and will be told of when it ends
	}
	m.gone(s.Addr(), &xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable}, nil)
}

// gone sends unavailable presence to all who have seen available presence through the service.
func (m *module) gone(whose jid.JID, p *xmpp.Stanza, b *router.Batch) {
	m.mu.Lock()
	all := m.shown[whose]
	delete(m.shown, whose)
	m.mu.Unlock()
	head := *p
	head.From = whose
	env := router.Envelope{Batch: b}
	for to := range all {
		if m.Blocks(whose.Bare(), to) {
			continue
		}
		head.To = to
		env.Reset()
		env.Stanza, env.Account, env.Quiet = &head, whose.Bare(), true
		m.Router.Route(&env)
	}
}
