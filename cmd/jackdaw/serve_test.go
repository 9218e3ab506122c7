package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is `jackdaw serve`, built and started.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // of standard error; closed at its end
}

// tempBinary is the directory of built, once there is one.
var tempBinary string

// built is the directory of the binary, which is built once, and what went wrong.
var built = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "jackdaw-"); err != nil {
		return "", err
	}
	tempBinary = dir
	if out, bad := exec.Command("go", "build", "-o", filepath.Join(dir, "jackdaw"), ".").CombinedOutput(); bad != nil {
		err = fmt.Errorf("build: %w\n%s", bad, out)
	}
	return dir, errors.Join(err, os.Chmod(dir, 0o755)) // other users run it, too
})

func binary(t *testing.T) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "jackdaw")
}

func TestMain(m *testing.M) {
	code := m.Run()
	if tempBinary != "" {
		os.RemoveAll(tempBinary) // nothing to do about what stays
	}
	os.Exit(code)
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary(t), append(args, "serve")...), lines: make(chan string, 1000)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it must not outlive the test
	errOut, err := p.cmd.StderrPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for in := bufio.NewScanner(errOut); in.Scan(); {
			p.lines <- in.Text()
		}
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill() // no harm when it has ended
		for range p.lines {  // Wait closes the pipe under the scanner otherwise
		}
		p.cmd.Wait()
	})
	return p
}

// until returns what is printed up to the line that holds want.
func (p *process) until(want string) string {
	p.t.Helper()
	var seen strings.Builder
	deadline := time.After(time.Minute)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("it ended without %q:\n%s", want, seen.String())
			}
			seen.WriteString(line + "\n")
			if strings.Contains(line, want) {
				return seen.String()
			}
		case <-deadline:
			p.t.Fatalf("no %q after a minute:\n%s", want, seen.String())
		}
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// ended waits for the end and returns the exit code.
func (p *process) ended() int {
	p.t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case _, ok := <-p.lines:
			if ok {
				continue
			}
			p.cmd.Wait() // its error is the exit code's
			return p.cmd.ProcessState.ExitCode()
		case <-deadline:
			p.t.Fatal("it does not end")
		}
	}
}

const anyPort = `
listen: {c2s: ["127.0.0.1:0"], c2s_tls: ["127.0.0.1:0"], http: ["127.0.0.1:0"], https: ["127.0.0.1:0"]}
c2s: {scram_iterations: 4096}
`

