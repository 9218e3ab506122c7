package calls

import (
	"net/netip"

	"jackdaw/router/gate"
)

var (
	// unicast is all of IPv6 that is routed (RFC 4291 §2.4). NAT64 (RFC 6052) is outside of it.
	unicast = netip.MustParsePrefix("2000::/3")
	sixTo4  = netip.MustParsePrefix("2002::/16") // RFC 3056
)

// Public says whether everybody may reach an address, as far as the address tells: it is the only kind that is relayed
// to, and that a relay is announced at. What has an address of IPv4 hidden in it is none, though that may be public: it
// may be that of this machine. Networks for documentation are; nobody is behind them.
func Public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.Is6() && (!unicast.Contains(a) || sixTo4.Contains(a)) {
		return false
	}
	return gate.Public(a) || gate.Example(a)
}
