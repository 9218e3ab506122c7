package scenes

import (
	"fmt"
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

// relayAt and listening are where a relay is said to be, and where it listens, in what relayConfig writes.
var (
	relayAt   = regexp.MustCompile(`addresses: \[[^]]*\]`)
	listening = regexp.MustCompile(`(calls:\n  enabled: true\n  listen: \[")[^:]*`)
	ports     = regexp.MustCompile(`listen: \["[^:]*:(\d+)"\]`)
)

// TestUsersAreToldOfRelaysAndSendFiles plays calls. What goes through the relay is the business of testsuite/calls.
func TestUsersAreToldOfRelaysAndSendFiles(t *testing.T) {
	t.Parallel()
	const here = "192.0.2.7"
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place,
				Config: relayConfig(harness.Everywhere(t), here, harness.Everywhere(t))})
			relays, proxies := "", "" // of all nodes, each with a space before it
			s.Rewrite(func(text string) string {
				found := ports.FindAllStringSubmatch(text, -1)
				relays, proxies = relays+" :"+found[0][1], proxies+" 127.0.0.1:"+found[1][1]
				return text
			})
			perform(t, nil, "calls", stageOf(s), func(l line) answer {
				switch l.Ask {
				case "relays":
					return answer{Out: relays}
				case "proxies":
					return answer{Out: proxies}
				case "move": // the address of the relay, or its listener to where nobody comes
					at, on := l.Stdin, ""
					if at == "loopback" {
						at, on = here, "127.0.0.1"
					}
					s.Rewrite(func(text string) string {
						return listening.ReplaceAllString(relayAt.ReplaceAllString(text, fmt.Sprintf("addresses: [%q]", at)), "${1}"+on)
					})
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
				Config: relayConfig(harness.Everywhere(t), "192.0.2.7", harness.Everywhere(t)),
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
