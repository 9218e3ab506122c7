package cluster

import "slices"

// shares says who should have each slot: everybody as many as the others, and as few as possible elsewhere than now.
// Whoever computes it from the same places and members comes to the same result. ids are the members that may have
// slots, in order; without any, all slots stay.
func shares(places *[Slots]Place, ids []string) *[Slots]string {
	target := &[Slots]string{}
	if len(ids) == 0 {
		return target
	}
	index := make(map[string]int, len(ids))
	for i, id := range ids {
		index[id] = i
	}
	has := make([]int, len(ids))
	for _, p := range places {
		if i, ok := index[p.Node]; ok {
			has[i]++
		}
	}
	// What cannot be divided goes to those who have most already.
	quota := make([]int, len(ids))
	order := make([]int, len(ids))
	for i := range ids {
		quota[i], order[i] = Slots/len(ids), i
	}
	slices.SortStableFunc(order, func(a, b int) int { return has[b] - has[a] })
	for _, i := range order[:Slots%len(ids)] {
		quota[i]++
	}
	for s, p := range places {
		if i, ok := index[p.Node]; ok && quota[i] > 0 {
			quota[i]--
			target[s] = p.Node
		}
	}
	i := 0
	for s := range target {
		if target[s] != "" {
			continue
		}
		for quota[i] == 0 {
			i++
		}
		quota[i]--
		target[s] = ids[i]
	}
	return target
}
