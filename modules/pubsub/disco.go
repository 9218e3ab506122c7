package pubsub

import (
	"slices"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/mam"
	engine "jackdaw/modules/internal/pubsub"
	"jackdaw/modules/internal/rsm"
	"jackdaw/router"
	"jackdaw/xmpp"
)

var (
	infoQuery   = xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "query"}
	itemsQuery  = xmpp.Name{Space: xmpp.NSDiscoItems, Local: "query"}
	pingName    = xmpp.Name{Space: xmpp.NSPing, Local: "ping"}
	commandName = xmpp.Name{Space: xmpp.NSCommands, Local: "command"}
)

// getPending is the command by which owners find who waits for approval (§8.7), and its feature.
const getPending = "http://jabber.org/protocol/pubsub#get-pending"

const commandTitle = "Subscription requests"

// features are those of the service (§10).
func features() []string {
	all := append(engine.Features(), xmpp.NSDiscoInfo, xmpp.NSDiscoItems, xmpp.NSPing, xmpp.NSRSM, xmpp.NSCommands,
		mam.Feature, mam.FeatureExtended, getPending)
	slices.Sort(all)
	return all
}

// disco answers what the service and its nodes are (§5).
func (m *Service) disco(e *router.Envelope, name xmpp.Name) {
	q := e.Stanza.Child(name)
	if q == nil || e.Stanza.Type != xmpp.TypeGet {
		return // refused by the router
	}
	node := q.Attr("node")
	answer := &xmpp.Element{Name: name}
	if node != "" {
		answer.Attrs = []xmpp.Attr{{Name: xmpp.Name{Local: "node"}, Value: node}}
	}
	if name == itemsQuery {
		m.items(e, q, answer, node)
		return
	}
	add := func(el *xmpp.Element) { answer.Content = append(answer.Content, xmpp.Node{Elem: el}) }
	switch node {
	case "":
		identity := engine.Identity("service")
		identity.Attrs = append(identity.Attrs, xmpp.Attr{Name: xmpp.Name{Local: "name"}, Value: "Publish-Subscribe"})
		add(identity)
		for _, f := range features() {
			add(feature(f))
		}
	case xmpp.NSCommands, getPending: // XEP-0050 §2.2
		kind, title := "command-list", "Commands"
		if node == getPending {
			kind, title = "command-node", commandTitle
		}
		add(&xmpp.Element{Name: xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "identity"}, Attrs: []xmpp.Attr{
			{Name: xmpp.Name{Local: "category"}, Value: "automation"}, {Name: xmpp.Name{Local: "type"}, Value: kind},
			{Name: xmpp.Name{Local: "name"}, Value: title}}})
		add(feature(xmpp.NSCommands))
		add(feature(xmpp.NSDataForms))
	default:
		info, err := m.engine.Info(e.Stanza.To.Bare(), e.Stanza.From.Bare(), node, mam.Feature, mam.FeatureExtended)
		switch {
		case err != nil:
			e.Refuse(m.fault(err))
			return
		case info == nil:
			e.Refuse(xmpp.ItemNotFound("there is no such node"))
			return
		}
		answer.Content = info.Content
	}
	m.o.Router.Answer(e, answer.Append(nil))
}

func feature(name string) *xmpp.Element {
	return &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "feature"},
		Attrs: []xmpp.Attr{{Name: xmpp.Name{Local: "var"}, Value: name}}}
}

