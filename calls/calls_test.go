package calls

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/turn/v5"
	"go.uber.org/goleak"

	"jackdaw/config"
	"jackdaw/router/gate"
	"jackdaw/xmpp/jid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// here is the address at which all relays of these tests are told to be; they are bound to loopback.
const here = "192.0.2.1"

// A booth is a relay with accounts that can be changed.
type booth struct {
	*Server
	t        *testing.T
	calls    config.Calls
	limits   config.Limits
	udp, tcp string // where it listens

	mu      sync.Mutex
	created map[string]time.Time // of the accounts there are
	broken  error                // of storage
	moved   int                  // how often the address was another
	own     []netip.Addr         // of the interfaces
}

func derive(purpose string, of ...string) [sha256.Size]byte {
	return sha256.Sum256([]byte(purpose + "\x00" + strings.Join(of, "\x00")))
}

func newBooth(t *testing.T, change func(*booth)) *booth {
	t.Helper()
	d := config.Default()
	b := &booth{t: t, calls: d.Calls, limits: d.Limits, created: map[string]time.Time{},
		own: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.9")}}
	b.calls.Addresses = []string{here}
	b.calls.Ports = config.Ports{First: 42000, Last: 42199}
	for _, who := range []string{"romeo", "juliet"} {
		b.created[who+"@example.org"] = time.Now().Add(-time.Hour)
	}
	if change != nil {
		change(b)
	}
	s, err := New(Options{Derive: derive, Realm: "example.org", Gate: new(gate.Keeper),
		Log:      slog.New(slog.DiscardHandler),
		Settings: func() *config.Calls { return &b.calls }, Limits: func() *config.Limits { return &b.limits },
		Changed: func() { b.mu.Lock(); defer b.mu.Unlock(); b.moved++ },
		Interfaces: func() (Interfaces, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return Interfaces{b.own, b.own}, nil
		},
		Account: func(_ context.Context, user jid.JID) (time.Time, bool, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			at, ok := b.created[user.String()]
			return at, ok, b.broken
		}})
	if err != nil {
		t.Fatal(err)
	}
	b.Server = s
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.udp, b.tcp = p.LocalAddr().String(), l.Addr().String()
	if err := s.Serve([]net.PacketConn{p}, []net.Listener{l}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return b
}

func user(name string) jid.JID { return jid.MustParse(name + "@example.org") }

// credentials are those of an account.
func (b *booth) credentials(name string) Credentials {
	b.t.Helper()
	c, err := b.Credentials(user(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// client is one over UDP or TCP.
func (b *booth) client(network string, c Credentials) *turn.Client {
	b.t.Helper()
	var conn net.PacketConn
	at := b.udp
	if network == "tcp" {
		at = b.tcp
		stream, err := net.Dial("tcp", at)
		if err != nil {
			b.t.Fatal(err)
		}
		conn = turn.NewSTUNConn(stream)
	} else {
		var err error
		if conn, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			b.t.Fatal(err)
		}
	}
	t, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: at, Conn: conn, Username: c.Username,
		Password: c.Password, LoggerFactory: quiet{slog.New(slog.DiscardHandler)}})
	if err == nil {
		err = t.Listen()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		t.Close()
		conn.Close()
	})
	return t
}

// allocate has an account make an allocation.
func (b *booth) allocate(network, name string) (*turn.Client, net.PacketConn) {
	b.t.Helper()
	c := b.client(network, b.credentials(name))
	r, err := c.Allocate()
	if err != nil {
		b.t.Fatalf("%s over %s: %v", name, network, err)
	}
	b.t.Cleanup(func() { r.Close() })
	return c, r
}

// wait returns when something holds, which others are about to bring about.
func (b *booth) wait(what string, holds func() bool) {
	b.t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for end := time.After(10 * time.Second); !holds(); {
		select {
		case <-again.C:
		case <-end:
			b.t.Fatalf("never: %s", what)
		}
	}
}

// send writes until the other side has read it, since a packet may be lost.
func send(t *testing.T, from, to net.PacketConn, text string) {
	t.Helper()
	got := make([]byte, 100)
	for range 20 {
		if _, err := from.WriteTo([]byte(text), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if err := to.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, at, err := to.ReadFrom(got)
		if err != nil {
			continue
		}
		if at.String() != from.LocalAddr().String() || string(got[:n]) != text {
			t.Fatalf("%q came from %s, want %q from %s", got[:n], at, text, from.LocalAddr())
		}
		return
	}
	t.Fatalf("%q never came", text)
}

func TestTwoWhoReachNobodyElseReachEachOther(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			b := newBooth(t, nil)
			one, a := b.allocate(network, "romeo")
			two, c := b.allocate(network, "juliet")
			if !strings.HasPrefix(a.LocalAddr().String(), here+":") {
				t.Fatalf("relayed at %s", a.LocalAddr())
			}
			for _, x := range []struct {
				c  *turn.Client
				to net.Addr
			}{{one, c.LocalAddr()}, {two, a.LocalAddr()}} {
				if err := x.c.CreatePermission(x.to); err != nil {
					t.Fatal(err)
				}
			}
			send(t, a, c, "Wherefore art thou?")
			send(t, c, a, "I take thee at thy word")
			if b.Stats.Up.Load() == 0 || b.Stats.Up.Load() != b.Stats.Down.Load() {
				t.Errorf("%d bytes up and %d down were counted", b.Stats.Up.Load(), b.Stats.Down.Load())
			}
		})
	}
}

