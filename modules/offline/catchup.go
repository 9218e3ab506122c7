package offline

import (
	"context"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	firstPage = 8  // records of the first page: they may be large
	pageSize  = 50 // of any
	// inFlight is how many bytes a session may have queued or unacknowledged before it is sent more, and how many it is
	// sent then, but for the last message.
	inFlight = 256 << 10
)

// patience is how long a session may let what waits for it wait before others stop waiting for it.
const patience = time.Second

// catching is a session that is being brought what is stored for its account, by one goroutine. One at a time does it for the
// whole account; those that take nothing for a while, or are full, do it for themselves beside it. A stored message is given
// to the first that comes to it.
type catching struct {
	s     *router.Session
	since uint64        // what is stored from here on found the account held
	dones []func()      // guarded by the shard; called at the end
	again bool          // guarded by the shard; something may be stored before the cursor
	gone  chan struct{} // closed when s has ended and given back its rest
	// narrow says that messages queue in storage for this session alone; written under the shard.
	narrow bool
	after  uint64 // the cursor, of the goroutine
	limit  int    // records of the next page, likewise
}

// catchUp implements router.Module.CatchUp. It is called at each login, and nearly always
// nothing is stored. It looks under the owner's lock: nothing can come in between.
func (m *module) catchUp(s *router.Session, done func()) {
	name := s.Bare().String()
	m.router.WithOwner(name, func() {
		if m.begin(name, s, done) {
			done()
		}
	})
}

// begin begins to bring a session what is stored, or the one that is best placed if it has left or takes nothing, or says that
// there is no need to hold anything for that. The caller holds the owner's lock.
func (m *module) begin(name string, s *router.Session, done func()) (free bool) {
	sh := m.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	user := s.Bare()
	if !ready(s) || m.router.Session(s.Addr()) != s {
		// Whoever is found in the table with the shard held has not passed Ended.
		if s = best(m.router.Sessions(user)); s == nil {
			return true
		}
	}
	if o := sh.owners[name]; o != nil {
		if c := o.catching[s]; c != nil && c.narrow {
			c.again = true
			return true
		}
		for _, c := range o.catching {
			// Who is at it goes on, so that what it may give back is not overtaken.
			if !c.narrow && (c.s == s || !s.Held()) {
				c.again = true
				c.dones = append(c.dones, done)
				return false
			}
		}
	}
	n, _, err := m.store.Size(context.Background(), name)
	if err != nil {
		m.log.Warn("stored messages are not brought", "owner", name, "error", err)
	}
	if err != nil || n == 0 {
		return true
	}
	c := &catching{s: s, since: storage.IDAt(time.Now()), dones: []func(){done}, gone: make(chan struct{}), narrow: s.Held(), limit: firstPage}
	o := sh.state(name)
	if o.catching == nil {
		o.catching = map[*router.Session]*catching{}
	}
	o.catching[s] = c
	go m.run(user, c)
	return false
}

// bring catches up without holding the account: for what is stored though somebody could have taken it.
func (m *module) bring(user jid.JID) {
	if s := best(m.router.Sessions(user)); s != nil {
		go m.catchUp(s, func() {})
	}
}

// best is the session that stored messages go to: XEP-0160 §2, RFC 6121 §8.5.2.1.1; if possible none that has more than it
// takes as it is.
func best(list []*router.Session) (s *router.Session) {
	for _, one := range list {
		if !ready(one) {
			continue
		}
		if s == nil || s.Held() && !one.Held() || s.Held() == one.Held() && one.Priority() > s.Priority() {
			s = one
		}
	}
	return s
}

func ready(s *router.Session) bool { return s.Presence() != nil && s.Priority() >= 0 }

// run sends what is stored, page by page.
func (m *module) run(user jid.JID, c *catching) {
	for ready(c.s) {
		n, ok := m.page(user, c)
		if !ok { // it has ended: what it was given must be back before another gets the rest
			<-c.gone
			break
		}
		if n == 0 && m.finish(user, c) {
			return
		}
	}
	var dones []func()
	m.router.WithOwner(user.String(), func() { dones = m.end(user, c) })
	for _, done := range dones { // the others wait for the rest
		m.catchUp(c.s, done)
	}
}

// end forgets a session that has caught up, or will not. The caller holds the owner's lock.
func (m *module) end(user jid.JID, c *catching) (dones []func()) {
	name := user.String()
	sh := m.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	o := sh.state(name)
	delete(o.catching, c.s)
	sh.tidy(name, o)
	return c.dones
}

// await waits until a session takes more. If that takes long, as it does when its connection is lost, new messages queue for
// this session alone from then on, and what is stored is for the others to take.
func (m *module) await(user jid.JID, c *catching) error {
	if !c.narrow {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if c.s.Detached() {
			cancel()
		}
		err := c.s.WaitBelow(ctx, inFlight)
		if err == nil || ctx.Err() == nil {
			return err
		}
		m.narrowed(user, c)
	}
	return c.s.WaitBelow(context.Background(), inFlight)
}

