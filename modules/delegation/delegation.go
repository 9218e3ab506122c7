// Package delegation has components of this server answer in its place (XEP-0355, admin mode): requests with payloads
// of the namespaces that the administrator gives them, to a host or to the bare addresses of accounts there. The
// component is handed the request as it came, and says what is answered; whoever asked sees no difference. What it says
// of its features stands in what the host and its accounts say of theirs, in place of those of the module that is not
// asked (§7.2).
//
// A component that asks itself, or by a privilege for a user (package privilege), is answered by the server (§4.3.1).
// Which namespaces are never a component's is said by package config.
//
// Where there are several nodes, what is delegated to a component is handed to it, and waits, at the home of its domain
// (nodes.go); what it says of itself is in storage, where all nodes read it.
//
// Left out: client mode (§5), where users choose components for themselves.
package delegation

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"jackdaw/config"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	ns = "urn:xmpp:delegation:2"
	// bare begins what is delegated of the disco of accounts beside namespaces (§7.2.4, §7.2.5).
	bare = ns + ":bare:"
)

var delegationName = xmpp.Name{Space: ns, Local: "delegation"}

// Options of New; all are needed.
type Options struct {
	Router *router.Router
	// Hosts are those that are served, and Delegations what each component answers; both are asked whenever it matters.
	Hosts       func() []string
	Delegations func() map[string]config.Delegation
	// Store is of this module alone; only nodes use it.
	Store storage.Map
	Log   *slog.Logger
}

// A Delegations is the module. It is safe for concurrent use.
type Delegations struct {
	o       Options
	version atomic.Uint64 // of nested

	mu    sync.Mutex // guards the rest
	asked map[string]*request
	of    map[string]int // how many requests of a component, and of whoever asks, wait for an answer
	told  map[place]bool // who has been told that something is delegated
	// nested is what components say of themselves.
	nested map[description][]*xmpp.Element

	reading sync.Mutex        // held while storage is read; it guards read
	read    map[string]*board // by host
}

// A place is a component at a host.
type place struct{ component, host string }

// A description is what a component says of itself for a namespace: as a host, or as an account of it.
type description struct {
	place
	namespace string
	account   bool
}

// node is where it is asked for (§7.2.1, §7.2.2).
func (d *description) node() string {
	if d.account {
		return bare + d.namespace
	}
	return ns + "::" + d.namespace
}

// Of makes the module of a server.
func Of(p parts.Parts) *Delegations {
	on := p.Switch("delegation")
	return New(Options{Router: p.Router, Log: p.Log, Store: p.Store.Map("delegation"),
		Hosts: func() (all []string) {
			for _, h := range p.Config().Hosts {
				all = append(all, h.Domain)
			}
			return all
		},
		Delegations: func() map[string]config.Delegation {
			if !on.On() {
				return nil
			}
			return p.Config().Component.Delegations
		}})
}

// New returns the module.
func New(o Options) *Delegations {
	return &Delegations{o: o, asked: map[string]*request{}, of: map[string]int{}, told: map[place]bool{},
		nested: map[description][]*xmpp.Element{}, read: map[string]*board{}}
}

// Module says where it takes part.
func (d *Delegations) Module() router.Module {
	return router.Module{
		Name:      "delegation",
		Specs:     []router.Spec{{Name: "XEP-0355", Version: "0.5", Note: "admin mode"}},
		Features:  []string{ns}, // §7.1
		Delegated: d.delegated,
		Serving:   d.handed,
		Moved:     d.moved,
		Portable: []router.Portable{{Spaces: []string{"map delegation"},
			Stays: "it is what components of this server say of themselves"}},
	}
}

// delegated says who takes an IQ to a host, or to the bare address of an account.
func (d *Delegations) delegated(e *router.Envelope, to jid.JID) func(*router.Envelope) {
	s := e.Stanza
	if s.IsAnswer() {
		if to.IsDomain() && strings.HasPrefix(s.ID, idPrefix) {
			return d.answered
		}
		return nil
	}
	all := d.o.Delegations()
	if len(all) == 0 || !s.IsRequest() {
		return nil
	}
	name, ok := s.First()
	if !ok {
		return nil
	}
	component, attributes := whose(all, to.Domain(), name.Space)
	if component == "" || component == e.Component || len(attributes) > 0 && !hasAll(s.Child(name), attributes) {
		return nil
	}
	return func(e *router.Envelope) { d.forward(e, to, component) }
}

