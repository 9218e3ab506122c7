package registration

import (
	"net/netip"
	"sync"
	"time"

	"jackdaw/router/accounts"
)

// Limits are what one address (of IPv6, one /64) may do. Attempts are more than creations, since names
// are taken; they are bounded, since each tells whether one is.
type Limits struct {
	Creations, Attempts Rate
	// Waiting is how many accounts may wait for approval, and Age how long.
	Waiting accounts.Bounds
	Age     time.Duration
}

// maxAddresses bounds each of the two generations of addresses.
const maxAddresses = 4096

// A Rate allows Burst events at once, and one more each time that Every has passed.
type Rate struct {
	Burst int
	Every time.Duration
}

// A limiter counts by address. It remembers at least the last maxAddresses of them. The zero
// value is ready.
type limiter struct {
	mu       sync.Mutex // guards the rest
	now, old map[netip.Addr]*usage
}

// usage is what one address has left.
type usage struct{ creations, attempts bucket }

type bucket struct {
	left float64
	at   time.Time // when left was right
}

func (b *bucket) take(r Rate, now time.Time) bool {
	most := float64(r.Burst)
	if b.at.IsZero() {
		b.left = most
	} else {
		b.left = min(b.left+float64(now.Sub(b.at))/float64(r.Every), most)
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// take says whether somebody at an address may try to create an account now, which counts. Loopback is not limited. Of
// whoever has been invited the attempts alone count, since the invitations bound how many accounts there will be.
func (l *limiter) take(from accounts.Source, now time.Time, most Limits, invited bool) (ok bool, back giveBack) {
	if from.Exempt {
		return true, giveBack{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.usage(from.Network())
	if !u.attempts.take(most.Attempts, now) || !invited && !u.creations.take(most.Creations, now) {
		return false, giveBack{}
	}
	return true, giveBack{l, u, most}
}

// giveBack takes back some of what take has counted. The zero value is of somebody who is not limited.
type giveBack struct {
	l    *limiter
	u    *usage
	most Limits
}

// failed is for whoever has created nothing: the attempt still counts.
func (b giveBack) failed() {
	if b.l != nil {
		b.l.mu.Lock()
		defer b.l.mu.Unlock()
		b.u.creations.left = min(b.u.creations.left+1, float64(b.most.Creations.Burst))
	}
}

// invited is for whoever has created an account by invitation, of which an office may bring many.
func (b giveBack) invited() {
	if b.l != nil {
		b.l.mu.Lock()
		defer b.l.mu.Unlock()
		b.u.attempts.left = min(b.u.attempts.left+1, float64(b.most.Attempts.Burst))
	}
}

// usage finds or makes the entry. The caller holds the lock.
func (l *limiter) usage(a netip.Addr) *usage {
	if u := l.now[a]; u != nil {
		return u
	}
	u := l.old[a]
	if u == nil {
		u = new(usage)
	}
	if l.now == nil || len(l.now) >= maxAddresses {
		l.old, l.now = l.now, map[netip.Addr]*usage{}
	}
	l.now[a] = u
	return u
}
