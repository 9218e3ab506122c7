// Package setup proves that one command leads to a working domain: in a network of its own, with a name server, a
// certification authority and a Prosody, it does what a person does: run setup, paste the records, start the server,
// log in.
package setup

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"jackdaw/testsuite/acme"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// built is the directory of what was built before the namespace.
const built = "JACKDAW_TEST_SETUP"

func TestMain(m *testing.M) {
	if os.Getenv(built) == "" {
		if err := build(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	harness.IsolateNames()
	code := m.Run()
	peers.Cleanup()
	os.RemoveAll(os.Getenv(built))
	os.Exit(code)
}

// build builds the server as `make build` does, and the authority.
func build() error {
	dir, err := os.MkdirTemp("", "jackdaw-setup-")
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "jackdaw"),
		"jackdaw/cmd/jackdaw")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build jackdaw: %w\n%s", err, out)
	}
	if err := acme.Build(filepath.Join(dir, "pebble")); err != nil {
		return err
	}
	return errors.Join(os.Setenv(built, dir), os.Setenv(acme.Program, filepath.Join(dir, "pebble")))
}

const (
	domain = "shop.example"
	peer   = "prosody.example"
)

// A town is the network with all that a new server meets.
type town struct {
	t         *testing.T
	network   *peers.Network
	authority *acme.Authority
	prosody   *peers.Peer
	file      string // of the configuration
	password  string // of the admin
}

// found makes one. The certificates of the authority last so long.
func found(t *testing.T, lifetime time.Duration) *town {
	t.Helper()
	n := peers.NewNetworkAt(t, harness.ServerIP+":53")
	a := acme.Start(t, acme.Options{TLS: harness.ServerIP + ":443", HTTP: harness.ServerIP + ":80", Lifetime: lifetime,
		Names: n.Names})
	n.Authority.Trust(a.Root)
	dir := t.TempDir()
	w := &town{t: t, network: n, authority: a, file: filepath.Join(dir, "etc", "jackdaw.yaml")}
	// Prosody insists on certificates, and takes one stream for each direction.
	w.prosody = n.StartProsody(peers.Options{Users: []string{"romeo"}, NoDialback: true, NoBidi: true})
	return w
}

// command is one of the server, which trusts who the town trusts.
func (w *town) command(args ...string) *exec.Cmd {
	cmd := w.plain(args...)
	cmd.Env = append(os.Environ(), w.network.Authority.Env()...)
	return cmd
}