func TestCredentialsAreOfOneAccountForAWhile(t *testing.T) {
	b := newBooth(t, nil)
	now := time.Now()
	made := func(m *mint, name string, at time.Time) Credentials {
		c, err := m.issue(user(name), at)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	foreign, err := newMint(func(p string, of ...string) [32]byte { return derive("another server", p) })
	if err != nil {
		t.Fatal(err)
	}
	romeo, juliet := b.credentials("romeo"), b.credentials("juliet")
	if d := time.Until(romeo.Expires); d > Lifetime || d < Lifetime-time.Minute {
		t.Errorf("they expire in %s", d)
	}
	if strings.Contains(romeo.Username, "romeo") || romeo.Username == b.credentials("romeo").Username {
		t.Errorf("the username %q tells whose it is", romeo.Username)
	}
	b.mu.Lock()
	b.created["mercutio@example.org"] = now
	b.mu.Unlock()
	for what, c := range map[string]Credentials{
		"expired":                 made(b.mint, "romeo", now.Add(-Lifetime-time.Second)),
		"of another account":      {Username: romeo.Username, Password: juliet.Password},
		"of no account":           made(b.mint, "tybalt", now),
		"of one before of a name": made(b.mint, "mercutio", now.Add(-time.Second)),
		"of another server":       made(foreign, "romeo", now),
		"made up":                 {Username: "1893456000:romeo", Password: "x"},
	} {
		client := b.client("udp", c)
		if r, err := client.Allocate(); err == nil {
			t.Errorf("an allocation at %s by credentials %s", r.LocalAddr(), what)
		}
	}
	if n := b.Stats.Failed.Load(); n < 6 {
		t.Errorf("%d failures were counted", n)
	}
	if _, _, ok := b.authenticate(&turn.RequestAttributes{Username: romeo.Username, Realm: "example.com"}); ok {
		t.Error("another realm is taken")
	}
	b.mu.Lock()
	b.broken = errors.New("storage is away")
	b.mu.Unlock()
	if _, ok := b.allowed(romeo.Username); ok {
		t.Error("taken without knowing whether the account is there")
	}
	if b.Allocations() != 0 {
		t.Errorf("%d allocations", b.Allocations())
	}
	if _, err := b.Credentials(jid.MustParse(strings.Repeat("a", 500) + "@example.org")); !errors.Is(err, errTooLong) {
		t.Errorf("a username that no request can hold: %v", err)
	}
}

func TestNothingIsRelayedToWhatIsNotPublic(t *testing.T) {
	for _, no := range []string{"127.0.0.1", "127.8.8.8", "10.1.2.3", "172.20.0.1", "192.168.1.1", "100.64.0.1",
		"169.254.169.254", "224.0.0.251", "255.255.255.255", "0.0.0.0", "240.1.1.1", "192.0.0.8", "198.18.0.1",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
		"64:ff9b:1::1", "2002:7f00:1::1", "2002:a00:1::", "2001:0:1::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1",
		"fd12::1", "ff02::1", "100::1"} {
		if Public(netip.MustParseAddr(no)) {
			t.Errorf("%s is relayed to", no)
		}
	}
	if Public(netip.Addr{}) {
		t.Error("no address is relayed to")
	}
	for _, yes := range []string{"8.8.8.8", "192.0.2.7", "203.0.113.1", "172.32.0.1", "100.128.0.1", "::ffff:8.8.8.8",
		"2a00:1450::1", "2606:4700::1111"} {
		if !Public(netip.MustParseAddr(yes)) {
			t.Errorf("%s is not relayed to", yes)
		}
	}

	for _, network := range []string{"udp", "tcp"} {
		b := newBooth(t, nil)
		c, r := b.allocate(network, "romeo")
		for _, no := range []string{"127.0.0.1", "10.0.0.1", "192.0.2.9", "0.0.0.0", "169.254.169.254", "::1",
			"::ffff:127.0.0.1"} {
			if err := c.CreatePermission(&net.UDPAddr{IP: net.ParseIP(no), Port: 9}); err == nil {
				t.Errorf("%s: a permission for %s", network, no)
			}
		}
		if b.Stats.Closed.Load() == 0 {
			t.Error("refusals are not counted")
		}
		// Its own address is relayed to, as far as another relay is there.
		before := b.Stats.Closed.Load()
		port := netip.MustParseAddrPort(b.udp).Port()
		if _, err := r.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(here), Port: int(port)}); err != nil {
			t.Fatal(err)
		}
		b.wait("a packet for a port of the server is refused", func() bool { return b.Stats.Closed.Load() > before })
		if b.Stats.Up.Load() != 0 {
			t.Error("it was sent")
		}
	}
}

