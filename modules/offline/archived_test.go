package offline

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// memory is an archive.
type memory struct {
	log  storage.Log
	away atomic.Bool // nothing can be read by EachReceived
}

func (a *memory) module() router.Module {
	arrived := func(e *router.Envelope) {
		if e.Returned || e.Kept != 0 || e.StanzaID != 0 || !e.Stanza.Has(xmpp.Name{Space: xmpp.NSClient, Local: "body"}) {
			return
		}
		owner := ownerOf(e).String()
		id, dup, p, err := a.log.Append(context.Background(), owner,
			storage.Record{Data: appendRecord(nil, e.Stanza, e.Stanza.Payload, 0)}, storage.AppendOptions{Dedup: e.DedupKey()})
		if err != nil {
			e.Refuse(router.Unavailable())
			return
		}
		if e.Durable {
			e.Await(p)
		}
		if dup {
			e.Repeat()
		}
		e.Identify(id)
		e.Stamp(owner, id)
	}
	return router.Module{Name: "archive", Unclaimed: arrived,
		Delivering: func(e *router.Envelope, _ []*router.Session) { arrived(e) }}
}

func (a *memory) Received(ctx context.Context, owner string, id uint64) (s xmpp.Stanza, err error) {
	r, err := a.log.Get(ctx, owner, id)
	if err != nil {
		return s, err
	}
	if s, _, err = readRecord(r.Data); err == nil {
		s.Payload = router.AppendStanzaID(s.Payload, owner, id)
	}
	return s, err
}

func (a *memory) EachReceived(ctx context.Context, owner string, after, before uint64,
	f func(uint64, *xmpp.Stanza) bool) error {
	if a.away.Load() {
		return storage.ErrUnavailable
	}
	records, _, err := a.log.Page(ctx, owner, storage.Query{After: after, Before: before, Limit: 1000})
	for _, r := range records {
		if s, err := a.Received(ctx, owner, r.ID); err == nil && !f(r.ID, &s) {
			break
		}
	}
	return err
}

func (a *memory) Owners(ctx context.Context, f func(string) bool) error { return a.log.Owners(ctx, f) }

// crash leaves the scene as a kill does, and returns one on what its store has. The clock has gone on by a while.
func (c *scene) crash(after time.Duration) *scene {
	c.Helper()
	pass(after)
	for i := range c.m.shards { // what is in memory is lost
		sh := &c.m.shards[i]
		sh.mu.Lock()
		sh.owners = map[string]*owner{}
		sh.mu.Unlock()
	}
	return sceneOn(c.T, Options{}, c.store, true, c.m.settled.node)
}

// archiving is a scene with an archive whose module is watched, in a bubble.
func archiving(t *testing.T, f func(t *testing.T, c *scene)) {
	synctest.Test(t, func(t *testing.T) {
		c := sceneOn(t, Options{}, moduletest.NewStore(), true, "")
		pass(time.Second)
		f(t, c)
	})
}

func (c *scene) login(resource string) *moduletest.Client {
	j := c.juliet(resource)
	j.Available(0)
	return j
}

// pass lets time pass in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// looks has the module look after what is in flight for a while.
func (c *scene) looks(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		pass(lookEvery)
		c.m.look(c.Context())
	}
}

// ids are the stanza-ids of juliet's.
func ids(ds []router.Delivery) (all []uint64) {
	for _, d := range ds {
		all = append(all, router.StanzaID(d.Stanza, julietJID.String()))
	}
	return all
}

func TestWhatTheArchiveHasIsNotWrittenAgainIfASessionTakesIt(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		j := c.login("a")
		for i := range 3 {
			wantOutcome(t, c.romeo.SendDurable(message(strconv.Itoa(i))), router.Delivered)
			c.wantStored(0)
		}
		wantBodies(c.T, j, "0 1 2")
		j.Take()
		c.looks(5 * time.Second)
		c.wantStored(0)
		j.Logout()
		c.login("b").Want()
	})
}

func TestWhatIsNotTakenSoonGetsACopy(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		j := c.login("a")
		c.romeo.SendDurable(message("1"))
		c.m.look(c.Context())
		c.wantStored(0) // it may be taken yet
		pass(soon + time.Millisecond)
		c.m.look(c.Context())
		c.wantStored(1)
		c.romeo.SendDurable(message("2"))
		j.Take()
		c.wantStored(0)
		c.looks(5 * time.Second)
		c.wantStored(0)
	})
}

