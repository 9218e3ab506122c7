// Command nodes measures what several nodes on Redis cost beside one server: the embedded store, one server on Redis,
// one node of a cluster, two and three nodes between whose homes all messages go, with clients at the home of their
// account and with clients anywhere, and three nodes whose messages stay at one home. It drives the neutral load
// generator in -bench, with stream management, TLS and the archive, and prints tables in Markdown with what each line
// must reach (docs/performance.md, "Several nodes").
//
// Run it in a network namespace of its own: `make bench-nodes BENCH=DIR`. The generator knows one address, so that is a
// name, which a name server of this tool answers with another node for each stream: nothing is in the way of the bytes.
// CPU is that of all servers and of Redis, from /proc; commands are those that Redis counts, those in scripts too.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

func main() { os.Exit(stage.Run("nodes", run)) }

// A bench is one sitting.
type bench struct {
	*stage.Stage
	dir, home, loadgen string
	program, out       string
	reps, pairs, rate  int
	warmup, seconds    time.Duration
	lease              time.Duration
	only, onlyLines    string
	names              *names

	values map[string][]map[string]float64 // of the runs, by line and place
	failed []string
}

func run(s *stage.Stage) int {
	b := &bench{Stage: s, values: map[string][]map[string]float64{}}
	flag.StringVar(&b.dir, "bench", "", "folder of the load generator")
	flag.StringVar(&b.program, "jackdaw", "", "the program (default: built now)")
	flag.StringVar(&b.out, "out", "", "append the runs to this file, as JSON lines")
	flag.IntVar(&b.reps, "reps", 3, "runs of each place, in turns")
	flag.IntVar(&b.pairs, "pairs", 50, "senders, and as many receivers")
	flag.IntVar(&b.rate, "rate", 2000, "messages a second that are offered in the lines about latency")
	flag.DurationVar(&b.warmup, "warmup", time.Second, "unmeasured time before each line")
	flag.DurationVar(&b.seconds, "seconds", 3*time.Second, "measured time of each line")
	flag.DurationVar(&b.lease, "lease", 10*time.Second, "cluster.lease")
	flag.StringVar(&b.only, "only", "", "measure only the places whose names have one of these in them, separated by commas")
	flag.StringVar(&b.onlyLines, "lines", "", "measure only the lines whose names have one of these in them, likewise")
	flag.Parse()
	if b.reps < 1 || b.pairs < 3 || b.rate < 1 || b.seconds < time.Second || b.warmup < 0 {
		fmt.Fprintln(os.Stderr, "nodes: -reps and -rate are above 0, -pairs 3 at least, -seconds a second at least")
		return 2
	}
	for _, program := range []string{"redis-server", "unshare", "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Fprintf(os.Stderr, "nodes: %v (apt-get install redis-server util-linux)\n", err)
			return 2
		}
	}
	defer harness.Cleanup()
	b.home = s.TempDir()
	b.loadgen = filepath.Join(b.home, "loadgen")
	build := exec.Command("go", "build", "-o", b.loadgen, ".")
	build.Dir = filepath.Join(b.dir, "loadgen")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // so that it asks the name server itself
	if out, err := build.CombinedOutput(); err != nil {
		s.Fatalf("build the load generator in %s: %v\n%s", build.Dir, err, out)
	}
	if b.program == "" {
		b.program = harness.Binary(s, "")
	}
	var err error
	if b.names, err = serveNames("127.0.0.1:53"); err != nil {
		s.Fatalf("%v: run it by make bench-nodes, in a network namespace of its own", err)
	}
	s.Cleanup(b.names.close)
	if err := os.WriteFile(filepath.Join(b.home, "resolv.conf"), []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		s.Fatal(err)
	}
	began := time.Now()
	for rep := range b.reps {
		s.Logf("nodes: run %d of %d", rep+1, b.reps)
		b.round()
	}
	b.print(os.Stdout, time.Since(began))
	if len(b.failed) > 0 {
		return 1
	}
	return 0
}

// The names of the places.
const (
	embedded = "embedded"
	alone    = "Redis, alone"
	oneNode  = "one node"
	two      = "two nodes, clients at home"
	atHome   = "three nodes, clients at home"
	together = "three nodes, pairs at one home"
	anywhere = "three nodes, clients anywhere"
	takeOver = "take-over"
)

// places are those that stand in the tables, in their order.
var places = []string{embedded, alone, oneNode, two, atHome, together, anywhere}

// round measures each place once, on fresh servers and a fresh Redis.
func (b *bench) round() {
	for _, p := range []struct {
		name  string
		redis bool
		nodes int // of a cluster; 0: none
	}{{embedded, false, 0}, {alone, true, 0}, {oneNode, true, 1}} {
		if b.wanted(p.name) {
			s := b.start(p.redis, p.nodes)
			u := b.populate(s, nil, false)
			b.lines(p.name, s, u, func(int) int { return 0 })
			s.stop()
		}
	}
	b.several(2, two, "", "", "")
	b.several(3, atHome, together, anywhere, takeOver)
}

// several measures the places of one cluster: clients at home, whose pairs are at different homes or at one, clients
// anywhere, and what becomes of them when a node dies. An empty name is no place.
func (b *bench) several(nodes int, apart, together, anywhere, dies string) {
	wanted := func(place string) bool { return place != "" && b.wanted(place) }
	if !wanted(apart) && !wanted(together) && !wanted(anywhere) && !wanted(dies) {
		return
	}
	s := b.start(true, nodes)
	defer s.stop()
	homes := b.settled(s)
	u := b.populate(s, homes, false)
	if wanted(apart) {
		b.lines(apart, s, u, u.home)
	}
	if wanted(together) {
		u := b.populate(s, homes, true)
		b.lines(together, s, u, u.home)
	}
	if wanted(anywhere) {
		b.lines(anywhere, s, u, u.spread())
	}
	if now := b.settled(s); *now != *homes {
		b.fail("%d nodes: slots moved while they were measured", nodes)
	}
	if wanted(dies) {
		b.takeOver(s, u)
	}
}

// fail notes what a run has spoiled.
func (b *bench) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.failed = append(b.failed, text)
	b.Logf("nodes: FAILED: %s", text)
}

// wanted says whether a place is to be measured.
func (b *bench) wanted(name string) bool { return among(name, b.only) }

// among says whether a name has one of the texts in it.
func among(name, texts string) bool {
	return slices.ContainsFunc(strings.Split(texts, ","), func(text string) bool { return strings.Contains(name, text) })
}

// keep enters what a run has brought.
func (b *bench) keep(line, place string, values map[string]float64) {
	b.values[line+"|"+place] = append(b.values[line+"|"+place], values)
	b.Keep(b.out, struct {
		What   string             `json:"what"` // nodes
		Line   string             `json:"line"`
		Place  string             `json:"place"`
		Time   time.Time          `json:"time"`
		Values map[string]float64 `json:"values"`
	}{"nodes", line, place, time.Now().UTC().Truncate(time.Second), values})
}

// median of a value over the runs; false where there is none.
func (b *bench) median(line, place, key string) (float64, bool) {
	var all []float64
	for _, v := range b.values[line+"|"+place] {
		if x, ok := v[key]; ok {
			all = append(all, x)
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	return stage.Median(all), true
}

// output runs a command and returns what it prints.
func output(stdin, program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %.500s", filepath.Base(program), args[0], err, errs.String())
	}
	return string(out), err
}
