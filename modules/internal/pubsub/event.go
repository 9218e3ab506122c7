package pubsub

import (
	"crypto/rand"
	"strconv"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// ids makes the ids of events, which must not repeat (§12.3).
type ids struct {
	start string
	next  atomic.Uint64
}

func (i *ids) init() { i.start = "event-" + rand.Text()[:8] + "-" }

func (i *ids) id() string { return i.start + strconv.FormatUint(i.next.Add(1), 36) }

func (it *Item) write(w *xmpp.Writer, c *Config, payload bool) {
	w.Start("", "item").AttrIf("id", it.ID)
	if c.NamePublisher { // §7.1.2.3
		w.Attr("publisher", it.By)
	}
	if payload {
		w.Raw(it.Payload)
	}
	w.End()
}

// itemsEvent is the event of items that were published (§7.1.2.1, §7.1.2.2).
func itemsEvent(n *node, items []Item) []byte {
	var w xmpp.Writer
	w.Start(xmpp.NSPubSubEvent, "event").Start("", "items").Attr("node", n.name)
	for i := range items {
		items[i].write(&w, &n.config, n.config.Payloads)
	}
	return w.End().End().Bytes()
}

func (g *Engine) tellItems(b *router.Batch, s *service, n *node, items []Item, from jid.JID) {
	if n.config.Deliver {
		g.tell(b, s, n, news{event: itemsEvent(n, items), from: from, items: true})
	}
}

func (g *Engine) tellRetracted(b *router.Batch, s *service, n *node, ids []string, from jid.JID) {
	if !n.config.Deliver {
		return
	}
	var w xmpp.Writer
	w.Start(xmpp.NSPubSubEvent, "event").Start("", "items").Attr("node", n.name)
	for _, id := range ids {
		w.Start("", "retract").Attr("id", id).End()
	}
	g.tell(b, s, n, news{event: w.End().End().Bytes(), from: from, items: true})
}

// news is an event for all who are to have it.
type news struct {
	event   []byte
	from    jid.JID // the session that caused it
	waiting bool    // those whose subscription is not approved yet get it too
	items   bool    // it is about items, so that it says which of several subscriptions it is for (§12.14)
}

// tell gives an event to all who are to have it, each once. The caller holds the service, so that events leave in the
// order of the changes.
func (g *Engine) tell(b *router.Batch, s *service, n *node, what news) {
	event := what.event
	if err := g.lapse(b, s, n); err != nil {
		g.o.Log.Warn("subscriptions whose time is over are still there", "service", s.jid, "error", err)
	}
	told := map[jid.JID]bool{}
	var named []byte
	g.o.Profile.Implicit(s.jid, n.name, func(full jid.JID) {
		bare := full.Bare()
		if told[full] || g.mayRead(s, n, bare) != nil || g.o.Profile.Blocks(s.jid, bare) {
			return
		}
		told[full] = true
		if sees, err := g.o.Profile.Sees(s.jid, bare); err != nil || !sees && bare != s.jid { // XEP-0163 §4.3.1
			g.send(b, s, n, full, event)
			return
		}
		if named == nil {
			named = withReply(event, what.from)
		}
		g.send(b, s, n, full, named)
	})
	for who, list := range n.subs {
		if !heard(list, what.waiting) || g.may(s, n, who.Bare()) != nil || g.o.Profile.Blocks(s.jid, who.Bare()) {
			continue
		}
		event := event
		if what.items && len(list) > 1 {
			event = withIDs(event, list)
		}
		to := []jid.JID{who}
		if !who.IsFull() {
			if at := g.o.Profile.Resources(s.jid, who, n.name); len(at) > 0 { // XEP-0163 §4.3.2
				to = at
			}
		}
		for _, one := range to {
			if !told[one] {
				told[one] = true
				g.send(b, s, n, one, event)
			}
		}
	}
}

// heard says whether one of the subscriptions of an address brings it events.
func heard(list []subscription, waiting bool) bool {
	for i := range list {
		if one := &list[i]; (waiting || one.state == subscribed) && !one.quiet {
			return true
		}
	}
	return false
}

// withIDs says for which subscriptions an event is (§7.1.2.4, XEP-0131).
func withIDs(event []byte, list []subscription) []byte {
	w := xmpp.NewWriter(append([]byte(nil), event...))
	w.Start(xmpp.NSHeaders, "headers")
	for i := range list {
		if one := &list[i]; one.state == subscribed && !one.quiet {
			w.Start("", "header").Attr("name", "SubID").Text(one.subID()).End()
		}
	}
	return w.End().Bytes()
}

// withReply says which session has caused the event, for those who see the owner's presence (XEP-0163 §4.3.1).
func withReply(event []byte, from jid.JID) []byte {
	if !from.IsFull() {
		return event
	}
	w := xmpp.NewWriter(append([]byte(nil), event...))
	w.Start(xmpp.NSAddress, "addresses").Start("", "address").Attr("type", "replyto").
		Attr("jid", from.String()).End().End()
	return w.Bytes()
}

func (g *Engine) send(b *router.Batch, s *service, n *node, to jid.JID, payload []byte) {
	s.copies++
	t := xmpp.TypeHeadline
	if n.config.Normal {
		t = xmpp.TypeNormal
	}
	g.o.Router.Emit(&xmpp.Stanza{Kind: xmpp.Message, Type: t, ID: g.ids.id(), From: s.jid, To: to, Payload: payload}, b)
}

// sendLast sends the item published last to somebody to whom it is news (§6.1.7), with the time of its publication
// (XEP-0203).
func (g *Engine) sendLast(b *router.Batch, s *service, n *node, to jid.JID) error {
	it, err := g.last(s, n)
	if err != nil || it == nil {
		return err
	}
	w := xmpp.NewWriter(itemsEvent(n, []Item{*it}))
	w.Start(xmpp.NSDelay, "delay").Attr("stamp", xmpp.FormatTime(time.UnixMicro(it.At))).End()
	g.send(b, s, n, to, w.Bytes())
	return nil
}

// greetAtOnce is how many bytes of payloads a step of a Greeting goes beyond by one item at most.
const greetAtOnce = 64 << 10

// A Greeting sends somebody the last items of a service's nodes that it wants and may have, node by node.
type Greeting struct {
	g       *Engine
	of, to  jid.JID
	wants   func(node string) bool
	grouped bool
	after   string // the node that it has come to
}

// Greet greets a client that has become available or says anew what it wants. to is a full address.
func (g *Engine) Greet(of, to jid.JID, wants func(node string) bool) *Greeting {
	return &Greeting{g: g, of: of, to: to, wants: wants}
}

// GreetGroup is Greet for the nodes only that are for groups of the owner's roster: for a client of a contact that may
// have come into one (§12.2).
func (g *Engine) GreetGroup(of, to jid.JID, wants func(node string) bool) *Greeting {
	return &Greeting{g: g, of: of, to: to, wants: wants, grouped: true}
}

// Step sends the next items, some 64 KiB or one that is larger, and says whether there may be more.
func (t *Greeting) Step(b *router.Batch) (more bool, err error) {
	g := t.g
	s, err := g.lock(t.of)
	if err != nil {
		return false, err
	}
	defer g.unlock(s)
	if len(s.nodes) == 0 || g.o.Profile.Blocks(t.of, t.to.Bare()) {
		return false, nil
	}
	size := 0
	for _, name := range s.sorted() {
		if name <= t.after {
			continue
		}
		if size >= greetAtOnce {
			return true, nil
		}
		t.after = name
		n := s.nodes[name]
		if n.config.Last != OnPresence || !n.config.Deliver || t.grouped && n.config.Access != Roster || !t.wants(name) ||
			g.mayRead(s, n, t.to.Bare()) != nil {
			continue
		}
		if err := g.sendLast(b, s, n, t.to); err != nil {
			return false, err
		}
		if len(n.index) > 0 {
			size += n.index[len(n.index)-1].size
		}
	}
	return false, nil
}

// All sends everything at once.
func (t *Greeting) All(b *router.Batch) error {
	for {
		if more, err := t.Step(b); !more || err != nil {
			return err
		}
	}
}
