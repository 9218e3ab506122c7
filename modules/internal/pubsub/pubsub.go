// Package pubsub is the engine of publish-subscribe (XEP-0060): nodes with their configuration, items, subscriptions
// and affiliations, the five access models, publish-options, and the events that tell of all this. A Profile
// says whose services these are, who is near to their owners and who gets events without having asked.
//
// A service is locked while it changes and while its events are handed out, so that everybody sees them in the order of
// the changes. What is known of the nodes is kept in memory for the services used last; payloads of items never are.
//
// Items that expire, and subscriptions, are gone for everybody from then on; out of the store they are taken when their
// node is used next.
//
// A service belongs to one owner, as an account does, or many share it (Options.Shared): then each node has owners of
// its own, and nobody takes the place of others: nodes and bytes are counted for whoever has made the node,
// subscriptions for each sharer.
//
// Left out: collections (XEP-0248), of the options of subscriptions digests, bodies and presence, what is asked of a
// deleted node later (its last event says where it went), and what an owner is asked to pay.
package pubsub

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/recent"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Namespaces beside those of package xmpp.
const (
	NSOwner  = "http://jabber.org/protocol/pubsub#owner"
	NSErrors = "http://jabber.org/protocol/pubsub#errors"
	prefix   = "http://jabber.org/protocol/pubsub#" // of the names of features and forms
)

// Payload and OwnerPayload are the requests that Handle answers.
var (
	Payload      = xmpp.Name{Space: xmpp.NSPubSub, Local: "pubsub"}
	OwnerPayload = xmpp.Name{Space: NSOwner, Local: "pubsub"}
)

// Features are what the engine can do, for disco#info of a service (§10).
func Features() []string {
	out := []string{xmpp.NSPubSub, xmpp.NSHeaders}
	for _, f := range []string{
		"access-authorize", "access-open", "access-presence", "access-roster", "access-whitelist", "auto-create",
		"config-node", "config-node-max", "create-and-configure", "create-nodes", "delete-items", "delete-nodes",
		"instant-nodes", "item-ids", "last-published", "leased-subscription", "manage-subscriptions", "member-affiliation",
		"meta-data", "modify-affiliations", "multi-items", "multi-subscribe", "outcast-affiliation", "persistent-items",
		"publish", "publish-node-full", "publish-only-affiliation", "publish-options", "publisher-affiliation",
		"purge-nodes", "retract-items", "retrieve-affiliations", "retrieve-default", "retrieve-default-sub",
		"retrieve-items", "retrieve-subscriptions", "subscribe", "subscription-notifications", "subscription-options",
	} {
		out = append(out, prefix+f)
	}
	return out
}

// A Profile says whose services there are. Addresses are bare unless it is said otherwise. It is called while a service
// is locked, and must not call the engine.
type Profile interface {
	// Owns says whether the entity owns the service and all its nodes. Where many share it, it may then do with each
	// what an owner may, but for reading and publishing.
	Owns(service, entity jid.JID) bool
	// Creates says whether the entity may make nodes.
	Creates(service, entity jid.JID) bool
	// Sees says whether the entity may see the presence of an owner, Groups in which groups of the owner's roster it is.
	Sees(owner, entity jid.JID) (bool, error)
	Groups(owner, entity jid.JID) ([]string, error)
	// Blocks says whether events must not go to the entity.
	Blocks(service, entity jid.JID) bool
	// Default is the configuration of a node that is made without one.
	Default(node string) Config
	// Implicit calls f with the full address of everyone who is to get the node's events without having subscribed, if
	// the access model admits it.
	Implicit(service jid.JID, node string, f func(full jid.JID))
	// Resources are the full addresses at which a subscriber wants the node's events; none: the one it has subscribed.
	Resources(service, subscriber jid.JID, node string) []jid.JID
}

// Limits bound what a service keeps; Nodes, Items and ItemBytes are above 0.
type Limits struct {
	Nodes     int   // of a service
	Items     int   // of a node
	ItemBytes int   // of one payload, as XML
	Bytes     int64 // of a service, with everything that is kept of it; 0: no bound

	// Where many share the service.
	UserNodes     int   // that somebody has made; above 0 there
	UserBytes     int64 // of the items of these; 0: no bound
	Subscriptions int   // of the service, a tenth of that of a node; 0: as many as of one that is somebody's
}

// subscriptions are the bounds of a node and of a service.
func (l *Limits) subscriptions() (most, whole int64) {
	if l.Subscriptions > 0 {
		return int64(max(l.Subscriptions/10, 1)), int64(l.Subscriptions)
	}
	return maxSubscriptions, maxSubscribed
}

// The bounds that nobody has to set.
const (
	maxName          = 1024 // bytes of the name of a node or an item
	maxSubscriptions = 1000 // of a node
	maxSubscribed    = 5000 // of a service
	maxAffiliations  = 1000 // of a node
	maxAnswer        = 400 << 10
	maxExpire        = 10_000_000_000 // seconds
)

// A Change is what has happened to the items of a node.
type Change struct {
	Service jid.JID
	Node    string
	By      jid.JID // bare
	Batch   *router.Batch
	Before  *Item // the item published last until then, if Options.Before wants it
}

