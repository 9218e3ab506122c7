package gate

import (
	"net/netip"
	"slices"
)

// special are the networks that are not for everybody's use (the IANA registries of special-purpose addresses, RFC
// 6890), beside those that netip knows.
var special = prefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4",
	"::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "5f00::/16", "fec0::/10",
)

// examples are the networks for documentation (RFC 5737, RFC 3849, RFC 9637).
var examples = prefixes("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052 §2.1: the last four bytes are an address of IPv4
	sixTo4 = netip.MustParsePrefix("2002::/16")    // RFC 3056 §2: bytes 2 to 5 are one
)

func prefixes(all ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(all))
	for i, p := range all {
		list[i] = netip.MustParsePrefix(p)
	}
	return list
}

// Public says whether an address is one of the Internet at large: no loopback, private, shared, link-local or multicast
// one, none that is reserved, and none that leads to such a one by another way of writing it.
func Public(a netip.Addr) bool {
	if a = a.Unmap().WithZone(""); !a.IsValid() {
		return false
	}
	switch b := a.As16(); {
	case nat64.Contains(a):
		return Public(netip.AddrFrom4([4]byte(b[12:16])))
	case sixTo4.Contains(a):
		return Public(netip.AddrFrom4([4]byte(b[2:6])))
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() {
		return false
	}
	return !within(special, a) && !Example(a)
}

// Example says whether an address is one for documentation, behind which nobody is.
func Example(a netip.Addr) bool { return within(examples, a.Unmap().WithZone("")) }

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}
