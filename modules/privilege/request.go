package privilege

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	// patience is how long a request waits for its answer, and mostWaiting how many of one component do.
	patience    = time.Minute
	mostWaiting = 1000
	// mostPushes is how many changes of rosters may wait to be told.
	mostPushes = 10000
	// idPrefix is of requests in the names of users.
	idPrefix = "privilege-"
)

// A question is a request in the name of a user, by what its answer says.
type question struct {
	user jid.JID
	id   string
}

// A request is what a component has asked for a user.
type request struct {
	p         *Privileges
	q         question
	component string
	timer     *time.Timer
	late      xmpp.Stanza // what answers it where nothing else does
	done      atomic.Bool
	answer    func(*xmpp.Stanza) // called once, with the answer, which is borrowed
}

// request sends a request in the name of a user (§6.3).
func (p *Privileges) request(e *router.Envelope, v *config.Privilege) {
	user, outer := e.Stanza.To, e.Stanza
	el := outer.Child(requestName)
	s, bad := stanzaOf(el.Child(xmpp.Name{Space: xmpp.NSClient, Local: "iq"}))
	if bad != nil {
		e.Refuse(bad)
		return
	}
	payload, _ := s.First()
	a := v.IQ[payload.Space]
	allowed := s.Type == xmpp.TypeGet && a.Gets() || s.Type == xmpp.TypeSet && a.Sets()
	if !allowed || s.Type != outer.Type || !s.From.IsZero() && s.From != user {
		e.Refuse(xmpp.Forbidden(""))
		return
	}
	if !p.managed(e, user) {
		return
	}
	from, outerID, id := outer.From, strings.Clone(outer.ID), s.ID
	p.ask(e, &s, func(r *xmpp.Stanza) {
		in := *r
		in.ID, in.From, in.To = id, r.From, user
		w := xmpp.NewWriter(nil).Start(ns, "privilege").Start(xmpp.NSForward, "forwarded").
			Raw(in.AppendQualified(nil)).End().End()
		out := xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeResult, ID: outerID, From: user, To: from, Payload: w.Bytes()}
		p.o.Router.Emit(&out, nil)
	})
}

// roster reads or changes the roster of a user (§4.3), as a client would.
func (p *Privileges) roster(e *router.Envelope) {
	user, outer := e.Stanza.To, e.Stanza
	if !p.managed(e, user) {
		return
	}
	s := xmpp.Stanza{Kind: xmpp.IQ, Type: outer.Type, Payload: outer.Payload}
	var friend jid.JID
	if outer.Type == xmpp.TypeGet { // whole: there is nobody to push the rest of a version to
		s.Payload = []byte("<query xmlns='" + xmpp.NSRoster + "'/>")
	} else {
		friend = ownContact(outer.Child(rosterName), e.Component)
	}
	from, id := outer.From, strings.Clone(outer.ID)
	p.ask(e, &s, func(r *xmpp.Stanza) {
		out := xmpp.Stanza{Kind: xmpp.IQ, Type: r.Type, ID: id, From: user, To: from, Payload: r.Payload}
		if r.Type == xmpp.TypeResult && !friend.IsZero() {
			var b router.Batch
			w, err := p.o.Roster.Befriend(&b, user, friend)
			b.Flush()
			if err == nil {
				err = w.Wait(context.Background())
			}
			if err != nil {
				p.o.Log.Warn("a contact that a component gave a user has no subscription", "user", user, "contact", friend,
					"error", err)
				out.Type, out.Payload = xmpp.TypeError, router.Unavailable().Append(nil)
			}
		}
		p.o.Router.Emit(&out, nil)
	})
}

// ownContact is the contact of a roster set that is to have both subscriptions, if it is one of the component's own:
// the component would answer for it what is asked. Of all others the server alone knows how subscriptions are (RFC 6121
// §2.3.1).
func ownContact(query *xmpp.Element, component string) (contact jid.JID) {
	for _, it := range query.Children() {
		j, err := jid.Parse(it.Attr("jid"))
		if err == nil && it.Attr("subscription") == "both" && j.Domain() == component {
			contact = j.Bare()
		}
	}
	return contact
}

