package gate

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/config"
)

func TestAddressesHaveLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := config.Default().Limits
		var g Keeper
		a := netip.MustParseAddr("2001:db8::1")
		for i := range 50 {
			// The neighbours of one /64 count as one.
			if why := g.Enter(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}), &l); why != "" {
				t.Fatalf("connection %d: %s", i, why)
			}
		}
		if why := g.Enter(a, &l); !strings.Contains(why, "new connections") {
			t.Errorf("beyond the burst: %q", why)
		}
		time.Sleep(time.Second)
		if why := g.Enter(a, &l); !strings.Contains(why, "not logged in") {
			t.Errorf("beyond the unauthenticated: %q", why)
		}
		for i := range 150 {
			g.Known(a)
			time.Sleep(time.Second)
			if why := g.Enter(a, &l); why != "" {
				t.Fatalf("connection %d: %s", 50+i, why)
			}
		}
		g.Known(a)
		if why := g.Enter(a, &l); !strings.Contains(why, "too many connections") {
			t.Errorf("beyond the number: %q", why)
		}
		if why := g.Enter(netip.MustParseAddr("2001:db8:0:1::1"), &l); why != "" {
			t.Errorf("another net: %s", why)
		}
		for range 300 {
			if why := g.Enter(netip.MustParseAddr("127.0.0.1"), &l); why != "" {
				t.Fatalf("loopback: %s", why)
			}
		}
		for range 50 {
			g.Leave(a, false)
		}
		for range 150 {
			g.Leave(a, true)
		}
		time.Sleep(2 * time.Minute)
		g.Leave(netip.MustParseAddr("2001:db8:0:1::1"), false)
		g.Enter(netip.MustParseAddr("192.0.2.1"), &l)
		time.Sleep(2 * time.Minute)
		g.Leave(netip.MustParseAddr("192.0.2.1"), false)
		g.Enter(netip.MustParseAddr("192.0.2.2"), &l)
		if len(g.from) > 2 {
			t.Errorf("%d addresses are remembered", len(g.from))
		}
	})
}
