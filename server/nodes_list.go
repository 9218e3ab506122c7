package server

import (
	"context"
	"errors"
	"time"

	"jackdaw/cluster"
	"jackdaw/cluster/link"
	"jackdaw/config"
	"jackdaw/storage/redis"
)

// NodeStatus is what is known of a node, as `jackdaw nodes` prints it.
type NodeStatus struct {
	Node    string        `json:"node"`
	Address string        `json:"address"`
	Version string        `json:"version"`
	Slots   int           `json:"slots"` // how many of cluster.Slots are at home there
	Lease   time.Duration `json:"-"`     // what is left of it
	Left    float64       `json:"lease_left_seconds"`
	Since   time.Time     `json:"since"`
	State   string        `json:"state"` // serving, leaving or expelled
	Silent  []string      `json:"does_not_hear,omitempty"`
}

// errAlone is the answer to whoever asks for nodes where there are none.
var errAlone = errors.New("this server is no node of a cluster: cluster.listen is empty (docs/cluster.md)")

// Nodes reads which nodes there are, and how many slots nobody has, without being one.
func Nodes(ctx context.Context, cfg *config.Config) (list []NodeStatus, homeless int, err error) {
	if !cfg.Cluster.On() {
		return nil, 0, errAlone
	}
	r, err := redisOptions(cfg.Storage.Redis)
	if err != nil {
		return nil, 0, err
	}
	store, err := redis.OpenNodes(ctx, r)
	if err != nil {
		return nil, 0, err
	}
	v, err := store.Look(ctx)
	if err = errors.Join(err, store.Close()); err != nil {
		return nil, 0, err
	}
	at := map[string]int{}
	homeless = cluster.Slots
	for _, m := range v.Members {
		at[m.ID] = 0
	}
	if v.Places != nil {
		for _, p := range v.Places {
			if _, known := at[p.Node]; known {
				at[p.Node]++
				homeless--
			}
		}
	}
	for _, m := range v.Members {
		s := NodeStatus{Node: m.ID, Address: m.Address, Version: m.Version, Slots: at[m.ID], Lease: m.Left,
			Left: m.Left.Seconds(), Since: m.Started, State: "serving", Silent: m.Silent}
		switch {
		case m.Expelled != "":
			s.State = "expelled"
		case m.Leaving:
			s.State = "leaving"
		}
		list = append(list, s)
	}
	return list, homeless, nil
}

// InitCluster makes the key of a cluster, in the file that the configuration names, which it returns.
func InitCluster(cfg *config.Config) (file string, err error) {
	file = cfg.ClusterKey()
	return file, link.WriteKey(file, link.NewKey())
}
