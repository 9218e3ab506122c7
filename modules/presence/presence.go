// Package presence tells contacts who is there: initial, later and final presence (RFC 6121
// §4.2, §4.4, §4.5), probes (§4.3), directed presence (§4.6) and priorities (§4.7.2.3).
//
// What a session last broadcast lives with the session, in the router. Here is only to whom
// a session has sent directed presence. Who may see whom is the roster's business, asked
// through Contacts. Left out: the time of a presence in the answer to a probe.
package presence

import (
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Contacts knows who may see whom. Addresses are bare; slices are not changed by either side.
type Contacts interface {
	// Subscribers are those who may see the user's presence, Subscriptions those whose presence the user may see.
	Subscribers(user jid.JID) ([]jid.JID, error)
	Subscriptions(user jid.JID) ([]jid.JID, error)
	// Sees says whether the other may see the user's presence.
	Sees(user, other jid.JID) (bool, error)
	// Requests are those whose subscription requests wait for the user's answer, Request is what one of them asks; nil
	// if that has been answered.
	Requests(user jid.JID) ([]jid.JID, error)
	Request(user, other jid.JID) (*xmpp.Stanza, error)
}

// Blocks says whether a user has blocked an address (XEP-0191). It is asked for every contact of a broadcast.
type Blocks func(user, other jid.JID) bool

// maxDirected is how many addresses a session may have shown itself to beyond its roster.
const maxDirected = 1000

type module struct {
	router   *router.Router
	contacts Contacts
	blocks   Blocks
	log      *slog.Logger
	directed sync.Map // *router.Session → *directed
}

// directed is to whom a session has sent available presence by name (RFC 6121 §4.6.2): true until it has taken that
// back.
type directed struct {
	mu sync.Mutex // guards to
	to map[jid.JID]bool
}

// New returns the module. Without blocks nobody is blocked.
func New(r *router.Router, contacts Contacts, blocks Blocks, log *slog.Logger) router.Module {
	if blocks == nil {
		blocks = func(_, _ jid.JID) bool { return false }
	}
	m := &module{router: r, contacts: contacts, blocks: blocks, log: log}
	return router.Module{
		Name:     "presence",
		Specs:    []router.Spec{{Name: "RFC 6121 §4"}},
		Leaving:  router.Stage{Presence: m.leaving},
		Arriving: router.Stage{Presence: m.arriving},
		Wanted:   m.wanted,
		Ended:    m.ended,
	}
}

func (m *module) leaving(e *router.Envelope) {
	to := e.Stanza.To
	switch e.Stanza.Type {
	case xmpp.TypeInvalid: // §4.7.1
		e.Refuse(xmpp.BadRequest("a type of presence that does not exist"))
	case xmpp.TypeAvailable:
		if !to.IsZero() {
			m.direct(e)
			return
		}
		m.available(e)
	case xmpp.TypeUnavailable:
		if !to.IsZero() {
			m.undirect(e.Session, to)
			return
		}
		m.unavailable(e)
	default:
		if to.IsZero() {
			e.Settle(router.Dropped)
		}
	}
}

// available broadcasts presence, and what belongs to the first one (RFC 6121 §4.2.2, §4.4.2).
func (m *module) available(e *router.Envelope) {
	priority, ok := priorityOf(e.Stanza)
	if !ok { // §4.7.2.3
		e.Refuse(xmpp.BadRequest("the priority is not a number from -128 to 127"))
		return
	}
	s := e.Session
	owned := e.Stanza.Clone()
	owned.From, owned.To = s.Addr(), jid.JID{}
	initial := m.router.SetPresence(s, &owned, priority)
	m.broadcast(e.Batch, s, &owned, true)
	if initial {
		m.welcome(e.Batch, s)
	}
	e.Settle(router.Delivered)
}

// priorityOf reads the priority (RFC 6121 §4.7.2.3).
func priorityOf(p *xmpp.Stanza) (int8, bool) {
	el := p.Child(xmpp.Name{Space: xmpp.NSClient, Local: "priority"})
	if el == nil {
		return 0, true
	}
	n, err := strconv.ParseInt(strings.TrimSpace(el.Text()), 10, 8)
	return int8(n), err == nil
}

// welcome brings a newly available session what others had said before.
func (m *module) welcome(b *router.Batch, s *router.Session) {
	for _, other := range m.router.Sessions(s.Bare()) { // §4.2.2
		if p := other.Presence(); p != nil && other != s {
			head := *p
			head.To = s.Addr()
			s.Send(b, router.Delivery{Stanza: &head, Copy: true})
		}
	}
	list, err := m.contacts.Subscriptions(s.Bare())
	if err != nil {
		m.log.Warn("nobody is probed", "user", s.Bare(), "error", err)
	}
	var env router.Envelope
	var probe xmpp.Stanza
	m.bring(b, s, list, func(b *router.Batch, contact jid.JID) { // §4.3.1
		if m.router.IsHome(contact) && !m.present(contact) || m.blocks(s.Bare(), contact) {
			return // of a user of ours who is away there is nothing to say
		}
		probe = xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeProbe, From: s.Addr(), To: contact}
		env.Batch = b
		m.route(&env, &probe, s.Bare())
	})
	requests, err := m.contacts.Requests(s.Bare())
	if err != nil {
		m.log.Warn("subscription requests are not brought", "user", s.Bare(), "error", err)
	}
	m.bring(b, s, requests, func(b *router.Batch, contact jid.JID) { // §3.1.3
		switch request, err := m.contacts.Request(s.Bare(), contact); {
		case err != nil:
			m.log.Warn("a subscription request is not brought", "user", s.Bare(), "error", err)
		case request != nil:
			s.Send(b, router.Delivery{Stanza: request, Copy: true})
		}
	})
}

