package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// A Client is where a request comes from.
type Client struct {
	Addr      netip.Addr // invalid for a unix socket, unless it is a proxy that uses it
	Unix      bool       // over a unix socket
	Forwarded bool       // a trusted proxy says so
	// Scheme is what the client spoke to the trusted proxy, as that says: "https"; "" where nobody says anything.
	Scheme string
}

// ClientOf reads the address of the peer, or what trusted proxies say of theirs. Whoever may use a unix socket is
// trusted.
func ClientOf(r *http.Request, trusted []netip.Prefix) Client {
	c := Client{}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil { // no address
		c.Unix = true
	} else if c.Addr = ap.Addr().Unmap().WithZone(""); !within(trusted, c.Addr) {
		return c
	}
	c.Scheme = strings.ToLower(strings.TrimSpace(r.Header.Get("X-Forwarded-Proto")))
	hops := r.Header["X-Forwarded-For"]
	if len(hops) == 0 {
		return c
	}
	c.Forwarded = true
	// Each proxy adds the address it saw at the end, so that what a client made up stands before the first address that
	// no proxy of ours has.
	list := strings.Split(strings.Join(hops, ","), ",")
	for _, hop := range slices.Backward(list) {
		h, ok := hopAddr(strings.TrimSpace(hop))
		if !ok {
			break
		}
		if h.IsLoopback() && !c.Addr.IsLoopback() { // whoever says so is not here, and neither is who asked him
			break
		}
		if c.Addr = h; !within(trusted, h) {
			break
		}
	}
	return c
}

// Protected says whether what passes may be a password: under TLS of ours or of a proxy, and else as for posts, which a
// listener in clear takes wherever the configuration lets it be (config, checkOpen).
func (c Client) Protected(r *http.Request) bool {
	return r.TLS != nil || c.Scheme == "" || c.Scheme == "https" || c.Scheme == "wss"
}

func hopAddr(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Unmap().WithZone(""), true
	}
	ap, err := netip.ParseAddrPort(s)
	return ap.Addr().Unmap().WithZone(""), err == nil
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}
