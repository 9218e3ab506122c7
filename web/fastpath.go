package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router/gate"
)

// Bounds of the fast path: a header, with what came of the body beside it, and a body.
const (
	fastHead = 4 << 10
	fastBody = 64 << 10
)

// coarse is how much earlier than it should a deadline may pass, so that not each request has to set it anew.
const coarse = time.Second

// lastWords is for how long a client may take in an answer after which its connection is closed.
const lastWords = 500 * time.Millisecond

// fastPath reads and answers short requests in clear by itself: POSTs to some paths, plain and complete, of clients
// that stay. What net/http does for requests of any kind costs more than such a post: its watch of the connection while
// a handler waits is a goroutine, a read and two deadlines (docs/decisions/0045-fast-path.md).
//
// A connection whose next request is anything else, or is in any doubt, is net/http's from there on, with what was read
// of it: the fast path refuses nothing by itself.
type fastPath struct {
	paths []string

	mu      sync.Mutex // guards the rest
	conns   map[*fastConn]struct{}
	closing bool
	empty   chan struct{} // closed when there are none any more, once it is closing
}

// FastPath has POSTs to these paths served without net/http where that can be. Their handlers answer once, soon and in
// one piece, keep nothing of a request, and ask for no more of a connection than deadlines. It is called before Serve.
func (s *Server) FastPath(paths ...string) { s.fast.paths = paths }

// enter counts a connection; false while closing.
func (p *fastPath) enter(f *fastConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return false
	}
	if p.conns == nil {
		p.conns = map[*fastConn]struct{}{}
	}
	p.conns[f] = struct{}{}
	return true
}

func (p *fastPath) leave(f *fastConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if delete(p.conns, f); p.closing && len(p.conns) == 0 {
		close(p.empty)
	}
}

// shutdown closes connections that wait for a request, waits for the others, and closes these too when the context
// ends.
func (p *fastPath) shutdown(ctx context.Context) error {
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		return nil
	}
	p.closing, p.empty = true, make(chan struct{})
	if len(p.conns) == 0 {
		close(p.empty)
	}
	for f := range p.conns {
		if f.state.CompareAndSwap(fastWaits, fastEnds) {
			_ = f.c.Close() // the one that reads there finds out
		}
	}
	p.mu.Unlock()
	select {
	case <-p.empty:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for f := range p.conns {
		_ = f.c.Close() // likewise
	}
	return ctx.Err()
}

// States of a connection.
const (
	fastWaits int32 = iota // for a request
	fastWorks              // on one
	fastEnds
)

// A fastConn is a connection on the fast path. But for state, it belongs to the goroutine of serve.
type fastConn struct {
	s     *Server
	c     *watchedConn
	pass  *gate.Pass
	blank *http.Request // with the context of the connection
	state atomic.Int32

	buf  []byte // what was read and not yet used
	room [fastHead]byte

	readUntil, writeUntil time.Time // deadlines of the connection; zero: not known

	req    http.Request
	url    url.URL
	header http.Header
	values []string // of header, all in one
	left   int      // bytes of the body that were not read

	status int
	answer http.Header
	body   []byte
	out    bytes.Buffer
	date   string // of the second dated
	dated  int64
}

// serveFast serves a connection until it ends or is given to net/http.
func (s *Server) serveFast(c *watchedConn, rest *handover) {
	f := &fastConn{s: s, c: c, pass: passOf(c), header: http.Header{}, answer: http.Header{}}
	f.blank = (&http.Request{Method: http.MethodPost, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		RemoteAddr: c.RemoteAddr().String()}).WithContext(connContext(context.Background(), c))
	if !s.fast.enter(f) {
		_ = c.Close() // nothing was asked
		return
	}
	handed := f.serve()
	if handed {
		c.early = bytes.Clone(f.buf)
		_ = c.SetWriteDeadline(time.Time{}) // net/http sets it when it has read a header, and not before
		handed = rest.give(c)
	}
	if !handed {
		_ = c.Close() // there is nobody to tell
	}
	s.fast.leave(f)
}

