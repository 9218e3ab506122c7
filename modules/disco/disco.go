// Package disco answers who is who and what can be done with them: service discovery (XEP-0030) of the hosts and, on
// behalf of their users, of accounts.
//
// The features of all modules are announced; forms with more information (XEP-0128) come from functions given to New.
// An account is seen by its owner and by whoever may see its presence; all others get the answer of an account that
// does not exist (XEP-0030 §8). The host answers for the node of its capabilities too (XEP-0115 §6.2).
//
// An address at a host of ours that is nobody's account, and in whose name messages were posted, says that it takes
// none (XEP-0506), to whoever asks and whoever sends one. That is remembered in memory, for some thousands of
// addresses, until the server stops, at the homes of the recipients and of the address itself, where whoever writes to
// it is answered; an address that has not been seen as a sender is told nothing about. Items of a host are the services
// below it and those for all hosts; nodes of an account are told of to everybody who may see them.
package disco

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"jackdaw/config"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Roster knows whether a contact may see the presence of a user. Both addresses are bare.
type Roster interface {
	Sees(user, contact jid.JID) (bool, error)
}

// A Form is extended information about a host (XEP-0128): an <x/> of type result in
// jabber:x:data with a hidden FORM_TYPE, or nil for none. It is called for each answer.
type Form func(host string) *xmpp.Element

// Nodes are what accounts keep for others to see (XEP-0060 §5). The user and the asker are bare addresses of which
// nothing is known; the elements are the caller's.
type Nodes interface {
	On() bool // whether there are nodes now
	// Identity is what an account with nodes is, beside being one.
	Identity() *xmpp.Element
	// List returns an <item/> for each node that may be seen, Items one for each item of a node; ok is false if
	// there is no such node for the asker.
	List(user, asker jid.JID) ([]*xmpp.Element, error)
	Items(user, asker jid.JID, node string) (items []*xmpp.Element, ok bool, err error)
	// Info is the <query/> about a node, nil if there is none for the asker.
	Info(user, asker jid.JID, node string) (*xmpp.Element, error)
}

// HostNodes are what a host has beside itself. Both are told who asks, by full address; the elements are the caller's.
type HostNodes interface {
	// Info is the <query/> about a node without its name, nil if there is no such node. Items are its <item/>s; ok is
	// false if there is no such node.
	Info(host string, asker jid.JID, node string) (*xmpp.Element, *xmpp.Error)
	Items(host string, asker jid.JID, node string) (items []*xmpp.Element, ok bool, bad *xmpp.Error)
}

// Options of New.
type Options struct {
	Router *router.Router
	Users  router.Users
	Roster Roster
	// Replies says whether our users' replies to senders that are no accounts are taken by somebody. Nil: they are not.
	Replies func() bool
	Forms   []Form
	Config  func() *config.Config // in force, which Forms may depend on; nil: they do not
	// Shared are the domains of services for all hosts, wherever these are below; nil: there are none.
	Shared    func() []string
	Nodes     Nodes     // of accounts; nil: there are none
	HostNodes HostNodes // nil: there are none
	Nested    Nested    // nil: no component answers in place of modules
	// Node and Ver make the node of the host's capabilities, Node#Ver(info), that the host
	// answers for (XEP-0115 §6.2). An empty Node: no such node.
	Node string
	Ver  func(info *xmpp.Element) string
}

// A Disco answers. It is safe for concurrent use.
type Disco struct {
	o       Options
	senders senders
	told    told

	known atomic.Pointer[announced]
}

// announced is what modules announce, sorted. Immutable.
type announced struct {
	by            []router.Module
	host, account []string
}

// Of makes the answers of a server.
func Of(p parts.Parts, o Options) *Disco {
	o.Router, o.Users, o.Config = p.Router, p.Accounts, p.Config
	o.Shared = func() []string {
		if domain := p.Config().Modules.MUC.Domain; domain != "" {
			return []string{domain}
		}
		return nil
	}
	return New(o)
}

// New returns the answers over a router, which must have got its modules before the first is asked for.
func New(o Options) *Disco { return &Disco{o: o} }

