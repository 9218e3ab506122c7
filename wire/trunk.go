package wire

import (
	"errors"
	"net"
	"sync"
	"time"
)

// A client may come in at any node of several, and its session lives at one of them, its home. The node with the
// connection does TCP, TLS and, up to the name of the account, the negotiation. Then it hands the stream over: it opens
// a stream on its link to the home, which begins with a [Handover], and moves bytes from there on. It is a [Passage] at
// the node with the connection and a [Carried] at the home.
//
// What is said between the two is made of records: a head of four bytes, the kind and a number in three, and for data
// so many bytes. In each direction at most a window of bytes is on its way that the other side has not taken, so both
// can always read, and nobody who waits for one direction holds up the other. What the home has sent is taken when the
// kernel of the node with the connection has it for the client, which is what a write to a connection of the home's own
// would have meant. The reasons are in docs/decisions/0061-streams-are-handed-over.md.

// window bounds the bytes in one direction that are not known to have been taken.
const window = largeSize

// The kinds of records.
const (
	kindData   byte = iota + 1 // of the client's stream
	kindPrompt                 // likewise; whoever sent it waits to hear that it has been taken
	kindTaken                  // so many bytes have been taken
	kindEnd                    // there is no more data
	kindReady                  // the home has the stream
	kindKnown                  // the home has let the client in
	kindRest                   // the home has heard nothing for a while
	kindLeave                  // the node with the connection stops
	kindCut                    // the home is through with the client
	kindAsk                    // the home wants to know what is on its way to the client
	kindSent                   // so many bytes are
)

const (
	headSize = 4
	// maxData is the most data that one record has: it fits into a buffer with its head.
	maxData = BufSize - headSize
	// trunkStall is how long a record may take to leave. The other side always reads, so by then it is gone.
	trunkStall = 30 * time.Second
)

// errTrunk is why a stream between two nodes ends on which something was said that makes no sense.
var errTrunk = errors.New("the other node said what is not understood")

// ErrLeaves says that the node with a client's connection stops. All that the client had sent before has been read.
var ErrLeaves = errors.New("the node with the connection stops")

// A trunk is one side of a stream between two nodes.
type trunk struct {
	link net.Conn
	w    sync.Mutex     // held while a record is written
	head [headSize]byte // of a record without data; guarded by w
}

func putHead(b []byte, kind byte, n int) {
	b[0], b[1], b[2], b[3] = kind, byte(n>>16), byte(n>>8), byte(n)
}

// say writes a record without data.
func (t *trunk) say(kind byte, n int) error {
	t.w.Lock()
	defer t.w.Unlock()
	putHead(t.head[:], kind, n)
	return t.write(t.head[:])
}

// send writes a record whose data is b behind its first four bytes.
func (t *trunk) send(kind byte, b []byte) error {
	putHead(b, kind, len(b)-headSize)
	t.w.Lock()
	defer t.w.Unlock()
	return t.write(b)
}

// write writes a record. The caller holds w. A record that has left in part ends everything.
func (t *trunk) write(b []byte) error {
	err := t.link.SetWriteDeadline(time.Now().Add(trunkStall))
	if err == nil {
		_, err = t.link.Write(b)
	}
	if err != nil {
		_ = t.link.Close() // whoever reads from it finds out
	}
	return err
}

// shrinker is a link stream that holds buffers which it can do without for now.
type shrinker interface{ Shrink() }

func (t *trunk) shrink() {
	if s, ok := t.link.(shrinker); ok {
		s.Shrink()
	}
}
