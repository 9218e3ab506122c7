package acme

import (
	"crypto/x509"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

func TestMain(m *testing.M) {
	code := m.Run()
	Cleanup()
	peers.Cleanup()
	harness.Cleanup()
	os.Exit(code)
}

// known has the name server know these names.
func known(a *Authority, at string, names ...string) {
	for _, name := range names {
		a.Names.Set(name, peers.Site{S2STLS: at})
	}
}

func TestCertificatesOverTheSharedPort(t *testing.T) {
	shared, https, direct, starttls := harness.FreeAddr(), harness.FreeAddr(), harness.FreeAddr(), harness.FreeAddr()
	a := Start(t, Options{TLS: shared})
	known(a, shared, "a.test", "rooms.a.test", "upload.a.test")
	file, data := filepath.Join(t.TempDir(), "jackdaw.yaml"), t.TempDir()
	config := fmt.Sprintf(`data: %q
hosts: [{domain: a.test, admins: [admin@a.test]}]
listen: {c2s: [%q], c2s_tls: [%q], tls: [%q], https: [%q], http: []}
`, data, starttls, direct, shared, https)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// It is turned on while the server runs.
	write(config)
	s := a.serve(file)
	write(config + fmt.Sprintf("acme: {email: admin@a.test, directory: %q, ca_file: %q, resolver: %q}\n",
		a.Directory, a.CAFile, a.Names.Addr))
	if out, err := exec.Command(harness.Binary(t, ""), "reload", "--config", file).CombinedOutput(); err != nil {
		t.Fatalf("reload: %v\n%s", err, out)
	}
	for _, name := range []string{"a.test", "rooms.a.test", "upload.a.test"} {
		s.Await(`"certificate obtained" name=` + name)
		for _, at := range []string{shared, https, direct} {
			leaf, err := a.Shown(at, name)
			if err != nil || len(leaf.DNSNames) != 1 {
				t.Errorf("%v: %v", err, leaf)
			}
		}
		if _, err := a.Shown(shared, name, "xmpp-client"); err != nil {
			t.Error(err)
		}
	}
	// The name without a record is alone, and named.
	s.Await("name=multicast.a.test problem=\"the DNS has no address for it\"")
	if n := a.Issued(); n != 3 {
		t.Errorf("%d certificates", n)
	}
	first, err := a.Shown(direct, "a.test")
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()

	// What was there is there again at once, and nobody is asked. The record has been added meanwhile.
	known(a, shared, "multicast.a.test")
	s = a.serve(file)
	if again, err := a.Shown(direct, "a.test"); err != nil || !again.Equal(first) {
		t.Error("another one after a restart", err)
	}
	s.Await(`"certificate obtained" name=multicast.a.test`)
	if n := a.Issued(); n != 4 {
		t.Errorf("%d certificates after a restart", n)
	}
}

func TestCertificatesOverPlainHTTP(t *testing.T) {
	own, behind := harness.FreeAddr(), harness.FreeAddr()
	proxy := httptest.NewServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: behind}))
	defer proxy.Close()
	key := "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	for _, row := range []struct{ what, listen, domain, reached string }{
		{"a listener of its own", fmt.Sprintf("acme: [%q], http: []", own), "b.test", own},
		{"through a proxy", fmt.Sprintf("http: [%q]", behind), "c.test", proxy.Listener.Addr().String()},
	} {
		t.Run(row.what, func(t *testing.T) {
			a := Start(t, Options{HTTP: row.reached, Keys: map[string]string{"kid-1": key}})
			known(a, row.reached, row.domain)
			mac := filepath.Join(t.TempDir(), "mac")
			if err := os.WriteFile(mac, []byte(key+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			starttls := harness.FreeAddr()
			s := a.Serve(fmt.Sprintf(`data: %q
hosts: [{domain: %s}]
listen: {c2s: [%q], c2s_tls: [], https: [], %s}
acme: {agree: true, directory: %q, ca_file: %q, resolver: %q, external_account: {key_id: kid-1, mac_key_file: %q}}
`, t.TempDir(), row.domain, starttls, row.listen, a.Directory, a.CAFile, a.Names.Addr, mac))
			s.Await(`"certificate obtained" name=` + row.domain)
			if n := a.Issued(); n != 1 {
				t.Errorf("%d certificates", n)
			}
		})
	}
}

func TestTwoProcessesRenewOnce(t *testing.T) {
	first, second := harness.FreeAddr(), harness.FreeAddr()
	// The authority reaches the second one, whoever asks.
	a := Start(t, Options{TLS: second, Lifetime: 9 * time.Second})
	known(a, second, "d.test")
	common := filepath.Join(t.TempDir(), "acme")
	if err := os.Mkdir(common, 0o700); err != nil {
		t.Fatal(err)
	}
	var servers []*Server
	for _, at := range []string{second, first} { // it is there before anybody asks
		data := t.TempDir()
		if err := os.Mkdir(filepath.Join(data, "certs"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(common, filepath.Join(data, "certs", "acme")); err != nil {
			t.Fatal(err)
		}
		servers = append(servers, a.Serve(fmt.Sprintf(`data: %q
hosts: [{domain: d.test}]
listen: {c2s: [], c2s_tls: [], https: [], http: [], tls: [%q]}
acme: {agree: true, profile: short, directory: %q, ca_file: %q, resolver: %q, except: [rooms.d.test, upload.d.test]}
`, data, at, a.Directory, a.CAFile, a.Names.Addr)))
	}
	// Both show the same one, and later both another one.
	await := func(not *x509.Certificate) *x509.Certificate {
		t.Helper()
		for until := time.Now().Add(patience); ; <-time.After(50 * time.Millisecond) {
			one, err := a.Shown(first, "d.test")
			other, err2 := a.Shown(second, "d.test")
			if err == nil && err2 == nil && one.Equal(other) && !one.Equal(not) {
				return one
			}
			if time.Now().After(until) {
				t.Fatalf("%v, %v\n%s\n%s", err, err2, servers[0].Log, servers[1].Log)
			}
		}
	}
	begun := time.Now()
	await(await(nil))
	// None comes before a third of the lifetime of the one before it.
	if n, most := a.Issued(), 2+int(time.Since(begun)/(3*time.Second)); n < 2 || n > most {
		t.Errorf("%d certificates in %s", n, time.Since(begun))
	}
	obtained := 0
	for _, s := range servers {
		obtained += strings.Count(s.Log.String(), "certificate obtained")
	}
	if n := a.Issued(); n > obtained+1 {
		t.Errorf("%d certificates were made, %d obtained", n, obtained)
	}
}
