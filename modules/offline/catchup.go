package offline

import (
	"context"
	"errors"
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

// awayFor is after what time somebody looks again whether storage is back, at first; then more and more seldom.
const (
	awayFor  = 200 * time.Millisecond
	awayMost = 5 * time.Second
)

// catching is a session that is being brought what is stored for its account, by one goroutine. One at a time does it
// for the whole account; those that take nothing for a while, or are full, do it for themselves beside it, and so do
// those without presence, for what names them. A stored message is given to the first that comes to it.
type catching struct {
	s     *router.Session
	gone  chan struct{} // closed when s has ended and given back its rest
	after uint64        // the cursor, of the goroutine
	limit int           // records of the next page, likewise
	pause time.Duration // before storage that is away is asked again, likewise

	// The shard guards the rest.
	since uint64   // what is stored from here on found the account held
	dones []func() // called at the end
	again bool     // something may be stored for it before the cursor
	named bool     // it has no presence: it is brought nothing but what names it
	alone bool     // messages queue in storage for this session, not for the account: so long it is held by itself
}

// catchUp implements router.Module.CatchUp. It is called at each login, and nearly always nothing is stored.
func (m *module) catchUp(s *router.Session, done func()) { m.goOn(s, storage.IDAt(time.Now()), done) }

// goOn is catchUp for an account that has been held since then. It looks under the owner's lock: nothing can come in
// between.
func (m *module) goOn(s *router.Session, since uint64, done func()) {
	name := s.Bare().String()
	m.router.WithOwner(name, func() {
		if m.begin(name, s, since, done) {
			done()
		}
	})
}

// begin begins to bring a session what is stored, or the one that is best placed if it has left or takes nothing. It
// says whether there is no need to hold the account for that. The caller holds the owner's lock.
func (m *module) begin(name string, s *router.Session, since uint64, done func()) (free bool) {
	sh := m.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	away := m.gather(sh, name)
	if o := sh.owners[name]; o != nil {
		if c := o.catching[s]; c != nil {
			c.again = true // it may be given more than before, since it has got its presence
		}
		for _, c := range o.catching {
			// The one that is at it goes on, so that what it may give back is not overtaken.
			if !c.alone {
				c.again, c.since = true, min(c.since, since)
				c.dones = append(c.dones, done)
				return false
			}
		}
	}
	// Whoever is found in the table with the shard held has not passed Ended.
	list := m.router.Sessions(s.Bare())
	if len(list) == 0 {
		return true
	}
	n, _, err := m.store.Size(context.Background(), name)
	switch {
	case away != nil, errors.Is(err, storage.ErrUnavailable): // what may wait there must not be overtaken
	case err != nil:
		m.log.Warn("stored messages are not brought", "owner", name, "error", err)
		return true
	case n == 0:
		return true
	}
	if !ready(s) || s.Held() || m.router.Session(s.Addr()) != s {
		s = best(list)
	}
	if s == nil || s.Held() { // then each is brought what it can be
		for _, one := range list {
			m.alone(sh, one)
		}
		return true
	}
	m.start(sh, &catching{s: s, since: since, dones: []func(){done}})
	return false
}

// start begins to bring a session what is stored. The caller holds the shard.
func (m *module) start(sh *shard, c *catching) {
	o := sh.state(c.s.Bare().String())
	if o.catching == nil {
		o.catching = map[*router.Session]*catching{}
	}
	o.catching[c.s] = c
	c.gone, c.limit = make(chan struct{}), firstPage
	go m.run(c)
}

// alone has a session catch up by itself. The caller holds the owner's lock and the shard.
func (m *module) alone(sh *shard, s *router.Session) {
	c := sh.state(s.Bare().String()).catching[s]
	if c == nil {
		c = &catching{s: s, since: storage.IDAt(time.Now())}
		m.start(sh, c)
	}
	c.again = true
	if !c.alone {
		c.alone, c.dones = true, append(c.dones, m.router.Hold(s))
	}
}

// behind implements router.Module.Behind. The account is not held: nobody has to wait for this session.
func (m *module) behind(s *router.Session) {
	sh := m.shard(s.Bare().String())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	m.alone(sh, s)
}

// bring catches up without holding the account: for what is stored though somebody could have taken it.
func (m *module) bring(user jid.JID) {
	list := m.router.Sessions(user)
	if len(list) == 0 {
		return
	}
	s := best(list)
	if s == nil {
		s = list[0]
	}
	go m.catchUp(s, func() {})
}

// best is the session that stored messages go to: XEP-0160 §2, RFC 6121 §8.5.2.1.1; if possible none that has more than
// it takes as it is.
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

// run sends what is stored, page by page. While storage is away it waits for it: what comes meanwhile must not overtake
// what is there.
func (m *module) run(c *catching) {
	for {
		n, err := m.page(c)
		switch {
		case errors.Is(err, errGone): // what it was given must be back before another gets the rest
			<-c.gone
		case err != nil:
			m.outage(c)
		default:
			c.pause = 0
		}
		if m.leave(c) || err == nil && n == 0 && m.finish(c) {
			return
		}
	}
}

// outage waits until storage answers for the account again, or the session has no need any more. It asks without the
// shard, which a question that is not answered for long would keep from others.
func (m *module) outage(c *catching) {
	for {
		c.pause = min(max(2*c.pause, awayFor), awayMost)
		select {
		case <-c.gone:
			return
		case <-time.After(c.pause):
		}
		if !m.stays(c) {
			return
		}
		_, _, err := m.store.Size(context.Background(), c.s.Bare().String())
		if !errors.Is(err, storage.ErrUnavailable) {
			return
		}
	}
}

// errGone says that a session has ended.
var errGone = errors.New("the session has ended")

// leave ends the catching up if the session has ended, or may not be brought what is for the account, and leaves the
// rest to others.
func (m *module) leave(c *catching) bool {
	if m.stays(c) {
		return false
	}
	name := c.s.Bare().String()
	left := false
	m.router.WithOwner(name, func() {
		if left = !m.stays(c); left { // and it is not alone since the look
			m.end(name, c)
		}
	})
	if left {
		for _, done := range c.dones {
			m.goOn(c.s, c.since, done)
		}
	}
	return left
}

// stays says whether the session goes on to catch up. One that has left the table does until it has given back what it
// was given: another would be brought what is behind that.
func (m *module) stays(c *catching) bool {
	sh := m.shard(c.s.Bare().String())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	select {
	case <-c.gone:
		return false
	default:
		return c.alone || ready(c.s) || m.router.Session(c.s.Addr()) != c.s
	}
}

// finish ends the catching up if nothing is left. It looks under the owner's lock, so that nothing is stored in
// between.
func (m *module) finish(c *catching) (finished bool) {
	name := c.s.Bare().String()
	m.router.WithOwner(name, func() {
		left, _, err := m.store.Page(context.Background(), name, storage.Query{After: c.after, Limit: 1})
		if c.again || err == nil && len(left) > 0 || errors.Is(err, storage.ErrUnavailable) {
			return
		}
		finished = true
		m.end(name, c)
		for _, done := range c.dones {
			done()
		}
	})
	return finished
}

// end forgets a session that has caught up, or will not. The caller holds the owner's lock, without which nobody adds
// to what is to be done then.
func (m *module) end(name string, c *catching) {
	sh := m.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	o := sh.state(name)
	delete(o.catching, c.s)
	sh.tidy(name, o)
}

// await waits until a session takes more. If that takes long, as it does when its connection is lost, new messages
// queue for this session alone from then on, and what is stored is for the others to take.
func (m *module) await(c *catching) error {
	sh := m.shard(c.s.Bare().String())
	sh.mu.Lock()
	alone := c.alone
	sh.mu.Unlock()
	if !alone {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if c.s.Detached() {
			cancel()
		}
		err := c.s.WaitBelow(ctx, inFlight)
		if err == nil || ctx.Err() == nil {
			return err
		}
		m.part(c)
	}
	return c.s.WaitBelow(context.Background(), inFlight)
}

// part turns the hold of the account into one of the session. What others might have been given meanwhile is stored:
// they get it before anything new.
func (m *module) part(c *catching) {
	name := c.s.Bare().String()
	var dones []func()
	var since uint64
	m.router.WithOwner(name, func() {
		sh := m.shard(name)
		sh.mu.Lock()
		defer sh.mu.Unlock()
		if !c.alone {
			dones, since, c.dones = c.dones, c.since, nil
			m.alone(sh, c.s)
		}
	})
	for _, done := range dones {
		m.goOn(c.s, since, done)
	}
}

// page sends one page. It returns how many records it has seen. The error is errGone or storage.ErrUnavailable.
func (m *module) page(c *catching) (n int, err error) {
	s := c.s
	if m.await(c) != nil {
		return 0, errGone
	}
	name := s.Bare().String()
	sh := m.shard(name)
	sh.mu.Lock()
	select {
	case <-c.gone: // nobody would end the flight of what is marked now
		sh.mu.Unlock()
		return 0, errGone
	default:
	}
	if err := m.gather(sh, name); err != nil {
		sh.mu.Unlock()
		return 0, err
	}
	if c.again {
		c.again, c.after, c.named = false, 0, false
	}
	c.named = c.named || !ready(s) // from here on, and not back before it begins again: the order stays
	records, _, err := m.store.Page(context.Background(), name, storage.Query{After: c.after, Limit: c.limit})
	if err != nil {
		sh.mu.Unlock()
		if errors.Is(err, storage.ErrUnavailable) {
			return 0, err
		}
		m.log.Warn("stored messages are not brought", "owner", name, "error", err)
		return 0, nil
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
		if o.flies(id) {
			continue
		}
		p, err := m.parcel(c, &records[i])
		if err != nil {
			m.log.Error("stored message is skipped", "owner", name, "id", id, "error", err)
			continue
		}
		for _, t := range p.to {
			o.mark(id, t)
		}
		if p.tracked && p.to != nil {
			o.track(id, &p.stanza)
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
				return len(records), errGone
			}
		}
	}
	return len(records), nil
}