// ask sends a request in the name of the user to whom a component has addressed the envelope, and calls answer when it
// is answered, or has not been for too long. The stanza has no id yet, or one that is replaced.
func (p *Privileges) ask(e *router.Envelope, s *xmpp.Stanza, answer func(*xmpp.Stanza)) {
	user := e.Stanza.To
	s.From, s.ID = user, idPrefix+rand.Text()
	r := &request{p: p, q: question{user, s.ID}, component: e.Component, answer: answer}
	r.late = s.ErrorReply(xmpp.RemoteServerTimeout(""))
	p.mu.Lock()
	full := p.of[e.Component] >= mostWaiting
	if !full {
		p.of[e.Component]++
		p.asked[r.q] = r
		r.timer = time.AfterFunc(patience, func() { r.answerWith(&r.late) })
	}
	p.mu.Unlock()
	if full {
		e.Refuse(xmpp.ResourceConstraint(strconv.Itoa(mostWaiting) + " requests wait for their answers").
			WithType(xmpp.ErrorWait))
		return
	}
	e.Settle(router.Delivered)
	one := router.Envelope{Stanza: s, Session: p.o.Router.Deputy(user, r), Account: user, Component: e.Component,
		Budget: e.Budget}
	p.o.Router.Route(&one)
}

// answerWith ends the request.
func (r *request) answerWith(s *xmpp.Stanza) {
	if !r.done.CompareAndSwap(false, true) {
		return
	}
	r.p.mu.Lock()
	r.timer.Stop()
	delete(r.p.asked, r.q)
	if r.p.of[r.component]--; r.p.of[r.component] == 0 {
		delete(r.p.of, r.component)
	}
	r.p.mu.Unlock()
	owned := s.Clone()
	go r.answer(&owned) // whoever answers may hold locks
}

// moved ends requests in the names of users who are at home elsewhere from now on: their answers come there.
func (p *Privileges) moved(gone func(owner string) bool) {
	var over []*request
	p.mu.Lock()
	for q, r := range p.asked {
		if gone(q.user.String()) {
			over = append(over, r)
		}
	}
	p.mu.Unlock()
	for _, r := range over {
		r.answerWith(&r.late)
	}
}

// answered sees what answers a request that has left, to another server or a session.
func (p *Privileges) answered(e *router.Envelope) {
	s := e.Stanza
	if !s.IsAnswer() || s.To.Resource() != "" {
		return
	}
	p.mu.Lock()
	r := p.asked[question{s.To, s.ID}]
	p.mu.Unlock()
	if r != nil {
		e.Settle(router.Delivered)
		r.answerWith(s)
	}
}

// Send implements router.Outlet: it gets what is said to whoever has sent the request.
func (r *request) Send(d router.Delivery) (wake, ok bool) {
	if d.Stanza.IsAnswer() && d.Stanza.ID == r.q.id {
		r.answerWith(d.Stanza)
	}
	return false, true
}

func (*request) Flush()                               {}
func (*request) Prompt() bool                         { return true }
func (*request) Detached() bool                       { return false }
func (*request) Full() bool                           { return false }
func (*request) WaitBelow(context.Context, int) error { return nil }
func (*request) End(string, string)                   {}

// nobody is the outlet of whoever expects no answer.
type nobody struct{}

func (nobody) Send(router.Delivery) (wake, ok bool) { return false, true }
func (nobody) Flush()                               {}
func (nobody) Prompt() bool                         { return true }
func (nobody) Detached() bool                       { return false }
func (nobody) Full() bool                           { return false }
func (nobody) WaitBelow(context.Context, int) error { return nil }
func (nobody) End(string, string)                   {}

// changed tells components of a change of a roster (§4.4). The roster is locked, and what looks at a stanza on its way
// may ask for it: so another goroutine sends them, in order.
func (p *Privileges) changed(_ *router.Batch, user jid.JID, payload func() []byte) {
	var all []xmpp.Stanza
	for component, v := range p.o.Privileges() {
		if v.Pushes() && v.Of(user.Domain()) {
			all = append(all, xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: "push-" + rand.Text(), From: user,
				To: jid.MustParse(component), Payload: payload()})
		}
	}
	if len(all) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pushes) >= mostPushes {
		p.o.Log.Warn("a change of a roster is not told to components: too many are on their way", "user", user)
		return
	}
	if p.pushes = append(p.pushes, all...); !p.pushing {
		p.pushing = true
		go p.push()
	}
}

// push sends what changed has left.
func (p *Privileges) push() {
	for {
		p.mu.Lock()
		all := p.pushes
		p.pushes = nil
		if p.pushing = len(all) > 0; !p.pushing {
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		for i := range all {
			p.o.Router.Emit(&all[i], nil)
		}
	}
}
