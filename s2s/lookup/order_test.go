package lookup

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func seeded() *Finder {
	return New(Options{IntN: rand.New(rand.NewPCG(1, 2)).IntN})
}

func TestWeightsShareTheFirstPlace(t *testing.T) {
	f := seeded()
	records := []record{
		{host: "later", priority: 2, weight: 65535},
		{host: "none", priority: 1},
		{host: "one", priority: 1, weight: 10},
		{host: "two", priority: 1, weight: 20},
		{host: "seven", priority: 1, weight: 70, direct: true},
	}
	const rounds = 100000
	first := map[string]float64{}
	for range rounds {
		o := f.order(records)
		if len(o) != 5 || o[4].host != "later" {
			t.Fatalf("order: %v", o)
		}
		first[o[0].host]++
	}
	// A random number of 0 to 100, both included, of which 0 is for the one without weight.
	for host, want := range map[string]float64{"none": 1, "one": 10, "two": 20, "seven": 70, "later": 0} {
		p := want / 101
		if sigma := math.Sqrt(rounds * p * (1 - p)); math.Abs(first[host]-rounds*p) > 4*sigma {
			t.Errorf("%s comes first %v times, want %v ± %v", host, first[host], rounds*p, 4*sigma)
		}
	}
}

func TestRecordsWithoutWeightShareEqually(t *testing.T) {
	f := seeded()
	const rounds = 30000
	first := map[string]float64{}
	for range rounds {
		first[f.order([]record{{host: "a"}, {host: "b"}, {host: "c"}})[0].host]++
	}
	for host, n := range first {
		if sigma := math.Sqrt(rounds * 2 / 9.); math.Abs(n-rounds/3) > 4*sigma {
			t.Errorf("%s comes first %v times of %d", host, n, rounds)
		}
	}
	if len(first) != 3 {
		t.Errorf("first: %v", first)
	}
}

func TestOrderKeepsPrioritiesAndNamesEachPlaceOnce(t *testing.T) {
	f := seeded()
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) record {
			return record{
				host:     strconv.Itoa(rapid.IntRange(0, 20).Draw(t, "host")),
				port:     rapid.Uint16Range(1, 2).Draw(t, "port"),
				priority: rapid.Uint16Range(0, 3).Draw(t, "priority"),
				weight:   rapid.OneOf(rapid.Just(uint16(0)), rapid.Uint16()).Draw(t, "weight"),
				direct:   rapid.Bool().Draw(t, "direct"),
			}
		}), 1, 60).Draw(t, "records")
		before := slices.Clone(records)
		got := f.order(records)
		if !slices.Equal(records, before) {
			t.Fatal("the argument was changed")
		}
		if !slices.IsSortedFunc(got, func(a, b record) int { return cmp.Compare(a.priority, b.priority) }) {
			t.Fatalf("priorities: %v", got)
		}
		type place struct {
			host   string
			port   uint16
			direct bool
		}
		left := map[place]uint16{} // with its best priority
		for _, r := range records {
			p := place{r.host, r.port, r.direct}
			if best, ok := left[p]; !ok || r.priority < best {
				left[p] = r.priority
			}
		}
		if len(got) != min(len(left), maxTargets) {
			t.Fatalf("%d of %d places", len(got), len(left))
		}
		for _, r := range got {
			p := place{r.host, r.port, r.direct}
			if best, ok := left[p]; !ok || best != r.priority {
				t.Fatalf("%v is there twice, or not by its best priority", r)
			}
			delete(left, p)
		}
		for p, best := range left {
			if best < got[len(got)-1].priority {
				t.Fatalf("%v was left out before a worse one", p)
			}
		}
	})
}
