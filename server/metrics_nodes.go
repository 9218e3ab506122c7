package server

import (
	"jackdaw/c2s"
	"jackdaw/component"
)

// among exports what this server counts as one of several nodes.
func (m *metrics) among(h *house) {
	n := h.nodes
	m.gauge("jackdaw_nodes", "Nodes of the cluster, this one included, as far as it knows.",
		func() int64 { return int64(len(n.node.Load().Members())) })
	m.gauge("jackdaw_node_slots", "Slots that are at home on this node, of 1,024.", func() (slots int64) {
		for i := range n.served {
			if n.served[i].Load() {
				slots++
			}
		}
		return slots
	})
	r := &n.relay.Stats
	m.gauge("jackdaw_node_stanzas_waiting", "Stanzas for other nodes whose outcome is not known yet.", n.relay.Waiting)
	m.counters([]counter{
		{"jackdaw_node_stanzas_sent_total", "Stanzas sent to other nodes.", r.Sent.Load},
		{"jackdaw_node_stanzas_again_total", "Of these, those that had been sent before.", r.Again.Load},
		{"jackdaw_node_stanzas_received_total", "Stanzas of other nodes that were routed here.", r.Received.Load},
		{"jackdaw_node_stanzas_not_here_total", "Stanzas of other nodes that were not for this one.", r.NotHere.Load},
		{"jackdaw_node_stanzas_expired_total", "Stanzas that found no home for too long, refused.", r.Expired.Load},
		{"jackdaw_node_stanzas_full_total", "Stanzas refused since too many wait for other nodes.", r.Full.Load},
		{"jackdaw_node_stanzas_failed_total", "Stanzas of other nodes that could not be stored.", r.Failed.Load},
		{"jackdaw_node_panics_total", "Panics recovered while a stanza of another node was routed; should be 0.",
			r.Panics.Load},
	})
	m.handedOver(&h.clients.Stats, &h.programs.Stats)
	l := &n.links.Stats
	m.counters([]counter{
		{"jackdaw_node_bytes_in_total", "Bytes from other nodes, inside TLS.", l.BytesIn.Load},
		{"jackdaw_node_bytes_out_total", "Bytes to other nodes, inside TLS.", l.BytesOut.Load},
		{"jackdaw_node_dials_failed_total", "Attempts to reach another node that failed.", l.Failed.Load},
		{"jackdaw_node_connections_refused_total", "Connections to the port of nodes that were refused.",
			l.Refused.Load},
	})
}

// handedOver exports what streams go from node to node.
func (m *metrics) handedOver(c *c2s.Stats, p *component.Stats) {
	m.gauge("jackdaw_node_streams", "Clients that are connected here and have their sessions at other nodes.",
		c.Passing.Load)
	m.counters([]counter{
		{"jackdaw_node_streams_handed_over_total", "Streams of clients and components handed over to other nodes.",
			func() int64 { return c.HandedOver.Load() + p.HandedOver.Load() }},
		{"jackdaw_node_streams_taken_total", "Streams that other nodes have handed over.",
			func() int64 { return c.Adopted.Load() + p.Adopted.Load() }},
		{"jackdaw_node_streams_failed_total", "Streams of clients whose home did not take them.", c.Unreachable.Load},
	})
}
