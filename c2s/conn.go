package c2s

import (
	"crypto/tls"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/router/budget"
	"jackdaw/router/gate"
	"jackdaw/xmpp/stream"
)

// maxRecord is the most that one TLS record carries (RFC 8446 §5.1).
const maxRecord = 16 << 10

// A conn is one connection of a client: the transport with TLS on it, the scanner and
// what has been read. One goroutine reads: first a short-lived one that
// negotiates, then one whose stack has stayed small.
type conn struct {
	srv  *Server
	pass *gate.Pass
	t    *transport
	tls  *tls.Conn // nil without TLS
	r    io.Reader // t or tls
	scan stream.Scanner
	s    *session // nil before bind

	// The reader's.
	store  []byte         // read and not consumed: store[pos:end]
	pooled *[bufSize]byte // store, unless that is large or our own
	large  *[largeSize]byte
	pos    int
	end    int
	total  int // plain bytes read
	most   int // of them, before authentication; 0: no bound
	env    router.Envelope
	batch  router.Batch
	flush  bool           // the reader's own session has something queued
	known  bool           // authenticated
	purse  *budget.Budget // of the account; nil: no limit on the rate
	last   int            // plain bytes after which a reader that is told to leave does so; 0: not told

	heard  atomic.Int64 // second of the server's clock when bytes came last
	dead   atomic.Bool  // nothing that comes is to be looked at any more
	leave  atomic.Int32 // a departure: the reader is to leave the router
	silent atomic.Bool  // the client did not answer
	rest   atomic.Bool  // another goroutine is to go on reading

	// The session's mu guards these.
	writing   bool  // somebody has the writer's role
	failed    bool  // writing is over
	withdrawn bool  // the reader has left the router
	gone      bool  // the reader has ended
	rested    int64 // what heard was when the reader was replaced last
	waits     bool  // the reader waits for the client to read
	sent      int64 // plain bytes given to the writer
	written   int64 // of them, taken by the kernel

	// Whoever has the writer's role.
	accepted int64  // plain bytes that the kernel has taken
	chunk    *chunk // being written; nil between two
	ahead    []byte // of it, not given to send yet
	spans    []span
}

// A span says that when the kernel has the bytes of the transport up to cipher, it
// has the plain ones up to plain.
type span struct{ cipher, plain int64 }

// next returns the next item of the stream. The error is a *farewell for what the
// client did wrong, else it says that the connection is gone.
func (c *conn) next() (stream.ItemKind, error) {
	for {
		if c.pos < c.end {
			item, n, err := c.scan.Scan(c.store[c.pos:c.end])
			c.pos += n
			if err != nil {
				bad, ok := errors.AsType[*stream.SyntaxError](err)
				if !ok {
					return 0, fault(stream.InternalServerError, "")
				}
				return 0, fault(bad.Condition, bad.What)
			}
			if item != stream.ItemNone {
				return item, nil
			}
		}
		if err := c.more(); err != nil {
			return 0, err
		}
	}
}

// more reads once. Where it would wait, and must not, it lets go of everything it can
// do without and returns errAgain.
func (c *conn) more() error {
	for {
		if c.t.buffered() == 0 {
			c.flushAll()
			c.pause()
		}
		if c.dead.Load() {
			return io.EOF
		}
		if c.most > 0 && c.total > c.most {
			return fault(stream.PolicyViolation, "too much before authentication")
		}
		c.room()
		n, err := c.r.Read(c.store[c.end:])
		if n > 0 {
			c.end += n
			c.total += n
			c.purse.Spend(n)
			c.heard.Store(c.srv.now.Load())
			return nil
		}
		if err == errAgain {
			c.park()
		}
		if err != nil {
			return err
		}
	}
}

// room makes place behind what has been read.
func (c *conn) room() {
	if c.pos == c.end {
		c.pos, c.end = 0, 0
		if c.pooled == nil && c.large == nil { // our own was for an item that has been consumed
			c.store = nil
		}
	}
	if c.store == nil {
		c.pooled = buffers.Get().(*[bufSize]byte)
		c.store = c.pooled[:]
		return
	}
	if c.end < len(c.store) {
		return
	}
	rest := c.store[c.pos:c.end]
	if len(rest) <= len(c.store)/2 {
		copy(c.store, rest)
	} else {
		var grown []byte
		var large *[largeSize]byte
		if 2*len(c.store) <= largeSize {
			large = largeBuffers.Get().(*[largeSize]byte)
			grown = large[:]
		} else {
			grown = make([]byte, 2*len(c.store))
		}
		copy(grown, rest)
		c.store = grown
		c.unpool()
		c.large = large
	}
	c.pos, c.end = 0, len(rest)
}

