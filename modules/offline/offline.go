// Package offline keeps messages until a session has taken them: those for users who are away (XEP-0160), brought at
// the next login with the time they came (XEP-0203), and those that have been acknowledged to their sender or are given
// to several sessions, from before the first session gets them until the first has taken them.
//
// A message is told apart by the id that storage gave it, which is also its stanza-id (XEP-0359). In memory is only
// which of the stored messages are in flight, that is, given to a session that has neither taken them nor ended; after
// a restart none is, and what is stored is brought again under the same id.
//
// Hints (XEP-0334) say what is not worth keeping. Left out: retrieval by hand (XEP-0013).
package offline

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Options bound what waits for one user; 0 means no bound. Contacts and the user's own clients may fill it; strangers
// have shares of it (storage.Fair), so that one of them keeps nobody else out.
type Options struct {
	MaxMessages int
	MaxBytes    int64
	// Full says that the disk has no room for what waits.
	Full bool
}

// Contacts knows who is in a user's roster. Both addresses are bare.
type Contacts interface {
	Has(user, contact jid.JID) (bool, error)
}

// Of makes the module of a server.
func Of(p parts.Parts, contacts Contacts) router.Module {
	return New(p.Router, contacts, p.Store.Log("offline"), func() Options {
		o := &p.Config().Modules.Offline
		return Options{MaxMessages: o.MaxMessages, MaxBytes: o.MaxBytes, Full: p.Space.Out()}
	}, p.Log)
}

// New returns the module. The messages are kept in the given log, which nobody else writes. The options are asked for
// with each message.
func New(r *router.Router, contacts Contacts, messages storage.Log, o func() Options, log *slog.Logger) router.Module {
	return newModule(r, contacts, messages, o, log).module()
}

const shards = 64

type module struct {
	router   *router.Router
	contacts Contacts
	store    storage.Log
	limits   func() Options
	log      *slog.Logger
	seed     maphash.Seed
	shards   [shards]shard
}

// A shard orders what happens to the stored messages of its owners: whoever appends and marks, or reads and marks, does
// both under mu. Taken before it may be the router's lock of an owner, never after it.
type shard struct {
	mu     sync.Mutex // guards owners and what they hold
	owners map[string]*owner
}

// owner is an account with messages in flight.
type owner struct {
	flight map[uint64]flight
	// returned is the newest message that a session had been given without a copy and that was stored when it ended.
	returned uint64
	catching map[*router.Session]*catching // those that catch up
}

// flight lists the sessions that have been given a message. Nearly always it is one.
type flight struct {
	first   *router.Session
	more    []*router.Session
	tracked *router.Sequel // nil: nobody asks what becomes of it
}

func newModule(r *router.Router, contacts Contacts, messages storage.Log, o func() Options, log *slog.Logger) *module {
	m := &module{router: r, contacts: contacts, store: messages, limits: o, log: log, seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].owners = map[string]*owner{}
	}
	return m
}

func (m *module) module() router.Module {
	return router.Module{
		Name: "offline",
		Specs: []router.Spec{
			{Name: "XEP-0160", Version: "1.0.1"},
			{Name: "XEP-0203", Version: "2.0"},
			{Name: "XEP-0334", Version: "1.0.0", Note: "no-copy is the business of carbons"},
		},
		Features:   []string{xmpp.FeatureMsgOffline}, // XEP-0160 §4
		Inline:     []router.Inline{{Bind: m.bound}},
		Delivering: m.delivering,
		Unclaimed:  m.unclaimed,
		CatchUp:    m.catchUp,
		Behind:     m.behind,
		Keep:       m.keep,
		Taken:      m.taken,
		Ended:      m.ended,
		Portable:   m.portable(),
		Removed:    m.removed,
	}
}

func (m *module) shard(owner string) *shard {
	return &m.shards[maphash.String(m.seed, owner)%shards]
}

// state returns what is known of an owner. The caller holds mu.
func (sh *shard) state(name string) *owner {
	o := sh.owners[name]
	if o == nil {
		o = &owner{flight: map[uint64]flight{}}
		sh.owners[name] = o
	}
	return o
}

