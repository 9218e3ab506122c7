package outbox

import (
	"time"
	"unsafe"

	"jackdaw/xmpp"
)

// class is what the outbox must know about a stanza without reading it.
type class uint8

const (
	lasting class = 1 << iota // a message or a subscription: waits for Limits.Age, else for volatileAge
	silent                    // an error or a result: never answered with an error (RFC 6120 §8.3.1)
	request                   // an IQ that somebody waits for
	tracked                   // its sender asks what becomes of it (router.Envelope.Tracked)
)

func classOf(s *xmpp.Stanza) (c class) {
	switch {
	case s.Type == xmpp.TypeError || s.Type == xmpp.TypeResult:
		c = silent
	case s.IsRequest():
		c = request
	}
	switch s.Kind {
	case xmpp.Message:
		c |= lasting
	case xmpp.Presence:
		switch s.Type {
		case xmpp.TypeSubscribe, xmpp.TypeSubscribed, xmpp.TypeUnsubscribe, xmpp.TypeUnsubscribed:
			c |= lasting
		}
	}
	return c
}

// keepable says whether the stanza is worth a place on disk.
func (c class) keepable() bool { return c&(lasting|silent) == lasting }

// An item is a stanza that waits or has been written and not acknowledged.
type item struct {
	at     *chunk // its own XML is at.b[off:off+n]
	off, n int
	body   *body  // the rest of it, which belongs behind the first cut bytes; nil: there is none
	cut    int    // likewise
	first  bool   // of the copies that share body it is the one that counts for it
	by     *share // whose it is; nil: nobody's
	cost   int    // what it takes of the share
	id     uint64 // of its record; 0: in memory only
	since  int64  // when it came, in microseconds since 1970
	class  class
	gone   bool // bounced after it had been written: it only counts, should the peer acknowledge it yet
}

// lend notes that the item leaves the queue and its bytes are still used.
func (it *item) lend() {
	if it.at != nil {
		it.at.items--
		it.at.lent = true
	}
}

// own is its XML without what it shares.
func (it *item) own() []byte { return it.at.b[it.off : it.off+it.n : it.off+it.n] }

func (it *item) xml() []byte {
	if it.body == nil {
		return it.own()
	}
	return it.append(nil)
}

// append appends its XML.
func (it *item) append(dst []byte) []byte {
	own := it.own()
	if it.body == nil {
		return append(dst, own...)
	}
	dst = append(append(dst, own[:it.cut]...), it.body.xml...)
	return append(dst, own[it.cut:]...)
}

// size is the length of its XML.
func (it *item) size() int {
	if it.body == nil {
		return it.n
	}
	return it.n + len(it.body.xml)
}

// amount is what it counts for in a queue: copies of one stanza count as one, and what they share once.
func (it *item) amount() amount {
	switch {
	case it.body == nil:
		return amount{1, 1, it.n}
	case it.first:
		return amount{1, 1, it.size()}
	}
	return amount{1, 0, it.n}
}

// A body is the payload of a stanza that goes to many at one domain, such as what is said in a room: it is kept once.
type body struct{ xml []byte }

// is says whether the payload is this one, and not just equal to it.
func (b *body) is(payload []byte) bool {
	return b != nil && len(b.xml) == len(payload) && unsafe.SliceData(b.xml) == unsafe.SliceData(payload)
}

// expires is when the item has waited enough.
func (it *item) expires(l *Limits) time.Time {
	age := volatileAge
	if it.class&lasting != 0 {
		age = l.Age
	}
	return time.UnixMicro(it.since).Add(age)
}

// A chunk holds stanzas one behind the other, so that they can be written as they lie. What is in it does not change as
// long as one of its stanzas is in the queue or somebody may be reading, and its array never moves.
type chunk struct {
	b     []byte
	items int  // in the queue
	busy  bool // being written
	lent  bool // stanzas were taken out whose bytes are still used
}

// spent says whether nobody uses the bytes any more.
func (c *chunk) spent() bool { return c.items == 0 && !c.busy && !c.lent }

const (
	minChunk = 1 << 10
	maxChunk = 64 << 10 // and what one Write takes, if it is not a single stanza
	maxSpare = 4        // chunks of that size that a pair keeps for later
)

