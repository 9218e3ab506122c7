package c2s

import (
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/router/budget"
	"jackdaw/router/gate"
	"jackdaw/wire"
)

// A conn is one connection of a client: its stream, and what it knows of the session. One goroutine reads: first a
// short-lived one that negotiates, then one for as long as the client says something, and none while it is quiet.
type conn struct {
	wire.Stream
	srv    *Server
	pass   *gate.Pass
	from   netip.Addr
	s      *session      // nil before bind
	secure bool          // nobody reads it on its way
	farTLS uint16        // the version of TLS at the node with the connection, where that is another
	far    *wire.Carried // the connection, where another node has it
	// resumed says that the session began on another connection.
	resumed bool

	// The reader's.
	flush    bool           // the reader's own session has something queued
	greeting *greeting      // nil from the session on
	tools    *tools         // nil while it waits
	purse    *budget.Budget // of the account; nil: no limit on the rate
	last     int            // plain bytes after which a reader that is told to leave does so; 0: not told

	heard  atomic.Int64 // second of the server's clock when bytes came last
	dead   atomic.Bool  // nothing that comes is to be looked at any more
	leave  atomic.Int32 // a departure: the reader is to leave the router
	silent atomic.Bool  // the client did not answer
	rest   atomic.Bool  // the reader is to sleep without a goroutine

	// The session's mu guards these.
	writing   bool  // somebody has the writer's role
	failed    bool  // writing is over
	withdrawn bool  // the reader has left the router
	gone      bool  // the reader has ended
	rested    int64 // what heard was when the reader was put to sleep last
	looked    int64 // second when it was last seen whether the client answers
	early     bool  // the next look is for the reader's rest
	waits     bool  // the reader waits for the client to read
	sent      int64 // plain bytes given to the writer
	written   int64 // of them, taken by the kernel

	// Whoever has the writer's role.
	accepted int64  // plain bytes that the kernel has taken
	chunk    *chunk // being written; nil between two
	ahead    []byte // of it, not given to Send yet
}

// tools are what a reader works with. One that waits has none.
type tools struct {
	env   router.Envelope
	batch router.Batch
}

var spareTools = sync.Pool{New: func() any { return new(tools) }}

// pickUp gets the reader its tools.
func (c *conn) pickUp() {
	if c.tools == nil {
		c.tools = spareTools.Get().(*tools)
	}
}

// putDown gives them back. What was routed has left.
func (c *conn) putDown() {
	if c.tools != nil {
		c.tools.env.Reset()
		c.tools.env.Batch = nil
		spareTools.Put(c.tools)
		c.tools = nil
	}
}

// BeforeRead implements wire.Pacer.
func (c *conn) BeforeRead() error {
	if g := c.greeting; g != nil && len(g.out) > 0 {
		if err := g.write(); err != nil {
			return err
		}
	}
	c.flushAll()
	c.pause()
	if c.dead.Load() {
		return io.EOF
	}
	return nil
}

// AfterRead implements wire.Pacer.
func (c *conn) AfterRead(n int) {
	c.purse.Spend(n)
	c.heard.Store(c.srv.now.Load())
}

// flushAll lets what was routed leave.
func (c *conn) flushAll() {
	if c.s == nil {
		if c.Owes() {
			_, _ = c.Write(nil) // the reader finds out
		}
		return
	}
	if c.tools != nil {
		c.tools.batch.Flush()
	}
	if c.Owes() {
		c.say("")
	}
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

// progress finds out how much the kernel has taken, and says whether there is more. The caller has the writer's role.
func (c *conn) progress() (left bool) {
	c.accepted, left = c.Progress()
	return left
}

// fail makes the reader find out that writing is over. The caller holds the session's mu.
func (c *conn) fail() {
	c.failed = true
	c.Transport.Interrupt()
}
