package pubsub

import (
	"slices"
	"strings"

	"jackdaw/modules/internal/forms"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// subscriber reads the address that a subscription is for; it is the requester's (§6.1.3.1).
func (r *request) subscriber() (jid.JID, error) {
	who, err := jid.Parse(r.verb.Attr("jid"))
	if err != nil {
		return who, condition(xmpp.BadRequest("name the subscriber"), "invalid-jid")
	}
	return jid.MustParse(strings.Clone(who.String())), nil
}

// setState writes a subscription.
func (g *Engine) setState(s *service, n *node, who jid.JID, st state) (*storage.Pending, error) {
	p, err := g.put(s, storage.Change{Key: key(keySubscription, n.name, who), Value: []byte{recordVersion, byte(st)},
		Delete: st == 0})
	if err == nil {
		n.setState(who, st)
	}
	return p, err
}

// subscribe: §6.1.
func (g *Engine) subscribe(r *request) ([]byte, error) {
	if r.body.ChildLocal("options") != nil { // §6.3.7
		return nil, unsupported("subscription-options")
	}
	who, err := r.subscriber()
	if err != nil {
		return nil, err
	}
	if who.Bare() != r.actor {
		return nil, condition(xmpp.BadRequest("only for oneself"), "invalid-jid")
	}
	n, err := r.existing()
	if err != nil {
		return nil, err
	}
	if err := g.may(r.svc, n, r.actor); err != nil {
		return nil, err
	}
	if n.subs[who] == pending { // §6.1.3.7
		return nil, condition(xmpp.NotAuthorized(""), "pending-subscription")
	}
	st := subscribed
	if n.config.Access == Authorize && g.affiliation(r.svc, n, r.actor) == none && n.subscription(r.actor) != subscribed {
		st = pending
	}
	if n.subs[who] != st {
		switch fits, err := g.oneMore(r, n, who); {
		case err != nil:
			return nil, err
		case !fits: // §6.1.3.9
			return nil, condition(xmpp.PolicyViolation("").WithType(xmpp.ErrorWait), "too-many-subscriptions")
		}
		p, err := g.setState(r.svc, n, who, st)
		if err != nil {
			return nil, err
		}
		r.await(p)
		if st == pending {
			g.askOwner(r.e.Batch, r.svc, n, who)
		} else if n.config.TellSubscription {
			g.tellOwner(r.e.Batch, r.svc, n, who, st)
		}
		// §6.1.7
		if st == subscribed && n.config.Last != Never && n.config.Deliver && !g.o.Profile.Blocks(r.service, r.actor) {
			if err := g.sendLast(r.e.Batch, r.svc, n, who); err != nil {
				return nil, err
			}
		}
	}
	var w xmpp.Writer
	w.Start(xmpp.NSPubSub, "pubsub")
	writeSubscription(&w, n.name, who, st)
	return w.End().Bytes(), nil
}

// oneMore says whether a node may have the subscription of an address. Who may see the owner's presence may subscribe
// as long as there is room; strangers share it.
func (g *Engine) oneMore(r *request, n *node, who jid.JID) (bool, error) {
	all, whole := int64(len(n.subs)), int64(0)
	for _, one := range r.svc.nodes {
		whole += int64(len(one.subs))
	}
	fits := func(own, ownWhole int64) bool {
		return storage.Fair(maxSubscriptions, all, own, 1) && storage.Fair(maxSubscribed, whole, ownWhole, 1)
	}
	if n.subs[who] != 0 || fits(all, whole) {
		return true, nil
	}
	near := r.owner
	if !near {
		var err error
		if near, err = g.o.Profile.Sees(r.service, r.actor); err != nil {
			return false, err
		}
	}
	if near {
		return all < maxSubscriptions && whole < maxSubscribed, nil
	}
	sharer, own, ownWhole := g.o.Router.Sharer(who), int64(0), int64(0)
	for _, one := range r.svc.nodes {
		for other := range one.subs {
			if g.o.Router.Sharer(other) != sharer {
				continue
			}
			if ownWhole++; one == n {
				own++
			}
		}
	}
	return fits(own, ownWhole), nil
}

func writeSubscription(w *xmpp.Writer, node string, who jid.JID, st state) {
	w.Start("", "subscription").AttrIf("node", node).Attr("jid", who.String()).Attr("subscription", st.String()).End()
}

// unsubscribe: §6.2.
func (g *Engine) unsubscribe(r *request) ([]byte, error) {
	who, err := r.subscriber()
	if err != nil {
		return nil, err
	}
	n, err := r.existing()
	if err != nil {
		return nil, err
	}
	if who.Bare() != r.actor {
		return nil, forbidden()
	}
	if n.subs[who] == 0 {
		return nil, condition(xmpp.UnexpectedRequest("").WithType(xmpp.ErrorCancel), "not-subscribed")
	}
	p, err := g.setState(r.svc, n, who, 0)
	if err != nil {
		return nil, err
	}
	r.await(p)
	if n.config.TellSubscription {
		g.tellOwner(r.e.Batch, r.svc, n, who, 0)
	}
	var w xmpp.Writer
	w.Start(xmpp.NSPubSub, "pubsub")
	writeSubscription(&w, n.name, who, 0)
	return w.End().Bytes(), nil
}

// subscriptions: §5.6, those of the asker.
func (g *Engine) subscriptions(r *request) ([]byte, error) {
	if r.node != "" && r.svc.nodes[r.node] == nil {
		return nil, noNode()
	}
	var w xmpp.Writer
	var a answer
	w.Start(xmpp.NSPubSub, "pubsub").Start("", "subscriptions").AttrIf("node", r.node)
	for _, name := range r.svc.sorted() {
		n := r.svc.nodes[name]
		if r.node != "" && r.node != name {
			continue
		}
		for _, who := range addresses(n.subs) {
			if who.Bare() != r.actor {
				continue
			}
			if !a.add(name, who.String()) {
				return nil, tooLong()
			}
			writeSubscription(&w, name, who, n.subs[who])
		}
	}
	return w.End().End().Bytes(), nil
}

// addresses are the keys in order.
func addresses[T any](m map[jid.JID]T) []jid.JID {
	out := make([]jid.JID, 0, len(m))
	for who := range m {
		out = append(out, who)
	}
	slices.SortFunc(out, jid.JID.Compare)
	return out
}

// affiliations: §5.7, those of the asker.
func (g *Engine) affiliations(r *request) ([]byte, error) {
	if r.node != "" && r.svc.nodes[r.node] == nil {
		return nil, noNode()
	}
	var w xmpp.Writer
	var size answer
	w.Start(xmpp.NSPubSub, "pubsub").Start("", "affiliations")
	for _, name := range r.svc.sorted() {
		a := g.affiliation(r.svc, r.svc.nodes[name], r.actor)
		if a == none || r.node != "" && r.node != name {
			continue
		}
		if !size.add(name) {
			return nil, tooLong()
		}
		w.Start("", "affiliation").Attr("node", name).Attr("affiliation", a.String()).End()
	}
	return w.End().End().Bytes(), nil
}

const authorization = prefix + "subscribe_authorization"

// askOwner asks for the approval of a subscription (§8.6).
func (g *Engine) askOwner(b *router.Batch, s *service, n *node, who jid.JID) {
	f := forms.Form{Kind: forms.Ask, Type: authorization, Title: "Subscription request", Fields: []forms.Field{
		{Var: "pubsub#node", Type: "text-single", Label: "Node", Values: []string{n.name}},
		{Var: "pubsub#subscriber_jid", Type: "jid-single", Label: "Subscriber", Values: []string{who.String()}},
		{Var: "pubsub#allow", Type: "boolean", Label: "Allow it?", Values: []string{"false"}},
	}}
	var w xmpp.Writer
	f.Write(&w)
	g.o.Router.Emit(&xmpp.Stanza{Kind: xmpp.Message, ID: g.ids.id(), From: s.jid, To: s.jid, Payload: w.Bytes()}, b)
}

// tellOwner tells the owner of a subscription (pubsub#notify_sub).
func (g *Engine) tellOwner(b *router.Batch, s *service, n *node, who jid.JID, st state) {
	g.send(b, s, n, s.jid, subscriptionEvent(n, who, st))
}

func subscriptionEvent(n *node, who jid.JID, st state) []byte {
	var w xmpp.Writer
	w.Start(xmpp.NSPubSubEvent, "event")
	writeSubscription(&w, n.name, who, st)
	return w.End().Bytes()
}

// Approve reads a message from an owner to the service: whether it answers a subscription request (§8.6). If so, it
// does what the answer says; the Pending stands for what was written.
func (g *Engine) Approve(b *router.Batch, of jid.JID, m *xmpp.Stanza) (bool, *storage.Pending, error) {
	x := m.Child(forms.Name)
	if x == nil {
		return false, nil, nil
	}
	f, bad := forms.Parse(x)
	if bad != nil || f.Type != authorization || f.Kind == forms.Ask {
		return false, nil, nil
	}
	node, who, allow := f.Field("pubsub#node"), f.Field("pubsub#subscriber_jid"), f.Field("pubsub#allow")
	if f.Kind != forms.Submit || node == nil || who == nil || allow == nil {
		return true, nil, nil // cancelled: it goes on waiting
	}
	address, err := jid.Parse(who.Value())
	yes, ok := allow.Bool()
	if err != nil || !ok {
		return true, nil, xmpp.BadRequest("")
	}
	s, err := g.lock(of)
	if err != nil {
		return true, nil, err
	}
	defer g.unlock(s)
	n := s.nodes[node.Value()]
	if n == nil || n.subs[address] != pending {
		return true, nil, xmpp.ItemNotFound("nobody waits for that")
	}
	p, err := g.decide(b, s, n, address, yes)
	return true, p, err
}

// decide ends the waiting of a subscriber.
func (g *Engine) decide(b *router.Batch, s *service, n *node, who jid.JID, yes bool) (*storage.Pending, error) {
	var st state
	if yes {
		st = subscribed
	}
	p, err := g.setState(s, n, who, st)
	if err != nil {
		return nil, err
	}
	g.send(b, s, n, who, subscriptionEvent(n, who, st))
	if yes && n.config.Last != Never && n.config.Deliver {
		err = g.sendLast(b, s, n, who)
	}
	return p, err
}

// Revoke ends the subscriptions of an entity, a bare address, to which it has no right any more, and tells it (XEP-0163
// §7.1).
func (g *Engine) Revoke(b *router.Batch, of, entity jid.JID) error {
	s, err := g.lock(of)
	if err != nil {
		return err
	}
	defer g.unlock(s)
	for _, n := range s.nodes {
		if err := g.revoke(b, s, n, entity); err != nil {
			return err
		}
	}
	return nil
}

func (g *Engine) revoke(b *router.Batch, s *service, n *node, entity jid.JID) error {
	for _, who := range addresses(n.subs) {
		if who.Bare() != entity {
			continue
		}
		var refused *xmpp.Error
		switch err := g.may(s, n, entity); {
		case err == nil:
			continue
		case !asError(err, &refused):
			return err
		}
		if _, err := g.setState(s, n, who, 0); err != nil {
			return err
		}
		if !g.o.Profile.Blocks(s.jid, entity) {
			g.send(b, s, n, who, subscriptionEvent(n, who, 0))
		}
	}
	return nil
}

// Bounced ends the subscriptions of an address that is gone, as the error says that an event has come back with
// (§12.4).
func (g *Engine) Bounced(of, from jid.JID, why *xmpp.Error) error {
	if why.Condition != xmpp.CondGone && why.Condition != xmpp.CondItemNotFound {
		return nil
	}
	s, err := g.lock(of)
	if err != nil {
		return err
	}
	defer g.unlock(s)
	for _, n := range s.nodes {
		if n.subs[from] != 0 {
			if _, err := g.setState(s, n, from, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// IsEvent says whether a stanza, or its error, has an id that was given to an event.
func (g *Engine) IsEvent(id string) bool { return strings.HasPrefix(id, g.ids.start) }
