package main

import (
	"fmt"
	"strconv"
	"strings"

	"jackdaw/cluster"
	"jackdaw/testsuite/harness"
)

// users are the accounts of a run: as many senders as receivers, in turns, with numbers from first on.
type users struct {
	first int
	homes []int // the node of each
	apart int   // pairs between different homes
}

// name is that of an account by its number.
func name(n int) string { return "u" + strconv.Itoa(n) }

// home is the node of the account of a stream.
func (u *users) home(stream int) int { return u.homes[stream] }

// spread gives streams to three nodes in turns, from the node on with which a third of them is at home most nearly.
func (u *users) spread() func(stream int) int {
	best, off := 0, len(u.homes)
	for first := range 3 {
		here := 0
		for stream, home := range u.homes {
			if (stream+first)%3 == home {
				here++
			}
		}
		if d := max(3*here-len(u.homes), len(u.homes)-3*here); d < off || first == 0 {
			best, off = first, d
		}
	}
	return func(stream int) int { return (stream + best) % 3 }
}

// search is how many numbers are looked at for accounts whose pairs are at different homes, or at one. The generator
// takes numbers in a row, of whose pairs a third would be at one home of three; of three million rows the best has 48
// or 49 of 50 apart, or some 35 together.
const search = 3_000_000

// row finds numbers in a row, so that of as many pairs as possible the two are at different homes, or at one.
func row(pairs int, together bool, home func(n int) int) (first, best int) {
	at := make([]int8, search)
	for n := range at {
		at[n] = int8(home(n))
	}
	for start := range 2 {
		run := 0
		for n := start; n+1 < search; n += 2 {
			if (at[n] == at[n+1]) == together {
				run++
			}
			if out := n - 2*pairs; out >= start && (at[out] == at[out+1]) == together {
				run--
			}
			if run > best && n-2*(pairs-1) >= 0 {
				first, best = n-2*(pairs-1), run
			}
		}
	}
	return first, best
}

// populate makes the accounts, each by the node where it is at home.
func (b *bench) populate(s *servers, homes *layout, together bool) *users {
	u := &users{homes: make([]int, 2*b.pairs)}
	if homes != nil {
		home := func(n int) int {
			node := homes[cluster.SlotOf(name(n)+"@"+harness.Domain)]
			return int(node[len(node)-1] - '0')
		}
		if u.first, u.apart = row(b.pairs, together, home); together {
			u.apart = b.pairs - u.apart
		}
		for i := range u.homes {
			u.homes[i] = home(u.first + i)
		}
		b.Logf("nodes: %d of %d pairs are at different homes", u.apart, b.pairs)
	}
	lists := make([]strings.Builder, len(s.nodes))
	for i, node := range u.homes {
		fmt.Fprintf(&lists[node], "%s@%s %s\n", name(u.first+i), harness.Domain, harness.Password)
	}
	for node := range lists {
		if lists[node].Len() == 0 {
			continue
		}
		if _, err := output(lists[node].String(), b.program, "user", "add", "--batch", "--config", s.config[node]); err != nil {
			b.Fatal(err)
		}
	}
	return u
}
