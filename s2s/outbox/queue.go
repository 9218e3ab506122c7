package outbox

import (
	"time"

	"jackdaw/xmpp"
)

// class is what the outbox must know about a stanza without reading it.
type class uint8

const (
	lasting class = 1 << iota // a message or a subscription: waits for Limits.Age, else for volatileAge
	silent                    // an error or a result: never answered with an error (RFC 6120 §8.3.1)
	request                   // an IQ that somebody waits for
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
	at     *chunk // its XML is at.b[off:off+n]
	off, n int
	id     uint64 // of its record; 0: in memory only
	since  int64  // when it came, in microseconds since 1970
	class  class
	gone   bool // bounced after it had been written: it only counts, should the peer acknowledge it yet
}

func (it *item) xml() []byte { return it.at.b[it.off : it.off+it.n : it.off+it.n] }

// expires is when the item has waited enough.
func (it *item) expires(l *Limits) time.Time {
	age := volatileAge
	if it.class&lasting != 0 {
		age = l.Age
	}
	return time.UnixMicro(it.since).Add(age)
}

// A chunk holds stanzas one behind the other, so that they can be written as they lie. What is in it does not change,
// and its array never moves.
type chunk struct{ b []byte }

const (
	minChunk = 4 << 10
	maxChunk = 64 << 10 // and what one Write takes, if it is not a single stanza
)

// A queue is the stanzas of a pair in order.
type queue struct {
	items []item // from head on
	head  int
	tail  *chunk // where the next goes; nil: nowhere yet
}

func (q *queue) len() int { return len(q.items) - q.head }

// get returns the i-th item, to be used until the queue changes.
func (q *queue) get(i int) *item { return &q.items[q.head+i] }

// push copies a stanza in.
func (q *queue) push(it item, xml []byte) {
	if q.tail == nil || cap(q.tail.b)-len(q.tail.b) < len(xml) {
		size := minChunk
		if q.tail != nil {
			size = min(max(2*cap(q.tail.b), minChunk), maxChunk)
		}
		q.tail = &chunk{b: make([]byte, 0, max(size, len(xml)))}
	}
	it.at, it.off, it.n = q.tail, len(q.tail.b), len(xml)
	q.tail.b = append(q.tail.b, xml...)
	if q.head > 0 && len(q.items) == cap(q.items) && q.head >= len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, it)
}

// pop takes the oldest out.
func (q *queue) pop() item {
	it := q.items[q.head]
	q.items[q.head] = item{}
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return it
}

// filter takes out what drop is true for, from the i-th on, and returns it.
func (q *queue) filter(i int, drop func(*item) bool) (out []item) {
	rest := q.items[q.head+i:]
	kept := rest[:0]
	for _, it := range rest {
		if drop(&it) {
			out = append(out, it)
		} else {
			kept = append(kept, it)
		}
	}
	clear(rest[len(kept):])
	q.items = q.items[:len(q.items)-len(out)]
	return out
}

// reuse lets the next stanza take the place of the first, if there is none. Nobody may use the bytes of former ones any more.
func (q *queue) reuse() {
	if q.len() == 0 && q.tail != nil {
		q.tail.b = q.tail.b[:0]
	}
}

// release gives back the memory of an empty queue.
func (q *queue) release() {
	if q.len() == 0 {
		*q = queue{}
	}
}

// amount is a number of stanzas and their bytes.
type amount struct{ stanzas, bytes int }

func (a *amount) add(bytes int) { a.stanzas++; a.bytes += bytes }

func (a *amount) take(bytes int) { a.stanzas--; a.bytes -= bytes }

func (a amount) plus(b amount) amount { return amount{a.stanzas + b.stanzas, a.bytes + b.bytes} }

func (a amount) minus(b amount) amount { return amount{a.stanzas - b.stanzas, a.bytes - b.bytes} }
