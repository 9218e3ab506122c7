package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestWhatBouncedStillCountsWhenThePeerResumes(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.silent, b.peer.resume = true, true
		request := b.queued(order{kind: xmpp.IQ, typ: xmpp.TypeGet})
		message := b.queued(order{durable: true})
		synctest.Wait()
		b.peer.set(func() { b.peer.fail[there], b.peer.silent = errRefused, false })
		b.peer.kill(pair0)
		late := b.queued(order{})
		wait(40 * time.Second)
		b.equal("bounced", b.bouncedIDs(), []string{request})
		b.peer.set(func() { delete(b.peer.fail, there) })
		wait(time.Minute)
		b.equal("taken", b.peer.took(pair0), []string{request, message, late})
		if n := b.out.memory.Load(); n != 0 || b.onDisk(pair0) != 0 {
			t.Errorf("%d bytes and %d records are left", n, b.onDisk(pair0))
		}
	})
}

func TestWhatThePeerMayHaveIsNotBouncedWhileItIsAsked(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.silent, b.peer.resume = true, true
		id := b.queued(order{})
		synctest.Wait()
		b.peer.set(func() { b.peer.fail[there] = errRefused })
		b.peer.kill(pair0)
		synctest.Wait()
		for time.Since(b.peer.attempts(there)[0]) < 9*time.Minute+50*time.Second { // until just before its age
			wait(time.Second)
		}
		b.peer.set(func() { delete(b.peer.fail, there); b.peer.takes = 20 * time.Second })
		b.out.Seen(there)
		wait(15 * time.Second)
		late := b.queued(order{})
		wait(25 * time.Second)
		b.equal("bounced", b.bouncedIDs(), nil)
		b.peer.ack(pair0, 10)
		b.equal("taken", b.peer.took(pair0), []string{id, late})
	})
}

func TestADomainsQueueIsBounded(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
		want   int
	}{
		{"stanzas", Limits{Stanzas: 10}, 10},
		{"bytes", Limits{Bytes: 5000}, 4},
		{"memory", Limits{Memory: 7000}, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			scene(t, func(t *testing.T, b *bench) {
				b.setLimits(c.limits)
				b.peer.fail[there] = errRefused
				body := strings.Repeat("x", 1000)
				for range c.want {
					b.queued(order{body: body})
				}
				err := b.refused(order{body: body, session: new(router.Session), durable: true})
				if err.Condition != xmpp.CondResourceConstraint || err.Type != xmpp.ErrorWait || !strings.Contains(err.Text, "is not taking messages") {
					t.Errorf("refused with %v", err)
				}
				if b.onDisk(pair0) != 0 {
					t.Error("what is refused is on disk")
				}
				// All pairs of the domain share its room.
				e := &router.Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.Message, Payload: []byte("<body>" + body + "</body>"),
					From: jid.MustParse("a@also.here.example"), To: jid.MustParse("b@" + there)}}
				if b.out.Push(e); e.Outcome != router.Refused {
					t.Error("another pair of the domain has room")
				}
				if c.name != "memory" {
					b.queued(order{to: stuck, body: body})
				}
				b.peer.set(func() { delete(b.peer.fail, there) })
				wait(time.Minute)
				b.queued(order{body: body})
			})
		})
	}
}

func TestMemoryThatOthersUseUpDoesNotCutOffAPeerThatTakesItsStanzas(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.setLimits(Limits{Memory: 5000})
		b.queued(order{})
		synctest.Wait()
		b.peer.set(func() { b.peer.fail[stuck] = errRefused })
		for range 10 {
			b.push(order{to: stuck, body: strings.Repeat("x", 1000)})
		}
		for range 10 {
			b.queued(order{body: strings.Repeat("x", 1000)})
			synctest.Wait()
		}
		if n := len(b.peer.took(pair0)); n != 11 {
			t.Errorf("%d taken", n)
		}
	})
}

func TestTheNumberOfDomainsIsBounded(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.setLimits(Limits{Domains: 5})
		for i := range 5 {
			remote := fmt.Sprintf("d%d.example", i)
			if i > 0 {
				b.peer.set(func() { b.peer.fail[remote] = errRefused })
			}
			b.queued(order{to: remote})
		}
		if err := b.refused(order{to: "one.more.example"}); err.Condition != xmpp.CondResourceConstraint {
			t.Errorf("refused with %v", err)
		}
		synctest.Wait()
		b.peer.kill(Pair{here, "d0.example"})
		wait(2 * time.Second)
		b.queued(order{to: "one.more.example"}) // in the place of one that has nothing any more
	})
}

