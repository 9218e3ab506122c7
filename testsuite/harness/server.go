// Package harness runs the real jackdaw binary for the black-box tests: one build for a test process, each server with
// a data directory and free loopback ports of its own. It also has a small XMPP client that shares no code with the
// server.
package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jackdaw/storage/redis/redistest"
)

// Domain is what a server of the harness serves unless Options say otherwise.
const Domain = "localhost"

// start starts Redis servers and returns how the configuration names them.
func (k Kind) start(t testing.TB) string {
	if k == Cluster {
		return fmt.Sprintf("addrs: [%q]", redistest.StartReplicatedCluster(t)[0].Addr)
	}
	master := redistest.Start(t)
	redistest.StartReplica(t, master)
	return fmt.Sprintf("addrs: [%q], master_name: jackdaw", redistest.StartSentinel(t, "jackdaw", master).Addr)
}

// Engine names the storage engines that scenes run on.
type Engine string

// The engines.
const (
	Embedded Engine = "embedded"
	Redis    Engine = "redis"
)

// Engines are all of them, for tests that range over them.
var Engines = []Engine{Embedded, Redis}

// A Place is where scenes are played.
type Place struct {
	Engine Engine // Embedded if empty
	// Way is how clients of C2S and C2STLS reach the server; TCP if empty. They speak TCP in any case: to a bridge.
	Way Way
	// Nodes is how many servers are one, on Redis; clients come to one after the other. 0: one.
	Nodes int
	// Several Redis servers are one in this way, for the engine Redis; "": there is one.
	Kind Kind
}

// Kind is how several Redis servers are one.
type Kind string

// The kinds.
const (
	Sentinel Kind = "sentinel" // a master with a replica, which a sentinel watches
	Cluster  Kind = "cluster"  // three masters with a replica each
)

// Places are each engine with clients that speak TCP, and each other way to reach the first. A way is framing: no
// engine sees it. There the server has no race detector, which would cost as much again; testsuite/web has it.
// JACKDAW_PLACES in the environment names others instead, with commas between.
var Places = chosen(Place{Engine: Embedded, Way: TCP}, Place{Engine: Redis, Way: TCP},
	Place{Engine: Embedded, Way: WebSocket}, Place{Engine: Embedded, Way: BOSH})

// Several is a place with three nodes.
var Several = Place{Engine: Redis, Way: TCP, Nodes: 3}

// chosen are the places that the environment names; if it names none, those.
func chosen(usual ...Place) []Place {
	names := os.Getenv("JACKDAW_PLACES")
	if names == "" {
		return usual
	}
	all := slices.Clone(usual)
	for _, kind := range []Kind{"", Sentinel, Cluster} {
		all = append(all, Place{Engine: Redis, Way: TCP, Nodes: Several.Nodes, Kind: kind})
	}
	var places []Place
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(p Place) bool { return p.String() == name })
		if i < 0 {
			panic(fmt.Sprintf("JACKDAW_PLACES: no place %q", name))
		}
		places = append(places, all[i])
	}
	return places
}

// OverTCP are the Places that clients reach over TCP.
func OverTCP() []Place {
	return slices.DeleteFunc(slices.Clone(Places), func(p Place) bool { return p.Way != TCP })
}

// String names the way, and for TCP the engine; for several nodes, what they run on.
func (p Place) String() string {
	if p.Nodes > 1 {
		return strings.TrimSuffix("nodes-"+string(p.Kind), "-")
	}
	if p.Way == TCP {
		return string(p.Engine)
	}
	return string(p.Way)
}

// A Server is a running jackdaw.
type Server struct {
	Dir     string // configuration and data
	Config  string // path of the configuration file
	Domain  string
	C2S     string // HOST:PORT of STARTTLS
	C2STLS  string // of direct TLS
	Way     Way    // that both lead
	S2S     string // of STARTTLS for peers; where Options.Federate is set
	S2STLS  string // of direct TLS for peers; likewise
	HTTP    string
	HTTPS   string
	Metrics string
	Redis   *redistest.Server // of the engine Redis, where it is one

	// Nodes are the others that are one server with this; it is the first.
	Nodes []*Server

	alone bool // it is one of Nodes
	t     testing.TB
	bin   string
	fast  string // bin without the race detector
	env   []string
	ulim  []string
	cmd   *exec.Cmd
	done  chan struct{} // closed when the process has been reaped
	log   *Output
	all   *Output // of all nodes; of one that is alone, log
	from  int     // where the log of the process begins
}

