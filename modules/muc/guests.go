package muc

import (
	"slices"
	"sync"
	"time"

	"jackdaw/xmpp/jid"
)

// guests knows who is where, and how much each says.
type guests struct {
	mu sync.Mutex // guards the rest
	by map[string]*guest
	in map[jid.JID][]*room // by full address
}

// A guest is a user who is in some room.
type guest struct {
	rooms   map[*room]int // with how many clients
	credit  float64       // messages that may be sent at once
	counted time.Time     // when that was worked out
}

// burst is for how many seconds a user may have saved messages up.
const burst = 3

func (g *guests) enter(full jid.JID, r *room) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Contains(g.in[full], r) {
		g.in[full] = append(g.in[full], r)
	}
	name := full.Bare().String()
	u := g.by[name]
	if u == nil {
		u = &guest{rooms: map[*room]int{}}
		g.by[name] = u
	}
	u.rooms[r]++
}

func (g *guests) leave(full jid.JID, r *room) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if left := slices.DeleteFunc(g.in[full], func(x *room) bool { return x == r }); len(left) == 0 {
		delete(g.in, full)
	} else {
		g.in[full] = left
	}
	name := full.Bare().String()
	u := g.by[name]
	if u == nil {
		return
	}
	if u.rooms[r]--; u.rooms[r] <= 0 {
		delete(u.rooms, r)
	}
	if len(u.rooms) == 0 {
		delete(g.by, name)
	}
}

// rooms are those that a client is in.
func (g *guests) rooms(full jid.JID) []*room {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.in[full])
}

// others counts the rooms that a user is in beside this one.
func (g *guests) others(user jid.JID, r *room) int {
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

// may says whether a user who is in a room may send a message now, at so many per second, and counts it.
func (g *guests) may(user string, rate int, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	u := g.by[user]
	if u == nil {
		return true
	}
	most := float64(burst * rate)
	if u.counted.IsZero() {
		u.credit = most
	} else {
		u.credit = min(most, u.credit+now.Sub(u.counted).Seconds()*float64(rate))
	}
	u.counted = now
	if u.credit < 1 {
		return false
	}
	u.credit--
	return true
}
