// Package alerting has Prometheus Alertmanager tell people by hooks: its notifiers, its templates and its retries, with
// the configuration in contrib/alertmanager. They are run by testsuite/alertsender.
package alerting

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// A Sender is a running alertsender.
type Sender struct {
	t   testing.TB
	in  io.WriteCloser
	out *bufio.Reader
}

// A Notification is what it tells a receiver of the configuration. Reason is first, repeat or resolved.
type Notification struct {
	Receiver string            `json:"receiver"`
	Group    map[string]string `json:"group"`
	Key      string            `json:"key"`
	Reason   string            `json:"reason"`
	Alerts   []Alert           `json:"alerts"`
	Seconds  int               `json:"seconds"` // until it gives up
}

// An Alert fires as long as EndsAt is empty; times are of RFC 3339.
type Alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     string            `json:"startsAt"`
	EndsAt       string            `json:"endsAt,omitempty"`
	GeneratorURL string            `json:"generatorURL"`
}

// A Result is what became of a notification: Error is why Alertmanager gave up, Warnings are why it tried again.
type Result struct {
	Error    string
	Warnings []string
}

// Build builds alertsender, for which Go may have to fetch modules.
func Build(path string) error {
	cmd := exec.Command("go", "build", "-C", "../alertsender", "-o", path, ".")
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build alertsender: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Run runs the program, with a configuration of Alertmanager, until the test has ended.
func Run(t testing.TB, program, configuration string) *Sender {
	t.Helper()
	cmd := exec.Command(program, configuration)
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // which ends it
		if err := cmd.Wait(); err != nil {
			t.Errorf("alertsender: %v", err)
		}
	})
	return &Sender{t: t, in: in, out: bufio.NewReader(out)}
}

// Send sends a notification and waits for what becomes of it.
func (s *Sender) Send(n Notification) (r Result) {
	s.t.Helper()
	if n.Seconds == 0 {
		n.Seconds = 30
	}
	line, err := json.Marshal(n)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.in.Write(append(line, '\n')); err != nil {
		s.t.Fatal(err)
	}
	answer, err := s.out.ReadBytes('\n')
	if err != nil {
		s.t.Fatalf("alertsender has ended: %v", err)
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		s.t.Fatal(err)
	}
	return r
}