// Options of Start.
type Options struct {
	Place
	Tags string // build tags, such as "ackearly"
	// Program is the server's binary; built now, with the tags, if empty.
	Program string
	Config  string // further YAML at the top level
	Listen  string // further YAML under listen
	C2S     string // further YAML under c2s
	HTTP    string // further YAML under http
	Users   []string
	Socket  string // path of a unix socket that takes posts too
	Domain  string // Domain of the harness if empty
	Hosts   string // further YAML under hosts

	// RedisAt is where a Redis is, as YAML under storage.redis, for several nodes on it; it has its own if empty.
	RedisAt string

	Federate bool     // with listeners for peers
	S2S      string   // further YAML under s2s
	Cert     string   // PEM file of Domain's certificate; self-signed if empty
	Key      string   // of its key
	Env      []string // of the process, beyond that of the test's
	// Ulimit are limits of the process, as arguments of the shell's ulimit: "-n 128".
	Ulimit []string
	// Fast builds the server without the race detector though the test has it, for
	// what takes too long with it.
	Fast bool
}

// Password is that of every account that the harness makes.
const Password = "correct-horse"

var builds struct {
	sync.Mutex
	path map[string]string
	dir  string // of this process; "": it has none
}

// Binary builds the server with the given tags once for the test process; with the race detector where the test has it,
// or where JACKDAW_RACE has flags for that: a test that only drives the server may be without.
func Binary(t testing.TB, tags string) string {
	race := strings.Fields(os.Getenv("JACKDAW_RACE"))
	if raceTest && len(race) == 0 {
		race = []string{"-race"}
	}
	return binary(t, tags, race)
}

// FastBinary is Binary without the race detector.
func FastBinary(t testing.TB, tags string) string { return binary(t, tags, nil) }

