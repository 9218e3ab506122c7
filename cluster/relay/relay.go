// Package relay carries stanzas to the home of their recipients, where that is another node, and brings back what
// became of them. It implements router.Homes on links.
//
// At the node of the sender each slot has a queue (queue.go), numbered. What is in it goes in order to the node that
// has the slot (peer.go), up to a window, and stays in the queue until the home has answered, which it does when all
// that was written is durable. When the link breaks, the node dies, or it answers that the slot is not at home there,
// what is left goes again, in order, to whoever has it then (place.go). What finds no home for too long is refused.
// What becomes of a message later is told to the home of its sender (told.go).
//
// At the home (home.go) each slot of each sender has a lane: one after the other, in the order of the numbers, and
// beside those of other slots. A lane takes a number once, as long as the process lives; what reaches another home
// after all is told by its dedup value, which everything has that can be stored. An envelope names the fence under
// which its sender believes the slot to be there; under another it is not taken, nor what comes behind it, until the
// sender begins again. So the order per sender and recipient holds across moves.
package relay

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/cluster"
	"jackdaw/cluster/link"
	"jackdaw/router"
	"jackdaw/router/budget"
	"jackdaw/xmpp"
)

// Node says where slots are at home. cluster.Node does.
type Node interface {
	ID() string
	// Here returns the fence under which this node has the slot. It is asked for every stanza.
	Here(slot int) (fence uint64, ok bool)
	// Home is who has the slot, as far as this node knows.
	Home(slot int) (cluster.Place, bool)
	// Changed is closed at the next change of what Home says.
	Changed() <-chan struct{}
	// Refresh looks whether Home is up to date.
	Refresh(ctx context.Context)
}

// Opener opens streams to other nodes: link.Links.
type Opener interface {
	Open(ctx context.Context, node string, k link.Kind) (net.Conn, error)
}

// Options of New.
type Options struct {
	Router  *router.Router
	Node    Node
	Links   Opener
	Budgets *budget.Book // of accounts, for those of other homes; nil: none
	// Patience is how long an envelope waits for its home to be found; 0: 10 s.
	Patience time.Duration
	Log      *slog.Logger
}

// Bounds.
const (
	maxQueue   = 2 << 20   // bytes in the queue of a slot
	maxQueues  = 64 << 20  // in those of all
	window     = 256 << 10 // bytes of a slot that are on their way
	windowMany = 512       // envelopes likewise
	entryCost  = 400       // what an envelope takes besides its bytes
)

// Stats count since the start.
type Stats struct {
	Sent     atomic.Int64 // envelopes given to links, each time that they were
	Again    atomic.Int64 // of these, those that had been given to one before
	Batches  atomic.Int64 // writes that carried them
	BytesOut atomic.Int64 // of these
	Answered atomic.Int64 // envelopes that a home has answered for
	Expired  atomic.Int64 // refused since they have found no home for too long
	Full     atomic.Int64 // refused since too much waited
	Received atomic.Int64 // envelopes of other nodes that were routed here
	Repeated atomic.Int64 // that had come before
	NotHere  atomic.Int64 // that were not for this node
	Failed   atomic.Int64 // that could not be stored
	Panics   atomic.Int64 // faults of the server
}

// A Relay is that of one node. It is safe for concurrent use.
type Relay struct {
	Stats Stats

	o        Options
	start    time.Time
	instance uint64 // of this process: numbers count from its start
	prefix   string // of the dedup values that it makes
	made     atomic.Uint64
	bytes    atomic.Int64                 // in all queues
	waiting  atomic.Int64                 // envelopes in all queues
	refusing atomic.Int64                 // that were refused, of which the sender has not been told yet
	last     atomic.Pointer[byte]         // of the payload that was shared last
	released [cluster.Slots]atomic.Uint64 // fences under which slots are here no more, see Release
	queues   [cluster.Slots]queue         // to other nodes
	peers    atomic.Pointer[roster]       // by node
	wake     chan struct{}                // for the placer
	stale    chan struct{}                // for the refresher
	ready    chan *lane                   // for workers at rest
	resting  atomic.Int32                 // how many they are
	held     tellings                     // whose homes are not known
	looks    atomic.Uint64                // how often it was looked where homes are

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex // guards the rest, and changes of peers
	senders map[string]*sender
	closed  bool
}

// roster is immutable.
type roster map[string]*peer

// Waiting is how many envelopes for other nodes are without an outcome that their senders know.
func (r *Relay) Waiting() int64 { return r.waiting.Load() + r.refusing.Load() }

// New returns a relay. Serve is the handler of link.Envelopes; Close ends it.
func New(o Options) *Relay {
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	r := &Relay{o: o, start: time.Now(), instance: rand.Uint64(), senders: map[string]*sender{},
		wake: make(chan struct{}, 1), stale: make(chan struct{}, 1), ready: make(chan *lane)}
	r.prefix = "node " + strconv.FormatUint(r.instance, 36) + " "
	for i := range r.queues {
		r.queues[i].slot = i
	}
	r.peers.Store(&roster{})
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.running.Go(r.place)
	r.running.Go(r.refresh)
	return r
}

