package lookup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// describe writes targets as "tls:a.example:5270".
func describe(targets []Target) (s []string) {
	for _, t := range targets {
		if t.DirectTLS {
			s = append(s, "tls:"+t.String())
		} else {
			s = append(s, t.String())
		}
	}
	return s
}

func targetsOf(t *testing.T, f *Finder, domain string) []string {
	t.Helper()
	targets, err := f.Targets(t.Context(), domain)
	if err != nil {
		t.Errorf("targets of %s: %v", domain, err)
	}
	for _, x := range targets {
		if x.Domain != domain {
			t.Errorf("a target of %s says that it is of %s", domain, x.Domain)
		}
	}
	return describe(targets)
}

func wantTargets(t *testing.T, f *Finder, domain string, want ...string) {
	t.Helper()
	if got := targetsOf(t, f, domain); !slices.Equal(got, want) {
		t.Errorf("targets of %s are %v, want %v", domain, got, want)
	}
}

// wantReason checks all that an error says.
func wantReason(t *testing.T, err error, want Reason, permanent bool) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		t.Errorf("the error is %v, want one of this package for %q", err, want)
	case e.Reason != want || e.Permanent() != permanent || e.Text() != want.String() || e.Domain == "":
		t.Errorf("the error is %q (permanent: %v, of %q): %v; want %q", e.Text(), e.Permanent(), e.Domain, err, want)
	case !strings.Contains(err.Error(), e.Text()) || !strings.Contains(err.Error(), e.Domain):
		t.Errorf("the error for the log is %q, without reason or domain", err)
	}
}

func TestServicesAreMixedByPriority(t *testing.T) {
	dns := newStub(t)
	dns.srv("xmpps-server", "a.example", 5, 0, 5270, "tls.a.example.")
	dns.srv("xmpp-server", "a.example", 1, 0, 5269, "First.A.example.")
	dns.srv("xmpp-server", "a.example", 10, 0, 15269, "last.a.example.")
	dns.srv("xmpps-server", "b.example", 0, 0, 443, "b.example.")
	dns.srv("xmpp-server", "b.example", 1, 0, 5269, "b.example.")
	f := New(Options{Resolver: dns.resolver()})
	wantTargets(t, f, "a.example", "first.a.example:5269", "tls:tls.a.example:5270", "last.a.example:15269")
	wantTargets(t, f, "b.example", "tls:b.example:443", "b.example:5269")
}

func TestOneServiceAloneIsEnough(t *testing.T) {
	dns := newStub(t)
	dns.srv("xmpps-server", "tls.example", 0, 0, 5270, "x.example.")
	dns.srv("xmpp-server", "plain.example", 0, 0, 5269, "x.example.")
	f := New(Options{Resolver: dns.resolver()})
	wantTargets(t, f, "tls.example", "tls:x.example:5270")
	wantTargets(t, f, "plain.example", "x.example:5269")
}

func TestDomainWithoutRecordsIsAHostItself(t *testing.T) {
	dns := newStub(t)
	dns.host("a.example", "192.0.2.1")
	f := New(Options{Resolver: dns.resolver()})
	wantTargets(t, f, "a.example", "a.example:5269")
}

func TestTargetDotMeansNoService(t *testing.T) {
	dns := newStub(t)
	for _, domain := range []string{"both.example", "alone.example", "tls.example", "plain.example", "odd.example"} {
		dns.host(domain, "127.0.0.1") // never used
	}
	dns.srv("xmpps-server", "both.example", 0, 0, 0, ".")
	dns.srv("xmpp-server", "both.example", 0, 0, 5269, ".")
	dns.srv("xmpps-server", "alone.example", 0, 0, 5269, ".")
	dns.srv("xmpp-server", "bare.example", 0, 0, 0, ".")
	dns.srv("xmpps-server", "tls.example", 0, 0, 5270, "x.example.")
	dns.srv("xmpp-server", "tls.example", 0, 0, 0, ".")
	dns.srv("xmpps-server", "plain.example", 0, 0, 0, ".")
	dns.srv("xmpp-server", "plain.example", 0, 0, 5269, "x.example.")
	// Beside others it means nothing (RFC 2782).
	dns.srv("xmpp-server", "odd.example", 0, 0, 5269, ".")
	dns.srv("xmpp-server", "odd.example", 1, 0, 5269, "x.example.")
	f := New(Options{Resolver: dns.resolver()})
	for _, domain := range []string{"both.example", "alone.example", "bare.example"} {
		_, err := f.Dial(t.Context(), domain)
		wantReason(t, err, NoService, true)
	}
	wantTargets(t, f, "tls.example", "tls:x.example:5270")
	wantTargets(t, f, "plain.example", "x.example:5269")
	wantTargets(t, f, "odd.example", "x.example:5269")
	for _, q := range dns.questions() {
		if !strings.HasPrefix(q, "TypeSRV ") {
			t.Errorf("an address was asked for: %s", q)
		}
	}
}

