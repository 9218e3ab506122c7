package main

import (
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/load/stage"
)

func TestTheTableJudgesMediansByBarAndAim(t *testing.T) {
	b := &bench{Stage: &stage.Stage{}, reps: 3, idle: 100, large: [2]int{1000, 2000}, peers: []string{"prosody", "ejabberd"},
		values: map[string][]map[string]float64{}}
	enter := func(name, server, key string, values ...float64) {
		for _, v := range values {
			b.keep(name, server, map[string]float64{key: v})
		}
	}
	enter(plain10, "relay", perCPU, 90_000, 100_000, 400_000)
	enter(managed10, "jackdaw", perCPU, 5_000, 30_000, 40_000)
	enter(plain10, "jackdaw", perCPU, 20_000)
	enter(presence, "prosody", perCPU, 1_000)
	enter(presence, "ejabberd", perCPU, 2_000)
	enter(presence, "jackdaw", perCPU, 32_000)
	enter(plainRate, "relay", "p99_ms", 1)
	enter(managedRate, "jackdaw", "p99_ms", 1.25)
	enter(managedRate, "jackdaw", "ack_p99_ms", 9)
	enter(idleTLS, "jackdaw", "kib_per_conn_100", 13)
	enter(firstLogin, "none", "ms", 22)
	enter(firstLogin, "jackdaw", "ms", 20)
	b.failed = []string{"a run of the relay"}
	var text strings.Builder
	b.print(&text, 12*time.Minute)
	for _, want := range []string{
		"| messages, window 10, management |  |  | 100,000 | 30,000 | 0.30 R | 0.25 | 0.4 | bar |",
		"| messages, window 10 |  |  | 100,000 | 20,000 | 0.20 R | 0.4 | 0.5 | **missed** |",
		"| presence, 100 users × 20 contacts | 1,000 | 2,000 |  | 32,000 | 16.00 × the best peer | 12 | 15 | aim |",
		"| HTTP posts, management |  |  |  |  | not measured | 0.25 | 0.4 |  |",
		"above the relay's | +0.25 ms (1.25, relay 1.00) | 2 | 0.5 | aim |",
		"| the same, acknowledged | +8.00 ms (9.00) | 5 | 3 | **missed** |",
		"| idle session, TLS | 13.0 KiB | 14 | 12 | bar |",
		"1,000 accounts, 2,000 archived, beside none | -2.0 ms (20.0, none 22.0) | 10 |  | bar |",
		"Spoiled: a run of the relay",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}
