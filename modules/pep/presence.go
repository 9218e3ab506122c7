package pep

import (
	"sync/atomic"

	"jackdaw/modules/internal/pubsub"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A watch is what the client behind an address wants.
type watch struct {
	caps capability               // as its presence says
	raw  string                   // the same as XML, for sessions of ours; cut short where it is long
	in   atomic.Pointer[interest] // nil until that is known
}

// maxRaw is the longest XML of a capability that need not be read again.
const maxRaw = 1 << 10

func (w *watch) wants(node string) bool {
	in := w.in.Load()
	return in != nil && in.has(node)
}

// here holds what our available sessions want.
type here struct {
	sessions table[*router.Session, *watch]
	nothing  watch // of all who say nothing of what they can do
}

// of is nil for a session that is not available.
func (h *here) of(s *router.Session) *watch {
	w, _ := h.sessions.load(s)
	return w
}

func (h *here) wants(s *router.Session, node string) bool {
	w := h.of(s)
	return w != nil && w.wants(node)
}

// leaving learns what the client wants from the presence that it broadcasts, and sends it the last items of its own
// nodes and of its contacts' at our hosts when it comes, or says that it wants more than before (XEP-0163 §4.3.3).
func (p *PEP) leaving(e *router.Envelope) {
	if e.Stanza.Type == xmpp.TypeAvailable {
		p.stamp(e)
	}
	if !e.Stanza.To.IsZero() {
		return
	}
	s := e.Session
	switch e.Stanza.Type {
	case xmpp.TypeUnavailable:
		p.here.sessions.remove(s)
	case xmpp.TypeAvailable:
		raw := e.Stanza.ChildBytes(capsName)
		old := p.here.of(s)
		if old != nil && old.raw == string(raw) && len(raw) <= maxRaw && s.Presence() != nil {
			return // as nearly always
		}
		c := capabilityOf(raw)
		if old != nil && old.caps == c && s.Presence() != nil {
			return
		}
		w := &p.here.nothing
		if len(raw) > 0 {
			w = &watch{caps: c, raw: string(raw[:min(len(raw), maxRaw+1)])}
		}
		p.here.sessions.swap(s, w)
		if s.Presence() == nil {
			old = nil
		}
		p.caps.learn(c, s.Addr(), s.Bare(), func(b *router.Batch, in *interest) {
			if p.here.of(s) == w {
				w.in.Store(in)
				p.welcome(b, s, in.beyond(old))
			}
		}, e.Batch)
	}
}

// welcome sends a session of ours the last items of what it wants.
func (p *PEP) welcome(b *router.Batch, s *router.Session, in *interest) {
	if in.empty() {
		return
	}
	contacts, err := p.o.Contacts.Subscribers(s.Bare()) // who sees the session
	if err != nil {
		p.o.Log.Warn("a session is not sent all last items", "session", s.Addr(), "error", err)
	}
	size := router.AddressSize * len(contacts)
	p.bring(b, s, size, p.engine.Greet(s.Bare(), s.Addr(), in.has), func() *pubsub.Greeting {
		for len(contacts) > 0 {
			of := contacts[0]
			contacts = contacts[1:]
			if p.o.Router.IsHome(of) { // others greet it themselves when they learn that it is there
				return p.engine.Greet(of, s.Addr(), in.has)
			}
		}
		return nil
	})
}

// bring brings a session of ours a greeting and those that next returns behind it, as long as it is available. next
// holds about size bytes.
func (p *PEP) bring(
	b *router.Batch, s *router.Session, size int, greeting *pubsub.Greeting, next func() *pubsub.Greeting,
) {
	s.Bring(b, jid.JID{}, size, func(b *router.Batch) bool {
		more, err := greeting.Step(b)
		switch {
		case err != nil:
			p.o.Log.Warn("a session is not sent all last items", "session", s.Addr(), "error", err)
			return false
		case s.Presence() == nil && p.here.of(s) == nil:
			return false
		case !more:
			greeting = next()
		}
		return greeting != nil
	})
}

// meet sends the sessions of a contact the last items of a user that they want, now that they may have more than
// before.
func (p *PEP) meet(b *router.Batch, user, contact jid.JID,
	greet func(of, to jid.JID, wants func(node string) bool) *pubsub.Greeting) {
	for _, s := range p.o.Router.Sessions(contact) {
		if w := p.here.of(s); w != nil && !w.in.Load().empty() {
			p.bring(b, s, 0, greet(user, s.Addr(), w.in.Load().has), func() *pubsub.Greeting { return nil })
		}
	}
	for _, one := range p.remote.of(user, contact) {
		if in := one.watch.in.Load(); !in.empty() {
			p.send(b, greet(user, one.full, in.has))
		}
	}
}

// send sends a contact elsewhere a greeting; what waits for its server is bounded there.
func (p *PEP) send(b *router.Batch, greeting *pubsub.Greeting) {
	if err := greeting.All(b); err != nil {
		p.o.Log.Warn("a contact is not sent the last items", "error", err)
	}
}

// arriving learns what a contact of another server, or of another node, wants from the presence that it sends one of
// our users.
func (p *PEP) arriving(e *router.Envelope) {
	if !e.Account.IsZero() && !(e.Carried && e.Account == e.Stanza.From.Bare()) ||
		e.Stanza.Type != xmpp.TypeAvailable && e.Stanza.Type != xmpp.TypeUnavailable ||
		!e.Stanza.From.IsFull() || p.o.Router.IsHome(e.Stanza.From) {
		return
	}
	user, from := e.Stanza.To.Bare(), e.Stanza.From
	if e.Stanza.Type == xmpp.TypeUnavailable {
		p.remote.gone(user, from)
		return
	}
	c := capabilityOf(e.Stanza.ChildBytes(capsName))
	if c.ver == "" {
		p.remote.gone(user, from)
		return
	}
	if shows, err := p.shows(from.Bare(), user); err != nil || !shows {
		return
	}
	online := len(p.o.Router.Sessions(user)) > 0
	w, old, fresh := p.remote.come(user, from, c, online)
	if !fresh {
		return
	}
	from, user = clone(from), clone(user)
	p.caps.learn(c, from, user, func(b *router.Batch, in *interest) {
		w.in.Store(in)
		if in = in.beyond(old); in.empty() {
			return
		}
		p.send(b, p.engine.Greet(user, from, in.has))
	}, e.Batch)
}

// ended forgets what a session wanted and, with the last one, what the user's contacts want.
func (p *PEP) ended(s *router.Session, _ *xmpp.Stanza) {
	p.here.sessions.remove(s)
	if len(p.o.Router.Sessions(s.Bare())) == 0 {
		p.remote.leave(s.Bare())
		p.hashes.users.remove(s.Bare())
	}
}
