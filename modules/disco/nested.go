package disco

import (
	"slices"

	"jackdaw/router"
	"jackdaw/xmpp"
)

// Nested is what components answer in place of modules (XEP-0355).
type Nested interface {
	// Delegated says whether a component answers requests with payloads of a namespace at a host, and for its accounts.
	Delegated(host, namespace string) bool
	// Info is what components say of themselves as a host, or as accounts of it: identities, features and forms. The
	// elements are shared. Version is another value when it may be different.
	Info(host string, account bool) []*xmpp.Element
	Version() uint64
	// Rest has a component answer a request to an account for its nodes, or for one that nobody here has, which query
	// (disco#info or disco#items) is about; false if none does.
	Rest(e *router.Envelope, query string) bool
}

// announcedAt is what is announced at a host: nothing of a module that has a component answer there (XEP-0355 §7.2).
func (d *Disco) announcedAt(host string) *announced {
	if d.o.Nested == nil {
		return d.announced()
	}
	replaced := func(m router.Module) bool {
		return slices.ContainsFunc(m.IQ, func(q router.IQ) bool { return d.o.Nested.Delegated(host, q.Payload.Space) })
	}
	modules := d.o.Router.Modules()
	if !slices.ContainsFunc(modules, replaced) {
		return d.announced()
	}
	return gather(slices.DeleteFunc(slices.Clone(modules), replaced))
}

// nest puts what components say of themselves into an answer, each thing once: what is there twice makes the whole
// ill-formed to those who compute its hash (XEP-0115 §5.4).
func (d *Disco) nest(q *xmpp.Element, host string, account bool) {
	if d.o.Nested == nil {
		return
	}
	type key struct{ name, a, b, lang string }
	of := func(el *xmpp.Element) key {
		switch el.Name.Local {
		case "identity":
			return key{"identity", el.Attr("category"), el.Attr("type"), el.AttrNS(xmpp.NSXML, "lang")}
		case "feature":
			return key{"feature", el.Attr("var"), "", ""}
		}
		for _, f := range el.Children() {
			if v := f.ChildLocal("value"); f.Attr("var") == "FORM_TYPE" && v != nil {
				return key{"form", v.Text(), "", ""}
			}
		}
		return key{"form", "", "", ""}
	}
	have := map[key]bool{}
	identities := 0
	for _, el := range q.Children() {
		have[of(el)] = true
		if el.Name.Local == "identity" {
			identities++
		}
	}
	for _, el := range d.o.Nested.Info(host, account) {
		k := of(el)
		if have[k] {
			continue
		}
		have[k] = true
		at := len(q.Content)
		if k.name == "identity" {
			at, identities = identities, identities+1
		}
		q.Content = slices.Insert(q.Content, at, xmpp.Node{Elem: el})
	}
}

// rest has a component answer for what nobody here knows of an account.
func (d *Disco) rest(e *router.Envelope, query string) bool {
	return d.o.Nested != nil && d.o.Nested.Rest(e, query)
}
