package offline

import (
	"context"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

const (
	pageSize = 50
	// inFlight is how many bytes a session may have queued or unacknowledged before it is sent more.
	inFlight = 256 << 10
)

// catching is an account that is being brought what is stored for it, by one
// goroutine at a time, so that nothing is sent twice.
type catching struct {
	dones []func()        // guarded by the shard; called at the end
	again bool            // guarded by the shard; something may be stored before the cursor
	to    *router.Session // guarded by the shard; nil between two sessions
	gone  chan struct{}   // closed when to has ended and given back its rest
	after uint64          // the cursor, of the goroutine
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
			c := &catching{dones: []func(){done}}
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
	records, _, err := m.store.Page(context.Background(), name, storage.Query{After: c.after, Limit: pageSize})
	if err != nil {
		sh.mu.Unlock()
		m.log.Warn("stored messages are not brought", "owner", name, "error", err)
		return 0, true
	}
	o := sh.state(name)
	fresh := records[:0:0]
	for _, r := range records {
		c.after = r.ID
		if _, flies := o.flight[r.ID]; !flies {
			o.mark(r.ID, s)
			fresh = append(fresh, r)
		}
	}
	sh.mu.Unlock()
	var batch router.Batch
	ok = true
	for i := range fresh {
		if ok = m.send(s, &batch, name, &fresh[i]); !ok {
			break
		}
	}
	batch.Flush()
	return len(records), ok
}

// send gives one stored message to the session. What it does not take stays marked until it has ended.
func (m *module) send(s *router.Session, b *router.Batch, name string, r *storage.Record) bool {
	stanza, err := readRecord(r.Data)
	if err != nil {
		m.log.Error("stored message is skipped", "owner", name, "id", r.ID, "error", err)
		return true
	}
	p := append(make([]byte, 0, len(stanza.Payload)+192+2*len(name)), stanza.Payload...)
	p = appendDelay(p, s.Bare().Domain(), r.Time())
	stanza.Payload = appendStanzaID(p, name, r.ID)
	return s.Send(b, router.Delivery{Stanza: &stanza, Kept: r.ID})
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
