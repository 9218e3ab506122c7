// Package plot draws the measurements of the tools as SVG: lines over linear or logarithmic axes, several charts on a
// page. The pages follow the reader's choice of a light or a dark scheme, and need no script and no font of their own.
//
// It leaves out everything else: no bars, no areas, no third dimension.
package plot

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Page is one file: charts in two columns.
type Page struct {
	Title  string
	Note   string // a line below the title: where and when
	Charts []Chart
}

// A Chart has one pair of axes. The vertical one begins at zero, so that what looks flat is flat.
type Chart struct {
	Title string
	X, Y  string // what the axes count
	LogX  bool
	Marks bool // a mark at each point: for measurements that are few
	Lines []Line
}

// A Line is drawn through its points, which are in the order of X.
type Line struct {
	Name string
	X, Y []float64
}

const (
	width, height          = 480, 290 // of one chart
	left, right, top, foot = 62, 16, 58, 46
)

// style has colours that tell lines apart also for those who do not see all of them; some are dashed besides.
const style = `
svg{background:#fff;font:12px system-ui,sans-serif}
text{fill:#222}.note{fill:#555}.grid{stroke:#ddd}.axis{stroke:#777}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.l0{stroke:#0b62b8}.l1{stroke:#c4480a}.l2{stroke:#2a7d2e;stroke-dasharray:6 3}.l3{stroke:#8a3ab0;stroke-dasharray:2 3}
.m0{fill:#0b62b8}.m1{fill:#c4480a}.m2{fill:#2a7d2e}.m3{fill:#8a3ab0}
@media(prefers-color-scheme:dark){
svg{background:#0d1117}text{fill:#e6edf3}.note{fill:#9aa4af}.grid{stroke:#30363d}.axis{stroke:#8b949e}
.l0{stroke:#58a6ff}.l1{stroke:#ff9d5c}.l2{stroke:#5fd068}.l3{stroke:#d2a0ff}
.m0{fill:#58a6ff}.m1{fill:#ff9d5c}.m2{fill:#5fd068}.m3{fill:#d2a0ff}}
`

