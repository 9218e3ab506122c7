package component

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/router/budget"
	"jackdaw/router/gate"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

const (
	// readSize is what one read takes, and the buffer that a quiet stream keeps.
	readSize = 16 << 10
	// farewellTime is how long a stream that ends may take to write what is due.
	farewellTime = time.Second
	// maxWrites is how many writes of the store the stanzas of one stream may have under way before it is read on.
	maxWrites = 1000
	// lingerTime is how long the component has to close its side.
	lingerTime = 2 * time.Second
)

// A link is one connection of a component, from its first byte on. One goroutine reads, another writes once the secret
// has been proved.
type link struct {
	srv     *Server
	pass    *gate.Pass
	conn    net.Conn
	limits  config.Limits // when it began
	domain  string        // set before the stream can be seen, then fixed; likewise address, secret and since
	address jid.JID       // of the domain
	secret  string
	since   time.Time

	in, out atomic.Int64 // stanzas

	// The reader's.
	scan     stream.Scanner
	buf      []byte // read and not consumed: buf[pos:]
	pos      int
	most     int  // bytes that may still come before authentication; -1: no bound
	answered bool // our header is out
	batch    router.Batch
	writes   int            // that stanzas have begun since one was waited for
	purse    *budget.Budget // of the domain; nil: no limit on the rate

	mu     sync.Mutex // guards the rest
	wake   sync.Cond  // for the writer: queue or ending has changed
	queue  outgoing
	bytes  int // in queue, and in the writer's hands
	ending *farewell
	ends   chan struct{} // closed with ending
	until  time.Time     // when an ending stream stops to write

	// The writer's; whoever waits for stopped may read it then.
	rest    outgoing // never taken
	stopped chan struct{}
}

// A farewell is how a stream ends: by a stream error, or politely where the condition is empty.
type farewell struct {
	condition stream.Condition
	text      string
	drain     bool  // having written what is queued
	cause     error // the connection is gone: there is nobody to say it to
}

// Error says how the stream ended, for logs and administrators.
func (f *farewell) Error() string {
	switch {
	case f.cause != nil:
		return f.cause.Error()
	case f.condition == "":
		return "closed by the component"
	case f.text == "":
		return string(f.condition)
	}
	return string(f.condition) + ": " + f.text
}

func fault(c stream.Condition, text string) *farewell { return &farewell{condition: c, text: text} }

func newLink(s *Server, c net.Conn, limits config.Limits) *link {
	l := &link{srv: s, conn: c, limits: limits, ends: make(chan struct{}), stopped: make(chan struct{})}
	l.wake.L = &l.mu
	return l
}

func (l *link) remote() string { return l.conn.RemoteAddr().String() }

// end lets the stream end; the first to say so decides how. It does not wait.
func (l *link) end(f farewell) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endNow(f)
}

// endNow is end for who holds mu.
func (l *link) endNow(f farewell) {
	if l.ending != nil {
		return
	}
	l.ending = &f
	close(l.ends)
	l.until = time.Now().Add(farewellTime)
	// Errors: it can only be closed already.
	_ = l.conn.SetReadDeadline(time.Unix(1, 0))
	_ = l.conn.SetWriteDeadline(l.until)
	l.wake.Broadcast()
}

// ended is how the stream ends, nil as long as it goes on.
func (l *link) ended() *farewell {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ending
}

// patience sets the time for all that comes before authentication; 0 takes the bound away.
func (l *link) patience(d time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending != nil { // its deadlines are not to be moved
		return l.ending
	}
	var t time.Time
	if d > 0 {
		t = time.Now().Add(d)
	}
	return l.conn.SetDeadline(t)
}