// tidy forgets an owner of whom nothing need be known. The caller holds mu.
func (sh *shard) tidy(name string, o *owner) {
	if len(o.flight) == 0 && len(o.catching) == 0 {
		delete(sh.owners, name)
	}
}

// mark says that a session has been given a message.
func (o *owner) mark(id uint64, s *router.Session) {
	f, ok := o.flight[id]
	if !ok {
		f.first = s
	} else {
		f.more = append(f.more, s)
	}
	o.flight[id] = f
}

// unmark takes that back.
func (o *owner) unmark(id uint64, s *router.Session) {
	f := o.flight[id]
	switch {
	case f.first == s && len(f.more) == 0:
		delete(o.flight, id)
		return
	case f.first == s:
		f.first, f.more = f.more[0], f.more[1:]
	default:
		for i, other := range f.more {
			if other == s {
				f.more = append(f.more[:i:i], f.more[i+1:]...)
				break
			}
		}
	}
	o.flight[id] = f
}

// track remembers that somebody asks what becomes of a message in flight. The stanza is borrowed.
func (o *owner) track(id uint64, s *xmpp.Stanza) {
	o.follow(id, &router.Sequel{From: s.From, To: s.To, ID: strings.Clone(s.ID)})
}

// follow is track for what has been read already; nil: nobody asks.
func (o *owner) follow(id uint64, q *router.Sequel) {
	if f, ok := o.flight[id]; ok && q != nil {
		f.tracked = q
		o.flight[id] = f
	}
}

// tell says that a session has taken a message.
func (m *module) tell(s *router.Session, q router.Sequel) {
	if q.Outcome = router.Delivered; s.Confirms() {
		q.Outcome = router.Taken
	}
	m.router.Tell(q)
}

