package server

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"jackdaw/modules"
)

// spammers exports what is known of block lists and of those who are on them, and what becomes of reports.
func (m *metrics) spammers(f *modules.Set) {
	m.gauge("jackdaw_blocklist_entries", "Addresses and domains on the block lists that are followed.",
		f.Blocklists.Entries)
	for to, n := range map[string]*atomic.Int64{"origin": &f.Reports.Stats.Origins,
		"third-party": &f.Reports.Stats.ThirdParties} {
		m.counter("jackdaw_reports_forwarded_total", "Reports that were forwarded, by whom to.",
			prometheus.Labels{"to": to}, n.Load)
	}
	s := &f.Strangers.Stats
	for what, n := range map[string]*atomic.Int64{"message": &s.Refused, "held": &s.Held, "request": &s.Requests,
		"room": &f.Rooms.Stats.Banned} {
		m.counter("jackdaw_blocklist_stanzas_total",
			"What those who are on a block list sent to users who do not know them, and to rooms: refused, or held.",
			prometheus.Labels{"what": what}, n.Load)
	}
}
