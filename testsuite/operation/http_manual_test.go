package operation

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// curls are the commands of a page: each begins on a line of its own with curl, and goes on on lines that stand further
// to the right.
func curls(page string) (all []string) {
	open := false
	for line := range strings.Lines(page) {
		switch {
		case strings.HasPrefix(line, "    curl "):
			all, open = append(all, line), true
		case open && strings.HasPrefix(line, "      "):
			all[len(all)-1] += line
		default:
			open = false
		}
	}
	return all
}

// What docs/http.md tells people to write is what works, with curl as they have it.
func TestExamplesOfThePageOfPostsWork(t *testing.T) {
	page, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "http.sock"), filepath.Join(dir, "log.txt")
	if err := os.WriteFile(file, []byte("it works\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{Users: []string{"andy", "bob", "web"}, Socket: socket,
		HTTP: fmt.Sprintf("url: https://localhost\nsocket_users: {%d: web@localhost}", os.Geteuid())})
	lines := strings.Fields(s.Command("", "token", "add", "andy@localhost"))
	token := lines[len(lines)-1]
	fill := strings.NewReplacer("localhost:5280", s.HTTP, "im.example.org", "localhost", "/run/jackdaw/http.sock", socket,
		"/tmp/log.txt", file, "jdt…", token, "-u andy@im.example.org", "-u andy@localhost:"+harness.Password)

	run := func(command string) string {
		t.Helper()
		out, err := exec.Command("/bin/sh", "-c", strings.Replace(command, "curl ", "curl -sS ", 1)).Output()
		if err != nil {
			t.Errorf("%s: %v", command, err)
		}
		return string(out)
	}
	commands := curls(string(page))
	if len(commands) < 8 {
		t.Fatalf("%d commands: %q", len(commands), commands)
	}
	for _, one := range commands {
		switch command := fill.Replace(one); {
		case strings.Contains(one, "text/event-stream"): // until it is cut off, which curl says with an exit code
			out, _ := exec.Command("/bin/sh", "-c", strings.Replace(command, "curl ", "curl -sS --max-time 1 ", 1)).Output()
			if !strings.HasSuffix(string(out), "event: ready\ndata: {}\n\n") {
				t.Errorf("%s says %q", one, out)
			}
			continue
		case strings.Contains(one, "/api/1.0/posts/"): // of a post that is not there, on this server
			out, _ := exec.Command("/bin/sh", "-c", strings.Replace(command, "curl ", "curl -sS ", 1)).Output()
			if !strings.Contains(string(out), `"status":404`) {
				t.Errorf("%s says %q", one, out)
			}
			continue
		}
		got := run(fill.Replace(one))
		if dry := strings.Contains(one, "dry_run"); !dry && got != "OK\n" ||
			dry && (!strings.HasPrefix(got, `{"dry_run":true,"id":"m-`) || !strings.Contains(got, `"outcome":"stored"}]}`)) {
			t.Errorf("%s says %q", one, got)
		}
	}

	bob, err := harness.Connect(s.C2STLS, "bob", "b")
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close()
	if err := bob.Send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]string{
		{"from='andy@localhost'", "<body>yo</body>"},
		{"from='andy@localhost'", "<body>yo</body>"},
		{"from='web@localhost'", "<body>The disk is full.</body>"},
		{"<body>Hello</body>"},
		{"<body>*Done*: the log: https://ci.example/7\n", "/log.txt</body>", "<media-type>text/plain</media-type>", "<size>3</size>"},
		{"<body>It is done.</body>"},
		{"<body>the log\n", "/log.txt</body>", "<size>9</size>", "<x xmlns='jabber:x:oob'><url>"},
	} {
		el, err := bob.Until(func(el string) bool { return strings.HasPrefix(el, "<message") })
		if err != nil {
			t.Fatalf("%v, want %q", err, want)
		}
		for _, one := range want {
			if !strings.Contains(el, one) {
				t.Errorf("got %s, want %s", el, one)
			}
		}
		if _, rest, ok := strings.Cut(el, "<url>"); ok {
			url, _, _ := strings.Cut(rest, "</url>")
			at := strings.Replace(url, "https://localhost/", "https://"+s.HTTPS+"/", 1)
			if got := run("curl -k '" + at + "'"); got != "ok\n" && got != "it works\n" {
				t.Errorf("%s has %q", url, got)
			}
		}
	}
	log := s.Log()
	if strings.Contains(log, token) || strings.Contains(log, harness.Password) || !strings.Contains(log, "uid=") {
		t.Errorf("log: %s", log)
	}
}
