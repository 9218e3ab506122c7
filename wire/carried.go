package wire

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// A Carried is the connection of a client at its home, where another node has the client's own. It is a net.Conn
// without a descriptor: what it reads the client has sent, and what is written to it is written when the kernel of the
// other node has taken it. Where the client itself says what it has (Managed), on the link is good enough.
//
// One goroutine takes what comes off the link, also while nobody reads.
type Carried struct {
	trunk
	from netip.AddrPort

	mu       sync.Mutex // guards the rest
	readable sync.Cond
	writable sync.Cond

	// What the client has sent and nobody has read: in[pos:end].
	in       []byte
	pooled   *[BufSize]byte
	large    *[largeSize]byte
	pos, end int
	untold   int // bytes that have been read since the other node was told
	until    time.Time
	alarm    *time.Timer
	over     error // what a read returns behind that; nil: more may come
	broken   error // why nothing comes off the link any more

	sent, taken int64 // bytes on the link, and of them those that the other node's kernel has
	given       int64 // of them, those that Carry has counted
	managed     bool
	onWay       int       // bytes that the client had not acknowledged when the other node was asked
	answered    bool      // it has been
	tardy       bool      // the client fetches what waits for it, now and then
	stall       time.Time // writes end then
	bell        *time.Timer
	late        bool // a write has waited for too long
	closed      bool
}

func newCarried(link net.Conn, from netip.AddrPort) *Carried {
	c := &Carried{trunk: trunk{link: link}, from: from}
	c.readable.L, c.writable.L = &c.mu, &c.mu
	return c
}

// Managed says from now on that what is on the link is taken: a client with stream management says what it has.
func (c *Carried) Managed() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.managed = true
	c.writable.Broadcast()
}

// Known tells the other node that the client has logged in.
func (c *Carried) Known() {
	if c != nil {
		_ = c.say(kindKnown, 0) // whoever reads finds out
	}
}

// Rest tells the other node that nothing is said for a while.
func (c *Carried) Rest() {
	_ = c.say(kindRest, 0) // whoever reads finds out
	c.shrink()
}

// pump takes what comes off the link until that ends.
func (c *Carried) pump() {
	err := c.receive()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken = err; c.over == nil {
		c.over = err
	}
	c.readable.Broadcast()
	c.writable.Broadcast()
	_ = c.link.Close() // it is over either way
}

func (c *Carried) receive() error {
	var head [headSize]byte
	for {
		if _, err := io.ReadFull(c.link, head[:]); err != nil {
			return err
		}
		kind, n := head[0], int(head[1])<<16|int(head[2])<<8|int(head[3])
		var err error
		switch kind {
		case kindData:
			err = c.data(n)
		case kindTaken:
			err = c.confirmed(n)
		case kindSent:
			c.answer(n)
		case kindEnd:
			c.ends(io.EOF)
		case kindLeave:
			c.ends(ErrLeaves)
		default:
			err = errTrunk
		}
		if err != nil {
			return err
		}
	}
}

func (c *Carried) data(n int) error {
	if n > maxData {
		return errTrunk
	}
	p := buffers.Get().(*[BufSize]byte)
	if _, err := io.ReadFull(c.link, p[:n]); err != nil {
		buffers.Put(p)
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.untold+c.end-c.pos+n > window {
		buffers.Put(p)
		return errTrunk
	}
	if c.in == nil {
		c.pooled, c.in, c.pos, c.end = p, p[:], 0, n
	} else {
		c.room(n)
		c.end += copy(c.in[c.end:], p[:n])
		buffers.Put(p)
	}
	c.readable.Broadcast()
	return nil
}

// room makes room for n bytes more. The caller holds mu.
func (c *Carried) room(n int) {
	if c.end+n <= len(c.in) {
		return
	}
	rest := c.in[c.pos:c.end]
	if len(rest)+n > len(c.in) {
		large := largeBuffers.Get().(*[largeSize]byte)
		copy(large[:], rest)
		c.drop()
		c.large, c.in = large, large[:]
	} else {
		copy(c.in, rest)
	}
	c.pos, c.end = 0, len(rest)
}

// drop gives the buffer back. The caller holds mu.
func (c *Carried) drop() {
	if c.pooled != nil {
		buffers.Put(c.pooled)
	}
	if c.large != nil {
		largeBuffers.Put(c.large)
	}
	c.in, c.pooled, c.large = nil, nil, nil
	c.pos, c.end = 0, 0
}

func (c *Carried) confirmed(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken += int64(n); c.taken > c.sent {
		return errTrunk
	}
	c.writable.Broadcast()
	return nil
}

func (c *Carried) ends(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over == nil {
		c.over = err
	}
	c.readable.Broadcast()
}

// AwaitRead implements Awaiter.
func (c *Carried) AwaitRead(poll bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.await(poll)
}

// await waits for something to read. The caller holds mu.
func (c *Carried) await(poll bool) error {
	for {
		switch {
		case !c.until.IsZero() && !time.Now().Before(c.until):
			return os.ErrDeadlineExceeded
		case c.end > c.pos:
			return nil
		case c.closed:
			return net.ErrClosed
		case c.over != nil:
			return c.over
		case poll:
			return ErrAgain
		}
		c.readable.Wait()
	}
}

// Read implements net.Conn.
func (c *Carried) Read(p []byte) (int, error) {
	c.mu.Lock()
	if err := c.await(false); err != nil {
		c.mu.Unlock()
		return 0, err
	}
	n := copy(p, c.in[c.pos:c.end])
	if c.pos += n; c.pos == c.end {
		c.drop()
	}
	tell := 0
	if c.untold += n; c.untold >= window/2 {
		tell, c.untold = c.untold, 0
	}
	c.mu.Unlock()
	if tell > 0 {
		_ = c.say(kindTaken, tell) // the next read finds out
	}
	return n, nil
}

// Carry writes b, which begins with what it was given before and has not said to be taken. It waits until some more is
// taken and says how much. One goroutine writes at a time.
func (c *Carried) Carry(b []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		ahead := int(c.sent - c.given)
		piece := min(len(b)-ahead, window-int(c.sent-c.taken), maxData)
		taken := c.taken
		if c.managed {
			taken = c.sent
		}
		switch {
		case taken > c.given: // also what is heard last
			n = int(taken - c.given)
			c.given = taken
			return n, nil
		case c.broken != nil && c.late:
			return 0, os.ErrDeadlineExceeded
		case c.broken != nil:
			return 0, c.broken
		case c.closed && c.managed:
			return 0, net.ErrClosed
		case c.closed, c.late: // what the other node says last
		case piece > 0:
			if err = c.put(b[ahead : ahead+piece]); err != nil {
				return 0, err
			}
			continue
		case len(b) == 0:
			return 0, nil
		case !c.stall.IsZero() && !time.Now().Before(c.stall):
			c.late = true
			c.cut()
		default:
			c.ring()
		}
		c.writable.Wait()
	}
}

