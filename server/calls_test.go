package server

import (
	"net/netip"
	"strings"
	"testing"

	"jackdaw/calls"
	"jackdaw/config"
)

// Users are told of the ways to the relay that are open to them, and of no other; where there is none, it is said why.
func TestUsersAreToldOfWhatTheyReach(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	for _, row := range []struct {
		listen, tls, want string
	}{
		{":3478", ":5223", "stun:192.0.2.7:udp turn:192.0.2.7:udp turn:192.0.2.7:tcp stun:2001:db8::7:udp turn:2001:db8::7:udp " +
			"turn:2001:db8::7:tcp turns:im.example:tcp"},
		{"192.0.2.7:3478", "", "stun:192.0.2.7:udp turn:192.0.2.7:udp turn:192.0.2.7:tcp"},
		{"127.0.0.1:3478", ":5223", "turns:im.example:tcp"},
		{"127.0.0.1:3478", "127.0.0.1:5223", ""},
		{"[::1]:3478", "", ""},
		{"192.0.2.9:3478", "", ""},
	} {
		cfg := &config.Config{Hosts: []config.Host{{Domain: "im.example"}}}
		cfg.Calls.Listen, cfg.Listen.TLS = strings.Fields(row.listen), strings.Fields(row.tls)
		place := &calls.Place{V4: v4, V6: v6, Own: []netip.Addr{v4, v6}}
		var got []string
		for _, s := range relayServices(cfg, place, "im.example") {
			got = append(got, s.Type+":"+s.Host+":"+s.Transport)
		}
		if all := strings.Join(got, " "); all != row.want {
			t.Errorf("listeners %q and %q: told of %s", row.listen, row.tls, all)
		}
		why := unheard(cfg, place)
		if (why != "") != (row.want == "") || why != "" && !strings.Contains(why, "192.0.2.7 2001:db8::7") {
			t.Errorf("listeners %q and %q: the log says %q", row.listen, row.tls, why)
		}
		if why := unheard(cfg, &calls.Place{Why: "it is not known"}); why != "" {
			t.Errorf("without an address: %q", why)
		}
	}
}
