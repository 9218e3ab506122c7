package s2s

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"jackdaw/router/gate"
	"jackdaw/s2s/outbox"
	"jackdaw/wire"
	"jackdaw/xmpp"
)

// A key of dialback makes the receiving server call whom the key names (XEP-0220 §2.1.2). So a few bytes from a
// stranger cost questions to DNS, a connection and a handshake, perhaps with somebody who has nothing to do with it.
// What one address may cause is therefore bounded, in a minute and at a time.
const (
	// fairVerifications is how many may be on their way before an address gets no second one at a time, maxVerifications
	// how many there may be at all; maxOfAddress are those of one address until then.
	fairVerifications = 100
	maxVerifications  = 200
	maxOfAddress      = 20
	// provenCost is what a key costs on a stream that has proved a domain already, in keys of one that has not.
	provenCost = 0.1
)

// inquiries counts the verifications that are on their way, and those of the last minute by address.
type inquiries struct {
	mu    sync.Mutex // guards the rest
	all   int
	of    map[netip.Addr]*inquirer
	swept time.Time
}

// An inquirer is an address; an IPv6 /64 is one.
type inquirer struct {
	pending int
	credit  float64
	at      time.Time
}

// enter lets a verification begin for a stream from that address, or says why not; perMinute is what an address may
// cause.
func (q *inquiries) enter(from netip.Addr, known bool, perMinute int) *xmpp.Error {
	const much = "too many keys are being verified"
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.all >= maxVerifications {
		return xmpp.ResourceConstraint(much)
	}
	if gate.Exempt(from) {
		q.all++
		return nil
	}
	if now.Sub(q.swept) >= time.Minute {
		q.swept = now
		for a, x := range q.of {
			if x.pending == 0 && now.Sub(x.at) >= time.Minute { // it is full again
				delete(q.of, a)
			}
		}
	}
	from = gate.Neighbourhood(from)
	x := q.of[from]
	if x == nil {
		if q.of == nil {
			q.of = map[netip.Addr]*inquirer{}
		}
		x = &inquirer{credit: float64(perMinute), at: now}
		q.of[from] = x
	}
	x.credit = min(float64(perMinute), x.credit+now.Sub(x.at).Minutes()*float64(perMinute))
	x.at = now
	cost := 1.0
	if known {
		cost = provenCost
	}
	switch {
	case x.pending >= maxOfAddress, x.pending > 0 && q.all >= fairVerifications:
		return xmpp.ResourceConstraint(much)
	case x.credit < cost:
		return xmpp.ResourceConstraint("too many keys came from your address, try again later")
	}
	x.credit -= cost
	x.pending++
	q.all++
	return nil
}

// leave notes that one is done.
func (q *inquiries) leave(from netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all--
	if x := q.of[gate.Neighbourhood(from)]; x != nil && !gate.Exempt(from) {
		x.pending--
	}
}

// An authority is a stream to whoever can confirm keys, opened for that. All who want to know something of a pair at
// the same time share it.
type authority struct {
	ready  chan struct{} // closed when link or failed is set
	link   *link
	failed *outbox.Failure
	users  int // Server.mu guards it
	cancel context.CancelFunc
}

// authority opens such a stream or finds one that is being opened; letGo must follow.
func (s *Server) authority(p outbox.Pair) *authority {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.authorities[p]
	if a == nil {
		a = &authority{ready: make(chan struct{})}
		var ctx context.Context
		ctx, a.cancel = context.WithTimeout(s.ctx, s.policy().limits.AuthTime)
		s.authorities[p] = a
		s.streams.Workers.Add(1) // whoever asks is one
		go func() {
			defer s.streams.Workers.Done()
			defer close(a.ready)
			defer func() {
				if v := recover(); v != nil {
					a.failed = s.failure(s.streams.Panicked(v))
				}
			}()
			a.link, a.failed = s.dial(ctx, p, true)
		}()
	}
	a.users++
	return a
}

// letGo says that one user needs the stream no longer. The last one ends it.
func (s *Server) letGo(p outbox.Pair, a *authority) {
	s.mu.Lock()
	a.users--
	last := a.users == 0
	if last {
		delete(s.authorities, p)
	}
	s.mu.Unlock()
	if !last {
		return
	}
	a.cancel()
	<-a.ready // soon
	if a.link != nil {
		a.link.part(&wire.Farewell{})
	}
}
