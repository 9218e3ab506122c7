package server

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"jackdaw/modules"
)

// spammers exports what is known of block lists and of those who are on them.
func (m *metrics) spammers(f *modules.Set) {
	m.gauge("jackdaw_blocklist_entries", "Addresses and domains on the block lists that are followed.",
		f.Blocklists.Entries)
	s := &f.Strangers.Stats
	for what, n := range map[string]*atomic.Int64{"message": &s.Refused, "held": &s.Held, "request": &s.Requests,
		"room": &f.Rooms.Stats.Banned} {
		m.counter("jackdaw_blocklist_stanzas_total",
			"What those who are on a block list sent to users who do not know them, and to rooms: refused, or held.",
			prometheus.Labels{"what": what}, n.Load)
	}
}
