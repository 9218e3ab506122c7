package pubsub

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"

	"jackdaw/modules/internal/forms"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// publish: §7.1.
func (g *Engine) publish(r *request) ([]byte, error) {
	if r.node == "" {
		return nil, condition(xmpp.BadRequest("name the node"), "nodeid-required")
	}
	options, err := publishOptions(r.body)
	if err != nil {
		return nil, err
	}
	n := r.svc.nodes[r.node]
	limits := g.o.Limits()
	config := g.o.Profile.Default(r.node)
	switch {
	case n != nil:
		if err := g.mayPublish(r.svc, n, r.actor); err != nil {
			return nil, err
		}
		if options != nil && !n.config.meets(options, limits) {
			return nil, precondition()
		}
		config = n.config
	case !g.o.Profile.Creates(r.service, r.actor):
		return nil, noNode()
	case options != nil:
		// Nothing is there that could be otherwise than it is asked for.
		if bad := config.apply(options, limits); bad != "" {
			return nil, unfit(bad)
		}
	}
	items, err := newItems(r, &config, limits)
	if err != nil {
		return nil, err
	}
	if n != nil && config.Full == Reject {
		if err := g.hasRoom(r.svc, n, items, config.room(limits)); err != nil {
			return nil, err
		}
	}
	if n != nil && g.o.Before != nil && g.o.Before(r.node) {
		if r.before, err = g.last(r.svc, n); err != nil {
			return nil, err
		}
	}
	if n == nil { // §7.1.4
		if err := g.grow(r.svc, weighItems(items), r.actor, false); err != nil {
			return nil, err
		}
		made, p, err := g.newNode(r.svc, r.node, config, r.actor)
		if err != nil {
			return nil, err
		}
		n = made
		r.await(p)
	}
	guest := ""
	if r.svc.shared != nil && g.affiliation(r.svc, n, r.actor) < publishOnly {
		guest = r.svc.shared.sharer(r.actor)
	}
	p, gone, err := g.store(r.svc, n, items, guest)
	if err != nil {
		return nil, err
	}
	r.await(p)
	r.changed = true
	g.tellItems(r.e.Batch, r.svc, n, items, r.from)
	if len(gone) > 0 && config.Full == RetractOldest && config.TellRetract {
		g.tellRetracted(r.e.Batch, r.svc, n, gone, r.from)
	}
	var w xmpp.Writer
	w.Start(xmpp.NSPubSub, "pubsub").Start("", "publish").Attr("node", r.node)
	for _, it := range items {
		w.Start("", "item").AttrIf("id", it.ID).End()
	}
	return w.End().End().Bytes(), nil
}

func precondition() *xmpp.Error { return condition(xmpp.Conflict(""), "precondition-not-met") }

// publishOptions reads what the node must be like (§7.1.5); nil for none.
func publishOptions(body *xmpp.Element) (*forms.Form, error) {
	el := body.Child(xmpp.Name{Space: xmpp.NSPubSub, Local: "publish-options"})
	if el == nil {
		return nil, nil
	}
	x := el.Child(forms.Name)
	if x == nil {
		return nil, xmpp.BadRequest("options without a form")
	}
	f, bad := forms.ParseOptions(x)
	switch {
	case bad != nil:
		return nil, bad
	case f.Type != prefix+"publish-options":
		return nil, xmpp.BadRequest("a form of another type is needed here")
	}
	return f, nil
}

// newItems reads what is to be published (§7.1.2, §7.1.3).
func newItems(r *request, c *Config, l Limits) ([]Item, error) {
	var items []Item
	for _, el := range r.verb.Children() {
		if el.Name != (xmpp.Name{Space: xmpp.NSPubSub, Local: "item"}) {
			continue
		}
		it := Item{ID: el.Attr("id"), By: strings.Clone(r.actor.String())}
		if len(it.ID) > maxName {
			return nil, xmpp.NotAcceptable("the id of an item takes 1 KiB at most")
		}
		if it.ID == "" {
			it.ID = rand.Text() // §7.1.2: we make one
		}
		payload := el.Children()
		switch {
		case len(payload) > 1, len(payload) == 1 && (payload[0].Name.Space == xmpp.NSClient || payload[0].Name.Space == ""):
			return nil, condition(xmpp.BadRequest("an item has one payload with a namespace of its own"), "invalid-payload")
		case len(payload) == 1:
			it.Payload = payload[0].Append(nil)
		case c.Payloads:
			return nil, condition(xmpp.BadRequest(""), "payload-required")
		}
		if len(it.Payload) > l.ItemBytes { // §7.1.3.5
			return nil, condition(xmpp.NotAcceptable("the payload is too large"), "payload-too-big")
		}
		if i := slices.IndexFunc(items, func(o Item) bool { return o.ID == it.ID }); i >= 0 {
			items = slices.Delete(items, i, i+1)
		}
		items = append(items, it)
	}
	switch transient := !c.Persist && !c.Payloads; {
	case len(items) == 0 && !transient:
		return nil, condition(xmpp.BadRequest(""), "item-required")
	case len(items) > 0 && transient:
		return nil, condition(xmpp.BadRequest(""), "item-forbidden")
	case len(items) > c.room(l): // §12.11
		return nil, condition(xmpp.NotAllowed(""), "max-items-exceeded")
	}
	return items, nil
}

