package offline

import (
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
		pass(2 * awayFor)
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
		pass(2 * awayFor)
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
		pass(2 * awayFor)
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
