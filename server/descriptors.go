package server

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"jackdaw/config"
	"jackdaw/router/gate"
	"jackdaw/router/gate/proxied"
)

const (
	// leastReserve and mostReserve bound the file descriptors that connections never get: they are for the store,
	// files that are sent and received, hooks, questions to DNS and the commands of an administrator. Between the two
	// it is an eighth.
	leastReserve = 32
	mostReserve  = 1024
	// fewConnections is what a server for more than a family needs.
	fewConnections = 256
)

// boundConnections leaves descriptors for what the server itself opens. It comes when all that is open for long is
// open. A system that does not say how many there are has no bound.
func (h *house) boundConnections() {
	var limit syscall.Rlimit
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil || syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil || limit.Cur > 1<<30 {
		return
	}
	room := connectionRoom(int(limit.Cur), len(open))
	h.gate.Bound(room, h.o.Log)
	if room < fewConnections {
		h.o.Log.Warn("there is room for few connections", "connections", room, "open_files", limit.Cur,
			"do", "raise the limit of open files (LimitNOFILE, ulimit -n)")
		return
	}
	h.o.Log.Info("room for connections", "connections", room, "open_files", limit.Cur)
}

// connectionRoom is how many connections there may be with a limit of descriptors of which so many are in use.
func connectionRoom(limit, open int) int {
	return max(limit-open-min(max(limit/8, leastReserve), mostReserve), 8)
}

// proxied has the connections of a listener know their clients that come through a proxy, where the configuration says
// that its proxies name them.
func (h *house) proxied(ln net.Listener, name string) net.Listener {
	if _, tcp := ln.(*net.TCPListener); !tcp || !h.cfg.Load().ProxyProtocol.On(name) {
		return ln
	}
	return proxied.New(ln, proxied.Options{Who: name, Gate: h.gate, Log: h.o.Log,
		Trusted: func(a netip.Addr) bool { return h.cfg.Load().ProxyProtocol.Trusts(a) },
		Limits:  func() *config.Limits { return &h.cfg.Load().Limits }})
}

// gated has the connections of a listener for HTTP counted like all others. What comes through a trusted proxy comes
// from one address.
func (h *house) gated(ln net.Listener, who string, refuse func(net.Conn, string)) net.Listener {
	return &gate.Listener{Listener: ln, Who: who, Keeper: h.gate,
		Limits: func() *config.Limits { return &h.cfg.Load().Limits },
		Trusted: func(a netip.Addr) bool {
			return slices.ContainsFunc(h.cfg.Load().HTTP.TrustedProxies, func(p netip.Prefix) bool {
				return p.Contains(a)
			})
		}, Refuse: refuse, Log: h.o.Log}
}
