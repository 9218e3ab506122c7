package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"

	"jackdaw/calls"
)

// calls asks the relay for calls over each way that clients are told of, as they would (RFC 8489 §2).
func (e *examination) calls(ctx context.Context) {
	if e.Config == nil || !e.Config.Calls.Enabled {
		return
	}
	c := &e.Config.Calls
	find := calls.Here
	if e.Calls != nil {
		find = e.Calls
	}
	place := find(ctx, c)
	if place.Why != "" {
		e.add(Finding{Level: Warning, What: "clients are not told of the relay for calls: " + place.Why,
			Why: "calls between clients that do not reach each other stay silent",
			Do:  `name the address that leads here: calls: {addresses: ["192.0.2.7"]}, and forward its ports if a router is on the way`})
		return
	}
	const why = "calls of clients behind this kind of firewall stay silent"
	for _, a := range place.Addresses() {
		for _, port := range place.Ports(c.Listen, a) {
			for _, network := range []string{"udp", "tcp"} {
				at := net.JoinHostPort(a.String(), strconv.Itoa(port))
				if err := e.bound(ctx, network, at, ""); err != nil {
					e.add(Finding{Level: Wrong, Why: why,
						What: fmt.Sprintf("the relay for calls does not answer at %s of %s: %v", at, network, err),
						Do:   fmt.Sprintf("open the port in the firewall: ufw allow %d/%s; behind a router forward it", port, network)})
					continue
				}
				e.good(fmt.Sprintf("the relay for calls answers at %s of %s", at, network))
			}
		}
	}
	if name, err := ascii(callsHost(c.Host, e.host)); err == nil {
		for _, port := range Ports(e.Config.Listen.TLS) {
			at := net.JoinHostPort(name, strconv.Itoa(int(port)))
			if err := e.bound(ctx, "tcp", at, name); err != nil {
				e.add(Finding{Level: Wrong, What: fmt.Sprintf("the relay for calls does not answer at %s with TLS: %v", at, err),
					Why: "calls of clients in networks that let only such ports through stay silent",
					Do:  "say in calls.host which name leads here and is in a certificate, or have the proxy there pass TLS through"})
				continue
			}
			e.good(fmt.Sprintf("the relay for calls answers at %s with TLS", at))
		}
	}
	e.add(Finding{Level: Note,
		What: fmt.Sprintf("whether the UDP ports %d to %d of the relay for calls are open shows in calls alone",
			c.Ports.First, c.Ports.Last),
		Why: "what is relayed comes by them", Do: fmt.Sprintf("open them: ufw allow %d:%d/udp", c.Ports.First, c.Ports.Last)})
}

func callsHost(configured, host string) string {
	if configured != "" {
		return configured
	}
	return host
}

// bound asks for the address with which a relay sees this machine; with a name over TLS.
func (e *examination) bound(ctx context.Context, network, at, name string) error {
	ctx, cancel := e.within(ctx)
	defer cancel()
	dial := e.Dial
	if name != "" {
		dial = e.dialName
	}
	c, err := dial(ctx, network, at)
	if err != nil {
		return err
	}
	defer c.Close()
	if name != "" {
		t := tls.Client(c, &tls.Config{ServerName: name, RootCAs: e.Roots, Time: e.Now, NextProtos: []string{calls.ALPN},
			MinVersion: tls.VersionTLS12})
		if err := t.HandshakeContext(ctx); err != nil {
			return err
		}
		c = t
	}
	_, err = calls.Bind(ctx, c)
	return err
}
