package offline

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
)

// Where there are several nodes, each has a mark of its own for the accounts that are at home there (settled.go). One
// that has died leaves its mark behind: whoever takes its accounts over looks their archives through from there, and
// notes that in a mark of its own first, so that nothing is forgotten if it dies as well. When whoever has accounts now
// has noted what was left in them, the marks of the dead go.

// Gained says that accounts are at home here from now on whose last home has not given them, before anything is routed
// to them. alive says of a node whether it is there; from, of one that has noted a fence (Noted), whether it was the
// last home and has noted what others had left there: then only what itself has left is looked for. If it is not known
// what others have left, the accounts must not be served. They may be given to others when Whole says so.
func (o *Offline) Gained(ctx context.Context, is func(owner string) bool, alive func(node string) bool,
	from func(owner, node string, noted uint64) bool) error {
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
	dead, err := s.dead(ctx, s.node, alive)
	if err != nil {
		return err
	}
	if len(dead) == 0 {
		return nil
	}
	noted, err := s.allNoted(ctx)
	if err != nil {
		return err
	}
	// Nothing new is within the spans, whatever clock the dead one had: an account is looked through before anything new
	// comes into its archive (arriving).
	pieces := slices.Clip(s.left.Load().list())
	for key, spans := range dead {
		pieces = append(pieces, piece{few(spans), func(owner string) bool {
			if !is(owner) {
				return false
			}
			for other := range dead {
				if name := nodeOf(other); other != key && from(owner, name, noted[name]) {
					return false
				}
			}
			return true
		}})
	}
	s.unread.Store(false)
	m.search(&left{pieces})
	if err := s.write(ctx, min(s.low.Load(), storage.IDAt(time.Now()))); err != nil {
		return err
	}
	s.idle = 0
	return nil
}

// Joined says that this is the node of that name from now on, which it was not before: it has no accounts yet.
func (o *Offline) Joined(ctx context.Context, node string) error {
	s := &o.m.settled
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = false
	if s.node == node || o.m.archive == nil {
		return nil
	}
	s.be(node)
	s.idle, s.noted = 0, 0
	s.low.Store(all)
	s.left.Store(nil)
	return o.m.load(ctx)
}

// Ended says that this is no node any more, before its accounts are forgotten. What is in flight cannot be copied then:
// whoever takes the accounts over finds it in their archives, from the mark on. So the mark stays where it is.
func (o *Offline) Ended() {
	s := &o.m.settled
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
}

// lastWords is how long a node may have gone on after it has moved its mark for the last time, which it does all the
// time. What came after that is not looked for: it came to the next home.
const lastWords = 10 * time.Second

// dead are the marks of those who are not there any more: from where each one's accounts must be looked through.
func (s *settled) dead(ctx context.Context, self string, alive func(node string) bool) (map[string][]span, error) {
	entries, _, err := s.state.List(ctx, settledOwner)
	if err != nil {
		return nil, err
	}
	out := map[string][]span{}
	for _, e := range entries {
		if node := nodeOf(e.Key); node == self || alive(node) {
			continue
		}
		low, high, spans, err := readSettled(e.Value)
		if err != nil {
			return nil, err
		}
		// As top has it.
		one := span{low, high + uint64(lastWords/time.Microsecond)}
		if nodeOf(e.Key) == "" { // of a server that was alone, which does not move its mark while it is idle
			one.before = all
		}
		out[e.Key] = append(spans, one)
	}
	return out, nil
}

// notedOwner has the fences of Noted, by the names of nodes. It is no account either.
const notedOwner = "noted"

// Noted says that what others have left in the accounts that are at home here under this fence and lower ones has been
// seen to by Gained, or by whoever has given them.
func (o *Offline) Noted(ctx context.Context, fence uint64) error {
	s := &o.m.settled
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.m.archive == nil || s.node == "" || fence == s.noted {
		return nil
	}
	_, p, err := s.state.Update(ctx, notedOwner, storage.AnyVersion,
		storage.Change{Key: s.node, Value: binary.AppendUvarint(nil, fence)})
	if err == nil {
		err = p.Wait(ctx)
	}
	if err == nil {
		s.noted = fence
	}
	return err
}

// allNoted are the fences of Noted, by the names of nodes.
func (s *settled) allNoted(ctx context.Context) (map[string]uint64, error) {
	entries, _, err := s.state.List(ctx, notedOwner)
	if err != nil {
		return nil, err
	}
	noted := map[string]uint64{}
	for _, e := range entries {
		noted[e.Key], _ = binary.Uvarint(e.Value) // 0 is none
	}
	return noted, nil
}

// Bury removes the marks of nodes that are not there any more, if enough has been noted: the home that each account has
// now must have noted the fence under which it has it. alive is asked after the marks were read, and has to know all
// who had joined by then. It says whether none is left.
func (o *Offline) Bury(ctx context.Context, alive func(node string) bool,
	enough func(noted map[string]uint64) bool) (done bool, err error) {
	s := &o.m.settled
	if o.m.archive == nil {
		return true, nil
	}
	s.mu.Lock()
	self := s.node
	s.mu.Unlock()
	dead, err := s.dead(ctx, self, alive) // first: who dies from now on is not buried
	if err != nil || len(dead) == 0 {
		return err == nil, err
	}
	noted, err := s.allNoted(ctx)
	if err != nil || !enough(noted) {
		return false, err
	}
	var gone, forget []storage.Change
	for name := range noted {
		if !alive(name) {
			forget = append(forget, storage.Change{Key: name, Delete: true})
		}
	}
	for key := range dead {
		gone = append(gone, storage.Change{Key: key, Delete: true})
	}
	for owner, changes := range map[string][]storage.Change{settledOwner: gone, notedOwner: forget} {
		if len(changes) == 0 {
			continue
		}
		_, p, err := s.state.Update(ctx, owner, storage.AnyVersion, changes...)
		if err == nil {
			err = p.Wait(ctx)
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// bury notes at the end that all before an id is settled. Of a node nothing stays, unless something has no copy.
func (m *module) bury(ctx context.Context, s *settled, first uint64) error {
	if s.node == "" || s.pending.Load() || first < all {
		return s.write(ctx, min(storage.IDAt(time.Now()), first-1))
	}
	_, p, err := s.state.Update(ctx, settledOwner, storage.AnyVersion, storage.Change{Key: s.key(), Delete: true})
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

// arriving looks an account through before anything new comes into its archive.
func (m *module) arriving(e *router.Envelope) {
	if !m.settled.pending.Load() || !m.settled.several.Load() {
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

// Whole says whether all that others have left, and that can be read, is in the log.
func (o *Offline) Whole() bool {
	s := &o.m.settled
	return o.m.archive == nil || !s.pending.Load() || s.unread.Load()
}

// moved puts into the log what is in flight of accounts that are at home elsewhere from now on, and forgets them.
func (m *module) moved(gone func(owner string) bool) {
	m.settled.forget(gone)
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
