package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"jackdaw/storage"
)

// An owner is what the engine knows of one of those whose data it keeps: nobody else writes for it, so what was read
// once stays true, and what a write will find is known before it is sent. (Where there are nodes, some owners are
// shared: homes.go.)
//
// Before anything is known of an owner it is claimed: a key in its hash tag gets a token that only this engine has.
// Each script that writes for the owner names the token that it expects there and puts the next one, so that it is
// applied once however often it is sent, and a write that was on its way for an earlier claim, or for another server,
// is refused. The token begins with the fence of the lease, or of the owner's home, and a claim with a lower one than
// is there is refused too.
type owner struct {
	name   string
	shared bool // all nodes write for it
	// lock has one place, which is taken by whoever decides what to write. It guards the parts up to cost.
	lock    chan struct{}
	claimed bool
	fence   uint64    // of the claim
	mark    string    // of the claim: the token without its number
	used    time.Time // of the last claim or write
	logs    map[string]*logState
	maps    map[string]*mapState
	named   map[string]*storage.Pending // of "domains": those that are in the set
	cost    int                         // bytes of memory, roughly, as it was when the lock was given back

	// What follows is guarded by engine.mu.
	refs    int    // who has the lock or waits for it
	stale   bool   // what is known may be wrong
	at      uint64 // the fence of the claim that is in place; 0: none
	serial  uint64 // the number of the token that is there, once what is on its way has arrived
	open    *batch // what is gathered; nil: nothing
	sending *batch // what is on its way
	queued  bool   // in the list of a lane, or about to be
	timer   bool   // lazy writes are going to be sent
	waits   error  // why what is on its way has waited for too long; nil: it has not
}

const (
	// claimLife is how long a claim stays in Redis without writes. It is taken anew long before.
	claimLife = 24 * time.Hour
	// mostCost bounds the memory for what is known of owners, roughly.
	mostCost = 64 << 20
	// ownerCost is that of an owner of whom little is known.
	ownerCost = 512
	// mostGathered bounds the bytes of writes that have not arrived; then callers wait.
	mostGathered = 2 << 20
)

// errBusy tells that more waits for Redis than may.
var errBusy = fmt.Errorf("%w: too much is waiting for redis", storage.ErrUnavailable)

// errStale tells that what a write rests on has failed, or is not known any more.
var errStale = fmt.Errorf("%w: redis: an earlier write of the same owner has failed, or it has moved",
	storage.ErrUnavailable)

// hold returns an owner that is claimed, and locked until free is called.
func (e *engine) hold(ctx context.Context, name string) (*owner, error) {
	shared := e.shared(name)
	if !shared {
		if _, err := e.fence(name); err != nil {
			return nil, err
		}
	}
	e.mu.Lock()
	o := e.owners[name]
	if o == nil {
		o = &owner{name: name, shared: shared, lock: make(chan struct{}, 1), cost: ownerCost}
		e.owners[name] = o
		e.cost += ownerCost
		e.evict()
	}
	o.refs++
	e.mu.Unlock()
	err := e.enter(ctx, o)
	if err == nil {
		if err = e.claim(ctx, o); err == nil {
			return o, nil
		}
		<-o.lock
	}
	e.mu.Lock()
	o.refs--
	e.mu.Unlock()
	return nil, err
}

// peek is hold for a read: it returns nil if the owner is not claimed, or is not at home here. Where there are nodes,
// one that is at home here is claimed: no late write of an older home may come behind what is read.
func (e *engine) peek(ctx context.Context, name string) (*owner, error) {
	if e.o.Homes != nil {
		return e.keep(ctx, name)
	}
	e.mu.Lock()
	o := e.owners[name]
	if o == nil {
		e.mu.Unlock()
		return nil, nil
	}
	o.refs++
	e.mu.Unlock()
	err := e.enter(ctx, o)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil && o.claimed && !o.stale {
		return o, nil
	}
	if err == nil {
		<-o.lock
	}
	o.refs--
	return nil, err
}

