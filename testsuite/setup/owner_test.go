package setup

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"jackdaw/testsuite/harness"
)

// nobody is a user that every system has.
const nobody = "nobody"

func TestRootSetsUpForTheUserOfTheServer(t *testing.T) {
	// Where others than root have given the test its namespace, there is nobody else in it.
	if b, err := os.ReadFile("/proc/self/uid_map"); err != nil || !strings.Contains(string(b), "4294967295") {
		t.Logf("only one user is here: %s, %v", b, err)
		return
	}
	dir, err := os.MkdirTemp("", "jackdaw-setup-owner-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // as /etc is
		t.Fatal(err)
	}
	w := &town{t: t, file: filepath.Join(dir, "etc", "jackdaw.yaml")}
	run := func(args ...string) string {
		t.Helper()
		cmd := w.plain(args...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("jackdaw %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	if out, err := w.plain("setup", domain, "--admin", "me", "--user", "nobody-at-all").CombinedOutput(); err == nil ||
		!strings.Contains(string(out), "useradd --system --user-group nobody-at-all") {
		t.Errorf("for a user who is not there: %v: %s", err, out)
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	data = filepath.Join(data, "jackdaw")
	run("setup", domain, "--admin", "me", "--user", nobody, "--data", data, "--address", harness.ServerIP)
	for _, c := range []struct {
		path string
		mode os.FileMode
		own  bool
	}{{w.file, 0o640, false}, {filepath.Dir(w.file), 0o750, false}, {data, 0o700, true},
		{filepath.Join(data, "store"), 0o700, true}} {
		info, err := os.Stat(c.path)
		if err != nil {
			t.Fatal(err)
		}
		s := info.Sys().(*syscall.Stat_t)
		if info.Mode().Perm() != c.mode || (s.Uid != 0) != c.own || s.Gid == 0 {
			t.Errorf("%s: %v, of %d:%d", c.path, info.Mode(), s.Uid, s.Gid)
		}
	}
	// The server's user and root do what they have to with it.
	if out := run("user", "list"); out != "me@"+domain+"\tactive\t\tadmin\n" {
		t.Errorf("accounts: %q", out)
	}
	if out := run("setup", "--unit"); !strings.Contains(out, "\nUser="+nobody+"\n") {
		t.Errorf("unit: %s", out)
	}
	check := w.plain("check")
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	s := info.Sys().(*syscall.Stat_t)
	check.SysProcAttr.Credential = &syscall.Credential{Uid: s.Uid, Gid: s.Gid}
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("as the server's user: %v: %s", err, out)
	}
}
