// Package peers runs other servers beside jackdaw, so that it can be tested with what it will
// meet: Prosody and ejabberd as Debian has them, and jackal through the module
// testsuite/jackalpeer. Each has a folder, a domain and loopback addresses of its own, a
// certificate of the test's authority, sound or flawed, and finds the others through the
// name server of the test.
//
// It leaves out clusters of peers, components at peers, and peers on other machines.
package peers

import (
	"bytes"
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
)

// A Network is what the servers of a test share: who vouches for them and who knows
// where they are.
type Network struct {
	Authority *Authority
	Names     *Names

	t     testing.TB
	mu    sync.Mutex // guards sites
	sites map[string]Site
}

// NewNetwork makes one that ends with the test.
func NewNetwork(t testing.TB) *Network { t.Helper(); return NewNetworkAt(t, harness.FreeAddr()) }

// NewNetworkAt is NewNetwork with its name server at an address.
func NewNetworkAt(t testing.TB, names string) *Network {
	t.Helper()
	return &Network{Authority: NewAuthority(t), Names: StartNamesAt(t, names), t: t, sites: map[string]Site{}}
}

// Site is where the peer of a domain listens, or will once it has been started; so that a
// server can be told before.
func (n *Network) Site(domain string) Site {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.sites[domain]
	if !ok {
		s = Site{S2S: harness.FreeAddr(), S2STLS: harness.FreeAddr()}
		n.sites[domain] = s
	}
	return s
}

// Options of a peer. What a kind cannot do is said where it is started.
type Options struct {
	Domain string // of its own if empty: prosody.example, ejabberd.example, jackal.example
	Users  []string
	Flaw   Flaw // of its certificate
	// Certificate is used instead of one that is made.
	Certificate Certificate
	ServerOnly  bool // the certificate is not for the purpose clientAuth
	NoDialback  bool // neither for itself nor from others; not for jackal
	NoExternal  bool // is not offered to others; not for jackal
	NoBidi      bool // one-way streams only; Prosody
	NoSM        bool // no stream management between servers; Prosody
	DirectTLS   bool // is announced for others to connect to; not for jackal (see StartJackal)
	Rooms       bool // has some at rooms.DOMAIN, proved by dialback; Prosody
	Keeps       bool // archives, private data and block lists; jackal
}

// A Peer is a running server that is not jackdaw.
type Peer struct {
	Kind   string // prosody, ejabberd or jackal
	Domain string
	Dir    string // configuration and data
	C2S    string // HOST:PORT of STARTTLS
	C2STLS string // of direct TLS
	Site          // of the streams between servers

	t     testing.TB
	run   func(*Peer) *exec.Cmd
	ready []string // what it prints until it is
	cmd   *exec.Cmd
	done  chan struct{} // closed when the process has been reaped
	log   *harness.Output
}

// Patience bounds the start of a peer: dozens of them start at a time, and make their accounts.
const Patience = 5 * time.Minute

func (n *Network) peer(kind string, o *Options) (*Peer, Certificate) {
	n.t.Helper()
	if o.Domain == "" {
		o.Domain = kind + ".example"
	}
	p := &Peer{
		Kind: kind, Domain: o.Domain, Dir: n.t.TempDir(), Site: n.Site(o.Domain),
		C2S: harness.FreeAddr(), C2STLS: harness.FreeAddr(), t: n.t, log: &harness.Output{},
	}
	cert := o.Certificate
	switch {
	case cert.Cert != "":
	case o.ServerOnly:
		cert = n.Authority.Issue(o.Domain, o.Flaw)
	default:
		cert = n.Authority.IssueForBoth(o.Domain, o.Flaw)
	}
	announced := Site{S2S: p.S2S}
	if o.DirectTLS {
		announced.S2STLS = p.S2STLS
	}
	n.Names.Set(o.Domain, announced)
	n.t.Cleanup(func() {
		p.Kill()
		if n.t.Failed() {
			text := p.Log()
			n.t.Logf("log of %s:\n%s", p.Domain, text[max(0, len(text)-8000):])
		}
	})
	return p, cert
}

// Launch starts the process on the data it has, and waits until it is ready.
func (p *Peer) Launch() {
	p.t.Helper()
	p.cmd = p.run(p)
	p.cmd.Dir = p.Dir
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	// A peer must not outlive a test process that is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	from := p.log.Len()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.Kind, err)
	}
	done, cmd := make(chan struct{}), p.cmd
	p.done = done
	go func() { cmd.Wait(); close(done) }()
	for _, text := range p.ready {
		if err := p.log.Await(text, from, Patience, done); err != nil {
			p.t.Fatalf("%s is not ready: %v\n%s", p.Kind, err, p.log.From(from))
		}
	}
}

// Kill ends the process with SIGKILL.
func (p *Peer) Kill() {
	if p.done == nil {
		return
	}
	p.cmd.Process.Kill() // an error says that it is gone already
	<-p.done
}

// Restart is Kill and Launch.
func (p *Peer) Restart() {
	p.t.Helper()
	p.Kill()
	p.Launch()
}

// Log is what the peer has printed so far.
func (p *Peer) Log() string { return p.log.String() }

// Await waits until the log says something, beyond the first from bytes.
func (p *Peer) Await(text string, from int) error {
	return p.log.Await(text, from, harness.Timeout, p.done)
}

// Connect logs in as a user of the peer and binds a resource.
func (p *Peer) Connect(user, resource string) (*harness.Client, error) {
	return harness.ConnectTo(p.C2STLS, p.Domain, user, resource)
}

func (p *Peer) write(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// needs fails the test where a program is missing, and says what to install.
func needs(t testing.TB, program, debianPackages string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is missing: apt-get install --no-install-recommends %s", program, debianPackages)
	}
	return path
}

func host(addr string) string { h, _, _ := strings.Cut(addr, ":"); return h }
func port(addr string) string { _, p, _ := strings.Cut(addr, ":"); return p }

// built has the programs that build has made.
var built struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

// build makes the program of a Go module below testsuite, once for the test process.
func build(t testing.TB, module string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if p := built.paths[module]; p != "" {
		return p
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "jackdaw-peers-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.paths = dir, map[string]string{}
	}
	p := filepath.Join(built.dir, module)
	cmd := exec.Command("go", "build", "-C", filepath.Join("..", module), "-o", p, ".")
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", module, err, bytes.TrimSpace(out))
	}
	built.paths[module] = p
	return p
}

// Cleanup removes what was built; call it from TestMain after m.Run.
func Cleanup() {
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
}

// fill puts values for the $names in a configuration.
func fill(text string, values map[string]string) string {
	return os.Expand(text, func(name string) string { return values[name] })
}

func quoted(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = strconv.Quote(s)
	}
	return strings.Join(quoted, ", ")
}
