package embedded

import (
	"fmt"
	"testing"

	"jackdaw/storage"
)

// What is remembered of one log of an owner goes alone, wherever it stands among those of the others.
func TestTheStateOfOneLogOfAnOwnerIsForgottenAlone(t *testing.T) {
	e, err := open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	last := map[string]uint64{}
	add := func(space string) {
		t.Helper()
		id, _, _, err := e.Log(space).Append(t.Context(), "romeo", storage.Record{Data: []byte(space)},
			storage.AppendOptions{})
		if err != nil || id <= last[space] {
			t.Fatalf("%s: %d after %d, %v", space, id, last[space], err)
		}
		last[space] = id
	}
	for i := range 4 {
		for _, space := range []string{"a", "b", "c"} {
			add(space)
		}
		if i == 3 {
			break
		}
		gone := []string{"a", "a", "c"}[i] // at the end of the list, at its beginning, and in the middle
		if _, err := e.Log(gone).DeleteOwner(t.Context(), "romeo"); err != nil {
			t.Fatal(err)
		}
		known := map[string]bool{}
		for st := e.shard("romeo").logs["romeo"]; st != nil; st = st.other {
			known[st.space] = true
		}
		if known[gone] || len(known) != 2 {
			t.Errorf("without %s: %v", gone, known)
		}
	}
	for space, want := range map[string]int{"a": 2, "b": 4, "c": 1} {
		if n, _, err := e.Log(space).Size(t.Context(), "romeo"); n != want || err != nil {
			t.Errorf("%s has %d records, %v", space, n, err)
		}
	}
}

// An append goes to the table that is written now, also right after the one before it was frozen, and knows the peer of
// another table no more.
func TestAppendsFollowTheTables(t *testing.T) {
	e, err := open(t.TempDir(), Options{JournalBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	l := e.Log("archive")
	const records = 400
	for i := range records {
		peer := fmt.Sprint("peer", i/3%2)
		for _, owner := range []string{"romeo", "juliet"} {
			_, _, p, err := l.Append(t.Context(), owner, storage.Record{Peer: peer, Data: fmt.Appendf(nil, "%s %d", owner, i)},
				storage.AppendOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if i%7 == 0 {
				if err := p.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, owner := range []string{"romeo", "juliet"} {
		page, more, err := l.Page(t.Context(), owner, storage.Query{Limit: records + 1})
		if err != nil || more || len(page) != records {
			t.Fatalf("%s: %d records, %v", owner, len(page), err)
		}
		for i, r := range page {
			if want := fmt.Sprintf("%s %d", owner, i); string(r.Data) != want || r.Peer != fmt.Sprint("peer", i/3%2) {
				t.Errorf("%s: %s of %s", want, r.Data, r.Peer)
			}
		}
	}
}
