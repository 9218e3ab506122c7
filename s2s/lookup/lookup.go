// Package lookup finds the server of a peer and connects to it: SRV records of
// _xmpps-server and _xmpp-server mixed (RFC 6120 §3.2.1, RFC 2782, XEP-0368 §3),
// else the addresses of the domain itself (RFC 6120 §3.2.2), each target by Happy
// Eyeballs (RFC 8305). It knows no TLS and no XMPP stream: whether what answers is
// the peer is for others to prove, since nothing here is proved by DNS.
//
// Names are always asked for as absolute ones, so that no search domain of this
// machine can stand in for a peer.
//
// Left out: DNSSEC, DANE and POSH; the TTL of records, which the resolver of the
// standard library does not tell (see keepFound); a limit on how many lookups run
// at once, since a common limit would let stuck domains delay the others: whoever
// dials bounds how many it dials.
package lookup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// defaultPort is for domains without SRV records (RFC 6120 §3.2.2).
const defaultPort = 5269

const (
	// queryTimeout bounds both SRV queries of a domain together, and each query for
	// addresses.
	queryTimeout = 10 * time.Second

	// maxName is the longest name of the DNS in text without the final dot.
	maxName = 253
)

// Resolver is what is used of *net.Resolver. It may be called by any number of
// goroutines, gets absolute names only, and must heed its context.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, records []*net.SRV, err error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options are what a Finder needs; the zero value works. The functions may be
// called by any number of goroutines.
type Options struct {
	// Resolve returns where the peer of a domain is, instead of DNS: "HOST:PORT"
	// for STARTTLS, "tls:HOST:PORT" for direct TLS. It is asked each time and its
	// answer is not kept. A HOST that is a name is looked up, as an absolute one.
	Resolve func(domain string) (addr string, ok bool)

	Resolver Resolver // nil: net.DefaultResolver

	// Dialer connects; nil for that of a net.Dialer. The address is an IP address
	// and a port.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)

	Now  func() time.Time // nil: time.Now
	IntN func(n int) int  // chooses by weight, in [0,n); nil: math/rand/v2.IntN
}

// Finder finds peers and remembers what the DNS said. It has nothing to be
// closed: what runs for a caller ends with the caller's context.
type Finder struct {
	resolve  func(domain string) (string, bool)
	resolver Resolver
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	intN     func(n int) int
	zones    *cache[string, zone]    // by A-label
	hosts    *cache[host, hostAddrs] // addresses of targets, by family
}

// Target is a place where the peer of a domain may be.
type Target struct {
	Domain    string // the peer's, as it was asked for
	Host      string // an A-label name without final dot, or an IP address
	Port      uint16
	DirectTLS bool // TLS at once (XEP-0368), else STARTTLS

	fallback bool // the domain itself, for want of SRV records
}

// String returns host:port, for logs.
func (t Target) String() string {
	return net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
}

// Conn is a connection to what may be the peer. It belongs to the caller.
type Conn struct {
	net.Conn
	DirectTLS bool
	Target    string // host:port, for logs
}

// New returns a Finder that knows nothing yet.
func New(o Options) *Finder {
	f := &Finder{resolve: o.Resolve, resolver: o.Resolver, dial: o.Dialer, intN: o.IntN}
	if f.resolver == nil {
		f.resolver = net.DefaultResolver
	}
	if f.dial == nil {
		f.dial = (&net.Dialer{}).DialContext
	}
	if f.intN == nil {
		f.intN = rand.IntN
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	f.zones = newCache(now, f.askZone)
	f.hosts = newCache(now, f.askHost)
	return f
}

// Dial connects to the first target of the domain that accepts, trying one after
// the other. domain is in U-labels, as jid.JID.Domain returns it. The time it takes
// is bounded for each target, and as a whole only by ctx. The error is an *Error.
func (f *Finder) Dial(ctx context.Context, domain string) (*Conn, error) {
	targets, err := f.Targets(ctx, domain)
	if err != nil {
		return nil, err
	}
	var worst error
	for _, t := range targets {
		c, err := f.DialTarget(ctx, t)
		if err == nil {
			return c, nil
		}
		worst = Worse(worst, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, worst
}

// Targets returns where the peer of a domain may be, in the order in which to try:
// by priority, and among equals by weighted chance, so that two calls may differ
// (RFC 2782). There is at least one and no more than maxTargets. The slice belongs
// to the caller. The error is an *Error.
func (f *Finder) Targets(ctx context.Context, domain string) ([]Target, error) {
	if f.resolve != nil {
		if addr, ok := f.resolve(domain); ok {
			t, err := parseOverride(domain, addr)
			if err != nil {
				return nil, &Error{NoAddress, domain, err}
			}
			return []Target{t}, nil
		}
	}
	if ip, ok := literal(domain); ok {
		return []Target{{Domain: domain, Host: ip.String(), Port: defaultPort}}, nil
	}
	name, err := asciiName(domain)
	if err != nil {
		return nil, &Error{NameNotFound, domain, err}
	}
	z, err := f.zones.get(ctx, name)
	switch {
	case err != nil:
		return nil, &Error{LookupFailed, domain, err}
	case z.reason != 0:
		return nil, &Error{z.reason, domain, z.err}
	case len(z.records) == 0:
		return []Target{{Domain: domain, Host: name, Port: defaultPort, fallback: true}}, nil
	}
	var targets []Target
	for _, r := range f.order(z.records) {
		targets = append(targets, Target{Domain: domain, Host: r.host, Port: r.port, DirectTLS: r.direct})
	}
	return targets, nil
}

func parseOverride(domain, addr string) (Target, error) {
	rest, direct := strings.CutPrefix(addr, "tls:")
	name, service, err := net.SplitHostPort(rest)
	if err != nil {
		return Target{}, fmt.Errorf("override %q: %w", addr, err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 {
		return Target{}, fmt.Errorf("override %q: no port", addr)
	}
	if _, ok := literal(name); !ok {
		if name, err = asciiName(name); err != nil {
			return Target{}, fmt.Errorf("override %q: %w", addr, err)
		}
	}
	return Target{Domain: domain, Host: name, Port: uint16(port), DirectTLS: direct}, nil
}

// literal reads an IP address, with or without the brackets that an IPv6 one has
// as a domain (RFC 7622 §3.2). A zone is for this machine to know and not for an address
// that others write.
func literal(s string) (netip.Addr, bool) {
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		s = s[1 : len(s)-1]
	}
	ip, err := netip.ParseAddr(s)
	return ip.Unmap(), err == nil && ip.Zone() == ""
}

// asciiName is the form in which the DNS knows a domain (RFC 5891 §4.4).
func asciiName(domain string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(domain, "."))
	// What is ASCII already is asked for as it is: IDNA would refuse hyphens and
	// underscores that hosts of others have. What no name can hold, the resolver refuses.
	if strings.ContainsFunc(name, func(c rune) bool { return c >= utf8.RuneSelf }) {
		var err error
		if name, err = idna.Lookup.ToASCII(name); err != nil {
			return "", err
		}
	}
	if name == "" || len(name) > maxName {
		return "", errors.New("no name of the DNS")
	}
	return name, nil
}
