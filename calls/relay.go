package calls

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/turn/v5"

	"jackdaw/router/budget"
	"jackdaw/router/gate"
	"jackdaw/xmpp/jid"
)

const (
	// maxPeers bounds the addresses, and the channels, of one allocation: each takes memory and a timer. A client in a
	// call has a few.
	maxPeers = 100
	// scarce is the part of the ports that are left which one account may have; with ten allocations for an account it
	// begins to count when 80 ports are left. So an account, or several, never takes the last ports from all others.
	scarce = 8
	// always is how many an account may have where there are ports at all.
	always = 2
)

// A relay is the socket of one allocation. The address by which clients know it is not always that of the socket, where
// something translates addresses on the way.
type relay struct {
	*net.UDPConn
	s       *Server
	user    string
	at      netip.AddrPort // that clients are told
	reached netip.AddrPort // at which others on this machine reach it, and see it
	up      *budget.Budget
	down    *budget.Budget
	closing sync.Once

	// The server's mu guards these.
	client   *client
	from     netip.Addr
	peers    map[netip.Addr]struct{}
	channels int
	gone     bool
}

var (
	errNoAddress = errors.New("this machine has no public address of that family")
	errNoPort    = errors.New("no port is left for another allocation")
	errEnough    = errors.New("the account has enough allocations")
	errLeftOut   = errors.New("allocations of TCP and pairs of ports are not offered")
)

// A generator makes the sockets of allocations. It implements turn.RelayAddressGenerator.
type generator struct{ s *Server }

// Validate implements turn.RelayAddressGenerator.
func (generator) Validate() error { return nil }

// AllocateListener implements turn.RelayAddressGenerator.
func (generator) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errLeftOut
}

// AllocateConn implements turn.RelayAddressGenerator.
func (generator) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errLeftOut }

// AllocatePacketConn implements turn.RelayAddressGenerator. Any error is the answer 508 (RFC 8656 §7.2).
func (g generator) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	if c.UserID == "" || c.RequestedPort != 0 { // a look for a pair of ports
		return nil, nil, errLeftOut
	}
	r, err := g.s.allocate(c.UserID, c.Network)
	if err != nil {
		g.s.Stats.Full.Add(1)
		g.s.o.Log.Debug("an allocation is refused", "account", c.UserID, "error", err)
		return nil, nil, err
	}
	return r, net.UDPAddrFromAddrPort(r.at), nil
}

// allocate makes a relay for an account.
func (s *Server) allocate(user, network string) (*relay, error) {
	at, bind, ok := s.place.Load().of(network)
	if !ok {
		return nil, errNoAddress
	}
	since := time.Now()
	r, err := s.bind(user, network, at, bind)
	if err != nil {
		return nil, err
	}
	// It may have been disabled or removed since its credentials were looked at. Whoever does that ends the relays that
	// are known by then.
	if j, err := jid.Parse(user); err != nil || !s.active(j, since) {
		_ = r.Close() // nothing has been sent on it
		return nil, errEnough
	}
	s.Stats.Created.Add(1)
	return r, nil
}

// bind opens a socket at a port that is free, the first in turn from any.
func (s *Server) bind(user, network string, at, bind netip.Addr) (*relay, error) {
	ports := s.o.Settings().Ports
	reached := bind
	if !bind.IsValid() { // all addresses of the machine: loopback is one of them
		if network == "udp4" {
			reached, bind = netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv4Unspecified()
		} else {
			reached, bind = netip.IPv6Loopback(), netip.IPv6Unspecified()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.users[user]) >= s.share(ports.Len()) {
		return nil, errEnough
	}
	n := ports.Len()
	for i, first := 0, rand.IntN(n); i < n; i++ {
		port := uint16(ports.First + (first+i)%n)
		told, seen := netip.AddrPortFrom(at, port), netip.AddrPortFrom(reached, port)
		if s.relays[told] != nil || s.reach[seen] != nil {
			continue
		}
		c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(bind, port)))
		if err != nil { // another program has it
			continue
		}
		r := &relay{UDPConn: c, s: s, user: user, at: told, reached: seen, peers: map[netip.Addr]struct{}{},
			up: s.rates.Open("up " + told.String()), down: s.rates.Open("down " + told.String())}
		s.relays[told], s.reach[seen] = r, r
		if s.users[user] == nil {
			s.users[user] = map[*relay]struct{}{}
		}
		s.users[user][r] = struct{}{}
		return r, nil
	}
	return nil, errNoPort
}

