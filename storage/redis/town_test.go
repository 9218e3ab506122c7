package redis

import (
	"context"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"jackdaw/storage"
)

// A town knows where owners are at home: what package cluster does for real nodes.
type town struct {
	homed func(owner string) bool
	nodes int
	mu    sync.Mutex // guards the rest
	homes map[string]home
	last  uint64 // fence
}

type home struct {
	node  int
	fence uint64
}

func (t *town) of(owner string) home {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.homes[owner]
	if !ok {
		t.last++
		h = home{int(sum(owner)) % t.nodes, t.last}
		t.homes[owner] = h
	}
	return h
}

// move gives an owner to another node.
func (t *town) move(owner string, node int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	t.homes[owner] = home{node, t.last}
}

func sum(s string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(s))
	return h.Sum32() >> 3
}

// A resident is what one node of a town believes.
type resident struct {
	*town
	node int
	// asleep has what a node believes that does not notice what happens.
	asleep sync.Map
}

func (r *resident) Homed(owner string) bool { return r.homed(owner) }

func (r *resident) Fence(owner string) (uint64, bool) {
	if fence, ok := r.asleep.Load(owner); ok {
		return fence.(uint64), true
	}
	h := r.of(owner)
	return h.fence, h.node == r.node
}

// sleep has a node believe for ever that an owner is at home there.
func (r *resident) sleep(owner string) { r.asleep.Store(owner, r.of(owner).fence) }

// several is an engine whose calls go to the homes of owners, which move now and then, and for shared owners to any
// node.
type several struct {
	*testing.T
	*town
	engines []*engine
	moving  sync.RWMutex // held by calls against moves
	mu      sync.Mutex   // guards last
	last    *storage.Pending
}

// newTown is one of so many nodes.
func newTown(n int, homed func(string) bool) *town {
	return &town{homed: homed, nodes: n, homes: map[string]home{}}
}

func (t *town) open(tb *testing.T, o Options) *several {
	n := &several{T: tb, town: t}
	for i := range t.nodes {
		o.Homes = &resident{town: t, node: i}
		e, err := Open(tb.Context(), o)
		if err != nil {
			tb.Fatal(err)
		}
		n.engines = append(n.engines, e.(*engine))
	}
	return n
}

func (n *several) any() *engine { return n.engines[rand.IntN(len(n.engines))] }

// in returns who writes for an owner. The caller gives moving back.
func (n *several) in(ctx context.Context, owner string) *engine {
	n.moving.RLock()
	if !n.homed(owner) {
		return n.any()
	}
	h := n.of(owner)
	if rand.IntN(8) > 0 {
		return n.engines[h.node]
	}
	n.moving.RUnlock()
	n.moving.Lock()
	h = n.of(owner)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := n.engines[h.node].Release(ctx, func(name string) bool { return name == owner }); err != nil {
		n.Errorf("release %q: %v", owner, err)
	}
	n.move(owner, rand.IntN(len(n.engines)))
	n.moving.Unlock()
	n.moving.RLock()
	return n.engines[n.of(owner).node]
}

// write calls f for an owner at its home, or anywhere. What it returns finishes behind all earlier writes, whichever
// node made them: that is a promise of one engine, so the suite wants it.
func (n *several) write(
	ctx context.Context, owner string, f func(e *engine) (*storage.Pending, error),
) (*storage.Pending, error) {
	e := n.in(ctx, owner)
	defer n.moving.RUnlock()
	p, err := f(e)
	if err != nil {
		return nil, err
	}
	return n.behind(p), nil
}

// behind finishes as p does, behind all that write has returned before.
func (n *several) behind(p *storage.Pending) *storage.Pending {
	n.mu.Lock()
	defer n.mu.Unlock()
	before, now := n.last, storage.NewPending()
	n.last = now
	before.Then(func(error) { p.Then(now.Finish) })
	return now
}

// lazily is write for what may finish later, or earlier.
func (n *several) lazily(
	ctx context.Context, owner string, f func(e *engine) (*storage.Pending, error),
) (*storage.Pending, error) {
	e := n.in(ctx, owner)
	defer n.moving.RUnlock()
	return f(e)
}

