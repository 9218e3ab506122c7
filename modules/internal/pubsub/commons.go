package pubsub

import "jackdaw/xmpp/jid"

// The bounds of a service that many share, beside Limits.
const (
	// maxPlaces is of how many items the order stays in memory.
	maxPlaces = 200_000
	// guestShare is the part of a node's room that those may have, each, who publish there without an affiliation, and
	// of their maker's bytes all of them together: 1/guestShare.
	guestShare = 4
	// copyCost is what an event for one subscriber counts against the budget of its publisher, in bytes.
	copyCost = 100
)

// commons is what is known of the people of a service that many share, so that nothing that one of them asks looks
// through the nodes of all.
type commons struct {
	sharer func(jid.JID) string
	// of says how often somebody, a bare address, is subscribed to or affiliated with nodes.
	of     map[jid.JID]map[string]int
	shares map[string]int                // subscriptions, by sharer
	made   map[string]map[*node]struct{} // nodes, by the sharer that their maker is
}

func (c *commons) empty() { c.of, c.shares, c.made = nil, nil, nil }

func (c *commons) add(n *node) {
	if c.of == nil {
		c.of, c.shares, c.made = map[jid.JID]map[string]int{}, map[string]int{}, map[string]map[*node]struct{}{}
	}
	who := c.sharer(n.maker)
	if c.made[who] == nil {
		c.made[who] = map[*node]struct{}{}
	}
	c.made[who][n] = struct{}{}
}

func (c *commons) drop(n *node) {
	who := c.sharer(n.maker)
	if delete(c.made[who], n); len(c.made[who]) == 0 {
		delete(c.made, who)
	}
}

// count notes one thing more or less between somebody and a node.
func (c *commons) count(n *node, who jid.JID, less bool) {
	bare := who.Bare()
	nodes := c.of[bare]
	if nodes == nil {
		nodes = map[string]int{}
		c.of[bare] = nodes
	}
	if !less {
		nodes[n.name]++
		return
	}
	if nodes[n.name]--; nodes[n.name] <= 0 {
		delete(nodes, n.name)
	}
	if len(nodes) == 0 {
		delete(c.of, bare)
	}
}

// subscribed notes a subscription more or less.
func (c *commons) subscribed(n *node, who jid.JID, less bool) {
	c.count(n, who, less)
	by := 1
	if less {
		by = -1
	}
	if n.shares == nil {
		n.shares = map[string]int{}
	}
	sharer := c.sharer(who)
	for _, shares := range []map[string]int{c.shares, n.shares} {
		if shares[sharer] += by; shares[sharer] <= 0 {
			delete(shares, sharer)
		}
	}
}
