// Package room is one room of Multi-User Chat (XEP-0045) by itself: its occupants, their roles and affiliations, its
// settings, and the latest messages.
//
// Events come in, effects go out. A method takes what a client has sent, together with what its caller has looked up,
// changes the room, and returns an error for the sender or writes down in [Effects] what is to be done: stanzas for
// occupants above all. A change of what outlives a visit, which must be stored before it takes effect, is two methods:
// the first says what would change, the second lets it take effect.
//
// The package knows no storage, no router, no lock and no clock. Whoever uses a [Room] guards it, stores what it keeps,
// and delivers its stanzas.
package room

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A Server is what a room has to know of the server around it.
type Server struct {
	// Sharer names what an address counts as where strangers share a place: an account here, or a domain elsewhere.
	Sharer func(jid.JID) string
	// Owns says whether the server answers for a domain.
	Owns func(domain string) bool
	// Rooms says whether the addresses at a domain are rooms.
	Rooms func(domain string) bool
}

// A Room is the state of one room. Its exported fields are for reading; where nothing else is said, methods change
// them.
//
// It has two parts. A change of the first one is stored before it takes effect; only New, SetPerson, Learn, SetCard,
// SetHats and the caller change it, and what only reads it needs no guard against the second.
type Room struct {
	Addr   jid.JID
	Name   string // Addr as a string
	server *Server

	// These outlive the occupants.

	Locked  bool     // its maker has not configured it yet (§10.1); set by the caller
	Conf    Settings // set by the caller
	Secret  []byte   // of occupant ids (XEP-0421); set by the caller
	Creator string   // bare address; set by the caller
	Subject Subject  // set by the caller
	People  map[string]Person
	Nicks   map[string]string // registered nick → bare address
	Card    []byte            // <vCard/> of the room; nil: none
	Hats    []Hat
	Changes []Change // the latest of affiliations, the oldest first; when they are read, set by the caller
	hashes  []string // of the pictures in Card (XEP-0486)

	// These are the occupants, and what is forgotten with the room.

	occupants []*Occupant
	byNick    map[string]*Occupant
	seats     map[jid.JID]*Seat
	roles     map[string]Role // given to users, by bare address; they have them again when they return
	past      []Said          // the latest messages, the oldest first
}

// A Person is somebody whom the room knows beyond a visit. The names are those of the stored record.
type Person struct {
	Affiliation Affiliation `json:"affiliation"`
	Nick        string      `json:"nick,omitempty"` // registered
	Reason      string      `json:"reason,omitempty"`
	Hats        []string    `json:"hats,omitempty"` // by URI
	// Asks is the nick of a registration that no admin has decided on. A user who asks has no affiliation.
	Asks string `json:"asks,omitempty"`
}

// Empty says whether there is nothing to know.
func (p Person) Empty() bool {
	return p.Affiliation == Unaffiliated && p.Nick == "" && len(p.Hats) == 0 && p.Asks == ""
}

// A Known is what the room knows of a user, or is to know from now on.
type Known struct {
	User string // bare address, or a domain
	Person
}

// An Occupant is a nick and the user who bears it, with one or more clients in the room (§7.2.8).
type Occupant struct {
	Nick  string
	Addr  jid.JID // of the occupant in the room
	User  jid.JID // bare
	Name  string  // User as a string
	Role  Role
	Seats []*Seat // the first is the one whose presence is shown
	id    string  // XEP-0421
	// shown is what the others see, without and with the address; nil until somebody needs it.
	shown [2]content
}

// A Seat is a client in the room.
type Seat struct {
	*Occupant
	Full    jid.JID
	Session any       // by which the caller knows a client of this server; nil for others. The room does not look into it
	Far     bool      // Session stands for one at another node, whose end may come without a word
	show    []byte    // what it said of itself, owned
	lang    string    // in which it said so
	heard   time.Time // when it last sent something, if it is remote
	asked   time.Time // when it was asked for a sign of life; zero: it need not answer
	letters []letter  // private messages of its own, the oldest first
	told    view      // the lists of affiliations that it was told when it entered
}

// An Event is what somebody has sent to the room.
type Event struct {
	Stanza  *xmpp.Stanza
	Session any     // see Seat
	Far     bool    // likewise
	Account jid.JID // of this server, bare, whose post it is if it came from no client
	Now     time.Time
}

// New returns a room without settings and occupants, which knows nobody.
func New(addr jid.JID, server *Server) *Room {
	return &Room{Addr: addr, Name: addr.String(), server: server, People: map[string]Person{}, Nicks: map[string]string{},
		byNick: map[string]*Occupant{}, seats: map[jid.JID]*Seat{}, roles: map[string]Role{}}
}

// Occupants are those in the room, in the order in which they came. The caller must not change the list.
func (r *Room) Occupants() []*Occupant { return r.occupants }

// Occupant is the one that bears a nick, or nil.
func (r *Room) Occupant(nick string) *Occupant { return r.byNick[nick] }

// Seat is that of a client, or nil.
func (r *Room) Seat(full jid.JID) *Seat { return r.seats[full] }

// Seats are those of all clients in the room.
func (r *Room) Seats() (all []*Seat) {
	for _, o := range r.occupants {
		all = append(all, o.Seats...)
	}
	return all
}

// Over says whether the room ends now: nobody is in it, and it is not to stay, or not configured (§10.1.1, §10.1.3).
func (r *Room) Over() bool { return len(r.occupants) == 0 && (!r.Conf.Persistent || r.Locked) }