// share is how many allocations one account may have now. The caller holds mu.
func (s *Server) share(ports int) int {
	return min(s.o.Settings().Allocations, max(always, (ports-len(s.relays))/scarce))
}

// mayAllocate says whether an account may have another allocation, and from this address; false is the answer 486 (RFC
// 8656 §7.2).
func (s *Server) mayAllocate(user, _ string, src net.Addr) bool {
	set := s.o.Settings()
	s.mu.Lock()
	from := gate.Neighbourhood(addrPort(src).Addr())
	ok := len(s.users[user]) < s.share(set.Ports.Len()) && s.from[from] < set.AddressAllocations
	s.mu.Unlock()
	if !ok {
		s.Stats.Full.Add(1)
	}
	return ok
}

// begun notes who has asked for an allocation.
func (s *Server) begun(src, at net.Addr) {
	c := client{at: addrPort(src)}
	_, c.tcp = src.(*net.TCPAddr)
	s.mu.Lock()
	r := s.relays[addrPort(at)]
	if r == nil || r.gone { // ended meanwhile
		s.mu.Unlock()
		return
	}
	r.client, r.from = &c, gate.Neighbourhood(c.at.Addr())
	if s.clients[c] == nil {
		s.clients[c] = map[*relay]struct{}{}
	}
	s.clients[c][r] = struct{}{}
	s.from[r.from]++
	// Several that ask at the same time are each told that they may.
	enough := s.from[r.from] > s.o.Settings().AddressAllocations
	s.mu.Unlock()
	if enough {
		_ = r.Close() // the client finds out
		return
	}
	s.o.Log.Debug("allocation", "account", r.user, "from", src, "at", at)
	if c.tcp {
		s.settled(c)
	}
}

// Close ends the relay, and with it its allocation. It implements net.PacketConn.
func (r *relay) Close() (err error) {
	r.closing.Do(func() {
		s := r.s
		s.mu.Lock()
		r.gone = true
		delete(s.relays, r.at)
		delete(s.reach, r.reached)
		drop(s.users, r.user, r)
		c := r.client
		if c != nil {
			drop(s.clients, *c, r)
			if s.from[r.from]--; s.from[r.from] == 0 {
				delete(s.from, r.from)
			}
		}
		s.mu.Unlock()
		r.up.Close()
		r.down.Close()
		err = r.UDPConn.Close()
		if c != nil && c.tcp {
			s.settled(*c)
		}
	})
	return err
}

func drop[K comparable](all map[K]map[*relay]struct{}, k K, r *relay) {
	if delete(all[k], r); len(all[k]) == 0 {
		delete(all, k)
	}
}

// knows says whether a client has an allocation.
func (s *Server) knows(c client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients[c] != nil
}