// bring does something for each contact, as fast as the session takes what comes of it and while it is available.
func (m *module) bring(b *router.Batch, s *router.Session, contacts []jid.JID, do func(*router.Batch, jid.JID)) {
	if len(contacts) == 0 {
		return
	}
	next := 0
	s.Bring(b, jid.JID{}, router.AddressSize*len(contacts), func(b *router.Batch) bool {
		if s.Presence() == nil {
			return false
		}
		do(b, contacts[next])
		next++
		return next < len(contacts)
	})
}

// present says whether a user of ours has an available session.
func (m *module) present(user jid.JID) bool {
	for _, s := range m.router.Sessions(user) {
		if s.Presence() != nil {
			return true
		}
	}
	return false
}

// broadcast sends a session's presence to those who may see it and to the user's
// available sessions, with echo also to the session itself (RFC 6121 §4.2.2).
func (m *module) broadcast(b *router.Batch, s *router.Session, p *xmpp.Stanza, echo bool) {
	list, err := m.contacts.Subscribers(s.Bare())
	if err != nil {
		m.log.Warn("contacts do not learn of a presence", "user", s.Bare(), "error", err)
	}
	// One head for all: what receives it writes it out before Route returns.
	head := *p
	env := router.Envelope{Batch: b}
	for _, contact := range list {
		if m.blocks(s.Bare(), contact) {
			continue
		}
		head.To = contact
		m.route(&env, &head, s.Bare())
	}
	for _, own := range m.router.Sessions(s.Bare()) {
		if own == s && echo || own != s && own.Presence() != nil {
			head.To = own.Addr()
			own.Send(b, router.Delivery{Stanza: &head, Copy: true})
		}
	}
}

func (m *module) route(env *router.Envelope, p *xmpp.Stanza, user jid.JID) {
	env.Reset()
	env.Stanza, env.Account, env.Quiet = p, user, true
	m.router.Route(env)
}

// unavailable ends the broadcasting (RFC 6121 §4.5.2).
func (m *module) unavailable(e *router.Envelope) {
	s := e.Session
	p := *e.Stanza
	p.From, p.To = s.Addr(), jid.JID{}
	was := s.Presence()
	m.router.SetPresence(s, nil, 0)
	m.gone(e.Batch, s, &p, was != nil, true)
	e.Settle(router.Delivered)
}

// ended is unavailable for a session that did not say so itself (RFC 6121 §4.5.3).
func (m *module) ended(s *router.Session, last *xmpp.Stanza) {
	_, shown := m.directed.Load(s)
	if last == nil && !shown {
		return
	}
	if other := m.router.Session(s.Addr()); other != nil && other.Presence() != nil {
		// Another session is available under this address by now; nobody else is to hear of the change.
		m.directed.Delete(s)
		return
	}
	var b router.Batch
	m.gone(&b, s, &xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: s.Addr()}, last != nil, false)
	b.Flush()
}

