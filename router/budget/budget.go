// Package budget says how fast somebody may bring bytes, over all ways in together: an account by its streams, by posts
// over HTTP and by what they are copied to, a peer domain by all of its streams (docs/decisions/0016-budgets.md). It is
// a bucket that fills at a rate up to a burst. What is taken beyond makes a debt, which time pays; until then streams
// are not read and posts are refused, so that nothing is dropped.
package budget

import (
	"sync"
	"time"
)

// A Rate is how many bytes may come in a second, and how many at once.
type Rate struct{ PerSecond, Burst int }

// A Book has the budgets of one kind, those in use and those not yet full again. It is safe for concurrent use.
type Book struct {
	rate func() Rate

	mu    sync.Mutex // guards the rest; before a budget's
	of    map[string]*Budget
	swept time.Time
}

// New returns an empty book. The rate is asked for each time it matters.
func New(rate func() Rate) *Book { return &Book{rate: rate, of: map[string]*Budget{}} }

// A Budget is that of one account or domain. A nil one has no limit. It is safe for concurrent use.
type Budget struct {
	book  *Book
	users int // the book's mu guards it

	mu     sync.Mutex // guards the rest
	credit float64    // below 0: a debt
	at     time.Time  // when that was worked out
}

// Open finds or makes a budget; Close must follow. A nil book has none.
func (b *Book) Open(name string) *Budget {
	if b == nil {
		return nil
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.swept) >= time.Minute {
		b.sweep(now)
	}
	x := b.of[name]
	if x == nil {
		x = &Budget{book: b, credit: float64(b.rate().Burst), at: now}
		b.of[name] = x
	}
	x.users++
	return x
}

// sweep forgets those that are full and that nobody uses. The caller holds mu.
func (b *Book) sweep(now time.Time) {
	b.swept = now
	r := b.rate()
	for name, x := range b.of {
		if x.users > 0 {
			continue
		}
		x.mu.Lock()
		x.fill(now, r)
		full := x.credit >= float64(r.Burst)
		x.mu.Unlock()
		if full {
			delete(b.of, name)
		}
	}
}

// Close says that one user needs the budget no longer.
func (x *Budget) Close() {
	if x == nil {
		return
	}
	x.book.mu.Lock()
	defer x.book.mu.Unlock()
	x.users--
}

// fill adds what time has brought. The caller holds mu.
func (x *Budget) fill(now time.Time, r Rate) {
	x.credit = min(float64(r.Burst), x.credit+now.Sub(x.at).Seconds()*float64(r.PerSecond))
	x.at = now
}

// wait is how long until there is no debt. The caller holds mu.
func (x *Budget) wait(r Rate) time.Duration {
	if x.credit >= 0 {
		return 0
	}
	seconds := min(-x.credit/float64(r.PerSecond), 24*60*60) // what a Duration and a reader can hold
	return time.Duration(seconds * float64(time.Second))
}

// Spend takes n bytes, be there so many or not; what is negative is given back.
func (x *Budget) Spend(n int) {
	if x == nil {
		return
	}
	r := x.book.rate()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fill(time.Now(), r)
	x.credit = min(x.credit-float64(n), float64(r.Burst))
}

// Take takes n bytes and returns 0, unless there is a debt already: then it takes nothing and returns how long that
// lasts.
func (x *Budget) Take(n int) time.Duration {
	if x == nil {
		return 0
	}
	r := x.book.rate()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fill(time.Now(), r)
	d := x.wait(r)
	if d == 0 {
		x.credit -= float64(n)
	}
	return d
}

// Wait is how long the debt lasts; 0 if there is none.
func (x *Budget) Wait() time.Duration { return x.Take(0) }
