package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/storage"
)

var dedupTests = []test{
	{"SecondAppendIsDupWhileTheFirstIsOnItsWay", func(b *bench) {
		l := b.Log("offline")
		for i := range 20 {
			o := storage.AppendOptions{Dedup: fmt.Sprint("d", i)}
			id, dup, p1, err := l.Append(b.ctx, "romeo", storage.Record{Data: []byte("first")}, o)
			b.must(err)
			b.equal("dup", dup, false)
			again, dup, p2, err := l.Append(b.ctx, "romeo", storage.Record{Data: []byte("second")}, o)
			b.must(err)
			b.equal("dup and id", words(dup, again), words(true, id))
			b.durable(p2, nil)
			if done, _ := p1.Finished(); !done {
				b.Fatal("the second append was durable before the first")
			}
			b.size(l, "romeo", i+1, int64(5*(i+1)))
		}
	}},
	{"DedupSurvivesRemovalReopeningAndAlmostADay", func(b *bench) {
		o := storage.AppendOptions{Dedup: "stanza 1", MaxRecords: 1}
		id, _, p, err := b.Log("offline").Append(b.ctx, "romeo", storage.Record{Data: []byte("x")}, o)
		b.durable(p, err)
		b.durable(b.Log("offline").Remove(b.ctx, "romeo", id))
		for range 8 {
			b.reopen()
			b.advance(storage.DedupWindow/8 - time.Second)
			again, dup, p, err := b.Log("offline").Append(b.ctx, "romeo", storage.Record{Data: []byte("y")}, o)
			b.durable(p, err)
			b.equal("dup and id", words(dup, again), words(true, id))
			// Other writes may make the engine purge.
			b.add(b.Log("offline"), "juliet", "", "x")
		}
		b.size(b.Log("offline"), "romeo", 0, 0)
	}},
	{"DupIsToldAlthoughTheOwnerIsFull", func(b *bench) {
		o := storage.AppendOptions{Dedup: "d", MaxRecords: 1}
		id, _, _, err := b.Log("offline").Append(b.ctx, "romeo", storage.Record{Data: []byte("x")}, o)
		b.must(err)
		again, dup, _, err := b.Log("offline").Append(b.ctx, "romeo", storage.Record{Data: []byte("x")}, o)
		b.must(err)
		b.equal("dup and id", words(dup, again), words(true, id))
	}},
	{"WhatWasRefusedIsNotRemembered", func(b *bench) {
		l := b.Log("offline")
		first := b.add(l, "romeo", "", "x")
		o := storage.AppendOptions{Dedup: "d", MaxRecords: 1}
		_, _, _, err := l.Append(b.ctx, "romeo", storage.Record{Data: []byte("y")}, o)
		b.want(err, storage.ErrFull)
		b.durable(l.Remove(b.ctx, "romeo", first))
		_, dup, _, err := l.Append(b.ctx, "romeo", storage.Record{Data: []byte("y")}, o)
		b.must(err)
		b.equal("dup", dup, false)
		b.size(l, "romeo", 1, 1)
	}},
	{"DedupTellsOwnersSpacesAndValuesApart", func(b *bench) {
		for _, space := range []string{"archive", "offline"} {
			for _, owner := range strange {
				for _, d := range []string{"x", "xy", owner, "\x00"} {
					_, dup, _, err := b.Log(space).Append(b.ctx, owner, storage.Record{Data: []byte(space + owner + d)},
						storage.AppendOptions{Dedup: "-" + d})
					b.must(err)
					b.equal("dup", dup, false)
				}
			}
		}
		b.reopen()
		for _, space := range []string{"archive", "offline"} {
			for _, owner := range strange {
				r, _, err := b.Log(space).Lookup(b.ctx, owner, "-"+owner)
				b.must(err)
				b.equal("data", string(r.Data), space+owner+owner)
			}
		}
	}},
	{"OfConcurrentAppendsOneWrites", func(b *bench) {
		l := b.Log("offline")
		var wrote atomic.Int32
		ids := make([]uint64, 12)
		var wg sync.WaitGroup
		for w := range ids {
			wg.Go(func() {
				id, dup, p, err := l.Append(b.ctx, "romeo", storage.Record{Data: []byte("x")}, storage.AppendOptions{Dedup: "d"})
				if err != nil {
					b.Error(err)
				} else if err = p.Wait(b.ctx); err != nil {
					b.Error(err)
				}
				if ids[w] = id; !dup {
					wrote.Add(1)
				}
			})
		}
		wg.Wait()
		b.equal("writers that were not dup", wrote.Load(), 1)
		for _, id := range ids {
			b.equal("id", id, ids[0])
		}
		b.size(l, "romeo", 1, 1)
	}},
	{"LookupFindsTheRecordUntilItIsRemoved", func(b *bench) {
		l := b.Log("archive")
		id, _, _, err := l.Append(b.ctx, "romeo", storage.Record{Peer: "p", Data: []byte("x")},
			storage.AppendOptions{Dedup: "origin"})
		b.must(err)
		for range 2 {
			r, p, err := b.Log("archive").Lookup(b.ctx, "romeo", "origin")
			b.durable(p, err)
			b.equal("record", words(r.ID, r.Peer, string(r.Data)), words(id, "p", "x"))
			_, _, err = b.Log("archive").Lookup(b.ctx, "romeo", "another")
			b.want(err, storage.ErrNotFound)
			_, _, err = b.Log("archive").Lookup(b.ctx, "juliet", "origin")
			b.want(err, storage.ErrNotFound)
			_, _, err = b.Log("archive").Lookup(b.ctx, "romeo", "")
			b.want(err, storage.ErrNotFound)
			b.reopen()
		}
		b.durable(b.Log("archive").Remove(b.ctx, "romeo", id))
		_, _, err = b.Log("archive").Lookup(b.ctx, "romeo", "origin")
		b.want(err, storage.ErrNotFound)
	}},
	{"WhatIsFoundWaitsForTheFirstWrite", func(b *bench) {
		l := b.Log("archive")
		for i := range 20 {
			o := storage.AppendOptions{Dedup: fmt.Sprint("d", i)}
			id, _, first, err := l.Append(b.ctx, "romeo", storage.Record{Data: []byte("x")}, o)
			b.must(err)
			r, p, err := l.Lookup(b.ctx, "romeo", o.Dedup)
			b.durable(p, err)
			b.equal("id", r.ID, id)
			b.finished("what was found", first)
		}
	}},
	{"DedupHoldsOnTheFirstDaysOfTheClock", func(b *bench) {
		for _, start := range []time.Duration{-storage.DedupWindow, 0, storage.DedupWindow / 2,
			storage.DedupWindow - time.Second} {
			b.clock.Store(start.Microseconds())
			o := storage.AppendOptions{Dedup: fmt.Sprint("sent at ", start)}
			id, dup, _, err := b.Log("offline").Append(b.ctx, "romeo", storage.Record{Data: []byte("x")}, o)
			b.must(err)
			b.equal("dup", dup, false)
			for range 3 {
				again, dup, _, err := b.Log("offline").Append(b.ctx, "romeo", storage.Record{Data: []byte("x")}, o)
				b.must(err)
				b.equal("dup and id", words(dup, again), words(true, id))
				b.advance(storage.DedupWindow/3 - time.Second)
				b.reopen()
			}
		}
		b.size(b.Log("offline"), "romeo", 4, 4)
	}},
}
