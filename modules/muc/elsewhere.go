package muc

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A Loaded room is one in the memory of a node, as far as other nodes need it for their lists.
type Loaded struct {
	Local string `json:"local"`
	Users int    `json:"users,omitempty"`
	// Passing is what the directory says of a room that is not in storage; nil: it is there.
	Passing *listing `json:"passing,omitempty"`
}

// SetElsewhere says how the rooms in the memory of other nodes are asked for. It comes before anything is served.
func (m *Rooms) SetElsewhere(ask func(domain string) []Loaded) { m.elsewhere = ask }

// Loaded are the rooms of a domain that this node knows something about that storage does not: that there are such, or
// that somebody is in them.
func (m *Rooms) Loaded(domain string) []Loaded {
	known := map[string]Loaded{}
	m.mu.Lock()
	d := m.lists[domain]
	m.mu.Unlock()
	if d != nil {
		d.mu.Lock()
		for local, l := range d.passing {
			known[local] = Loaded{Local: local, Passing: &l}
		}
		d.mu.Unlock()
	}
	for _, r := range m.loaded() {
		if r.Addr.Domain() != domain {
			continue
		}
		one := known[r.Addr.Local()]
		r.with(func() { one.Users = len(r.Occupants()) })
		if one.Local = r.Addr.Local(); one.Users > 0 || one.Passing != nil {
			known[one.Local] = one
		}
	}
	return slices.SortedFunc(maps.Values(known), func(a, b Loaded) int { return strings.Compare(a.Local, b.Local) })
}

// catalogue is the directory of a domain with the rooms of all nodes, and how many are in those of others.
func (m *Rooms) catalogue(domain string) (all *directory, users map[string]int, err error) {
	here, err := m.listed(domain)
	if err != nil || m.elsewhere == nil {
		return here, nil, err
	}
	all, users = &directory{}, map[string]int{}
	here.mu.Lock()
	all.rooms = maps.Clone(here.rooms)
	here.mu.Unlock()
	for _, one := range m.elsewhere(domain) {
		if one.Passing != nil {
			all.rooms[one.Local] = *one.Passing
		}
		users[one.Local] = one.Users
	}
	return all, users, nil
}

// occupants is how many are in a room; elsewhere is what other nodes say of theirs, by local part.
func (m *Rooms) occupants(addr jid.JID, elsewhere map[string]int) (n int) {
	r := m.inMemory(addr)
	if r == nil {
		return elsewhere[addr.Local()]
	}
	r.with(func() { n = len(r.Occupants()) })
	return n
}

// Exists says whether there is a room, at whatever node.
func (m *Rooms) Exists(addr jid.JID) (bool, error) {
	if m.o.Router.Here(addr.String()) {
		_, bad := m.find(addr, nil)
		if bad != nil && bad.Condition != xmpp.CondItemNotFound {
			return false, bad
		}
		return bad == nil, nil
	}
	all, _, err := m.catalogue(addr.Domain())
	return err == nil && all.has(addr.Local()), err
}

// visits are the rooms at home on other nodes that users at home here are in, or about to enter: what a user may do is
// bounded at the user's home.
type visits struct {
	mu sync.Mutex // guards of
	of map[jid.JID]map[jid.JID]map[jid.JID]bool
}

// begin notes that a client enters a room, unless its user is in as many others.
func (v *visits) begin(client, room jid.JID, most int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	in := v.of[client.Bare()]
	if in[room] == nil {
		if len(in) >= most {
			return false
		}
		if in == nil {
			in = map[jid.JID]map[jid.JID]bool{}
			v.of[client.Bare()] = in
		}
		in[room] = map[jid.JID]bool{}
	}
	in[room][client] = true
	return true
}

// end notes that a client is not in a room any more.
func (v *visits) end(client, room jid.JID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leave(client, room)
}

// leave is end for those who hold mu.
func (v *visits) leave(client, room jid.JID) {
	in := v.of[client.Bare()]
	if delete(in[room], client); len(in[room]) == 0 {
		delete(in, room)
	}
	if len(in) == 0 {
		delete(v.of, client.Bare())
	}
}

// gone notes that a client has ended.
func (v *visits) gone(client jid.JID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for room := range v.of[client.Bare()] {
		v.leave(client, room)
	}
}

// lost notes that rooms have ended without a word.
func (v *visits) lost(gone func(room string) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for user, in := range v.of {
		maps.DeleteFunc(in, func(room jid.JID, _ map[jid.JID]bool) bool { return gone(room.String()) })
		if len(in) == 0 {
			delete(v.of, user)
		}
	}
}

// count is in how many rooms elsewhere a user is.
func (v *visits) count(user jid.JID) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.of[user.Bare()])
}

// others counts the rooms that a user is in beside this one, as far as this node knows: of a user at home here, all.
func (m *Rooms) others(user jid.JID, r *hosted) int {
	return m.guests.others(user, r) + m.visits.count(user)
}

// goes sees presence of a user at home here on its way to a room at home elsewhere.
func (m *Rooms) goes(e *router.Envelope) {
	s := e.Stanza
	if e.Session == nil || s.Kind != xmpp.Presence || s.To.Local() == "" || !m.Serves(s.To.Domain()) {
		return
	}
	switch s.Type {
	case xmpp.TypeUnavailable:
		m.visits.end(s.From, s.To.Bare())
	case xmpp.TypeAvailable:
		most := max(m.o.Limits().RoomsPerUser-m.guests.others(s.From, nil), 0)
		if m.exempt(e) {
			most = int(^uint(0) >> 1)
		}
		if !m.visits.begin(s.From, s.To.Bare(), most) {
			m.refuse(e, xmpp.ResourceConstraint("you are in too many rooms"))
		}
	}
}

// selfStatus is the code of an occupant's own presence (§15.6.2).
const selfStatus = "110"

// returns sees presence of a room at home elsewhere come to a user at home here: that it has left, or did not enter.
func (m *Rooms) returns(e *router.Envelope) {
	s := e.Stanza
	if !e.Carried || s.Type != xmpp.TypeUnavailable && s.Type != xmpp.TypeError || !m.Serves(s.From.Domain()) {
		return
	}
	x := s.Child(room.UserName)
	own := x != nil && slices.ContainsFunc(x.Children(), func(c *xmpp.Element) bool {
		return c.Name.Local == "status" && c.Attr("code") == selfStatus
	})
	if own || s.Type == xmpp.TypeError {
		m.visits.end(s.To, s.From.Bare())
	}
}