func TestACrashLosesNothingThatOnlyTheArchiveHas(t *testing.T) {
	for _, after := range []time.Duration{time.Microsecond, soon, 2 * distance, time.Hour} {
		t.Run(after.String(), func(t *testing.T) {
			archiving(t, func(t *testing.T, c *scene) {
				j := c.login("a")
				c.romeo.SendDurable(message("1"))
				c.romeo.SendDurable(message("2"))
				given := ids(j.Deliveries())
				c = c.crash(after)
				n := c.login("b")
				n.Wait(2)
				got := n.Deliveries()
				if b := bodies(got); b != "1 2" {
					t.Errorf("brought: %s", b)
				}
				if fmt.Sprint(ids(got)) != fmt.Sprint(given) {
					t.Errorf("the ids are %v, and were %v", ids(got), given)
				}
				for i, d := range got {
					stamp := xmpp.FormatTime(storage.Record{ID: given[i]}.Time())
					if !strings.Contains(string(d.Stanza.Payload), "stamp='"+stamp+"'") {
						t.Errorf("%s came at another time than %s", d.Stanza.Payload, stamp)
					}
				}
				n.Take()
				c.wantStored(0)
				c.m.recoverAll(t.Context())
				c.looks(2 * distance)
				c = c.crash(time.Second)
				c.login("c").Want()
			})
		})
	}
}

func TestWhatWasTakenLongAgoDoesNotComeAgainAfterACrash(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		j := c.login("a")
		c.romeo.SendDurable(message("old"))
		j.Take()
		c.looks(2 * distance)
		c.romeo.SendDurable(message("new"))
		j.Take()
		c = c.crash(0)
		n := c.login("b")
		n.Wait(1)
		wantBodies(c.T, n, "new") // that it was taken has not been noted
	})
}

func TestNothingComesAgainAfterAnOrderlyStop(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		j := c.login("a")
		c.romeo.SendDurable(message("taken"))
		j.Take()
		c.romeo.SendDurable(message("not"))
		j.Logout()
		c.m.close()
		c = c.crash(time.Minute)
		n := c.login("b")
		n.Wait(1)
		wantBodies(c.T, n, "not")
	})
}

func TestOrderIsKeptOverACrash(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		j := c.login("a")
		c.romeo.SendDurable(message("1"))
		c.romeo.SendDurable(message("2"))
		pass(soon + time.Millisecond)
		c.m.look(c.Context()) // they have copies now
		c.romeo.SendDurable(message("3"))
		j.Out.Detach()
		c.romeo.SendDurable(message("4"))
		c.romeo.SendDurable(message("5"))
		c.wantStored(2)
		c = c.crash(time.Second)
		wantOutcome(t, c.romeo.SendDurable(message("6")), router.Stored) // before anybody logs in
		n := c.login("b")
		n.Wait(6)
		wantBodies(c.T, n, "1 2 3 4 5 6")
	})
}

func TestWhatWasStoredBeforeItIsFoundGoesBehindIt(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		c.login("a")
		c.romeo.SendDurable(message("1"))
		c.romeo.SendDurable(message("2"))
		name := julietJID.String()
		pass(time.Millisecond)
		// As an earlier version, which knows nothing of the archive, would store it: with its own id and with another.
		other := storage.IDAt(time.Now()) + 1
		for i, own := range []bool{true, false} {
			e := &router.Envelope{Stanza: moduletest.Parse(t, message(strconv.Itoa(3+i)))}
			e.Stanza.From = c.romeo.Addr()
			if !own {
				e.Stanza.Payload = router.AppendStanzaID(e.Stanza.Payload, name, other)
				e.Identify(other)
			}
			if _, _, err := c.m.append(e, name, e.Stanza.Payload, storage.AppendOptions{}, false); err != nil {
				t.Fatal(err)
			}
		}
		records, _, err := c.log.Page(t.Context(), name, storage.Query{})
		if err != nil {
			t.Fatal(err)
		}
		c = c.crash(time.Second)
		n := c.login("b")
		n.Wait(4)
		got := n.Deliveries()
		if b := bodies(got); b != "1 2 3 4" {
			t.Errorf("brought: %s", b)
		}
		if all := ids(got); all[2] != records[0].ID || all[3] != other {
			t.Errorf("the ids are %v", all)
		}
		c.wantStored(4)
	})
}

