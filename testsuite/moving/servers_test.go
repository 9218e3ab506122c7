package moving

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// A server is one that people leave. It has no streams to others.
type server struct {
	dir, tls string
	cmd      *exec.Cmd
	log      *harness.Output
	done     chan struct{} // closed when the process has been reaped
}

const prosodyConfig = `
run_as_root = true
pidfile = "$dir/pid"
data_path = "$dir/data"
interfaces = { "$host" }
c2s_ports = { }
c2s_direct_tls_ports = { $port }
s2s_ports = { }
http_ports = { }
https_ports = { }
modules_enabled = { "roster", "saslauth", "tls", "disco", "ping", "vcard", "pep", "private", "blocklist", "mam", "offline" }
modules_disabled = { "limits", "s2s" }
-- A password is kept in this form from its first use on.
authentication = "internal_hashed"
storage = "internal"
ssl = { certificate = "$cert"; key = "$key" }
c2s_direct_tls_ssl = { certificate = "$cert"; key = "$key" }
log = { debug = "*console" }
VirtualHost "$domain"
Component "rooms.$domain" "muc"
modules_enabled = { "muc_mam" }
muc_log_by_default = true
`

const ejabberdConfig = `
hosts: ["$domain"]
loglevel: info
log_rotate_count: 0
certfiles: ["$both"]
auth_method: internal
auth_password_format: scram
listen:
  - {port: $port, ip: "$host", module: ejabberd_c2s, access: all, tls: true, shaper: none}
modules:
  mod_roster: {}
  mod_offline: {}
  mod_disco: {}
  mod_ping: {}
  mod_vcard: {search: false}
  mod_private: {}
  mod_privacy: {}
  mod_blocking: {}
  mod_last: {}
  mod_caps: {}
  mod_mam: {default: always}
  mod_muc: {host: "rooms.$domain", default_room_options: {mam: true}}
  mod_pubsub: {plugins: [flat, pep], max_items_node: 1000}
`

// start runs a program on a configuration, and waits until it is ready.
func start(t *testing.T, file, config string, command func(dir, file string) *exec.Cmd, ready string,
	files map[string]string) *server {
	t.Helper()
	s := &server{dir: t.TempDir(), tls: harness.FreeAddr(), log: &harness.Output{}, done: make(chan struct{})}
	cert := peers.NewAuthority(t).Issue(domain, peers.None)
	host, port, _ := strings.Cut(s.tls, ":")
	files[file] = strings.NewReplacer("$dir", s.dir, "$host", host, "$port", port, "$cert", cert.Cert, "$key", cert.Key,
		"$both", cert.Both, "$domain", domain).Replace(config)
	for name, text := range files {
		name = filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.cmd = command(s.dir, filepath.Join(s.dir, file))
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.dir, s.log, s.log
	// It must not outlive a test process that is killed.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("%v: apt-get install --no-install-recommends prosody ejabberd", err)
	}
	go func() { s.cmd.Wait(); close(s.done) }()
	t.Cleanup(func() {
		s.cmd.Process.Kill() // an error says that it is gone already
		<-s.done
		if t.Failed() {
			text := s.log.String()
			t.Logf("log of the server that was left:\n%s", text[max(0, len(text)-4000):])
		}
	})
	s.await(t, ready)
	return s
}

func (s *server) await(t *testing.T, text string) {
	t.Helper()
	if err := s.log.Await(text, 0, peers.Patience, s.done); err != nil {
		t.Fatalf("%v\n%s", err, s.log.String())
	}
}

// end has the server end by itself, with all that it has to write.
func (s *server) end(t *testing.T) {
	t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(harness.Timeout):
		t.Errorf("the server that is left does not end")
	}
}

func startProsody(t *testing.T) *server {
	t.Helper()
	accounts := map[string]string{}
	for _, u := range people {
		accounts["data/"+strings.ReplaceAll(domain, ".", "%2e")+"/accounts/"+u+".dat"] =
			fmt.Sprintf("return { password = %q };\n", harness.Password)
	}
	return start(t, "prosody.cfg.lua", prosodyConfig, func(_, file string) *exec.Cmd {
		return exec.Command("prosody", "-F", "--config", file)
	}, "Activated service 'c2s_direct_tls'", accounts)
}

// migratorConfig moves what SQLite has into a directory, as docs/manual.md says it.
const migratorConfig = `
local vhost = { "accounts", "account_details", "roster", "vcard", "private", "blocklist", "archive-archive", "offline-archive",
  "pep-pubsub" }
local muc = { "persistent", "config", "state", "muc_log-archive" }
input {
  hosts = { ["$domain"] = vhost; ["rooms.$domain"] = muc; };
  type = "sql"; driver = "SQLite3"; database = "$dir/prosody.sqlite";
}
output { type = "internal"; path = "$dir/moved"; }
`

