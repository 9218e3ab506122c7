package accounts

import (
	"fmt"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// ErrThrottled says that too many logins failed and when to try again. It is found with errors.As.
type ErrThrottled struct {
	Wait time.Duration // more than 0
}

// Error tells the wait in whole seconds, rounded up.
func (e ErrThrottled) Error() string {
	return fmt.Sprintf("too many failed logins: try again in %d s", e.Seconds())
}

// Seconds is the wait in whole seconds, rounded up, as Retry-After wants it.
func (e ErrThrottled) Seconds() int { return int((e.Wait + time.Second - 1) / time.Second) }

// What the throttle does. Both back-offs begin when so many failures have come together, with Options.BackoffMin, and
// double with each further one up to Options.BackoffMax. One failure is forgotten each time that forget has passed, so
// that the few slips of an office behind one address do not add up, while somebody who guesses gets one guess in that
// time.
const (
	throttleFree       = 5  // failures
	throttleFreeExempt = 20 // failures of an exempt address against one account
	forgetAddr         = time.Minute
	forgetPair         = 5 * time.Minute
	throttleMax        = 1 << 16 // addresses and pairs known at once
)

// A Throttle slows down guessing: by address (of IPv6, the /64), and by address and account. An account itself is never
// locked, since that would let anybody keep its owner out. It is shared by SASL and HTTP and safe for concurrent use.
//
// The caller asks Check or Wait before it looks at a password or a proof, and then calls Failed or Succeeded. With
// mechanisms of several steps it asks again before the last one.
type Throttle struct {
	now  func() time.Time
	seed maphash.Seed
	size atomic.Int64 // of entries: the common case is that nothing ever failed

	first, most atomic.Int64 // back-off in nanoseconds

	mu      sync.Mutex // guards entries
	entries map[throttleKey]throttleEntry
}

// A throttleKey is an address or an address and an account.
type throttleKey struct {
	addr    netip.Addr
	pair    bool
	exempt  bool
	account uint64 // hashed, so that long names hold no memory
}

type throttleEntry struct {
	failures int
	since    time.Time // failures are forgotten from here
	until    time.Time // back-off
}

// NewThrottle returns a throttle with a clock, such as time.Now.
func NewThrottle(now func() time.Time) *Throttle {
	t := &Throttle{now: now, seed: maphash.MakeSeed(), entries: make(map[throttleKey]throttleEntry)}
	t.setBackoff(DefaultBackoffMin, DefaultBackoffMax)
	return t
}

// setBackoff applies to failures from now on.
func (t *Throttle) setBackoff(first, most time.Duration) {
	t.first.Store(int64(first))
	t.most.Store(int64(most))
}

// Wait returns how long an attempt from there against an account (a bare JID, or the name of an API account) must wait;
// 0 means that it may be made.
func (t *Throttle) Wait(from Source, account string) time.Duration {
	if t.size.Load() == 0 {
		return 0
	}
	now := t.now()
	addr, pair := t.keys(from, account)
	t.mu.Lock()
	defer t.mu.Unlock()
	wait := t.entries[pair].until.Sub(now)
	if !from.Exempt {
		wait = max(wait, t.entries[addr].until.Sub(now))
	}
	return max(wait, 0)
}

// Check is Wait as an error: nil or an ErrThrottled.
func (t *Throttle) Check(from Source, account string) error {
	if wait := t.Wait(from, account); wait > 0 {
		return ErrThrottled{Wait: wait}
	}
	return nil
}

// Failed counts a failed attempt.
func (t *Throttle) Failed(from Source, account string) {
	now := t.now()
	addr, pair := t.keys(from, account)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(pair, now)
	if !from.Exempt {
		t.count(addr, now)
	}
	// More are looked at than may come, so that what is forgotten goes without a sweep of all, and the common case is
	// soon that of an empty table.
	t.sweep(now, 4)
	t.size.Store(int64(len(t.entries)))
}

// Succeeded forgets the failures from this address against this account. Those of the address alone stay: else somebody
// who has one account could go on guessing at others.
func (t *Throttle) Succeeded(from Source, account string) {
	if t.size.Load() == 0 {
		return
	}
	_, pair := t.keys(from, account)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.entries, pair)
	t.size.Store(int64(len(t.entries)))
}

func (t *Throttle) keys(from Source, account string) (addr, pair throttleKey) {
	addr = throttleKey{addr: from.Network(), exempt: from.Exempt}
	pair = addr
	pair.pair, pair.account = true, maphash.String(t.seed, account)
	return addr, pair
}

func (k throttleKey) forget() time.Duration {
	if k.pair {
		return forgetPair
	}
	return forgetAddr
}

// after returns the entry with what is to be forgotten by now left out.
func (e throttleEntry) after(k throttleKey, now time.Time) throttleEntry {
	if n := now.Sub(e.since) / k.forget(); n > 0 {
		e.failures = max(e.failures-int(n), 0)
		e.since = e.since.Add(n * k.forget())
	}
	return e
}

func (t *Throttle) count(k throttleKey, now time.Time) {
	e, ok := t.entries[k]
	if !ok {
		t.room(now)
		e.since = now
	}
	e = e.after(k, now)
	if e.failures == 0 {
		e.since = now
	}
	e.failures++
	free := throttleFree
	if k.exempt {
		free = throttleFreeExempt
	}
	// A bound on the count, so that somebody who stops is soon forgotten: no more than it takes to get to the longest
	// wait.
	first, most := t.first.Load(), t.most.Load()
	e.failures = min(e.failures, free+bits.Len64(uint64(most/first)))
	if n := e.failures - free; n >= 0 {
		wait := most
		if first <= most>>n {
			wait = first << n
		}
		e.until = now.Add(time.Duration(wait))
	}
	t.entries[k] = e
}

// room makes room for one entry: of a few it removes the one with the fewest failures, so that a flood of new keys
// displaces itself before it displaces what has failed often.
func (t *Throttle) room(now time.Time) {
	if len(t.entries) < throttleMax || t.sweep(now, 8) > 0 {
		return
	}
	var least throttleKey
	fewest, seen := 0, 0
	for k, e := range t.entries {
		if seen == 0 || e.failures < fewest {
			least, fewest = k, e.failures
		}
		if seen++; seen == 8 {
			break
		}
	}
	delete(t.entries, least)
}

// sweep looks at n entries, in Go's random order, and removes those that say nothing any more.
func (t *Throttle) sweep(now time.Time, n int) (removed int) {
	for k, e := range t.entries {
		if n == 0 {
			break
		}
		n--
		if e.after(k, now).failures == 0 && !now.Before(e.until) {
			delete(t.entries, k)
			removed++
		}
	}
	return removed
}
