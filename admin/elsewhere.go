package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"jackdaw/portable"
	"jackdaw/xmpp/jid"
)

// Elsewhere are the other nodes, where there are several. What concerns one account, room or host is done at its home;
// what concerns all is asked of all or done by all.
type Elsewhere interface {
	// Pass has an operation of the control socket done for somebody, if the account or room is at home on another node;
	// passed is false if it is at home here. in is what the operation takes and out, unless it is nil, what it returns,
	// both as JSON has them. An error that a face asks for by errors.Is is still one.
	Pass(ctx context.Context, by By, owner jid.JID, operation string, in, out any) (passed bool, err error)
	// Everywhere has an operation done by all other nodes at once, and returns what each has said when all have answered
	// or ctx has ended.
	Everywhere(ctx context.Context, by By, operation string, in any) []Said
	// Import has all other nodes import what of a file is at home there. They get it as in is read, which the caller does
	// to the end, or until there is an error; then it says so by done, and hears what they have stored.
	Import(ctx context.Context, by By, file io.Reader, dry bool) (in io.Reader,
		done func(error) ([]*portable.Report, error))
}

// Said is what a node has answered.
type Said struct {
	Node   string
	Result json.RawMessage
	Err    error // it may not have done it
}

const (
	// lookTime is how long the answers of other nodes are waited for where something is listed.
	lookTime = 3 * time.Second
	// doTime is the same where something is done.
	doTime = 30 * time.Second
)

// What operations of the control socket take beside what has a type of its own. They are JSON between nodes, which may
// be of neighbouring versions: a field may be added, and none be renamed.
type (
	NameRequest        struct{ Name string } // an account, a room, a domain
	NamesRequest       struct{ Names []string }
	SwitchRequest      struct{ Name, To string }
	PermissionsRequest struct {
		Name        string
		Permissions []string
	}
	DeviceRequest struct{ Name, Device string }
	NoticeRequest struct { // what a host announces has changed; see announcements.Announcements.Renew
		Host, Text string
		Give       bool
	}
	AnnounceRequest struct {
		Host, Text string
		Keep       time.Duration
	}
	AnnouncedRequest struct{ Host, ID string }
	StandingRequest  struct {
		Host, Kind, Text string
		Edit             bool
	}
	StopRequest   struct{ After time.Duration }
	ReloadRequest struct{ DropHost bool }
	RotateRequest struct {
		ID      string
		Overlap time.Duration
		Secret  string
	}
	RotateHookRequest struct {
		Name    string
		Overlap time.Duration
	}
	RoomRequest  struct{ Room, Reason, Owner string }
	TrialRequest struct{ Name, Text string }
	FilesRequest struct {
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

// look puts a question to all other nodes and returns their answers. A node that gives none is in the log: what is
// listed is that of those who answer.
func look[Out any](ctx context.Context, s *Service, operation string, in any) (answers []Out) {
	if s.o.Elsewhere == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	for _, said := range s.o.Elsewhere.Everywhere(ctx, Command, operation, in) {
		var out Out
		err := said.Err
		if err == nil {
			err = json.Unmarshal(said.Result, &out)
		}
		if err == nil {
			answers = append(answers, out)
		} else if s.o.Log != nil {
			s.o.Log.Warn("what is at another node is not listed", "node", said.Node, "of", operation, "error", err)
		}
	}
	return answers
}

// tell has all other nodes do something and returns what each has said of it, and an error for each that may not have
// done it, by their names.
func tell[Out any](ctx context.Context, s *Service, by By, operation string, in any) (answers map[string]Out,
	failed []error) {
	if s.o.Elsewhere == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), doTime) // what some do all should
	defer cancel()
	answers = map[string]Out{}
	for _, said := range s.o.Elsewhere.Everywhere(ctx, by, operation, in) {
		var out Out
		err := said.Err
		if err == nil {
			err = json.Unmarshal(said.Result, &out)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("node %s: %w", said.Node, err))
			continue
		}
		answers[said.Node] = out
	}
	return answers, failed
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
	for _, there := range look[[]SessionInfo](context.Background(), s, "node.sessions", nil) {
		list = append(list, there...)
	}
	return list
}

// CountsHere says how many sessions accounts have at this node, of those that have any.
func (s *Service) CountsHere(addresses []string) map[string]int {
	counts := map[string]int{}
	for _, one := range addresses {
		if j, err := user(one); err == nil {
			if n := len(s.sessionsOf(j)); n > 0 {
				counts[one] = n
			}
		}
	}
	return counts
}

// counts says how many sessions accounts have at all nodes.
func (s *Service) counts(ctx context.Context, addresses []string) map[string]int {
	counts := s.CountsHere(addresses)
	for _, there := range look[map[string]int](ctx, s, "node.counts", NamesRequest{addresses}) {
		for one, n := range there {
			counts[one] += n
		}
	}
	return counts
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
