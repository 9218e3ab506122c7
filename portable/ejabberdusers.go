package portable

import (
	"slices"
	"strings"
	"time"

	"jackdaw/xmpp"
)

// tree makes an element of one that ejabberd keeps: {xmlel, Name, [{Name, Value}], [Child | {xmlcdata, Text}]}. Names
// are as they were written, with prefixes; known are the prefixes that are declared around it.
func tree(t term, space string, known map[string]string, depth int) (*xmpp.Element, bool) {
	if !t.is("xmlel", 3) || depth > maxDepth {
		return nil, false
	}
	var attrs []term
	for _, a := range t.list[2].list {
		name, uri := a.at(0).String(), xmpp.MendText(a.at(1).String())
		prefix, declares := strings.CutPrefix(name, "xmlns:")
		switch {
		case name == "xmlns":
			space = uri
		case declares && uri != "" && len(known) < maxBindings:
			own := map[string]string{prefix: uri}
			for k, v := range known {
				if k != prefix {
					own[k] = v
				}
			}
			known = own
		case !declares:
			attrs = append(attrs, a)
		}
	}
	e := &xmpp.Element{}
	var ok bool
	if e.Name, ok = expanded(t.list[1].String(), space, known); !ok {
		return nil, false
	}
	for _, a := range attrs {
		n, ok := expanded(a.at(0).String(), "", known)
		twice := slices.ContainsFunc(e.Attrs, func(o xmpp.Attr) bool { return o.Name == n })
		if ok && !twice && len(e.Attrs) < maxAttrs {
			e.Attrs = append(e.Attrs, xmpp.Attr{Name: n, Value: xmpp.MendText(a.at(1).String())})
		}
	}
	for _, c := range t.list[3].list {
		if c.is("xmlcdata", 1) {
			e.Content = append(e.Content, xmpp.Node{Text: xmpp.MendText(c.list[1].String())})
		} else if child, ok := tree(c, space, known, depth+1); ok {
			e.Content = append(e.Content, xmpp.Node{Elem: child})
		}
	}
	return e, true
}

// expanded makes a name of one as it was written; space is that of one without a prefix.
func expanded(raw, space string, known map[string]string) (xmpp.Name, bool) {
	prefix, inner, prefixed := strings.Cut(raw, ":")
	if !prefixed {
		return xmpp.Name{Space: space, Local: raw}, validName([]byte(raw))
	}
	if prefix == "xml" {
		space = xmpp.NSXML
	} else if space = known[prefix]; space == "" {
		return xmpp.Name{}, false
	}
	return xmpp.Name{Space: space, Local: inner}, !strings.Contains(inner, ":") && validName([]byte(inner))
}

// leaf makes an element with text.
func leaf(name xmpp.Name, text string, attrs ...xmpp.Attr) *xmpp.Element {
	e := &xmpp.Element{Name: name, Attrs: attrs}
	if text != "" {
		e.Content = []xmpp.Node{{Text: xmpp.MendText(text)}}
	}
	return e
}

// branch makes an element with others in it.
func branch(name xmpp.Name, attrs []xmpp.Attr, children ...*xmpp.Element) *xmpp.Element {
	e := &xmpp.Element{Name: name, Attrs: attrs}
	for _, c := range children {
		e.Content = append(e.Content, xmpp.Node{Elem: c})
	}
	return e
}

// mended makes an attribute of what a server has kept.
func mended(name, value string) xmpp.Attr { return local(name, xmpp.MendText(value)) }

// address is one that is kept as {User, Server}, {User, Server, Resource} or {jid, User, Server, Resource, …}.
func address(t term, full bool) string {
	if t.is("jid", 3) {
		t.list = t.list[1:]
	}
	s := t.at(1).String()
	if user := t.at(0).String(); user != "" {
		s = user + "@" + s
	}
	if resource := t.at(2).String(); full && resource != "" {
		s += "/" + resource
	}
	return s
}

// instant is a time as {MegaSeconds, Seconds, MicroSeconds}, or in microseconds.
func instant(t term) (time.Time, bool) {
	micro := t.num
	if t.kind == tuple {
		micro = t.at(0).num*1e12 + t.at(1).num*1e6 + t.at(2).num
	}
	return time.UnixMicro(micro), micro > 0 && micro < 1e17
}

