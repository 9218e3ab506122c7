package main

import (
	"path/filepath"
	"time"

	"jackdaw/testsuite/load/stage"
)

// A look is what is seen of one server at one time.
type look struct {
	What   string             `json:"what"` // soak
	Server string             `json:"server"`
	Time   time.Time          `json:"time"`
	Values map[string]float64 `json:"values"`
}

// look looks at all servers.
func (r *run) look() {
	for _, h := range r.houses {
		l, err := r.seen(h)
		if err != nil {
			r.fault("look at %s: %v", h.Domain, err)
			return
		}
		r.looks[h.Domain] = append(r.looks[h.Domain], l)
		r.Keep(r.out, l)
	}
}

func (r *run) seen(h *house) (look, error) {
	l := look{What: "soak", Server: h.Domain, Time: time.Now().UTC().Truncate(time.Millisecond), Values: map[string]float64{}}
	v := l.Values
	m, err := stage.Scrape(h.Metrics)
	if err != nil {
		return l, err
	}
	promised, _, _, _ := r.book.counts()
	v["s"], v["acknowledged"] = time.Since(r.began).Seconds(), float64(promised)
	// With the garbage of the moment, which a median slope does not mind.
	v["heap_mib"], v["goroutines"] = m["go_memstats_heap_alloc_bytes"]/(1<<20), m["go_goroutines"]
	if v["rss_mib"], err = stage.RSS(h.PID()); err != nil {
		return l, err
	}
	if v["memory_mib"], err = stage.Anonymous(h.PID()); err != nil {
		return l, err
	}
	fds, err := stage.Descriptors(h.PID())
	if err != nil {
		return l, err
	}
	v["descriptors"] = float64(fds)
	cpu, err := stage.TreeCPU(h.PID())
	if err != nil {
		return l, err
	}
	v["cpu_s"] = cpu.Seconds()
	data := filepath.Join(h.Dir, "data")
	if v["disk_mib"], err = stage.DiskUsage(data, func(name string) bool { return name == "upload" }); err != nil {
		return l, err
	}
	v["disk_over_mib"] = v["disk_mib"] - float64(promised)*remembered/(1<<20)
	uploads, err := stage.DiskUsage(filepath.Join(data, "upload"), nil)
	// A file takes whole blocks: half of one each is not the server's doing, but small beside the bound.
	v["upload_mib"], v["upload_over_mib"] = uploads, uploads-float64(h.uploaded.Load())/(1<<20)
	return l, err
}

// series is one measure of one server over the seconds.
func (r *run) series(h *house, key string) (x, y []float64) {
	for _, l := range r.looks[h.Domain] {
		x, y = append(x, l.Values["s"]), append(y, l.Values[key])
	}
	return x, y
}