// narrowed turns the hold of the account into one of the session.
func (m *module) narrowed(user jid.JID, c *catching) {
	name := user.String()
	var dones []func()
	m.router.WithOwner(name, func() {
		sh := m.shard(name)
		sh.mu.Lock()
		defer sh.mu.Unlock()
		dones = c.dones
		c.dones, c.narrow = []func(){m.router.Hold(c.s)}, true
	})
	for _, done := range dones {
		// What others might have been given meanwhile is stored: they get it before anything new.
		if other := best(m.router.Sessions(user)); other != nil && !other.Held() {
			m.catchUp(other, done)
			continue
		}
		done()
	}
}

// page sends one page. It returns how many records it has seen, and false if the session has ended.
func (m *module) page(user jid.JID, c *catching) (n int, ok bool) {
	s := c.s
	if m.await(user, c) != nil {
		return 0, false
	}
	name := user.String()
	sh := m.shard(name)
	sh.mu.Lock()
	select {
	case <-c.gone: // nobody would end the flight of what is marked now
		sh.mu.Unlock()
		return 0, false
	default:
	}
	if c.again {
		c.again, c.after = false, 0
	}
	records, _, err := m.store.Page(context.Background(), name, storage.Query{After: c.after, Limit: c.limit})
	if err != nil {
		sh.mu.Unlock()
		m.log.Warn("stored messages are not brought", "owner", name, "error", err)
		return 0, true
	}
	o := sh.state(name)
	var parcels []parcel
	size := 0
	// What does not fit is read again: the next page is as long as this one should have been.
	c.limit = min(2*c.limit, pageSize)
	for i := range records {
		if size >= inFlight {
			records, c.limit = records[:i], i
			break
		}
		size += len(records[i].Data)
		id := records[i].ID
		c.after = id
		if _, flies := o.flight[id]; flies {
			continue
		}
		p, err := m.parcel(c, s, &records[i])
		if err != nil {
			m.log.Error("stored message is skipped", "owner", name, "id", id, "error", err)
			continue
		}
		for _, t := range p.to {
			o.mark(id, t)
		}
		if p.to != nil {
			parcels = append(parcels, p)
		}
	}
	sh.mu.Unlock()
	var batch router.Batch
	defer batch.Flush()
	for i := range parcels {
		p := &parcels[i]
		for _, t := range p.to {
			// What a session does not take any more stays marked until it has ended.
			if !t.Send(&batch, router.Delivery{Stanza: &p.stanza, Kept: p.id}) && t == s {
				return len(records), false
			}
		}
	}
	return len(records), true
}

// parcel is one stored message on its way.
type parcel struct {
	id     uint64
	stanza xmpp.Stanza
	to     []*router.Session
}

// parcel reads a stored message and says who gets it: the session that is being sent to, but for one
// that others would have been given had the account not been held. The caller holds the shard, so that
// no session it finds in the table has passed Ended.
func (m *module) parcel(c *catching, s *router.Session, r *storage.Record) (p parcel, err error) {
	var settled bool
	if p.stanza, settled, err = readRecord(r.Data); err != nil {
		return p, err
	}
	p.id = r.ID
	owner := s.Bare().String()
	payload := append(make([]byte, 0, len(p.stanza.Payload)+192+2*len(owner)), p.stanza.Payload...)
	payload = appendDelay(payload, s.Bare().Domain(), r.Time())
	if !settled {
		payload = router.AppendStanzaID(payload, owner, r.ID)
	}
	p.stanza.Payload = payload
	if to := p.stanza.To; to.IsFull() && to != s.Addr() {
		t := m.router.Session(to)
		switch { // RFC 6121 §8.5.3.1
		case t == nil || r.ID < c.since && !t.Held():
		case t.Held(): // it comes to it by itself
			return p, nil
		default:
			p.to = []*router.Session{t}
			return p, nil
		}
	}
	if r.ID < c.since || p.stanza.To == s.Addr() {
		p.to = []*router.Session{s}
		return p, nil
	}
	for _, t := range m.router.Sessions(s.Bare()) { // RFC 6121 §8.5.2.1.1
		if t == s || ready(t) && !t.Held() && !t.Full() {
			p.to = append(p.to, t)
		}
	}
	if p.to == nil { // s is leaving
		p.to = []*router.Session{s}
	}
	return p, nil
}

// finish ends the catching up if nothing is left. It looks under the owner's lock, so that nothing is stored in between.
func (m *module) finish(user jid.JID, c *catching) (finished bool) {
	name := user.String()
	m.router.WithOwner(name, func() {
		sh := m.shard(name)
		sh.mu.Lock()
		left, _, err := m.store.Page(context.Background(), name, storage.Query{After: c.after, Limit: 1})
		finished = !c.again && (err != nil || len(left) == 0)
		sh.mu.Unlock()
		if finished {
			for _, done := range m.end(user, c) {
				done()
			}
		}
	})
	return finished
}
