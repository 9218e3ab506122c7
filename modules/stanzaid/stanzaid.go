// Package stanzaid keeps the ids that our accounts give to messages worthy of trust (XEP-0359):
// a message that arrives with one in the recipient's name, or in that of a host of
// ours, loses it. The ids themselves come from the modules that store messages.
//
// What others have given, such as a room, and the ids of origin stay as they are (§3).
package stanzaid

import (
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// New returns the module. It must come before those that give ids.
func New(r *router.Router) router.Module {
	return router.Module{
		Name:            "stanzaid",
		Specs:           []router.Spec{{Name: "XEP-0359", Version: "0.7.0"}},
		Features:        []string{xmpp.NSStanzaID}, // §5
		AccountFeatures: []string{xmpp.NSStanzaID},
		Arriving:        router.Stage{Message: func(e *router.Envelope) { strip(r, e) }},
	}
}

var name = xmpp.Name{Space: xmpp.NSStanzaID, Local: "stanza-id"}

// strip deletes the ids that only we can give (§3, second rule).
func strip(r *router.Router, e *router.Envelope) {
	if e.Own || !e.Stanza.Has(name) { // a room's message bears its id, for hundreds of recipients
		return
	}
	owner := e.Stanza.To.Bare()
	clean := e.Stanza.WithoutFunc(func(c xmpp.Child, raw []byte) bool {
		if c.Name != name {
			return false
		}
		el, err := xmpp.ParseElement(raw)
		if err != nil {
			return false
		}
		by, err := jid.Parse(el.Attr("by")) // compared as addresses: §3, last rule
		return err == nil && (by == owner || by.IsDomain() && r.Serves(by.Domain()))
	})
	if len(clean) != len(e.Stanza.Payload) {
		s := e.Stanza.WithPayload(clean)
		e.Replace(&s)
	}
}
