package server

import (
	"maps"
	"testing"

	"jackdaw/c2s"
	"jackdaw/component"
)

func TestStreamsBetweenNodesAreCounted(t *testing.T) {
	var c c2s.Stats
	var p component.Stats
	c.Passing.Store(1)
	c.HandedOver.Store(2)
	p.HandedOver.Store(3)
	c.Adopted.Store(4)
	p.Adopted.Store(5)
	c.Unreachable.Store(6)
	m := newMetrics()
	m.handedOver(&c, &p)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"jackdaw_node_streams": 1, "jackdaw_node_streams_handed_over_total": 5,
		"jackdaw_node_streams_taken_total": 9, "jackdaw_node_streams_failed_total": 6}
	got := map[string]float64{}
	for _, f := range families {
		if one := f.GetMetric()[0]; want[f.GetName()] != 0 {
			got[f.GetName()] = one.GetGauge().GetValue() + one.GetCounter().GetValue()
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}
