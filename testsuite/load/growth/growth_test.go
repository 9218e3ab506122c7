package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
	"jackdaw/testsuite/load/supply"
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
		settle: time.Millisecond, present: 20}
	status := stage.Run("growth", func(s *stage.Stage) int {
		defer harness.Cleanup()
		measure(s, p, "archived", 1000, supply.Store{Accounts: 120, Archived: 1000}, p.present)
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
