package storetest

import (
	"fmt"
	"time"

	"jackdaw/storage"
)

var pageTests = []test{
	{"EmptyLogHasAnEmptyPage", func(b *bench) {
		for _, q := range []storage.Query{
			{}, {Backward: true}, {Peer: "p"}, {Peer: "p", Backward: true}, {After: 1}, {Before: 1},
		} {
			data, more := b.page(b.Log("archive"), "romeo", q)
			b.equal("page", words(data, more), "[] false")
		}
	}},
	{"HundredRecordsWithoutALimit", func(b *bench) {
		b.fill(b.Log("archive"), "romeo", 101)
		data, more := b.page(b.Log("archive"), "romeo", storage.Query{})
		b.equal("page", words(len(data), data[99], more), "100 99 true")
		data, more = b.page(b.Log("archive"), "romeo", storage.Query{Backward: true})
		b.equal("page", words(len(data), data[0], more), "100 1 true")
	}},
	{"EveryRangeInBothDirections", func(b *bench) {
		const n = 7
		l := b.Log("archive")
		ids := make([]uint64, n)
		for i := range ids {
			ids[i] = b.add(l, "romeo", []string{"juliet", "nurse"}[i%2], fmt.Sprint(i))
			b.add(l, "romeo@other", "juliet", "of another owner")
			b.advance(time.Duration(i) * time.Millisecond)
		}
		for round := range 3 {
			l = b.Log("archive")
			for after := -1; after < n; after++ {
				for before := 0; before <= n; before++ {
					for limit := 1; limit <= n+1; limit++ {
						for _, peer := range []string{"", "juliet", "nurse", "nobody"} {
							for _, backward := range []bool{false, true} {
								b.range1(l, ids, storage.Query{Peer: peer, Limit: limit, Backward: backward}, after, before)
							}
						}
					}
				}
			}
			if round == 0 {
				b.reopen()
			} else {
				// Half of it on its way, half of it at rest.
				ids = append(ids, b.add(b.Log("archive"), "romeo", []string{"juliet", "nurse"}[len(ids)%2], fmt.Sprint(len(ids))))
			}
		}
	}},
	{"PageWalksThroughEverythingOnce", func(b *bench) {
		b.fill(b.Log("archive"), "romeo", 95)
		b.reopen()
		for range 10 {
			b.add(b.Log("archive"), "romeo", "", "late")
		}
		q, seen := storage.Query{Limit: 10}, 0
		for more := true; more; {
			var records []storage.Record
			var err error
			records, more, err = b.Log("archive").Page(b.ctx, "romeo", q)
			b.must(err)
			if len(records) == 0 {
				b.Fatal("an empty page although there was more")
			}
			seen += len(records)
			q.After = records[len(records)-1].ID
		}
		b.equal("records seen", seen, 105)
	}},
	{"TimesAreIds", func(b *bench) {
		l := b.Log("archive")
		b.add(l, "romeo", "", "before")
		b.advance(time.Minute)
		noon := b.now()
		b.add(l, "romeo", "", "at")
		b.add(l, "romeo", "", "at, too")
		data, _ := b.page(l, "romeo", storage.Query{Before: storage.IDAt(noon)})
		b.equal("before", data, []string{"before"})
		data, _ = b.page(l, "romeo", storage.Query{After: storage.IDAt(noon) - 1})
		b.equal("from", data, []string{"at", "at, too"})
		b.equal("IDAt before 1970", storage.IDAt(time.UnixMicro(-5)), 0)
	}},
	{"StrangePeersAreKeptApart", func(b *bench) {
		l := b.Log("archive")
		for _, peer := range strange {
			b.add(l, "romeo", peer, peer)
		}
		b.reopen()
		for _, peer := range strange {
			records, _, err := b.Log("archive").Page(b.ctx, "romeo", storage.Query{Peer: peer})
			b.must(err)
			if len(records) != 1 || records[0].Peer != peer || string(records[0].Data) != peer {
				b.Errorf("records of peer %q: %+v", peer, records)
			}
		}
	}},
	{"RemovedRecordsLeaveThePages", func(b *bench) {
		l := b.Log("archive")
		var ids []uint64
		for i := range 6 {
			ids = append(ids, b.add(l, "romeo", "p", fmt.Sprint(i)))
		}
		b.reopen()
		l = b.Log("archive")
		b.durable(l.Remove(b.ctx, "romeo", ids[0], ids[5], ids[2]))
		for range 2 {
			for _, peer := range []string{"", "p"} {
				for _, backward := range []bool{false, true} {
					data, more := b.page(b.Log("archive"), "romeo", storage.Query{Peer: peer, Backward: backward, Limit: 3})
					b.equal("page", words(data, more), "[1 3 4] false")
					data, more = b.page(b.Log("archive"), "romeo", storage.Query{Peer: peer, Backward: backward, Limit: 2})
					b.equal("page", words(data, more), map[bool]string{false: "[1 3] true", true: "[3 4] true"}[backward])
				}
			}
			b.reopen()
		}
	}},
}

// range1 compares one page with what a plain loop over the records finds; after and before are indexes into ids, -1 and
// len(ids) leaving the range open.
func (b *bench) range1(l storage.Log, ids []uint64, q storage.Query, after, before int) {
	b.Helper()
	if after >= 0 {
		q.After = ids[after]
	}
	if before < len(ids) {
		q.Before = ids[before]
	}
	var want []string
	for i := after + 1; i < before; i++ {
		if peer := []string{"juliet", "nurse"}[i%2]; q.Peer == "" || q.Peer == peer {
			want = append(want, fmt.Sprint(i))
		}
	}
	wantMore := len(want) > q.Limit
	if wantMore && q.Backward {
		want = want[len(want)-q.Limit:]
	} else if wantMore {
		want = want[:q.Limit]
	}
	got, more := b.page(l, "romeo", q)
	if fmt.Sprint(got, more) != fmt.Sprint(want, wantMore) {
		b.Fatalf("page %+v after %d before %d: got %v, more %v; want %v, %v", q, after, before, got, more, want, wantMore)
	}
}