// hasRoom says whether a node has room for items without losing others (§7.1.3.4).
func (g *Engine) hasRoom(s *service, n *node, items []Item, room int) error {
	index, err := g.places(s, n)
	if err != nil || !n.config.Persist {
		return err
	}
	size := len(index)
	for _, it := range items {
		if !slices.ContainsFunc(index, func(p place) bool { return p.id == it.ID }) {
			size++
		}
	}
	if size > room {
		return condition(xmpp.Conflict("there is no room for another item"), "node-full")
	}
	return nil
}

// store puts items into a node, in place of those with the same ids, and takes the oldest out for which there is no
// room (§7.1.2): these are gone. guest is the sharer as which somebody publishes who is nothing to the node: beyond its
// share of the room its own oldest go first.
func (g *Engine) store(s *service, n *node, items []Item, guest string) (
	_ *storage.Pending, gone []string, err error) {
	if !n.config.Persist || len(items) == 0 {
		return nil, nil, nil
	}
	old, err := g.places(s, n)
	if err != nil {
		return nil, nil, err
	}
	at := now()
	if len(old) > 0 {
		at = max(at, old[len(old)-1].at+1)
	}
	index := slices.Clone(old)
	changes := make([]storage.Change, 0, len(items)+1)
	for i := range items {
		it := &items[i]
		it.At = at + int64(i)
		index = slices.DeleteFunc(index, func(p place) bool { return p.id == it.ID })
		index = append(index, place{strings.Clone(it.ID), it.At, by(s, it.By), len(it.Payload)})
		changes = append(changes, storage.Change{Key: it.ID, Value: itemRecord(*it)})
	}
	room := n.config.room(g.o.Limits())
	if guest != "" {
		index, gone = s.withinShare(index, guest, max(room/guestShare, len(items)))
	}
	for ; len(index) > room; index = index[1:] {
		gone = append(gone, index[0].id)
	}
	for _, id := range gone {
		changes = append(changes, storage.Change{Key: id, Delete: true})
	}
	if err := g.grow(s, weigh(index)-n.size, n.maker, guest != ""); err != nil {
		return nil, nil, err
	}
	_, p, err := g.o.Items.Update(context.Background(), itemsOwner(s.jid, n.name), storage.AnyVersion, changes...)
	if err != nil {
		return nil, nil, err
	}
	s.setIndex(n, index)
	return s.watch(p), gone, nil
}

// withinShare takes out of an index the oldest of a sharer's items that are more than so many.
func (s *service) withinShare(index []place, sharer string, most int) (kept []place, gone []string) {
	of := func(p place) bool {
		who, err := jid.Parse(p.by)
		return err == nil && s.shared.sharer(who) == sharer
	}
	over := -most
	for _, p := range index {
		if of(p) {
			over++
		}
	}
	if over <= 0 {
		return index, nil
	}
	return slices.DeleteFunc(index, func(p place) bool {
		if len(gone) >= over || !of(p) {
			return false
		}
		gone = append(gone, p.id)
		return true
	}), gone
}

// drop takes items out of a node. Without any, the write is the last one.
func (g *Engine) drop(s *service, n *node, ids []string) (*storage.Pending, error) {
	changes := make([]storage.Change, 0, len(ids))
	for _, id := range ids {
		changes = append(changes, storage.Change{Key: id, Delete: true})
	}
	_, p, err := g.o.Items.Update(context.Background(), itemsOwner(s.jid, n.name), storage.AnyVersion, changes...)
	if err != nil {
		return nil, err
	}
	s.setIndex(n, slices.DeleteFunc(slices.Clone(n.index), func(p place) bool { return slices.Contains(ids, p.id) }))
	return s.watch(p), nil
}

