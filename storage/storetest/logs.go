package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"jackdaw/storage"
)

var logTests = []test{
	{"RecordIsReadBeforeItIsDurableAndAfterReopening", func(b *bench) {
		l := b.Log("archive")
		id := b.add(l, "romeo", "juliet", "soft!")
		for range 2 {
			r, err := b.Log("archive").Get(b.ctx, "romeo", id)
			b.must(err)
			b.equal("record", words(r.ID == id, r.Peer, string(r.Data)), "true juliet soft!")
			b.equal("time", r.Time().Equal(b.now()), true)
			b.size(b.Log("archive"), "romeo", 1, 5)
			b.reopen()
		}
		_, err := b.Log("archive").Get(b.ctx, "romeo", id+1)
		b.want(err, storage.ErrNotFound)
		_, err = b.Log("offline").Get(b.ctx, "romeo", id)
		b.want(err, storage.ErrNotFound)
	}},
	{"DataIsCopied", func(b *bench) {
		data := []byte("mine")
		id, _, _, err := b.Log("archive").Append(b.ctx, "romeo", storage.Record{Data: data}, storage.AppendOptions{})
		b.must(err)
		data[0] = 'X'
		r, err := b.Log("archive").Get(b.ctx, "romeo", id)
		b.must(err)
		b.equal("data", string(r.Data), "mine")
	}},
	{"IdsAreTheTimeAndRiseAlthoughTheClockStands", func(b *bench) {
		ids := b.fill(b.Log("archive"), "romeo", 5)
		b.equal("first id", ids[0], uint64(b.clock.Load()))
		b.equal("sorted", slices.IsSorted(ids), true)
		b.advance(time.Second)
		b.equal("id after a second", b.add(b.Log("archive"), "romeo", "", "x"), uint64(b.clock.Load()))
	}},
	{"IdsRiseAlthoughTheClockGoesBack", func(b *bench) {
		last := b.add(b.Log("archive"), "romeo", "", "x")
		b.advance(-time.Hour)
		for range 3 {
			id := b.add(b.Log("archive"), "romeo", "", "x")
			if id <= last {
				b.Fatalf("id %d after %d", id, last)
			}
			last = id
			b.reopen()
		}
	}},
	{"IdsRiseAlthoughTheLastRecordWasRemoved", func(b *bench) {
		last := b.fill(b.Log("archive"), "romeo", 3)
		b.durable(b.Log("archive").Remove(b.ctx, "romeo", last...))
		b.reopen()
		if id := b.add(b.Log("archive"), "romeo", "", "x"); id <= last[2] {
			b.Fatalf("id %d after %d", id, last[2])
		}
		b.advance(-time.Hour)
		b.durable(b.Log("archive").Trim(b.ctx, "romeo", ^uint64(0)))
		b.reopen()
		if id := b.add(b.Log("archive"), "romeo", "", "x"); id <= last[2]+1 {
			b.Fatalf("id %d after %d", id, last[2]+1)
		}
	}},
	{"ARecordGetsTheIdThatItIsToHave", func(b *bench) {
		l := b.Log("archive")
		long := uint64(b.clock.Load()) - 1e12
		at := func(id uint64) (uint64, *storage.Pending, error) {
			got, _, p, err := l.Append(b.ctx, "romeo", storage.Record{Peer: "juliet", Data: []byte("old")},
				storage.AppendOptions{At: id})
			return got, p, err
		}
		for i := range uint64(100) {
			id, p, err := at(long + 2*i)
			b.durable(p, err)
			b.equal("id", id, long+2*i)
		}
		for _, id := range []uint64{1, long + 197, long + 198} {
			_, _, err := at(id)
			b.want(err, storage.ErrConflict)
		}
		b.reopen()
		l = b.Log("archive")
		_, _, err := at(long + 198)
		b.want(err, storage.ErrConflict)
		b.size(l, "romeo", 100, 300)
		if id := b.add(l, "romeo", "juliet", "new"); id < uint64(b.clock.Load()) {
			b.Fatalf("what comes now got the id %d", id)
		}
		page, more, err := l.Page(b.ctx, "romeo", storage.Query{Peer: "juliet", After: long + 190, Limit: 10})
		b.must(err)
		b.equal("page", words(len(page), more, page[0].ID, string(page[4].Data)), words(5, false, long+192, "new"))
	}},
	{"IdsAreUniqueUnderConcurrency", func(b *bench) {
		l := b.Log("archive")
		const workers, each = 8, 50
		ids := make([][]uint64, workers)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range each {
					for _, owner := range []string{"shared", fmt.Sprint("own", w)} {
						id, _, _, err := l.Append(b.ctx, owner, storage.Record{Data: fmt.Append(nil, w, " ", i)}, storage.AppendOptions{})
						if err != nil {
							b.Error(err)
							return
						}
						if owner == "shared" {
							ids[w] = append(ids[w], id)
						}
					}
				}
			})
		}
		wg.Wait()
		all := slices.Concat(ids...)
		slices.Sort(all)
		b.equal("distinct ids", len(slices.Compact(all)), workers*each)
		for w := range workers {
			b.equal("ids of one writer rise", slices.IsSorted(ids[w]), true)
			data, _ := b.page(l, fmt.Sprint("own", w), storage.Query{Limit: each + 1})
			b.equal("records of one owner", len(data), each)
			for i := range data {
				b.equal("record", data[i], fmt.Sprintf("%d %d", w, i))
			}
		}
		b.reopen()
		data, more := b.page(b.Log("archive"), "shared", storage.Query{Limit: workers*each + 1})
		b.equal("records after reopening", words(len(data), more), words(workers*each, false))
	}},
	{"ReplacedRecordKeepsItsPlace", func(b *bench) {
		l := b.Log("archive")
		ids := []uint64{b.add(l, "romeo", "juliet", "one"), b.add(l, "romeo", "nurse", "two"),
			b.add(l, "romeo", "juliet", "three")}
		data := []byte("gone now")
		b.durable(l.Replace(b.ctx, "romeo", ids[0], data))
		data[0] = 'X'
		for range 2 {
			l := b.Log("archive")
			r, err := l.Get(b.ctx, "romeo", ids[0])
			b.must(err)
			b.equal("record", words(r.ID == ids[0], r.Peer, string(r.Data)), "true juliet gone now")
			all, _ := b.page(l, "romeo", storage.Query{})
			b.equal("all", words(all[0], all[1], all[2], len(all)), "gone now two three 3")
			some, _ := b.page(l, "romeo", storage.Query{Peer: "juliet"})
			b.equal("by peer", words(some[0], some[1], len(some)), "gone now three 2")
			b.size(l, "romeo", 3, 16)
			b.reopen()
		}
		l = b.Log("archive")
		b.durable(l.Remove(b.ctx, "romeo", ids[1]))
		for _, id := range []uint64{0, ids[1], ids[2] + 1, ^uint64(0)} {
			_, err := l.Replace(b.ctx, "romeo", id, []byte("x"))
			b.want(err, storage.ErrNotFound)
		}
		_, err := l.Replace(b.ctx, "juliet", ids[0], []byte("x"))
		b.want(err, storage.ErrNotFound)
		b.size(l, "romeo", 2, 13)
	}},
	{"QuotaByNumber", func(b *bench) {
		l, o := b.Log("offline"), storage.AppendOptions{MaxRecords: 2}
		var ids []uint64
		for range 2 {
			id, _, _, err := l.Append(b.ctx, "romeo", storage.Record{Data: []byte("12345")}, o)
			b.must(err)
			ids = append(ids, id)
		}
		_, _, _, err := l.Append(b.ctx, "romeo", storage.Record{Data: nil}, o)
		b.want(err, storage.ErrFull)
		b.size(l, "romeo", 2, 10)
		b.reopen()
		l = b.Log("offline")
		_, _, _, err = l.Append(b.ctx, "romeo", storage.Record{Data: []byte("x")}, o)
		b.want(err, storage.ErrFull)
		b.durable(l.Remove(b.ctx, "romeo", ids[0]))
		_, _, _, err = l.Append(b.ctx, "romeo", storage.Record{Data: []byte("x")}, o)
		b.must(err)
		_, _, _, err = l.Append(b.ctx, "juliet", storage.Record{Data: []byte("x")}, o)
		b.must(err)
	}},
	{"QuotaByBytes", func(b *bench) {
		l, o := b.Log("offline"), storage.AppendOptions{MaxBytes: 10}
		_, _, _, err := l.Append(b.ctx, "romeo", storage.Record{Data: make([]byte, 11)}, o)
		b.want(err, storage.ErrFull)
		_, _, _, err = l.Append(b.ctx, "romeo", storage.Record{Data: make([]byte, 10), Peer: "does not count"}, o)
		b.must(err)
		_, _, _, err = l.Append(b.ctx, "romeo", storage.Record{Data: make([]byte, 1)}, o)
		b.want(err, storage.ErrFull)
		b.size(l, "romeo", 1, 10)
	}},
	{"OnePeerGetsNoMoreThanItsShareOfTheRecords", func(b *bench) {
		l, o := b.Log("offline"), storage.AppendOptions{MaxRecords: 40, Fair: true}
		fill := func(peer string) (n int) {
			for ; ; n++ {
				_, _, _, err := l.Append(b.ctx, "romeo", storage.Record{Peer: peer, Data: []byte("x")}, o)
				if err != nil {
					b.want(err, storage.ErrFull)
					return n
				}
			}
		}
		b.equal("of the first", fill("evil.example"), 10)
		b.reopen()
		l = b.Log("offline")
		b.equal("of the first again", fill("evil.example"), 0)
		b.equal("of one whose name begins like it", fill("evil.example.org"), 7) // 3*8 > 40-18
		if n := fill("friend.example"); n == 0 {
			b.Fatal("nothing is left for a third one")
		}
		o.Fair = false
		if n := fill("contact.example"); n < 10 {
			b.Fatalf("only %d of what is not shared", n)
		}
		b.size(l, "romeo", 40, 40)
		records, _, err := l.Page(b.ctx, "romeo", storage.Query{Peer: "evil.example", Limit: 3})
		b.must(err)
		for _, r := range records {
			b.durable(l.Remove(b.ctx, "romeo", r.ID))
		}
		o.Fair = true
		b.equal("of a new one when little is free", fill("new.example"), 0) // 3*1 > 40-38
	}},
	{"OnePeerGetsNoMoreThanItsShareOfTheBytes", func(b *bench) {
		l, o := b.Log("offline"), storage.AppendOptions{MaxBytes: 4000, Fair: true}
		add := func(peer string, n int) error {
			_, _, _, err := l.Append(b.ctx, "romeo", storage.Record{Peer: peer, Data: make([]byte, n)}, o)
			return err
		}
		b.must(add("evil.example", 600))
		b.want(add("evil.example", 401), storage.ErrFull)
		b.must(add("evil.example", 400))
		b.want(add("evil.example", 1), storage.ErrFull)
		b.must(add("friend.example", 700))
		b.must(add("", 2000))
		b.want(add("late.example", 200), storage.ErrFull)
		b.size(l, "romeo", 4, 3700)
	}},
	{"QuotaHoldsUnderConcurrency", func(b *bench) {
		l := b.Log("offline")
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				for range 20 {
					_, _, _, _ = l.Append(b.ctx, "romeo", storage.Record{Data: []byte("x")},
						storage.AppendOptions{MaxRecords: 50}) // most are refused
				}
			})
		}
		wg.Wait()
		b.size(l, "romeo", 50, 50)
	}},
	{"RemoveDeletesWhatIsThere", func(b *bench) {
		l := b.Log("offline")
		ids := b.fill(l, "romeo", 4)
		b.durable(l.Remove(b.ctx, "romeo", ids[1], 12345, ids[1], ids[3]))
		b.durable(l.Remove(b.ctx, "romeo", ids[1]))
		b.durable(l.Remove(b.ctx, "romeo"))
		b.durable(l.Remove(b.ctx, "nobody", 1))
		for range 2 {
			data, _ := b.page(b.Log("offline"), "romeo", storage.Query{})
			b.equal("what is left", data, []string{"0", "2"})
			b.size(b.Log("offline"), "romeo", 2, 2)
			b.reopen()
		}
	}},
	{"RemovalOfNothingWaitsForTheRemovalBefore", func(b *bench) {
		l := b.Log("offline")
		for name, again := range map[string]func(id uint64) (*storage.Pending, error){
			"Remove":      func(id uint64) (*storage.Pending, error) { return l.Remove(b.ctx, "romeo", id) },
			"Trim":        func(uint64) (*storage.Pending, error) { return l.Trim(b.ctx, "romeo", ^uint64(0)) },
			"DeleteOwner": func(uint64) (*storage.Pending, error) { return l.DeleteOwner(b.ctx, "romeo") },
		} {
			for range 3 {
				id := b.add(l, "romeo", "", "x")
				first, err := again(id)
				b.must(err)
				b.durable(again(id))
				b.finished("the second "+name, first)
			}
		}
	}},
	{"TrimByAge", func(b *bench) {
		l := b.Log("archive")
		b.add(l, "romeo", "juliet", "old")
		b.add(l, "romeo", "", "old too")
		b.advance(time.Hour)
		border := b.now()
		b.add(l, "romeo", "juliet", "new")
		b.durable(l.Trim(b.ctx, "romeo", storage.IDAt(border)))
		for range 2 {
			data, _ := b.page(b.Log("archive"), "romeo", storage.Query{})
			b.equal("what is left", data, []string{"new"})
			data, _ = b.page(b.Log("archive"), "romeo", storage.Query{Peer: "juliet"})
			b.equal("what is left of the peer", data, []string{"new"})
			b.size(b.Log("archive"), "romeo", 1, 3)
			b.reopen()
		}
	}},
	{"TrimBelowAnID", func(b *bench) {
		l := b.Log("archive")
		ids := b.fill(l, "romeo", 10)
		b.durable(l.Trim(b.ctx, "romeo", 0))
		b.durable(l.Trim(b.ctx, "romeo", ids[0]))
		b.size(l, "romeo", 10, 10)
		b.durable(l.Trim(b.ctx, "romeo", ids[6]))
		data, _ := b.page(l, "romeo", storage.Query{})
		b.equal("what is left", data, []string{"6", "7", "8", "9"})
		b.durable(l.Trim(b.ctx, "romeo", ids[8]))
		data, _ = b.page(l, "romeo", storage.Query{})
		b.equal("what is left", data, []string{"8", "9"})
		b.durable(l.Trim(b.ctx, "nobody", ids[8]))
		b.reopen()
		b.size(b.Log("archive"), "romeo", 2, 2)
	}},
	{"SizeHoldsOverManyReopenings", func(b *bench) {
		n := 0
		for round := range 6 {
			for range 7*round + 20 {
				b.add(b.Log("archive"), "romeo", "p", "ab")
				n++
			}
			b.reopen()
			b.size(b.Log("archive"), "romeo", n, int64(2*n))
		}
	}},
	{"DeleteOwnerForgetsRecordsAndDedup", func(b *bench) {
		l := b.Log("archive")
		for _, owner := range strange {
			_, _, _, err := l.Append(b.ctx, owner, storage.Record{Peer: "p", Data: []byte(owner)},
				storage.AppendOptions{Dedup: "d"})
			b.must(err)
		}
		for i := 0; i < len(strange); i += 2 {
			b.durable(l.DeleteOwner(b.ctx, strange[i]))
		}
		b.durable(l.DeleteOwner(b.ctx, "nobody"))
		for range 2 {
			l = b.Log("archive")
			for i, owner := range strange {
				data, _ := b.page(l, owner, storage.Query{})
				peers, _ := b.page(l, owner, storage.Query{Peer: "p"})
				_, _, err := l.Lookup(b.ctx, owner, "d")
				if i%2 == 0 {
					b.equal("records of "+owner, len(data)+len(peers), 0)
					b.want(err, storage.ErrNotFound)
					b.size(l, owner, 0, 0)
				} else {
					b.must(err)
					b.equal("records of "+owner, data, []string{owner})
					b.equal("records of "+owner, peers, []string{owner})
				}
			}
			b.reopen()
		}
		_, dup, _, err := b.Log("archive").Append(b.ctx, strange[0], storage.Record{Data: []byte("again")},
			storage.AppendOptions{Dedup: "d"})
		b.must(err)
		b.equal("dup after DeleteOwner", dup, false)
	}},
	{"OwnersAreThoseWithRecords", func(b *bench) {
		l := b.Log("archive")
		b.equal("owners of an empty log", b.owners("archive"), []string{})
		for _, owner := range strange {
			b.add(l, owner, "p", "x")
			b.add(b.Log("offline"), owner+"2", "", "x")
		}
		gone := b.fill(l, "gone", 2)
		b.durable(l.Remove(b.ctx, "gone", gone...))
		b.add(l, "deleted", "", "x")
		b.durable(l.DeleteOwner(b.ctx, "deleted"))
		want := slices.Sorted(slices.Values(strange))
		for range 2 {
			b.equal("owners", b.owners("archive"), want)
			b.reopen()
		}
		seen := 0
		b.must(b.Log("archive").Owners(b.ctx, func(string) bool { seen++; return seen < 3 }))
		b.equal("owners seen until f returned false", seen, 3)
		// f may use the engine.
		b.must(b.Log("archive").Owners(b.ctx, func(owner string) bool {
			b.durable(b.Log("archive").DeleteOwner(b.ctx, owner))
			return true
		}))
		b.equal("owners", b.owners("archive"), []string{})
	}},
}

func (b *bench) owners(space string) []string {
	b.Helper()
	got := []string{}
	b.must(b.Log(space).Owners(b.ctx, func(owner string) bool { got = append(got, owner); return true }))
	slices.Sort(got)
	return got
}
