package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"jackdaw/component"
	"jackdaw/modules/hooks"
	"jackdaw/modules/httpmessage"
	"jackdaw/router"
	"jackdaw/s2s"
	"jackdaw/s2s/outbox"
	"jackdaw/storage"
	"jackdaw/web"
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
	m.registry.MustRegister(expiry{h})
	m.gauge("jackdaw_storage_up", "1 while storage can acknowledge writes, else 0.", func() int64 {
		if h.store.Err() != nil {
			return 0
		}
		return 1
	})
	m.gauge("jackdaw_accounts_backend_up",
		"1 while who keeps passwords elsewhere has answered the last question, or nobody does; else 0.", func() int64 {
			if h.accounts.BackendUp() {
				return 1
			}
			return 0
		})
	asked := h.accounts.Questions()
	for outcome, n := range map[string]*atomic.Int64{"good": &asked.Good, "refused": &asked.Refused,
		"strange": &asked.Strange, "unanswered": &asked.Unanswered, "spared": &asked.Spared} {
		m.counter("jackdaw_account_questions_total", "Questions to who keeps passwords elsewhere by what came of them.",
			prometheus.Labels{"outcome": outcome}, n.Load)
	}
	c := &h.clients.Stats
	m.gauge("jackdaw_disk_free_bytes", "Free bytes on the disk of the data directory.", h.space.Free)
	m.gauge("jackdaw_disk_level",
		"0: plenty of room; 1: below disk_warn; 2: below disk_reserve; 3: below a quarter of that.",
		func() int64 { return int64(h.space.Level()) })
	m.gauge("jackdaw_connections", "Open client connections.", c.Connections.Load)
	m.counters([]counter{
		{"jackdaw_connections_refused_total", "Connections refused by the limits of their address.", c.Refused.Load},
		{"jackdaw_logins_total", "Successful logins of clients.", c.Logins.Load},
		{"jackdaw_token_logins_total", "Of these, logins by the token of a device.", c.TokenLogins.Load},
		{"jackdaw_login_failures_total", "Failed logins of clients.", c.AuthFailures.Load},
		{"jackdaw_sessions_detached_total", "Sessions that began to wait for resumption.", c.Detached.Load},
		{"jackdaw_sessions_resumed_total", "Sessions that were resumed.", c.Resumptions.Load},
		{"jackdaw_sessions_silent_total",
			"Sessions whose client did not answer a ping or a request for an acknowledgement.", c.Silent.Load},
		{"jackdaw_sessions_overflowed_total", "Clients given up because they did not take what waited for them.",
			c.Overflows.Load},
		{"jackdaw_http_replayed_total", "Posts answered from memory (Idempotency-Key).", h.posts.Stats.Replayed.Load},
		{"jackdaw_http_panics_total", "Panics recovered while answering a post.", h.posts.Stats.Panics.Load},
	})
	f := &h.features.Forged.Stats
	m.counter("jackdaw_forged_errors_dropped_total",
		"Errors and results to forged foreign senders, which must not leave.", nil, f.Dropped.Load)
	m.counter("jackdaw_forged_replies_refused_total", "Replies to forged foreign senders, refused.", nil,
		f.Refused.Load)
	m.counter("jackdaw_forged_replies_posted_total", "Replies to forged senders that http.sender_hook took.", nil,
		f.Posted.Load)
	m.counter("jackdaw_forged_replies_failed_total", "Replies that it did not take.", nil, f.Failed.Load)
	m.spammers(h.features)
	m.programs(&h.programs.Stats)
	m.files(&h.files.Stats)
	m.front(h.front)
	m.issued(h)
	m.calls(h.relay)
	m.proxy(&h.proxy.Stats)
	if h.peering != nil {
		m.peers(h.peering)
	}
	if h.nodes != nil {
		m.among(h)
	}
	b := &h.features.Bots.Stats
	for outcome, n := range map[string]*atomic.Int64{"taken": &b.Taken, "failed": &b.Failed} {
		m.counter("jackdaw_bot_requests_total", "Requests to programs of bots by whether they were taken.",
			prometheus.Labels{"outcome": outcome}, n.Load)
	}
	m.counter("jackdaw_bot_messages_lost_total", "Messages that no program of a bot took.", nil, b.Lost.Load)
	m.counter("jackdaw_bot_answers_total", "Messages that bots have sent.", nil, b.Answers.Load)
	in := &h.features.Hooks.Stats
	for i, outcome := range hooks.Outcomes {
		m.counter("jackdaw_hook_requests_total", "Requests to hooks by what became of them.",
			prometheus.Labels{"outcome": outcome}, in.Outcomes[i].Load)
	}
	m.counter("jackdaw_hook_panics_total", "Panics recovered while answering a request to a hook.", nil, in.Panics.Load)
	for i, status := range httpmessage.Statuses {
		m.counter("jackdaw_http_posts_total", "Posts by status.",
			prometheus.Labels{"status": strconv.Itoa(status)}, h.posts.Stats.Answers[i].Load)
	}
	for o := router.Delivered; o <= router.Dropped; o++ {
		m.counter("jackdaw_http_recipients_total", "Recipients of posts by what became of their copy.",
			prometheus.Labels{"outcome": o.String()}, h.posts.Stats.Recipients[o].Load)
	}
}

