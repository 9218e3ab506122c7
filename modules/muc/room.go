package muc

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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

// A room is one in memory.
type room struct {
	m     *Rooms
	addr  jid.JID
	name  string      // addr as a string
	ready atomic.Bool // the state is no longer fresh

	// order is taken before mu by whoever changes what is stored, or whose message gets a place in the archive.
	order sync.Mutex
	// What follows, up to the next lock, changes with both locks held, and is read with either.
	state   phase
	locked  bool // its maker has not configured it yet (§10.1)
	conf    settings
	secret  []byte            // of occupant ids
	creator string            // bare address
	people  map[string]person // affiliations and registered nicks, by bare address
	nicks   map[string]string // registered nick → bare address
	subject subject
	card    []byte   // <vCard/> of the room; nil: none
	hashes  []string // of the pictures in it (XEP-0486)
	hats    []hat
	may     int64 // bytes of the archive, for now; 0: not reckoned yet

	mu        sync.Mutex // guards the rest
	occupants []*occupant
	byNick    map[string]*occupant
	seats     map[jid.JID]*seat
	roles     map[string]role // that were given to users, by bare address; they have them again when they return
	past      []said          // the latest messages, the oldest first
	questions questions
	used      time.Time // when somebody was last in it
}

// A person is somebody whom the room knows beyond a visit.
type person struct {
	Affiliation affiliation `json:"affiliation"`
	Nick        string      `json:"nick,omitempty"` // registered
	Reason      string      `json:"reason,omitempty"`
	Hats        []string    `json:"hats,omitempty"` // by URI
	// Asks is the nick of a registration that no admin has said anything of; who asks has no affiliation.
	Asks string `json:"asks,omitempty"`
}

// An occupant is who bears a nick: a user with one or more clients in the room (§7.2.8).
type occupant struct {
	nick  string
	addr  jid.JID // of the occupant in the room
	user  jid.JID // bare
	name  string  // user as a string
	id    string  // XEP-0421
	role  role
	seats []*seat // the one whose presence is shown is the first
	// shown is what the others see, with and without the address; nil until somebody needs it.
	shown [2]content
}

// A seat is a client in the room.
type seat struct {
	*occupant
	full    jid.JID
	session *router.Session // of ours, if it is one
	show    []byte          // what it said of itself, owned
	lang    string
	heard   time.Time // when it last sent something, if it is remote
	asked   time.Time // when it was asked for a sign of life; zero: it need not answer
	letters []letter  // private messages of its own, the oldest first
}

const (
	bare = iota
	withAddress
)

func newOccupant(r *room, nick string, addr, user jid.JID, given role) *occupant {
	o := &occupant{nick: nick, addr: addr, user: user, name: user.String(), role: given}
	o.id = r.occupantID(o.name)
	return o
}

// occupantID is a user's in this room (XEP-0421 §4.1).
func (r *room) occupantID(user string) string {
	h := hmac.New(sha256.New, r.secret)
	h.Write([]byte(user))
	return hex.EncodeToString(h.Sum(nil)[:20])
}

// affiliationOf is a user's. A domain can be banned, too (§9.2).
func (r *room) affiliationOf(user jid.JID) affiliation {
	if p := r.people[user.Bare().String()]; p.Affiliation != unaffiliated {
		return p.Affiliation
	}
	if p, ok := r.people[user.Domain()]; ok && p.Affiliation == outcast {
		return outcast
	}
	return unaffiliated
}

// affiliationOf the user behind an occupant.
func (r *room) rank(o *occupant) affiliation {
	if p, ok := r.people[o.name]; ok {
		return p.Affiliation
	}
	return unaffiliated
}

// partyOf is what a sender may appear as: an occupant, or who is affiliated only.
func (r *room) partyOf(from jid.JID) party {
	p := party{affiliation: r.affiliationOf(from)}
	if s := r.seats[from]; s != nil {
		p.role = s.role
	}
	return p
}

// peopleWith counts who has an affiliation.
func (r *room) peopleWith(a affiliation) (n int) {
	for _, p := range r.people {
		if p.Affiliation == a {
			n++
		}
	}
	return n
}

// sees says whether an occupant is told the addresses of others (§7.2.4).
func (r *room) sees(o *occupant) bool { return r.conf.NonAnonymous || o.role == moderator }

