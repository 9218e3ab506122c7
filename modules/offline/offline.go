// Package offline keeps messages until a session has taken them: those for users who are away (XEP-0160), brought at
// the next login with the time they came (XEP-0203), and those that have been acknowledged to their sender or are given
// to several sessions, from before the first session gets them until the first has taken them.
//
// A message is told apart by the id that storage gave it, which is also its stanza-id (XEP-0359). In memory is only
// which of the stored messages are in flight, that is, given to a session that has neither taken them nor ended; after
// a restart none is, and what is stored is brought again under the same id.
//
// What the recipient's archive has needs no copy as long as sessions that take it soon have it; after a crash it is
// looked for there (docs/decisions/0044-the-archive-keeps.md).
//
// Hints (XEP-0334) say what is not worth keeping. Left out: retrieval by hand (XEP-0013).
package offline

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
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

// An Archive has what an account was sent, as long as it was not retracted or erased; modules/archive is one. Owners
// are bare addresses. Each message has its stanza-id, which tells its place: a later one has a higher id.
type Archive interface {
	// Received returns one message, which is the caller's, or storage.ErrNotFound.
	Received(ctx context.Context, owner string, id uint64) (xmpp.Stanza, error)
	// EachReceived calls f with those between two ids, in order, until f returns false.
	EachReceived(ctx context.Context, owner string, after, before uint64, f func(id uint64, s *xmpp.Stanza) bool) error
	// Owners calls f with each account that has any, until f returns false.
	Owners(ctx context.Context, f func(owner string) bool) error
}

// Of makes the module of a server.
func Of(p parts.Parts, contacts Contacts, archive Archive) *Offline {
	o := &Offline{newModule(p.Router, contacts, p.Store.Log("offline"), func() Options {
		o := &p.Config().Modules.Offline
		return Options{MaxMessages: o.MaxMessages, MaxBytes: o.MaxBytes, Full: p.Space.Out()}
	}, p.Log)}
	o.m.settled.be(p.Node)
	o.m.archived(archive, p.Store.Map("offline"))
	return o
}

// An Offline is the module. It is safe for concurrent use.
type Offline struct{ m *module }

// New returns the module; Run must be called beside it, and Close at the end. The messages are kept in the given log,
// and how far they are settled in the map, both of which nobody else writes. Without an archive, which may be nil, each
// gets a copy. The options are asked for with each message.
func New(r *router.Router, contacts Contacts, messages storage.Log, archive Archive, state storage.Map,
	o func() Options, log *slog.Logger) *Offline {
	m := newModule(r, contacts, messages, o, log)
	m.archived(archive, state)
	return &Offline{m}
}

// archived takes up how far messages are settled, if there is an archive.
func (m *module) archived(archive Archive, state storage.Map) {
	if archive != nil {
		m.archive, m.settled.state = archive, state
		m.open()
	}
}

// Module says where it takes part.
func (o *Offline) Module() router.Module { return o.m.module() }

// Run sees to it that what sessions do not take soon is kept, until ctx ends.
func (o *Offline) Run(ctx context.Context) {
	if o.m.archive != nil {
		o.m.watch(ctx)
	}
}

// Close notes that all is kept. It comes after the last session has ended.
func (o *Offline) Close() { o.m.close() }

const shards = 64

type module struct {
	router   *router.Router
	contacts Contacts
	store    storage.Log
	archive  Archive
	limits   func() Options
	log      *slog.Logger
	settled  settled
	seed     maphash.Seed
	shards   [shards]shard
}

// A shard orders what happens to the stored messages of its owners: whoever appends and marks, or reads and marks, does
// both under mu. Taken before it may be the router's lock of an owner, never after it.
type shard struct {
	mu        sync.Mutex // guards the rest
	owners    map[string]*owner
	recovered map[string]bool // those for whom a crash has been dealt with; nil once all have been
	busy      bool            // something was archived since the last look
}

func newModule(r *router.Router, contacts Contacts, messages storage.Log, o func() Options, log *slog.Logger) *module {
	m := &module{router: r, contacts: contacts, store: messages, limits: o, log: log, seed: maphash.MakeSeed()}
	m.settled.low.Store(all)
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
		Arriving:   router.Stage{Message: m.arriving},
		Moved:      m.moved,
		Removed:    m.removed,
	}
}

