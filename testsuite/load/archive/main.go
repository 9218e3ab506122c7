// Command archive measures what docs/performance.md says of archives, of a jackdaw with stream management, TLS and the
// embedded store, at its outside:
//
//	pages  how long a page of an archive of -long messages takes beside one of an archive of -short ones: the
//	       newest, one from the middle, and one of a single contact, in turns
//	purge  how long messages take while the -purge messages of before are removed, beside how long they take
//	       without: until the sender has the acknowledgement, which is after the fsync, and until the recipient
//	       has the message
//
// The archives are filled through the server, by clients that talk. A ratio is that of medians (of pages) or of means
// (of messages) of one run.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

func main() { os.Exit(stage.Run("archive", run)) }

// A figure is one line of what was measured; milliseconds.
type figure struct {
	What  string  `json:"what"`
	Base  float64 `json:"base_ms"`
	Then  float64 `json:"then_ms"`
	Ratio float64 `json:"ratio"`
	Bar   float64 `json:"bar,omitempty"`
	Note  string  `json:"note,omitempty"`
}

func run(s *stage.Stage) int {
	short := flag.Int("short", 1000, "messages in the short archive")
	long := flag.Int("long", 1000000, "messages in the long archive; 0 leaves pages out")
	pages := flag.Int("pages", 300, "pages of each kind from each archive")
	purge := flag.Int("purge", 1000000, "messages to purge, in 200 archives; 0 leaves it out")
	rate := flag.Int("rate", 1000, "messages each second while that is done")
	quiet := flag.Duration("quiet", 15*time.Second, "how long they are sent before it, for comparison")
	limit := flag.Duration("limit", 2*time.Minute, "how long they are sent at most while it is done")
	jackdaw := flag.String("jackdaw", "", "the program (default: built now)")
	out := flag.String("out", "", "append the figures to this file, as JSON lines")
	flag.Parse()
	if *short < 100 || *long < 0 || *pages < 1 || *purge < 0 || *rate < 1 || *quiet <= 0 {
		fmt.Fprintln(os.Stderr, "archive: -short is at least 100, the others are not negative")
		return 2
	}
	defer harness.Cleanup()

	var figures []figure
	if *long > 0 {
		figures = append(figures, measurePages(s, *jackdaw, *short, *long, *pages)...)
	}
	if *purge > 0 {
		figures = append(figures, measurePurge(s, *jackdaw, *purge, *rate, *quiet, *limit, time.Minute)...)
	}
	fmt.Println("| archive | ms | beside | ratio | bar |\n| --- | --- | --- | --- | --- |")
	for _, f := range figures {
		bar := ""
		if f.Bar > 0 {
			bar = fmt.Sprintf("%.1f", f.Bar)
		}
		fmt.Printf("| %s | %.3f | %.3f | %.2f | %s |\n", f.What, f.Then, f.Base, f.Ratio, bar)
		if f.Note != "" {
			fmt.Printf("| %s | | | | |\n", f.Note)
		}
		line, err := json.Marshal(f)
		if err == nil {
			err = stage.AppendLine(*out, line)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	return 0
}

// serve starts a server without the limits that would hold this up, and with one more setting of the archive.
func serve(s *stage.Stage, program, keep string, users ...string) *harness.Server {
	return harness.Start(s, harness.Options{Program: program, Fast: true, Users: users, Config: config(keep)})
}

func config(keep string) string {
	return "log: {level: warn}\nmodules: {archive: {keep: " + keep + "}}\n"
}
