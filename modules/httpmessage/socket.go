package httpmessage

import "jackdaw/web"

// bySocket makes the request one of the account of the user of this machine who made the connection (SO_PEERCRED). Who
// shows credentials is who they say. A request that a proxy passes on is not the proxy's: it may be anybody's.
func (p *post) bySocket() bool {
	if len(p.set.SocketUsers)+len(p.set.SocketGroups) == 0 || p.api == gatewayAPI || !p.client.unix ||
		p.r.Header["Authorization"] != nil || web.Proxied(p.r) {
		return false
	}
	peer, ok := web.PeerOf(p.r)
	if !ok {
		return false
	}
	user, known := p.set.SocketUsers[peer.UID]
	if !known {
		user, known = p.set.SocketGroups[peer.GID]
	}
	if !known {
		return false
	}
	p.user, p.account, p.peer = user, user.String(), &peer
	return true
}
