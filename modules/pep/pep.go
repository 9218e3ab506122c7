// Package pep makes a publish-subscribe service of every account (XEP-0163). Those hear of an event without having
// asked who belong to the owner: the owner's sessions, and the contacts that share presence with the owner, as far as
// their clients say in their capabilities (XEP-0115) that they want the node's events.
//
// On top of that it keeps in step what clients of different age store in different places: avatars with vCards
// (XEP-0398), vCards of both kinds (XEP-0292 §10), bookmarks with private storage (XEP-0402 §5.3), and it notes what
// was read (XEP-0490 §4.5).
//
// The engine is modules/internal/pubsub. This package knows who is near to whom and what sessions want, and nothing
// that a user leaves behind in memory when the last session ends. What a remote contact wants is known as long as the
// user is there; for a user who is away there is only a bounded memory of who has been sent the last items, so that a
// contact that changes its status is not sent them again.
//
// Left out: events for strangers who have sent directed presence (XEP-0060 §9.1.3).
package pep

import (
	"log/slog"
	"slices"

	"jackdaw/modules/internal/parts"
	"jackdaw/modules/internal/pubsub"
	"jackdaw/router"
	"jackdaw/storage"
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
	// Groups are those of the user's roster that the other is in.
	Groups(user, other jid.JID) ([]string, error)
}

// Limits bound what a user keeps.
type Limits = pubsub.Limits

// Options of New.
type Options struct {
	Router   *router.Router
	Contacts Contacts
	Blocks   func(user, other jid.JID) bool // XEP-0191
	// Verify says whether an answer to disco#info is the one that a verification string stands for (XEP-0115 §5.4).
	Verify func(info *xmpp.Element, hash, ver string) bool
	// Nodes, Items and Caps are of this module alone.
	Nodes, Items, Caps storage.Map
	Limits             func() Limits
	// Full, if not nil, says that nothing more can be kept for now.
	Full    func() bool
	Photos  Photos  // the vCards' (XEP-0398); nil: there are none
	Private Private // the bookmarks in private storage (XEP-0049); nil: there are none
	Log     *slog.Logger
}

// PEP is the module. It is safe for concurrent use.
type PEP struct {
	parts.Switch
	o      Options
	engine *pubsub.Engine
	caps   caps
	here   here
	remote remote
	hashes hashes
}

// Of makes the eventing of a server. What o says of other modules is kept; the rest is the server's.
func Of(p parts.Parts, o Options) *PEP {
	o.Router, o.Full, o.Log = p.Router, p.Space.Low, p.Log
	o.Nodes, o.Items, o.Caps = p.Store.Map("pep"), p.Store.Map("pep-items"), p.Store.Map("pep-caps")
	o.Limits = func() Limits {
		l := &p.Config().Limits
		return Limits{Nodes: l.PEPNodes, Items: l.PEPItems, ItemBytes: l.PEPItemBytes, Bytes: int64(l.PEPBytes)}
	}
	m := New(o)
	m.Switch = p.Switch("pep")
	return m
}

// New returns the module.
func New(o Options) *PEP {
	p := &PEP{o: o}
	p.caps.init(o)
	p.remote.init(o)
	p.engine = pubsub.New(pubsub.Options{Router: o.Router, Nodes: o.Nodes, Items: o.Items, Profile: profile{p},
		Limits: o.Limits,
		Full:   o.Full, Changed: p.changed, Before: func(node string) bool { return node == nodeCard }, Log: o.Log})
	return p
}

// Module says where eventing takes part: before presence, which settles what a user broadcasts, and before whatever
// keeps messages.
func (p *PEP) Module() router.Module {
	handle := func(e *router.Envelope) {
		p.adopt(e)
		p.engine.Handle(e)
	}
	return router.Module{
		Name: "pep",
		Specs: []router.Spec{
			{Name: "XEP-0048", Version: "1.2"},
			{Name: "XEP-0060", Version: "1.30.0", Note: "at accounts; no collections"},
			{Name: "XEP-0084", Version: "1.1.4"},
			{Name: "XEP-0163", Version: "1.2.2", Note: "no events for directed presence"},
			{Name: "XEP-0222", Version: "1.0"},
			{Name: "XEP-0223", Version: "1.1.1"},
			{Name: "XEP-0292", Version: "0.12.0", Note: "as a node, in step with vcard-temp where everybody may read it"},
			{Name: "XEP-0398", Version: "1.0.0"},
			{Name: "XEP-0402", Version: "1.2.0"},
			{Name: "XEP-0411", Version: "1.1.0"},
			{Name: "XEP-0490", Version: "1.0.1"},
		},
		AccountFeaturesNow: p.features,
		// An address that is nobody's account is answered like an account without nodes.
		IQ: []router.IQ{
			{Payload: pubsub.Payload, Scope: router.Account, Handle: handle, NoAccount: handle},
			{Payload: pubsub.OwnerPayload, Scope: router.Account, Handle: handle, NoAccount: handle},
		},
		Leaving:  router.Stage{Message: p.note, Presence: p.leaving},
		Arriving: router.Stage{Message: p.message, Presence: p.arriving, IQ: p.answer},
		Ended:    p.ended,
		Portable: []router.Portable{
			{Spaces: []string{"map pep", "map pep-items"}, Export: p.engine.Export, Import: p.engine.Sections()},
			{Spaces: []string{"map pep-caps"}, Stays: "what clients can do is learned anew"},
		},
		Moved:   p.engine.Moved,
		Removed: p.engine.Removed,
	}
}