// of is the place of a part of the account {User, Server, …}.
func of(user term, p part, order int64) place {
	return place{host: user.at(1).String(), name: user.at(0).String(), part: p, order: inOrder(order)}
}

func (d *dump) password(r row) error {
	user, kept := r.get("us"), r.get("password")
	if kept.kind == bytesText {
		return d.add(of(user, ofPassword, 0), []byte(kept.text))
	}
	if !kept.is("scram", 4) {
		return d.add(of(user, ofPassword, 0), nil) // the report says that it has none
	}
	hash, count := "sha", kept.list[4]
	if len(kept.list) > 5 {
		hash, count = kept.list[4].text, kept.list[5]
	}
	mechanism := map[string]string{"sha": "SCRAM-SHA-1", "sha256": "SCRAM-SHA-256", "sha512": "SCRAM-SHA-512"}[hash]
	in := func(local string, t term) *xmpp.Element {
		return leaf(xmpp.Name{Space: NSScram, Local: local}, t.String())
	}
	return d.put(of(user, ofKeys, 0), branch(scramName, []xmpp.Attr{local("mechanism", mechanism)},
		in("iter-count", count), in("salt", kept.list[3]), in("server-key", kept.list[2]), in("stored-key", kept.list[1])))
}

func (d *dump) contact(r row) error {
	user, who := r.get("us"), xmpp.MendText(address(r.get("jid"), false))
	subscription, ask := r.get("subscription").text, r.get("ask").text
	if ask == "in" || ask == "both" {
		e := leaf(xmpp.Name{Space: xmpp.NSClient, Local: "presence"}, "", local("from", who), local("type", "subscribe"))
		if why := r.get("askmessage").String(); why != "" {
			e.Content = []xmpp.Node{{Elem: leaf(xmpp.Name{Space: xmpp.NSClient, Local: "status"}, why)}}
		}
		if err := d.put(of(user, ofRequests, 0), e); err != nil || ask == "in" && subscription == "none" {
			return err // a contact it is not yet
		}
	}
	attrs := []xmpp.Attr{local("jid", who), mended("name", r.get("name").String()), mended("subscription", subscription)}
	if ask == "out" || ask == "both" || ask == "subscribe" {
		attrs = append(attrs, local("ask", "subscribe"))
	}
	var groups []*xmpp.Element
	for _, g := range r.get("groups").list {
		groups = append(groups, leaf(xmpp.Name{Space: xmpp.NSRoster, Local: "group"}, g.String()))
	}
	return d.put(of(user, ofRoster, 0), branch(xmpp.Name{Space: xmpp.NSRoster, Local: "item"}, attrs, groups...))
}

func (d *dump) card(r row) error {
	e, ok := tree(r.get("vcard"), xmpp.NSVCard, nil, 0)
	if !ok {
		return nil
	}
	return d.put(of(r.get("us"), ofCard, 0), e)
}

func (d *dump) private(r row) error {
	e, ok := tree(r.get("xml"), "", nil, 0)
	if !ok {
		return nil
	}
	return d.put(of(r.get("usns"), ofPrivate, 0), e)
}

// privacy writes lists as XEP-0227 §4.8 has them.
func (d *dump) privacy(r row) error {
	name := func(local string) xmpp.Name { return xmpp.Name{Space: "jabber:iq:privacy", Local: local} }
	all := branch(name("query"), nil)
	if standard := r.get("default"); standard.kind == bytesText {
		all.Content = append(all.Content, xmpp.Node{Elem: leaf(name("default"), "", mended("name", standard.text))})
	}
	for _, l := range r.get("lists").list {
		e := branch(name("list"), []xmpp.Attr{mended("name", l.at(0).String())})
		for _, rule := range l.at(1).list {
			if !rule.is("listitem", 9) {
				continue
			}
			attrs := []xmpp.Attr{mended("action", rule.list[3].text), mended("order", rule.list[4].String())}
			if kind, v := rule.list[1].text, rule.list[2]; kind != "none" {
				value := v.String()
				if kind == "jid" {
					value = address(v, true)
				}
				attrs = append(attrs, mended("type", kind), mended("value", value))
			}
			one := branch(name("item"), attrs)
			if rule.list[5].text != "true" {
				for i, of := range []string{"iq", "message", "presence-in", "presence-out"} {
					if rule.list[6+i].text == "true" {
						one.Content = append(one.Content, xmpp.Node{Elem: leaf(name(of), "")})
					}
				}
			}
			e.Content = append(e.Content, xmpp.Node{Elem: one})
		}
		all.Content = append(all.Content, xmpp.Node{Elem: e})
	}
	return d.put(of(r.get("us"), ofPrivacy, 0), all)
}

