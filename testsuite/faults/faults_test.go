// Package faults does to a running server what machines and networks do, under load; testsuite/ledger counts what was
// acknowledged against what was seen. Its short form is part of the tests; JACKDAW_SOAK has the long one (make soak, of
// half an hour).
package faults

import (
	"os"
	"testing"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/ledger"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// soak says whether the long form is asked for.
func soak() bool { return os.Getenv("JACKDAW_SOAK") != "" }

// either is a number for the short form or for the long one.
func either(short, long int) int {
	if soak() {
		return long
	}
	return short
}

// family is a load of some people.
var family = ledger.Size{HTTP: 2, Once: 1, XMPP: 2, Away: 2, Managed: 2, Unmanaged: 1}

// suffer has a server work while trouble comes, and fails the test for what is wrong afterwards.
func suffer(t *testing.T, o harness.Options, size ledger.Size, rounds int, trouble func(b *ledger.Book, round int)) {
	t.Helper()
	t.Parallel()
	o.Fast = true // what is measured is the server; testsuite/kill has the same load with the race detector
	problems, acked := ledger.Run(t, o, size, rounds, trouble)
	ledger.Report(t, problems)
	if acked < 2*ledger.Enough*rounds {
		t.Errorf("only %d messages were acknowledged: too few to prove anything", acked)
	}
}
