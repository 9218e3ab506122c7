// Package c2s serves the streams of clients: STARTTLS and direct TLS (RFC 6120 §5, RFC 7590, XEP-0368), SASL (§6,
// XEP-0440), resource binding (§7), stream management with resumption (XEP-0198), client state (XEP-0352) and the
// announcement of limits (XEP-0478). What clients send is given to the router, what the router sends is queued and written.
//
// A connection costs one goroutine, the reader, which holds no buffer while it waits. Nobody waits for a slow client:
// sending appends to its queue; see session and transport. One more goroutine ticks for all sessions together, one
// reports to the router what clients have taken, and one brings out acknowledgements whose writes have finished.
//
// Left out: WebSocket and BOSH, SASL2, in-band registration itself (see Registration), compression.
package c2s

import (
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/budget"
	"jackdaw/router/gate"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// Options of New.
type Options struct {
	Router   *router.Router
	Accounts *accounts.Service
	// TLS holds the certificates: GetCertificate or Certificates. Its NextProtos and record sizes are set by
	// New, on a copy. Nil offers no TLS, which goes with RequireTLS false only.
	TLS *tls.Config
	// Register answers requests to register before authentication; nil offers none.
	Register Registration
	// AllowPlainWithoutTLS lets loopback clients send passwords in clear. It has no effect while TLS is required.
	AllowPlainWithoutTLS bool

	// Gate counts connections, with those of other listeners; nil: there are none.
	Gate *gate.Keeper
	// Budgets are those of accounts, by bare address, for all ways in; nil: there are no others.
	Budgets *budget.Book
	C2S     config.C2S
	Limits  config.Limits
	Log     *slog.Logger
}

// Registration answers jabber:iq:register before authentication (XEP-0077 §3.1). It is asked over TLS only.
type Registration interface {
	Offered(host string) bool
	// Handle answers one request; the stanza is borrowed.
	Handle(ctx context.Context, host string, remote netip.Addr, iq *xmpp.Stanza) xmpp.Stanza
}

// Mode says how TLS begins on a listener.
type Mode uint8

// The modes.
const (
	STARTTLS  Mode = iota // RFC 6120 §5
	DirectTLS             // XEP-0368
)

// Stats count since the start, but for those that say they are current.
type Stats struct {
	Connections  atomic.Int64 // current
	Sessions     atomic.Int64 // current, detached ones included
	Accepted     atomic.Int64
	Refused      atomic.Int64 // by the limits of an address
	Logins       atomic.Int64
	AuthFailures atomic.Int64
	Detached     atomic.Int64 // sessions that began to wait for resumption
	Resumptions  atomic.Int64
	Silent       atomic.Int64 // clients that did not answer a ping, or a request for an acknowledgement
	Overflows    atomic.Int64 // clients given up because they did not take what waited for them
	Unreadable   atomic.Int64 // queued stanzas that could not be read back: a fault of the server
	Panics       atomic.Int64 // likewise
}

// A Server serves clients. It is safe for concurrent use.
type Server struct {
	Stats Stats

	router   *router.Router
	accounts *accounts.Service
	tls      *tls.Config
	register Registration
	log      *slog.Logger
	plain    bool // AllowPlainWithoutTLS
	conf     atomic.Pointer[settings]
	ends     endPoints

	now       atomic.Int64 // seconds since the start
	timers    wheel
	reports   worker
	acks      worker
	resumable registry
	gate      *gate.Keeper
	budgets   *budget.Book
	lines     gate.Lines

	closing atomic.Bool
	ctx     context.Context // ends with the server
	cancel  context.CancelFunc
	stop    atomic.Pointer[context.Context] // Shutdown's
	workers sync.WaitGroup                  // goroutines that end by themselves when their connection does
	tasks   sync.WaitGroup                  // goroutines that end with ctx

	mu        sync.Mutex     // guards the rest
	conns     map[*conn]bool // true: they still negotiate
	sessions  map[*session]struct{}
	listeners map[net.Listener]struct{}
}

type settings struct {
	config.C2S
	limits config.Limits
}

// New returns a server that serves nothing yet. Shutdown frees it.
func New(o Options) *Server {
	s := &Server{router: o.Router, accounts: o.Accounts, register: o.Register, log: o.Log, plain: o.AllowPlainWithoutTLS,
		reports: newWorker(), acks: newWorker(),
		conns: map[*conn]bool{}, sessions: map[*session]struct{}{}, listeners: map[net.Listener]struct{}{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.gate = o.Gate; s.gate == nil {
		s.gate = new(gate.Keeper)
	}
	s.SetOptions(o.C2S, o.Limits)
	if s.budgets = o.Budgets; s.budgets == nil {
		s.budgets = budget.New(func() budget.Rate {
			return budget.Rate{PerSecond: s.limits().StreamRate, Burst: s.limits().StreamBurst}
		})
	}
	if o.TLS != nil {
		s.tls = s.prepareTLS(o.TLS)
	}
	s.timers.init()
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, task := range []func(){
		s.tick,
		func() { s.reports.run(s.ctx.Done(), (*session).reportNow) },
		func() { s.acks.run(s.ctx.Done(), (*session).storedMore) },
	} {
		s.tasks.Add(1)
		go func() {
			defer s.tasks.Done()
			task()
		}()
	}
	return s
}

// SetOptions replaces what may be changed while the server runs. It applies to what comes from now on.
func (s *Server) SetOptions(c config.C2S, l config.Limits) { s.conf.Store(&settings{c, l}) }

func (s *Server) settings() *settings    { return s.conf.Load() }
func (s *Server) limits() *config.Limits { return &s.conf.Load().limits }

// within is a context that also ends with the server.
func (s *Server) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, d)
}

// stopCtx is how long the shutdown may take.
func (s *Server) stopCtx() context.Context {
	if c := s.stop.Load(); c != nil {
		return *c
	}
	return s.ctx
}

func (s *Server) tick() {
	start := time.Now()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
		}
		now := int64(time.Since(start) / time.Second)
		s.now.Store(now)
		for _, one := range s.timers.tick(now) {
			one.look(now)
		}
	}
}

