// Package nodes does to several nodes what machines and networks do, under load, chosen by a seed; testsuite/ledger
// counts what was acknowledged against what was seen. Its short form is part of the tests; JACKDAW_SOAK has the long
// one (make soak).
package nodes

import (
	"fmt"
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

// soak says whether the long form is asked for.
func soak() bool { return os.Getenv("JACKDAW_SOAK") != "" }

// short are those of the short form, by their names' beginnings.
var short = []string{"a node is killed", "a node sleeps", "a node is stopped", "nothing comes back"}

// Nothing that was acknowledged is lost, doubled or reordered, whatever happens to one of three nodes.
func TestTroubleOfNodesLosesNothing(t *testing.T) {
	t.Parallel()
	chosen := troubles
	if only := os.Getenv("JACKDAW_NODES"); only != "" { // to look at some
		short = strings.Split(only, ",")
	}
	if !soak() {
		chosen = slices.DeleteFunc(slices.Clone(troubles), func(x trouble) bool {
			return !slices.ContainsFunc(short, func(s string) bool { return strings.HasPrefix(x.name, s) })
		})
	}
	seed, err := strconv.ParseUint(os.Getenv("JACKDAW_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	rounds := len(chosen)
	if soak() {
		rounds = 10 * len(chosen)
	}
	holds(t, plan{troubles: chosen}, seed, rounds)
}

// Nor is it when clocks of nodes are wrong.
func TestClocksOfNodesLoseNothing(t *testing.T) {
	t.Parallel()
	rounds := len(clocks)
	if soak() {
		rounds = 10 * len(clocks)
	}
	holds(t, plan{troubles: clocks, skew: time.Minute}, rand.Uint64(), rounds)
}

// Nor is it when the master of Redis is lost: what was acknowledged has another one.
func TestFailoversOfRedisLoseNothing(t *testing.T) {
	t.Parallel()
	p, rounds := plan{watched: true, troubles: failovers[:1]}, 1
	if soak() {
		p.troubles, rounds = failovers, 20*len(failovers)
	}
	holds(t, p, rand.Uint64(), rounds)
}

// holds plays, and nothing may be wrong.
func holds(t *testing.T, p plan, seed uint64, rounds int) {
	t.Helper()
	problems, acked := play(t, p, seed, rounds)
	ledger.Report(t, problems)
	if acked < 2*ledger.Enough*rounds {
		t.Errorf("only %d messages were acknowledged: too few to prove anything", acked)
	}
}

// The negative control: nodes that acknowledge before Redis has what they write are caught.
func TestNodesThatAcknowledgeEarlyAreCaught(t *testing.T) {
	t.Parallel()
	rounds := 1
	if soak() {
		rounds = 5
	}
	killed := []trouble{{"a node is killed beside a Redis that is slow", func(r *rig, b *ledger.Book, n *node) {
		n.redis.Hold(true, false)
		b.Fresh(some)
		<-time.After(lease / 3)
		n.kill()
		n.redis.Heal()
		b.Fresh(some)
		n.launch()
	}}}
	problems, _ := play(t, plan{tags: "ackearly", troubles: killed}, 1, rounds)
	if !slices.ContainsFunc(problems, func(p string) bool { return strings.HasPrefix(p, "lost") }) {
		t.Errorf("nodes that acknowledge too early have lost nothing; other problems: %d", len(problems))
	}
}

// play has three nodes suffer in an order, and nodes, that the seed chooses.
func play(t testing.TB, p plan, seed uint64, rounds int) (problems []string, acked int) {
	t.Helper()
	t.Logf("JACKDAW_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	var order []int
	counts := map[string]int{}
	var r *rig
	size := ledger.Size{HTTP: 2, XMPP: 3, Away: 2 + p.away, Managed: 4, Resuming: 6, Pause: 10 * time.Millisecond,
		Skew: p.skew}
	problems, acked = ledger.RunAt(t, size, func(users []string) { r = newRig(t, p, 3, users) },
		func() ledger.Way { return r.at() }, rounds, func(b *ledger.Book, round int) {
			if len(order) == 0 {
				order = random.Perm(len(p.troubles))
			}
			x, n := p.troubles[order[0]], r.nodes[random.IntN(3)]
			order = order[1:]
			<-time.After(time.Duration(50+random.IntN(300)) * time.Millisecond)
			b.Mark()
			began := time.Now()
			x.do(r, b, n)
			counts[x.name]++
			b.Fresh(some)
			r.settled(3)
			t.Logf("round %d: %s (%s): %v", round, x.name, n.Name, time.Since(began).Round(time.Millisecond))
		})
	list := []string{}
	for name, n := range counts {
		list = append(list, fmt.Sprintf("%s: %d", name, n))
	}
	slices.Sort(list)
	t.Logf("troubles: %s", strings.Join(list, "; "))
	return problems, acked
}
