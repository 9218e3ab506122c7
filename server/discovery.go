package server

import (
	"net/url"
	"strings"

	"jackdaw/config"
	"jackdaw/modules/hostmeta"
	"jackdaw/web"
)

// The priorities of ways, of which the lowest comes first: what costs a client least.
const (
	ownPort    = 10
	sharedPort = 20
	bySocket   = 30
	byRequests = 40
)

// hostMeta is what is told over HTTP of the ways to connect to a host of this name, as HTTP writes it; false where
// there is none.
func (h *house) hostMeta(name string) (hostmeta.Host, bool) {
	c := h.cfg.Load()
	for _, host := range c.Hosts {
		if ascii, err := asciiName(host.Domain); err == nil && ascii == name {
			m := &c.Modules.HostMeta
			return hostmeta.Host{Links: links(c, &c.Listen, host.Domain, ascii), Addresses: m.Addresses, TTL: m.TTL,
				Pins: m.Pins}, true
		}
	}
	return hostmeta.Host{}, false
}

// links are the ways that are open, and none besides.
func links(c *config.Config, l *config.Listen, host, name string) (all []hostmeta.Link) {
	ports := func(rel string, addrs []string, priority int) {
		for _, addr := range addrs {
			if port := publicPort(addr, host); port != 0 {
				all = append(all, hostmeta.Link{Rel: rel, Port: port, Name: name, Priority: priority})
			}
		}
	}
	if len(c.Modules.HostMeta.Addresses) > 0 {
		ports(hostmeta.TLS, l.C2STLS, ownPort)
		ports(hostmeta.TLS, l.TLS, sharedPort)
		if c.Federates() {
			ports(hostmeta.ServerTLS, l.S2STLS, ownPort)
			ports(hostmeta.ServerTLS, l.TLS, sharedPort)
		}
	}
	// XEP-0156 §2.2: over TLS alone.
	at, ok := strings.CutPrefix(publicURL(c, host, l), "https://")
	u, err := url.Parse("https://" + at)
	if !ok || err != nil {
		return all
	}
	if c.Web.WebSocket {
		all = append(all, hostmeta.Link{Rel: hostmeta.WebSocket, URL: "wss://" + at + web.PathWebSocket,
			Name: u.Hostname(), Priority: bySocket})
	}
	if c.Web.BOSH {
		all = append(all, hostmeta.Link{Rel: hostmeta.BOSH, URL: "https://" + at + pathBOSH, Name: u.Hostname(),
			Priority: byRequests})
	}
	return all
}