func TestNameThatIsNotThereIsNotFound(t *testing.T) {
	dns := newStub(t)
	dns.srv("xmpp-server", "empty.example", 0, 0, 5269, "gone.empty.example.")
	dns.srv("xmpp-server", "zero.example", 0, 0, 0, "zero.example.") // no port
	f := New(Options{Resolver: dns.resolver()})
	_, err := f.Dial(t.Context(), "nowhere.example")
	wantReason(t, err, NameNotFound, true)
	_, err = f.Dial(t.Context(), strings.Repeat("long.", 100)+"example")
	wantReason(t, err, NameNotFound, true)
	_, err = f.Dial(t.Context(), "not a name")
	wantReason(t, err, NameNotFound, true)
	_, err = f.Dial(t.Context(), "\u0628a\u0628.example") // against the bidi rule
	wantReason(t, err, NameNotFound, true)
	_, err = f.Dial(t.Context(), "")
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != NameNotFound {
		t.Errorf("the empty domain: %v", err)
	}
	// The peer is known to be somewhere else, and that is not there.
	_, err = f.Dial(t.Context(), "empty.example")
	wantReason(t, err, NoAddress, true)
	_, err = f.Dial(t.Context(), "zero.example")
	wantReason(t, err, NoAddress, true)
}

func TestNameServerThatFailsIsATemporaryError(t *testing.T) {
	dns := newStub(t)
	dns.host("a.example", "127.0.0.1")
	dns.fail("TypeSRV _xmpp-server._tcp.a.example.", dnsmessage.RCodeServerFailure)
	dns.srv("xmpps-server", "half.example", 0, 0, 5270, "x.example.")
	dns.fail("TypeSRV _xmpp-server._tcp.half.example.", dnsmessage.RCodeServerFailure)
	dns.srv("xmpps-server", "dot.example", 0, 0, 0, ".")
	dns.fail("TypeSRV _xmpp-server._tcp.dot.example.", dnsmessage.RCodeServerFailure)
	dns.srv("xmpp-server", "host.example", 0, 0, 5269, "broken.example.")
	dns.fail("TypeA broken.example.", dnsmessage.RCodeServerFailure)
	dns.fail("TypeAAAA broken.example.", dnsmessage.RCodeServerFailure)
	f := New(Options{Resolver: dns.resolver()})
	for _, domain := range []string{"a.example", "dot.example", "host.example"} {
		_, err := f.Dial(t.Context(), domain)
		wantReason(t, err, LookupFailed, false)
	}
	wantTargets(t, f, "half.example", "tls:x.example:5270")
}

func TestInternationalDomainIsAskedForInASCII(t *testing.T) {
	dns := newStub(t)
	dns.srv("xmpp-server", "xn--bcher-kva.example", 0, 0, 5269, "xn--bcher-kva.example.")
	dns.host("xn--wgv71a.example", "127.0.0.1")
	f := New(Options{Resolver: dns.resolver()})
	wantTargets(t, f, "b\u00fccher.example", "xn--bcher-kva.example:5269")
	wantTargets(t, f, "\u65e5\u672c.example", "xn--wgv71a.example:5269")
	want := []string{"TypeSRV _xmpp-server._tcp.xn--bcher-kva.example.", "TypeSRV _xmpp-server._tcp.xn--wgv71a.example.",
		"TypeSRV _xmpps-server._tcp.xn--bcher-kva.example.", "TypeSRV _xmpps-server._tcp.xn--wgv71a.example."}
	if got := dns.questions(); !slices.Equal(got, want) {
		t.Errorf("asked: %v", got)
	}
}