// A counter without labels.
type counter struct {
	name, help string
	read       func() int64
}

func (m *metrics) counters(all []counter) {
	for _, c := range all {
		m.counter(c.name, c.help, nil, c.read)
	}
}

func (m *metrics) programs(c *component.Stats) {
	m.gauge("jackdaw_components", "Components connected.", c.Links.Load)
	m.counters([]counter{
		{"jackdaw_component_login_failures_total", "Handshakes of components with a wrong secret.", c.Failures.Load},
		{"jackdaw_component_stanzas_in_total", "Stanzas from components.", c.Received.Load},
		{"jackdaw_component_stanzas_out_total", "Stanzas that components took.", c.Sent.Load},
		{"jackdaw_component_stanzas_returned_total", "Stanzas queued for a component and never taken.",
			c.Returned.Load},
		{"jackdaw_component_overflows_total", "Stanzas refused because a component took too little.", c.Overflows.Load},
	})
}

// peers exports what there is of peers by state, never by domain: names of peers are theirs to choose.
func (m *metrics) peers(p *s2s.Server) {
	for state := range p.Gauge().Pairs {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "jackdaw_peer_queues",
			Help: "Queues of peers by state.", ConstLabels: prometheus.Labels{"state": outbox.State(state).String()}},
			func() float64 { g := p.Gauge(); return float64(g.Pairs[state]) }))
	}
	m.gauge("jackdaw_peer_stanzas_waiting", "Stanzas that wait for their peer.",
		func() int64 { return int64(p.Gauge().Waiting) })
	m.gauge("jackdaw_peer_bytes_waiting", "Their bytes.", func() int64 { return int64(p.Gauge().WaitingBytes) })
	m.gauge("jackdaw_peer_stanzas_unacknowledged",
		"Stanzas written to a peer that has not taken them, as far as is known.",
		func() int64 { return int64(p.Gauge().Unacked) })
	for _, direction := range []string{"in", "out", "both"} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "jackdaw_peer_links",
			Help:        "Authenticated streams of peers by direction.",
			ConstLabels: prometheus.Labels{"direction": direction}},
			func() float64 {
				n := 0
				for _, l := range p.Links() {
					if l.Authenticated && l.Direction == direction {
						n++
					}
				}
				return float64(n)
			}))
	}
	ways, _ := p.Stats.Proofs()
	for how := range ways {
		for _, who := range []string{"peer", "us"} {
			m.counter("jackdaw_peer_authentications_total",
				"Pairs of domains proved, by who proved his domain and how.",
				prometheus.Labels{"by": how, "who": who}, func() int64 {
					theirs, ours := p.Stats.Proofs()
					if who == "us" {
						return ours[how]
					}
					return theirs[how]
				})
		}
	}
	c, q := &p.Stats, p.QueueStats()
	m.counters([]counter{
		{"jackdaw_peer_connections_accepted_total", "Connections of peers.", c.Accepted.Load},
		{"jackdaw_peer_connections_refused_total", "Connections of peers refused by the limits of their address.",
			c.Refused.Load},
		{"jackdaw_peer_tls_failures_total", "TLS handshakes with peers that failed.", c.TLSFailures.Load},
		{"jackdaw_peer_authentication_failures_total", "Peers that could not prove their domain.", c.AuthFailures.Load},
		{"jackdaw_peer_spoofed_total", "Stanzas in the name of a domain that the stream had not proved.",
			c.Spoofed.Load},
		{"jackdaw_peer_keys_forged_total", "Dialback keys of peers that their domain did not know.", c.KeysForged.Load},
		{"jackdaw_peer_keys_denied_total", "Dialback keys that peers asked about and this server had not made.",
			c.KeysDenied.Load},
		{"jackdaw_peer_unsolicited_total", "Dialback answers that nobody had asked for.", c.Unsolicited.Load},
		{"jackdaw_peer_injected_total", "Streams with clear text where TLS should begin.", c.Injected.Load},
		{"jackdaw_peer_silent_total", "Streams ended because the peer acknowledged nothing any more.", c.Silent.Load},
		{"jackdaw_peer_external_refused_total", "Certificates of this server that a peer did not take as proof.",
			c.ExternalRefused.Load},
		{"jackdaw_peer_piggybacked_total", "Pairs of domains of this server that joined a stream to a peer.",
			c.Piggybacked.Load},
		{"jackdaw_peer_forged_total", "Stanzas of foreign senders stopped at the door; should be 0.", c.Forged.Load},
		{"jackdaw_peer_links_lost_total", "Streams of peers that ended without a word.", c.Lost.Load},
		{"jackdaw_peer_links_resumed_total", "Streams resumed, by either side.",
			func() int64 { return c.Resumed.Load() + c.Resumptions.Load() }},
		{"jackdaw_peer_panics_total", "Panics recovered on streams of peers; should be 0.",
			func() int64 { return c.Panics.Load() + q.Panics.Load() }},
		{"jackdaw_peer_stanzas_in_total", "Stanzas from peers.", c.StanzasIn.Load},
		{"jackdaw_peer_stanzas_out_total", "Stanzas written to peers.", c.StanzasOut.Load},
		{"jackdaw_peer_stanzas_taken_total", "Stanzas that peers have taken.", q.Sent.Load},
		{"jackdaw_peer_attempts_failed_total", "Attempts to reach a peer that failed.", q.Failures.Load},
	})
	for reason := range q.Bounced {
		m.counter("jackdaw_peer_stanzas_bounced_total", "Stanzas returned to their sender, by reason.",
			prometheus.Labels{"reason": outbox.Reason(reason).String()}, q.Bounced[reason].Load)
	}
	for refusal := range q.Refused {
		m.counter("jackdaw_peer_stanzas_refused_total", "Stanzas not taken in for a peer, by reason.",
			prometheus.Labels{"reason": outbox.Refusal(refusal).String()}, q.Refused[refusal].Load)
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
		health(w, store.Err())
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready() {
			health(w, errNotReady)
			return
		}
		health(w, store.Err())
	})
	s := &http.Server{Handler: web.Closing(mux), ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout: 10 * time.Second}
	s.Serve(ln) // returns when the listener is closed, which is how it stops
	s.Shutdown(context.Background())
}

var errNotReady = errors.New("starting or stopping")

// health answers 200 or, with the reason, 503.
func health(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, errNotReady):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	case err != nil:
		http.Error(w, "storage cannot acknowledge writes: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Write([]byte("OK\n"))
}
