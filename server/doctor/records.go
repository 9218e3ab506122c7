package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"jackdaw/xmpp"
)

// A service is one of the four that have records of their own (RFC 6120 §3.2.1, XEP-0368 §3).
type service struct {
	label  string // in the record, without the underscore: "xmpp-client"
	who    string // looks for it, in words
	alpn   string // of its TLS; "" for STARTTLS
	server bool   // for other servers
	usual  uint16 // port that is tried without a record; 0: none is
	// ports are those on which the configuration has the service listen beyond this machine; nil: it is not known or has
	// none.
	ports []uint16
	known bool // the configuration of the server is known
}

// services are those that may be looked for, with what the configuration says of each.
func (e *examination) services() []service {
	all := []service{
		{label: "xmpp-client", who: "clients", usual: 5222},
		{label: "xmpps-client", who: "clients that begin with TLS", alpn: xmpp.ALPNClient},
		{label: "xmpp-server", who: "other servers", server: true, usual: 5269},
		{label: "xmpps-server", who: "other servers that begin with TLS", alpn: xmpp.ALPNServer, server: true},
	}
	if e.Config == nil {
		return all
	}
	l := &e.Config.Listen
	peers := l.S2STLS
	if e.Config.Federates() {
		peers = slices.Concat(peers, l.TLS)
	}
	for i, addrs := range [][]string{l.C2S, slices.Concat(l.C2STLS, l.TLS), l.S2S, peers} {
		all[i].known, all[i].ports = true, Ports(addrs)
	}
	return all
}

