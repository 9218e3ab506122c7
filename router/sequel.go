package router

import "jackdaw/xmpp/jid"

// A Sequel is what became of a message after Route had returned, for whoever keeps that for its sender. The message is
// told by its sender, its id and its recipient, which are all that an answer to it says either.
type Sequel struct {
	From jid.JID // the sender of the message, as it stands there
	To   jid.JID // the recipient, likewise
	ID   string  // the id attribute of the message
	// Outcome is Delivered, to a session that does not confirm or to a peer, or Taken. What refuses a message later
	// is an error that passes the router.
	Outcome Outcome
}

// Tell has the modules hear what became of a message whose sender asked to be told (Envelope.Tracked). It may be called
// with locks held, and routes nothing.
func (r *Router) Tell(s Sequel) {
	if h := r.homes.Load(); h != nil && !(*h).Here(s.From.Bare().String()) {
		(*h).Tell(s)
		return
	}
	r.Hear(s)
}

// Hear is Tell at the home of the sender, which another node has found.
func (r *Router) Hear(s Sequel) {
	for _, f := range r.plan.Load().sequel {
		f(s)
	}
}

// A Confirmer is an Outlet that knows whether its client says what it has taken. c2s implements it.
type Confirmer interface {
	// Confirms says whether what is reported as taken has been acknowledged by the client (XEP-0198), and is not merely
	// in the hands of the kernel.
	Confirms() bool
}

// Confirms says whether what the session has taken was acknowledged by its client (XEP-0198).
func (s *Session) Confirms() bool {
	c, ok := s.out.(Confirmer)
	return ok && c.Confirms()
}
