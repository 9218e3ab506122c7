package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

func TestElementsAreCutWhereTheyEnd(t *testing.T) {
	items := []string{"<r xmlns='urn:xmpp:sm:3'/>", "<message id='1-2'><body>a/></body><x/></message>", "<presence/>",
		"<iq id='a'><query></query></iq>", "</stream:stream>"}
	text := strings.Join(items, "")
	for _, want := range items {
		for cut := 1; cut < len(want); cut++ {
			if n := itemEnd([]byte(text[:cut])); n != 0 {
				t.Errorf("%q ends after %d", text[:cut], n)
			}
		}
		if n := itemEnd([]byte(text)); text[:n] != want {
			t.Errorf("%q instead of %q", text[:n], want)
		}
		text = text[len(want):]
	}
}

func TestAPointIsMeasuredAndKept(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.jsonl")
	p := plan{out: out, reps: 1, burst: 300 * time.Millisecond, calm: 300 * time.Millisecond, rate: 100, logins: 2,
		settle: time.Millisecond}
	status := stage.Run("growth", func(s *stage.Stage) int {
		defer harness.Cleanup()
		measure(s, p, "archived", 1000, store{accounts: 120, archived: 1000}, 20)
		return 0
	})
	lines, err := stage.Lines[line](out)
	if status != 0 || err != nil || len(lines) != 4 {
		t.Fatalf("status %d, %d lines, %v", status, len(lines), err)
	}
	values := map[string]float64{}
	for _, l := range lines {
		for k, v := range l.Values {
			values[k] = v
		}
	}
	for _, key := range []string{"first_login_ms", "base_first_login_ms", "started_mib", "message_us", "base_message_us", "message_ratio",
		"delivered_p99_ms", "acknowledged_p50_ms"} {
		if values[key] <= 0 {
			t.Errorf("%s is %v", key, values[key])
		}
	}
}

func TestAnImportHasItsAccountsAndMessages(t *testing.T) {
	name := filepath.Join(t.TempDir(), "in.xml")
	if err := write(name, 5, 2, 3); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	if strings.Count(text, "<scram-credentials ") != 2 || strings.Count(text, "<result ") != 6 || !strings.Contains(text, "<user name='u6'>") {
		t.Errorf("%.2000s", text)
	}
}
