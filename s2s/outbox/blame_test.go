package outbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
)

// reason says why a stanza bounced, and that it did so once.
func (b *bench) reason(id string) *xmpp.Error {
	b.t.Helper()
	var found *xmpp.Error
	for _, x := range b.bounces() {
		if x.stanza.ID == id {
			if found != nil {
				b.t.Errorf("%s bounced twice", id)
			}
			found = x.err
		}
	}
	if found == nil {
		b.t.Fatalf("%s did not bounce", id)
	}
	return found
}

func TestWhatIsTooLargeForThePeerIsNotWritten(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.set(func() { b.peer.limit, b.peer.takes = 1000, time.Second })
		large := strings.Repeat("x", 1000)
		var small, big []string
		for i := range 6 { // while nobody knows the limit
			if i%2 == 0 {
				small = append(small, b.queued(order{durable: true}))
			} else {
				big = append(big, b.queued(order{body: large, durable: true}))
			}
		}
		answer := b.queued(order{body: large, typ: xmpp.TypeError})
		wait(2 * time.Second)
		b.equal("taken", b.peer.took(pair0), small)
		b.equal("bounced", b.bouncedIDs(), big)
		if err := b.reason(big[0]); err.Condition != xmpp.CondPolicyViolation || err.Text != "there.example takes nothing of more than 1000 bytes" {
			t.Errorf("the reason is %v", err)
		}
		if n := len(b.peer.attempts(there)); n != 1 {
			t.Errorf("%d attempts", n)
		}
		if err := b.refused(order{body: large, durable: true}); err.Condition != xmpp.CondPolicyViolation { // now it is known
			t.Errorf("refused with %v", err)
		}
		s := &b.out.Stats
		if s.Bounced[TooLarge].Load() != 3 || s.Dropped.Load() != 1 || s.Refused[ForSize].Load() != 1 {
			t.Errorf("counted: %d bounced, %d dropped, %d refused", s.Bounced[TooLarge].Load(), s.Dropped.Load(), s.Refused[ForSize].Load())
		}
		b.kill()
		b.peer.set(func() { b.peer.limit = 0 }) // it has changed its mind
		again := b.queued(order{body: large})
		wait(time.Minute)
		b.equal("taken", b.peer.took(pair0), append(small, again))
		if n := b.onDisk(pair0); n != 0 || slices.Contains(b.bouncedIDs(), answer) {
			t.Errorf("%d records are left, and bounced is %v", n, b.bouncedIDs())
		}
	})
}

// pair is the first pair of a domain, which is locked.
func (b *bench) pair() *pair {
	for _, d := range b.out.all() {
		if d.name == there {
			d.mu.Lock()
			return d.pairs[0]
		}
	}
	b.t.Fatal("there is no pair")
	return nil
}

// kill ends the stream.
func (b *bench) kill() {
	b.peer.kill(pair0)
	synctest.Wait()
}

func TestWhatIsTooLargeForALimitThatComesWhileItIsStoredIsNotWritten(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.set(func() { b.peer.limit = 1000 })
		b.queued(order{})
		synctest.Wait()
		p := b.pair()
		xml := []byte("<message id='x' from='romeo@here.example' to='juliet@there.example'><body>" + strings.Repeat("x", 1000) + "</body></message>")
		p.domain.waiting.add(amount{1, 1, len(xml)})
		b.out.memory.Add(int64(len(xml)))
		it := item{since: time.Now().UnixMicro(), class: lasting}
		p.enqueue(it, xml)
		p.rouse(&it, b.out.limits())
		p.domain.mu.Unlock()
		synctest.Wait()
		b.equal("bounced", b.bouncedIDs(), []string{"x"})
		p = b.pair()
		if b.out.memory.Load() != 0 || p.domain.waiting != (amount{}) {
			t.Errorf("%d bytes count as used, %+v waits", b.out.memory.Load(), p.domain.waiting)
		}
		p.domain.mu.Unlock()
	})
}

