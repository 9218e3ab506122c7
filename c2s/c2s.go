// Package c2s serves the streams of clients: STARTTLS and direct TLS (RFC 6120 §5, RFC 7590, XEP-0368), SASL (§6,
// XEP-0440) and resource binding (§7), or both in one request (XEP-0388, XEP-0386), by password or token (XEP-0484);
// stream management with resumption (XEP-0198), client state (XEP-0352) and the announcement of limits (XEP-0478). What
// clients send is given to the router, what the router sends is queued and written.
//
// A connection costs one goroutine, the reader, which holds no buffer while it waits. Nobody waits for a slow client:
// sending appends to its queue; see session and wire.Transport. One more goroutine ticks for all sessions together, one
// reports to the router what clients have taken, and one brings out acknowledgements whose writes have finished.
//
// Left out: early data, in-band registration itself (see Registration), compression.
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
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// Options of New.
type Options struct {
	Router   *router.Router
	Accounts *accounts.Service
	// TLS holds the certificates: GetCertificate or Certificates. Its NextProtos and record sizes are set by New, on a
	// copy. Nil offers no TLS, which goes with RequireTLS false only.
	TLS *tls.Config
	// Register answers requests to register before authentication; nil offers none.
	Register Registration
	// AllowPlainWithoutTLS lets loopback clients send passwords in clear. It has no effect while TLS is required.
	AllowPlainWithoutTLS bool

	// Tokens let clients log in without a password; nil offers that to nobody.
	Tokens Tokens

	// Elsewhere knows the other nodes; nil: there are none.
	Elsewhere Elsewhere
	// Framing makes a framing anew that another node names (wire.FramingName) and wire does not know; nil: there is none.
	Framing func(name string) wire.Framing
	// Location is where clients should come back to resume a session, HOST:PORT; "" leaves that to them (XEP-0198 §3).
	Location string

	// Gate counts connections, with those of other listeners; nil: there are none.
	Gate *gate.Keeper
	// Budgets are those of accounts, by bare address, for all ways in; nil: there are no others.
	Budgets *budget.Book
	C2S     config.C2S
	Limits  config.Limits
	Log     *slog.Logger
}

// Registration answers jabber:iq:register before authentication (XEP-0077 §3.1), and what leads there (XEP-0445). It is
// asked over TLS only.
type Registration interface {
	// Offered says whether accounts are made on a host, and whether tokens of invitations are taken.
	Offered(host string) (inBand, byToken bool)
	// Visit returns what answers the requests of one stream, one at a time; each stanza is borrowed.
	Visit(host string, from accounts.Source) func(ctx context.Context, iq *xmpp.Stanza) xmpp.Stanza
}

// Mode says how TLS begins on a listener.
type Mode uint8

// The modes.
const (
	STARTTLS  Mode = iota // RFC 6120 §5
	DirectTLS             // XEP-0368
	prepared              // it does not: another listener has seen to what there is
)

// Stats count since the start, but for those that say they are current.
type Stats struct {
	Connections  atomic.Int64 // current
	Sessions     atomic.Int64 // current, detached ones included
	Accepted     atomic.Int64
	Refused      atomic.Int64 // by the limits of an address
	Logins       atomic.Int64
	TokenLogins  atomic.Int64 // of these, by a token
	AuthFailures atomic.Int64
	Detached     atomic.Int64 // sessions that began to wait for resumption
	Resumptions  atomic.Int64
	Silent       atomic.Int64 // clients that did not answer a ping, or a request for an acknowledgement
	HandedOver   atomic.Int64 // streams whose sessions are at other nodes
	Passing      atomic.Int64 // current: of these, that are connected
	Adopted      atomic.Int64 // streams that other nodes have handed over
	Unreachable  atomic.Int64 // streams that could not be handed over
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
	tokens   Tokens
	log      *slog.Logger
	plain    bool // AllowPlainWithoutTLS
	location string

	elsewhere Elsewhere
	framing   func(name string) wire.Framing
	conf      atomic.Pointer[settings]
	ends      endPoints

	now       atomic.Int64 // seconds since the start
	timers    wheel
	reports   worker
	acks      worker
	resumable registry
	budgets   *budget.Book
	lines     gate.Lines

	streams wire.Service[*conn]
	ctx     context.Context // ends with the server
	cancel  context.CancelFunc
	stop    atomic.Pointer[context.Context] // Shutdown's
	tasks   sync.WaitGroup                  // goroutines that end with ctx

	mu        sync.Mutex         // guards the rest
	strangers map[*conn]struct{} // connections that still negotiate
	sessions  map[*session]struct{}
	passages  map[*conn]*wire.Passage // connections whose streams are at other nodes
}