// Options of New.
type Options struct {
	Router *router.Router
	// Nodes and Items are of this engine alone.
	Nodes, Items storage.Map
	Profile      Profile
	// Shared says that the service is not one owner's: whoever makes a node owns it.
	Shared bool
	Limits func() Limits
	// Full, if not nil, says that there is no room for more on the disk.
	Full func() bool
	// Changed, if not nil, is called when the items of a node have changed, before the request is answered; the answer
	// waits for what it returns. No service is locked meanwhile. What Publish and Retract do is not told.
	Changed func(c Change) []*storage.Pending
	// Before says of which nodes Changed is told what the last item was; nil: of none.
	Before func(node string) bool
	Log    *slog.Logger
}

// An Engine answers for many services. It is safe for concurrent use.
type Engine struct {
	o     Options
	cache *recent.Cache[*service]
	ids   ids
}

// New returns an engine.
func New(o Options) *Engine {
	g := &Engine{o: o}
	g.cache = g.newCache()
	g.ids.init()
	return g
}

// A request is an IQ on its way through the engine.
type request struct {
	g       *Engine
	e       *router.Envelope
	service jid.JID
	from    jid.JID          // as it came, mostly full
	actor   jid.JID          // bare
	owner   bool             // of the service
	body    *xmpp.Element    // <pubsub/>
	verb    *xmpp.Element    // its child that says what to do
	node    string           // the verb's attribute
	svc     *service         // locked
	changed bool             // items of the node have
	before  *Item            // see Change
	pending *storage.Pending // what the answer waits for
	awaited bool             // a write has been awaited
}

// A verb does what a request asks for; its answer is the payload of the result. The service is locked. The error is
// for the client if it is an *xmpp.Error.
type verb func(g *Engine, r *request) ([]byte, error)

type verbKey struct {
	space, local string
	set          bool
}

var verbs = map[verbKey]verb{
	{xmpp.NSPubSub, "publish", true}:        (*Engine).publish,
	{xmpp.NSPubSub, "retract", true}:        (*Engine).retract,
	{xmpp.NSPubSub, "items", false}:         (*Engine).items,
	{xmpp.NSPubSub, "create", true}:         (*Engine).create,
	{xmpp.NSPubSub, "subscribe", true}:      (*Engine).subscribe,
	{xmpp.NSPubSub, "unsubscribe", true}:    (*Engine).unsubscribe,
	{xmpp.NSPubSub, "options", false}:       (*Engine).options,
	{xmpp.NSPubSub, "options", true}:        (*Engine).setOptions,
	{xmpp.NSPubSub, "default", false}:       (*Engine).defaultOptions,
	{xmpp.NSPubSub, "subscriptions", false}: (*Engine).subscriptions,
	{xmpp.NSPubSub, "affiliations", false}:  (*Engine).affiliations,
	{NSOwner, "configure", false}:           (*Engine).configuration,
	{NSOwner, "configure", true}:            (*Engine).configure,
	{NSOwner, "default", false}:             (*Engine).defaults,
	{NSOwner, "delete", true}:               (*Engine).remove,
	{NSOwner, "purge", true}:                (*Engine).purge,
	{NSOwner, "subscriptions", false}:       (*Engine).subscribers,
	{NSOwner, "subscriptions", true}:        (*Engine).setSubscribers,
	{NSOwner, "affiliations", false}:        (*Engine).affiliated,
	{NSOwner, "affiliations", true}:         (*Engine).setAffiliated,
}

// Handle answers a request to a service: the bare address that it was sent to, or the sender's own. It may also be
// called for a service that does not exist and is nobody's, which it answers like one without nodes.
func (g *Engine) Handle(e *router.Envelope) {
	r := &request{g: g, e: e, service: e.Stanza.To.Bare(), from: e.Stanza.From}
	if r.service.IsZero() {
		r.service = e.Session.Bare()
	}
	if e.Session != nil {
		r.from = e.Session.Addr()
	}
	r.actor = r.from.Bare()
	r.owner = g.o.Profile.Owns(r.service, r.actor)
	payload, err := g.handle(r)
	var refused *xmpp.Error
	var part *partial
	switch {
	case errors.As(err, &refused):
		e.Refuse(refused)
	case errors.As(err, &part):
		g.o.Router.ReplyAfter(e, r.pending, part.reply(e.Stanza))
	case err != nil:
		g.o.Log.Warn("nodes unavailable", "service", r.service, "error", err)
		e.Refuse(router.Unavailable())
	default:
		g.o.Router.AnswerAfter(e, r.pending, payload)
	}
}

