package pubsub

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Export writes the nodes of a service as XEP-0227 §4.10 has it, first what they are, then their items. Beside the
// format it says when nodes were made and items published, since the order of items rests on that. Left out: that
// somebody has turned events off (pubsub#deliver), for which the format has no place.
func (g *Engine) Export(_ context.Context, of jid.JID, put func([]byte) error) error {
	s, err := g.lock(of)
	if err != nil {
		return err
	}
	names := s.sorted()
	w := xmpp.NewWriter(nil).Start(NSOwner, "pubsub")
	for _, name := range names {
		g.exportNode(w, s.nodes[name])
	}
	g.unlock(s)
	if len(names) == 0 {
		return nil
	}
	if err := put(w.End().Bytes()); err != nil {
		return err
	}
	if err := put([]byte("<pubsub xmlns='" + xmpp.NSPubSub + "'>")); err != nil {
		return err
	}
	for _, name := range names {
		items, err := g.itemsOf(of, name)
		if err != nil {
			return err
		}
		b := append(xmpp.AppendAttr([]byte("<items node='"), name), "'>"...)
		for _, it := range items {
			b = appendItem(b, of, it)
		}
		if err := put(append(b, "</items>"...)); err != nil {
			return err
		}
	}
	return put([]byte("</pubsub>"))
}

func (g *Engine) itemsOf(of jid.JID, name string) ([]Item, error) {
	s, err := g.lock(of)
	if err != nil {
		return nil, err
	}
	defer g.unlock(s)
	n := s.nodes[name]
	if n == nil { // deleted meanwhile
		return nil, nil
	}
	return g.all(s, n)
}

// mark appends one of our attributes to a start tag.
func mark(dst []byte, name string, value int64) []byte {
	dst = append(append(append(dst, " xmlns:kept='"...), router.NSPortable...), "' kept:"...)
	return append(strconv.AppendInt(append(append(dst, name...), '=', '\''), value, 10), '\'')
}

func marked(el *xmpp.Element, name string) int64 {
	n, err := strconv.ParseInt(el.AttrNS(router.NSPortable, name), 10, 64)
	if err != nil || n < 0 || n > now() {
		return 0
	}
	return n
}

func appendItem(dst []byte, of jid.JID, it Item) []byte {
	dst = append(xmpp.AppendAttr(append(dst, "<item id='"...), it.ID), '\'')
	if it.By != "" && it.By != of.String() {
		dst = append(xmpp.AppendAttr(append(dst, " publisher='"...), it.By), '\'')
	}
	dst = append(mark(dst, "at", it.At), '>')
	return append(append(dst, it.Payload...), "</item>"...)
}

func (g *Engine) exportNode(w *xmpp.Writer, n *node) {
	b := append(xmpp.AppendAttr([]byte("<configure node='"), n.name), '\'')
	if !n.maker.IsZero() {
		b = append(append(b, " xmlns:made='"...), router.NSPortable...)
		b = append(xmpp.AppendAttr(append(b, "' made:by='"...), n.maker.String()), '\'')
	}
	var form xmpp.Writer
	n.config.form(forms.Submit, "node_config").Write(&form)
	b = append(append(append(mark(b, "created", n.created), '>'), form.Bytes()...), "</configure>"...)
	w.Raw(b)
	order := func(a, b jid.JID) int { return cmp.Compare(a.String(), b.String()) }
	if len(n.affs) > 0 {
		w.Start("", "affiliations").Attr("node", n.name)
		for _, who := range slices.SortedFunc(maps.Keys(n.affs), order) {
			w.Start("", "affiliation").Attr("jid", who.String()).Attr("affiliation", n.affs[who].String()).End()
		}
		w.End()
	}
	if len(n.subs) > 0 {
		w.Start("", "subscriptions").Attr("node", n.name)
		for _, who := range slices.SortedFunc(maps.Keys(n.subs), order) {
			for i := range n.subs[who] {
				exportSubscription(w, who, &n.subs[who][i])
			}
		}
		w.End()
	}
}

// exportSubscription writes the id only where it is not the first, which others need not know of.
func exportSubscription(w *xmpp.Writer, who jid.JID, one *subscription) {
	w.Start("", "subscription").Attr("jid", who.String()).Attr("subscription", one.state.String())
	if one.id > firstID {
		w.Attr("subid", one.subID())
	}
	if one.until != 0 {
		w.Attr("expiry", xmpp.FormatTime(time.UnixMicro(one.until)))
	}
	w.End()
}

