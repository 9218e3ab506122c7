// Package s2s is the streams to and from peers: negotiation in both directions (RFC 6120 §4 to §6, direct TLS of
// XEP-0368), proof of the domains by certificate (SASL EXTERNAL, XEP-0178) or by dialback (XEP-0220 with keys of
// XEP-0185), several pairs of domains on one stream, both directions on one stream (XEP-0288), stream management
// (XEP-0198) and announced limits (XEP-0478).
//
// A peer is hostile until proven otherwise, and then for the domains it has proved only: every stanza's 'from' is of a
// domain that its stream has proved towards the domain in 'to'. Whoever wants to send asks for a stream of a pair
// (local domain, remote domain); the queues that do so are package outbox, which Server serves as its Dialer.
//
// A link costs one goroutine, the reader. Writers block, with a deadline; what the reader itself has to say is written
// by another goroutine, so that two peers that both want to be read first never wait for each other.
//
// Left out: SASL2, compression, DANE and POSH, asking for further pairs in the reverse direction of a stream that
// carries both (XEP-0288 §2.2 allows it; a stream of its own does the same), streams of servers from before XMPP 1.0.
package s2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/router/budget"
	"jackdaw/router/gate"
	"jackdaw/s2s/lookup"
	"jackdaw/s2s/outbox"
	"jackdaw/storage"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// Mode says how TLS begins on a listener.
type Mode uint8

// The modes.
const (
	STARTTLS  Mode = iota // RFC 6120 §5
	DirectTLS             // XEP-0368
)

// A Finder finds peers. *lookup.Finder is one.
type Finder interface {
	Targets(ctx context.Context, domain string) ([]lookup.Target, error)
	DialTarget(ctx context.Context, t lookup.Target) (*lookup.Conn, error)
}

// Options of New.
type Options struct {
	Router *router.Router
	Store  storage.Engine // the secret of dialback, and what the queues keep
	Finder Finder
	// Certificate is shown for a domain of ours, to those who call and to those we call; nil for none.
	Certificate func(domain string) *tls.Certificate
	// TLS is what both directions start from: versions and suites. Certificates and verification are set by New, on
	// copies. Nil offers no TLS.
	TLS   *tls.Config
	Roots *x509.CertPool // of the certificates of peers; nil: those of the system
	// Gate counts connections, with those of other listeners; nil: there are none.
	Gate *gate.Keeper
	// Budgets are those of peer domains and components; nil: there are no others.
	Budgets *budget.Book
	// Settings are those in force; asked each time it matters. The same pointer means that nothing has changed.
	Settings func() *config.Config
	Log      *slog.Logger
	Now      func() time.Time // for certificates; nil: time.Now
}

// A Server has the streams of all peers. It is safe for concurrent use.
type Server struct {
	Stats Stats

	o       Options
	log     *slog.Logger
	rules   atomic.Pointer[policy]
	secret  atomic.Pointer[string] // the key of dialback keys, hashed (XEP-0185 §2)
	budgets *budget.Book
	streams wire.Service[*link]
	queue   queue
	outbox  *outbox.Outbox // queue, but in tests

	callers   *tls.Config // for those who call
	inquiries inquiries

	ctx    context.Context // ends with the server
	cancel context.CancelFunc
	tasks  sync.WaitGroup // goroutines that end with ctx

	mu          sync.Mutex            // guards the rest
	out         map[string][]*link    // established ones that we opened, by remote domain
	back        map[outbox.Pair]*link // those that peers opened and that carry this pair too (XEP-0288)
	pings       map[string]*ping      // on their way, by id
	lost        map[outbox.Pair]*lost // what may be resumed by us
	parked      map[string]*parked    // what may be resumed by peers, by id
	resumable   map[string]*link      // likewise, while the link is there
	authorities map[outbox.Pair]*authority
}

// queue is what is used of *outbox.Outbox.
type queue interface {
	Restore(ctx context.Context) error
	Gained(ctx context.Context, is func(owner string) bool) error
	Release(ctx context.Context, gone func(owner string) bool, planned bool) error
	Push(e *router.Envelope)
	Seen(remote string)
	Stop(ctx context.Context) error
}

