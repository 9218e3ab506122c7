package delegation

import (
	"crypto/rand"
	"strconv"
	"strings"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	// patience is how long a request waits for its answer.
	patience = time.Minute
	// mostWaiting is how many wait for one component, and mostOfOne how many of those are of one account, or of one peer.
	mostWaiting, mostOfOne = 1000, 100
	// idPrefix is of requests to components.
	idPrefix = "delegation-"
)

// A request is what a component is asked.
type request struct {
	place
	counted []string // in Delegations.of
	timer   *time.Timer
	// answer is called once, with the answer, which is borrowed; nil: there is none.
	answer func(*xmpp.Stanza, *router.Batch)
}

// unanswered is what whoever asked is told where the component says nothing that can be passed on (§4.3).
func unanswered() *xmpp.Error {
	return xmpp.ServiceUnavailable("the service does not answer now").WithType(xmpp.ErrorWait)
}

// An errand is a request of somebody that a component is handed.
type errand struct {
	component string
	asker, to jid.JID
	id        string // of the request,
	inner     string // and the one that the component sees
	who       string // among whose requests it counts
	payload   []byte // the <delegation/> with it
}

// forward hands a request to a component (§4.3).
func (d *Delegations) forward(e *router.Envelope, to jid.JID, component string) {
	s := e.Stanza
	inner := *s
	if inner.ID == "" { // the server serves requests without an id, the component need not
		inner.ID = rand.Text()
	}
	w := xmpp.NewWriter(nil).Start(ns, "delegation").Start(xmpp.NSForward, "forwarded").
		Raw(inner.AppendQualified(nil)).End().End()
	who := s.From.Bare().String()
	if e.Peer != "" {
		who = e.Peer
	}
	x := &errand{component: component, asker: s.From, to: to, id: strings.Clone(s.ID), inner: strings.Clone(inner.ID),
		who: who, payload: w.Bytes()}
	if !d.o.Router.Here(component) {
		d.pass(e, x)
		return
	}
	if bad := d.hand(e, x); bad != nil {
		e.Refuse(bad)
		return
	}
	e.Settle(router.Delivered)
}

// hand does an errand. The error is for whoever asks.
func (d *Delegations) hand(e *router.Envelope, x *errand) *xmpp.Error {
	r := &request{place: place{x.component, x.to.Domain()},
		counted: []string{x.component, "of " + x.who + " by " + x.component},
		answer: func(a *xmpp.Stanza, b *router.Batch) {
			out := xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeResult, ID: x.id, From: x.to, To: x.asker}
			payload, ok := d.enclosed(a, x.inner, x.asker, x.to)
			if out.Payload = payload; !ok {
				out.Type, out.Payload = xmpp.TypeError, unanswered().Append(nil)
			}
			d.o.Router.Emit(&out, b)
		}}
	return d.ask(r, &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, Payload: x.payload}, e)
}

// ask sends a request to a component. The error is for whoever is behind it, and then answer is not called. The
// envelope is the one that it comes from, nil if the server asks by itself.
func (d *Delegations) ask(r *request, s *xmpp.Stanza, e *router.Envelope) *xmpp.Error {
	s.ID, s.From, s.To = idPrefix+rand.Text(), jid.MustParse(r.host), jid.MustParse(r.component)
	d.mu.Lock()
	for i, who := range r.counted {
		if most := [...]int{mostWaiting, mostOfOne}[i]; d.of[who] >= most {
			d.mu.Unlock()
			return xmpp.ResourceConstraint(strconv.Itoa(most) + " requests wait for their answers").
				WithType(xmpp.ErrorWait)
		}
	}
	for _, who := range r.counted {
		d.of[who]++
	}
	d.asked[s.ID] = r
	id := s.ID
	r.timer = time.AfterFunc(patience, func() {
		if d.done(id, r) {
			d.o.Log.Warn("a component does not answer what is delegated to it", "component", r.component, "after", patience)
			r.answer(nil, nil)
		}
	})
	d.mu.Unlock()
	one := router.Envelope{Stanza: s, Quiet: true}
	if e != nil {
		one.Batch, one.Budget = e.Batch, e.Budget
	}
	if d.o.Router.Route(&one); one.Outcome == router.Refused && d.done(id, r) {
		return unanswered()
	}
	return nil
}

// done takes a request off the books; false if another has.
func (d *Delegations) done(id string, r *request) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asked[id] != r {
		return false
	}
	r.timer.Stop()
	delete(d.asked, id)
	for _, who := range r.counted {
		if d.of[who]--; d.of[who] == 0 {
			delete(d.of, who)
		}
	}
	return true
}

// answered sees answers to what components were asked. A result counts from the component alone, and an error also from
// this server, which says so that the component is away.
func (d *Delegations) answered(e *router.Envelope) {
	s := e.Stanza
	e.Settle(router.Dropped)
	d.mu.Lock()
	r := d.asked[s.ID]
	d.mu.Unlock()
	if r == nil || s.From.String() != r.component || s.To.String() != r.host ||
		s.Type == xmpp.TypeResult && e.Component != r.component {
		return
	}
	if d.done(s.ID, r) {
		e.Settle(router.Delivered)
		r.answer(s, e.Batch)
	}
}

// enclosed is what a component answers, if it answers the request: its id, from the address asked to the asker (§4.3).
func (d *Delegations) enclosed(a *xmpp.Stanza, id string, asker, to jid.JID) (payload []byte, ok bool) {
	if a == nil || a.Type != xmpp.TypeResult {
		return nil, false
	}
	why := "there is no forwarded iq in it"
	if el := a.Child(delegationName); el != nil {
		if el = el.Child(xmpp.Name{Space: xmpp.NSForward, Local: "forwarded"}); el != nil {
			el = el.Child(xmpp.Name{Space: xmpp.NSClient, Local: "iq"})
		}
		if el != nil {
			in, err := xmpp.StanzaOf(el)
			switch {
			case err != nil:
				why = err.Error()
			case in.Type != xmpp.TypeResult:
				why = "its type is not result"
			case in.ID != id:
				why = "its id is not that of the request"
			case in.To != asker:
				why = "it is not to the one who has asked"
			case !in.From.IsZero() && in.From != to: // §4.3: none where the request has no 'to', and in all examples
				why = "it is not from the one who was asked"
			case len(el.Children()) > 1: // RFC 6120 §8.2.3
				why = "there is more than one payload in it"
			default:
				return in.Payload, true
			}
		}
	}
	d.o.Log.Warn("a component's answer to what is delegated to it is no good", "component", a.From, "problem", why)
	return nil, false
}
