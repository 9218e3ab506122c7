package packages

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// makeTarget has make leave a package in dir. Those of tests are packed in a hurry.
func makeTarget(t *testing.T, dir, target, version string) string {
	t.Helper()
	cmd := exec.Command("make", "-s", "-C", "../..", target, "VERSION="+version, "DIST="+dir)
	cmd.Env = append(os.Environ(), "DPKG_DEB_FLAGS=-Zgzip -z1", "MAKEFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", target, err, out)
	}
	made, err := filepath.Glob(filepath.Join(dir, "jackdaw_"+strings.TrimPrefix(version, "v")+"_*"))
	if err != nil || len(made) != 1 {
		t.Fatalf("make %s left %q, %v", target, made, err)
	}
	return made[0]
}

// A unit is the service as systemd starts it: no systemd runs where tests do.
type unit struct {
	*Machine
	lines   map[string]string // the last value of each key
	notices *net.UnixConn
	process *exec.Cmd
	log     *harness.Output
}

func (m *Machine) unit(t *testing.T) *unit {
	t.Helper()
	u := &unit{Machine: m, lines: map[string]string{}}
	for line := range strings.Lines(m.Run("cat /usr/lib/systemd/system/jackdaw.service")) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			u.lines[key] = value
		}
	}
	socket := filepath.Join(m.Mnt, "notify")
	var err error
	if u.notices, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.notices.Close() })
	if err := os.Chmod(socket, 0o777); err != nil {
		t.Fatal(err)
	}
	return u
}

