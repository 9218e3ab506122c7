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

// A trouble is done to a rig while there is load, and is over when it returns: then all is well again.
type trouble struct {
	name string
	do   func(r *rig, b *ledger.Book, n *node)
}

// some is how many acknowledgements show that the others work.
const some = 10

var troubles = []trouble{
	{"a node is killed", func(r *rig, b *ledger.Book, n *node) {
		n.kill()
		b.Fresh(some)
		n.launch()
	}},
	{"a node sleeps beyond its lease", func(r *rig, b *ledger.Book, n *node) {
		n.sleep()
		<-time.After(lease + 2*time.Second)
		b.Fresh(some)
		n.wake()
	}},
	{"a node is stopped", func(r *rig, b *ledger.Book, n *node) {
		n.stop(r.t)
		b.Fresh(some)
		n.launch()
	}},
	{"a node is cut off from Redis", func(r *rig, b *ledger.Book, n *node) {
		n.redis.Cut()
		<-time.After(lease + time.Second)
		b.Fresh(some)
		n.redis.Heal()
	}},
	{"nothing comes back from Redis", func(r *rig, b *ledger.Book, n *node) {
		n.redis.Hold(false, true)
		<-time.After(lease + time.Second)
		b.Fresh(some)
		n.redis.Heal()
	}},
	{"a node does not hear from Redis for a moment", func(r *rig, b *ledger.Book, n *node) {
		n.redis.Hold(true, true)
		<-time.After(lease / 2)
		n.redis.Heal()
	}},
	{"links to a node are lost", func(r *rig, b *ledger.Book, n *node) {
		n.links.Cut()
		<-time.After(200 * time.Millisecond)
		n.links.Heal()
	}},
	{"nobody reaches a node", func(r *rig, b *ledger.Book, n *node) {
		n.links.Cut()
		<-time.After(lease)
		n.links.Heal()
	}},
	{"links to a node are silent", func(r *rig, b *ledger.Book, n *node) {
		n.links.Hold(true, true)
		<-time.After(lease)
		n.links.Heal()
	}},
	{"what goes to a node is held up", func(r *rig, b *ledger.Book, n *node) {
		n.links.Hold(true, false)
		<-time.After(lease / 2)
		n.links.Heal()
	}},
	{"what a node answers is held up", func(r *rig, b *ledger.Book, n *node) {
		n.links.Hold(false, true)
		<-time.After(lease / 2)
		n.links.Heal()
	}},
	{"ways are slow", func(r *rig, b *ledger.Book, n *node) {
		n.links.Slow(50 * time.Millisecond)
		n.redis.Slow(50 * time.Millisecond)
		b.Fresh(some)
		n.links.Heal()
		n.redis.Heal()
	}},
	{"Redis is killed", func(r *rig, b *ledger.Book, n *node) {
		r.redis.Kill()
		<-time.After(500 * time.Millisecond)
		r.redis.Restart()
	}},
	{"Redis is killed for longer than a lease", func(r *rig, b *ledger.Book, n *node) {
		r.redis.Kill()
		<-time.After(lease + time.Second)
		r.redis.Restart()
	}},
	{"a node joins and one dies", func(r *rig, b *ledger.Book, n *node) {
		one := r.join(nil)
		b.Fresh(some)
		n.kill()
		b.Fresh(some)
		n.launch()
		r.settled(len(r.nodes))
		one.stop(r.t)
		r.leave(one)
	}},
}

// leave has the rig forget a node that was stopped.
func (r *rig) leave(n *node) {
	r.nodes = slices.DeleteFunc(slices.Clone(r.nodes), func(one *node) bool { return one == n })
	all := slices.Clone(r.nodes)
	r.all.Store(&all)
}

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
	problems, acked := play(t, "", seed, rounds, chosen)
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
	problems, _ := play(t, "ackearly", 1, rounds, killed)
	if !slices.ContainsFunc(problems, func(p string) bool { return strings.HasPrefix(p, "lost") }) {
		t.Errorf("nodes that acknowledge too early have lost nothing; other problems: %d", len(problems))
	}
}

// play has three nodes suffer in an order, and nodes, that the seed chooses.
func play(t *testing.T, tags string, seed uint64, rounds int, chosen []trouble) (problems []string, acked int) {
	t.Helper()
	t.Logf("JACKDAW_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	var order []int
	counts := map[string]int{}
	var r *rig
	size := ledger.Size{HTTP: 2, XMPP: 3, Away: 2, Managed: 4, Resuming: 6, Pause: 10 * time.Millisecond}
	problems, acked = ledger.RunAt(t, size, func(users []string) { r = newRig(t, tags, 3, users) },
		func() ledger.Way { return r.at() }, rounds, func(b *ledger.Book, round int) {
			if len(order) == 0 {
				order = random.Perm(len(chosen))
			}
			x, n := chosen[order[0]], r.nodes[random.IntN(3)]
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
