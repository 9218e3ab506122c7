package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
	"jackdaw/storage/storetest"
)

// pair is two nodes of a town. Romeo and Juliet are at home on the first.
func pair(t *testing.T, o Options, homed func(string) bool) (tn *town, a, b *engine) {
	t.Helper()
	tn = newTown(2, homed)
	for _, owner := range []string{"romeo", "juliet"} {
		tn.move(owner, 0)
	}
	n := tn.open(t, o)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return tn, n.engines[0], n.engines[1]
}

func believes(e *engine) *resident { return e.o.Homes.(*resident) }

func put(e storage.Engine, owner string) (uint64, error) {
	ctx := context.Background()
	v, p, err := e.Map("roster").Update(ctx, owner, storage.AnyVersion, storage.Change{Key: "k", Value: []byte("v")})
	if err == nil {
		err = p.Wait(ctx)
	}
	return v, err
}

func TestWritesForAnOwnerElsewhereAreRefusedWithoutAskingRedis(t *testing.T) {
	s := redistest.Start(t)
	tn, a, b := pair(t, Options{Addrs: []string{s.Addr}}, allHomed)
	if _, err := add(a, "romeo", 1); err != nil {
		t.Fatal(err)
	}
	tn.move("nobody", 7)
	scripts := func() []string {
		return regexp.MustCompile(`cmdstat_eval\w*:calls=\d+`).FindAllString(s.CLI("info", "commandstats"), -1)
	}
	before := scripts()
	for _, owner := range []string{"romeo", "nobody"} {
		if _, err := add(b, owner, 2); !elsewhereFails(err) {
			t.Errorf("a write for %s: %v", owner, err)
		}
		if _, err := put(b, owner); !elsewhereFails(err) {
			t.Errorf("an update for %s: %v", owner, err)
		}
	}
	if now := scripts(); !slices.Equal(now, before) {
		t.Errorf("scripts were run: %v, before %v", now, before)
	}
	if got := fmt.Sprint(data(t, b, "romeo")); got != "[1]" {
		t.Errorf("records %v", got)
	}
	if b.Err() != nil {
		t.Error(b.Err())
	}
}

// movedAsleep are two nodes. The first has written for Romeo and does not notice that he has moved to the second.
func movedAsleep(t *testing.T) (a, b *engine) {
	t.Helper()
	tn, a, b := pair(t, Options{Addrs: []string{redistest.Start(t).Addr}}, allHomed)
	if _, err := add(a, "romeo", 1); err != nil {
		t.Fatal(err)
	}
	if v, err := put(a, "romeo"); v != 1 || err != nil {
		t.Fatal(v, err)
	}
	believes(a).sleep("romeo")
	tn.move("romeo", 1)
	return a, b
}

