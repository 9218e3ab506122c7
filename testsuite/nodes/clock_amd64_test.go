package nodes

import (
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/ledger"
)

// clocks are troubles with the clock of a node, where it can be set.
var clocks = []trouble{
	{"the clock of a node is a minute ahead, and others go on", func(r *rig, b *ledger.Book, n *node) {
		harness.TakeClock(r.t, n.Server).Set(time.Minute)
		r.settled(3) // it takes that for sleep, and joins anew
		b.Fresh(10 * some)
		n.stop(r.t)
		b.Fresh(10 * some)
		next := r.others(n)[0]
		next.kill()
		b.Fresh(some)
		n.launch()
		next.launch()
	}},
	{"the clock of a node is a minute behind, and it dies", func(r *rig, b *ledger.Book, n *node) {
		harness.TakeClock(r.t, n.Server).Set(-time.Minute)
		b.Fresh(10 * some)
		n.kill()
		b.Fresh(some)
		n.launch()
	}},
}
