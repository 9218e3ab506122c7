package lookup

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// maxTargets is how many targets of a domain are used. A zone may list thousands.
	maxTargets = 16

	// maxAddresses is how many addresses of a target are tried, of each family: many
	// bad ones of one must not keep the good one of the other from being tried.
	maxAddresses = 4
)

// zone is what the SRV records of a domain say. With neither a reason nor records
// the domain has none, and is a host itself.
type zone struct {
	records []record
	reason  Reason // why there is no target; 0 if there is one
	err     error
}

// record is an SRV record of either service.
type record struct {
	host             string // without final dot, in lower case
	port             uint16
	priority, weight uint16
	direct           bool // of _xmpps-server
}

// service is the answer for one of the two services.
type service struct {
	records []record
	present bool // there are records, if only a "."
	dot     bool // the only record is ".": the service is not offered
	failed  bool // the DNS gave no answer
	err     error
}

// askZone asks for both services at once and mixes them (XEP-0368 §3).
func (f *Finder) askZone(ctx context.Context, name string) (zone, time.Duration) {
	direct := make(chan service, 1)
	go func() { direct <- f.askService(ctx, "xmpps-server", name) }()
	plain := f.askService(ctx, "xmpp-server", name)
	secure := <-direct

	keep := keepFound
	if plain.failed || secure.failed {
		keep = keepFailed
	}
	records := append(secure.records, plain.records...)
	switch {
	case len(records) > 0:
		return zone{records: f.order(records)}, keep
	case plain.failed || secure.failed:
		// RFC 6120 §3.2.1 would have us fall back when no answer comes. The host of the
		// same name is often another one, and what is sent can wait for the DNS.
		return zone{reason: LookupFailed, err: errors.Join(secure.err, plain.err)}, keepFailed
	case plain.dot || secure.dot:
		// One "." and no record of the other service: no fallback either (XEP-0368 §3).
		return zone{reason: NoService}, keepMissing
	case plain.present || secure.present:
		return zone{reason: NoAddress, err: errors.New("no SRV record is usable")}, keepMissing
	}
	return zone{}, keepMissing
}

func (f *Finder) askService(ctx context.Context, name, domain string) service {
	// The final dot keeps the search domains of this machine out.
	_, found, err := f.resolver.LookupSRV(ctx, name, "tcp", domain+".")
	// With bad names left out there is an error beside the good ones.
	if len(found) == 0 && err != nil {
		return service{failed: !notFound(err), err: err}
	}
	s := service{present: len(found) > 0}
	for _, r := range found {
		host := strings.ToLower(strings.TrimSuffix(r.Target, "."))
		switch {
		case host == "":
			s.dot = true
		case r.Port != 0 && len(host) <= maxName:
			s.records = append(s.records, record{host, r.Port, r.Priority, r.Weight, name == "xmpps-server"})
		}
	}
	// Only alone does "." mean that there is no service (RFC 2782).
	s.dot = s.dot && len(found) == 1
	return s
}

// order returns no more than maxTargets of the records in the order in which to
// try them, each place once.
func (f *Finder) order(records []record) []record {
	rest := slices.Clone(records)
	// Chance decides between records without weight too, which the sums below do not.
	for i := len(rest) - 1; i > 0; i-- {
		j := f.intN(i + 1)
		rest[i], rest[j] = rest[j], rest[i]
	}
	// In each priority those without weight come first (RFC 2782, "Weight").
	slices.SortStableFunc(rest, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(min(a.weight, 1), min(b.weight, 1)))
	})
	var chosen []record
	for len(rest) > 0 && len(chosen) < maxTargets {
		r := rest[f.pick(rest)]
		chosen = append(chosen, r)
		rest = slices.DeleteFunc(rest, func(o record) bool {
			return o.host == r.host && o.port == r.port && o.direct == r.direct
		})
	}
	return chosen
}

// pick chooses one of the records of the first priority: the first whose running
// sum of weights reaches a random number from 0 to the whole sum (RFC 2782).
func (f *Finder) pick(records []record) int {
	equal, sum := 0, 0
	for equal < len(records) && records[equal].priority == records[0].priority {
		sum += int(records[equal].weight)
		equal++
	}
	n := f.intN(sum + 1)
	for i, r := range records[:equal] {
		if n -= int(r.weight); n <= 0 {
			return i
		}
	}
	return equal - 1
}

// host is a name to be looked up in one family.
type host struct {
	name    string
	network string // "ip4" or "ip6"
}

// hostAddrs are the addresses of a host in one family. Without any, err says why.
type hostAddrs struct {
	addrs []netip.Addr
	err   error
}

func (f *Finder) askHost(ctx context.Context, h host) (hostAddrs, time.Duration) {
	found, err := f.resolver.LookupNetIP(ctx, h.network, h.name+".")
	var usable []netip.Addr
	for _, ip := range found {
		ip = ip.Unmap()
		if isUsable(ip) && ip.Is4() == (h.network == "ip4") && len(usable) < maxAddresses {
			usable = append(usable, ip)
		}
	}
	switch {
	case len(usable) > 0:
		return hostAddrs{addrs: usable}, keepFound
	case err == nil:
		err = &net.DNSError{Err: "no usable address", Name: h.name, IsNotFound: true}
		return hostAddrs{err: err}, keepMissing
	case notFound(err):
		return hostAddrs{err: err}, keepMissing
	}
	return hostAddrs{err: err}, keepFailed
}

// isUsable leaves out what is no address of a server, and what the kernel would
// take for this machine.
func isUsable(ip netip.Addr) bool {
	return ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() &&
		ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
