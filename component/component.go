// Package component lets programs answer for a domain of their own, such as bot.example.org, over a stream of the
// Jabber Component Protocol (XEP-0114, jabber:component:accept). Each domain has a secret; whoever knows it may speak
// for every address of that domain and for no other, whichever way the stanza then goes.
//
// A domain has one stream. Whoever proves the secret while there is one takes its place: a component that starts again
// after its machine or its network was lost must not wait for TCP to notice. The older stream ends with conflict, and
// what it had not taken goes to the newer one, in order.
//
// Nothing is kept on disk: while no component is connected its domain refuses with service-unavailable, type wait. A
// stanza that is queued and never written comes back to its sender as such an error. A sender who is promised an
// acknowledgement gets it when the kernel has the bytes for the component, or when the error is on its way; an HTTP
// post, which has no use for an error stanza, gets its failure instead.
//
// Left out: jabber:component:connect, TLS (the protocol has none: listen on loopback), several streams that share a
// domain, and XEP-0225. What a component may do beyond its domain (XEP-0356) is the business of modules/privilege, and
// what it answers in place of the server (XEP-0355) that of modules/delegation.
package component

import (
	"context"
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
	"jackdaw/router/budget"
	"jackdaw/router/gate"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

// Options of New.
type Options struct {
	Router *router.Router
	// Settings and Limits are those in force; asked for each new stream.
	Settings func() config.Component
	Limits   func() config.Limits
	Gate     *gate.Keeper // counts connections, with those of other listeners; nil: there are none
	Budgets  *budget.Book // of peer domains and components; nil: there are no others
	// Elsewhere knows the other nodes; nil: there are none.
	Elsewhere Elsewhere
	// Connected is told that a component has proved its secret and takes stanzas now; nil: nobody is.
	Connected func(domain string)
	Log       *slog.Logger // nil: nobody reads it
}

// Stats count since the start, but for those that say they are current.
type Stats struct {
	Connections atomic.Int64 // current, those that have not proved anything included
	Links       atomic.Int64 // current: components connected
	Accepted    atomic.Int64
	Refused     atomic.Int64 // by the limits of an address
	Failures    atomic.Int64 // handshakes with a wrong secret
	Replaced    atomic.Int64 // streams ended by a newer one of the same component
	Overflows   atomic.Int64 // stanzas refused because a component took too little
	Stalls      atomic.Int64 // streams ended because the component took nothing, or far too little
	Received    atomic.Int64 // stanzas from components
	Sent        atomic.Int64 // stanzas that components took
	Returned    atomic.Int64 // stanzas that were queued for a component and never taken
	HandedOver  atomic.Int64 // streams that are at other nodes
	Adopted     atomic.Int64 // streams that other nodes have handed over
	Panics      atomic.Int64 // a fault of the server
}

// A Server serves components. It is safe for concurrent use.
type Server struct {
	Stats Stats

	router   *router.Router
	settings func() config.Component
	limits   func() config.Limits
	log      *slog.Logger
	budgets  *budget.Book

	elsewhere Elsewhere
	// connected is Options.Connected.
	connected func(domain string)
	streams   wire.Service[*link]

	mu    sync.RWMutex      // guards the rest
	links map[string]*link  // that have proved the secret, by domain
	ended map[string]string // what LastError of a Link says
}

// New returns a server that serves nothing yet. Shutdown frees it.
func New(o Options) *Server {
	s := &Server{router: o.Router, settings: o.Settings, limits: o.Limits, connected: o.Connected, elsewhere: o.Elsewhere,
		links: map[string]*link{}, ended: map[string]string{}}
	s.streams = wire.Service[*link]{Who: "component", Log: o.Log, Gate: o.Gate, Framing: wire.Bytes{},
		Header:   stream.Header{Content: xmpp.NSComponentAccept},
		Accepted: &s.Stats.Accepted, Refused: &s.Stats.Refused, Panics: &s.Stats.Panics,
		Limits: func() *config.Limits {
			l := o.Limits()
			return &l
		}}
	s.streams.Open()
	s.log = s.streams.Log
	if s.budgets = o.Budgets; s.budgets == nil {
		s.budgets = budget.New(func() budget.Rate {
			l := o.Limits()
			return budget.Rate{PerSecond: l.PeerRate, Burst: l.PeerBurst}
		})
	}
	return s
}

// Module is the part in the router: the domains of the components, connected or not, and the way to them.
func (s *Server) Module() router.Module {
	return router.Module{
		Name:    "component",
		Specs:   []router.Spec{{Name: "XEP-0114", Version: "1.6", Note: "without jabber:component:connect"}},
		Service: &router.Service{Domains: s.domains, Handle: s.handle, Home: jid.JID.Domain},
		Moved:   s.moved,
	}
}

// domains are those of the configuration, in order.
func (s *Server) domains() []string { return slices.Sorted(maps.Keys(s.settings().Secrets)) }

// handle gives a stanza to the component that it is addressed to.
func (s *Server) handle(e *router.Envelope) {
	s.mu.RLock()
	l := s.links[e.Stanza.To.Domain()]
	s.mu.RUnlock()
	if l == nil {
		e.Refuse(away())
		return
	}
	l.send(e)
}

// away is the error for stanzas to a component that is not connected. RFC 6120 §8.3.3.19 recommends the type cancel;
// wait says that it is worth trying again, which is what tells this from a domain without any service.
// remote-server-timeout (§8.3.3.17) would blame the network between servers.
func away() *xmpp.Error {
	return xmpp.ServiceUnavailable("the service is not connected now").WithType(xmpp.ErrorWait)
}

// Serve accepts connections until the listener is closed, by Shutdown or by the caller. It returns nil after Shutdown.
func (s *Server) Serve(ln net.Listener) error { return s.streams.Serve(ln, s.accept) }

// accept begins to serve a connection.
func (s *Server) accept(c net.Conn) {
	s.streams.Admit(c, false, func(_ netip.Addr, pass *gate.Pass) bool {
		l := newLink(s, c, s.limits())
		l.pass = pass
		return s.serve(l)
	})
}

// serve serves a stream. It says false where the server is closing.
func (s *Server) serve(l *link) bool {
	if !s.streams.Enter(l) {
		return false
	}
	s.Stats.Connections.Add(1)
	go func() {
		defer s.streams.Workers.Done()
		l.run()
		s.streams.Leave(l)
		l.pass.Leave()
		s.Stats.Connections.Add(-1)
	}()
	return true
}

// Reload ends the streams whose domain or secret is not as the settings now say. Router.Use tells the router about new
// and old domains.
func (s *Server) Reload() {
	now := s.settings()
	s.mu.Lock()
	links := slices.Collect(maps.Values(s.links))
	s.mu.Unlock()
	for _, l := range links {
		l.recheck(now)
	}
}

// recheck ends the stream if the settings do not allow it any more.
func (l *link) recheck(now config.Component) {
	secret, ok, err := now.Secret(l.domain)
	switch {
	case err != nil:
		// The secret cannot be read now; that is no sign that it has changed.
		l.srv.log.Error("check the secret of a component again", "domain", l.domain, "error", err,
			"do", "make the file of component.secrets readable for the user of this server")
	case !ok:
		l.end(wire.Fault(stream.HostGone, "not a component of this server any more"), true) // RFC 6120 §4.9.3.5
	case secret != l.secret:
		l.end(wire.Fault(stream.Reset, "the secret has changed"), true) // §4.9.3.16
	}
}

// A Link is a component as administrators see it.
type Link struct {
	Domain    string
	Connected bool
	LastError string // why the last stream ended, or was not let in; "" while there was none

	// Of the present stream.
	Address string // where it comes from
	Since   time.Time
	In, Out int64 // stanzas from it, and stanzas that it took
	Queued  int   // bytes that it has not taken yet
}

// Links are all components of the configuration, connected or not, by domain.
func (s *Server) Links() []Link {
	all := []Link{}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.domains() {
		one := Link{Domain: d, LastError: s.ended[d]}
		if l := s.links[d]; l != nil {
			one.Connected, one.Address, one.Since = true, l.remote(), l.since
			one.In, one.Out, one.Queued = l.in.Load(), l.out.Load(), l.waiting()
		}
		all = append(all, one)
	}
	return all
}

// Shutdown stops accepting, writes what is queued as far as components take it within a second, ends every stream with
// system-shutdown and returns the rest to its senders. It returns when that is done, or with the context's error when
// it had to be cut short. The server is of no use after it.
func (s *Server) Shutdown(ctx context.Context) error {
	s.streams.Close()
	for _, l := range s.streams.All() {
		l.end(wire.Fault(stream.SystemShutdown, ""), true)
	}
	return s.streams.Wait(ctx, (*link).cutOff) // whoever waits for it stops waiting
}

// enter makes the stream the one of its domain and returns the one before it, which has been told to end.
func (s *Server) enter(l *link) (old *link) {
	s.mu.Lock()
	old = s.links[l.domain]
	s.links[l.domain] = l
	s.mu.Unlock()
	s.Stats.Links.Add(1)
	if old != nil {
		s.Stats.Replaced.Add(1)
		s.log.Warn("component replaced by a newer stream", "domain", l.domain, "address", l.remote(),
			"replaced", old.remote())
		old.end(wire.Fault(stream.Conflict, "replaced by a newer stream"), false)
	}
	// The secret was right a moment ago, and the domain was at home here; from here on Reload and moved see this stream.
	l.recheck(s.settings())
	if s.elsewhere != nil && !s.elsewhere.Here(l.domain, false) {
		l.move()
	}
	return old
}

// noteEnd keeps what went wrong last with a component, for administrators.
func (s *Server) noteEnd(domain, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[domain] = why
}

// leave takes a stream that has ended out of the books. It says whether what is left of its queue is to be returned;
// else the stream that has taken its place takes that too.
func (s *Server) leave(l *link, why string) bool {
	s.Stats.Links.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links[l.domain] != l {
		return false
	}
	delete(s.links, l.domain)
	s.ended[l.domain] = why
	return true
}
