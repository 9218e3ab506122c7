package pubsub

import (
	"strconv"
	"strings"
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/rsm"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Identity is that of a service or a node in service discovery (§5.1, §5.3).
func Identity(kind string) *xmpp.Element {
	return &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "identity"},
		Attrs: []xmpp.Attr{attr("category", "pubsub"), attr("type", kind)}}
}

func attr(name, value string) xmpp.Attr {
	return xmpp.Attr{Name: xmpp.Name{Local: name}, Value: value}
}

// meta is what a node tells of itself (§5.4).
func (g *Engine) meta(s *service, n *node) *forms.Form {
	f := &forms.Form{Kind: forms.Result, Type: prefix + "meta-data"}
	for _, field := range n.config.form(forms.Result, "meta-data").Fields {
		switch strings.TrimPrefix(field.Var, "pubsub#") {
		case "title", "description", "type", "access_model", "publish_model", "max_items":
			if len(field.Values) > 0 {
				f.Fields = append(f.Fields, field)
			}
		}
	}
	count := 0
	for _, list := range n.subs {
		for i := range list {
			if one := &list[i]; one.state == subscribed && (one.until == 0 || one.until > now()) {
				count++
			}
		}
	}
	maker := n.maker
	if maker.IsZero() {
		maker = s.jid
	}
	var owners []string
	for _, who := range g.owners(s, n) {
		owners = append(owners, who.String())
	}
	add := func(name, kind, label string, values ...string) {
		f.Fields = append(f.Fields, forms.Field{Var: "pubsub#" + name, Type: kind, Label: label, Values: values})
	}
	add("creation_date", "text-single", "Creation date", xmpp.FormatTime(time.UnixMicro(n.created)))
	add("creator", "jid-single", "Node creator", maker.String())
	add("owner", "jid-multi", "Node owners", owners...)
	add("num_subscribers", "text-single", "Number of subscribers", strconv.Itoa(count))
	return f
}

// Info is the <query/> about a node (§5.3, §5.4), with these features beside that of the protocol, for an entity, a
// bare address; nil if there is no such node for that one.
func (g *Engine) Info(of, entity jid.JID, name string, features ...string) (*xmpp.Element, error) {
	s, err := g.lock(of)
	if err != nil {
		return nil, err
	}
	defer g.unlock(s)
	n := s.nodes[name]
	if n == nil || g.may(s, n, entity) != nil {
		return nil, nil
	}
	var w xmpp.Writer
	w.Start(xmpp.NSDiscoInfo, "query").Element(Identity("leaf"))
	for _, f := range append([]string{xmpp.NSPubSub}, features...) {
		w.Start("", "feature").Attr("var", f).End()
	}
	g.meta(s, n).Write(&w)
	return xmpp.ParseElement(w.End().Bytes())
}

// Visible returns an <item/> for each node of a service that an entity, a bare address, may subscribe to or read (§5.2,
// XEP-0163 §6.2), by name: those of a page, as far as they fit into one answer. set describes the page.
func (g *Engine) Visible(of, entity jid.JID, page rsm.Request) (items []*xmpp.Element, set rsm.Answer, bad *xmpp.Error,
	err error) {
	s, err := g.lock(of)
	if err != nil {
		return nil, set, nil, err
	}
	defer g.unlock(s)
	var names []string
	for _, name := range s.sorted() {
		if g.may(s, s.nodes[name], entity) == nil {
			names = append(names, name)
		}
	}
	items, set, bad = paged(names, page, func(name string) (*xmpp.Element, []string) {
		item := discoItem(of, attr("node", name))
		title := s.nodes[name].config.Title
		if title != "" {
			item.Attrs = append(item.Attrs, attr("name", title))
		}
		return item, []string{of.String(), name, title}
	})
	return items, set, bad, nil
}

// Contents returns an <item/> for each item of a node (§5.5), oldest first, like Visible; ok is false if there is no
// such node for the entity.
func (g *Engine) Contents(of, entity jid.JID, name string, page rsm.Request) (items []*xmpp.Element, set rsm.Answer,
	ok bool, bad *xmpp.Error, err error) {
	s, err := g.lock(of)
	if err != nil {
		return nil, set, false, nil, err
	}
	defer g.unlock(s)
	n := s.nodes[name]
	if n == nil || g.mayRead(s, n, entity) != nil {
		return nil, set, false, nil, nil
	}
	index, err := g.places(s, n)
	if err != nil {
		return nil, set, true, nil, err
	}
	ids := make([]string, len(index))
	for i := range index {
		ids[i] = index[i].id
	}
	items, set, bad = paged(ids, page, func(id string) (*xmpp.Element, []string) {
		return discoItem(of, attr("name", id)), []string{of.String(), id}
	})
	return items, set, true, bad, nil
}

func discoItem(of jid.JID, more xmpp.Attr) *xmpp.Element {
	return &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSDiscoItems, Local: "item"},
		Attrs: []xmpp.Attr{attr("jid", of.String()), more}}
}

// paged makes the page of a list that is asked for (XEP-0059). make returns an element and the texts that are in it.
func paged(names []string, page rsm.Request, make func(name string) (*xmpp.Element, []string)) (
	items []*xmpp.Element, set rsm.Answer, bad *xmpp.Error) {
	from, to, bad := within(names, page, func(name string) string { return name })
	if bad != nil {
		return nil, set, bad
	}
	var a answer
	for i := from; i < to; i++ {
		item, parts := make(names[i])
		if !a.add(parts...) && len(items) > 0 {
			if to = i; page.Backward { // the end of it is wanted
				return paged(names, rsm.Request{Max: len(items), Before: page.Before, After: page.After, Backward: true,
					Index: -1}, make)
			}
			break
		}
		items = append(items, item)
	}
	set = rsm.Answer{Count: len(names), Index: from}
	if from < to {
		set.First, set.Last = names[from], names[to-1]
	}
	return items, set, nil
}
