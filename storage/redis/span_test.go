package redis

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
)

// wanting asks for what is not below it.
type wanting struct{ least atomic.Uint64 }

func (a *wanting) Asks(number uint64) bool { return number >= a.least.Load() }

func TestValueIsForgottenThatNobodyAsksForAgain(t *testing.T) {
	s := redistest.Start(t)
	o := Options{Addrs: []string{s.Addr}}
	opened, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	e := opened.(*engine)
	var a wanting
	add := func(e storage.Engine, n uint64) (uint64, bool) {
		t.Helper()
		id, dup, p, err := e.Log("archive").Append(t.Context(), "romeo", storage.Record{Data: []byte("x")},
			storage.AppendOptions{Dedup: fmt.Sprint("n", n), Span: storage.Span{Asker: &a, Number: n}})
		if err != nil || p.Wait(t.Context()) != nil {
			t.Fatal(err)
		}
		return id, dup
	}
	const messages, asked = 10 * (mostInTail + 1), 5 // the last of them fill a block
	first := map[uint64]uint64{}
	for n := uint64(1); n <= messages; n++ {
		a.least.Store(max(n, asked) - asked + 1)
		id, dup := add(e, n)
		if first[n] = id; dup {
			t.Errorf("%d is taken for a repetition", n)
		}
		if n > asked {
			if id, dup := add(e, n-asked+1); !dup || id != first[n-asked+1] {
				t.Errorf("%d was not told from a new one", n-asked+1)
			}
		}
	}
	who := e.owners["romeo"].logs["archive"]
	if n := len(who.days[e.today()].ids); n > 2*fewPassing {
		t.Errorf("%d values are in memory", n)
	}
	key := strings.TrimSpace(s.CLI("--raw", "keys", "*:x*"))
	if n := strings.TrimSpace(s.CLI("hlen", key)); n != fmt.Sprint(asked*messages/(mostInTail+1)) {
		t.Errorf("%s values are in redis, of %d that were asked for when they went into blocks", n,
			asked*messages/(mostInTail+1))
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	later := open(t, o)
	for n := uint64(messages - asked + 1); n <= messages; n++ {
		if id, dup := add(later, n); !dup || id != first[n] {
			t.Errorf("%d was not told from a new one by a later server", n)
		}
	}
}
