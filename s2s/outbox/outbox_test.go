package outbox

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStanzasReachThePeerInOrder(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		var want []string
		for i := range 300 {
			want = append(want, b.queued(order{body: "hi", durable: i%3 == 0}))
		}
		synctest.Wait()
		b.equal("taken", b.peer.took(pair0), want)
		if n := len(b.peer.attempts(there)); n != 1 {
			t.Errorf("%d attempts", n)
		}
		wait(time.Second)
		if n := b.onDisk(pair0); n != 0 {
			t.Errorf("%d records are left", n)
		}
		if s, q := b.out.Stats.Sent.Load(), b.out.Stats.Queued.Load(); s != 300 || q != 300 {
			t.Errorf("sent %d of %d", s, q)
		}
		s := b.status(pair0)
		if s.State != Up || s.Waiting+s.Unacked+s.WaitingBytes+s.UnackedBytes != 0 {
			t.Errorf("status %+v", s)
		}
		if m := b.out.memory.Load(); m != 0 {
			t.Errorf("%d bytes count as used", m)
		}
	})
}

func TestAnIdleStreamNeedsNoGoroutineAndIsUsedAgain(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.queued(order{})
		wait(2 * time.Second)
		d := b.out.domains[there]
		d.mu.Lock()
		driving := d.pairs[0].driving
		d.mu.Unlock()
		if driving {
			t.Error("there is a goroutine with nothing to do")
		}
		b.queued(order{})
		synctest.Wait()
		b.equal("taken", b.peer.took(pair0), []string{"1", "2"})
		b.peer.kill(pair0)
		wait(10 * time.Second)
		if n := len(b.peer.attempts(there)); n != 1 {
			t.Errorf("%d attempts though nothing waited", n)
		}
		b.queued(order{})
		synctest.Wait()
		b.equal("taken", b.peer.took(pair0), []string{"1", "2", "3"})
		wait(20 * time.Minute)
		if !b.peer.closed(pair0) {
			t.Error("a stream that nobody uses is kept for ever")
		}
		wait(time.Hour)
		if n := len(b.out.Status()); n != 0 {
			t.Errorf("%d pairs are remembered", n)
		}
	})
}

func TestWhatWasWrittenAndNotAcknowledgedIsWrittenAgain(t *testing.T) {
	for _, resume := range []bool{true, false} {
		t.Run(fmt.Sprint("resume ", resume), func(t *testing.T) {
			scene(t, func(t *testing.T, b *bench) {
				b.peer.silent, b.peer.resume = true, resume
				var want []string
				for range 6 {
					want = append(want, b.queued(order{durable: true}))
				}
				synctest.Wait()
				b.peer.ack(pair0, 2)
				b.peer.set(func() { b.peer.silent = false })
				b.peer.kill(pair0)
				want = append(want, b.queued(order{}))
				synctest.Wait()
				if resume {
					b.peer.ack(pair0, 10)
				}
				b.equal("taken", b.peer.took(pair0), want)
				if n := len(b.peer.attempts(there)); n != 2 {
					t.Errorf("%d attempts", n)
				}
			})
		})
	}
}

func TestAttemptsKeepTheirDistance(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.fail[there] = errRefused
		b.queued(order{})
		wait(9 * time.Minute)
		at := b.peer.attempts(there)
		want, jitter := time.Second, false
		for i := 1; i < len(at); i++ {
			gap := at[i].Sub(at[i-1])
			if gap > want || gap < want*3/4-time.Millisecond {
				t.Errorf("attempt %d comes %v after the one before, want some %v", i, gap, want)
			}
			jitter = jitter || gap != want
			want = min(2*want, 5*time.Minute)
		}
		if !jitter || len(at) < 9 {
			t.Errorf("%d attempts, jitter %v", len(at), jitter)
		}
		s := b.status(pair0)
		if s.State != Waiting || s.LastError != "the connection was refused: dial: refused" || s.Failures != len(at) || s.Next.Before(time.Now()) {
			t.Errorf("status %+v", s)
		}
		b.peer.set(func() { delete(b.peer.fail, there) })
		b.out.Seen(there)
		synctest.Wait()
		b.equal("taken", b.peer.took(pair0), []string{"1"})
	})
}

