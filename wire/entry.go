package wire

import (
	"crypto/tls"
	"net"
	"net/netip"

	"jackdaw/router/gate"
)

// An Entry is a connection on which a stream is to begin, and what the listener that accepted it knows. It belongs to
// the stream then.
type Entry struct {
	Transport *Transport
	TLS       *tls.Conn // made from Transport, its handshake is over; nil: there is none of ours
	Early     []byte    // has been read and belongs to the stream; it is copied
	Framing   Framing
	Secure    bool       // nobody reads it on its way: by TLS, or by what stands before us
	From      netip.Addr // of the client; invalid for what has none
	Pass      *gate.Pass // it has been let in by; nil: nobody counts it
}

// Under is the transport on which a connection was made, TLS or another; false where there is none.
func Under(c net.Conn) (*Transport, bool) {
	for {
		if t, ok := c.(*Transport); ok {
			return t, true
		}
		above, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil, false
		}
		c = above.NetConn()
	}
}