// as is a command line of the unit with the user and the rights that it gives.
func (u *unit) as(key string) string {
	caps := "-all"
	if c := u.lines["AmbientCapabilities"]; c != "" {
		caps += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	return "umask " + u.lines["UMask"] + "; cd /; " +
		"exec setpriv --reuid " + u.lines["User"] + " --regid " + u.lines["Group"] + " --init-groups --no-new-privs " +
		"--inh-caps " + caps + " --ambient-caps " + caps + " --bounding-set " + caps + " " + u.lines[key]
}

// start returns when the server has said what systemd waits for.
func (u *unit) start() {
	u.t.Helper()
	if u.lines["Type"] != "notify" {
		u.t.Fatalf("Type is %q", u.lines["Type"])
	}
	u.Run(u.as("ExecStartPre"))
	u.log = &harness.Output{}
	u.process = u.Command("export NOTIFY_SOCKET=/mnt/notify; echo $$ > /run/jackdaw.pid; " + u.as("ExecStart"))
	u.process.Stdout, u.process.Stderr = u.log, u.log
	if err := u.process.Start(); err != nil {
		u.t.Fatal(err)
	}
	u.notices.SetReadDeadline(time.Now().Add(harness.Timeout))
	b := make([]byte, 100)
	if n, err := u.notices.Read(b); err != nil || string(b[:n]) != "READY=1" {
		u.t.Fatalf("systemd hears %q, %v\n%s", b[:n], err, u.log.String())
	}
}

func (u *unit) stop() {
	u.t.Helper()
	u.Run("kill -TERM $(cat /run/jackdaw.pid)")
	if err := u.process.Wait(); err != nil {
		u.t.Errorf("stopped: %v\n%s", err, u.log.String())
	}
}

// says fails unless a script prints this.
func (m *Machine) says(script, want string) {
	m.t.Helper()
	if got := strings.TrimSpace(m.Run(script)); got != want {
		m.t.Errorf("%s prints %q, want %q", script, got, want)
	}
}

// systemd makes a systemctl that writes down how it is called, where maintainer scripts think that systemd runs.
const systemd = `mkdir -p /run/systemd/system
printf '#!/bin/sh\necho "$*" >> /run/systemctl.log\n' > /usr/local/bin/systemctl
chmod 755 /usr/local/bin/systemctl; : > /run/systemctl.log`

func TestTheDebianPackageIsInstalledUpgradedAndRemoved(t *testing.T) {
	m := NewMachine(t)
	first := makeTarget(t, m.Mnt, "deb", "v0.1.0")
	old := "/mnt/" + filepath.Base(first)
	t.Run("pages and completions", func(t *testing.T) { pagesAndCompletions(t, first) })
	newer := "/mnt/" + filepath.Base(makeTarget(t, m.Mnt, "deb", "v0.2.0"))

	if out := m.Run("dpkg -i " + old); !strings.Contains(out, "jackdaw setup example.org") {
		t.Errorf("the installation does not say how to go on:\n%s", out)
	}
	m.says("stat -c %U:%G:%a /var/lib/jackdaw /etc/jackdaw", "jackdaw:jackdaw:700\nroot:jackdaw:750")
	m.says("getent passwd jackdaw | cut -d: -f6-7", "/var/lib/jackdaw:/usr/sbin/nologin")
	m.says("jackdaw check --config /etc/jackdaw/jackdaw.yaml 2>/dev/null", "/etc/jackdaw/jackdaw.yaml: good")
	m.says("jackdaw version | head -1 | cut -d' ' -f2", "v0.1.0")
	m.says("sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/jackdaw.service",
		"/usr/bin/jackdaw serve --config /etc/jackdaw/jackdaw.yaml")

	out := m.Run("echo correct-horse | jackdaw setup example.org --admin alice --address 192.0.2.7 --password-stdin")
	if _, commands, _ := strings.Cut(out, "systemd:\n"); strings.Contains(out, "--unit") || strings.Contains(out, "ports.conf") {
		t.Errorf("the unit of the package does not do for setup:\n%s", commands)
	}
	m.says("stat -c %U:%G:%a /etc/jackdaw/jackdaw.yaml", "root:jackdaw:640")
	m.Run("echo correct-horse | jackdaw user add bob@example.org --password-stdin")
	u := m.unit(t)
	u.start()
	post := `curl -sS http://127.0.0.1:5280/message -u alice@example.org:correct-horse ` +
		`--data-binary '<message to="bob@example.org"><body>yo</body></message>'`
	m.says(post, "OK")
	m.says("curl -ksS -o /dev/null -w '%{http_code}' https://127.0.0.1/.well-known/host-meta -H 'Host: example.org'", "200")
	m.Run(u.as("ExecReload"))

	// The upgrade keeps configuration, data and rights, and restarts what runs.
	m.Run(systemd)
	sum := m.Run("chmod 0755 /etc/jackdaw; md5sum /etc/jackdaw/jackdaw.yaml")
	m.Run("dpkg -i " + newer + " < /dev/null")
	m.says("md5sum /etc/jackdaw/jackdaw.yaml; stat -c %a /etc/jackdaw", sum+"755")
	m.says("cat /run/systemctl.log", "--system daemon-reload\ntry-restart jackdaw.service")
	u.stop()
	u.start()
	m.says("jackdaw version | head -1 | cut -d' ' -f2", "v0.2.0")
	m.says("jackdaw user list | cut -f1", "alice@example.org\nbob@example.org")
	if out := m.Run("jackdaw user show bob@example.org --json"); !regexp.MustCompile(`"records": [1-9]`).MatchString(out) {
		t.Errorf("bob's message is gone:\n%s", out)
	}
	m.says(post, "OK")
	u.stop()

	// A removal keeps both, so that a package that is installed again goes on.
	m.Run("systemctl enable jackdaw; mkdir -p /etc/systemd/system/multi-user.target.wants; : > /run/systemctl.log; " +
		"ln -s /usr/lib/systemd/system/jackdaw.service /etc/systemd/system/multi-user.target.wants/")
	m.Run("dpkg -r jackdaw")
	m.says("cat /run/systemctl.log", "stop jackdaw.service\n--system daemon-reload")
	m.Run("! [ -e /usr/bin/jackdaw ]; [ -e /etc/jackdaw/jackdaw.yaml ]; [ -e /var/lib/jackdaw/store/store.db ]")
	m.Run("dpkg -i " + newer + " < /dev/null")
	m.says("jackdaw user list | cut -f1", "alice@example.org\nbob@example.org")

	// A purge asks nothing and takes what the package has made, not what people wrote.
	if out := m.Run("dpkg -P jackdaw < /dev/null"); !strings.Contains(out, "rm -r /var/lib/jackdaw") {
		t.Errorf("the purge does not say what it leaves:\n%s", out)
	}
	m.Run("! [ -e /etc/jackdaw ]; ! [ -h /etc/systemd/system/multi-user.target.wants/jackdaw.service ]; " +
		"[ -e /var/lib/jackdaw/store/store.db ]; getent passwd jackdaw")
	m.Run("rm -r /var/lib/jackdaw; dpkg -i " + newer + "; dpkg -P jackdaw; ! [ -e /var/lib/jackdaw ]")
	m.says("find /etc /usr /var/lib -name '*jackdaw*'", "")
}

func TestVersionsSortAsTheyCameOut(t *testing.T) {
	script, err := os.ReadFile("../../packaging/deb.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, rule, ok := strings.Cut(string(script), "# The version as dpkg sorts it")
	rule, _, ok2 := strings.Cut(rule, "\n\n")
	if !ok || !ok2 {
		t.Fatal("packaging/deb.sh no longer says how it makes versions")
	}
	last := ""
	for i, version := range []string{"1a2b3c4", "7f00000-dirty", "v0.9", "v1.2.3-rc1", "v1.2.3-rc2", "v1.2.3",
		"v1.2.3-4-gabcdef0", "v1.2.3-12-g0123456", "v1.2.10", "1.3.0"} {
		cmd := exec.Command("sh", "-euc", "version=$1\n#"+rule+"\nprintf %s \"$version\"", "sh", version)
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+[]string{"1700000000", "1800000000"}[min(i, 1)])
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", version, err, out)
		}
		if last != "" {
			if err := exec.Command("dpkg", "--compare-versions", last, "lt", string(out)).Run(); err != nil {
				t.Errorf("%s (of %s) does not come after %s", out, version, last)
			}
		}
		last = string(out)
	}
}

