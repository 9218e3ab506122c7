package embedded

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A spoiled is a store on whose disk one bit has changed, and what is known of the whole one.
type spoiled struct {
	s     *story
	steps []int // that the whole one fits
	now   int64
	whole map[string]string
}

// open opens a store with a changed bit and reads everything. It returns what was wrong without a word, and whether
// anything was told.
func (p *spoiled) open(files image) (told bool, err error) {
	f, notes := newRAM(files), &notebook{}
	defer f.close()
	now := func() time.Time { return time.UnixMicro(p.now) }
	e, err := openStory(f, Options{Now: now, Log: slog.New(slog.NewTextHandler(notes, nil))})
	if err != nil {
		return true, nil
	}
	defer e.Close() // what is damaged may not be merged
	same, right := true, true
	for _, owner := range everyone() {
		now, bad := found(e, owner)
		same = same && bad == nil && now == p.whole[owner]
		lines := strings.SplitAfter(p.whole[owner], "\n")
		for line := range strings.Lines(now) {
			right = right && slices.Contains(lines, line)
		}
	}
	if same {
		_, err = p.s.ids(e, p.steps, p.now)
		same = err == nil
	}
	told = notes.count("level=ERROR") > 0
	if !same && !told {
		return false, fmt.Errorf("something else is there, and nothing is said (%v)", err)
	}
	if !right { // a group less is what there was before
		_, err = p.s.matches(e, 0, p.steps[0])
		return told, err
	}
	return told, nil
}

// Whatever bit the disk changes, in whatever file: it is told, or nothing depends on it.
func TestChangedBitIsToldOrDoesNoHarm(t *testing.T) {
	each := 4096
	if *powerCuts > 2000 {
		each = 64
	}
	s, f := newStory(1), newRAM(nil)
	e, err := openStory(f, Options{Now: s.now, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s.engine = e
	for range 700 {
		if err := s.step(); err != nil {
			t.Fatal(err)
		}
	}
	mergeAll(t, e)
	for range 40 { // these are in the journal alone
		if _, err := s.append(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p, err := s.append(t.Context())
	if err == nil {
		err = p.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	files := f.cut(s.random, everything, everything)
	f.mu.Unlock()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	f.close()
	whole := &spoiled{s: s, now: s.clock.Load(), whole: map[string]string{}}
	for _, owner := range everyone() {
		whole.whole[owner] = s.at(owner, s.steps)
	}
	whole.steps = []int{s.steps}
	if told, err := whole.open(files); err != nil || told {
		t.Fatalf("as it is: %v, %v", told, err)
	}
	random := rand.New(rand.NewPCG(5, 6))
	var working sync.WaitGroup
	var mu sync.Mutex
	changed, told := map[string]int{}, map[string]int{}
	slots := make(chan struct{}, 4)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		kind, _, _ := strings.Cut(name, "-")
		for at := 0; at < len(files[name]); at += each {
			bit := (at+random.IntN(min(each, len(files[name])-at)))*8 + random.IntN(8)
			slots <- struct{}{}
			working.Go(func() {
				defer func() { <-slots }()
				damaged := maps.Clone(files)
				damaged[name] = slices.Clone(damaged[name])
				damaged[name][bit/8] ^= 1 << (bit % 8)
				said, err := whole.open(damaged)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("bit %d of byte %d of %s: %v", bit%8, bit/8, name, err)
				}
				if changed[kind]++; said {
					told[kind]++
				}
			})
		}
	}
	working.Wait()
	t.Logf("%v bits were changed, and of %v something was told", changed, told)
	for _, kind := range []string{"journal", "records", "store.db"} {
		if told[kind] == 0 {
			t.Errorf("of no bit in %s anything was told", kind)
		}
	}
}