// Serve accepts connections until the listener is closed, by Shutdown or by the caller. It returns nil after Shutdown.
func (s *Server) Serve(l net.Listener, m Mode) error {
	s.mu.Lock()
	if s.closing.Load() {
		s.mu.Unlock()
		_ = l.Close() // nothing was accepted
		return nil
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	return gate.Accept(l, "clients", s.closing.Load, s.ctx.Done(), s.log, func(c net.Conn) { s.accept(c, m) })
}

// accept begins to serve a connection.
func (s *Server) accept(nc net.Conn, m Mode) {
	s.Stats.Accepted.Add(1)
	from := gate.RemoteIP(nc)
	pass, why := s.gate.Admit(nc, from, s.limits())
	if why != "" {
		s.Stats.Refused.Add(1)
		s.sayAbout(from, "connection of a client refused", "why", why)
		turnAway(nc, m, why)
		return
	}
	if tc, ok := nc.(*net.TCPConn); ok {
		// What is below the stream may be found dead earlier than by our ping; without it that still comes.
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 30 * time.Second, Count: 4})
	}
	c := &conn{srv: s, t: newTransport(nc), pass: pass}
	c.r = c.t
	s.mu.Lock()
	if s.closing.Load() {
		s.mu.Unlock()
		pass.Leave()
		_ = nc.Close() // it has heard nothing from us
		return
	}
	s.conns[c] = true
	s.workers.Add(1)
	s.mu.Unlock()
	s.Stats.Connections.Add(1)
	go c.greet(from, m)
}

// turnAway refuses a connection with the reason, without waiting for anything: who floods us gets one write.
func turnAway(nc net.Conn, m Mode, why string) {
	if m == STARTTLS {
		b := stream.AppendHeader(nil, stream.Header{Content: xmpp.NSClient, ID: newID(), Version: "1.0", Lang: "en"})
		b = fault(stream.PolicyViolation, why).append(b)
		if nc.SetWriteDeadline(time.Now().Add(time.Second)) == nil {
			_, _ = nc.Write(b) // a courtesy
		}
		if cw, ok := nc.(interface{ CloseWrite() error }); ok {
			_ = cw.CloseWrite() // so is this
		}
	}
	_ = nc.Close() // nothing else to do about it
}

// promoted moves a connection from those that negotiate to those with a session.
func (s *Server) promoted(c *conn, fresh bool) {
	s.mu.Lock()
	s.conns[c] = false
	if fresh { // a resumed one is known, unless it has ended just now
		s.sessions[c.s] = struct{}{}
	}
	closing := s.closing.Load()
	s.mu.Unlock()
	if closing {
		c.leave.Store(int32(leavesAtOnce)) // what answered it may be gone
		c.s.End(string(stream.SystemShutdown), "")
	}
}

// left is the last thing that a connection's reader does.
func (s *Server) left(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	c.pass.Leave()
	c.purse.Close()
	s.Stats.Connections.Add(-1)
	s.workers.Done()
}

// Quiesce stops accepting and has every reader leave the router, having handled what its client had sent. It returns when
// all have left, or ctx has ended. From then on clients only get, so that the parts which answer them can be stopped one
// after the other. Shutdown follows.
func (s *Server) Quiesce(ctx context.Context) {
	all := s.close(ctx)
	for _, one := range all {
		one.mu.Lock()
		one.recall(leavesLast)
		one.mu.Unlock()
	}
	for _, one := range all {
		one.dismiss(leavesLast, ctx.Done())
	}
}

// close stops accepting and returns the sessions that there are.
func (s *Server) close(ctx context.Context) []*session {
	s.stop.Store(&ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing.Store(true)
	for l := range s.listeners {
		_ = l.Close() // Serve returns either way
	}
	for c, negotiates := range s.conns {
		if negotiates { // the others' readers are told by their sessions
			c.t.interrupt()
		}
	}
	return slices.Collect(maps.Keys(s.sessions))
}

// Shutdown stops accepting, ends every stream with system-shutdown, having told clients what of theirs is safe, and
// gives back to the router what they never took. It returns when all of that is done, or with the context's error when
// it had to be cut short. The server is of no use after it.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, one := range s.close(ctx) {
		one.End(string(stream.SystemShutdown), "")
	}
	done := make(chan struct{})
	go func() {
		s.workers.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		s.mu.Lock()
		for c := range s.conns {
			_ = c.t.Close() // whoever waits for it stops waiting
		}
		s.mu.Unlock()
		<-done
	}
	s.cancel()
	s.tasks.Wait()
	return err
}
