package recent

import (
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

type item struct {
	Place
	name string
	made int
}

// counted is a cache whose values know how many have been made for their owners so far.
func counted(most int, stays func(*item) bool) *Cache[*item] {
	made := map[string]int{}
	var mu sync.Mutex
	return New(most, func(owner string) *item {
		mu.Lock()
		defer mu.Unlock()
		made[owner]++
		return &item{name: owner, made: made[owner]}
	}, stays)
}

// consistent checks what must hold between two calls.
func consistent(t interface{ Errorf(string, ...any) }, c *Cache[*item]) {
	for i := range c.shards {
		sh := &c.shards[i]
		cost, n := 0, 0
		for p := sh.idle.next; p != &sh.idle; p = p.next {
			cost, n = cost+p.cost, n+1
			if v := sh.all[p.owner]; v == nil || v.place() != p || p.use != 0 || p.next.prev != p {
				t.Errorf("%s is idle and should not be", p.owner)
			}
		}
		if cost != sh.cost || cost > c.most && n > 1 {
			t.Errorf("%d idle ones cost %d, counted as %d, of %d", n, cost, sh.cost, c.most)
		}
		for owner, v := range sh.all {
			if v.use == 0 && v.next == nil && (c.stays == nil || !c.stays(v)) {
				t.Errorf("%s is never forgotten", owner)
			}
		}
	}
}

func TestWhatIsUsedIsOneAndIsKept(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		staying := map[string]bool{}
		c := counted(rapid.IntRange(0, 5).Draw(rt, "most"), func(v *item) bool { return staying[v.name] })
		taken := map[string][]*item{}
		owner := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"})
		rt.Repeat(map[string]func(*rapid.T){
			"": func(rt *rapid.T) { consistent(rt, c) },
			"take": func(rt *rapid.T) {
				name := owner.Draw(rt, "owner")
				v := c.Take(name)
				if v.name != name || len(taken[name]) > 0 && taken[name][0] != v {
					rt.Errorf("%s was taken as another", name)
				}
				taken[name] = append(taken[name], v)
			},
			"give": func(rt *rapid.T) {
				name := owner.Draw(rt, "owner")
				if n := len(taken[name]); n > 0 {
					c.Give(taken[name][n-1], rapid.IntRange(1, 4).Draw(rt, "cost"))
					taken[name] = taken[name][:n-1]
				}
			},
			"stay": func(rt *rapid.T) {
				if name := owner.Draw(rt, "owner"); len(taken[name]) > 0 {
					staying[name] = true
				}
			},
			"settle": func(rt *rapid.T) {
				name := owner.Draw(rt, "owner")
				delete(staying, name)
				c.Settle(name, func(*item) int { return 1 })
			},
		})
	})
}

// sameShard are owners whose values are in one part of the cache.
func sameShard(c *Cache[*item], n int) (all []string) {
	want := c.shard("first")
	for i := 0; len(all) < n; i++ {
		if name := fmt.Sprint("u", i); c.shard(name) == want {
			all = append(all, name)
		}
	}
	return all
}

func TestThoseUsedLongestAgoAreForgottenFirst(t *testing.T) {
	c := counted(10, nil)
	use := func(owner string, cost int) int {
		v := c.Take(owner)
		c.Give(v, cost)
		return v.made
	}
	names := sameShard(c, 5)
	for _, name := range names[:3] {
		use(name, 3)
	}
	use(names[0], 3) // it is the latest now
	use(names[3], 3) // 12 in all: the oldest goes
	for i, want := range []int{1, 2} {
		if got := use(names[i], 3); got != want {
			t.Errorf("%s was made %d times, not %d", names[i], got, want)
		}
	}
	if use(names[4], 100); use(names[4], 100) != 1 {
		t.Error("the latest was forgotten because it costs much")
	}
	if use(names[3], 3) != 2 || use(names[4], 100) != 2 {
		t.Error("what costs too much kept others out, or stayed")
	}
}

func TestATakenValueCostsNothing(t *testing.T) {
	c := counted(1, nil)
	v := c.Take("first")
	for _, name := range sameShard(c, 100) {
		c.Give(c.Take(name), 1)
	}
	if c.Take("first") != v {
		t.Error("it was forgotten while somebody worked with it")
	}
	c.Give(v, 1)
	c.Give(v, 1)
	consistent(t, c)
}

func BenchmarkTakeAndGive(b *testing.B) {
	c := counted(1000, nil)
	b.ReportAllocs()
	for b.Loop() {
		c.Give(c.Take("juliet@example.org"), 1)
	}
}
