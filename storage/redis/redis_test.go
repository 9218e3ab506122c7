package redis

import (
	"flag"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
	"jackdaw/storage/storetest"
)

// prefixes keep the tests on one server apart. Their characters mean something to SCAN.
var prefixes atomic.Int32

func suite(t *testing.T, o Options) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		o := o
		o.Prefix = fmt.Sprintf("jack[daw]*%d:", prefixes.Add(1))
		return func(now func() time.Time) storage.Engine {
			o.Now = now
			e, err := Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
	})
}

func TestOneServerPassesTheSuite(t *testing.T) {
	suite(t, Options{Addrs: []string{redistest.Start(t).Addr}})
}

func TestClusterPassesTheSuite(t *testing.T) {
	suite(t, Options{Addrs: redistest.Addrs(redistest.StartCluster(t))})
}

// suiteOfNodes runs the suite on three nodes.
func suiteOfNodes(t *testing.T, o Options, homed func(owner string) bool) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		o := o
		o.Prefix = fmt.Sprintf("jack[daw]*%d:", prefixes.Add(1))
		place := newTown(3, homed)
		return func(now func() time.Time) storage.Engine {
			o.Now = now
			return place.open(t, o)
		}
	})
}

// long has nodes pass the suite on every kind of Redis with every kind of owners. That takes as much CPU as all other
// tests of the package.
var long = flag.Bool("long", false, "run the suite of nodes in all ways")

// Each owner is homed once and shared once.
func TestNodesPassTheSuite(t *testing.T) {
	one := Options{Addrs: []string{redistest.Start(t).Addr}}
	several := Options{Addrs: redistest.Addrs(redistest.StartCluster(t))}
	type way struct {
		name  string
		o     Options
		homed func(owner string) bool
	}
	ways := []way{{"one server", one, otherHalf}, {"a Cluster", several, half}}
	if *long {
		master := redistest.Start(t)
		redistest.StartReplica(t, master)
		watched := Options{Addrs: []string{redistest.StartSentinel(t, "jack", master).Addr}, MasterName: "jack", WaitReplicas: 1}
		ways = append(ways, way{"behind a sentinel", watched, half}, way{"homed", one, allHomed}, way{"shared", one, allShared},
			way{"homed on a Cluster", several, allHomed}, way{"shared on a Cluster", several, allShared})
	}
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			suiteOfNodes(t, w.o, w.homed)
		})
	}
}
