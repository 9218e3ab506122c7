package muc

import (
	"strings"
	"time"

	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// presence enters a room, changes something in it or leaves it (XEP-0045 §7.2, §7.6, §7.7, §7.14, §17.3).
func (m *Rooms) presence(e *router.Envelope) {
	s := e.Stanza
	switch s.Type {
	case xmpp.TypeAvailable:
		if !m.proven(e) {
			e.Refuse(xmpp.Forbidden("only a session may enter a room"))
			return
		}
		if strings.TrimSpace(s.To.Resource()) == "" { // §7.2.1, §17.1
			m.refuse(e, xmpp.JIDMalformed("a nick is needed"))
			return
		}
		switch {
		case !m.guests.mayMove(s.From.Bare().String(), m.o.Limits(), time.Now()) && !m.exempt(e):
			m.refuse(e, xmpp.ResourceConstraint("you are moving too fast"))
		case s.Has(room.JoinName):
			m.enter(e)
		default:
			m.change(e)
		}
	case xmpp.TypeUnavailable:
		e.Settle(router.Dropped) // also for a client that is not in the room: §17.3
		m.part(e, room.Parting(s))
	case xmpp.TypeError:
		e.Settle(router.Dropped)
		m.partFor(e, s.Err())
	case xmpp.TypeInvalid:
		m.refuse(e, xmpp.BadRequest("a type of presence that does not exist"))
	case xmpp.TypeProbe:
		e.Settle(router.Dropped)
		m.probed(e)
	default: // §17.3: no request to enter or to leave
		e.Settle(router.Dropped)
	}
}

// partFor takes the sender of an error out of the room, if the error means that it is there no more.
func (m *Rooms) partFor(e *router.Envelope, err *xmpp.Error) {
	if room.Deadly(err.Condition) {
		m.part(e, room.Departure{ID: e.Stanza.ID, Codes: []int{333}, Reason: "an error came back: " + string(err.Condition)})
	}
}

// part takes the sender out of the room, if it is in it.
func (m *Rooms) part(e *router.Envelope, d room.Departure) {
	r := m.inMemory(e.Stanza.To.Bare())
	if r == nil {
		return
	}
	r.with(func() {
		if s := r.Seat(e.Stanza.From); s != nil {
			r.leave(e.Batch, s, d)
			e.Settle(router.Delivered)
		}
	})
	r.endIfOver()
}

// enter lets the sender in, or says why not (§7.2).
func (m *Rooms) enter(e *router.Envelope) {
	x := e.Stanza.Child(room.JoinName)
	if x == nil {
		m.refuse(e, xmpp.BadRequest(""))
		return
	}
	var entered *hosted
	made := false
	exempt := m.exempt(e)
	maker := m.maker(e, exempt)
	m.visit(e, func(r *hosted) *xmpp.Error { made = true; return maker(r) }, func(r *hosted) {
		entered = r
		limits, ev := m.o.Limits(), event(e)
		c := r.carrier(e.Batch)
		bad := r.Enter(&c.Effects, &ev, room.Entry{Form: x, Places: limits.Occupants, Exempt: exempt, Made: made,
			Crowded: m.others(e.Stanza.From, r) >= limits.RoomsPerUser})
		c.carryOut()
		m.conclude(e, bad)
	})
	if entered != nil {
		entered.endIfOver()
	}
}

// event is what somebody has sent to a room.
func event(e *router.Envelope) room.Event {
	ev := room.Event{Stanza: e.Stanza, Now: time.Now()}
	if e.Session != nil {
		ev.Session, ev.Far = e.Session, e.Carried
	} else {
		ev.Account = e.Account
	}
	return ev
}

// conclude refuses the stanza, or if bad is nil, says that it has done what it was for.
func (m *Rooms) conclude(e *router.Envelope, bad *xmpp.Error) {
	if bad != nil {
		m.refuse(e, bad)
		return
	}
	e.Settle(router.Delivered)
}

// change is what an occupant sends after it has entered: another nick or another availability (§7.6, §7.7).
func (m *Rooms) change(e *router.Envelope) {
	inside := false
	if r := m.inMemory(e.Stanza.To.Bare()); r != nil {
		r.with(func() {
			var bad *xmpp.Error
			ev := event(e)
			c := r.carrier(e.Batch)
			inside, bad = r.Change(&c.Effects, &ev)
			c.carryOut()
			if inside {
				m.conclude(e, bad)
			}
		})
	}
	if !inside { // §7.2.18
		m.o.Router.Emit(room.Stranger(e.Stanza), e.Batch)
		e.Settle(router.Delivered)
	}
}

// probed answers a probe for the presence of an occupant (§17.3). A client outside is not told that there is a room,
// nor of anybody in it.
func (m *Rooms) probed(e *router.Envelope) {
	r := m.inMemory(e.Stanza.To.Bare())
	if r == nil || !e.Stanza.To.IsFull() || !m.proven(e) {
		return
	}
	r.with(func() {
		c := r.carrier(e.Batch)
		if r.Probe(&c.Effects, e.Stanza) {
			e.Settle(router.Delivered)
		}
		c.carryOut()
	})
}

// pingID is the id of the question whether a client is still there.
const pingID = "alive"

// probe looks for clients that have gone without a word.
func (r *hosted) probe(now time.Time) {
	var ask []jid.JID
	var b router.Batch
	r.mu.Lock()
	if r.state == open {
		c := r.carrier(&b)
		ask = r.Missed(&c.Effects, now)
		c.carryOut()
		r.questions.forget(now)
	}
	r.mu.Unlock()
	for _, to := range ask { // a refusal comes back as an error
		r.m.o.Router.Route(&router.Envelope{Batch: &b, Stanza: &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: pingID,
			From: r.Addr, To: to, Payload: []byte("<ping xmlns='urn:xmpp:ping'/>")}})
	}
	b.Flush()
	r.endIfOver()
}