// New returns a server without listeners. Start comes next, Shutdown frees it.
func New(o Options) *Server {
	s := &Server{o: o, out: map[string][]*link{}, back: map[outbox.Pair]*link{}, pings: map[string]*ping{},
		lost: map[outbox.Pair]*lost{}, parked: map[string]*parked{}, resumable: map[string]*link{},
		authorities: map[outbox.Pair]*authority{}}
	s.streams = wire.Service[*link]{Who: "peer", Log: o.Log, Gate: o.Gate, Framing: wire.Bytes{},
		Header:   stream.Header{Content: xmpp.NSServer, Version: "1.0", Lang: "en"},
		Accepted: &s.Stats.Accepted, Refused: &s.Stats.Refused, Panics: &s.Stats.Panics,
		Limits: func() *config.Limits { return &s.policy().limits }}
	s.streams.Open()
	s.log = s.streams.Log
	if s.budgets = o.Budgets; s.budgets == nil {
		s.budgets = budget.New(func() budget.Rate {
			l := &s.policy().limits
			return budget.Rate{PerSecond: l.PeerRate, Burst: l.PeerBurst}
		})
	}
	if s.o.Now == nil {
		s.o.Now = time.Now
	}
	if o.TLS != nil {
		s.callers = s.incomingTLS(o.TLS)
	}
	s.outbox = outbox.New(outbox.Options{Dialer: s, Log: o.Store.Log("outbox"), Owns: o.Router.Owns,
		Bounce: o.Router.Bounce, Tell: o.Router.Tell, Limits: func() *outbox.Limits { return &s.policy().queues },
		Logger: s.log})
	s.queue = s.outbox
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Queues are the queues of all pairs, sorted by remote and local domain.
func (s *Server) Queues() []outbox.Status { return s.outbox.Status() }

// Gauge counts what waits in the queues now.
func (s *Server) Gauge() outbox.Gauge { return s.outbox.Gauge() }

// QueueStats count what went through the queues.
func (s *Server) QueueStats() *outbox.Stats { return &s.outbox.Stats }

// Start makes or reads the secret of dialback, which all nodes on one store share, begins to watch the links, and to
// send what an earlier server left in the queues, if this one is alone. It comes after Router.SetRemote and before the
// first Serve.
func (s *Server) Start(ctx context.Context) error {
	if err := s.loadSecret(ctx); err != nil {
		return err
	}
	if s.o.Router.Alone() { // else Gained comes
		if err := s.queue.Restore(ctx); err != nil {
			return err
		}
	}
	s.tasks.Add(1)
	go func() {
		defer s.tasks.Done()
		s.watch()
	}()
	return nil
}

// Gained begins to send what waits for peers whose pairs of domains have come home to this node, as Start does where
// there is only one. It comes before stanzas of these pairs, and may be called again if it fails.
func (s *Server) Gained(ctx context.Context, is func(owner string) bool) error {
	return s.queue.Gained(ctx, is)
}

// Release ends what is sent to peers whose pairs are at home elsewhere from now on; planned: nobody else sends to them
// before it has returned. What it leaves is in storage.
func (s *Server) Release(ctx context.Context, gone func(owner string) bool, planned bool) error {
	return s.queue.Release(ctx, gone, planned)
}

// Send takes a stanza that leaves for a peer; it implements router.Remote. That its sender is ours has been decided by
// the router; it is an invariant here.
func (s *Server) Send(e *router.Envelope) {
	if from := e.Stanza.From.Domain(); !s.o.Router.Owns(from) {
		s.Stats.Forged.Add(1)
		s.log.Error("a sender of another domain was about to leave for a peer", "from", from,
			"to", e.Stanza.To.Domain())
		e.Refuse(xmpp.NotAllowed("forged-sender-remote"))
		return
	}
	s.queue.Push(e)
}

// Admits says whether the administrator lets stanzas to and from that domain pass; it implements router.Remote.
func (s *Server) Admits(domain string) *xmpp.Error {
	if s.policy().admits(domain) {
		return nil
	}
	return xmpp.NotAllowed("this server does not exchange messages with that domain")
}

// Serve accepts connections until the listener is closed, by Shutdown or by the caller. It returns nil after Shutdown.
func (s *Server) Serve(l net.Listener, m Mode) error {
	return s.streams.Serve(l, func(c net.Conn) { s.accept(c, m) })
}

// Take serves a connection with TLS that another listener has accepted and counted, as it does its own. It says false
// where the server is closing; the connection is the caller's then.
func (s *Server) Take(e wire.Entry) bool {
	s.Stats.Accepted.Add(1)
	return s.begin(linkOn(s, e, false), true, e.Pass)
}

// accept begins to serve a connection of our own listeners.
func (s *Server) accept(c net.Conn, m Mode) {
	s.streams.Admit(c, m == DirectTLS, func(_ netip.Addr, pass *gate.Pass) bool {
		return s.begin(newLink(s, c, false), m == DirectTLS, pass)
	})
}

func (s *Server) begin(l *link, direct bool, pass *gate.Pass) bool {
	l.direct, l.pass = direct, pass
	if !s.streams.Enter(l) {
		return false
	}
	go func() {
		defer s.streams.Workers.Done()
		l.receive()
		pass.Leave()
	}()
	return true
}

// TLS is the configuration for those who call; nil: there is none. It is not to be changed.
func (s *Server) TLS() *tls.Config { return s.callers }

// watch looks at all links now and then.
func (s *Server) watch() {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-t.C:
			s.forget(now)
			for _, l := range s.streams.All() {
				l.look(now)
			}
		}
	}
}

// Shutdown stops accepting, lets the streams take what waits in the queues as far as that goes in a moment, and ends
// every stream with system-shutdown. It returns when all of that is done, or with the context's error when it had to be
// cut short. The router and the store must outlive it. The server is of no use after it.
func (s *Server) Shutdown(ctx context.Context) error {
	s.streams.Shut()
	stopped := s.queue.Stop(ctx)
	s.streams.Close()
	s.cancel()
	var parting sync.WaitGroup
	for _, l := range s.streams.All() {
		parting.Add(1)
		go func() {
			defer parting.Done()
			l.part(wire.Fault(stream.SystemShutdown, ""))
		}()
	}
	defer parting.Wait()
	err := s.streams.Wait(ctx, func(l *link) { l.end(ctx.Err()) })
	s.tasks.Wait()
	return errors.Join(stopped, err)
}