// pagesAndCompletions looks for those of every command in a package.
func pagesAndCompletions(t *testing.T, deb string) {
	dir := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "-x", deb, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	share := filepath.Join(dir, "usr/share")
	sh := func(script string) string {
		t.Helper()
		cmd := exec.Command("bash", "-ec", script)
		cmd.Dir = share
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "usr/bin")+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return string(out)
	}
	// Every command that the program's help names has a page, and so has each below it.
	pages := sh("cd man/man1; ls")
	var visit func(path string)
	visit = func(path string) {
		_, list, _ := strings.Cut(sh(path+" --help"), "Available Commands:\n")
		list, _, _ = strings.Cut(list, "\n\n")
		for line := range strings.Lines(list) {
			name := strings.Fields(line)[0]
			if name == "help" {
				continue
			}
			if page := strings.ReplaceAll(path+" "+name, " ", "-") + ".1.gz\n"; !strings.Contains(pages, page) {
				t.Errorf("no page %s", page)
			}
			if path == "jackdaw" {
				visit(path + " " + name)
			}
		}
	}
	visit("jackdaw")
	if page := sh("zcat man/man1/jackdaw-user-add.1.gz"); !strings.Contains(page, ".SH SYNOPSIS") || strings.Contains(page, "package-files") {
		t.Errorf("the page of user add:\n%s", page)
	}
	if got := sh("source bash-completion/completions/jackdaw; complete -p jackdaw"); !strings.Contains(got, "jackdaw") {
		t.Errorf("bash completes by %q", got)
	}
	sh("grep -q '^#compdef jackdaw' zsh/vendor-completions/_jackdaw; grep -q '^complete -c jackdaw' fish/vendor_completions.d/jackdaw.fish")
	if got := sh("cat doc/jackdaw/copyright"); !strings.Contains(got, "spf13/cobra") || strings.Contains(got, "md2man") {
		t.Errorf("the licences are not those of what is linked in:\n%.2000s", got)
	}
	sh("cd ../..; md5sum --quiet -c <(dpkg-deb -I " + deb + " md5sums)")
}
