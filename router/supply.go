package router

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	// supplyMark is how many bytes may wait for a session, unwritten or unacknowledged, when it is brought more.
	supplyMark = 256 << 10
	// maxBehind is how many bytes of live stanzas may wait behind what a session is being brought, each with
	// waitingCost.
	maxBehind   = 8 << 20
	waitingCost = 256
	// AddressSize is roughly how many bytes of memory an address in a list takes, for Session.Bring.
	AddressSize = 32
	// maxSupplied is how many bytes the supplies of a session may hold, the first not counted: each join of a large room
	// and each presence adds one, also for a client that acknowledges nothing.
	maxSupplied = 32 << 20
)

// A supply is what the server brings a session by itself and nobody has asked for piece by piece: presence of contacts,
// the history of a room. It is made while it is taken.
type supply struct {
	from   jid.JID           // whose live stanzas wait until all is brought; zero: nobody's
	step   func(*Batch) bool // nil: only behind is left
	size   int               // of what step holds
	batch  Batch             // only step sends through it
	behind []*waiting        // owned
	bytes  int               // of behind
}

// waiting is what waits behind a supply.
type waiting struct {
	Delivery
	asked bool // a copy has been asked for
}

func (w *waiting) cost() int { return len(w.Stanza.Payload) + waitingCost }

// supplies are those of one session, one after the other.
type supplies struct {
	moving sync.Mutex // held by whoever takes something off behind, or sees to it that nobody does; taken before mu
	mu     sync.Mutex // guards the rest
	list   []*supply
	size   int // of list
	ended  bool
	any    atomic.Bool // list is not empty; written under mu
}

// passed is a context that is over: waiting with it only asks.
var passed = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// below says whether less waits for the session than it may when it is brought more.
func (s *Session) below() bool { return s.out.WaitBelow(passed, supplyMark) == nil }

// TakesMore says whether the session is to be brought more at once. What does not fit is for Bring.
func (s *Session) TakesMore() bool { return s.below() }

