package relay

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/cluster"
	"jackdaw/router"
	"jackdaw/router/budget"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

const (
	helloTime    = 10 * time.Second
	rememberTime = 10 * time.Minute // what is known of a sender without a stream
	maxGap       = 1 << 16          // between the first number that is not settled and the last
	maxStandins  = 4096             // for each stream
)

// A sender is a process at another node that sends envelopes here.
type sender struct {
	r        *Relay
	node     string
	instance uint64
	lanes    [cluster.Slots]atomic.Pointer[lane]

	mu   sync.Mutex // guards the rest
	out  *replies   // nil: there is no stream
	left time.Duration
}

// Serve takes a stream of envelopes that another node has opened. It is the handler of link.Envelopes.
func (r *Relay) Serve(from string, c net.Conn) {
	defer c.Close()
	var hello [8]byte
	_ = c.SetReadDeadline(time.Now().Add(helloTime)) // an error shows at the read
	if _, err := io.ReadFull(c, hello[:]); err != nil {
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	out := &replies{c: c, wake: make(chan struct{}, 1), over: make(chan struct{})}
	s := r.sender(from, binary.BigEndian.Uint64(hello[:]), out)
	if s == nil {
		return
	}
	defer r.running.Done()
	var writing sync.WaitGroup
	writing.Go(out.write)
	err := s.read(c, out)
	out.end()
	writing.Wait()
	s.mu.Lock()
	if s.out == out {
		s.out, s.left = nil, r.now()
	}
	s.mu.Unlock()
	if r.ctx.Err() == nil {
		r.o.Log.Debug("a stream of envelopes has ended", "node", from, "error", err)
	}
}

// sender finds what is known of a process, which has this stream from now on, and counts as running; nil after Close.
func (r *Relay) sender(node string, instance uint64, out *replies) *sender {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	for name, s := range r.senders {
		if s.forgettable() {
			delete(r.senders, name)
		}
	}
	s := r.senders[node]
	if s == nil || s.instance != instance {
		s = &sender{r: r, node: node, instance: instance}
		r.senders[node] = s
	}
	s.mu.Lock()
	if s.out != nil {
		go s.out.end() // the other end has given it up
	}
	s.out = out
	s.mu.Unlock()
	r.running.Add(1)
	return s
}

// hangUp ends the stream.
func (s *sender) hangUp() {
	s.mu.Lock()
	out := s.out
	s.mu.Unlock()
	if out != nil {
		out.end()
	}
}

func (s *sender) forgettable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out == nil && s.r.now()-s.left > rememberTime
}

// read hands what comes to the lanes.
func (s *sender) read(c net.Conn, out *replies) (err error) {
	defer s.r.recovered(&err)
	in := bufio.NewReaderSize(c, 16<<10)
	d := decoder{slots: cluster.Slots}
	standins := map[string]*standin{}
	defer func() { forget(standins) }()
	var ready []*lane
	for {
		b, err := readBatch(in, nil)
		if err != nil {
			return err
		}
		if len(b) == 0 {
			out.beat()
		}
		var wrong error
		err = d.batch(b, func(in *incoming) {
			if !in.session.IsZero() {
				in.sender = s.r.standin(standins, in)
			}
			l := s.lane(in.slot)
			start, err := l.take(in)
			if err != nil {
				wrong = err
			}
			if start {
				ready = append(ready, l)
			}
		}, s.r.heard)
		for i, l := range ready {
			ready[i] = nil
			s.r.work(l)
		}
		if ready = ready[:0]; err != nil {
			return err
		}
		if wrong != nil {
			return wrong
		}
	}
}

func (s *sender) lane(slot int) *lane {
	l := s.lanes[slot].Load()
	if l == nil {
		l = &lane{s: s, slot: slot}
		s.lanes[slot].Store(l)
	}
	return l
}

// reply sends an answer over the stream that there is now. If there is none, it is given when the envelope comes again.
func (s *sender) reply(a *answer) {
	s.mu.Lock()
	out := s.out
	s.mu.Unlock()
	if out != nil {
		out.add(a)
	}
}

// A standin is what stands for a session at another node.
type standin struct {
	session *router.Session
	budget  *budget.Budget
}

// standin finds the one for the session of an envelope.
func (r *Relay) standin(all map[string]*standin, in *incoming) *standin {
	key := in.session.String()
	x := all[key]
	if x == nil {
		if len(all) >= maxStandins {
			forget(all)
		}
		x = &standin{session: r.o.Router.Standin(in.session), budget: r.o.Budgets.Open(in.session.Bare().String())}
		all[key] = x
	}
	return x
}

