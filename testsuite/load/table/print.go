package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"jackdaw/testsuite/load/stage"
)

// A row of the table says how a case is judged.
type row struct {
	name, key string
	// to is the case of the relay to whose figure ratios are; "" for the best peer's in the same case.
	to       string
	bar, aim float64
}

const perCPU = "delivered_per_server_cpu_s"

var ratios = []row{
	{managed10, perCPU, plain10, 0.25, 0.4},
	{managed1, perCPU, plain1, 0.35, 0.5},
	{plainHTTP, "posts_per_server_cpu_s", plainHTTP, 0.45, 0.6},
	{managedHTTP, "posts_per_server_cpu_s", plainHTTP, 0.25, 0.4},
	{pipelined, "posts_per_server_cpu_s", plainHTTP, 0, 0},
	{http2, "posts_per_server_cpu_s", plainHTTP, 0, 0},
	{plain10, perCPU, plain10, 0.4, 0.5},
	{plain1, perCPU, plain1, 0, 0},
	{presence, perCPU, "", 12, 15},
	{bodies, perCPU, bodies, 0.45, 0.6},
	{logins, "logins_per_server_cpu_s", logins, 0.7, 0.8},
	{offline, "stored_per_server_cpu_s", "", 0, 0},
	{bare10, perCPU, plain10, 0, 0},
	{bareHTTP, "posts_per_server_cpu_s", plainHTTP, 0, 0},
}

// print writes the tables. What is above R is the relay's figure on the same line without management.
func (b *bench) print(w io.Writer, took time.Duration) {
	line := func(cells ...string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	figure := func(name, server, key string) string {
		if v := b.median(name, server, key); v > 0 {
			return stage.Thousands(v)
		}
		return ""
	}
	line(append(append([]string{"archive on, TLS; work per second of the server's CPU"}, b.peers...), "relay (R)", "jackdaw", "ratio", "bar",
		"aim", "")...)
	line(strings.Split(strings.Repeat("--- ", len(b.peers)+6)+"---", " ")...)
	for _, r := range ratios {
		cells, best := []string{r.name}, 0.0
		for _, p := range b.peers {
			cells = append(cells, figure(r.name, p, r.key))
			best = max(best, b.median(r.name, p, r.key))
		}
		ours, beside, unit := b.median(r.name, "jackdaw", r.key), best, " × the best peer"
		if r.to != "" {
			beside, unit = b.median(r.to, "relay", r.key), " R"
		}
		cells = append(cells, figure(r.to, "relay", r.key), figure(r.name, "jackdaw", r.key))
		if ours == 0 || beside == 0 {
			line(append(cells, "not measured", number(r.bar), number(r.aim), "")...)
			continue
		}
		line(append(cells, fmt.Sprintf("%.2f%s", ours/beside, unit), number(r.bar), number(r.aim),
			verdict(ours/beside, r.bar, r.aim))...)
	}
	fmt.Fprintln(w)
	line("jackdaw", "figure", "bar", "aim", "")
	line("---", "---", "---", "---", "---")
	// least is a line where less is better.
	least := func(name, format string, v, bar, aim float64, measured bool) {
		if !measured {
			line(name, "not measured", number(bar), number(aim), "")
			return
		}
		line(name, fmt.Sprintf(format, v), number(bar), number(aim), verdict(-v, -bar, -aim))
	}
	r99 := b.median(plainRate, "relay", "p99_ms")
	d99, a99 := b.median(managedRate, "jackdaw", "p99_ms"), b.median(managedRate, "jackdaw", "ack_p99_ms")
	least("5,000/s offered, management: p99 delivered, above the relay's", fmt.Sprintf("%%+.2f ms (%.2f, relay %.2f)", d99, r99),
		d99-r99, 2, 0.5, r99 > 0 && d99 > 0)
	least("the same, acknowledged", fmt.Sprintf("%%+.2f ms (%.2f)", a99), a99-r99, 5, 3, r99 > 0 && a99 > 0)
	key := fmt.Sprintf("kib_per_conn_%d", b.idle)
	for _, x := range []row{{idleTLS, key, "", 14, 12}, {idlePlain, key, "", 6, 5}, {idleFull, key, "", 22, 18}} {
		v := b.median(x.name, "jackdaw", x.key)
		least(x.name, "%.1f KiB", v, x.bar, x.aim, v > 0)
	}
	v := b.median(started, "jackdaw", "mib")
	least(started, "%.1f MiB", v, 0, 0, v > 0)
	for _, p := range b.peers {
		least(started+", "+p, "%.0f MiB", b.median(started, p, "mib"), 0, 0, b.median(started, p, "mib") > 0)
	}
	v = b.median(storm, "jackdaw", "peak_mib")
	least(fmt.Sprintf("%s, some %s: memory at most", storm, stage.Thousands(b.median(storm, "jackdaw", "archived"))), "%.0f MiB", v, 80, 64, v > 0)
	none, large := b.median(firstLogin, "none", "ms"), b.median(firstLogin, "jackdaw", "ms")
	least(firstLogin+", "+b.largeName()+", beside none", fmt.Sprintf("%%+.1f ms (%.1f, none %.1f)", large, none), large-none, 10, 0, none > 0)
	fmt.Fprintf(w, "\nMedians of %d runs of jackdaw and the relay, in turns, one run of each peer; %.0f minutes.\n", b.reps, took.Minutes())
	for _, f := range b.failed {
		fmt.Fprintf(w, "\nSpoiled: %s\n", f)
	}
}

func number(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%g", v)
}

// verdict of a figure that is to be large.
func verdict(v, bar, aim float64) string {
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
