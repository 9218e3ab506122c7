package offline

import (
	"context"
	"sync"
	"testing"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/storage"
)

// next is a node that takes over from c, which has died, for the accounts that is says; alive says who is there.
func (c *scene) next(name string, is func(string) bool, alive ...string) *scene {
	c.Helper()
	n := c.another(name)
	n.gained(is, alive...)
	return n
}

// another is a node that begins when c has died, and has taken over nothing yet.
func (c *scene) another(name string) *scene {
	c.Helper()
	before := c.m.settled.node
	c.m.settled.be(name)
	n := c.crash(time.Second)
	c.m.settled.be(before)
	return n
}

func (c *scene) gained(is func(string) bool, alive ...string) {
	c.Helper()
	there := func(node string) bool {
		for _, a := range alive {
			if a == node {
				return true
			}
		}
		return false
	}
	c.gainedFrom(is, there, func(string, string, uint64) bool { return false })
}

func (c *scene) gainedFrom(is, there func(string) bool, from func(owner, node string, noted uint64) bool) {
	c.Helper()
	if err := (&Offline{c.m}).Gained(c.Context(), is, there, from); err != nil {
		c.Fatal(err)
	}
}

func everybody(string) bool   { return true }
func nobodyAtAll(string) bool { return false }

// nodes is archiving for the node a.
func nodes(t *testing.T, f func(t *testing.T, c *scene)) {
	archiving(t, func(t *testing.T, c *scene) {
		f(t, sceneOn(t, Options{}, moduletest.NewStore(), true, "a"))
	})
}

func TestWhatADeadNodeHasLeftIsBroughtByTheNextHome(t *testing.T) {
	for name, is := range map[string]func(string) bool{"taken over": everybody, "another's": nobodyAtAll} {
		nodes(t, func(t *testing.T, c *scene) {
			c.login("a")
			c.romeo.SendDurable(message("1"))
			c.romeo.SendDurable(message("2"))
			n := c.next("b", is)
			n.romeo.SendDurable(message("3"))
			j := n.login("b")
			want, count := "1 2 3", 3
			if name != "taken over" { // whoever took it over looks after it
				want, count = "3", 1
			}
			j.Wait(count)
			wantBodies(n.T, j, want)
		})
	}
}

// The clock of the next home may be behind that of the dead one: nothing new is taken for what was left.
func TestWhatIsNewIsNotTakenForWhatWasLeft(t *testing.T) {
	nodes(t, func(t *testing.T, c *scene) {
		c.login("a")
		c.romeo.SendDurable(message("1"))
		n := c.next("b", everybody)
		j := n.login("b")
		n.romeo.SendDurable(message("2"))
		j.Wait(2)
		j.Take()
		wantBodies(n.T, j, "1 2")
		n.m.recoverAll(t.Context())
		n.wantStored(0)
	})
}

// stopped is a map that does something before it writes.
type stopped struct {
	storage.Map
	before func()
}

func (s *stopped) Update(ctx context.Context, owner string, version uint64, changes ...storage.Change) (uint64,
	*storage.Pending, error) {
	s.before()
	return s.Map.Update(ctx, owner, version, changes...)
}

// listed is an archive that tells when its owners have been listed.
type listed struct {
	*memory
	tell func()
}

func (a *listed) Owners(ctx context.Context, f func(string) bool) error {
	err := a.memory.Owners(ctx, f)
	a.tell()
	return err
}

// Whoever begins to look through the archives while accounts are taken over, which takes until Redis and its replicas
// have the mark, passes none over.
func TestAccountsAreTakenOverWhileArchivesAreLookedThrough(t *testing.T) {
	nodes(t, func(t *testing.T, c *scene) {
		c.login("a")
		c.romeo.SendDurable(message("1"))
		n := c.another("b")
		round, done := make(chan struct{}), make(chan struct{})
		n.m.archive = &listed{n.kept, sync.OnceFunc(func() { close(round) })}
		n.m.settled.state = &stopped{n.m.settled.state, sync.OnceFunc(func() {
			go func() {
				defer close(done)
				n.m.recoverAll(t.Context())
			}()
			<-round
		})}
		n.gained(everybody)
		<-done
		n.wantStored(1)
		j := n.login("b")
		j.Wait(1)
		wantBodies(n.T, j, "1")
	})
}

// away is a log that nothing can be added to.
type away struct{ storage.Log }

func (away) Append(context.Context, string, storage.Record, storage.AppendOptions) (uint64, bool, *storage.Pending,
	error) {
	return 0, false, nil, storage.ErrUnavailable
}

// The mark may be elsewhere than the logs, and the copies be refused because the lease of the node is lost: what has no
// copy is found in the archive.
func TestTheMarkDoesNotPassWhatHasNoCopy(t *testing.T) {
	for name, end := range map[string]func(c *scene){
		"runs":  func(*scene) {},
		"stops": func(c *scene) { c.m.close() },
		"is none any more": func(c *scene) {
			(&Offline{c.m}).Ended()
			c.m.moved(everybody)
			pass(2 * distance)
		},
		"is none any more, and stops": func(c *scene) {
			(&Offline{c.m}).Ended()
			c.m.moved(everybody)
			c.m.close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			nodes(t, func(t *testing.T, c *scene) {
				c.login("a")
				c.romeo.SendDurable(message("1"))
				c.m.store = away{c.m.store}
				c.looks(2 * distance)
				end(c)
				c.looks(2 * distance)
				n := c.another("b")
				n.gained(everybody)
				n.m.recoverAll(t.Context())
				n.wantStored(1)
			})
		})
	}
}

