// Command federation measures how many messages servers pass to and from other servers for a second of their CPU time
// (of the whole process tree), since they share the machine with the tool: jackdaw, Prosody, ejabberd and, where its
// program is given, jackal, in turn and in one go, so that the figures can be compared.
//
//	out   clients of the server send to users of a sink, which is a server inside the tool
//	in    a source inside the tool sends to clients of the server
//	pair  clients of one server send to clients of another; the CPU of both is taken
//
// Each is a closed loop: a sender has at most -window messages on their way. Sink and source speak just enough of
// RFC 6120, XEP-0220 and XEP-0198 to be a peer, and find no more in a message than its end and its number;
// they check that every message comes, once and in order. A figure is the median of -reps runs, each on a fresh server.
//
// It leaves out presence and queries, several domains at a time, and latency.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
	"jackdaw/testsuite/peers"
)

func main() { os.Exit(stage.Run("federation", run)) }

func run(st *stage.Stage) (status int) {
	var p plan
	f := &field{Stage: st, program: map[string]string{}}
	names := flag.String("servers", "jackdaw,prosody,ejabberd", "those under test; jackal too with -jackal")
	scenarios := flag.String("scenarios", "out,in,pair", "what to measure")
	pairs := flag.String("pairs", "prosody:jackdaw,jackdaw:prosody", "from:to of the scenario pair")
	sm := flag.String("sm", "off,on", "stream management where the tool sends; pair is off only")
	reps := flag.Int("reps", 3, "repetitions; the order of the servers turns with each")
	flag.IntVar(&p.lanes, "lanes", 50, "senders, and as many recipients")
	flag.IntVar(&p.window, "window", 10, "messages of one sender on their way")
	flag.IntVar(&p.size, "size", 100, "bytes of a body, about")
	flag.DurationVar(&p.warmup, "warmup", time.Second, "before the measured time")
	flag.DurationVar(&p.duration, "duration", 5*time.Second, "measured time")
	flag.BoolVar(&f.direct, "direct", false, "direct TLS between servers and the tool instead of STARTTLS")
	flag.BoolVar(&f.archive, "archive", false, "with jackdaw's archive, which is on by default; the others have none here")
	jackdaw := flag.String("jackdaw", "", "its program (default: built now)")
	jackal := flag.String("jackal", "", "program of testsuite/jackalpeer")
	out := flag.String("out", "", "append the single runs to this file, as JSON lines")
	flag.Parse()
	usage := func(format string, args ...any) int {
		fmt.Fprintf(os.Stderr, "federation: "+format+"\n", args...)
		return 2
	}
	list := strings.Split(*names, ",")
	if *jackal != "" && !slices.Contains(list, "jackal") {
		list = append(list, "jackal")
	}
	var couples [][2]string
	for _, c := range strings.Split(*pairs, ",") {
		from, to, _ := strings.Cut(c, ":")
		if slices.Contains(list, from) && slices.Contains(list, to) && from != to {
			couples = append(couples, [2]string{from, to})
		}
	}
	for _, name := range list {
		program := map[string]string{"prosody": "prosody", "ejabberd": "ejabberdctl", "jackal": *jackal}[name]
		if servers[name] == nil {
			return usage("-servers: there is no %q", name)
		}
		if _, err := exec.LookPath(program); name != "jackdaw" && err != nil {
			return usage("%s: %v", name, err)
		}
	}
	if p.lanes < 1 || p.window < 1 || p.duration <= 0 || p.warmup < 0 {
		return usage("-lanes, -window and -duration are above 0, -warmup is not below")
	}

	defer harness.Cleanup()
	f.users, f.others = p.lanes, list
	f.net = peers.NewNetwork(f)
	f.program["jackal"] = *jackal
	f.program["jackdaw"] = *jackdaw
	if *jackdaw == "" && slices.Contains(list, "jackdaw") {
		f.program["jackdaw"] = harness.Binary(f, "")
	}
	var err error
	if f.far, err = startFar(f.net, f.direct); err != nil {
		f.Fatal(err)
	}
	defer f.far.close()

	var results []result
	for rep := range *reps {
		turn := append(slices.Clone(list[rep%len(list):]), list[:rep%len(list)]...)
		for _, k := range cases(strings.Split(*scenarios, ","), strings.Split(*sm, ","), turn, couples) {
			r := f.run(k, p)
			results = append(results, r)
			line, err := json.Marshal(r)
			if err != nil {
				f.Fatal(err)
			}
			fmt.Fprintf(os.Stderr, "run %d, %s: %s\n", rep+1, r.title(), line)
			if err := stage.AppendLine(*out, line); err != nil {
				f.Fatal(err)
			}
			if !r.OK && !r.NotOffered {
				status = 1
			}
		}
	}
	report(os.Stdout, results)
	return status
}

// cases are those of one repetition.
func cases(scenarios, sm, names []string, couples [][2]string) (all []kase) {
	for _, scenario := range scenarios {
		for _, on := range sm {
			for _, name := range names {
				switch scenario {
				case "out":
					all = append(all, kase{from: name, sm: on == "on"})
				case "in":
					all = append(all, kase{to: name, sm: on == "on"})
				}
			}
		}
		if scenario == "pair" {
			for _, c := range couples {
				all = append(all, kase{from: c[0], to: c[1]})
			}
		}
	}
	return all
}
