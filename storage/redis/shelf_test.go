package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
)

// give appends a record with a Dedup value, which it carries as its data.
func give(t *testing.T, e storage.Engine, owner, dedup string) (id uint64, dup bool, p *storage.Pending) {
	t.Helper()
	id, dup, p, err := e.Log("archive").Append(t.Context(), owner, storage.Record{Data: []byte(dedup)},
		storage.AppendOptions{Dedup: dedup})
	if err != nil {
		t.Fatalf("append for %s: %v", owner, err)
	}
	return id, dup, p
}

// unfinishedAfter fails the test if a write has an outcome within d.
func unfinishedAfter(t *testing.T, p *storage.Pending, d time.Duration) {
	t.Helper()
	limited, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := p.Wait(limited); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a write that Redis has not got has ended: %v", err)
	}
}

// finishes waits until a write is durable.
func finishes(t *testing.T, p *storage.Pending) {
	t.Helper()
	limited, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Wait(limited); err != nil {
		t.Fatalf("a write that was taken: %v", err)
	}
}

// refusedAtOnce checks that an owner takes nothing, and says so without waiting.
func refusedAtOnce(t *testing.T, e storage.Engine, owner string) {
	t.Helper()
	start := time.Now()
	_, _, p, err := e.Log("archive").Append(t.Context(), owner, storage.Record{}, storage.AppendOptions{})
	if !errors.Is(err, storage.ErrUnavailable) || p != nil {
		t.Errorf("append for %s: %v", owner, err)
	}
	if took := time.Since(start); took > Patience/2 {
		t.Errorf("it was refused after %v", took)
	}
}

// What was taken is not given up while Redis is away, however long: sessions have seen it, and a sender who was told to
// send it again would have them see it twice.
func TestWhatWasTakenWaitsForRedis(t *testing.T) {
	s := redistest.Start(t)
	e := open(t, Options{Addrs: []string{s.Addr}})
	_, _, p := give(t, e, "romeo", "before")
	finishes(t, p)
	s.Pause()
	first, _, p := give(t, e, "romeo", "on its way")
	_, _, second := give(t, e, "romeo", "behind it")
	unfinishedAfter(t, p, Patience+Patience/2)
	eventually(t, "the engine knows that Redis is away", func() bool { return e.Err() != nil })
	refusedAtOnce(t, e, "romeo")
	refusedAtOnce(t, e, "juliet")
	s.Wake()
	finishes(t, p)
	finishes(t, second)
	eventually(t, "the engine is well again", func() bool { return e.Err() == nil })
	id, dup, p := give(t, e, "romeo", "on its way")
	if !dup || id != first {
		t.Errorf("sent again it is %d, repeated %v; it was %d", id, dup, first)
	}
	finishes(t, p)
	if got := data(t, e, "romeo"); fmt.Sprint(got) != "[before on its way behind it]" {
		t.Errorf("records %q", got)
	}
}

// Nor is it when Redis is there and has no memory; what comes then is refused.
func TestWhatWasTakenWaitsForMemory(t *testing.T) {
	s := redistest.Start(t)
	e := open(t, Options{Addrs: []string{s.Addr}})
	_, _, p := give(t, e, "romeo", "before")
	finishes(t, p)
	s.CLI("config", "set", "maxmemory", "1")
	_, _, p = give(t, e, "romeo", "on its way")
	unfinishedAfter(t, p, Patience+Patience/2)
	refusedAtOnce(t, e, "romeo")
	s.CLI("config", "set", "maxmemory", "0")
	finishes(t, p)
	_, _, p = give(t, e, "romeo", "after")
	finishes(t, p)
	if got := data(t, e, "romeo"); fmt.Sprint(got) != "[before on its way after]" {
		t.Errorf("records %q", got)
	}
}

