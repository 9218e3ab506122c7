// Package muc is the service of rooms: Multi-User Chat (XEP-0045), at a domain of its own below each host.
//
// The rules of a room are package room. This package finds rooms, guards them, stores what they keep, archives what is
// said, and carries out what they want done.
//
// The occupants of a room are kept in memory, and so is a room that nobody has made persistent. What the owners of a
// persistent room have chosen, its affiliations, nicks, subject and picture are in storage. They are read when somebody
// first asks for the room, so that a start costs the same with few rooms and with many. What is said is in an archive
// of the room's own (XEP-0313), from which the room gives the latest messages to everybody who enters.
//
// One lock guards the state of a room. It is held while a stanza is handed to all occupants, none of which can make it
// wait, so that all see the same things in the same order. A second lock, taken before it, orders the changes of what
// is stored. It may be held over a call to storage, but nobody waits for a write to be durable with it.
//
// An occupant never stays as a ghost: the end of its session, an error from its address and silence of its server
// remove it, with the reason.
//
// Left out: groupchat 1.0; status codes 102 and 103, since members who are not in a room are not shown in it; occupants
// of rooms that are not looked at by an occupant (§6.5).
package muc

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Limits of the service; each number is above 0 if nothing else is said.
type Limits struct {
	Occupants    int           // of a room
	RoomsPerUser int           // that a user is in, and that a user has made
	MessageRate  int           // per second and user
	History      int           // messages that are shown to a client that enters
	HistoryBytes int64         // of these, of a room; 0: no bound
	Memory       int64         // for these of all rooms; 0: no bound
	ArchiveBytes int64         // of the archive of a room; 0: no bound
	MadeBytes    int64         // of the archives of all rooms that a user has made; 0: no bound
	Page         int           // messages of one answer of an archive
	Keep         time.Duration // how long a message stays in an archive; 0: for ever
	OpenNewRooms bool          // a new room is not locked until it is configured
}

// Options of New; all but Full and Banned are needed.
type Options struct {
	Router  *router.Router
	Rooms   storage.Map // nobody else writes it
	Archive storage.Log // likewise
	// Domains are those of the service, each with the host that it belongs to. Asked by router.Use.
	Domains func() []string
	// Hosts are those of the server: rooms are exported with the one that their domain belongs to (HostOf). Nil: none.
	Hosts  func() []string
	Limits func() Limits // asked whenever it matters
	// Full, if not nil, says that the disk has no room for archives now: then nothing is archived.
	Full func() bool
	// Exempt says whether an account, a bare address, is above the limits.
	Exempt func(user jid.JID) bool
	// Banned says whether somebody is kept out of all rooms that have not made it a member or more; nil: nobody is.
	Banned func(who jid.JID) bool
	Log    *slog.Logger
}

// Stats count what has become of stanzas.
type Stats struct{ Banned atomic.Int64 }

// Rooms is the service. It is safe for concurrent use.
type Rooms struct {
	o       Options
	Stats   Stats
	service *router.Service
	server  room.Server
	guests  guests
	visits  visits
	memory  memory
	desk    mam.Desk
	// elsewhere asks other nodes for their rooms; nil where there is one node.
	elsewhere func(domain string) []Loaded

	mu    sync.Mutex // guards the rest
	rooms map[jid.JID]*hosted
	lists map[string]*directory // by domain of the service
}

// New returns the service. Run must be called for messages to go when their time has come, and for remote ghosts to be
// found.
func New(o Options) *Rooms {
	m := &Rooms{o: o, rooms: map[jid.JID]*hosted{}, lists: map[string]*directory{},
		desk: mam.Desk{Router: o.Router, Log: o.Log, Limit: func() int { return o.Limits().Page }, Most: queriedAtOnce}}
	m.memory.rooms, m.memory.makers = map[*hosted]kept{}, map[string]int64{}
	m.guests.sharer = o.Router.Sharer
	m.visits.of = map[jid.JID]map[jid.JID]map[jid.JID]bool{}
	m.guests.by, m.guests.in = map[string]*guest{}, map[jid.JID][]*hosted{}
	m.server = room.Server{Sharer: o.Router.Sharer, Owns: o.Router.Owns,
		Rooms: m.Serves}
	m.service = &router.Service{Domains: o.Domains, Handle: m.handle, Home: homeOf}
	return m
}

