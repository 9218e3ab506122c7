package recent

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

// stored is a cache of numbers before a map that counts how often it is read.
type stored struct {
	*Values[int]
	mu     sync.Mutex // guards the rest
	values map[string]int
	reads  map[string]int
	broken error
}

func newStored() *stored {
	s := &stored{values: map[string]int{}, reads: map[string]int{}}
	s.Values = NewValues(func(owner string) (int, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reads[owner]++
		return s.values[owner], s.broken
	})
	return s
}

func (s *stored) add(owner string) {
	o := s.Hold(owner)
	defer o.Release()
	n, err := o.Get()
	if err != nil {
		return
	}
	s.mu.Lock()
	s.values[owner] = n + 1
	s.mu.Unlock()
	o.Put(n + 1)
}

func TestAValueIsReadOnceAndIsThatOfTheStore(t *testing.T) {
	s := newStored()
	s.broken = errors.New("disk")
	if _, err := s.Get("juliet"); err == nil {
		t.Error("a value that cannot be read is one")
	}
	s.broken = nil
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				s.add("juliet")
				if n, err := s.Get("juliet"); n < 1 || err != nil {
					t.Errorf("got %d, %v", n, err)
				}
			}
		})
	}
	all.Wait()
	if n, err := s.Get("juliet"); n != 800 || err != nil || s.reads["juliet"] != 2 {
		t.Errorf("%d of 800, %v, read %d times", n, err, s.reads["juliet"])
	}
	o := s.Hold("juliet")
	o.Forget()
	o.Release()
	if n, err := s.Get("juliet"); n != 800 || err != nil || s.reads["juliet"] != 3 {
		t.Errorf("after it was forgotten: %d, %v, read %d times", n, err, s.reads["juliet"])
	}
}

func TestNoMoreValuesAreKeptThanThereIsRoomFor(t *testing.T) {
	s := newStored()
	for i := range 3 * shards * mostValues {
		if _, err := s.Get(fmt.Sprint("u", i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range s.shards {
		if n := len(s.shards[i].all); n != mostValues {
			t.Errorf("a shard keeps %d", n)
		}
		s.shards[i].check(t)
	}
}

func TestAValueThatIsAskedForIsNotTheOneToGo(t *testing.T) {
	s := newStored()
	asked := "juliet"
	of, _ := s.find(asked)
	for i, n := 0, 0; n < 3*mostValues; i++ {
		name := fmt.Sprint("u", i)
		if sh, _ := s.find(name); sh != of {
			continue
		}
		n++
		for _, owner := range []string{name, asked, asked} {
			if _, err := s.Get(owner); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s.reads[asked] != 1 {
		t.Errorf("it was read %d times", s.reads[asked])
	}
}

// check says that what is near is what the shard has.
func (sh *valueShard[V]) check(t *testing.T) {
	for i := range sh.near {
		if one := sh.near[i].Load(); one != nil && sh.all[one.name] != one {
			t.Errorf("%s is near and forgotten", one.name)
		}
	}
}

// Readers see a value that was replaced, forgotten or dropped no more, though it was near.
func TestWhatIsNearIsWhatTheStoreHas(t *testing.T) {
	s := newStored()
	var names []string // that share places
	for i := 0; len(names) < 40*nearby; i++ {
		name := fmt.Sprint("u", i)
		if sh, _ := s.find(name); sh == &s.shards[0] {
			names = append(names, name)
		}
	}
	for round := 1; round <= 3; round++ {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for _, name := range names {
					s.add(name)
					if n, err := s.Get(name); n < 4*(round-1)+1 || err != nil {
						t.Errorf("%s is %d in round %d, %v", name, n, round, err)
					}
				}
			})
		}
		all.Wait()
		for _, name := range names {
			if n, err := s.Get(name); n != 4*round || err != nil {
				t.Errorf("%s is %d after %d rounds, %v", name, n, round, err)
			}
		}
		s.shards[0].check(t)
		if round == 1 { // the store is read anew
			s.Drop(func(string) bool { return true })
			for i := range s.shards[0].near {
				if s.shards[0].near[i].Load() != nil {
					t.Error("a value that was dropped is near")
				}
			}
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := newStored()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get("juliet@example.org"); err != nil {
			b.Fatal(err)
		}
	}
}
