package moduletest

import (
	"slices"
	"sync"

	"jackdaw/router"
	"jackdaw/xmpp"
)

// A Remote remembers what was sent to peers. It implements router.Remote: plug it in with Router.SetRemote.
type Remote struct {
	Denied map[string]bool // domains that nothing may go to; not to be changed while in use
	Full   map[string]bool // those whose queue takes no more for now; likewise

	mu   sync.Mutex // guards sent
	sent []string
}

// Admits implements router.Remote.
func (r *Remote) Admits(domain string) *xmpp.Error {
	if r.Denied[domain] {
		return xmpp.NotAllowed("")
	}
	return nil
}

// Send implements router.Remote.
func (r *Remote) Send(e *router.Envelope) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Full[e.Stanza.To.Domain()] {
		e.Refuse(xmpp.ResourceConstraint(""))
		return
	}
	r.sent = append(r.sent, string(e.Stanza.Append(nil)))
	e.Settle(router.Queued)
}

// Sent returns what was sent since the last call, as XML.
func (r *Remote) Sent() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.sent)
	r.sent = nil
	return out
}
