// Package markers takes from what arrives all that only a user's own server may say.
//
// Taken out of messages, whoever sends them:
//   - copies of other messages (XEP-0280 §11): the server makes them and gives them to sessions itself;
//   - times of delivery noted in the name of the recipient's account or of a host of ours (XEP-0203 §5), out of
//     presence too, unless the server itself sends it;
//   - results of archives (XEP-0313 §8.2) in what a user of ours sends, by client or by HTTP in whatever name, and in
//     what comes from a full address: no archive has one.
//
// Results from bare addresses and domains elsewhere pass: they are those of rooms and other archives, which clients
// ask directly, and only the client knows what it asked. Likewise answers to requests, which clients tell by
// sender and id. Refused are requests to a client that would change what it believes the server keeps: its
// contacts (RFC 6121 §2.1.6), its block list (XEP-0191 §3.3) and its privacy lists (XEP-0016), unless its account or
// host sends them. Nobody can take those addresses: what a peer or a component sends is of its own domain.
//
// Stanza ids in our name are the business of module stanzaid. What is deeper inside a message is payload.
package markers

import (
	"strings"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	nsOldDelay = "jabber:x:delay" // XEP-0091, which clients still read
	nsPrivacy  = "jabber:iq:privacy"
	nsArchives = "urn:xmpp:mam:" // of all versions
)

type module struct{ router *router.Router }

// New returns the module. It must come before all that copy or store what arrives.
func New(r *router.Router) router.Module {
	m := &module{r}
	return router.Module{
		Name: "markers",
		Specs: []router.Spec{
			{Name: "RFC 6121 §2.1.6", Note: "pushes that others forge are refused"},
			{Name: "XEP-0203", Version: "2.0", Note: "delays that others note in our name are taken out"},
			{Name: "XEP-0280", Version: "1.0.1", Note: "forged copies are taken out"},
		},
		Arriving: router.Stage{Message: m.clean, Presence: m.clean, IQ: push},
	}
}

// clean takes out what the sender may not say.
func (m *module) clean(e *router.Envelope) {
	children := e.Stanza.Children
	if children == nil {
		children = xmpp.Index(e.Stanza.Payload)
	}
	for _, c := range children {
		if ours(c) {
			payload := e.Stanza.WithoutFunc(func(c xmpp.Child, raw []byte) bool { return ours(c) && m.forged(e, c, raw) })
			if len(payload) < len(e.Stanza.Payload) {
				s := e.Stanza.WithPayload(payload)
				s.Children = xmpp.Index(payload)
				e.Replace(&s)
			}
			return
		}
	}
}

// ours says whether an element may be one that only a server says.
func ours(c xmpp.Child) bool {
	switch c.Name.Local {
	case "sent", "received":
		return c.Name.Space == xmpp.NSCarbons
	case "delay":
		return c.Name.Space == xmpp.NSDelay
	case "x":
		return c.Name.Space == nsOldDelay
	case "result", "fin":
		return strings.HasPrefix(c.Name.Space, nsArchives)
	}
	return false
}

func (m *module) forged(e *router.Envelope, c xmpp.Child, raw []byte) bool {
	switch c.Name.Local {
	case "sent", "received":
		return true
	case "result", "fin":
		return !e.Account.IsZero() || e.Stanza.From.IsFull()
	}
	if e.Account.IsZero() && e.Peer == "" && (e.Stanza.From.IsZero() || m.router.Serves(e.Stanza.From.Domain())) {
		return false // the server's own
	}
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return true
	}
	by, err := jid.Parse(el.Attr("from"))
	switch {
	case err != nil: // by nobody, so by the sender
		return false
	case by.IsDomain():
		return m.router.Serves(by.Domain())
	default:
		return by == e.Stanza.To.Bare() && !e.FromOwn()
	}
}

// push refuses what looks like one of the server's (RFC 6121 §2.1.6).
func push(e *router.Envelope) {
	s := e.Stanza
	if s.Type != xmpp.TypeSet || !s.To.IsFull() || s.From.IsZero() || s.From == s.To.Bare() || s.From == s.To.DomainJID() {
		return
	}
	switch name, _ := s.First(); name.Space {
	case xmpp.NSRoster, xmpp.NSBlocking, nsPrivacy:
		e.Refuse(xmpp.ServiceUnavailable(""))
	}
}
