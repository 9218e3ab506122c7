package muc

import (
	"context"
	"fmt"

	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Where there are several nodes, a room is at home on one of them, and its occupants may be at home on others. What
// nodes say to each other of rooms goes the way of stanzas, which no client can send: Envelope.Own.

var forgetName = xmpp.Name{Space: xmpp.NSNodes, Local: "forget"}

// moved lets go of rooms that are at home elsewhere from now on. Who is in them is told that the service ends (§11.2),
// and enters anew.
func (m *Rooms) moved(left func(owner string) bool) {
	for _, r := range m.loaded() {
		if !left(r.Name) {
			continue
		}
		m.empty(r)
		r.order.Lock()
		r.mu.Lock()
		if r.state == open {
			r.state = gone
			m.forget(r)
		}
		r.mu.Unlock()
		r.order.Unlock()
	}
}

// lost takes clients out whose node has died.
func (m *Rooms) lost(gone func(bare string) bool) {
	m.visits.lost(gone)
	for _, r := range m.loaded() {
		var b router.Batch
		r.with(func() {
			for _, seat := range r.Seats() {
				if seat.Far && gone(seat.Full.Bare().String()) {
					r.leave(&b, seat, room.Departure{Codes: []int{333}, Reason: "its server has ended"})
				}
			}
		})
		b.Flush()
		r.endIfOver()
	}
}

// forgetElsewhere has the home of a room take a deleted user out of it.
func (m *Rooms) forgetElsewhere(ctx context.Context, addr, user jid.JID) error {
	host, err := jid.New("", user.Domain(), "")
	if err != nil {
		return err
	}
	w := xmpp.NewWriter(nil)
	w.Start(xmpp.NSNodes, "forget").Attr("user", user.String()).End()
	e := &router.Envelope{Own: true, Quiet: true, Durable: true,
		Stanza: &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeNormal, From: host, To: addr, Payload: w.Bytes()}}
	e.Stanza.Children = xmpp.Index(e.Stanza.Payload)
	m.o.Router.Route(e)
	for _, p := range e.Pendings {
		if err := p.Wait(ctx); err != nil {
			return err
		}
	}
	if o, bad := e.Settlement(); o == router.Refused && bad != nil {
		return fmt.Errorf("take a deleted account out of %s: %w", addr, bad)
	}
	return nil
}

// ordered does what another node wants of a room, and says whether it was that.
func (m *Rooms) ordered(e *router.Envelope) bool {
	if !e.Own {
		return false
	}
	el := e.Stanza.Child(forgetName)
	if el == nil {
		return false
	}
	if err := m.forgetIn(e.Stanza.To.Bare(), el.Attr("user")); err != nil {
		e.Refuse(m.fault(err))
		return true
	}
	e.Settle(router.Delivered)
	return true
}
