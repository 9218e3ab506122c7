// Package calls is the relay through which clients reach each other that no other way leads to: STUN (RFC 8489) and
// TURN (RFC 8656) over UDP, TCP and TLS, for accounts of this server and nobody else. The protocol itself is that of
// github.com/pion/turn; this package decides who may have an allocation, to which addresses it sends, how fast and how
// many there are, and it bounds what strangers can have done before they have shown credentials:
//
//   - Credentials are made for an account, and end with it or after [Lifetime] (credentials.go).
//   - Nothing is relayed to what is not public, nor to this machine but for another allocation here (peers.go,
//     relay.go).
//   - Over UDP, answers to strangers are few for each address, so that nobody is flooded in the name of another
//     (packets.go). Over TCP and TLS a connection counts as one of a stranger, and ends soon, until it has an
//     allocation (streams.go).
//
// Left out: allocations of TCP (RFC 6062) and pairs of ports (EVEN-PORT), which no client for calls asks for; DTLS;
// relaying between networks that are not public.
package calls

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/turn/v5"

	"jackdaw/config"
	"jackdaw/router/budget"
	"jackdaw/router/gate"
	"jackdaw/xmpp/jid"
)

// The names in ALPN of STUN and TURN over TLS (RFC 7443).
const (
	ALPN          = "stun.turn"
	ALPNDiscovery = "stun.nat-discovery"
)

// Options of New; all are needed but Interfaces.
type Options struct {
	// Account says when an account was made; false for one that is not there or may not log in.
	Account func(ctx context.Context, user jid.JID) (created time.Time, ok bool, err error)
	// Derive makes secrets of this server that stay the same over a restart.
	Derive   func(purpose string, of ...string) [sha256.Size]byte
	Realm    string // of all credentials
	Settings func() *config.Calls
	Limits   func() *config.Limits
	Gate     *gate.Keeper
	// Changed learns that Addresses says something else than before.
	Changed func()
	// Interfaces are the addresses of this machine; nil asks the system.
	Interfaces func() (Interfaces, error)
	Log        *slog.Logger
}

// Stats count since the start.
type Stats struct {
	Created   atomic.Int64 // allocations
	Full      atomic.Int64 // allocations refused: the account or the address has enough, or no port is left
	Failed    atomic.Int64 // requests with credentials that are not good
	Closed    atomic.Int64 // requests and packets for addresses that nothing is relayed to
	Up        atomic.Int64 // bytes relayed from clients
	Down      atomic.Int64 // to clients
	Lost      atomic.Int64 // packets dropped beyond the rate
	Dropped   atomic.Int64 // packets of strangers who send too many
	Refused   atomic.Int64 // connections refused by the limits of their address
	Connected atomic.Int64 // connections over TCP and TLS
}

// A Server is a relay. It is safe for concurrent use.
type Server struct {
	Stats Stats

	o         Options
	mint      *mint
	rates     *budget.Book
	strangers *strangers
	hall      *hall
	turn      *turn.Server
	listeners []net.Listener
	serving   sync.WaitGroup

	place atomic.Pointer[Place]

	mu      sync.Mutex                     // guards the rest
	relays  map[netip.AddrPort]*relay      // by the address that clients are told
	reach   map[netip.AddrPort]*relay      // by the address that others on this machine see
	clients map[client]map[*relay]struct{} // by who asked
	users   map[string]map[*relay]struct{} // by account
	from    map[netip.Addr]int             // allocations, by the address of who asked
	streams map[*stream]struct{}
	closed  bool
}

// A client is who asked for an allocation.
type client struct {
	tcp bool
	at  netip.AddrPort
}

// New returns a relay that serves nothing yet.
func New(o Options) (*Server, error) {
	m, err := newMint(o.Derive)
	if err != nil {
		return nil, err
	}
	if o.Interfaces == nil {
		o.Interfaces = OfSystem
	}
	s := &Server{o: o, mint: m, strangers: newStrangers(), hall: newHall(),
		relays: map[netip.AddrPort]*relay{}, reach: map[netip.AddrPort]*relay{},
		clients: map[client]map[*relay]struct{}{}, users: map[string]map[*relay]struct{}{},
		from: map[netip.Addr]int{}, streams: map[*stream]struct{}{}}
	s.rates = budget.New(func() budget.Rate {
		n := s.o.Settings().Rate
		return budget.Rate{PerSecond: n, Burst: n}
	})
	s.find(context.Background(), nil)
	return s, nil
}

