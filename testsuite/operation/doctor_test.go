package operation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"jackdaw/config"
	"jackdaw/server/doctor"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// A zone answers like a DNS of its own, for names that end with a dot.
type zone struct {
	services map[string][]*net.SRV // by "_xmpp-client._tcp.chat.example."
	hosts    map[string]string
	aliases  map[string]string
	broken   string              // a service that the DNS does not answer for
	others   map[string][]string // data of CAA and TLSA as bytes, by the name and the number of the type
	signed   bool
}

func (z *zone) ask(_ context.Context, name string, kind uint16) (a doctor.Answer, err error) {
	owner := fmt.Sprint(name, " ", kind)
	if owner == z.broken {
		return a, errors.New("the DNS does not answer: ServerFailure")
	}
	for _, data := range z.others[owner] {
		a.Records = append(a.Records, []byte(data))
	}
	a.Signed = z.signed
	return a, nil
}

func (z *zone) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	owner := "_" + service + "._" + proto + "." + name
	if owner == z.broken {
		return "", nil, &net.DNSError{Err: "server misbehaving", Name: owner, IsTemporary: true}
	}
	if list := z.services[owner]; list != nil {
		return owner, list, nil
	}
	return "", nil, &net.DNSError{Err: "no such host", Name: owner, IsNotFound: true}
}

func (z *zone) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if ip, ok := z.hosts[host]; ok {
		return []netip.Addr{netip.MustParseAddr(ip)}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (z *zone) LookupCNAME(_ context.Context, host string) (string, error) {
	if to, ok := z.aliases[host]; ok {
		return to, nil
	}
	return host, nil
}

// srv is one record for a target.
func srv(target string, port uint16) []*net.SRV { return []*net.SRV{{Target: target, Port: port}} }

// A ward is a server for chat.example with a certificate that counts, and the world around it as it should be.
type ward struct {
	authority *peers.Authority
	server    *harness.Server
	zone      *zone
	places    map[string]string // where an address of the zone leads
	options   doctor.Options
}

// newWard makes one. The addresses of the zone lead to the server.
func newWard(t *testing.T) *ward {
	t.Helper()
	a := peers.NewAuthority(t)
	files := a.IssueFor([]string{"chat.example", "rooms.chat.example"}, x509.ExtKeyUsageServerAuth)
	s := harness.Start(t, harness.Options{Domain: "chat.example", Cert: files.Cert, Key: files.Key, Federate: true,
		HTTP: "url: https://chat.example", Env: a.Env()})
	z := &zone{
		services: map[string][]*net.SRV{
			"_xmpp-client._tcp.chat.example.":        srv("im.chat.example.", 5222),
			"_xmpps-client._tcp.chat.example.":       srv("im.chat.example.", 5223),
			"_xmpp-server._tcp.chat.example.":        srv("im.chat.example.", 5269),
			"_xmpps-server._tcp.chat.example.":       srv("im.chat.example.", 5270),
			"_xmpp-server._tcp.rooms.chat.example.":  srv("im.chat.example.", 5269),
			"_xmpps-server._tcp.rooms.chat.example.": srv("im.chat.example.", 5270),
		},
		hosts: map[string]string{"im.chat.example.": "192.0.2.1", "chat.example.": "192.0.2.1"},
	}
	w := &ward{authority: a, server: s, zone: z, places: map[string]string{"192.0.2.1:5222": s.C2S,
		"192.0.2.1:5223": s.C2STLS, "192.0.2.1:5269": s.S2S, "192.0.2.1:5270": s.S2STLS, "192.0.2.1:443": s.HTTPS}}
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Data, cfg.Hosts, cfg.HTTP.URL = "/var/lib/jackdaw", []config.Host{{Domain: "chat.example"}}, "https://chat.example"
	cfg.Listen = config.Listen{C2S: []string{":5222"}, C2STLS: []string{":5223"}, S2S: []string{":5269"},
		S2STLS: []string{":5270"}, HTTPS: []string{":443"}}
	w.options = doctor.Options{Domain: "chat.example", Roots: roots(t, a), Config: cfg,
		Certificate: &pair, Files: "https://chat.example/upload", Invitations: "https://chat.example/invite/",
		Machine: &doctor.Machine{PID: 1, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
			Descriptors: func(int) (int, int, error) { return 20, 65536, nil },
			Disk:        func(string) (doctor.Room, error) { return doctor.Room{Free: 50 << 30, All: 100 << 30}, nil },
			Clock:       func() (bool, error) { return true, nil }}}
	return w
}

func roots(t *testing.T, a *peers.Authority) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(a.File)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return pool
}

// copied is a ward in which things may be changed; the server is the same.
func (w *ward) copied() *ward {
	c, z, cfg, m := *w, *w.zone, *w.options.Config, *w.options.Machine
	z.services, z.hosts, z.aliases = maps.Clone(z.services), maps.Clone(z.hosts), maps.Clone(z.aliases)
	c.zone, c.places, c.options.Config, c.options.Machine = &z, maps.Clone(w.places), &cfg, &m
	c.options.Resolver, c.options.Ask = c.zone, c.zone.ask
	c.zone.others = maps.Clone(c.zone.others)
	c.options.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		to, ok := c.places[addr]
		if !ok {
			return nil, errors.New("connection refused")
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}
	return &c
}

// bad are the findings that are not good, a line for each.
func bad(found []doctor.Finding) (lines []string) {
	for _, f := range found {
		if f.Level == doctor.Warning || f.Level == doctor.Wrong {
			lines = append(lines, fmt.Sprintf("%s: %s; do: %s", f.Level, f.What, f.Do))
		}
	}
	return lines
}

func TestDoctorFindsNothingWrongWhereNothingIs(t *testing.T) {
	found := doctor.Examine(t.Context(), newWard(t).copied().options)
	if lines := bad(found); len(lines) > 0 || doctor.Worst(found) != doctor.Good {
		t.Errorf("%s", strings.Join(lines, "\n"))
	}
	// Four services, two of rooms, two documents, WebSocket and BOSH, files, invitations, three of the machine, and what a
	// firewall may do.
	if len(found) != 16 {
		t.Errorf("%d findings: %+v", len(found), found)
	}
}

func TestDoctorCommandFailsWhereSomethingIsWrong(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	out, err := s.TryCommand("", "doctor")
	if err != nil || !strings.Contains(out, "warning localhost: the domain is for this machine alone") ||
		!regexp.MustCompile(`(?m)^good +localhost: the server has \d+ of \d+ files open$`).MatchString(out) ||
		!strings.Contains(out, "localhost: the disk of "+s.Dir) {
		t.Errorf("%v: %s", err, out)
	}
	s.Stop()
	if out, err := s.TryCommand("", "doctor"); err == nil || !strings.Contains(out, "wrong   localhost: no server runs on ") {
		t.Errorf("without a server: %v: %s", err, out)
	}
	out, err = s.TryCommand("", "doctor", "nowhere.invalid", "--json") // RFC 6761 §6.4: it never exists
	if err == nil || !strings.Contains(out, `"level": "wrong"`) || !strings.Contains(out, `"domain": "nowhere.invalid"`) {
		t.Errorf("%v: %s", err, out)
	}
}