// whose component it is that answers for a namespace at a host, and with which attributes; "" if nobody's.
func whose(all map[string]config.Delegation, host, namespace string) (component string, attributes []string) {
	for domain, v := range all {
		if attributes, ok := v.Namespaces[namespace]; ok && v.Of(host) {
			return domain, attributes
		}
	}
	return "", nil
}

// hasAll says whether a payload has these attributes (§4.1).
func hasAll(payload *xmpp.Element, attributes []string) bool {
	return payload != nil && !slices.ContainsFunc(attributes, func(a string) bool { return !payload.HasAttr(a) })
}

// Delegated says whether a component answers for a namespace at a host.
func (d *Delegations) Delegated(host, namespace string) bool {
	component, _ := whose(d.o.Delegations(), host, namespace)
	return component != ""
}

// Rest has a component answer a request to an account for a node that nobody here has, or for its nodes: query is
// disco#info or disco#items (§7.2.4, §7.2.5). It is false if no component does.
func (d *Delegations) Rest(e *router.Envelope, query string) bool {
	to := e.Stanza.To
	if to.IsZero() {
		to = e.Session.Bare()
	}
	_, short, _ := strings.Cut(query, "disco#")
	component, _ := whose(d.o.Delegations(), to.Domain(), bare+"disco#"+short+":*")
	if component == "" || component == e.Component {
		return false
	}
	d.forward(e, to, component)
	return true
}

// Connected tells a component what it answers (§4.2), by each host, and asks what it is (§7.2).
func (d *Delegations) Connected(component string) {
	v := d.o.Delegations()[component]
	for _, host := range d.o.Hosts() {
		if len(v.Namespaces) > 0 && v.Of(host) {
			d.tell(place{component, host}, &v)
		}
	}
}

// Reloaded tells components what they answer from now on.
func (d *Delegations) Reloaded() {
	all := d.o.Delegations()
	for _, host := range d.o.Hosts() {
		d.learn(host, 0)
	}
	d.mu.Lock()
	var ended []place
	for p := range d.told {
		if v := all[p.component]; len(v.Namespaces) == 0 || !v.Of(p.host) || !slices.Contains(d.o.Hosts(), p.host) {
			ended = append(ended, p)
			delete(d.told, p)
		}
	}
	stale := map[string][]storage.Change{} // by host
	for one := range d.nested {
		v := all[one.component]
		if _, still := v.Namespaces[one.namespace]; !still || !v.Of(one.host) {
			delete(d.nested, one)
			d.version.Add(1)
			if !d.o.Router.Alone() && d.o.Router.Here(one.component) {
				stale[one.host] = append(stale[one.host], storage.Change{Key: one.key(), Delete: true})
			}
		}
	}
	d.mu.Unlock()
	for host, changes := range stale {
		d.write(host, changes...)
	}
	for _, p := range ended {
		d.advertise(p, nil)
	}
	for component := range all {
		if d.o.Router.Here(component) { // else it is not connected here
			d.Connected(component)
		}
	}
}

// tell says to a component what it answers, and asks what it is.
func (d *Delegations) tell(p place, v *config.Delegation) {
	d.mu.Lock()
	d.told[p] = true
	d.mu.Unlock()
	d.advertise(p, v.Namespaces)
	for namespace := range v.Namespaces {
		if !strings.HasPrefix(namespace, bare) {
			d.inquire(description{p, namespace, false})
			d.inquire(description{p, namespace, true})
		}
	}
}

func (d *Delegations) advertise(p place, namespaces map[string][]string) {
	w := xmpp.NewWriter(nil).Start(ns, "delegation")
	all := make([]string, 0, len(namespaces))
	for namespace := range namespaces {
		all = append(all, namespace)
	}
	slices.Sort(all)
	for _, namespace := range all {
		w.Start("", "delegated").Attr("namespace", namespace)
		for _, a := range namespaces[namespace] {
			w.Start("", "attribute").Attr("name", a).End()
		}
		w.End()
	}
	s := xmpp.Stanza{Kind: xmpp.Message, From: jid.MustParse(p.host), To: jid.MustParse(p.component),
		Payload: w.End().Bytes()}
	d.o.Router.Emit(&s, nil)
}
