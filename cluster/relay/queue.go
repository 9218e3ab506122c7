package relay

import (
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router"
)

// An entry is an envelope until its home has answered.
type entry struct {
	seq    uint64
	at     time.Duration // when it came
	head   []byte
	body   []byte // the payload with its index; of those that are shared the payload
	shared bool
	cost   int
	answer router.Answer

	// The queue's mu guards the rest.
	sent   bool // on its way, in the round that the queue is in
	before bool // it has been on its way in one before
	landed bool // routed by this very node
	done   bool
}

// A queue is what is on its way from this node to a slot elsewhere, in order.
type queue struct {
	slot    int
	waiting atomic.Int32 // how many have not been routed, as far as this node knows; changes under mu
	open    atomic.Int32 // how many are without an outcome; likewise

	mu     sync.Mutex // guards the rest; before a stream's
	list   []*entry
	next   uint64 // the number that was given last
	bytes  int
	closed bool

	stream *stream // nil: nobody takes them now
	fence  uint64
	round  uint64 // rises each time that it begins anew
	sent   int    // so many of list are on their way, or done
	flight int    // bytes of those on their way
	many   int    // how many they are

	// While there is no stream:
	old   int           // how many of the round before may be answered yet
	until time.Duration // so long that is waited for
	retry time.Duration // not before
	tries int           // how often it was not at home where it was sent
}

// free says whether nothing keeps the queue from beginning anew. The caller holds mu.
func (q *queue) free() bool { return q.old == 0 && q.tries == 0 }

// count counts entries that come or go. The caller holds mu.
func (q *queue) count(r *Relay, n, bytes int) {
	q.bytes += bytes
	q.waiting.Add(int32(n))
	q.open.Add(int32(n))
	r.waiting.Add(int64(n))
	r.bytes.Add(int64(bytes))
}

// find is the place of a number in the list, -1 if it is not there. The caller holds mu.
func (q *queue) find(seq uint64) int {
	if len(q.list) == 0 || seq < q.list[0].seq {
		return -1
	}
	i := int(min(seq-q.list[0].seq, uint64(len(q.list)))) // where it is, unless some before have expired
	if i == len(q.list) || q.list[i].seq != seq {
		i = sort.Search(len(q.list), func(i int) bool { return q.list[i].seq >= seq })
	}
	if i == len(q.list) || q.list[i].seq != seq {
		return -1
	}
	return i
}

// settle takes an entry out. The caller holds mu.
func (q *queue) settle(r *Relay, x *entry) {
	if x.done = true; x.sent {
		q.left(x)
	}
	if x.landed {
		q.waiting.Add(1) // count takes it away again
	}
	q.count(r, -1, -x.cost)
}

// left notes that an entry is not on its way any more. The caller holds mu.
func (q *queue) left(x *entry) {
	x.sent = false
	if q.stream == nil {
		q.old--
		return
	}
	q.flight -= x.cost
	q.many--
}

// tidy drops what is done from the front. The caller holds mu.
func (q *queue) tidy() {
	n := 0
	for n < len(q.list) && q.list[n].done {
		q.list[n] = nil
		n++
	}
	q.list = q.list[n:]
	q.sent = max(0, q.sent-n)
	if len(q.list) == 0 {
		q.list, q.tries = nil, 0
	}
}

// all takes out everything. The caller holds mu.
func (q *queue) all(r *Relay) (out []*entry) {
	for _, x := range q.list {
		if !x.done {
			q.settle(r, x)
			out = append(out, x)
		}
	}
	q.tidy()
	return out
}

// expired takes out what has waited too long and is not on its way. The caller holds mu.
func (q *queue) expired(r *Relay, late time.Duration) (out []*entry) {
	if len(q.list) == 0 || q.list[0].at >= late { // they came in order, but for those that came at once
		return nil
	}
	kept := q.list[:0]
	for i, x := range q.list {
		if !x.done && !(q.stream != nil && i < q.sent) && x.at < late {
			q.settle(r, x)
			out = append(out, x)
			if i >= q.sent {
				continue // nobody knows of it
			}
		}
		kept = append(kept, x)
	}
	clear(q.list[len(kept):])
	q.list = kept
	q.tidy()
	return out
}

