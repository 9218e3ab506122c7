package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how a node takes part.
type Options struct {
	ID      string // unlike that of any other node; empty: a random one
	Address string // host:port where the others reach its links
	Version string // of the program
	Store   Store
	// Lease is how long the node holds its slots without a word from the store, Renew how often it renews that. All
	// nodes have the same. 0: 10 s, and 3 s.
	Lease, Renew time.Duration
	Log          *slog.Logger // nil: slog.Default()
	// Gained tells of slots that are at home here from now on, and where they were at home until their last home died or
	// was lost; nil if that has given them, where Gained and Lost were called for them before. Lost is told their end:
	// planned, before others get them, which wait until it has returned or half a lease is over; until then Here is
	// still true, so that all that is on its way can be written. Not planned, after the end: Here is false already. Both
	// run beside each other for different slots, and one after the other for the same one, and no planned end begins
	// before Gained has returned. They have to return, Gained as soon as Here is false. Either may be nil.
	Gained func(slots []int, last []Place)
	Lost   func(slots []int, planned bool)
	// Silence tells how long nothing has come from another node. It goes on telling that for all of Members also while
	// this node is none of them, since it may join again only when it hears them. nil: nodes do not watch each other.
	Silence func(node string) time.Duration
}

// The usual lease, and how often it is renewed.
const (
	DefaultLease = 10 * time.Second
	DefaultRenew = 3 * time.Second
)

// A Node takes part in the cluster. Its methods may be called at any time from any goroutine.
type Node struct {
	o      Options
	base   time.Time
	core   *core
	places atomic.Pointer[[Slots]Place]
	seats  atomic.Pointer[[]Member] // without mu: Options.Silence may ask for them
	stop   context.CancelFunc
	loops  sync.WaitGroup // run and its request
	calls  sync.WaitGroup // callbacks
	kick   chan struct{}

	mu      sync.Mutex // guards core, but for here, and the rest
	changed chan struct{}
	waiting []chan struct{} // for the end of a renewal that has not begun
	served  []chan struct{} // for that of the one that is on its way
	gone    chan struct{}   // closed when it has left for good
}