func (m *module) shard(owner string) *shard {
	return &m.shards[maphash.String(m.seed, owner)%shards]
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

// delivering sees to it that what must not be lost with the sessions that are about to get it is kept.
func (m *module) delivering(e *router.Envelope, to []*router.Session) {
	switch {
	case e.Kept != 0:
		return
	case e.Repeated: // handled when it came first
		e.Settle(router.Delivered)
		return
	}
	w := m.wayOf(e, to)
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
	o := sh.state(name)
	if w == archived {
		sh.busy = true
		if m.give(e, o, e.StanzaID|inArchive, to) {
			return
		}
	}
	err := m.precede(sh, name)
	var id uint64
	var dup bool
	if err == nil {
		id, dup, err = m.append(e, name, e.Stanza.Payload, storage.AppendOptions{Dedup: dedup(e)}, e.Tracked)
	}
	switch {
	case err != nil && e.Durable:
		sh.tidy(name, o)
		e.Refuse(router.Unavailable())
		return
	case err != nil: // nothing was promised: the sessions may still get it
		sh.tidy(name, o)
		m.log.Warn("message given to sessions without a copy", "owner", name, "error", err)
		return
	case dup: // handled when it came first
		sh.tidy(name, o)
		e.Settle(router.Delivered)
		return
	}
	if !m.give(e, o, id, to) {
		sh.tidy(name, o)
		e.Settle(router.Stored)
		m.bring(user)
		return
	}
	if e.StanzaID == 0 {
		e.Stamp(name, id)
	}
}

// give notes that sessions are given a message, and says whether any of them is there. The caller holds the shard.
func (m *module) give(e *router.Envelope, o *owner, k key, to []*router.Session) (marked bool) {
	for _, s := range to {
		// One that has left the table by now might have passed Ended too.
		if m.router.Session(s.Addr()) == s {
			o.mark(k, s)
			marked = true
		}
	}
	if !marked {
		return false
	}
	if e.Tracked {
		o.track(k, e.Stanza)
	}
	e.Keep(k)
	return true
}

// dedup is what tells a message from its repetitions in the log: nothing if the archive does.
func dedup(e *router.Envelope) string {
	if e.Archived() {
		return ""
	}
	return e.DedupKey()
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
	if e.Repeated {
		e.Settle(router.Stored)
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
	o := storage.AppendOptions{Dedup: dedup(e), MaxRecords: l.MaxMessages, MaxBytes: l.MaxBytes, Fair: true}
	sh.busy = sh.busy || e.Archived()
	if err := m.precede(sh, name); err != nil {
		e.Refuse(router.Unavailable())
		return
	}
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

// reorder deals with a message that a session gives back: one that only the archive has gets its copy, if nobody else
// is at it, and another goes behind those that came before it and had no copy until now.
func (m *module) reorder(e *router.Envelope, name string) {
	sh := m.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	o := sh.owners[name]
	if o == nil {
		return
	}
	f, ok := o.flight[e.Kept]
	switch {
	case !ok: // another session has taken it
		return
	case f.copy == 0:
		if len(f.more) == 0 {
			m.warnLoose(name, m.copyLoose(name, o, all, nil))
		}
		return
	}
	if o.returned < f.copy {
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
	if f.copy != 0 {
		if _, err = m.store.Remove(context.Background(), name, f.copy); err != nil {
			m.remain(name, o, []uint64{f.copy}, err)
		}
	}
	o.drop(e.Kept)
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
	here := make(map[key]bool, len(given))
	for i := range given {
		here[given[i].Kept] = true
	}
	// They came before these, or do not come from the same sender.
	m.warnLoose(name, m.copyLoose(name, o, all, here))
	last := uint64(0)
	for i := range given {
		g := &given[i]
		e := &router.Envelope{Stanza: &g.Stanza, Returned: true, Fate: router.Fate{Kept: g.Kept}}
		switch {
		case !worthKeeping(e.Stanza) || g.Kept != 0 && o.flight[g.Kept].copy > last:
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
	sh := m.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	o := sh.owners[name]
	var copies []uint64
	var rest []key
	for _, k := range kept {
		switch id := o.copyOf(k); {
		case id != 0:
			copies, rest = append(copies, id), append(rest, k)
		case o != nil:
			m.land(s, o, k) // before it gets a copy
		}
	}
	if len(copies) == 0 {
		return
	}
	// The removal comes before the marks go, so that whoever reads the log and sees no mark sees no record either.
	sh.mu.Unlock()
	_, err := m.store.Remove(context.Background(), name, copies...)
	sh.mu.Lock()
	if o = sh.owners[name]; o == nil {
		return
	}
	if err != nil {
		m.remain(name, o, copies, err)
	}
	for _, k := range rest {
		m.land(s, o, k)
	}
}

// copyOf is the id in the log of a message, whose flight may have ended; 0: it has no copy. The owner may be nil.
func (o *owner) copyOf(k key) uint64 {
	switch {
	case k&inArchive == 0:
		return k
	case o == nil:
		return 0
	}
	return o.flight[k].copy
}

// land ends the flight of a message that a session has taken. The caller holds the shard.
func (m *module) land(s *router.Session, o *owner, k key) {
	if q := o.flight[k].tracked; q != nil {
		m.tell(s, *q)
	}
	o.drop(k)
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
	for k := range o.flight {
		o.unmark(k, s)
	}
	if o.orphans() { // what could not be given back
		m.warnLoose(name, m.copyLoose(name, o, all, nil))
	}
	o.returned = 0
	free := len(o.flight) < before
	if c := o.catching[s]; c != nil {
		close(c.gone)
	}
	sh.tidy(name, o)
	sh.mu.Unlock()
	if free {
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
