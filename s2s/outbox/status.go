package outbox

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// Stats count stanzas since the start, but for Failures, Waits and Panics.
type Stats struct {
	Queued     atomic.Int64           // taken in
	Restored   atomic.Int64           // taken in from disk
	Sent       atomic.Int64           // acknowledged by their peer
	Bounced    [reasons]atomic.Int64  // by Reason
	Refused    [refusals]atomic.Int64 // by Refusal
	Duplicates atomic.Int64           // sent again by their sender, and recognised
	Dropped    atomic.Int64           // answers that nobody could be told about, and those of Restore
	Failures   atomic.Int64           // attempts that brought no stream, or none that was good for anything
	Waits      atomic.Int64           // how often a client was held up
	Panics     atomic.Int64           // of what Bounce and Open ran into
}

// A Reason is why a stanza bounced.
type Reason uint8

// The reasons.
const (
	Unreachable Reason = iota // a failure that another attempt would meet too
	Unreached                 // an IQ or presence that has waited too long
	Expired                   // a message or subscription that has
	Stopped                   // the server was shut down, or the pair moved to another node
	TooLarge                  // for what the peer says it takes
	Rejected                  // the peer ended stream after stream because of it
	reasons
)

// String is the word for metrics and logs.
func (r Reason) String() string {
	return [reasons]string{"unreachable", "unreached", "expired", "stopped", "too-large", "rejected"}[r]
}

// A Refusal is why Push has not taken a stanza in.
type Refusal uint8

// The refusals.
const (
	ForFull     Refusal = iota // the domain's queue
	ForMemory                  // that of all queues
	ForDomains                 // too many domains have queues
	ForPeer                    // the peer could not be reached a moment ago, for a reason that lasts
	ForStorage                 // what was to be stored could not be
	ForStopping                // the server is being shut down
	ForForgery                 // the stanza must not leave at all; a fault of ours
	ForSize                    // the peer says that it takes no such large ones
	ForShare                   // the sender has too much waiting
	ForMoving                  // the pair is on its way to another node
	refusals
)

// String is the word for metrics.
func (r Refusal) String() string {
	return [refusals]string{"full", "memory", "domains", "peer", "storage", "stopping", "forgery", "size", "share",
		"moving"}[r]
}

// A State is that of a pair.
type State uint8

// The states.
const (
	Idle       State = iota // no stream, and nothing that needs one
	Connecting              // an attempt is under way
	Up                      // there is a stream
	Waiting                 // stanzas wait for the next attempt
	states
)

// String is the word for listings and metrics.
func (s State) String() string { return [states]string{"idle", "connecting", "up", "waiting"}[s] }

// A Status describes a pair.
type Status struct {
	Pair
	State        State
	Waiting      int // stanzas not written to the stream, or to be written again
	WaitingBytes int
	Unacked      int // stanzas written to the stream and not acknowledged
	UnackedBytes int
	Oldest       time.Time // when the stanza that has waited longest came; zero: none
	Failures     int       // attempts in a row that brought nothing
	LastError    string    // why the last attempt that failed did, for the administrator; empty: none has
	LastFailed   time.Time // when
	Next         time.Time // when the next attempt will be made; zero: none is due
}

// Status describes all pairs that are known, sorted by remote and local domain.
func (o *Outbox) Status() []Status {
	var list []Status
	now := time.Now()
	for _, d := range o.all() {
		d.mu.Lock()
		for _, p := range d.pairs {
			list = append(list, p.status(now))
		}
		d.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Remote, b.Remote), cmp.Compare(a.Local, b.Local))
	})
	return list
}

// state is the pair's. The caller holds mu.
func (p *pair) state() State {
	switch {
	case p.stream != nil && !p.lost():
		return Up
	case p.dialing:
		return Connecting
	case p.live.stanzas > 0:
		return Waiting
	}
	return Idle
}

func (p *pair) status(now time.Time) Status {
	waiting := p.live.minus(p.flight)
	s := Status{Pair: p.Pair, State: p.state(), Waiting: waiting.stanzas, WaitingBytes: waiting.bytes,
		Unacked: p.flight.stanzas, UnackedBytes: p.flight.bytes, Failures: p.failures}
	for i := range p.queue.len() {
		if it := p.queue.get(i); !it.gone {
			s.Oldest = time.UnixMicro(it.since)
			break
		}
	}
	if p.why != nil {
		s.LastError, s.LastFailed = p.why.Error(), p.failedAt
	}
	if s.State == Waiting {
		if s.Next = p.next; s.Next.Before(now) {
			s.Next = now
		}
	}
	return s
}

// A Gauge is what there is now, of all domains together.
type Gauge struct {
	Pairs        [states]int // by State
	Waiting      int         // stanzas that wait for their peer
	WaitingBytes int
	Unacked      int // stanzas written and not acknowledged
	UnackedBytes int
}

// Gauge counts what there is now.
func (o *Outbox) Gauge() (g Gauge) {
	for _, d := range o.all() {
		d.mu.Lock()
		for _, p := range d.pairs {
			waiting := p.live.minus(p.flight)
			g.Pairs[p.state()]++
			g.Waiting += waiting.stanzas
			g.WaitingBytes += waiting.bytes
			g.Unacked += p.flight.stanzas
			g.UnackedBytes += p.flight.bytes
		}
		d.mu.Unlock()
	}
	return g
}
