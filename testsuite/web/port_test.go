package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// onePort starts a server with a port that all share.
func onePort(t *testing.T, o harness.Options) (s *harness.Server, port string) {
	t.Helper()
	port = harness.FreeAddr()
	o.Listen = fmt.Sprintf("tls: [%q]\n", port) + o.Listen
	return harness.Start(t, o), port
}

// over is a client of HTTP that finds any host at an address, and asks by ALPN for what is given; nothing: for nothing.
func over(t *testing.T, addr string, alpn ...string) *http.Client {
	t.Helper()
	tr := &http.Transport{ForceAttemptHTTP2: len(alpn) > 0}
	tr.DialTLSContext = func(ctx context.Context, _, at string) (net.Conn, error) {
		name, _, err := net.SplitHostPort(at)
		if err != nil {
			return nil, err
		}
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: name, NextProtos: alpn}}
		return d.DialContext(ctx, "tcp", addr)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: harness.Timeout}
}

// get returns the status, the protocol and the body.
func get(t *testing.T, c *http.Client, url string) (status int, proto, body string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Proto, string(b)
}

// chat has two users meet: the one on a connection of the test's making, the other on the server's own port.
func chat(t *testing.T, s *harness.Server, one *harness.Client) {
	t.Helper()
	two, err := harness.Connect(s.C2STLS, "juliet", "balcony")
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	for _, c := range []*harness.Client{one, two} {
		if err := c.Send("<presence/>"); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.Send("<message type='chat' to='" + two.JID + "'><body>hist!</body></message>"); err != nil {
		t.Fatal(err)
	}
	el, err := two.Until(func(el string) bool { return strings.HasPrefix(el, "<message") })
	if err != nil || !strings.Contains(el, "hist!") || harness.Attr(el, "from") != one.JID {
		t.Errorf("%s, %v", el, err)
	}
}

func TestOnePortIsForClientsAndTheWeb(t *testing.T) {
	s, port := onePort(t, harness.Options{Users: []string{"romeo", "juliet"}})
	romeo, err := harness.Connect(port, "romeo", "garden") // asks for xmpp-client
	if err != nil {
		t.Fatal(err)
	}
	defer romeo.Close()
	chat(t, s, romeo)
	for _, row := range []struct {
		alpn  []string
		proto string
	}{{[]string{"h2", "http/1.1"}, "HTTP/2.0"}, {[]string{"http/1.1"}, "HTTP/1.1"}, {nil, "HTTP/1.1"}} {
		c := over(t, port, row.alpn...)
		for range 2 { // the second on the same connection
			if status, proto, _ := get(t, c, "https://localhost/message"); status != http.StatusMethodNotAllowed || proto != row.proto {
				t.Errorf("%v: %d %s", row.alpn, status, proto)
			}
		}
	}
	metrics := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	_, _, text := get(t, metrics, "http://"+s.Metrics+"/metrics")
	for _, line := range []string{`jackdaw_shared_connections_total{protocol="xmpp-client"} 1`,
		`jackdaw_shared_connections_total{protocol="h2"} 3`, "jackdaw_shared_panics_total 0"} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	_, err = tls.Dial("tcp", port, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"imap"}})
	if err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("a protocol that is not served: %v", err)
	}
}

func TestAClientWithoutALPNIsServed(t *testing.T) {
	s, port := onePort(t, harness.Options{Users: []string{"romeo"}})
	out := harness.Script(t, "testdata/login.py", port, "romeo@"+s.Domain, harness.Password)
	if !strings.Contains("\n"+out, "\nromeo@"+s.Domain+"/") { // it may complain beside
		t.Errorf("slixmpp: %s", out)
	}
}

func TestPeersMeetOnTheSharedPort(t *testing.T) {
	authority := peers.NewAuthority(t)
	addrs := map[string]string{"a.example": harness.FreeAddr(), "b.example": harness.FreeAddr()}
	servers := map[string]*harness.Server{}
	for domain, at := range addrs {
		own := authority.Issue(domain, "")
		resolve := ""
		for other, at := range addrs {
			resolve += fmt.Sprintf("    %s: \"tls:%s\"\n", other, at)
		}
		servers[domain] = harness.Start(t, harness.Options{Domain: domain, Users: []string{"u"}, Cert: own.Cert, Key: own.Key,
			Env: authority.Env(), Federate: true, Listen: fmt.Sprintf("tls: [%q]", at),
			S2S: "dialback: false\nresolve:\n" + strings.ReplaceAll(resolve, "    ", "  ")})
	}
	clients := map[string]*harness.Client{}
	for domain, s := range servers {
		c, err := harness.ConnectTo(s.C2STLS, domain, "u", "r")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Send("<presence/>"); err != nil {
			t.Fatal(err)
		}
		clients[domain] = c
	}
	for from, to := range map[string]string{"a.example": "b.example", "b.example": "a.example"} {
		if err := clients[from].Send("<message type='chat' to='" + clients[to].JID + "'><body>from " + from + "</body></message>"); err != nil {
			t.Fatal(err)
		}
		el, err := clients[to].Until(func(el string) bool { return strings.HasPrefix(el, "<message") })
		if err != nil || !strings.Contains(el, "from "+from) {
			t.Errorf("%s, %v", el, err)
		}
	}
	var list struct {
		Links []struct{ Direction, Remote, Authenticated, TLS string }
	}
	if err := json.Unmarshal([]byte(servers["a.example"].Command("", "s2s", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, l := range list.Links {
		found = found || l.Remote == "b.example" && l.Authenticated == "external" && strings.HasPrefix(l.TLS, "TLS 1.3")
	}
	if !found {
		t.Errorf("no link by certificate: %+v", list)
	}
	metrics := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	taken := 0
	for _, s := range servers {
		if _, _, text := get(t, metrics, "http://"+s.Metrics+"/metrics"); !strings.Contains(text,
			`jackdaw_shared_connections_total{protocol="xmpp-server"} 0`+"\n") {
			taken++
		}
	}
	if taken == 0 {
		t.Error("no peer came to the shared port")
	}
}
