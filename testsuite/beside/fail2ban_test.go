package beside

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// intruders are users that are none; some would lead a filter that believes them to another address.
var intruders = []string{
	"alice@localhost", "nobody", "a b", `x" host=localhost from=192.0.2.66 why=not-authorized`,
	"y host=localhost from=192.0.2.66 why=not-authorized", `z","host":"localhost","from":"192.0.2.66","why":"not-authorized"}`,
	"time=2026-11-29T10:00:00Z level=INFO msg=\"login failed\"", "ü\u2028\t\\",
	`w" id=m-1 client=192.0.2.66 path=/`,
}

// guess has everybody of them fail, by XMPP and by HTTP, and returns the log.
func guess(t *testing.T, format string) string {
	t.Helper()
	s := harness.Start(t, harness.Options{Users: []string{"alice"}, Config: "log: {format: " + format + "}"})
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, user := range intruders {
		c, err := harness.Open(s.C2STLS, false)
		if err != nil {
			t.Fatal(err)
		}
		local, _, _ := strings.Cut(user, "@")
		c.Send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" +
			base64.StdEncoding.EncodeToString([]byte("\x00"+local+"\x00wrong")) + "</auth>")
		if _, err := c.Until(func(el string) bool { return strings.HasPrefix(el, "<failure") }); err != nil {
			t.Fatalf("%q: %v", user, err)
		}
		c.Close()
		req, err := http.NewRequest("POST", "http://"+s.HTTP+"/message", strings.NewReader("<message/>"))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, "wrong")
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	s.Stop()
	return s.Log()
}

var fractions = regexp.MustCompile(`(T[0-9:]{8})\.[0-9]+Z`)

func TestFail2banFindsWhoGuesses(t *testing.T) {
	filter := contrib + "/fail2ban/filter.d/jackdaw.conf"
	for _, format := range []string{"text", "json"} {
		log := guess(t, format)
		var failures []string
		for line := range strings.Lines(log) {
			login := strings.Contains(line, `msg="login failed"`) || strings.Contains(line, `"msg":"login failed"`)
			post := strings.Contains(line, "status=401") || strings.Contains(line, `"status":401`)
			if login && (strings.HasSuffix(line, "why=not-authorized\n") || strings.HasSuffix(line, "\"why\":\"not-authorized\"}\n")) || post {
				failures = append(failures, line)
			}
		}
		if len(failures) < 10 {
			t.Errorf("%s: only %d failures in\n%s", format, len(failures), log)
		}
		// As long as the log of a system may have it: the zeros at its end are left out.
		for _, fraction := range []string{"", ".7", ".053", ".053225", ".053225001"} {
			short := fractions.ReplaceAllString(log, "${1}"+fraction+"Z")
			file := write(t, filepath.Join(t.TempDir(), "log"), short)
			out := run(t, "fail2ban", "fail2ban-regex", "--out", "ip", file, filter)
			if n := len(strings.Fields(out)); n != len(failures) {
				t.Errorf("%s with times to %q: found %d of %d", format, fraction, n, len(failures))
			}
		}
		for _, before := range []string{"", "Nov 29 10:00:00 host jackdaw[123]: ", "host jackdaw[123]: "} {
			var all strings.Builder
			for line := range strings.Lines(log) {
				all.WriteString(before + line)
			}
			file := write(t, filepath.Join(t.TempDir(), "log"), all.String())
			out := run(t, "fail2ban", "fail2ban-regex", "--out", "ip", file, filter)
			addresses := strings.Fields(out)
			if len(addresses) != len(failures) {
				t.Errorf("%s after %q: found %d of %d\n%s", format, before, len(addresses), len(failures), strings.Join(failures, ""))
			}
			for _, a := range addresses {
				if !strings.HasPrefix(a, "127.") {
					t.Errorf("%s after %q: would ban %s", format, before, a)
				}
			}
		}
	}
}

func TestFail2banTakesTheJail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fail2ban")
	if out, err := exec.Command("cp", "-r", "/etc/fail2ban", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v (apt-get install fail2ban)\n%s", err, out)
	}
	for _, name := range []string{"filter.d/jackdaw.conf", "jail.d/jackdaw.conf"} {
		write(t, filepath.Join(dir, name), read(t, filepath.Join(contrib, "fail2ban", name)))
	}
	if out := run(t, "fail2ban", "fail2ban-client", "-c", dir, "-d"); !strings.Contains(out, "'add', 'jackdaw', 'systemd'") {
		t.Errorf("no jail:\n%s", fmt.Sprintf("%.3000s", out))
	}
}
