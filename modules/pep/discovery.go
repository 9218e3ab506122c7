package pep

import (
	"jackdaw/modules/internal/parts"
	"jackdaw/modules/internal/pubsub"
	"jackdaw/modules/internal/rsm"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Nodes answers what others ask about the nodes of accounts (XEP-0060 §5, XEP-0163 §6). Addresses are bare; elements
// are the caller's.
type Nodes struct {
	parts.Switch
	pep *PEP
}

// Nodes returns the answers.
func (p *PEP) Nodes() *Nodes { return &Nodes{p.Switch, p} }

// Identity is that of an account (XEP-0163 §6.1).
func (*Nodes) Identity() *xmpp.Element { return pubsub.Identity("pep") }

// List returns an <item/> for each node of the user that the asker may subscribe to or read.
func (n *Nodes) List(user, asker jid.JID) ([]*xmpp.Element, error) {
	items, _, _, err := n.pep.engine.Visible(user, asker, rsm.All())
	return items, err
}

// Items returns an <item/> for each item of a node (XEP-0060 §5.5); ok is false if there is no such node for the asker.
func (n *Nodes) Items(user, asker jid.JID, node string) (items []*xmpp.Element, ok bool, err error) {
	items, _, ok, _, err = n.pep.engine.Contents(user, asker, node, rsm.All())
	return items, ok, err
}

// Info is the <query/> about a node (XEP-0060 §5.3, §5.4), nil if there is none for the asker.
func (n *Nodes) Info(user, asker jid.JID, node string) (*xmpp.Element, error) {
	return n.pep.engine.Info(user, asker, node)
}

func attr(name, value string) xmpp.Attr {
	return xmpp.Attr{Name: xmpp.Name{Local: name}, Value: value}
}