func TestWritingPausesUntilThePeerAcknowledges(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.setLimits(Limits{Unacked: 4})
		b.peer.silent = true
		for range 10 {
			b.queued(order{})
		}
		synctest.Wait()
		if s := b.status(pair0); s.Unacked != 4 || s.Waiting != 6 {
			t.Errorf("status %+v", s)
		}
		b.peer.ack(pair0, 3)
		synctest.Wait()
		if s := b.status(pair0); s.Unacked != 4 || s.Waiting != 3 {
			t.Errorf("status %+v", s)
		}
		// Whoever never acknowledges is not waited for longer than the age of a message.
		wait(11 * time.Minute)
		b.equal("bounced", b.bouncedIDs(), []string{"8", "9", "10"})
		if s := b.status(pair0); s.Unacked != 4 || s.Waiting != 0 {
			t.Errorf("status %+v", s)
		}
		b.peer.ack(pair0, 10)
	})
}

func TestAClientIsHeldUpWhileItsPeerIsSlow(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.setLimits(Limits{Stanzas: 8, Unacked: 4})
		b.queued(order{})
		wait(time.Minute) // a stream that was idle is no stuck one
		b.peer.set(func() { b.peer.slow = 100 * time.Millisecond })
		start := time.Now()
		for range 100 {
			b.queued(order{session: new(router.Session)})
		}
		if d := time.Since(start); d < time.Second || d > 10*time.Second {
			t.Errorf("100 stanzas took %v", d)
		}
		if b.out.Stats.Waits.Load() == 0 {
			t.Error("nobody was held up")
		}
		wait(5 * time.Second)
		if n := len(b.peer.took(pair0)); n != 101 {
			t.Errorf("%d taken", n)
		}
	})
}

func TestAClientIsHeldUpForAMomentOnly(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.setLimits(Limits{Stanzas: 8, Unacked: 1})
		b.queued(order{})
		synctest.Wait()
		b.peer.set(func() { b.peer.slow = time.Minute })
		start := time.Now()
		for range 5 { // one is written, four wait: that is half
			b.queued(order{})
			synctest.Wait()
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("a sender without a session was held up for %v", d)
		}
		b.queued(order{session: new(router.Session)})
		if d := time.Since(start); d != patience {
			t.Errorf("held up for %v", d)
		}
		// By now the peer counts as stuck: nobody waits for it.
		wait(stalled)
		start = time.Now()
		for range 3 {
			b.queued(order{session: new(router.Session)})
		}
		b.refused(order{session: new(router.Session)})
		if d := time.Since(start); d != 0 {
			t.Errorf("held up for %v", d)
		}
		b.peer.set(func() { b.peer.slow = 0 })
		wait(2 * time.Minute)
	})
}

func TestAPeerThatIsNotUpHoldsNobodyUp(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.fail[there] = errRefused
		start := time.Now()
		for range 1000 {
			b.queued(order{session: new(router.Session)})
		}
		b.refused(order{session: new(router.Session)})
		if d := time.Since(start); d != 0 {
			t.Errorf("held up for %v", d)
		}
	})
}

// A brokenLog fails as told.
type brokenLog struct {
	storage.Log
	mu             sync.Mutex // guards the rest
	append, remove error
	removals       int
	pending        *storage.Pending // in place of the real one
}

func (l *brokenLog) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *brokenLog) Append(ctx context.Context, owner string, r storage.Record, o storage.AppendOptions) (
	uint64, bool, *storage.Pending, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.append != nil {
		return 0, false, nil, l.append
	}
	id, dup, p, err := l.Log.Append(ctx, owner, r, o)
	if l.pending != nil {
		p = l.pending
	}
	return id, dup, p, err
}

func (l *brokenLog) Remove(ctx context.Context, owner string, ids ...uint64) (*storage.Pending, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.removals++; l.remove != nil {
		return nil, l.remove
	}
	return l.Log.Remove(ctx, owner, ids...)
}

func TestWhatCannotBeStoredIsRefused(t *testing.T) {
	for _, failure := range []error{storage.ErrUnavailable, storage.ErrFull} {
		scene(t, func(t *testing.T, b *bench) {
			broken := &brokenLog{Log: b.log, append: fmt.Errorf("append: %w", failure)}
			b.out.disk = broken
			if err := b.refused(order{durable: true}); err.Condition != xmpp.CondResourceConstraint ||
				err.Type != xmpp.ErrorWait {
				t.Errorf("refused with %v", err)
			}
			id := b.queued(order{}) // this sender was promised nothing
			synctest.Wait()
			b.equal("taken", b.peer.took(pair0), []string{id})
			if g := b.out.Gauge(); g.Waiting != 0 || b.out.memory.Load() != 0 {
				t.Errorf("gauge %+v, memory %d", g, b.out.memory.Load())
			}
		})
	}
}

func TestAnAcknowledgementWaitsForTheDiskAndTheSendingDoesNot(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		broken := &brokenLog{Log: b.log, pending: storage.NewPending()}
		b.out.disk = broken
		id, e := b.push(order{durable: true})
		_, mute := b.push(order{})
		synctest.Wait()
		b.equal("taken", b.peer.took(pair0)[:1], []string{id})
		if len(e.Pendings) != 1 || e.Pendings[0] != broken.pending || len(mute.Pendings) != 0 {
			t.Errorf("awaited: %v and %v", e.Pendings, mute.Pendings)
		}
		broken.pending.Finish(errors.New("disk full"))
	})
}

