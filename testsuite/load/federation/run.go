package main

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"jackdaw/testsuite/load/stage"
)

// A kase is what is measured: messages of clients of one server to the sink (to is empty), of the source to clients of
// a server (from is empty), or from clients of one server to those of another.
type kase struct {
	from, to string
	// sm turns stream management on where the tool sends: between clients and their server, or between the source and
	// the server. Then a message counts as on its way until it has been acknowledged too.
	sm bool
}

// A plan is how.
type plan struct {
	lanes, window, size int
	warmup, duration    time.Duration
}

// A result is one run.
type result struct {
	From       string             `json:"from,omitempty"`
	To         string             `json:"to,omitempty"`
	SM         bool               `json:"sm"`
	Time       time.Time          `json:"time"`
	Lanes      int                `json:"lanes"`
	Window     int                `json:"window"`
	Size       int                `json:"size"`
	OK         bool               `json:"ok"`
	NotOffered bool               `json:"not_offered,omitempty"`
	Errors     []string           `json:"errors,omitempty"`
	Messages   int64              `json:"messages"`
	Seconds    float64            `json:"seconds"`
	CPU        map[string]float64 `json:"cpu_s,omitempty"` // of each server
	Tool       float64            `json:"tool_cpu_s"`
}

// run starts the servers of a case, measures, and stops them.
func (f *field) run(k kase, p plan) (r result) {
	r = result{From: k.from, To: k.to, SM: k.sm, Time: time.Now().UTC().Truncate(time.Second), Lanes: p.lanes,
		Window: p.window, Size: p.size}
	t := newTraffic(p.lanes, p.window, p.size)
	var started []*server
	defer func() {
		r.Errors = t.errs
		r.OK = len(r.Errors) == 0 && !r.NotOffered
		for _, s := range started {
			if !r.OK && !r.NotOffered {
				f.Logf("the end of the log of %s:\n%s", s.name, s.log())
			}
			s.stop()
		}
	}()
	for _, name := range []string{k.from, k.to} {
		if name == "" {
			continue
		}
		s, err := f.start(name)
		if err != nil {
			t.fail("%v", err)
			return r
		}
		started = append(started, s)
	}
	f.far.begin(t)
	defer f.far.begin(nil)

	readers, writers, closeAll, err := f.connect(k, t, started)
	defer closeAll()
	switch {
	case errors.Is(err, errNotOffered):
		r.NotOffered = true
		return r
	case err != nil:
		t.fail("%v", err)
		return r
	}
	var reading, writing sync.WaitGroup
	for _, read := range readers {
		reading.Go(read)
	}
	for _, write := range writers {
		writing.Go(write)
	}
	if t.until(30*time.Second, func() bool { return t.arrived() > 0 }) {
		pause(p.warmup)
		f.meter(&r, t, started, p.duration)
	} else {
		t.fail("no message has arrived")
	}
	close(t.stop)
	writing.Wait()
	t.settle()
	closeAll()
	reading.Wait()
	return r
}

// connect makes the clients and streams of a case. What it returns are goroutines to be run, and what ends the readers.
func (f *field) connect(k kase, t *traffic, started []*server) (readers, writers []func(), closeAll func(), err error) {
	var open []*client
	closeAll = func() {
		hangUp(open)
		if t.source != nil {
			t.source.Close()
		}
	}
	receiver := farDomain
	if k.to != "" {
		to := started[len(started)-1]
		receiver = to.domain
		clients, err := connect(to, len(t.lanes), false)
		if err != nil {
			return nil, nil, closeAll, err
		}
		open = append(open, clients...)
		for _, c := range clients {
			readers = append(readers, func() { c.read(t, nil) })
		}
	}
	for i, l := range t.lanes {
		l.to = user(i) + "@" + receiver
	}
	if k.from == "" {
		s, err := f.far.dial(started[0], f.direct, k.sm)
		if err != nil {
			return nil, nil, closeAll, err
		}
		t.source = s
		for i, l := range t.lanes {
			l.from, l.wake = user(i)+"@"+farDomain+"/load", s.wake
		}
		return append(readers, func() { s.read(t) }), []func(){func() { s.write(t) }}, closeAll, nil
	}
	clients, err := connect(started[0], len(t.lanes), k.sm)
	if err != nil {
		return nil, nil, closeAll, err
	}
	open = append(open, clients...)
	for i, c := range clients {
		if k.sm {
			t.lanes[i].acked.Store(0)
		}
		readers = append(readers, func() { c.read(t, t.lanes[i]) })
		writers = append(writers, func() { c.write(t, i) })
	}
	return readers, writers, closeAll, nil
}

// meter takes what the next stretch of time brings and costs.
func (f *field) meter(r *result, t *traffic, started []*server, d time.Duration) {
	cpu := func() map[string]time.Duration {
		spent := map[string]time.Duration{}
		for _, s := range started {
			c, err := stage.TreeCPU(s.cmd.Process.Pid)
			if err != nil {
				t.fail("CPU time of %s: %v", s.name, err)
			}
			spent[s.name] = c
		}
		return spent
	}
	before, tool, n, began := cpu(), ownCPU(), t.arrived(), time.Now()
	pause(d)
	r.Messages, r.Seconds, r.Tool = t.arrived()-n, time.Since(began).Seconds(), (ownCPU() - tool).Seconds()
	r.CPU = map[string]float64{}
	for name, c := range cpu() {
		r.CPU[name] = (c - before[name]).Seconds()
	}
	if r.Messages == 0 {
		t.fail("nothing arrived in the measured time")
	}
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Sprintf("getrusage of this process: %v", err)) // EFAULT or EINVAL only
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func pause(d time.Duration) { <-time.After(d) }