// Bring gives a session what may be more than it takes at once. step sends one thing more, through the batch that it is
// given, and says whether there is more. It is called while little waits for the session: at once, and as long as
// something is left, by a goroutine that begins behind what Bring was given before. What others send in the name of the
// address from, a bare one, queues behind the supply meanwhile; a zero address queues nothing. step may send or route,
// and must not rely on locks of the caller. It holds about size bytes; a session for which too much is held ends.
func (s *Session) Bring(b *Batch, from jid.JID, size int, step func(*Batch) bool) {
	sup := &supply{from: from, step: step, size: size + waitingCost}
	p := &s.supplies
	p.mu.Lock()
	first := len(p.list) == 0
	p.mu.Unlock()
	if first {
		for s.below() {
			if !step(&sup.batch) {
				b.take(&sup.batch)
				return
			}
		}
		b.take(&sup.batch)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	if len(p.list) > 0 && p.size+sup.size > maxSupplied {
		s.out.End("resource-constraint", "the client does not take what is sent to it")
		return
	}
	p.list = append(p.list, sup)
	p.size += sup.size
	p.any.Store(true)
	if len(p.list) == 1 {
		go s.bring()
	}
}

// take adds what another batch has collected, or flushes it if there is no batch.
func (b *Batch) take(other *Batch) {
	if b == nil {
		other.Flush()
		return
	}
	b.woken = append(b.woken, other.woken...)
	clear(other.woken)
	other.woken = other.woken[:0]
}

// bring goes through the supplies until none is left or the session has ended.
func (s *Session) bring() {
	p := &s.supplies
	for {
		if s.out.WaitBelow(context.Background(), supplyMark) != nil {
			return // Unbind takes what is left
		}
		p.mu.Lock()
		if len(p.list) == 0 {
			p.mu.Unlock()
			return
		}
		sup := p.list[0]
		p.mu.Unlock()
		for sup.step != nil && s.below() {
			if !sup.step(&sup.batch) {
				sup.step = nil
			}
		}
		over := sup.step == nil && s.follow(sup)
		sup.batch.Flush()
		if over {
			return
		}
	}
}

// follow sends what has queued behind a supply, and takes that off the list when nothing is left. It says whether it
// was the last.
func (s *Session) follow(sup *supply) (over bool) {
	p := &s.supplies
	for s.below() {
		p.moving.Lock()
		p.mu.Lock()
		if len(sup.behind) == 0 {
			defer p.moving.Unlock()
			defer p.mu.Unlock()
			if p.ended {
				return true
			}
			p.list = slices.Delete(p.list, 0, 1)
			p.size -= sup.size
			p.any.Store(len(p.list) > 0)
			return len(p.list) == 0
		}
		w := sup.behind[0]
		// Under the lock: what ends the session finds it either here or there.
		wake, ok := s.out.Send(w.Delivery)
		if ok {
			sup.behind = sup.behind[1:]
			sup.bytes -= w.cost()
		}
		p.mu.Unlock()
		p.moving.Unlock()
		s.sent(&sup.batch, w.Stanza, wake, ok)
		if !ok {
			return false // it has ended: the next wait says so
		}
	}
	return false
}

// queues keeps a stanza for later if the session is being brought something that goes before it.
func (s *Session) queues(b *Batch, d *Delivery) bool {
	from := d.Stanza.From.Bare()
	if from.IsZero() || d.Stanza.Kind == xmpp.IQ { // answers are paced by whoever asks
		return false
	}
	p := &s.supplies
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || slices.ContainsFunc(p.list, func(sup *supply) bool { return b == &sup.batch }) { // a step sends it
		return false
	}
	for i := len(p.list) - 1; i >= 0; i-- {
		sup := p.list[i]
		if sup.from != from {
			continue
		}
		owned := d.Stanza.Clone()
		w := &waiting{Delivery: Delivery{Stanza: &owned, Kept: d.Kept, Copy: d.Copy, Receipt: d.Receipt}}
		sup.behind = append(sup.behind, w)
		if sup.bytes += w.cost(); sup.bytes > maxBehind {
			s.out.End("resource-constraint", "the client does not take what is sent to it")
		}
		return true
	}
	return false
}

// keepGiven has copies stored of what the session has been given, or waits behind its supplies, and has none. The
// caller holds the owner's lock.
func (s *Session) keepGiven(keep func(*Session, []Undelivered)) {
	p := &s.supplies
	p.moving.Lock() // or what moves between the two looks would be seen by neither
	defer p.moving.Unlock()
	if k, ok := s.out.(Keeper); ok {
		if list, first := k.Uncopied(); len(list) > 0 {
			keep(s, list)
			k.Copied(list, first)
		}
	}
	if p.any.Load() {
		s.keepBehind(keep)
	}
}

// keepBehind is the second half of keepGiven.
func (s *Session) keepBehind(keep func(*Session, []Undelivered)) {
	p := &s.supplies
	var all []*waiting
	var list []Undelivered
	p.mu.Lock()
	for _, sup := range p.list {
		for _, w := range sup.behind {
			if !Storable(w.Stanza) || w.Kept == 0 && w.Copy || len(all) == 0 && (w.asked || w.Kept != 0) {
				continue
			}
			w.asked = true
			all, list = append(all, w), append(list, Undelivered{Stanza: *w.Stanza, Kept: w.Kept, Receipt: w.Receipt})
		}
	}
	p.mu.Unlock()
	if len(list) == 0 {
		return
	}
	keep(s, list)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, w := range all {
		w.Kept, w.Receipt = list[i].Kept, list[i].Receipt
	}
}

// unsupplied ends the supplies of a session that ends, and returns what had queued behind them.
func (s *Session) unsupplied() (rest []Undelivered) {
	p := &s.supplies
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.any.Store(false)
	for _, sup := range p.list {
		for _, d := range sup.behind {
			if !d.Copy || d.Kept != 0 {
				rest = append(rest, Undelivered{Stanza: *d.Stanza, Kept: d.Kept, Receipt: d.Receipt})
			}
		}
	}
	p.list = nil
	return rest
}
