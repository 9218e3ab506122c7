// Package ping answers pings to the host and to one's own account (XEP-0199 §4.2).
//
// Pings between clients are routed like any other request. Left out: pinging
// clients, which is the work of the streams that want to know whether they live.
package ping

import (
	"jackdaw/router"
	"jackdaw/xmpp"
)

// New returns the module.
func New(r *router.Router) router.Module {
	return router.Module{
		Name:            "ping",
		Specs:           []router.Spec{{Name: "XEP-0199", Version: "2.0.1"}},
		Features:        []string{xmpp.NSPing},
		AccountFeatures: []string{xmpp.NSPing},
		IQ: []router.IQ{{
			Payload: xmpp.Name{Space: xmpp.NSPing, Local: "ping"},
			Scope:   router.Host | router.Account,
			Handle: func(e *router.Envelope) {
				if e.Stanza.Type == xmpp.TypeGet {
					r.Answer(e, nil)
				}
			},
		}},
	}
}
