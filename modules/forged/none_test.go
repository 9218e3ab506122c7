package forged

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"jackdaw/modules/internal/moduletest"
)

func TestNoneKnowsThoseWhoWereAddedLast(t *testing.T) {
	n := new(none)
	same := func(i int) uint64 { return 7*shards + uint64(i+1)*shards*lines } // all in one line
	for i := range 3 * perLine {
		n.add(same(i))
		n.add(same(i))
		if !n.has(same(i)) {
			t.Fatalf("%d is not there", i)
		}
		known := 0
		for j := range 3 * perLine {
			if n.has(same(j)) {
				if known++; j > i {
					t.Errorf("%d is there after %d", j, i)
				}
			}
		}
		if i < perLine && known != i+1 {
			t.Errorf("%d are there of %d", known, i+1)
		}
		n.remove(same(100))
	}
	last := same(3*perLine - 1)
	n.remove(last)
	if n.has(last) {
		t.Error("it is there after its removal")
	}
	if new(none).has(0) {
		t.Error("nobody is there")
	}
}

// TestMemoryIsThatOfStorage does at random what happens to pairs, with restarts, and compares with what should be
// known.
func TestMemoryIsThatOfStorage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := moduletest.NewStore().Map("forged")
		p := newPairs(store)
		want := map[[2]string]bool{}
		owner := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("u%d@example.org", rapid.IntRange(0, 5).Draw(t, "owner")) })
		sender := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("s%d@b.example", rapid.IntRange(0, 3).Draw(t, "sender")) })
		do := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				pair := [2]string{owner.Draw(t, "of"), sender.Draw(t, "by")}
				_, err := p.add(pair[0], pair[1])
				do(err)
				want[pair] = true
			},
			"drop": func(t *rapid.T) {
				pair := [2]string{owner.Draw(t, "of"), sender.Draw(t, "by")}
				_, err := p.drop(pair[0], pair[1])
				do(err)
				delete(want, pair)
			},
			"remove": func(t *rapid.T) {
				o := owner.Draw(t, "of")
				_, err := p.remove(t.Context(), o)
				do(err)
				for pair := range want {
					if pair[0] == o {
						delete(want, pair)
					}
				}
			},
			"restart": func(*rapid.T) { p = newPairs(store) },
			"has": func(t *rapid.T) {
				pair := [2]string{owner.Draw(t, "of"), sender.Draw(t, "by")}
				known, err := p.has(pair[0], pair[1])
				do(err)
				if known != want[pair] {
					t.Fatalf("%v is known: %v", pair, known)
				}
			},
		})
	})
}