// mayReach says whether a client of such sockets may have packets sent to an address; false is the answer 403 (RFC 8656
// §10.2). A port is not asked for here: WriteTo looks at it.
func (s *Server) mayReach(tcp bool) turn.PermissionHandler {
	return func(src net.Addr, peer net.IP) bool {
		a, _ := netip.AddrFromSlice(peer)
		a = a.Unmap()
		own := s.place.Load()
		if !Public(a) || own.has(a) && !own.tells(a) {
			s.Stats.Closed.Add(1)
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for r := range s.clients[client{tcp, addrPort(src)}] {
			if _, known := r.peers[a]; r.channels >= maxPeers || !known && len(r.peers) >= maxPeers {
				return false
			}
		}
		return true
	}
}

// peer counts the addresses that an allocation may send to.
func (s *Server) peer(at net.Addr, peer net.IP, is bool) {
	a, _ := netip.AddrFromSlice(peer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.relays[addrPort(at)]; r != nil {
		if is {
			r.peers[a.Unmap()] = struct{}{}
		} else {
			delete(r.peers, a.Unmap())
		}
	}
}

// channel counts the channels of an allocation.
func (s *Server) channel(at net.Addr, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.relays[addrPort(at)]; r != nil {
		r.channels += by
	}
}

// target is where a packet for an address goes: to another relay on this machine, if it is one's; false: nowhere.
func (s *Server) target(to netip.AddrPort) (netip.AddrPort, bool) {
	if !s.place.Load().has(to.Addr()) {
		return to, Public(to.Addr())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.relays[to]
	if r == nil {
		return to, false
	}
	return r.reached, true
}

// source is as whom the sender of a packet is known; false: nobody.
func (s *Server) source(from netip.AddrPort) (netip.AddrPort, bool) {
	if !s.place.Load().has(from.Addr()) {
		return from, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.reach[from]
	if r == nil {
		return from, false
	}
	return r.at, true
}

// WriteTo sends a packet of the client to a peer, unless that is too fast or may not be. What is lost is lost without a
// word, as any packet (RFC 8656 §11.2). It implements net.PacketConn.
func (r *relay) WriteTo(b []byte, to net.Addr) (int, error) {
	at, ok := r.s.target(addrPort(to))
	switch {
	case !ok:
		r.s.Stats.Closed.Add(1)
		return len(b), nil
	case r.up.Take(len(b)) > 0:
		r.s.Stats.Lost.Add(1)
		return len(b), nil
	}
	r.s.Stats.Up.Add(int64(len(b)))
	return r.WriteToUDPAddrPort(b, at)
}

// ReadFrom reads a packet of a peer. It implements net.PacketConn.
func (r *relay) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := r.ReadFromUDPAddrPort(b)
		if err != nil {
			return n, nil, err
		}
		at, ok := r.s.source(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		switch {
		case !ok:
			r.s.Stats.Closed.Add(1)
			continue
		case r.down.Take(n) > 0:
			r.s.Stats.Lost.Add(1)
			continue
		}
		r.s.Stats.Down.Add(int64(n))
		return n, net.UDPAddrFromAddrPort(at), nil
	}
}

// addrPort is the address of UDP or TCP, of IPv4 as such.
func addrPort(a net.Addr) netip.AddrPort {
	var at netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		at = a.AddrPort()
	case *net.TCPAddr:
		at = a.AddrPort()
	}
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
}

// A Place is where this machine is.
type Place struct {
	V4, V6 netip.Addr // that everybody reaches it at; invalid: none is known
	Own    []netip.Addr
	Why    string // neither is known
}

// of is the address of a family, and the one to bind to; invalid: to any.
func (p *Place) of(network string) (at, bind netip.Addr, ok bool) {
	if at = p.V4; network == "udp6" {
		at = p.V6
	}
	if slices.Contains(p.Own, at) {
		bind = at
	}
	return at, bind, at.IsValid()
}

// tells says whether relays are at an address.
func (p *Place) tells(a netip.Addr) bool { return a == p.V4 || a == p.V6 }

// has says whether an address is this machine's.
func (p *Place) has(a netip.Addr) bool {
	return p.tells(a) || a.IsLoopback() || slices.Contains(p.Own, a)
}

// Addresses are those at which everybody reaches this machine.
func (p *Place) Addresses() (all []netip.Addr) {
	for _, a := range []netip.Addr{p.V4, p.V6} {
		if a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}
