package server

import (
	"time"

	"jackdaw/admin"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// routerLive is admin.Live on a router.
type routerLive struct {
	router *router.Router
	reload func(dropHost bool) (warnings []string, err error)
	peers  func() admin.PeersInfo
	stop   func(after time.Duration)
}

func (l routerLive) Sessions() []admin.SessionInfo {
	out := []admin.SessionInfo{} // not null in JSON
	l.router.EachSession(func(s *router.Session) bool {
		out = append(out, sessionInfo(s))
		return true
	})
	return out
}

func (l routerLive) SessionsOf(user jid.JID) []admin.SessionInfo {
	out := []admin.SessionInfo{}
	for _, s := range l.router.Sessions(user) {
		out = append(out, sessionInfo(s))
	}
	return out
}

func sessionInfo(s *router.Session) admin.SessionInfo {
	at := s.Connection()
	one := admin.SessionInfo{JID: s.Addr().String(), State: admin.StateConnected, Priority: int(s.Priority()), TLS: at.TLS,
		Client: clientOf(s), Device: at.Device, Since: at.Since, ResumesBy: at.Expires}
	if at.Address.IsValid() {
		one.Address = at.Address.String()
	}
	p := s.Presence()
	switch {
	case s.Detached():
		one.State, one.Idle = admin.StateDetached, true
	case p != nil:
		one.State = admin.StateAvailable
		if show := p.Child(xmpp.Name{Space: xmpp.NSClient, Local: "show"}); show != nil {
			text := show.Text()
			one.Idle = text == "away" || text == "xa" // RFC 6121 §4.7.2.1
		}
	}
	return one
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

func (l routerLive) Peers() admin.PeersInfo { return l.peers() }

func (l routerLive) Stop(after time.Duration) { l.stop(after) }

// stopSoon ends the server after some time, unless it is called again before.
func (h *house) stopSoon(after time.Duration) {
	h.ending.Lock()
	defer h.ending.Unlock()
	if h.ends != nil {
		h.ends.Stop()
	}
	h.ends = time.AfterFunc(after, h.end)
}

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
