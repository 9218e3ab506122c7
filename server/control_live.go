package server

import (
	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

// routerLive is Live on a router.
type routerLive struct {
	router *router.Router
	reload func() (warnings []string, err error)
	peers  func() PeersInfo
}

func (l routerLive) Sessions() []SessionInfo {
	out := []SessionInfo{} // not null in JSON
	l.router.EachSession(func(s *router.Session) bool {
		out = append(out, SessionInfo{
			JID: s.Addr().String(), Available: s.Presence() != nil, Priority: int(s.Priority()), Detached: s.Detached(),
		})
		return true
	})
	return out
}

func (l routerLive) Kick(user jid.JID) int {
	sessions := l.router.Sessions(user.Bare())
	if !user.IsBare() {
		sessions = nil
		if s := l.router.Session(user); s != nil {
			sessions = []*router.Session{s}
		}
	}
	for _, s := range sessions {
		// RFC 6120 §4.9.3.14: what a client gets that it should not simply undo by coming back.
		s.End("policy-violation", "ended by an administrator")
	}
	return len(sessions)
}

func (l routerLive) Peers() PeersInfo { return l.peers() }

func (l routerLive) Reload() ([]string, error) { return l.reload() }