// retract: §7.2.
func (g *Engine) retract(r *request) ([]byte, error) {
	n, err := r.existing()
	if err != nil {
		return nil, err
	}
	affiliated := g.affiliation(r.svc, n, r.actor)
	if r.owner {
		affiliated = owner
	}
	if affiliated == outcast {
		return nil, forbidden()
	}
	if affiliated < publishOnly && n.config.Publishers == ByPublishers {
		return nil, forbidden()
	}
	if !n.config.Persist { // §7.2.3.5
		return nil, unsupported("persistent-items")
	}
	index, err := g.places(r.svc, n)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, el := range r.verb.Children() {
		if el.Name != (xmpp.Name{Space: xmpp.NSPubSub, Local: "item"}) {
			continue
		}
		id := el.Attr("id")
		if id == "" {
			return nil, condition(xmpp.BadRequest("name the item"), "item-required")
		}
		i := slices.IndexFunc(index, func(p place) bool { return p.id == id })
		if i < 0 {
			return nil, xmpp.ItemNotFound("there is no such item")
		}
		// §4.1, note: what others have published is for publishers and owners to take back.
		if affiliated < publisher && index[i].by != r.actor.String() {
			return nil, forbidden()
		}
		if !slices.Contains(ids, id) { // once in the event, too
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, condition(xmpp.BadRequest("name the item"), "item-required")
	}
	p, err := g.drop(r.svc, n, ids)
	if err != nil {
		return nil, err
	}
	r.await(p)
	r.changed = true
	if asked := r.verb.Attr("notify"); asked == "true" || asked == "1" || n.config.TellRetract { // §7.2.2.1
		g.tellRetracted(r.e.Batch, r.svc, n, ids, r.from)
	}
	return nil, nil
}

// Publish publishes items for the owner of a service, in place of those with the same ids, and makes the node, with
// this configuration, if there is none. A payload that is too large is refused. The Pending stands for all that was
// written.
func (g *Engine) Publish(b *router.Batch, of jid.JID, name string, make Config, items ...Item) (
	*storage.Pending, error) {
	l := g.o.Limits()
	for i := range items {
		items[i].By = of.String()
		if len(items[i].Payload) > l.ItemBytes {
			return nil, condition(xmpp.NotAcceptable("the payload is too large"), "payload-too-big")
		}
	}
	s, err := g.lock(of)
	if err != nil {
		return nil, err
	}
	defer g.unlock(s)
	n := s.nodes[name]
	var made *storage.Pending
	if n != nil && s.shared != nil && n.maker != of {
		return nil, xmpp.Conflict("somebody else has made the node " + name + "; administrators may delete it")
	}
	if n == nil {
		if err := g.grow(s, weighItems(items), of, false); err != nil {
			return nil, err
		}
		if n, made, err = g.newNode(s, name, make, of); err != nil {
			return nil, err
		}
	}
	if len(items) > n.config.room(l) {
		items = items[len(items)-n.config.room(l):]
	}
	p, _, err := g.store(s, n, items, "")
	if err != nil {
		return nil, err
	}
	g.tellItems(b, s, n, items, of)
	return storage.Join(made, p), nil
}

// Delete deletes a node for the owner of a service; of one that many share, only what is the service's own. What is not
// there is gone.
func (g *Engine) Delete(of jid.JID, name string) (*storage.Pending, error) {
	s, err := g.lock(of)
	if err != nil {
		return nil, err
	}
	defer g.unlock(s)
	n := s.nodes[name]
	if n == nil || s.shared != nil && n.maker != of {
		return nil, nil
	}
	return g.erase(nil, s, n, "", of)
}

// Retract takes items back for the owner of a service, and says so to the subscribers. What is not there is none.
func (g *Engine) Retract(b *router.Batch, of jid.JID, name string, ids ...string) (*storage.Pending, error) {
	s, err := g.lock(of)
	if err != nil {
		return nil, err
	}
	defer g.unlock(s)
	n := s.nodes[name]
	if n == nil {
		return g.put(s)
	}
	index, err := g.places(s, n)
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return !slices.ContainsFunc(index, func(p place) bool { return p.id == id })
	})
	p, err := g.drop(s, n, ids)
	if err != nil {
		return nil, err
	}
	if len(ids) > 0 {
		g.tellRetracted(b, s, n, ids, of)
	}
	return p, nil
}

// Items are all items of a node, oldest first, and its configuration; ok is false if there is no such node.
func (g *Engine) Items(of jid.JID, name string) (items []Item, c Config, ok bool, err error) {
	s, err := g.lock(of)
	if err != nil {
		return nil, c, false, err
	}
	defer g.unlock(s)
	n := s.nodes[name]
	if n == nil {
		return nil, c, false, nil
	}
	items, err = g.all(s, n)
	return items, n.config, true, err
}

// Item is one item of a node, nil if there is none. An empty id stands for the item published last.
func (g *Engine) Item(of jid.JID, name, id string) (it *Item, c Config, err error) {
	s, err := g.lock(of)
	if err != nil {
		return nil, c, err
	}
	defer g.unlock(s)
	n := s.nodes[name]
	switch {
	case n == nil:
		return nil, c, nil
	case id == "":
		it, err = g.last(s, n)
	default:
		if n.config.Expire > 0 {
			if _, err := g.places(s, n); err != nil {
				return nil, c, err
			}
		}
		it, err = g.item(s, n, id)
	}
	return it, n.config, err
}
