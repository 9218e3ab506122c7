package portable

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestPiecesComeInTheOrderOfTheirKeys(t *testing.T) {
	for _, room := range []int{1, 1000, 1 << 20} { // each by itself on the disk, some, none
		before := sortAtOnce
		sortAtOnce = room
		var s sorter
		rnd := rand.New(rand.NewPCG(1, 2))
		const many = 500
		for i := range many {
			if err := s.add(fmt.Sprintf("%02d", rnd.IntN(20)), fmt.Appendf(nil, "%04d", i)); err != nil {
				t.Fatal(err)
			}
		}
		last, n := "", 0
		err := s.each(func(key string, data []byte) error {
			// Those with the same key come in the order in which they were added.
			if now := key + string(data); now <= last {
				t.Errorf("with room for %d bytes %s comes behind %s", room, now, last)
			} else {
				last = now
			}
			n++
			return nil
		})
		if err != nil || n != many {
			t.Errorf("with room for %d bytes: %d pieces, %v", room, n, err)
		}
		if (len(s.runs) > 0) != (room < 1<<20) {
			t.Errorf("with room for %d bytes there are %d runs", room, len(s.runs))
		}
		s.close()
		sortAtOnce = before
	}
}
