// Package contact shows the addresses at which those who run a host can be
// reached (XEP-0157): a form in the answer to disco#info of the host.
package contact

import (
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
		return Form(&h.Contact)
	}
	return nil
}

// Module returns the module. It takes part in no stage: what it does is in Form.
func (Contact) Module() router.Module {
	return router.Module{
		Name:  "contact",
		Specs: []router.Spec{{Name: "XEP-0157", Version: "1.1.1"}},
	}
}

// Form writes the addresses as a form of type result (XEP-0157 §3, XEP-0128 §2).
// It is nil where there are none. The element is the caller's.
func Form(c *config.Contact) *xmpp.Element {
	if c == nil {
		return nil
	}
	form := element("x")
	form.Attrs = []xmpp.Attr{attr("type", "result")}
	add := func(kind, name string, values ...string) {
		field := element("field")
		if kind != "" {
			field.Attrs = append(field.Attrs, attr("type", kind))
		}
		field.Attrs = append(field.Attrs, attr("var", name))
		for _, v := range values {
			value := element("value")
			value.Content = []xmpp.Node{{Text: v}}
			field.Content = append(field.Content, xmpp.Node{Elem: value})
		}
		form.Content = append(form.Content, xmpp.Node{Elem: field})
	}
	add("hidden", "FORM_TYPE", xmpp.NSServerInfo)
	for _, role := range []struct {
		name      string
		addresses []string
	}{
		{"abuse", c.Abuse}, {"admin", c.Admin}, {"feedback", c.Feedback},
		{"sales", c.Sales}, {"security", c.Security}, {"status", c.Status}, {"support", c.Support},
	} {
		if len(role.addresses) > 0 {
			add("list-multi", role.name+"-addresses", role.addresses...)
		}
	}
	if len(form.Content) == 1 {
		return nil
	}
	return form
}

func element(local string) *xmpp.Element {
	return &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSDataForms, Local: local}}
}

func attr(name, value string) xmpp.Attr {
	return xmpp.Attr{Name: xmpp.Name{Local: name}, Value: value}
}