// run serves the connection until it is closed.
func (l *link) run() {
	defer l.conn.Close()
	defer func() { l.purse.Close() }()
	err := l.greet()
	if l.secret == "" {
		l.part(asFarewell(err, l.ended()))
		l.scan.Release()
		return
	}
	if err == nil {
		go l.write()
		err = l.read()
	} else {
		go l.write() // what came meanwhile is to be returned
	}
	l.end(*asFarewell(err, nil))
	l.batch.Flush()
	<-l.stopped
	f := l.ended()
	l.srv.log.Info("component disconnected", "domain", l.domain, "address", l.remote(), "reason", f.Error(),
		"in", l.in.Load(), "out", l.out.Load())
	if l.srv.leave(l, f.Error()) {
		l.srv.giveBack(&l.rest)
	}
	l.scan.Release()
	l.linger()
}

// asFarewell is how a stream ends that the reader has left with err; other, if not nil, was said before.
func asFarewell(err error, other *farewell) *farewell {
	if other != nil {
		return other
	}
	if f, ok := errors.AsType[*farewell](err); ok {
		return f
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fault(stream.ConnectionTimeout, "")
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.New("the connection was closed")
	}
	return &farewell{cause: err}
}

// append appends the end of the stream.
func (f *farewell) append(b []byte) []byte {
	if f.condition != "" {
		b = stream.AppendError(b, f.condition, f.text)
	}
	return append(b, stream.Close...)
}

// linger closes the connection so that what was written last arrives: closing while input is unread would make the kernel
// drop it at both ends.
func (l *link) linger() {
	cw, ok := l.conn.(interface{ CloseWrite() error })
	if !ok || cw.CloseWrite() != nil || l.conn.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, l.conn, 1<<20) // whatever it is, and however it ends
}

// recovered notes a fault of ours. It is not to end the streams of everyone.
func (l *link) recovered(err *error) {
	if v := recover(); v != nil {
		l.srv.Stats.Panics.Add(1)
		l.srv.log.Error("a component made the server panic", "do", "report it as a fault of jackdaw, with this line",
			"panic", v, "stack", string(debug.Stack()))
		*err = fault(stream.InternalServerError, "")
	}
}

// next returns the next item of the stream. The error is a *farewell for what the component did wrong, else it
// says that the connection is gone.
func (l *link) next() (stream.ItemKind, error) {
	for {
		if l.pos < len(l.buf) {
			item, n, err := l.scan.Scan(l.buf[l.pos:])
			l.pos += n
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
		if err := l.more(); err != nil {
			return 0, err
		}
	}
}

// more reads once. What was routed leaves before it waits.
func (l *link) more() error {
	l.batch.Flush()
	if l.most == 0 {
		return fault(stream.PolicyViolation, "too much before authentication")
	}
	rest := l.buf[l.pos:]
	switch {
	case len(rest) == 0 && cap(l.buf) > 4*readSize, l.buf == nil:
		l.buf = make([]byte, 0, readSize)
	case len(rest) > cap(l.buf)/2: // the scanner bounds it
		l.buf = append(make([]byte, 0, 2*cap(l.buf)), rest...)
	default:
		l.buf = l.buf[:copy(l.buf, rest)]
	}
	l.pos = 0
	room := l.buf[len(l.buf):cap(l.buf)]
	if l.most > 0 {
		room = room[:min(l.most, len(room))]
	}
	l.pause()
	n, err := l.conn.Read(room)
	l.purse.Spend(n)
	l.buf = l.buf[:len(l.buf)+n]
	if l.most > 0 {
		l.most -= n
	}
	if n > 0 {
		return nil
	}
	return err
}

// pause keeps a component that is not on this machine to its rate: reading waits, nothing is dropped.
func (l *link) pause() {
	d := l.purse.Wait()
	if d == 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.ends:
	}
}

// read routes what the component sends until the stream is over, and returns why.
func (l *link) read() (err error) {
	defer l.recovered(&err)
	e := new(router.Envelope)
	for {
		item, err := l.next()
		if f := l.ended(); f != nil { // what is still unread is not looked at
			return f
		}
		if err != nil {
			return err
		}
		switch item {
		case stream.ItemStanza:
			err = l.stanza(e, l.scan.Stanza(), l.scan.BadTo(), l.scan.BadFrom())
		case stream.ItemElement:
			err = l.element(e)
		case stream.ItemEnd:
			return &farewell{drain: true} // RFC 6120 §4.4
		default:
			err = fault(stream.BadFormat, "")
		}
		if err != nil {
			return err
		}
	}
}

