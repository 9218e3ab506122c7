package server

import (
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// routerLive is Live on a router.
type routerLive struct {
	router *router.Router
	reload func(dropHost bool) (warnings []string, err error)
	peers  func() PeersInfo
}

func (l routerLive) Sessions() []SessionInfo {
	out := []SessionInfo{} // not null in JSON
	l.router.EachSession(func(s *router.Session) bool {
		at := s.Connection()
		one := SessionInfo{JID: s.Addr().String(), State: StateConnected, Priority: int(s.Priority()), TLS: at.TLS,
			Client: clientOf(s), Device: at.Device, Since: at.Since, ResumesBy: at.Expires}
		if at.Address.IsValid() {
			one.Address = at.Address.String()
		}
		switch {
		case s.Detached():
			one.State = StateDetached
		case s.Presence() != nil:
			one.State = StateAvailable
		}
		out = append(out, one)
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

func (l routerLive) Reload(dropHost bool) ([]string, error) { return l.reload(dropHost) }

// clientOf is what the client says it is: the node of its capabilities, mostly the address of its website (XEP-0115
// §4).
func clientOf(s *router.Session) string {
	p := s.Presence()
	if p == nil {
		return ""
	}
	c := p.Child(xmpp.Name{Space: xmpp.NSCaps, Local: "c"})
	if c == nil {
		return ""
	}
	return c.Attr("node")
}