func forget(all map[string]*standin) {
	for key, x := range all {
		x.budget.Close()
		delete(all, key)
	}
}

// A lane takes the envelopes of one sender to one slot, one after the other.
type lane struct {
	s    *sender
	slot int
	asks atomic.Uint64 // what base is

	mu      sync.Mutex // guards the rest
	work    []*incoming
	running bool   // a goroutine does it
	round   uint64 // the last that something came of
	refused uint64 // rounds up to this are over
	base    uint64 // the number that records begin with
	records []record
	room    []record // whose end records are
	busy    int      // how many have been taken and not answered
}

// A record is what a lane knows of a number.
type record struct {
	state state
	code  byte      // of the answer, once it is settled
	round uint64    // the last in which it came
	fence uint64    // under which it is being routed
	in    *incoming // while it is queued
	id    uint64    // of the answer,
	err   *xmpp.Error
}

type state byte

const (
	unseen state = iota
	queued
	routed // and its writes are on their way
	settled
)

// take queues an envelope, or answers for it if it has come before. It says whether the lane is to be run.
func (l *lane) take(in *incoming) (start bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if in.base > l.base {
		n := int(min(in.base-l.base, uint64(len(l.records))))
		l.records = l.records[n:]
		if l.base = in.base; len(l.records) == 0 && len(l.room) > goodRoom {
			l.records, l.room = nil, nil
		}
		l.asks.Store(in.base)
	}
	if in.seq < l.base || in.round < l.round { // of a stream that has been given up
		return false, nil
	}
	if in.seq-l.base >= maxGap {
		return false, errCode
	}
	l.round = in.round
	i := int(in.seq - l.base)
	l.extend(i + 1)
	rec := &l.records[i]
	rec.round = in.round
	switch rec.state {
	case unseen:
		rec.state, rec.in = queued, in
		l.busy++
		l.work = append(l.work, in)
		start = !l.running
		l.running = true
		return start, nil
	case queued: // under what is known now
		rec.in.round, rec.in.fence = in.round, in.fence
	case routed:
		if rec.fence != in.fence { // whether its writes last, nobody knows
			l.refuse(in.seq, in.round)
		}
	case settled:
		l.s.reply(&answer{slot: l.slot, seq: in.seq, code: rec.code, id: rec.id, err: rec.err})
	}
	l.s.r.Stats.Repeated.Add(1)
	return false, nil
}

// goodRoom is how many records a lane without any keeps room for.
const goodRoom = 64

// extend sees to it that there are so many records. The caller holds mu.
func (l *lane) extend(n int) {
	if len(l.records) >= n {
		return
	}
	if n > cap(l.records) {
		if n <= cap(l.room)/2 { // those that were dropped have left enough
			k := copy(l.room, l.records)
			clear(l.room[k:])
			l.records = l.room[:k]
		} else {
			l.room = make([]record, max(8, 2*n))
			l.records = l.room[:copy(l.room, l.records)]
		}
	}
	l.records = l.records[:n]
}

// refuse answers that the slot is not here, and goes on to until the sender begins a new round. The caller holds mu.
func (l *lane) refuse(seq, round uint64) {
	l.refused = max(l.refused, round)
	l.s.r.Stats.NotHere.Add(1)
	l.s.reply(&answer{slot: l.slot, seq: seq, code: codeNotHere, round: round})
}

// Asks implements storage.Asker: whether an envelope with this number may come to another home yet, since its sender
// has no answer.
func (l *lane) Asks(number uint64) bool { return number >= l.asks.Load() }

func (l *lane) isBusy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.busy > 0
}

// record is that of a number, nil if the sender does not ask any more. The caller holds mu.
func (l *lane) record(seq uint64) *record {
	if seq < l.base || seq-l.base >= uint64(len(l.records)) {
		return nil
	}
	return &l.records[seq-l.base]
}

// A worker routes the envelopes of lanes.
type worker struct {
	e     router.Envelope
	batch router.Batch
}

// maxResting is how many workers wait for another lane.
const maxResting = 32

// work has a lane run, by a worker at rest if there is one: its stack has grown already, which took longer than the
// routing of an envelope. A lane may wait for storage, so none waits for a worker.
func (r *Relay) work(l *lane) {
	select {
	case r.ready <- l:
	default:
		r.running.Go(func() {
			w := new(worker)
			for l := l; l != nil; l = r.rest() {
				l.run(w)
			}
		})
	}
}

