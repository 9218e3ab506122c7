package c2s

import (
	"net/netip"
	"sync"
	"time"

	"jackdaw/config"
)

// A gatekeeper counts connections by address, IPv6 by /64 (promises.md).
type gatekeeper struct {
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

// exempt says whether the limits apply to an address at all.
func exempt(a netip.Addr) bool { return !a.IsValid() || a.IsLoopback() }

// enter admits a connection, or says why not.
func (g *gatekeeper) enter(a netip.Addr, l *config.Limits) (refusal string) {
	if exempt(a) {
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

// known takes note that a connection has authenticated.
func (g *gatekeeper) known(a netip.Addr) { g.count(a, 0, -1) }

// leave takes note that a connection has ended.
func (g *gatekeeper) leave(a netip.Addr, authenticated bool) {
	if authenticated {
		g.count(a, -1, 0)
	} else {
		g.count(a, -1, -1)
	}
}

func (g *gatekeeper) count(a netip.Addr, conns, strangers int) {
	if exempt(a) {
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
func (g *gatekeeper) sweep(now time.Time, l *config.Limits) {
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
