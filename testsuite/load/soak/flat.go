package main

import (
	"fmt"
	"math"
	"slices"

	"jackdaw/testsuite/load/stage"
)

// A measure is something that must not grow.
type measure struct {
	key, name, unit string
	// floor is a growth that is allowed in any case: what comes and goes with the clients that happen to be there.
	floor float64
}

var measures = []measure{
	{"memory_mib", "memory", "MiB", 16},
	{"heap_mib", "heap", "MiB", 4},
	{"goroutines", "goroutines", "", 60},
	{"descriptors", "descriptors", "", 30},
	{"disk_over_mib", "disk without uploads and what is remembered of messages", "MiB", 16},
	{"upload_over_mib", "disk of uploads beyond the bytes uploaded", "MiB", 4},
}

const tolerance = 0.1 // of the median

// remembered is how many bytes a server may keep of each acknowledged message for a day or two, so that it can tell it
// when it is sent again (docs/promises.md §3): its id in the archives of both sides, in the queue of the recipient,
// and in that for the other server. Within an hour that only grows.
const remembered = 600

// growth is by how much a series grows from its first point to its last: its median slope (Theil and Sen: the median of
// the slopes of all pairs of points), which neither a peak nor a collection of garbage moves, times its length.
func growth(x, y []float64) float64 {
	var slopes []float64
	for i := range x {
		for j := i + 1; j < len(x); j++ {
			if x[j] > x[i] {
				slopes = append(slopes, (y[j]-y[i])/(x[j]-x[i]))
			}
		}
	}
	if len(slopes) == 0 {
		return 0
	}
	return stage.Median(slopes) * (x[len(x)-1] - x[0])
}

// judge says of a series whether it is flat: over its last half it may grow by a tenth of its median there, or by the
// measure's floor if that is more.
func (m measure) judge(x, y []float64) (text string, flat bool) {
	from := slices.IndexFunc(x, func(v float64) bool { return v >= x[len(x)-1]/2 })
	x, y = x[from:], y[from:]
	median := stage.Median(slices.Clone(y))
	allowed := math.Max(tolerance*median, m.floor)
	g := growth(x, y)
	return fmt.Sprintf("%s: median %.1f %s, growth over the last half %+.1f, allowed %.1f", m.name, median, m.unit, g, allowed),
		g <= allowed
}
