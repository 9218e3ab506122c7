package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"jackdaw/xmpp/jid"
)

// Running says whether a server runs; without one the methods below return ErrNotRunning.
func (s *Service) Running() bool { return s.o.Live != nil }

// sessionsOf are the sessions of an account; none without a running server.
func (s *Service) sessionsOf(user jid.JID) []SessionInfo {
	if s.o.Live == nil {
		return nil
	}
	return s.o.Live.SessionsOf(user)
}

// Sessions lists the sessions of clients in the order of their addresses.
func (s *Service) Sessions() ([]SessionInfo, error) {
	if s.o.Live == nil {
		return nil, ErrNotRunning
	}
	list := s.allSessions()
	slices.SortFunc(list, func(a, b SessionInfo) int { return strings.Compare(a.JID, b.JID) })
	return list, nil
}

// SessionsOf lists the sessions of an account in the order of their addresses.
func (s *Service) SessionsOf(address string) ([]SessionInfo, error) {
	j, err := user(address)
	switch {
	case err != nil:
		return nil, err
	case s.o.Live == nil:
		return nil, ErrNotRunning
	}
	var list []SessionInfo
	passed, err := s.pass(context.Background(), Command, j, "node.sessions-of", NameRequest{address}, &list)
	if err != nil {
		return nil, err
	}
	if !passed {
		list = s.o.Live.SessionsOf(j)
	}
	slices.SortFunc(list, func(a, b SessionInfo) int { return strings.Compare(a.JID, b.JID) })
	return list, nil
}

// Kick ends the sessions of an account, or the one of a full address, and says how many. It is an error if there was
// none.
func (s *Service) Kick(by By, address string) (int, error) {
	if s.o.Live == nil {
		return 0, ErrNotRunning
	}
	j, err := jid.Parse(address)
	if err != nil || j.Local() == "" {
		return 0, fmt.Errorf("%q is not the address of a user or a session", address)
	}
	var n int
	passed, err := s.pass(context.Background(), by, j.Bare(), "node.kick", NameRequest{address}, &n)
	if passed {
		return n, err
	}
	return s.KickHere(by, address)
}

// KickHere is Kick of sessions at this node.
func (s *Service) KickHere(by By, address string) (int, error) {
	if s.o.Live == nil {
		return 0, ErrNotRunning
	}
	j, err := jid.Parse(address)
	if err != nil || j.Local() == "" {
		return 0, fmt.Errorf("%q is not the address of a user or a session", address)
	}
	n := s.o.Live.Kick(j)
	if n == 0 {
		return 0, fmt.Errorf("%s is not connected", j)
	}
	return n, s.said(nil, by, "sessions ended", "address", j, "sessions", n)
}

// Present lists the users of a host, or with "" of all, who are connected, by their bare addresses in order: those who
// are active, and those all of whose sessions are idle.
func (s *Service) Present(host string) (active, idle []string, err error) {
	if s.o.Live == nil {
		return nil, nil, ErrNotRunning
	}
	busy := map[string]bool{}
	for _, one := range s.allSessions() {
		bare, _, _ := strings.Cut(one.JID, "/")
		if host == "" || strings.HasSuffix(bare, "@"+host) {
			busy[bare] = busy[bare] || !one.Idle
		}
	}
	for _, bare := range slices.Sorted(maps.Keys(busy)) {
		if busy[bare] {
			active = append(active, bare)
		} else {
			idle = append(idle, bare)
		}
	}
	return active, idle, nil
}

// Stop stops the server, all nodes of it, when some time has passed, as a signal does; another call sets another time.
func (s *Service) Stop(by By, after time.Duration) error {
	if err := s.StopHere(by, after); err != nil {
		return err
	}
	_, failed := tell[struct{}](context.Background(), s, by, "node.stop", StopRequest{after})
	return errors.Join(failed...)
}

// StopHere is Stop of this node.
func (s *Service) StopHere(by By, after time.Duration) error {
	if s.o.Live == nil {
		return ErrNotRunning
	}
	s.o.Live.Stop(after)
	return s.said(nil, by, "the server will stop", "after", after)
}

// PeersHere is Peers of this node, in any order.
func (s *Service) PeersHere() (PeersInfo, error) {
	if s.o.Live == nil {
		return PeersInfo{}, ErrNotRunning
	}
	return s.o.Live.Peers(), nil
}

// Peers lists the streams of other servers and of components, and what waits for peers, by their domains.
func (s *Service) Peers() (PeersInfo, error) {
	p, err := s.PeersHere()
	if err != nil {
		return p, err
	}
	for _, there := range look[PeersInfo](context.Background(), s, "node.peers", nil) {
		p.Links, p.Queues = append(p.Links, there.Links...), append(p.Queues, there.Queues...)
	}
	slices.SortFunc(p.Links, func(a, b LinkInfo) int {
		return cmp.Or(strings.Compare(a.Remote, b.Remote), strings.Compare(a.Local, b.Local),
			strings.Compare(a.Direction, b.Direction))
	})
	slices.SortFunc(p.Queues, func(a, b QueueInfo) int {
		return cmp.Or(strings.Compare(a.Remote, b.Remote), strings.Compare(a.Local, b.Local))
	})
	return p, nil
}

// Reload has the server, all nodes of it, read its configuration and certificates again, and returns the warnings;
// those of another node name it, unless this node has them too. On an error all stays as it was: at this node, then no
// other has been asked, or at those that the error names. Only with dropHost may a host go that has accounts or
// sessions.
func (s *Service) Reload(by By, dropHost bool) (warnings []string, err error) {
	if warnings, err = s.ReloadHere(by, dropHost); err != nil {
		return warnings, err
	}
	answers, failed := tell[[]string](context.Background(), s, by, "node.reload", ReloadRequest{dropHost})
	ours := warnings
	for _, node := range slices.Sorted(maps.Keys(answers)) {
		for _, w := range answers[node] {
			if !slices.Contains(ours, w) {
				warnings = append(warnings, "node "+node+": "+w)
			}
		}
	}
	if len(failed) > 0 {
		err = fmt.Errorf("reloaded, but not everywhere: %w", errors.Join(failed...))
	}
	return warnings, err
}

// ReloadHere is Reload of this node.
func (s *Service) ReloadHere(by By, dropHost bool) (warnings []string, err error) {
	if s.o.Live == nil {
		return nil, ErrNotRunning
	}
	warnings, err = s.o.Live.Reload(dropHost)
	return warnings, s.said(err, by, "reload done")
}
