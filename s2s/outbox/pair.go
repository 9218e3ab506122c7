package outbox

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A domain is a peer, with the pairs that have it as their remote side.
type domain struct {
	o    *Outbox
	name string

	mu      sync.Mutex // guards the rest and the pairs
	pairs   []*pair
	waiting amount        // what has not been written to a stream that is alive, with what Push is about to queue
	dialing int           // attempts under way
	room    chan struct{} // closed when there is room again; nil: nobody waits for it
	closed  bool          // Stop has begun, or Release,
	moving  bool          // and that it was Release
	dead    bool          // forgotten: whoever finds it must look again
}

func newDomain(o *Outbox, name string) *domain { return &domain{o: o, name: strings.Clone(name)} }

// pair is one direction. Its fields are guarded by the domain's mu, but for those that never change.
type pair struct {
	Pair
	domain *domain
	owner  string // in the log

	queue   queue
	writing *chunk  // what the stream is writing lies in it,
	joined  *[]byte // or here, put together from what copies share
	written int     // so many of the oldest were written to the stream, or to the one before while there is none
	live    amount  // all in the queue, but for those that are gone
	flight  amount  // of these, written to the stream that is alive

	stream   Stream          // nil: none
	over     <-chan struct{} // the stream's
	gen      uint64          // of the attempt that brought it, or is under way: older acknowledgements do not count
	opened   time.Time
	limit    int       // bytes of a stanza that the peer takes on it; 0: it has not said
	unfit    bool      // there may be larger ones in the queue
	taken    bool      // the peer has taken something of it
	progress time.Time // when the stream last took or acknowledged something

	window  int  // so many are written at a time, see blame; 0: no bound
	struck  item // the oldest that a stream ended with, but for at
	strikes int  // how many have

	tries    int       // attempts and streams that ended since the peer last took something, without it taking any
	failures int       // likewise, those that another attempt must keep a distance from
	failedAt time.Time // when the last attempt ended
	next     time.Time // no attempt before
	why      *Failure  // the last; nil: none
	barred   bool      // it was permanent: until the next attempt nothing is taken in

	driving  bool          // it has a goroutine,
	sleeping bool          // which waits
	until    time.Time     // until then, if not zero,
	wake     chan struct{} // or this
	dialing  bool          // an attempt is under way
	wantDial bool          // it waits for another pair's attempt to end
	used     time.Time     // when the last stanza came or went
	pins     int           // calls that need it though it may be empty
	done     []uint64      // records to be removed
	dirty    bool          // the remover knows of it
	shut     bool          // Stop has closed its stream,
	finished bool          // and taken what was left
}

// pair finds or makes the pair. The caller holds mu.
func (d *domain) pair(local string) *pair {
	for _, p := range d.pairs {
		if p.Local == local {
			return p
		}
	}
	p := &pair{Pair: Pair{Local: strings.Clone(local), Remote: d.name}, domain: d, wake: make(chan struct{}, 1),
		used: time.Now()}
	p.owner = ownerOf(p.Pair)
	d.pairs = append(d.pairs, p)
	return p
}

// tidy forgets pairs that nothing need be known of. The caller holds mu, and the outbox's.
func (d *domain) tidy(now time.Time, unused time.Duration) {
	kept := d.pairs[:0]
	for _, p := range d.pairs {
		if p.lost() && !p.busy() {
			p.stream = nil
		}
		if p.busy() || p.stream != nil || now.Before(p.next) || now.Sub(p.used) < unused {
			kept = append(kept, p)
		}
	}
	clear(d.pairs[len(kept):])
	d.pairs = kept
	d.dead = len(kept) == 0
}

// busy says whether somebody works with the pair. The caller holds mu.
func (p *pair) busy() bool {
	return p.driving || p.pins > 0 || p.dirty || p.queue.len() > 0
}

