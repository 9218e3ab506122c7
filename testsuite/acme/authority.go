// Package acme runs the server beside a certification authority, Pebble, which it builds from the module
// testsuite/pebble, and a name server: the binary gets its certificates as it would from an authority of the world.
package acme

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// patience is how long anything may take.
const patience = 60 * time.Second

var built struct {
	sync.Mutex
	dir string
}

// pebble builds the authority once for the test process.
func pebble(t testing.TB) string {
	t.Helper()
	if path := os.Getenv(Program); path != "" {
		return path
	}
	built.Lock()
	defer built.Unlock()
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "jackdaw-pebble-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir = dir
		if err := Build(filepath.Join(dir, "pebble")); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(built.dir, "pebble")
}

// Program is the variable of the environment with the path of one that was built before.
const Program = "JACKDAW_TEST_PEBBLE"

// Build builds the authority, for which Go may have to fetch modules, as no test in a namespace of its own can.
func Build(path string) error {
	cmd := exec.Command("go", "build", "-C", filepath.Join("..", "pebble"), "-o", path,
		"github.com/letsencrypt/pebble/v2/cmd/pebble")
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build pebble: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Cleanup removes what was built; call it from TestMain after m.Run.
func Cleanup() {
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
}

// An Authority is a running Pebble.
type Authority struct {
	Directory string // URL
	CAFile    string // who signs the certificate of the directory
	Names     *peers.Names
	Root      []byte // who signs the certificates that it issues, as PEM

	t     testing.TB
	log   *harness.Output
	roots *x509.CertPool
}

// Options of an authority.
type Options struct {
	TLS, HTTP string        // HOST:PORT at which it looks for answers to challenges
	Lifetime  time.Duration // of certificates of the profile "short"
	Keys      map[string]string
	Names     *peers.Names // that it asks; nil: its own
}

// Start runs an authority until the end of the test. It refuses one nonce in five.
func Start(t testing.TB, o Options) *Authority {
	t.Helper()
	dir := t.TempDir()
	a := &Authority{t: t, Names: o.Names, log: &harness.Output{}, CAFile: filepath.Join(dir, "ca.pem")}
	if a.Names == nil {
		a.Names = peers.StartNames(t)
	}
	at, management := harness.FreeAddr(), harness.FreeAddr()
	a.certificate(at)
	port := func(addr string) int {
		if addr == "" {
			addr = harness.FreeAddr() // where nobody is
		}
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	profile := func(d time.Duration) map[string]any {
		return map[string]any{"description": d.String(), "validityPeriod": int(d.Seconds())}
	}
	config := map[string]any{"pebble": map[string]any{
		"listenAddress": at, "managementListenAddress": management, "certificate": a.CAFile, "privateKey": a.CAFile,
		"httpPort": port(o.HTTP), "tlsPort": port(o.TLS), "keyAlgorithm": "ecdsa",
		"externalAccountBindingRequired": o.Keys != nil, "externalAccountMACKeys": o.Keys,
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":   map[string]any{"default": profile(90 * 24 * time.Hour), "short": profile(max(o.Lifetime, time.Minute))},
	}}
	if o.Lifetime > 0 {
		config["pebble"].(map[string]any)["profiles"].(map[string]any)["short"] = profile(o.Lifetime)
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(pebble(t), "-config", file, "-dnsserver", a.Names.Addr, "-strict")
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=20", "PEBBLE_AUTHZREUSE=0")
	cmd.Stdout, cmd.Stderr = a.log, a.log
	run(t, cmd)
	a.Directory = "https://" + at + "/dir"
	if err := a.log.Await("ACME directory available", 0, patience, nil); err != nil {
		t.Fatalf("pebble: %v\n%s", err, a.log)
	}
	a.roots = x509.NewCertPool()
	a.Root = a.get("https://" + management + "/roots/0")
	a.roots.AppendCertsFromPEM(a.Root)
	return a
}

// run has a process live until the end of the test.
func run(t testing.TB, cmd *exec.Cmd) (stop func()) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()                          // likewise
	})
	t.Cleanup(stop)
	return stop
}

// certificate makes one for the address of the directory itself.
func (a *Authority) certificate(at string) {
	host, _, err := net.SplitHostPort(at)
	if err != nil {
		a.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.ParseIP(host)}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(a.CAFile, text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// get asks the authority something, and again until it is there.
func (a *Authority) get(url string) []byte {
	a.t.Helper()
	text, err := os.ReadFile(a.CAFile)
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: pool}}}
	for until := time.Now().Add(patience); ; {
		res, err := client.Get(url)
		if err == nil {
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != http.StatusOK {
				a.t.Fatalf("%s: %d %s, %v", url, res.StatusCode, body, err)
			}
			return body
		}
		if time.Now().After(until) {
			a.t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// Issued is how many certificates there are.
func (a *Authority) Issued() int { return strings.Count(a.log.String(), "Issued certificate serial") }

// A Server is a jackdaw that wants certificates.
type Server struct {
	Log  *harness.Output
	Stop func()

	t testing.TB
}

// Serve runs one on a configuration and returns when it is ready.
func (a *Authority) Serve(config string) *Server {
	a.t.Helper()
	file := filepath.Join(a.t.TempDir(), "jackdaw.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return a.serve(file)
}

func (a *Authority) serve(file string) *Server {
	a.t.Helper()
	s := &Server{Log: &harness.Output{}, t: a.t}
	cmd := exec.Command(harness.Binary(a.t, ""), "serve", "--config", file)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=50")
	cmd.Stdout, cmd.Stderr = s.Log, s.Log
	stop := run(a.t, cmd)
	s.Stop = func() {
		stop()
		for _, fault := range []string{"panic", "DATA RACE"} {
			if strings.Contains(s.Log.String(), fault) {
				a.t.Errorf("%s in the server:\n%s", fault, s.Log)
			}
		}
	}
	a.t.Cleanup(s.Stop)
	s.Await("jackdaw: ready")
	return s
}

// Await waits for a line of the log.
func (s *Server) Await(text string) {
	s.t.Helper()
	if err := s.Log.Await(text, 0, patience, nil); err != nil {
		s.t.Fatalf("%v\n%s", err, s.Log)
	}
}

// Shown is the certificate that is shown for a name, as the authority has made it.
func (a *Authority) Shown(addr, name string, protocols ...string) (*x509.Certificate, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr,
		&tls.Config{ServerName: name, RootCAs: a.roots, NextProtos: protocols})
	if err != nil {
		return nil, fmt.Errorf("%s at %s: %w", name, addr, err)
	}
	defer c.Close() // nothing was said
	return c.ConnectionState().PeerCertificates[0], nil
}
