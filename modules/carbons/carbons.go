// Package carbons lets all of a user's clients see both sides of a conversation (XEP-0280): a session that has enabled
// it gets a copy of what another session of the account sends or is given, wrapped as XEP-0297 says.
//
// A copy is a mere copy: it is never stored, and it ends with the session. Only the server
// makes them, and it gives them to sessions directly, so that whatever arrives looking like
// one is forged; package markers takes its disguise away (§11).
//
// Left out: copies of errors (§6.1, fourth rule), which would need a memory of what was copied;
// so urn:xmpp:carbons:rules:0 is not announced. <private/> stays in the message (§9, note).
package carbons

import (
	"jackdaw/router"
	"jackdaw/xmpp"
)

const nsConference = "jabber:x:conference" // XEP-0249

type module struct{ router *router.Router }

// New returns the module. It must come before the one that stores messages for users who are away.
func New(r *router.Router) router.Module {
	m := &module{r}
	return router.Module{
		Name: "carbons",
		Specs: []router.Spec{
			{Name: "XEP-0280", Version: "1.0.1", Note: "errors are not copied"},
			{Name: "XEP-0297", Version: "1.0"},
		},
		Features: []string{xmpp.NSCarbons}, // §3
		IQ:       []router.IQ{m.turn("enable", true), m.turn("disable", false)},
		// XEP-0386 §4.2: as soon as there is a session; no answer is needed.
		Inline: []router.Inline{{Feature: xmpp.NSCarbons, Request: xmpp.Name{Space: xmpp.NSCarbons, Local: "enable"},
			Bind: func(s *router.Session, _ *xmpp.Element) []byte {
				s.Set(router.FlagCarbons, true)
				return nil
			}}},
		Leaving:    router.Stage{Message: m.leaving},
		Delivering: m.delivering,
		Unclaimed:  m.unclaimed,
	}
}

// turn answers the requests to enable and disable, any number of them (§4, §5, §10.1).
func (m *module) turn(local string, on bool) router.IQ {
	return router.IQ{
		Payload: xmpp.Name{Space: xmpp.NSCarbons, Local: local},
		Scope:   router.Account,
		Others:  xmpp.NotAllowed(""), // §4.1, §5.1
		Handle: func(e *router.Envelope) {
			if e.Stanza.Type != xmpp.TypeSet {
				e.Refuse(xmpp.BadRequest(""))
				return
			}
			e.Session.Set(router.FlagCarbons, on)
			m.router.Answer(e, nil)
		},
	}
}

// leaving copies what a session sends to the others (§8).
func (m *module) leaving(e *router.Envelope) {
	s := e.Session
	all := s.Siblings()
	// What goes to the own account is copied where it arrives.
	if len(all) == 0 || len(all) == 1 && all[0] == s || e.FromOwn() {
		return
	}
	var payload []byte
	for _, other := range all {
		if other == s || !other.Is(router.FlagCarbons) {
			continue
		}
		if payload == nil {
			if !eligible(e.Stanza, true) {
				return
			}
			sent := *e.Stanza
			sent.From = s.Addr()
			if e.SentID != 0 { // XEP-0313 §3.5
				sent = sent.WithAdded(router.AppendStanzaID(nil, s.Bare().String(), e.SentID))
			}
			payload = wrap("sent", &sent)
		}
		send(e, other, payload)
	}
}

// delivering copies what sessions are given to those that are not (§7).
func (m *module) delivering(e *router.Envelope, to []*router.Session) {
	all := to[0].Siblings()
	if len(all) <= len(to) || e.Repeated {
		return
	}
	m.copy(e, all, func(s *router.Session) bool {
		for _, t := range to {
			if s == t {
				return false
			}
		}
		return true
	})
}

// unclaimed copies what no session takes to those that never take what goes to the bare
// address, but see it nevertheless (§7). It decides nothing.
func (m *module) unclaimed(e *router.Envelope) {
	if e.Returned || e.Kept != 0 || e.Repeated {
		return // given back by a session, or come again, and copied the first time
	}
	to := e.Stanza.To
	if to.IsZero() {
		to = e.Session.Bare()
	}
	if all := m.router.Sessions(to.Bare()); len(all) > 0 {
		m.copy(e, all, func(s *router.Session) bool { return s.Presence() == nil || s.Priority() < 0 })
	}
}

func (m *module) copy(e *router.Envelope, all []*router.Session, wants func(*router.Session) bool) {
	var payload []byte
	for _, s := range all {
		if s == e.Session || !s.Is(router.FlagCarbons) || !wants(s) {
			continue
		}
		if payload == nil {
			if !eligible(e.Stanza, false) {
				return
			}
			payload = wrap("received", e.Stanza)
		}
		send(e, s, payload)
	}
}

func send(e *router.Envelope, to *router.Session, payload []byte) {
	c := xmpp.Stanza{Kind: xmpp.Message, Type: e.Stanza.Type, From: to.Bare(), To: to.Addr(), Payload: payload}
	to.Send(e.Batch, router.Delivery{Stanza: &c, Copy: true})
}

// wrap serialises a copy once for all who get it (XEP-0297 §3.1).
func wrap(direction string, s *xmpp.Stanza) []byte {
	b := make([]byte, 0, len(s.Payload)+len(s.Attrs)+512)
	b = append(b, '<')
	b = append(b, direction...)
	b = append(b, " xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"...)
	b = s.AppendQualified(b)
	b = append(b, "</forwarded></"...)
	b = append(b, direction...)
	return append(b, '>')
}

// eligible follows the rules of §6.1.
func eligible(s *xmpp.Stanza, sent bool) bool {
	if s.Type == xmpp.TypeGroupchat || s.Type == xmpp.TypeError {
		return false
	}
	children := s.Children
	if children == nil {
		children = xmpp.Index(s.Payload)
	}
	im := s.Type == xmpp.TypeChat
	for _, c := range children {
		switch c.Name.Space {
		case xmpp.NSCarbons: // <private/> (§9), or a copy already
			return false
		case xmpp.NSHints:
			if c.Name.Local == "no-copy" && s.To.IsFull() { // XEP-0334 §4.3
				return false
			}
		case xmpp.NSMUCUser:
			switch x := s.Child(c.Name); {
			case x != nil && x.ChildLocal("invite") != nil:
				im = true
			case !sent: // from an occupant: the room has sent it to all who joined
				return false
			}
		case nsConference, xmpp.NSReceipts, xmpp.NSChatStates, xmpp.NSMarkers:
			im = true
		case xmpp.NSClient:
			im = im || c.Name.Local == "body" && s.Type == xmpp.TypeNormal
		}
	}
	return im
}