// Where a part of a cluster is away, what waits for it keeps the others from nothing: not from finishing, and not from
// having room.
func TestWhatWaitsForAPartKeepsOthersFromNothing(t *testing.T) {
	servers := redistest.StartCluster(t)
	for _, s := range servers {
		s.CLI("config", "set", "cluster-require-full-coverage", "no")
	}
	e := open(t, Options{Addrs: redistest.Addrs(servers)})
	here, there := ownersOf(t, e, servers[0].Addr)
	_, _, p := give(t, e, there, "before")
	finishes(t, p)
	_, _, p = give(t, e, here, "before")
	finishes(t, p)
	servers[0].Pause()
	_, _, waits, err := e.Log("archive").Append(t.Context(), there, storage.Record{Data: make([]byte, mostGathered)},
		storage.AppendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	unfinishedAfter(t, waits, Patience+Patience/2)
	for n := range 20 {
		_, _, p = give(t, e, here, fmt.Sprint(n))
		finishes(t, p)
	}
	unfinishedAfter(t, waits, 0)
	servers[0].Wake()
	finishes(t, waits)
}

// Nor does a part that has no memory.
func TestAPartWithoutMemoryKeepsOthersFromNothing(t *testing.T) {
	servers := redistest.StartCluster(t)
	e := open(t, Options{Addrs: redistest.Addrs(servers)})
	here, there := ownersOf(t, e, servers[0].Addr)
	for _, owner := range []string{here, there} {
		_, _, p := give(t, e, owner, "before")
		finishes(t, p)
	}
	servers[0].CLI("config", "set", "maxmemory", "1")
	_, _, waits := give(t, e, there, "on its way")
	unfinishedAfter(t, waits, Patience/2)
	_, _, p := give(t, e, here, "meanwhile")
	finishes(t, p)
	refusedAtOnce(t, e, there)
	servers[0].CLI("config", "set", "maxmemory", "0")
	finishes(t, waits)
}

// ownersOf finds two owners, the second of which lies on the server at an address.
func ownersOf(t *testing.T, all storage.Engine, addr string) (here, there string) {
	t.Helper()
	e := all.(*engine)
	for i := 0; here == "" || there == ""; i++ {
		name := fmt.Sprint("owner", i)
		master, err := e.cluster.MasterForKey(t.Context(), e.tokenKey(name))
		if err != nil {
			t.Fatal(err)
		}
		if master.Options().Addr == addr {
			there = name
		} else {
			here = name
		}
	}
	return here, there
}

// A server that ends does not wait for Redis, and what waited has failed.
func TestEndDoesNotWaitForRedis(t *testing.T) {
	s := redistest.Start(t)
	e, err := Open(t.Context(), Options{Addrs: []string{s.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	_, _, p := give(t, e, "romeo", "before")
	finishes(t, p)
	s.Pause()
	_, _, p = give(t, e, "romeo", "on its way")
	unfinishedAfter(t, p, Patience+Patience/2)
	start := time.Now()
	if err := e.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if took := time.Since(start); took > 4*Patience {
		t.Errorf("it took %v", took)
	}
	if done, err := p.Finished(); !done || err == nil {
		t.Errorf("what waited: done %v, %v", done, err)
	}
	s.Wake()
}

// Where another replica may follow than the one that has confirmed, a failover may lose something: the start says so.
func TestPromiseCountsReplicas(t *testing.T) {
	master := redistest.Start(t)
	redistest.StartReplica(t, master)
	redistest.StartReplica(t, master)
	for n, want := range []string{"", "set storage.redis.wait_replicas to 2", "no single failure loses"} {
		e := open(t, Options{Addrs: []string{master.Addr}, Prefix: fmt.Sprint("p", n), WaitReplicas: n})
		if got := e.Promise(); !strings.Contains(got, want) {
			t.Errorf("%d replicas of two: %s", n, got)
		}
	}
}

// When Redis has less of an owner than it has acknowledged, the log says so.
func TestLossIsTold(t *testing.T) {
	s := redistest.Start(t)
	var told strings.Builder
	e := open(t, Options{Addrs: []string{s.Addr}, Log: slog.New(slog.NewTextHandler(&told, nil))}).(*engine)
	for n := range 3 {
		if _, err := add(e, "romeo", n); err != nil {
			t.Fatal(err)
		}
	}
	token := strings.TrimSpace(s.CLI("get", e.tokenKey("romeo")))
	e.doubt() // as when Redis is back
	if _, err := add(e, "romeo", 3); err != nil || told.String() != "" {
		t.Fatalf("%v; without a loss the log says %s", err, told.String())
	}
	if _, err := add(e, "romeo", 4); err != nil {
		t.Fatal(err)
	}
	now := strings.TrimSpace(s.CLI("get", e.tokenKey("romeo")))
	s.CLI("set", e.tokenKey("romeo"), strings.TrimSuffix(now, "2")+"1")
	e.doubt()
	if _, err := add(e, "romeo", 5); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(token, ":3") || !strings.Contains(told.String(), "redis has lost what it had acknowledged") ||
		!strings.Contains(told.String(), "owner=romeo steps=1") {
		t.Errorf("from %s to %s: %s", token, now, told.String())
	}
}