type settings struct {
	config.C2S
	limits config.Limits
}

// New returns a server that serves nothing yet. Shutdown frees it.
func New(o Options) *Server {
	s := &Server{router: o.Router, accounts: o.Accounts, register: o.Register, tokens: o.Tokens,
		plain: o.AllowPlainWithoutTLS, elsewhere: o.Elsewhere, framing: o.Framing, location: o.Location,
		passages: map[*conn]*wire.Passage{},
		reports:  newWorker(), acks: newWorker(), strangers: map[*conn]struct{}{}, sessions: map[*session]struct{}{}}
	s.streams = wire.Service[*conn]{Who: "client", Log: o.Log, Gate: o.Gate, Limits: s.limits, Framing: wire.Bytes{},
		Header:   stream.Header{Content: xmpp.NSClient, Version: "1.0", Lang: "en"},
		Accepted: &s.Stats.Accepted, Refused: &s.Stats.Refused, Panics: &s.Stats.Panics,
		OnRefused: func(from netip.Addr, why string) { s.sayAbout(from, "connection of a client refused", "why", why) }}
	s.streams.Open()
	s.log = s.streams.Log
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
	return s.streams.Serve(l, func(c net.Conn) { s.accept(c, m) })
}

// Take serves a connection that another listener has accepted and counted, as it does its own. STARTTLS is not offered
// on it. It says false where the server is closing; the connection is the caller's then.
func (s *Server) Take(e wire.Entry) bool {
	s.Stats.Accepted.Add(1)
	return s.begin(e, prepared)
}

// accept begins to serve a connection of our own listeners.
func (s *Server) accept(nc net.Conn, m Mode) {
	s.streams.Admit(nc, m == DirectTLS, func(from netip.Addr, pass *gate.Pass) bool {
		return s.begin(wire.Entry{Transport: wire.NewTransport(nc), Framing: wire.Bytes{}, From: from, Pass: pass}, m)
	})
}

func (s *Server) begin(e wire.Entry, m Mode) bool {
	c := &conn{srv: s, pass: e.Pass, from: e.From, secure: e.Secure}
	if !s.enter(c, e) {
		return false
	}
	go c.greet(m)
	return true
}

// enter makes a connection known. It says false where the server is closing.
func (s *Server) enter(c *conn, e wire.Entry) bool {
	c.Begin(e, c)
	s.mu.Lock()
	s.strangers[c] = struct{}{} // before it is known: close looks for it afterwards
	s.mu.Unlock()
	if !s.streams.Enter(c) {
		s.mu.Lock()
		delete(s.strangers, c)
		s.mu.Unlock()
		return false
	}
	s.Stats.Connections.Add(1)
	return true
}

// promoted moves a connection from those that negotiate to those with a session.
func (s *Server) promoted(c *conn, fresh bool) {
	s.mu.Lock()
	delete(s.strangers, c)
	if fresh { // a resumed one is known, unless it has ended just now
		s.sessions[c.s] = struct{}{}
	}
	s.mu.Unlock()
	if s.streams.Closed() {
		c.leave.Store(int32(leavesAtOnce)) // what answered it may be gone
		c.s.End(string(stream.SystemShutdown), "")
	}
}

// left is the last thing that a connection's reader does.
func (s *Server) left(c *conn) {
	s.mu.Lock()
	delete(s.strangers, c)
	s.mu.Unlock()
	s.streams.Leave(c)
	c.pass.Leave()
	c.purse.Close()
	s.Stats.Connections.Add(-1)
	s.streams.Workers.Done()
}

// Quiesce stops accepting and has every reader leave the router, having handled what its client had sent. It returns
// when all have left, or ctx has ended. From then on clients only get, so that the parts which answer them can be
// stopped one after the other. Shutdown follows.
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
	s.streams.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.strangers { // the others' readers are told by their sessions
		c.Transport.Interrupt()
	}
	for _, p := range s.passages {
		go p.Leave() // it may wait for the link
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
	err := s.streams.Wait(ctx, s.cut) // whoever waits for it stops waiting
	s.cancel()
	s.tasks.Wait()
	return err
}