// enter takes the lock.
func (e *engine) enter(ctx context.Context, o *owner) error {
	select {
	case o.lock <- struct{}{}:
		return nil
	default:
	}
	limited, cancel := context.WithTimeout(ctx, 2*Patience)
	defer cancel()
	select {
	case o.lock <- struct{}{}:
		return nil
	case <-limited.Done():
		return cmp.Or(ctx.Err(), errBusy)
	}
}

// free gives back what hold took.
func (e *engine) free(o *owner) {
	if o.shared { // another node may write as soon as this one has
		o.logs, o.maps, o.named = nil, nil, nil
	}
	cost := ownerCost
	for _, st := range o.logs {
		cost += st.cost()
	}
	for _, st := range o.maps {
		cost += st.cost()
	}
	<-o.lock
	e.mu.Lock()
	e.cost += cost - o.cost
	o.cost = cost
	o.refs--
	e.mu.Unlock()
}

// evict forgets owners for whom nothing is done, whichever come first, while what is known takes too much memory. The
// caller holds mu.
func (e *engine) evict() {
	if e.cost <= mostCost {
		return
	}
	looked := 0
	for name, o := range e.owners {
		if o.refs == 0 && o.open == nil && o.sending == nil {
			delete(e.owners, name)
			e.cost -= o.cost
		}
		if looked++; e.cost <= mostCost*7/8 || looked > 10000 {
			return
		}
	}
}

// claimScript puts the token of an owner, unless one with a higher fence than may be is there, and returns what was
// there, ” for nothing. KEYS: w. ARGV: the highest fence that may be there, token, life.
var claimScript = redis.NewScript(`
local old = redis.call('GET', KEYS[1]) or ''
if old == '' or tonumber(string.match(old, '^%d+')) <= tonumber(ARGV[1]) then
	redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return old
`)

func (e *engine) tokenKey(name string) string { return e.key(name, "owner", "w") }

// claim makes sure that what is known of an owner is true. The caller has the lock. A claim is a write, so with
// replicas it ends when they have all that may be found.
func (e *engine) claim(ctx context.Context, o *owner) error {
	fence, least := uint64(0), uint64(largest) // a shared owner is taken from whoever has it
	if !o.shared {
		var err error
		if fence, err = e.fence(o.name); err != nil {
			return err
		}
		least = fence
	}
	e.mu.Lock()
	stale := o.stale
	e.mu.Unlock()
	if o.claimed && !stale && !o.shared && o.fence == fence && time.Since(o.used) < claimLife/4 {
		return nil
	}
	now := time.Now()
	if err := e.drain(ctx, o.name); err != nil {
		return err
	}
	e.mu.Lock()
	before, acknowledged := o.mark, o.serial
	o.stale, o.serial, o.at = false, 0, 0
	e.mu.Unlock()
	o.claimed, o.logs, o.maps, o.named = false, nil, nil, nil
	o.fence = fence
	o.mark = strconv.FormatUint(fence, 10) + ":" + e.lease.me.ID[:8] + "." + strconv.FormatUint(e.claims.Add(1), 36) + ":"
	v, err := e.run(ctx, call{claimScript, []string{e.tokenKey(o.name)},
		[]any{least, o.mark + "0", claimLife.Milliseconds()}, true})
	if err != nil {
		return err
	}
	token, _ := v.(string)
	if fenceOf(token) > least {
		return e.fenced(o.name, token)
	}
	e.mindLoss(o.name, token, before, acknowledged)
	if err := e.moved(o); err != nil {
		return err
	}
	o.claimed, o.used = true, now
	e.mu.Lock()
	o.at = fence
	e.mu.Unlock()
	return nil
}

