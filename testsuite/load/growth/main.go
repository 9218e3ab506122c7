// Command growth measures what a message, a login and a session cost a jackdaw as something grows, one thing at a time:
//
//	sessions  that are there: all of them talk, or a hundred do and the others are idle
//	accounts  that exist; a hundred of them are there
//	archived  messages, of a hundred accounts that are there
//
// and, with -first-login ACCOUNTS:MESSAGES, how long it is from exec to the first login with a large store and with
// none, in turns.
//
// Everything is as by default, with TLS and stream management at both ends. Beside each server there is a small one
// with a hundred accounts, their sessions and nothing archived, and what can be measured on both is, in turns, so that
// what else the machine does falls on both: the ratio tells whether anything grows. The stores are made by
// `jackdaw import`. Lines of JSON go to -out; testsuite/load/draw draws them.
//
// It leaves out pages of archives, which testsuite/load/archive measures.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
	"jackdaw/testsuite/load/supply"
)

func main() { os.Exit(stage.Run("growth", run)) }

// A plan is how it is measured.
type plan struct {
	program, out string
	reps         int
	burst, calm  time.Duration
	rate         float64
	logins       int
	settle       time.Duration
	present      int // sessions where something else grows, and of the small server
}

// A line is what was measured once.
type line struct {
	What   string             `json:"what"` // growth
	Axis   string             `json:"axis"`
	At     int                `json:"at"`
	Time   time.Time          `json:"time"`
	Values map[string]float64 `json:"values"`
}

func run(s *stage.Stage) int {
	p := plan{present: 100}
	sessions := flag.String("sessions", "100,1000,10000,50000", "numbers of sessions; empty leaves them out")
	accounts := flag.String("accounts", "1000,10000,100000,1000000", "numbers of accounts; likewise")
	archived := flag.String("archived", "10000,100000,1000000,10000000", "numbers of archived messages; likewise")
	first := flag.String("first-login", "", "ACCOUNTS:MESSAGES of a store to start with")
	flag.StringVar(&p.program, "jackdaw", "", "the program (default: built now)")
	flag.StringVar(&p.out, "out", "", "append what was measured to this file, as JSON lines")
	flag.IntVar(&p.reps, "reps", 3, "repetitions of each measurement, in turns with the small server; of starts three times as many")
	flag.DurationVar(&p.burst, "burst", 4*time.Second, "how long they talk as fast as they can, for the CPU of a message")
	flag.DurationVar(&p.calm, "calm", 4*time.Second, "how long they talk at a rate, for latencies")
	flag.Float64Var(&p.rate, "rate", 500, "messages a second then")
	flag.IntVar(&p.logins, "logins", 200, "that are measured")
	flag.DurationVar(&p.settle, "settle", 10*time.Second, "how long the server rests before its memory is taken")
	flag.Parse()
	if p.reps < 1 || p.burst <= 0 || p.calm <= 0 || p.rate <= 0 || p.logins < 1 {
		fmt.Fprintln(os.Stderr, "growth: -reps, -burst, -calm, -rate and -logins are above 0")
		return 2
	}
	defer harness.Cleanup()
	for _, axis := range []struct {
		name, sizes string
		store       func(n int) (supply.Store, int)
	}{
		{"sessions", *sessions, func(n int) (supply.Store, int) { return supply.Store{Accounts: n}, n }},
		{"accounts", *accounts, func(n int) (supply.Store, int) { return supply.Store{Accounts: n}, p.present }},
		{"archived", *archived, func(n int) (supply.Store, int) { return supply.Store{Accounts: p.present, Archived: n}, p.present }},
	} {
		for _, text := range strings.FieldsFunc(axis.sizes, func(r rune) bool { return r == ',' }) {
			n, err := strconv.Atoi(text)
			if err != nil || n < p.present {
				fmt.Fprintf(os.Stderr, "growth: -%s %q is no number from %d on\n", axis.name, text, p.present)
				return 2
			}
			w, there := axis.store(n)
			if most := descriptors() * 9 / 10; there > most { // the server keeps some for itself
				s.Logf("growth: %d sessions need more descriptors than a process may have here; there are %d sessions instead (ulimit -n)",
					there, most)
				n, there, w.Accounts = most, most, most
			}
			measure(s, p, axis.name, n, w, there)
		}
	}
	if *first != "" {
		a, m, _ := strings.Cut(*first, ":")
		accounts, err := strconv.Atoi(a)
		messages, e := strconv.Atoi(m)
		if err != nil || e != nil || accounts < 1 || messages < 0 {
			fmt.Fprintf(os.Stderr, "growth: -first-login %q is not ACCOUNTS:MESSAGES\n", *first)
			return 2
		}
		starts(s, p, supply.Store{Accounts: accounts, Archived: messages})
	}
	return 0
}

// descriptors is how many a process may have; those that it starts are bound likewise.
func descriptors() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	return int(l.Max)
}
