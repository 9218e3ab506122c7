package router

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"jackdaw/xmpp/jid"
)

const shards = 64

// table answers one question: where are the sessions of this account? It is sharded, so that accounts do not wait for
// each other.
type table struct {
	seed   maphash.Seed
	shards [shards]shard
	owners [shards]sync.Mutex // see Router.WithOwner
	count  atomic.Int64
}

type shard struct {
	mu    sync.RWMutex // guards users
	users map[string]*user
	_     [32]byte // no two shards in one cache line
}

// user is an account that has sessions, or whose stored messages are on their way.
type user struct {
	sessions atomic.Pointer[[]*Session] // replaced under the shard's lock, read without
	// hold counts the reasons why messages must queue behind what is in storage.
	hold atomic.Int32
	// The shard's mu guards the rest.
	replaced []*Session    // by others with their addresses, until they have given back what was left
	bound    int           // sessions made and not ended to the last step, those included that another has replaced
	none     chan struct{} // closed when bound falls to 0; nil: nobody waits for that
}

var noSessions []*Session

func (u *user) list() []*Session {
	if u == nil {
		return nil
	}
	return *u.sessions.Load()
}

func (u *user) held() bool { return u != nil && u.hold.Load() > 0 }

func newTable() *table {
	t := &table{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].users = map[string]*user{}
	}
	return t
}

func (t *table) index(bare string) int { return int(maphash.String(t.seed, bare) % shards) }

func (t *table) user(bare string) *user {
	s := &t.shards[t.index(bare)]
	s.mu.RLock()
	u := s.users[bare]
	s.mu.RUnlock()
	return u
}

func (t *table) session(full jid.JID) *Session {
	for _, s := range t.user(full.Bare().String()).list() {
		if s.addr == full {
			return s
		}
	}
	return nil
}

// add puts the session in, in place of one with the same address, unless the account has max others (0: no bound). In
// place of another the account is held until remove, and the release of what that returns: what the other was given and
// has not taken goes before what comes from now on.
func (t *table) add(s *Session, max int) (old *Session, ok bool) {
	bare := s.bare.String()
	sh := &t.shards[t.index(bare)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u := sh.users[bare]
	if u == nil {
		u = &user{}
		u.sessions.Store(&noSessions)
		sh.users[bare] = u
	}
	list := slices.Clone(u.list())
	if i := slices.IndexFunc(list, func(o *Session) bool { return o.addr == s.addr }); i >= 0 {
		old = list[i]
		list = slices.Delete(list, i, i+1)
		u.replaced = append(u.replaced, old)
		u.hold.Add(1)
	} else {
		if max > 0 && len(list) >= max {
			return nil, false
		}
		t.count.Add(1)
	}
	s.u = u
	u.bound++
	list = append(list, s)
	u.sessions.Store(&list)
	return old, true
}

// remove takes the session out, holds the account's messages back, and returns what to release.
func (t *table) remove(s *Session) (held *user) {
	bare := s.bare.String()
	sh := &t.shards[t.index(bare)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	held = s.u
	list := s.u.list()
	i := slices.Index(list, s)
	if i < 0 { // another session has its address by now, and add holds the account
		held.replaced = slices.DeleteFunc(held.replaced, func(o *Session) bool { return o == s })
		return held
	}
	held.hold.Add(1)
	list = slices.Delete(slices.Clone(list), i, i+1)
	s.u.sessions.Store(&list)
	t.count.Add(-1)
	return held
}

// unended are the sessions of an account that may still give something back, those first that others have replaced.
func (t *table) unended(u *user, bare string) []*Session {
	if u == nil {
		return nil
	}
	sh := &t.shards[t.index(bare)]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if len(u.replaced) == 0 {
		return u.list()
	}
	return append(slices.Clone(u.replaced), u.list()...)
}

// release ends one hold.
func (t *table) release(u *user, bare string) {
	sh := &t.shards[t.index(bare)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u.hold.Add(-1)
	t.forget(sh, bare, u)
}

// left says that the end of a session has been dealt with to the last step.
func (t *table) left(s *Session) {
	bare := s.bare.String()
	sh := &t.shards[t.index(bare)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s.u.bound--; s.u.bound == 0 && s.u.none != nil {
		close(s.u.none)
		s.u.none = nil
	}
	t.forget(sh, bare, s.u)
}

// whenNone is closed when the account has no session left, or nil if it has none.
func (t *table) whenNone(bare string) <-chan struct{} {
	sh := &t.shards[t.index(bare)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u := sh.users[bare]
	if u == nil || u.bound == 0 {
		return nil
	}
	if u.none == nil {
		u.none = make(chan struct{})
	}
	return u.none
}

func (t *table) forget(sh *shard, bare string, u *user) {
	if u.bound == 0 && u.hold.Load() == 0 && sh.users[bare] == u {
		delete(sh.users, bare)
	}
}

// each calls f with every session until it returns false.
func (t *table) each(f func(*Session) bool) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.RLock()
		all := make([]*Session, 0, len(sh.users))
		for _, u := range sh.users {
			all = append(all, u.list()...)
		}
		sh.mu.RUnlock()
		for _, s := range all {
			if !f(s) {
				return
			}
		}
	}
}
