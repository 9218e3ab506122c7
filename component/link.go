package component

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/router/budget"
	"jackdaw/router/gate"
	"jackdaw/storage"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

// maxWrites is how many writes of the store the stanzas of one stream may have under way before it is read on.
const maxWrites = 1000

// A link is one connection of a component, from its first byte on. One goroutine reads, another writes once the secret
// has been proved.
type link struct {
	wire.Stream
	srv     *Server
	pass    *gate.Pass
	limits  config.Limits // when it began
	domain  string        // set before the stream can be seen, then fixed; likewise address, secret and since
	address jid.JID       // of the domain
	secret  string
	since   time.Time

	in, out atomic.Int64 // stanzas

	// Where another node has the connection.
	far     *wire.Carried
	opening []byte // the header that it has read
	hops    int    // nodes that have handed the stream over

	// The reader's.
	answered bool // our header is out
	batch    router.Batch
	writes   int            // that stanzas have begun since one was waited for
	purse    *budget.Budget // of the domain; nil: no limit on the rate

	mu     sync.Mutex // guards the rest
	wake   sync.Cond  // for the writer: queue or ending has changed
	queue  outgoing
	bytes  int            // in queue, and in the writer's hands
	ending *wire.Farewell // nil: it goes on
	drain  bool           // it ends having written what is queued
	ends   chan struct{}  // closed with ending
	// passage moves the bytes of a stream that another node serves; nil: it is served here.
	passage *wire.Passage
	until   time.Time // when an ending stream stops to write

	// The writer's; whoever waits for stopped may read it then.
	rest    outgoing // never taken
	stopped chan struct{}
}

func newLink(s *Server, c net.Conn, limits config.Limits) *link {
	l := &link{srv: s, limits: limits, ends: make(chan struct{}), stopped: make(chan struct{})}
	l.Init(c, wire.Bytes{}, l)
	l.wake.L = &l.mu
	return l
}

func (l *link) remote() string { return l.Transport.RemoteAddr().String() }

// end lets the stream end, with drain having written what is queued; the first to say so decides how. It does not wait.
func (l *link) end(f *wire.Farewell, drain bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endNow(f, drain)
}

// endNow is end for callers that hold mu.
func (l *link) endNow(f *wire.Farewell, drain bool) {
	if l.ending != nil {
		return
	}
	l.ending, l.drain = f, drain
	close(l.ends)
	if l.passage != nil { // the home says the rest
		go l.passage.Leave()
		return
	}
	l.until = time.Now().Add(wire.FarewellTime)
	l.Transport.Interrupt()
	_ = l.Transport.WriteUntil(l.until) // it can only be closed already
	l.wake.Broadcast()
}

// ended is how the stream ends, nil as long as it goes on.
func (l *link) ended() *wire.Farewell {
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
	return l.Transport.SetDeadline(t)
}

// run serves the connection until it is closed.
func (l *link) run() {
	defer l.Transport.Close()
	defer l.Release()
	defer func() { l.purse.Close() }()
	err := l.greet()
	if err == errPassed {
		return
	}
	if l.secret == "" {
		l.part(asFarewell(err, l.ended()))
		return
	}
	if err == nil {
		go l.write()
		err = l.read()
	} else {
		go l.write() // what came meanwhile is to be returned
	}
	f := asFarewell(err, nil)
	l.end(f, f.Polite()) // RFC 6120 §4.4: whoever closes the stream still gets what is queued
	l.batch.Flush()
	<-l.stopped
	why := "closed by the component"
	if f = l.ended(); !f.Polite() {
		why = f.Error()
	}
	l.srv.log.Info("component disconnected", "domain", l.domain, "address", l.remote(), "reason", why,
		"in", l.in.Load(), "out", l.out.Load())
	if l.srv.leave(l, why) {
		l.srv.giveBack(&l.rest)
	}
	l.Linger()
}

// asFarewell is how a stream ends that the reader has left with err; other, if not nil, was said before.
func asFarewell(err error, other *wire.Farewell) *wire.Farewell {
	if other != nil {
		return other
	}
	if f, ok := errors.AsType[*wire.Farewell](err); ok {
		return f
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return wire.Fault(stream.ConnectionTimeout, "")
	}
	if errors.Is(err, wire.ErrLeaves) {
		return wire.Fault(stream.SystemShutdown, "")
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.New("the connection was closed")
	}
	return &wire.Farewell{Cause: err}
}

// BeforeRead implements wire.Pacer. It keeps a component that is not on this machine to its rate: reading waits,
// nothing is dropped.
func (l *link) BeforeRead() error {
	l.batch.Flush()
	wire.Pause(l.purse.Wait(), l.ends)
	return nil
}

// AfterRead implements wire.Pacer.
func (l *link) AfterRead(n int) { l.purse.Spend(n) }

// read routes what the component sends until the stream is over, and returns why.
func (l *link) read() (err error) {
	defer l.srv.streams.Recover(&err)
	e := new(router.Envelope)
	for {
		item, err := l.Next()
		if f := l.ended(); f != nil { // what is still unread is not looked at
			return f
		}
		if err != nil {
			return err
		}
		switch item {
		case stream.ItemStanza:
			err = l.stanza(e, l.Scanner.Stanza(), l.Scanner.BadTo(), l.Scanner.BadFrom())
		case stream.ItemElement:
			err = l.element(e)
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

// element handles what is at the top of the stream and not a stanza of its namespace.
//
// COMPAT(slixmpp 1.8.3): a ComponentXMPP with use_jc_ns qualifies its stanzas with jabber:client, in a stream of
// jabber:component:accept.
func (l *link) element(e *router.Envelope) error {
	name, raw := l.Scanner.Element()
	if name.Space != xmpp.NSClient || xmpp.KindOf(name.Local) == 0 {
		return wire.Fault(stream.UnsupportedStanzaType, "")
	}
	// It has been counted already; what it has gained since is counted again.
	x, err := stream.ParseStanza(raw, wire.Limits(2*l.limits.ServerStanzaBytes, &l.limits))
	if err != nil {
		return wire.Broken(err)
	}
	return l.stanza(e, x, false, false)
}

// stanza routes one stanza of the component.
func (l *link) stanza(e *router.Envelope, x *xmpp.Stanza, badTo, badFrom bool) error {
	l.in.Add(1)
	l.srv.Stats.Received.Add(1)
	if x.From.IsZero() && !badFrom {
		// XEP-0114 §3 wants one, and a stream has one domain, so that it is known which. COMPAT(slixmpp 1.8.3): a
		// ComponentXMPP sends what its program makes without one as it is.
		stamped := *x
		stamped.From = l.address
		x = &stamped
	}
	switch { // "as in the 'jabber:server' namespace"
	case badFrom, x.From.Domain() != l.domain:
		return wire.Fault(stream.InvalidFrom, "'from' is not of the component's domain")
	case x.To.IsZero() && !badTo:
		return wire.Fault(stream.ImproperAddressing, "'to' is missing") // §8.1.1.2
	}
	if bad := wire.Unfit(x, badTo, x.ID == "" && l.srv.router.Answers(x.To)); bad != nil {
		l.refuse(x, bad)
		return nil
	}
	e.Reset()
	e.Stanza, e.Batch, e.Component = x, &l.batch, l.domain
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