func TestAPermanentFailureBouncesAllAtOnce(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.fail[there], b.peer.takes = errNoName, time.Millisecond
		for i := range 5 {
			b.queued(order{durable: i%2 == 0})
		}
		b.queued(order{kind: xmpp.Message, typ: xmpp.TypeError})
		wait(2 * time.Millisecond)
		b.equal("bounced", b.bouncedIDs(), []string{"1", "2", "3", "4", "5"})
		for _, x := range b.bounces() {
			if x.err.Condition != xmpp.CondRemoteServerNotFound || x.err.Text != errNoName.Text {
				t.Errorf("bounced with %v", x.err)
			}
			if x.stanza.From != jid.MustParse("romeo@here.example/garden") || string(x.stanza.Payload) != "<body></body>" {
				t.Errorf("bounced %+v", x.stanza)
			}
		}
		// For a moment nobody is asked again.
		if err := b.refused(order{}); err.Condition != xmpp.CondRemoteServerNotFound {
			t.Errorf("refused with %v", err)
		}
		wait(2 * time.Second)
		if n := b.onDisk(pair0); n != 0 {
			t.Errorf("%d records are left", n)
		}
		b.peer.set(func() { delete(b.peer.fail, there) })
		id := b.queued(order{})
		wait(2 * time.Millisecond)
		b.equal("taken", b.peer.took(pair0), []string{id})
		if n, d := b.out.Stats.Bounced[Unreachable].Load(), b.out.Stats.Dropped.Load(); n != 5 || d != 1 {
			t.Errorf("%d bounced, %d dropped", n, d)
		}
	})
}

func TestRequestsBounceAfterAMomentAndMessagesAtTheirAge(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.fail[there] = errRefused
		start := time.Now()
		message := b.queued(order{durable: true})
		request := b.queued(order{kind: xmpp.IQ, typ: xmpp.TypeGet})
		b.queued(order{kind: xmpp.IQ, typ: xmpp.TypeResult})
		presence := b.queued(order{kind: xmpp.Presence})
		subscription := b.queued(order{kind: xmpp.Presence, typ: xmpp.TypeSubscribe, durable: true})
		wait(31 * time.Second)
		b.equal("bounced", b.bouncedIDs(), []string{request, presence})
		for _, x := range b.bounces() {
			if x.err.Condition != xmpp.CondRemoteServerTimeout || x.err.Text != errRefused.Text ||
				x.at.Sub(start) != volatileAge {
				t.Errorf("bounced with %v after %v", x.err, x.at.Sub(start))
			}
		}
		// What comes during the wait for the next attempt has its own time.
		wait(4*time.Minute + 29*time.Second)
		late := time.Now()
		request2 := b.queued(order{kind: xmpp.IQ, typ: xmpp.TypeGet})
		wait(6 * time.Minute)
		b.equal("bounced", b.bouncedIDs(), []string{request, presence, request2, message, subscription})
		all := b.bounces()
		if got := all[2].at.Sub(late); got != volatileAge {
			t.Errorf("the late request bounced after %v", got)
		}
		for _, x := range all[3:] {
			if x.at.Sub(start) != 10*time.Minute || x.err.Text != "there.example could not be reached: the connection was refused" {
				t.Errorf("bounced with %v after %v", x.err, x.at.Sub(start))
			}
		}
		n := len(b.peer.attempts(there))
		wait(time.Hour)
		if m := len(b.peer.attempts(there)); m != n {
			t.Error("attempts are made for nobody")
		}
		if n := b.onDisk(pair0); n != 0 {
			t.Errorf("%d records are left", n)
		}
	})
}

func TestAStuckDomainDelaysNoOther(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.hang[stuck] = true
		for range 2000 {
			b.push(order{to: stuck})
		}
		start := time.Now()
		for range 500 {
			b.queued(order{durable: true})
		}
		synctest.Wait()
		if n := len(b.peer.took(pair0)); n != 500 || time.Since(start) > 100*time.Millisecond {
			t.Errorf("%d taken after %v", n, time.Since(start))
		}
		if n := b.out.Stats.Refused[ForFull].Load(); n != 1000 {
			t.Errorf("%d refused", n)
		}
	})
}