func (w *town) plain(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(os.Getenv(built), "jackdaw"), append(args, "--config", w.file)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs a command of the server, and returns what it prints.
func (w *town) run(args ...string) string {
	w.t.Helper()
	out, err := w.command(args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("jackdaw %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// setUp does what setup asks for: it pastes the records, but for those of one name.
func (w *town) setUp(forgotten string) {
	w.t.Helper()
	out := w.run("setup", domain, "--admin", "me", "--address", harness.ServerIP, "--email", "me@mail.example")
	m := regexp.MustCompile(`with the password (\S+) `).FindStringSubmatch(out)
	if m == nil {
		w.t.Fatalf("no password in %s", out)
	}
	w.password = m[1]
	var zone strings.Builder
	for _, line := range regexp.MustCompile(`(?m)^\S+\. \d+ IN (A|AAAA|SRV) .*\n`).FindAllString(out, -1) {
		if !strings.HasPrefix(line, forgotten+". ") {
			zone.WriteString(line)
		}
	}
	w.network.Names.Paste(w.t, zone.String())
	// The authority of the world is out of reach here.
	b, err := os.ReadFile(w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	text := strings.Replace(string(b), "\nacme:\n", fmt.Sprintf("\nacme:\n  directory: %q\n  ca_file: %q\n  profile: short\n",
		w.authority.Directory, w.authority.CAFile), 1)
	if err := os.WriteFile(w.file, []byte(text), 0o640); err != nil {
		w.t.Fatal(err)
	}
	if out := w.run("check"); !strings.Contains(out, "good") {
		w.t.Errorf("check: %s", out)
	}
}

// start runs a program until the end of the test.
func (w *town) start(cmd *exec.Cmd) *harness.Output {
	w.t.Helper()
	log := &harness.Output{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()                          // likewise
		if w.t.Failed() {
			w.t.Logf("%s:\n%s", cmd.Args[0], log)
		}
	})
	return log
}

// patience is how long anything may take.
const patience = time.Minute

func (w *town) await(log *harness.Output, text string) {
	w.t.Helper()
	if err := log.Await(text, 0, patience, nil); err != nil {
		w.t.Fatalf("%v\n%s", err, log)
	}
}

// sendxmpp is Debian's client: it finds the server by the DNS and verifies its certificate.
func (w *town) sendxmpp(args ...string) *exec.Cmd {
	w.t.Helper()
	path, err := exec.LookPath("go-sendxmpp")
	if err != nil {
		w.t.Fatal("go-sendxmpp is missing: apt-get install go-sendxmpp")
	}
	cmd := exec.Command(path, append([]string{"-u", "me@" + domain, "-p", w.password}, args...)...)
	home := w.t.TempDir()
	cmd.Env = append(os.Environ(), append(w.network.Authority.Env(), "HOME="+home, "XDG_CONFIG_HOME="+home,
		"XDG_DATA_HOME="+home)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// send has the admin of the new server write to the user of Prosody, who is online.
func (w *town) send(romeo *harness.Client, text string) {
	w.t.Helper()
	cmd := w.sendxmpp("romeo@" + peer)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("log in with verification: %v\n%s", err, out)
	}
	if _, err := romeo.Until(func(el string) bool { return strings.Contains(el, text) }); err != nil {
		w.t.Fatalf("from here to Prosody: %v", err)
	}
}

func TestOneCommandLeadsToAWorkingDomain(t *testing.T) {
	// At the latest they are renewed when a tenth of that is left, which has to do on a machine that has much to do.
	w := found(t, 45*time.Second)
	w.setUp("upload." + domain)
	log := w.start(w.command("serve"))
	w.await(log, "jackdaw: ready")

	// Certificates for all names that have records, and the missing one named.
	for _, name := range []string{domain, "rooms." + domain} {
		w.await(log, `"certificate obtained" name=`+name)
	}
	w.await(log, `name=upload.`+domain+` problem="the DNS has no address for it"`)
	first := w.shown(domain)
	w.shown("rooms." + domain)

	romeo, err := w.prosody.Connect("romeo", "orchard")
	if err != nil {
		t.Fatal(err)
	}
	defer romeo.Close()
	if err := romeo.Send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	w.send(romeo, "from the shop")
	listening := w.start(w.sendxmpp("-l"))
	if err := romeo.Send("<message to='me@" + domain + "' type='chat'><body>from Verona</body></message>"); err != nil {
		t.Fatal(err)
	}
	w.await(listening, "from Verona")
	w.bothWays()
	w.doctor()

	// It is renewed before it ends, streams go on, and clients still verify it.
	for until := time.Now().Add(patience); w.shown(domain).Equal(first); <-time.After(200 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("no other certificate\n%s", log)
		}
	}
	<-time.After(time.Until(first.NotAfter))
	w.send(romeo, "with another certificate")
}

// shown is the certificate of a name on every port with TLS, verified.
func (w *town) shown(name string) *x509.Certificate {
	w.t.Helper()
	var leaf *x509.Certificate
	for _, port := range []string{"443", "5223", "5270"} {
		protocol := map[string]string{"443": "http/1.1", "5223": "xmpp-client", "5270": "xmpp-server"}[port]
		c, err := w.authority.Shown(harness.ServerIP+":"+port, name, protocol)
		if err != nil {
			w.t.Fatal(err)
		}
		leaf = c
	}
	return leaf
}

// bothWays sees that the two servers prove themselves to each other by certificates, each on a stream of its own.
func (w *town) bothWays() {
	w.t.Helper()
	var s2s struct {
		Links []struct{ Direction, Remote, Authenticated, TLS string }
	}
	if err := json.Unmarshal([]byte(w.run("s2s", "--json")), &s2s); err != nil {
		w.t.Fatal(err)
	}
	ways := map[string]string{}
	for _, l := range s2s.Links {
		if l.Remote == peer && l.TLS != "" {
			ways[l.Direction] = l.Authenticated
		}
	}
	if ways["in"] != "external" || ways["out"] != "external" {
		w.t.Errorf("links: %+v", s2s)
	}
}

// doctor finds nothing wrong, names the certificate that is missing, and reaches Prosody.
func (w *town) doctor() {
	w.t.Helper()
	out := w.run("doctor", "--peer", peer)
	for _, want := range []string{
		"good    shop.example: _xmpp-client._tcp.shop.example: clients reach shop.example:5222\n",
		"good    shop.example: _xmpps-client._tcp.shop.example: clients that begin with TLS reach shop.example:443\n",
		"good    shop.example: _xmpps-server._tcp.shop.example: other servers that begin with TLS reach shop.example:5270\n",
		"good    rooms.shop.example: _xmpp-server._tcp.rooms.shop.example: other servers reach shop.example:5269\n",
		"good    shop.example: wss://shop.example/xmpp-websocket answers\n",
		"good    shop.example: https://shop.example/upload: clients can put files there\n",
		"good    shop.example: prosody.example lets shop.example in by its certificate\n",
		"warning shop.example: no certificate has come for upload.shop.example: the DNS has no address for it",
		"note    shop.example: 192.0.2.1 is this machine, so that no firewall was on the way\n",
	} {
		if !strings.Contains(out, want) {
			w.t.Errorf("no %q in\n%s", want, out)
		}
	}
}
