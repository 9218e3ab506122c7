package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
	"jackdaw/testsuite/peers"
)

// A server is one under test, set up for load: no archive, no shapers, warnings only in the log.
type server struct {
	name, domain string
	c2sTLS       string // HOST:PORT
	peers.Site

	dir   string
	ready string // is printed when the accounts are there; empty where they are before the start
	cmd   *exec.Cmd
	out   harness.Output
	done  chan struct{} // closed when the process has been reaped
}

// A field is where servers are started.
type field struct {
	*stage.Stage
	net     *peers.Network
	far     *far
	users   int
	others  []string          // all servers under test
	direct  bool              // servers connect to far by direct TLS
	archive bool              // jackdaw has its archive on, which the others have not
	program map[string]string // of the servers that are not Debian's
}

// servers are those that can be started, by name. Each writes its configuration and data to the server's folder and
// returns how it is run.
var servers = map[string]func(*field, *server) *exec.Cmd{
	"jackdaw": jackdaw, "prosody": prosody, "ejabberd": ejabberd, "jackal": jackal,
}

// start runs a server on a fresh folder and waits until it takes connections.
func (f *field) start(name string) (*server, error) {
	domain := name + ".example"
	s := &server{name: name, domain: domain, c2sTLS: harness.FreeAddr(), Site: f.net.Site(domain),
		done: make(chan struct{})}
	f.net.Names.Set(domain, peers.Site{S2S: s.S2S})
	s.dir = f.TempDir()
	s.cmd = servers[name](f, s)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.dir, &s.out, &s.out
	// A server must not outlive a tool that is killed.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() { s.cmd.Wait(); close(s.done) }()
	for _, addr := range []string{s.c2sTLS, s.S2S} {
		if err := s.opens(addr); err != nil {
			s.stop()
			return nil, fmt.Errorf("start %s: %w\n%s", name, err, s.log())
		}
	}
	if s.ready != "" {
		if err := s.out.Await(s.ready, 0, peers.Patience, s.done); err != nil {
			s.stop()
			return nil, fmt.Errorf("start %s: %w\n%s", name, err, s.log())
		}
	}
	return s, nil
}

// opens waits for a port.
func (s *server) opens(addr string) error {
	for deadline := time.Now().Add(peers.Patience); ; {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-s.done:
			return errors.New("the process has ended")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the process and removes its folder.
func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM) // an error says that it is gone already
	select {
	case <-s.done:
	case <-time.After(15 * time.Second):
		s.cmd.Process.Kill()
		<-s.done
	}
	os.RemoveAll(s.dir) // the stage tries again
}

// log is the end of what the server has printed.
func (s *server) log() string {
	text := s.out.String()
	return text[max(0, len(text)-3000):]
}

func (f *field) write(s *server, name, text string, values map[string]string) string {
	host, _, err := net.SplitHostPort(s.c2sTLS)
	if err != nil {
		f.Fatal(err)
	}
	_, c2s, _ := net.SplitHostPort(s.c2sTLS)
	_, s2s, _ := net.SplitHostPort(s.S2S)
	_, s2sTLS, _ := net.SplitHostPort(s.S2STLS)
	dns, dnsPort, _ := net.SplitHostPort(f.net.Names.Addr)
	all := map[string]string{
		"dir": s.dir, "domain": s.domain, "host": host, "c2s_tls": c2s, "s2s": s2s, "s2s_tls": s2sTLS,
		"dns": dns, "dns_commas": strings.ReplaceAll(dns, ".", ","), "dns_port": dnsPort, "authority": f.net.Authority.File,
		"users": strconv.Itoa(f.users), "password": harness.Password,
	}
	for k, v := range values {
		all[k] = v
	}
	path := filepath.Join(s.dir, name)
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(os.Expand(text, func(k string) string { return all[k] })), 0o644)
	}
	if err != nil {
		f.Fatal(err)
	}
	return path
}

func certificate(f *field, s *server) map[string]string {
	c := f.net.Authority.IssueForBoth(s.domain, peers.None)
	return map[string]string{"cert": c.Cert, "key": c.Key, "both": c.Both}
}

