package operation

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"jackdaw/testsuite/harness"
)

const (
	// onSmallDisk is set in the process that has the small disk, to its server's binary.
	onSmallDisk = "JACKDAW_TEST_SMALL_DISK"
	smallDisk   = "size=24m"
)

// withSmallDisk runs the test again in a process whose temporary files lie on a small disk, and returns true there.
func withSmallDisk(t *testing.T) bool {
	t.Helper()
	if os.Getenv(onSmallDisk) != "" {
		if err := syscall.Mount("tmpfs", os.TempDir(), "tmpfs", 0, smallDisk); err != nil {
			t.Fatal(err)
		}
		return true
	}
	args := []string{"--mount", "--", os.Args[0], "-test.run=^" + t.Name() + "$", "-test.v"}
	if os.Getuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), onSmallDisk+"="+harness.Binary(t, ""), "TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("in a mount namespace (apt-get install util-linux): %v\n%s", err, out)
	}
	return false
}

// eatUp takes all room that is left, as another program would, until the file is removed.
func eatUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// A full disk is not final: what adds something is refused, removals go on, and with room again so does everything,
// without a restart. Nothing that was acknowledged is lost, also by a kill while the disk is full.
func TestAFullDiskIsNotFinal(t *testing.T) {
	if !withSmallDisk(t) {
		return
	}
	s := harness.Start(t, harness.Options{Program: os.Getenv(onSmallDisk), Users: []string{"alice", "bob", "carol"},
		Config: "limits: {stream_rate: 100000000, stream_burst: 100000000, disk_warn: 1, disk_reserve: 1}\n" +
			"modules: {offline: {max_messages: 100000, max_bytes: 100000000}}"})
	ballast := filepath.Join(os.TempDir(), "ballast")
	pid := s.PID()
	all := map[string]bool{}
	fill := func(name string) {
		t.Helper()
		w := newWriter(t, s)
		defer w.Close()
		for i := range 10000 {
			if i == 100 {
				eatUp(t, ballast)
			}
			id := fmt.Sprint(name, i)
			if ok, _ := w.try(id); !ok {
				t.Logf("%s: %d messages are acknowledged", name, i)
				return
			}
			all[id] = true
		}
		t.Fatal("the disk does not get full")
	}
	one := func(id string) bool {
		w := newWriter(t, s)
		defer w.Close()
		ok, _ := w.try(id)
		if ok {
			all[id] = true
		}
		return ok
	}
	web := &http.Client{Transport: &http.Transport{}}
	defer web.CloseIdleConnections()
	health := func() int {
		t.Helper()
		resp, err := web.Get("http://" + s.Metrics + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		t.Logf("health: %d %s", resp.StatusCode, text)
		return resp.StatusCode
	}
	goOn := func(from int) {
		t.Helper()
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if err := s.Output().Await("there is room on the disk again", from, harness.Timeout, nil); err != nil {
			t.Fatal(err)
		}
	}

	from := s.Output().Len()
	fill("first")
	if health() != 503 {
		t.Error("a full disk is healthy")
	}
	if one("refused") {
		t.Error("a message is acknowledged on a full disk")
	}
	if out, err := s.TryCommand("", "user", "del", "carol@localhost"); err != nil {
		t.Errorf("an account cannot be removed: %v\n%s", err, out)
	}
	eatUp(t, ballast) // what was given up, too
	goOn(from)
	if !one("again") || health() != 200 {
		t.Error("with room again nothing is taken")
	}
	if !s.Alive() || s.PID() != pid {
		t.Error("it was another process")
	}
	fill("second")
	s.Kill()
	from = s.Output().Len()
	s.Launch() // with the room that was kept for it
	if one("refused too") {
		t.Error("a message is acknowledged on a disk that is full from the start")
	}
	goOn(from)
	if !one("at last") {
		t.Error("with room again nothing is taken")
	}
	s.Kill()
	s.Launch()
	w := &writer{acknowledged: all}
	w.kept(t, s)
	if out := s.Command("", "user", "list"); strings.Contains(out, "carol") {
		t.Errorf("carol is back: %s", out)
	}
	if n := strings.Count(s.Log(), "the disk is full: "); n != 3 {
		t.Errorf("%d lines say that the disk is full:\n%s", n, s.Log())
	}
}
