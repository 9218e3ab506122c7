package relay

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/cluster"
	"jackdaw/router"
	"jackdaw/storage"
)

// A story is what happens to a cluster of three while messages are sent.
type story struct {
	*world
	rng   *rand.Rand
	slots []int // of the recipients
	sent  map[string]*router.Envelope
	mu    sync.Mutex // guards sent

	lapsed  map[string]bool // not acknowledged
	refused int
	healing sync.WaitGroup
}

var seeds = flag.Uint64("seeds", 40, "how many stories are told")

const recipients = 12

func recipient(i int) string { return fmt.Sprintf("r%d@example.org", i) }

// tell runs a story by its seed and returns what is wrong at its end.
func tell(t *testing.T, seed uint64, dedup bool) (wrong []string) {
	synctest.Test(t, func(t *testing.T) {
		s := &story{world: newWorld(t), rng: rand.New(rand.NewPCG(seed, 1)), sent: map[string]*router.Envelope{},
			lapsed: map[string]bool{}}
		s.dedup = dedup
		s.slow = time.Duration(1+seed%10) * time.Millisecond
		ids := []string{"a", "b", "c"}
		for _, id := range ids {
			s.add(id)
		}
		for i := range recipients {
			slot := cluster.SlotOf(recipient(i))
			s.slots = append(s.slots, slot)
			s.give(slot, ids[s.rng.IntN(3)])
		}
		s.tellAll()
		var senders sync.WaitGroup
		for i := range 4 { // c has none: it dies
			n := s.nodes[ids[i%2]]
			name := fmt.Sprintf("s%d@example.org", i)
			session, _ := n.bind(t, name+"/x")
			rng := rand.New(rand.NewPCG(seed, uint64(10+i)))
			senders.Go(func() {
				for k := range 150 {
					id := strconv.Itoa(k)
					to := recipient(rng.IntN(recipients))
					e := n.send(session, message(to, id))
					s.mu.Lock()
					s.sent[to+" "+name+" "+id] = e
					s.mu.Unlock()
					if rng.IntN(4) == 0 {
						<-time.After(time.Duration(rng.IntN(60)) * time.Millisecond)
					}
				}
			})
		}
		for range 40 {
			<-time.After(time.Duration(s.rng.IntN(60)) * time.Millisecond)
			s.happens()
		}
		senders.Wait()
		s.healing.Wait()
		s.mu.Lock()
		for name, e := range s.sent {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err := storage.Join(e.Pendings...).Wait(ctx)
			cancel()
			switch o, _ := e.Settlement(); {
			case errors.Is(err, errFence): // where its sender was at home, too, and not acknowledged
				s.lapsed[name] = true
			case err != nil || o != router.Stored && o != router.Refused:
				wrong = append(wrong, fmt.Sprintf("%s has ended as %v, %v", name, o, err))
			case o == router.Refused:
				s.refused++
			}
		}
		s.mu.Unlock()
		if s.refused > len(s.sent)/20 { // none has to wait for 10 s
			wrong = append(wrong, fmt.Sprintf("%d of %d were refused", s.refused, len(s.sent)))
		}
		wrong = append(wrong, s.check()...)
		s.close()
	})
	return wrong
}

// happens is one of the things that may happen.
func (s *story) happens() {
	slot := s.slots[s.rng.IntN(len(s.slots))]
	s.world.mu.Lock()
	home := s.truth[slot].Node
	old := s.nodes[home]
	s.world.mu.Unlock()
	others := map[string][]string{"a": {"b", "c"}, "b": {"a", "c"}, "c": {"a", "b"}}[home]
	to := others[s.rng.IntN(2)]
	switch s.rng.IntN(8) {
	case 0, 1, 2: // a move; who has got it learns of it before the others
		if old == nil || s.nodes[to] == nil {
			return
		}
		old.leave(slot, true)
		s.give(slot, to)
		s.learn()
	case 3: // a lease that has run out: the home has no time to finish
		if old == nil || s.nodes[to] == nil {
			return
		}
		old.leave(slot, false)
		<-time.After(time.Duration(s.rng.IntN(50)) * time.Millisecond)
		s.give(slot, to)
		s.learn()
	case 4, 5: // a link breaks
		from := []string{"a", "b"}[s.rng.IntN(2)]
		s.breakLink(from, []string{"a", "b", "c"}[s.rng.IntN(3)])
	case 6: // a link is away for a while
		pair := [2]string{"a", "b"}
		if s.rng.IntN(2) == 0 {
			pair = [2]string{"b", "c"}
		}
		s.world.mu.Lock()
		s.cut[pair] = true
		s.world.mu.Unlock()
		s.breakLink(pair[0], pair[1])
		later := time.Duration(s.rng.IntN(1000)) * time.Millisecond
		s.healing.Go(func() {
			<-time.After(later)
			s.world.mu.Lock()
			delete(s.cut, pair)
			s.world.mu.Unlock()
		})
	case 7: // c dies, and another process of that name takes part a little later
		if s.nodes["c"] == nil {
			return
		}
		s.kill("c")
		<-time.After(time.Duration(s.rng.IntN(2000)) * time.Millisecond)
		for _, slot := range s.slots {
			s.world.mu.Lock()
			lost := s.truth[slot].Node == "c"
			s.world.mu.Unlock()
			if lost {
				s.give(slot, []string{"a", "b"}[s.rng.IntN(2)])
			}
		}
		s.add("c")
		s.learn()
	}
}

// learn has the nodes hear of it, one after the other.
func (s *story) learn() {
	s.world.mu.Lock()
	var all []*node
	for _, id := range []string{"a", "b", "c"} {
		if n := s.nodes[id]; n != nil {
			all = append(all, n)
		}
	}
	s.world.mu.Unlock()
	s.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, n := range all {
		<-time.After(time.Duration(s.rng.IntN(10)) * time.Millisecond)
		n.see()
	}
}

// check looks whether everything that was acknowledged is there once, and in order.
func (s *story) check() (wrong []string) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	stored := map[string]int{}
	for to, log := range s.log {
		last := map[string]int{}
		for _, text := range log {
			from, id, _ := strings.Cut(text, " ")
			k, _ := strconv.Atoi(id)
			if before, ok := last[from]; ok && k <= before {
				wrong = append(wrong, fmt.Sprintf("%s has %d of %s behind %d", to, k, from, before))
			}
			last[from] = k
			stored[to+" "+text]++
		}
	}
	for name, e := range s.sent {
		switch o, _ := e.Settlement(); {
		case stored[name] > 1:
			wrong = append(wrong, fmt.Sprintf("%s is there %d times", name, stored[name]))
		case o == router.Stored && stored[name] == 0 && !s.lapsed[name]:
			wrong = append(wrong, name+" was acknowledged and is lost")
		}
	}
	return wrong
}

func TestOrderAndExactlyOnceOverBreaksDeathsAndMoves(t *testing.T) {
	for seed := range *seeds {
		if wrong := tell(t, seed, true); len(wrong) > 0 {
			t.Fatalf("seed %d: %d faults, such as %q", seed, len(wrong), wrong[:min(5, len(wrong))])
		}
	}
}

func TestStoryFindsWhatIsThereTwice(t *testing.T) {
	for seed := range uint64(40) {
		if wrong := tell(t, seed, false); len(wrong) > 0 {
			return
		}
	}
	t.Error("nothing was sent twice: the stories prove nothing")
}