func TestRemovalsAreGatheredAndTriedAgain(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		broken := &brokenLog{Log: b.log, remove: storage.ErrUnavailable}
		b.out.disk = broken
		for range 50 {
			b.queued(order{durable: true})
		}
		wait(10 * time.Second)
		if n := b.onDisk(pair0); n != 50 {
			t.Errorf("%d records", n)
		}
		broken.set(func() { broken.remove, broken.removals = nil, 0 })
		wait(2 * time.Second)
		if n := b.onDisk(pair0); n != 0 {
			t.Errorf("%d records are left", n)
		}
		if broken.removals != 1 {
			t.Errorf("%d removals", broken.removals)
		}
	})
}

func TestARecordThatCannotBeReadIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for _, data := range []string{"", "\x01", "\x07\x01\x01<message/>", "\x01\x01\xff", "\x01\x01\x01"} {
			r := storage.Record{Data: []byte(data)}
			_, _, p, err := b.log.Append(t.Context(), ownerOf(pair0), r, storage.AppendOptions{})
			if err != nil || p.Wait(t.Context()) != nil {
				t.Fatal(err)
			}
		}
		if _, _, _, err := b.log.Append(t.Context(), "nobody", storage.Record{Data: []byte("x")}, storage.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		b.stop()
		b.restart()
		id := b.queued(order{durable: true})
		wait(time.Second)
		b.equal("taken", b.peer.took(pair0), []string{id})
		if n := b.onDisk(pair0); n != 5 {
			t.Errorf("%d records", n)
		}
		b.stop()
	})
}

func TestAFaultInABounceDoesNotEndTheServer(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.fail[there], b.peer.takes = errNoName, time.Millisecond
		b.out.bounceTo = func(*xmpp.Stanza, *xmpp.Error) { panic("a module's mistake") }
		b.queued(order{})
		wait(time.Second)
		if n := b.out.Stats.Panics.Swap(0); n != 1 {
			t.Errorf("%d panics", n)
		}
	})
}

// An outlet counts how often it is flushed.
type outlet struct {
	router.Outlet
	flushed int
}

func (o *outlet) Send(router.Delivery) (wake, ok bool) { return true, true }
func (o *outlet) Flush()                               { o.flushed++ }

func TestWhoIsHeldUpHoldsBackNothingThatIsForOthers(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.setLimits(Limits{Stanzas: 2, Unacked: 1})
		b.peer.set(func() { b.peer.slow = 500 * time.Millisecond })
		r := router.New(router.Options{Hosts: []string{here}, MaxSessions: 5})
		other := &outlet{}
		session, err := r.Bind(jid.MustParse("tybalt@"+here+"/street"), other)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			b.queued(order{})
			synctest.Wait()
		}
		e := &router.Envelope{Session: session, Batch: new(router.Batch), Stanza: &xmpp.Stanza{Kind: xmpp.Message,
			From: jid.MustParse("romeo@" + here), To: jid.MustParse("juliet@" + there)}}
		session.Send(e.Batch, router.Delivery{Stanza: e.Stanza})
		start := time.Now()
		if b.out.Push(e); e.Outcome != router.Queued || time.Since(start) != 500*time.Millisecond {
			t.Errorf("%v after %v", e.Outcome, time.Since(start))
		}
		if other.flushed != 1 {
			t.Errorf("flushed %d times", other.flushed)
		}
		wait(5 * time.Second)
	})
}

func TestAFaultInAnAttemptDoesNotEndTheServer(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.faults = 1
		id := b.queued(order{})
		wait(2 * time.Second)
		if n := b.out.Stats.Panics.Swap(0); n != 1 {
			t.Errorf("%d panics", n)
		}
		b.equal("taken", b.peer.took(pair0), []string{id})
	})
}

func TestManySendersAndPeersAtOnce(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.setLimits(Limits{Stanzas: 1 << 20, Bytes: 1 << 30})
		var senders sync.WaitGroup
		const each, remotes = 400, 7
		for range 8 {
			senders.Go(func() {
				for i := range each {
					b.queued(order{to: fmt.Sprintf("d%d.example", i%remotes), durable: i%3 == 0})
					if i%50 == 0 {
						b.peer.kill(Pair{here, fmt.Sprintf("d%d.example", i%remotes)})
						b.out.Status()
						b.out.Gauge()
						b.out.sweep()
					}
				}
			})
		}
		senders.Wait()
		wait(time.Minute) // attempts after a kill keep their distance
		n := 0
		for i := range remotes {
			n += len(b.peer.took(Pair{here, fmt.Sprintf("d%d.example", i)}))
		}
		if sent := b.out.Stats.Sent.Load(); n != 8*each || sent != 8*each || b.out.memory.Load() != 0 {
			t.Errorf("%d taken, %d sent, %d bytes count as used", n, sent, b.out.memory.Load())
		}
	})
}