func TestHomeThatSleptIsRefusedOnceTheNextHasClaimed(t *testing.T) {
	for name, claims := range map[string]func(t *testing.T, b *engine){
		"by a write": func(t *testing.T, b *engine) {
			if _, err := add(b, "romeo", 2); err != nil {
				t.Fatal(err)
			}
		},
		"by a page": func(t *testing.T, b *engine) { data(t, b, "romeo") },
		"by a list": func(t *testing.T, b *engine) {
			if list, v, err := b.Map("roster").List(t.Context(), "romeo"); len(list) != 1 || v != 1 || err != nil {
				t.Fatal(list, v, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := movedAsleep(t)
			claims(t, b)
			want := data(t, b, "romeo")
			for range 2 { // with what it knows, and without
				if _, err := add(a, "romeo", 3); !elsewhereFails(err) {
					t.Errorf("an append behind the new home's back: %v", err)
				}
				if _, err := put(a, "romeo"); !elsewhereFails(err) {
					t.Errorf("an update behind the new home's back: %v", err)
				}
				if _, _, err := a.Map("roster").Update(t.Context(), "romeo", storage.AnyVersion); !elsewhereFails(err) {
					t.Errorf("an answer behind the new home's back: %v", err)
				}
			}
			if got := data(t, a, "romeo"); !slices.Equal(got, want) {
				t.Errorf("the old home reads %v, want %v", got, want)
			}
			if got := data(t, b, "romeo"); !slices.Equal(got, want) {
				t.Errorf("records %v, want %v", got, want)
			}
			if v, err := put(b, "romeo"); v != 2 || err != nil {
				t.Errorf("the new home's version %d, %v", v, err)
			}
			// It is nobody else's business.
			if _, err := add(a, "juliet", 1); err != nil || a.Err() != nil {
				t.Errorf("another owner: %v, %v", err, a.Err())
			}
		})
	}
	// The negative control: it is the fence that refuses.
	a, b := movedAsleep(t)
	if _, err := add(b, "romeo", 2); err != nil {
		t.Fatal(err)
	}
	fence, _ := believes(b).Fence("romeo")
	believes(a).asleep.Store("romeo", fence)
	if _, err := add(a, "romeo", 3); err != nil {
		t.Errorf("without a fence: %v", err)
	}
}

func TestWhatIsOnItsWayWhenAnOwnerMovesIsNotAcknowledged(t *testing.T) {
	for _, asleep := range []bool{false, true} {
		s := redistest.Start(t)
		g := gated(t, s.Addr)
		tn := newTown(2, allHomed)
		tn.move("romeo", 0)
		a := open(t, Options{Addrs: []string{g.Addr().String()}, Homes: &resident{town: tn, node: 0}}).(*engine)
		b := open(t, Options{Addrs: []string{s.Addr}, Homes: &resident{town: tn, node: 1}}).(*engine)
		if _, err := add(a, "romeo", 0); err != nil {
			t.Fatal(err)
		}
		g.closed.Store(true)
		var pendings []*storage.Pending
		for n := 1; n <= 2; n++ {
			_, _, p, err := a.Log("archive").Append(t.Context(), "romeo", storage.Record{Data: fmt.Append(nil, n)},
				storage.AppendOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if pendings = append(pendings, p); n == 1 {
				<-g.held // it is applied
			}
		}
		if asleep {
			believes(a).sleep("romeo")
		}
		tn.move("romeo", 1)
		if _, err := add(b, "romeo", 3); err != nil {
			t.Fatal(err)
		}
		g.release()
		err := pendings[0].Wait(t.Context())
		if asleep && err != nil || !asleep && !elsewhereFails(err) {
			t.Errorf("asleep %v: what was applied before it moved: %v", asleep, err)
		}
		if err := pendings[1].Wait(t.Context()); !elsewhereFails(err) {
			t.Errorf("asleep %v: what was not: %v", asleep, err)
		}
		if got := fmt.Sprint(data(t, b, "romeo")); got != "[0 1 3]" {
			t.Errorf("asleep %v: records %v", asleep, got)
		}
		if _, err := add(a, "romeo", 4); !elsewhereFails(err) {
			t.Errorf("asleep %v: the old home: %v", asleep, err)
		}
		tn.move("romeo", 0)
		believes(a).asleep.Clear()
		if _, err := add(a, "romeo", 5); err != nil {
			t.Errorf("asleep %v: back at home: %v", asleep, err)
		}
		if got := fmt.Sprint(data(t, a, "romeo")); got != "[0 1 3 5]" {
			t.Errorf("asleep %v: records %v", asleep, got)
		}
	}
}

func TestIDsAndVersionsRiseOverMoves(t *testing.T) {
	s := redistest.Start(t)
	tn := newTown(3, allHomed)
	var engines []*engine
	for i := range 3 {
		ahead := time.Duration(i-1) * time.Hour
		engines = append(engines, open(t, Options{Addrs: []string{s.Addr}, Homes: &resident{town: tn, node: i},
			Now: func() time.Time { return time.Now().Add(ahead) }}).(*engine))
	}
	var wg sync.WaitGroup
	for o := range 5 {
		wg.Go(func() {
			owner := fmt.Sprint("owner", o)
			last, version := uint64(0), uint64(0)
			var acknowledged []string
			for n := range 60 {
				e := engines[tn.of(owner).node]
				id, err := add(e, owner, n)
				v, err2 := put(e, owner)
				if err != nil || err2 != nil || id <= last || v != version+1 {
					t.Errorf("id %d after %d, version %d after %d, %v, %v", id, last, v, version, err, err2)
					return
				}
				last, version = id, v
				acknowledged = append(acknowledged, fmt.Sprint(n))
				switch rand.IntN(6) {
				case 0, 1:
					tn.move(owner, rand.IntN(3)) // as if the node had died
				case 2:
					if err := e.Release(t.Context(), func(name string) bool { return name == owner }); err != nil {
						t.Error(err)
					}
					tn.move(owner, rand.IntN(3))
				}
			}
			if got := data(t, engines[0], owner); !slices.Equal(got, acknowledged) {
				t.Errorf("%s: records %v", owner, got)
			}
		})
	}
	wg.Wait()
}

func TestSharedOwnersStayRightWhileNodesRace(t *testing.T) {
	s := redistest.Start(t)
	tn := newTown(3, allShared)
	var engines []*engine
	for i := range 3 {
		ahead := time.Duration(i-1) * time.Minute
		engines = append(engines, open(t, Options{Addrs: []string{s.Addr}, Homes: &resident{town: tn, node: i},
			Now: func() time.Time { return time.Now().Add(ahead) }}).(*engine))
	}
	ctx := t.Context()
	const each = 25
	// race has all nodes do something at once, by two callers each.
	race := func(f func(e *engine, w, n int) error) {
		var wg sync.WaitGroup
		for w := range 6 {
			wg.Go(func() {
				for n := range each {
					if err := f(engines[w%3], w, n); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	begun := time.Now()
	lap := func(what string) { t.Logf("%s: %v", what, time.Since(begun)); begun = time.Now() }

	var mu sync.Mutex
	ids := map[uint64]bool{}
	race(func(e *engine, w, n int) error {
		id, err := add(e, "hooks", w*1000+n)
		mu.Lock()
		defer mu.Unlock()
		if ids[id] {
			t.Errorf("id %d was given twice", id)
		}
		ids[id] = true
		return err
	})
	lap("appends")
	records := data(t, engines[0], "hooks")
	if len(records) != 6*each || len(ids) != 6*each {
		t.Errorf("%d records, %d ids", len(records), len(ids))
	}
	for w := range 6 { // each caller's are in order
		var want, got []string
		for n := range each {
			want = append(want, fmt.Sprint(w*1000+n))
		}
		for _, r := range records {
			if slices.Contains(want, r) {
				got = append(got, r)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("records of caller %d: %v", w, got)
		}
	}

	wrote := map[string]int{}
	race(func(e *engine, _, n int) error {
		d := fmt.Sprint("d", n)
		_, dup, p, err := e.Log("archive").Append(ctx, "bots", storage.Record{Data: []byte(d)}, storage.AppendOptions{Dedup: d})
		mu.Lock()
		defer mu.Unlock()
		if done, _ := p.Finished(); err == nil && !done {
			t.Error("a write for a shared owner returned before it was durable")
		}
		if !dup {
			wrote[d]++
		}
		return err
	})
	lap("appends with dedup")
	if got := len(data(t, engines[1], "bots")); got != each || len(wrote) != each {
		t.Errorf("%d records, %d were written by somebody", got, len(wrote))
	}
	for d, n := range wrote {
		if n != 1 {
			t.Errorf("%s was written %d times", d, n)
		}
	}

	won := map[int]int{}
	race(func(e *engine, _, n int) error {
		_, _, _, err := e.Log("archive").Append(ctx, "at", storage.Record{}, storage.AppendOptions{At: uint64(n + 1)})
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			won[n]++
		} else if errors.Is(err, storage.ErrConflict) {
			err = nil
		}
		return err
	})
	lap("appends at an id")
	for n, times := range won {
		if times != 1 {
			t.Errorf("id %d was given %d times", n+1, times)
		}
	}

	race(func(e *engine, _, _ int) error {
		for {
			value, version := uint64(0), uint64(0)
			list, version, err := e.Map("m").List(ctx, "counter")
			if err != nil {
				return err
			}
			if len(list) > 0 {
				value = binary.BigEndian.Uint64(list[0].Value)
			}
			v, _, err := e.Map("m").Update(ctx, "counter", version,
				storage.Change{Key: "n", Value: binary.BigEndian.AppendUint64(nil, value+1)})
			if errors.Is(err, storage.ErrConflict) {
				continue
			}
			if err == nil && v != version+1 {
				t.Errorf("version %d after %d", v, version)
			}
			return err
		}
	})
	lap("updates")
	if b, err := engines[2].Map("m").Get(ctx, "counter", "n"); err != nil || binary.BigEndian.Uint64(b) != 6*each {
		t.Errorf("counter %v, %v", b, err)
	}

	created := map[string]int{}
	race(func(e *engine, w, n int) error {
		for _, user := range []string{fmt.Sprintf("all%02d@x", n), fmt.Sprintf("own%d-%02d@y%d", w, n, n%3)} {
			_, err := e.Accounts().Create(ctx, storage.Account{User: user})
			mu.Lock()
			if err == nil {
				created[user]++
			} else if !errors.Is(err, storage.ErrExists) {
				mu.Unlock()
				return err
			}
			mu.Unlock()
		}
		_, err := e.Accounts().Modify(ctx, "all00@x", func(a *storage.Account) error {
			a.Permissions = append(a.Permissions, "p")
			return nil
		})
		return err
	})
	lap("accounts")
	all, err := engines[0].Accounts().List(ctx, "", "", 1000)
	if err != nil || len(all) != 7*each || len(created) != 7*each {
		t.Errorf("%d accounts, %d were created, %v", len(all), len(created), err)
	}
	for user, n := range created {
		if n != 1 {
			t.Errorf("%s was created %d times", user, n)
		}
	}
	if n := len(all[0].Permissions); n != 6*each {
		t.Errorf("%d of %d changes to %s are there", n, 6*each, all[0].User)
	}
}

func TestSharedWriteWhoseReplyWasLostIsNotMadeTwice(t *testing.T) {
	s := redistest.Start(t)
	proxy := cut(t, s.Addr)
	tn := newTown(2, allShared)
	a := open(t, Options{Addrs: []string{proxy.Addr().String()}, Homes: &resident{town: tn, node: 0}}).(*engine)
	b := open(t, Options{Addrs: []string{s.Addr}, Homes: &resident{town: tn, node: 1}}).(*engine)
	if _, err := add(a, "hooks", 0); err != nil {
		t.Fatal(err)
	}
	for skip := range 3 { // the claim, the read, and the write
		proxy.before = func() {
			if _, err := add(b, "hooks", 100+skip); err != nil {
				t.Error(err)
			}
		}
		proxy.skip.Store(int32(skip))
		proxy.armed.Store(1)
		_, err := add(a, "hooks", skip+1)
		if skip == 2 {
			if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, errRaced) {
				t.Errorf("a write of which nobody knows whether it was made: %v", err)
			}
		} else if err != nil {
			t.Error(err)
		}
	}
	if got := fmt.Sprint(data(t, b, "hooks")); got != "[0 100 1 101 2 3 102]" {
		t.Errorf("records %v", got)
	}
}

func TestReleaseMakesDurableAndForgets(t *testing.T) {
	s := redistest.Start(t)
	g := gated(t, s.Addr)
	tn := newTown(2, allHomed)
	for _, owner := range []string{"romeo", "juliet", "nurse"} {
		tn.move(owner, 0)
	}
	e := open(t, Options{Addrs: []string{g.Addr().String()}, Homes: &resident{town: tn, node: 0}}).(*engine)
	names := func(all ...string) func(string) bool {
		return func(owner string) bool { return slices.Contains(all, owner) }
	}
	var pendings []*storage.Pending
	for n := range 100 {
		for _, owner := range []string{"romeo", "juliet"} {
			_, _, p, err := e.Log("archive").Append(t.Context(), owner, storage.Record{Data: fmt.Append(nil, n)},
				storage.AppendOptions{})
			if err != nil {
				t.Fatal(err)
			}
			pendings = append(pendings, p)
		}
	}
	// Nobody waits for one who is busy with another.
	busy, err := e.hold(t.Context(), "nurse")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Release(t.Context(), names("romeo", "juliet")); err != nil {
		t.Fatal(err)
	}
	for i, p := range pendings {
		if err := p.Wait(t.Context()); err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	known := func() (all []string) {
		e.mu.Lock()
		defer e.mu.Unlock()
		for name := range e.owners {
			all = append(all, name)
		}
		slices.Sort(all)
		return all
	}
	if got := known(); !slices.Equal(got, []string{"nurse"}) {
		t.Errorf("known are %v", got)
	}
	// What is decided meanwhile is not written.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := e.Release(ctx, names("nurse")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("release of a busy owner: %v", err)
	}
	if _, err := e.write(t.Context(), busy, 1, false, func(*batch) {}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a write that was decided before: %v", err)
	}
	e.free(busy)
	if _, err := add(e, "nurse", 1); err != nil {
		t.Errorf("afterwards: %v", err)
	}

	// What cannot be made durable in time fails, and others go on.
	if _, err := add(e, "romeo", 100); err != nil {
		t.Fatal(err)
	}
	g.closed.Store(true)
	pendings = nil
	for n := range 2 {
		_, _, p, err := e.Log("archive").Append(t.Context(), "romeo", storage.Record{Data: fmt.Append(nil, 101+n)},
			storage.AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if pendings = append(pendings, p); n == 0 {
			<-g.held
		}
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := e.Release(ctx, names("romeo")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("release while Redis does not answer: %v", err)
	}
	tn.move("romeo", 1)
	g.release()
	for i, p := range pendings {
		if err := p.Wait(t.Context()); !elsewhereFails(err) {
			t.Errorf("write %d: %v", i, err)
		}
	}
	if _, err := add(e, "juliet", 100); err != nil {
		t.Errorf("another owner: %v", err)
	}
	tn.move("romeo", 0)
	if _, err := add(e, "romeo", 103); err != nil {
		t.Errorf("at home again: %v", err)
	}
	if got := data(t, e, "romeo"); fmt.Sprint(got[100:]) != "[100 101 103]" {
		t.Errorf("records %v", got[100:])
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gathered != 0 {
		t.Errorf("%d bytes count as waiting", e.gathered)
	}
}

func TestNoAnswerOfANodeRestsOnAWriteThatTheReplicasLack(t *testing.T) {
	for name, homed := range map[string]func(string) bool{"homed": allHomed, "shared": allShared} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits for replies that do not come
			master := redistest.Start(t)
			replica := redistest.StartReplica(t, master)
			o := Options{Addrs: []string{master.Addr}, WaitReplicas: 1, Homes: &resident{town: newTown(1, homed)}}
			e := open(t, o)
			storetest.AfterFailure(t, e, storetest.Fault{
				Hold: replica.Pause,
				Ready: func() {
					master.CLI("client", "kill", "type", "normal")
					eventually(t, "the engine tries again", func() bool { return e.Err() == nil })
				},
			})
		})
	}
}