// Module returns the module.
func (d *Disco) Module() router.Module {
	const both = router.Host | router.Account
	return router.Module{
		Name: "disco",
		Specs: []router.Spec{
			{Name: "XEP-0030", Version: "2.5.0"},
			{Name: "XEP-0128", Version: "1.0.1"},
			{Name: "XEP-0506", Version: "0.1.0", Note: "for senders seen since the start"},
		},
		// A host takes no messages to itself (XEP-0506 §4).
		Features:        []string{xmpp.NSDiscoInfo, xmpp.NSDiscoItems, xmpp.NSNoReply},
		AccountFeatures: []string{xmpp.NSDiscoInfo, xmpp.NSDiscoItems},
		IQ: []router.IQ{
			{Payload: infoQuery, Scope: both, Handle: d.info, NoAccount: d.noAccountInfo},
			{Payload: itemsQuery, Scope: both, Handle: d.items, NoAccount: d.noAccountItems},
			{Payload: senderName, Scope: router.Account, Handle: d.hears, NoAccount: d.hears},
		},
		Arriving:  router.Stage{Message: d.message},
		Departing: router.Stage{Message: d.see},
		Serving: func(e *router.Envelope) {
			if e.Stanza.Kind == xmpp.Message {
				d.see(e)
			}
		},
	}
}

var (
	infoQuery  = xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "query"}
	itemsQuery = xmpp.Name{Space: xmpp.NSDiscoItems, Local: "query"}
)

// Info is the host's answer to disco#info without a node. The element is the caller's.
func (d *Disco) Info(host string) *xmpp.Element {
	q := info("server", "im", "jackdaw", d.announcedAt(host).host)
	for _, f := range d.o.Forms {
		if x := f(host); x != nil {
			q.Content = append(q.Content, xmpp.Node{Elem: x})
		}
	}
	d.nest(q, host, false)
	return q
}

// Version is another value whenever Info may answer otherwise: after a change of the configuration, or of the modules.
func (d *Disco) Version() any {
	v := version{modules: first(d.o.Router.Modules())}
	if d.o.Config != nil {
		v.config = d.o.Config()
	}
	if d.o.Nested != nil {
		v.nested = d.o.Nested.Version()
	}
	return v
}

// first tells one list of modules from another.
func first(modules []router.Module) *router.Module {
	if len(modules) == 0 {
		return nil
	}
	return &modules[0]
}

type version struct {
	modules *router.Module
	config  *config.Config
	nested  uint64
}

// announced gathers what the modules announce that are plugged in now.
func (d *Disco) announced() *announced {
	modules := d.o.Router.Modules()
	a := d.known.Load()
	if a != nil && first(a.by) == first(modules) {
		return a
	}
	a = gather(modules)
	d.known.Store(a)
	return a
}

// gather is what modules announce.
func gather(modules []router.Module) *announced {
	a := &announced{by: modules}
	for _, m := range modules {
		a.host = append(a.host, m.Features...)
		a.account = append(a.account, m.AccountFeatures...)
		if m.AccountFeaturesNow != nil {
			a.account = append(a.account, m.AccountFeaturesNow()...)
		}
	}
	slices.Sort(a.host)
	slices.Sort(a.account)
	a.host, a.account = slices.Compact(a.host), slices.Compact(a.account)
	return a
}

func (d *Disco) info(e *router.Envelope) {
	node, ok := get(e, infoQuery)
	switch {
	case !ok:
	case e.Stanza.To.IsDomain():
		if node != "" && d.hostNodeInfo(e, node) {
			return
		}
		q := d.Info(e.Stanza.To.Domain())
		if node != "" && (d.o.Node == "" || node != d.o.Node+"#"+d.o.Ver(q)) {
			e.Refuse(xmpp.ItemNotFound("there is no such node"))
			return
		}
		d.answer(e, q, node)
	case node != "" && d.nodeInfo(e, node):
	case node != "" && !e.Settled() && d.rest(e, xmpp.NSDiscoInfo):
	case !d.mayAsk(e): // §8, rule 1
		if !e.Settled() {
			e.Refuse(xmpp.ServiceUnavailable(""))
		}
	case node != "":
		e.Refuse(xmpp.ItemNotFound("there is no such node"))
	default:
		host := account(e).Domain()
		q := info("account", "registered", "", d.announcedAt(host).account)
		if n := d.nodes(host); n != nil {
			q.Content = slices.Insert(q.Content, 1, xmpp.Node{Elem: n.Identity()})
		}
		d.nest(q, host, true)
		d.answer(e, q, "")
	}
}