// SVG is the page. Charts without points are left out.
func (p Page) SVG() []byte {
	charts := slices.DeleteFunc(slices.Clone(p.Charts), func(c Chart) bool { return c.points() == 0 })
	columns := max(1, min(2, len(charts)))
	rows := (len(charts) + columns - 1) / columns
	w, h := columns*width, 56+rows*height
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img">`+"\n", w, h)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", escape(p.Title), style)
	fmt.Fprintf(&b, `<text x="14" y="24" font-size="16" font-weight="600">%s</text>`+"\n", escape(p.Title))
	fmt.Fprintf(&b, `<text x="14" y="44" class="note">%s</text>`+"\n", escape(p.Note))
	for i, c := range charts {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i%columns*width, 56+i/columns*height)
		c.draw(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (c Chart) points() (n int) {
	for _, l := range c.Lines {
		n += len(l.X)
	}
	return n
}

func (c Chart) draw(b *bytes.Buffer) {
	x, y := c.scales()
	fmt.Fprintf(b, `<text x="14" y="18" font-weight="600">%s</text>`+"\n", escape(c.Title))
	at := 14
	for i, l := range c.Lines {
		if len(c.Lines) == 1 && l.Name == "" {
			break
		}
		fmt.Fprintf(b, `<path class="line l%d" d="M%d 32h22"/><text x="%d" y="36">%s</text>`+"\n", i%4, at, at+27, escape(l.Name))
		at += 46 + 7*len(l.Name)
	}
	for _, v := range y.ticks {
		fmt.Fprintf(b, `<path class="grid" d="M%d %.1fH%d"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, y.at(v), width-right, left-6, y.at(v)+4, number(v))
	}
	for _, v := range x.ticks {
		fmt.Fprintf(b, `<path class="axis" d="M%.1f %dv4"/><text x="%[1]f" y="%[3]d" text-anchor="middle">%[4]s</text>`+"\n",
			x.at(v), height-foot, height-foot+18, number(v))
	}
	fmt.Fprintf(b, `<path class="axis" d="M%d %dH%d"/>`+"\n", left, height-foot, width-right)
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle" class="note">%s</text>`+"\n", (left+width-right)/2, height-8, escape(c.X))
	fmt.Fprintf(b, `<text transform="translate(13 %d) rotate(-90)" text-anchor="middle" class="note">%s</text>`+"\n",
		(top+height-foot)/2, escape(c.Y))
	for i, l := range c.Lines {
		var d strings.Builder
		for k := range l.X {
			fmt.Fprintf(&d, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[k == 0], x.at(l.X[k]), y.at(l.Y[k]))
			if c.Marks {
				fmt.Fprintf(b, `<circle class="m%d" cx="%.1f" cy="%.1f" r="3.2"/>`, i%4, x.at(l.X[k]), y.at(l.Y[k]))
			}
		}
		fmt.Fprintf(b, `<path class="line l%d" d="%s"/>`+"\n", i%4, d.String())
	}
}

// A scale maps values to places.
type scale struct {
	log          bool
	low, high    float64 // values, or their logarithms
	begin, after float64 // places
	ticks        []float64
}

func (s scale) at(v float64) float64 {
	if s.log {
		v = math.Log10(v)
	}
	return s.begin + (v-s.low)/(s.high-s.low)*(s.after-s.begin)
}

func (c Chart) scales() (x, y scale) {
	var xs, ys []float64
	for _, l := range c.Lines {
		xs, ys = append(xs, l.X...), append(ys, l.Y...)
	}
	x = scale{log: c.LogX, begin: left + 8, after: width - right - 8}
	if c.LogX {
		low, high := slices.Min(xs), slices.Max(xs)
		x.low, x.high = math.Log10(low), math.Log10(high)
		for p := math.Floor(x.low); p <= math.Ceil(x.high); p++ {
			if v := math.Pow(10, p); v >= low*0.999 && v <= high*1.001 {
				x.ticks = append(x.ticks, v)
			}
		}
		if len(x.ticks) < 2 {
			x.ticks = []float64{low, high}
		} else if last := x.ticks[len(x.ticks)-1]; high > last*2 {
			x.ticks = append(x.ticks, high)
		}
	} else {
		x.low, x.high = slices.Min(xs), slices.Max(xs)
		x.ticks = ticks(x.low, x.high, false)
	}
	if x.high <= x.low {
		x.high = x.low + 1
	}
	y = scale{begin: height - foot, after: top, ticks: ticks(0, slices.Max(ys), true)}
	y.high = cmp.Or(y.ticks[len(y.ticks)-1], 1)
	return x, y
}

// ticks are four to eight round values from low to high, or to the first that is not below it.
func ticks(low, high float64, beyond bool) (all []float64) {
	if high <= low {
		return []float64{low, low + 1}
	}
	step := math.Pow(10, math.Floor(math.Log10((high-low)/4)))
	for _, f := range []float64{1, 2, 5} {
		if (high-low)/(step*f) <= 8 {
			step *= f
			break
		}
	}
	for i := math.Ceil(low / step); ; i++ {
		v := i * step
		if v > high+step*1e-9 {
			if beyond && (len(all) == 0 || all[len(all)-1] < high-step*1e-9) {
				all = append(all, v)
			}
			return all
		}
		all = append(all, v)
	}
}

// number writes a value of an axis: 10k, 2.5M.
func number(v float64) string {
	for _, unit := range []struct {
		of   float64
		name string
	}{{1e6, "M"}, {1e4, "k"}} {
		if math.Abs(v) >= unit.of {
			if unit.name == "k" {
				unit.of = 1e3
			}
			return strconv.FormatFloat(v/unit.of, 'g', 4, 64) + unit.name
		}
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
