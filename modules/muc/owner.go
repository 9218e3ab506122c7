package muc

import (
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// choice is what the service leaves to the owners of a room to choose.
func (m *Rooms) choice() room.Limits {
	l := m.o.Limits()
	return room.Limits{Occupants: l.Occupants, History: l.History}
}

// own configures or destroys the room. It is called with order held.
func (r *hosted) own(e *router.Envelope, q *xmpp.Element) {
	bad := r.MayConfigure(e.Stanza.From)
	var c room.Configuring
	destroy := q.ChildLocal("destroy")
	if bad == nil && destroy == nil {
		if c, bad = r.Configure(q, r.m.choice()); bad == nil && c.Cancelled && r.Locked { // §10.1.3
			destroy = &xmpp.Element{}
		}
	}
	switch {
	case bad != nil:
	case destroy != nil:
		bad = r.destroy(e, destroy)
	case c.Cancelled: // §10.2
		r.m.o.Router.Answer(e, nil)
	default:
		if bad = r.configure(e, c); bad == nil {
			r.endIfOverInOrder(e)
		}
	}
	if bad != nil {
		r.m.refuse(e, bad)
	}
}

// configure lets what an owner has chosen take effect (§10.2).
func (r *hosted) configure(e *router.Envelope, next room.Configuring) *xmpp.Error {
	was, first := r.Conf, r.Locked
	pending, err := r.keepSettings(next.Settings)
	if err != nil {
		return r.m.fault(err)
	}
	r.with(func() {
		c := r.carrier(e.Batch)
		r.Configured(&c.Effects, &was, first)
		c.carryOut()
	})
	more, bad := r.affiliate(e, next.Items, "")
	if bad != nil {
		return bad
	}
	if more != nil {
		e.Await(pending)
		pending = more
	}
	r.m.o.Router.AnswerAfter(e, pending, nil)
	return nil
}

// keepSettings stores new settings, and with them all of a room that is to stay from now on, or forgets one that is
// not. It takes them over. It is called with order held.
func (r *hosted) keepSettings(next room.Settings) (*storage.Pending, error) {
	was, wasLocked := r.Conf, r.Locked
	stored := was.Persistent && !wasLocked
	set := func(conf room.Settings, locked bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.Conf, r.Locked = conf, locked
	}
	set(next, false)
	var pending *storage.Pending
	var err error
	switch {
	case next.Persistent && !stored:
		pending, err = r.storeAll()
	case next.Persistent:
		pending, err = r.store(r.roomChange())
	case stored:
		pending, err = r.unstore()
	}
	if err == nil {
		list, bad := r.m.listed(r.Addr.Domain())
		if err = bad; bad == nil {
			var listed *storage.Pending
			if listed, err = list.set(r.m.o.Rooms, r); pending == nil {
				pending = listed
			}
		}
	}
	if err != nil {
		set(was, wasLocked)
	}
	return pending, err
}

// destroy ends the room (§10.9). It is called with order held.
func (r *hosted) destroy(e *router.Envelope, el *xmpp.Element) *xmpp.Error {
	d, bad := room.ReadDestruction(el)
	if bad != nil {
		return bad
	}
	r.with(func() {
		r.state = gone
		c := r.carrier(e.Batch)
		r.Destroy(&c.Effects, d)
		c.carryOut()
	})
	r.m.o.Router.AnswerAfter(e, r.erase(), nil)
	return nil
}
