package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"jackdaw/config"
	"jackdaw/server"
)

// A shell runs commands on one data directory.
type shell struct {
	t     *testing.T
	flags []string
	data  string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	dir := t.TempDir()
	data, file := filepath.Join(dir, "data"), filepath.Join(dir, "jackdaw.yaml")
	text := "data: " + data + "\nc2s: {scram_iterations: 4096}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &shell{t: t, flags: []string{"--config", file}, data: data}
}

func (s *shell) try(stdin string, args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = run(append(s.flags, args...), strings.NewReader(stdin), &o, &e)
	return code, o.String(), e.String()
}

// do wants the command to succeed, and returns what it prints.
func (s *shell) do(stdin string, args ...string) string {
	s.t.Helper()
	code, out, errOut := s.try(stdin, args...)
	if code != 0 {
		s.t.Fatalf("jackdaw %s: exit code %d\n%s", strings.Join(args, " "), code, errOut)
	}
	return out
}

// serve answers on the control socket until the test ends.
func (s *shell) serve() {
	s.t.Helper()
	cfg, err := config.Load(s.flags[1])
	if err != nil {
		s.t.Fatal(err)
	}
	control, closeStore, err := server.OpenControl(s.t.Context(), cfg, true)
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := server.ListenControl(cfg.Data, control)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := errors.Join(l.Close(), closeStore()); err != nil {
			s.t.Error(err)
		}
	})
}

func TestAccountsOnTheCommandLine(t *testing.T) {
	for _, running := range []bool{false, true} {
		t.Run("running="+strconv.FormatBool(running), func(t *testing.T) {
			s := newShell(t)
			if running {
				s.serve()
			}
			s.do("secret\n", "user", "add", "romeo@localhost", "--password-stdin")
			if pw := strings.TrimSpace(s.do("", "user", "add", "juliet@localhost", "--generate")); len(pw) < 22 {
				t.Errorf("generated password %q", pw)
			}
			s.do("", "user", "grant", "romeo@localhost", "multicast", "forge_sender=*@trac")
			s.do("", "user", "revoke", "romeo@localhost", "multicast")
			s.do("", "user", "disable", "juliet@localhost")
			s.do("other", "user", "passwd", "romeo@localhost", "--password-stdin")
			want := "juliet@localhost\tdisabled\t\nromeo@localhost\tactive\tforge_sender=*@trac\n"
			if got := s.do("", "user", "list"); got != want {
				t.Errorf("list: %q, want %q", got, want)
			}
			// A domain that nobody serves is a slip, and no list is its answer.
			if code, out, errOut := s.try("", "user", "list", "elsewhere.example"); code != 1 || out != "" ||
				!strings.Contains(errOut, "elsewhere.example is not served here") {
				t.Errorf("list of another domain: exit code %d: %s%s", code, out, errOut)
			}
			s.do("", "user", "enable", "juliet@localhost")
			show := s.do("", "user", "show", "juliet@localhost")
			if !strings.Contains(show, "active") || strings.Contains(show, "sessions") != running {
				t.Errorf("show: %s", show)
			}
			s.do("", "user", "del", "juliet@localhost")
			if got := s.do("", "user", "list"); strings.Contains(got, "juliet") {
				t.Errorf("after the removal: %s", got)
			}

			s.do("", "api-account", "add", "blog", "--domain", "localhost", "--generate")
			if got := s.do("", "api-account", "list"); got != "blog\tlocalhost\n" {
				t.Errorf("API accounts: %q", got)
			}
			s.do("", "api-account", "del", "blog")
		})
	}
}

