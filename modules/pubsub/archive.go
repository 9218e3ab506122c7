package pubsub

import (
	"context"
	"slices"

	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// query answers a question to the archive of a node (XEP-0442, XEP-0313).
func (m *Service) query(e *router.Envelope, name xmpp.Name) {
	s, el := e.Stanza, e.Stanza.Child(name)
	if el == nil {
		return
	}
	node := el.Attr("node")
	if node == "" { // the service itself has no messages
		e.Refuse(xmpp.ItemNotFound("name the node"))
		return
	}
	log, err := m.engine.Archive(s.To.Bare(), s.From.Bare(), node)
	if err != nil {
		e.Refuse(m.fault(err))
		return
	}
	archive := mam.Archive{Log: log, Owner: node}
	switch {
	case name == mam.MetadataName:
		b, err := mam.Metadata(context.Background(), archive)
		if err != nil {
			e.Refuse(m.fault(err))
			return
		}
		m.o.Router.Answer(e, b)
		return
	case s.Type == xmpp.TypeGet:
		m.o.Router.Answer(e, mam.Form(false))
		return
	}
	of := *el
	of.Attrs = slices.DeleteFunc(slices.Clone(el.Attrs), func(a xmpp.Attr) bool { return a.Name.Local == "node" })
	q, bad := mam.Parse(&of)
	if bad != nil {
		e.Refuse(bad)
		return
	}
	question := mam.Question{IQ: xmpp.Stanza{Kind: xmpp.IQ, Type: s.Type, ID: s.ID, From: s.From, To: s.To},
		Session: e.Session, Archive: archive, Query: q}
	if !q.With.IsZero() {
		question.Match.Peer = q.With.Bare().String()
	}
	if bad := m.desk.Ask(e, question); bad != nil {
		e.Refuse(bad)
	}
}

// service is that of a host.
func service(host jid.JID, domains []string) (jid.JID, bool) {
	for _, domain := range domains {
		if HostOf(domain) == host.Domain() {
			of, err := jid.New("", domain, "")
			return of, err == nil
		}
	}
	return jid.JID{}, false
}

// portable: the nodes of the service are among what its host keeps, as XEP-0227 §4.10 has those of an account.
func (m *Service) portable() []router.Portable {
	sections := m.engine.Sections()
	for i := range sections {
		take := sections[i].Import
		sections[i].Import = func(ctx context.Context, in *router.Incoming) error {
			of, ok := service(in.User, m.o.Domains())
			if !ok {
				in.Refuse("a node of a service that is not here")
				return nil
			}
			if !m.o.Router.Here(of.Domain()) { // its home stores it
				return nil
			}
			host := in.User
			in.User = of
			defer func() { in.User = host }()
			return take(ctx, in)
		}
	}
	return []router.Portable{{
		Spaces: []string{"map pubsub", "map pubsub-items"},
		ExportHost: func(ctx context.Context, host string, put func([]byte) error) error {
			at, err := jid.New("", host, "")
			if err != nil {
				return err
			}
			of, ok := service(at, m.o.Domains())
			if !ok {
				return nil
			}
			return m.engine.Export(ctx, of, put)
		},
		ImportHost: sections,
	}}
}