// items lists the nodes of the service, or the items of one (§5.2, §5.5), in pages.
func (m *Service) items(e *router.Envelope, q, answer *xmpp.Element, node string) {
	asked := q.Child(rsm.Name)
	want, bad := rsm.Parse(asked)
	if bad != nil {
		e.Refuse(bad)
		return
	}
	of, from := e.Stanza.To.Bare(), e.Stanza.From.Bare()
	var all []*xmpp.Element
	var set rsm.Answer
	var err error
	ok := true
	switch node {
	case "":
		all, set, bad, err = m.engine.Visible(of, from, want)
	case xmpp.NSCommands:
		all = []*xmpp.Element{{Name: xmpp.Name{Space: xmpp.NSDiscoItems, Local: "item"}, Attrs: []xmpp.Attr{
			{Name: xmpp.Name{Local: "jid"}, Value: of.String()}, {Name: xmpp.Name{Local: "node"}, Value: getPending},
			{Name: xmpp.Name{Local: "name"}, Value: commandTitle}}}}
		set.Count = 1
		asked = nil
	default:
		all, set, ok, bad, err = m.engine.Contents(of, from, node, want)
	}
	switch {
	case err != nil:
		e.Refuse(m.fault(err))
		return
	case !ok:
		e.Refuse(xmpp.ItemNotFound("there is no such node"))
		return
	case bad != nil:
		e.Refuse(bad)
		return
	}
	for _, item := range all {
		answer.Content = append(answer.Content, xmpp.Node{Elem: item})
	}
	if asked != nil || len(all) < set.Count {
		var w xmpp.Writer
		set.Write(&w)
		if el, err := xmpp.ParseElement(w.Bytes()); err == nil { // it is what was just written
			answer.Content = append(answer.Content, xmpp.Node{Elem: el})
		}
	}
	m.o.Router.Answer(e, answer.Append(nil))
}

// command runs the only one there is (§8.7, XEP-0050). Nothing is kept between its steps.
func (m *Service) command(e *router.Envelope) {
	el := e.Stanza.Child(commandName)
	switch {
	case el == nil || e.Stanza.Type != xmpp.TypeSet:
		return
	case el.Attr("node") != getPending:
		e.Refuse(xmpp.ItemNotFound("there is no such command"))
		return
	}
	status := "completed"
	var f *forms.Form
	switch action := el.Attr("action"); action {
	case "cancel":
		status = "canceled"
	case "", "execute", "complete", "next":
		var err error
		if x := el.Child(forms.Name); x != nil && x.Attr("type") == forms.Submit {
			err = m.askAgain(e, x)
		} else {
			status = "executing"
			f, err = m.waiting(e)
		}
		if err != nil {
			e.Refuse(m.fault(err))
			return
		}
	default:
		e.Refuse(xmpp.BadRequest("there is no such action").WithApp(xmpp.NSCommands, "bad-action"))
		return
	}
	w := xmpp.NewWriter(nil).Start(xmpp.NSCommands, "command").Attr("node", getPending).Attr("sessionid", "pending").
		Attr("status", status)
	if f != nil {
		w.Start("", "actions").Attr("execute", "complete").Start("", "complete").End().End()
		f.Write(w)
	}
	m.o.Router.Answer(e, w.End().Bytes())
}

// waiting is the form that asks for a node at which somebody waits (§8.7.2).
func (m *Service) waiting(e *router.Envelope) (*forms.Form, error) {
	names, err := m.engine.Waiting(e.Stanza.To.Bare(), e.Stanza.From.Bare())
	if err != nil {
		return nil, err
	}
	field := forms.Field{Var: "pubsub#node", Type: "list-single", Label: "The node whose requests are to be sent again"}
	for _, name := range names {
		field.Options = append(field.Options, forms.Option{Value: name})
	}
	return &forms.Form{Kind: forms.Ask, Type: "http://jabber.org/protocol/pubsub#subscribe_authorization",
		Title: commandTitle, Fields: []forms.Field{field}}, nil
}

// askAgain sends the requests of the node that was chosen (§8.7.4).
func (m *Service) askAgain(e *router.Envelope, x *xmpp.Element) error {
	f, bad := forms.Parse(x)
	if bad != nil {
		return bad
	}
	node := f.Field("pubsub#node")
	if node == nil || node.Value() == "" {
		return xmpp.BadRequest("choose a node").WithApp(xmpp.NSCommands, "bad-payload")
	}
	return m.engine.AskAgain(e.Batch, e.Stanza.To.Bare(), e.Stanza.From, node.Value())
}
