package c2s

import (
	"errors"
	"io"
	"os"
	"time"

	"jackdaw/router"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

// errRested is how the reader's goroutine ends for another to take its place.
var errRested = errors.New("reader has rested")

// run reads a bound stream until it ends. When the client is quiet for a while, its goroutine goes: another begins when
// something comes, or at once where the connection cannot be waited for without one, as its stack has done nothing but
// wait. A goroutine is 2.5 KiB of the 7 that an idle client would cost, and more once its stack has grown.
func (c *conn) run(waits bool) {
	err := c.serve(waits)
	if err == errRested {
		if !c.Transport.AwaitLater(c.goOn) {
			go c.goOn()
		}
		return
	}
	c.over(err)
}

// goOn is run for a reader that has rested. It is to rest again soon: what comes mostly is one answer or one word.
func (c *conn) goOn() {
	c.s.mu.Lock()
	if !c.s.pinged { // else the next look is for the answer
		c.early = true
		c.srv.timers.add(&c.s.timer, restAfter)
	}
	c.s.mu.Unlock()
	c.run(true)
}

// serve returns why the stream is over. It waits here, where the stack is shallow.
func (c *conn) serve(waits bool) error {
	last := false // all that was there when the reader was told to leave is read in this pass
	for {
		var err error = wire.ErrAgain
		if last = c.leaves(); last {
			c.Transport.AskKernel()
		}
		if last || !waits {
			err = c.work()
		}
		waits = false
		if err == wire.ErrAgain {
			if last {
				return errLeft
			}
			if err = c.Transport.Await(); err == nil {
				continue
			}
		}
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case c.rests():
			c.Rest()
			return errRested
		case !c.leaves() || c.dead.Load() || c.Transport.SetReadDeadline(time.Time{}) != nil:
			return err
		}
		// The interruption said that the session ends.
	}
}

// rests says whether the wait was interrupted only so that another goroutine goes on.
func (c *conn) rests() bool {
	if !c.rest.Swap(false) || c.Transport.SetReadDeadline(time.Time{}) != nil {
		return false
	}
	// Whoever interrupts says why first, so either it shows here or the interruption is to come.
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return !c.failed && !c.dead.Load() && !c.silent.Load() && !c.leaves()
}

// over sees to the session when the stream is over.
func (c *conn) over(err error) {
	defer c.srv.left(c)
	s := c.s
	c.flushAll()
	s.mu.Lock()
	c.withdrawn = true
	s.changed()
	s.mu.Unlock()
	f, ours := errors.AsType[*wire.Farewell](err)
	switch {
	case c.dead.Load(), err == errLeft: // whoever told it to leave ends the session
	case ours:
		s.mu.Lock()
		first := !s.leaving && !s.ending && s.conn == c
		if first {
			s.ending = true
			s.changed()
		}
		s.mu.Unlock()
		if first {
			s.finish(f)
		}
	case c.silent.Load():
		s.lost(c, wire.Fault(stream.ConnectionTimeout, "no answer"))
	case errors.Is(err, wire.ErrLeaves):
		s.depart(c)
	default:
		if c.far != nil && errors.Is(err, io.EOF) {
			s.bringOut(c)
		}
		s.lost(c, &wire.Farewell{Cause: errLost})
	}
	s.mu.Lock()
	if s.conn != c && !c.dead.Load() {
		_ = c.Transport.Close() // detached: nothing more is to be written, and whoever tries is to stop
	}
	// Else others may still be writing the goodbye.
	for s.conn == c || c.writing {
		s.wait(nil)
	}
	c.gone = true
	s.changed()
	s.mu.Unlock()
	c.Release()
	if c.dead.Load() {
		c.Linger()
	}
	_ = c.Transport.Close() // it may be closed already
}

