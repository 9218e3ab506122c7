package server

import (
	"context"
	"fmt"
	"net"

	"jackdaw/config"
	"jackdaw/modules/bytestreams"
	"jackdaw/xmpp/jid"
)

// newProxy makes the proxy for files between clients.
func (h *house) newProxy() {
	h.proxy = bytestreams.New(bytestreams.Options{Router: h.router, Gate: h.gate, Log: h.o.Log,
		Places:   func() []bytestreams.Place { return proxyPlaces(h.cfg.Load()) },
		Settings: func() *config.Bytestreams { return &h.cfg.Load().Modules.Bytestreams },
		Limits:   func() *config.Limits { return &h.cfg.Load().Limits },
		May: func(user jid.JID) (bool, error) {
			r, err := h.accounts.Rights(context.Background(), user)
			return err == nil && r.Active(), err
		}})
}

// proxyPlaces are the domains of the proxy, and where clients find it: none where no listener is known that they reach.
func proxyPlaces(c *config.Config) (all []bytestreams.Place) {
	b := &c.Modules.Bytestreams
	for _, h := range c.Hosts {
		domain, ok := c.ProxyDomain(h.Domain)
		name, err := asciiName(h.Domain)
		if !ok || err != nil {
			continue
		}
		if b.Host != "" {
			name = b.Host
		}
		for _, addr := range b.Listen {
			if port := publicPort(addr, h.Domain); port != 0 {
				all = append(all, bytestreams.Place{Domain: domain, Host: name, Port: port})
				break
			}
		}
	}
	return all
}

// listenForProxy opens the listeners of the proxy. Where it was off at the start it waits for a restart.
func (h *house) listenForProxy(cfg *config.Config) error {
	if !cfg.Modules.Enabled(bytestreams.Name) {
		return nil
	}
	b := &cfg.Modules.Bytestreams
	for _, addr := range b.Listen {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("listen for bytestreams on %s: %w; is another server running? Change "+
				"'modules.bytestreams.listen' in the configuration", addr, cause(err))
		}
		h.o.Log.Info("listening", "for", "bytestreams", "address", ln.Addr(), "configured", addr)
		h.running.Go(func() { h.logged("bytestreams", h.proxy.Serve(ln)) })
	}
	return nil
}

// proxy exports what the proxy counts.
func (m *metrics) proxy(c *bytestreams.Stats) {
	m.gauge("jackdaw_bytestreams_active", "Files on their way through the proxy.", c.Active.Load)
	m.counters([]counter{
		{"jackdaw_bytestreams_total", "Streams through the proxy.", c.Streams.Load},
		{"jackdaw_bytestream_bytes_total", "Bytes passed on by the proxy.", c.Bytes.Load},
		{"jackdaw_bytestream_connections_refused_total", "Connections to the proxy refused by the limits of their address.",
			c.Refused.Load},
	})
}
