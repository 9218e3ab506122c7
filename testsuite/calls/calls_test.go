// Package calls has people call each other who reach nobody but the server: the real binary, and clients of pion in
// network namespaces of their own; and it asks the relay for what it must not do.
package calls

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"jackdaw/config"
	"jackdaw/server/doctor"
	"jackdaw/testsuite/harness"
)

// callerIP and calledIP are where the two are.
const (
	callerIP, callerGate = "198.51.100.2", "198.51.100.1"
	calledIP, calledGate = "203.0.113.2", "203.0.113.1"
)

// port is that of the relay, tlsPort the one that all share.
const (
	port    = "3478"
	tlsPort = "443"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(peerOf); text != "" {
		if err := bePeer(text); err != nil {
			_ = json.NewEncoder(os.Stdout).Encode(line{Done: err.Error()})
			os.Exit(1)
		}
		os.Exit(0)
	}
	harness.Isolate()
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// start starts a server with a relay. Where it is it finds out by itself.
func start(t *testing.T, more string, users ...string) *harness.Server {
	return harness.Start(t, harness.Options{Users: users, Fast: true,
		Listen: fmt.Sprintf("tls: [%q]", harness.ServerIP+":"+tlsPort),
		Config: "calls:\n  enabled: true\n  listen: [\"" + harness.ServerIP + ":" + port + "\"]\n" + more})
}

// A service is what a client is told of.
type service struct{ kind, host, port, transport, username, password, expires string }

// services are those that a user is told of.
func services(t *testing.T, s *harness.Server, user string) (all []service) {
	t.Helper()
	c, err := harness.Connect(s.C2STLS, user, "phone")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := c.Ask("s1", "<iq type='get' id='s1' to='localhost'><services xmlns='urn:xmpp:extdisco:2'/></iq>")
	if err != nil {
		t.Fatal(err)
	}
	for _, el := range regexp.MustCompile(`<service [^>]*>`).FindAllString(got, -1) {
		of := func(name string) string { return harness.Attr(el, name) }
		all = append(all, service{of("type"), of("host"), of("port"), of("transport"), of("username"), of("password"),
			of("expires")})
	}
	return all
}

// turnOf is the service for a transport; "tls" is that over TLS.
func turnOf(t *testing.T, s *harness.Server, user, transport string) service {
	t.Helper()
	kind, want := "turn", transport
	if transport == "tls" {
		kind, want = "turns", "tcp"
	}
	all := services(t, s, user)
	for _, one := range all {
		if one.kind == kind && one.transport == want {
			return one
		}
	}
	t.Fatalf("%s is not told of %s: %+v", user, transport, all)
	return service{}
}

func TestACallConnectsThroughTheRelay(t *testing.T) {
	s := start(t, "", "romeo", "juliet")
	for i, transport := range []string{"udp", "tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			as := func(user string) role {
				one := turnOf(t, s, user, transport)
				host := one.host
				if one.kind == "turns" { // the name of the host, which nobody's DNS has here
					host = harness.ServerIP
				}
				if when, err := time.Parse(time.RFC3339, one.expires); err != nil || time.Until(when) > 12*time.Hour ||
					time.Until(when) < 11*time.Hour {
					t.Errorf("they expire at %q", one.expires)
				}
				return role{Username: one.username, Password: one.password,
					Servers: []string{fmt.Sprintf("%s:%s:%s?transport=%s", one.kind, host, one.port, one.transport)}}
			}
			a, b := as("romeo"), as("juliet")
			a.Address, a.Gateway, a.Nobody, a.Calls = callerIP, callerGate, calledIP+":9", true
			b.Address, b.Gateway, b.Nobody = calledIP, calledGate, callerIP+":9"
			talk(t, startPeer(t, 2*i, a), startPeer(t, 2*i+1, b))
		})
	}
	if up, down := metric(t, s, "call_bytes_up_total"), metric(t, s, "call_bytes_down_total"); up == 0 || down == 0 {
		t.Errorf("%d bytes up and %d down were counted", up, down)
	}
}

