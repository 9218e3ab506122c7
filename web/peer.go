package web

import (
	"context"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// A Peer is who is at the other end of a unix socket, as the kernel has it from when the connection was made.
type Peer struct {
	UID, GID uint32 // of the process: the ids by which it was running, not the groups that its user is in besides
}

// peerKey is where the context of a request over a unix socket has the Peer.
type peerKey struct{}

// PeerOf returns who made the connection of a request; ok is false where that is not known, such as over TCP. It may be
// a proxy.
func PeerOf(r *http.Request) (p Peer, ok bool) {
	p, ok = r.Context().Value(peerKey{}).(Peer)
	return p, ok
}

// WithPeer returns the request as if that one had made its connection. It is for requests that another server of ours
// has taken.
func WithPeer(r *http.Request, p Peer) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), peerKey{}, p))
}

// withPeer is a context of a connection with its Peer, if it is one over a unix socket.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if c.LocalAddr().Network() != "unix" {
		return ctx
	}
	for {
		if raw, ok := c.(syscall.Conn); ok {
			if p, ok := peerOf(raw); ok {
				return context.WithValue(ctx, peerKey{}, p)
			}
			return ctx
		}
		above, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return ctx
		}
		c = above.NetConn()
	}
}

// Proxied says whether a request bears a trace of a proxy: a field that only those add, or HTTP/1.0, in which nginx
// speaks to those behind it unless it is told otherwise, and then without any such field.
func Proxied(r *http.Request) bool {
	if !r.ProtoAtLeast(1, 1) {
		return true
	}
	for name := range r.Header {
		switch name {
		case "Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "X-Original-Forwarded-For", "Cf-Connecting-Ip", "True-Client-Ip":
			return true
		}
		if strings.HasPrefix(name, "X-Forwarded-") {
			return true
		}
	}
	return false
}