const jackdawConfig = `
data: $dir/data
hosts:
  - {domain: $domain, cert: $cert, key: $key}
listen:
  c2s: []
  c2s_tls: ["$host:$c2s_tls"]
  s2s: ["$host:$s2s"]
  s2s_tls: ["$host:$s2s_tls"]
  http: []
  https: []
c2s: {scram_iterations: 4096}
s2s: {resolve: {$resolve}}
modules: {archive: $archive}
log: {level: warn}
`

// jackdaw has the limits it has by default; they do not hold for loopback, except those of what waits for a peer.
func jackdaw(f *field, s *server) *exec.Cmd {
	var resolve []string
	for _, name := range f.others {
		resolve = append(resolve, fmt.Sprintf("%s.example: %q", name, f.net.Site(name+".example").S2S))
	}
	site := f.net.Site(farDomain)
	if f.direct {
		site.S2S = "tls:" + site.S2STLS
	}
	values := certificate(f, s)
	values["archive"] = strconv.FormatBool(f.archive)
	values["resolve"] = strings.Join(append(resolve, fmt.Sprintf("%s: %q", farDomain, site.S2S)), ", ")
	config := f.write(s, "jackdaw.yaml", jackdawConfig, values)
	var batch strings.Builder
	for i := range f.users {
		fmt.Fprintf(&batch, "%s@%s %s\n", user(i), s.domain, harness.Password)
	}
	add := exec.Command(f.program[s.name], "user", "add", "--batch", "--config", config)
	add.Stdin = strings.NewReader(batch.String())
	if out, err := add.CombinedOutput(); err != nil {
		f.Fatalf("make the accounts of jackdaw: %v\n%s", err, out)
	}
	cmd := exec.Command(f.program[s.name], "serve", "--config", config)
	cmd.Env = append(os.Environ(), f.net.Authority.Env()...)
	return cmd
}

const prosodyConfig = `
run_as_root = true
pidfile = "$dir/pid"
data_path = "$dir/data"
network_backend = "epoll"
interfaces = { "$host" }
c2s_ports = { }
c2s_direct_tls_ports = { $c2s_tls }
s2s_ports = { $s2s }
s2s_direct_tls_ports = { $s2s_tls }
http_ports = { }
https_ports = { }
modules_enabled = { "roster"; "saslauth"; "tls"; "dialback"; "disco"; "carbons"; "ping"; "version"; "time"; "smacks"; "blocklist"; "private"; "vcard4" }
modules_disabled = { "limits"; "mam"; "admin_shell" }
authentication = "internal_plain"
storage = "internal"
s2s_secure_auth = false
ssl = { certificate = "$cert"; key = "$key"; cafile = "$authority"; capath = false }
c2s_direct_tls_ssl = { certificate = "$cert"; key = "$key" }
s2s_direct_tls_ssl = { certificate = "$cert"; key = "$key"; cafile = "$authority"; capath = false }
unbound = {
  resolvconf = false; hoststxt = false; forward = { "$dns@$dns_port" };
  options = { ["do-not-query-localhost:"] = "no" };
}
log = { warn = "*console" }
VirtualHost "$domain"
`

func prosody(f *field, s *server) *exec.Cmd {
	config := f.write(s, "prosody.cfg.lua", prosodyConfig, certificate(f, s))
	for i := range f.users {
		f.write(s, "data/"+strings.ReplaceAll(s.domain, ".", "%2e")+"/accounts/"+user(i)+".dat", `return { password = "$password" };`, nil)
	}
	return exec.Command("prosody", "-F", "--config", config)
}

const ejabberdConfig = `
hosts: ["$domain"]
loglevel: warning
log_rotate_count: 0
certfiles: ["$both"]
ca_file: "$authority"
auth_method: internal
max_fsm_queue: 100000
s2s_use_starttls: required
listen:
  - {port: $c2s_tls, ip: "$host", module: ejabberd_c2s, access: all, tls: true, shaper: none, max_stanza_size: 524288}
  - {port: $s2s, ip: "$host", module: ejabberd_s2s_in, shaper: none, max_stanza_size: 524288}
  - {port: $s2s_tls, ip: "$host", module: ejabberd_s2s_in, tls: true, shaper: none, max_stanza_size: 524288}
modules:
  mod_roster: {versioning: true}
  mod_offline: {}
  mod_disco: {}
  mod_carboncopy: {}
  mod_ping: {send_pings: false}
  mod_version: {}
  mod_time: {}
  mod_stream_mgmt: {}
  mod_blocking: {}
  mod_privacy: {}
  mod_private: {}
  mod_caps: {}
  mod_last: {}
  mod_vcard: {search: false}
  mod_s2s_dialback: {}
`

