package registration

import (
	"net/netip"
	"sync"
	"time"
)

// Limits are what one address (of IPv6, one /64) may do. Attempts are more than creations, since names
// are taken; they are bounded, since each tells whether one is.
type Limits struct {
	Creations, Attempts Rate
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

// take says whether this address may try to create an account now. Who fails to create one
// gives back what counted for that; the attempt still counts. Loopback is not limited.
func (l *limiter) take(a netip.Addr, now time.Time, most Limits) (ok bool, giveBack func()) {
	a = a.Unmap().WithZone("")
	if a.IsLoopback() {
		return true, func() {}
	}
	if a.Is6() {
		p, err := a.Prefix(64)
		if err == nil { // always, with 64 bits of 128
			a = p.Addr()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.usage(a)
	if !u.attempts.take(most.Attempts, now) || !u.creations.take(most.Creations, now) {
		return false, nil
	}
	return true, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		u.creations.left = min(u.creations.left+1, float64(most.Creations.Burst))
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
