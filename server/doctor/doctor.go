// Package doctor examines a domain from the outside, as a client and a peer would find it: from the DNS inwards to the
// ports, their TLS and certificates, and what browsers look for. Each finding says what was seen, why that matters and
// what to add or change.
//
// It follows RFC 6120 §3.2 and XEP-0368 (records), RFC 7590 and RFC 9525 (TLS and certificates), XEP-0156 (host-meta),
// RFC 7395 and XEP-0206 (WebSocket and BOSH). What it reads from others is bounded. Nothing is changed and nothing is
// sent that a login would need.
//
// Left out: what only the running server knows, such as its storage; registrations of TLSA, since there is no resolver
// that checks DNSSEC.
package doctor

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"jackdaw/config"
)

// A Level says how bad a finding is.
type Level string

// The levels.
const (
	Good    Level = "good"
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
	Roots    *x509.CertPool // nil: those of the system
	// Dial connects; nil for that of a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Now  func() time.Time // nil: time.Now
}

// patience is how long one connection may take, with all that is said on it.
const patience = 10 * time.Second

// An examination is one run of Examine.
type examination struct {
	Options
	name  string // of the domain in the DNS
	found []Finding
}

// Examine looks at a domain. It returns what it has found, in the order in which it looked; when ctx ends before, what
// is left is reported as unreachable.
func Examine(ctx context.Context, o Options) []Finding {
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &examination{Options: o, name: o.Domain}
	if !e.named() {
		return e.found
	}
	for _, s := range e.services() {
		e.service(ctx, s)
	}
	e.web(ctx)
	return e.found
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
