package delegation

import (
	"slices"
	"strings"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// mostNested bounds what a component says of itself for one namespace, in elements and in bytes.
const mostNested, mostNestedBytes = 200, 64 << 10

var discoInfo = xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "query"}

// inquire asks a component what it is, and keeps the answer (§7.2). What was known before holds until then.
func (d *Delegations) inquire(one description) {
	w := xmpp.NewWriter(nil).Start(xmpp.NSDiscoInfo, "query").Attr("node", one.node()).End()
	s := xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, Payload: w.Bytes()}
	r := &request{place: one.place, answer: func(a *xmpp.Stanza, _ *router.Batch) {
		if a == nil {
			return
		}
		if a.Type != xmpp.TypeResult { // it has no such node, and nothing to say
			d.keep(one, nil)
			return
		}
		all, why := features(a.Child(discoInfo), one.node())
		if why != "" {
			d.o.Log.Warn("what a component says of itself is left out", "component", one.component, "node", one.node(),
				"problem", why)
		}
		d.keep(one, all)
	}}
	_ = d.ask(r, &s, nil) // it is away, and is asked when it comes
}

// features are the identities, features and forms of an answer.
func features(query *xmpp.Element, node string) (all []*xmpp.Element, why string) {
	switch {
	case query == nil:
		return nil, "it is no answer to disco#info"
	case query.HasAttr("node") && query.Attr("node") != node:
		return nil, "it is about another node"
	case len(query.Append(nil)) > mostNestedBytes:
		return nil, "it is too long"
	}
	for _, el := range query.Children() {
		if el.Name.Space == xmpp.NSDiscoInfo && (el.Name.Local == "identity" && el.Attr("category") != "" ||
			el.Name.Local == "feature" && el.Attr("var") != "") ||
			el.Name == (xmpp.Name{Space: xmpp.NSDataForms, Local: "x"}) && el.Attr("type") == "result" { // XEP-0128
			all = append(all, el)
		}
	}
	if len(all) > mostNested {
		return nil, "there is too much in it"
	}
	return all, ""
}

// keep remembers what a component says of itself, as long as it is asked.
func (d *Delegations) keep(one description, all []*xmpp.Element) {
	if component, _ := whose(d.o.Delegations(), one.host, one.namespace); component != one.component {
		return
	}
	if !d.o.Router.Alone() {
		d.write(one.host, storage.Change{Key: one.key(), Value: record(all), Delete: len(all) == 0})
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nested[one] = all
	d.version.Add(1)
}

// Info is what components say of themselves as a host, or as accounts of it. The elements are shared.
func (d *Delegations) Info(host string, account bool) (all []*xmpp.Element) {
	delegations := d.o.Delegations()
	if len(delegations) == 0 {
		return nil
	}
	d.learn(host, 0)
	d.mu.Lock()
	defer d.mu.Unlock()
	var from []description
	for one := range d.nested {
		if v := delegations[one.component]; one.host == host && one.account == account && v.Of(host) {
			if _, ok := v.Namespaces[one.namespace]; ok {
				from = append(from, one)
			}
		}
	}
	slices.SortFunc(from, func(a, b description) int { return strings.Compare(a.namespace, b.namespace) })
	for _, one := range from {
		all = append(all, d.nested[one]...)
	}
	return all
}

// Version is another value whenever Info may answer otherwise, but for a change of the configuration.
func (d *Delegations) Version() uint64 {
	if len(d.o.Delegations()) > 0 {
		for _, host := range d.o.Hosts() {
			d.learn(host, readFor)
		}
	}
	return d.version.Load()
}
