package faults

import (
	"testing"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/ledger"
)

// A network fails for all at once, and all come back at once.
func TestAllWhoAreCutAtOnceResumeWithoutALoss(t *testing.T) {
	phones := either(150, 10000)
	size := ledger.Size{HTTP: 2, XMPP: 2, Away: 1, Resuming: phones, Ahead: 200}
	suffer(t, harness.Options{C2S: "resume_window: 10m"}, size, 1, func(b *ledger.Book, round int) {
		for range 2 {
			before := b.Resumed()
			b.Fresh(phones)
			cut := b.Cut()
			if cut < phones*9/10 {
				t.Errorf("only %d of %d were connected", cut, phones)
			}
			b.AwaitResumed(before + cut)
		}
	})
}
