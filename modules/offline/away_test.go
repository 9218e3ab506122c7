package offline

import (
	"context"
	"sync"
	"testing"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
)

// What waits cannot be read while storage is away; what comes then must not overtake it.
func TestWhatWaitsIsNotOvertakenWhileStorageIsAway(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		for _, body := range []string{"1", "2"} {
			c.romeo.SendDurable(message(body))
		}
		c.store.Fail(storage.ErrUnavailable)
		j := c.login("a")
		pass(3 * awayFor)
		if e := c.romeo.Send(message("refused")); e.Outcome != router.Refused {
			t.Errorf("sent while storage is away: %v", e.Outcome)
		}
		c.store.Fail(nil)
		c.romeo.SendDurable(message("3"))
		pass(2 * awayMost)
		c.romeo.SendDurable(message("4"))
		wantBodies(c.T, j, "1 2 3 4")
		if !c.idle() {
			t.Error("something is being brought still")
		}
	})
}

func TestSessionsThatLeaveWhileStorageIsAwayGiveTheirMessagesToTheNext(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		j := c.login("a")
		c.romeo.SendDurable(message("1"))
		c.romeo.SendDurable(message("2"))
		c.store.Fail(storage.ErrUnavailable)
		j.Logout()
		k := c.login("b")
		pass(3 * awayFor)
		c.store.Fail(nil)
		c.romeo.SendDurable(message("3"))
		pass(2 * awayMost)
		c.romeo.SendDurable(message("4"))
		wantBodies(c.T, k, "1 2 3 4")
	})
}

func TestCatchingUpGoesOnWhenStorageIsBack(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		const n = firstPage + 3*pageSize
		for i := range n {
			c.romeo.SendDurable(message(numbers(i, i)))
		}
		c.store.Fail(storage.ErrUnavailable)
		j := c.login("a")
		for range 10 {
			c.store.Fail(nil)
			pass(awayFor / 3)
			c.store.Fail(storage.ErrUnavailable)
			c.romeo.Send(message("refused"))
			pass(awayFor)
		}
		c.store.Fail(nil)
		pass(2 * awayMost)
		c.romeo.SendDurable(message("last"))
		wantBodies(c.T, j, numbers(0, n-1)+" last")
	})
}

func TestASessionThatLeavesWhileStorageIsAwayHoldsNobodyUp(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		c.romeo.SendDurable(message("1"))
		c.store.Fail(storage.ErrUnavailable)
		j := c.login("a")
		pass(2 * awayFor)
		j.Logout()
		pass(time.Millisecond)
		if !c.idle() {
			t.Error("something is being brought to a session that has left")
		}
		c.store.Fail(nil)
		k := c.login("b")
		k.Wait(1)
		wantBodies(c.T, k, "1")
	})
}

// asking is a log of a store that is away: a question takes a while, and is counted.
type asking struct {
	storage.Log
	takes time.Duration

	mu    sync.Mutex // guards asked
	asked int
}

func (a *asking) wait() error {
	a.mu.Lock()
	a.asked++
	a.mu.Unlock()
	pass(a.takes)
	return storage.ErrUnavailable
}

func (a *asking) Size(context.Context, string) (int, int64, error) { return 0, 0, a.wait() }

func (a *asking) Page(context.Context, string, storage.Query) ([]storage.Record, bool, error) {
	return nil, false, a.wait()
}

func TestStorageThatIsAwayIsAskedMoreAndMoreSeldomAndHoldsNobodyUp(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		a := &asking{Log: c.m.store, takes: 2 * time.Second}
		c.m.store = a
		j := c.login("a")
		pass(10 * time.Second)
		free := 0
		for range 60 { // whether others of the same shard had to wait
			if sh := c.m.shard(julietJID.String()); sh.mu.TryLock() {
				sh.mu.Unlock()
				free++
			}
			pass(time.Second)
		}
		if a.mu.Lock(); free < 60 || a.asked > 16 {
			t.Errorf("the shard was free %d of 60 times; storage was asked %d times", free, a.asked)
		}
		a.mu.Unlock()
		j.Logout()
		pass(awayMost)
		c.m.store = a.Log
	})
}

// What a session has taken while storage was away is not brought to the next one.
func TestWhatWasTakenWhileStorageIsAwayIsNotBroughtAgain(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		for _, body := range []string{"1", "2"} {
			c.romeo.SendDurable(message(body))
		}
		j := c.login("a")
		pass(time.Second)
		wantBodies(c.T, j, "1 2")
		c.store.Fail(storage.ErrUnavailable)
		j.LogoutTaken()
		pass(3 * againEvery / 2)
		c.store.Fail(nil)
		k := c.login("b")
		c.romeo.SendDurable(message("3"))
		pass(time.Second)
		wantBodies(c.T, k, "3")
		k.LogoutTaken()
		pass(2 * againEvery)
		if !c.idle() {
			t.Error("something is known still")
		}
		c.wantStored(0)
	})
}