func (c *conn) unpool() {
	if c.pooled != nil {
		buffers.Put(c.pooled)
		c.pooled = nil
	}
	if c.large != nil {
		largeBuffers.Put(c.large)
		c.large = nil
	}
}

// park keeps the bytes of a half-read item, and no more, while the reader waits.
func (c *conn) park() {
	c.scan.Release()
	rest := c.store[c.pos:c.end]
	switch {
	case len(rest) == 0:
		c.store = nil
		c.unpool()
		c.pos, c.end = 0, 0
	case c.pooled != nil || c.large != nil:
		own := make([]byte, max(512, 2*len(rest)))
		c.pos, c.end = 0, copy(own, rest)
		c.store = own
		c.unpool()
	}
}

// flushAll lets what was routed leave.
func (c *conn) flushAll() {
	if c.s == nil {
		return
	}
	c.batch.Flush()
	if c.flush {
		c.flush = false
		c.s.Flush()
	}
}

// pause keeps a client to its rate: reading waits, nothing is dropped (docs/security.md).
func (c *conn) pause() {
	if c.s == nil {
		return
	}
	for p := c.s.throttled(); p != nil && !c.dead.Load() && !c.leaves(); p = c.s.throttled() {
		ctx, cancel := c.srv.within(time.Second)
		_ = p.Wait(ctx) // the outcome is looked at where it counts
		cancel()
		c.s.mu.Lock()
		c.flush = c.s.acknowledge() || c.flush
		c.s.mu.Unlock()
	}
	if c.purse == nil || c.leaves() {
		return
	}
	// An account may have a debt for hours, by multicasts; its streams are then read slowly, and not never.
	if d := c.purse.Wait(); d > 0 {
		c.restFor(min(d, longestRest))
		c.heard.Store(c.srv.now.Load()) // that it is not read is not its silence
	}
}

// longestRest is how long a stream is not read for its account's debt, before each read.
const longestRest = 5 * time.Second

// restFor waits, unless the session ends meanwhile.
func (c *conn) restFor(d time.Duration) {
	ctx, cancel := c.srv.within(d)
	defer cancel()
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for !c.leaves() && !c.dead.Load() && !c.failed && !c.s.wait(ctx.Done()) {
	}
}

// leaves says whether the reader is to leave the router.
func (c *conn) leaves() bool { return departure(c.leave.Load()) != stays }

// send encrypts and writes p as far as the kernel takes it now. The caller has the writer's role.
func (c *conn) send(p []byte) error {
	plain := c.accepted
	if n := len(c.spans); n > 0 {
		plain = c.spans[n-1].plain
	}
	if c.tls == nil {
		_, err := c.t.Write(p)
		produced, _ := c.t.written()
		c.spans = append(c.spans[:0], span{produced, plain + int64(len(p))})
		return err
	}
	many := len(p) > maxRecord
	if many {
		c.t.cork()
	}
	for len(p) > 0 {
		n := min(len(p), maxRecord)
		if _, err := c.tls.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
		plain += int64(n)
		produced, _ := c.t.written()
		c.spans = append(c.spans, span{produced, plain})
	}
	if many {
		return c.t.uncork()
	}
	return nil
}

// progress finds out how much the kernel has taken, and says whether there is more.
// The caller has the writer's role.
func (c *conn) progress() (left bool) {
	produced, accepted := c.t.written()
	n := len(c.spans)
	if n == 0 {
		return false
	}
	if produced == accepted {
		c.accepted = c.spans[n-1].plain
		if c.spans = c.spans[:0]; cap(c.spans) > 4 {
			c.spans = nil
		}
		return false
	}
	if c.tls == nil { // byte for byte
		last := c.spans[n-1]
		c.accepted = last.plain - (last.cipher - accepted)
		return true
	}
	done := 0
	for done < n && c.spans[done].cipher <= accepted {
		c.accepted = c.spans[done].plain
		done++
	}
	c.spans = c.spans[:copy(c.spans, c.spans[done:])]
	return true
}

// fail makes the reader find out that writing is over. The caller holds the session's mu.
func (c *conn) fail() {
	c.failed = true
	c.t.interrupt()
}

// goodbye ends our side, having brought out what is left within a second. The
// caller has the writer's role.
func (c *conn) goodbye() {
	if c.tls != nil {
		_ = c.tls.CloseWrite() // a courtesy: the stream's end has been said in XML
	}
	deadline := time.Now().Add(farewellTime)
	for {
		produced, accepted := c.t.written()
		left := time.Until(deadline)
		if produced == accepted || left <= 0 || c.t.drainSome(left) != nil {
			return
		}
	}
}
