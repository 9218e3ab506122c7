// Package doctor examines a domain from the outside, as a client and a peer would find it: from the DNS inwards to the
// ports, their TLS and certificates, and what browsers look for. Each finding says what was seen, why that matters and
// what to add or change.
//
// It follows RFC 6120 §3.2 and XEP-0368 (records), RFC 7590 and RFC 9525 (TLS and certificates), XEP-0156 (host-meta),
// RFC 7395 and XEP-0206 (WebSocket and BOSH), XEP-0363 (files), XEP-0401 (the page of invitations), XEP-0178 and
// XEP-0220 (another server, and back), RFC 8489 (the relay for calls), RFC 8659 and RFC 7673 (records CAA and TLSA).
// What it reads from others is bounded. Nothing is changed and nothing is sent that a login would need.
//
// Left out: what a firewall does to others, since all that can be seen here is what it does to this machine; checking
// the signatures of the DNS, which is left to the name server that is asked.
package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/idna"

	"jackdaw/calls"
	"jackdaw/config"
)

// A Level says how bad a finding is.
type Level string

// The levels.
const (
	Good    Level = "good"
	Note    Level = "note"    // what was not shown, and how to see it
	Warning Level = "warning" // it works, and not for everybody or not for long
	Wrong   Level = "wrong"
)

// A Finding is what was seen of one thing.
type Finding struct {
	Level  Level  `json:"level"`
	Domain string `json:"domain"`
	What   string `json:"what"`
	Why    string `json:"why,omitempty"` // that matters; of what is not good
	Do     string `json:"do,omitempty"`  // the record or setting to add; likewise
}

// A Resolver is what is used of *net.Resolver.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, records []*net.SRV, err error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupCNAME(ctx context.Context, host string) (string, error)
}

// Options of Examine.
type Options struct {
	// Domain is what is examined, in any spelling.
	Domain string
	// Config is that of the server which serves the domain; nil if only the outside is known of it.
	Config *config.Config

	Resolver Resolver       // nil: net.DefaultResolver
	Ask      Asker          // nil: the name servers of the system
	Roots    *x509.CertPool // nil: those of the system

	// Peer is another server to speak with; "": none. Certificate is what the domain shows to it; it may be nil.
	Peer        string
	Certificate *tls.Certificate
	// Issued are the certificates that come by themselves, if the server has any.
	Issued []Issued
	// Files is the URL below which clients put and find files; "": none is known.
	Files string
	// Invitations is the URL below which the pages of invitations are; "": nobody reaches them.
	Invitations string
	// Calls says where the relay for calls is; nil looks at this machine.
	Calls func(context.Context, *config.Calls) *calls.Place
	// Machine is the one that the domain's server runs on, if this is it.
	Machine *Machine

	// Dial connects; nil for that of a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Now  func() time.Time // nil: time.Now
}

// patience is how long one connection may take, with all that is said on it.
const patience = 10 * time.Second

// An examination is one run of Examine.
type examination struct {
	Options
	host  string // of the configuration, above the domain if that is one of its services
	name  string // of the domain in the DNS
	found []Finding
	at    []spot // in the order in which they were looked up
	date  string // of the first answer over HTTPS that has one
}

// A spot is an address that a name of the DNS has.
type spot struct {
	host string
	ip   netip.Addr
}

// Examine looks at a domain. It returns what it has found, from the DNS inwards; when ctx ends before, what is left is
// reported as unreachable.
func Examine(ctx context.Context, o Options) []Finding {
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Ask == nil {
		o.Ask = askSystem
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &examination{Options: o, host: o.Domain, name: o.Domain}
	if !e.named() {
		if o.Machine != nil {
			e.machine(ctx)
		}
		return e.found
	}
	var parts []part
	for _, s := range e.services() {
		parts = append(parts, func(e *examination) { e.service(ctx, s) })
	}
	if o.Config != nil {
		for _, sub := range beneath(o.Config, o.Domain) {
			if sub.federated {
				parts = append(parts, func(e *examination) { e.room(ctx, sub.name) })
			}
		}
	}
	parts = append(parts, (*examination).issued, func(e *examination) { e.web(ctx) },
		func(e *examination) { e.files(ctx) }, func(e *examination) { e.invitations(ctx) },
		func(e *examination) { e.authorities(ctx) }, func(e *examination) { e.calls(ctx) })
	if o.Peer != "" {
		parts = append(parts, func(e *examination) { e.peer(ctx) })
	}
	if o.Machine != nil {
		parts = append(parts, func(e *examination) { e.machine(ctx) })
	}
	e.together(parts)
	e.places()
	return e.found
}

// A part of an examination waits for none of the others.
type part func(*examination)

// together does all parts at once, and joins what they find in their order.
func (e *examination) together(parts []part) {
	each := make([]examination, len(parts))
	var all sync.WaitGroup
	for i, do := range parts {
		each[i] = examination{Options: e.Options, host: e.host, name: e.name}
		all.Go(func() { do(&each[i]) })
	}
	all.Wait()
	for _, one := range each {
		e.found, e.at = append(e.found, one.found...), append(e.at, one.at...)
	}
}

// room examines a domain below the host, to which users of other servers come.
func (e *examination) room(ctx context.Context, domain string) {
	name, err := ascii(domain)
	if err != nil {
		e.add(Finding{Level: Wrong, What: err.Error(), Why: "nobody can look it up", Do: "choose another modules.muc.domain"})
		return
	}
	e.Domain, e.name = domain, name
	for _, s := range e.services() {
		if s.server {
			e.service(ctx, s)
		}
	}
}

// Worst is the level of the worst finding.
func Worst(found []Finding) Level {
	for _, l := range []Level{Wrong, Warning} {
		if slices.ContainsFunc(found, func(f Finding) bool { return f.Level == l }) {
			return l
		}
	}
	return Good
}

// named finds the domain's name in the DNS, and says so if others cannot find it there.
func (e *examination) named() bool {
	if _, err := netip.ParseAddr(strings.Trim(e.Domain, "[]")); err == nil {
		e.add(Finding{Level: Warning, What: "the domain is an address", Why: "records and certificates are made for names",
			Do: "serve a name of the DNS under hosts in the configuration"})
		return false
	}
	name, err := idna.Lookup.ToASCII(e.Domain)
	if err != nil {
		e.add(Finding{Level: Wrong, What: "the domain is no name of the DNS: " + err.Error(),
			Why: "nobody can look it up", Do: "serve a name of the DNS under hosts in the configuration"})
		return false
	}
	e.name = strings.TrimSuffix(name, ".")
	if e.name == "localhost" || strings.HasSuffix(e.name, ".localhost") { // RFC 6761 §6.3
		e.add(Finding{Level: Warning, What: "the domain is for this machine alone",
			Why: "no other machine looks it up", Do: "serve a name of the DNS under hosts in the configuration"})
		return false
	}
	return true
}

func (e *examination) add(f Finding) {
	f.Domain = e.Domain
	e.found = append(e.found, f)
}

func (e *examination) good(what string) { e.add(Finding{Level: Good, What: what}) }

// within bounds one connection.
func (e *examination) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, patience)
}