// parcel is one stored message on its way.
type parcel struct {
	id      uint64
	stanza  xmpp.Stanza
	to      []*router.Session
	tracked bool
}

// parcel reads a stored message and says who gets it. The caller holds the shard, so that no session it finds in the
// table has passed Ended.
func (m *module) parcel(c *catching, r *storage.Record) (p parcel, err error) {
	var flags byte
	if p.stanza, flags, err = readRecord(r.Data); err != nil {
		return p, err
	}
	if p.to = m.addressees(c, r.ID, p.stanza.To); p.to == nil {
		return p, nil
	}
	p.id, p.tracked = r.ID, flags&trackedBy != 0
	owner := c.s.Bare().String()
	payload := append(make([]byte, 0, len(p.stanza.Payload)+192+2*len(owner)), p.stanza.Payload...)
	since := *r
	if flags&settledID != 0 {
		if archived := router.StanzaID(&p.stanza, owner); archived != 0 {
			since.ID = min(since.ID, archived) // it may have been in the archive alone before
		}
	}
	payload = appendDelay(payload, c.s.Bare().Domain(), since.Time())
	if flags&settledID == 0 {
		payload = router.AppendStanzaID(payload, owner, r.ID)
	}
	p.stanza.Payload = payload
	return p, nil
}

// addressees are the sessions that get a stored message: the one that is being sent to, but for a message that others
// would have been given had the account not been held.
func (m *module) addressees(c *catching, id uint64, to jid.JID) (list []*router.Session) {
	s := c.s
	switch {
	case to == s.Addr():
		return []*router.Session{s}
	case c.named:
		return nil
	}
	if to.IsFull() {
		t := m.router.Session(to)
		switch { // RFC 6121 §8.5.3.1
		case t == nil || id < c.since && !t.Held():
		case t.Held(): // it comes to it by itself
			return nil
		default:
			return []*router.Session{t}
		}
	}
	if id >= c.since {
		for _, t := range m.router.Sessions(s.Bare()) { // RFC 6121 §8.5.2.1.1
			if t == s || ready(t) && !t.Held() && !t.Full() {
				list = append(list, t)
			}
		}
	}
	if list == nil { // it was stored before, or s is leaving
		list = []*router.Session{s}
	}
	return list
}
