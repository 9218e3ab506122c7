package redis

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
)

// BenchmarkMessagesAtARate appends to the archives of two of a hundred owners, 2,000 times a second, as messages with
// an archive do: what Redis has to do for one, and when it is durable.
func BenchmarkMessagesAtARate(b *testing.B) {
	const rate, owners = 2000, 100
	s := redistest.Start(b)
	e, err := Open(b.Context(), Options{Addrs: []string{s.Addr}})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	l := e.Log("archive")
	append2 := func(i int) (*storage.Pending, *storage.Pending) {
		var both [2]*storage.Pending
		for k, owner := range []int{i % owners, (i + owners/2) % owners} {
			r := storage.Record{Peer: fmt.Sprintf("owner%d@montague.example", (owner+owners/2)%owners), Data: make([]byte, 200)}
			var err error
			if _, _, both[k], err = l.Append(b.Context(), fmt.Sprintf("owner%d@montague.example", owner), r,
				storage.AppendOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		return both[0], both[1]
	}
	for i := range owners { // claims and heads
		p, q := append2(i)
		if err := storage.Join(p, q).Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	before := commands(b, s)
	b.ResetTimer()
	begun := time.Now()
	for i := range b.N {
		if due := begun.Add(time.Duration(i) * time.Second / rate); time.Until(due) > 0 {
			<-time.After(time.Until(due))
		}
		at := time.Now()
		wg.Add(1)
		p, q := append2(i)
		storage.Join(p, q).Then(func(err error) {
			mu.Lock()
			took = append(took, time.Since(at))
			mu.Unlock()
			if err != nil {
				b.Error(err)
			}
			wg.Done()
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(commands(b, s)-before)/float64(b.N), "commands/msg")
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
