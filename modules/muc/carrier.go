package muc

import (
	"sync"
	"time"

	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/xmpp"
)

// A carrier carries out what a room wants done, with one envelope for all recipients. It is used with the room locked.
type carrier struct {
	room.Effects
	r       *hosted
	env     router.Envelope
	asked   *router.Envelope // the request that is answered in between; nil: there is none
	durable *router.Envelope // awaits what must be durable before its sender is told so; nil: nobody waits

	lost     []*room.Seat    // that could not be given a message
	entering *router.Session // that takes no more for now
	rest     []xmpp.Stanza   // what it is to be brought
}

var carriers = sync.Pool{New: func() any { return new(carrier) }}

// carrier returns one, for a method of the room to fill in and for carryOut.
func (r *hosted) carrier(b *router.Batch) *carrier {
	c := carriers.Get().(*carrier)
	c.r, c.env.Batch = r, b
	return c
}

// carryOut does what the effects say, after which the carrier must not be used. It removes clients that could not be
// given a message from the room, for they would miss it and not know. What it returns is for carryLater.
func (c *carrier) carryOut() (later []xmpp.Stanza) {
	r := c.r
	for {
		for _, m := range c.Moves {
			if m.In {
				r.m.guests.enter(m.Client, r)
			} else {
				r.m.guests.leave(m.Client, r)
				r.used = time.Now()
			}
		}
		r.m.memory.give(r, c.Freed)
		for _, d := range c.Deliveries {
			c.deliver(d)
		}
		c.bringRest()
		later = append(later, c.Later...)
		c.Effects.Reset()
		if len(c.lost) == 0 {
			break
		}
		for _, s := range c.lost {
			if r.Seat(s.Full) == s {
				r.Leave(&c.Effects, s, room.Departure{Codes: []int{333}, Reason: "messages cannot be delivered"})
			}
		}
		clear(c.lost)
		c.lost, c.durable = c.lost[:0], nil
	}
	c.env.Reset()
	c.r, c.env.Batch, c.asked, c.durable, c.entering, c.rest = nil, nil, nil, nil, nil, nil
	carriers.Put(c)
	return later
}

// deliver gives a client its stanza.
func (c *carrier) deliver(d room.Delivery) {
	to := c.r.m.o.Router
	if d.To == nil {
		to.Answer(c.asked, nil)
		return
	}
	full := d.To.Full
	if d.Present && to.Absent(full) {
		return
	}
	head := &c.Stanzas[d.Stanza]
	head.To = full
	if d.Step {
		if session, ok := d.To.Session.(*router.Session); ok && (len(c.rest) > 0 || !session.TakesMore()) {
			c.entering, c.rest = session, append(c.rest, *head)
			return
		}
	}
	c.env.Reset()
	c.env.Stanza, c.env.Quiet, c.env.Own, c.env.Shared = head, true, true, true
	if c.durable != nil {
		c.env.Durable = c.durable.Durable
	}
	to.Route(&c.env)
	if c.durable != nil {
		c.durable.Await(c.env.Pendings...)
	}
	// A queue that is full for a moment says nothing of the client at its end (RFC 6120 §8.3.3.18).
	if c.env.Outcome == router.Refused && head.Kind == xmpp.Message && c.env.Err.Condition != xmpp.CondResourceConstraint {
		c.lost = append(c.lost, d.To)
	}
}

// stanzaSize is roughly the memory of a stanza without its payload.
const stanzaSize = 256

// bringRest brings a client that enters what it has not taken at once, ahead of what is said from now on.
func (c *carrier) bringRest() {
	if len(c.rest) == 0 {
		return
	}
	rest, next, to := c.rest, 0, c.r.m.o.Router
	var env router.Envelope
	size := 0
	for i := range rest {
		size += stanzaSize + len(rest[i].Payload)
	}
	c.entering.Bring(c.env.Batch, c.r.Addr, size, func(b *router.Batch) bool {
		env.Reset()
		env.Stanza, env.Quiet, env.Own, env.Batch = &rest[next], true, true, b
		to.Route(&env)
		rest[next] = xmpp.Stanza{}
		next++
		return next < len(rest)
	})
	c.entering, c.rest = nil, nil
}

// carryLater sends what may be kept in storage. It is called without mu. The caller may hold order, so nothing of it
// may come back to a room at once: refusals end there (Router.Emit), and rooms are not written to.
func (m *Rooms) carryLater(later []xmpp.Stanza, b *router.Batch) {
	for i := range later {
		m.o.Router.Emit(&later[i], b)
	}
}