func binary(t testing.TB, tags string, race []string) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	key := tags
	if len(race) > 0 {
		key += "-race"
	}
	if p := builds.path[key]; p != "" {
		return p
	}
	if builds.path == nil {
		builds.path = map[string]string{}
	}
	dir := os.Getenv("JACKDAW_BUILDS") // of all test processes of a run
	if dir == "" && builds.dir == "" {
		own, err := os.MkdirTemp("", "jackdaw-testsuite-")
		if err != nil {
			t.Fatal(err)
		}
		builds.dir = own
	}
	if dir == "" {
		dir = builds.dir
	}
	one, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	if err := syscall.Flock(int(one.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(dir, "jackdaw-"+key)
	args := append([]string{"build", "-tags", tags, "-ldflags=-w", "-o", p}, race...) // which does nothing if it is there
	cmd := exec.Command("go", append(args, "jackdaw/cmd/jackdaw")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build jackdaw: %v\n%s", err, out)
	}
	builds.path[key] = p
	return p
}

// Cleanup removes the binaries; call it from TestMain after m.Run.
func Cleanup() {
	if builds.dir != "" {
		os.RemoveAll(builds.dir)
	}
}

// Start runs a server and returns when it is ready. It is stopped at the end of the test, and the
// test fails if a panic was recovered in it.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	// With the race detector each command would wait for a second at its end.
	s := &Server{t: t, Dir: t.TempDir(), Domain: Domain, env: append([]string{"GORACE=atexit_sleep_ms=50"}, o.Env...),
		ulim: o.Ulimit, log: &Output{}}
	s.all = s.log
	if o.Domain != "" {
		s.Domain = o.Domain
	}
	if s.Way = o.Way; s.Way == "" {
		s.Way = TCP
	}
	switch s.bin = o.Program; {
	case s.bin != "":
	case o.Fast, s.Way != TCP:
		s.bin = binary(t, o.Tags, nil)
	default:
		s.bin = Binary(t, o.Tags)
	}
	if s.fast = s.bin; o.Program == "" && o.Tags == "" {
		s.fast = binary(t, "", nil)
	}
	for _, a := range []*string{&s.C2S, &s.C2STLS, &s.HTTP, &s.HTTPS, &s.Metrics} {
		*a = FreeAddr()
	}
	c2s, direct := s.C2S, s.C2STLS
	if s.Way != TCP {
		s.C2S, s.C2STLS = FreeAddr(), FreeAddr()
		build(t, s.Way, s.HTTP, s.C2S, s.C2STLS)
	}
	federation, certificate := "", ""
	if o.Federate {
		s.S2S, s.S2STLS = FreeAddr(), FreeAddr()
		federation = fmt.Sprintf("  s2s: [%q]\n  s2s_tls: [%q]\n", s.S2S, s.S2STLS)
	}
	if o.Listen != "" {
		federation += indent(o.Listen) + "\n"
	}
	if o.S2S != "" {
		o.S2S = "s2s:\n" + indent(o.S2S) + "\n"
	}
	if o.Cert != "" {
		certificate = fmt.Sprintf("    cert: %q\n    key: %q\n", o.Cert, o.Key)
	}
	store := "storage: {engine: embedded}\n"
	switch {
	case o.RedisAt != "":
		store = fmt.Sprintf("storage:\n  engine: redis\n  redis: {%s}\n", o.RedisAt)
	case o.Engine == Redis && o.Kind != "":
		store = fmt.Sprintf("storage:\n  engine: redis\n  redis: {%s, wait_replicas: 1}\n", o.Kind.start(t))
	case o.Engine == Redis:
		s.Redis = redistest.Start(t)
		store = fmt.Sprintf("storage:\n  engine: redis\n  redis: {addrs: [%q]}\n", s.Redis.Addr)
	}
	s.Config = filepath.Join(s.Dir, "jackdaw.yaml")
	if isolated() { // which is no loopback
		o.HTTP += "\nallow_plaintext: true"
	}
	if o.Hosts != "" {
		certificate += indent(o.Hosts) + "\n"
	}
	socket := ""
	if o.Socket != "" {
		socket = fmt.Sprintf(", %q", "unix:"+o.Socket)
	}
	text := fmt.Sprintf(`data: %s
hosts:
  - domain: %s
    admins: [admin@%s]
%slisten:
  c2s: [%q]
  c2s_tls: [%q]
  http: [%q%s]
  https: [%q]
  metrics: [%q]
%sc2s:
  scram_iterations: 4096
%s
http:
  max_body: 2097152
%s
%s%s%s
`, filepath.Join(s.Dir, "data"), s.Domain, s.Domain, certificate, c2s, direct, s.HTTP, socket, s.HTTPS, s.Metrics,
		federation,
		indent(o.C2S), indent(o.HTTP), o.S2S, store, o.Config)
	if o.Nodes > 1 {
		text = s.spread(text, o.Nodes, &s.C2S, &s.C2STLS, &s.HTTP, &s.HTTPS, &s.S2S, &s.S2STLS)
	}
	if err := os.WriteFile(s.Config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if o.Nodes > 1 {
		if out, err := s.run(s.fast, "", "cluster", "init"); err != nil {
			t.Fatalf("jackdaw cluster init: %v\n%s", err, out)
		}
	}
	if len(o.Users) > 0 {
		s.AddUser(o.Users...)
	}
	s.Launch()
	t.Cleanup(func() {
		s.Stop()
		for _, n := range append([]*Server{s}, s.Nodes...) {
			n.inspect()
		}
	})
	return s
}

// inspect looks in the log for what must not be there.
func (s *Server) inspect() {
	t, log := s.t, s.log.String()
	if strings.Contains(log, "panic") {
		t.Errorf("the server panicked:\n%s", log)
	}
	if i := strings.Index(log, "fatal error: "); i >= 0 { // of the runtime; the reason comes first
		t.Errorf("the server died:\n%s", head(log[i:], 8000))
	}
	if strings.Contains(log, "WARNING: DATA RACE") { // the tests have -race
		t.Errorf("the server races:\n%s", log)
	}
	if t.Failed() {
		if dir := os.Getenv("JACKDAW_LOGS"); dir != "" {
			name := filepath.Join(dir, fmt.Sprintf("%s-%d.log", strings.ReplaceAll(t.Name(), "/", "-"), len(log)))
			if err := os.WriteFile(name, []byte(log), 0o600); err != nil {
				t.Errorf("keep the log: %v", err)
			}
		}
		t.Logf("warnings and errors of the server:\n%s", tail(serious(log), 4000))
		t.Logf("log of the server:\n%s", tail(log, 4000))
	}
}

// serious has the lines of a log that are not of everyday.
func serious(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func indent(yaml string) string {
	if yaml == "" {
		return ""
	}
	return "  " + strings.ReplaceAll(strings.TrimRight(yaml, "\n"), "\n", "\n  ")
}

func head(s string, n int) string { return s[:min(len(s), n)] }

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// Launch starts the process on the data it has, and waits until it is ready.
func (s *Server) Launch() {
	s.t.Helper()
	s.cmd = exec.Command("/bin/sh", append([]string{"-c", limited, "sh", s.bin, "serve", "--config", s.Config}, s.ulim...)...)
	s.cmd.Dir = s.Dir
	s.cmd.Env = append(os.Environ(), s.env...)
	s.from = s.log.Len()
	var out io.Writer = s.log
	if s.all != s.log {
		out = &both{own: s.log, all: s.all}
	}
	s.cmd.Stdout, s.cmd.Stderr = out, out
	// The server must not outlive a test process that is killed.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	s.done = done
	go func() { s.cmd.Wait(); close(done) }()
	for _, n := range s.Nodes {
		n.Launch()
	}
	if s.alone {
		return
	}
	for _, n := range append([]*Server{s}, s.Nodes...) {
		if err := n.log.Await("jackdaw: ready", n.from, Timeout, n.done); err != nil {
			s.t.Fatalf("the server is not ready: %v\n%s", err, n.log.From(n.from))
		}
	}
	if len(s.Nodes) > 0 {
		s.settled()
	}
}

// Kill ends the process with SIGKILL.
func (s *Server) Kill() {
	for _, n := range s.Nodes {
		n.Kill()
	}
	s.cmd.Process.Kill()
	<-s.done
}

// Stop ends the process with SIGTERM and returns its exit code.
func (s *Server) Stop() (code int) {
	for _, n := range s.Nodes {
		n.cmd.Process.Signal(syscall.SIGTERM)
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	for _, n := range s.Nodes {
		code = max(code, n.Exited())
	}
	return max(code, s.Exited())
}

// Exited waits for the end of a process that is about to end, and returns its exit code.
func (s *Server) Exited() int {
	select {
	case <-s.done:
	case <-time.After(Timeout):
		s.t.Errorf("the server does not stop")
		s.Kill()
	}
	return s.cmd.ProcessState.ExitCode()
}

// Signal sends a signal to the process.
func (s *Server) Signal(sig os.Signal) { s.cmd.Process.Signal(sig) }

// Alive says whether the process runs.
func (s *Server) Alive() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// PID is that of the process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Log is what the process has printed so far.
func (s *Server) Log() string { return s.log.String() }

// Output is the log for those who wait for something in it: of several nodes, that of all, line by line.
func (s *Server) Output() *Output { return s.all }

// Command runs a jackdaw command on the server's configuration and returns
// what it prints; the test fails if the command does.
func (s *Server) Command(stdin string, args ...string) string {
	s.t.Helper()
	out, err := s.TryCommand(stdin, args...)
	if err != nil {
		s.t.Fatalf("jackdaw %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TryCommand is Command for those that may fail.
func (s *Server) TryCommand(stdin string, args ...string) (string, error) {
	return s.run(s.bin, stdin, args...)
}

func (s *Server) run(program, stdin string, args ...string) (string, error) {
	cmd := exec.Command(program, append(args, "--config", s.Config)...)
	cmd.Dir = s.Dir
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// crowd is how many accounts are so many that only the first gets keys of its own.
const crowd = 10

var accountXML = regexp.MustCompile(`(?s)<user name='.*</user>`)

// AddUser makes accounts with Password, of the server's domain where a name has none. Deriving the keys of an account
// takes 5 ms: the accounts of a crowd are imported with the keys of the first. The commands for that are without the
// race detector, whose start takes longer than what they do; the server that they ask has it.
func (s *Server) AddUser(names ...string) {
	s.t.Helper()
	command := func(stdin string, args ...string) string {
		out, err := s.run(s.fast, stdin, args...)
		if err != nil {
			s.t.Fatalf("jackdaw %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	var batch strings.Builder
	jids := make([]string, len(names))
	for i, u := range names {
		if jids[i] = u; !strings.Contains(u, "@") {
			jids[i] += "@" + s.Domain
		}
		if i == 0 || len(names) < crowd {
			fmt.Fprintf(&batch, "%s %s\n", jids[i], Password)
		}
	}
	command(batch.String(), "user", "add", "--batch")
	if len(names) < crowd {
		return
	}
	first, _, _ := strings.Cut(jids[0], "@")
	one := accountXML.FindString(command("", "export", "--only", jids[0]))
	var file strings.Builder
	file.WriteString("<server-data xmlns='urn:xmpp:pie:0'>")
	for _, jid := range jids[1:] {
		name, domain, _ := strings.Cut(jid, "@")
		fmt.Fprintf(&file, "<host jid='%s'>%s</host>", domain, strings.Replace(one, "'"+first+"'", "'"+name+"'", 1))
	}
	want := fmt.Sprintf("accounts: %d came\n", len(jids)-1)
	if out := command(file.String()+"</server-data>", "import", "-"); out != want {
		s.t.Fatalf("jackdaw import prints %q, want %q", out, want)
	}
}

// limited is a script that runs its first four arguments under the limits that follow them.
const limited = `bin=$1 verb=$2 flag=$3 config=$4; shift 4; for l; do ulimit $l || exit 1; done; exec "$bin" "$verb" "$flag" "$config"`

var lastPort atomic.Int32

// unsafePort is the only port from 10,000 on to which browsers do not connect (Fetch, "port blocking").
const unsafePort = 10080

// FreeAddr is a loopback address that nobody else gets: each test process has an address of 127.0.0.0/8 to itself, and
// the ports are below those that the kernel gives to clients. In a namespace (Isolate) it is one of ServerIP.
func FreeAddr() string {
	pid := os.Getpid()
	port := 10000 + lastPort.Add(1)
	if port == unsafePort {
		return FreeAddr()
	}
	if isolated() {
		return net.JoinHostPort(ServerIP, strconv.Itoa(int(port)))
	}
	return net.JoinHostPort(fmt.Sprintf("127.%d.%d.%d", 64+pid>>16&63, pid>>8&255, pid&255), strconv.Itoa(int(port)))
}

// Python is the command that runs a script with the Python that has Debian's packages, behind a command that runs
// others (nil: none). It does not outlive a test process that is killed, and it knows no certification authorities:
// slixmpp reads those of the system three times for each client, in 0.1 s of CPU, though no script trusts them.
func Python(prefix []string, script string, args ...string) *exec.Cmd {
	line := append(slices.Concat(prefix, []string{"/usr/bin/python3", script}), args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "SSL_CERT_FILE=/dev/null", "SSL_CERT_DIR=/dev/null")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Script runs a Python script of the test's testdata with arguments and returns what it
// prints. Debian's packages are named where they are missing.
func Script(t testing.TB, script string, args ...string) string {
	t.Helper()
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Fatal("python3 is missing: apt-get install python3-slixmpp")
	}
	cmd := Python(nil, script, args...)
	var out Output // of both, which come at the same time
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, io.MultiWriter(&errs, &out)
	if err := cmd.Run(); err != nil {
		if strings.Contains(errs.String(), "No module named 'slixmpp'") {
			t.Fatal("slixmpp is missing: apt-get install python3-slixmpp")
		}
		t.Fatalf("%s %s: %v\n%s", script, strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// Output collects what a process prints and tells who waits about more. The zero value is
// ready; its methods may be called from any goroutine.
type Output struct {
	mu   sync.Mutex // guards both
	buf  bytes.Buffer
	wake chan struct{}
}

// Write adds to what was printed.
func (b *Output) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wake != nil {
		close(b.wake)
		b.wake = nil
	}
	return b.buf.Write(p)
}

// both passes on what a node prints, and whole lines of it to the log of all.
type both struct {
	own, all *Output
	line     []byte // that has not ended
}

// Write implements io.Writer.
func (w *both) Write(p []byte) (int, error) {
	w.line = append(w.line, p...)
	if end := bytes.LastIndexByte(w.line, '\n') + 1; end > 0 {
		_, _ = w.all.Write(w.line[:end]) // it takes everything
		w.line = append(w.line[:0], w.line[end:]...)
	}
	return w.own.Write(p)
}

func (b *Output) changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wake == nil {
		b.wake = make(chan struct{})
	}
	return b.wake
}

// Await returns when text has been printed beyond the first from bytes; an error says that
// it was not, within the time or before ended was closed (nil: never).
func (b *Output) Await(text string, from int, within time.Duration, ended <-chan struct{}) error {
	err := b.AwaitWhere(func(log string) bool { return strings.Contains(log[from:], text) }, within, ended)
	if err != nil {
		return fmt.Errorf("no %q: %w", text, err)
	}
	return nil
}

// AwaitWhere is Await for whatever can be read from all that was printed.
func (b *Output) AwaitWhere(holds func(log string) bool, within time.Duration, ended <-chan struct{}) error {
	deadline := time.After(within)
	for {
		changed := b.changed() // before the look, so that nothing is missed between
		if holds(b.String()) {
			return nil
		}
		select {
		case <-ended:
			return errors.New("the process has ended")
		case <-deadline:
			return fmt.Errorf("nothing within %v", within)
		case <-changed:
		}
	}
}

// Len is how many bytes were printed.
func (b *Output) Len() int { b.mu.Lock(); defer b.mu.Unlock(); return b.buf.Len() }

// String is all that was printed.
func (b *Output) String() string { return b.From(0) }

// From is what was printed beyond the first n bytes.
func (b *Output) From(n int) string { b.mu.Lock(); defer b.mu.Unlock(); return b.buf.String()[n:] }
