package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/storage"
)

var lifeTests = []test{
	{"EngineIsWellAndSaysWhatItPromises", func(b *bench) {
		b.must(b.Err())
		if b.Promise() == "" {
			b.Error("no promise")
		}
	}},
	{"CommitsAreObserved", func(b *bench) {
		var n atomic.Int64
		b.Engine.(storage.Observer).Observe(func(d time.Duration) {
			if d <= 0 {
				b.Errorf("a commit took %v", d)
			}
			n.Add(1)
		})
		write := func() {
			_, _, p, err := b.Log("archive").Append(b.ctx, "romeo", storage.Record{}, storage.AppendOptions{})
			b.must(err)
			b.durable(p, nil)
		}
		for i := range int64(3) {
			write()
			b.equal("commits", fmt.Sprint(n.Load()), fmt.Sprint(i+1))
		}
		b.Engine.(storage.Observer).Observe(nil)
		write()
		b.equal("commits", fmt.Sprint(n.Load()), "3")
	}},
	{"PendingsFinishInTheOrderOfTheWrites", func(b *bench) {
		l, m := b.Log("archive"), b.Map("roster")
		const n = 300
		var mu sync.Mutex
		var finished []int
		pendings := make([]*storage.Pending, n)
		for i := range n {
			var err error
			if i%3 == 0 {
				_, pendings[i], err = m.Update(b.ctx, "romeo", storage.AnyVersion, storage.Change{Key: "k", Value: []byte("v")})
			} else {
				_, _, pendings[i], err = l.Append(b.ctx, fmt.Sprint("owner", i%7), storage.Record{Data: []byte("x")},
					storage.AppendOptions{})
			}
			b.must(err)
			pendings[i].Then(func(err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					b.Error(err)
				}
				finished = append(finished, i)
			})
		}
		b.durable(pendings[n-1], nil)
		for i, p := range pendings {
			if done, err := p.Finished(); !done || err != nil {
				b.Fatalf("write %d is not durable (%v), the last is", i, err)
			}
		}
		last := make(chan struct{})
		pendings[n-1].Then(func(error) { close(last) })
		<-last
		mu.Lock()
		defer mu.Unlock()
		b.equal("functions that ran, in order", words(len(finished), slices.IsSorted(finished)), "300 true")
	}},
	{"CloseFinishesWhatIsOnItsWay", func(b *bench) {
		var pendings []*storage.Pending
		for i := range 100 {
			_, _, p, err := b.Log("archive").Append(b.ctx, "romeo", storage.Record{Data: fmt.Append(nil, i)},
				storage.AppendOptions{})
			b.must(err)
			pendings = append(pendings, p)
		}
		b.must(b.Engine.Close())
		for _, p := range pendings {
			if done, err := p.Finished(); !done || err != nil {
				b.Fatalf("after Close a write is finished: %v, with %v", done, err)
			}
		}
		b.Engine = b.open(b.now)
		b.size(b.Log("archive"), "romeo", 100, 190)
	}},
	{"ClosedEngineSaysSo", func(b *bench) {
		l, m, a := b.Log("archive"), b.Map("roster"), b.Accounts()
		b.add(l, "romeo", "", "x")
		b.must(b.Engine.Close())
		calls := map[string]func() error{
			"Map.Get":    func() error { _, err := m.Get(b.ctx, "o", "k"); return err },
			"Map.List":   func() error { _, _, err := m.List(b.ctx, "o"); return err },
			"Map.Update": func() error { _, _, err := m.Update(b.ctx, "o", storage.AnyVersion); return err },
			"Map.Since":  func() error { _, _, _, err := m.Since(b.ctx, "o", 0); return err },
			"Map.DeleteOwner": func() error {
				_, err := m.DeleteOwner(b.ctx, "o")
				return err
			},
			"Log.Append": func() error {
				_, _, _, err := l.Append(b.ctx, "romeo", storage.Record{}, storage.AppendOptions{})
				return err
			},
			"Log.Page":        func() error { _, _, err := l.Page(b.ctx, "o", storage.Query{}); return err },
			"Log.Get":         func() error { _, err := l.Get(b.ctx, "o", 1); return err },
			"Log.Lookup":      func() error { _, _, err := l.Lookup(b.ctx, "o", "d"); return err },
			"Log.Remove":      func() error { _, err := l.Remove(b.ctx, "romeo", 1); return err },
			"Log.Trim":        func() error { _, err := l.Trim(b.ctx, "romeo", 1); return err },
			"Log.Size":        func() error { _, _, err := l.Size(b.ctx, "romeo"); return err },
			"Log.DeleteOwner": func() error { _, err := l.DeleteOwner(b.ctx, "o"); return err },
			"Log.Owners":      func() error { return l.Owners(b.ctx, func(string) bool { return true }) },
			"Accounts.Get":    func() error { _, err := a.Get(b.ctx, "u@x"); return err },
			"Accounts.Create": func() error { _, err := a.Create(b.ctx, storage.Account{User: "u@x"}); return err },
			"Accounts.Modify": func() error {
				_, err := a.Modify(b.ctx, "u@x", func(*storage.Account) error { return nil })
				return err
			},
			"Accounts.Delete": func() error { _, err := a.Delete(b.ctx, "u@x"); return err },
			"Accounts.List":   func() error { _, err := a.List(b.ctx, "", "", 1); return err },
			"Err":             b.Err,
			"Close":           b.Engine.Close,
		}
		for name, call := range calls {
			if err := call(); err == nil || fmt.Sprint(err) != storage.ErrClosed.Error() {
				b.Errorf("%s after Close: %v", name, err)
			}
		}
	}},
	{"EndedContextIsToldAndWritesNothing", func(b *bench) {
		ctx, cancel := context.WithCancel(b.ctx)
		cancel()
		_, _, _, err := b.Log("archive").Append(ctx, "romeo", storage.Record{Data: []byte("x")}, storage.AppendOptions{})
		b.want(err, context.Canceled)
		_, _, err = b.Map("roster").Update(ctx, "romeo", 0, storage.Change{Key: "k"})
		b.want(err, context.Canceled)
		b.size(b.Log("archive"), "romeo", 0, 0)
	}},
	{"NamesWithNULAreRefused", func(b *bench) {
		l := b.Log("archive")
		for i, r := range []struct{ owner, peer string }{{"a", ""}, {"a\x00b", ""}, {"a", "\x00"}, {"b", ""}} {
			_, _, _, err := l.Append(b.ctx, r.owner, storage.Record{Peer: r.peer}, storage.AppendOptions{})
			if refused := err != nil; refused != (i == 1 || i == 2) {
				b.Errorf("record %d: %v", i, err)
			}
		}
		b.equal("owners", b.owners("archive"), []string{"a", "b"})
		if _, _, err := b.Map("roster").Update(b.ctx, "a\x00b", 0); err == nil {
			b.Error("an owner with a NUL was taken")
		}
		if _, err := b.Accounts().Create(b.ctx, storage.Account{User: "a\x00@b"}); err == nil {
			b.Error("a user with a NUL was taken")
		}
	}},
	{"ManyOwnersAtOnce", func(b *bench) {
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 25 {
					owner := fmt.Sprint("owner", (w+i)%10)
					id, _, _, err := b.Log("archive").Append(b.ctx, owner, storage.Record{Peer: "p", Data: []byte("x")},
						storage.AppendOptions{Dedup: fmt.Sprint(w, "/", i)})
					if err == nil {
						_, err = b.Log("archive").Get(b.ctx, owner, id)
					}
					if err == nil {
						_, _, err = b.Log("archive").Page(b.ctx, owner, storage.Query{Peer: "p", Backward: true, Limit: 5})
					}
					if err == nil && i%2 == 0 {
						_, err = b.Log("archive").Remove(b.ctx, owner, id)
					}
					if err == nil {
						_, _, err = b.Map("roster").Update(b.ctx, owner, storage.AnyVersion,
							storage.Change{Key: fmt.Sprint(w), Value: []byte("x")})
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		b.reopen()
		records, updates := 0, uint64(0)
		for i := range 10 {
			n, size, err := b.Log("archive").Size(b.ctx, fmt.Sprint("owner", i))
			b.must(err)
			b.equal("bytes", size, n)
			data, _ := b.page(b.Log("archive"), fmt.Sprint("owner", i), storage.Query{Limit: 1000})
			b.equal("records", len(data), n)
			_, v, err := b.Map("roster").List(b.ctx, fmt.Sprint("owner", i))
			b.must(err)
			records, updates = records+n, updates+v
		}
		b.equal("records and updates", words(records, updates), "96 200")
	}},
}