// homeOf is the room; what is asked of the service itself any node answers.
func homeOf(to jid.JID) string {
	if to.Local() == "" {
		return ""
	}
	return to.Bare().String()
}

// Serves says whether a domain is one of the service, now.
func (m *Rooms) Serves(domain string) bool { return m.o.Router.Services()[domain] == m.service }

// Module returns the module.
func (m *Rooms) Module() router.Module {
	return router.Module{
		Name: "muc",
		Specs: []router.Spec{
			{Name: "XEP-0045", Version: "1.35.5", Note: "no groupchat 1.0"},
			{Name: "XEP-0249", Version: "1.2", Note: "passes as any message"},
			{Name: "XEP-0313", Version: "1.1.3", Note: "archives of rooms"},
			{Name: "XEP-0317", Version: "0.3.1", Note: "only owners give hats"},
			{Name: "XEP-0410", Version: "1.1.0"},
			{Name: "XEP-0421", Version: "1.0.1"},
			{Name: "XEP-0424", Version: "0.4.2", Note: "tombstones in archives of rooms"},
			{Name: "XEP-0425", Version: "0.3.0", Note: "and requests of version 0.2"},
			{Name: "XEP-0433", Version: "0.1.0", Note: "the public rooms of the service"},
			{Name: "XEP-0444", Version: "0.2.1", Note: "restrictions in rooms"},
			{Name: "XEP-0463", Version: "0.2.0"},
			{Name: "XEP-0486", Version: "0.1.0"},
		},
		Service:    m.service,
		HandedOver: m.goes,
		Arriving:   router.Stage{Presence: m.returns},
		Ended:      m.ended,
		Moved:      m.moved,
		Lost:       m.lost,
		Portable:   m.portable(),
		Removed:    m.removed,
	}
}

// handle takes what is addressed to the domains of the service.
func (m *Rooms) handle(e *router.Envelope) {
	s := e.Stanza
	switch {
	case s.From.IsZero():
		e.Settle(router.Dropped)
	case s.To.Local() == "":
		m.toService(e)
	case s.Kind == xmpp.Presence:
		m.presence(e)
	case s.Kind == xmpp.Message:
		m.message(e)
	default:
		m.iq(e)
	}
}

// proven says whether the sender is the one that it says: a session, or an address of another domain, whose server or
// program has proved it, or the router in the name of a session that is gone. Anything else in the name of an address
// here, such as a post over HTTP, gets nobody into a room and changes nothing in it.
func (m *Rooms) proven(e *router.Envelope) bool {
	return e.Session != nil || e.Own || e.Account.IsZero() && !m.o.Router.Serves(e.Stanza.From.Domain())
}

// exempt says whether the sender is above the limits.
func (m *Rooms) exempt(e *router.Envelope) bool {
	return e.Session != nil && m.o.Exempt(e.Session.Bare())
}

// A newRoom fills in a room that is not there, or says why there will be none.
type newRoom func(r *hosted) *xmpp.Error

// visit calls f with the room, loaded and locked; f returns with it locked. If there is no room, make is asked to fill
// a new one in; if make is nil, the stanza is refused. If the room is being destroyed, f sees the next one of that
// name. A room that has not been configured yet is there for its owner only (§10.1.1, §17.2).
func (m *Rooms) visit(e *router.Envelope, make newRoom, f func(r *hosted)) {
	m.call(e, make, func(r *hosted) *sync.Mutex { return &r.mu }, f)
}

// banned says whether somebody who has no part in a room is banned from the service, and neither enters nor says
// anything.
func (m *Rooms) banned(e *router.Envelope, r *hosted) bool {
	return m.o.Banned != nil && e.Stanza.Kind != xmpp.IQ && m.o.Banned(e.Stanza.From) &&
		r.AffiliationOf(e.Stanza.From) == room.Unaffiliated
}

// visitInOrder is visit with the lock for changes of what is stored.
func (m *Rooms) visitInOrder(e *router.Envelope, make newRoom, f func(r *hosted)) {
	m.call(e, make, func(r *hosted) *sync.Mutex { return &r.order }, f)
}

