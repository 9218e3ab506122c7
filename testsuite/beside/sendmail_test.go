package beside

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// A mailroom is a server, somebody who reads, and the program by the name under which others call it.
type mailroom struct {
	*harness.Server
	t        *testing.T
	sendmail string // path
	settings string
	spool    string
	bob      *harness.Client
}

// newMailroom has a server that knows alarm by a token, and on its socket whoever runs the test, and bob at home.
func newMailroom(t *testing.T) *mailroom {
	t.Helper()
	dir := t.TempDir()
	m := &mailroom{t: t, sendmail: filepath.Join(dir, "sendmail"), settings: filepath.Join(dir, "sendmail.yaml"),
		spool: filepath.Join(dir, "spool")}
	m.Server = harness.Start(t, harness.Options{Users: []string{"alarm", "bob"}, Socket: filepath.Join(dir, "http.sock"),
		HTTP: fmt.Sprintf("socket_users: {%q: alarm@localhost}", fmt.Sprint(os.Getuid()))})
	token := write(t, filepath.Join(dir, "token"), jdt.FindString(m.Command("", "token", "add", "alarm@localhost", "--label", "mail")))
	if err := errors.Join(os.Mkdir(m.spool, 0o700), os.Symlink(harness.Binary(t, ""), m.sendmail)); err != nil {
		t.Fatal(err)
	}
	write(t, m.settings, "root: bob@localhost\nops: [bob@localhost]\npost: {url: 'http://"+m.HTTP+"', token_file: "+token+", spool: "+m.spool+"}\n")
	m.enter()
	return m
}

func (m *mailroom) enter() {
	m.t.Helper()
	c, err := harness.Connect(m.C2STLS, "bob", "desk")
	if err == nil {
		err = c.Send("<presence/>")
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.Conn.Close() })
	m.bob = c
}

