package pubsub

import (
	"math"
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

const (
	// firstID is the id of the first subscription of an address to a node. An address has few, so that a number is
	// enough (§12.19: it is unique for each node and address).
	firstID = 1
	// maxSame is how many of them it may have.
	maxSame = 10
	// maxLease is the longest time for which a subscription that ends by itself lasts (§12.18).
	maxLease = 365 * 24 * time.Hour
)

// A subscription of an address to a node.
type subscription struct {
	id    uint8 // from firstID on
	state state
	quiet bool  // no events (pubsub#deliver)
	until int64 // when it ends, in microseconds since 1970 (pubsub#expire); 0: never
}

// subID is how an id is written.
func (one *subscription) subID() string { return strconv.Itoa(int(one.id)) }

// same says whether two are the same but for their ids and states.
func (one *subscription) same(other *subscription) bool {
	return one.quiet == other.quiet && one.until == other.until
}

// find is the subscription of an address with an id; nil if there is none.
func (n *node) find(who jid.JID, id uint8) *subscription {
	list := n.subs[who]
	for i := range list {
		if list[i].id == id {
			return &list[i]
		}
	}
	return nil
}

// free is the first id that an address has not used; ok is false if there is none left.
func (n *node) free(who jid.JID) (id uint8, ok bool) {
	for id = firstID; id < firstID+maxSame; id++ {
		if n.find(who, id) == nil {
			return id, true
		}
	}
	return 0, false
}

// subscriptionOf is the state of that of an address; subscribed wins.
func (n *node) subscriptionOf(who jid.JID) (st state) {
	for i := range n.subs[who] {
		st = max(st, n.subs[who][i].state)
	}
	return st
}

// subscription is the state of that of an entity, a bare address, under whichever address; subscribed wins.
func (n *node) subscription(bare jid.JID) (st state) {
	if len(n.subs) == 0 {
		return 0
	}
	for who := range n.subs {
		if who.Bare() == bare {
			st = max(st, n.subscriptionOf(who))
		}
	}
	return st
}

// setSubscription puts one in the place of that with its id, or takes that out if it has no state.
func (s *service) setSubscription(n *node, who jid.JID, one subscription) {
	list := n.subs[who]
	i := slices.IndexFunc(list, func(o subscription) bool { return o.id == one.id })
	switch {
	case one.state == 0 && i < 0:
		return
	case one.state == 0:
		s.subs--
		n.held--
		if list = slices.Delete(slices.Clone(list), i, i+1); len(list) == 0 {
			delete(n.subs, who)
		} else {
			n.subs[who] = list
		}
	case i >= 0:
		list = slices.Clone(list)
		list[i] = one
		n.subs[who] = list
	default:
		s.subs++
		n.held++
		if n.subs == nil {
			n.subs = map[jid.JID][]subscription{}
		}
		n.subs[who] = append(slices.Clip(list), one)
	}
	if one.state != 0 && one.until != 0 && (n.lapse == 0 || one.until < n.lapse) {
		n.lapse = one.until
	}
	if s.shared != nil && (one.state == 0 || i < 0) {
		s.shared.subscribed(n, who, one.state == 0)
	}
}

// subscriptionChange is the write of setSubscription.
func subscriptionChange(n *node, who jid.JID, one subscription) storage.Change {
	c := storage.Change{Key: subscriptionKey(n.name, who, one.id), Delete: one.state == 0}
	if !c.Delete {
		c.Value = one.record()
	}
	return c
}

// keep writes a subscription, or the end of one without a state.
func (g *Engine) keep(s *service, n *node, who jid.JID, one subscription) (*storage.Pending, error) {
	p, err := g.put(s, subscriptionChange(n, who, one))
	if err == nil {
		s.setSubscription(n, who, one)
	}
	return p, err
}

// end ends all subscriptions of an address to a node, and returns what they were.
func (g *Engine) end(s *service, n *node, who jid.JID) ([]subscription, error) {
	list := n.subs[who]
	changes := make([]storage.Change, 0, len(list))
	for _, one := range list {
		changes = append(changes, subscriptionChange(n, who, subscription{id: one.id}))
	}
	if _, err := g.put(s, changes...); err != nil {
		return nil, err
	}
	for _, one := range list {
		s.setSubscription(n, who, subscription{id: one.id})
	}
	return list, nil
}

// lapse ends the subscriptions of a node whose time is over, and tells those who had them (§12.18). Nobody waits for
// the write: if it fails, the service is loaded anew and this is done again.
func (g *Engine) lapse(b *router.Batch, s *service, n *node) error {
	if n.lapse == 0 || n.lapse > now() {
		return nil
	}
	type over struct {
		who jid.JID
		one subscription
	}
	var all []over
	var changes []storage.Change
	next, until := int64(math.MaxInt64), now()
	for _, who := range addresses(n.subs) {
		for _, one := range n.subs[who] {
			switch {
			case one.until == 0:
			case one.until <= until:
				one.state = 0
				all = append(all, over{who, one})
				changes = append(changes, subscriptionChange(n, who, one))
			default:
				next = min(next, one.until)
			}
		}
	}
	if _, err := g.put(s, changes...); err != nil {
		return err
	}
	if n.lapse = next; next == math.MaxInt64 {
		n.lapse = 0
	}
	for _, o := range all {
		s.setSubscription(n, o.who, o.one)
		if !g.o.Profile.Blocks(s.jid, o.who.Bare()) {
			g.send(b, s, n, o.who, subscriptionEvent(n, o.who, &o.one))
		}
	}
	return nil
}

// nodesOf are the names of the nodes with which an entity, a bare address, may have something to do, in order.
func (s *service) nodesOf(bare jid.JID) []string {
	if s.shared == nil {
		return s.sorted()
	}
	var names []string
	for name := range s.shared.of[bare] {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// named reads which subscription of an address a request is about (§6.2.3, §6.3.4).
func (r *request) named(n *node, who jid.JID) (*subscription, error) {
	list := n.subs[who]
	id, err := strconv.ParseUint(r.verb.Attr("subid"), 10, 8)
	switch given := r.verb.Attr("subid") != ""; {
	case len(list) == 0:
		return nil, condition(xmpp.UnexpectedRequest("").WithType(xmpp.ErrorCancel), "not-subscribed")
	case given && (err != nil || n.find(who, uint8(id)) == nil):
		return nil, condition(xmpp.NotAcceptable("there is no such subscription"), "invalid-subid")
	case given:
		return n.find(who, uint8(id)), nil
	case len(list) > 1:
		return nil, condition(xmpp.BadRequest("name the subscription"), "subid-required")
	}
	return &list[0], nil
}

// form writes the options of a subscription (§6.3).
func (one *subscription) form(kind string) *forms.Form {
	deliver, until := "1", []string(nil)
	if one.quiet {
		deliver = "0"
	}
	if one.until != 0 {
		until = []string{xmpp.FormatTime(time.UnixMicro(one.until))}
	}
	return &forms.Form{Kind: kind, Type: prefix + "subscribe_options", Fields: []forms.Field{
		{Var: "pubsub#deliver", Type: "boolean", Label: "Whether events are sent", Values: []string{deliver}},
		{Var: "pubsub#expire", Type: "text-single", Label: "When the subscription ends by itself", Values: until}}}
}

// submit puts what a form says into the options. Fields of the specification that are not known here change nothing.
func (one *subscription) submit(f *forms.Form) *xmpp.Error {
	bad := func(text string) *xmpp.Error { return condition(xmpp.BadRequest(text), "invalid-options") } // §6.3.6
	if f.Kind != forms.Submit {
		return bad("the form is not filled in")
	}
	if field := f.Field("pubsub#deliver"); field != nil {
		deliver, ok := field.Bool()
		if !ok {
			return bad("pubsub#deliver is yes or no")
		}
		one.quiet = !deliver
	}
	field := f.Field("pubsub#expire")
	if field == nil {
		return nil
	}
	one.until = 0
	if text := strings.TrimSpace(field.Value()); text != "" {
		at, err := xmpp.ParseTime(text)
		if err != nil { // among them presence (§12.4), which would ask for that of the subscriber
			return bad("pubsub#expire is a time of XEP-0082")
		}
		most := time.Now().Add(maxLease) // §12.18: beyond, as long as there is
		if at.After(most) {
			at = most
		}
		if one.until = at.UnixMicro(); one.until <= now() {
			return bad("pubsub#expire is over")
		}
	}
	return nil
}

// optionsForm reads the form of options in an element; nil for none.
func optionsForm(el *xmpp.Element) (*forms.Form, error) { return form(el, prefix+"subscribe_options") }

// optionsOf reads whose options are asked for; they are the requester's (§6.3.4.1, §6.3.4.3).
func (r *request) optionsOf() (n *node, who jid.JID, one *subscription, err error) {
	if n, err = r.existing(); err != nil {
		return nil, who, nil, err
	}
	if r.verb.Attr("jid") == "" {
		return nil, who, nil, condition(xmpp.BadRequest("name the subscriber"), "jid-required")
	}
	if who, err = r.subscriber(); err != nil {
		return nil, who, nil, err
	}
	if who.Bare() != r.actor {
		return nil, who, nil, forbidden()
	}
	one, err = r.named(n, who)
	return n, who, one, err
}

// options: §6.3.2.
func (g *Engine) options(r *request) ([]byte, error) {
	n, who, one, err := r.optionsOf()
	if err != nil {
		return nil, err
	}
	var w xmpp.Writer
	w.Start(xmpp.NSPubSub, "pubsub").Start("", "options").Attr("node", n.name).Attr("jid", who.String())
	w.Attr("subid", one.subID())
	one.form(forms.Ask).Write(&w)
	return w.End().End().Bytes(), nil
}

// setOptions: §6.3.5.
func (g *Engine) setOptions(r *request) ([]byte, error) {
	n, who, old, err := r.optionsOf()
	if err != nil {
		return nil, err
	}
	if x := r.verb.Child(forms.Name); x != nil && x.Attr("type") == forms.Cancel {
		return nil, nil
	}
	f, err := optionsForm(r.verb)
	switch {
	case err != nil:
		return nil, err
	case f == nil:
		return nil, condition(xmpp.BadRequest("options without a form"), "invalid-options")
	}
	one := *old
	if bad := one.submit(f); bad != nil {
		return nil, bad
	}
	if one == *old {
		return nil, nil
	}
	p, err := g.keep(r.svc, n, who, one)
	r.await(p)
	return nil, err
}

// defaultOptions: §6.4.
func (g *Engine) defaultOptions(r *request) ([]byte, error) {
	if r.node != "" && r.svc.nodes[r.node] == nil {
		return nil, noNode()
	}
	var w xmpp.Writer
	w.Start(xmpp.NSPubSub, "pubsub").Start("", "default").AttrIf("node", r.node)
	new(subscription).form(forms.Ask).Write(&w)
	return w.End().End().Bytes(), nil
}