func (m *Rooms) call(e *router.Envelope, make newRoom, lock func(r *hosted) *sync.Mutex, f func(r *hosted)) {
	for {
		r, bad := m.find(e.Stanza.To.Bare(), make)
		if bad != nil {
			m.refuse(e, absent(e, bad))
			return
		}
		if r.visited(lock(r), func(r *hosted) {
			if r.Locked && r.AffiliationOf(e.Stanza.From) != room.Owner {
				m.refuse(e, absent(e, xmpp.ItemNotFound("there is no such room")))
				return
			}
			if m.banned(e, r) {
				m.Stats.Banned.Add(1)
				m.refuse(e, xmpp.Forbidden("you are banned from this service"))
				return
			}
			f(r)
		}) {
			return
		}
		r.awaitEnd()
	}
}

// absent is the error for whoever asks for a room that is not there. XEP-0410 §3.2 would take item-not-found, in answer
// to a ping, for a sign that its sender is still in the room.
func absent(e *router.Envelope, bad *xmpp.Error) *xmpp.Error {
	s := e.Stanza
	if bad.Condition == xmpp.CondItemNotFound && s.Kind == xmpp.IQ && s.To.IsFull() && s.Has(room.PingName) {
		return room.Outside()
	}
	return bad
}

// refuse returns a stanza with an error that is the room's (§7.2 and others: 'by').
func (m *Rooms) refuse(e *router.Envelope, err *xmpp.Error) {
	c := *err
	if c.By.IsZero() {
		c.By = e.Stanza.To.Bare()
	}
	if e.Stanza.Kind == xmpp.Presence && !e.Quiet {
		// §7.2.5 and others: clients know by it that the error is of their entering.
		reply := e.Stanza.ErrorReply(&c)
		reply.Payload = append([]byte("<x xmlns='http://jabber.org/protocol/muc'/>"), reply.Payload...)
		m.o.Router.Emit(&reply, e.Batch)
		e.RefuseTold(&c)
		return
	}
	e.Refuse(&c)
}

// fault is the error for the sender when storage does not answer.
func (m *Rooms) fault(err error) *xmpp.Error {
	m.o.Log.Warn("room unavailable", "error", err)
	return router.Unavailable()
}

// ended lets a session leave its rooms.
func (m *Rooms) ended(s *router.Session, _ *xmpp.Stanza) {
	m.visits.gone(s.Addr())
	for _, r := range m.guests.rooms(s.Addr()) {
		var b router.Batch
		r.with(func() {
			if seat := r.Seat(s.Addr()); seat != nil && seat.Session == any(s) {
				r.leave(&b, seat, room.Departure{})
			}
		})
		b.Flush()
		r.endIfOver()
	}
}

// leave takes a client out of the room. It is called with mu held.
func (r *hosted) leave(b *router.Batch, s *room.Seat, d room.Departure) {
	c := r.carrier(b)
	r.Leave(&c.Effects, s, d)
	c.carryOut()
}

// Close tells occupants that the service ends (§11.2). It comes before streams are closed, if they are to hear of it.
func (m *Rooms) Close() {
	for _, r := range m.loaded() {
		m.empty(r)
	}
}

// empty has all leave a room, since the service ends.
func (m *Rooms) empty(r *hosted) {
	var b router.Batch
	r.with(func() {
		for _, seat := range r.Seats() {
			r.leave(&b, seat, room.Departure{Codes: []int{332}, Silent: true})
		}
	})
	b.Flush()
	r.endIfOver()
}

const (
	// every is how often Run looks after the rooms.
	every = time.Minute
	// idle is how long a room that nobody is in stays in memory.
	idle = 5 * time.Minute
)

// Run looks after the rooms until ctx ends: it asks for signs of life, lets go of what is not used, and removes from
// the archives what is old.
func (m *Rooms) Run(ctx context.Context) {
	var purging sync.WaitGroup
	defer purging.Wait()
	keeper := mam.Keeper{Log: m.o.Archive, Keep: func() time.Duration { return m.o.Limits().Keep }, Logger: m.o.Log}
	purging.Go(func() { keeper.Run(ctx) })
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			m.tend(now)
		}
	}
}

// tend is one round of Run.
func (m *Rooms) tend(now time.Time) {
	for _, r := range m.loaded() {
		r.probe(now)
		r.unload(now)
	}
	m.guests.forget(now)
}