// element handles what is at the top of the stream and not a stanza of its namespace.
//
// COMPAT(slixmpp 1.8.3): a ComponentXMPP with use_jc_ns qualifies its stanzas with jabber:client, in a stream of
// jabber:component:accept.
func (l *link) element(e *router.Envelope) error {
	name, raw := l.scan.Element()
	if name.Space != xmpp.NSClient || xmpp.KindOf(name.Local) == 0 {
		return fault(stream.UnsupportedStanzaType, "")
	}
	// It has been counted already; what it has gained since is counted again.
	x, err := stream.ParseStanza(raw, stream.Limits{Bytes: 2 * l.limits.ServerStanzaBytes, Depth: l.limits.Depth, Elements: l.limits.Elements,
		Attributes: l.limits.Attributes, Declarations: l.limits.Namespaces})
	if bad, ok := errors.AsType[*stream.SyntaxError](err); ok {
		return fault(bad.Condition, bad.What)
	}
	if err != nil {
		return fault(stream.BadFormat, "")
	}
	return l.stanza(e, x, false, false)
}

// stanza routes one stanza of the component.
func (l *link) stanza(e *router.Envelope, x *xmpp.Stanza, badTo, badFrom bool) error {
	l.in.Add(1)
	l.srv.Stats.Received.Add(1)
	if x.From.IsZero() && !badFrom {
		// XEP-0114 §3 wants one, and a stream has one domain, so that it is known which.
		// COMPAT(slixmpp 1.8.3): a ComponentXMPP sends what its program makes without one as it is.
		stamped := *x
		stamped.From = l.address
		x = &stamped
	}
	switch { // "as in the 'jabber:server' namespace"
	case badFrom, x.From.Domain() != l.domain:
		return fault(stream.InvalidFrom, "'from' is not of the component's domain")
	case x.To.IsZero() && !badTo:
		return fault(stream.ImproperAddressing, "'to' is missing") // §8.1.1.2
	}
	if bad := unfit(x, badTo); bad != nil {
		l.refuse(x, bad)
		return nil
	}
	e.Reset()
	e.Stanza, e.Batch = x, &l.batch
	l.srv.router.Route(e)
	if n := len(e.Pendings); n > 0 {
		l.pace(e.Pendings[n-1])
	}
	return nil
}

// pace keeps a component that writes to users who are away from being faster than the store: reading waits, nothing is
// dropped. last is the newest write.
func (l *link) pace(last *storage.Pending) {
	if l.writes++; l.writes < maxWrites {
		return
	}
	l.writes = 0
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = last.Wait(ctx) // nobody waits for this outcome: the component was promised nothing
}

// unfit says what is wrong with a stanza before anyone else looks at it.
func unfit(x *xmpp.Stanza, badTo bool) *xmpp.Error {
	switch {
	case badTo:
		return xmpp.JIDMalformed(xmpp.BadToText) // RFC 6120 §8.3.3.8
	case x.Type == xmpp.TypeInvalid:
		return xmpp.BadRequest("unknown type")
	case x.Kind != xmpp.IQ:
		return nil
	case x.ID == "":
		return xmpp.BadRequest("a request needs an id") // §8.1.3
	case x.IsRequest() && len(x.Children) != 1, x.Type == xmpp.TypeResult && len(x.Children) > 1:
		return xmpp.BadRequest("a request has exactly one child") // §8.2.3
	}
	return nil
}

// refuse answers the component with an error, unless that would answer one.
func (l *link) refuse(x *xmpp.Stanza, bad *xmpp.Error) {
	if x.Type == xmpp.TypeError || x.Type == xmpp.TypeResult {
		return
	}
	reply := x.ErrorReply(bad)
	if reply.From.IsZero() { // 'to' was no address; the server speaks as the domain that both serve
		reply.From = x.From.DomainJID()
	}
	l.send(&router.Envelope{Stanza: &reply, Quiet: true})
}
