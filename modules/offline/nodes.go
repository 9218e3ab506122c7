package offline

import (
	"context"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
)

// Where there are several nodes, each has a mark of its own for the accounts that are at home there (settled.go). One
// that has died leaves its mark behind: whoever takes its accounts over looks their archives through from there, and
// notes that in a mark of its own first, so that nothing is forgotten if it dies as well. When all accounts of the dead
// one have another home, its mark goes.

// Gained says that accounts are at home here from now on, before anything is routed to them. alive says of a node
// whether it is there. If it is not known what others have left, the accounts must not be served.
func (o *Offline) Gained(ctx context.Context, is func(owner string) bool, alive func(node string) bool) error {
	m := o.m
	if m.archive == nil {
		return nil
	}
	s := &m.settled
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.low.Load() == all {
		if err := m.load(ctx); err != nil {
			return err
		}
	}
	dead, err := s.dead(ctx, alive)
	if err != nil {
		return err
	}
	one := span{after: all}
	for _, s := range dead {
		one = span{min(one.after, s.after), max(one.before, s.before)}
	}
	if len(dead) == 0 {
		return nil
	}
	// Nothing new is within it, whatever clock the dead one had: an account is looked through before anything new comes
	// into its archive (arriving).
	l := &left{spans: []span{one}, of: is}
	if old := s.left.Load(); old != nil {
		l.spans = few(append(append([]span(nil), old.spans...), l.spans...))
		if was := old.of; was == nil {
			l.of = nil
		} else {
			l.of = func(owner string) bool { return is(owner) || was(owner) }
		}
	}
	s.left.Store(l)
	s.pending.Store(true)
	if err := s.write(ctx, min(s.low.Load(), storage.IDAt(time.Now()))); err != nil {
		return err
	}
	s.idle = 0
	m.unrecovered()
	return nil
}

// Joined says that this is the node of that name from now on, which it was not before: it has no accounts yet.
func (o *Offline) Joined(ctx context.Context, node string) error {
	s := &o.m.settled
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node == node || o.m.archive == nil {
		return nil
	}
	s.node, s.idle = node, 0
	s.low.Store(all)
	s.left.Store(nil)
	return o.m.load(ctx)
}

// lastWords is how long a node may have gone on after it has moved its mark for the last time, which it does all the
// time. What came after that is not looked for: it came to the next home.
const lastWords = 10 * time.Second

// dead are the marks of those who are not there any more: from where each one's accounts must be looked through.
func (s *settled) dead(ctx context.Context, alive func(node string) bool) (map[string]span, error) {
	entries, _, err := s.state.List(ctx, settledOwner)
	if err != nil {
		return nil, err
	}
	out := map[string]span{}
	for _, e := range entries {
		if node := nodeOf(e.Key); node == s.node || alive(node) {
			continue
		}
		low, high, spans, err := readSettled(e.Value)
		if err != nil {
			return nil, err
		}
		one := span{low, high + uint64(lastWords/time.Microsecond)}
		if nodeOf(e.Key) == "" { // of a server that was alone, which does not move its mark while it is idle
			one.before = all
		}
		for _, s := range spans {
			one = span{min(one.after, s.after), max(one.before, s.before)}
		}
		out[e.Key] = one
	}
	return out, nil
}

// Bury removes the marks of nodes that are not there any more. All their accounts must have been gained by others.
func (o *Offline) Bury(ctx context.Context, alive func(node string) bool) error {
	s := &o.m.settled
	if o.m.archive == nil {
		return nil
	}
	dead, err := s.dead(ctx, alive)
	if err != nil || len(dead) == 0 {
		return err
	}
	var gone []storage.Change
	for key := range dead {
		gone = append(gone, storage.Change{Key: key, Delete: true})
	}
	_, p, err := s.state.Update(ctx, settledOwner, storage.AnyVersion, gone...)
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

// bury notes at the end that all is settled. Of a node nothing stays, unless something could not be copied.
func (m *module) bury(ctx context.Context, s *settled) error {
	if s.node == "" || s.pending.Load() || m.loose() {
		return s.write(ctx, storage.IDAt(time.Now()))
	}
	_, p, err := s.state.Update(ctx, settledOwner, storage.AnyVersion, storage.Change{Key: s.key(), Delete: true})
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

// loose says whether something is in flight that only an archive has.
func (m *module) loose() bool {
	for i := range m.shards {
		sh := &m.shards[i]
		sh.mu.Lock()
		for _, o := range sh.owners {
			if o.loose > 0 {
				sh.mu.Unlock()
				return true
			}
		}
		sh.mu.Unlock()
	}
	return false
}

// arriving looks an account through before anything new comes into its archive.
func (m *module) arriving(e *router.Envelope) {
	if !m.settled.pending.Load() || m.settled.node == "" {
		return
	}
	name := ownerOf(e).String()
	sh := m.shard(name)
	sh.mu.Lock()
	err := m.recover(sh, name)
	sh.mu.Unlock()
	if err != nil && e.Durable {
		e.Refuse(router.Unavailable())
	}
}

// moved puts into the log what is in flight of accounts that are at home elsewhere from now on, and forgets them.
func (m *module) moved(gone func(owner string) bool) {
	for i := range m.shards {
		sh := &m.shards[i]
		sh.mu.Lock()
		for name, o := range sh.owners {
			if gone(name) {
				m.warnLoose(name, m.copyLoose(name, o, all, nil))
				delete(sh.owners, name)
			}
		}
		for name := range sh.recovered {
			if gone(name) {
				delete(sh.recovered, name)
			}
		}
		sh.mu.Unlock()
	}
}
