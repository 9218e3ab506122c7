package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

func start(t *testing.T, args ...string) *process {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "jackdaw")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	p := &process{t: t, cmd: exec.Command(binary, append(args, "serve")...), lines: make(chan string, 1000)}
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
	deadline := time.After(30 * time.Second)
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
			p.t.Fatalf("no %q after 30 s:\n%s", want, seen.String())
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
	deadline := time.After(30 * time.Second)
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
