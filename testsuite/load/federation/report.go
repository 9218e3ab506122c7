package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"jackdaw/testsuite/load/stage"
)

// title is what a case is called in the table. Those that differ in the server under test only have one title.
func (r *result) title() string {
	what := map[bool]string{true: ", stream management", false: ""}[r.SM]
	switch {
	case r.To == "":
		return "clients to the sink" + what
	case r.From == "":
		return "the source to clients" + what
	}
	return r.From + " to " + r.To + what
}

// report writes medians as a Markdown table: messages per second of the server's CPU, and messages per second. Runs
// that went wrong are left out and counted.
func report(w io.Writer, results []result) {
	var columns, titles []string
	for _, r := range results {
		for _, s := range []string{r.From, r.To} {
			if s != "" && !slices.Contains(columns, s) {
				columns = append(columns, s)
			}
		}
		if !slices.Contains(titles, r.title()) {
			titles = append(titles, r.title())
		}
	}
	wrong := 0
	for _, r := range results {
		if !r.OK && !r.NotOffered {
			wrong++
		}
	}
	row := func(cells ...string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	row(append([]string{"messages (per second of the server's CPU; per second)"}, columns...)...)
	row(slices.Repeat([]string{"---"}, len(columns)+1)...)
	for _, title := range titles {
		cells := []string{title}
		for _, name := range columns {
			cells = append(cells, cell(results, title, name))
		}
		row(cells...)
	}
	fmt.Fprintf(w, "\n%d runs, %d of them went wrong and are left out.\n", len(results), wrong)
}

func cell(results []result, title, name string) string {
	var perCPU, perSecond []float64
	absent := false
	for _, r := range results {
		if r.title() != title || r.From != name && r.To != name {
			continue
		}
		absent = absent || r.NotOffered
		if r.OK {
			// Less than a tick of CPU is taken for one.
			perCPU = append(perCPU, float64(r.Messages)/max(r.CPU[name], stage.Tick.Seconds()))
			perSecond = append(perSecond, float64(r.Messages)/r.Seconds)
		}
	}
	switch {
	case len(perCPU) > 0:
		return stage.Thousands(stage.Median(perCPU)) + "; " + stage.Thousands(stage.Median(perSecond))
	case absent:
		return "not offered"
	}
	return ""
}