// ownerOf is the account that a message is for; without 'to' it is the sender's own (RFC 6120 §10.3.1).
func ownerOf(e *router.Envelope) jid.JID {
	switch {
	case !e.Stanza.To.IsZero():
		return e.Stanza.To.Bare()
	case e.Session != nil:
		return e.Session.Bare()
	default:
		return e.Stanza.From.Bare()
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// append stores the message of an envelope. The engine copies what it is given.
func (m *module) append(
	e *router.Envelope, owner string, payload []byte, o storage.AppendOptions, tracked bool,
) (id uint64, dup bool, err error) {
	buf := buffers.Get().(*[]byte)
	*buf = appendRecord((*buf)[:0], e.Stanza, payload, flagsOf(e.StanzaID != 0, tracked))
	record := storage.Record{Data: *buf}
	if o.Fair { // copies of what is being delivered count for nobody, and need not be found by their sender
		record.Peer = m.router.Sharer(e.Stanza.From)
	}
	id, dup, pending, err := m.store.Append(context.Background(), owner, record, o)
	if cap(*buf) <= 64<<10 {
		buffers.Put(buf)
	}
	if err == nil {
		e.Await(pending)
	}
	return id, dup, err
}

// delivering keeps a copy of what must not be lost with the sessions that are about to get it.
func (m *module) delivering(e *router.Envelope, to []*router.Session) {
	if e.Kept != 0 {
		return
	}
	w := wayOf(e, to)
	if w == given || !worthKeeping(e.Stanza) {
		return
	}
	if w == awaited {
		e.AwaitTaking()
		return
	}
	user := ownerOf(e)
	name := user.String()
	sh := m.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	id, dup, err := m.append(e, name, e.Stanza.Payload, storage.AppendOptions{Dedup: e.DedupKey()}, e.Tracked)
	switch {
	case err != nil && e.Durable:
		e.Refuse(router.Unavailable())
		return
	case err != nil: // nothing was promised: the sessions may still get it
		m.log.Warn("message given to sessions without a copy", "owner", name, "error", err)
		return
	case dup: // handled when it came first
		e.Settle(router.Delivered)
		return
	}
	o, marked := sh.state(name), false
	for _, s := range to {
		// One that has left the table by now might have passed Ended too.
		if m.router.Session(s.Addr()) == s {
			o.mark(id, s)
			marked = true
		}
	}
	if !marked {
		sh.tidy(name, o)
		e.Settle(router.Stored)
		m.bring(user)
		return
	}
	if e.Tracked {
		o.track(id, e.Stanza)
	}
	e.Keep(id)
	if e.StanzaID == 0 {
		e.Stamp(name, id)
	}
}

// unclaimed stores a message that no session takes, or that a session had been given and did not take before it ended.
// The caller holds the owner's lock.
func (m *module) unclaimed(e *router.Envelope) {
	name := ownerOf(e).String()
	if e.Kept != 0 {
		m.reorder(e, name)
		e.Settle(router.Stored) // its copy waits there; Ended ends its flight
		return
	}
	if !worthKeeping(e.Stanza) {
		m.pass(e)
		return
	}
	if e.Returned && e.StanzaID == 0 { // it may have been stamped on its way to the session
		e.Identify(router.StanzaID(e.Stanza, name))
	}
	sh := m.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l := m.limits()
	if l.Full && !e.Returned { // what was given to a session has been promised
		e.Refuse(xmpp.ResourceConstraint("the server has no room for messages that wait at the moment"))
		return
	}
	o := storage.AppendOptions{Dedup: e.DedupKey(), MaxRecords: l.MaxMessages, MaxBytes: l.MaxBytes, Fair: true}
	if st := sh.owners[name]; st != nil && len(st.catching) > 0 {
		// A user who is taking what waited is not to be cut off from what comes meanwhile.
		o.MaxRecords, o.MaxBytes = 2*o.MaxRecords, 2*o.MaxBytes
	}
	id, dup, err := m.append(e, name, e.Stanza.Payload, o, e.Tracked)
	if errors.Is(err, storage.ErrFull) {
		// Only now does it matter who the sender is.
		var known bool
		if known, err = m.knows(e); err == nil {
			if err = storage.ErrFull; known {
				o.Fair = false
				id, dup, err = m.append(e, name, e.Stanza.Payload, o, e.Tracked)
			}
		}
	}
	switch {
	case errors.Is(err, storage.ErrFull):
		// XEP-0160 §2 would have service-unavailable, which says "never": this sender may well succeed later.
		e.Refuse(xmpp.ResourceConstraint("too many messages wait for the recipient"))
		return
	case err != nil:
		e.Refuse(router.Unavailable())
		return
	}
	if st := sh.owners[name]; st != nil && !dup && e.Returned {
		st.returned = id // what is in flight may come back after it
	}
	e.Settle(router.Stored)
}

// knows says whether a message is of a contact, of the user, of the house, or of a program that may speak for others.
func (m *module) knows(e *router.Envelope) (bool, error) {
	user, from := ownerOf(e), e.Stanza.From.Bare()
	switch {
	case e.FromOwn(), from == user, from.IsZero(), from.IsDomain() && m.router.Serves(from.Domain()),
		e.Session == nil && !e.Account.IsZero() && !e.Stanza.From.MatchesBare(e.Account):
		return true, nil
	}
	return m.contacts.Has(user, from)
}

// pass gives a message that must not be stored to the sessions that would have got it if the account were not held. If
// there is none, the sender is told so, if the message says something (RFC 6121 §8.5.2.2.1: it is stored or refused);
// what only tells a state, or that something has arrived, is lost.
func (m *module) pass(e *router.Envelope) {
	to := e.Stanza.To
	named := to.IsFull() && m.router.Session(to) != nil // else as if to the bare address: RFC 6121 §8.5.3.2.1
	for _, s := range m.router.Sessions(ownerOf(e)) {
		if !e.Returned && (named && s.Addr() == to || !named && ready(s)) && !s.Full() &&
			s.Send(e.Batch, router.Delivery{Stanza: e.Stanza, Copy: true}) {
			e.Settle(router.Delivered)
		}
	}
	switch {
	case e.Settled():
	case speaks(e.Stanza):
		e.Refuse(xmpp.ServiceUnavailable(""))
	default:
		e.Settle(router.Dropped)
	}
}

// reorder puts a message that a session gives back behind those that came before it and had no copy until now.
func (m *module) reorder(e *router.Envelope, name string) {
	sh := m.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	o := sh.owners[name]
	if o == nil || o.returned < e.Kept {
		return
	}
	if id := m.again(e, name, o); id != 0 {
		o.returned = id
	}
}

// again stores a message in flight once more, behind all others, in place of its copy, and returns its new id; 0 if it
// stays where it is. The caller holds the shard.
func (m *module) again(e *router.Envelope, name string, o *owner) (id uint64) {
	f, ok := o.flight[e.Kept]
	if !ok || len(f.more) > 0 { // taken, or for others to take
		return 0
	}
	payload := e.Stanza.Payload
	switch router.StanzaID(e.Stanza, name) {
	case e.Kept: // ours, and soon that of another record
		payload = withoutStanzaID(e.Stanza, name)
	default:
		e.Identify(router.NoStanzaID) // as it came
	}
	id, _, err := m.append(e, name, payload, storage.AppendOptions{}, f.tracked != nil)
	if err != nil {
		m.log.Warn("message stays out of order", "owner", name, "error", err)
		return 0
	}
	if _, err = m.store.Remove(context.Background(), name, e.Kept); err != nil {
		m.log.Warn("message is stored twice", "owner", name, "error", err)
	}
	delete(o.flight, e.Kept)
	return id
}

// keep implements router.Module.Keep.
func (m *module) keep(s *router.Session, given []router.Undelivered) {
	name := s.Bare().String()
	sh := m.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	o := sh.state(name)
	defer func() { sh.tidy(name, o) }()
	last := uint64(0)
	for i := range given {
		g := &given[i]
		e := &router.Envelope{Stanza: &g.Stanza, Returned: true, Fate: router.Fate{Kept: g.Kept}}
		switch {
		case !worthKeeping(e.Stanza) || g.Kept > last && g.Kept != 0:
			continue
		case g.Kept != 0: // what came before it is stored behind it by now
			tracked := o.flight[g.Kept].tracked
			if id := m.again(e, name, o); id != 0 {
				o.mark(id, s)
				o.follow(id, tracked)
				g.Kept, last = id, id
			}
			continue
		}
		e.Identify(router.StanzaID(e.Stanza, name)) // stamped on its way to the session
		// It counts for no quota: it is given already, and would be stored if the session ended.
		id, _, err := m.append(e, name, e.Stanza.Payload, storage.AppendOptions{}, false)
		if err != nil {
			m.log.Warn("message given to a session has no copy", "owner", name, "error", err)
			return
		}
		o.mark(id, s)
		g.Kept, last = id, id
		if g.Receipt != nil {
			storage.Join(e.Pendings...).Then(g.Receipt.Finish)
			g.Receipt = nil
		}
	}
}

// taken removes what a session has taken, and tells of what somebody asks about.
func (m *module) taken(s *router.Session, kept []uint64) {
	name := s.Bare().String()
	// The removal comes before the marks go, so that whoever reads the log and sees no mark sees no record either.
	if _, err := m.store.Remove(context.Background(), name, kept...); err != nil {
		m.log.Warn("messages that were taken will be brought again", "owner", name, "error", err)
	}
	sh := m.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if o := sh.owners[name]; o != nil {
		for _, id := range kept {
			if q := o.flight[id].tracked; q != nil {
				m.tell(s, *q)
			}
			delete(o.flight, id)
		}
	}
}

// ended ends the flight of what the session was given. All that it gave back has been seen.
func (m *module) ended(s *router.Session, _ *xmpp.Stanza) {
	name := s.Bare().String()
	sh := m.shard(name)
	sh.mu.Lock()
	o := sh.owners[name]
	if o == nil {
		sh.mu.Unlock()
		return
	}
	before := len(o.flight)
	for id := range o.flight {
		o.unmark(id, s)
	}
	o.returned = 0
	loose := len(o.flight) < before
	if c := o.catching[s]; c != nil {
		close(c.gone)
	}
	sh.tidy(name, o)
	sh.mu.Unlock()
	if loose {
		m.bring(s.Bare())
	}
}

func (m *module) removed(user jid.JID) error {
	p, err := m.store.DeleteOwner(context.Background(), user.String())
	if err != nil {
		return err
	}
	return p.Wait(context.Background())
}