// serve returns whether another is to go on with what was read.
func (f *fastConn) serve() (other bool) {
	defer func() {
		if x := recover(); x != nil { // as net/http does; handlers that can answer have done so
			other = false
			if x != http.ErrAbortHandler {
				f.s.http.ErrorLog.Printf("panic: %v\n%s", x, debug.Stack())
			}
		}
	}()
	for first := true; ; first = false {
		switch ok, err := f.receive(first); {
		case err != nil:
			return false
		case !ok:
			return true
		}
		if !f.state.CompareAndSwap(fastWaits, fastWorks) {
			return false
		}
		f.pass.Idle(false)
		open := f.handle()
		f.pass.Idle(true)
		f.state.Store(fastWaits)
		if !open || f.s.fast.ends() {
			return false
		}
	}
}

// ends says whether the server is closing.
func (p *fastPath) ends() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closing
}

// receive waits for a request and reads its header; false means that it is not one of ours. A header has its time from
// its first byte, the first one of a connection from when that was made, however many pieces it comes in.
func (f *fastConn) receive(first bool) (ok bool, err error) {
	timed := false
	for {
		switch begun := len(f.buf) > 0; {
		case begun:
			if size := f.head(); size > 0 {
				return f.parse(size), nil
			}
			if len(f.buf) == fastHead || !f.promising() {
				return false, nil
			}
			if !timed {
				f.readWithin(f.s.http.ReadHeaderTimeout, true)
			}
			timed = true
		case first:
			f.readWithin(f.s.http.ReadHeaderTimeout, true)
			timed = true
		default:
			f.readWithin(f.s.http.IdleTimeout, false)
		}
		n := copy(f.room[:], f.buf)
		got, err := f.c.Read(f.room[n:])
		f.buf = f.room[:n+got]
		if err != nil && got == 0 {
			return false, err
		}
	}
}

// readWithin sets the deadline of the next read; it is exact where asked.
func (f *fastConn) readWithin(d time.Duration, exact bool) {
	until := time.Now().Add(d)
	if late := until.Sub(f.readUntil); exact || late > coarse || late < 0 {
		f.readUntil = until
		_ = f.c.SetReadDeadline(until) // a connection that is closed says so when it is read
	}
}

// handle has the request answered; false means that the connection ends.
func (f *fastConn) handle() bool {
	f.status, f.body = 0, f.body[:0]
	clear(f.answer)
	body := f.req.Body
	f.s.http.Handler.ServeHTTP((*fastWriter)(f), &f.req)
	_ = body.Close() // it is a fastReader
	open := f.answer.Get("Connection") != "close" && !f.s.fast.ends()
	err := f.write(open)
	if cap(f.body) > fastBody {
		f.body = nil
	}
	if err != nil {
		return false
	}
	return f.drain(open)
}

// drain reads what the handler has left of the body: the next request stands behind it, and a connection that is closed
// before everything was read may take the answer away from the client.
func (f *fastConn) drain(open bool) bool {
	if f.left == 0 {
		return open
	}
	wait := f.s.http.ReadTimeout
	if !open {
		wait = lastWords
		if c, ok := f.c.Conn.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite() // a courtesy
		}
	}
	f.readWithin(wait, true)
	for f.left > 0 {
		if _, err := f.readBody(f.room[:]); err != nil {
			return false
		}
	}
	return open
}

