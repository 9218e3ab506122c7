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
	}
}

func TestAValueThatIsAskedForIsNotTheOneToGo(t *testing.T) {
	s := newStored()
	asked := "juliet"
	for i, n := 0, 0; n < 3*mostValues; i++ {
		name := fmt.Sprint("u", i)
		if s.shard(name) != s.shard(asked) {
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

func BenchmarkGet(b *testing.B) {
	s := newStored()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get("juliet@example.org"); err != nil {
			b.Fatal(err)
		}
	}
}
