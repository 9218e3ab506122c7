package redis

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"jackdaw/cluster"
	"jackdaw/storage/redis/redistest"
)

// The simulation in package cluster rests on cluster.Memory, so that has to do what the script does. Both get the same
// requests, of which each knows the fences and versions as its own store has them.
func TestMemoryOfNodesIsAModelOfTheScript(t *testing.T) {
	n := nodes(t, Options{Addrs: []string{redistest.Start(t).Addr}})
	model := &cluster.Memory{}
	stores := []cluster.Store{n, model}
	last := []cluster.View{{Places: &[cluster.Slots]cluster.Place{}}, {Places: &[cluster.Slots]cluster.Place{}}}
	ids := []string{"a", "b", "c", "d"}
	runs := map[string]int{}
	kinds := map[string]int{}
	r := rand.New(rand.NewPCG(15, 8))
	for i := range 3000 {
		ops := []cluster.Op{cluster.OpLook, cluster.OpJoin, cluster.OpRenew, cluster.OpTake, cluster.OpTake,
			cluster.OpGive, cluster.OpGive, cluster.OpExpel, cluster.OpLeave, cluster.OpRenew}
		request := cluster.Request{Op: ops[r.IntN(len(ops))], Lease: time.Hour, Other: ids[r.IntN(len(ids))],
			Leaving: r.IntN(8) == 0}
		id := ids[r.IntN(len(ids))]
		switch {
		case request.Op == cluster.OpJoin && r.IntN(3) == 0:
			request.Replaces = fmt.Sprint(id, runs[id])
			runs[id]++
		case request.Op == cluster.OpJoin && r.IntN(8) == 0:
			runs[id]++ // an earlier one may have it still
		}
		request.Member = cluster.Member{ID: id, Run: fmt.Sprint(id, runs[id]), Address: "x", Protocol: 1}
		if r.IntN(20) == 0 {
			request.Member.Run = "other"
		}
		if request.Op != cluster.OpExpel && r.IntN(30) == 0 {
			request.Lease = time.Millisecond // it is over when the next one asks
		}
		for _, other := range ids {
			if r.IntN(12) == 0 {
				request.Silent = append(request.Silent, other)
			}
		}
		first, count, to := r.IntN(40), r.IntN(20), ids[r.IntN(len(ids))]
		old := r.IntN(6) == 0 // a claim that comes late
		var views [2]cluster.View
		var errs [2]error
		for k, s := range stores {
			request.Claims = nil
			for slot := first; slot < first+count; slot++ {
				fence := last[k].Places[slot].Fence
				if old {
					fence /= 2
				}
				request.Claims = append(request.Claims, cluster.Claim{Slot: slot, Fence: fence, To: to})
			}
			request.Version = last[k].Version
			if r2 := i % 5; r2 == 0 {
				request.Version++ // not what is there
			}
			views[k], errs[k] = s.Do(t.Context(), request)
		}
		if !sameError(errs[0], errs[1]) {
			t.Fatalf("%d: %+v: the script says %v, the model %v", i, request, errs[0], errs[1])
		}
		kinds[fmt.Sprintf("%s %T", request.Op, errs[0])]++
		if errs[0] == nil {
			compare(t, fmt.Sprintf("%d: %s of %s", i, request.Op, id), last, views[:])
			if t.Failed() {
				return
			}
			for k := range views {
				if views[k].Places == nil {
					views[k].Places = last[k].Places
				}
				last[k] = views[k]
			}
		}
		if request.Lease < time.Hour {
			<-time.After(5 * time.Millisecond)
		}
	}
	t.Log(kinds)
}

func sameError(a, b error) bool {
	var used, used2 *cluster.UsedError
	if errors.As(a, &used) && errors.As(b, &used2) {
		return used.By == used2.By
	}
	return (a == nil) == (b == nil) && errors.Is(a, cluster.ErrGone) == errors.Is(b, cluster.ErrGone)
}

// compare looks for what is different in two views, or has changed in one of them only.
func compare(t *testing.T, what string, last, views []cluster.View) {
	t.Helper()
	plain := func(v cluster.View) (seats []cluster.Seat) {
		for _, s := range v.Members {
			s.Left, s.Since = 0, 0
			s.Silent = append([]string{}, s.Silent...)
			seats = append(seats, s)
		}
		return seats
	}
	if a, b := plain(views[0]), plain(views[1]); !reflect.DeepEqual(a, b) {
		t.Errorf("%s: the script has %+v, the model %+v", what, a, b)
	}
	if a, b := views[0].Version != last[0].Version, views[1].Version != last[1].Version; a != b {
		t.Errorf("%s: the version of the script changes: %v; of the model: %v", what, a, b)
	}
	if (views[0].Places == nil) != (views[1].Places == nil) {
		t.Errorf("%s: one of them tells places: %v, %v", what, views[0].Places == nil, views[1].Places == nil)
		return
	}
	if views[0].Places == nil {
		return
	}
	for s := range cluster.Slots {
		a, b := views[0].Places[s], views[1].Places[s]
		if a.Node != b.Node || a.Fence > last[0].Places[s].Fence != (b.Fence > last[1].Places[s].Fence) {
			t.Errorf("%s: slot %d is %+v for the script, %+v for the model", what, s, a, b)
			return
		}
	}
}
