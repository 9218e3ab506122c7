package config

import (
	"fmt"
	"slices"
	"strings"
)

// maxGroupName is the longest name of a group in bytes, as in the rosters of clients.
const maxGroupName = 1023

// checkGroups checks those of a host, whose domain has been normalised.
func (k *checker) checkGroups(key string, h *Host) {
	seen := map[string]bool{}
	for i := range h.Groups {
		g, key := &h.Groups[i], fmt.Sprintf("%s.groups[%d]", key, i)
		g.Name = strings.TrimSpace(g.Name)
		switch {
		case g.Name == "" || len(g.Name) > maxGroupName:
			k.add(key+".name", "expected a name of 1 to %d bytes, as clients show it", maxGroupName)
		case seen[g.Name]:
			k.add(key+".name", "%q is there twice", g.Name)
		}
		seen[g.Name] = true
		if slices.Equal(g.Members, []string{Everybody}) {
			continue
		}
		if len(g.Members) < 2 || len(g.Members) > MaxMembers {
			k.add(key+".members", "expected 2 to %d accounts, or [\"*\"] for everybody", MaxMembers)
		}
		k.bareJIDs(key+".members", g.Members, false)
		for n, m := range g.Members {
			if _, domain, _ := strings.Cut(m, "@"); domain != h.Domain {
				k.add(fmt.Sprintf("%s.members[%d]", key, n), "expected an account of %s, found %q", h.Domain, m)
			}
		}
	}
}