func TestHyphensAndUnderscoresOfOthersAreNames(t *testing.T) {
	dns := newStub(t)
	dns.srv("xmpp-server", "ab--c.my_host.example", 0, 0, 5269, "a_b.example.")
	f := New(Options{Resolver: dns.resolver()})
	wantTargets(t, f, "ab--c.my_host.example", "a_b.example:5269")
}

func TestAddressAsDomainIsDialledDirectly(t *testing.T) {
	dns := newStub(t)
	var dialled []string
	f := New(Options{Resolver: dns.resolver(), Dialer: func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		return nil, errors.New("no route")
	}})
	for domain, want := range map[string]string{
		"192.0.2.1":            "192.0.2.1:5269",
		"[2001:db8::1]":        "[2001:db8::1]:5269",
		"[::ffff:192.0.2.128]": "192.0.2.128:5269",
	} {
		dialled = nil
		wantTargets(t, f, domain, want)
		_, err := f.Dial(t.Context(), domain)
		wantReason(t, err, Unreachable, false)
		if !slices.Equal(dialled, []string{want}) {
			t.Errorf("%s: dialled %v", domain, dialled)
		}
	}
	dialled = nil
	for _, domain := range []string{"0.0.0.0", "[::]", "224.0.0.1", "[ff02::1]", "255.255.255.255", "[::ffff:0.0.0.0]"} {
		_, err := f.Dial(t.Context(), domain)
		wantReason(t, err, NoAddress, true)
	}
	if len(dialled) > 0 {
		t.Errorf("dialled %v", dialled)
	}
	if q := dns.questions(); len(q) > 0 {
		t.Errorf("asked: %v", q)
	}
	if ip, ok := literal("fe80::1%eth0"); ok {
		t.Errorf("an address with a zone of this machine: %v", ip)
	}
}

func TestOverrideComesBeforeTheDNS(t *testing.T) {
	dns := newStub(t)
	dns.srv("xmpp-server", "a.example", 0, 0, 5269, "a.example.")
	addr := ""
	f := New(Options{Resolver: dns.resolver(), Resolve: func(domain string) (string, bool) {
		return addr, addr != "" && domain == "a.example"
	}})
	for _, c := range [][2]string{
		{"127.0.0.1:15269", "127.0.0.1:15269"},
		{"tls:[::1]:15270", "tls:[::1]:15270"},
		{"tls:Peer.Example:5270", "tls:peer.example:5270"},
		{"b\u00fccher.example:5269", "xn--bcher-kva.example:5269"},
		{"", "a.example:5269"}, // asked each time
		{"127.0.0.1:1", "127.0.0.1:1"},
	} {
		addr = c[0]
		wantTargets(t, f, "a.example", c[1])
	}
	for _, addr = range []string{"127.0.0.1", "a:b", "a:0", "a:65536", "::1:5269", ":5269", "tls:", "\u0628a\u0628:5269"} {
		_, err := f.Targets(t.Context(), "a.example")
		wantReason(t, err, NoAddress, true)
	}
}

// listen accepts connections and returns its port.
func listen(t *testing.T) (port uint16, accepted chan net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted = make(chan net.Conn, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return uint16(l.Addr().(*net.TCPAddr).Port), accepted
}

// refusing returns a port of loopback that is taken by a socket that does not
// listen, so that it refuses and nobody else gets it.
func refusing(t *testing.T) uint16 {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(s) })
	if err := unix.Bind(s, &unix.SockaddrInet4{}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(s)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(name.(*unix.SockaddrInet4).Port)
}