// put gives the link a piece of what is written. The caller holds mu, which is free meanwhile.
func (c *Carried) put(piece []byte) error {
	kind := kindPrompt
	if c.managed {
		kind = kindData
	}
	c.sent += int64(len(piece))
	c.mu.Unlock()
	defer c.mu.Lock()
	p := buffers.Get().(*[BufSize]byte)
	defer buffers.Put(p)
	return c.send(kind, p[:headSize+copy(p[headSize:], piece)])
}

// cut asks the other node to cut the client off and to say what it has taken until then. The caller holds mu.
func (c *Carried) cut() {
	go func() {
		_ = c.say(kindCut, 0) // the link is closed in any case
		time.AfterFunc(FarewellTime, func() { _ = c.link.Close() })
	}()
}

// ring has whoever waits to write look again when the time for it is up. The caller holds mu.
func (c *Carried) ring() {
	if c.stall.IsZero() || c.bell != nil {
		return
	}
	c.bell = time.AfterFunc(time.Until(c.stall), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bell = nil
		c.writable.Broadcast()
	})
}

// Write implements net.Conn.
func (c *Carried) Write(b []byte) (n int, err error) {
	for n < len(b) {
		k, err := c.Carry(b[n:])
		if n += k; err != nil {
			c.mu.Lock()
			c.given = c.sent // what is written next is something else
			c.mu.Unlock()
			return n, err
		}
	}
	return n, nil
}

// Prompt says whether the client's connection takes at once what is written, as far as one can tell.
func (c *Carried) Prompt() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent == c.taken && !c.tardy && !c.closed && c.broken == nil
}

// Kernel is Transport.Kernel, as it was when it was asked for last; the other node is asked anew. Nothing counts as
// acknowledged before the first answer.
func (c *Carried) Kernel() (unsent, unread int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	go func() { _ = c.say(kindAsk, 0) }() // whoever reads finds out
	if unsent = int(c.sent); c.answered {
		unsent = c.onWay
	}
	return unsent, c.end - c.pos
}

func (c *Carried) answer(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onWay, c.answered = n, true
}

// CloseWrite ends what goes to the client. The other node brings out what is left, and ends the client's connection.
func (c *Carried) CloseWrite() error { return c.say(kindEnd, 0) }

// Close implements net.Conn. Without CloseWrite the other node cuts the client's connection off.
func (c *Carried) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	for _, t := range []*time.Timer{c.alarm, c.bell} {
		if t != nil {
			t.Stop()
		}
	}
	c.alarm, c.bell = nil, nil
	c.readable.Broadcast()
	c.writable.Broadcast()
	switch {
	case c.late:
	case c.managed, c.sent == c.taken, c.broken != nil:
		return c.link.Close() // the pump ends
	default: // whoever has written waits for the word
		c.cut()
	}
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *Carried) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if c.until = t; c.alarm != nil {
		c.alarm.Stop()
		c.alarm = nil
	}
	if left := time.Until(t); !t.IsZero() && left > 0 {
		c.alarm = time.AfterFunc(left, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.readable.Broadcast()
		})
	}
	c.readable.Broadcast()
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *Carried) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if c.stall = t; c.bell != nil {
		c.bell.Stop()
		c.bell = nil
	}
	c.writable.Broadcast() // whoever waits has it rung again
	return nil
}

// SetDeadline implements net.Conn.
func (c *Carried) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// LocalAddr implements net.Conn.
func (c *Carried) LocalAddr() net.Addr { return c.link.LocalAddr() }

// RemoteAddr implements net.Conn: it is the client's.
func (c *Carried) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.from) }