// startProsodyOnSQLite is startProsody with all it keeps in a database.
func startProsodyOnSQLite(t *testing.T) *server {
	t.Helper()
	config := strings.Replace(prosodyConfig, `storage = "internal"`,
		`storage = "sql"; sql = { driver = "SQLite3", database = "$dir/prosody.sqlite" }`, 1)
	return start(t, "prosody.cfg.lua", config, func(dir, file string) *exec.Cmd {
		for _, u := range people {
			if out, err := exec.Command("prosodyctl", "--config", file, "register", u, domain, harness.Password).
				CombinedOutput(); err != nil {
				t.Fatalf("%v: apt-get install --no-install-recommends prosody lua-dbi-sqlite3\n%s", err, out)
			}
		}
		return exec.Command("prosody", "-F", "--config", file)
	}, "Activated service 'c2s_direct_tls'", map[string]string{})
}

// migrate has prosody-migrator move a database into a directory, and returns that.
func (s *server) migrate(t *testing.T) string {
	t.Helper()
	file := filepath.Join(s.dir, "migrator.cfg.lua")
	text := strings.NewReplacer("$dir", s.dir, "$domain", domain).Replace(migratorConfig)
	moved := filepath.Join(s.dir, "moved")
	// Root becomes the user prosody in it.
	err := errors.Join(os.WriteFile(file, []byte(text), 0o644), os.Chmod(filepath.Dir(s.dir), 0o755),
		os.Mkdir(moved, 0o700), os.Chmod(moved, 0o777),
		os.Chmod(filepath.Join(s.dir, "prosody.sqlite"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("prosody-migrator", "--config="+file)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("prosody-migrator: %v\n%s", err, out)
	}
	t.Logf("prosody-migrator:\n%s", out)
	return moved
}

// left is what ejabberd prints when it has written down what its accounts have.
const left = "ejabberd of the tests: left"

// startEjabberd runs ejabberd in an Erlang machine that is no node of a distributed system. When there is a folder
// "left" it does there what ejabberdctl export_piefxis and ejabberdctl dump do.
func startEjabberd(t *testing.T) *server {
	t.Helper()
	const ready = "ejabberd of the tests: ready"
	return start(t, "ejabberd.yml", ejabberdConfig, func(dir, file string) *exec.Cmd {
		var eval strings.Builder
		for _, u := range people {
			fmt.Fprintf(&eval, `ejabberd_auth:try_register(<<%q>>, <<%q>>, <<%q>>), `, u, domain, harness.Password)
		}
		fmt.Fprintf(&eval, `Leave = fun F() -> case filelib:is_dir(%q) of true -> ejabberd_piefxis:export_server(%[1]q), `+
			`ejabberd_admin:dump_mnesia(%[1]q ++ "/dump"), `+
			`io:format("%s~n"); false -> timer:sleep(100), F() end end, spawn(Leave), io:format("%s~n").`,
			filepath.Join(dir, "left"), left, ready)
		libs, _ := filepath.Glob("/usr/lib/*/ejabberd-*/ebin") // the pattern is sound
		if len(libs) == 0 {
			t.Fatal("ejabberd is missing: apt-get install --no-install-recommends ejabberd")
		}
		cmd := exec.Command("erl", "-noinput", "-boot", "start_sasl", "-sasl", "sasl_error_logger", "false",
			"-mnesia", "dir", `"`+dir+`/spool"`, "-s", "ejabberd", "-eval", eval.String())
		cmd.Env = append(os.Environ(), "ERL_LIBS="+filepath.Dir(filepath.Dir(libs[0])), "EJABBERD_CONFIG_PATH="+file,
			"EJABBERD_LOG_PATH="+filepath.Join(dir, "ejabberd.log"), "HOME="+dir, "ERL_CRASH_DUMP_BYTES=0")
		return cmd
	}, ready, map[string]string{})
}

// written returns the first file of the export that ejabberd writes, and the dump.
func (s *server) written(t *testing.T) (exported, dumped string) {
	t.Helper()
	dir := filepath.Join(s.dir, "left")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.await(t, left)
	files, _ := filepath.Glob(filepath.Join(dir, "*.xml")) // the pattern is sound
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), "<server-data") {
			return f, filepath.Join(dir, "dump")
		}
	}
	t.Fatalf("no export among %q", files)
	return "", ""
}
