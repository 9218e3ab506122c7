package strangers

import (
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	minute = time.Minute
	// toldEvery is how often the administrators hear of one account.
	toldEvery = time.Hour
)

// recipients are those that accounts have written to lately.
type recipients struct {
	seed maphash.Seed
	// near has some of what accounts say, at the place of sender and recipient. It is read without a lock, and written
	// with mu held.
	near [nearby]atomic.Pointer[written]

	mu       sync.Mutex // guards the rest
	accounts map[jid.JID]*sender
	swept    time.Time
}

// nearby is how many pairs are found without a lock.
const nearby = 512

// written says when an account wrote to somebody first. Immutable.
type written struct {
	user, to jid.JID
	since    time.Time
}

// A sender is an account that has written within the last minute, or of which the administrators have heard lately.
type sender struct {
	to   map[jid.JID]time.Time // when they were written to first; at most as many as the bound
	told time.Time
}

// bound refuses a message to one recipient too many.
func (s *Strangers) bound(e *router.Envelope, user, to jid.JID) {
	limit := s.Recipients()
	if limit <= 0 {
		return
	}
	now := time.Now()
	if !s.recipients.full(user, to, limit, now) || s.Exempt(user) {
		return
	}
	e.Refuse(xmpp.ResourceConstraint("you have written to too many different addresses within a minute, " +
		"try again later").WithType(xmpp.ErrorWait))
	if s.recipients.tell(user, now) {
		s.Log.Warn("an account writes to too many addresses", "user", user, "a minute", limit)
		s.Tell(user.Domain(), user.String(),
			fmt.Sprintf("%s writes to more than %d different addresses a minute. Further ones are refused.", user, limit))
	}
}

// full notes a recipient, or says that there are too many.
func (r *recipients) full(user, to jid.JID, limit int, now time.Time) bool {
	near := r.place(user, to)
	if w := near.Load(); w != nil && w.user == user && w.to == to && now.Sub(w.since) < minute {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now)
	a := r.accounts[user]
	if a == nil {
		a = &sender{to: map[jid.JID]time.Time{}}
		r.accounts[user] = a
	}
	if since, ok := a.to[to]; ok && now.Sub(since) < minute {
		near.Store(&written{user, to, since})
		return false
	}
	if len(a.to) >= limit {
		a.expire(now)
	}
	if len(a.to) >= limit {
		return true
	}
	a.to[to] = now
	near.Store(&written{user, to, now})
	return false
}

func (r *recipients) place(user, to jid.JID) *atomic.Pointer[written] {
	h := maphash.String(r.seed, user.String()) + 3*maphash.String(r.seed, to.String())
	return &r.near[h%nearby]
}

func (a *sender) expire(now time.Time) {
	for to, since := range a.to {
		if now.Sub(since) >= minute {
			delete(a.to, to)
		}
	}
}

// sweep forgets accounts that write no more. The caller holds mu.
func (r *recipients) sweep(now time.Time) {
	if now.Sub(r.swept) < minute {
		return
	}
	r.swept = now
	for user, a := range r.accounts {
		if a.expire(now); len(a.to) == 0 && now.Sub(a.told) >= toldEvery {
			delete(r.accounts, user)
		}
	}
}

// tell says whether the administrators are to hear of an account now.
func (r *recipients) tell(user jid.JID, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.accounts[user]
	if a == nil || now.Sub(a.told) < toldEvery {
		return false
	}
	a.told = now
	return true
}

func (r *recipients) forget(user jid.JID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.accounts, user)
	for i := range r.near {
		if w := r.near[i].Load(); w != nil && w.user == user {
			r.near[i].Store(nil)
		}
	}
}
