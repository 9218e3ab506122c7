package setup

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jackdaw/config"
	"jackdaw/contrib"
)

// plan is one that is complete.
func plan() Plan {
	return Plan{Domain: "Example.org", Admin: "me", Data: "/srv/jackdaw", HTTPS: 443}
}

func TestConfigurationSaysWhatDiffersAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Plan)
		want   func(*config.Config)
	}{
		{"as usual", func(*Plan) {}, func(c *config.Config) {}},
		{"alone, with files for the certificate and another port", func(p *Plan) {
			p.Alone, p.Cert, p.Key, p.HTTPS = true, `/etc/"odd" name.crt`, "/etc/a.key", 5284
		}, func(c *config.Config) {
			c.Listen.S2S, c.Listen.S2STLS, c.Listen.TLS, c.Listen.HTTPS = nil, nil, nil, []string{":5284"}
			c.Hosts[0].Cert, c.Hosts[0].Key = `/etc/"odd" name.crt`, "/etc/a.key"
		}},
		{"a machine with a name of its own", func(p *Plan) { p.Machine, p.HTTPS = "xmpp.example.org.", 8443 },
			func(c *config.Config) {
				c.Listen.TLS, c.Listen.HTTPS, c.HTTP.URL = nil, []string{":8443"}, "https://xmpp.example.org:8443"
			}},
		{"the same on the port of the web", func(p *Plan) { p.Machine = "xmpp.example.org" },
			func(c *config.Config) { c.HTTP.URL = "https://xmpp.example.org" }},
		{"certificates by themselves", func(p *Plan) { p.Email, p.Port80 = "me@mail.example", true }, func(c *config.Config) {
			c.ACME.Email = "me@mail.example"
			c.ACME.Except = []string{"multicast.example.org", "pubsub.example.org"}
			c.Listen.ACME = []string{":80"}
		}},
		{"nothing for the web", func(p *Plan) { p.HTTPS = 0 }, func(c *config.Config) { c.Listen.TLS = nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := plan()
			c.change(&p)
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
			got, err := p.Config("/etc/jackdaw/jackdaw.yaml")
			if err != nil {
				t.Fatal(err)
			}
			want := config.Default()
			want.Data = "/srv/jackdaw"
			want.Hosts = []config.Host{{Domain: "example.org", Admins: []string{"me@example.org"}}}
			want.Listen = config.Listen{C2S: []string{":5222"}, C2STLS: []string{":5223"}, TLS: []string{":443"},
				S2S: []string{":5269"}, S2STLS: []string{":5270"}, HTTP: want.Listen.HTTP}
			want.Registration = config.RegistrationInvite
			c.want(want)
			if len(got.Listen.HTTPS) == 0 {
				got.Listen.HTTPS = nil
			}
			got.S2S.Resolve, got.Component.Secrets = nil, nil // empty, not absent
			got.Modules.Strangers.Hosts, got.Modules.PubSub.Hosts = nil, nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for i, line := range strings.Split(p.Text(), "\n") {
				if len(line) > 120 {
					t.Errorf("line %d has %d columns", i+1, len(line))
				}
			}
		})
	}
}

func TestPlanIsRefusedWithTheReason(t *testing.T) {
	for _, c := range []struct {
		change func(*Plan)
		want   string
	}{
		{func(p *Plan) { p.Domain = "me@example.org" }, "expected a domain"},
		{func(p *Plan) { p.Domain = "192.0.2.7" }, "expected a name of the DNS"},
		{func(p *Plan) { p.Machine = "xmpp" }, "the whole name of the machine"},
		{func(p *Plan) { p.Admin = "me@other.example" }, "an account of example.org"},
		{func(p *Plan) { p.Admin = "me@example.org/phone" }, "an account of example.org"},
		{func(p *Plan) { p.Cert = "a.crt" }, "needed both"},
		{func(p *Plan) { p.Cert, p.Key, p.Email = "a.crt", "a.key", "me@mail.example" }, "not both"},
		{func(p *Plan) { p.Email = "Me <me@mail.example>" }, "expected an address for mail"},
	} {
		p := plan()
		c.change(&p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", p, err, c.want)
		}
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "jackdaw.yaml")
	if err := Write(file, "one", nil); err != nil {
		t.Fatal(err)
	}
	if err := Write(file, "two", nil); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a second time: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link.yaml")
	if err := os.Symlink("/nowhere/at/all", link); err != nil {
		t.Fatal(err)
	}
	if Free(link) == nil || Write(link, "two", nil) == nil {
		t.Error("a link to nothing counts as nothing")
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "one" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestWhatAPackageBroughtMakesRoom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jackdaw.yaml")
	for text, untouched := range map[string]bool{contrib.Configuration: true, contrib.Configuration + "\n": false} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		want := text
		if untouched {
			want = "one"
		}
		if free, err := Free(file), Write(file, "one", nil); (free == nil) != untouched || (err == nil) != untouched {
			t.Errorf("untouched %t: %v, %v", untouched, free, err)
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != want {
			t.Errorf("untouched %t: left %q, %v", untouched, b, err)
		}
	}
}

func TestFirewallOpensWhatOthersReach(t *testing.T) {
	p := plan()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	c, err := p.Config("/etc/jackdaw/jackdaw.yaml")
	if err != nil {
		t.Fatal(err)
	}
	nft, ufw := Firewall(Opened(c))
	if nft != "nft add rule inet filter input tcp dport { 443, 5222, 5223, 5269, 5270 } accept" ||
		ufw != "ufw allow proto tcp to any port 443,5222,5223,5269,5270" {
		t.Errorf("%s\n%s", nft, ufw)
	}
}

func TestUnitFitsTheServer(t *testing.T) {
	c := config.Default()
	c.Data = stateDir
	usual := Unit{Program: "/usr/local/bin/jackdaw", File: "/etc/jackdaw/jackdaw.yaml", Config: c}
	if _, body, _ := strings.Cut(contrib.Unit, "\n[Unit]"); usual.String() != "[Unit]"+body {
		t.Errorf("the usual unit differs from contrib/jackdaw.service:\n%s", usual)
	}
	if list := Rights(c); list != nil {
		t.Errorf("rights that nothing needs: %q", list)
	}
	c.Data, c.Listen.TLS = "/home/me/chat data", []string{":443"}
	unit := "\n" + Unit{Program: "/opt/jackdaw", File: "/home/me/100%.yaml", Config: c, User: "me"}.String()
	for _, want := range []string{"User=me\n", "ExecStart=/opt/jackdaw serve --config /home/me/100%%.yaml\n",
		"ReadWritePaths=\"/home/me/chat data\"\n", "AmbientCapabilities=CAP_NET_BIND_SERVICE\n",
		"CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n", "PrivateUsers=no\n", "ProtectHome=no\n"} {
		if strings.Count(unit, "\n"+want) != 1 {
			t.Errorf("not one %q in %s", want, unit)
		}
	}
	for _, gone := range []string{"StateDirectory", "Group=", "ProtectHome=yes", "PrivateUsers=yes"} {
		if strings.Contains(unit, "\n"+gone) {
			t.Errorf("%s is still there", gone)
		}
	}
}

func TestAPortIsTakenByWhoeverListens(t *testing.T) {
	l, port := listen(t)
	if !Taken(port) {
		t.Error("a port with a listener is free")
	}
	l.Close()
	if Taken(port) {
		t.Error("a port without is taken")
	}
}

func listen(t *testing.T) (net.Listener, uint16) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, uint16(l.Addr().(*net.TCPAddr).Port)
}
