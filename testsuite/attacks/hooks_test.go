package attacks

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"jackdaw/testsuite/harness"
)

// large is a body of JSON as large as one may be: a bomb in the middle.
func large(begin, piece, end string) string {
	const most = 2 << 20
	n := (most - len(begin) - len(end)) / len(piece)
	return begin + strings.Repeat(piece, n) + end
}

// peak is how much memory the server has had, in MiB.
func peak(t *testing.T, s *harness.Server) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(s.PID()) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no peak in %s", b)
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb >> 10
}

// Whoever has the address of a hook may use it up, and not the server: bodies that make much of little are refused or
// wait, and other hooks go on.
func TestBombsForHooksAreBounded(t *testing.T) {
	s := harness.Start(t, harness.Options{Users: []string{"romeo", "alarm"}, Fast: true,
		Config: "limits: {connect_rate: 1000, connect_burst: 1000}"})
	add := func(name string) string {
		out := s.Command("", "hook", "add", name, "--to", "romeo@localhost", "--owner", "alarm@localhost")
		_, path, _ := strings.Cut(strings.TrimSpace(out), "/hooks/")
		return "http://" + s.HTTP + "/hooks/" + path
	}
	var hooks []string
	for i := range 4 {
		hooks = append(hooks, add(fmt.Sprintf("bombed%d", i)))
	}
	other := add("other")
	client := &http.Client{Timeout: harness.Timeout}
	defer client.CloseIdleConnections()
	post := func(url, media, body string) int {
		w, err := client.Post(url, media, strings.NewReader(body))
		if err != nil {
			t.Errorf("no answer: %v", err)
			return 0
		}
		defer w.Body.Close()
		if _, err := io.Copy(io.Discard, w.Body); err != nil {
			t.Error(err)
		}
		return w.StatusCode
	}
	before := peak(t, s)
	for name, one := range map[string]struct {
		media, body string
		may         string
	}{
		"values":  {"application/json", large(`{"text":"x","a":[`, "1,", "1]}"), "413 503"},
		"objects": {"application/json", large(`{"text":"x","a":[`, "{},", "1]}"), "413 503"},
		"depth":   {"application/json", large("", "[", ""), "400 503"},
		"lines":   {"application/json", large(`{"text":"`, `x\n`, `"}`), "200 503"},
		"parts":   {"multipart/form-data; boundary=x", large("", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n", "--x--"), "400 503"},
		"fields":  {"application/x-www-form-urlencoded", large("a=b", "&a=b", ""), "400 503"},
		"garbage": {"application/json", large("", "\xff", ""), "400 503"},
		"titles":  {"application/json", large(`{"attachments":[`, `{"title":"a"},`, `{}]}`), "200 413 503"},
		"larger":  {"text/plain", large("", "x", "") + "x", "413 503"},
	} {
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				if got := strconv.Itoa(post(hooks[i%len(hooks)], one.media, one.body)); !strings.Contains(one.may, got) {
					t.Errorf("%s: status %s, want one of %s", name, got, one.may)
				}
			})
		}
		all.Go(func() { // who is not in the crowd is heard
			if got := post(other, "text/plain", name); got != 200 && got != 503 {
				t.Errorf("while %s: status %d", name, got)
			}
		})
		all.Wait()
		if got := post(other, "text/plain", name+" again"); got != 200 {
			t.Errorf("after %s: status %d", name, got)
		}
	}
	if now := peak(t, s); now-before > 300 {
		t.Errorf("it took %d MiB", now-before)
	} else {
		t.Logf("it took %d MiB", now-before)
	}
}