// hostNodeInfo answers for a node of a host, if there is such a one.
func (d *Disco) hostNodeInfo(e *router.Envelope, node string) bool {
	if d.o.HostNodes == nil {
		return false
	}
	q, bad := d.o.HostNodes.Info(e.Stanza.To.Domain(), e.Stanza.From, node)
	if bad != nil {
		e.Refuse(bad)
		return true
	}
	if q != nil {
		d.answer(e, q, node)
	}
	return q != nil
}

// hostNodeItems puts the items of a node of a host into q; ok is false if there is no such node, or the request has
// been refused.
func (d *Disco) hostNodeItems(e *router.Envelope, q *xmpp.Element, node string) (ok bool) {
	if d.o.HostNodes == nil {
		return false
	}
	all, ok, bad := d.o.HostNodes.Items(e.Stanza.To.Domain(), e.Stanza.From, node)
	if bad != nil {
		e.Refuse(bad)
		return false
	}
	for _, item := range all {
		q.Content = append(q.Content, xmpp.Node{Elem: item})
	}
	return ok
}

// nodes are those of the accounts of a host; nil: there are none, or a component has them.
func (d *Disco) nodes(host string) Nodes {
	if d.o.Nodes == nil || !d.o.Nodes.On() || d.o.Nested != nil && d.o.Nested.Delegated(host, xmpp.NSPubSub) {
		return nil
	}
	return d.o.Nodes
}

// account is the one that a request is for.
func account(e *router.Envelope) jid.JID {
	if e.Stanza.To.IsZero() {
		return e.Session.Bare()
	}
	return e.Stanza.To.Bare()
}

// nodeInfo answers for a node of an account that the sender may see, if there is such a one.
func (d *Disco) nodeInfo(e *router.Envelope, node string) bool {
	n := d.nodes(account(e).Domain())
	if n == nil {
		return false
	}
	q, err := n.Info(account(e), e.Stanza.From.Bare(), node)
	if err != nil {
		e.Refuse(router.Unavailable())
		return true
	}
	if q != nil {
		d.answer(e, q, node)
	}
	return q != nil
}

// nodeItems puts the nodes of an account that the sender may see into q, or the items of one; ok is false if there is
// no such node for the sender, or the request has been refused.
func (d *Disco) nodeItems(e *router.Envelope, q *xmpp.Element, node string) (ok bool) {
	n := d.nodes(account(e).Domain())
	if n == nil {
		return node == ""
	}
	var all []*xmpp.Element
	var err error
	if ok = true; node == "" {
		all, err = n.List(account(e), e.Stanza.From.Bare())
	} else {
		all, ok, err = n.Items(account(e), e.Stanza.From.Bare(), node)
	}
	if err != nil {
		e.Refuse(router.Unavailable())
		return false
	}
	for _, item := range all {
		q.Content = append(q.Content, xmpp.Node{Elem: item})
	}
	return ok
}

func (d *Disco) noAccountInfo(e *router.Envelope) {
	node, ok := get(e, infoQuery)
	if ok && node != "" && d.rest(e, xmpp.NSDiscoInfo) {
		return
	}
	if ok && node == "" && d.senders.has(e.Stanza.To.Bare()) {
		features := []string{xmpp.NSDiscoInfo, xmpp.NSNoReply}
		if e.Session != nil && d.o.Replies != nil && d.o.Replies() {
			features = features[:1] // XEP-0506 §4: whoever takes messages must not say otherwise
		}
		d.answer(e, info("client", "bot", "", features), "")
	}
}

func (d *Disco) items(e *router.Envelope) {
	node, ok := get(e, itemsQuery)
	if !ok {
		return
	}
	q := &xmpp.Element{Name: itemsQuery}
	to := e.Stanza.To
	found := false
	switch {
	case !to.IsDomain():
		if node == "" && d.rest(e, xmpp.NSDiscoItems) {
			return
		}
		found = d.nodeItems(e, q, node)
		if !found && !e.Settled() && d.rest(e, xmpp.NSDiscoItems) {
			return
		}
	case node == "":
		found = true
	default:
		found = d.hostNodeItems(e, q, node)
	}
	switch {
	case e.Settled():
		return
	case !to.IsDomain() && !d.mayAsk(e): // §8, rule 2: but for what all may see, as if there were no account
		if e.Settled() {
			return
		}
	case !found:
		e.Refuse(xmpp.ItemNotFound("there is no such node"))
		return
	case node != "":
	case to.IsDomain():
		for _, domain := range d.services(to.Domain()) {
			add(q, "item", "jid", domain)
		}
	default:
		if to.IsZero() {
			to = e.Session.Bare()
		}
		for _, s := range d.o.Router.Sessions(to.Bare()) {
			if s.Presence() != nil {
				add(q, "item", "jid", s.Addr().String())
			}
		}
	}
	d.answer(e, q, node)
}