// everybody is all clients in the room.
func (r *room) everybody() (all []*seat) {
	for _, o := range r.occupants {
		all = append(all, o.seats...)
	}
	return all
}

// sit puts a client into the room, with a new occupant unless it joins one.
func (r *room) sit(o *occupant, s *seat) {
	s.occupant = o
	o.seats = slices.Insert(o.seats, 0, s)
	o.forgetShown()
	if r.byNick[o.nick] != o {
		r.byNick[o.nick] = o
		r.occupants = append(r.occupants, o)
	}
	r.seats[s.full] = s
	r.m.guests.enter(s.full, r)
}

// stand takes a client out, and with the last one the occupant.
func (r *room) stand(s *seat) {
	o := s.occupant
	o.seats = slices.DeleteFunc(o.seats, func(x *seat) bool { return x == s })
	o.forgetShown()
	delete(r.seats, s.full)
	r.m.guests.leave(s.full, r)
	if len(o.seats) == 0 {
		delete(r.byNick, o.nick)
		r.occupants = slices.DeleteFunc(r.occupants, func(x *occupant) bool { return x == o })
		r.used = time.Now()
	}
}

func (o *occupant) forgetShown() { o.shown = [2]content{} }

// full says whether there is room for one more: admins always find some (§7.2.9).
func (r *room) full(a affiliation) bool {
	const reserve = 10
	most := r.m.o.Limits().Occupants
	if r.conf.MaxOccupants > 0 {
		most = min(most, r.conf.MaxOccupants)
	}
	if a >= admin {
		most += reserve
	}
	return len(r.occupants) >= most
}

const (
	// maxSeats is how many clients may bear one nick.
	maxSeats = 20
	// crowdPart is how many times as many places as are left free those of one domain may have who are not members.
	crowdPart = 9
)

// crowded says whether those of somebody's domain leave too little room for others: one server may have nine tenths of a
// room, and the second one nine tenths of the rest. A user of ours has one place.
func (r *room) crowded(user jid.JID) bool {
	most := r.m.o.Limits().Occupants
	if r.conf.MaxOccupants > 0 {
		most = min(most, r.conf.MaxOccupants)
	}
	free := most - len(r.occupants) - 1
	if crowdPart*free >= len(r.occupants)+1 {
		return false
	}
	who, own := r.m.o.Router.Sharer(user), 0
	for _, o := range r.occupants {
		if r.m.o.Router.Sharer(o.user) == who {
			own++
		}
	}
	return own > 0 && crowdPart*free < own+1
}

// settle destroys a room that nobody is in, if it is not to stay, or has not been configured (§10.1.1).
func (r *room) settle() {
	r.mu.Lock()
	over := r.state == open && r.over()
	r.mu.Unlock()
	if !over {
		return
	}
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	over = r.state == open && r.over()
	if over {
		r.state = gone
	}
	r.mu.Unlock()
	if over {
		r.erase()
	}
}

func (r *room) over() bool { return len(r.occupants) == 0 && (!r.conf.Persistent || r.locked) }

// unload lets go of a room that is not used; it is read again when somebody asks for it.
func (r *room) unload(now time.Time) {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == open && r.conf.Persistent && len(r.occupants) == 0 && now.Sub(r.used) > idle {
		r.state = gone
		r.m.forget(r)
	}
}

// cut returns the payload without the children of these names, always a copy.
func cut(s *xmpp.Stanza, names ...xmpp.Name) []byte {
	p := s.Without(names...)
	return append(make([]byte, 0, len(p)+256), p...)
}

// Names that are the room's own to say.
var (
	mucName      = xmpp.Name{Space: xmpp.NSMUC, Local: "x"}
	userName     = xmpp.Name{Space: xmpp.NSMUCUser, Local: "x"}
	occupantName = xmpp.Name{Space: nsOccupant, Local: "occupant-id"}
	hatsName     = xmpp.Name{Space: nsHats, Local: "hats"}
	delayName    = xmpp.Name{Space: xmpp.NSDelay, Local: "delay"}
	stanzaID     = xmpp.Name{Space: xmpp.NSStanzaID, Local: "stanza-id"}
)

const (
	nsOccupant = "urn:xmpp:occupant-id:0"
	nsHats     = "urn:xmpp:hats:0"
)
