// Package time tells the host's time and its offset from UTC (XEP-0202), in the
// formats of XEP-0082.
//
// Clients answer for themselves, accounts have no clock. The offset tells where
// the machine may stand (XEP-0202 §6): set its zone to UTC where that matters.
package time

import (
	clock "time"

	"jackdaw/router"
	"jackdaw/xmpp"
)

// New returns the module.
func New(r *router.Router) router.Module {
	return router.Module{
		Name:     "time",
		Specs:    []router.Spec{{Name: "XEP-0202", Version: "2.0"}, {Name: "XEP-0082", Version: "1.1.1"}},
		Features: []string{xmpp.NSTime},
		IQ: []router.IQ{{
			Payload: xmpp.Name{Space: xmpp.NSTime, Local: "time"},
			Scope:   router.Host,
			Handle: func(e *router.Envelope) {
				if e.Stanza.Type == xmpp.TypeGet {
					r.Answer(e, answer(clock.Now()))
				}
			},
		}},
	}
}

// answer writes both required elements (XEP-0202 §2, table 1).
func answer(now clock.Time) []byte {
	var w xmpp.Writer
	w.Start(xmpp.NSTime, "time")
	w.Leaf("", "tzo", xmpp.FormatZone(now)).Leaf("", "utc", xmpp.FormatTime(now))
	return w.End().Bytes()
}