func TestAllocationsAreFew(t *testing.T) {
	b := newBooth(t, func(b *booth) {
		b.calls.Ports = config.Ports{First: 42200, Last: 42231}
		b.calls.Allocations, b.calls.AddressAllocations = 3, 8
		for _, who := range []string{"a", "b", "c", "d"} {
			b.created[who+"@example.org"] = time.Now().Add(-time.Hour)
		}
	})
	made := map[string]int{}
	for _, who := range []string{"a", "b", "c", "d"} {
		for range 4 {
			c := b.client("udp", b.credentials(who))
			if r, err := c.Allocate(); err == nil {
				made[who]++
				b.t.Cleanup(func() { r.Close() })
			}
		}
	}
	// Of 32 ports an eighth is enough for three each, and for fewer the fuller it gets; the address has eight.
	if made["a"] != 3 || made["b"] != 3 || made["c"] != 2 || made["d"] != 0 {
		t.Errorf("allocations: %v", made)
	}
	if b.Stats.Full.Load() != 8 || b.Allocations() != 8 {
		t.Errorf("%d refused, %d there", b.Stats.Full.Load(), b.Allocations())
	}
	b.EndOf(user("a"))
	b.wait("others have room", func() bool { return b.Allocations() == 5 })
	if r, err := b.client("udp", b.credentials("d")).Allocate(); err != nil {
		t.Errorf("another, after some have ended: %v", err)
	} else {
		defer r.Close()
	}
	b.mu.Lock()
	delete(b.created, "d@example.org")
	b.mu.Unlock()
	if _, err := b.bind("d@example.org", "udp4", netip.MustParseAddr(here), netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Server.allocate("d@example.org", "udp4"); err == nil {
		t.Error("an allocation for an account that has just gone")
	}
}

func TestAnAllocationHasFewPeers(t *testing.T) {
	b := newBooth(t, nil)
	c, _ := b.allocate("udp", "romeo")
	var failed error
	for i := range maxPeers + 1 {
		if failed != nil {
			t.Fatalf("the permission before the %d. was refused: %v", i, failed)
		}
		failed = c.CreatePermission(&net.UDPAddr{IP: net.IPv4(203, 0, 113, byte(i)), Port: 9})
	}
	if failed == nil {
		t.Errorf("%d permissions", maxPeers+1)
	}
	if err := c.CreatePermission(&net.UDPAddr{IP: net.IPv4(203, 0, 113, 1), Port: 9}); err != nil {
		t.Errorf("one that is there is not made longer: %v", err)
	}
}

func TestWhatIsTooFastIsLost(t *testing.T) {
	b := newBooth(t, func(b *booth) { b.calls.Rate = 16 << 10 })
	one, a := b.allocate("udp", "romeo")
	_, c := b.allocate("udp", "juliet")
	if err := one.CreatePermission(c.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 1000)
	b.wait("packets are lost", func() bool {
		if _, err := a.WriteTo(packet, c.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		return b.Stats.Lost.Load() > 0
	})
}

func TestTheAddressIsFound(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fe80::1")}
	public := append(own[:3:3], netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("192.0.2.6"),
		netip.MustParseAddr("2001:db8::5"))
	ask := func(_ context.Context, network, server string) (netip.Addr, error) {
		switch {
		case server == "cgn.example:3478":
			return netip.MustParseAddr("100.64.3.4"), nil
		case network == "udp6":
			return netip.Addr{}, errors.New("no route to host")
		}
		return netip.MustParseAddr("192.0.2.77"), nil
	}
	for _, c := range []struct {
		calls  config.Calls
		own    []netip.Addr
		v4, v6 string
		why    string // part of it
	}{
		{config.Calls{}, public, "192.0.2.5", "2001:db8::5", ""},
		{config.Calls{Addresses: []string{"192.0.2.6"}}, public, "192.0.2.6", "invalid IP", ""},
		{config.Calls{Listen: []string{"192.0.2.6:3478"}}, public, "192.0.2.6", "2001:db8::5", ""},
		{config.Calls{Listen: []string{"127.0.0.1:3478"}}, public, "192.0.2.5", "2001:db8::5", ""},
		{config.Calls{Stun: "stun.example:3478"}, public, "192.0.2.5", "2001:db8::5", ""},
		{config.Calls{Stun: "stun.example:3478"}, own, "192.0.2.77", "invalid IP", ""},
		{config.Calls{}, own, "", "", "no interface of this machine has a public address"},
		{config.Calls{Addresses: []string{"10.0.0.2"}}, public, "", "", "10.0.0.2 of calls.addresses is not public"},
		{config.Calls{Stun: "cgn.example:3478"}, own, "", "", "100.64.3.4, which is not public"},
	} {
		p := Find(t.Context(), &c.calls, Interfaces{c.own, c.own}, ask)
		if c.why != "" {
			if !strings.Contains(p.Why, c.why) || len(p.Addresses()) != 0 {
				t.Errorf("%+v: %v, %q", c.calls, p.Addresses(), p.Why)
			}
			continue
		}
		if p.V4.String() != c.v4 || p.V6.String() != c.v6 || p.Why != "" {
			t.Errorf("%+v: %s and %s, %q", c.calls, p.V4, p.V6, p.Why)
		}
	}

	b := newBooth(t, func(b *booth) { b.calls.Addresses = nil })
	if a, err := AskSTUN(t.Context(), "udp4", b.udp); err != nil || a.String() != "127.0.0.1" {
		t.Errorf("asked over UDP: %s, %v", a, err)
	}
	c, err := net.Dial("tcp", b.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if a, err := Bind(t.Context(), c); err != nil || a.String() != "127.0.0.1" {
		t.Errorf("asked over TCP: %s, %v", a, err)
	}
	b.mu.Lock()
	b.own = []netip.Addr{netip.MustParseAddr("192.0.2.10")}
	b.mu.Unlock()
	b.Look(t.Context())
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.moved != 1 || b.Place().V4.String() != "192.0.2.10" {
		t.Errorf("moved %d times, to %s", b.moved, b.Place().V4)
	}
}

// What a listener does not take is not announced.
func TestPortsAreThoseThatOthersReach(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("192.0.2.5"),
		netip.MustParseAddr("192.0.2.6"), netip.MustParseAddr("2001:db8::5")}
	for _, c := range []struct {
		listen string
		at     string
		want   int
	}{
		{":3478", "192.0.2.5", 1}, {":3478", "2001:db8::5", 1}, {"[::]:3478", "192.0.2.5", 1},
		{"0.0.0.0:3478", "192.0.2.5", 1}, {"0.0.0.0:3478", "2001:db8::5", 1},
		{"192.0.2.5:3478", "192.0.2.5", 1}, {"192.0.2.5:3478", "192.0.2.6", 0}, {"192.0.2.5:3478", "2001:db8::5", 0},
		{"192.0.2.5:3478 192.0.2.6:3479 192.0.2.6:3480", "192.0.2.6", 2},
		{"127.0.0.1:3478", "192.0.2.5", 0}, {"[::1]:3478", "2001:db8::5", 0}, {"localhost:3478", "192.0.2.5", 0},
		{"127.0.0.1:3478", "198.51.100.7", 0},
		{"10.0.0.2:3478", "198.51.100.7", 1}, // a router passes it on
		{"10.0.0.2:3478", "192.0.2.5", 0}, {"10.0.0.2:3478", "2001:db8::7", 0},
		{"relay.example.org:3478", "192.0.2.5", 1}, {":0", "192.0.2.5", 0},
	} {
		p := &Place{Own: own}
		if got := p.Ports(strings.Fields(c.listen), netip.MustParseAddr(c.at)); len(got) != c.want {
			t.Errorf("listeners %s take what is sent to %s at %v", c.listen, c.at, got)
		}
	}
}

func TestStrangersGetFewAnswers(t *testing.T) {
	s, now := newStrangers(), time.Now()
	flooder, other := netip.MustParseAddr("192.0.2.66"), netip.MustParseAddr("2001:db8:7::1")
	n := 0
	for range 10 * strangerBurst {
		if s.let(flooder, now) {
			n++
		}
	}
	if n != strangerBurst {
		t.Errorf("%d packets of one address at once", n)
	}
	if !s.let(other, now) {
		t.Error("another address waits for it")
	}
	if s.let(flooder, now.Add(time.Millisecond)); !s.let(flooder, now.Add(time.Second)) {
		t.Error("after a second none is answered")
	}
	// A /64 counts as one.
	for range 10 * strangerBurst {
		s.let(other, now)
	}
	if s.let(netip.MustParseAddr("2001:db8:7::2"), now) {
		t.Error("each address of a network has answers of its own")
	}
}

func TestMessagesAreReadWhole(t *testing.T) {
	question := append([]byte{0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12+4)...)
	data := []byte{0x40, 0, 0, 5, 'h', 'e', 'l', 'l', 'o', 0, 0, 0}
	long := append([]byte{0x40, 0, 0x10, 0}, make([]byte, 0x1000)...)
	all := bytes.Join([][]byte{question, long, data, question}, nil)
	for _, step := range []int{1, 3, 7, 1000, len(all)} {
		here, there := net.Pipe()
		c := &stream{Conn: here, s: &Server{}}
		go func() {
			for b := all; len(b) > 0; b = b[min(step, len(b)):] {
				there.Write(b[:min(step, len(b))])
			}
			there.Write([]byte("GET / HTTP"[:1]))
			there.Write([]byte{0xff})
			there.Close()
		}()
		buf := make([]byte, 1600)
		for _, want := range [][]byte{question, data, question} {
			n, err := c.Read(buf)
			if err != nil || !bytes.Equal(buf[:n], want) {
				t.Fatalf("by %d: %x, %v, want %x", step, buf[:n], err, want)
			}
		}
		if _, err := c.Read(buf); err == nil {
			t.Errorf("by %d: something that is none was read", step)
		}
		here.Close()
	}
}

func TestAStrangerOverTCPHasLittleTime(t *testing.T) {
	b := newBooth(t, func(b *booth) { b.limits.AuthTime = 200 * time.Millisecond })
	silent, err := net.Dial("tcp", b.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	slow, err := net.Dial("tcp", b.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	slow.Write([]byte{0, 1, 0xff, 0xff})
	one, a := b.allocate("tcp", "romeo")
	for _, c := range []net.Conn{silent, slow} {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	// Who has an allocation stays, until it has none.
	if err := one.CreatePermission(&net.UDPAddr{IP: net.IPv4(203, 0, 113, 1), Port: 9}); err != nil {
		t.Errorf("after that time: %v", err)
	}
	a.Close()
	b.wait("the connection ends", func() bool {
		b.Server.mu.Lock()
		defer b.Server.mu.Unlock()
		return len(b.streams) == 0
	})
}

func TestNobodyIsServedAfterwards(t *testing.T) {
	b := newBooth(t, nil)
	b.allocate("udp", "romeo")
	b.allocate("tcp", "juliet")
	b.Shutdown()
	if b.Allocations() != 0 {
		t.Errorf("%d allocations", b.Allocations())
	}
	if c, err := net.Dial("tcp", b.tcp); err == nil {
		t.Error("somebody listens")
		c.Close()
	}
	if _, err := b.Server.allocate("romeo@example.org", "udp4"); err == nil {
		t.Error("an allocation after the end")
	}
}

func FuzzUsernamesOfStrangers(f *testing.F) {
	m, err := newMint(derive)
	if err != nil {
		f.Fatal(err)
	}
	c, err := m.issue(user("romeo"), time.Unix(1e9, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.Username)
	f.Add("")
	f.Add("1893456000:romeo")
	f.Fuzz(func(t *testing.T, username string) {
		if u, at, ok := m.open(username); ok && (u != user("romeo") || at.Unix() != 1e9) {
			t.Errorf("%q is one of %s", username, u)
		}
	})
}

func FuzzMessagesOfStrangers(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Add([]byte{0x40, 0, 0, 1, 'x', 0, 0, 0})
	f.Add([]byte{0x40, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &stream{Conn: &tape{Reader: bytes.NewReader(b)}, s: &Server{}}
		buf, all := make([]byte, 1600), 0
		for {
			n, err := c.Read(buf)
			if all += n; all > len(b) {
				t.Fatalf("more was read than came")
			}
			if err != nil {
				return
			}
			if n < channelHeader || n > longestFrame {
				t.Fatalf("a message of %d bytes", n)
			}
		}
	})
}

// A tape is a connection that has been recorded.
type tape struct {
	net.Conn
	*bytes.Reader
}

// Read implements net.Conn.
func (t *tape) Read(b []byte) (int, error) { return t.Reader.Read(b) }