// gone sends unavailable presence to all who have seen available presence of a session.
func (m *module) gone(b *router.Batch, s *router.Session, p *xmpp.Stanza, broadcast, echo bool) {
	if broadcast {
		m.broadcast(b, s, p, echo)
	}
	v, shown := m.directed.LoadAndDelete(s)
	if !shown {
		return
	}
	head := *p
	env := router.Envelope{Batch: b}
	d := v.(*directed)
	d.mu.Lock()
	to := d.to
	d.to = nil
	d.mu.Unlock()
	for other, shown := range to { // §4.6.4
		if !shown {
			continue
		}
		if sees, err := m.contacts.Sees(s.Bare(), other.Bare()); broadcast && err == nil && sees {
			continue // has it by the broadcast
		}
		if m.blocks(s.Bare(), other) {
			continue
		}
		head.To = other
		m.route(&env, &head, s.Bare())
	}
}

// direct remembers to whom a session shows itself, and lets the stanza pass (RFC 6121 §4.6.2).
func (m *module) direct(e *router.Envelope) {
	v, ok := m.directed.Load(e.Session)
	if !ok {
		v, _ = m.directed.LoadOrStore(e.Session, &directed{})
	}
	d := v.(*directed)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.to) >= maxDirected && !d.to[e.Stanza.To] {
		maps.DeleteFunc(d.to, func(_ jid.JID, shown bool) bool { return !shown })
	}
	switch {
	case d.to[e.Stanza.To]:
	case len(d.to) >= maxDirected:
		e.Refuse(xmpp.ResourceConstraint("too many addresses have been sent presence"))
	case d.to == nil:
		d.to = map[jid.JID]bool{}
		fallthrough
	default:
		d.to[e.Stanza.To] = true
	}
}

// undirect notes that a session does not show itself to an address any more, from where an answer may come all the
// same, as it does from a room (XEP-0045 §7.14).
func (m *module) undirect(s *router.Session, to jid.JID) {
	if v, ok := m.directed.Load(s); ok {
		d := v.(*directed)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.to[to] {
			d.to[to] = false
		}
	}
}

// wanted says whether a session has asked for the presence of somebody: by a subscription of its user, or by having
// shown itself there, as to a room.
func (m *module) wanted(s *router.Session, e *router.Envelope) bool {
	from := e.Stanza.From.Bare()
	contacts, err := m.contacts.Subscriptions(s.Bare())
	if err != nil || slices.Contains(contacts, from) {
		return true
	}
	v, shown := m.directed.Load(s)
	if !shown {
		return false
	}
	d := v.(*directed)
	d.mu.Lock()
	defer d.mu.Unlock()
	for to := range d.to {
		if to.Bare() == from {
			return true
		}
	}
	return false
}

// An answer is what it takes to answer a probe.
type answer struct {
	env  router.Envelope
	head xmpp.Stanza
}

var answers = sync.Pool{New: func() any { return new(answer) }}

// arriving answers probes (RFC 6121 §4.3.2); the rest is delivered.
func (m *module) arriving(e *router.Envelope) {
	if e.Stanza.Type != xmpp.TypeProbe {
		return
	}
	user, asker := e.Stanza.To.Bare(), e.Stanza.From
	if asker.IsZero() || e.Stanza.To.IsZero() {
		e.Settle(router.Dropped)
		return
	}
	e.Settle(router.Delivered)
	if asker.Bare() != user {
		sees, err := m.contacts.Sees(user, asker.Bare())
		if err != nil {
			m.log.Warn("a probe is not answered", "user", user, "error", err)
			e.Settle(router.Dropped)
			return
		}
		if !sees { // also for a user who does not exist, so that nobody learns who does
			m.router.Emit(&xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnsubscribed, From: user, To: asker.Bare()}, e.Batch)
			return
		}
	}
	// One of each contact of each user who comes; what receives it writes it out before Route returns.
	a := answers.Get().(*answer)
	defer answers.Put(a)
	a.env = router.Envelope{Batch: e.Batch}
	found := false
	for _, s := range m.router.Sessions(user) {
		p := s.Presence()
		if p == nil || e.Stanza.To.IsFull() && e.Stanza.To != s.Addr() {
			continue
		}
		found = true
		a.head = *p
		a.head.To = asker
		m.route(&a.env, &a.head, user)
	}
	a.env, a.head = router.Envelope{}, xmpp.Stanza{}
	if !found {
		m.router.Emit(&xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: e.Stanza.To, To: asker}, e.Batch)
	}
}