// Credentials makes some for an account, a bare address.
func (s *Server) Credentials(user jid.JID) (Credentials, error) {
	return s.mint.issue(user, time.Now())
}

// Serve begins to serve these sockets, which are the server's from now on, and returns.
func (s *Server) Serve(packets []net.PacketConn, listeners []net.Listener) (err error) {
	s.listeners = listeners
	ports := generator{s}
	c := turn.ServerConfig{
		Realm: s.o.Realm, AuthHandler: s.authenticate, QuotaHandler: s.mayAllocate, LoggerFactory: quiet{s.o.Log},
		// A client that does not say which family it wants gets the one that is there (RFC 8656 §7.2 has IPv4).
		StrictAddressFamily: true,
		EventHandler: turn.EventHandler{
			OnAuth: func(_, _ net.Addr, _, _, _, _ string, ok bool) {
				if !ok {
					s.Stats.Failed.Add(1)
				}
			},
			OnAllocationCreated: func(src, _ net.Addr, _, _, _ string, at net.Addr, _ int) { s.begun(src, at) },
			OnPermissionCreated: func(_, _ net.Addr, _, _, _ string, at net.Addr, peer net.IP) {
				s.peer(at, peer, true)
			},
			OnPermissionDeleted: func(_, _ net.Addr, _, _, _ string, at net.Addr, peer net.IP) {
				s.peer(at, peer, false)
			},
			OnChannelCreated: func(_, _ net.Addr, _, _, _ string, at, _ net.Addr, _ uint16) { s.channel(at, 1) },
			OnChannelDeleted: func(_, _ net.Addr, _, _, _ string, at, _ net.Addr, _ uint16) { s.channel(at, -1) },
		},
		ListenerConfigs: []turn.ListenerConfig{{Listener: s.hall, RelayAddressGenerator: ports,
			PermissionHandler: s.mayReach(true)}},
	}
	for _, p := range packets {
		c.PacketConnConfigs = append(c.PacketConnConfigs, turn.PacketConnConfig{PacketConn: &packetConn{p, s},
			RelayAddressGenerator: ports, PermissionHandler: s.mayReach(false)})
	}
	if s.turn, err = turn.NewServer(c); err != nil {
		return err
	}
	for _, l := range listeners {
		s.serving.Go(func() { s.accept(l) })
	}
	return nil
}

// Run looks for the address of this machine now and then, until ctx ends.
func (s *Server) Run(ctx context.Context) {
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for {
		s.find(ctx, AskSTUN)
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

// EndOf ends all allocations of an account.
func (s *Server) EndOf(user jid.JID) {
	s.mu.Lock()
	var all []*relay
	for r := range s.users[user.Bare().String()] {
		all = append(all, r)
	}
	s.mu.Unlock()
	for _, r := range all {
		_ = r.Close() // who reads from it ends the allocation
	}
}

// Allocations are how many there are.
func (s *Server) Allocations() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.relays)
}

// Shutdown ends all.
func (s *Server) Shutdown() {
	s.mu.Lock()
	s.closed = true
	var all []net.Conn
	for c := range s.streams {
		all = append(all, c)
	}
	var relays []*relay
	for _, r := range s.relays {
		relays = append(relays, r)
	}
	s.mu.Unlock()
	for _, l := range s.listeners {
		_ = l.Close() // accept returns either way
	}
	if s.turn != nil {
		_ = s.turn.Close() // the sockets of UDP
	}
	for _, r := range relays {
		_ = r.Close() // nothing is kept of it
	}
	for _, c := range all {
		_ = c.Close() // likewise
	}
	s.serving.Wait()
}

// authenticate says which key the requests of a username are signed with (RFC 8489 §9.2.2).
func (s *Server) authenticate(a *turn.RequestAttributes) (userID string, key []byte, ok bool) {
	if a.Realm != s.o.Realm {
		s.Stats.Failed.Add(1)
		return "", nil, false
	}
	user, ok := s.allowed(a.Username)
	if !ok {
		s.Stats.Failed.Add(1)
		return "", nil, false
	}
	return user.String(), turn.GenerateAuthKey(a.Username, a.Realm, s.mint.password(a.Username)), true
}