// Join makes this process a node, and returns as soon as it is a member; slots come after that. While an earlier
// process with the same id, or a server without cluster, may have been killed, it waits until its lease is over.
func Join(ctx context.Context, o Options) (*Node, error) {
	if o.Lease == 0 {
		o.Lease = DefaultLease
	}
	if o.Renew == 0 {
		o.Renew = DefaultRenew
	}
	if o.Lease < 3*o.Renew {
		return nil, fmt.Errorf("a lease of %v cannot be kept by renewing it every %v", o.Lease, o.Renew)
	}
	if o.ID == "" {
		o.ID = rand.Text()[:10]
	}
	if strings.ContainsFunc(o.ID, func(r rune) bool { return r <= ' ' || r == 0x7f }) || len(o.ID) > 255 {
		return nil, fmt.Errorf("%q is no id of a node: it has at most 255 bytes, and no spaces", o.ID)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	host, _ := os.Hostname() // it is for people
	s := settings{silence: o.Silence, newRun: rand.Text, log: o.Log, member: Member{ID: o.ID, Address: o.Address,
		Version: o.Version, Host: host, PID: os.Getpid(), Protocol: Protocol, Oldest: Oldest}}
	s.fill(o.Lease, o.Renew)
	n := &Node{o: o, base: time.Now(), core: newCore(s), kick: make(chan struct{}, 1), changed: make(chan struct{}),
		gone: make(chan struct{})}
	n.places.Store(&[Slots]Place{})
	n.seats.Store(new([]Member))
	if err := n.agree(ctx); err != nil {
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	n.stop = stop
	n.loops.Go(func() { n.loop(running) })
	if err := n.joined(ctx); err != nil {
		n.end()
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	return n, nil
}

// agree finds out whether the nodes that are there and this one have a protocol in common. It waits for the store as
// long as joined does.
func (n *Node) agree(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, n.o.Lease/2)
	defer cancel()
	v, err := n.o.Store.Do(limited, Request{Op: OpLook, Member: n.core.member, Grace: n.core.grace})
	if err != nil {
		return err
	}
	for _, s := range v.Members {
		if s.Oldest > Protocol || max(s.Protocol, 1) < Oldest {
			return fmt.Errorf("node %s (version %s, at %s) speaks the protocols %d to %d, this one (version %s) %d to %d; "+
				"upgrade by a version between the two, or stop all nodes first", s.ID, s.Version, s.Address, s.Oldest,
				s.Protocol, n.o.Version, Oldest, Protocol)
		}
	}
	return nil
}

// singleLease is how long a server without cluster that was killed keeps others waiting, and a little more.
const singleLease = 16 * time.Second

// joined waits for the first membership.
func (n *Node) joined(ctx context.Context) error {
	limit := time.After(max(singleLease, n.o.Lease+n.o.Lease/5))
	for {
		n.mu.Lock()
		member, err, changed := n.core.phase == in, n.core.err, n.changed
		n.mu.Unlock()
		if member {
			return nil
		}
		if err != nil && !refused(err) && time.Since(n.base) > n.o.Lease/2 {
			return err
		}
		select {
		case <-changed:
		case <-time.After(n.core.maxPause):
		case <-limit:
			return err
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// patience is how long one request may take.
func (n *Node) patience() time.Duration { return n.o.Lease / 10 }

func (n *Node) now() instant {
	t := time.Now()
	return instant{t.Sub(n.base), t.UnixNano()}
}

func (n *Node) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		n.mu.Lock()
		now := n.now()
		r, wake := n.core.next(now)
		if r != nil {
			n.served, n.waiting = n.waiting, nil
		}
		n.publish()
		n.mu.Unlock()
		if r != nil {
			n.loops.Go(func() { n.ask(ctx, *r) })
		}
		timer.Reset(max(wake-now.mono, 0))
		select {
		case <-timer.C:
		case <-n.kick:
		case <-ctx.Done():
			return
		}
	}
}

// publish does what the core has said, and tells others what has changed. The caller has mu.
func (n *Node) publish() {
	c := n.core
	for _, b := range c.callbacks {
		n.calls.Go(func() { n.call(b) })
	}
	c.callbacks = nil
	if n.places.Load() != c.places {
		n.places.Store(c.places)
		c.changed = true
	}
	if c.changed {
		c.changed = false
		list := make([]Member, 0, len(c.view.Members))
		for _, s := range c.view.Members {
			list = append(list, s.Member)
		}
		n.seats.Store(&list)
		close(n.changed)
		n.changed = make(chan struct{})
	}
	if c.phase == ended {
		select {
		case <-n.gone:
		default:
			close(n.gone)
		}
	}
}

func (n *Node) call(b *callback) {
	switch {
	case b.gained && n.o.Gained != nil:
		n.o.Gained(b.slots, b.last)
	case !b.gained && n.o.Lost != nil:
		n.o.Lost(b.slots, b.planned)
	}
	n.mu.Lock()
	n.core.finished(b)
	n.mu.Unlock()
	n.wake()
}

func (n *Node) ask(ctx context.Context, r Request) {
	limited, cancel := context.WithTimeout(ctx, n.patience())
	v, err := n.o.Store.Do(limited, r)
	cancel()
	n.mu.Lock()
	n.core.reply(n.now(), v, err)
	n.publish()
	for _, c := range n.served {
		close(c) // whoever waited looks at what is published
	}
	n.served = nil
	n.mu.Unlock()
	n.wake()
}

func (n *Node) wake() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// ID is how other nodes know this one, as long as the process runs.
func (n *Node) ID() string { return n.o.ID }

// Here says whether a slot is at home here, and under which fence to write for its owners. It costs a look at the
// clock. It is false from the moment on when the lease may have run out.
func (n *Node) Here(slot int) (fence uint64, ok bool) { return n.core.here(slot, n.now()) }

// Home returns where a slot is at home as far as is known, and false if nowhere.
func (n *Node) Home(slot int) (Place, bool) {
	p := n.places.Load()[slot]
	return p, p.Node != ""
}

// Changed returns a channel that is closed when places or members change next.
func (n *Node) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

// Refresh looks at the store now, for whoever has heard from another node that it is not the home that it was thought
// to be. It returns when that is done or has failed, or the context ends.
func (n *Node) Refresh(ctx context.Context) {
	done := make(chan struct{})
	n.mu.Lock()
	n.core.refresh = true
	n.waiting = append(n.waiting, done)
	n.mu.Unlock()
	n.wake()
	select {
	case <-done:
	case <-n.gone:
	case <-ctx.Done():
	}
}

// Members returns the nodes that the store named last, this one included, in the order of their ids.
func (n *Node) Members() []Member {
	return slices.Clone(*n.seats.Load())
}

// Speaks is the protocol that all nodes know.
func (n *Node) Speaks() int {
	p := Protocol
	for _, m := range n.Members() {
		p = min(p, max(m.Protocol, 1))
	}
	return p
}

// Err says why this node is nobody's home, and nil if it may be.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.core
	switch {
	case c.phase == in && c.holds(n.now()):
		return nil
	case c.phase == ended:
		return errors.New("this node has left the cluster")
	case c.exiled:
		return errors.New("this node does not hear other nodes, and has left the cluster until it does")
	case c.err != nil:
		return fmt.Errorf("this node is not in the cluster: %w", c.err)
	}
	return errors.New("this node is not in the cluster now")
}

// Leave gives all slots to other nodes, then the lease back. If the context ends before that, what is still here ends
// unplanned. Afterwards the node is of no use.
func (n *Node) Leave(ctx context.Context) error {
	n.mu.Lock()
	n.core.leave()
	n.mu.Unlock()
	n.wake()
	var err error
	select {
	case <-n.gone:
	case <-ctx.Done():
		err = fmt.Errorf("leave the cluster: %w", ctx.Err())
	}
	run := n.end()
	if err != nil {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.patience())
		defer cancel()
		m := n.core.member
		m.Run = run
		// Should it fail, the lease runs out by itself.
		_, _ = n.o.Store.Do(limited, Request{Op: OpLeave, Member: m, Grace: n.core.grace})
	}
	return err
}

// end stops everything and waits for it. It returns the run that may be in the store still.
func (n *Node) end() (run string) {
	n.stop()
	n.loops.Wait()
	n.mu.Lock()
	c := n.core
	run = c.run
	if c.phase == in {
		c.drop(n.now())
	}
	c.phase = ended
	n.mu.Unlock()
	n.calls.Wait()
	n.mu.Lock()
	c.reconcile()
	n.publish()
	n.mu.Unlock()
	n.calls.Wait()
	return run
}