// features are what works with the other modules that take part now.
func (p *PEP) features() []string {
	all := append(pubsub.Features(),
		"http://jabber.org/protocol/pubsub#auto-subscribe",
		"http://jabber.org/protocol/pubsub#filtered-notifications",
		"http://jabber.org/protocol/pubsub#presence-subscribe",
		"http://jabber.org/protocol/pubsub#pubsub-on-a-jid", // XEP-0060 §9
		"urn:ietf:params:xml:ns:vcard-4.0",
		"urn:xmpp:bookmarks:1#compat-pep",
		"urn:xmpp:mds:server-assist:0")
	if p.private() != nil {
		all = append(all, "urn:xmpp:bookmarks:1#compat",
			"urn:xmpp:bookmarks-conversion:0") // XEP-0411 §4: clients of one list are heard by those of the other
	}
	if p.photos() != nil {
		all = append(all, "urn:xmpp:pep-vcard-conversion:0")
	}
	return all
}

// changed keeps in step what belongs together.
func (p *PEP) changed(c pubsub.Change) (wait []*storage.Pending) {
	switch c.Node {
	case nodeAvatarMeta:
		wait = append(wait, p.avatarPublished(c.Batch, c.Service))
	case nodeCard:
		wait = append(wait, p.cardPublished(c.Batch, c.Service, c.Before))
	case nodeBookmarks:
		wait = append(wait, p.collate(c.Batch, c.Service))
	case nodeOldBookmarks:
		wait = append(wait, p.listPublished(c.Batch, c.Service))
	}
	return wait
}

// message takes an owner's answers to subscription requests, and the errors that events come back with.
func (p *PEP) message(e *router.Envelope) {
	switch to := e.Stanza.To; {
	case e.Stanza.Type == xmpp.TypeError:
		if to.IsBare() && p.engine.IsEvent(e.Stanza.ID) {
			if err := p.engine.Bounced(to, e.Stanza.From, e.Stanza.Err()); err != nil {
				p.o.Log.Warn("a subscription does not end", "service", to, "error", err)
			}
			e.Settle(router.Delivered)
		}
	case e.Session == nil || to.IsFull() || !e.FromOwn():
	default:
		is, pending, err := p.engine.Approve(e.Batch, e.Session.Bare(), e.Session.Bare(), e.Stanza)
		switch bad, ok := err.(*xmpp.Error); {
		case ok:
			e.Refuse(bad)
		case err != nil:
			p.o.Log.Warn("a subscription is not decided", "error", err)
			e.Refuse(router.Unavailable())
		case is:
			e.Await(pending)
			e.Settle(router.Delivered)
		}
	}
}

// ContactChanged reckons anew what a contact of a user may have: to be called when the subscriptions between them or
// the contact's groups have changed. gained says that one of the two may see the other's presence that could not
// before.
func (p *PEP) ContactChanged(b *router.Batch, user, contact jid.JID, gained bool) {
	if !p.On() || !p.o.Router.Serves(user.Domain()) {
		return
	}
	if err := p.engine.Revoke(b, user, contact); err != nil {
		p.o.Log.Warn("subscriptions are not reckoned anew", "service", user, "error", err)
	}
	shows, err := p.shows(contact, user)
	switch {
	case err != nil:
		p.o.Log.Warn("a contact is not sent the last items", "service", user, "error", err)
	case !shows:
		p.remote.part(user, contact)
	case gained:
		p.meet(b, user, contact, p.engine.Greet)
	default: // a group that it was in already is no news, and told all the same: that is seldom
		p.meet(b, user, contact, p.engine.GreetGroup)
	}
}

// shows says whether a contact shows a user of ours its presence.
func (p *PEP) shows(contact, user jid.JID) (bool, error) {
	all, err := p.o.Contacts.Subscriptions(user)
	return slices.Contains(all, contact), err
}
