package pubsub

import (
	"slices"
	"strings"
	"time"

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

// subscribe: §6.1. Whoever is subscribed already and asks for other options gets one more subscription (§6.1.6).
func (g *Engine) subscribe(r *request) ([]byte, error) {
	wanted := subscription{}
	el, all := r.body.ChildLocal("options"), r.body.Children()
	if el != nil { // §6.3.7
		if el.HasAttr("node") || el.HasAttr("jid") || slices.Index(all, el) < slices.Index(all, r.verb) {
			return nil, xmpp.BadRequest("the options come after the subscription, and do not name it")
		}
		f, err := optionsForm(el)
		switch {
		case err != nil:
			return nil, err
		case f == nil:
			el = nil
		default:
			if bad := wanted.submit(f); bad != nil {
				return nil, bad
			}
		}
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
	list := n.subs[who]
	if slices.ContainsFunc(list, func(one subscription) bool { return one.state == pending }) { // §6.1.3.7
		return nil, condition(xmpp.NotAuthorized(""), "pending-subscription")
	}
	i := slices.IndexFunc(list, func(one subscription) bool { return el == nil || one.same(&wanted) })
	if i >= 0 {
		wanted = list[i]
	} else if err := g.begin(r, n, who, &wanted); err != nil {
		return nil, err
	}
	var w xmpp.Writer
	w.Start(xmpp.NSPubSub, "pubsub")
	writeSubscription(&w, n.name, who, &wanted)
	if el != nil {
		w.Start("", "options")
		wanted.form(forms.Result).Write(&w)
		w.End()
	}
	return w.End().Bytes(), nil
}

// begin makes a subscription with these options, and gives it its id and state.
func (g *Engine) begin(r *request, n *node, who jid.JID, one *subscription) error {
	id, fits := n.free(who)
	if fits {
		var err error
		if fits, err = g.oneMore(r, n, who); err != nil {
			return err
		}
	}
	if !fits { // §6.1.3.9
		return condition(xmpp.PolicyViolation("").WithType(xmpp.ErrorWait), "too-many-subscriptions")
	}
	one.id, one.state = id, subscribed
	if n.config.Access == Authorize && g.affiliation(r.svc, n, r.actor) == none && n.subscription(r.actor) != subscribed {
		one.state = pending
	}
	p, err := g.keep(r.svc, n, who, *one)
	if err != nil {
		return err
	}
	r.await(p)
	if one.state == pending {
		g.askOwners(r.e.Batch, r.svc, n, who)
		return nil
	}
	if n.config.TellSubscription {
		g.tellOwners(r.e.Batch, r.svc, n, who, one)
	}
	// §6.1.7
	if n.config.Last != Never && n.config.Deliver && !one.quiet && !g.o.Profile.Blocks(r.service, r.actor) {
		return g.sendLast(r.e.Batch, r.svc, n, who)
	}
	return nil
}

// oneMore says whether a node may have another subscription of an address. Its owner may fill it, and so may, one by
// one, who may see an owner's presence; strangers share the room. Where many share the service, what owners fill counts
// for whoever has made the node.
func (g *Engine) oneMore(r *request, n *node, who jid.JID) (bool, error) {
	count, whole, l := int64(n.held), int64(r.svc.subs), g.o.Limits()
	most, mostWhole := l.subscriptions()
	fits := func(own, ownWhole int64) bool {
		return storage.Fair(most, count, own, 1) && storage.Fair(mostWhole, whole, ownWhole, 1)
	}
	if fits(count, whole) {
		return true, nil
	}
	if r.owns(n) {
		own := int64(0)
		if c := r.svc.shared; c != nil {
			for other := range c.made[c.sharer(n.maker)] {
				own += int64(other.held)
			}
			return count < most && storage.Fair(mostWhole, whole, own, 1), nil
		}
		return count < most && whole < mostWhole, nil
	}
	near, err := g.near(r.svc, n, r.actor)
	if err != nil {
		return false, err
	}
	if near {
		return count < most && whole < mostWhole, nil
	}
	sharer := g.o.Router.Sharer(who)
	if c := r.svc.shared; c != nil {
		return fits(int64(n.shares[sharer]), int64(c.shares[sharer])), nil
	}
	own, ownWhole := int64(0), int64(0)
	for _, one := range r.svc.nodes {
		for other, list := range one.subs {
			if g.o.Router.Sharer(other) != sharer {
				continue
			}
			if ownWhole += int64(len(list)); one == n {
				own += int64(len(list))
			}
		}
	}
	return fits(own, ownWhole), nil
}

func writeSubscription(w *xmpp.Writer, node string, who jid.JID, one *subscription) {
	w.Start("", "subscription").AttrIf("node", node).Attr("jid", who.String()).Attr("subscription", one.state.String())
	w.Attr("subid", one.subID()) // §6.1.6
	if one.until != 0 && one.state != 0 {
		w.Attr("expiry", xmpp.FormatTime(time.UnixMicro(one.until)))
	}
	w.End()
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
	one, err := r.named(n, who)
	if err != nil {
		return nil, err
	}
	over := subscription{id: one.id}
	p, err := g.keep(r.svc, n, who, over)
	if err != nil {
		return nil, err
	}
	r.await(p)
	if n.config.TellSubscription {
		g.tellOwners(r.e.Batch, r.svc, n, who, &over)
	}
	var w xmpp.Writer
	w.Start(xmpp.NSPubSub, "pubsub")
	writeSubscription(&w, n.name, who, &over)
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
	for _, name := range r.svc.nodesOf(r.actor) {
		n := r.svc.nodes[name]
		if r.node != "" && r.node != name {
			continue
		}
		if err := g.lapse(r.e.Batch, r.svc, n); err != nil {
			return nil, err
		}
		for _, who := range addresses(n.subs) {
			if who.Bare() != r.actor {
				continue
			}
			for i := range n.subs[who] {
				if !a.add(name, who.String()) {
					return nil, tooLong()
				}
				writeSubscription(&w, name, who, &n.subs[who][i])
			}
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
	for _, name := range r.svc.nodesOf(r.actor) {
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

// askOwners asks for the approval of a subscription (§8.6).
func (g *Engine) askOwners(b *router.Batch, s *service, n *node, who jid.JID) {
	for _, to := range g.owners(s, n) {
		g.ask(b, s, n, who, to)
	}
}

func (g *Engine) ask(b *router.Batch, s *service, n *node, who, to jid.JID) {
	f := forms.Form{Kind: forms.Ask, Type: authorization, Title: "Subscription request", Fields: []forms.Field{
		{Var: "pubsub#node", Type: "text-single", Label: "Node", Values: []string{n.name}},
		{Var: "pubsub#subscriber_jid", Type: "jid-single", Label: "Subscriber", Values: []string{who.String()}},
		{Var: "pubsub#allow", Type: "boolean", Label: "Allow it?", Values: []string{"false"}},
	}}
	var w xmpp.Writer
	f.Write(&w)
	g.o.Router.Emit(&xmpp.Stanza{Kind: xmpp.Message, ID: g.ids.id(), From: s.jid, To: to, Payload: w.Bytes()}, b)
}

// tellOwners tells the owners of a subscription (pubsub#notify_sub).
func (g *Engine) tellOwners(b *router.Batch, s *service, n *node, who jid.JID, one *subscription) {
	for _, to := range g.owners(s, n) {
		g.send(b, s, n, to, subscriptionEvent(n, who, one))
	}
}

func subscriptionEvent(n *node, who jid.JID, one *subscription) []byte {
	var w xmpp.Writer
	w.Start(xmpp.NSPubSubEvent, "event")
	writeSubscription(&w, n.name, who, one)
	return w.End().Bytes()
}

// waiting are the nodes of an owner, a bare address, at which somebody waits for approval, in order.
func (g *Engine) waiting(s *service, by jid.JID) (names []string) {
	for _, name := range s.nodesOf(by) {
		n := s.nodes[name]
		if g.affiliation(s, n, by) != owner {
			continue
		}
		for _, list := range n.subs {
			if list[0].state == pending {
				names = append(names, name)
				break
			}
		}
	}
	return names
}

// Waiting are the nodes of an owner, a bare address, at which somebody waits for approval (§8.7.1), in order, as far as
// they fit into one answer.
func (g *Engine) Waiting(of, by jid.JID) ([]string, error) {
	s, err := g.lock(of)
	if err != nil {
		return nil, err
	}
	defer g.unlock(s)
	names := g.waiting(s, by)
	var a answer
	for i, name := range names {
		if !a.add(name) {
			return names[:i], nil
		}
	}
	return names, nil
}

// askedAgain is how many requests AskAgain sends at once.
const askedAgain = 1000

// AskAgain sends an owner the requests of those who wait for approval at a node (§8.7.2). from is the owner's full
// address.
func (g *Engine) AskAgain(b *router.Batch, of, from jid.JID, node string) error {
	s, err := g.lock(of)
	if err != nil {
		return err
	}
	defer g.unlock(s)
	n := s.nodes[node]
	switch {
	case n == nil: // §8.7.3.4
		return noNode()
	case g.affiliation(s, n, from.Bare()) != owner: // §8.7.3.3
		return forbidden()
	}
	sent := 0
	for _, who := range addresses(n.subs) {
		if n.subs[who][0].state == pending && sent < askedAgain {
			g.ask(b, s, n, who, from)
			sent++
		}
	}
	return nil
}

// Approve reads a message from somebody, a bare address, to the service: whether it answers a subscription request
// (§8.6). If so, it does what the answer says; the Pending stands for what was written.
func (g *Engine) Approve(b *router.Batch, of, by jid.JID, m *xmpp.Stanza) (bool, *storage.Pending, error) {
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
	if n != nil && g.affiliation(s, n, by) != owner {
		return true, nil, forbidden()
	}
	if n == nil || len(n.subs[address]) == 0 || n.subs[address][0].state != pending {
		return true, nil, xmpp.ItemNotFound("nobody waits for that")
	}
	p, err := g.decide(b, s, n, address, n.subs[address][0], yes)
	return true, p, err
}

// decide ends the waiting of a subscriber, or a subscription.
func (g *Engine) decide(b *router.Batch, s *service, n *node, who jid.JID, one subscription, yes bool) (
	*storage.Pending, error) {
	if one.state = 0; yes {
		one.state = subscribed
	}
	p, err := g.keep(s, n, who, one)
	if err != nil {
		return nil, err
	}
	g.send(b, s, n, who, subscriptionEvent(n, who, &one))
	if yes && n.config.Last != Never && n.config.Deliver && !one.quiet {
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
	for _, name := range s.nodesOf(entity) {
		if err := g.revoke(b, s, s.nodes[name], entity); err != nil {
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
		had, err := g.end(s, n, who)
		if err != nil {
			return err
		}
		for i := range had {
			if had[i].state = 0; !g.o.Profile.Blocks(s.jid, entity) {
				g.send(b, s, n, who, subscriptionEvent(n, who, &had[i]))
			}
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
	for _, name := range s.nodesOf(from.Bare()) {
		if n := s.nodes[name]; len(n.subs[from]) > 0 {
			if _, err := g.end(s, n, from); err != nil {
				return err
			}
		}
	}
	return nil
}

// IsEvent says whether a stanza, or its error, has an id that was given to an event.
func (g *Engine) IsEvent(id string) bool { return strings.HasPrefix(id, g.ids.start) }
