package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"jackdaw/storage"
)

// What is written for one owner while its last batch is on its way is gathered to the next one; what is at hand for
// several owners of one Redis leaves in one pipeline. Writes finish in the order in which they were made, whichever
// pipeline they went with.

const (
	// lanes is how many pipelines may be on their way to one Redis.
	lanes = 2
	// mostOwners and mostBytes bound one pipeline.
	mostOwners = 256
	mostBytes  = 1 << 20
	// earlyDelay is how long a lying server sits on what it acknowledged.
	earlyDelay = 20 * time.Millisecond
	// lazily is how long a removal may wait for other writes.
	lazily = 50 * time.Millisecond
)

// A lane has those owners whose batches one Redis is to get.
type lane struct {
	node    *redis.Client
	ready   []*owner
	running int // pipelines
}

// write gathers a write; put notes it in the batch, with engine.mu held. The caller has the owner's lock. A lazy write
// waits a little for others; it may finish before earlier ones.
func (e *engine) write(
	ctx context.Context, o *owner, bytes int, lazy bool, put func(*batch),
) (*storage.Pending, error) {
	w := &write{}
	e.mu.Lock()
	if err := e.admit(ctx, bytes); err != nil {
		e.mu.Unlock()
		return nil, err
	}
	if o.stale || e.closing {
		closing := e.closing
		e.dismiss(bytes)
		e.mu.Unlock()
		if closing {
			return nil, storage.ErrClosed
		}
		return nil, errStale
	}
	if err := cmp.Or(e.unlucky(o), e.lacking()); err != nil {
		e.dismiss(bytes)
		e.mu.Unlock()
		return nil, err
	}
	o.used = time.Now()
	b := o.open
	if b == nil {
		b = &batch{owner: o}
		o.open = b
	}
	put(b)
	b.bytes += bytes
	if lazy {
		b.lazy = append(b.lazy, w)
		e.later(o)
	} else {
		b.writes = append(b.writes, w)
		e.order = append(e.order, w)
		e.ready(o)
	}
	e.mu.Unlock()
	if e.early {
		w.Finish(nil)
	}
	return &w.Pending, nil
}

// A waiter wants room for a write.
type waiter struct {
	bytes int
	room  chan struct{} // closed when it has it
}

// admit waits until there is room for so many bytes more, in the order in which callers come. The caller holds mu,
// which is given back meanwhile.
func (e *engine) admit(ctx context.Context, bytes int) error {
	if e.gathered <= mostGathered && len(e.waiters) == 0 {
		e.gathered += bytes
		return nil
	}
	w := &waiter{bytes, make(chan struct{})}
	e.waiters = append(e.waiters, w)
	e.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	select {
	case <-w.room:
		e.mu.Lock()
		return nil
	case <-limited.Done():
	}
	e.mu.Lock()
	if i := slices.Index(e.waiters, w); i >= 0 {
		e.waiters = slices.Delete(e.waiters, i, i+1)
		return cmp.Or(ctx.Err(), errBusy)
	}
	return nil // it came just now
}

// dismiss gives back room. The caller holds mu.
func (e *engine) dismiss(bytes int) {
	e.gathered -= bytes
	for len(e.waiters) > 0 && e.gathered <= mostGathered {
		w := e.waiters[0]
		e.waiters = e.waiters[1:]
		e.gathered += w.bytes
		close(w.room)
	}
}

// later sees to it that lazy writes are sent some time. The caller holds mu.
func (e *engine) later(o *owner) {
	if o.timer || o.queued {
		return
	}
	o.timer = true
	time.AfterFunc(lazily, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		o.timer = false
		if o.open != nil {
			o.open.urgent = true
			e.ready(o)
		}
	})
}

// ready has the batch of an owner sent as soon as that may be. The caller holds mu.
func (e *engine) ready(o *owner) {
	if o.queued || o.sending != nil {
		return // it is, or goes on when that has arrived
	}
	o.queued = true
	if e.early {
		time.AfterFunc(earlyDelay, func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.enqueue(o)
		})
		return
	}
	e.enqueue(o)
}

// enqueue gives an owner to the lane of its Redis. The caller holds mu.
func (e *engine) enqueue(o *owner) {
	if o.sending == nil && o.open == nil { // given up meanwhile
		o.queued = false
		return
	}
	node, err := e.single, error(nil)
	switch {
	case e.cluster == nil:
	case o.sending != nil && o.sending.ask != nil:
		node = o.sending.ask
	default:
		node, err = e.cluster.MasterForKey(context.Background(), e.tokenKey(o.name))
	}
	if err != nil {
		if o.sending == nil {
			o.sending, o.open = o.open, nil
			o.sending.begun = time.Now()
		}
		e.again(o, err)
		return
	}
	l := e.laneTo[node]
	if l == nil {
		l = &lane{node: node}
		e.laneTo[node] = l
	}
	l.ready = append(l.ready, o)
	if l.running < lanes {
		l.running++
		select {
		case e.resting <- l:
		default:
			e.senders.Go(func() { e.sender(l) })
		}
	}
}

