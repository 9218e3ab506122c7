package outbox

import (
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"jackdaw/router"
	"jackdaw/xmpp"
)

// A deed is one thing that happens in the model.
type deed struct {
	What string
	N    int
	Next bool // nothing waits for its consequences
}

var deeds = []string{"push", "push", "push", "push", "push", "push many", "wait", "wait", "kill", "kill", "ack", "ack", "temporary",
	"permanent", "healthy", "healthy", "silent", "speaking", "accepts", "deaf", "hearing", "slow", "hang", "takes",
	"takes", "stop", "crash", "poison", "poison", "mute", "shared"}

// pushed is what became of a stanza as its sender sees it.
type pushed struct {
	durable bool
	class   class
	crash   bool // the server was killed with it in the queue, perhaps
}

// play does the deeds and says what is wrong afterwards.
func play(t *testing.T, resume, processed bool, plan []deed) (wrong []string) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	b := newBench(t)
	b.setLimits(Limits{Stanzas: 40, Unacked: 25, Age: 2 * time.Minute, BackoffMax: 20 * time.Second})
	f := b.peer
	f.resume, f.processed = resume, processed
	all, crashed := map[string]*pushed{}, false
	push := func(n int) {
		o := order{body: fmt.Sprint(n), durable: n%2 == 0}
		switch n % 7 {
		case 1:
			o.kind, o.typ = xmpp.IQ, xmpp.TypeGet
		case 2:
			o.kind = xmpp.Presence
		case 3:
			o.typ = xmpp.TypeError
		}
		id, e := b.push(o)
		if e.Outcome == router.Queued {
			b.durable(e)
			c := classOf(e.Stanza)
			all[id] = &pushed{durable: o.durable && c.keepable(), class: c}
		}
	}
	restart := func() {
		f.set(func() { // a server that has just started resumes nothing
			for p, s := range f.sessions {
				f.lostLocked(p, s)
			}
			clear(f.sessions)
		})
		b.restart()
	}
	for _, d := range plan {
		switch d.What {
		case "push":
			push(d.N)
		case "push many":
			for i := range d.N {
				push(i)
			}
		case "wait":
			wait([]time.Duration{time.Millisecond, time.Second, 12 * time.Second, time.Minute}[d.N%4])
		case "kill":
			f.kill(pair0)
		case "ack":
			f.ack(pair0, d.N%8)
		case "temporary":
			f.set(func() { f.fail[there] = errRefused })
		case "permanent":
			f.set(func() { f.fail[there] = errNoName })
		case "healthy":
			f.set(func() { f.fail[there], f.hang[there], f.accepts, f.slow = nil, false, 0, 0 })
		case "silent", "speaking":
			f.set(func() { f.silent = d.What == "silent" })
		case "accepts":
			f.set(func() { f.accepts = d.N % 4 })
		case "deaf", "hearing":
			f.set(func() { f.deaf = d.What == "deaf" })
		case "slow":
			f.set(func() { f.slow = time.Duration(d.N) * 100 * time.Millisecond })
		case "takes":
			f.set(func() { f.takes = []time.Duration{0, 10 * time.Millisecond, 5 * time.Second, 20 * time.Second}[d.N%4] })
		case "poison":
			f.set(func() { f.poison[fmt.Sprint(b.next+1+d.N%5)] = true })
		case "mute", "shared":
			f.set(func() { f.mute, f.shared = d.What == "mute" && d.N%2 == 0, d.What == "shared" && d.N%2 == 0 })
		case "hang":
			f.set(func() { f.hang[there] = true })
		case "stop":
			b.stop()
			restart()
		case "crash":
			crashed = true
			for _, p := range all {
				p.crash = true
			}
			b.crash()
			restart()
		}
		if !d.Next {
			synctest.Wait()
		}
	}
	f.set(func() {
		f.fail[there], f.hang[there], f.accepts, f.slow, f.takes, f.silent, f.deaf = nil, false, 0, 0, 0, false, false
	})
	synctest.Wait()
	for range 10 { // streams that are up have what was written while they were silent
		f.ack(pair0, 1000)
		wait(30 * time.Second)
	}

	seen, bounces := map[string]int{}, map[string]int{}
	newest := 0
	for _, id := range f.took(pair0) {
		if seen[id]++; seen[id] == 1 {
			if n, _ := strconv.Atoi(id); n < newest {
				complain("%s is taken after %d", id, newest)
			} else {
				newest = n
			}
		}
	}
	for _, x := range b.bounces() {
		bounces[x.stanza.ID]++
	}
	for id, p := range all {
		d, n := seen[id], bounces[id]
		switch {
		case d > 0 && f.poison[id]:
			complain("%s was taken, which cannot be", id)
		case n > 1 && !p.crash || n > 0 && p.class&silent != 0:
			complain("%s bounced %d times", id, n)
		case d+n == 0 && p.class&silent == 0 && (p.durable || !p.crash):
			complain("%s (durable %v) is lost", id, p.durable)
		case d+n > 1 && !p.crash && !f.unknown[id]:
			complain("%s was taken %d times and bounced %d times", id, d, n)
		}
	}
	if b.out.memory.Load() != 0 {
		complain("%d bytes count as used", b.out.memory.Load())
	}
	for _, d := range b.out.all() {
		d.mu.Lock()
		if d.waiting != (amount{}) || d.dialing != 0 {
			complain("left: %+v waiting, %d dialing", d.waiting, d.dialing)
		}
		d.mu.Unlock()
	}
	if n := b.onDisk(pair0); n != 0 {
		complain("%d records are left", n)
	}
	s := &b.out.Stats
	in, out := s.Queued.Load()+s.Restored.Load(), s.Sent.Load()+s.Dropped.Load()
	for i := range s.Bounced {
		out += s.Bounced[i].Load()
	}
	if in != out && !crashed {
		complain("%d came in, %d went", in, out)
	}
	b.stop()
	return wrong
}

func TestEveryStanzaIsTakenOrBouncedOnceAndInOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		resume := rapid.Bool().Draw(r, "resume")
		processed := !resume && rapid.Bool().Draw(r, "processed")
		plan := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) deed {
			return deed{rapid.SampledFrom(deeds).Draw(r, "what"), rapid.IntRange(0, 30).Draw(r, "n"), rapid.Bool().Draw(r, "next")}
		}), 1, 80).Draw(r, "plan")
		var wrong []string
		synctest.Test(t, func(t *testing.T) { wrong = play(t, resume, processed, plan) })
		if len(wrong) > 0 {
			r.Fatalf("%q", wrong)
		}
	})
}
