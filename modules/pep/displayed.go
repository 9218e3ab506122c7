package pep

import (
	"bytes"

	"jackdaw/modules/internal/pubsub"
	"jackdaw/router"
	"jackdaw/xmpp"
)

var displayed = xmpp.Name{Space: nodeDisplayed, Local: "displayed"}

// note publishes for the other sessions of a user up to where it has read a chat, as a message that the user sends
// there says on the side, and takes that out of the message (XEP-0490 §4.5, §5.2).
func (p *PEP) note(e *router.Envelope) {
	if e.Stanza.Children == nil {
		if !bytes.Contains(e.Stanza.Payload, []byte(nodeDisplayed)) {
			return
		}
	} else {
		found := false
		for i := range e.Stanza.Children {
			found = found || e.Stanza.Children[i].Name == displayed
		}
		if !found {
			return
		}
	}
	el := e.Stanza.Child(displayed)
	clean := e.Stanza.WithPayload(e.Stanza.Without(displayed))
	clean.Children = xmpp.Index(clean.Payload)
	chat := e.Stanza.To
	e.Replace(&clean)
	if el == nil || chat.IsZero() || clean.Type == xmpp.TypeError ||
		el.Child(xmpp.Name{Space: xmpp.NSStanzaID, Local: "stanza-id"}) == nil {
		return
	}
	pending, err := p.engine.Publish(e.Batch, e.Session.Bare(), nodeDisplayed, profile{p}.Default(nodeDisplayed),
		pubsub.Item{ID: chat.String(), Payload: el.Append(nil)})
	if err != nil { // the message goes on
		p.o.Log.Warn("what was displayed is not noted", "user", e.Session.Bare(), "error", err)
		return
	}
	e.Await(pending)
}
