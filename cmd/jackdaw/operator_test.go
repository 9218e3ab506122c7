package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestCommandsThatReadCreateNothing(t *testing.T) {
	s := newShell(t)
	for _, args := range [][]string{
		{"user", "list"}, {"user", "show", "a@localhost"}, {"api-account", "list"}, {"sessions"}, {"s2s"}, {"reload"},
		{"user", "devices", "a@localhost"}, {"user", "devices", "revoke", "a@localhost", "x"}, {"user", "del", "a@localhost"}, {"user", "grant", "a@localhost", "admin"}, {"api-account", "del", "blog"},
		{"sessions", "kick", "a@localhost"},
	} {
		code, out, errOut := s.try("", args...)
		if code != 1 || out != "" || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%q: exit code %d: %s%s", args, code, out, errOut)
		}
		if _, err := os.Stat(s.data); err == nil {
			t.Fatalf("%q made a data directory", args)
		}
	}
	s.do("", "check")
	s.do("", "version")
	if _, err := os.Stat(s.data); err == nil {
		t.Error("check or version made a data directory")
	}
}

func TestRightsAreShownFromEverySource(t *testing.T) {
	s := newShell(t)
	s.configure(`
hosts: [{domain: localhost, admins: [romeo@localhost]}]
http: {permissions: {multicast: ["*@localhost"]}}
`)
	s.do("x", "user", "add", "romeo@localhost", "--password-stdin")
	s.do("", "user", "grant", "romeo@localhost", "forge_sender=*@trac")
	show := strings.Join(strings.Fields(s.do("", "user", "show", "romeo@localhost")), " ")
	for _, want := range []string{
		"admin (configuration: hosts[].admins)", "forge_sender=*@trac (granted)", "forge_sender (follows from admin)",
		"http_message (configuration: http.permissions.http_message)", "multicast (configuration: http.permissions.multicast)",
		"last seen -", "stored 0 bytes",
	} {
		if !strings.Contains(show, want) {
			t.Errorf("no %q in %s", want, show)
		}
	}
	if got := s.do("", "user", "list"); got != "romeo@localhost\tactive\tforge_sender=*@trac\tadmin,multicast\n" {
		t.Errorf("list: %q", got)
	}
	for args, want := range map[string]string{
		"multicast":    "multicast is given by http.permissions.multicast of the configuration",
		"admin":        "admin is given by hosts[].admins of the configuration",
		"http_message": "http_message is given by",
	} {
		code, _, errOut := s.try("", "user", "revoke", "romeo@localhost", args)
		if code != 1 || !strings.Contains(errOut, want) {
			t.Errorf("revoke %s: exit code %d: %s", args, code, errOut)
		}
	}
	s.do("", "user", "revoke", "romeo@localhost", "forge_sender=*@trac")
	if code, _, errOut := s.try("", "user", "revoke", "romeo@localhost", "forge_sender"); code != 1 || !strings.Contains(errOut, "follows from admin") {
		t.Errorf("revoke of what follows: exit code %d: %s", code, errOut)
	}
}