// metric reads a number without labels.
func metric(t *testing.T, s *harness.Server, name string) int {
	t.Helper()
	r, err := http.Get("http://" + s.Metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^jackdaw_` + name + ` (\S+)$`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no metric %s", name)
	}
	f, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(f)
}

// client is one of the relay over UDP, with these credentials.
func client(t *testing.T, one service) *turn.Client {
	t.Helper()
	conn, err := net.ListenPacket("udp4", harness.ServerIP+":0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: net.JoinHostPort(one.host, one.port), Conn: conn,
		Username: one.username, Password: one.password})
	if err == nil {
		err = c.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		conn.Close()
	})
	return c
}

// eventually waits for what others are about to bring about.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for end := time.After(harness.Timeout); !holds(); {
		select {
		case <-again.C:
		case <-end:
			t.Fatalf("never: %s", what)
		}
	}
}

func TestAnAccountThatGoesTakesItsAllocationsWithIt(t *testing.T) {
	s := start(t, "", "romeo", "juliet", "tybalt")
	romeo, juliet, tybalt := turnOf(t, s, "romeo", "udp"), turnOf(t, s, "juliet", "udp"), turnOf(t, s, "tybalt", "udp")
	for _, one := range []service{romeo, tybalt} {
		r, err := client(t, one).Allocate()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
	}
	mixed := romeo
	mixed.password = juliet.password
	if _, err := client(t, mixed).Allocate(); err == nil {
		t.Error("an allocation by the password of another")
	}
	s.Command("", "user", "disable", "romeo@localhost")
	s.Command("", "user", "del", "tybalt@localhost")
	eventually(t, "their allocations end", func() bool { return metric(t, s, "call_allocations") == 0 })
	s.AddUser("tybalt")
	for who, one := range map[string]service{"one who is disabled": romeo, "another of the same name": tybalt} {
		if _, err := client(t, one).Allocate(); err == nil {
			t.Errorf("an allocation for %s", who)
		}
	}
	if r, err := client(t, juliet).Allocate(); err != nil {
		t.Errorf("she is refused: %v", err)
	} else {
		r.Close()
	}
}

func TestTheRelayOpensNothingOfTheServersOwn(t *testing.T) {
	s := start(t, "", "romeo")
	c := client(t, turnOf(t, s, "romeo", "udp"))
	r, err := c.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, no := range []string{"127.0.0.1", "10.0.0.1", "::1", "0.0.0.0", "100.64.0.1", "169.254.169.254"} {
		if err := c.CreatePermission(&net.UDPAddr{IP: net.ParseIP(no), Port: 53}); err == nil {
			t.Errorf("a permission for %s", no)
		}
	}
	// Something that listens for this machine alone, though at the address at which the relay is, too.
	secret, err := net.ListenPacket("udp4", harness.ServerIP+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	before := metric(t, s, "call_peers_refused_total")
	if _, err := r.WriteTo([]byte("open"), secret.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the packet is refused", func() bool { return metric(t, s, "call_peers_refused_total") > before })
	if n := metric(t, s, "call_bytes_up_total"); n != 0 {
		t.Errorf("%d bytes were sent", n)
	}
}

// resident is the memory of the server in bytes.
func resident(t *testing.T, s *harness.Server) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func TestManyAllocationsComeAndGo(t *testing.T) {
	const many, each = 200, 10
	var users []string
	for i := range many / each {
		users = append(users, fmt.Sprintf("user%d", i))
	}
	s := start(t, "  address_allocations: 1000\n  ports: {first: 50000, last: 51000}\n", users...)
	before := resident(t, s)
	var relays []net.PacketConn
	for _, u := range users {
		one := turnOf(t, s, u, "udp")
		for range each {
			r, err := client(t, one).Allocate()
			if err != nil {
				t.Fatalf("%s, after %d: %v", u, len(relays), err)
			}
			relays = append(relays, r)
		}
		if _, err := client(t, one).Allocate(); err == nil {
			t.Errorf("%s has more than %d", u, each)
		}
	}
	if n := metric(t, s, "call_allocations"); n != many {
		t.Errorf("%d allocations", n)
	}
	grown := resident(t, s) - before
	t.Logf("%d allocations take %d KiB, %d each", many, grown>>10, grown/many)
	if grown > 32<<20 {
		t.Errorf("%d allocations take %d MiB", many, grown>>20)
	}
	for _, r := range relays {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are gone", func() bool { return metric(t, s, "call_allocations") == 0 })
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) > 100 {
		t.Errorf("%d files are open", len(files))
	}
}

// A zone knows one host.
type zone struct{}

func (zone) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{Err: "no such host", IsNotFound: true}
}

func (zone) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr(harness.ServerIP)}, nil
}

func (zone) LookupCNAME(_ context.Context, host string) (string, error) { return host, nil }

func TestTheDoctorSeesWhatIsClosed(t *testing.T) {
	s := start(t, "", "romeo")
	cfg := config.Default()
	cfg.Hosts, cfg.Calls.Enabled = []config.Host{{Domain: "chat.example"}}, true
	cfg.Calls.Listen = []string{harness.ServerIP + ":" + port}
	examine := func() (lines []string) {
		for _, f := range doctor.Examine(t.Context(), doctor.Options{Domain: "chat.example", Config: cfg, Resolver: zone{},
			Ask: func(context.Context, string, uint16) (doctor.Answer, error) { return doctor.Answer{}, nil }}) {
			if strings.Contains(f.What, "calls") {
				lines = append(lines, string(f.Level)+": "+f.What+" | "+f.Do)
			}
		}
		return lines
	}
	at := harness.ServerIP + ":" + port
	for _, want := range []string{"good: the relay for calls answers at " + at + " of udp", "of tcp",
		"ufw allow 49160:49360/udp"} {
		if all := strings.Join(examine(), "\n"); !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	cfg.Calls.Listen = []string{harness.ServerIP + ":3479"}
	for _, want := range []string{"wrong: the relay for calls does not answer at " + harness.ServerIP + ":3479 of udp",
		"of tcp: dial tcp", "ufw allow 3479/udp"} {
		if all := strings.Join(examine(), "\n"); !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	cfg.Calls.Addresses = []string{"10.0.0.1"}
	if all := strings.Join(examine(), "\n"); !strings.Contains(all, "warning: clients are not told of the relay for calls: 10.0.0.1") {
		t.Errorf("an address that nobody reaches:\n%s", all)
	}

	// And by command, for what is configured but not to be had.
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	private := bytes.Replace(text, []byte("calls:\n"), []byte("calls:\n  addresses: [10.0.0.1]\n"), 1)
	if err := os.WriteFile(s.Config, private, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.Command("", "check"); !strings.Contains(out, "not told of the relay for calls: 10.0.0.1 of calls.addresses") {
		t.Errorf("check says\n%s", out)
	}
	s.Command("", "reload")
	eventually(t, "users are told of nothing", func() bool { return len(services(t, s, "romeo")) == 0 })
	if !strings.Contains(s.Log(), "clients are not told of the relay for calls") {
		t.Error("the log does not say it")
	}
}
