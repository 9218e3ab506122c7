package router

import (
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Remote takes what goes to domains that are not ours. s2s implements it. It is safe for concurrent use.
type Remote interface {
	// Admits says whether stanzas may go to that domain at all, as the administrator has it: nil, or the error for the
	// sender.
	Admits(domain string) *xmpp.Error
	// Send takes a stanza that Router.Admit has let pass. It settles the envelope: Queued, having added the pendings of
	// what it wrote to disk, or Refused. It keeps no byte of the stanza. For a client (Envelope.Session) that sends
	// more than its peer takes it may wait a moment, having flushed the batch.
	Send(e *Envelope)
}

// A Service answers for domains beside the hosts, such as rooms.example.org. All that is addressed there is its own.
type Service struct {
	// Domains are those in force; asked by Router.Use. A domain that is a host stays a host.
	Domains func() []string
	// Handle takes a stanza of any kind, to any address of those domains, from a session, a peer (Envelope.Peer) or
	// another service, and settles it. What it leaves undecided is refused.
	Handle func(e *Envelope)
	// Home is the owner, a bare address or a domain, whose home answers for an address of those domains; "" for what any
	// node answers, with what is in storage and what the stanza says. Nil: any node answers all of it.
	Home func(to jid.JID) string
}

// SetRemote plugs federation in; nil ends it. What was sent before is not affected.
func (r *Router) SetRemote(remote Remote) {
	if remote == nil {
		r.remote.Store(nil)
		return
	}
	r.remote.Store(&remote)
}

// Owns says whether a domain is ours: a host, or one that a service answers for.
func (r *Router) Owns(domain string) bool {
	return r.Serves(domain) || r.plan.Load().services[domain] != nil
}

// Answers says whether a request to this address is answered here, by a host or for an account, and not passed on.
//
// RFC 6120 §8.1.3 wants an id of each request, and whoever it is passed on to may rely on that. COMPAT(xmpp4r 0.5, old
// XMPPFramework): they leave it out and would wait for ever where it is refused, so here it is served.
func (r *Router) Answers(to jid.JID) bool { return r.Serves(to.Domain()) && to.Resource() == "" }

// Services are the domains that services answer for; the map must not be changed.
func (r *Router) Services() map[string]*Service { return r.plan.Load().services }

// Admit says whether a stanza of this sender may go where the recipient is: nil, or the error for the sender. It is the
// one place where that is decided, on the pair (sender's domain, path): docs/http.md §6.
func (r *Router) Admit(from, to jid.JID) *xmpp.Error {
	if r.Owns(to.Domain()) {
		return nil
	}
	if !r.Owns(from.Domain()) {
		return xmpp.NotAllowed("forged-sender-remote")
	}
	remote := r.remote.Load()
	if remote == nil {
		return xmpp.RemoteServerNotFound("this server does not exchange messages with other servers")
	}
	return (*remote).Admits(to.Domain())
}

// depart sends a stanza to the peer of a domain that is not ours.
func (r *Router) depart(e *Envelope, to jid.JID) {
	if err := r.Admit(e.Stanza.From, to); err != nil {
		e.Refuse(err)
		return
	}
	if !e.Carried {
		if ask(&r.plan.Load().departing, e); e.Settled() {
			return
		}
	}
	if r.handsOverToPeer(e, to) {
		return
	}
	remote := r.remote.Load()
	if remote == nil { // federation has ended since Admit asked
		e.Refuse(xmpp.RemoteServerNotFound(""))
		return
	}
	(*remote).Send(e)
}

// serve hands a stanza to the service whose domain it is addressed to.
func (r *Router) serve(e *Envelope, s *Service) {
	if s.Home != nil && r.handsOverTo(s.Home(e.Stanza.To), e) {
		return
	}
	for _, f := range r.plan.Load().serving {
		if f(e); e.Settled() {
			return
		}
	}
	if s.Handle(e); !e.Settled() {
		e.Refuse(xmpp.ServiceUnavailable(""))
	}
}

// Bounce tells the sender of a stanza that had been accepted, and then could not be delivered, why (RFC 6120 §10.4.3).
// Errors and results end without (§8.3.1). The stanza is borrowed.
func (r *Router) Bounce(s *xmpp.Stanza, err *xmpp.Error) {
	if s.Type == xmpp.TypeError || s.Type == xmpp.TypeResult {
		return
	}
	reply := s.ErrorReply(err)
	r.Emit(&reply, nil)
}