// rest is the lane that a worker runs next, nil if there are enough without it.
func (r *Relay) rest() (next *lane) {
	if r.resting.Add(1) <= maxResting {
		select {
		case next = <-r.ready:
		case <-r.ctx.Done():
		}
	}
	r.resting.Add(-1)
	return next
}

// run does what there is to do in the lane.
func (l *lane) run(w *worker) {
	var work []*incoming
	for {
		l.mu.Lock()
		work, l.work = l.work, nil
		if len(work) == 0 {
			l.running = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		for _, in := range work {
			l.do(w, in)
			*in = incoming{} // nobody has it any more
			incomings.Put(in)
		}
		w.batch.Flush()
	}
}

// do routes one envelope, if the slot is at home here under the fence that its sender knows.
func (l *lane) do(w *worker, in *incoming) {
	r := l.s.r
	l.mu.Lock()
	fence, ok := r.here(l.slot)
	round := in.round
	rec := l.record(in.seq)
	if rec == nil { // its sender has given it up
		l.busy--
		l.mu.Unlock()
		return
	}
	rec.in = nil
	if round <= l.refused || !ok || fence != in.fence {
		l.busy--
		rec.state = unseen
		l.refuse(in.seq, round)
		l.mu.Unlock()
		return
	}
	rec.state, rec.fence = routed, fence
	l.mu.Unlock()

	e := &w.e
	e.Batch = &w.batch
	e.Reset()
	e.Stanza, e.Account, e.Peer, e.Component, e.Dedup = &in.stanza, in.account, in.peer, in.part, in.dedup
	e.Durable, e.Own, e.Left = in.bits&bitDurable != 0, in.bits&bitOwn != 0, in.bits&bitLeft != 0
	e.Tracked, e.Shared, e.Quiet = in.bits&bitTracked != 0, in.bits&bitShared != 0, in.bits&bitQuiet != 0
	if in.bits&bitPassing != 0 {
		e.Span = storage.Span{Asker: l, Number: in.seq}
	}
	if in.sender != nil {
		e.Session, e.Budget = in.sender.session, in.sender.budget
	}
	err := r.receive(e)
	r.Stats.Received.Add(1)
	if l.s.node == r.o.Node.ID() {
		r.landed(l.slot, in.seq)
	}
	a := answer{slot: l.slot, seq: in.seq}
	if err != nil {
		a.settle(router.Refused, err, 0, false, false)
		l.finish(&a, fence, nil)
		return
	}
	further := e.Answer // of a third node, valid when the pendings have finished; nil: there is none
	if further == nil {
		a.settle(e.Outcome, e.Err, e.StanzaID, e.WasTold(), e.Outcome == router.Delivered && e.Kept != 0)
	}
	storage.Join(e.Pendings...).Then(func(err error) {
		if further != nil {
			a.settle(further.Outcome, further.Err, further.StanzaID, further.Told, further.Open)
		}
		l.finish(&a, fence, err)
	})
}

// receive routes an envelope. A fault of ours in what handles it is not to end the server.
func (r *Relay) receive(e *router.Envelope) (err *xmpp.Error) {
	defer func() {
		if v := recover(); v != nil {
			r.panicked(v)
			err = xmpp.InternalServerError("")
		}
	}()
	r.o.Router.Receive(e)
	return nil
}

// panicked notes a fault of ours.
func (r *Relay) panicked(v any) {
	r.Stats.Panics.Add(1)
	r.o.Log.Error("a stanza of another node made the server panic",
		"do", "report it as a fault of jackdaw, with this line", "panic", v, "stack", string(debug.Stack()))
}

// settle says what became of the envelope.
func (a *answer) settle(o router.Outcome, err *xmpp.Error, id uint64, told, open bool) {
	if o == router.Undecided || o > router.Dropped {
		o = router.Dropped
	}
	a.code, a.err, a.id = byte(o), err, id
	if told {
		a.code |= codeTold
	}
	if open {
		a.code |= codeOpen
	}
}

// finish answers for an envelope whose writes have finished. It does not block.
func (l *lane) finish(a *answer, fence uint64, err error) {
	r := l.s.r
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy--
	rec := l.record(a.seq)
	if err != nil {
		if now, ok := r.o.Node.Here(l.slot); !ok || now != fence {
			round := l.round
			if rec != nil {
				round = rec.round
				*rec = record{}
			}
			l.refuse(a.seq, round)
			return
		}
		r.Stats.Failed.Add(1)
		a.settle(router.Refused, router.Unavailable(), 0, false, false)
	}
	if rec != nil {
		rec.state, rec.code, rec.id, rec.err = settled, a.code, a.id, a.err
	}
	l.s.reply(a)
}
