package pubsub

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"slices"
	"strings"

	"jackdaw/modules/internal/forms"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func asError(err error, to **xmpp.Error) bool { return errors.As(err, to) }

// create: §8.1.
func (g *Engine) create(r *request) ([]byte, error) {
	if !g.o.Profile.Creates(r.service, r.actor) {
		return nil, forbidden()
	}
	instant := r.node == ""
	if instant { // §8.1.1
		r.node = rand.Text()
	}
	if r.svc.nodes[r.node] != nil {
		return nil, xmpp.Conflict("there is such a node")
	}
	c := g.o.Profile.Default(r.node)
	if el := r.body.ChildLocal("configure"); el != nil { // §8.1.3
		all := r.body.Children()
		if el.HasAttr("node") || slices.Index(all, el) < slices.Index(all, r.verb) {
			return nil, xmpp.BadRequest("the configuration comes after the node, and does not name it")
		}
		f, err := form(el, prefix+"node_config")
		if err != nil {
			return nil, err
		}
		if f != nil {
			if err := g.submit(&c, f); err != nil {
				return nil, err
			}
		}
	}
	_, p, err := g.newNode(r.svc, r.node, c, r.actor)
	if err != nil {
		return nil, err
	}
	r.await(p)
	if !instant {
		return nil, nil
	}
	var w xmpp.Writer
	return w.Start(xmpp.NSPubSub, "pubsub").Start("", "create").Attr("node", r.node).End().End().Bytes(), nil
}

// submit puts a form that was filled in into the configuration.
func (g *Engine) submit(c *Config, f *forms.Form) error {
	if f.Kind != forms.Submit {
		return xmpp.BadRequest("the form is not filled in")
	}
	if bad := c.change(f, g.o.Limits()); bad != "" {
		return unfit(bad)
	}
	return nil
}

// unfit refuses a field of a configuration.
func unfit(field string) *xmpp.Error {
	name := strings.TrimPrefix(field, "pubsub#")
	switch {
	case name == "access_model": // §8.1.2
		return condition(xmpp.NotAcceptable("this is no value for "+name), "unsupported-access-model")
	case settingOf(field) == nil:
		return xmpp.NotAcceptable("there is no option " + name)
	}
	return xmpp.NotAcceptable("this is no value for " + name)
}

// configuration: §8.2.1.
func (g *Engine) configuration(r *request) ([]byte, error) {
	n, err := r.owned()
	if err != nil {
		return nil, err
	}
	var w xmpp.Writer
	w.Start(NSOwner, "pubsub").Start("", "configure").Attr("node", n.name)
	n.config.form(forms.Ask, "node_config").Write(&w)
	return w.End().End().Bytes(), nil
}

// defaults: §8.3.
func (g *Engine) defaults(r *request) ([]byte, error) {
	if !g.o.Profile.Creates(r.service, r.actor) {
		return nil, forbidden()
	}
	c := g.o.Profile.Default("")
	var w xmpp.Writer
	w.Start(NSOwner, "pubsub").Start("", "default")
	c.form(forms.Ask, "node_config").Write(&w)
	return w.End().End().Bytes(), nil
}