// read calls f for an owner at its home, or at another node, which sees what has arrived.
func (n *several) read(ctx context.Context, owner string, f func(e *engine) error) error {
	e := n.in(ctx, owner)
	defer n.moving.RUnlock()
	if n.homed(owner) && rand.IntN(3) == 0 {
		if err := e.drain(ctx, owner); err != nil {
			n.Error(err)
		}
		e = n.any()
	}
	return f(e)
}

func (n *several) Promise() string { return n.engines[0].Promise() }

func (n *several) Err() error {
	for _, e := range n.engines {
		if err := e.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (n *several) Observe(f func(time.Duration)) {
	for _, e := range n.engines {
		e.Observe(f)
	}
}

func (n *several) Close() error {
	var first error
	for _, e := range n.engines {
		if err := e.Close(); first == nil {
			first = err
		}
	}
	return first
}

func (n *several) Map(space string) storage.Map  { return &mapOfNodes{n, space} }
func (n *several) Log(space string) storage.Log  { return &logOfNodes{n, space} }
func (n *several) Accounts() storage.Accounts    { return &accountsOfNodes{n, true} }
func (n *several) APIAccounts() storage.Accounts { return &accountsOfNodes{n, false} }

type mapOfNodes struct {
	*several
	space string
}

func (m *mapOfNodes) Get(ctx context.Context, owner, key string) (v []byte, err error) {
	err = m.read(ctx, owner, func(e *engine) error { v, err = e.Map(m.space).Get(ctx, owner, key); return err })
	return v, err
}

func (m *mapOfNodes) List(ctx context.Context, owner string) (list []storage.Entry, v uint64, err error) {
	err = m.read(ctx, owner, func(e *engine) error { list, v, err = e.Map(m.space).List(ctx, owner); return err })
	return list, v, err
}

func (m *mapOfNodes) Update(
	ctx context.Context, owner string, version uint64, changes ...storage.Change,
) (v uint64, p *storage.Pending, err error) {
	p, err = m.write(ctx, owner, func(e *engine) (*storage.Pending, error) {
		v, p, err = e.Map(m.space).Update(ctx, owner, version, changes...)
		return p, err
	})
	return v, p, err
}

func (m *mapOfNodes) Since(
	ctx context.Context, owner string, version uint64,
) (list []storage.Entry, now uint64, ok bool, err error) {
	err = m.read(ctx, owner, func(e *engine) error {
		list, now, ok, err = e.Map(m.space).Since(ctx, owner, version)
		return err
	})
	return list, now, ok, err
}

func (m *mapOfNodes) Size(ctx context.Context, owner string) (keys int, bytes int64, err error) {
	err = m.read(ctx, owner, func(e *engine) error { keys, bytes, err = e.Map(m.space).Size(ctx, owner); return err })
	return keys, bytes, err
}

func (m *mapOfNodes) DeleteOwner(ctx context.Context, owner string) (*storage.Pending, error) {
	return m.write(ctx, owner, func(e *engine) (*storage.Pending, error) { return e.Map(m.space).DeleteOwner(ctx, owner) })
}

type logOfNodes struct {
	*several
	space string
}

func (l *logOfNodes) Append(
	ctx context.Context, owner string, r storage.Record, o storage.AppendOptions,
) (id uint64, dup bool, p *storage.Pending, err error) {
	p, err = l.write(ctx, owner, func(e *engine) (*storage.Pending, error) {
		id, dup, p, err = e.Log(l.space).Append(ctx, owner, r, o)
		return p, err
	})
	return id, dup, p, err
}

func (l *logOfNodes) Page(
	ctx context.Context, owner string, q storage.Query,
) (list []storage.Record, more bool, err error) {
	err = l.read(ctx, owner, func(e *engine) error { list, more, err = e.Log(l.space).Page(ctx, owner, q); return err })
	return list, more, err
}

func (l *logOfNodes) Get(ctx context.Context, owner string, id uint64) (r storage.Record, err error) {
	err = l.read(ctx, owner, func(e *engine) error { r, err = e.Log(l.space).Get(ctx, owner, id); return err })
	return r, err
}

func (l *logOfNodes) Lookup(
	ctx context.Context, owner, dedup string,
) (r storage.Record, p *storage.Pending, err error) {
	err = l.read(ctx, owner, func(e *engine) error {
		r, p, err = e.Log(l.space).Lookup(ctx, owner, dedup)
		return err
	})
	if err != nil {
		return r, nil, err
	}
	return r, l.behind(p), nil
}

func (l *logOfNodes) Replace(ctx context.Context, owner string, id uint64, data []byte) (*storage.Pending, error) {
	return l.write(ctx, owner, func(e *engine) (*storage.Pending, error) {
		return e.Log(l.space).Replace(ctx, owner, id, data)
	})
}

func (l *logOfNodes) Remove(ctx context.Context, owner string, ids ...uint64) (*storage.Pending, error) {
	return l.lazily(ctx, owner, func(e *engine) (*storage.Pending, error) {
		return e.Log(l.space).Remove(ctx, owner, ids...)
	})
}

func (l *logOfNodes) Trim(ctx context.Context, owner string, before uint64) (*storage.Pending, error) {
	return l.lazily(ctx, owner, func(e *engine) (*storage.Pending, error) {
		return e.Log(l.space).Trim(ctx, owner, before)
	})
}

func (l *logOfNodes) Size(ctx context.Context, owner string) (records int, bytes int64, err error) {
	err = l.read(ctx, owner, func(e *engine) error { records, bytes, err = e.Log(l.space).Size(ctx, owner); return err })
	return records, bytes, err
}

func (l *logOfNodes) DeleteOwner(ctx context.Context, owner string) (*storage.Pending, error) {
	return l.write(ctx, owner, func(e *engine) (*storage.Pending, error) { return e.Log(l.space).DeleteOwner(ctx, owner) })
}

func (l *logOfNodes) Owners(ctx context.Context, f func(string) bool) error {
	for _, e := range l.engines { // it tells what has arrived
		if err := e.flush(ctx, false); err != nil {
			l.Error(err)
		}
	}
	return l.any().Log(l.space).Owners(ctx, f)
}

type accountsOfNodes struct {
	*several
	hosted bool
}

func (a *accountsOfNodes) accounts() storage.Accounts {
	if a.hosted {
		return a.any().Accounts()
	}
	return a.any().APIAccounts()
}

func (a *accountsOfNodes) Get(ctx context.Context, user string) (storage.Account, error) {
	return a.accounts().Get(ctx, user)
}

func (a *accountsOfNodes) Create(ctx context.Context, account storage.Account) (*storage.Pending, error) {
	return a.accounts().Create(ctx, account)
}

func (a *accountsOfNodes) Modify(
	ctx context.Context, user string, f func(*storage.Account) error,
) (*storage.Pending, error) {
	return a.accounts().Modify(ctx, user, f)
}

func (a *accountsOfNodes) Delete(ctx context.Context, user string) (*storage.Pending, error) {
	return a.accounts().Delete(ctx, user)
}

func (a *accountsOfNodes) List(ctx context.Context, domain, after string, limit int) ([]storage.Account, error) {
	return a.accounts().List(ctx, domain, after, limit)
}

// The rules of towns. Domains are shared in all.
var (
	domains = []string{"x", "api", "a.example", "b.example", "montague.example", "例え.jp", "domains"}

	allHomed  = func(owner string) bool { return !slices.Contains(domains, owner) }
	allShared = func(string) bool { return false }
	half      = func(owner string) bool { return allHomed(owner) && sum(owner)%2 == 0 }
	otherHalf = func(owner string) bool { return allHomed(owner) && sum(owner)%2 != 0 }
)

// elsewhereFails says whether an error is that of an owner which is not at home here.
func elsewhereFails(err error) bool {
	return errors.Is(err, storage.ErrElsewhere) && errors.Is(err, storage.ErrUnavailable)
}
