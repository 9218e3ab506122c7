// Package outbox holds what waits for peers: a queue for each pair of domains, in order, bounded in bytes, number and
// age, and on disk as far as it was acknowledged to somebody.
//
// A stanza that comes in through Push waits in memory until the peer has taken it (Acked) or its sender has been told
// that it could not be delivered (Options.Bounce): one of the two, once, as far as it can be known. It cannot be known
// when a stream dies with stanzas written and not acknowledged and cannot be resumed: these are written again, so that
// a peer may see them twice rather than not at all.
//
// # What is on disk
//
// Messages that are not errors, and presence of the four subscription kinds, if their sender is promised an
// acknowledgement (router.Envelope.Durable). They are written to the log before they are queued, are sent without
// waiting for the commit, as docs/decisions/0003-kept-copies.md has it for messages to users, and are removed when the
// peer has taken them. The acknowledgement to the sender waits for the commit. Should that fail, the acknowledgement is
// withheld and the stanza may have been sent nevertheless: its sender does not know, as with every lost
// acknowledgement. What is sent again with the same Envelope.DedupKey is queued no second time, whatever became of the
// first: it waits, was taken, or bounced, and then its sender has been told. IQs and other presence are never written:
// after a crash nobody is there any more to wait for an answer, and presence is probed again (RFC 6121 §4.3).
//
// # What ends waiting
//
// A failure that another attempt would meet too bounces all that waits for the pair. After any other, IQs and presence
// that have waited half a minute bounce, while messages and subscriptions wait for Limits.Age. RFC 6120 §10.4.3 asks
// for the two conditions; that stanzas wait for a peer at all is left to the server. What is larger than the peer says
// it takes bounces (XEP-0478 §4), and so does what it has ended three streams for, having said so.
//
// # Goroutines and locks
//
// A pair has a goroutine while it has something to do and for a second afterwards, and another during an attempt to
// connect. All pairs of a remote domain share a lock, under which nothing is written, connected, stored or bounced, so
// a domain that is stuck delays no other. Stream and Dialer are called without it, so Acked may be called with any lock
// of theirs held.
//
// Left out: a delay stamp (XEP-0203) on what has waited, and a queue that is longer than memory allows.
package outbox

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// Options of New. All but Logger are needed.
type Options struct {
	Dialer Dialer
	// Log is a space that nobody else writes. Its owners are "local>remote".
	Log storage.Log
	// Owns says whether a domain is ours (router.Owns).
	Owns func(domain string) bool
	// Bounce tells the sender of a stanza that it could not be delivered (router.Bounce). It is called on goroutines of
	// the outbox that hold no lock, and in Restore and Stop; never for errors and results. The stanza is borrowed.
	Bounce func(s *xmpp.Stanza, err *xmpp.Error)
	// Tell is told that a peer has taken a message whose sender asks for that (router.Tell). It is called with locks
	// held.
	// Nil: nobody asks.
	Tell func(router.Sequel)
	// Limits are asked for with each decision, so that they can change. The same pointer means that nothing has: what is
	// behind it stays as it is.
	Limits func() *Limits
	Logger *slog.Logger // nil: slog.Default
}

// Limits bound the outbox. A field that is zero has the default given; the first eight are limits.peer_* of the
// configuration.
type Limits struct {
	Stanzas    int           // that wait for one remote domain, all its pairs together, the copies of one as one; 1,000
	Bytes      int           // likewise, as XML; 4 MiB
	Account    int           // bytes of one sender that wait for all domains, with what it costs to keep them; 16 MiB
	Dials      int           // attempts to connect at a time, for one remote domain; 1
	BackoffMin time.Duration // until the second attempt; doubled with each; 1 s
	BackoffMax time.Duration // 5 min
	Age        time.Duration // how long a message waits; 10 min
	Memory     int           // bytes in all queues; beyond, only whoever has little waiting, and peers that read; 64 MiB

	Unacked      int           // stanzas written to a pair's stream and not acknowledged; beyond, writing pauses; 5,000
	UnackedBytes int           // likewise; 4 MiB
	Domains      int           // remote domains with queues; 10,000
	Idle         time.Duration // without a stanza until a stream is given up; 15 min
}

func (l Limits) orDefault() Limits {
	or := func(have *int, d int) {
		if *have <= 0 {
			*have = d
		}
	}
	orTime := func(have *time.Duration, d time.Duration) {
		if *have <= 0 {
			*have = d
		}
	}
	or(&l.Stanzas, 1000)
	or(&l.Bytes, 4<<20)
	or(&l.Account, 16<<20)
	or(&l.Dials, 1)
	orTime(&l.BackoffMin, time.Second)
	orTime(&l.BackoffMax, 5*time.Minute)
	orTime(&l.Age, 10*time.Minute)
	or(&l.Unacked, 5000)
	or(&l.UnackedBytes, 4<<20)
	or(&l.Memory, 64<<20)
	or(&l.Domains, 10_000)
	orTime(&l.Idle, 15*time.Minute)
	return l
}

