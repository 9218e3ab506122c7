// Package operation looks at the real binary as an administrator does: its sockets, its
// metrics, what it says of its health, and the command that posts.
package operation

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

const yo = `<message to="bob@localhost"><body>yo</body></message>`

// fetch returns the status line, the protocol and the body.
func fetch(t *testing.T, c *http.Client, method, url, body string) (status int, proto, text string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("alice@localhost", harness.Password)
	resp, err := c.Do(req)
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

func TestPostsAreTakenOnEveryKindOfSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "http.sock")
	s := harness.Start(t, harness.Options{Users: []string{"alice", "bob"}, Socket: socket})
	over := func(network, addr string) *http.Client {
		return &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, addr)
			},
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			ForceAttemptHTTP2: true,
		}}
	}
	for _, c := range []struct {
		name, url, proto string
		client           *http.Client
	}{
		{"plain", "http://localhost/message", "HTTP/1.1", over("tcp", s.HTTP)},
		{"unix socket", "http://localhost/message", "HTTP/1.1", over("unix", socket)},
		{"TLS", "https://localhost/message", "HTTP/2.0", over("tcp", s.HTTPS)},
	} {
		defer c.client.CloseIdleConnections()
		if status, proto, text := fetch(t, c.client, "POST", c.url, yo); status != 200 || text != "OK\n" || proto != c.proto {
			t.Errorf("%s: %d %s %q", c.name, status, proto, text)
		}
	}
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode of the socket: %v, %v", info, err)
	}
	// The three wait, in the order of their sending, with a fourth by the command.
	t.Setenv("JACKDAW_PASSWORD", harness.Password)
	s.Command("from a script", "send", "--url", "http://"+s.HTTP+"/message", "--user", "alice@localhost", "--to", "bob@localhost")
	bob, err := harness.Connect(s.C2STLS, "bob", "b")
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close()
	if err := bob.Send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"yo", "yo", "yo", "from a script"} {
		el, err := bob.Until(func(el string) bool { return strings.HasPrefix(el, "<message") })
		if err != nil || !strings.Contains(el, "<body>"+want+"</body>") {
			t.Fatalf("%v %s, want %q", err, el, want)
		}
	}
}

func TestMetricsAndHealthAreServed(t *testing.T) {
	s := harness.Start(t, harness.Options{Users: []string{"alice", "bob"}})
	alice, err := harness.Connect(s.C2STLS, "alice", "a")
	if err != nil {
		t.Fatal(err)
	}
	defer alice.Close()
	web := &http.Client{Transport: &http.Transport{}}
	defer web.CloseIdleConnections()
	if _, err := alice.Ask("p", "<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
		t.Fatal(err)
	}
	fetch(t, web, "POST", "http://"+s.HTTP+"/message", yo)
	fetch(t, web, "POST", "http://"+s.HTTP+"/message", "no XML")
	_, _, text := fetch(t, web, "GET", "http://"+s.Metrics+"/metrics", "")
	for _, line := range []string{
		"jackdaw_sessions 1",
		"jackdaw_logins_total 1",
		`jackdaw_stanzas_total{direction="in",kind="iq"} 1`,
		`jackdaw_stanzas_total{direction="out",kind="iq"} 1`,
		`jackdaw_stanzas_total{direction="in",kind="message"} 1`,
		`jackdaw_http_posts_total{status="200"} 1`,
		`jackdaw_http_posts_total{status="400"} 1`,
		`jackdaw_http_recipients_total{outcome="stored"} 1`,
		"jackdaw_storage_commit_seconds_count ",
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("no line %q in the metrics", line)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, _, text := fetch(t, web, "GET", "http://"+s.Metrics+path, ""); status != 200 || text != "OK\n" {
			t.Errorf("%s: %d %q", path, status, text)
		}
	}
}

func TestAReloadTakesUpModulesAndLimitsWithoutDroppingAStream(t *testing.T) {
	s := harness.Start(t, harness.Options{Users: []string{"alice"}})
	alice, err := harness.Connect(s.C2STLS, "alice", "a")
	if err != nil {
		t.Fatal(err)
	}
	defer alice.Close()
	ping := func(id string) string {
		t.Helper()
		el, err := alice.Ask(id, "<iq type='get' id='"+id+"' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
		if err != nil {
			t.Fatal(err)
		}
		return harness.Attr(el, "type")
	}
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	if got := ping("1"); got != "result" {
		t.Fatalf("ping: %s", got)
	}
	if err := os.WriteFile(s.Config, append(text, "modules: {ping: false}\nlimits: {resources_per_account: 1}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Command("", "reload")
	if got := ping("2"); got != "error" {
		t.Errorf("ping is off, and yet: %s", got)
	}
	if c, err := harness.Connect(s.C2STLS, "alice", "second"); err == nil {
		c.Close()
		t.Error("a second resource was bound beyond the limit")
	}
	if err := os.WriteFile(s.Config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Signal(syscall.SIGHUP)
	end := time.Now().Add(harness.Timeout)
	for i := 0; ping(fmt.Sprint("3-", i)) != "result"; i++ { // the signal takes a moment
		if time.Now().After(end) {
			t.Fatal("ping did not come back")
		}
	}
}