func TestATakerThatDiesAsWellForgetsNothing(t *testing.T) {
	nodes(t, func(t *testing.T, c *scene) {
		c.login("a")
		c.romeo.SendDurable(message("1"))
		n := c.next("b", everybody)
		enough := func(map[string]uint64) bool { return true }
		if _, err := (&Offline{n.m}).Bury(t.Context(), func(node string) bool { return node == "b" }, enough); err != nil {
			t.Fatal(err)
		}
		n = n.next("c", everybody)
		j := n.login("b")
		j.Wait(1)
		wantBodies(n.T, j, "1")
	})
}

func TestNothingComesAgainAfterAnOrderlyMove(t *testing.T) {
	nodes(t, func(t *testing.T, c *scene) {
		j := c.login("a")
		c.romeo.SendDurable(message("taken"))
		j.Take()
		c.romeo.SendDurable(message("not"))
		j.Logout()
		c.m.moved(everybody)
		n := sceneOn(t, Options{}, c.store, true, "b")
		n.gained(everybody, "a")
		k := n.login("b")
		k.Wait(1)
		wantBodies(n.T, k, "not")
	})
}

// What only the archive has when an account moves goes to the log, and its session may end later.
func TestAMoveCopiesWhatIsInFlight(t *testing.T) {
	nodes(t, func(t *testing.T, c *scene) {
		c.login("a")
		c.romeo.SendDurable(message("1"))
		c.wantStored(0)
		c.m.moved(everybody)
		c.wantStored(1)
	})
}

func TestANodeThatStopsLeavesNoMark(t *testing.T) {
	nodes(t, func(t *testing.T, c *scene) {
		c.login("a")
		c.romeo.SendDurable(message("1"))
		marks := func() (n int) {
			entries, _, err := c.store.Map("offline").List(context.Background(), settledOwner)
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		if n := marks(); n != 1 {
			t.Fatalf("%d marks while it runs", n)
		}
		c.m.close()
		if n := marks(); n != 0 {
			t.Errorf("%d marks after it has ended", n)
		}
		c.wantStored(1)
	})
}

// A server that was alone before leaves a mark too.
func TestANodeGoesOnWhereAServerWasAlone(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		c.login("a")
		c.romeo.SendDurable(message("1"))
		n := c.next("b", everybody)
		j := n.login("b")
		j.Wait(1)
		wantBodies(n.T, j, "1")
	})
}

// The mark of a dead node stays for a while, and accounts may move on meanwhile: what came to its successor is not what
// it has left.
func TestWhatCameAfterADeathIsNotLookedFor(t *testing.T) {
	nodes(t, func(t *testing.T, c *scene) {
		c.login("a")
		c.romeo.SendDurable(message("1"))
		c.m.look(t.Context())
		n := c.next("b", everybody)
		j := n.login("b")
		j.Wait(1)
		j.Take()
		pass(2 * lastWords)
		n.romeo.SendDurable(message("2"))
		j.Take()
		wantBodies(n.T, j, "1 2")
		j.Logout()
		n.m.moved(everybody)
		d := sceneOn(t, Options{}, c.store, true, "d")
		d.gained(everybody, "b")
		d.m.recoverAll(t.Context())
		d.wantStored(1) // the first, which was taken, and which only the dead one could have said
	})
}

// Two nodes have died one after the other. Where the second had noted what the first has left there, that is not looked
// for once more.
func TestWhatTheLastHomeHasNotedIsNotLookedForAgain(t *testing.T) {
	for name, noted := range map[string]uint64{"noted": 7, "not yet": 6} {
		nodes(t, func(t *testing.T, c *scene) {
			c.login("a")
			c.romeo.SendDurable(message("1"))
			c.m.look(t.Context())
			n := c.next("b", everybody)
			j := n.login("b")
			j.Wait(1)
			j.Take()
			n.m.recoverAll(t.Context())
			pass(2 * lastWords)
			n.m.look(t.Context())
			if err := (&Offline{n.m}).Noted(t.Context(), noted); err != nil {
				t.Fatal(err)
			}
			n.romeo.SendDurable(message("2"))
			d := sceneOn(t, Options{}, c.store, true, "d")
			d.gainedFrom(everybody, nobodyAtAll, func(_, node string, noted uint64) bool { return node == "b" && noted >= 7 })
			d.m.recoverAll(t.Context())
			if name == "noted" {
				d.wantStored(1)
			} else {
				d.wantStored(2)
			}
		})
	}
}

// What has an id that is far ahead of the clock, since it came from a node with another clock, would not be looked for.
func TestWhatIsAheadOfTheClockIsCopied(t *testing.T) {
	nodes(t, func(t *testing.T, c *scene) {
		c.login("a")
		c.m.look(t.Context())
		c.romeo.SendDurable(message("1"))
		c.wantStored(0)
		c.m.settled.limit.Store(c.m.settled.low.Load() + 1)
		c.romeo.SendDurable(message("2"))
		c.wantStored(2) // behind the one before it
	})
}

// Accounts that have moved on are looked through where they are now.
func TestNothingIsLookedForInAccountsThatHaveMoved(t *testing.T) {
	nodes(t, func(t *testing.T, c *scene) {
		c.login("a")
		c.romeo.SendDurable(message("1"))
		n := c.next("b", everybody)
		n.m.moved(everybody)
		n.m.recoverAll(t.Context())
		n.wantStored(0)
		if !(&Offline{n.m}).Whole() {
			t.Error("what is elsewhere is waited for")
		}
	})
}
