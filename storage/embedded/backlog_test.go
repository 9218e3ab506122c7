package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/storage"
)

// apart are owners of which no two are in one shard.
func apart(n int) (owners []string) {
	taken := map[uint64]bool{}
	for i := 0; len(owners) < n; i++ {
		if name := fmt.Sprint("owner", i); !taken[shardOf(name)] {
			taken[shardOf(name)] = true
			owners = append(owners, name)
		}
	}
	return owners
}

// addTo appends a record whose data no other has, so that a group holds them all.
func addTo(t *testing.T, e *engine, owner string, size int) (*storage.Pending, error) {
	r := storage.Record{Data: binary.BigEndian.AppendUint64(make([]byte, size-8), serials.Add(1))}
	_, _, p, err := e.Log("archive").Append(t.Context(), owner, r, storage.AppendOptions{})
	return p, err
}

func openHanging(t *testing.T, o Options) (*engine, *disk) {
	d := &disk{}
	o.files = d
	opened, err := OpenWith(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	return opened.(*engine), d
}

func (e *engine) waitingBytes() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.current.frame)
	if e.flying != nil {
		n += len(e.flying.frame)
	}
	return n
}

func TestWritersWaitForADiskThatHangsAndAreRefusedAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, limit = 16 << 10, 64 << 10
		e, d := openHanging(t, Options{JournalBytes: limit})
		release := d.hold()
		owners := apart(8)
		// One group is with the disk and one waits. Either may hold what there is room for and, beyond it, what each
		// writer had in hand when it got full.
		most := 2 * (limit + len(owners)*(size+100))
		accepted := make([]int, len(owners))
		var writers sync.WaitGroup
		begun := time.Now()
		for w, owner := range owners {
			writers.Go(func() {
				for {
					_, err := addTo(t, e, owner, size)
					if err != nil {
						if !errors.Is(err, storage.ErrUnavailable) || time.Since(begun) != longestWait {
							t.Errorf("after %v: %v", time.Since(begun), err)
						}
						return
					}
					accepted[w]++
				}
			})
		}
		synctest.Wait()
		if n := e.waitingBytes(); n < limit || n > most {
			t.Errorf("%d bytes wait for the disk", n)
		}
		writers.Wait()
		if err := e.Err(); err != nil {
			t.Errorf("slow is not broken: %v", err)
		}
		_, _, err := e.Map("roster").Update(t.Context(), "romeo", 0, storage.Change{Key: "k"})
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("a later write: %v", err)
		}
		if took := time.Since(begun); took != longestWait {
			t.Errorf("a later write was refused after %v", took-longestWait)
		}
		release()
		synctest.Wait()
		_, p, err := e.Map("roster").Update(t.Context(), "romeo", 0, storage.Change{Key: "k"})
		if err == nil {
			err = p.Wait(t.Context())
		}
		if err != nil {
			t.Errorf("after the disk went on: %v", err)
		}
		for w, owner := range owners {
			if n, _, err := e.Log("archive").Size(t.Context(), owner); err != nil || n != accepted[w] {
				t.Errorf("%s has %d records of %d, %v", owner, n, accepted[w], err)
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestWritersGoOnWhenTheDiskDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, limit, each = 16 << 10, 64 << 10, 20
		e, d := openHanging(t, Options{JournalBytes: limit})
		owners := apart(8)
		for range 3 {
			release := d.hold()
			var writers sync.WaitGroup
			for _, owner := range owners {
				writers.Go(func() {
					for range each {
						_, err := addTo(t, e, owner, size)
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			synctest.Wait()
			time.Sleep(longestWait / 2) // some wait for several commits more, each of which takes a moment
			release()
			writers.Wait()
		}
		for _, owner := range owners {
			if n, _, err := e.Log("archive").Size(t.Context(), owner); err != nil || n != 3*each {
				t.Errorf("%s has %d records, %v", owner, n, err)
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestReadersAreNotHeldUpByWritersWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, d := openHanging(t, Options{JournalBytes: 64 << 10})
		owner := "romeo"
		release := d.hold()
		var writer sync.WaitGroup
		written := 0
		writer.Go(func() {
			for _, err := addTo(t, e, owner, 40<<10); err == nil; _, err = addTo(t, e, owner, 40<<10) {
				written++
			}
		})
		synctest.Wait() // the writer waits
		begun := time.Now()
		n, _, err := e.Log("archive").Size(t.Context(), owner)
		if err != nil || n != written || n == 0 || time.Since(begun) != 0 {
			t.Errorf("%d records of %d after %v, %v", n, written, time.Since(begun), err)
		}
		if _, _, err := e.Map("roster").List(t.Context(), owner); err != nil || time.Since(begun) != 0 {
			t.Errorf("a list after %v: %v", time.Since(begun), err)
		}
		writer.Wait()
		release()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What is told of a group may write, or wait for a writer who waits for the committer.
func TestWhoeverHearsOfAGroupMayWriteAlthoughItIsCrowded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, d := openHanging(t, Options{JournalBytes: 64 << 10})
		owners := apart(3)
		add := func(owner string) (*storage.Pending, error) { return addTo(t, e, owner, 40<<10) }
		release := d.hold()
		first, err := add(owners[0])
		if err != nil {
			t.Fatal(err)
		}
		var lock sync.Mutex // of a session, say
		heard := 0
		first.Then(func(error) {
			lock.Lock()
			defer lock.Unlock()
			if _, err := add(owners[1]); err != nil {
				t.Error(err)
			}
			heard++
		})
		synctest.Wait() // it is flying
		go func() {
			lock.Lock()
			defer lock.Unlock()
			for range 4 {
				if _, err := add(owners[2]); err != nil {
					t.Error(err)
				}
			}
			heard++
		}()
		synctest.Wait() // a writer waits, and holds the lock
		release()
		synctest.Wait()
		if heard != 2 {
			t.Errorf("%d of 2 went on", heard)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Where the next journal cannot be begun, only the committer makes room: whoever writes while it tells of a group is
// refused at once, instead of holding it up for as long as others wait.
func TestWhoeverHearsOfAGroupIsRefusedAtOnceWhereOnlyTheCommitterMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, d := openHanging(t, Options{JournalBytes: 64 << 10, again: time.Hour})
		owners := apart(2)
		e.hindered("make a file for the next journal", syscall.EMFILE)
		release := d.hold()
		first, err := addTo(t, e, owners[0], 200<<10)
		if err != nil {
			t.Fatal(err)
		}
		refused := false
		first.Then(func(error) {
			_, err := addTo(t, e, owners[1], 40<<10)
			refused = errors.Is(err, storage.ErrUnavailable)
		})
		synctest.Wait() // it is flying
		release()
		synctest.Wait()
		if !refused {
			t.Error("the committer waits for itself")
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestRemovalsHaveRoomWhenOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, d := openHanging(t, Options{JournalBytes: 64 << 10})
		owners := apart(2)
		id, _, p, err := e.Log("offline").Append(t.Context(), owners[0], storage.Record{}, storage.AppendOptions{})
		if err == nil {
			err = p.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		release := d.hold()
		full := make(chan error)
		go func() {
			for {
				_, err := addTo(t, e, owners[1], 40<<10)
				if err != nil {
					full <- err
					return
				}
			}
		}()
		synctest.Wait()
		begun := time.Now()
		if _, err := e.Log("offline").Remove(t.Context(), owners[0], id); err != nil || time.Since(begun) != 0 {
			t.Errorf("removal after %v: %v", time.Since(begun), err)
		}
		if err := <-full; !errors.Is(err, storage.ErrUnavailable) {
			t.Error(err)
		}
		release()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestOneWriteIsBounded(t *testing.T) {
	e, _ := openHanging(t, Options{})
	// Its pages are never touched.
	huge := storage.Record{Data: make([]byte, largestWrite+1)}
	_, _, _, err := e.Log("archive").Append(t.Context(), "romeo", huge, storage.AppendOptions{})
	if !errors.Is(err, errTooLarge) {
		t.Errorf("a record of %d bytes: %v", len(huge.Data), err)
	}
	if _, err := e.write(&batch{ops: make([]byte, largestWrite+1)}); !errors.Is(err, errTooLarge) {
		t.Errorf("all changes of an Update: %v", err)
	}
	if n, _, err := e.Log("archive").Size(t.Context(), "romeo"); n != 0 || err != nil {
		t.Errorf("%d records, %v", n, err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