// A queue is the stanzas of a pair in order.
type queue struct {
	items []item // from head on
	head  int
	tail  *chunk   // where the next goes; nil: nowhere yet
	spare []*chunk // spent ones of full size, for when the tail is full

	bodies [4]*body // the newest: several rooms may speak to a domain at once
	newest int      // of bodies
}

func (q *queue) len() int { return len(q.items) - q.head }

// get returns the i-th item, to be used until the queue changes.
func (q *queue) get(i int) *item { return &q.items[q.head+i] }

// share makes a stanza use a payload that stays as it is, with others before it if there are.
func (q *queue) share(it *item, payload []byte, cut int) {
	it.cut = cut
	for _, b := range q.bodies {
		if b.is(payload) {
			it.body = b
			return
		}
	}
	it.body, it.first = &body{payload}, true
}

// push copies a stanza in, all but what it shares.
func (q *queue) push(it item, xml []byte) {
	head, tail := xml, []byte(nil)
	if it.body != nil {
		head, tail = xml[:it.cut], xml[it.cut+len(it.body.xml):]
		if it.first {
			q.bodies[q.newest%len(q.bodies)] = it.body
			q.newest++
		}
	}
	n := len(head) + len(tail)
	if q.tail == nil || cap(q.tail.b)-len(q.tail.b) < n {
		q.advance(n)
	}
	q.tail.items++
	it.at, it.off, it.n = q.tail, len(q.tail.b), n
	q.tail.b = append(append(q.tail.b, head...), tail...)
	if q.head > 0 && len(q.items) == cap(q.items) && q.head >= len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, it)
}

// advance makes a tail that has room for n bytes.
func (q *queue) advance(n int) {
	size := minChunk
	if t := q.tail; t != nil {
		if t.spent() && cap(t.b) >= n && cap(t.b) <= maxChunk {
			t.b = t.b[:0]
			return
		}
		size = min(max(2*cap(t.b), minChunk), maxChunk)
	}
	if size = max(size, n); size <= maxChunk && len(q.spare) > 0 {
		last := len(q.spare) - 1
		q.tail, q.spare = q.spare[last], q.spare[:last]
		q.tail.b = q.tail.b[:0]
		return
	}
	q.tail = &chunk{b: make([]byte, 0, size)}
}

// recycle keeps a chunk that is not the tail any more for later, if nobody uses it.
func (q *queue) recycle(c *chunk) {
	if c.spent() && cap(c.b) == maxChunk && len(q.spare) < maxSpare {
		q.spare = append(q.spare, c)
	}
}

// pop takes the oldest out. Its bytes are not to be used any more.
func (q *queue) pop() item {
	it := q.items[q.head]
	if c := it.at; c != nil {
		if c.items--; c != q.tail {
			q.recycle(c)
		}
	}
	q.items[q.head] = item{}
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		q.bodies = [4]*body{}
	}
	return it
}

// filter takes out what drop is true for, from the i-th on, and returns it. Its bytes may be used.
func (q *queue) filter(i int, drop func(*item) bool) (out []item) {
	rest := q.items[q.head+i:]
	kept := rest[:0]
	for _, it := range rest {
		if drop(&it) {
			it.lend()
			out = append(out, it)
		} else {
			kept = append(kept, it)
		}
	}
	clear(rest[len(kept):])
	q.items = q.items[:len(q.items)-len(out)]
	return out
}

// reuse lets the next stanza take the place of the first, if there is none. Nobody may use the bytes of former ones any
// more.
func (q *queue) reuse() {
	if q.len() == 0 && q.tail != nil {
		q.tail.b, q.tail.lent = q.tail.b[:0], false
	}
}

// release gives back the memory of an empty queue.
func (q *queue) release() {
	if q.len() == 0 {
		*q = queue{}
	}
}

// amount is a number of stanzas, of those that are no copies of others, and the bytes of all.
type amount struct{ stanzas, units, bytes int }

func (a *amount) add(b amount) { *a = a.plus(b) }

func (a *amount) take(b amount) { *a = a.minus(b) }

func (a amount) plus(b amount) amount {
	return amount{a.stanzas + b.stanzas, a.units + b.units, a.bytes + b.bytes}
}

func (a amount) minus(b amount) amount {
	return amount{a.stanzas - b.stanzas, a.units - b.units, a.bytes - b.bytes}
}
