// Package gate counts the connections of each address, so that no address takes all: those of clients and of
// peers (promises.md, "connections per address"). Loopback is not counted.
package gate

import (
	"net/netip"
	"sync"
	"time"

	"jackdaw/config"
)

// A Keeper counts connections by address, IPv6 by /64. The zero value is ready; safe for concurrent use.
type Keeper struct {
	mu    sync.Mutex // guards from and swept
	from  map[netip.Addr]*visitor
	swept time.Time
}

type visitor struct {
	conns, strangers int     // all, and those not authenticated
	tokens           float64 // new connections that may come now
	at               time.Time
}

// neighbourhood is what counts as one address.
func neighbourhood(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64) // an error only for more bits than there are
		a = p.Addr()
	}
	return a
}

// Exempt says whether the limits apply to an address at all.
func Exempt(a netip.Addr) bool { return !a.IsValid() || a.IsLoopback() }

// Enter admits a connection, or says why not.
func (g *Keeper) Enter(a netip.Addr, l *config.Limits) (refusal string) {
	if Exempt(a) {
		return ""
	}
	a = neighbourhood(a)
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sweep(now, l)
	v := g.from[a]
	if v == nil {
		if g.from == nil {
			g.from = map[netip.Addr]*visitor{}
		}
		v = &visitor{tokens: float64(l.ConnectBurst), at: now}
		g.from[a] = v
	}
	v.refill(now, l)
	switch {
	case v.tokens < 1:
		return "too many new connections from your address, wait a second"
	case v.conns >= l.ConnectionsPerAddress:
		return "too many connections from your address"
	case v.strangers >= l.UnauthenticatedPerAddress:
		return "too many connections from your address that have not logged in"
	}
	v.tokens--
	v.conns++
	v.strangers++
	return ""
}

func (v *visitor) refill(now time.Time, l *config.Limits) {
	v.tokens = min(v.tokens+now.Sub(v.at).Seconds()*float64(l.ConnectRate), float64(l.ConnectBurst))
	v.at = now
}

// Known takes note that a connection has authenticated.
func (g *Keeper) Known(a netip.Addr) { g.count(a, 0, -1) }

// Leave takes note that a connection has ended.
func (g *Keeper) Leave(a netip.Addr, authenticated bool) {
	if authenticated {
		g.count(a, -1, 0)
	} else {
		g.count(a, -1, -1)
	}
}

func (g *Keeper) count(a netip.Addr, conns, strangers int) {
	if Exempt(a) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if v := g.from[neighbourhood(a)]; v != nil {
		v.conns += conns
		v.strangers += strangers
	}
}

// sweep forgets addresses that have nothing to be remembered for. The caller holds mu.
func (g *Keeper) sweep(now time.Time, l *config.Limits) {
	if now.Sub(g.swept) < time.Minute {
		return
	}
	g.swept = now
	for a, v := range g.from {
		if v.refill(now, l); v.conns == 0 && v.tokens >= float64(l.ConnectBurst) {
			delete(g.from, a)
		}
	}
}
