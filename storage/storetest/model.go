package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"jackdaw/storage"
)

var modelTests = []test{
	{"PagesOfLargeRecordsInBothDirections", func(b *bench) {
		l := b.Log("archive")
		var all []storage.Record
		for i := range 60 {
			r := storage.Record{Peer: []string{"juliet", "nurse", ""}[i%3],
				Data: []byte(strings.Repeat(fmt.Sprint(i, " "), 2000))}
			var err error
			r.ID, _, _, err = l.Append(b.ctx, "romeo", r, storage.AppendOptions{})
			b.must(err)
			all = append(all, r)
		}
		for range 2 {
			b.walks(b.Log("archive"), all)
			b.reopen()
		}
	}},
	{"RecordsThatAreWrittenTogetherAreChangedOneByOne", func(b *bench) {
		random := rand.New(rand.NewPCG(1, 2))
		var all []storage.Record // what must be there
		for round := range 30 {
			l := b.Log("archive")
			for i := range random.IntN(40) {
				r := storage.Record{Peer: []string{"", "p", "pp", "p q"}[random.IntN(4)],
					Data: []byte(strings.Repeat("x", random.IntN(100)) + fmt.Sprint(round, "/", i))}
				var err error
				r.ID, _, _, err = l.Append(b.ctx, "romeo", r, storage.AppendOptions{})
				b.must(err)
				all = append(all, r)
			}
			for range 3 {
				b.changeOne(l, random, &all)
			}
			if round%4 == 3 {
				b.reopen()
			}
			b.walks(b.Log("archive"), all)
			size := int64(0)
			for _, r := range all {
				size += int64(len(r.Data))
			}
			b.size(b.Log("archive"), "romeo", len(all), size)
		}
	}},
}

// changeOne removes, replaces or trims records that may be on their way or at rest, in the log and in what must be
// there.
func (b *bench) changeOne(l storage.Log, random *rand.Rand, all *[]storage.Record) {
	b.Helper()
	if len(*all) == 0 {
		return
	}
	i := random.IntN(len(*all))
	switch r := &(*all)[i]; random.IntN(8) {
	case 0:
		b.durable(l.Trim(b.ctx, "romeo", (*all)[i/2].ID))
		*all = slices.Delete(*all, 0, i/2)
	case 1, 2:
		r.Data = fmt.Append(nil, "changed ", random.IntN(1000000))
		_, err := l.Replace(b.ctx, "romeo", r.ID, r.Data)
		b.must(err)
	default:
		end := min(i+random.IntN(3)+1, len(*all))
		var ids []uint64
		for _, r := range (*all)[i:end] {
			ids = append(ids, r.ID)
		}
		_, err := l.Remove(b.ctx, "romeo", append(ids, ids[0], 7)...)
		b.must(err)
		_, err = l.Get(b.ctx, "romeo", ids[0])
		b.want(err, storage.ErrNotFound)
		if _, err := l.Replace(b.ctx, "romeo", ids[0], nil); !errors.Is(err, storage.ErrNotFound) {
			b.Fatalf("a record that was removed is replaced: %v", err)
		}
		*all = slices.Delete(*all, i, end)
	}
}

// walks compares the pages of a log, in both directions, with what must be there.
func (b *bench) walks(l storage.Log, all []storage.Record) {
	b.Helper()
	for _, peer := range []string{"", "p", "juliet"} {
		var want []string
		for _, r := range all {
			if peer == "" || r.Peer == peer {
				want = append(want, words(r.ID, r.Peer, string(r.Data)))
			}
		}
		for _, limit := range []int{1000, 7} {
			var forward, backward []string
			q := storage.Query{Peer: peer, Limit: limit}
			for more := true; more; {
				var records []storage.Record
				var err error
				records, more, err = l.Page(b.ctx, "romeo", q)
				b.must(err)
				for _, r := range records {
					forward, q.After = append(forward, words(r.ID, r.Peer, string(r.Data))), r.ID
				}
			}
			q = storage.Query{Peer: peer, Limit: limit, Backward: true}
			for more := true; more; {
				var records []storage.Record
				var err error
				records, more, err = l.Page(b.ctx, "romeo", q)
				b.must(err)
				for _, r := range slices.Backward(records) {
					backward, q.Before = append(backward, words(r.ID, r.Peer, string(r.Data))), r.ID
				}
			}
			slices.Reverse(backward)
			b.equal("records", forward, want)
			b.equal("records backward", backward, want)
		}
	}
	if len(all) > 0 {
		r, err := l.Get(b.ctx, "romeo", all[len(all)/2].ID)
		b.must(err)
		b.equal("record", words(r.Peer, string(r.Data)), words(all[len(all)/2].Peer, string(all[len(all)/2].Data)))
	}
}
