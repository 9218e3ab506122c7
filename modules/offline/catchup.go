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

// catching is an account that is being brought what is stored for it, by one
// goroutine at a time, so that nothing is sent twice.
type catching struct {
	since uint64          // what is stored from here on found the account held
	dones []func()        // guarded by the shard; called at the end
	again bool            // guarded by the shard; something may be stored before the cursor
	to    *router.Session // guarded by the shard; nil between two sessions
	gone  chan struct{}   // closed when to has ended and given back its rest
	after uint64          // the cursor, of the goroutine
	limit int             // records of the next page, likewise
}

// catchUp implements router.Module.CatchUp. It is called at each login, and nearly always
// nothing is stored. It looks under the owner's lock: nothing can come in between.
func (m *module) catchUp(s *router.Session, done func()) {
	name := s.Bare().String()
	m.router.WithOwner(name, func() {
		sh := m.shard(name)
		sh.mu.Lock()
		if o := sh.owners[name]; o != nil && o.catching != nil {
			o.catching.dones = append(o.catching.dones, done)
			o.catching.again = true
			sh.mu.Unlock()
			return
		}
		n, _, err := m.store.Size(context.Background(), name)
		if err == nil && n > 0 {
			c := &catching{since: storage.IDAt(time.Now()), dones: []func(){done}, limit: firstPage}
			sh.state(name).catching = c
			sh.mu.Unlock()
			go m.run(s.Bare(), c, s)
			return
		}
		sh.mu.Unlock()
		if err != nil {
			m.log.Warn("stored messages are not brought", "owner", name, "error", err)
		}
		done()
	})
}

// bring catches up without holding the account: for what is stored though somebody could have taken it.
func (m *module) bring(user jid.JID) {
	if s := best(m.router.Sessions(user)); s != nil {
		go m.catchUp(s, func() {})
	}
}

// best is the session that stored messages go to: XEP-0160 §2, RFC 6121 §8.5.2.1.1.
func best(list []*router.Session) (s *router.Session) {
	for _, one := range list {
		if ready(one) && (s == nil || one.Priority() > s.Priority()) {
			s = one
		}
	}
	return s
}

func ready(s *router.Session) bool { return s.Presence() != nil && s.Priority() >= 0 }

// run sends what is stored, page by page, to s or to who is best placed after it.
func (m *module) run(user jid.JID, c *catching, s *router.Session) {
	for {
		if s == nil || !ready(s) || !m.turnTo(user, c, s) {
			s = best(m.router.Sessions(user))
			if s == nil || !m.turnTo(user, c, s) {
				if m.finish(user, c, true) {
					return
				}
				continue
			}
		}
		switch n, ok := m.page(user, c, s); {
		case !ok: // it has ended: what it was given must be back before another gets the rest
			<-c.gone
			s, c.after = nil, 0
		case n == 0:
			if m.finish(user, c, false) {
				return
			}
		}
	}
}

// turnTo makes s the session that is sent to, unless it has left.
func (m *module) turnTo(user jid.JID, c *catching, s *router.Session) bool {
	sh := m.shard(user.String())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if c.to == s {
		return true
	}
	if m.router.Session(s.Addr()) != s {
		return false
	}
	c.to, c.gone = s, make(chan struct{})
	return true
}

// page sends one page. It returns how many records it has seen, and false if the session has ended.
func (m *module) page(user jid.JID, c *catching, s *router.Session) (n int, ok bool) {
	if s.WaitBelow(context.Background(), inFlight) != nil {
		return 0, false
	}
	name := user.String()
	sh := m.shard(name)
	sh.mu.Lock()
	if c.to != s { // ended meanwhile: nobody would end the flight of what is marked now
		sh.mu.Unlock()
		return 0, false
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
		parcels = append(parcels, p)
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
	if r.ID < c.since {
		p.to = []*router.Session{s}
		return p, nil
	}
	if to := p.stanza.To; to.IsFull() {
		if t := m.router.Session(to); t != nil { // RFC 6121 §8.5.3.1
			p.to = []*router.Session{t}
			return p, nil
		}
	}
	for _, t := range m.router.Sessions(s.Bare()) { // RFC 6121 §8.5.2.1.1
		if t == s || ready(t) {
			p.to = append(p.to, t)
		}
	}
	if p.to == nil { // s is leaving
		p.to = []*router.Session{s}
	}
	return p, nil
}

// finish ends the catching up if nothing is left, or with nobody if no session can be sent to.
// It looks under the owner's lock, so that nothing is stored in between.
func (m *module) finish(user jid.JID, c *catching, nobody bool) (finished bool) {
	name := user.String()
	m.router.WithOwner(name, func() {
		sh := m.shard(name)
		sh.mu.Lock()
		if nobody {
			if best(m.router.Sessions(user)) != nil {
				sh.mu.Unlock()
				return
			}
		} else {
			left, _, err := m.store.Page(context.Background(), name, storage.Query{After: c.after, Limit: 1})
			if c.again || err == nil && len(left) > 0 {
				sh.mu.Unlock()
				return
			}
		}
		o := sh.state(name)
		o.catching = nil
		sh.tidy(name, o)
		dones := c.dones
		sh.mu.Unlock()
		for _, done := range dones {
			done()
		}
		finished = true
	})
	return finished
}