// flow gives the stream as much as the window lets through. The caller holds mu.
func (r *Relay) flow(q *queue) {
	for q.stream != nil && q.sent < len(q.list) {
		x := q.list[q.sent]
		if x.done {
			q.sent++
			continue
		}
		if q.many > 0 && (q.many >= windowMany || q.flight+x.cost > window) {
			return
		}
		if !q.stream.push(item{x: x, slot: q.slot, round: q.round, fence: q.fence, base: q.list[0].seq}) {
			q.stall(0, 0)
			r.wakeUp()
			return
		}
		if x.before {
			r.Stats.Again.Add(1)
		}
		x.sent, x.before = true, true
		q.sent++
		q.flight += x.cost
		q.many++
	}
}

// stall ends a round: nothing more is sent before the next. What is on its way may be answered yet, until then. The
// caller holds mu.
func (q *queue) stall(until, retry time.Duration) {
	q.old = 0
	for _, x := range q.list[:q.sent] {
		if x.sent {
			q.old++
		}
	}
	q.stream, q.flight, q.many = nil, 0, 0
	q.until, q.retry = until, retry
}

// begin begins a round. The caller holds mu.
func (r *Relay) begin(q *queue, s *stream, fence uint64) {
	for _, x := range q.list[:q.sent] {
		x.sent = false
		if x.landed && !x.done {
			x.landed = false
			q.waiting.Add(1)
		}
	}
	q.round++
	q.stream, q.fence, q.sent, q.old = s, fence, 0, 0
	r.flow(q)
}

// landed notes that this very node has routed an entry: what is routed here from now on comes behind it.
func (r *Relay) landed(slot int, seq uint64) {
	q := &r.queues[slot]
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := q.find(seq); i >= 0 && !q.list[i].done && !q.list[i].landed {
		q.list[i].landed = true
		q.waiting.Add(-1)
	}
}

// answered takes what a home has said, over this stream.
func (r *Relay) answered(s *stream, a *answer) {
	q := &r.queues[a.slot]
	q.mu.Lock()
	i := q.find(a.seq)
	if i < 0 || q.list[i].done {
		q.mu.Unlock()
		return
	}
	x := q.list[i]
	if a.code == codeNotHere {
		if a.round == q.round && x.sent {
			if q.stream != nil {
				t := r.now()
				q.tries++
				q.stall(t+settleTime, t+min(retryMax, retryMin<<min(q.tries-1, 10)))
			}
			q.left(x)
			r.isStale()
		}
		if q.stream == nil && q.old == 0 {
			r.wakeUp()
		}
		q.mu.Unlock()
		return
	}
	refused := router.Outcome(a.code&codeOutcomes) == router.Refused
	if refused {
		r.refusing.Add(1)
	}
	q.settle(r, x)
	q.tries = 0
	q.tidy()
	if q.stream == nil && q.old == 0 && len(q.list) > 0 {
		r.wakeUp()
	}
	r.flow(q)
	to := q.stream
	q.mu.Unlock()
	r.Stats.Answered.Add(1)
	x.answer.Finish(router.Outcome(a.code&codeOutcomes), a.err, a.id, a.code&codeTold != 0, a.code&codeOpen != 0)
	if refused {
		x.answer.Then(func() { r.refusing.Add(-1) })
	}
	if to != nil && to != s {
		to.Flush()
	}
}

// fail refuses envelopes that have found no home.
func (r *Relay) fail(out []*entry) {
	for _, x := range out {
		r.Stats.Expired.Add(1)
		x.answer.Finish(router.Refused, errExpired(), 0, false, false)
	}
}