// write sends the answer in one piece.
func (f *fastConn) write(open bool) error {
	if f.status == 0 {
		f.status = http.StatusOK
	}
	if f.answer["Content-Type"] == nil && len(f.body) > 0 {
		f.answer["Content-Type"] = []string{http.DetectContentType(f.body)}
	}
	if !open {
		f.answer["Connection"] = []string{"close"}
	}
	now := time.Now()
	if sec := now.Unix(); sec != f.dated || f.date == "" {
		f.dated, f.date = sec, now.UTC().Format(http.TimeFormat)
	}
	b := &f.out
	b.Reset()
	b.WriteString("HTTP/1.1 ")
	b.Write(strconv.AppendInt(b.AvailableBuffer(), int64(f.status), 10))
	b.WriteByte(' ')
	b.WriteString(http.StatusText(f.status))
	b.WriteString("\r\n")
	_ = f.answer.WriteSubset(b, fastOwn) // a buffer takes everything
	b.WriteString("Date: ")
	b.WriteString(f.date)
	b.WriteString("\r\n")
	if f.status >= 200 && f.status != http.StatusNoContent && f.status != http.StatusNotModified { // RFC 9110 §8.6
		b.WriteString("Content-Length: ")
		b.Write(strconv.AppendInt(b.AvailableBuffer(), int64(len(f.body)), 10))
		b.WriteString("\r\n")
	}
	b.WriteString("\r\n")
	b.Write(f.body)
	if until := now.Add(writeTime); until.Sub(f.writeUntil) > coarse {
		f.writeUntil = until
		_ = f.c.SetWriteDeadline(until) // the write tells
	}
	_, err := f.c.Write(b.Bytes())
	if b.Cap() > fastBody {
		f.out = bytes.Buffer{}
	}
	return err
}

// fastOwn are the fields that write makes itself.
var fastOwn = map[string]bool{"Date": true, "Content-Length": true, "Transfer-Encoding": true}

// A fastWriter is a fastConn for the handler to write to.
type fastWriter fastConn

// Header implements http.ResponseWriter.
func (w *fastWriter) Header() http.Header { return w.answer }

// WriteHeader implements http.ResponseWriter.
func (w *fastWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *fastWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, b...)
	return len(b), nil
}

// SetReadDeadline is for http.ResponseController. What is there already waits for nothing.
func (w *fastWriter) SetReadDeadline(t time.Time) error {
	if w.left <= len(w.buf) {
		return nil
	}
	w.readUntil = t
	return w.c.SetReadDeadline(t)
}

// A fastReader is the body of one request until its handler is done: what that has left running reads nothing more.
type fastReader struct {
	mu   sync.Mutex // guards the rest
	f    *fastConn
	over bool
}

// Read implements io.Reader.
func (r *fastReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return 0, http.ErrBodyReadAfterClose
	}
	return r.f.readBody(b)
}

// Close implements io.Closer.
func (r *fastReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	return nil
}

// readBody reads what is left of the body.
func (f *fastConn) readBody(b []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	b = b[:min(len(b), f.left)]
	if len(f.buf) > 0 {
		n := copy(b, f.buf)
		f.buf = f.buf[n:]
		f.left -= n
		return n, nil
	}
	n, err := f.c.Read(b)
	f.left -= n
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// A fastListener gives net/http the connections that are not, or no longer, on the fast path.
type fastListener struct {
	*handover
	under net.Listener
	errs  chan error
}

// onFastPath accepts for net/http.
func (s *Server) onFastPath(l watchedListener) net.Listener {
	f := &fastListener{handover: newHandover(), under: l, errs: make(chan error)}
	go func() {
		for {
			if c, err := l.accept(); err == nil {
				go s.serveFast(c, f.handover)
				continue
			} else if !f.fails(err) {
				return
			}
		}
	}()
	return f
}

// fails waits until net/http has an error; it knows for how long to wait after that. False means that it is gone.
func (f *fastListener) fails(err error) bool {
	select {
	case f.errs <- err:
		return true
	case <-f.done:
		return false
	}
}

// Accept implements net.Listener.
func (f *fastListener) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case err := <-f.errs:
		return nil, err
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (f *fastListener) Close() error {
	_ = f.handover.Close() // it has no error
	return f.under.Close()
}

// Addr implements net.Listener.
func (f *fastListener) Addr() net.Addr { return f.under.Addr() }
