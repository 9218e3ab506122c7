package operation

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// limited is a server whose files may not grow beyond half a MiB while the file `limit` is there: the first journal
// that needs more fails, which is in doubt.
func limited(t *testing.T) (s *harness.Server, limit string) {
	dir := t.TempDir()
	limit = filepath.Join(dir, "limit")
	wrapper := filepath.Join(dir, "jackdaw")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = serve ] && [ -e %q ] && ulimit -f 1024\nexec %q \"$@\"\n", limit, harness.Binary(t, ""))
	for path, text := range map[string]string{limit: "", wrapper: script} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return harness.Start(t, harness.Options{Program: wrapper, Users: []string{"alice", "bob"},
		Config: "limits: {stream_rate: 100000000, stream_burst: 100000000}"}), limit
}

// A writer is alice, with stream management, who sends bob what he finds when he comes.
type writer struct {
	*harness.Client
	sent         int
	acknowledged map[string]bool
	bodies       string
}

func newWriter(t *testing.T, s *harness.Server) *writer {
	t.Helper()
	c, err := harness.Connect(s.C2STLS, "alice", "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Enable(); err != nil {
		t.Fatal(err)
	}
	return &writer{Client: c, acknowledged: map[string]bool{}, bodies: strings.Repeat("x", 2000)}
}

// try sends a message and returns whether it was acknowledged without an error.
func (w *writer) try(id string) (ok bool, err error) {
	w.sent++
	err = w.Send(fmt.Sprintf("<message to='bob@localhost' id='%s' type='chat'><origin-id xmlns='urn:xmpp:sid:0' id='%s'/><body>%s</body></message>"+
		"<r xmlns='urn:xmpp:sm:3'/>", id, id, id+" "+w.bodies))
	if err != nil {
		return false, err
	}
	failed := false
	_, err = w.Until(func(el string) bool {
		if strings.HasPrefix(el, "<message") && harness.Attr(el, "type") == "error" {
			failed = true
			return !strings.Contains(el, "internal-server-error") && !strings.Contains(el, "resource-constraint")
		}
		return failed || strings.HasPrefix(el, "<a ") && harness.Attr(el, "h") == fmt.Sprint(w.sent)
	})
	return err == nil && !failed, err
}

// fill sends until a message is refused or the stream ends, and returns the id of that one.
func (w *writer) fill(t *testing.T) string {
	t.Helper()
	for i := range 2000 {
		id := fmt.Sprint("m", i)
		if ok, _ := w.try(id); !ok {
			return id
		}
		w.acknowledged[id] = true
	}
	t.Fatal("2000 messages of 2000 bytes fit into half a MiB")
	return ""
}

// kept logs bob in and looks for all that was acknowledged.
func (w *writer) kept(t *testing.T, s *harness.Server) {
	t.Helper()
	if len(w.acknowledged) < 20 {
		t.Errorf("only %d messages were acknowledged: too few to prove anything", len(w.acknowledged))
	}
	bob, err := harness.Connect(s.C2STLS, "bob", "b")
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close()
	if err := bob.Send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	for n := len(w.acknowledged); n > 0; {
		el, err := bob.Until(func(el string) bool { return strings.HasPrefix(el, "<message") })
		if err != nil {
			t.Fatalf("%d acknowledged messages are missing, such as %.200q: %v", n, fmt.Sprint(w.acknowledged), err)
		}
		if id := harness.Attr(el, "id"); w.acknowledged[id] {
			delete(w.acknowledged, id)
			n--
		}
	}
}

var errorLine = regexp.MustCompile(`(?m)^.*level=ERROR.*$`)

func TestAFailureInDoubtEndsTheProcessAndLosesNothing(t *testing.T) {
	s, limit := limited(t)
	bystander, err := harness.Connect(s.C2STLS, "bob", "bystander") // without presence: what is for bob is kept
	if err != nil {
		t.Fatal(err)
	}
	defer bystander.Close()
	w := newWriter(t, s)
	defer w.Close()
	w.fill(t)
	end, err := bystander.Until(func(el string) bool { return strings.HasPrefix(el, "<stream:error") })
	if err != nil || !strings.Contains(end, "<system-shutdown") {
		t.Errorf("another client was told %q, %v", end, err)
	}
	if _, err := bystander.Next(); err != harness.ErrStreamEnd {
		t.Errorf("after the error its stream did not end: %v", err)
	}
	if code := s.Exited(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if lines := errorLine.FindAllString(s.Log(), -1); len(lines) != 1 || !strings.Contains(lines[0], "storage has failed") {
		t.Errorf("%d errors are logged:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	if err := os.Remove(limit); err != nil {
		t.Fatal(err)
	}
	s.Launch()
	w.kept(t, s)
}

func TestNoRepetitionIsAcknowledgedByAServerThatStaysAfterAFailure(t *testing.T) {
	s, limit := limited(t)
	s.Stop()
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	staying := strings.Replace(string(text), "{engine: embedded}", "{engine: embedded, exit_on_failure: false}", 1)
	if err := os.WriteFile(s.Config, []byte(staying), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Launch()
	web := &http.Client{Transport: &http.Transport{}}
	defer web.CloseIdleConnections()
	post := func(key string) int {
		t.Helper()
		req, err := http.NewRequest("POST", "http://"+s.HTTP+"/message", strings.NewReader(yo))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("alice@localhost", harness.Password)
		req.Header.Set("Idempotency-Key", key)
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if status := post("before"); status != 200 {
		t.Fatalf("a post: %d", status)
	}
	w := newWriter(t, s)
	defer w.Close()
	refused := w.fill(t)
	for range 3 {
		// A stream whose last stanzas could not be stored ends.
		again := newWriter(t, s)
		if ok, err := again.try(refused); ok {
			t.Errorf("the repetition of %s: acknowledged (%v)", refused, err)
		}
		again.Close()
		if status := post("after"); status < 500 {
			t.Errorf("a post: %d", status)
		}
	}
	if status, _, text := fetch(t, web, "GET", "http://"+s.Metrics+"/healthz", ""); status != 503 || !strings.Contains(text, "storage cannot acknowledge writes: ") {
		t.Errorf("health: %d %s", status, text)
	}
	if lines := errorLine.FindAllString(s.Log(), -1); len(lines) != 1 || !strings.Contains(lines[0], "storage has failed") {
		t.Errorf("%d errors are logged:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	if err := os.Remove(limit); err != nil {
		t.Fatal(err)
	}
	if code := s.Stop(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	s.Launch()
	w.kept(t, s)
}
