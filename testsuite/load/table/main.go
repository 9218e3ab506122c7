// Command table measures the path that users run by default, with stream management, TLS and the archive, beside a
// relay of bytes and other servers, and prints a table with what each line must reach (docs/performance.md,
// "Targets"). It drives the neutral load generator in -bench, and adds what that has not: posts by h2load, pipelined
// and over HTTP/2, sessions with contacts, the memory of a storm, and the first login of a server with a large store.
//
// Run it in a network namespace of its own: `make bench-default BENCH=DIR`. Figures are work per second of the
// server's CPU, of the whole process tree; the medians of -reps runs of the relay and of jackdaw in turns, and of one
// run of each peer. A line that a run has spoiled is left out and named, and the exit status is 1.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

func main() { os.Exit(stage.Run("table", run)) }

// A bench is one sitting.
type bench struct {
	*stage.Stage
	dir, home, loadgen string
	program, out       string
	reps, idle         int
	seconds            time.Duration
	large              [2]int // accounts and archived messages
	only               string
	peers              []string

	values map[string][]map[string]float64 // of the runs, by case and server
	failed []string
}

func run(s *stage.Stage) int {
	b := &bench{Stage: s, values: map[string][]map[string]float64{}}
	flag.StringVar(&b.dir, "bench", "", "folder of the load generator")
	flag.StringVar(&b.program, "jackdaw", "", "the program (default: built now)")
	flag.StringVar(&b.out, "out", "", "append the runs to this file, as JSON lines")
	flag.IntVar(&b.reps, "reps", 3, "runs of jackdaw and the relay")
	flag.IntVar(&b.idle, "idle", 10000, "sessions of which one's memory is taken")
	flag.DurationVar(&b.seconds, "seconds", 5*time.Second, "measured time of a run")
	peers := flag.String("peers", "prosody,ejabberd", "other servers, of the scripts of the load generator")
	large := flag.String("large", "100000:1000000", "ACCOUNTS:MESSAGES of the store for the first login; 1000000:10000000 takes half an hour to make")
	flag.StringVar(&b.only, "only", "", "measure only the cases whose names have this in them")
	flag.Parse()
	_, err := fmt.Sscanf(*large, "%d:%d", &b.large[0], &b.large[1])
	if err != nil || b.reps < 1 || b.idle < 100 || b.seconds < time.Second {
		fmt.Fprintln(os.Stderr, "table: -large is ACCOUNTS:MESSAGES, -reps is above 0, -idle 100 at least, -seconds a second at least")
		return 2
	}
	b.peers = strings.FieldsFunc(*peers, func(r rune) bool { return r == ',' })
	for _, program := range append([]string{"h2load", "openssl"}, programs(b.peers)...) {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Fprintf(os.Stderr, "table: %v (apt-get install nghttp2-client openssl prosody ejabberd lua5.4)\n", err)
			return 2
		}
	}
	defer harness.Cleanup()
	b.home = s.TempDir()
	b.loadgen = filepath.Join(b.home, "loadgen")
	build := exec.Command("go", "build", "-o", b.loadgen, ".")
	build.Dir = filepath.Join(b.dir, "loadgen")
	if out, err := build.CombinedOutput(); err != nil {
		s.Fatalf("build the load generator in %s: %v\n%s", build.Dir, err, out)
	}
	if b.program == "" {
		b.program = harness.Binary(s, "")
	}
	began := time.Now()
	for rep := range b.reps {
		s.Logf("table: run %d of %d", rep+1, b.reps)
		b.relay()
		b.jackdaw()
		if rep == 0 {
			for _, p := range b.peers {
				b.peer(p)
			}
		}
	}
	b.rest()
	b.print(os.Stdout, time.Since(began))
	if len(b.failed) > 0 {
		return 1
	}
	return 0
}

func programs(peers []string) (all []string) {
	for _, p := range peers {
		if p == "ejabberd" {
			p = "ejabberdctl"
		}
		all = append(all, p)
	}
	return all
}

// fail notes what a run has spoiled.
func (b *bench) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.failed = append(b.failed, text)
	b.Logf("table: FAILED: %s", text)
}

// wanted says whether a case is to be measured.
func (b *bench) wanted(name string) bool { return strings.Contains(name, b.only) }

// keep enters what a run has brought.
func (b *bench) keep(name, server string, values map[string]float64) {
	b.values[name+"|"+server] = append(b.values[name+"|"+server], values)
	b.Keep(b.out, struct {
		What   string             `json:"what"` // default
		Case   string             `json:"case"`
		Server string             `json:"server"`
		Time   time.Time          `json:"time"`
		Values map[string]float64 `json:"values"`
	}{"default", name, server, time.Now().UTC().Truncate(time.Second), values})
}

// median of a value over the runs; 0 where there is none.
func (b *bench) median(name, server, key string) float64 {
	var all []float64
	for _, v := range b.values[name+"|"+server] {
		if x, ok := v[key]; ok {
			all = append(all, x)
		}
	}
	if len(all) == 0 {
		return 0
	}
	return stage.Median(all)
}