func (g *Engine) handle(r *request) ([]byte, error) {
	name, _ := r.e.Stanza.First()
	r.body = r.e.Stanza.Child(name)
	if r.body == nil {
		return nil, xmpp.BadRequest("")
	}
	set := r.e.Stanza.Type == xmpp.TypeSet
	var do verb
	for _, c := range r.body.Children() {
		if c.Name.Space != name.Space || c.Name.Local == "options" && r.body.ChildLocal("subscribe") != nil { // §6.3.7
			continue
		}
		if do = verbs[verbKey{name.Space, c.Name.Local, set}]; do != nil {
			r.verb = c
			break
		}
	}
	if do == nil {
		return nil, xmpp.BadRequest("nothing that can be done with nodes is asked for")
	}
	r.node = r.verb.Attr("node")
	if len(r.node) > maxName {
		return nil, xmpp.NotAcceptable("the name of a node takes 1 KiB at most")
	}
	svc, err := g.lock(r.service)
	if err != nil {
		return nil, err
	}
	r.svc = svc
	payload, err := do(g, r)
	if set && err == nil && !r.awaited { // it was so already: the answer rests on the nodes as they are
		var p *storage.Pending
		p, err = g.put(svc)
		r.await(p)
	}
	copies := svc.copies
	svc.copies = 0
	g.unlock(svc)
	if g.o.Shared && copies > 0 {
		r.e.Budget.Spend(copies * copyCost)
	}
	if err == nil && r.changed && g.o.Changed != nil {
		r.await(g.o.Changed(Change{r.service, r.node, r.actor, r.e.Batch, r.before})...)
	}
	return payload, err
}

// await adds writes that the answer waits for.
func (r *request) await(more ...*storage.Pending) {
	r.pending, r.awaited = storage.Join(append(more, r.pending)...), true
}

// Removed forgets a service with all its nodes; nobody is told.
func (g *Engine) Removed(service jid.JID) error {
	svc, err := g.lock(service)
	if err != nil {
		return err
	}
	var all []*storage.Pending
	for name := range svc.nodes {
		p, err := g.o.Items.DeleteOwner(context.Background(), itemsOwner(service, name))
		if err != nil {
			g.unlock(svc)
			return err
		}
		all = append(all, p)
	}
	p, err := g.o.Nodes.DeleteOwner(context.Background(), service.String())
	if err == nil {
		svc.empty()
		svc.loaded = false
	}
	g.unlock(svc)
	if err != nil {
		return err
	}
	return storage.Join(append(all, p)...).Wait(context.Background())
}

// Forget takes somebody, a bare address, out of a service that many share: subscriptions, affiliations, and the nodes
// that have no other owner.
func (g *Engine) Forget(of, entity jid.JID) error {
	s, err := g.lock(of)
	if err != nil {
		return err
	}
	p, err := g.forget(s, entity)
	g.unlock(s)
	if err != nil {
		return err
	}
	return p.Wait(context.Background())
}

func (g *Engine) forget(s *service, entity jid.JID) (*storage.Pending, error) {
	var all []*storage.Pending
	for _, name := range s.nodesOf(entity) {
		n := s.nodes[name]
		if len(n.owners) == 1 && n.owners[0] == entity {
			p, err := g.erase(nil, s, n, "", s.jid)
			if err != nil {
				return nil, err
			}
			all = append(all, p)
			continue
		}
		for _, who := range addresses(n.subs) {
			if who.Bare() == entity {
				if _, err := g.end(s, n, who); err != nil {
					return nil, err
				}
			}
		}
		p, err := g.put(s, storage.Change{Key: key(keyAffiliation, n.name, entity), Delete: true})
		if err != nil {
			return nil, err
		}
		all = append(all, p)
		s.setAffiliation(n, entity, none)
	}
	return storage.Join(all...), nil
}

// The errors (§12), with what the specification says of each.

func condition(err *xmpp.Error, local string) *xmpp.Error { return err.WithApp(NSErrors, local) }

func unsupported(feature string) *xmpp.Error {
	err := condition(xmpp.FeatureNotImplemented(""), "unsupported")
	err.App.Attrs = []xmpp.Attr{{Name: xmpp.Name{Local: "feature"}, Value: feature}}
	return err
}

func noNode() *xmpp.Error { return xmpp.ItemNotFound("there is no such node") }

func forbidden() *xmpp.Error { return xmpp.Forbidden("").WithType(xmpp.ErrorAuth) }

// existing returns the node that the request names.
func (r *request) existing() (*node, error) {
	if r.node == "" {
		return nil, condition(xmpp.BadRequest("name the node"), "nodeid-required")
	}
	n := r.svc.nodes[r.node]
	if n == nil {
		return nil, noNode()
	}
	return n, r.g.lapse(r.e.Batch, r.svc, n)
}

// owns says whether the node is the requester's to change.
func (r *request) owns(n *node) bool {
	return r.owner || r.svc.shared != nil && n.affs[r.actor] == owner
}

// owned is existing for the owner of the node.
func (r *request) owned() (*node, error) {
	n, err := r.existing()
	if err == nil && !r.owns(n) {
		return nil, forbidden()
	}
	return n, err
}

// form reads the data form in an element; nil for none.
func form(parent *xmpp.Element, kind string) (*forms.Form, error) {
	x := parent.Child(forms.Name)
	if x == nil {
		return nil, nil
	}
	f, err := forms.Parse(x)
	if err != nil {
		return nil, err
	}
	if f.Type != kind {
		return nil, xmpp.BadRequest("a form of another type is needed here")
	}
	return f, nil
}

func now() int64 { return time.Now().UnixMicro() }
