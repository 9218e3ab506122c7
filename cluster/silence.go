package cluster

import "time"

// Nodes that reach the store but not each other cannot both stay: a message from the one's owner to the other's would
// never arrive. So each member tells in the store whom it has not heard for long. When these reports have settled, one
// of the nodes that cannot reach each other has to leave. Of several such pairs whoever is in most of them leaves, so
// one node that is cut off from all others leaves by itself. Otherwise it is the one that joined last.
//
// The decision is carried out only if the view that it was made from is still the latest. So however many nodes decide
// at the same time, one decision counts, and the others look again. Whoever has to leave keeps its lease until it has
// ended what it does, so even then no slot has two homes.

// leaver returns who has to leave, and "" if nobody does. It waits until the last report about a pair is as old as
// settled.
func leaver(seats []Seat, settled time.Duration) string {
	index := map[string]int{}
	for i, s := range seats {
		if s.Expelled == "" {
			index[s.Run] = i
		}
	}
	apart := make([]map[int]bool, len(seats))
	ripe := false
	for i, s := range seats {
		if s.Expelled != "" {
			continue
		}
		for _, run := range s.Silent {
			j, ok := index[run]
			if !ok || i == j {
				continue
			}
			for _, pair := range [][2]int{{i, j}, {j, i}} {
				if apart[pair[0]] == nil {
					apart[pair[0]] = map[int]bool{}
				}
				apart[pair[0]][pair[1]] = true
			}
			ripe = ripe || s.Since >= settled
		}
	}
	if !ripe {
		return ""
	}
	worst := -1
	for i, others := range apart {
		if len(others) == 0 {
			continue
		}
		if worst < 0 || len(others) > len(apart[worst]) ||
			len(others) == len(apart[worst]) && younger(seats[i].Member, seats[worst].Member) {
			worst = i
		}
	}
	return seats[worst].ID
}

func younger(a, b Member) bool {
	if !a.Started.Equal(b.Started) {
		return a.Started.After(b.Started)
	}
	return a.ID > b.ID
}

// unheard returns the runs of the members but me from which nothing came for so long. silence tells for how long; first
// is when each run was first seen, since it cannot have been heard before. What is told of a run says nothing about the
// next one of the same node.
func unheard(seats []Seat, me string, now, long time.Duration, first map[string]time.Duration,
	silence func(string) time.Duration) []string {
	var list []string
	for _, s := range seats {
		if s.ID != me && min(silence(s.ID), now-first[s.Run]) >= long {
			list = append(list, s.Run)
		}
	}
	return list
}
