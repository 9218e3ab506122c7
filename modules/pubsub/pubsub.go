// Package pubsub is the publish-subscribe service of a host, at pubsub.<host> (XEP-0060): nodes that nobody's account
// has, such as the comments on what people publish (XEP-0277, XEP-0472), news, or what programs tell each other.
//
// The engine is modules/internal/pubsub, as it is of accounts (package pep). Here many share it: whoever may make nodes
// owns those, and gives others their affiliations. Administrators of the host may do with each node what an owner may,
// but for reading what its owners have closed. Presence and rosters that access models ask for are those of the owners
// of a node that are users of this server; a node whose owners are elsewhere lets nobody in by them.
//
// What a node keeps is its archive too (XEP-0313, XEP-0442).
//
// Left out: what the engine leaves out; nodes as addresses of their own (§4.6.1).
package pubsub

import (
	"log/slog"

	"jackdaw/modules/internal/mam"
	engine "jackdaw/modules/internal/pubsub"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Limits bound what a service keeps.
type Limits = engine.Limits

// Contacts knows who may see whom. Addresses are bare.
type Contacts interface {
	// Sees says whether the other may see the user's presence, Groups in which groups of the user's roster it is.
	Sees(user, other jid.JID) (bool, error)
	Groups(user, other jid.JID) ([]string, error)
}

// Options of New; all but Full are needed.
type Options struct {
	Router   *router.Router
	Contacts Contacts
	// Nodes and Items are of this module alone.
	Nodes, Items storage.Map
	// Domains are those of the service, one for each host. Asked by router.Use.
	Domains func() []string
	Limits  func() Limits
	// Creates says whether somebody, a bare address, may make nodes at a host's service, Administers whether they
	// administer the host.
	Creates, Administers func(host string, who jid.JID) bool
	// Full, if not nil, says that nothing more can be kept for now.
	Full func() bool
	Log  *slog.Logger
}

// Service is the module. It is safe for concurrent use.
type Service struct {
	o       Options
	engine  *engine.Engine
	service *router.Service
	desk    mam.Desk
}

// queriedAtOnce is how many clients' queries to archives are answered at a time.
const queriedAtOnce = 1000

// page is how many items one answer of an archive has at most.
const page = 100

// New returns the module.
func New(o Options) *Service {
	m := &Service{o: o}
	m.desk = mam.Desk{Router: o.Router, Log: o.Log, Limit: func() int { return page }, Most: queriedAtOnce}
	m.engine = engine.New(engine.Options{Router: o.Router, Nodes: o.Nodes, Items: o.Items, Profile: profile{m},
		Shared: true, Limits: o.Limits, Full: o.Full, Log: o.Log})
	m.service = &router.Service{Domains: o.Domains, Handle: m.handle, Home: jid.JID.Domain}
	return m
}

// Module returns the module.
func (m *Service) Module() router.Module {
	return router.Module{
		Name: "pubsub",
		Specs: []router.Spec{
			{Name: "XEP-0060", Version: "1.30.0", Note: "at pubsub.<host>; no collections"},
			{Name: "XEP-0131", Version: "1.2", Note: "only which subscription an event is for"},
			{Name: "XEP-0277", Version: "0.6.5", Note: "feeds at accounts, their comments at the service"},
			{Name: "XEP-0313", Version: "1.1.3", Note: "archives of nodes: what they keep"},
			{Name: "XEP-0442", Version: "0.2.0", Note: "what a node keeps is its archive"},
			{Name: "XEP-0472", Version: "0.2.1", Note: "posts are items; links are not added, bodies neither"},
		},
		Service:  m.service,
		Portable: m.portable(),
		Moved:    m.engine.Moved,
		Removed:  m.removed,
	}
}

// profile says of the service what the engine has to know. It implements engine.Profile.
type profile struct{ *Service }

func (p profile) Owns(service, entity jid.JID) bool {
	return p.o.Administers(HostOf(service.Domain()), entity)
}

func (p profile) Creates(service, entity jid.JID) bool {
	return p.o.Creates(HostOf(service.Domain()), entity)
}

// Sees: of those whose rosters are here.
func (p profile) Sees(owner, entity jid.JID) (bool, error) {
	switch {
	case owner == entity:
		return true, nil
	case !p.o.Router.Serves(owner.Domain()):
		return false, nil
	}
	return p.o.Contacts.Sees(owner, entity)
}

func (p profile) Groups(owner, entity jid.JID) ([]string, error) {
	return p.o.Contacts.Groups(owner, entity)
}

// Blocks: the service has no list of its own; what a subscriber blocks does not arrive.
func (p profile) Blocks(_, _ jid.JID) bool { return false }

// Default is for clients that say nothing: news that everybody may follow.
func (p profile) Default(string) engine.Config {
	return engine.Config{Access: engine.Open, Last: engine.OnSubscription, Persist: true, Deliver: true, Payloads: true,
		TellDelete: true, TellRetract: true, NamePublisher: true}
}

// Implicit: nobody gets events without having subscribed.
func (p profile) Implicit(jid.JID, string, func(jid.JID)) {}

// Resources: the service knows of no presence.
func (p profile) Resources(_, _ jid.JID, _ string) []jid.JID { return nil }

// handle takes what is addressed to the domains of the service.
func (m *Service) handle(e *router.Envelope) {
	s := e.Stanza
	switch {
	case s.From.IsZero(), s.Kind == xmpp.Presence, s.IsAnswer():
		e.Settle(router.Dropped)
	case s.Type == xmpp.TypeError:
		m.bounced(e)
	case !s.To.IsDomain(): // refused by the router
	case s.Kind == xmpp.Message:
		m.message(e)
	case m.proven(e):
		m.iq(e)
	}
}

// proven says whether the sender is the one that it says: a session, or an address of another domain, whose server or
// program has proved it. Anything else in the name of an address here, such as a post over HTTP, changes nothing.
func (m *Service) proven(e *router.Envelope) bool {
	return e.Session != nil || e.Account.IsZero() && !m.o.Router.Serves(e.Stanza.From.Domain())
}

// bounced takes the errors that events come back with.
func (m *Service) bounced(e *router.Envelope) {
	if m.engine.IsEvent(e.Stanza.ID) {
		if err := m.engine.Bounced(e.Stanza.To.Bare(), e.Stanza.From, e.Stanza.Err()); err != nil {
			m.o.Log.Warn("a subscription does not end", "service", e.Stanza.To, "error", err)
		}
	}
	e.Settle(router.Dropped)
}

// message takes the owners' answers to subscription requests (§8.6).
func (m *Service) message(e *router.Envelope) {
	if !m.proven(e) {
		return
	}
	is, pending, err := m.engine.Approve(e.Batch, e.Stanza.To.Bare(), e.Stanza.From.Bare(), e.Stanza)
	switch bad, ok := err.(*xmpp.Error); {
	case ok:
		e.Refuse(bad)
	case err != nil:
		m.o.Log.Warn("a subscription is not decided", "error", err)
		e.Refuse(router.Unavailable())
	case is:
		e.Await(pending)
		e.Settle(router.Delivered)
	}
}

func (m *Service) iq(e *router.Envelope) {
	name, _ := e.Stanza.First()
	switch name {
	case engine.Payload, engine.OwnerPayload:
		m.engine.Handle(e)
	case infoQuery, itemsQuery:
		m.disco(e, name)
	case commandName:
		m.command(e)
	case mam.QueryName, mam.MetadataName:
		m.query(e, name)
	case pingName:
		if e.Stanza.Type == xmpp.TypeGet {
			m.o.Router.Answer(e, nil)
		}
	}
}

// fault is the error for the sender when storage does not answer.
func (m *Service) fault(err error) *xmpp.Error {
	if bad, ok := err.(*xmpp.Error); ok {
		return bad
	}
	m.o.Log.Warn("nodes unavailable", "error", err)
	return router.Unavailable()
}

// removed takes a user whose account is gone out of all nodes.
func (m *Service) removed(user jid.JID) error {
	for _, domain := range m.o.Domains() {
		of, err := jid.New("", domain, "")
		if err != nil {
			return err
		}
		if err := m.engine.Forget(of, user); err != nil {
			return err
		}
	}
	return nil
}
