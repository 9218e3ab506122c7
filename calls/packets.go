package calls

import (
	"errors"
	"hash/maphash"
	"net"
	"net/netip"
	"sync"
	"time"

	"jackdaw/router/gate"
)

const (
	// strangerRate is how many packets a second are answered of one address, IPv4 or a /64 of IPv6, that has no
	// allocation there, and strangerBurst how many at once: enough for an office behind one address, in which all begin
	// a call. An answer has 200 bytes at most, so that nobody has more than 20 kB/s sent to another whose address he
	// writes on his packets.
	strangerRate  = 100
	strangerBurst = 200
	// cells is how many such counts there are; addresses share them, so that no flood takes memory.
	cells = 4096
	// pause follows an error of a socket that is still open.
	pause = 100 * time.Millisecond
)

// A packetConn is a socket of UDP at which clients ask for allocations.
type packetConn struct {
	net.PacketConn
	s *Server
}

// ReadFrom reads what may be answered. It implements net.PacketConn.
func (p *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := p.PacketConn.ReadFrom(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return n, from, err
		case err != nil: // whoever reads would end
			p.s.o.Log.Warn("read a packet for calls", "error", err)
			time.Sleep(pause)
			continue
		}
		at := addrPort(from)
		if p.s.knows(client{at: at}) || gate.Exempt(at.Addr()) || p.s.strangers.let(at.Addr(), time.Now()) {
			return n, from, nil
		}
		p.s.Stats.Dropped.Add(1)
	}
}

// strangers counts packets of those who have no allocation.
type strangers struct {
	seed maphash.Seed

	mu   sync.Mutex // guards cell
	cell [cells]struct {
		credit float32
		at     time.Time
	}
}

func newStrangers() *strangers { return &strangers{seed: maphash.MakeSeed()} }

// let says whether another packet of an address is answered.
func (s *strangers) let(a netip.Addr, now time.Time) bool {
	bytes := gate.Neighbourhood(a).As16()
	i := maphash.Bytes(s.seed, bytes[:]) % cells
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.cell[i]
	if c.at.IsZero() {
		c.credit = strangerBurst
	} else {
		c.credit = min(strangerBurst, c.credit+float32(now.Sub(c.at).Seconds()*strangerRate))
	}
	c.at = now
	if c.credit < 1 {
		return false
	}
	c.credit--
	return true
}