const ejabberdAccounts = `[ejabberd_auth:try_register(iolist_to_binary(["user", integer_to_list(I)]), <<"$domain">>, <<"$password">>) ` +
	`|| I <- lists:seq(1, $users)], io:format("the accounts are there~n").`

// ejabberd runs in an Erlang machine that is no node of a distributed system and so needs no name nor port mapper.
func ejabberd(f *field, s *server) *exec.Cmd {
	s.ready = "the accounts are there"
	config := f.write(s, "ejabberd.yml", ejabberdConfig, certificate(f, s))
	inetrc := f.write(s, "inetrc", "{lookup, [dns]}.\n{resolv_conf, \"\"}.\n{hosts_file, \"\"}.\n{nameserver, {$dns_commas}, $dns_port}.\n", nil)
	accounts, err := os.ReadFile(f.write(s, "accounts", ejabberdAccounts, nil))
	libs, _ := filepath.Glob("/usr/lib/*/ejabberd-*/ebin") // the pattern is sound
	if err != nil || len(libs) == 0 {
		f.Fatal("ejabberd's library is not in /usr/lib: apt-get install --no-install-recommends ejabberd ", err)
	}
	cmd := exec.Command("erl", "+P", "500000", "-noinput", "-boot", "start_sasl", "-sasl", "sasl_error_logger", "false",
		"-mnesia", "dir", `"`+s.dir+`/spool"`, "-s", "ejabberd", "-eval", string(accounts))
	cmd.Env = append(os.Environ(), "ERL_LIBS="+filepath.Dir(filepath.Dir(libs[0])), "ERL_INETRC="+inetrc,
		"EJABBERD_CONFIG_PATH="+config, "EJABBERD_LOG_PATH="+filepath.Join(s.dir, "ejabberd.log"), "HOME="+s.dir, "ERL_CRASH_DUMP_BYTES=0")
	return cmd
}

const jackalConfig = `
logger: {level: error}
http: {port: $http}
admin: {bind_addr: $host, port: $admin}
hosts:
  - domain: $domain
    tls: {cert_file: "$cert", privkey_file: "$key"}
storage:
  type: boltdb
  boltdb: {path: "$dir/jackal.db"}
cluster: {type: none}
shapers:
  - {name: all, max_sessions: 100000, rate: {limit: 1000000000, burst: 1000000000}, matching: {jid: {regex: .*}}}
c2s:
  listeners:
    - {bind_addr: $host, port: $c2s_tls, direct_tls: true, transport: socket, req_timeout: 60s, keep_alive_timeout: 20m, sasl: {mechanisms: [scram_sha_1, scram_sha_256]}}
s2s:
  listeners:
    - {bind_addr: $host, port: $s2s}
    - {bind_addr: $host, port: $s2s_tls, direct_tls: true}
  out:
    dialback_secret: secret of the measurement
modules:
  enabled: [roster, offline, disco, version, caps, stream_mgmt, ping, time, carbons, blocklist, last, private, vcard]
  offline: {queue_size: 100000}
  ping: {send_pings: false}
`

// jackal is run by testsuite/jackalpeer, which tells it where the name server is and makes the accounts.
func jackal(f *field, s *server) *exec.Cmd {
	s.ready = "jackalpeer: ready"
	values := certificate(f, s)
	// It listens on this one at every address, where the addresses of other programs are in the way.
	free, err := net.Listen("tcp", ":0")
	if err != nil {
		f.Fatal(err)
	}
	_, values["http"], _ = net.SplitHostPort(free.Addr().String())
	free.Close()
	admin := harness.FreeAddr()
	_, values["admin"], _ = net.SplitHostPort(admin)
	config := f.write(s, "config.yaml", jackalConfig, values)
	names := make([]string, f.users)
	for i := range names {
		names[i] = user(i)
	}
	cmd := exec.Command(f.program[s.name], "--config", config)
	cmd.Env = append(append(os.Environ(), f.net.Authority.Env()...), "JACKALPEER_DNS="+f.net.Names.Addr, "JACKALPEER_ADMIN="+admin,
		"JACKALPEER_USERS="+strings.Join(names, " "), "JACKALPEER_PASSWORD="+harness.Password)
	return cmd
}
