// Package kill ends the real binary with SIGKILL under load, again and again, and then asks every recipient what
// arrived: testsuite/ledger says what may.
package kill

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/ledger"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// rounds is how often to kill; JACKDAW_KILLS asks for more.
func rounds(n int) int {
	if s := os.Getenv("JACKDAW_KILLS"); s != "" {
		if k, err := strconv.Atoi(s); err == nil && k > 0 {
			return k
		}
	}
	return n
}

func TestNothingAcknowledgedIsLost(t *testing.T) {
	for _, c := range []struct {
		engine harness.Engine
		kills  int
	}{{harness.Embedded, 50}, {harness.Redis, 15}} {
		t.Run(string(c.engine), func(t *testing.T) {
			problems, sent := run(t, harness.Options{Place: harness.Place{Engine: c.engine}}, rounds(c.kills))
			ledger.Report(t, problems)
			if sent < ledger.Enough*c.kills {
				t.Errorf("only %d messages were acknowledged: too few to prove anything", sent)
			}
		})
	}
}

// The negative control: a server that acknowledges before its commit must be caught.
func TestAServerThatAcknowledgesEarlyIsCaught(t *testing.T) {
	for engine, kills := range map[harness.Engine]int{harness.Embedded: 15, harness.Redis: 8} {
		problems, _ := run(t, harness.Options{Place: harness.Place{Engine: engine}, Tags: "ackearly"}, kills)
		if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, "lost") }) {
			t.Errorf("%s: %d kills of a server that acknowledges too early lost nothing; other problems: %q",
				engine, kills, problems)
		}
	}
}

func run(t *testing.T, o harness.Options, kills int) (problems []string, acked int) {
	size := ledger.Size{HTTP: 2, Once: 2, XMPP: 2, Away: 3, Managed: 2, Unmanaged: 1}
	return ledger.Run(t, o, size, kills, func(b *ledger.Book, round int) {
		<-time.After(time.Duration(50+rand.IntN(300)) * time.Millisecond)
		if round%2 == 0 { // just after something was acknowledged
			b.Fresh(1)
		}
		b.Kill()
	})
}