// sender drives lanes, and rests in between: the stack of a new goroutine would have to grow first, for each message
// that comes by itself.
func (e *engine) sender(l *lane) {
	for {
		e.drive(l)
		select {
		case l = <-e.resting:
		case <-e.rested:
			return
		}
	}
}

// drive sends what is at hand until there is nothing.
func (e *engine) drive(l *lane) {
	for {
		e.mu.Lock()
		var some []*batch
		bytes, n := 0, 0
		for _, o := range l.ready {
			if n == mostOwners || bytes > mostBytes {
				break
			}
			n++
			o.queued = false
			if o.sending == nil && o.open == nil {
				continue // given up meanwhile
			}
			if o.sending == nil {
				o.sending, o.open = o.open, nil
				o.sending.begun = time.Now()
			}
			some = append(some, o.sending)
			bytes += o.sending.bytes
		}
		l.ready = append(l.ready[:0], l.ready[n:]...)
		if n == 0 {
			l.running--
			if l.running == 0 && e.cluster != nil {
				delete(e.laneTo, l.node) // it may leave the cluster
			}
			e.mu.Unlock()
			return
		}
		e.mu.Unlock()
		e.deliver(l.node, some)
	}
}

// deliver sends batches and notes what became of them.
func (e *engine) deliver(node *redis.Client, batches []*batch) {
	errs := make([]error, len(batches))
	e.pipeline(node, batches, errs)
	e.mu.Lock()
	e.settled = true
	for i, b := range batches {
		e.settle(b, errs[i])
	}
	e.mu.Unlock()
	e.finish()
}

// pipeline sends batches in one go, followed by WAIT if replicas must have them. errs gets an error for each.
func (e *engine) pipeline(node *redis.Client, batches []*batch, errs []error) {
	fail := func(err error) {
		for i := range errs {
			errs[i] = err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	begun := time.Now()
	if err := e.holds(begun); err != nil {
		fail(err)
		return
	}
	pipe := node.Pipeline()
	replies := make([]*redis.Cmd, len(batches))
	next := make([]string, len(batches))
	for i, b := range batches {
		o := b.owner
		if errs[i] = e.moved(o); errs[i] != nil {
			continue
		}
		b.encode(e)
		next[i] = o.mark + strconv.FormatUint(o.serial+1, 10)
		b.args[0], b.args[1], b.args[2] = o.mark+strconv.FormatUint(o.serial, 10), next[i], claimLife.Milliseconds()
		if b.ask != nil {
			pipe.Do(ctx, "ASKING")
		}
		run := applyScript.EvalSha
		if b.whole {
			run = applyScript.Eval
		}
		replies[i] = run(ctx, pipe, b.keysN, b.args...)
	}
	if pipe.Len() == 0 {
		return
	}
	var wait *redis.Cmd
	if e.o.WaitReplicas > 0 {
		wait = pipe.Do(ctx, "WAIT", e.o.WaitReplicas, (Patience * 3 / 4).Milliseconds())
	}
	// An error is that of one of the replies, or of all.
	_, _ = pipe.Exec(ctx)
	var general error
	if wait != nil {
		general = enough(wait, e.o.WaitReplicas)
	}
	if general == nil {
		// What was written after the end of the lease may have been behind somebody's back.
		general = e.holds(time.Now())
	}
	arrived := false
	for i, b := range batches {
		if replies[i] == nil {
			continue
		}
		v, err := replies[i].Result()
		switch s, _ := v.(string); {
		case err != nil:
			errs[i] = err
		case s != next[i]:
			errs[i] = e.refused(b, s)
		default:
			errs[i], arrived = cmp.Or(general, e.moved(b.owner)), true
		}
	}
	if f := e.observer.Load(); f != nil && arrived && general == nil {
		(*f)(time.Since(begun))
	}
}

// enough is nil if WAIT says that so many replicas have what was written. WAIT returns on time-out too: only the number
// tells.
func enough(wait *redis.Cmd, replicas int) error {
	n, err := wait.Int()
	if err == nil && n < replicas {
		err = fmt.Errorf("%w: %d of %d", errReplicas, n, replicas)
	}
	return err
}

// errForgotten is that of a batch whose owner has another token than was expected.
var errForgotten = fmt.Errorf("%w: redis has lost what it had, or somebody else has written", storage.ErrUnavailable)

// refused tells why a batch was.
func (e *engine) refused(b *batch, token string) error {
	o := b.owner
	switch {
	case o.shared && !b.doubtful:
		return errRaced
	case !o.shared && fenceOf(token) > o.fence:
		return e.fenced(o.name, token)
	}
	e.mu.Lock()
	acknowledged := o.serial
	e.mu.Unlock()
	e.mindLoss(o.name, token, o.mark, acknowledged)
	return fmt.Errorf("%w (owner %q, token %q)", errForgotten, o.name, token)
}

// settle notes what became of a batch that was sent. The caller holds mu.
func (e *engine) settle(b *batch, err error) {
	o := b.owner
	if err != nil {
		e.again(o, err)
		return
	}
	o.serial++
	if o.sending, o.waits = nil, nil; e.cluster == nil {
		e.short = nil
	}
	e.close(b, nil)
	if o.open == nil {
		return
	}
	if len(o.open.writes) > 0 || o.open.urgent {
		e.ready(o)
	} else {
		e.later(o)
	}
}

// again has the batch of an owner that was not written sent once more, or gives up. The caller holds mu.
func (e *engine) again(o *owner, err error) {
	b := o.sending
	b.tries++
	b.doubtful = b.doubtful || !isReply(err)
	addr, ask := strings.CutPrefix(err.Error(), "ASK ")
	b.ask = nil
	pause := min(5*time.Millisecond<<min(b.tries, 8), longestPause)
	switch taken := e.lease.taken.Load(); {
	case taken != nil:
		err = *taken
	case errors.Is(err, storage.ErrUnavailable):
	case redis.HasErrorPrefix(err, "NOSCRIPT") && !b.whole:
		b.whole, pause = true, 0
	case refuses(err):
		if err = e.shorten(err); e.shelve(o, err) {
			return
		}
	case !passing(err):
		err = fmt.Errorf("%w: redis: %w", storage.ErrUnavailable, err)
	case time.Since(b.begun) >= Patience:
		if err = e.lost(err); e.shelve(o, err) {
			return
		}
	case ask:
		o.queued = true
		go e.redirect(o, addr[strings.IndexByte(addr, ' ')+1:])
		return
	case e.cluster != nil:
		e.cluster.ReloadState(context.Background())
	}
	if errors.Is(err, storage.ErrUnavailable) {
		e.fail(o, err)
		return
	}
	o.queued = true
	if pause == 0 {
		e.enqueue(o)
		return
	}
	time.AfterFunc(pause, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.enqueue(o)
	})
}

// redirect has a batch sent to the node at an address, which is importing its slot.
func (e *engine) redirect(o *owner, addr string) {
	node, err := e.nodeAt(context.Background(), addr)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		o.sending.ask = node
	}
	e.enqueue(o)
}

