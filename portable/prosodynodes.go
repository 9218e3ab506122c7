package portable

import (
	"slices"
	"strconv"

	"jackdaw/xmpp"
)

// nodeSettings are the names of a node's settings in Prosody, and in forms (XEP-0060 §16.4.3).
var nodeSettings = map[string]string{"title": "title", "description": "description", "payload_type": "type",
	"max_items": "max_items", "persist_items": "persist_items", "access_model": "access_model",
	"publish_model": "publish_model", "send_last_published_item": "send_last_published_item",
	"notify_items": "deliver_notifications", "include_payload": "deliver_payloads",
	"notification_type": "notification_type", "notify_delete": "notify_delete", "notify_retract": "notify_retract"}

const nsOwner = xmpp.NSPubSub + "#owner"

func owned(local string) xmpp.Name { return xmpp.Name{Space: nsOwner, Local: local} }

func (p *prosody) nodes(host, user string, stores []string) error {
	known, err := p.files.one(host, "pep", user)
	if err != nil || len(known.pairs) == 0 {
		return err
	}
	p.out.start(owned("pubsub"))
	for _, one := range known.pairs {
		node := local("node", xmpp.MendText(one.key.String()))
		p.out.start(owned("configure"), node)
		p.form(nsOwnerForm, one.value.get("config"), nodeSettings, "pubsub#")
		p.out.end()
		if list := one.value.get("affiliations").pairs; len(list) > 0 {
			p.out.start(owned("affiliations"), node)
			for _, a := range list {
				p.out.start(owned("affiliation"), local("jid", xmpp.MendText(a.key.String())),
					local("affiliation", xmpp.MendText(a.value.String())))
				p.out.end()
			}
			p.out.end()
		}
		if list := one.value.get("subscribers").pairs; len(list) > 0 {
			p.out.start(owned("subscriptions"), node)
			for _, s := range list {
				p.out.start(owned("subscription"), local("jid", xmpp.MendText(s.key.String())), local("subscription", "subscribed"))
				p.out.end()
			}
			p.out.end()
		}
	}
	p.out.end()
	p.out.start(xmpp.Name{Space: xmpp.NSPubSub, Local: "pubsub"})
	for _, one := range known.pairs {
		node := one.key.String()
		if !slices.Contains(stores, "pep_"+node) {
			continue
		}
		p.out.start(xmpp.Name{Space: xmpp.NSPubSub, Local: "items"}, local("node", xmpp.MendText(node)))
		last := int64(0)
		err := p.files.each(host, "pep_"+node, user, func(v value) error {
			e, ok := stanza(v, xmpp.NSPubSub, 0)
			if !ok {
				return nil
			}
			if e.Name.Local != "item" { // the payload alone
				e = &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSPubSub, Local: "item"},
					Content: []xmpp.Node{{Elem: without(e, "stamp", "stamp_legacy")}}}
			}
			without(e, "stamp", "stamp_legacy", "id")
			e.Attrs = append(e.Attrs, local("id", xmpp.MendText(v.get("key").String())))
			if at, ok := moment(v.get("when")); ok {
				last = max(at.UnixMicro(), last+1) // seconds do not say which was first
				e.Attrs = append(e.Attrs, xmpp.Attr{Name: xmpp.Name{Space: NS, Local: "at"},
					Value: strconv.FormatInt(last, 10)})
			}
			p.out.element(e)
			return p.out.err
		})
		if err != nil {
			return err
		}
		p.out.end()
	}
	p.out.end()
	return nil
}

const nsOwnerForm = xmpp.NSPubSub + "#node_config"

// form writes settings as a form.
func (p *prosody) form(formType string, config value, names map[string]string, prefix string) {
	field := func(name, v string) {
		p.out.start(xmpp.Name{Space: xmpp.NSDataForms, Local: "field"}, local("var", name))
		p.leaf(xmpp.Name{Space: xmpp.NSDataForms, Local: "value"}, xmpp.MendText(v))
		p.out.end()
	}
	p.out.start(xmpp.Name{Space: xmpp.NSDataForms, Local: "x"}, local("type", "submit"))
	field("FORM_TYPE", formType)
	for _, one := range config.pairs {
		name, known := names[one.key.String()]
		switch {
		case !known:
		case one.value.kind == truth && one.value.truth:
			field(prefix+name, "1")
		case one.value.kind == truth:
			field(prefix+name, "0")
		case one.value.kind != table:
			field(prefix+name, one.value.String())
		}
	}
	p.out.end()
}
