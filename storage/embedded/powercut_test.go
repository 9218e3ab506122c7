package embedded

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// powerCuts is how many cuts TestPowerCutsLoseNothing makes; `make soak` makes more.
var powerCuts = flag.Int("cuts", 500, "how often the power is cut")

// A cutter cuts the power of a story's engine while it is at work, and looks what is left.
type cutter struct {
	s       *story
	early   bool       // the engine acknowledges before it writes
	random  *rand.Rand // of the events, of which there is one at a time
	most    int32      // cuts
	one     int        // of so many changes is followed by a cut
	made    atomic.Int32
	found   atomic.Bool  // a problem, which ends the story
	unclear atomic.Int32 // cuts after which the last group is said to have been cut off or damaged
	working sync.WaitGroup
	slots   chan struct{}

	mu       sync.Mutex // guards the rest
	problems []error
	depth    [3]int // cuts, those while it recovers, and those while it recovers from these
}

// A cut is a disk after one, and what must be on it.
type cut struct {
	files   image
	ordered bool
	what    string
	acked   int
	begun   int
	now     int64
	seed    uint64
	depth   int
}

const storyJournal = 40_000

func newCutter(s *story, seed uint64, most, one int) *cutter {
	return &cutter{s: s, random: rand.New(rand.NewPCG(seed, 2)), most: int32(most), one: one,
		slots: make(chan struct{}, 4*runtime.GOMAXPROCS(0))}
}

func openStory(f *ram, o Options) (*engine, error) {
	o.files, o.JournalBytes, o.idle, o.leastRun = f, storyJournal, time.Hour, 4
	e, err := OpenWith("data", o)
	if err != nil {
		return nil, err
	}
	return e.(*engine), nil
}

