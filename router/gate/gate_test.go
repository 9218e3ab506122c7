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
		var in []*Pass
		enter := func(a netip.Addr) string {
			p, why := g.Admit(nil, a, &l)
			if p != nil {
				in = append(in, p)
			}
			return why
		}
		a := netip.MustParseAddr("2001:db8::1")
		for i := range 50 {
			// The neighbours of one /64 count as one.
			if why := enter(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)})); why != "" {
				t.Fatalf("connection %d: %s", i, why)
			}
		}
		if why := enter(a); !strings.Contains(why, "new connections") {
			t.Errorf("beyond the burst: %q", why)
		}
		time.Sleep(time.Second)
		if why := enter(a); !strings.Contains(why, "not logged in") {
			t.Errorf("beyond the unauthenticated: %q", why)
		}
		for i := range 150 {
			in[i].Known()
			time.Sleep(time.Second)
			if why := enter(a); why != "" {
				t.Fatalf("connection %d: %s", 50+i, why)
			}
		}
		in[150].Known()
		if why := enter(a); !strings.Contains(why, "too many connections") {
			t.Errorf("beyond the number: %q", why)
		}
		if why := enter(netip.MustParseAddr("2001:db8:0:1::1")); why != "" {
			t.Errorf("another net: %s", why)
		}
		for range 300 {
			if why := enter(netip.MustParseAddr("127.0.0.1")); why != "" {
				t.Fatalf("loopback: %s", why)
			}
		}
		for _, p := range in[:200] {
			p.Leave()
			p.Leave()
		}
		time.Sleep(2 * time.Minute)
		in[200].Leave()
		enter(netip.MustParseAddr("192.0.2.1"))
		time.Sleep(2 * time.Minute)
		in[len(in)-1].Leave()
		enter(netip.MustParseAddr("192.0.2.2"))
		if len(g.from) > 2 {
			t.Errorf("%d addresses are remembered", len(g.from))
		}
	})
}

// closing is a connection that says when it is closed.
type closing struct {
	addressed
	closed *bool
}

func (c closing) Close() error {
	*c.closed = true
	return nil
}

func TestTheOldestStrangerMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := config.Default().Limits
		var g Keeper
		g.Bound(4, nil)
		var passes []*Pass
		var closed [10]bool
		admit := func() string {
			i := len(passes)
			p, why := g.Admit(closing{"192.0.2.7:5222", &closed[i]}, netip.MustParseAddr([]string{"127.0.0.1", "192.0.2.7"}[i%2]), &l)
			if p != nil {
				passes = append(passes, p)
			}
			return why
		}
		for i := range 4 {
			if why := admit(); why != "" {
				t.Fatalf("connection %d: %s", i, why)
			}
		}
		passes[0].Known()
		passes[1].Known()
		passes[1].Idle(true) // now behind 2 and 3
		for i, want := range []int{2, 3, 1, 4, 5} {
			if why := admit(); why != "" || !closed[want] {
				t.Fatalf("one too many: %q, closed: %v, want %d", why, closed, want)
			}
			passes[want].Leave() // as its server does, later
			if i == 2 {
				passes[6].Known()
			}
		}
		passes[7].Known()
		passes[8].Known()
		if why := admit(); !strings.Contains(why, "too many connections") {
			t.Errorf("with nobody to turn away: %q", why)
		}
		if g.Reserve() {
			t.Error("there is room for a connection of ours")
		}
		passes[8].Leave()
		if !g.Reserve() {
			t.Error("there is no room for a connection of ours")
		}
		if why := admit(); why == "" {
			t.Error("what is reserved is given away")
		}
		g.Release()
		if why := admit(); why != "" {
			t.Errorf("after a release: %s", why)
		}
		if v := g.from[netip.MustParseAddr("192.0.2.7")]; g.all != 4 || v.conns != 2 || v.strangers != 1 {
			t.Errorf("%d in all, %+v", g.all, v)
		}
	})
}

// A connection of a proxy is counted by no address, until it carries a stream of somebody.
func TestAStreamThroughAProxyIsItsClients(t *testing.T) {
	l := config.Default().Limits
	l.UnauthenticatedPerAddress, l.ConnectionsPerAddress = 3, 5
	var g Keeper
	client := netip.MustParseAddr("192.0.2.1")
	var in []*Pass
	carry := func() string {
		p, why := g.Admit(nil, netip.Addr{}, &l)
		if why != "" {
			t.Fatal(why)
		}
		p.Known() // by a request of somebody else
		if why = p.Carry(client, &l); why == "" {
			in = append(in, p)
		}
		return why
	}
	for range 3 {
		if why := carry(); why != "" {
			t.Fatal(why)
		}
	}
	if why := carry(); !strings.Contains(why, "not logged in") {
		t.Errorf("beyond the strangers: %q", why)
	}
	if _, why := g.Admit(nil, client, &l); !strings.Contains(why, "not logged in") {
		t.Errorf("beside the proxy: %q", why)
	}
	for range 2 {
		in[len(in)-1].Known()
		if why := carry(); why != "" {
			t.Fatal(why)
		}
	}
	in[0].Known()
	if why := carry(); !strings.Contains(why, "too many connections") {
		t.Errorf("beyond the number: %q", why)
	}
	for _, p := range in {
		p.Leave()
	}
	if v := g.from[client]; v.conns != 0 || v.strangers != 0 {
		t.Errorf("left: %+v", v)
	}
	// One of its own is its own already, and a stranger's again.
	p, why := g.Admit(nil, client, &l)
	p.Known()
	why += p.Carry(client, &l)
	if v := g.from[client]; why != "" || v.conns != 1 || v.strangers != 1 || p.spare == nil {
		t.Errorf("%q, %+v", why, v)
	}
	p.Leave()
	if why := p.Carry(client, &l); why != "" || g.from[client].conns != 0 || (*Pass)(nil).Carry(client, &l) != "" {
		t.Errorf("%q, %+v", why, g.from[client])
	}
	// So is one of a proxy that has limits itself.
	proxy := netip.MustParseAddr("198.51.100.1")
	p, why = g.Admit(nil, proxy, &l)
	why += p.Carry(client, &l)
	if v := *g.from[proxy]; why != "" || v != (visitor{tokens: v.tokens, at: v.at}) ||
		g.from[client].conns != 1 || g.from[client].strangers != 1 {
		t.Errorf("%q, %+v, %+v", why, g.from[proxy], g.from[client])
	}
	p.Leave()
	local, _ := g.Admit(nil, netip.Addr{}, &l)
	if why := local.Carry(netip.MustParseAddr("127.0.0.1"), &l); why != "" || local.addr.IsValid() {
		t.Errorf("loopback: %q", why)
	}
}