// services are the domains that services answer for below a host, and below no other host of ours between, and those
// for all hosts, sorted.
func (d *Disco) services(host string) []string {
	var below, shared []string
	if d.o.Shared != nil {
		shared = d.o.Shared()
	}
	for domain := range d.o.Router.Services() {
		if slices.Contains(shared, domain) && !d.o.Router.Serves(domain) {
			below = append(below, domain)
			continue
		}
		for up := domain; up != ""; {
			if _, up, _ = strings.Cut(up, "."); d.o.Router.Serves(up) {
				if up == host {
					below = append(below, domain)
				}
				break
			}
		}
	}
	slices.Sort(below)
	return below
}

func (d *Disco) noAccountItems(e *router.Envelope) {
	if node, ok := get(e, itemsQuery); ok && !d.rest(e, xmpp.NSDiscoItems) { // §8, rule 2.1
		d.answer(e, &xmpp.Element{Name: itemsQuery}, node)
	}
}

// mayAsk says whether the sender may know that the account exists. If that cannot be
// found out now, the request is refused.
func (d *Disco) mayAsk(e *router.Envelope) bool {
	if e.FromOwn() {
		return true
	}
	ok, err := d.o.Roster.Sees(e.Stanza.To.Bare(), e.Stanza.From.Bare())
	if err != nil {
		e.Refuse(router.Unavailable())
	}
	return ok && err == nil
}

// see remembers a sender at one of our hosts that may not be an account: the name that an API account posts in
// is also that of the account behind the post. Whether it is one is looked up when that matters.
func (d *Disco) see(e *router.Envelope) {
	from := e.Stanza.From
	if e.Session == nil && e.Stanza.Type != xmpp.TypeError && from.Local() != "" &&
		d.o.Router.Serves(from.Domain()) {
		d.senders.add(from.Bare())
		d.tell(e, from.Bare())
	}
}

// message refuses replies to such a sender.
func (d *Disco) message(e *router.Envelope) {
	d.see(e)
	to := e.Stanza.To
	if e.Stanza.Type == xmpp.TypeError || e.Stanza.Type == xmpp.TypeHeadline || to.IsZero() || !d.senders.has(to.Bare()) {
		return // errors and headlines to nobody are ignored (RFC 6121 §8.5.1)
	}
	// XEP-0506 §4. No more is told than by disco#info; what cannot be looked up goes the way of all.
	if ok, err := d.o.Users.Exists(context.Background(), to.Bare()); err == nil && !ok {
		e.Refuse(xmpp.ServiceUnavailable("this address takes no messages"))
	}
}

// answer sends an answer that names the node that was asked for (§3.2).
func (d *Disco) answer(e *router.Envelope, q *xmpp.Element, node string) {
	if node != "" {
		q.Attrs = append(q.Attrs, attr("node", node))
	}
	d.o.Router.Answer(e, q.Append(nil))
}

// get reads the node of a request; ok is false for one of type set, which has no meaning here.
func get(e *router.Envelope, query xmpp.Name) (node string, ok bool) {
	if e.Stanza.Type != xmpp.TypeGet {
		return "", false
	}
	q := e.Stanza.Child(query)
	if q == nil {
		return "", false
	}
	return q.Attr("node"), true
}

func info(category, kind, name string, features []string) *xmpp.Element {
	q := &xmpp.Element{Name: infoQuery}
	identity := add(q, "identity", "category", category)
	identity.Attrs = append(identity.Attrs, attr("type", kind))
	if name != "" {
		identity.Attrs = append(identity.Attrs, attr("name", name))
	}
	for _, f := range features {
		add(q, "feature", "var", f)
	}
	return q
}

// add puts a child with one attribute into q.
func add(q *xmpp.Element, local, name, value string) *xmpp.Element {
	c := &xmpp.Element{Name: xmpp.Name{Space: q.Name.Space, Local: local}, Attrs: []xmpp.Attr{attr(name, value)}}
	q.Content = append(q.Content, xmpp.Node{Elem: c})
	return c
}

func attr(name, value string) xmpp.Attr {
	return xmpp.Attr{Name: xmpp.Name{Local: name}, Value: value}
}
