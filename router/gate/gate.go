// Package gate counts connections: of each address, so that no address takes all (docs/security.md, "Before anybody has
// logged in: by connection and address"), and in all, so that what the server itself has to open finds a file
// descriptor. One Keeper stands before all listeners.
//
// Loopback has no limit of its own, but the descriptors are counted for it too. When there is room for no more
// connections, those that have not logged in are the first to go, the oldest before the others; so a stranger who holds
// many idle ones keeps nobody out.
package gate

import (
	"container/list"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"jackdaw/config"
)

// A Keeper counts connections, by address and in all; IPv6 by /64. The zero value is ready and has room for any number.
// Safe for concurrent use.
type Keeper struct {
	mu    sync.Mutex // guards the rest
	from  map[netip.Addr]*visitor
	swept time.Time
	room  int       // connections at a time; 0: any number
	all   int       // those there are
	spare list.List // of *Pass: those that may be ended for another's sake, the first before the others
	log   *slog.Logger
	full  time.Time // when it was last said that there is no room
}

type visitor struct {
	conns, strangers int     // all, and those not authenticated
	tokens           float64 // new connections that may come now
	at               time.Time
}

// Bound sets how many connections there may be at a time, of all addresses and in both directions; 0 is any number.
func (g *Keeper) Bound(room int, log *slog.Logger) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.room, g.log = room, log
}

// Neighbourhood is what counts as one address.
func Neighbourhood(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64) // an error only for more bits than there are
		a = p.Addr()
	}
	return a
}

// Exempt says whether the limits apply to an address at all.
func Exempt(a netip.Addr) bool { return !a.IsValid() || a.IsLoopback() }

// A Pass is a connection that has been let in. Its methods may be called at any time; nil is one that nobody counts.
type Pass struct {
	g    *Keeper
	conn net.Conn

	// The keeper's mu guards these.
	addr  netip.Addr // zero: not counted by address
	known bool       // authenticated
	idle  bool       // nothing is lost if it ends
	gone  bool
	spare *list.Element // its place among those that may be ended
}

// Admit lets in a connection from an address, or says why not. The connection may be closed later, for the sake of
// another, as long as it is not known, or while it is idle. An invalid address stands for one without a limit of its
// own.
func (g *Keeper) Admit(c net.Conn, a netip.Addr, l *config.Limits) (p *Pass, refusal string) {
	p = &Pass{g: g, conn: c}
	now := time.Now()
	g.mu.Lock()
	var v *visitor
	if !Exempt(a) {
		p.addr = Neighbourhood(a)
		if v, refusal = g.visit(p.addr, now, l); refusal != "" {
			g.mu.Unlock()
			return nil, refusal
		}
	}
	end, ok := g.makeRoom(now)
	if ok {
		g.all++
		p.spare = g.spare.PushBack(p)
		if v != nil {
			v.tokens--
			v.conns++
			v.strangers++
		}
	}
	g.mu.Unlock()
	if end != nil {
		_ = end.Close() // whoever serves it finds out
	}
	if !ok {
		return nil, "the server has too many connections, try again later"
	}
	return p, ""
}

// visit says why an address may not have another connection now, if so. The caller holds mu.
func (g *Keeper) visit(a netip.Addr, now time.Time, l *config.Limits) (v *visitor, refusal string) {
	g.sweep(now, l)
	v = g.from[a]
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
		refusal = "too many new connections from your address, wait a second"
	case v.conns >= l.ConnectionsPerAddress:
		refusal = "too many connections from your address"
	case v.strangers >= l.UnauthenticatedPerAddress:
		refusal = "too many connections from your address that have not logged in"
	}
	return v, refusal
}

// makeRoom says whether there is room for one more connection, and which one is to be closed for it, if any. The caller
// holds mu, and closes it without.
func (g *Keeper) makeRoom(now time.Time) (end net.Conn, ok bool) {
	if g.room == 0 || g.all < g.room {
		return nil, true
	}
	if g.log != nil && now.Sub(g.full) >= time.Minute {
		g.full = now
		g.log.Error("no file descriptors are left for another connection: strangers' are closed for new ones",
			"connections", g.all, "do", "raise the limit of open files (LimitNOFILE, ulimit -n)")
	}
	first := g.spare.Front()
	if first == nil {
		return nil, false
	}
	p := first.Value.(*Pass)
	p.leave()
	return p.conn, true
}

func (v *visitor) refill(now time.Time, l *config.Limits) {
	v.tokens = min(v.tokens+now.Sub(v.at).Seconds()*float64(l.ConnectRate), float64(l.ConnectBurst))
	v.at = now
}

// Known takes note that the connection has authenticated.
func (p *Pass) Known() {
	if p == nil {
		return
	}
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	if p.gone || p.known {
		return
	}
	p.known = true
	if v := p.g.from[p.addr]; v != nil {
		v.strangers--
	}
	p.sort()
}

// Authenticated says whether Known has been called.
func (p *Pass) Authenticated() bool {
	if p == nil {
		return false
	}
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	return p.known
}

// Carry takes note that the connection is to carry a stream from here on, of somebody who has yet to authenticate,
// whatever requests it has brought before. If a proxy has made it, it is counted by the stream's address from here on,
// unless that may not have another: the refusal says why.
func (p *Pass) Carry(a netip.Addr, l *config.Limits) (refusal string) {
	if p == nil {
		return ""
	}
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	if p.gone {
		return ""
	}
	if a = Neighbourhood(a); a != p.addr && !Exempt(a) {
		v, refusal := p.g.visit(a, time.Now(), l)
		if refusal != "" {
			return refusal
		}
		v.tokens--
		v.conns++
		p.uncount()
		p.addr, p.known = a, true // as a stranger it is counted below
	}
	if p.known {
		p.known = false
		if v := p.g.from[p.addr]; v != nil {
			v.strangers++
		}
	}
	p.sort()
	return ""
}

// Idle says whether nothing is lost if the connection is closed now, as between two requests.
func (p *Pass) Idle(is bool) {
	if p == nil {
		return
	}
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	if !p.gone && p.idle != is {
		p.idle = is
		p.sort()
	}
}

// sort puts the connection among those that may be ended, or takes it out. The caller holds the keeper's mu.
func (p *Pass) sort() {
	switch may := !p.known || p.idle; {
	case may && p.spare == nil:
		p.spare = p.g.spare.PushBack(p)
	case !may && p.spare != nil:
		p.g.spare.Remove(p.spare)
		p.spare = nil
	}
}

// Leave takes note that the connection has ended.
func (p *Pass) Leave() {
	if p == nil {
		return
	}
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	p.leave()
}

// leave is Leave for a caller that holds the keeper's mu.
func (p *Pass) leave() {
	if p.gone {
		return
	}
	p.gone = true
	g := p.g
	g.all--
	if p.spare != nil {
		g.spare.Remove(p.spare)
		p.spare = nil
	}
	p.uncount()
}

// uncount takes it from what its address has. The caller holds the keeper's mu.
func (p *Pass) uncount() {
	if v := p.g.from[p.addr]; v != nil {
		v.conns--
		if !p.known {
			v.strangers--
		}
	}
}

// Reserve takes room for a connection that the server opens itself. It says whether there is some; Release gives it
// back.
func (g *Keeper) Reserve() bool {
	g.mu.Lock()
	end, ok := g.makeRoom(time.Now())
	if ok {
		g.all++
	}
	g.mu.Unlock()
	if end != nil {
		_ = end.Close() // whoever serves it finds out
	}
	return ok
}

// Release gives back what Reserve took.
func (g *Keeper) Release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
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