func (s *shell) configure(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.flags[1], []byte("data: "+s.data+"\n"+text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func TestServeStartsReloadsAndStops(t *testing.T) {
	s := newShell(t)
	s.configure(anyPort)
	p := start(t, s.flags...)
	if said := p.until("jackdaw: ready"); !strings.Contains(said, "user add YOU@localhost") {
		t.Errorf("a first start with a file does not say how to add an account:\n%s", said)
	}
	s.do("x", "user", "add", "romeo@localhost", "--password-stdin")
	if got := s.do("", "user", "show", "romeo@localhost"); !strings.Contains(got, "sessions") {
		t.Errorf("the command did not ask the server: %s", got)
	}
	if got := s.do("", "sessions"); got != "" {
		t.Errorf("sessions: %q", got)
	}

	const other = "hosts: [{domain: localhost}, {domain: verona.example}]\n"
	if code, _, errOut := s.try("x", "user", "add", "a@verona.example", "--password-stdin"); code != 1 {
		t.Errorf("an account of a host that is not there: exit code %d: %s", code, errOut)
	}
	s.configure(anyPort + other)
	s.do("", "reload")
	s.do("x", "user", "add", "a@verona.example", "--password-stdin")

	s.configure(anyPort)
	p.signal(syscall.SIGHUP)
	p.until("configuration reloaded")
	s.configure("lissen: {}\n")
	p.signal(syscall.SIGHUP)
	p.until("unknown key")
	s.configure(anyPort)

	p.signal(syscall.SIGTERM)
	if code := p.ended(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := s.do("", "user", "list"); got != "romeo@localhost\tactive\t\na@verona.example\tactive\t\n" {
		t.Errorf("accounts after the stop: %q", got)
	}
}

func TestServeSaysWhatKeepsItFromStarting(t *testing.T) {
	s := newShell(t)
	s.configure(anyPort)
	p := start(t, s.flags...)
	p.until("jackdaw: ready")
	code, _, errOut := s.try("", "serve")
	if code != 1 || !strings.Contains(errOut, "jackdaw: ") || strings.Contains(errOut, "jackdaw: ready") {
		t.Errorf("a second server on the same data: exit code %d\n%s", code, errOut)
	}
	s.configure("c2s: {scram_iterations: 1}\n")
	if code, _, errOut := s.try("", "serve"); code != 1 || !strings.Contains(errOut, "jackdaw.yaml:2:25: c2s.scram_iterations") {
		t.Errorf("an impossible value: exit code %d\n%s", code, errOut)
	}
}

func TestServeSaysWhatItServesAndWithWhat(t *testing.T) {
	s := newShell(t)
	s.configure(anyPort + "hosts: [{domain: a.example, admins: [chef@a.example, friend@elsewhere.example]}]\n")
	p := start(t, s.flags...)
	said := p.until("only this machine is served")
	if strings.Contains(said, "friend@") {
		t.Errorf("an administrator of another server needs no account:\n%s", said)
	}
	for _, want := range []string{"msg=starting version=", "go=go1.", `msg=listening for=c2s address=127.0.0.1:`, "msg=listening for=https",
		`msg="certificate in use" host=a.example file=self-signed`,
		`level=WARN msg="an administrator has no account" account=chef@a.example key=hosts[0].admins`} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
}

func TestReloadKeepsAHostThatHasAccounts(t *testing.T) {
	s := newShell(t)
	const both = "hosts: [{domain: localhost}, {domain: a.example}, {domain: empty.example}]\n"
	s.configure(anyPort + both)
	p := start(t, s.flags...)
	p.until("jackdaw: ready")
	s.do("x", "user", "add", "romeo@a.example", "--password-stdin")
	s.configure(anyPort)
	code, _, errOut := s.try("", "reload")
	if code != 1 || !strings.Contains(errOut, "no longer serves a.example (accounts: 1, sessions: 0)") || !strings.Contains(errOut, "--drop-host") ||
		strings.Contains(errOut, "empty.example") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	s.do("x", "user", "add", "juliet@empty.example", "--password-stdin") // nothing was changed
	p.signal(syscall.SIGHUP)
	p.until("configuration kept as it was")
	s.do("", "reload", "--drop-host")
	if code, _, _ := s.try("x", "user", "add", "b@a.example", "--password-stdin"); code != 1 {
		t.Errorf("the host is still served: exit code %d", code)
	}
	if got := s.do("", "user", "list", "a.example"); got != "romeo@a.example\tactive\t\n" {
		t.Errorf("the accounts of the host that was dropped: %q", got)
	}
}

func TestNotesOfAReloadCompareWithWhatRuns(t *testing.T) {
	s := newShell(t)
	s.configure(anyPort)
	p := start(t, s.flags...)
	p.until("jackdaw: ready")
	const note = "limits.http_idle: the change is taken up when the server is started again"
	reload := func(text string) string {
		t.Helper()
		s.configure(anyPort + text)
		code, _, errOut := s.try("", "reload")
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, errOut)
		}
		return errOut
	}
	for range 2 { // the second file is the first, and still not what runs
		if got := reload("limits: {http_idle: 5s}\n"); !strings.Contains(got, note) {
			t.Errorf("got %q", got)
		}
	}
	if got := reload(""); got != "" {
		t.Errorf("back to what runs: %q", got)
	}
	if got := reload("log: {level: debug}\n"); got != "" {
		t.Errorf("the level is taken up: %q", got)
	}
	p.until("configuration reloaded")
	s.do("x", "user", "add", "romeo@localhost", "--password-stdin")
	s.do("", "sessions")
	reload("log: {level: warn}\n")
	s.do("", "user", "grant", "romeo@localhost", "admin")
	p.signal(syscall.SIGTERM)
	rest := ""
	for line := range p.lines {
		rest += line + "\n"
	}
	if strings.Contains(rest, "permissions granted") || !strings.Contains(rest, "account created") {
		t.Errorf("the level was not taken up:\n%s", rest)
	}
}

func TestWhatACommandChangedIsInTheLog(t *testing.T) {
	s := newShell(t)
	s.configure(anyPort)
	p := start(t, s.flags...)
	p.until("jackdaw: ready")
	s.do("secret word", "user", "add", "romeo@localhost", "--password-stdin")
	s.do("", "user", "grant", "romeo@localhost", "multicast", "forge_sender=*@trac")
	s.do("", "user", "revoke", "romeo@localhost", "multicast")
	s.do("", "user", "disable", "romeo@localhost")
	s.do("", "user", "del", "romeo@localhost")
	said := p.until("account removed")
	for _, want := range []string{`msg="account created" account=romeo@localhost by=command`,
		`msg="permissions granted" account=romeo@localhost permissions="[multicast forge_sender=*@trac]"`,
		`msg="permissions revoked" account=romeo@localhost permissions=[multicast]`, `msg="account disabled" account=romeo@localhost`} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
	if strings.Contains(said, "secret word") {
		t.Error("the log holds a password")
	}
}