// configure: §8.2.4.
func (g *Engine) configure(r *request) ([]byte, error) {
	n, err := r.owned()
	if err != nil {
		return nil, err
	}
	f, err := form(r.verb, prefix+"node_config")
	if err == nil && f == nil && r.verb.Child(forms.Name) == nil {
		return nil, xmpp.BadRequest("a configuration without a form")
	}
	if x := r.verb.Child(forms.Name); x != nil && x.Attr("type") == forms.Cancel {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := n.config
	if err := g.submit(&c, f); err != nil {
		return nil, err
	}
	p, err := g.put(r.svc, storage.Change{Key: key(keyNode, n.name), Value: nodeRecord(c, n.created, n.maker)})
	if err != nil {
		return nil, err
	}
	r.await(p)
	had := g.readers(r.svc, n)
	old := n.config
	n.config = c
	if p, err = g.fit(r.svc, n, old); err != nil {
		return nil, err
	}
	r.await(p)
	for _, who := range addresses(n.subs) { // some have lost the right to it
		if err := g.revoke(r.e.Batch, r.svc, n, who.Bare()); err != nil {
			return nil, err
		}
	}
	if old.Access == Authorize && c.Access != Authorize { // nobody is left to approve them
		for _, who := range addresses(n.subs) {
			p, err := g.admit(r.e.Batch, r.svc, n, who)
			if err != nil {
				return nil, err
			}
			r.await(p)
		}
	}
	// §12.2: for those who may have it now and might not before
	if (c.Access != old.Access || !slices.Equal(c.Groups, old.Groups)) && c.Last == OnPresence && c.Deliver {
		for full := range g.readers(r.svc, n) {
			if !had[full] {
				if err := g.sendLast(r.e.Batch, r.svc, n, full); err != nil {
					return nil, err
				}
			}
		}
	}
	if c.TellConfig && c.Deliver { // §8.2.5
		var w xmpp.Writer
		w.Start(xmpp.NSPubSubEvent, "event").Start("", "configuration").Attr("node", n.name)
		if c.Payloads {
			c.form(forms.Result, "node_config").Write(&w)
		}
		g.tell(r.e.Batch, r.svc, n, news{event: w.End().End().Bytes(), from: r.from})
	}
	return nil, nil
}

// admit lets an address in that waits for that, if it does.
func (g *Engine) admit(b *router.Batch, s *service, n *node, who jid.JID) (*storage.Pending, error) {
	var all []*storage.Pending
	for _, one := range n.subs[who] {
		if one.state != pending {
			continue
		}
		p, err := g.decide(b, s, n, who, one, true)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return storage.Join(all...), nil
}

// readers are those of the addresses that want a node's events without having subscribed that may have them.
func (g *Engine) readers(s *service, n *node) map[jid.JID]bool {
	out := map[jid.JID]bool{}
	g.o.Profile.Implicit(s.jid, n.name, func(full jid.JID) {
		if bare := full.Bare(); g.mayRead(s, n, bare) == nil && !g.o.Profile.Blocks(s.jid, bare) {
			out[full] = true
		}
	})
	return out
}

// fit takes out the items for which a new configuration has no room.
func (g *Engine) fit(s *service, n *node, old Config) (*storage.Pending, error) {
	l := g.o.Limits()
	room := n.config.room(l)
	if !n.config.Persist {
		room = 0
	}
	if !old.Persist || room >= old.room(l) && n.config.Persist {
		return nil, nil
	}
	index, err := g.places(s, n)
	if err != nil || len(index) <= room {
		return nil, err
	}
	var ids []string
	for _, p := range index[:len(index)-room] {
		ids = append(ids, p.id)
	}
	return g.drop(s, n, ids)
}

// clear takes all items out of a node.
func (g *Engine) clear(s *service, n *node) (*storage.Pending, error) {
	p, err := g.o.Items.DeleteOwner(context.Background(), itemsOwner(s.jid, n.name))
	if err == nil {
		s.setIndex(n, nil)
	}
	return s.watch(p), err
}

// remove: §8.4.
func (g *Engine) remove(r *request) ([]byte, error) {
	n, err := r.owned()
	if err != nil {
		return nil, err
	}
	redirect := ""
	if el := r.verb.ChildLocal("redirect"); el != nil { // §8.4.1
		redirect = el.Attr("uri")
		if u, err := url.Parse(redirect); err != nil || u.Scheme == "" || len(redirect) > maxName {
			return nil, xmpp.BadRequest("nothing can be redirected there")
		}
	}
	p, err := g.erase(r.e.Batch, r.svc, n, redirect, r.from)
	if err != nil {
		return nil, err
	}
	r.await(p)
	r.changed = true
	return nil, nil
}

// erase deletes a node and says so. The items go first: should the rest fail, the node is empty and can be deleted
// again.
func (g *Engine) erase(b *router.Batch, s *service, n *node, redirect string, from jid.JID) (*storage.Pending, error) {
	cleared, err := g.clear(s, n)
	if err != nil {
		return nil, err
	}
	changes := []storage.Change{{Key: key(keyNode, n.name), Delete: true}}
	for who, list := range n.subs {
		for _, one := range list {
			changes = append(changes, storage.Change{Key: subscriptionKey(n.name, who, one.id), Delete: true})
		}
	}
	for who := range n.affs {
		changes = append(changes, storage.Change{Key: key(keyAffiliation, n.name, who), Delete: true})
	}
	p, err := g.put(s, changes...)
	if err != nil {
		return nil, err
	}
	if n.config.TellDelete && n.config.Deliver { // §8.4.2
		var w xmpp.Writer
		w.Start(xmpp.NSPubSubEvent, "event").Start("", "delete").Attr("node", n.name)
		if redirect != "" {
			w.Start("", "redirect").Attr("uri", redirect).End()
		}
		g.tell(b, s, n, news{event: w.End().End().Bytes(), from: from, waiting: true})
	}
	s.drop(n)
	return storage.Join(cleared, p), nil
}

// purge: §8.5.
func (g *Engine) purge(r *request) ([]byte, error) {
	n, err := r.owned()
	if err != nil {
		return nil, err
	}
	if !n.config.Persist { // §8.5.3.3
		return nil, unsupported("persistent-items")
	}
	p, err := g.clear(r.svc, n)
	if err != nil {
		return nil, err
	}
	r.await(p)
	r.changed = true
	if n.config.Deliver {
		var w xmpp.Writer
		w.Start(xmpp.NSPubSubEvent, "event").Start("", "purge").Attr("node", n.name)
		g.tell(r.e.Batch, r.svc, n, news{event: w.End().End().Bytes(), from: r.from})
	}
	return nil, nil
}