func TestNextTargetIsTriedWhenOneRefuses(t *testing.T) {
	dns := newStub(t)
	port, accepted := listen(t)
	dns.srv("xmpps-server", "a.example", 0, 0, refusing(t), "here.example.")
	dns.srv("xmpp-server", "a.example", 1, 0, 5269, "gone.example.")
	dns.srv("xmpps-server", "a.example", 2, 0, port, "here.example.")
	dns.host("here.example", "127.0.0.1")
	f := New(Options{Resolver: dns.resolver()})
	c, err := f.Dial(t.Context(), "a.example")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer := <-accepted
	defer peer.Close()
	if !c.DirectTLS || c.Target != "here.example:"+strconv.Itoa(int(port)) {
		t.Errorf("connected to %s, direct TLS %v", c.Target, c.DirectTLS)
	}
	if _, err := fmt.Fprint(peer, "hello"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := c.Read(buf); err != nil || string(buf) != "hello" {
		t.Errorf("read %q, %v", buf, err)
	}
}

func TestRefusalByAllAddressesIsToldWithoutAddresses(t *testing.T) {
	dns := newStub(t)
	dns.srv("xmpp-server", "a.example", 0, 0, refusing(t), "here.example.")
	dns.host("here.example", "127.0.0.1", "127.0.0.2")
	f := New(Options{Resolver: dns.resolver()})
	_, err := f.Dial(t.Context(), "a.example")
	wantReason(t, err, Refused, false)
	if e, ok := errors.AsType[*Error](err); ok && strings.Contains(e.Text(), "127.") {
		t.Errorf("the text for others: %s", e.Text())
	}
	if !strings.Contains(err.Error(), "127.0.0.") {
		t.Errorf("the text for the log: %s", err)
	}
}

func TestEveryReasonHasAText(t *testing.T) {
	seen := map[string]bool{"": true, Reason(0).String(): true}
	for r := NameNotFound; r <= Unreachable; r++ {
		if seen[r.String()] || strings.ContainsAny(r.String(), "0123456789.:") {
			t.Errorf("reason %d: %q", r, r)
		}
		seen[r.String()] = true
	}
}

func TestTemporaryErrorOfOneTargetOutweighsThePermanentOfAnother(t *testing.T) {
	gone, refused := &Error{Reason: NoAddress}, &Error{Reason: Refused}
	for _, pair := range [][2]error{{gone, refused}, {refused, gone}, {nil, refused}, {refused, nil}} {
		if got := Worse(pair[0], pair[1]); got != error(refused) {
			t.Errorf("of %v: %v", pair, got)
		}
	}
	if Worse(nil, nil) != nil {
		t.Error("nothing has a worse")
	}
}

func TestHugeAnswersAreCutShort(t *testing.T) {
	dns := newStub(t)
	for i := range 1500 {
		dns.srv("xmpp-server", "huge.example", uint16(i%3), uint16(i), 5269, fmt.Sprintf("h%d.example.", i))
		dns.srv("xmpps-server", "same.example", 0, 1, 5270, "many.example.")
		dns.host("many.example", fmt.Sprintf("192.0.2.%d", i%200), fmt.Sprintf("2001:db8::%x", i))
	}
	var dialled []string
	f := New(Options{Resolver: dns.resolver(), Dialer: func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = append(dialled, address) // each begins when the one before has failed
		return nil, errors.New("no route")
	}})
	targets, err := f.Targets(t.Context(), "huge.example")
	if err != nil || len(targets) != maxTargets {
		t.Fatalf("%d targets, %v", len(targets), err)
	}
	for _, x := range targets {
		if n, _ := strconv.Atoi(strings.TrimSuffix(x.Host[1:], ".example")); n%3 != 0 {
			t.Errorf("%s is not of the first priority", x)
		}
	}
	wantTargets(t, f, "same.example", "tls:many.example:5270")
	_, err = f.Dial(t.Context(), "same.example")
	wantReason(t, err, Unreachable, false)
	six := slices.DeleteFunc(slices.Clone(dialled), func(a string) bool { return a[0] != '[' })
	if len(dialled) != 2*maxAddresses || len(six) != maxAddresses {
		t.Errorf("dialled %v", dialled)
	}
}
