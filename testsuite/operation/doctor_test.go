package operation

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

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
	broken   string // a service that the DNS does not answer for
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

// patient is a server for chat.example, with a certificate that counts, and the world around it as it should be.
func patient(t *testing.T) (*harness.Server, *zone, doctor.Options) {
	t.Helper()
	a := peers.NewAuthority(t)
	files := a.Issue("chat.example", peers.None)
	s := harness.Start(t, harness.Options{Domain: "chat.example", Cert: files.Cert, Key: files.Key, Federate: true,
		HTTP: "url: https://chat.example"})
	pem, err := os.ReadFile(a.File)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	z := &zone{
		services: map[string][]*net.SRV{
			"_xmpp-client._tcp.chat.example.":  srv("im.chat.example.", 5222),
			"_xmpps-client._tcp.chat.example.": srv("im.chat.example.", 5223),
			"_xmpp-server._tcp.chat.example.":  srv("im.chat.example.", 5269),
			"_xmpps-server._tcp.chat.example.": srv("im.chat.example.", 5270),
		},
		hosts: map[string]string{"im.chat.example.": "192.0.2.1", "chat.example.": "192.0.2.1"},
	}
	places := map[string]string{"192.0.2.1:5222": s.C2S, "192.0.2.1:5223": s.C2STLS, "192.0.2.1:5269": s.S2S,
		"192.0.2.1:5270": s.S2STLS, "192.0.2.1:443": s.HTTPS}
	// The certificates of these tests end within a day.
	now := time.Now().Add(-20 * 24 * time.Hour)
	return s, z, doctor.Options{Domain: "chat.example", Resolver: z, Roots: roots, Now: func() time.Time { return now },
		Config: &config.Config{Listen: config.Listen{C2S: []string{":5222"}, C2STLS: []string{":5223"},
			S2S: []string{":5269"}, S2STLS: []string{":5270"}, HTTPS: []string{":443"}}},
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to, ok := places[addr]
			if !ok {
				return nil, errors.New("connection refused")
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		}}
}

// bad are the findings that are not good, a line for each.
func bad(found []doctor.Finding) (lines []string) {
	for _, f := range found {
		if f.Level != doctor.Good {
			lines = append(lines, fmt.Sprintf("%s: %s; do: %s", f.Level, f.What, f.Do))
		}
	}
	return lines
}

func TestDoctorFindsNothingWrongWhereNothingIs(t *testing.T) {
	_, _, o := patient(t)
	found := doctor.Examine(t.Context(), o)
	if lines := bad(found); len(lines) > 0 || doctor.Worst(found) != doctor.Good {
		t.Errorf("%s", strings.Join(lines, "\n"))
	}
	if len(found) != 8 { // four services, two documents, WebSocket and BOSH
		t.Errorf("%d findings: %+v", len(found), found)
	}
}