// Sections read what Export writes.
func (g *Engine) Sections() []router.Section {
	return []router.Section{
		{Name: OwnerPayload, What: "nodes and who may use them", Depth: 1, Import: g.importNode},
		{Name: Payload, What: "items of nodes", Depth: 2, Import: g.importItem},
	}
}

// refused says in the report what a client would be refused with.
func refused(in *router.Incoming, err error) error {
	if bad, ok := errors.AsType[*xmpp.Error](err); ok {
		in.Refuse("%s", cmp.Or(bad.Text, string(bad.Condition)))
		return nil
	}
	return err
}

// importNode reads what is said of a node. A node that is there already stays as it is, unless it is as if nobody had
// ever said anything: then its items came before it.
func (g *Engine) importNode(_ context.Context, in *router.Incoming) error {
	name := in.Element.Attr("node")
	if name == "" || len(name) > maxName {
		in.Refuse("a node without a name, or with too long a one")
		return nil
	}
	s, err := g.lock(in.User)
	if err != nil {
		return err
	}
	defer g.unlock(s)
	switch in.Element.Name.Local {
	case "configure":
		return g.importConfig(in, s, name)
	case "affiliations", "subscriptions":
		return g.importSociety(in, s, name)
	}
	in.Refuse("<%.40s> of a node", in.Element.Name.Local)
	return nil
}

func (g *Engine) importConfig(in *router.Incoming, s *service, name string) error {
	standard, l := g.o.Profile.Default(name), g.o.Limits()
	config := standard
	if x := in.Element.Child(forms.Name); x != nil {
		f, bad := forms.ParseOptions(x)
		if bad != nil {
			return refused(in, bad)
		}
		for i := range f.Fields {
			field := capped(f.Fields[i], l)
			// What an option means that is not known here does not matter (§4.10.1).
			if known := settingOf(field.Var); known != nil {
				if before := config; !known.set(&config, &field, l) {
					config = before
					in.Refuse("the node %.100q has a setting %s that is not possible here", name, field.Var)
				}
			}
		}
	}
	n, created := s.nodes[name], cmp.Or(marked(in.Element, "created"), now())
	same := func(a, b Config) bool { return bytes.Equal(nodeRecord(a, 0, jid.JID{}), nodeRecord(b, 0, jid.JID{})) }
	switch {
	case n != nil && (same(n.config, config) || !same(n.config, standard)):
		in.Had++
		return nil
	case in.Dry:
		in.Take(nil)
		return nil
	case n != nil:
		p, err := g.put(s, storage.Change{Key: key(keyNode, name), Value: nodeRecord(config, created, n.maker)})
		if err != nil {
			return refused(in, err)
		}
		n.config, n.created = config, created
		in.Take(p)
		return nil
	}
	maker := in.User
	if by, err := jid.Parse(in.Element.AttrNS(router.NSPortable, "by")); err == nil {
		maker = by.Bare()
	}
	_, p, err := g.makeNode(s, &node{name: strings.Clone(name), config: config, created: created, maker: maker}, none)
	if err != nil {
		return refused(in, err)
	}
	in.Take(p)
	return nil
}

