package server

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"time"

	"jackdaw/calls"
	"jackdaw/config"
	"jackdaw/modules/externalservices"
	"jackdaw/router"
	"jackdaw/wire/front"
	"jackdaw/xmpp/jid"
)

// newCalls makes the relay for calls, if there is to be one, and what tells users of it and of others.
func (h *house) newCalls(cfg *config.Config) (err error) {
	h.services = externalservices.New(externalservices.Options{Router: h.router, Log: h.o.Log,
		Services: h.externalServices,
		May: func(user jid.JID) (bool, error) {
			r, err := h.accounts.Rights(context.Background(), user)
			return err == nil && r.Active(), err
		}})
	if !cfg.Calls.Enabled {
		return nil
	}
	h.relay, err = calls.New(calls.Options{Derive: h.accounts.Derive, Realm: cfg.Hosts[0].Domain, Gate: h.gate,
		Settings: func() *config.Calls { return &h.cfg.Load().Calls },
		Limits:   func() *config.Limits { return &h.cfg.Load().Limits },
		Changed:  h.callsMoved, Log: h.o.Log,
		Account: func(ctx context.Context, user jid.JID) (time.Time, bool, error) {
			r, err := h.accounts.Rights(ctx, user)
			if err != nil {
				return time.Time{}, false, err
			}
			return r.Created(), r.Active() && h.router.Serves(user.Domain()), nil
		}})
	return err
}

// externalServicesModule tells users of services; it is named, and takes no part, while there are none.
func (h *house) externalServicesModule() router.Module {
	m := h.services.Module()
	has := func(of config.Host) bool { return len(h.externalServices(of.Domain)) > 0 }
	if !slices.ContainsFunc(h.cfg.Load().Hosts, has) {
		m.Features, m.IQ = nil, nil
	}
	return m
}

// callsMoved has users told of the relay where it is now.
func (h *house) callsMoved() {
	h.reloads.Lock()
	defer h.reloads.Unlock()
	h.router.Use(h.modules()...)
	h.services.Changed()
}

// lookForCalls has the relay found as the configuration now in force says. The caller holds reloads.
func (h *house) lookForCalls() {
	if h.relay != nil {
		h.running.Go(func() {
			h.relay.Look(context.Background())
			h.warnOfCalls()
			h.services.Changed()
		})
		return
	}
	h.services.Changed()
}

// listenForCalls opens the sockets of the relay and has it serve.
func (h *house) listenForCalls(cfg *config.Config) error {
	if h.relay == nil {
		return nil
	}
	listeners, err := h.sockets.open("calls", cfg.Calls.Listen)
	if err != nil {
		return err
	}
	var packets []net.PacketConn
	for i, ln := range listeners {
		// Where the port was chosen by the system, both are the same.
		p, err := net.ListenPacket("udp", ln.Addr().String())
		if err != nil {
			for _, p := range packets {
				_ = p.Close() // nothing has come by it
			}
			return fmt.Errorf("listen for calls on %s of UDP: %w; is another server running? Change 'calls.listen' in "+
				"the configuration", cfg.Calls.Listen[i], cause(err))
		}
		packets = append(packets, p)
		h.o.Log.Info("listening", "for", "calls", "address", ln.Addr(), "configured", cfg.Calls.Listen[i])
	}
	h.warnOfCalls()
	return h.relay.Serve(packets, listeners)
}

func (h *house) warnOfCalls() {
	if why := unheard(h.cfg.Load(), h.relay.Place()); why != "" {
		h.o.Log.Warn("clients are not told of the relay for calls", "reason", why)
	}
}

func (h *house) stopCalls() {
	if h.relay != nil {
		h.relay.Shutdown()
	}
}

// turnProtocol is that of the relay on the port that all share.
func (h *house) turnProtocol() *front.Protocol {
	return &front.Protocol{Names: []string{calls.ALPN, calls.ALPNDiscovery}, TLS: h.certs.TLSConfig(), Take: h.relay.Take,
		Begins: calls.Begins}
}

// externalServices are those that users of a host are told of: the relay of this server, and others.
func (h *house) externalServices(host string) (all []externalservices.Service) {
	cfg := h.cfg.Load()
	c := &cfg.Calls
	if h.relay != nil {
		own := func(user jid.JID) (externalservices.Credentials, error) {
			made, err := h.relay.Credentials(user)
			return externalservices.Credentials(made), err
		}
		for _, s := range relayServices(cfg, h.relay.Place(), host) {
			if s.Type != "stun" {
				s.Sign = own
			}
			all = append(all, s)
		}
	}
	for _, e := range c.External {
		s := externalservices.Service{Type: e.Type, Host: e.Host, Port: e.Port, Transport: e.Transport}
		if e.Secret != "" {
			s.Sign = func(user jid.JID) (externalservices.Credentials, error) { return h.sharedCredentials(user, e) }
		}
		all = append(all, s)
	}
	return all
}

