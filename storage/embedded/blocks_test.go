package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"jackdaw/storage"
)

// merged is an engine whose writes go into the tree when the test says so.
type merged struct {
	*engine
	log storage.Log
	now time.Time
}

func openMerged(t testing.TB) *merged {
	m := &merged{now: time.UnixMicro(1_000_000)}
	e, err := OpenWith(filepath.Join(t.TempDir(), "data"),
		Options{Now: func() time.Time { return m.now }, JournalBytes: 1 << 30, idle: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	m.engine, m.log = e.(*engine), e.Log("archive")
	return m
}

// freezeNow begins what mergeNow ends.
func (m *merged) freezeNow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.tables.Load(); t.frozen == nil {
		m.tables.Store(&tables{active: newMemtable(&m.seed), frozen: t.active})
	}
}

// mergeNow moves the memory table, or the frozen one, into the tree; the journal stays, as after a crash.
func (m *merged) mergeNow(t testing.TB) {
	t.Helper()
	m.freezeNow()
	// Twice: what the first frees is given back by the second.
	for _, table := range []*memtable{m.tables.Load().frozen, newMemtable(&m.seed)} {
		if err := m.mergeAndGiveBack(table, m.merged); err != nil {
			t.Fatal(err)
		}
	}
	m.mu.Lock()
	m.tables.Store(&tables{active: m.tables.Load().active})
	m.mu.Unlock()
}

// sound checks that the blocks of the tree are what their comment says.
func (m *merged) sound(t testing.TB) (blocks int) {
	t.Helper()
	listed, live := map[string]bool{}, map[uint32]int64{}
	err := m.tree.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket([]byte("karchive")); b != nil {
			var owner string
			var last uint64
			err := b.ForEach(func(k, v []byte) error {
				cut := bytes.IndexByte(k, 0) + 1
				if string(k[:cut]) != owner {
					owner, last = string(k[:cut]), 0
				}
				id := binary.BigEndian.Uint64(k[cut:])
				r, elsewhere, err := readRef(v, id)
				if err != nil {
					t.Errorf("block %q %d: %v", owner, id, err)
				}
				if elsewhere {
					live[r.segment] += r.padded()
					if v, err = m.segments.read(r, nil); err != nil || len(v) < blockBytes {
						t.Errorf("block %q %d of %d bytes: %v", owner, id, len(v), err)
					}
				} else if len(v) >= blockBytes {
					t.Errorf("block %q %d of %d bytes is in the tree", owner, id, len(v))
				}
				records, err := readBlock(nil, id, v, nil)
				if elsewhere && records[len(records)-1].id != r.last {
					t.Errorf("block %q %d is said to end with %d", owner, id, r.last)
				}
				if err != nil || len(records) == 0 || id <= last || records[0].id < id {
					t.Errorf("block %q %d after %d: %d records, %v", owner, id, last, len(records), err)
				}
				for i, r := range records {
					if i > 0 && r.id <= records[i-1].id {
						t.Errorf("record %d after %d", r.id, records[i-1].id)
					}
					if len(r.peer) > 0 {
						listed[string(peerKey([]byte(owner), r.peer, id))] = true
					}
					last = r.id
				}
				blocks++
				return nil
			})
			if err != nil {
				return err
			}
		}
		n := 0
		if b := tx.Bucket([]byte("qarchive")); b != nil {
			if err := b.ForEach(func(k, _ []byte) error {
				if n++; !listed[string(k)] {
					t.Errorf("%q is listed and holds nothing of that peer", k)
				}
				return nil
			}); err != nil {
				return err
			}
		}
		if n != len(listed) {
			t.Errorf("%d blocks of peers are listed, not %d", n, len(listed))
		}
		if len(live) != len(m.segments.rows) {
			t.Errorf("%d segments are known, %d are in use", len(m.segments.rows), len(live))
		}
		for number, bytes := range live {
			if row := m.segments.rows[number]; row.live != bytes {
				t.Errorf("segment %d is said to have %d bytes in use, not %d", number, row.live, bytes)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

func TestBlocksHoldWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := openMerged(t)
		ctx := t.Context()
		owners, peers := []string{"a", "ab", "b"}, []string{"", "p", "pq", "q"}
		model := map[string][]storage.Record{}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			owner := rapid.SampledFrom(owners).Draw(rt, "owner")
			all := model[owner]
			pick := func() int { return rapid.IntRange(0, len(all)-1).Draw(rt, "which") }
			switch what := rapid.SampledFrom([]string{"append", "append", "append", "remove", "replace", "trim", "freeze", "merge", "merge"}).Draw(rt, "what"); {
			case what == "append":
				for range rapid.IntRange(1, 30).Draw(rt, "n") {
					r := storage.Record{Peer: rapid.SampledFrom(peers).Draw(rt, "peer"),
						Data: bytes.Repeat([]byte{byte('a' + len(all)%26)}, rapid.SampledFrom([]int{0, 10, 900, 5000, 20000}).Draw(rt, "size"))}
					var err error
					if r.ID, _, _, err = m.log.Append(ctx, owner, r, storage.AppendOptions{}); err != nil {
						rt.Fatal(err)
					}
					model[owner] = append(model[owner], r)
				}
			case what == "freeze":
				m.freezeNow()
			case what == "merge":
				m.mergeNow(t)
				m.sound(t)
			case len(all) == 0:
			case what == "remove":
				var ids []uint64
				for range rapid.IntRange(1, 10).Draw(rt, "n") {
					ids = append(ids, all[pick()].ID)
				}
				if _, err := m.log.Remove(ctx, owner, ids...); err != nil {
					rt.Fatal(err)
				}
				model[owner] = slices.DeleteFunc(all, func(r storage.Record) bool { return slices.Contains(ids, r.ID) })
			case what == "replace":
				i := pick()
				all[i].Data = []byte(strings.Repeat("R", rapid.SampledFrom([]int{0, 5, 9000}).Draw(rt, "size")))
				if _, err := m.log.Replace(ctx, owner, all[i].ID, all[i].Data); err != nil {
					rt.Fatal(err)
				}
			case what == "trim":
				i := pick()
				if _, err := m.log.Trim(ctx, owner, all[i].ID); err != nil {
					rt.Fatal(err)
				}
				model[owner] = all[i:]
			}
		}
		var have, want []string
		if err := m.log.Owners(ctx, func(owner string) bool { have = append(have, owner); return true }); err != nil {
			rt.Fatal(err)
		}
		for _, owner := range owners {
			if len(model[owner]) > 0 {
				want = append(want, owner)
			}
		}
		if slices.Sort(have); !slices.Equal(have, want) {
			rt.Fatalf("owners %q, want %q", have, want)
		}
		for _, owner := range owners {
			for _, peer := range append(peers, "none") {
				for _, backward := range []bool{false, true} {
					var want []storage.Record
					for _, r := range model[owner] {
						if peer == "" || r.Peer == peer {
							want = append(want, r)
						}
					}
					q := storage.Query{Peer: peer, Backward: backward, Limit: 7}
					if n := len(want); n > 0 {
						from, to := rapid.IntRange(0, n).Draw(rt, "from"), rapid.IntRange(0, n).Draw(rt, "to")
						if from > 0 {
							q.After = want[from-1].ID
						}
						if to < n {
							q.Before = want[to].ID
						}
						want = want[from:max(from, to)]
					}
					more := len(want) > 7
					if more && backward {
						want = want[len(want)-7:]
					} else if more {
						want = want[:7]
					}
					got, gotMore, err := m.log.Page(ctx, owner, q)
					if err != nil || len(got) != len(want) || gotMore != more {
						rt.Fatalf("%s, %+v: %d records, more %v, %v; want %d, %v", owner, q, len(got), gotMore, err, len(want), more)
					}
					for i := range got {
						if got[i].ID != want[i].ID || got[i].Peer != want[i].Peer || !bytes.Equal(got[i].Data, want[i].Data) {
							rt.Fatalf("%s, %+v: record %d is %d of %q", owner, q, i, got[i].ID, got[i].Peer)
						}
					}
				}
			}
			for _, r := range model[owner] {
				if got, err := m.log.Get(ctx, owner, r.ID); err != nil || !bytes.Equal(got.Data, r.Data) || got.Peer != r.Peer {
					rt.Fatalf("get %d of %s: %v", r.ID, owner, err)
				}
			}
			bytes := int64(0)
			for _, r := range model[owner] {
				bytes += int64(len(r.Data))
			}
			if n, size, err := m.log.Size(ctx, owner); err != nil || n != len(model[owner]) || size != bytes {
				rt.Fatalf("size of %s: %d, %d, %v; want %d, %d", owner, n, size, err, len(model[owner]), bytes)
			}
		}
	})
}

