package server

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"jackdaw/modules/httpmessage"
	"jackdaw/router"
	"jackdaw/storage"
)

// metrics is what operators scrape. The figures are read from the counters of the parts
// when somebody asks, so that counting costs the parts one atomic addition.
type metrics struct {
	registry *prometheus.Registry
	commit   prometheus.Histogram
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "jackdaw_storage_commit_seconds",
			Help:    "Time until a commit was durable: of a group of writes on disk, of a round trip to Redis.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
	}
	m.registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.commit)
	return m
}

// counter exports a number that only rises.
func (m *metrics) counter(name, help string, labels prometheus.Labels, read func() int64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
		func() float64 { return float64(read()) }))
}

// gauge exports a number that comes and goes.
func (m *metrics) gauge(name, help string, read func() int64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(read()) }))
}

// parts exports what the parts of the house count.
func (m *metrics) parts(h *house) {
	m.routed(h.router)
	if o, ok := h.store.(storage.Observer); ok {
		o.Observe(func(d time.Duration) { m.commit.Observe(d.Seconds()) })
	}
	c := &h.clients.Stats
	m.gauge("jackdaw_connections", "Open client connections.", c.Connections.Load)
	for _, one := range []struct {
		name, help string
		read       func() int64
	}{
		{"jackdaw_connections_refused_total", "Connections refused by the limits of their address.", c.Refused.Load},
		{"jackdaw_logins_total", "Successful logins of clients.", c.Logins.Load},
		{"jackdaw_login_failures_total", "Failed logins of clients.", c.AuthFailures.Load},
		{"jackdaw_sessions_detached_total", "Sessions that began to wait for resumption.", c.Detached.Load},
		{"jackdaw_sessions_resumed_total", "Sessions that were resumed.", c.Resumptions.Load},
		{"jackdaw_sessions_silent_total", "Sessions whose client did not answer a ping.", c.Silent.Load},
		{"jackdaw_sessions_overflowed_total", "Sessions ended because their client took nothing.", c.Overflows.Load},
		{"jackdaw_http_replayed_total", "Posts answered from memory (Idempotency-Key).", h.posts.Stats.Replayed.Load},
		{"jackdaw_http_panics_total", "Panics recovered while answering a post.", h.posts.Stats.Panics.Load},
	} {
		m.counter(one.name, one.help, nil, one.read)
	}
	for i, status := range httpmessage.Statuses {
		m.counter("jackdaw_http_posts_total", "Posts by status.",
			prometheus.Labels{"status": strconv.Itoa(status)}, h.posts.Stats.Answers[i].Load)
	}
	for o := router.Delivered; o <= router.Dropped; o++ {
		m.counter("jackdaw_http_recipients_total", "Recipients of posts by what became of their copy.",
			prometheus.Labels{"outcome": o.String()}, h.posts.Stats.Recipients[o].Load)
	}
}

func (m *metrics) routed(r *router.Router) {
	m.gauge("jackdaw_sessions", "Bound sessions.", func() int64 { return int64(r.SessionCount()) })
	for i, kind := range []string{"message", "presence", "iq"} {
		m.counter("jackdaw_stanzas_total", "Stanzas that came into the router, and that were given to sessions.",
			prometheus.Labels{"kind": kind, "direction": "in"}, r.Stats.Routed[i].Load)
		m.counter("jackdaw_stanzas_total", "Stanzas that came into the router, and that were given to sessions.",
			prometheus.Labels{"kind": kind, "direction": "out"}, r.Stats.Sent[i].Load)
	}
	for o := router.Delivered; o <= router.Dropped; o++ {
		m.counter("jackdaw_outcomes_total", "Stanzas by what became of them.",
			prometheus.Labels{"outcome": o.String()}, r.Stats.Outcomes[o].Load)
	}
}

// serve answers on the listener until it is closed.
func (m *metrics) serve(ln net.Listener, store storage.Engine, ready func() bool) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		health(w, store.Err() == nil, "storage cannot acknowledge writes")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		health(w, ready() && store.Err() == nil, "starting, stopping, or storage is away")
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	s.Serve(ln) // returns when the listener is closed, which is how it stops
	s.Shutdown(context.Background())
}

func health(w http.ResponseWriter, ok bool, why string) {
	if !ok {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	w.Write([]byte("OK\n"))
}
