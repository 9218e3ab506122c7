package cluster

import (
	"slices"
	"time"
)

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
			index[s.ID] = i
		}
	}
	apart := make([]map[int]bool, len(seats))
	ripe := false
	for i, s := range seats {
		if s.Expelled != "" {
			continue
		}
		for _, id := range s.Silent {
			j, ok := index[id]
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

// unheard returns the members from which nothing came for so long, in order. silence tells for how long; first is when
// each was first seen, since nobody can have been heard before.
func unheard(ids []string, now, long time.Duration, first map[string]time.Duration,
	silence func(string) time.Duration) []string {
	var list []string
	for _, id := range ids {
		if min(silence(id), now-first[id]) >= long {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}
