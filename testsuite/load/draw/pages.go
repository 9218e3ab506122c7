package main

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"jackdaw/testsuite/load/plot"
	"jackdaw/testsuite/load/stage"
)

// axes are what grows.
var axes = []struct{ name, title string }{
	{"sessions", "sessions"}, {"accounts", "accounts"}, {"archived", "archived messages"},
}

// A curve is one line of a chart: a name and a key of the values.
type curve struct{ name, key string }

var growthCharts = []struct {
	title, y string
	curves   []curve
}{
	{"CPU of a message", "µs", []curve{{"all talk", "message_us"}, {"a hundred do", "few_us"}, {"small server", "base_message_us"}}},
	{"CPU of a message beside the small server's", "ratio", []curve{{"all talk", "message_ratio"}, {"a hundred do", "few_ratio"}}},
	{"CPU of a login", "µs", []curve{{"here", "login_us"}, {"small server, in turns", "base_login_us"}}},
	{"Latency, median, at a fixed rate", "ms", []curve{{"delivered", "delivered_p50_ms"}, {"acknowledged", "acknowledged_p50_ms"}}},
	{"Latency, p99, at a fixed rate", "ms", []curve{{"delivered", "delivered_p99_ms"}, {"acknowledged", "acknowledged_p99_ms"},
		{"small server", "base_delivered_p99_ms"}, {"there", "base_acknowledged_p99_ms"}}},
	{"Memory of a session at rest", "KiB", []curve{{"", "session_kib"}}},
	{"Memory of the server just started", "MiB", []curve{{"", "started_mib"}}},
	{"From exec to the first login", "ms", []curve{{"here", "first_login_ms"}, {"small server, in turns", "base_first_login_ms"}}},
}

// growth draws what was measured over one axis.
func growth(axis struct{ name, title string }, lines []line) plot.Page {
	page := plot.Page{Title: "Growth with " + axis.title, Note: lines[len(lines)-1].Time.Format("2 January 2006")}
	for _, c := range growthCharts {
		chart := plot.Chart{Title: c.title, X: axis.title, Y: c.y, LogX: true, Marks: true}
		for _, k := range c.curves {
			at := map[float64][]float64{}
			for _, l := range lines {
				if v, ok := l.Values[k.key]; ok {
					at[l.At] = append(at[l.At], v)
				}
			}
			if len(at) == 0 {
				continue
			}
			drawn := plot.Line{Name: k.name, X: slices.Sorted(maps.Keys(at))}
			for _, x := range drawn.X {
				drawn.Y = append(drawn.Y, stage.Median(at[x]))
			}
			chart.Lines = append(chart.Lines, drawn)
		}
		page.Charts = append(page.Charts, chart)
	}
	return page
}

var soakCharts = []struct{ title, y, key string }{
	{"Memory (RssAnon)", "MiB", "memory_mib"},
	{"Resident memory, with what of the store is mapped", "MiB", "rss_mib"},
	{"Heap, with its garbage", "MiB", "heap_mib"},
	{"Goroutines", "", "goroutines"},
	{"Open descriptors", "", "descriptors"},
	{"Disk, without uploads", "MiB", "disk_mib"},
	{"Disk of uploads beyond the bytes uploaded", "MiB", "upload_over_mib"},
}

// soak draws what was seen of the servers over the time.
func soak(lines []line) plot.Page {
	page := plot.Page{Title: "A soak", Note: lines[0].Time.Format("2 January 2006, 15:04 MST")}
	var servers []string
	for _, l := range lines {
		if !slices.Contains(servers, l.Server) {
			servers = append(servers, l.Server)
		}
	}
	series := func(server string, y func(l line) float64) (drawn plot.Line) {
		drawn.Name = server
		for _, l := range lines {
			if !math.IsNaN(y(l)) && l.Server == server {
				drawn.X, drawn.Y = append(drawn.X, l.Values["s"]/60), append(drawn.Y, y(l))
			}
		}
		return drawn
	}
	for _, c := range soakCharts {
		chart := plot.Chart{Title: c.title, X: "minutes", Y: c.y}
		for _, server := range servers {
			chart.Lines = append(chart.Lines, series(server, func(l line) float64 {
				if v, ok := l.Values[c.key]; ok {
					return math.Max(0, v)
				}
				return math.NaN()
			}))
		}
		page.Charts = append(page.Charts, chart)
	}
	cpu := plot.Chart{Title: "CPU of all that is done, for a message acknowledged", X: "minutes", Y: "µs"}
	for _, server := range servers {
		seconds := series(server, func(l line) float64 { return l.Values["cpu_s"] })
		promised := series(server, func(l line) float64 { return l.Values["acknowledged"] })
		cpu.Lines = append(cpu.Lines, per(seconds, promised))
	}
	page.Charts = append(page.Charts, cpu)
	acked := series(servers[0], func(l line) float64 { return l.Values["acknowledged"] })
	acked.Name = ""
	page.Charts = append(page.Charts, plot.Chart{Title: "Messages acknowledged", X: "minutes", Lines: []plot.Line{acked},
		Y: fmt.Sprintf("by %d servers", len(servers))})
	return page
}

// per divides the growth of one series by that of another, for stretches of a fortieth of the time.
func per(seconds, units plot.Line) plot.Line {
	drawn := plot.Line{Name: seconds.Name}
	step := max(1, len(seconds.X)/40)
	for i := step; i < len(seconds.X); i += step {
		if n := units.Y[i] - units.Y[i-step]; n > 0 {
			drawn.X = append(drawn.X, seconds.X[i])
			drawn.Y = append(drawn.Y, (seconds.Y[i]-seconds.Y[i-step])/n*1e6)
		}
	}
	return drawn
}
