package push

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

const (
	shards = 64
	// cached bounds the users in memory, for each shard, but for those in use. Most have no registration, and are known
	// to have none: that is asked for every message.
	cached = 1024
)

// A registration is a node of a push service that one client of the user wants to be woken through.
type registration struct {
	service jid.JID
	node    string
	form    []byte  // publish-options, as XML
	client  jid.JID // full
	since   time.Time

	// What goes on, guarded by the user's mu.
	ended    bool
	count    int    // messages since the client was last seen connected
	sender   string // of the last
	body     string // of the last
	id       string // of the request that was sent last
	next     time.Time
	hurried  time.Time   // when calls began to be counted
	calls    int         // since then
	timer    *time.Timer // nil: nothing to be told
	failures int         // in a row
	// detached is the session of the client that is known to have lost its connection.
	detached *router.Session
}

// user is an account, with or without registrations.
type user struct {
	bare jid.JID
	use  int  // guarded by the shard: those that hold or wait for mu, and timers
	used bool // guarded by the shard: since an eviction looked at it
	// nobody says that the user was read and has no registration, as whoever had mu last has left it.
	nobody atomic.Bool

	mu     sync.Mutex // guards the rest
	loaded bool
	list   []*registration
}

type users struct {
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu    sync.Mutex // guards users; taken before and after a user's mu, for a moment
	users map[string]*user
}

func (us *users) init() {
	us.seed = maphash.MakeSeed()
	for i := range us.shards {
		us.shards[i].users = map[string]*user{}
	}
}

func (us *users) shard(bare string) *shard {
	return &us.shards[maphash.String(us.seed, bare)%shards]
}

// enter returns a user for as long as it takes, without locking it.
func (us *users) enter(bare jid.JID) *user {
	name := bare.String()
	sh := us.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u := sh.users[name]
	if u == nil {
		if len(sh.users) >= cached {
			sh.evict()
		}
		u = &user{bare: bare}
		sh.users[name] = u
	}
	u.use++
	u.used = true
	return u
}

func (us *users) leave(u *user) {
	sh := us.shard(u.bare.String())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u.use--
}

// nobody says whether a user is known to have no registration: that is asked for every message.
func (us *users) nobody(name string) bool {
	sh := us.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u := sh.users[name]
	if u == nil || !u.nobody.Load() {
		return false
	}
	u.used = true
	return true
}

// evict forgets a user that was not asked for lately. Two rounds are enough: the first takes away the marks.
func (sh *shard) evict() {
	for range 2 {
		for name, u := range sh.users {
			if u.use > 0 {
				continue
			}
			if !u.used {
				delete(sh.users, name)
				return
			}
			u.used = false
		}
	}
}

// moved forgets users. Who has one goes on with it.
func (us *users) moved(gone func(owner string) bool) {
	for i := range us.shards {
		sh := &us.shards[i]
		sh.mu.Lock()
		maps.DeleteFunc(sh.users, func(name string, _ *user) bool { return gone(name) })
		sh.mu.Unlock()
	}
}

// lock returns a user, read from storage.
func (p *Push) lock(bare jid.JID) (*user, error) {
	u := p.users.enter(bare)
	u.mu.Lock()
	if u.loaded {
		return u, nil
	}
	entries, _, err := p.Store.List(context.Background(), bare.String())
	if err != nil {
		p.unlock(u)
		return nil, fmt.Errorf("load push registrations of %s: %w", bare, err)
	}
	u.list = nil
	for i := range entries {
		r, err := readRegistration(&entries[i])
		if err != nil { // the others still serve
			p.Log.Error("push registration is skipped", "user", bare, "error", err)
			continue
		}
		u.list = append(u.list, r)
	}
	u.loaded = true
	return u, nil
}

func (p *Push) unlock(u *user) {
	u.nobody.Store(u.loaded && len(u.list) == 0)
	u.mu.Unlock()
	p.users.leave(u)
}

func (u *user) find(service jid.JID, node string) *registration {
	if i := slices.IndexFunc(u.list,
		func(r *registration) bool { return r.service == service && r.node == node }); i >= 0 {
		return u.list[i]
	}
	return nil
}

// oldest are the n that were enabled the longest ago.
func (u *user) oldest(n int) []*registration {
	byAge := slices.Clone(u.list)
	slices.SortStableFunc(byAge, func(a, b *registration) int { return a.since.Compare(b.since) })
	return byAge[:min(n, len(byAge))]
}

// change writes. The caller holds the user.
func (p *Push) change(u *user, changes []storage.Change) (*storage.Pending, error) {
	_, written, err := p.Store.Update(context.Background(), u.bare.String(), storage.AnyVersion, changes...)
	if err != nil {
		return nil, fmt.Errorf("store push registrations of %s: %w", u.bare, err)
	}
	return written, nil
}

// drop ends registrations for good. Of none, the Pending is that of those that there are. The caller holds the user.
func (p *Push) drop(u *user, gone ...*registration) (*storage.Pending, error) {
	var changes []storage.Change
	for _, r := range gone {
		changes = append(changes, storage.Change{Key: r.key(), Delete: true})
	}
	written, err := p.change(u, changes)
	if err != nil {
		return nil, err
	}
	for _, r := range gone {
		p.end(u, r)
	}
	return written, nil
}

// end takes a registration out of memory; a timer that runs will find it ended. The caller holds the user.
func (p *Push) end(u *user, r *registration) {
	r.ended = true
	u.list = slices.DeleteFunc(u.list, func(o *registration) bool { return o == r })
	p.disarm(u, r)
}

// life ends what runs in the background.
type life struct {
	mu      sync.Mutex // guards closed; before running is raised
	closed  bool
	running sync.WaitGroup // timers and what they began
}

// arm has the registration's service told when it may be. The caller holds the user.
func (p *Push) arm(u *user, r *registration) {
	p.life.mu.Lock()
	defer p.life.mu.Unlock()
	if p.life.closed || r.timer != nil {
		return
	}
	p.life.running.Add(1)
	p.users.enter(u.bare) // u itself, since the caller uses it
	r.timer = time.AfterFunc(max(0, time.Until(r.next)), func() {
		defer p.life.running.Done()
		p.tell(u, r)
		p.users.leave(u)
	})
}

// disarm stops that. The caller holds the user.
func (p *Push) disarm(u *user, r *registration) {
	if r.timer != nil && r.timer.Stop() {
		p.users.leave(u)
		p.life.running.Done()
	}
	r.timer = nil
}

// Close ends what runs in the background and returns when it has ended.
func (p *Push) Close() {
	p.life.mu.Lock()
	p.life.closed = true
	p.life.mu.Unlock()
	for i := range p.users.shards {
		sh := &p.users.shards[i]
		sh.mu.Lock()
		var busy []*user
		for _, u := range sh.users {
			if u.use > 0 {
				u.use++
				busy = append(busy, u)
			}
		}
		sh.mu.Unlock()
		for _, u := range busy {
			u.mu.Lock()
			for _, r := range u.list {
				p.disarm(u, r)
			}
			p.unlock(u)
		}
	}
	p.life.running.Wait()
}
