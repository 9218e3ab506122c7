package console

import (
	"context"
	"fmt"
	"html/template"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sampled is how often a History looks, kept how many times it remembers: a day.
	sampled = time.Minute
	kept    = 24 * 60
	// drawn is how many points a plot has.
	drawn = 24 * 12
)

// A Sample is how things were in one minute.
type Sample struct {
	Messages float32 // that came into the router within the minute
	Sessions float32
	Durable  float32 // seconds until a write was durable, the longest of the minute; 0: nothing was written
	Free     float32 // bytes on the disk
}

// History remembers the last day, a sample a minute, in 24 KiB. It is safe for concurrent use.
type History struct {
	// Messages is how many came since the start, Sessions how many there are, Free how many bytes are free.
	Messages, Sessions, Free func() int64

	slowest atomic.Int64 // nanoseconds, since the last sample

	mu     sync.Mutex // guards the rest
	past   ring[Sample]
	before int64 // Messages at the last sample
}

// Committed notes how long a write took until it was durable.
func (h *History) Committed(d time.Duration) {
	for {
		was := h.slowest.Load()
		if int64(d) <= was || h.slowest.CompareAndSwap(was, int64(d)) {
			return
		}
	}
}

// Run samples until ctx ends.
func (h *History) Run(ctx context.Context) {
	h.mu.Lock()
	h.before = h.Messages()
	h.mu.Unlock()
	t := time.NewTicker(sampled)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			h.sample()
		}
	}
}

func (h *History) sample() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.Messages()
	h.past.add(Sample{Messages: float32(now - h.before), Sessions: float32(h.Sessions()),
		Durable: float32(time.Duration(h.slowest.Swap(0)).Seconds()), Free: float32(h.Free())}, kept)
	h.before = now
}

// Samples are those of the last day, the oldest first.
func (h *History) Samples() []Sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.past.newest()
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	return all
}

// plot draws a day as SVG, now at its right end: of each five minutes the highest value, or the lowest. What is not
// known yet is left out. label is for those who do not see it.
func plot(samples []Sample, value func(Sample) float32, lowest bool, label string) template.HTML {
	const width, height, foot = drawn, 60, 1
	points := make([]float64, 0, drawn)
	per := kept / drawn
	for end := len(samples); end > 0; end -= per {
		best := math.NaN()
		for _, s := range samples[max(0, end-per):end] {
			x := float64(value(s))
			if math.IsNaN(best) || lowest && x < best || !lowest && x > best {
				best = x
			}
		}
		points = append(points, best)
	}
	top := 0.0
	for _, p := range points {
		top = max(top, p)
	}
	var line strings.Builder
	for i, p := range points {
		y := float64(height - foot)
		if top > 0 {
			y -= p / top * (height - 4)
		}
		fmt.Fprintf(&line, "%d,%.1f ", width-i, y)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="plot" role="img" viewBox="0 0 %d %d" preserveAspectRatio="none" height="%d"><title>%s</title>`,
		width, height, height, template.HTMLEscapeString(label))
	fmt.Fprintf(&b, `<line class="axis" x1="0" x2="%d" y1="%d" y2="%d"/>`, width, height-foot, height-foot)
	if len(points) > 0 {
		at := strings.TrimSpace(line.String())
		fmt.Fprintf(&b, `<polygon class="area" points="%d,%d %s %d,%d"/><polyline class="line" points="%s"/>`, width, height-foot,
			at, width-len(points)+1, height-foot, at)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