// call runs a command as its caller would, with the mail on standard input. It returns what that prints, and its code.
func (m *mailroom) call(mail string, env []string, name string, args ...string) (string, int) {
	m.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Env = strings.NewReader(mail), append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

var jdt = regexp.MustCompile("jdt[a-z0-9]{33}")

var said = regexp.MustCompile(`(?s)<body>(.*?)</body>`)

// hears fails the test unless bob is told this next.
func (m *mailroom) hears(what, text string) {
	m.t.Helper()
	el, err := m.bob.Until(func(el string) bool { return said.MatchString(el) })
	if err != nil {
		m.t.Fatalf("%s: %v", what, err)
	}
	if got := said.FindStringSubmatch(el)[1]; got != text || !strings.HasPrefix(harness.Attr(el, "from"), "alarm@localhost") {
		m.t.Errorf("%s: bob heard %q from %s, want %q", what, got, harness.Attr(el, "from"), text)
	}
}

// What cron and others write becomes a message, by the very command lines with which they call sendmail.
func TestProgramsSendMail(t *testing.T) {
	t.Parallel()
	m := newMailroom(t)
	given := "--settings=" + m.settings
	cron := "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@db1> backup\nMIME-Version: 1.0\n" +
		"Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\nX-Cron-Env: <HOME=/root>\n\nkein Platz für %s\n"
	for name, args := range map[string]string{
		"cron of BSD and Debian": "-FCronDaemon -odi -oem -oi -t",
		"cronie":                 "-FCronDaemon -i -B8BITMIME -oem root",
		"busybox":                "-t -oem -i",
		"php":                    "-t -i",
	} {
		out, code := m.call(fmt.Sprintf(cron, name), nil, m.sendmail, append([]string{given}, strings.Fields(args)...)...)
		if code != 0 || out != "" {
			t.Errorf("%s: %d %s", name, code, out)
		}
		m.hears(name, "Cron &lt;root@db1&gt; backup\nkein Platz für "+name)
	}

	// mailx of Debian calls it by itself.
	link := filepath.Join(filepath.Dir(m.sendmail), "mta")
	write(t, link, "#!/bin/sh\nexec "+m.sendmail+" "+given+" \"$@\"\n")
	if err := os.Chmod(link, 0o700); err != nil {
		t.Fatal(err)
	}
	out, code := m.call("läuft voll\n", []string{"LC_ALL=C.UTF-8"}, "s-nail", "-n", "-Smta="+link, "-s", "Platte für Ann", "root")
	if code != 0 {
		t.Errorf("s-nail: %d %s", code, out)
	}
	m.hears("s-nail", "Platte für Ann\nläuft voll")

	// smartd calls a script, with all in its environment and the text on standard input.
	env := []string{"JACKDAW=" + filepath.Join(filepath.Dir(m.sendmail), "jackdaw"), "SMARTD_ADDRESS=root ops", "SMARTD_DEVICE=/dev/sda",
		"SMARTD_SUBJECT=SMART error (FailedHealthCheck) detected on host: db1", "SMARTD_FAILTYPE=Health"}
	write(t, env[0][len("JACKDAW="):], "#!/bin/sh\nshift\nexec "+m.sendmail+" "+given+" \"$@\"\n")
	if err := os.Chmod(env[0][len("JACKDAW="):], 0o700); err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs(contrib + "/smartd/jackdaw-smartd")
	if err != nil {
		t.Fatal(err)
	}
	if out, code := m.call("Device: /dev/sda, FAILED SMART self-check. BACK UP DATA NOW!\n", env, script); code != 0 {
		t.Errorf("smartd: %d %s", code, out)
	}
	m.hears("smartd", "SMART error (FailedHealthCheck) detected on host: db1\nDevice: /dev/sda, FAILED SMART self-check. BACK UP DATA NOW!")
}

func TestMailThatCannotBeSent(t *testing.T) {
	t.Parallel()
	m := newMailroom(t)
	given := "--settings=" + m.settings
	for _, c := range []struct {
		mail string
		args []string
		code int
		says string
	}{
		{"x", []string{given, "nobody"}, 67, "nobody is known as nobody"},
		{"x", []string{given, "root@elsewhere.example"}, 67, "nobody is known as"},
		{"x", []string{given, "-bs"}, 64, "no mail server"},
		{"x", []string{given}, 64, "to whom"},
		{"", []string{given, "root"}, 65, "neither a subject nor a text"},
		{"x", []string{"--settings=/none", "root"}, 69, "/none is not there"},
	} {
		out, code := m.call(c.mail, nil, m.sendmail, c.args...)
		if code != c.code || !strings.HasPrefix(out, "jackdaw: ") || !strings.Contains(out, c.says) {
			t.Errorf("%q: %d %s, want %d with %q", c.args, code, out, c.code, c.says)
		}
	}
	m.Command("", "user", "disable", "alarm@localhost")
	if out, code := m.call("x", nil, m.sendmail, given, "root"); code != 69 {
		t.Errorf("a disabled account: %d %s", code, out)
	}
}

// While the server is away mail waits, and comes in order when it is back.
func TestMailWaitsForTheServer(t *testing.T) {
	t.Parallel()
	m := newMailroom(t)
	given := "--settings=" + m.settings
	m.Stop()
	for _, text := range []string{"one", "two"} {
		if out, code := m.call(text, nil, m.sendmail, given, "root"); code != 75 || !strings.Contains(out, "kept for later") {
			t.Errorf("%s: %d %s", text, code, out)
		}
	}
	m.Launch()
	m.enter()
	if out, code := m.call("three", nil, m.sendmail, given, "root"); code != 0 {
		t.Errorf("three: %d %s", code, out)
	}
	for _, text := range []string{"one", "two", "three"} {
		m.hears("a mail that waited", text)
	}
	if out, code := m.call("", nil, m.sendmail, given, "--flush"); code != 0 || out != "" {
		t.Errorf("flush: %d %s", code, out)
	}
	left, err := filepath.Glob(filepath.Join(m.spool, "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "lock" {
		t.Errorf("the spool has %q", left)
	}
}

// The settings in contrib say what they mean, and lead over a socket that knows who calls.
func TestTheSettingsOfContribAreRead(t *testing.T) {
	t.Parallel()
	m := newMailroom(t)
	b := bytes.ReplaceAll([]byte(read(t, contrib+"/sendmail/sendmail.yaml")), []byte("admin@im.example.org"), []byte("bob@localhost"))
	b = bytes.ReplaceAll(b, []byte("/run/jackdaw/http.sock"), []byte(filepath.Join(filepath.Dir(m.settings), "http.sock")))
	write(t, m.settings, string(b))
	for _, to := range []string{"root", "somebody"} {
		if out, code := m.call("for "+to, nil, m.sendmail, "--settings="+m.settings, to); code != 0 {
			t.Errorf("%s: %d %s", to, code, out)
		}
		m.hears("a mail", "for "+to)
	}
}