// fail ends all writes of an owner that are at hand: what was gathered rests on what was sent. The caller holds mu.
func (e *engine) fail(o *owner, err error) {
	o.stale, o.queued = true, false
	for _, b := range []*batch{o.sending, o.open} {
		if b != nil {
			e.close(b, err)
		}
	}
	o.sending, o.open, o.waits = nil, nil, nil
}

// close notes the outcome of a batch. The caller holds mu.
func (e *engine) close(b *batch, err error) {
	e.dismiss(b.bytes - b.shelved)
	e.onShelf -= b.shelved
	for _, w := range b.writes {
		if w.done, w.err = true, err; w.shelved {
			e.lazies = append(e.lazies, w)
		}
	}
	for _, w := range b.lazy {
		w.err = err
	}
	e.lazies = append(e.lazies, b.lazy...)
	e.finishSoon()
	if b.done != nil {
		close(b.done)
	}
}

// finishSoon has writes finished whose outcome is known. The caller holds mu, and may hold what a function given to
// Then wants.
func (e *engine) finishSoon() {
	if !e.settled {
		e.settled = true
		e.senders.Go(e.finish)
	}
}

// finish finishes writes whose outcome is known, those that are not lazy in the order in which they were made.
func (e *engine) finish() {
	e.mu.Lock()
	for !e.finishing && e.settled {
		e.finishing, e.settled = true, false
		n := 0
		for n < len(e.order) && e.order[n].done {
			n++
		}
		some := e.lazies
		some = append(some, e.order[:n]...)
		clear(e.order[:n])
		e.order, e.lazies = e.order[n:], nil
		e.mu.Unlock()
		for _, w := range some {
			if !e.early {
				w.Finish(w.err)
			}
		}
		e.mu.Lock()
		e.finishing = false
	}
	e.mu.Unlock()
}

// flush waits until nothing is on its way, and takes nothing more if the engine is closing.
func (e *engine) flush(ctx context.Context, closing bool) error {
	e.mu.Lock()
	e.closing = e.closing || closing
	var all []*owner
	for _, o := range e.owners {
		if o.open != nil || o.sending != nil {
			all = append(all, o)
		}
	}
	e.mu.Unlock()
	if closing {
		e.unshelve(true) // for the last time
	}
	var first error
	for _, o := range all {
		if err := e.drain(ctx, o.name); err != nil && first == nil {
			first = err
		}
	}
	return first
}