func TestACrashIsDealtWithForThoseWhoDoNotLogIn(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		c.login("a")
		c.romeo.SendDurable(message("1"))
		c = c.crash(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		go c.m.watch(ctx)
		pass(2 * time.Second)
		synctest.Wait()
		c.wantStored(1)
		cancel()
		synctest.Wait()
		b, err := c.store.Map("offline").Get(t.Context(), settledOwner, settledKey)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, spans, err := readSettled(b); err != nil || len(spans) > 0 {
			t.Errorf("left to look through: %v, %v", spans, err)
		}
	})
}

func TestAStoreThatIsAwayWhileACrashIsDealtWithLosesNothing(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		c.login("a")
		c.romeo.SendDurable(message("1"))
		c = c.crash(time.Second)
		c.kept.away.Store(true) // its owners are listed, and nothing of them is read
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.m.watch(ctx)
		pass(time.Second)
		synctest.Wait()
		c.wantStored(0)
		c.kept.away.Store(false)
		pass(againAfter)
		synctest.Wait()
		c.wantStored(1)
	})
}

func TestACrashWhileOneIsDealtWithLosesNothing(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		c.login("a")
		c.romeo.SendDurable(message("1"))
		for range 2 * maxSpans {
			c = c.crash(time.Second)
			c.looks(2 * time.Second)
			if n := len(c.m.settled.left.Load().list()); n == 0 || n > maxSpans {
				t.Fatalf("%d spans", n)
			}
		}
		n := c.login("b")
		n.Wait(1)
		wantBodies(c.T, n, "1")
	})
}

func TestUntilTheMarkIsKnownEachMessageIsCopied(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		c.store.Fail(errors.New("away"))
		c = c.crash(0)
		c.store.Fail(nil)
		j := c.login("a")
		c.romeo.SendDurable(message("1"))
		c.wantStored(1)
		pass(lookEvery)
		c.m.look(t.Context())
		pass(time.Millisecond)
		c.romeo.SendDurable(message("2"))
		c.wantStored(1)
		wantBodies(c.T, j, "1 2")
	})
}

func TestWhatWasErasedOrRetractedInFlightIsNotBrought(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		j := c.login("a")
		e := c.romeo.SendDurable(message("1"))
		c.romeo.SendDurable(message("2"))
		if _, err := c.kept.log.Remove(t.Context(), julietJID.String(), e.StanzaID); err != nil {
			t.Fatal(err)
		}
		j.Logout()
		n := c.login("b")
		n.Wait(1)
		wantBodies(c.T, n, "2")
	})
}

func TestARepetitionIsToldByTheArchive(t *testing.T) {
	archiving(t, func(t *testing.T, c *scene) {
		again := strings.Replace(hi, "</body>", "</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/>", 1)
		wantOutcome(t, c.romeo.SendDurable(again), router.Stored)
		wantOutcome(t, c.romeo.SendDurable(again), router.Stored)
		c.wantStored(1)
		j := c.login("a")
		j.Wait(1)
		j.Take()
		synctest.Wait()
		wantOutcome(t, c.romeo.SendDurable(again), router.Delivered)
		c = c.crash(time.Second)
		wantOutcome(t, c.romeo.SendDurable(again), router.Stored)
		n := c.login("b")
		n.Wait(1)
		wantBodies(c.T, n, "hi")
		n.Take()
		c.wantStored(0)
	})
}

func FuzzReadSettled(f *testing.F) {
	f.Add(appendSettled(nil, 1, 2, []span{{3, 4}, {5, 6}}))
	f.Add([]byte{settledVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		low, high, spans, err := readSettled(b)
		if err != nil {
			return
		}
		l, h, s, err := readSettled(appendSettled(nil, low, high, spans))
		if err != nil || l != low || h != high || fmt.Sprint(s) != fmt.Sprint(spans) {
			t.Errorf("%d %d %v became %d %d %v, %v", low, high, spans, l, h, s, err)
		}
	})
}
