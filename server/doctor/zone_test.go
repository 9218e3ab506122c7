package doctor

import (
	"crypto/x509"
	"net/netip"
	"strings"
	"testing"

	"jackdaw/config"
)

// served is a configuration for one host, with what a person opens to the world.
func served(host string) *config.Config {
	c := config.Default()
	c.Hosts = []config.Host{{Domain: host}}
	c.Listen = config.Listen{C2S: []string{":5222"}, C2STLS: []string{":5223"}, TLS: []string{":443"},
		S2S: []string{":5269"}, S2STLS: []string{":5270"}}
	return c
}

func TestZoneSaysWhereEachServiceIs(t *testing.T) {
	both := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
	for _, c := range []struct {
		name, host string
		change     func(*config.Config)
		at         Place
		want       string // lines; without those that are for comments
	}{
		{"the machine has the name of the domain", "example.org", nil, Place{Addresses: both}, `
example.org. 3600 IN A 192.0.2.7
example.org. 3600 IN AAAA 2001:db8::7
_xmpp-client._tcp.example.org. 3600 IN SRV 5 0 5222 example.org.
_xmpps-client._tcp.example.org. 3600 IN SRV 5 0 5223 example.org.
_xmpps-client._tcp.example.org. 3600 IN SRV 10 0 443 example.org.
_xmpp-server._tcp.example.org. 3600 IN SRV 5 0 5269 example.org.
_xmpps-server._tcp.example.org. 3600 IN SRV 5 0 5270 example.org.
_xmpps-server._tcp.example.org. 3600 IN SRV 10 0 443 example.org.
rooms.example.org. 3600 IN A 192.0.2.7
rooms.example.org. 3600 IN AAAA 2001:db8::7
_xmpp-server._tcp.rooms.example.org. 3600 IN SRV 5 0 5269 example.org.
_xmpps-server._tcp.rooms.example.org. 3600 IN SRV 5 0 5270 example.org.
_xmpps-server._tcp.rooms.example.org. 3600 IN SRV 10 0 443 example.org.
upload.example.org. 3600 IN A 192.0.2.7
upload.example.org. 3600 IN AAAA 2001:db8::7`},
		{"alone, on a machine with a name of its own, beneath an umlaut", "müller.example", func(c *config.Config) {
			c.Listen.S2S, c.Listen.S2STLS, c.Listen.TLS = nil, nil, nil
		}, Place{Machine: "Chat.Müller.example.", Addresses: both[:1]}, `
chat.xn--mller-kva.example. 3600 IN A 192.0.2.7
; xn--mller-kva.example. 3600 IN A 192.0.2.7
_xmpp-client._tcp.xn--mller-kva.example. 3600 IN SRV 5 0 5222 chat.xn--mller-kva.example.
_xmpps-client._tcp.xn--mller-kva.example. 3600 IN SRV 5 0 5223 chat.xn--mller-kva.example.
_xmpp-server._tcp.xn--mller-kva.example. 3600 IN SRV 0 0 0 .
_xmpps-server._tcp.xn--mller-kva.example. 3600 IN SRV 0 0 0 .
upload.xn--mller-kva.example. 3600 IN A 192.0.2.7`},
		{"no address is known; certificates by an authority; no files", "example.org", func(c *config.Config) {
			c.Listen.TLS, c.Modules.Off = nil, map[string]bool{"upload": true}
			c.Modules.MUC.Domain = "talk.example.net"
		}, Place{Authority: "letsencrypt.org"}, `
; example.org. 3600 IN A (the address of this machine as everybody sees it)
_xmpp-client._tcp.example.org. 3600 IN SRV 5 0 5222 example.org.
_xmpps-client._tcp.example.org. 3600 IN SRV 5 0 5223 example.org.
_xmpp-server._tcp.example.org. 3600 IN SRV 5 0 5269 example.org.
_xmpps-server._tcp.example.org. 3600 IN SRV 5 0 5270 example.org.
; talk.example.net. 3600 IN A (the address of this machine as everybody sees it)
_xmpp-server._tcp.talk.example.net. 3600 IN SRV 5 0 5269 example.org.
_xmpps-server._tcp.talk.example.net. 3600 IN SRV 5 0 5270 example.org.
example.org. 3600 IN CAA 0 issue "letsencrypt.org"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := served(c.host)
			if c.change != nil {
				c.change(cfg)
			}
			records, err := Zone(cfg, c.host, c.at)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, r := range records {
				b.WriteString("\n" + r.String())
			}
			if b.String() != c.want {
				t.Errorf("found:%s\nwant:%s", b.String(), c.want)
			}
		})
	}
}

func TestZonePinsTheKeyOfACertificateThatStays(t *testing.T) {
	records, err := Zone(served("example.org"), "example.org",
		Place{Certificate: &x509.Certificate{RawSubjectPublicKeyInfo: []byte("key")}})
	if err != nil {
		t.Fatal(err)
	}
	// printf key | sha256sum
	const want = "; _5269._tcp.example.org. 3600 IN TLSA 3 1 1 2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"
	found := false
	for _, r := range records {
		found = found || r.String() == want
	}
	if !found {
		t.Errorf("no %s in %v", want, records)
	}
}

func TestZoneIsRefusedForWhatIsNoName(t *testing.T) {
	if z, err := Zone(served("-.example"), "-.example", Place{}); err == nil {
		t.Errorf("a zone: %v", z)
	}
}
