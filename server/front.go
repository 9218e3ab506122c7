package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"jackdaw/config"
	"jackdaw/web"
	"jackdaw/wire/front"
	"jackdaw/xmpp"
)

// newFront makes what stands on the port that all share. Parts that it has connections taken by are there.
func (h *house) newFront() *front.Server {
	o := front.Options{
		Clients: &front.Protocol{Names: []string{xmpp.ALPNClient}, TLS: h.clients.TLS(), Take: h.clients.Take},
		Web:     &front.Protocol{Names: web.Protocols, TLS: web.TLS(h.certs.TLSConfig()), Take: h.web.Take},
		Others:  []*front.Protocol{h.challengeProtocol()},
		Under:   web.Under, Gate: h.gate, Log: h.o.Log,
		Limits: func() *config.Limits { return &h.cfg.Load().Limits },
	}
	if h.relay != nil {
		o.Others = append(o.Others, h.turnProtocol())
	}
	if h.peering != nil {
		o.Peers = &front.Protocol{Names: []string{xmpp.ALPNServer}, TLS: h.peering.TLS(), Take: h.peering.Take}
	}
	return front.New(o)
}

// front exports what came to the port that all share; nil: there is none.
func (m *metrics) front(f *front.Server) {
	if f == nil {
		return
	}
	for _, p := range f.Protocols() {
		m.counter("jackdaw_shared_connections_total", "Connections to listen.tls by what they were for.",
			prometheus.Labels{"protocol": p.Names[0]}, p.Taken)
	}
	m.counters([]counter{
		{"jackdaw_shared_connections_refused_total", "Connections to listen.tls refused by the limits of their address.",
			f.Stats.Refused.Load},
		{"jackdaw_shared_connections_failed_total", "Connections to listen.tls that were nobody's.", f.Stats.Failed.Load},
		{"jackdaw_shared_panics_total", "Panics recovered while finding out whose a connection is; should be 0.",
			f.Stats.Panics.Load},
	})
}
