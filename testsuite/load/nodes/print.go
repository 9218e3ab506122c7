package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"jackdaw/testsuite/load/stage"
)

// print writes the tables.
func (b *bench) print(w io.Writer, took time.Duration) {
	line := func(cells ...string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	rule := func(n int) { line(strings.Split(strings.Repeat("--- ", n-1)+"---", " ")...) }
	line(append([]string{"management, archive, TLS"}, places...)...)
	rule(1 + len(places))
	titles := []struct{ line, title string }{
		{window10, "window 10"}, {window1, "window 1"}, {offered, stage.Thousands(float64(b.rate)) + "/s offered"},
	}
	for _, l := range titles {
		for _, v := range []struct {
			name string
			cell func(place string) string
			only string // this line; "": all
		}{
			{"messages a second", b.figure(l.line, "delivered_per_s", stage.Thousands), ""},
			{"messages per CPU s of servers and Redis", b.figure(l.line, "total_us", perSecond), ""},
			{"CPU a message: servers + Redis", b.cpu(l.line), ""},
			{"commands of Redis a message", b.figure(l.line, "commands", tenths), ""},
			{"acknowledged: p50, p99", b.pair(l.line, "ack_p50_ms", "ack_p99_ms"), ""},
			{"delivered: p50, p99", b.pair(l.line, "p50_ms", "p99_ms"), offered},
		} {
			if v.only != "" && v.only != l.line {
				continue
			}
			cells := []string{l.title + ": " + v.name}
			for _, p := range places {
				cells = append(cells, v.cell(p))
			}
			line(cells...)
		}
	}
	fmt.Fprintln(w)
	line("line", "figure", "bar", "aim", "")
	rule(5)
	for _, j := range b.judged() {
		if !j.known {
			line(j.name, "not measured", j.bar(), j.aim(), "")
			continue
		}
		line(j.name, fmt.Sprintf(j.format, j.value), j.bar(), j.aim(), j.verdict())
	}
	fmt.Fprintf(w, "\nMedians of %d runs, %d pairs, %s each; %.1f minutes.\n", b.reps, b.pairs, b.seconds, took.Minutes())
	b.printSum(w)
	for _, p := range []string{two, atHome, together, anywhere} {
		apart, ok := b.median(window10, p, "apart")
		if here, known := b.median(window10, p, "at_home"); ok && known {
			fmt.Fprintf(w, "%s: %.0f of %d pairs are at different homes, %.0f of %d clients at the node where they are at home.\n",
				strings.ToUpper(p[:1])+p[1:], apart, b.pairs, here, 2*b.pairs)
		}
	}
	for _, f := range b.failed {
		fmt.Fprintf(w, "\nSpoiled: %s\n", f)
	}
}

// printSum says what nodes that have a CPU each would carry, and Redis with its one thread.
func (b *bench) printSum(w io.Writer) {
	for _, p := range []struct {
		place string
		nodes float64
	}{{oneNode, 1}, {two, 2}, {atHome, 3}, {together, 3}, {anywhere, 3}} {
		servers, ok := b.median(window10, p.place, "servers_us")
		redis, known := b.median(window10, p.place, "redis_us")
		if ok && known && servers > 0 && redis > 0 {
			fmt.Fprintf(w, "\n%s, window 10: as the sum of CPU allows, with a CPU for each node %s messages a second; Redis' thread %s.\n",
				strings.ToUpper(p.place[:1])+p.place[1:], stage.Thousands(p.nodes*1e6/servers), stage.Thousands(1e6/redis))
		}
	}
}

func tenths(v float64) string    { return fmt.Sprintf("%.1f", v) }
func perSecond(v float64) string { return stage.Thousands(1e6 / v) }

// figure is one value in a cell.
func (b *bench) figure(line, key string, format func(float64) string) func(place string) string {
	return func(place string) string {
		v, ok := b.median(line, place, key)
		if !ok || v == 0 {
			return ""
		}
		return format(v)
	}
}

// pair are two latencies in a cell.
func (b *bench) pair(line, first, second string) func(place string) string {
	return func(place string) string {
		p50, ok := b.median(line, place, first)
		if p99, known := b.median(line, place, second); ok && known {
			return fmt.Sprintf("%.2f, %.2f ms", p50, p99)
		}
		return ""
	}
}

// cpu says who spent how much.
func (b *bench) cpu(line string) func(place string) string {
	return func(place string) string {
		servers, ok := b.median(line, place, "servers_us")
		if redis, _ := b.median(line, place, "redis_us"); ok {
			return fmt.Sprintf("%.1f + %.1f µs", servers, redis)
		}
		return ""
	}
}

// A judgement is a line with what it must reach.
type judgement struct {
	name, format string
	value        float64
	least        bool // less is better
	bars         [2]float64
	known        bool
}

// judged are the lines of the targets (docs/performance.md, "Several nodes").
func (b *bench) judged() (all []judgement) {
	// compare enters what f makes of a figure of one place and that of another.
	compare := func(name, format string, least bool, bars [2]float64, line, key, of, to string,
		f func(of, to float64) float64) {
		a, ok := b.median(line, of, key)
		z, known := b.median(line, to, key)
		all = append(all, judgement{name, format, f(a, z), least, bars, ok && known && a != 0 && z != 0})
	}
	above := func(a, z float64) float64 { return a - z }
	compare("window 10, one node: work per CPU s beside embedded", "%.2f", false, [2]float64{0.4, 0.6},
		window10, "total_us", oneNode, embedded, func(a, z float64) float64 { return z / a })
	for _, l := range []struct{ line, title string }{{window10, "window 10"}, {offered, "at the rate"}} {
		v, ok := b.median(l.line, oneNode, "commands")
		all = append(all, judgement{"commands of Redis a message, one node, " + l.title, "%.1f", v, true, [2]float64{8, 5}, ok})
	}
	compare("at the rate, one node: p50 acknowledged, above embedded's", "%+.2f ms", true, [2]float64{2, 1},
		offered, "ack_p50_ms", oneNode, embedded, above)
	compare("at the rate, one node: p99 acknowledged, above embedded's", "%+.2f ms", true, [2]float64{8, 4},
		offered, "ack_p99_ms", oneNode, embedded, above)
	compare("window 10, different homes: CPU a message beside one node's", "%.2f", true, [2]float64{1.5, 1.3},
		window10, "total_us", atHome, oneNode, func(a, z float64) float64 { return a / z })
	for _, p := range []string{two, together, anywhere} {
		compare("the same, "+p, "%.2f", true, [2]float64{},
			window10, "total_us", p, oneNode, func(a, z float64) float64 { return a / z })
	}
	compare("at the rate, different homes: p99 acknowledged, above one node's", "%+.2f ms", true, [2]float64{2, 1},
		offered, "ack_p99_ms", atHome, oneNode, above)
	compare("the same, clients anywhere", "%+.2f ms", true, [2]float64{},
		offered, "ack_p99_ms", anywhere, oneNode, above)
	for _, x := range []struct {
		title, key string
		bar        float64
	}{{"the first", "first_s", 0}, {"the last", "last_s", b.lease.Seconds() + 2}} {
		v, ok := b.median(takeOver, atHome, x.key)
		name := "a node is killed, lease " + b.lease.String() + ": an account of it is served again, " + x.title + " of some"
		all = append(all, judgement{name, "%.1f s", v, true, [2]float64{x.bar, 0}, ok})
	}
	return all
}

func (j judgement) bar() string { return number(j.bars[0]) }
func (j judgement) aim() string { return number(j.bars[1]) }

func number(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%g", v)
}

func (j judgement) verdict() string {
	v, bar, aim := j.value, j.bars[0], j.bars[1]
	if j.least {
		v, bar, aim = -v, -bar, -aim
	}
	switch {
	case bar == 0:
		return ""
	case v < bar:
		return "**missed**"
	case aim != 0 && v >= aim:
		return "aim"
	}
	return "bar"
}