// importSociety reads affiliations and subscriptions. They come after the configuration of their node.
func (g *Engine) importSociety(in *router.Incoming, s *service, name string) error {
	n := s.nodes[name]
	if n == nil && !in.Dry {
		in.Refuse("%s of a node that is not there", in.Element.Name.Local)
		return nil
	}
	for _, c := range in.Element.Children() {
		who, err := jid.Parse(c.Attr("jid"))
		a := affiliation(slices.Index(affiliationNames, c.Attr("affiliation")))
		st := map[string]state{"subscribed": subscribed, "pending": pending}[c.Attr("subscription")]
		one := subscription{id: firstID, state: st}
		if until, err := xmpp.ParseTime(c.Attr("expiry")); err == nil {
			one.until = until.UnixMicro()
		}
		if id, err := strconv.ParseUint(c.Attr("subid"), 10, 8); err == nil && id > firstID && id < firstID+maxSame {
			one.id = uint8(id)
		}
		affiliated := in.Element.Name.Local == "affiliations"
		switch {
		case err != nil, affiliated && (a > owner || a == owner && s.shared == nil), !affiliated && st == 0:
			if c.Attr("affiliation") != "owner" { // the account itself
				in.Refuse("an entry among the %s of a node", in.Element.Name.Local)
			}
			continue
		case affiliated && a == none:
			continue
		case in.Dry && n == nil:
			in.Take(nil)
			continue
		case affiliated && n.affs[who.Bare()] != none, !affiliated && n.find(who, one.id) != nil:
			in.Had++
			continue
		case affiliated && len(n.affs) >= maxAffiliations, !affiliated && len(n.subs) >= maxSubscriptions:
			in.Refuse("more %s than a node may have", in.Element.Name.Local)
			continue
		case in.Dry:
			in.Take(nil)
			continue
		}
		change := subscriptionChange(n, who, one)
		if affiliated {
			change = storage.Change{Key: key(keyAffiliation, name, who.Bare()), Value: []byte{recordVersion, byte(a)}}
		}
		p, err := g.put(s, change)
		if err != nil {
			return refused(in, err)
		}
		if affiliated {
			s.setAffiliation(n, who.Bare(), a)
		} else {
			s.setSubscription(n, who, one)
		}
		in.Take(p)
	}
	return nil
}

// importItem puts an item where it was among the others of its node. If there are more than the node keeps, the oldest
// go.
func (g *Engine) importItem(_ context.Context, in *router.Incoming) error {
	el, name := in.Element, in.Within[len(in.Within)-1].Attr("node")
	payload := el.Children()
	it := Item{ID: el.Attr("id"), At: marked(el, "at"), By: in.User.String()}
	if by, err := jid.Parse(el.Attr("publisher")); err == nil {
		it.By = by.Bare().String()
	}
	if len(payload) == 1 {
		it.Payload = payload[0].Append(nil)
	}
	l := g.o.Limits()
	switch {
	case el.Name.Local != "item":
		return nil
	case name == "" || len(name) > maxName || it.ID == "" || len(it.ID) > maxName:
		in.Refuse("an item without an id or a node, or with too long a name")
		return nil
	case len(payload) > 1 || len(payload) == 1 && slices.Contains([]string{"", xmpp.NSPubSub, xmpp.NSClient},
		payload[0].Name.Space):
		in.Refuse("an item of %.100q whose payload is not one element with a namespace of its own", name)
		return nil
	case len(it.Payload) > l.ItemBytes:
		in.Refuse("an item of %.100q takes %d bytes, more than %d", name, len(it.Payload), l.ItemBytes)
		return nil
	}
	if it.At == 0 { // in the order of the file
		it.At = int64(in.Place(uint64(now())))
	}
	s, err := g.lock(in.User)
	if err != nil {
		return err
	}
	defer g.unlock(s)
	n := s.nodes[name]
	if n == nil {
		if in.Dry {
			in.Take(nil)
			return nil
		}
		made, p, err := g.newNode(s, name, g.o.Profile.Default(name), in.User)
		if err != nil {
			return refused(in, err)
		}
		n = made
		in.Writes = append(in.Writes, p)
	}
	return g.insert(in, s, n, it)
}

func (g *Engine) insert(in *router.Incoming, s *service, n *node, it Item) error {
	old, err := g.places(s, n)
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(old, func(p place) bool { return p.id == it.ID }):
		in.Had++
		return nil
	case in.Dry:
		in.Take(nil)
		return nil
	case !n.config.Persist:
		in.Refuse("an item of a node that keeps none")
		return nil
	}
	i, _ := slices.BinarySearchFunc(old, it.At, func(p place, at int64) int { return cmp.Compare(p.at, at+1) })
	index := slices.Insert(slices.Clone(old), i, place{strings.Clone(it.ID), it.At, by(s, it.By), len(it.Payload)})
	changes := []storage.Change{{Key: it.ID, Value: itemRecord(it)}}
	for room := n.config.room(g.o.Limits()); len(index) > room; index = index[1:] {
		changes = append(changes, storage.Change{Key: index[0].id, Delete: true})
	}
	if err := g.grow(s, weigh(index)-n.size, n.maker, false); err != nil {
		return refused(in, err)
	}
	_, p, err := g.o.Items.Update(context.Background(), itemsOwner(s.jid, n.name), storage.AnyVersion, changes...)
	if err != nil {
		return err
	}
	s.setIndex(n, index)
	in.Take(s.watch(p))
	return nil
}