func TestDoctorSaysWhatToDo(t *testing.T) {
	_, z, o := patient(t)
	whole := *z
	for _, c := range []struct {
		name  string
		spoil func(*zone, *doctor.Options)
		level doctor.Level
		want  []string // each in the one line
	}{
		{"no record for direct TLS", func(z *zone, _ *doctor.Options) { delete(z.services, "_xmpps-client._tcp.chat.example.") },
			doctor.Warning, []string{"_xmpps-client._tcp.chat.example. 3600 IN SRV 5 0 5223 chat.example."}},
		{"another port than the usual one, without a record", func(z *zone, o *doctor.Options) {
			delete(z.services, "_xmpp-client._tcp.chat.example.")
			o.Config.Listen.C2S = []string{":15222"}
		}, doctor.Wrong, []string{"listens on 15222", "IN SRV 5 0 15222 chat.example."}},
		{"another port than the one listened on", func(z *zone, o *doctor.Options) { o.Config.Listen.S2S = []string{":15269"} },
			doctor.Warning, []string{"names port 5269", "listens on 15269"}},
		{"a record that says no", func(z *zone, _ *doctor.Options) { z.services["_xmpp-server._tcp.chat.example."] = srv(".", 0) },
			doctor.Wrong, []string{"says that there is no such service", "5269"}},
		{"an address for a name", func(z *zone, _ *doctor.Options) {
			z.services["_xmpp-server._tcp.chat.example."] = srv("192.0.2.1.", 5269)
		}, doctor.Wrong, []string{"names an address, 192.0.2.1"}},
		{"a target without address", func(z *zone, _ *doctor.Options) {
			z.services["_xmpp-server._tcp.chat.example."] = srv("gone.example.", 5269)
		}, doctor.Wrong, []string{"gone.example has no address", "A or AAAA"}},
		{"an alias", func(z *zone, _ *doctor.Options) {
			z.services["_xmpp-client._tcp.chat.example."] = srv("www.chat.example.", 5222)
			z.hosts["www.chat.example."] = "192.0.2.1"
			z.aliases = map[string]string{"www.chat.example.": "im.chat.example."}
		}, doctor.Warning, []string{"which is an alias of im.chat.example;"}},
		{"a closed port", func(z *zone, o *doctor.Options) {
			z.services["_xmpps-server._tcp.chat.example."] = srv("im.chat.example.", 5280)
			o.Config.Listen.S2STLS = []string{":5280"}
		}, doctor.Wrong, []string{"im.chat.example:5280 (192.0.2.1) is not reached: connection refused", "firewall"}},
		{"STARTTLS where TLS begins at once", func(z *zone, o *doctor.Options) {
			z.services["_xmpps-client._tcp.chat.example."] = srv("im.chat.example.", 5222)
			o.Config.Listen.C2STLS = []string{":5222"}
		}, doctor.Wrong, []string{"TLS fails", "TLS from the first byte"}},
		{"a DNS that does not answer", func(z *zone, _ *doctor.Options) { z.broken = "_xmpp-client._tcp.chat.example." },
			doctor.Wrong, []string{"does not answer for _xmpp-client._tcp.chat.example", "name servers"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			spoiled, options, cfg := whole, o, *o.Config
			spoiled.services, spoiled.hosts = maps.Clone(whole.services), maps.Clone(whole.hosts)
			options.Resolver, options.Config = &spoiled, &cfg
			c.spoil(&spoiled, &options)
			found := doctor.Examine(t.Context(), options)
			lines := bad(found)
			if len(lines) != 1 || doctor.Worst(found) != c.level {
				t.Fatalf("%s, not %s:\n%s", doctor.Worst(found), c.level, strings.Join(lines, "\n"))
			}
			for _, want := range c.want {
				if !strings.Contains(lines[0], want) {
					t.Errorf("no %q in %q", want, lines[0])
				}
			}
		})
	}
}

func TestDoctorJudgesCertificatesAsOthersDo(t *testing.T) {
	_, _, o := patient(t)
	within := o
	within.Now = time.Now
	for _, line := range bad(doctor.Examine(t.Context(), within)) {
		if !strings.HasPrefix(line, "warning: the certificate at im.chat.example:52") || !strings.Contains(line, "ends in 0 days") {
			t.Errorf("a certificate at its end: %s", line)
		}
	}
	o.Roots = x509.NewCertPool() // nobody's word counts
	clients, servers := 0, 0
	for _, f := range doctor.Examine(t.Context(), o) {
		switch {
		case f.Level == doctor.Wrong && strings.Contains(f.What, "not accepted"):
			clients++
		case f.Level == doctor.Warning && strings.Contains(f.What, "not accepted"):
			servers++ // which may still ask back
		}
	}
	if clients != 2 || servers != 2 {
		t.Errorf("%d wrong for clients, %d doubtful for servers", clients, servers)
	}
}

func TestDoctorCommandFailsWhereSomethingIsWrong(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	out, err := s.TryCommand("", "doctor")
	if err != nil || !strings.Contains(out, "warning localhost: the domain is for this machine alone") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = s.TryCommand("", "doctor", "nowhere.invalid", "--json") // RFC 6761 §6.4: it never exists
	if err == nil || !strings.Contains(out, `"level": "wrong"`) || !strings.Contains(out, `"domain": "nowhere.invalid"`) {
		t.Errorf("%v: %s", err, out)
	}
}