func TestRecordsShareBlocks(t *testing.T) {
	m := openMerged(t)
	var last uint64
	for i := range 1000 {
		r := storage.Record{Peer: fmt.Sprint("p", i%3), Data: make([]byte, 300)}
		id, _, _, err := m.log.Append(t.Context(), "romeo", r, storage.AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if last = id; i%10 == 9 {
			m.mergeNow(t)
		}
	}
	if n := m.sound(t); n < 30 || n > 60 {
		t.Errorf("a thousand records lie in %d blocks", n)
	}
	if _, err := m.log.Trim(t.Context(), "romeo", last); err != nil {
		t.Fatal(err)
	}
	m.mergeNow(t)
	if n := m.sound(t); n != 1 {
		t.Errorf("one record lies in %d blocks", n)
	}
}

// A queue of messages that is emptied as a whole and written to in the same moment: bbolt's cursors find no end in a
// bucket all of whose pages have been emptied, and nothing before one of them.
func TestAMergeThatRemovesAllBlocksAddsOthers(t *testing.T) {
	for name, c := range map[string]struct {
		kept  string
		added []string
	}{
		"none stays, behind":               {"", []string{"zoe", "zoe2"}},
		"none stays, in front and between": {"", []string{"early", "owner100a", "owner150a", "zoe"}},
		"the first stays":                  {"owner000", []string{"owner150a", "zoe"}},
		"one in the middle stays":          {"owner100", []string{"early", "owner150a", "zoe"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := openMerged(t)
			owner := func(i int) string { return fmt.Sprintf("owner%03d", i) }
			add := func(owner string) {
				r := storage.Record{Data: make([]byte, 900)} // four on a page
				if _, _, _, err := m.log.Append(t.Context(), owner, r, storage.AppendOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 200 {
				add(owner(i))
			}
			m.mergeNow(t)
			for i := range 200 {
				if owner(i) == c.kept {
					continue
				}
				if _, err := m.log.Trim(t.Context(), owner(i), ^uint64(0)); err != nil {
					t.Fatal(err)
				}
			}
			for _, o := range c.added {
				add(o)
			}
			m.mergeNow(t)
			all := c.added
			if c.kept != "" {
				all = append(all, c.kept)
			}
			if n := m.sound(t); n != len(all) {
				t.Errorf("%d blocks, want %d", n, len(all))
			}
			for _, o := range all {
				got, _, err := m.log.Page(t.Context(), o, storage.Query{Limit: 10})
				if err != nil || len(got) != 1 {
					t.Errorf("%s has %d records, %v", o, len(got), err)
				}
			}
		})
	}
}

func TestBlocksThatAreDamagedAreErrors(t *testing.T) {
	good := appendRecord([]byte{blockFormat}, record{id: 5}, record{7, []byte("p"), []byte("data")})
	if got, err := readBlock(nil, 5, good, nil); err != nil || len(got) != 1 || got[0].id != 7 ||
		string(got[0].peer) != "p" || string(got[0].data) != "data" {
		t.Fatalf("%v, %v", got, err)
	}
	for i := range good {
		if i != 1 {
			if _, err := readBlock(nil, 5, good[:i], nil); err == nil {
				t.Errorf("the first %d of %d bytes passed for a block", i, len(good))
			}
		}
	}
	m := openMerged(t)
	if _, _, _, err := m.log.Append(t.Context(), "romeo", storage.Record{Peer: "p", Data: []byte("x")},
		storage.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	m.mergeNow(t)
	err := m.tree.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("karchive"))
		k, _ := b.Cursor().First()
		return b.Put(bytes.Clone(k), []byte{99})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []storage.Query{{}, {Backward: true}, {Peer: "p"}, {Peer: "p", Backward: true}} {
		if _, _, err := m.log.Page(t.Context(), "romeo", q); err == nil {
			t.Errorf("%+v: a damaged block was read", q)
		}
	}
}

func FuzzReadBlock(f *testing.F) {
	f.Add(appendRecord([]byte{blockFormat}, record{id: 5}, record{7, []byte("p"), []byte("data")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if records, err := readBlock(nil, 1, b, nil); err == nil {
			again := []byte{blockFormat}
			prev := record{id: 1}
			for _, r := range records {
				again, prev = appendRecord(again, prev, r), r
			}
			if back, err := readBlock(nil, 1, again, nil); err != nil || len(back) != len(records) {
				t.Errorf("%d records became %d, %v", len(records), len(back), err)
			}
		}
	})
}

func TestTreeOfAnEarlierVersionIsBroughtIntoBlocks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	e, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	tree, err := bbolt.Open(filepath.Join(dir, "store.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = tree.Update(func(tx *bbolt.Tx) error {
		records, err := tx.CreateBucket([]byte("larchive"))
		if err != nil {
			return err
		}
		peers, err := tx.CreateBucket([]byte("parchive"))
		if err != nil {
			return err
		}
		for _, owner := range []string{"juliet", "romeo"} {
			for i := range 100 {
				k := binary.BigEndian.AppendUint64([]byte(owner+"\x00"), uint64(1000+i))
				if err := records.Put(append(k, "nurse"...), bytes.Repeat([]byte{byte(i)}, 200)); err != nil {
					return err
				}
				if err := peers.Put(binary.BigEndian.AppendUint64([]byte(owner+"\x00nurse\x00"), uint64(1000+i)), nil); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if e, err = Open(dir); err != nil {
			t.Fatal(err)
		}
		for _, owner := range []string{"juliet", "romeo"} {
			page, more, err := e.Log("archive").Page(t.Context(), owner, storage.Query{Peer: "nurse", After: 1009, Limit: 50})
			if err != nil || !more || len(page) != 50 || page[0].ID != 1010 || page[0].Data[0] != 10 || page[0].Peer != "nurse" {
				t.Errorf("%s: %d records, %v, %v", owner, len(page), more, err)
			}
			if n, size, err := e.Log("archive").Size(t.Context(), owner); err != nil || n != 100 || size != 20000 {
				t.Errorf("size: %d, %d, %v", n, size, err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
