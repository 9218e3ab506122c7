// Package senders has programs and libraries that others wrote post to hooks, as their users have them: those of
// testdata/requirements.txt.
package senders

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// ntfyHost is a host that answers as a server of ntfy.
const ntfyHost = "ntfy.localhost"

// files is where others reach the server, as it believes.
const files = "https://chat.example"

// hook makes a hook of alerts@ to romeo and returns its token, which nobody finds in the log or among the metrics.
func hook(t *testing.T, s *harness.Server, name string, args ...string) string {
	t.Helper()
	out := s.Command("", append([]string{"hook", "add", name, "--to", "romeo@" + s.Domain, "--owner", "alerts@" + s.Domain},
		args...)...)
	_, path, ok := strings.Cut(strings.TrimSpace(out), "/hooks/")
	if !ok {
		t.Fatalf("hook add printed %q", out)
	}
	token := strings.ReplaceAll(path, "/", "")
	t.Cleanup(func() {
		// Half of it is what a program for Rocket.Chat has.
		half := token[:len(token)/2-4]
		if strings.Contains(s.Log(), half) || strings.Contains(fetch(t, "http://"+s.Metrics+"/metrics"), half) {
			t.Errorf("the token of %s is in the log or among the metrics", name)
		}
	})
	return token
}

// fetch is what an address has.
func fetch(t *testing.T, address string) string {
	t.Helper()
	answer, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", address, answer.Status, err)
	}
	return string(b)
}

// romeo is who gets what hooks send.
func romeo(t *testing.T, s *harness.Server) *harness.Client {
	t.Helper()
	c, err := harness.Connect(s.C2STLS, "romeo", "desk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	return c
}

// next is the text of the message that comes next; after says what of.
func next(t *testing.T, c *harness.Client, after string) string {
	t.Helper()
	text := ""
	_, err := c.Until(func(el string) bool {
		var m struct {
			XMLName xml.Name
			Body    *string `xml:"body"`
		}
		if err := xml.Unmarshal([]byte(el), &m); err != nil {
			t.Fatalf("%v in %s", err, el)
		}
		if m.XMLName.Local != "message" || m.Body == nil {
			return false
		}
		text = *m.Body
		return true
	})
	if err != nil {
		t.Fatalf("after %s: %v", after, err)
	}
	return text
}

func TestAppriseAndClientsOfNtfyAndGotifyReachPeople(t *testing.T) {
	python := filepath.Join("testdata", "venv", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Fatal("what sends is missing: make deps")
	}
	t.Parallel()
	s := harness.Start(t, harness.Options{Users: []string{"romeo", "alerts"}, HTTP: "url: " + files,
		Hosts: "- domain: " + ntfyHost + "\n  face: ntfy"})
	told, err := json.Marshal(map[string]any{"http": s.HTTP, "ntfy": ntfyHost, "dir": t.TempDir(), "tokens": map[string]string{
		"any":        hook(t, s, "any"),
		"renamed":    hook(t, s, "renamed", "--kind", "apprise", "--rename", "text=message", "--rename", "subject=title"),
		"ops":        hook(t, s, "ops", "--kind", "ntfy"),
		"mattermost": hook(t, s, "mm", "--kind", "mattermost"),
		"rocketchat": hook(t, s, "rocket", "--kind", "rocketchat"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	reader := romeo(t, s)

	cmd := exec.Command(python, filepath.Join("testdata", "senders.py"), string(told))
	var out, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failed
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s%s", err, out.String(), failed.String())
	}
	step, seen := "", 0
	for line := range strings.Lines(out.String()) {
		var said struct {
			Step, Want string
			File       bool
		}
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if said.Step != "" {
			step = said.Step
			continue
		}
		got := next(t, reader, step)
		if said.File {
			address, ok := strings.CutPrefix(got, files)
			if !ok {
				t.Fatalf("%s: %q is no address of a file", step, got)
			}
			got = fetch(t, "http://"+s.HTTP+address)
		}
		if seen++; got != said.Want {
			t.Errorf("%s: the message is\n%s\nwant\n%s", step, got, said.Want)
		}
	}
	if seen < 20 {
		t.Errorf("%d messages", seen)
	}
}
