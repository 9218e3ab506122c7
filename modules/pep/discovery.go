package pep

import (
	"strconv"
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/parts"
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
func (*Nodes) Identity() *xmpp.Element { return identity("pep") }

func identity(kind string) *xmpp.Element {
	return &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "identity"},
		Attrs: []xmpp.Attr{attr("category", "pubsub"), attr("type", kind)}}
}

// List returns an <item/> for each node of the user that the asker may subscribe to or read.
func (n *Nodes) List(user, asker jid.JID) ([]*xmpp.Element, error) {
	all, err := n.pep.engine.Visible(user, asker)
	if err != nil {
		return nil, err
	}
	var out []*xmpp.Element
	for _, d := range all {
		item := discoItem(user, attr("node", d.Node))
		if d.Title != "" {
			item.Attrs = append(item.Attrs, attr("name", d.Title))
		}
		out = append(out, item)
	}
	return out, nil
}

// Items returns an <item/> for each item of a node (XEP-0060 §5.5); ok is false if there is no such node for the asker.
func (n *Nodes) Items(user, asker jid.JID, node string) (items []*xmpp.Element, ok bool, err error) {
	ids, ok, err := n.pep.engine.ItemIDs(user, asker, node)
	for _, id := range ids {
		items = append(items, discoItem(user, attr("name", id)))
	}
	return items, ok, err
}

func discoItem(of jid.JID, more xmpp.Attr) *xmpp.Element {
	return &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSDiscoItems, Local: "item"},
		Attrs: []xmpp.Attr{attr("jid", of.String()), more}}
}

// Info is the <query/> about a node (XEP-0060 §5.3, §5.4), nil if there is none for the asker.
func (n *Nodes) Info(user, asker jid.JID, node string) (*xmpp.Element, error) {
	m, err := n.pep.engine.Info(user, asker, node)
	if m == nil || err != nil {
		return nil, err
	}
	field := func(name, kind, label string, values ...string) forms.Field {
		return forms.Field{Var: "pubsub#" + name, Type: kind, Label: label, Values: values}
	}
	f := forms.Form{Kind: forms.Result, Type: "http://jabber.org/protocol/pubsub#meta-data", Fields: append(m.Settings(),
		field("creation_date", "text-single", "Creation date", xmpp.FormatTime(time.UnixMicro(m.Created))),
		field("creator", "jid-single", "Node creator", m.Owner.String()),
		field("owner", "jid-multi", "Node owners", m.Owner.String()),
		field("num_subscribers", "text-single", "Number of subscribers", strconv.Itoa(m.Subscribers)))}
	var w xmpp.Writer
	w.Start(xmpp.NSDiscoInfo, "query").Element(identity("leaf"))
	w.Start("", "feature").Attr("var", xmpp.NSPubSub).End()
	f.Write(&w)
	return xmpp.ParseElement(w.End().Bytes())
}

func attr(name, value string) xmpp.Attr {
	return xmpp.Attr{Name: xmpp.Name{Local: name}, Value: value}
}
