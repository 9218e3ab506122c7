package wire

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

// BufSize is the most that one read takes.
const BufSize = 16 << 10

// largeSize is for an item that does not fit into that.
const largeSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([BufSize]byte) }}

var largeBuffers = sync.Pool{New: func() any { return new([largeSize]byte) }}

// again is what a read returns where another would wait. That it calls itself temporary makes crypto/tls keep its state
// and ask again later.
type again struct{}

func (again) Error() string   { return "nothing to read now" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// ErrAgain says that there is nothing to read now.
var ErrAgain net.Error = again{}

// An Awaiter is a connection without a descriptor that can be waited for without a buffer.
type Awaiter interface {
	// AwaitRead returns when a read would not wait, with the error that it would have; with poll it returns ErrAgain
	// where it would wait.
	AwaitRead(poll bool) error
}

// A Transport is the connection under a stream, and under its TLS. It reads and writes by the descriptor where there is
// one. So it holds no buffer while it waits for bytes, which saves 13 of the 40 KiB that an idle client would cost. And
// once Queue has been called its Write never waits: what the kernel does not take is kept until Drain has brought it
// out.
//
// One goroutine reads. Writes may come from two: whoever writes the stream and, from inside crypto/tls, the reader.
type Transport struct {
	conn   net.Conn
	raw    syscall.RawConn // nil: the connection has no descriptor
	readFn func(fd uintptr) bool

	// Cert is the certificate that the other side was shown, if tls.Config.GetCertificate notes it here.
	Cert *tls.Certificate

	// The reader's.
	in       *[BufSize]byte // nil unless it holds bytes
	pos, end int
	dry      bool // the last read got less than it asked for
	nowait   bool // Read returns ErrAgain where it would wait
	poll     bool // for readFn: do not wait
	err      error

	interrupted atomic.Bool // the deadline for reads is Interrupt's
	slot        int32       // descriptor of one that is asleep; see sleepers, which guard these two
	later       func()      // nil: awake

	mu       sync.Mutex // guards the rest
	writeFn  func(fd uintptr) bool
	queueing bool   // Write never waits
	collects bool   // what is written waits for emit
	rest     []byte // produced and not accepted
	produced int64  // bytes written to this transport
	accepted int64  // bytes the kernel took
	wait     bool   // for writeFn: wait for room
	werr     error
}

// NewTransport makes one of a connection. Its reads and writes wait until a Stream has begun on it.
func NewTransport(c net.Conn) *Transport {
	t := &Transport{conn: c}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			t.raw = raw
			t.readFn, t.writeFn = t.readReady, t.writeReady
		}
	}
	return t
}

// Await returns when there are bytes to read, or with an error.
func (t *Transport) Await() error {
	if t.pos < t.end {
		return nil
	}
	return t.fill(false)
}

// Prompt says whether the connection takes at once what is written, as far as one can tell: one without a descriptor
// may know that it does not.
func (t *Transport) Prompt() bool {
	c, ok := t.conn.(interface{ Prompt() bool })
	return !ok || c.Prompt()
}

// AskKernel makes the next read ask the kernel whether there is more, though the last one got all there was.
func (t *Transport) AskKernel() { t.dry = false }

// kernelAway is Kernel for a connection without a descriptor.
func (t *Transport) kernelAway() (unsent, unread int) {
	if c, ok := t.conn.(*Carried); ok {
		return c.Kernel()
	}
	return 0, 0
}

