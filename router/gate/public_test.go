package gate

import (
	"net/netip"
	"testing"
)

func TestPublicAddresses(t *testing.T) {
	for _, row := range []struct {
		addr string
		want bool
	}{
		{"1.1.1.1", true}, {"93.184.215.14", true}, {"2606:4700::1111", true}, {"172.32.0.1", true}, {"100.128.0.1", true},
		{"127.0.0.1", false}, {"127.8.9.10", false}, {"::1", false}, {"0.0.0.0", false}, {"0.1.2.3", false}, {"::", false},
		{"10.0.0.1", false}, {"172.16.0.1", false}, {"172.31.255.255", false}, {"192.168.1.1", false},
		{"169.254.169.254", false}, {"100.64.0.1", false}, {"100.127.255.255", false}, {"198.18.0.1", false},
		{"192.0.0.8", false}, {"192.0.2.1", false}, {"203.0.113.7", false}, {"198.51.100.1", false}, {"192.88.99.1", false},
		{"224.0.0.1", false}, {"239.1.1.1", false}, {"240.0.0.1", false}, {"255.255.255.255", false},
		{"fe80::1", false}, {"fe80::1%eth0", false}, {"fc00::1", false}, {"fd12:3456::1", false}, {"fec0::1", false},
		{"ff02::1", false}, {"ff0e::1", false}, {"2001:db8::1", false}, {"2001::1", false}, {"100::1", false},
		{"::ffff:127.0.0.1", false}, {"::ffff:10.0.0.1", false}, {"::ffff:1.1.1.1", true}, {"::127.0.0.1", false},
		{"64:ff9b::7f00:1", false}, {"64:ff9b::a00:1", false}, {"64:ff9b::101:101", true}, {"64:ff9b:1::101:101", false},
		{"2002:7f00:1::", false}, {"2002:a00:1::1", false}, {"2002:c0a8:101::1", false}, {"2002:101:101::1", true},
	} {
		if got := Public(netip.MustParseAddr(row.addr)); got != row.want {
			t.Errorf("%s is public: %v", row.addr, got)
		}
	}
	if Public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

func TestAddressesAreThoseThatEverybodyReaches(t *testing.T) {
	for _, a := range Addresses() {
		if !a.IsValid() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a != a.Unmap() ||
			netip.MustParsePrefix("100.64.0.0/10").Contains(a) {
			t.Errorf("%s", a)
		}
	}
}