// Times that are not worth a limit of their own.
const (
	volatileAge = 30 * time.Second // how long an IQ or a presence waits for a peer that cannot be reached
	openTime    = 30 * time.Second // for an attempt to connect
	steady      = 5 * time.Second  // a stream that has lived so long was a good one
	patience    = 2 * time.Second  // how long Push waits for room
	stalled     = 5 * time.Second  // a stream without progress for so long is not worth that wait
	linger      = time.Second      // how long a goroutine of a pair stays when there is nothing to do
	barredTime  = 30 * time.Second // at most, until a peer that cannot be reached at all is tried again
	sweepTime   = time.Minute      // between looks for what can be forgotten
	drainTime   = 2 * time.Second  // of Stop
)

// spare is what a domain that takes its stanzas may have waiting though the memory is used up by others, in bytes.
const spare = 256 << 10

// An Outbox holds the queues of all pairs. It is safe for concurrent use.
type Outbox struct {
	Stats Stats

	dialer   Dialer
	disk     storage.Log
	owns     func(string) bool
	bounceTo func(*xmpp.Stanza, *xmpp.Error)
	sequel   func(router.Sequel)
	ask      func() *Limits
	inForce  atomic.Pointer[limits]
	log      *slog.Logger

	memory  atomic.Int64 // bytes in all queues
	shares  shares
	running sync.WaitGroup // goroutines
	quit    chan struct{}  // closed when the goroutines must end
	ctx     context.Context
	cancel  context.CancelFunc
	remover remover

	// mu may be held while a domain's is taken, not the other way round.
	mu       sync.RWMutex // guards the rest
	domains  map[string]*domain
	sweeping *time.Timer // nil: not armed
	swept    time.Time   // when it was last done
	stopping bool
}

