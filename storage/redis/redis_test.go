package redis

import (
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

func TestNodesPassTheSuite(t *testing.T) {
	t.Parallel()
	o := Options{Addrs: []string{redistest.Start(t).Addr}}
	t.Run("homed", func(t *testing.T) { suiteOfNodes(t, o, allHomed) })
	t.Run("shared", func(t *testing.T) { suiteOfNodes(t, o, allShared) })
}

func TestNodesOnAClusterPassTheSuite(t *testing.T) {
	t.Parallel()
	suiteOfNodes(t, Options{Addrs: redistest.Addrs(redistest.StartCluster(t))}, half)
}
