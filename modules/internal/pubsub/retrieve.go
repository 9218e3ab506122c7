package pubsub

import (
	"slices"
	"strconv"

	"jackdaw/modules/internal/rsm"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// items: §6.5, in pages of XEP-0059 where they are asked for or all would be too much.
func (g *Engine) items(r *request) ([]byte, error) {
	n, err := r.existing()
	if err != nil {
		return nil, err
	}
	if err := g.mayRead(r.svc, n, r.actor); err != nil {
		return nil, err
	}
	if !n.config.Persist { // §6.5.9.4
		return nil, unsupported("persistent-items")
	}
	for _, who := range []jid.JID{r.from, r.actor} { // §6.5.9.1
		if len(n.subs[who]) == 0 || len(n.subs[who]) == 1 && r.verb.Attr("subid") == "" {
			continue
		}
		if _, err := r.named(n, who); err != nil {
			return nil, err
		}
		break
	}
	set := r.body.Child(rsm.Name)
	page, bad := rsm.Parse(set)
	if bad != nil {
		return nil, bad
	}
	index, err := g.places(r.svc, n)
	if err != nil {
		return nil, err
	}
	var wanted []string // by name: §6.5.7
	for _, el := range r.verb.Children() {
		if el.Name.Local == "item" && el.Attr("id") != "" {
			wanted = append(wanted, el.Attr("id"))
		}
	}
	switch most := r.verb.Attr("max_items"); {
	case wanted != nil:
		index = slices.DeleteFunc(slices.Clone(index), func(p place) bool { return !slices.Contains(wanted, p.id) })
	case most != "": // §6.5.6: the most recent
		max, err := strconv.Atoi(most)
		if err != nil || max < 1 {
			return nil, xmpp.BadRequest("max_items is not a number above 0")
		}
		index = index[len(index)-min(max, len(index)):]
	}
	from, to, bad := within(index, page, func(p place) string { return p.id })
	if bad != nil {
		return nil, bad
	}
	found, err := g.read(r.svc, n, index[from:to], page.Backward)
	if err != nil {
		return nil, err
	}
	var w xmpp.Writer
	w.Start(xmpp.NSPubSub, "pubsub").Start("", "items").Attr("node", n.name)
	for i := range found {
		found[i].write(&w, &n.config, true)
	}
	w.End()
	if set != nil || len(found) < to-from {
		answer := rsm.Answer{Count: len(index)}
		if len(found) > 0 {
			answer.First, answer.Last = found[0].ID, found[len(found)-1].ID
			answer.Index = slices.IndexFunc(index, func(p place) bool { return p.id == answer.First })
		}
		answer.Write(&w)
	}
	return w.End().Bytes(), nil
}

// within finds the page in a list, by the ids of its parts (XEP-0059 §2).
func within[T any](list []T, p rsm.Request, id func(T) string) (from, to int, bad *xmpp.Error) {
	from, to = 0, len(list)
	find := func(wanted string) int { return slices.IndexFunc(list, func(one T) bool { return id(one) == wanted }) }
	if p.After != "" {
		i := find(p.After)
		if i < 0 { // §2.2
			return 0, 0, xmpp.ItemNotFound("there is no such item")
		}
		from = i + 1
	}
	if p.Before != "" {
		i := find(p.Before)
		if i < 0 {
			return 0, 0, xmpp.ItemNotFound("there is no such item")
		}
		to = max(i, from)
	}
	if p.Index >= 0 { // §2.6
		if p.Index > len(list) {
			return 0, 0, xmpp.ItemNotFound("there are fewer items")
		}
		from = max(from, p.Index)
		to = max(to, from)
	}
	if p.Max >= 0 && to-from > p.Max {
		if p.Backward {
			from = to - p.Max
		} else {
			to = from + p.Max
		}
	}
	return from, to, nil
}

// read loads the items at these places as far as they fit into one answer, from the end with backward. There is at
// least one, if there is any.
func (g *Engine) read(s *service, n *node, places []place, backward bool) ([]Item, error) {
	places = fitting(places, backward)
	size, whole := 0, 0
	for _, p := range places {
		size += p.size
	}
	for _, p := range n.index {
		whole += p.size
	}
	get := func(id string) (*Item, error) { return g.item(s, n, id) }
	if len(places) > 8 && len(places)*2 > len(n.index) && whole < 2*size+(64<<10) { // nearly all: in one go
		all, err := g.all(s, n)
		if err != nil {
			return nil, err
		}
		at := make(map[string]*Item, len(all))
		for i := range all {
			at[all[i].ID] = &all[i]
		}
		get = func(id string) (*Item, error) { return at[id], nil }
	}
	out := make([]Item, 0, len(places))
	for _, p := range places {
		it, err := get(p.id)
		if err != nil {
			return nil, err
		}
		if it != nil {
			out = append(out, *it)
		}
	}
	return out, nil
}

// fitting are the places whose items fit into one answer.
func fitting(places []place, backward bool) []place {
	size := 0
	for i := range places {
		p := &places[i]
		if backward {
			p = &places[len(places)-1-i]
		}
		if size += p.size + len(p.id) + 32; size <= maxAnswer || i == 0 {
			continue
		}
		if backward {
			return places[len(places)-i:]
		}
		return places[:i]
	}
	return places
}
