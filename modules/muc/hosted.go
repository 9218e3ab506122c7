package muc

import (
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// phase is where a room is in its life.
type phase uint8

const (
	fresh phase = iota // in the table, not yet read from storage
	open
	gone // out of the table; a room of that name is another one
)

// A hosted room is one in memory: the room itself, and what the service has to know of it beside.
//
// What outlives the occupants, the first part of room.Room, changes with both locks held, and is read with either. The
// second part, the occupants, needs mu.
type hosted struct {
	*room.Room
	m     *Rooms
	ready atomic.Bool // the state is no longer fresh

	// order is taken before mu by whoever changes what is stored, or whose message gets a place in the archive. It guards,
	// with mu, also the next two.
	order sync.Mutex
	state phase
	may   int64 // bytes of the archive, for now; 0: not reckoned yet

	mu        sync.Mutex // guards the rest
	questions questions
	used      time.Time // when somebody was last in it
}

// find returns the room of an address, loaded, and made if there is none.
func (m *Rooms) find(addr jid.JID, make newRoom) (*hosted, *xmpp.Error) {
	for {
		m.mu.Lock()
		r := m.rooms[addr]
		if r == nil {
			r = &hosted{m: m, Room: room.New(addr, &m.server)}
			m.rooms[addr] = r
		}
		m.mu.Unlock()
		if r.ready.Load() {
			return r, nil
		}
		r.order.Lock()
		switch r.state {
		case gone:
			r.order.Unlock()
			continue
		case fresh:
			if bad := r.open(make); bad != nil {
				r.mu.Lock()
				r.state = gone
				r.mu.Unlock()
				m.forget(r)
				r.order.Unlock()
				return nil, bad
			}
			r.mu.Lock()
			r.state = open
			r.mu.Unlock()
			r.ready.Store(true)
		}
		r.order.Unlock()
		return r, nil
	}
}

// forget takes a room that is gone out of the table.
func (m *Rooms) forget(r *hosted) {
	m.memory.forget(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rooms[r.Addr] == r {
		delete(m.rooms, r.Addr)
	}
}

// inMemory is the room of an address if it is loaded, else nil.
func (m *Rooms) inMemory(addr jid.JID) *hosted {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.rooms[addr]; r != nil && r.ready.Load() {
		return r
	}
	return nil
}

// loaded are the rooms in memory.
func (m *Rooms) loaded() []*hosted {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*hosted, 0, len(m.rooms))
	for _, r := range m.rooms {
		if r.ready.Load() {
			all = append(all, r)
		}
	}
	return all
}

// visited calls f with a lock held, unless the room is gone. A fault in f does not leave the room locked.
func (r *hosted) visited(lock *sync.Mutex, f func(r *hosted)) bool {
	lock.Lock()
	defer lock.Unlock()
	if r.state == gone {
		return false
	}
	f(r)
	return true
}

// with calls f with the state locked, if the room is there.
func (r *hosted) with(f func()) { r.visited(&r.mu, func(*hosted) { f() }) }

// awaitEnd returns when nothing is left of a room that is gone.
func (r *hosted) awaitEnd() {
	r.order.Lock()
	defer r.order.Unlock()
}

// endIfOver destroys a room that nobody is in, if it is not to stay, or has not been configured (§10.1.1).
func (r *hosted) endIfOver() {
	r.mu.Lock()
	over := r.state == open && r.Over()
	r.mu.Unlock()
	if !over {
		return
	}
	r.order.Lock()
	defer r.order.Unlock()
	if r.closes() {
		r.erase()
	}
}

// endIfOverInOrder is endIfOver for callers that hold order.
func (r *hosted) endIfOverInOrder(e *router.Envelope) {
	if r.closes() {
		e.Await(r.erase())
	}
}

// closes says whether the room is over, and if so, lets nobody in any more. It is called with order held.
func (r *hosted) closes() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != open || !r.Over() {
		return false
	}
	r.state = gone
	return true
}

// unload lets go of a room that is not used; it is read again when somebody asks for it.
func (r *hosted) unload(now time.Time) {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == open && r.Conf.Persistent && len(r.Occupants()) == 0 && now.Sub(r.used) > idle {
		r.state = gone
		r.m.forget(r)
	}
}

// remember keeps a message for clients that enter, as far as there is memory for it. It is called with mu held, or
// before anybody else knows the room.
func (r *hosted) remember(s room.Said) {
	trim := func(most int) { r.m.memory.give(r, r.Trim(most)) }
	trim(r.Conf.History - 1)
	if r.Conf.History == 0 {
		return
	}
	for !r.m.memory.take(r, s.Size(), r.m.o.Limits()) {
		if r.Remembered() == 0 { // it alone would be too much
			return
		}
		trim(r.Remembered() - 1)
	}
	r.Remember(s)
}