func (d *dump) last(r row) error {
	at := r.get("timestamp").num
	if at < 1 || at > 1e11 {
		return nil
	}
	return d.put(of(r.get("us"), ofLast, 0), leaf(xmpp.Name{Space: NS, Local: "last"}, r.get("status").String(),
		local("left", xmpp.FormatTime(time.Unix(at, 0)))))
}

func (d *dump) waiting(r row) error {
	at, timed := instant(r.get("timestamp"))
	if until, ok := instant(r.get("expire")); ok && until.Before(d.now) {
		return nil
	}
	e, ok := tree(r.get("packet"), xmpp.NSClient, nil, 0)
	if !ok || e.Name.Local != "message" {
		return nil
	}
	for name, who := range map[string]term{"from": r.get("from"), "to": r.get("to")} {
		if !e.HasAttr(name) && who.kind == tuple {
			e.Attrs = append(e.Attrs, mended(name, address(who, true)))
		}
	}
	p := of(r.get("us"), ofWaiting, at.UnixMicro())
	if timed {
		e.Content = append(e.Content, xmpp.Node{Elem: leaf(xmpp.Name{Space: xmpp.NSDelay, Local: "delay"}, "",
			mended("from", p.host), local("stamp", stamp(at)))})
	}
	return d.put(p, e)
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000000Z") }

func (d *dump) preferences(r row) error {
	name := func(local string) xmpp.Name { return xmpp.Name{Space: xmpp.NSMAM, Local: local} }
	list := func(local string, addresses term) *xmpp.Element {
		e := branch(name(local), nil)
		for _, a := range addresses.list {
			e.Content = append(e.Content, xmpp.Node{Elem: leaf(name("jid"), address(a, true))})
		}
		return e
	}
	attrs := []xmpp.Attr{mended("default", r.get("default").text)}
	return d.put(of(r.get("us"), ofPreferences, 0), branch(name("prefs"), attrs,
		list("always", r.get("always")), list("never", r.get("never"))))
}

// archived writes a message of the archive of a user, or of a room: then as from its place in the room, with its author
// beside it.
func (d *dump) archived(r row) error {
	at, timed := instant(r.get("timestamp"))
	e, ok := tree(r.get("packet"), xmpp.NSClient, nil, 0)
	if !timed || !ok || e.Name.Local != "message" {
		d.lost.lose("archived messages", clip(address(r.get("us"), false)), "an archived message without a time or a message")
		return nil
	}
	p := of(r.get("us"), ofArchive, at.UnixMicro())
	owner := p.name + "@" + p.host
	attrs := []xmpp.Attr{mended("id", r.get("id").String())}
	if r.get("type").text == "groupchat" {
		p.part = ofRoomArchive
		without(e, "from", "to")
		e.Attrs = append(e.Attrs, mended("from", owner+"/"+r.get("nick").String()))
		attrs = append(attrs, xmpp.Attr{Name: xmpp.Name{Space: NS, Local: "author"},
			Value: xmpp.MendText(address(r.get("peer"), true))})
	}
	delay := leaf(xmpp.Name{Space: xmpp.NSDelay, Local: "delay"}, "", local("stamp", stamp(at)))
	return d.put(p, branch(xmpp.Name{Space: xmpp.NSMAM, Local: "result"}, attrs,
		branch(xmpp.Name{Space: xmpp.NSForward, Local: "forwarded"}, nil, delay, ownIDs(e, owner))))
}