// fill reads once; with poll it returns ErrAgain where it would wait.
func (t *Transport) fill(poll bool) error {
	if t.raw == nil {
		switch w, ok := t.conn.(Awaiter); {
		case ok:
			if err := w.AwaitRead(poll); err != nil {
				return err
			}
		case poll:
			return ErrAgain
		}
		t.in = buffers.Get().(*[BufSize]byte)
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
	err := t.raw.Read(t.readFn)
	if err == nil {
		err = t.err
	}
	if err == nil || err == ErrAgain || err == io.EOF {
		return err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok { // of a "raw-read" from nowhere
		err = op.Err
	}
	at := t.conn.RemoteAddr()
	return &net.OpError{Op: "read", Net: at.Network(), Source: t.conn.LocalAddr(), Addr: at, Err: err}
}

func (t *Transport) readReady(fd uintptr) bool {
	t.in = buffers.Get().(*[BufSize]byte)
	for {
		n, err := syscall.Read(int(fd), t.in[:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			t.got(0)
			t.err = ErrAgain
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
func (t *Transport) got(n int) {
	if n <= 0 {
		t.release()
		return
	}
	t.pos, t.end, t.dry = 0, n, n < BufSize
}

func (t *Transport) release() {
	if t.in != nil {
		buffers.Put(t.in)
		t.in = nil
	}
	t.pos, t.end = 0, 0
}

// Read implements net.Conn.
func (t *Transport) Read(p []byte) (int, error) {
	if t.pos == t.end {
		if t.nowait && t.dry {
			return 0, ErrAgain
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
func (t *Transport) buffered() int { return t.end - t.pos }

// Write implements net.Conn. Once the transport queues it takes everything.
func (t *Transport) Write(p []byte) (int, error) {
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
	if len(t.rest) > 0 || t.collects {
		t.rest = append(t.rest, p...)
		return len(p), nil
	}
	t.rest = p
	err := t.push(false)
	t.rest = append([]byte(nil), t.rest...) // p is the caller's
	return len(p), err
}

// Queue makes writes queue from now on.
func (t *Transport) Queue() {
	t.mu.Lock()
	t.queueing = true
	t.mu.Unlock()
}

// collect lets what is written from now on leave together, with emit. It comes after Queue.
func (t *Transport) collect() {
	t.mu.Lock()
	t.collects = true
	t.mu.Unlock()
}

// emit gives the kernel what was collected, as far as it takes it now.
func (t *Transport) emit() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.collects = false
	return t.push(false)
}

// push gives rest to the kernel, as far as it takes it now; with wait until it has taken something. The caller holds
// mu, which is free while it waits.
func (t *Transport) push(wait bool) error {
	if len(t.rest) == 0 || t.werr != nil {
		return t.werr
	}
	if t.raw == nil {
		if !wait {
			return nil
		}
		p, write := t.rest, t.conn.Write
		if c, ok := t.conn.(*Carried); ok {
			write = c.Carry
		}
		t.mu.Unlock()
		n, err := write(p)
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

func (t *Transport) writeReady(fd uintptr) bool {
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

func (t *Transport) took(n int, err error) {
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

// Written says how many bytes were written since Queue, and how many of them the kernel has taken.
func (t *Transport) Written() (produced, accepted int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.produced, t.accepted
}

// Drain waits, up to stall, until the kernel has taken some of what is left. Afterwards no write has a deadline: one
// that has passed would end also those that do not wait.
func (t *Transport) Drain(stall time.Duration) error {
	if err := t.WriteUntil(time.Now().Add(stall)); err != nil {
		return err
	}
	t.mu.Lock()
	err := t.push(true)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	return t.WriteUntil(time.Time{})
}

// Close implements net.Conn.
func (t *Transport) Close() error {
	defer t.awaken() // it finds out
	return t.conn.Close()
}

// closeWrite ends our direction of the connection, where it can be ended by itself.
func (t *Transport) closeWrite() error {
	if c, ok := t.conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Interrupt makes a read that waits return, and all that follow until there is another deadline.
func (t *Transport) Interrupt() {
	t.interrupted.Store(true)
	// It can only be closed already.
	_ = t.conn.SetReadDeadline(time.Unix(1, 0))
	t.awaken()
}

// NetConn is the connection below.
func (t *Transport) NetConn() net.Conn { return t.conn }

// LocalAddr implements net.Conn.
func (t *Transport) LocalAddr() net.Addr { return t.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (t *Transport) RemoteAddr() net.Addr { return t.conn.RemoteAddr() }

// SetDeadline implements net.Conn.
func (t *Transport) SetDeadline(d time.Time) error {
	t.interrupted.Store(false)
	return t.conn.SetDeadline(d)
}

// SetReadDeadline implements net.Conn.
func (t *Transport) SetReadDeadline(d time.Time) error {
	t.interrupted.Store(false) // before: an interruption that comes meanwhile must be found
	return t.conn.SetReadDeadline(d)
}

// SetWriteDeadline implements net.Conn for crypto/tls, which sets one before it says goodbye. That must not end what is
// being written, so it has no effect; WriteUntil has.
func (t *Transport) SetWriteDeadline(time.Time) error { return nil }

// WriteUntil is how long writes may take.
func (t *Transport) WriteUntil(d time.Time) error { return t.conn.SetWriteDeadline(d) }