func TestBatchNamesTheLinesItRefuses(t *testing.T) {
	s := newShell(t)
	s.do("a@localhost x y\n\nb@localhost z\r\n", "user", "add", "--batch")
	code, _, errOut := s.try("\nc@localhost x\na@localhost x\nd@elsewhere.example x\n", "user", "add", "--batch")
	if code != 1 || !strings.Contains(errOut, "line 3: a@localhost: the account exists") ||
		!strings.Contains(errOut, "line 4: elsewhere.example is not served") || !strings.Contains(errOut, "2 of 3 accounts were not created") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if got := s.do("", "user", "list"); strings.Count(got, "\n") != 3 {
		t.Errorf("list: %s", got)
	}
	if strings.Contains(errOut, "\x1b") || strings.Contains(errOut, "[#") {
		t.Errorf("a progress bar without a terminal: %q", errOut)
	}
	for _, broken := range []string{"", "a@localhost\n", "a@localhost \n"} {
		if code, _, _ := s.try(broken, "user", "add", "--batch"); code != 1 {
			t.Errorf("%q: exit code %d", broken, code)
		}
	}
}

func TestWrongUsageIsExitCode2(t *testing.T) {
	s := newShell(t)
	dump := filepath.Join(t.TempDir(), "all.dump")
	if err := os.WriteFile(dump, []byte("{tables,[]}.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"import", dump}, {"import", "--from", "nowhere", dump}, {"bogus"}, {"user"}, {"user", "bogus"}, {"user", "add"}, {"user", "add", "a@b", "c@d"}, {"user", "add", "localhost"},
		{"user", "add", "a@localhost"}, // no terminal to ask on
		{"user", "add", "a@localhost", "--password-stdin", "--generate"},
		{"user", "add", "--batch", "a@localhost"}, {"user", "add", "--batch", "--generate"},
		{"user", "del"}, {"user", "show", "a@b/c"}, {"user", "list", "a@b"},
		{"user", "grant", "a@localhost"}, {"user", "grant", "a@localhost", "fly"},
		{"api-account", "add", "blog", "--generate"}, {"api-account", "del"},
		{"sessions", "bogus"}, {"sessions", "kick"}, {"reload", "now"}, {"serve", "now"}, {"check", "--bogus"},
		{"send", "hi"}, {"send", "--to", "a@localhost", "hi"}, {"send", "--user", "x", "--to", "a b", "hi"},
	} {
		code, out, errOut := s.try("", args...)
		if code != 2 || !strings.HasPrefix(errOut, "jackdaw: ") || !strings.Contains(errOut, "--help") || out != "" {
			t.Errorf("%q: exit code %d\n%s%s", args, code, out, errOut)
		}
	}
	if _, err := os.Stat(s.data); err == nil {
		t.Error("wrong usage made a data directory")
	}
}

func TestFailuresAreExitCode1AndOneLine(t *testing.T) {
	s := newShell(t)
	s.do("x", "user", "add", "romeo@localhost", "--password-stdin")
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("lissen: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"exists already":      {"user", "add", "romeo@localhost", "--password-stdin"},
		"not served here":     {"user", "add", "romeo@montague.example", "--password-stdin"},
		"no such account":     {"user", "del", "nobody@localhost"},
		"no server runs":      {"sessions"},
		"`jackdaw serve`":     {"reload"},
		"bad.yaml:1:1: lisse": {"check", "--config", bad},
		"no such file":        {"user", "list", "--config", bad + "x"},
	} {
		code, _, errOut := s.try("x", args...)
		if code != 1 || !strings.Contains(errOut, want) || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%q: exit code %d: %s", args, code, errOut)
		}
	}
}

