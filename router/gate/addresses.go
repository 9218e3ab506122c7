package gate

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// shared is what providers give to several customers at a time (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// Addresses are those of this machine that everybody can reach as far as it knows, without those that change by the
// hour. Behind a router that translates addresses there are none.
func Addresses() (list []netip.Addr) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	passing := temporary()
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := p.Addr().Unmap()
		if ip.IsGlobalUnicast() && !ip.IsPrivate() && !shared.Contains(ip) && !slices.Contains(passing, ip) {
			list = append(list, ip)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// temporary are the addresses of IPv6 that the system gives up again (RFC 8981); none where it does not say so.
func temporary() (list []netip.Addr) {
	f, err := os.Open("/proc/net/if_inet6")
	if err != nil {
		return nil
	}
	defer f.Close()
	// A line is: address, index, length of the prefix, scope, flags, device; in hexadecimal.
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 5 || len(fields[0]) != 32 {
			continue
		}
		flags, err := strconv.ParseUint(fields[4], 16, 32)
		const passing = 0x01 | 0x20 // IFA_F_TEMPORARY, IFA_F_DEPRECATED
		if err != nil || flags&passing == 0 {
			continue
		}
		var groups []string
		for part := range slices.Chunk([]byte(fields[0]), 4) {
			groups = append(groups, string(part))
		}
		if a, err := netip.ParseAddr(strings.Join(groups, ":")); err == nil {
			list = append(list, a)
		}
	}
	return list
}
