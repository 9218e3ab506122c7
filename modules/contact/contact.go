// Package contact shows the addresses at which those who run a host can be
// reached (XEP-0157), and those at which clients learn why it is away (XEP-0455): forms in the answer to disco#info of
// the host.
package contact

import (
	"slices"

	"jackdaw/config"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/xmpp"
)

// Contact is the module. It is safe for concurrent use.
type Contact struct{ p parts.Parts }

// Of makes the addresses of a server.
func Of(p parts.Parts) Contact { return Contact{p} }

// Form is that of a host, nil if it has none or the module is off.
func (c Contact) Form(host string) *xmpp.Element {
	if h := c.p.Config().Host(host); h != nil && c.p.Switch("contact").On() {
		return Form(&h.Contact, c.info(host))
	}
	return nil
}

// info is the URI of the node in which a host publishes what it wants known of itself (XEP-0485), which has its place
// in the same form; "" where there is none.
func (c Contact) info(host string) string {
	domain := config.PubSubName + "." + host
	if !c.p.Switch("serverinfo").On() || !c.p.Switch("pubsub").On() ||
		!slices.Contains(c.p.Config().PubSubDomains(), domain) {
		return ""
	}
	return "xmpp:" + domain + "?;node=serverinfo" // XEP-0060 §12.22
}

// OutageForm is that of a host, nil if it has none or the module is off.
func (c Contact) OutageForm(host string) *xmpp.Element {
	if h := c.p.Config().Host(host); h != nil && c.p.Switch("contact").On() {
		return OutageForm(h.Outage)
	}
	return nil
}

// Module returns the module. It takes part in no stage: what it does is in its forms.
func (Contact) Module() router.Module {
	return router.Module{
		Name: "contact",
		Specs: []router.Spec{
			{Name: "XEP-0157", Version: "1.1.1"},
			{Name: "XEP-0455", Version: "0.4.0", Note: "names the documents, which are kept elsewhere"},
		},
	}
}

// Form writes the addresses as a form of type result (XEP-0157 §3, XEP-0128 §2).
// info, if not empty, is where the host publishes more (XEP-0485). It is nil where there are none. The element is the
// caller's.
func Form(c *config.Contact, info string) *xmpp.Element {
	if c == nil {
		return nil
	}
	f := newForm(xmpp.NSServerInfo)
	for _, role := range []struct {
		name      string
		addresses []string
	}{
		{"abuse", c.Abuse}, {"admin", c.Admin}, {"feedback", c.Feedback},
		{"sales", c.Sales}, {"security", c.Security}, {"status", c.Status}, {"support", c.Support},
	} {
		if len(role.addresses) > 0 {
			f.add("list-multi", role.name+"-addresses", role.addresses...)
		}
	}
	if info != "" {
		f.add("text-single", "serverinfo-pubsub-node", info)
	}
	if len(f.x.Content) == 1 {
		return nil
	}
	return f.x
}

// OutageForm writes where outages are told (XEP-0455 §2.1). It is nil where that is nowhere. The element is the
// caller's.
func OutageForm(urls []string) *xmpp.Element {
	if len(urls) == 0 {
		return nil
	}
	f := newForm(xmpp.NSOutage)
	f.add("list-multi", "external-status-addresses", urls...)
	return f.x
}

// A form is one of type result.
type form struct{ x *xmpp.Element }

func newForm(kind string) form {
	f := form{element("x")}
	f.x.Attrs = []xmpp.Attr{attr("type", "result")}
	f.add("hidden", "FORM_TYPE", kind)
	return f
}

func (f form) add(kind, name string, values ...string) {
	field := element("field")
	field.Attrs = []xmpp.Attr{attr("type", kind), attr("var", name)}
	for _, v := range values {
		value := element("value")
		value.Content = []xmpp.Node{{Text: v}}
		field.Content = append(field.Content, xmpp.Node{Elem: value})
	}
	f.x.Content = append(f.x.Content, xmpp.Node{Elem: field})
}

func element(local string) *xmpp.Element {
	return &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSDataForms, Local: local}}
}

func attr(name, value string) xmpp.Attr {
	return xmpp.Attr{Name: xmpp.Name{Local: name}, Value: value}
}