// New returns an outbox. Restore comes next.
func New(o Options) *Outbox {
	b := &Outbox{dialer: o.Dialer, disk: o.Log, owns: o.Owns, bounceTo: o.Bounce, sequel: o.Tell, ask: o.Limits,
		log:  o.Logger,
		quit: make(chan struct{}), domains: map[string]*domain{}}
	if b.log == nil {
		b.log = slog.Default()
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// limits are those that Options.Limits returned, with the defaults.
type limits struct {
	from *Limits
	Limits
}

// limits are those in force, not to be changed.
func (o *Outbox) limits() *Limits {
	from := o.ask()
	l := o.inForce.Load()
	if l == nil || l.from != from {
		l = &limits{from, from.orDefault()}
		o.inForce.Store(l)
	}
	return &l.Limits
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// Push takes a stanza of ours to a domain that is not, and settles it: Queued, having added the pending of what was
// written to disk, or Refused. It keeps no byte of it. Before it refuses what a client sends faster than its peer
// takes, it flushes the batch and waits for two seconds at most. Stanzas of one caller keep their order.
func (o *Outbox) Push(e *router.Envelope) {
	s := e.Stanza
	local, remote := s.From.Domain(), s.To.Domain()
	if remote == "" || !o.owns(local) || o.owns(remote) {
		// The router decides this; no stanza in another's name must leave should it ever not.
		o.Stats.Refused[ForForgery].Add(1)
		o.log.Error("stanza must not leave", "from", local, "to", remote, "kind", s.Kind.String())
		e.Refuse(xmpp.NotAllowed("forged-sender-remote"))
		return
	}
	now, class := time.Now(), classOf(s)
	if e.Tracked {
		class |= tracked
	}
	buf := buffers.Get().(*[]byte)
	b := appendRecordHead((*buf)[:0], class, now.UnixMicro())
	head := len(b)
	b = s.Append(b)
	if refused, err := o.push(e, now, class, b, head); err != nil {
		o.Stats.Refused[refused].Add(1)
		e.Refuse(err)
	} else {
		e.Settle(router.Queued)
	}
	*buf = b
	recycle(buf)
}

// recycle gives a buffer back.
func recycle(buf *[]byte) {
	if cap(*buf) <= maxChunk+maxChunk/4 {
		buffers.Put(buf)
	}
}

// push queues the stanza in record[head:], or says why not. The record is borrowed.
func (o *Outbox) push(e *router.Envelope, now time.Time, class class, record []byte, head int) (Refusal, *xmpp.Error) {
	l, xml := o.limits(), record[head:]
	local, remote := e.Stanza.From.Domain(), e.Stanza.To.Domain()
	p, refused, err := o.enter(local, remote, l)
	if err != nil {
		return refused, err
	}
	d := p.domain // locked by enter
	if e.Session != nil && p.worthWaiting(now, l) {
		p.awaitRoom(e, now, l)
	}
	it := item{since: now.UnixMicro(), class: class, n: len(xml)}
	if s := e.Stanza; e.Shared && len(s.Payload) > 0 {
		it.n -= len(s.Payload)
		p.queue.share(&it, s.Payload, it.n-len("</>")-len(s.Kind.String()))
	}
	if refused, err := p.admit(now, l, &it, len(xml), sender(e)); err != nil {
		d.mu.Unlock()
		return refused, err
	}
	count := it.amount()
	d.waiting.add(count)
	o.memory.Add(int64(count.bytes))
	if e.Durable && class.keepable() {
		p.pins++
		d.mu.Unlock()
		id, dup, pending, err := o.append(p, e, record)
		d.mu.Lock()
		p.pins--
		if err != nil || dup {
			d.waiting.take(count)
			o.memory.Add(-int64(count.bytes))
			o.shares.give(it.by, it.cost)
			d.mu.Unlock()
			if err != nil {
				o.log.Debug("stanza for a peer refused, since it cannot be stored", "peer", remote, "error", err)
				return ForStorage, router.Unavailable()
			}
			o.Stats.Duplicates.Add(1)
			e.Await(pending)
			return 0, nil
		}
		e.Await(pending)
		it.id = id
	}
	o.Stats.Queued.Add(1)
	if !p.finished {
		p.enqueue(it, xml)
		p.rouse(&it, l)
	} else { // Stop or Release has been here meanwhile: it is on disk
		d.waiting.take(count)
		o.memory.Add(-int64(count.bytes))
		o.shares.give(it.by, it.cost)
	}
	d.mu.Unlock()
	return 0, nil
}

// append writes a record of a pair; the engine copies it.
func (o *Outbox) append(p *pair, e *router.Envelope, record []byte) (uint64, bool, *storage.Pending, error) {
	var a storage.AppendOptions
	if key := e.DedupKey(); key != "" { // many recipients share the pair's log
		a.Dedup = key + "\n" + e.Stanza.To.String()
	}
	return o.disk.Append(context.Background(), p.owner, storage.Record{Data: record}, a)
}

// enter finds or makes the pair, and returns it with its domain locked, or says why not.
func (o *Outbox) enter(local, remote string, l *Limits) (*pair, Refusal, *xmpp.Error) {
	for {
		o.mu.RLock()
		d := o.domains[remote]
		o.mu.RUnlock()
		if d == nil {
			var refused Refusal
			if d, refused = o.newDomain(remote, l); d == nil {
				if refused == ForStopping {
					return nil, refused, errStopping()
				}
				return nil, refused, errBusy(remote)
			}
		}
		d.mu.Lock()
		if d.dead {
			d.mu.Unlock()
			continue
		}
		return d.pair(local), 0, nil
	}
}

// newDomain makes a domain, if there may be one more; nil if not. It may be there already.
func (o *Outbox) newDomain(name string, l *Limits) (*domain, Refusal) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d := o.domains[name]; d != nil {
		return d, 0
	}
	if o.stopping {
		return nil, ForStopping
	}
	if l != nil && len(o.domains) >= l.Domains {
		// Those that only remember a failure or an idle stream make room, but are not looked for each time.
		if now := time.Now(); now.Sub(o.swept) >= time.Second {
			o.forget(now, 0)
		}
		if len(o.domains) >= l.Domains {
			return nil, ForDomains
		}
	}
	d := newDomain(o, name)
	o.domains[d.name] = d
	if o.sweeping == nil {
		o.sweeping = time.AfterFunc(sweepTime, o.sweep)
	}
	return d, 0
}

func (o *Outbox) all() []*domain {
	o.mu.RLock()
	defer o.mu.RUnlock()
	all := make([]*domain, 0, len(o.domains))
	for _, d := range o.domains {
		all = append(all, d)
	}
	return all
}

// sweep forgets pairs that nothing need be known of any more, and gives up streams that nobody has used for long.
func (o *Outbox) sweep() {
	l := o.limits()
	now := time.Now()
	var idle []Stream
	for _, d := range o.all() {
		d.mu.Lock()
		for _, p := range d.pairs {
			if p.stream != nil && !p.busy() && now.Sub(p.used) >= l.Idle {
				idle = append(idle, p.stream)
				p.stream = nil
				p.gen++
			}
		}
		d.mu.Unlock()
	}
	for _, s := range idle {
		s.Close()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forget(now, l.BackoffMax)
	if len(o.domains) == 0 || o.stopping {
		o.sweeping = nil
		return
	}
	o.sweeping.Reset(sweepTime)
}

// forget drops domains of whom nothing need be known and that nobody has used for a while. The caller holds mu.
func (o *Outbox) forget(now time.Time, unused time.Duration) {
	o.swept = now
	for name, d := range o.domains {
		d.mu.Lock()
		d.tidy(now, unused)
		if d.dead {
			delete(o.domains, name)
		}
		d.mu.Unlock()
	}
}

// Seen says that a peer has just proved to be alive, by a stream of its own: what waits for it is tried at once, unless
// that has been done a moment ago.
func (o *Outbox) Seen(remote string) {
	o.mu.RLock()
	d := o.domains[remote]
	o.mu.RUnlock()
	if d == nil {
		return
	}
	l, now := o.limits(), time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.pairs {
		if p.stream != nil || p.dialing || !p.next.After(now) {
			continue
		}
		if soon := p.failedAt.Add(l.BackoffMin); soon.Before(p.next) {
			p.next = soon
			p.wakeUp()
		}
	}
}