// work handles what has been received. It returns wire.ErrAgain when that is all.
func (c *conn) work() (err error) {
	defer c.srv.streams.Recover(&err)
	c.pickUp()
	for {
		item, err := c.Next()
		if err == wire.ErrAgain {
			c.putDown()
		}
		if err != nil {
			return err
		}
		c.keepPace()
		if c.dead.Load() {
			return io.EOF
		}
		switch departure(c.leave.Load()) {
		case leavesAtOnce:
			return errLeft
		case leavesLast:
			if c.last == 0 {
				c.last = c.Total + maxLast
			}
			if c.Total > c.last || c.s.pressed.Load() {
				return errLeft
			}
		}
		switch item {
		case stream.ItemStanza:
			err = c.stanza(c.Scanner.Stanza())
		case stream.ItemElement:
			err = c.element()
		case stream.ItemEnd:
			return &wire.Farewell{} // RFC 6120 §4.4
		default:
			err = wire.Fault(stream.BadFormat, "")
		}
		if err != nil {
			return err
		}
	}
}

// stanza routes one stanza of the client.
func (c *conn) stanza(x *xmpp.Stanza) error {
	s := c.s
	// RFC 6120 §8.1.2.1: 'from' is ours to write; what the client says must be true.
	if c.Scanner.BadFrom() || !x.From.IsZero() && x.From != s.addr && x.From != s.rs.Bare() && !c.misnamed(x.From) {
		return wire.Fault(stream.InvalidFrom, "")
	}
	x.From = s.addr
	e := &c.tools.env
	e.Reset()
	e.Stanza, e.Session, e.Account, e.Budget, e.Batch = x, s.rs, s.rs.Bare(), c.purse, &c.tools.batch
	e.Durable = s.sm != nil
	if bad := c.unfit(x); bad != nil {
		c.refuse(x, bad)
	} else if !c.own(x) {
		c.srv.router.Route(e)
	}
	if s.sm != nil {
		s.received(e.Pendings)
	}
	return nil
}

// misnamed says whether an address is of the account, on a stream that goes on with an earlier session.
//
// COMPAT(Converse.js 14): after a reload it resumes its session and goes on to call itself by the resource that it
// would have bound; refused, it comes back with a session that has lost what the other had waiting.
func (c *conn) misnamed(from jid.JID) bool { return c.resumed && from.Bare() == c.s.rs.Bare() }

// unfit says what is wrong with a stanza before anyone else looks at it.
func (c *conn) unfit(x *xmpp.Stanza) *xmpp.Error {
	return wire.Unfit(x, c.Scanner.BadTo(), x.ID == "" && (x.To.IsZero() || c.srv.router.Answers(x.To)))
}

// refuse answers with an error, unless that would answer one.
func (c *conn) refuse(x *xmpp.Stanza, e *xmpp.Error) {
	if x.Type == xmpp.TypeError || x.Type == xmpp.TypeResult {
		return
	}
	c.answer(x.ErrorReply(e))
}

func (c *conn) answer(reply xmpp.Stanza) {
	reply.To = c.s.addr
	if reply.From.IsZero() {
		reply.From = c.s.rs.Bare()
	}
	c.s.rs.Send(&c.tools.batch, router.Delivery{Stanza: &reply, Copy: true})
}

// own handles the requests that are about the stream itself.
func (c *conn) own(x *xmpp.Stanza) bool {
	if x.Kind != xmpp.IQ || x.Type != xmpp.TypeSet || len(x.Children) == 0 {
		return false
	}
	switch x.Children[0].Name {
	case xmpp.Name{Space: xmpp.NSBind, Local: "bind"}:
		// One resource to a stream (RFC 6120 §7.1).
		c.refuse(x, xmpp.NotAllowed("this stream has a resource"))
		return true
	case xmpp.Name{Space: xmpp.NSSession, Local: "session"}:
		if x.To.IsZero() || x.To.IsDomain() || x.To == c.s.rs.Bare() {
			c.answer(x.Result(nil)) // RFC 3921 §3: nothing to do
			return true
		}
	}
	return false
}