// lost says whether there is a stream that has ended. The caller holds mu.
func (p *pair) lost() bool {
	if p.stream == nil {
		return false
	}
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

// admit says whether one more stanza may wait, of so many bytes in all, or why not. It takes the stanza's cost from the
// share of its sender. The caller holds mu.
func (p *pair) admit(now time.Time, l *Limits, it *item, bytes int, sender jid.JID) (Refusal, *xmpp.Error) {
	d, o := p.domain, p.domain.o
	count := it.amount()
	switch {
	case d.moving:
		return ForMoving, errMoving()
	case d.closed:
		return ForStopping, errStopping()
	case p.barred && p.stream == nil && now.Before(p.next):
		return ForPeer, errorOf(p.why)
	case p.tooLarge(bytes):
		return ForSize, errTooLarge(d.name, p.limit)
	case d.waiting.units+count.units > l.Stanzas || d.waiting.bytes+count.bytes > l.Bytes:
		return ForFull, errBusy(d.name)
	}
	it.cost = count.bytes + itemCost
	if p.queue.len() == 0 {
		it.cost += pairCost
	}
	all, most := o.memory.Load()+int64(count.bytes), int64(l.Memory)
	small := all <= most+most/4 // the rest is for those who have next to nothing waiting,
	switch {
	case all <= most, p.stream != nil && d.waiting.bytes+count.bytes <= spare: // and for peers that take their stanzas
		most = int64(l.Account)
	case small:
		most /= fewOf
	default:
		return ForMemory, errBusy(d.name)
	}
	if it.by = o.shares.take(sender, it.cost, int(most)); it.by == nil {
		if most < int64(l.Account) {
			return ForMemory, errBusy(d.name)
		}
		return ForShare, xmpp.ResourceConstraint("too much of yours waits for other servers, try again later")
	}
	return 0, nil
}

// worthWaiting says whether a client is better held up for a moment than refused: the queue is getting full and the
// peer takes it. The caller holds mu.
func (p *pair) worthWaiting(now time.Time, l *Limits) bool {
	d := p.domain
	return p.stream != nil && !d.closed && now.Sub(p.progress) < stalled &&
		(2*d.waiting.units >= l.Stanzas || 2*d.waiting.bytes >= l.Bytes)
}

// awaitRoom waits until the queue has emptied to a part, or for as long as is fair to the one who sends. The caller
// holds mu, as it does afterwards.
func (p *pair) awaitRoom(e *router.Envelope, now time.Time, l *Limits) {
	d := p.domain
	p.pins++
	defer func() { p.pins-- }()
	d.o.Stats.Waits.Add(1)
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for first := true; p.worthWaiting(now, l); first = false {
		if d.room == nil {
			d.room = make(chan struct{})
		}
		room := d.room
		d.mu.Unlock()
		if first && e.Batch != nil {
			e.Batch.Flush()
		}
		late := false
		select {
		case <-room:
		case <-timeout.C:
			late = true
		}
		d.mu.Lock()
		if now = time.Now(); late {
			return
		}
	}
}

// relieve lets those go on that wait for room, if there is some or no use in waiting. The caller holds mu.
func (d *domain) relieve(l *Limits, anyway bool) {
	if d.room != nil && (anyway || 4*d.waiting.units <= l.Stanzas && 4*d.waiting.bytes <= l.Bytes) {
		close(d.room)
		d.room = nil
	}
}

// enqueue adds a stanza that waiting and memory count already. The caller holds mu.
func (p *pair) enqueue(it item, xml []byte) {
	if p.queue.len() == 0 { // until now there was nothing to make progress with
		p.progress = time.UnixMicro(it.since)
	}
	p.queue.push(it, xml)
	p.unfit = p.unfit || p.tooLarge(len(xml)) // the stream may have come since admit
	p.live.add(p.queue.get(p.queue.len() - 1).amount())
	p.used = time.UnixMicro(it.since)
}

// rouse sees to it that somebody takes care of an item just queued. The caller holds mu.
func (p *pair) rouse(it *item, l *Limits) {
	switch {
	case !p.driving:
		p.driving = true
		p.domain.o.running.Add(1)
		go p.drive()
	case !p.sleeping:
	case p.stream != nil:
		p.wakeUp()
	case p.tries > 0 && (p.until.IsZero() || it.expires(l).Before(p.until)):
		p.wakeUp()
	}
}

// wakeUp ends the sleep of the pair's goroutine. The caller holds mu.
func (p *pair) wakeUp() {
	if p.sleeping {
		p.sleeping = false
		p.wake <- struct{}{} // there is room: it is emptied before the next sleep
	}
}

// discount takes an item out of the counts. The caller holds mu.
func (p *pair) discount(it *item, flying bool) {
	count := it.amount()
	p.live.take(count)
	if flying {
		p.flight.take(count)
	} else {
		p.domain.waiting.take(count)
	}
	p.domain.o.memory.Add(-int64(count.bytes))
	p.domain.o.shares.give(it.by, it.cost)
}

// acked notes that the peer has taken n more of the oldest stanzas that were written.
func (p *pair) acked(gen uint64, n int) {
	d := p.domain
	d.mu.Lock()
	defer d.mu.Unlock()
	if gen != p.gen || p.finished {
		return
	}
	n = min(n, p.written)
	if n <= 0 {
		return
	}
	sent := int64(0)
	for range n {
		if it := p.queue.get(0); it.class&tracked != 0 && !it.gone {
			d.o.passed(it)
		}
		it := p.queue.pop()
		if it.gone {
			continue
		}
		p.discount(&it, p.stream != nil)
		if sent++; it.id != 0 {
			p.done = append(p.done, it.id)
		}
	}
	p.written -= n
	d.o.Stats.Sent.Add(sent)
	now := time.Now()
	p.taken, p.progress, p.used = true, now, now
	p.tries, p.failures, p.barred = 0, 0, false
	p.trust(n)
	p.clean()
	if p.stream != nil && (p.queue.len() == 0 || p.queue.len() > p.written) { // nothing left to watch, or room to write
		p.wakeUp()
	}
}

// clean has the remover take what is done. The caller holds mu.
func (p *pair) clean() {
	if len(p.done) > 0 && !p.dirty {
		p.dirty = true
		p.domain.o.remover.add(p.domain.o, p)
	}
}

// take moves stanzas that lie one behind the other from those that wait to those that are written. None: the peer must
// acknowledge first, or there is nothing. The caller holds mu.
func (p *pair) take(l *Limits) (xml []byte, n int) {
	var c *chunk
	var from, to int
	for ; p.written < p.queue.len(); n++ {
		it := p.queue.get(p.written)
		count := it.amount()
		switch {
		case p.flight.stanzas > 0 && (p.flight.stanzas >= l.Unacked || p.flight.bytes+count.bytes > l.UnackedBytes ||
			p.window > 0 && p.flight.stanzas >= p.window):
		case n > 0 && (it.body != nil) != (p.joined != nil):
		case n > 0 && it.body != nil && len(*p.joined)+it.size() > maxChunk:
		case n > 0 && it.body == nil && (it.at != c || it.off != to || to+it.n-from > maxChunk):
		default:
			switch {
			case it.body != nil:
				if n == 0 {
					p.joined = buffers.Get().(*[]byte)
					*p.joined = (*p.joined)[:0]
				}
				*p.joined = it.append(*p.joined)
			case n == 0:
				c, from = it.at, it.off
			}
			to = it.off + it.n
			p.written++
			p.flight.add(count)
			p.domain.waiting.take(count)
			continue
		}
		break
	}
	if n == 0 {
		return nil, 0
	}
	p.domain.relieve(l, false)
	if p.joined != nil {
		return *p.joined, n
	}
	c.busy, p.writing = true, c
	return c.b[from:to:to], n
}

// wrote notes that what take returned is not used any more. The caller holds mu.
func (p *pair) wrote() {
	if b := p.joined; b != nil {
		p.joined = nil
		recycle(b)
		return
	}
	c := p.writing
	p.writing, c.busy = nil, false
	if c != p.queue.tail {
		p.queue.recycle(c)
	}
}

// adopt takes the stream that an attempt has brought: what the peer does not have of what was written to the one before
// is to be written again. The caller holds mu.
func (p *pair) adopt(s Stream, over <-chan struct{}, limit int, now time.Time) {
	p.queue.filter(0, func(it *item) bool { return it.gone })
	p.written = 0
	p.stream, p.over, p.opened, p.progress = s, over, now, now
	p.limit = limit
	p.unfit, p.taken, p.barred, p.shut = limit > 0, false, false, false
}

// lose notes that the stream is over, for whatever cause, nil if nobody knows. It returns the failure that this was,
// nil if something was taken, and what the peer is not to be sent again. A stream that has lived for a while may be
// tried again at once in either case. The caller holds mu.
func (p *pair) lose(now time.Time, l *Limits, cause *Failure) (f *Failure, out []item) {
	d := p.domain
	p.stream = nil
	d.waiting = d.waiting.plus(p.flight)
	p.flight = amount{}
	d.relieve(l, true)
	if p.queue.len() == 0 {
		return nil, nil
	}
	if cause != nil && cause.Blames {
		out = p.blame(cause)
	}
	if p.taken {
		p.failures, p.next = 0, now
		return nil, out
	}
	f = &Failure{Text: "the connection ended before anything was taken", Condition: xmpp.CondRemoteServerTimeout}
	if cause != nil {
		f.Text += ": " + cause.Text
		f.Err = cause.Err
	}
	if p.fail(now, l, f); now.Sub(p.opened) > steady {
		p.failures, p.next = 0, now
	}
	return f, out
}

// fail notes why an attempt has brought nothing, and when the next may be. The caller holds mu.
func (p *pair) fail(now time.Time, l *Limits, f *Failure) {
	p.why, p.failedAt, p.barred = f, now, f.Permanent
	p.tries++
	p.failures++
	delay := l.BackoffMax
	if shift := p.failures - 1; shift < 40 && l.BackoffMin<<shift>>shift == l.BackoffMin {
		delay = min(delay, l.BackoffMin<<shift)
	}
	if f.Permanent {
		delay = min(delay, barredTime) // whoever has set it right is not to be refused for long
	}
	delay -= time.Duration(rand.Int64N(int64(delay)/4 + 1)) // peers that went together do not come back together
	p.next = now.Add(delay)
}

// expired takes out what has waited enough, and says why it is bounced. The caller holds mu.
func (p *pair) expired(now time.Time, l *Limits) (out []item, why Reason) {
	from := 0
	switch {
	case p.stream != nil:
		// What was written may yet be acknowledged. What was not waits for a peer that takes nothing.
		if from = p.written; from == p.queue.len() || now.Before(time.UnixMicro(p.queue.get(from).since).Add(l.Age)) {
			return nil, 0
		}
		out = p.queue.filter(from, func(it *item) bool { return !now.Before(time.UnixMicro(it.since).Add(l.Age)) })
		why = Expired
	case p.tries == 0:
		return nil, 0 // at least one attempt, also for what an earlier server left
	default:
		if p.dialing {
			from = p.written // the peer is about to say what it has of the others
		}
		out = p.expire(from, func(it *item) bool { return !now.Before(it.expires(l)) })
		why = Expired
	}
	return p.withdraw(out), why
}

// expire takes out what drop is true for, from the i-th on. Of what has been written to the stream before, a mark stays
// as long as others of that do, since the peer may yet acknowledge it. The caller holds mu.
func (p *pair) expire(i int, drop func(*item) bool) (out []item) {
	left := false
	for j := range p.written {
		it := p.queue.get(j)
		if j >= i && !it.gone && drop(it) {
			it.lend()
			out = append(out, *it)
			*it = item{gone: true}
		}
		left = left || !it.gone
	}
	out = append(out, p.queue.filter(max(i, p.written), drop)...)
	if !left {
		for range p.written {
			p.queue.pop()
		}
		p.written = 0
	}
	return out
}

// empty takes out everything. The caller holds mu.
func (p *pair) empty() (out []item) {
	for i := range p.queue.len() {
		if it := p.queue.get(i); !it.gone {
			out = append(out, *it)
			p.discount(it, i < p.written && p.stream != nil)
		}
	}
	p.queue, p.written = queue{}, 0
	return out
}

// deadline is when something will have waited enough; zero: nothing will, for now. The caller holds mu.
func (p *pair) deadline(l *Limits) (first time.Time) {
	from := 0
	if p.stream != nil {
		if p.written < p.queue.len() {
			first = time.UnixMicro(p.queue.get(p.written).since).Add(l.Age)
		}
		return first
	}
	if p.tries == 0 {
		return first
	}
	if p.dialing {
		from = p.written
	}
	var seen class // the first of each sort is the one that has waited longest
	for i := from; i < p.queue.len() && seen != lasting|1<<7; i++ {
		it := p.queue.get(i)
		sort := it.class & lasting
		if sort == 0 {
			sort = 1 << 7
		}
		if it.gone || seen&sort != 0 {
			continue
		}
		seen |= sort
		if at := it.expires(l); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}