func TestCheckReadsTheConfigurationAndItsCertificates(t *testing.T) {
	s := newShell(t)
	if got := s.do("", "check"); !strings.HasSuffix(got, "jackdaw.yaml: good\n") {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(s.data); err == nil {
		t.Error("check made a data directory")
	}
	text := "hosts: [{domain: a.example, cert: /nonexistent/c, key: /nonexistent/k}]\nmodules: {stanzaid: false}\n"
	if err := os.WriteFile(s.flags[1], []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errOut := s.try("", "check")
	if code != 1 || !strings.Contains(errOut, "certificate of a.example (/nonexistent/c") || !strings.Contains(errOut, "warning: ") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestVersionIsPrinted(t *testing.T) {
	if got := newShell(t).do("", "version"); !strings.HasPrefix(got, "jackdaw ") || !strings.Contains(got, "go1.") {
		t.Errorf("got %q", got)
	}
}

func TestSendPostsAsAnyProgramWould(t *testing.T) {
	var user, password, body string
	status := http.StatusOK
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ = r.BasicAuth()
		b := new(bytes.Buffer)
		b.ReadFrom(r.Body)
		body = b.String()
		w.WriteHeader(status)
		w.Write([]byte("Forbidden: no\nmore\n"))
	}))
	defer api.Close()
	s := newShell(t)
	s.flags = append(s.flags, "--url", api.URL)
	post := func(stdin string, args ...string) (int, string) {
		body = ""
		code, _, errOut := s.try(stdin, append([]string{"send", "--user", "build@localhost"}, args...)...)
		return code, errOut
	}

	t.Setenv("JACKDAW_PASSWORD", "from env")
	if code, errOut := post("", "--to", "a@localhost", "x < y & \"z\""); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	want := "<message type='chat' to='a@localhost'><body>x &lt; y &amp; &#34;z&#34;</body></message>"
	if user != "build@localhost" || password != "from env" || body != want {
		t.Errorf("got %q, %q, %s", user, password, body)
	}

	if code, errOut := post("from stdin\n", "--to", "a@localhost", "--to", "b@localhost", "--from", "t1@trac"); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	want = "<message type='chat' from='t1@trac' to='multicast'><addresses><address jid='a@localhost'/><address jid='b@localhost'/></addresses>" +
		"<body>from stdin</body></message>"
	if body != want {
		t.Errorf("got %s", body)
	}

	// What a program prints for a terminal.
	for text, want := range map[string]string{"\x1b[31mred\x1b[0m\n": "\ufffd[31mred\ufffd[0m", "a\x00b": "a\ufffdb",
		"\xef\xbb\xbfhello\n": "hello",
		"a\ufeffb":            "a\ufeffb", "caf\xe9": "caf\ufffd", "\uffff": "\ufffd"} {
		if code, errOut := post(text, "--to", "a@localhost"); code != 0 ||
			body != "<message type='chat' to='a@localhost'><body>"+want+"</body></message>" {
			t.Errorf("%q: exit code %d, %s, and got %s", text, code, errOut, body)
		}
	}

	status = http.StatusForbidden
	if code, errOut := post("secret", "--to", "a@localhost", "--password-stdin", "hi"); code != 1 ||
		errOut != "jackdaw: 403 Forbidden: Forbidden: no\n" || password != "secret" {
		t.Errorf("exit code %d, password %q: %s", code, password, errOut)
	}
	if code, _ := post("secret", "--to", "a@localhost", "--password-stdin"); code != 2 || body != "" {
		t.Errorf("password and text on one standard input: exit code %d", code)
	}
	if code, _ := post("", "--to", "a@localhost"); code != 2 || body != "" {
		t.Errorf("no text: exit code %d", code)
	}
}

func TestSendFindsTheListenerInTheConfiguration(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:1": "http://127.0.0.1:1/message", ":1": "http://127.0.0.1:1/message",
		"[::1]:1": "http://[::1]:1/message", "unix:/x": "http://localhost/message",
	} {
		cfg := config.Default()
		cfg.Listen.HTTP = []string{addr}
		if got, _, err := endpointOf(cfg, &http.Client{}); err != nil || got != want {
			t.Errorf("%s: %s, %v", addr, got, err)
		}
	}
	cfg := config.Default()
	cfg.Listen.HTTP = nil
	if got, _, err := endpointOf(cfg, &http.Client{}); err == nil {
		t.Errorf("without a listener: %s", got)
	}
}
