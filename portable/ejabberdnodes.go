package portable

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"jackdaw/xmpp"
)

// What ejabberd keeps of a node it keeps by the node's number. node, affiliation and item note it by that, and join
// gives it the place that the number stands for.

// numbered notes an element for join.
func (d *dump) numbered(index term, p part, order int64, e *xmpp.Element) error {
	data, err := d.written(e)
	if err != nil {
		return err
	}
	return d.nodes.add(index.String()+"\x00"+string(p)+inOrder(order), data)
}

func (d *dump) node(r row) error {
	owner, name := r.get("nodeid").at(0), xmpp.MendText(r.get("nodeid").at(1).String())
	if owner.kind != tuple { // of a service, not of a user
		d.lost.lose("nodes", clip(owner.String()), "nodes of a service, which are in nobody's account")
		return nil
	}
	settings := map[string][]string{}
	for _, option := range r.get("options").list {
		values := option.at(1).list
		if option.at(1).kind != list {
			values = []term{option.at(1)}
		}
		for _, v := range values {
			settings[option.at(0).text] = append(settings[option.at(0).text], settingText(v))
		}
	}
	if most := settings["max_items"]; len(most) == 1 && (most[0] == "infinity" || most[0] == "unlimited") {
		settings["max_items"] = []string{"max"}
	}
	names := map[string]string{"roster_groups_allowed": "pubsub#roster_groups_allowed"}
	for _, field := range nodeSettings {
		names[field] = "pubsub#" + field
	}
	data, err := d.written(branch(owned("configure"), []xmpp.Attr{local("node", name)},
		formOf(nsOwnerForm, names, settings)))
	if err != nil || strings.Contains(owner.at(0).String()+owner.at(1).String(), "\x00") {
		return err
	}
	head := strings.Join([]string{owner.at(0).String(), owner.at(1).String(), name, ""}, "\x00")
	return d.nodes.add(r.get("id").String()+"\x00"+string(ofNodes)+inOrder(0), append([]byte(head), data...))
}

// affiliation notes who has an affiliation with a node and who has subscribed to it: ejabberd keeps both in one row.
func (d *dump) affiliation(r row) error {
	who := xmpp.MendText(address(r.get("stateid").at(0), true))
	if a := r.get("affiliation").text; a != "none" && a != "" {
		bare, _, _ := strings.Cut(who, "/")
		e := leaf(owned("affiliation"), "", local("jid", bare), mended("affiliation", a))
		if err := d.numbered(r.get("nodeidx"), ofAffiliations, 0, e); err != nil {
			return err
		}
	}
	for _, s := range r.get("subscriptions").list {
		kind := s.text
		if s.kind == tuple {
			kind = s.at(0).text
		}
		e := leaf(owned("subscription"), "", local("jid", who), mended("subscription", kind))
		if err := d.numbered(r.get("nodeidx"), ofSubscriptions, 0, e); err != nil {
			return err
		}
	}
	return nil
}

func (d *dump) item(r row) error {
	modified := r.get("modification")
	at, timed := instant(modified.at(0))
	attrs := []xmpp.Attr{mended("id", r.get("itemid").at(0).String())}
	if timed {
		attrs = append(attrs, mended("publisher", address(modified.at(1), false)),
			xmpp.Attr{Name: xmpp.Name{Space: NS, Local: "at"}, Value: strconv.FormatInt(at.UnixMicro(), 10)})
	}
	e := branch(xmpp.Name{Space: xmpp.NSPubSub, Local: "item"}, attrs)
	for _, p := range r.get("payload").list {
		if payload, ok := tree(p, xmpp.NSPubSub, nil, 0); ok {
			e.Content = append(e.Content, xmpp.Node{Elem: payload})
		}
	}
	return d.numbered(r.get("nodeidx"), ofItems, at.UnixMicro(), e)
}

// join brings what is of a node to its place.
func (d *dump) join() error {
	number, at, many := "", place{}, int64(0)
	return d.nodes.each(func(key string, data []byte) error {
		of, rest, _ := strings.Cut(key, "\x00")
		if of != number {
			number, at = of, place{}
		}
		p := part(rest[0])
		if p == ofNodes {
			s := strings.SplitN(string(data), "\x00", 4)
			at = place{host: s[1], name: s[0], node: s[2]}
			data = []byte(s[3])
		}
		many++
		to := place{host: at.host, name: at.name, node: at.node, part: p, order: inOrder(many)}
		if p == ofNodes { // all nodes are beside each other
			to.node = ""
		}
		return d.add(to, data)
	})
}

// settingText is what a setting is in a form (XEP-0004 §3.3).
func settingText(t term) string {
	switch {
	case t.kind == atom && t.text == "true":
		return "1"
	case t.kind == atom && t.text == "false":
		return "0"
	}
	return t.String()
}

// formOf makes a form of settings; names are those of their fields. What is empty is as it is without.
func formOf(formType string, names map[string]string, settings map[string][]string) *xmpp.Element {
	name := func(local string) xmpp.Name { return xmpp.Name{Space: xmpp.NSDataForms, Local: local} }
	form := branch(name("x"), []xmpp.Attr{local("type", "submit")},
		branch(name("field"), []xmpp.Attr{local("var", "FORM_TYPE")}, leaf(name("value"), formType)))
	for _, setting := range slices.Sorted(maps.Keys(names)) {
		field := branch(name("field"), []xmpp.Attr{local("var", names[setting])})
		for _, v := range settings[setting] {
			if v != "" {
				field.Content = append(field.Content, xmpp.Node{Elem: leaf(name("value"), v)})
			}
		}
		if len(field.Content) > 0 {
			form.Content = append(form.Content, xmpp.Node{Elem: field})
		}
	}
	return form
}
