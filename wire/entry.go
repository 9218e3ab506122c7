package wire

import (
	"crypto/tls"
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