// Here implements router.Homes. What waits for a slot that has come home goes ahead of what is routed here.
func (r *Relay) Here(owner string) bool {
	slot := cluster.SlotOf(owner)
	if r.queues[slot].waiting.Load() != 0 {
		return false
	}
	_, ok := r.here(slot)
	return ok
}

// here is the fence under which the slot is at home here.
func (r *Relay) here(slot int) (uint64, bool) {
	fence, ok := r.o.Node.Here(slot)
	return fence, ok && fence != r.released[slot].Load()
}

// Send implements router.Homes. It never blocks.
func (r *Relay) Send(owner string, e *router.Envelope) {
	s := e.Stanza
	key := e.DedupKey()
	var made []byte
	var room [48]byte
	if key == "" && needsKey(e) {
		made = strconv.AppendUint(append(room[:0], r.prefix...), r.made.Add(1), 36)
	}
	x := &entry{at: r.now()}
	x.shared = e.Shared && len(s.Payload) > 0
	size := 64 + len(s.ID) + len(s.From.String()) + len(s.To.String()) + len(key) + len(made) + len(s.Attrs)
	if !x.shared {
		size += len(s.Payload) + 50*len(s.Children)
	}
	x.head = appendHead(make([]byte, 0, size), e, key, made)
	x.cost = entryCost
	if x.shared {
		x.body = s.Payload
		if p := &s.Payload[0]; r.last.Load() != p { // it takes room once
			r.last.Store(p)
			x.cost += len(x.body)
		}
	} else {
		n := len(x.head)
		x.head = appendPayload(x.head, s)
		x.head, x.body = x.head[:n:n], x.head[n:]
		x.cost += len(x.body)
	}
	x.cost += len(x.head)
	q := &r.queues[cluster.SlotOf(owner)]
	q.mu.Lock()
	if full := len(q.list) > 0 && q.bytes+x.cost > maxQueue || r.bytes.Load() > maxQueues; q.closed || full ||
		len(x.head)+len(x.body) > maxEnvelope {
		q.mu.Unlock()
		r.Stats.Full.Add(1)
		e.Refuse(errFull())
		return
	}
	r.o.Router.Forward(e, &x.answer)
	q.next++
	x.seq = q.next
	q.list = append(q.list, x)
	q.count(r, 1, x.cost)
	if len(q.list) == 1 || q.stream == nil && q.free() {
		q.stream = nil
		r.tryPlace(q, x.at)
	} else {
		r.flow(q)
	}
	to := q.stream
	q.mu.Unlock()
	if to != nil {
		e.Batch.Add(to)
	}
}

// needsKey says whether a message without a dedup value is one that is stored.
func needsKey(e *router.Envelope) bool {
	return router.Storable(e.Stanza) || e.Stanza.Kind == xmpp.Message && e.Stanza.Type == xmpp.TypeGroupchat && !e.Own
}

// Release says that slots are not at home here any more under the fences of now, though the node may have them yet:
// what other nodes send is not taken, and Here is false. It returns when all that had been taken is durable and
// answered, or with the error of ctx.
func (r *Relay) Release(ctx context.Context, slots []int) error {
	for _, slot := range slots {
		if fence, ok := r.o.Node.Here(slot); ok {
			r.released[slot].Store(fence)
		}
	}
	r.wakeUp() // what waits for them here is to go elsewhere
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if r.idle(slots) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *Relay) idle(slots []int) bool {
	for _, s := range r.known() {
		for _, slot := range slots {
			if l := s.lanes[slot].Load(); l != nil && l.isBusy() {
				return false
			}
		}
	}
	return true
}

// known are all senders.
func (r *Relay) known() []*sender {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*sender, 0, len(r.senders))
	for _, s := range r.senders {
		all = append(all, s)
	}
	return all
}

// Resume says that slots are at home here after all, under whatever fence.
func (r *Relay) Resume(slots []int) {
	for _, slot := range slots {
		r.released[slot].Store(0)
	}
}

// Close refuses what waits, and returns when nothing of other nodes is being routed any more.
func (r *Relay) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	for _, s := range r.known() {
		s.hangUp()
	}
	r.running.Wait()
	for i := range r.queues {
		q := &r.queues[i]
		q.mu.Lock()
		q.closed = true
		out := q.all(r)
		q.mu.Unlock()
		r.fail(out)
	}
}

// recovered ends a stream at which the server has panicked. It is to be deferred.
func (r *Relay) recovered(err *error) {
	if v := recover(); v != nil {
		r.panicked(v)
		*err = errPanic
	}
}

var errPanic = errors.New("a fault of the server")

func (r *Relay) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// now is monotonic.
func (r *Relay) now() time.Duration { return time.Since(r.start) }

func errFull() *xmpp.Error {
	return xmpp.ResourceConstraint("too much waits for another part of the server, try again later").
		WithType(xmpp.ErrorWait)
}

func errExpired() *xmpp.Error {
	return xmpp.ResourceConstraint("a part of the server cannot be reached, try again later").WithType(xmpp.ErrorWait)
}

var _ router.Homes = (*Relay)(nil)