func TestABatchTakesCommentsTabsAndAByteOrderMark(t *testing.T) {
	s := newShell(t)
	s.do("\ufeff# the Montagues\nromeo@localhost\tsecret word\n\n  # off: x@localhost y\nbenvolio@localhost \t other\r\n", "user", "add", "--batch")
	if got := s.do("", "user", "list"); got != "benvolio@localhost\tactive\t\nromeo@localhost\tactive\t\n" {
		t.Errorf("list: %q", got)
	}
	logins, lines, err := readBatch(strings.NewReader("# x\na@b\tsecret word \n"))
	if err != nil || logins[0].Password != "secret word " || lines[0] != 2 {
		t.Errorf("%+v, %v, %v", logins, lines, err)
	}
	if code, _, errOut := s.try("# x\na@localhost\t\n", "user", "add", "--batch"); code != 1 || !strings.Contains(errOut, "line 2") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestEveryCommandSpeaksJSON(t *testing.T) {
	s := newShell(t)
	s.serve()
	for _, c := range []struct {
		want string // part of the output without white space
		args []string
	}{
		{`{"password":"`, []string{"user", "add", "romeo@localhost", "--generate"}},
		{`{}`, []string{"user", "grant", "romeo@localhost", "admin"}},
		{`"permissions":["admin"]`, []string{"user", "list"}},
		{`"source":"granted"`, []string{"user", "show", "romeo@localhost"}},
		{`[]`, []string{"user", "devices", "romeo@localhost"}},
		{`{}`, []string{"user", "disable", "romeo@localhost"}},
		{`[]`, []string{"api-account", "list"}},
		{`"version":`, []string{"version"}},
		{`{"warnings":[]}`, []string{"check"}},
		{`{}`, []string{"user", "del", "romeo@localhost"}},
		{`[]`, []string{"user", "list"}},
	} {
		out := s.do("", append([]string{"--json"}, c.args...)...)
		if flat := strings.Join(strings.Fields(out), ""); !json.Valid([]byte(out)) || !strings.Contains(flat, c.want) {
			t.Errorf("%q: %s", c.args, out)
		}
	}
}

func TestSendNamesWhoWasRefused(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "http.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	answer, status, path := "", 200, ""
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		w.WriteHeader(status)
		w.Write([]byte(answer))
	})}
	go web.Serve(l)
	defer web.Close()
	t.Chdir(dir)
	t.Setenv("JACKDAW_PASSWORD", "x")
	// What lies here is no configuration, and nobody asks for one.
	if err := os.WriteFile("jackdaw.yaml", []byte("no: [configuration"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t}
	send := func() (int, string, string) {
		return s.try("", "send", "--url", "unix:"+socket, "--user", "a@localhost", "--to", "b@localhost", "--to", "c@localhost", "hi")
	}
	answer = `{"id":"m-1","accepted":2,"recipients":[{"jid":"b@localhost","outcome":"stored"},{"jid":"c@localhost","outcome":"delivered"}]}`
	if code, out, errOut := send(); code != 0 || out+errOut != "" || path != "/message" {
		t.Errorf("all took it: exit code %d: %s%s, path %s", code, out, errOut, path)
	}
	answer = `{"id":"m-1","accepted":1,"recipients":[{"jid":"b@localhost","outcome":"stored"},{"jid":"c@localhost","outcome":"refused","reason":"service-unavailable"}]}`
	if code, _, errOut := send(); code != 1 || errOut != "c@localhost: service-unavailable\njackdaw: 1 of 2 recipients were refused, the lines above say why\n" {
		t.Errorf("one refused: exit code %d: %s", code, errOut)
	}
	status = http.StatusForbidden
	answer = `{"title":"Forbidden","status":403,"detail":"Forbidden: b@localhost (no)","id":"m","accepted":0,"recipients":[{"jid":"b@localhost","outcome":"refused","reason":"no"}]}`
	if code, _, errOut := send(); code != 1 || !strings.HasPrefix(errOut, "b@localhost: no\n") {
		t.Errorf("all refused: exit code %d: %s", code, errOut)
	}
	answer = `{"title":"Forbidden","status":403,"detail":"Forbidden: multicast"}`
	if code, _, errOut := send(); code != 1 || errOut != "jackdaw: 403 Forbidden: Forbidden: multicast\n" {
		t.Errorf("not allowed: exit code %d: %s", code, errOut)
	}
	for _, bad := range []string{"unix:", "localhost:80", "ftp://x"} {
		if code, _, _ := s.try("", "send", "--url", bad, "--user", "a@localhost", "--to", "b@localhost", "hi"); code != 2 {
			t.Errorf("--url %s: exit code %d", bad, code)
		}
	}
}

func TestRootActsAsTheOwnerOfTheData(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can see this")
		return
	}
	const nobody = 65534
	s := newShell(t)
	s.do("x", "user", "add", "romeo@localhost", "--password-stdin")
	dir := filepath.Dir(s.data)
	// Everything on the way to it is open to all, as /var/lib is.
	for at := dir; at != "/" && at != os.TempDir(); at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	chown := func() {
		t.Helper()
		err := filepath.WalkDir(s.data, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, nobody, nobody)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	chown()
	for _, args := range [][]string{{"user", "list"}, {"user", "add", "juliet@localhost", "--generate"}, {"user", "show", "juliet@localhost"}} {
		if out, err := exec.Command(binary(t), append(s.flags, args...)...).CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	// Another user is told whom to be.
	if err := os.Chmod(s.flags[1], 0o644); err != nil {
		t.Fatal(err)
	}
	stranger := exec.Command(binary(t), append(s.flags, "user", "list")...)
	stranger.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}}
	if out, err := stranger.CombinedOutput(); err == nil || !strings.Contains(string(out), s.data) ||
		!strings.Contains(string(out), "permission denied; run the command as the server's user, or as root") {
		t.Errorf("another user: %v\n%s", err, out)
	}
	err := filepath.WalkDir(s.data, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != nobody {
			t.Errorf("%s belongs to %s", path, strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