func TestWhatThePeerEndsStreamsForBouncesAfterThreeOfThem(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.set(func() { b.peer.poison["1"] = true })
		bad := b.queued(order{durable: true})
		synctest.Wait()
		var good []string
		for range 20 {
			good = append(good, b.queued(order{durable: true}))
		}
		wait(2 * time.Second)
		b.equal("bounced early", b.bouncedIDs(), nil)
		wait(10 * time.Second)
		b.equal("bounced", b.bouncedIDs(), []string{bad})
		if err := b.reason(bad); err.Condition != xmpp.CondPolicyViolation || err.Text != "there.example does not take this: too much for a poor server" {
			t.Errorf("the reason is %v", err)
		}
		b.equal("taken", b.peer.took(pair0), good)
		if n := len(b.peer.attempts(there)); n != 4 {
			t.Errorf("%d attempts", n)
		}
		if n := b.onDisk(pair0); n != 0 || b.out.Stats.Bounced[Rejected].Load() != 1 {
			t.Errorf("%d records are left", n)
		}
	})
}

func TestWhatThePeerEndsStreamsForIsFoundAmongOthers(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.setLimits(Limits{Stanzas: 10_000})
		b.peer.set(func() { b.peer.takes = time.Second })
		var want, bad []string
		for i := range 3000 {
			id := b.queued(order{})
			if i == 700 || i == 701 || i == 2999 {
				bad = append(bad, id)
				b.peer.set(func() { b.peer.poison[id] = true })
			} else {
				want = append(want, id)
			}
		}
		wait(4 * time.Minute)
		b.equal("bounced", b.bouncedIDs(), bad)
		b.equal("taken", b.peer.took(pair0), want)
		if n := len(b.peer.attempts(there)); n > 60 {
			t.Errorf("%d attempts", n)
		}
		b.peer.set(func() { b.peer.writes = nil })
		var more []string
		for range 2 * openWindow {
			more = append(more, b.queued(order{}))
		}
		wait(time.Minute)
		b.equal("taken", b.peer.took(pair0), append(want, more...))
		p := b.pair()
		if p.window != 0 {
			t.Errorf("no more than %d are written at a time", p.window)
		}
		p.domain.mu.Unlock()
	})
}

func TestWhatMayNotBeTheReasonIsNotBounced(t *testing.T) {
	for name, turn := range map[string]func(*fakePeer){
		"others were on the stream":  func(f *fakePeer) { f.shared = true },
		"the peer did not say why":   func(f *fakePeer) { f.mute = true },
		"nothing is known of an end": func(f *fakePeer) { f.accepts = 1 << 30 },
	} {
		t.Run(name, func(t *testing.T) {
			scene(t, func(t *testing.T, b *bench) {
				b.peer.set(func() { b.peer.poison["1"] = true; turn(b.peer) })
				first, next := b.queued(order{}), b.queued(order{})
				wait(5 * time.Minute)
				b.equal("bounced", b.bouncedIDs(), nil)
				b.peer.set(func() { clear(b.peer.poison); b.peer.accepts = 0 })
				wait(4 * time.Minute)
				b.equal("taken", b.peer.took(pair0), []string{first, next})
			})
		})
	}
}

func TestTheNextStanzaDoesNotPayForTheOneBefore(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.setLimits(Limits{BackoffMin: 40 * time.Second, BackoffMax: 40 * time.Second})
		b.peer.set(func() { b.peer.poison["1"], b.peer.poison["2"] = true, true })
		request := b.queued(order{kind: xmpp.IQ, typ: xmpp.TypeGet})
		wait(5 * time.Second)
		message := b.queued(order{})
		wait(35 * time.Second) // the request, which one stream ended for, has waited enough
		b.equal("bounced", b.bouncedIDs(), []string{request})
		b.peer.set(func() { b.peer.poison[fmt.Sprint(message)] = true })
		wait(50 * time.Second) // two streams have ended for the message
		b.equal("bounced", b.bouncedIDs(), []string{request})
		b.peer.set(func() { clear(b.peer.poison) })
		wait(time.Minute)
		b.equal("taken", b.peer.took(pair0), []string{message})
	})
}

func TestAPeerThatEndsEveryStreamForWhatItIsSentIsNotHammered(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		var all []string
		for i := range 50 {
			b.peer.set(func() { b.peer.poison[fmt.Sprint(i+1)] = true })
		}
		for range 50 {
			all = append(all, b.queued(order{}))
		}
		wait(11 * time.Minute)
		b.equal("bounced", b.bouncedIDs(), all)
		if n := len(b.peer.attempts(there)); n > 12 {
			t.Errorf("%d attempts", n)
		}
		if _, e := b.push(order{}); e.Outcome != router.Queued {
			t.Errorf("the next one is %v", e.Outcome)
		}
	})
}
