package c2s

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// bufSize is what one read takes at most.
const bufSize = 16 << 10

// largeSize is for an item that does not fit into that.
const largeSize = 64 << 10

var largeBuffers = sync.Pool{New: func() any { return new([largeSize]byte) }}

var buffers = sync.Pool{New: func() any { return new([bufSize]byte) }}

// again is what a read returns where another would wait. That it calls itself
// temporary makes crypto/tls keep its state and ask again later.
type again struct{}

func (again) Error() string   { return "nothing to read now" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

var errAgain net.Error = again{}

// A transport is the connection under a stream, and under its TLS. While it waits
// for bytes it holds no buffer, and once it is set to, its Write never waits: what
// the kernel does not take is kept until drain has brought it out.
//
// One goroutine reads. Writes may come from two: the writer of the session and,
// from inside crypto/tls, the reader.
type transport struct {
	conn   net.Conn
	raw    syscall.RawConn // nil: the connection has no descriptor
	readFn func(fd uintptr) bool

	// The reader's.
	in       *[bufSize]byte // nil unless it holds bytes
	pos, end int
	dry      bool // the last read got less than it asked for
	nowait   bool // Read returns errAgain where it would wait
	poll     bool // for readFn: do not wait
	err      error

	cert *tls.Certificate // chosen in the handshake

	mu       sync.Mutex // guards the rest
	writeFn  func(fd uintptr) bool
	queueing bool   // Write never waits
	corked   bool   // Write only collects
	rest     []byte // produced and not accepted
	produced int64  // bytes written to this transport
	accepted int64  // bytes the kernel took
	wait     bool   // for writeFn: wait for room
	werr     error

	received atomic.Int64 // bytes
}

func newTransport(c net.Conn) *transport {
	t := &transport{conn: c}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			t.raw = raw
			t.readFn, t.writeFn = t.readReady, t.writeReady
		}
	}
	return t
}

// await returns when there are bytes to read, or with an error.
func (t *transport) await() error {
	if t.pos < t.end {
		return nil
	}
	return t.fill(false)
}

// fill reads once; with poll it returns errAgain where it would wait.
func (t *transport) fill(poll bool) error {
	if t.raw == nil {
		if poll {
			return errAgain
		}
		t.in = buffers.Get().(*[bufSize]byte)
		n, err := t.conn.Read(t.in[:])
		for n == 0 && err == nil { // a write of nothing at the other end of a pipe
			n, err = t.conn.Read(t.in[:])
		}
		if t.got(n); n > 0 {
			return nil
		}
		return err
	}
	t.poll, t.err = poll, nil
	if err := t.raw.Read(t.readFn); err != nil {
		return err
	}
	return t.err
}

func (t *transport) readReady(fd uintptr) bool {
	t.in = buffers.Get().(*[bufSize]byte)
	for {
		n, err := syscall.Read(int(fd), t.in[:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			t.got(0)
			t.err = errAgain
			return t.poll
		case err != nil:
			t.got(0)
			t.err = os.NewSyscallError("read", err)
		case n == 0:
			t.got(0)
			t.err = io.EOF
		default:
			t.err = nil
			t.got(n)
		}
		return true
	}
}

// got takes note of what a read brought, and gives the buffer back if that is nothing.
func (t *transport) got(n int) {
	if n <= 0 {
		t.release()
		return
	}
	t.pos, t.end, t.dry = 0, n, n < bufSize
	t.received.Add(int64(n))
}

func (t *transport) release() {
	if t.in != nil {
		buffers.Put(t.in)
		t.in = nil
	}
	t.pos, t.end = 0, 0
}

// Read implements net.Conn.
func (t *transport) Read(p []byte) (int, error) {
	if t.pos == t.end {
		if t.nowait && t.dry {
			return 0, errAgain
		}
		if err := t.fill(t.nowait); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.in[t.pos:t.end])
	if t.pos += n; t.pos == t.end {
		t.release()
	}
	return n, nil
}

// buffered says how many bytes have been received and not read.
func (t *transport) buffered() int { return t.end - t.pos }

// Write implements net.Conn. Once the transport queues it takes everything.
func (t *transport) Write(p []byte) (int, error) {
	t.mu.Lock()
	if !t.queueing {
		t.mu.Unlock()
		return t.conn.Write(p)
	}
	defer t.mu.Unlock()
	if t.werr != nil {
		return 0, t.werr
	}
	t.produced += int64(len(p))
	if t.corked || len(t.rest) > 0 {
		t.rest = append(t.rest, p...)
		return len(p), nil
	}
	t.rest = p
	err := t.push(false)
	t.rest = append([]byte(nil), t.rest...) // p is the caller's
	return len(p), err
}

// queue makes writes queue from now on.
func (t *transport) queue() {
	t.mu.Lock()
	t.queueing = true
	t.mu.Unlock()
}

// cork makes writes collect; uncork writes what was collected, in one call.
func (t *transport) cork() {
	t.mu.Lock()
	t.corked = true
	t.mu.Unlock()
}

func (t *transport) uncork() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.corked = false
	return t.push(false)
}

