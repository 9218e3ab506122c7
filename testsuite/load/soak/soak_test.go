package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

func TestOnlyWhatWasPromisedAndNeverCameIsLost(t *testing.T) {
	l := newLedger()
	promised, unsaid, early, back, lost := l.open("a"), l.open("a"), l.open("a"), l.open("b"), l.open("b")
	l.promise(promised)
	l.came(promised, "a")
	l.came(promised, "a")
	l.came(early, "a")
	l.promise(early)
	l.promise(back)
	l.bounced(back)
	l.promise(lost)
	if l.came(lost, "a") || l.came("soak-99", "a") {
		t.Error("a message for somebody else, or of nobody, is taken")
	}
	if got := l.lost(); !slices.Equal(got, []string{lost + " to b"}) {
		t.Errorf("lost are %v; %s was never promised", got, unsaid)
	}
	if p, k, twice, returned := l.counts(); p != 4 || k != 3 || twice != 1 || returned != 1 {
		t.Errorf("promised %d, kept %d, twice %d, returned %d", p, k, twice, returned)
	}
}

func TestALeakIsToldFromNoise(t *testing.T) {
	m := measure{name: "memory", floor: 8}
	dice := rand.New(rand.NewPCG(1, 2))
	var x []float64
	for i := range 360 {
		x = append(x, float64(10*i))
	}
	series := func(f func(s float64) float64) (y []float64) {
		for _, s := range x {
			y = append(y, f(s)+10*dice.Float64())
		}
		return y
	}
	for name, c := range map[string]struct {
		f    func(s float64) float64
		flat bool
	}{
		"level":                            {func(float64) float64 { return 50 }, true},
		"a start that fills":               {func(s float64) float64 { return 50 - 40*math.Exp(-s/300) }, true},
		"a tooth of a saw":                 {func(s float64) float64 { return 50 + math.Mod(s, 120)/4 }, true},
		"a peak at the end":                {func(s float64) float64 { return 50 + map[bool]float64{true: 200}[s > 3400] }, true},
		"a falling line":                   {func(s float64) float64 { return 100 - s/100 }, true},
		"a leak of 10 in half an hour":     {func(s float64) float64 { return 50 + s/180 }, false},
		"a leak that begins after a pause": {func(s float64) float64 { return 50 + max(0, s-2000)/100 }, false},
	} {
		if text, flat := m.judge(x, series(c.f)); flat != c.flat {
			t.Errorf("%s: flat is %v: %s", name, flat, text)
		}
	}
}

func TestAShortSoakLosesNothing(t *testing.T) {
	var r *run
	status := stage.Run("soak", func(s *stage.Stage) int {
		defer harness.Cleanup()
		r = begin(s, plan{long: 6 * time.Second, every: 200 * time.Millisecond, users: 5, rate: 60})
		r.last()
		return 0
	})
	promised, kept, _, _ := r.book.counts()
	if status != 0 || len(r.faults) > 0 || promised < 20 || kept != promised || len(r.book.lost()) > 0 {
		t.Errorf("status %d, faults %s, of %d promised %d were kept", status, strings.Join(r.faults, "; "), promised, kept)
	}
	if r.deeds.Logins.Load() < 5 || r.deeds.Posts.Load() == 0 {
		t.Errorf("%d logins and %d posts", r.deeds.Logins.Load(), r.deeds.Posts.Load())
	}
	for _, h := range r.houses {
		for _, m := range measures {
			if _, y := r.series(h, m.key); len(y) < 5 || !strings.Contains(m.key, "_over_") && slices.Min(y) <= 0 {
				t.Errorf("%s of %s: %v", m.name, h.Domain, y)
			}
		}
	}
}