// Ports are those of addresses to listen on that others can reach, in their order.
func Ports(addrs []string) (list []uint16) {
	for _, addr := range addrs {
		host, port, err := net.SplitHostPort(addr)
		n, bad := strconv.ParseUint(port, 10, 16)
		if err != nil || bad != nil || n == 0 {
			continue
		}
		if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
			list = append(list, uint16(n))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// A target is where a service is to be found.
type target struct {
	host string // a name of the DNS
	port uint16
}

func (t target) String() string { return net.JoinHostPort(t.host, strconv.Itoa(int(t.port))) }

// service examines the records of one service, then each place that they name.
func (e *examination) service(ctx context.Context, s service) {
	owner := "_" + s.label + "._tcp." + e.name
	_, records, err := e.Resolver.LookupSRV(ctx, s.label, "tcp", e.name+".")
	switch {
	case err != nil && !missing(err):
		e.add(Finding{Level: Wrong, What: "the DNS does not answer for " + owner + ": " + err.Error(),
			Why: s.who + " may not find the domain", Do: "see to the name servers of " + e.name})
		return
	case len(records) == 1 && strings.TrimSuffix(records[0].Target, ".") == "":
		e.refused(s, owner)
		return
	case len(records) == 0:
		e.unlisted(ctx, s, owner)
		return
	}
	slices.SortStableFunc(records, func(a, b *net.SRV) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range records[:min(len(records), 8)] {
		t := target{strings.ToLower(strings.TrimSuffix(r.Target, ".")), r.Port}
		if len(s.ports) > 0 && !slices.Contains(s.ports, t.port) {
			e.add(Finding{Level: Warning, What: fmt.Sprintf("%s names port %d, and this server listens on %s for that",
				owner, t.port, numbers(s.ports)),
				Why: s.who + " come to that port, which works only if something forwards it",
				Do:  "forward the port, or change the record: " + record(owner, s.ports[0], t.host)})
		}
		e.place(ctx, s, owner, t)
	}
}

// refused is for the one record that says that there is no such service (RFC 2782, "Target").
func (e *examination) refused(s service, owner string) {
	if len(s.ports) == 0 {
		e.good(owner + " says that there is no such service")
		return
	}
	e.add(Finding{Level: Wrong, What: owner + " says that there is no such service, and this server has it",
		Why: s.who + " do not even try", Do: "change the record: " + e.wanted(owner, s)})
}

// unlisted is for a service without a record.
func (e *examination) unlisted(ctx context.Context, s service, owner string) {
	switch {
	case s.known && len(s.ports) == 0:
		return // there is nothing to find
	case s.usual == 0: // direct TLS is found by its record alone
		if s.known {
			e.add(Finding{Level: Warning, What: "there is no record " + owner,
				Why: s.who + " do not find their port", Do: "add the record: " + e.wanted(owner, s)})
		}
		return
	case s.known && !slices.Contains(s.ports, s.usual):
		e.add(Finding{Level: Wrong, What: fmt.Sprintf("there is no record %s, and this server listens on %s for that",
			owner, numbers(s.ports)),
			Why: fmt.Sprintf("without a record %s try port %d of %s", s.who, s.usual, e.name),
			Do:  "add the record: " + record(owner, s.ports[0], e.name)})
		return
	}
	if s.known {
		if addrs, err := e.Resolver.LookupNetIP(ctx, "ip", e.name+"."); err != nil || len(addrs) == 0 {
			e.add(Finding{Level: Wrong, What: "there is no record " + owner + ", and " + e.name + " has no address",
				Why: s.who + " do not find the server", Do: "add the record: " + e.wanted(owner, s)})
			return
		}
	}
	// RFC 6120 §3.2.2: the domain itself, on the usual port.
	e.place(ctx, s, e.name, target{e.name, s.usual})
}

// place examines one place of a service, which from names.
func (e *examination) place(ctx context.Context, s service, from string, t target) {
	if _, err := netip.ParseAddr(t.host); err == nil {
		e.add(Finding{Level: Wrong, What: from + " names an address, " + t.host, Why: "it must be a name (RFC 2782)",
			Do: "give the machine a name with an A or AAAA record, and use that"})
		return
	}
	canonical, err := e.Resolver.LookupCNAME(ctx, t.host+".")
	canonical = strings.ToLower(strings.TrimSuffix(canonical, "."))
	if err == nil && from != e.name && canonical != t.host {
		e.add(Finding{Level: Warning, What: from + " names " + t.host + ", which is an alias of " + canonical,
			Why: "a target must not be an alias (RFC 2782); some do not follow it", Do: "name " + canonical + " itself"})
	}
	addrs, err := e.Resolver.LookupNetIP(ctx, "ip", t.host+".")
	if err != nil || len(addrs) == 0 {
		e.add(Finding{Level: Wrong, What: t.host + " has no address",
			Why: s.who + " come here by " + from, Do: "add an A or AAAA record: " + e.addressLine(t.host)})
		return
	}
	var reached bool
	for _, ip := range addrs[:min(len(addrs), 4)] {
		e.at = append(e.at, spot{t.host, ip.Unmap()})
		reached = e.reach(ctx, s, t, ip.Unmap()) || reached
	}
	if reached {
		e.good(fmt.Sprintf("%s: %s reach %s", from, s.who, t))
	}
}

// wanted are the records to add for a service that the configuration has, as setup would print them.
func (e *examination) wanted(owner string, s service) string {
	at := Place{}
	if u, err := url.Parse(e.Config.HTTP.URL); err == nil && u.Hostname() != "" { // where setup has put the machine's name
		at.Machine = u.Hostname()
	}
	var lines []string
	records, _ := Zone(e.Config, e.host, at) // a host without a zone is of no name, which has been said
	for _, r := range records {
		if r.Owner == owner {
			lines = append(lines, r.String())
		}
	}
	if len(lines) == 0 {
		return record(owner, s.ports[0], e.name)
	}
	return strings.Join(lines, " and ")
}

// addressLine is the record to add for a host whose address is missing.
func (e *examination) addressLine(host string) string {
	if e.Machine != nil && len(e.Machine.Addresses) > 0 {
		return addressRecord(host, e.Machine.Addresses[0], "").String()
	}
	return strings.TrimPrefix(Record{Owner: host, Type: "A"}.String(), "; ")
}

// missing says that the DNS has answered: there is nothing of that name.
func missing(err error) bool {
	d, ok := errors.AsType[*net.DNSError](err)
	return ok && d.IsNotFound
}

func numbers(list []uint16) string {
	var words []string
	for _, n := range list {
		words = append(words, strconv.Itoa(int(n)))
	}
	return strings.Join(words, ", ")
}
