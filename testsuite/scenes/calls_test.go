package scenes

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// relayConfig has a relay for calls, another one elsewhere, and a proxy for files.
func relayConfig(relay, at, proxy string) string {
	return fmt.Sprintf("calls:\n  enabled: true\n  listen: [%q]\n  addresses: [%q]\n"+
		"  external: [{type: turn, host: turn.example.org, port: 3478, transport: udp, secret: shared}]\n"+
		"modules: {bytestreams: {enabled: true, listen: [%q], host: 127.0.0.1}}\n", relay, at, proxy)
}

// everywhere is a free port of all addresses of this machine, since nobody is told of a listener on loopback. It is not
// among those that the harness or the system gives.
func everywhere(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprint(":", 20000+rand.N(10000))
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		defer ln.Close()
		if p, err := net.ListenPacket("udp", addr); err == nil {
			defer p.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// TestUsersAreToldOfRelaysAndSendFiles plays calls. What goes through the relay is the business of testsuite/calls.
func TestUsersAreToldOfRelaysAndSendFiles(t *testing.T) {
	t.Parallel()
	const here = "192.0.2.7"
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			relay, proxy := everywhere(t), everywhere(t)
			first := relayConfig(relay, here, proxy)
			s := harness.Start(t, harness.Options{Place: place, Config: first})
			whole, err := os.ReadFile(s.Config)
			if err != nil {
				t.Fatal(err)
			}
			perform(t, nil, "calls", stageOf(s), func(l line) answer {
				switch l.Ask {
				case "relay":
					return answer{Out: relay}
				case "proxy":
					return answer{Out: "127.0.0.1" + proxy}
				case "move": // the address of the relay, or its listener to where nobody comes
					now := relayConfig(relay, l.Stdin, proxy)
					if l.Stdin == "loopback" {
						now = relayConfig("127.0.0.1"+relay, here, proxy)
					}
					if err := os.WriteFile(s.Config, []byte(strings.Replace(string(whole), first, now, 1)), 0o600); err != nil {
						t.Fatal(err)
					}
					s.Command("", "reload")
					return answer{}
				}
				return help(t, s, l)
			})
		})
	}
}

// TestStrangersHaveNoRelayAndNoProxy: whoever comes from another server is told of nothing and joins nothing.
func TestStrangersHaveNoRelayAndNoProxy(t *testing.T) {
	t.Parallel()
	for _, place := range harness.OverTCP() { // how users come plays no part
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			authority := peers.NewAuthority(t)
			peer := fakepeer.Start(t, fakepeer.Options{Domains: []string{abroad}}.Certified(t, authority, peers.None))
			own := authority.Issue(harness.Domain, peers.None)
			s := harness.Start(t, harness.Options{Place: place,
				Env: append(authority.Env(), quick...), Federate: true, Cert: own.Cert, Key: own.Key,
				Config: relayConfig(everywhere(t), "192.0.2.7", everywhere(t)),
				S2S:    fmt.Sprintf("resolve: {%q: %q}", abroad, peer.Addr)})
			const proxy = "proxy." + harness.Domain
			for i, row := range []struct{ kind, to, payload string }{
				{"get", harness.Domain, "<services xmlns='urn:xmpp:extdisco:2'/>"},
				{"get", harness.Domain, "<credentials xmlns='urn:xmpp:extdisco:2'><service type='turn' host='192.0.2.7'/></credentials>"},
				{"get", proxy, "<query xmlns='http://jabber.org/protocol/bytestreams'/>"},
				{"set", proxy, "<query xmlns='http://jabber.org/protocol/bytestreams' sid='s'><activate>" + juliets + "/x</activate></query>"},
			} {
				peer.Locate(row.to, s.S2S)
				link, err := peer.Connect(abroad, row.to, fakepeer.Way{})
				if err != nil {
					t.Fatal(err)
				}
				id := fmt.Sprint("ask-", i)
				if err := link.Send("<iq type='" + row.kind + "' id='" + id + "' from='" + mercutio + "/x' to='" + row.to + "'>" + row.payload + "</iq>"); err != nil {
					t.Fatal(err)
				}
				got, err := peer.Until(func(s fakepeer.Stanza) bool { return s.Attr("id") == id })
				if err != nil {
					t.Fatal(err)
				}
				answer := got[len(got)-1].Raw
				if !regexp.MustCompile(`<error type='\w+'><forbidden `).MatchString(answer) || strings.Contains(answer, "192.0.2.7' port") {
					t.Errorf("%s to %s: %s", row.payload, row.to, answer)
				}
			}
		})
	}
}
