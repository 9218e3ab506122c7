package embedded

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jackdaw/storage"
)

// A failure is what one change to a file, or some from one on, come to.
type failure struct {
	from, until int32
	err         error
	seen        atomic.Int32
	met         atomic.Bool
	what        string // of the first; read when nothing changes any more
}

func (f *failure) of(what string) (error, bool) {
	if f.err == syscall.ENOSPC && !needsRoom(what) {
		return nil, false
	}
	n := f.seen.Add(1)
	if n < f.from || n >= f.until {
		return nil, false
	}
	if !f.met.Swap(true) {
		f.what = what
	}
	return f.err, n%2 == 0
}

func needsRoom(what string) bool {
	op, name, _ := strings.Cut(what, " ")
	return op != "sync" && op != "remove" && op != "punch" && op != "truncate" && name != roomName
}

// explains says whether an error may be what the failure came to; that of a tree's fsync has a number of its own. A
// meta page that was written although the write failed is found by the next merge.
func (f *failure) explains(err error) bool {
	return errors.Is(err, storage.ErrUnavailable) || inDoubt(err) ||
		errors.Is(err, f.err) || errors.Is(err, syscall.EINVAL)
}

// mostChanges is more than most stories have.
const mostChanges = 400

// live has an engine live through some calls while something fails, and be killed or cut off. Then all must be what
// there was after one step, and what was acknowledged is there.
func (f *failure) live(seed uint64) error {
	s := newStory(seed)
	s.simple = true
	c := newCutter(s, seed, 0, 1)
	dir := newRAM(nil)
	defer func() { dir.close() }()
	dir.fault = f.of
	o := Options{Now: s.now, Log: quiet, again: time.Millisecond}
	e, err := openStory(dir, o)
	for n := 0; err != nil && n < 100; n++ { // a start that fails is made again
		next := dir.killed()
		dir.close()
		dir, next.fault = next, f.of
		e, err = openStory(dir, o)
	}
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	s.engine = e
	for range 300 {
		if err := s.step(); err != nil {
			if !f.explains(err) {
				return errors.Join(fmt.Errorf("a call: %w", err), e.Close())
			}
			if errors.Is(err, ErrFailed) {
				break
			}
		}
	}
	closed := seed%3 == 0
	if closed {
		if err := e.Close(); err != nil && !f.explains(err) {
			return fmt.Errorf("close: %w", err)
		}
	}
	r := rand.New(rand.NewPCG(seed, 4))
	dir.mu.Lock()
	acked, steps := s.stop()
	after, off := dir.killed(), dir.cut(r, manner(r.IntN(int(torn))), manner(r.IntN(int(manners))))
	dir.event, dir.fault = nil, nil
	dir.mu.Unlock()
	if !closed {
		if err := e.Close(); err != nil && !f.explains(err) {
			return fmt.Errorf("close: %w", err)
		}
	}
	k := cut{acked: acked, begun: s.begun, now: s.clock.Load()}
	defer after.close()
	for _, found := range []struct {
		how string
		*ram
	}{{"cut off", newRAM(off)}, {"killed", after}} {
		defer found.close()
		if again, err := openStory(found.ram, o); err != nil {
			return fmt.Errorf("%s: open: %w", found.how, err)
		} else if _, err = s.matches(again, acked, steps); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", found.how, err), again.Close())
		} else {
			// What it has read it relies on, so that must not go with the power.
			found.mu.Lock()
			k.files = found.cut(r, nothing, nothing)
			found.mu.Unlock()
			if err := again.Close(); err != nil {
				return fmt.Errorf("%s: close: %w", found.how, err)
			}
		}
		if err := c.compare(k, newRAM(k.files), r); err != nil {
			return fmt.Errorf("%s, and cut off when it was open again: %w", found.how, err)
		}
	}
	return nil
}

// Whatever fails, and whenever: what was acknowledged is there, and nothing is wrong.
func TestEveryFailureIsToldOrDoesNoHarm(t *testing.T) {
	every := int32(1)
	if *powerCuts <= 2000 {
		every = 19
	}
	for name, test := range map[string]struct {
		err     error
		lasting int32
	}{
		"one change fails":         {syscall.EIO, 1},
		"the disk is full once":    {syscall.ENOSPC, 1},
		"the disk is full a while": {syscall.ENOSPC, 40},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made, places := 0, map[string]int{}
			for from := int32(1); from < mostChanges; from += every {
				f := &failure{from: from, until: from + test.lasting, err: test.err}
				if err := f.live(uint64(from)); err != nil {
					t.Fatalf("change %d, %q: %v", from, f.what, err)
				}
				if !f.met.Load() {
					continue // there were fewer changes
				}
				made++
				op, _, _ := strings.Cut(f.what, "-")
				places[op]++
			}
			if made < 3 { // groups, and so changes, are as many as the machine makes of the calls
				t.Errorf("%d failures", made)
			}
			t.Logf("%d failures: %v", made, places)
		})
	}
}
