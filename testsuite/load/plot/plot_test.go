package plot

import (
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestAPageIsWellFormedAndHasItsPoints(t *testing.T) {
	page := Page{Title: "A <page>", Note: "here & now", Charts: []Chart{
		{Title: "nothing was measured", X: "x", Y: "y"},
		{Title: "growth", X: "sessions", Y: "µs", LogX: true, Marks: true, Lines: []Line{
			{Name: "one", X: []float64{100, 1000, 10000, 50000}, Y: []float64{10, 11, 12, 12.5}},
			{Name: "two", X: []float64{100}, Y: []float64{9}}}},
		{Title: "time", X: "minutes", Lines: []Line{{X: []float64{0, 30, 60}, Y: []float64{0, 0, 0}}}},
	}}
	svg := string(page.SVG())
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
	}
	if n := strings.Count(svg, "<circle"); n != 5 {
		t.Errorf("%d marks for 5 points", n)
	}
	for _, want := range []string{"A &lt;page&gt;", ">10k<", ">50k<", "prefers-color-scheme:dark"} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, unwanted := range []string{"NaN", "Inf", "nothing was measured"} {
		if strings.Contains(svg, unwanted) {
			t.Errorf("there is %s", unwanted)
		}
	}
}

func TestTicksAreRoundAndCoverWhatIsDrawn(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		beyond    bool
		want      []float64
	}{
		{0, 45, true, []float64{0, 10, 20, 30, 40, 50}},
		{0, 50, true, []float64{0, 10, 20, 30, 40, 50}},
		{0, 1, true, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
		{0, 60, false, []float64{0, 10, 20, 30, 40, 50, 60}},
		{3, 3, true, []float64{3, 4}},
	} {
		got := ticks(c.low, c.high, c.beyond)
		if !slices.EqualFunc(got, c.want, func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }) {
			t.Errorf("from %v to %v: %v", c.low, c.high, got)
		}
	}
}

func TestNumbersOfAxesAreShort(t *testing.T) {
	for want, v := range map[string]float64{"0": 0, "0.05": 0.05, "5000": 5000, "10k": 10000, "2.5M": 2.5e6, "19.5k": 19500} {
		if got := number(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}
