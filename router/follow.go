package router

import (
	"context"
	"log/slog"
	"strings"
)

// At the level debug the log follows each stanza: where it came from, to which sessions it was given, and what became
// of it. The lines name what is in a stanza and never say what that says: no text, no credential.

// follows says whether the log wants that. It is asked for every stanza.
func (r *Router) follows() bool {
	return r.log != nil && r.log.Enabled(context.Background(), slog.LevelDebug)
}

func (r *Router) sayCame(e *Envelope) {
	via := "server"
	switch {
	case e.Session != nil:
		via = "client"
	case e.Peer != "":
		via = "peer " + e.Peer
	case !e.Account.IsZero():
		via = "http"
	}
	s := e.Stanza
	r.log.Debug("stanza came", "kind", s.Kind, "type", s.Type, "id", s.ID, "from", s.From, "to", s.To,
		"via", via, "holds", holds(e))
}

// holds names the children of the stanza.
func holds(e *Envelope) string {
	var names []string
	for _, c := range e.Stanza.Children {
		names = append(names, c.Name.Local)
	}
	return strings.Join(names, ",")
}

func (r *Router) saySettled(e *Envelope) {
	s := e.Stanza
	args := []any{"kind", s.Kind, "id", s.ID, "from", s.From, "to", s.To, "outcome", e.Outcome, "writes", len(e.Pendings)}
	if e.Err != nil {
		args = append(args, "error", e.Err)
	}
	r.log.Debug("stanza settled", args...)
}

// sendTo gives the stanza of an envelope, or what it has become, to a session.
func (r *Router) sendTo(s *Session, e *Envelope, d Delivery) bool {
	took := s.Send(e.Batch, d)
	if r.follows() {
		r.log.Debug("stanza given to a session", "id", d.Stanza.ID, "session", s.addr, "taken", took,
			"waits_to_be_resumed", s.Detached())
	}
	return took
}