// SeatOf is the sender's client in the room, or nil. Any client of a user speaks for a post of its account, which has
// no resource.
func (r *Room) SeatOf(ev *Event) *Seat {
	if s := r.seats[ev.Stanza.From]; s != nil {
		s.alive(ev.Now)
		return s
	}
	if !ev.Account.IsZero() && ev.Account == ev.Stanza.From.Bare() {
		for _, o := range r.occupants {
			if o.User == ev.Account {
				return o.Seats[0]
			}
		}
	}
	return nil
}

// alive notes a sign of life.
func (s *Seat) alive(now time.Time) { s.heard, s.asked = now, time.Time{} }

func (r *Room) newOccupant(addr, user jid.JID, given Role) *Occupant {
	o := &Occupant{Nick: addr.Resource(), Addr: addr, User: user, Name: user.String(), Role: given}
	o.id = r.occupantID(o.Name)
	return o
}

// occupantID is a user's in this room (XEP-0421 §4.1).
func (r *Room) occupantID(user string) string {
	h := hmac.New(sha256.New, r.Secret)
	h.Write([]byte(user))
	return hex.EncodeToString(h.Sum(nil)[:20])
}

// AffiliationOf is that of a user. A domain can be banned, too (§9.2).
func (r *Room) AffiliationOf(user jid.JID) Affiliation {
	if p := r.People[user.Bare().String()]; p.Affiliation != Unaffiliated {
		return p.Affiliation
	}
	if p, ok := r.People[user.Domain()]; ok && p.Affiliation == Outcast {
		return Outcast
	}
	return Unaffiliated
}

// Rank is the affiliation of the user behind an occupant.
func (r *Room) Rank(o *Occupant) Affiliation {
	if p, ok := r.People[o.Name]; ok {
		return p.Affiliation
	}
	return Unaffiliated
}

// partyOf is what a sender acts as: as an occupant, or by its affiliation only.
func (r *Room) partyOf(from jid.JID) party {
	p := party{affiliation: r.AffiliationOf(from)}
	if s := r.seats[from]; s != nil {
		p.role = s.Role
	}
	return p
}

// Named are the addresses with an affiliation, sorted.
func (r *Room) Named(a Affiliation) (names []string) {
	for name, p := range r.People {
		if p.Affiliation == a {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// SetPerson takes over what has been read of somebody; see Learn.
func (r *Room) SetPerson(k Known) {
	if was := r.People[k.User]; was.Nick != "" && was.Nick != k.Nick {
		delete(r.Nicks, was.Nick)
	}
	if k.Empty() {
		delete(r.People, k.User)
		return
	}
	r.People[k.User] = k.Person
	if k.Nick != "" {
		r.Nicks[k.Nick] = k.User
	}
}

// WithoutUser says what changes when the room is to know nothing of a user any more, because the account was deleted.
// If nobody else owns the room, it goes to the first of its admins, or of its members (§10.4).
func (r *Room) WithoutUser(user string) (changes []Known) {
	was, known := r.People[user]
	if !known {
		return nil
	}
	changes = []Known{{User: user}}
	if was.Affiliation != Owner || len(r.Named(Owner)) > 1 {
		return changes
	}
	heir := ""
	for name, p := range r.People {
		if name == user || p.Affiliation < Member {
			continue
		}
		best := r.People[heir]
		if heir == "" || p.Affiliation > best.Affiliation || p.Affiliation == best.Affiliation && name < heir {
			heir = name
		}
	}
	if heir != "" {
		next := r.People[heir]
		next.Affiliation = Owner
		changes = append(changes, Known{heir, next})
	}
	return changes
}

// Forget lets what WithoutUser has returned take effect. Nobody is told. A role that was given goes, too: whoever gets
// the address next must not have it.
func (r *Room) Forget(user string, changes []Known) {
	delete(r.roles, user)
	for _, k := range changes {
		r.Learn(k)
	}
	for _, o := range r.occupants {
		o.forgetShown()
	}
}

// sees says whether an occupant is told the addresses of others (§7.2.4).
func (r *Room) sees(o *Occupant) bool { return r.Conf.NonAnonymous || o.Role == Moderator }

// inside says whether a user has a client in the room.
func (r *Room) inside(user jid.JID) bool {
	for _, o := range r.occupants {
		if o.User == user.Bare() {
			return true
		}
	}
	return false
}

// sit puts a client into the room, with a new occupant unless it joins one.
func (r *Room) sit(fx *Effects, o *Occupant, s *Seat) {
	s.Occupant = o
	o.Seats = slices.Insert(o.Seats, 0, s)
	o.forgetShown()
	if r.byNick[o.Nick] != o {
		r.byNick[o.Nick] = o
		r.occupants = append(r.occupants, o)
	}
	r.seats[s.Full] = s
	fx.Moves = append(fx.Moves, Move{Client: s.Full, In: true})
}

// stand takes a client out of the room, and with the last one the occupant.
func (r *Room) stand(fx *Effects, s *Seat) {
	o := s.Occupant
	o.Seats = slices.DeleteFunc(o.Seats, func(x *Seat) bool { return x == s })
	o.forgetShown()
	delete(r.seats, s.Full)
	fx.Moves = append(fx.Moves, Move{Client: s.Full})
	if len(o.Seats) == 0 {
		delete(r.byNick, o.Nick)
		r.occupants = slices.DeleteFunc(r.occupants, func(x *Occupant) bool { return x == o })
	}
}

func (o *Occupant) forgetShown() { o.shown = [2]content{} }

// NewID is an id that nobody can foresee.
func NewID() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
