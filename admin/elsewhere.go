package admin

import (
	"context"

	"jackdaw/xmpp/jid"
)

// Elsewhere has what concerns one account or room done at its home, where there are several nodes.
type Elsewhere interface {
	// Pass has an operation of the control socket done for somebody, if the account or room is at home on another node;
	// passed is false if it is at home here. in is what the operation takes and out, unless it is nil, what it returns,
	// both as JSON has them. An error that a face asks for by errors.Is is still one.
	Pass(ctx context.Context, by By, owner jid.JID, operation string, in, out any) (passed bool, err error)
	// Sessions are those of all other nodes that can be reached.
	Sessions() []SessionInfo
	// Bots are those at home on all other nodes that can be reached.
	Bots() []BotInfo
}

// What operations take beside what is exported.
type (
	alone    struct{ Name string }
	switched struct{ Name, To string }
	permits  struct {
		Name        string
		Permissions []string
	}
	device  struct{ Name, Device string }
	room    struct{ Room, Reason, Owner string }
	trial   struct{ Name, Text string }
	filesOf struct {
		Name string
		IDs  []string
	}
)

// pass is Elsewhere.Pass; it says false for a server that is alone.
func (s *Service) pass(ctx context.Context, by By, owner jid.JID, operation string, in, out any) (bool, error) {
	if s.o.Elsewhere == nil {
		return false, nil
	}
	return s.o.Elsewhere.Pass(ctx, by, owner, operation, in, out)
}

// SessionsHere lists the sessions at this node, in any order.
func (s *Service) SessionsHere() ([]SessionInfo, error) {
	if s.o.Live == nil {
		return nil, ErrNotRunning
	}
	return s.o.Live.Sessions(), nil
}

// allSessions are those at all nodes.
func (s *Service) allSessions() []SessionInfo {
	list := s.o.Live.Sessions()
	if s.o.Elsewhere != nil {
		list = append(list, s.o.Elsewhere.Sessions()...)
	}
	return list
}

// SessionsOfHere lists the sessions of an account at this node, in any order.
func (s *Service) SessionsOfHere(address string) ([]SessionInfo, error) {
	j, err := user(address)
	switch {
	case err != nil:
		return nil, err
	case s.o.Live == nil:
		return nil, ErrNotRunning
	}
	return s.o.Live.SessionsOf(j), nil
}
