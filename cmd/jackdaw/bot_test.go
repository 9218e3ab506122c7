package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/admin"
)

func TestBotsOnTheCommandLine(t *testing.T) {
	s := newShell(t)
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case strings.Contains(string(body), "no thanks"):
			w.WriteHeader(http.StatusTeapot)
		case r.Header.Get("X-Jackdaw-Signature") == "":
			io.WriteString(w, "unsigned")
		default:
			io.WriteString(w, "12 °C\u202e!")
		}
	}))
	t.Cleanup(program.Close)
	for _, args := range [][]string{{"bot", "list"}, {"bot", "log", "weather@localhost"}, {"bot", "remove", "weather@localhost"}} {
		if code, out, errOut := s.try("", args...); code != 1 || out != "" || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%q without data: exit code %d: %s%s", args, code, out, errOut)
		}
	}
	s.do("x", "user", "add", "weather@localhost", "--password-stdin")
	s.do("x", "user", "add", "ann@localhost", "--password-stdin")
	if got := s.do("", "bot", "list"); got != "" {
		t.Errorf("there are %q", got)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := strings.Replace(program.URL, "http://", "http://me:password@", 1)
	s.do("", "bot", "add", "weather@localhost", "--url", url, "--secret-file", secret, "--room", "garden@elsewhere.example",
		"--nick", "Weather", "--trigger", "!w ", "--composing", "--owner", "ann@localhost")
	var list []admin.BotInfo
	text := s.do("", "bot", "list", "--json")
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) != 1 {
		t.Fatalf("%s: %v", text, err)
	}
	if b := list[0]; b.JID != "weather@localhost" || !b.Signed || b.Owner != "ann@localhost" || b.State != "offline" || b.Trigger != "!w " ||
		!b.Composing || b.Encrypted || len(b.Rooms) != 1 || b.Rooms[0].Room != "garden@elsewhere.example" || b.Rooms[0].Away == "" {
		t.Errorf("%+v", b)
	}
	if strings.Contains(text, "s3cret") || strings.Contains(text, "password") {
		t.Errorf("a secret is shown: %s", text)
	}
	if got := s.do("", "bot", "list"); !strings.HasPrefix(got, "weather@localhost\toffline\t0\t-\thttp://me:xxxxx@127.0.0.1:") ||
		!strings.HasSuffix(got, "\tgarden@elsewhere.example (not yet)\tann@localhost\n") {
		t.Errorf("%q", got)
	}
	// Ann administers nothing, and the program is inside.
	if code, _, errOut := s.try("", "bot", "test", "weather@localhost"); code != 1 || !strings.Contains(errOut, "not a public one") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	s.do("", "bot", "add", "weather@localhost", "--url", url, "--secret-file", secret)
	code, out, errOut := s.try("", "bot", "test", "weather@localhost", "!w berlin")
	if code != 0 || out != "12 °C?!\n" || !strings.HasPrefix(errOut, "status 200 after 0.") {
		t.Errorf("exit code %d: %q %q", code, out, errOut)
	}
	if code, _, errOut := s.try("", "bot", "test", "weather@localhost", "no thanks"); code != 1 || !strings.Contains(errOut, "418 I'm a teapot") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if got := s.do("", "bot", "log", "weather@localhost", "--json"); got != "[]\n" {
		t.Errorf("a test is in the log: %s", got)
	}
	s.do("", "bot", "remove", "weather@localhost")
	for want, args := range map[string][]string{
		"nobody@localhost: there is":     {"bot", "add", "nobody@localhost", "--url", url},
		"the owner: nobody@localhost":    {"bot", "add", "weather@localhost", "--url", url, "--owner", "nobody@localhost"},
		"no such room":                   {"bot", "add", "weather@localhost", "--url", url, "--room", "garden@rooms.localhost"},
		"address of a room":              {"bot", "add", "weather@localhost", "--url", url, "--room", "rooms.localhost"},
		"expected one of http or https":  {"bot", "add", "weather@localhost", "--url", "ftp://localhost"},
		"the trigger":                    {"bot", "add", "weather@localhost", "--url", url, "--trigger", " "},
		"read the secret":                {"bot", "add", "weather@localhost", "--url", url, "--secret-file", secret + "x"},
		"weather@localhost: it is no bo": {"bot", "remove", "weather@localhost"},
		"jackdaw bot list":               {"bot", "test", "weather@localhost"},
	} {
		if code, _, errOut := s.try("", args...); code != 1 || !strings.Contains(errOut, want) {
			t.Errorf("%q: exit code %d: %s", args, code, errOut)
		}
	}
	for _, args := range [][]string{{"bot"}, {"bot", "dance"}, {"bot", "add", "weather@localhost"}, {"bot", "add", "weather", "--url", url},
		{"bot", "log"}} {
		if code, _, errOut := s.try("", args...); code != 2 {
			t.Errorf("%q: exit code %d: %s", args, code, errOut)
		}
	}
}