// element handles what is at the top of the stream and not a stanza.
func (c *conn) element() error {
	name, raw := c.Scanner.Element()
	s := c.s
	switch name {
	case xmpp.Name{Space: xmpp.NSSM, Local: "r"}:
		if s.sm != nil {
			c.flush = s.asksForAck() || c.flush
			return nil
		}
	case xmpp.Name{Space: xmpp.NSSM, Local: "a"}:
		if s.sm != nil {
			h, err := wire.Height(raw)
			if err != nil {
				return err
			}
			flush, err := s.acknowledged(h)
			c.flush = flush || c.flush
			return err
		}
	case xmpp.Name{Space: xmpp.NSSM, Local: "enable"}:
		if s.sm != nil {
			// XEP-0198 §3: at most one attempt
			return wire.Fault(stream.PolicyViolation, "stream management is on")
		}
		el, err := xmpp.ParseElement(raw)
		if err != nil {
			return wire.Fault(stream.BadFormat, "")
		}
		c.flushAll() // what was answered before does not count
		c.flush = s.enable(c.srv.resumeWindow(el)) || c.flush
		return nil
	case xmpp.Name{Space: xmpp.NSSM, Local: "resume"}:
		c.say(wire.Failed(xmpp.CondUnexpectedRequest))
		return nil
	case xmpp.Name{Space: xmpp.NSCSI, Local: "inactive"}:
		s.inactive()
		return nil
	case xmpp.Name{Space: xmpp.NSCSI, Local: "active"}:
		c.flush = s.active() || c.flush
		return nil
	}
	if name.Space == xmpp.NSSM { // before <enable/>
		c.say(wire.Failed(xmpp.CondUnexpectedRequest))
		return nil
	}
	return wire.Fault(stream.UnsupportedStanzaType, "")
}

// say queues what is not a stanza.
func (c *conn) say(xml string) {
	c.s.mu.Lock()
	c.flush = c.s.nonza(xml) || c.flush
	c.s.mu.Unlock()
}

// ping asks an idle client whether it is there (XEP-0199 §4.1).
func (s *session) ping() {
	host := s.addr.DomainJID()
	ask := &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: "idle-" + wire.NewID(), From: host, To: s.addr,
		Payload: []byte("<ping xmlns='" + xmpp.NSPing + "'/>")}
	wake, _ := s.Send(router.Delivery{Copy: true, Stanza: ask})
	if wake {
		s.Flush()
	}
}

// wishes are what a session begins with.
type wishes struct {
	device   string      // see router.Connection
	sm       *management // nil: no stream management yet
	inactive bool        // XEP-0352
}

// bind makes the session of a user on this connection. What it begins with is in force before the router sends
// anything. The result must be written before that too, so the writer's role stays with the caller.
func (c *conn) bind(full jid.JID, w wishes) error {
	s := &session{srv: c.srv, addr: full, conn: c, device: w.device, sm: w.sm, began: time.Now().Unix()}
	if w.inactive {
		s.idle = &inactivity{}
	}
	s.timer.s = s
	c.writing = true
	c.s = s
	rs, err := c.srv.router.Bind(full, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.ended, s.ending, s.conn = true, true, nil
		s.changed()
		c.s, c.writing = nil, false
		return err
	}
	s.rs = rs
	if w.sm != nil && w.sm.window > 0 {
		c.srv.resumable.add(s)
	}
	c.srv.Stats.Sessions.Add(1)
	return nil
}

// start lets the session write and begins to read for it. The bind result is out.
func (c *conn) start() {
	s := c.s
	c.Transport.Queue()
	c.Shallow = true
	if s.sm != nil {
		c.far.Managed()
	}
	c.heard.Store(c.srv.now.Load())
	c.srv.timers.add(&s.timer, restAfter)
	c.srv.promoted(c, !s.ready) // ready is set here only
	s.mu.Lock()
	s.ready = true
	s.changed()
	s.write(c) // what came meanwhile
	go c.run(false)
}
