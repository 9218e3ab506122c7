package muc

import (
	"slices"
	"sync"
	"time"

	"jackdaw/xmpp/jid"
)

// guests knows which users are in which rooms, and how much each says.
type guests struct {
	sharer func(jid.JID) string // router.Sharer

	mu sync.Mutex // guards the rest
	by map[string]*guest
	in map[jid.JID][]*hosted // by full address
}

// A guest is a user who is in some room, or was a moment ago.
type guest struct {
	rooms map[*hosted]int // with how many clients
	talk  bucket          // messages
	moves bucket          // entering and presence
	seeks bucket          // searches
}

// A bucket holds what somebody may do at once. The zero value is full.
type bucket struct {
	credit  float64
	counted time.Time // when that was worked out
}

// take says whether one more may be done, at so many per second and no more than most at once, and counts it.
func (b *bucket) take(rate, most int, now time.Time) bool {
	if b.counted.IsZero() {
		b.credit = float64(most)
	} else {
		b.credit = min(float64(most), b.credit+now.Sub(b.counted).Seconds()*float64(rate))
	}
	b.counted = now
	if b.credit < 1 {
		return false
	}
	b.credit--
	return true
}

// burst is for how many seconds a user may have saved messages up.
const burst = 3

// manyGuests is how many users are told apart as long as they are in no room. Beyond, the users of a domain are one.
const manyGuests = 10000

// passer is guest for a user who may be in no room: what is remembered of such users does not grow without end.
func (g *guests) passer(user string) *guest {
	if g.by[user] == nil && len(g.by) >= manyGuests {
		if j, err := jid.Parse(user); err == nil {
			user = g.sharer(j)
		}
	}
	return g.guest(user)
}

// guest returns what is known of a user. The caller holds mu.
func (g *guests) guest(user string) *guest {
	u := g.by[user]
	if u == nil {
		u = &guest{rooms: map[*hosted]int{}}
		g.by[user] = u
	}
	return u
}

func (g *guests) enter(full jid.JID, r *hosted) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Contains(g.in[full], r) {
		g.in[full] = append(g.in[full], r)
	}
	g.guest(full.Bare().String()).rooms[r]++
}

func (g *guests) leave(full jid.JID, r *hosted) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if left := slices.DeleteFunc(g.in[full], func(x *hosted) bool { return x == r }); len(left) == 0 {
		delete(g.in, full)
	} else {
		g.in[full] = left
	}
	u := g.guest(full.Bare().String())
	if u.rooms[r]--; u.rooms[r] <= 0 {
		delete(u.rooms, r)
	}
}

// forget lets go of users who have been in no room for a while.
func (g *guests) forget(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, u := range g.by {
		if len(u.rooms) == 0 && now.Sub(u.talk.counted) > idle && now.Sub(u.moves.counted) > idle &&
			now.Sub(u.seeks.counted) > idle {
			delete(g.by, name)
		}
	}
}

// rooms are the ones that a client is in.
func (g *guests) rooms(full jid.JID) []*hosted {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.in[full])
}

// others counts the rooms that a user is in beside this one.
func (g *guests) others(user jid.JID, r *hosted) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	u := g.by[user.Bare().String()]
	if u == nil {
		return 0
	}
	n := len(u.rooms)
	if u.rooms[r] > 0 {
		n--
	}
	return n
}

// mayTalk says whether a user may send a message now, and counts it.
func (g *guests) mayTalk(user string, l Limits, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.passer(user).talk.take(l.MessageRate, burst*l.MessageRate, now)
}

// maySearch says whether a user may search the rooms now, and counts it.
func (g *guests) maySearch(user string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.passer(user).seeks.take(searchRate, searchesSaved, now)
}

// mayMove says whether a user may enter a room or show another presence now, and counts it: in all rooms at once, as
// clients do, but not without end, since all others are told.
func (g *guests) mayMove(user string, l Limits, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.passer(user).moves.take(l.MessageRate, 2*l.RoomsPerUser+burst*l.MessageRate, now)
}