// relayServices are the ways to the relay, which is at place, that users of a host find open.
func relayServices(cfg *config.Config, place *calls.Place, host string) (all []externalservices.Service) {
	at := place.Addresses()
	for _, a := range at {
		for _, port := range place.Ports(cfg.Calls.Listen, a) {
			// Who has the stun and the turn of one server needs no other (RFC 8656 §3.1), but some look for it.
			all = append(all,
				externalservices.Service{Type: "stun", Host: a.String(), Port: port, Transport: "udp"},
				externalservices.Service{Type: "turn", Host: a.String(), Port: port, Transport: "udp"},
				externalservices.Service{Type: "turn", Host: a.String(), Port: port, Transport: "tcp"})
		}
	}
	if name, err := asciiName(callsHost(&cfg.Calls, host)); err == nil && len(at) > 0 {
		for _, addr := range cfg.Listen.TLS {
			if port := publicPort(addr, host); port != 0 {
				all = append(all, externalservices.Service{Type: "turns", Host: name, Port: port, Transport: "tcp"})
			}
		}
	}
	return all
}

// unheard says why users are not told of a relay that has found where it is; empty if they are.
func unheard(cfg *config.Config, place *calls.Place) string {
	told := func(of config.Host) bool { return len(relayServices(cfg, place, of.Domain)) > 0 }
	if place.Why != "" || slices.ContainsFunc(cfg.Hosts, told) {
		return ""
	}
	return fmt.Sprintf("nothing that is sent to %v reaches a listener of calls.listen or listen.tls: name an address "+
		"there that others reach, or none", place.Addresses())
}

// callsHost is the name by which users of a host find the relay, for its certificate.
func callsHost(c *config.Calls, host string) string {
	if c.Host != "" {
		return c.Host
	}
	return host
}

// sharedCredentials makes credentials for a relay elsewhere with which a secret is shared: the username begins with the
// time at which they expire, and the password is its HMAC, as coturn with use-auth-secret wants it. Whose they are is
// the same word each time, by which the relay can count, and no name, since it goes over the wire in the clear.
func (h *house) sharedCredentials(user jid.JID, e config.ExternalService) (c externalservices.Credentials, err error) {
	secret, err := e.SharedSecret()
	if err != nil {
		return c, err
	}
	c.Expires = time.Now().Add(calls.Lifetime).Truncate(time.Second)
	who := h.accounts.Derive("calls", "external", user.Bare().String())
	c.Username = fmt.Sprintf("%d:%x", c.Expires.Unix(), who[:8])
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(c.Username)) // a hash never returns an error
	c.Password = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return c, nil
}

// calls exports what the relay counts; nil: there is none.
func (m *metrics) calls(r *calls.Server) {
	if r == nil {
		return
	}
	m.gauge("jackdaw_call_allocations", "Allocations of the relay for calls.",
		func() int64 { return int64(r.Allocations()) })
	c := &r.Stats
	m.counters([]counter{
		{"jackdaw_call_allocations_total", "Allocations made.", c.Created.Load},
		{"jackdaw_call_allocations_refused_total",
			"Allocations refused: the account or address had enough, or no port was left.", c.Full.Load},
		{"jackdaw_call_login_failures_total", "Requests to the relay with credentials that are not good.", c.Failed.Load},
		{"jackdaw_call_peers_refused_total", "Requests and packets for addresses that nothing is relayed to.", c.Closed.Load},
		{"jackdaw_call_bytes_up_total", "Bytes relayed from clients.", c.Up.Load},
		{"jackdaw_call_bytes_down_total", "Bytes relayed to clients.", c.Down.Load},
		{"jackdaw_call_packets_lost_total", "Packets dropped beyond calls.rate.", c.Lost.Load},
		{"jackdaw_call_strangers_dropped_total", "Packets of strangers that were not answered, since too many came.",
			c.Dropped.Load},
		{"jackdaw_call_connections_total", "Connections to the relay over TCP and TLS.", c.Connected.Load},
		{"jackdaw_call_connections_refused_total", "Of these, refused by the limits of their address.", c.Refused.Load},
	})
}

// CheckCalls warns if clients cannot be told of the relay for calls.
func CheckCalls(ctx context.Context, cfg *config.Config) (warnings []string) {
	if cfg.Calls.Enabled {
		p := calls.Here(ctx, &cfg.Calls)
		if why := cmp.Or(p.Why, unheard(cfg, p)); why != "" {
			warnings = append(warnings, "clients are not told of the relay for calls: "+why)
		}
	}
	for _, e := range cfg.Calls.External {
		if _, err := e.SharedSecret(); err != nil {
			warnings = append(warnings, err.Error())
		}
	}
	return warnings
}
