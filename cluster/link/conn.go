package link

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// frameHead is how long the head of a yamux frame is.
const frameHead = 12

// A conn is the connection below a session. It counts, and knows when something came last.
type conn struct {
	*tls.Conn
	below net.Conn
	stats *Stats
	in    atomic.Int64
	out   atomic.Int64
	heard atomic.Int64 // nanoseconds of the monotonic clock, see now
	held  []byte       // the head of a frame whose body comes next; the session's one writer has it
}

// start is what now counts from.
var start = time.Now()

func now() int64 { return int64(time.Since(start)) }

// Read is for the session's one reader.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard.Store(now())
		c.in.Add(int64(n))
		c.stats.BytesIn.Add(int64(n))
	}
	return n, err
}

// Write is for the session's one writer. yamux writes a frame in two pieces, head and body; they leave in one record
// and one system call.
func (c *conn) Write(p []byte) (int, error) {
	if len(c.held) == 0 && len(p) == frameHead && p[1] == 0 && binary.BigEndian.Uint32(p[8:]) > 0 {
		c.held = append(c.held, p...)
		return len(p), nil
	}
	all := p
	if len(c.held) > 0 {
		c.held = append(c.held, p...)
		all = c.held
	}
	_, err := c.Conn.Write(all)
	c.out.Add(int64(len(all)))
	c.stats.BytesOut.Add(int64(len(all)))
	if c.held = c.held[:0]; cap(c.held) > 2*maxFrame {
		c.held = nil
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close ends the connection without the good-bye of TLS, which would wait for a writer that is stuck. The streams in
// it have said all that there was to say.
func (c *conn) Close() error { return c.below.Close() }

// maxFrame is how many bytes of a stream leave at once, so that none keeps the others waiting.
const maxFrame = 32 << 10

// A stream is one of a link. It is what Open returns, and what a handler is given.
type stream struct {
	*yamux.Stream
	s      *session
	closed atomic.Bool
}

// Read reads what the other end has written. A link that breaks is another error than the end of the stream.
func (c *stream) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	return n, c.fail(err)
}

// Write returns when the link has taken all of it. It waits for the other end to read if that is a window behind.
func (c *stream) Write(p []byte) (int, error) {
	for n := 0; ; {
		piece := p[n:min(len(p), n+maxFrame)]
		k, err := c.Stream.Write(piece)
		if n += k; err != nil || n == len(p) {
			return n, c.fail(err)
		}
	}
}

// fail says an error in the words of package net.
func (c *stream) fail(err error) error {
	switch {
	case err == nil:
		return nil
	case c.closed.Load():
		return net.ErrClosed
	case errors.Is(err, yamux.ErrConnectionWriteTimeout):
		// Whether the frame leaves yet, nobody knows: the stream cannot go on, and the connection moves nothing.
		c.s.close(errStuck)
		return errStuck
	case err == yamux.ErrTimeout:
		return os.ErrDeadlineExceeded
	case err == io.EOF && c.s.IsClosed():
		return io.ErrUnexpectedEOF
	}
	return err
}

// Close ends the stream in both directions. What was written before still arrives.
func (c *stream) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	err := c.Stream.Close()
	_ = c.SetDeadline(time.Unix(1, 0)) // yamux would let a Read go on; it never fails
	return err
}

var errStuck = errors.New("the connection takes nothing any more")