func TestOneAttemptAtATimeForADomain(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.hang[stuck] = true
		for _, local := range []string{here, "also.here.example"} {
			s := &xmpp.Stanza{Kind: xmpp.Message, From: jid.MustParse("romeo@" + local), To: jid.MustParse("j@" + stuck)}
			e := &router.Envelope{Stanza: s}
			b.out.Push(e)
		}
		wait(3 * time.Minute)
		if n := b.peer.atOnce(stuck); n != 1 {
			t.Errorf("%d attempts at a time", n)
		}
		b.setLimits(Limits{Dials: 2})
		wait(3 * time.Minute)
		if n := b.peer.atOnce(stuck); n != 2 {
			t.Errorf("%d attempts at a time, two are allowed", n)
		}
	})
}

func TestAPeerThatAcceptsAndClosesIsNotHammered(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.accepts = 1 << 30
		b.queued(order{})
		wait(11 * time.Minute)
		if n := len(b.peer.attempts(there)); n > 12 || n < 8 {
			t.Errorf("%d attempts", n)
		}
		b.equal("bounced", b.bouncedIDs(), []string{"1"})
	})
}

func TestAStanzaThatMustNotLeaveIsRefused(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		for _, way := range [][2]string{{"a@elsewhere.example", "b@" + there}, {"a@" + here, "b@also.here.example"}, {"", "b@" + there}, {"a@" + here, ""}} {
			s := &xmpp.Stanza{Kind: xmpp.Message}
			if way[0] != "" {
				s.From = jid.MustParse(way[0])
			}
			if way[1] != "" {
				s.To = jid.MustParse(way[1])
			}
			e := &router.Envelope{Stanza: s}
			if b.out.Push(e); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondNotAllowed {
				t.Errorf("%v: %v %v", way, e.Outcome, e.Err)
			}
		}
		if n := b.out.Stats.Refused[ForForgery].Load(); n != 4 {
			t.Errorf("%d counted", n)
		}
	})
}

func TestAMessageIsKnownAgainByTheIDThatItsClientGaveIt(t *testing.T) {
	const named = "x</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/><body>"
	scene(t, func(t *testing.T, b *bench) {
		first := b.queued(order{durable: true, session: new(router.Session), body: named})
		b.queued(order{durable: true, session: new(router.Session), body: named})
		posted := b.queued(order{durable: true, body: named}) // no client has said that
		synctest.Wait()
		b.equal("taken", b.peer.took(pair0), []string{first, posted})
	})
}

func TestARepeatedMessageIsSentOnce(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		first := b.queued(order{durable: true, dedup: "romeo 1"})
		b.queued(order{durable: true, dedup: "romeo 1"})
		other := b.queued(order{durable: true, dedup: "romeo 2"})
		copied := &xmpp.Stanza{Kind: xmpp.Message, ID: "to nurse", From: jid.MustParse("romeo@" + here), To: jid.MustParse("nurse@" + there)}
		e := &router.Envelope{Stanza: copied, Durable: true, Dedup: "romeo 1"} // the same post to another recipient
		if b.out.Push(e); e.Outcome != router.Queued {
			t.Errorf("copy: %v", e.Outcome)
		}
		synctest.Wait()
		wait(time.Minute)
		b.queued(order{durable: true, dedup: "romeo 1"})
		synctest.Wait()
		b.equal("taken", b.peer.took(pair0), []string{first, other, copied.ID})
		if n := b.out.Stats.Duplicates.Load(); n != 2 {
			t.Errorf("%d duplicates", n)
		}
		if g := b.out.Gauge(); g.Waiting != 0 || b.out.memory.Load() != 0 {
			t.Errorf("gauge %+v, memory %d", g, b.out.memory.Load())
		}
	})
}

func TestWhatAKilledServerLeftIsSentInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.peer.fail[there] = errRefused
		var want []string
		for i := range 1200 {
			id, e := b.push(order{durable: i%2 == 0})
			if b.durable(e); i%2 == 0 && e.Outcome == router.Queued {
				want = append(want, id)
			}
		}
		b.crash()
		delete(b.peer.fail, there)
		b.restart()
		want = append(want, b.queued(order{}))
		synctest.Wait()
		b.equal("taken", b.peer.took(pair0), want)
		if n := b.out.Stats.Restored.Load(); n != 500 {
			t.Errorf("%d restored", n)
		}
		wait(time.Second)
		if n := b.onDisk(pair0); n != 0 {
			t.Errorf("%d records are left", n)
		}
		b.stop()
	})
}

func TestRestoredMessagesKeepTheirAgeAndAreTriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.peer.fail[there] = errRefused
		old := b.queued(order{durable: true})
		wait(8 * time.Minute)
		young, e := b.push(order{durable: true})
		b.durable(e)
		b.crash()
		wait(3 * time.Minute)
		b.restart()
		synctest.Wait()
		b.equal("bounced", b.bouncedIDs(), []string{old})
		wait(7*time.Minute + time.Second)
		b.equal("bounced", b.bouncedIDs(), []string{old, young})
		b.stop()
	})
}

func TestTheQueueOfADomainThatIsNoLongerOursIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.peer.fail[there] = errRefused
		_, e := b.push(order{durable: true})
		b.durable(e)
		gone := Pair{Local: here, Remote: "new.here.example"}
		b.peer.set(func() { b.peer.fail[gone.Remote] = errRefused })
		_, e = b.push(order{durable: true, to: gone.Remote})
		b.durable(e)
		b.crash()
		b.ours[gone.Remote] = true
		b.open()
		b.start()
		synctest.Wait()
		b.equal("bounced", b.bouncedIDs(), []string{"2"})
		wait(time.Second)
		b.crash()
		delete(b.ours, here)
		b.restart()
		if n, m := b.onDisk(pair0), b.onDisk(gone); n != 0 || m != 0 {
			t.Errorf("%d and %d records are left", n, m)
		}
		b.equal("bounced", b.bouncedIDs(), []string{"2"})
		b.stop()
	})
}

func TestStopKeepsMessagesInOrderAndGivesTheRestBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.peer.fail[there] = errRefused
		var want []string
		for i := range 10 {
			want = append(want, b.queued(order{durable: i < 2 || i%3 == 0}))
		}
		request := b.queued(order{kind: xmpp.IQ, typ: xmpp.TypeSet})
		b.stop()
		b.equal("bounced", b.bouncedIDs(), []string{request})
		if err := b.refused(order{}); err.Condition != xmpp.CondResourceConstraint || err.Type != xmpp.ErrorWait {
			t.Errorf("refused with %v", err)
		}
		delete(b.peer.fail, there)
		b.restart()
		synctest.Wait()
		b.equal("taken", b.peer.took(pair0), want)
		b.stop()
	})
}

func TestStopLetsAStreamTakeWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.queued(order{})
		synctest.Wait()
		b.peer.slow = 300 * time.Millisecond
		b.queued(order{})
		b.queued(order{})
		start := time.Now()
		b.stop()
		b.equal("taken", b.peer.took(pair0), []string{"1", "2", "3"})
		if d := time.Since(start); d > time.Second {
			t.Errorf("it took %v", d)
		}
		if !b.peer.closed(pair0) {
			t.Error("the stream was not closed")
		}
	})
}

func TestStopEndsAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.peer.hang[there] = true
		id := b.queued(order{})
		start := time.Now()
		b.stop()
		if d := time.Since(start); d > time.Second {
			t.Errorf("it took %v", d)
		}
		b.peer.hang[there] = false
		b.restart()
		synctest.Wait()
		b.equal("taken", b.peer.took(pair0), []string{id})
		if err := b.out.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if !slices.Equal(b.bouncedIDs(), nil) {
			t.Errorf("bounced %v", b.bouncedIDs())
		}
		b.close()
	})
}