// fenced notes that a server with a later lease, or a later home, has written for an owner.
func (e *engine) fenced(name, token string) error {
	if e.o.Homes != nil {
		return notHere(name)
	}
	err := fmt.Errorf("%w until a restart: %w: it has written for %s", storage.ErrUnavailable, storage.ErrTaken, name)
	if e.lease.taken.CompareAndSwap(nil, &err) {
		e.o.Log.Error("another server has taken the store, and this one acknowledges nothing any more",
			"owner", name, "fence", token, "do", "end one of the two, then restart this one if it is to go on")
	}
	return err
}

// fenceOf is the fence that a token begins with; 0 for no token.
func fenceOf(token string) uint64 {
	digits, _, _ := strings.Cut(token, ":")
	fence, _ := strconv.ParseUint(digits, 10, 64)
	return fence
}

// mindLoss tells when a token of ours that was found is older than what Redis has acknowledged under the same mark: as
// many steps of the owner are gone, in a failover to a replica that did not have them, say.
func (e *engine) mindLoss(name, token, mark string, acknowledged uint64) {
	number, ours := strings.CutPrefix(token, mark)
	n, err := strconv.ParseUint(number, 10, 64)
	if mark == "" || !ours || err != nil || n >= acknowledged {
		return
	}
	e.o.Log.Error("redis has lost what it had acknowledged", "owner", name, "steps", acknowledged-n,
		"do", "have all replicas that may follow confirm writes (storage.redis.wait_replicas), and each sync its file")
}

// doubt has all that is known read again: Redis may have forgotten some of it.
func (e *engine) doubt() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, o := range e.owners {
		o.stale = true
	}
}

// drain waits until Redis has the writes of an owner that are at hand, or they have failed, so that a read finds them.
func (e *engine) drain(ctx context.Context, name string) error {
	for {
		e.mu.Lock()
		if err := e.unlucky(e.owners[name]); err != nil {
			e.mu.Unlock()
			return err
		}
		b := e.hurry(e.owners[name])
		var done chan struct{}
		if b != nil {
			done = b.waited()
		}
		e.mu.Unlock()
		if b == nil {
			return nil
		}
		limited, cancel := context.WithTimeout(ctx, 2*Patience)
		select {
		case <-done:
			cancel()
			if !b.abandoned { // one that was may have another before it
				return nil
			}
		case <-limited.Done():
			cancel()
			return cmp.Or(ctx.Err(), errBusy)
		}
	}
}

// hurry has the writes of an owner sent that are at hand, and returns the last batch of them, or nil. The caller holds
// mu.
func (e *engine) hurry(o *owner) *batch {
	if o == nil || o.open == nil && o.sending == nil {
		return nil
	}
	b := o.open
	if b == nil {
		b = o.sending
	} else {
		b.urgent = true
		e.ready(o)
	}
	return b
}

// written looks for a field of a hash in what Redis does not have yet.
func (e *engine) written(name, key, field string) (value string, there, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.owners[name]
	if o == nil {
		return "", false, false
	}
	for _, b := range []*batch{o.open, o.sending} {
		if b == nil {
			continue
		}
		for _, k := range b.keys {
			if k.key != key {
				continue
			}
			if v, ok := k.put[field]; ok {
				return v, true, true
			}
			if k.gone[field] {
				return "", false, true
			}
		}
	}
	return "", false, false
}

// holding returns nil while this server has the lease, or is the home of an owner that it holds, for an answer that
// needs no write.
func (e *engine) holding(ctx context.Context, o *owner) error {
	if e.o.Homes != nil {
		if o.shared {
			return e.barrier(ctx, o.name)
		}
		return e.moved(o)
	}
	limited, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for {
		err := e.lease.holds(time.Now())
		if err == nil || errors.Is(err, storage.ErrTaken) {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return e.lost(err)
		}
	}
}

// unfinished is a pending that has not finished, or nil.
func unfinished(p *storage.Pending) *storage.Pending {
	if done, err := p.Finished(); done && err == nil {
		return nil
	}
	return p
}