// push gives rest to the kernel, as far as it takes it now; with wait until it has
// taken something. The caller holds mu, which is free while it waits.
func (t *transport) push(wait bool) error {
	if len(t.rest) == 0 || t.werr != nil {
		return t.werr
	}
	if t.raw == nil {
		if !wait {
			return nil
		}
		p := t.rest
		t.mu.Unlock()
		n, err := t.conn.Write(p)
		t.mu.Lock()
		t.took(n, err)
		return t.werr
	}
	t.wait = wait
	if wait {
		t.mu.Unlock() // writeReady takes it
	}
	err := t.raw.Write(t.writeFn)
	if wait {
		t.mu.Lock()
	}
	if err != nil && t.werr == nil {
		t.werr = err
	}
	return t.werr
}

func (t *transport) writeReady(fd uintptr) bool {
	wait := t.wait
	if wait {
		t.mu.Lock()
		defer t.mu.Unlock()
	}
	for len(t.rest) > 0 {
		n, err := syscall.Write(int(fd), t.rest)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return !wait
		case err != nil:
			t.took(0, os.NewSyscallError("write", err))
			return true
		default:
			if t.took(n, nil); wait {
				return true
			}
		}
	}
	return true
}

func (t *transport) took(n int, err error) {
	if n > 0 {
		t.accepted += int64(n)
		if t.rest = t.rest[n:]; len(t.rest) == 0 {
			t.rest = nil
		}
	}
	if err != nil {
		t.werr = err
	}
}

// written says how many bytes were written and how many of them the kernel has taken.
func (t *transport) written() (produced, accepted int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.produced, t.accepted
}

// drainSome waits, up to stall, until the kernel has taken some of what is left.
func (t *transport) drainSome(stall time.Duration) error {
	if err := t.conn.SetWriteDeadline(time.Now().Add(stall)); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.push(true)
}

// Close implements net.Conn.
func (t *transport) Close() error { return t.conn.Close() }

// interrupt makes a waiting read return.
func (t *transport) interrupt() {
	// It can only be closed already.
	_ = t.conn.SetReadDeadline(time.Unix(1, 0))
}

// LocalAddr implements net.Conn.
func (t *transport) LocalAddr() net.Addr { return t.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (t *transport) RemoteAddr() net.Addr { return t.conn.RemoteAddr() }

// SetDeadline implements net.Conn.
func (t *transport) SetDeadline(d time.Time) error { return t.conn.SetDeadline(d) }

// SetReadDeadline implements net.Conn.
func (t *transport) SetReadDeadline(d time.Time) error { return t.conn.SetReadDeadline(d) }

// SetWriteDeadline implements net.Conn. crypto/tls sets one before it says goodbye;
// it must not end a drain.
func (t *transport) SetWriteDeadline(time.Time) error { return nil }

// linger closes the connection so that what was written last arrives: closing while
// input is unread would make the kernel drop it at both ends. The caller is the reader.
func (t *transport) linger(d time.Duration) {
	defer t.conn.Close()
	defer t.release()
	cw, ok := t.conn.(interface{ CloseWrite() error })
	if !ok || cw.CloseWrite() != nil || t.conn.SetReadDeadline(time.Now().Add(d)) != nil {
		return
	}
	until := time.Now().Add(d)
	for left := 1 << 20; left > 0; left -= t.end {
		t.release()
		err := t.fill(false)
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(until) {
			err = t.conn.SetReadDeadline(until) // it was an interruption that came late
		}
		if err != nil {
			return
		}
	}
}
