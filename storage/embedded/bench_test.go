package embedded

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jackdaw/storage"
)

func cpu() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func openBench(b *testing.B) *engine {
	n, _ := strconv.Atoi(os.Getenv("JB"))
	s, err := OpenWith(filepath.Join(b.TempDir(), "data"), Options{JournalBytes: n << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() }) // the benchmark is over
	return s.(*engine)
}

// originID is a Dedup value as clients make them: each at random.
func originID() string { return fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64()) }

// fill appends b.N records of 300 bytes, waiting after every so many; two records are a message.
func fill(b *testing.B, s *engine, owners, window int, o storage.AppendOptions, peers bool) {
	l := s.Log("archive")
	data := make([]byte, 300)
	for i := range data {
		data[i] = byte('a' + rand.IntN(26))
	}
	b.ReportAllocs()
	b.ResetTimer()
	start := cpu()
	var last *storage.Pending
	for i := range b.N {
		a := rand.IntN(owners)
		r := storage.Record{Data: strconv.AppendInt(data[:290], int64(i), 10)} // no two are the same
		if peers {
			r.Peer = fmt.Sprintf("user%d@localhost", (a+1+i%20)%owners)
		}
		if o.Dedup != "" {
			o.Dedup = originID()
		}
		_, _, p, err := l.Append(b.Context(), fmt.Sprintf("user%d@localhost", a), r, o)
		if err != nil {
			b.Fatal(err)
		}
		if last = p; i%window == window-1 {
			if err := p.Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := last.Wait(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64((cpu()-start).Nanoseconds())/float64(b.N), "cpu-ns/record")
}

func BenchmarkArchiveOfThousandOwners(b *testing.B) {
	fill(b, openBench(b), 1000, 200, storage.AppendOptions{}, true)
}

func BenchmarkArchiveWithDedup(b *testing.B) {
	fill(b, openBench(b), 1000, 200, storage.AppendOptions{Dedup: "x"}, true)
}

func BenchmarkOfflineOfHundredOwners(b *testing.B) {
	fill(b, openBench(b), 100, 50, storage.AppendOptions{Dedup: "x", MaxRecords: 1 << 30}, false)
}

func BenchmarkOfflineOfOneOwner(b *testing.B) {
	fill(b, openBench(b), 1, 50, storage.AppendOptions{Dedup: "x", MaxRecords: 1 << 30}, false)
}

func BenchmarkAppendOneByOne(b *testing.B) {
	fill(b, openBench(b), 1000, 1, storage.AppendOptions{}, true)
}

// The cost of a page must not grow with the archive.
func BenchmarkPage(b *testing.B) {
	for _, n := range []int{1000, 300_000} {
		for _, peer := range []string{"", "user7@localhost"} {
			b.Run(fmt.Sprintf("of %d, peer %q", n, peer), func(b *testing.B) {
				s := openBench(b)
				l := s.Log("archive")
				var p *storage.Pending
				for i := range n {
					r := storage.Record{Peer: fmt.Sprintf("user%d@localhost", i%10), Data: make([]byte, 300)}
					_, _, pending, err := l.Append(b.Context(), "romeo", r, storage.AppendOptions{})
					if p = pending; err != nil {
						b.Fatal(err)
					}
				}
				if err := p.Wait(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					page, more, err := l.Page(b.Context(), "romeo", storage.Query{Peer: peer, Limit: 50, Backward: true})
					if err != nil || !more || len(page) != 50 {
						b.Fatal(len(page), more, err)
					}
				}
			})
		}
	}
}

// Fifty pairs that talk, both sides archived.
func BenchmarkArchiveOfFiftyPairs(b *testing.B) {
	l, data := openBench(b).Log("archive"), make([]byte, 300)
	b.ReportAllocs()
	b.ResetTimer()
	start := cpu()
	var last *storage.Pending
	for i := range b.N {
		owner, peer := i/2%50*2+i%2, i/2%50*2+1-i%2
		_, _, p, err := l.Append(b.Context(), fmt.Sprintf("user%d@localhost", owner),
			storage.Record{Peer: fmt.Sprintf("user%d@localhost", peer),
				Data: strconv.AppendInt(data[:290], int64(i/2), 10)}, storage.AppendOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if last = p; i%500 == 499 {
			if err := p.Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := last.Wait(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64((cpu()-start).Nanoseconds())/float64(b.N), "cpu-ns/record")
}

// Sixteen who wait for each answer before they write again, as posts to clients with stream management do: a copy is
// kept and removed when the client has it.
func BenchmarkKeptCopiesOfSixteen(b *testing.B) {
	s := openBench(b)
	var groups atomic.Int64
	s.Observe(func(time.Duration) { groups.Add(1) })
	l, data := s.Log("offline"), make([]byte, 300)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	start := cpu()
	for range 16 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				owner, o := fmt.Sprintf("user%d@localhost", i%100), storage.AppendOptions{Dedup: originID()}
				id, _, p, err := l.Append(b.Context(), owner, storage.Record{Data: data}, o)
				if err == nil {
					err = p.Wait(b.Context())
				}
				if err == nil {
					_, err = l.Remove(b.Context(), owner, id)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((cpu()-start).Nanoseconds())/float64(b.N), "cpu-ns/record")
	b.ReportMetric(float64(groups.Load())/float64(b.N), "groups/record")
}
