// Package version tells the name and the version of the server (XEP-0092).
//
// The operating system is nobody's business (§5) and always left out. Accounts
// have no version; only the host answers.
package version

import (
	"jackdaw/router"
	"jackdaw/xmpp"
)

// New returns the module. The version is what the build was given, if it was.
func New(r *router.Router, version string) router.Module {
	if version == "" { // §2: required in an answer
		version = "unknown"
	}
	var w xmpp.Writer
	w.Start(xmpp.NSVersion, "query").Leaf("", "name", "jackdaw").Leaf("", "version", version).End()
	answer := w.Bytes()
	return router.Module{
		Name:     "version",
		Specs:    []router.Spec{{Name: "XEP-0092", Version: "1.1", Note: "the operating system is never told"}},
		Features: []string{xmpp.NSVersion},
		IQ: []router.IQ{{
			Payload: xmpp.Name{Space: xmpp.NSVersion, Local: "query"},
			Scope:   router.Host,
			Handle: func(e *router.Envelope) {
				if e.Stanza.Type == xmpp.TypeGet {
					r.Answer(e, answer)
				}
			},
		}},
	}
}