func (f *ram) look(event func(what string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.event = event
}

// watch has the power cut while a directory is used.
func (c *cutter) watch(f *ram) {
	f.look(func(what string) {
		if c.random.IntN(c.one) > 0 || c.made.Load() >= c.most || c.found.Load() {
			return
		}
		c.made.Add(1)
		names, data := manner(c.random.IntN(int(torn))), manner(c.random.IntN(int(manners)))
		acked, begun := c.s.bounds()
		c.examine(cut{f.cut(c.random, names, data), f.ordered, fmt.Sprintf("%s, cut with names %d, data %d", what, names, data),
			acked, begun, c.s.clock.Load(), c.random.Uint64(), 0})
	})
}

// examine has a cut looked at in a while: the writer may have to end a call before.
func (c *cutter) examine(k cut) {
	c.working.Go(func() {
		c.slots <- struct{}{}
		defer func() { <-c.slots }()
		err := c.look(k)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.depth[k.depth]++
		if err != nil {
			c.found.Store(true)
			c.problems = append(c.problems, fmt.Errorf("%s: %w", k.what, err))
		}
	})
}

// look opens what a cut has left, and compares it with the story. One in eight is cut again while it is opened.
func (c *cutter) look(k cut) error {
	r := rand.New(rand.NewPCG(k.seed, 3))
	f := newRAM(k.files)
	f.ordered = k.ordered
	defer f.close()
	if again := r.IntN(40); k.depth < 2 && r.IntN(8) == 0 {
		f.event = func(what string) {
			if again--; again == -1 {
				next := k
				next.what += "; while it was opened, " + what
				next.depth++
				next.files = f.cut(r, manner(r.IntN(int(torn))), manner(r.IntN(int(manners))))
				c.examine(next)
			}
		}
	}
	return c.compare(k, f, r)
}

// compare opens a directory and compares what is there with the story.
func (c *cutter) compare(k cut, f *ram, r *rand.Rand) error {
	now := func() time.Time { return time.UnixMicro(k.now) }
	notes := &notebook{}
	e, err := openStory(f, Options{Now: now, Log: slog.New(slog.NewTextHandler(notes, nil))})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	f.look(nil)
	steps, err := c.s.matches(e, k.acked, c.s.until(k.begun))
	if err == nil {
		_, err = c.s.ids(e, steps, k.now)
	}
	// Of a group whose end lies in the first bytes of a sector nobody can tell whether it was cut off.
	unclear := notes.count("the last group of the journal cannot be read and is dropped")
	c.unclear.Add(int32(unclear))
	if err == nil && notes.count("level=ERROR") > unclear {
		err = fmt.Errorf("it is said to be damaged:\n%s", notes.b.String())
	}
	before := map[string]string{}
	for _, owner := range everyone() {
		if err == nil {
			before[owner], err = found(e, owner)
		}
	}
	if bad := e.Close(); err != nil || bad != nil {
		return fmt.Errorf("%w (closed: %v)", err, bad)
	}
	if r.IntN(4) > 0 {
		return nil
	}
	if e, err = openStory(f, Options{Now: now, Log: quiet}); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	for _, owner := range everyone() {
		if after, bad := found(e, owner); bad != nil || after != before[owner] {
			err = fmt.Errorf("%s after another start: %v\n%s, before:\n%s", owner, bad, after, before[owner])
		}
	}
	if bad := e.Close(); err == nil {
		err = bad
	}
	return err
}

// tell has an engine live through some calls and end, again and again, until there were enough cuts.
func (c *cutter) tell(f *ram, lives, calls int) error {
	for life := 0; life < lives && c.made.Load() < c.most && !c.found.Load(); life++ {
		c.watch(f)
		low, high := c.s.stop()
		e, err := openStory(f, Options{Now: c.s.now, Log: quiet, ackEarly: c.early})
		if err != nil {
			return fmt.Errorf("start %d: %w", life, err)
		}
		steps, err := c.s.matches(e, low, high)
		if err == nil {
			err = c.s.rewind(e, steps)
		}
		for n := 0; n < calls && err == nil && !c.found.Load(); n++ {
			if err = c.s.step(); len(c.slots) == cap(c.slots) {
				c.working.Wait()
			}
		}
		f.mu.Lock()
		next := f
		switch c.random.IntN(3) {
		case 0:
			next = f.killed()
		case 1:
			ordered := f.ordered
			next = newRAM(f.cut(c.random, some, torn))
			next.ordered = ordered
		}
		if next != f {
			c.s.stop()
			f.event = nil
			next.lies = f.lies
		}
		f.mu.Unlock()
		if bad := e.Close(); err == nil {
			err = bad
		}
		c.working.Wait()
		if err != nil {
			return fmt.Errorf("life %d: %w", life, err)
		}
		if next != f {
			f.close()
		}
		f = next
	}
	f.close()
	return nil
}

// Wherever the power is cut in a long random history, and whatever of what was not made durable the disk has then,
// lost, torn or in another order: what was acknowledged is there, in order, and nothing else is; ids go on rising, and
// values are known again.
func TestPowerCutsLoseNothing(t *testing.T) {
	made, unclear, depth := 0, int32(0), [3]int{}
	for seed := uint64(1); made < *powerCuts; seed++ {
		most := min(max(*powerCuts/4, 1), *powerCuts-made)
		one := 1
		if *powerCuts <= 2000 {
			one = 4 // more of a story with as many cuts
		}
		f := newRAM(nil)
		f.ordered = seed%2 == 0
		c := newCutter(newStory(seed), seed, most, one)
		if err := c.tell(f, 8, 150); err != nil {
			t.Errorf("story %d: %v", seed, err)
		}
		for i, err := range c.problems {
			if i < 3 {
				t.Errorf("story %d, names in order %v: %v", seed, f.ordered, err)
			}
		}
		if t.Failed() {
			t.Fatalf("%d problems in story %d", len(c.problems), seed)
		}
		made, unclear = made+int(c.made.Load()), unclear+c.unclear.Load()
		for i := range depth {
			depth[i] += c.depth[i]
		}
	}
	t.Logf("%d cuts, %d of them while it recovered, %d of these while it recovered from that; "+
		"after %d the last group may have been cut off or damaged", depth[0]+depth[1]+depth[2], depth[1], depth[2], unclear)
}

// What loses something must be found, or the test above says nothing.
func TestPowerCutsFindWhatLoses(t *testing.T) {
	for name, test := range map[string]struct {
		lies  lies
		early bool
	}{
		"a journal is not made durable":     {lies: lies{sync: filePrefix}},
		"records are not made durable":      {lies: lies{sync: segmentPrefix}},
		"the tree is not made durable":      {lies: lies{sync: treeName}},
		"names are not made durable":        {lies: lies{names: true}},
		"acknowledged before it is written": {early: true},
	} {
		for _, ordered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, names in order %v", name, ordered), func(t *testing.T) {
				t.Parallel()
				var found error
				cuts := 0
				for seed := uint64(1); found == nil && seed < 20; seed++ {
					f := newRAM(nil)
					f.ordered, f.lies = ordered, test.lies
					c := newCutter(newStory(seed), seed, 300, 2)
					c.early = test.early
					found = errors.Join(c.tell(f, 4, 100), errors.Join(c.problems...))
					cuts += int(c.made.Load())
				}
				if found == nil {
					t.Fatalf("%d cuts have found nothing", cuts)
				}
				t.Logf("%d cuts have found: %.200v", cuts, found)
			})
		}
	}
}

// An earlier version made the tree under its own name.
func TestTreeThatAnEarlierVersionHalfMadeIsBegunAnew(t *testing.T) {
	whole := filepath.Join(t.TempDir(), treeName)
	tree, err := osFiles{}.openTree(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for pages := range 16 { // each set of pages that may have reached the disk
		half := make([]byte, len(b))
		for n := range newTreePages {
			if pages>>n&1 == 1 {
				copy(half[n*page:], b[n*page:(n+1)*page])
			}
		}
		for _, size := range []int{len(b), len(b) / 2, 0} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, treeName), half[:size], 0o600); err != nil {
				t.Fatal(err)
			}
			if err := (&promises{}).kept(dir); err != nil {
				t.Errorf("pages %b, %d bytes: %v", pages, size, err)
			}
		}
	}
}
