// Package router decides every stanza's way, in one place: Router.Route.
//
// It knows the hosts we serve, the sessions of our users and the modules with their stages, and follows RFC 6120 §10
// and RFC 6121 §8. It knows no storage engine and no socket. Stanzas to other domains go to the Remote that is plugged
// in, and are refused without one.
package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Users knows which accounts exist. router/accounts implements it.
type Users interface {
	Exists(ctx context.Context, user jid.JID) (bool, error)
}

// Errors of Bind.
var (
	ErrTooManySessions = errors.New("too many sessions for this account")
)

// Options of New.
type Options struct {
	Hosts       []string
	Users       Users
	MaxSessions int // for each account; 0: no bound
	Log         *slog.Logger
}

// A Router routes. It is safe for concurrent use.
type Router struct {
	hosts  atomic.Pointer[map[string]bool]
	plan   atomic.Pointer[plan]
	remote atomic.Pointer[Remote]
	homes  atomic.Pointer[Homes]
	max    atomic.Int64
	users  Users
	log    *slog.Logger
	table  *table

	Stats Stats
}

// plan is what the modules take part in. Immutable.
type plan struct {
	modules                      []Module // that are on
	all                          []Module
	leaving, departing, arriving [3][]func(*Envelope) // by kind
	services                     map[string]*Service  // by domain
	serving, handedOver          []func(*Envelope)
	brought                      func(*Envelope)
	delegated                    func(*Envelope, jid.JID) func(*Envelope)
	delivering                   []func(*Envelope, []*Session)
	unclaimed, accepted          []func(*Envelope)
	untaken                      []func(*Session, []Undelivered)
	catchUp                      func(*Session, func())
	behind                       func(*Session)
	taken                        func(*Session, []uint64)
	sequel                       []func(Sequel)
	keep                         func(*Session, []Undelivered)
	wanted                       func(*Session, *Envelope) bool
	hostIQ, accountIQ            map[xmpp.Name]func(*Envelope)
	nobodyIQ                     map[xmpp.Name]func(*Envelope)
	ownIQ                        map[xmpp.Name]*xmpp.Error // the error for others than the account itself
}

// Stats count stanzas since the start. Arrays with three places are by kind: message, presence, iq.
type Stats struct {
	Routed   [3]atomic.Int64 // that came into the router
	Sent     [3]atomic.Int64 // that were given to sessions
	Outcomes [6]atomic.Int64 // by Outcome
}

// New returns a router without modules. Use comes next.
func New(o Options) *Router {
	r := &Router{users: o.Users, log: o.Log, table: newTable()}
	r.SetHosts(o.Hosts)
	r.SetMaxSessions(o.MaxSessions)
	r.Use()
	return r
}

// SetHosts replaces the domains we serve.
func (r *Router) SetHosts(domains []string) {
	hosts := make(map[string]bool, len(domains))
	for _, d := range domains {
		hosts[d] = true
	}
	r.hosts.Store(&hosts)
}

// SetMaxSessions bounds the sessions of each account from now on; 0 means no bound.
func (r *Router) SetMaxSessions(n int) { r.max.Store(int64(n)) }

// Serves says whether the domain is one of ours.
func (r *Router) Serves(domain string) bool { return (*r.hosts.Load())[domain] }

// Use plugs these modules in, in place of those before, which may be the same. It panics if two own the same payload or
// the same single part, which is a programmer's mistake.
func (r *Router) Use(modules ...Module) {
	p := &plan{all: modules, hostIQ: map[xmpp.Name]func(*Envelope){}, accountIQ: map[xmpp.Name]func(*Envelope){},
		nobodyIQ: map[xmpp.Name]func(*Envelope){}, ownIQ: map[xmpp.Name]*xmpp.Error{}, services: map[string]*Service{}}
	for _, m := range modules {
		if m.Off {
			continue
		}
		p.modules = append(p.modules, m)
		addStage(&p.leaving, m.Leaving)
		addStage(&p.departing, m.Departing)
		addStage(&p.arriving, m.Arriving)
		if m.Brought != nil {
			if p.brought != nil {
				panic("router: a second module wants what components bring: " + m.Name)
			}
			p.brought = m.Brought
		}
		if m.Delegated != nil {
			if p.delegated != nil {
				panic("router: a second module delegates requests: " + m.Name)
			}
			p.delegated = m.Delegated
		}
		if m.HandedOver != nil {
			p.handedOver = append(p.handedOver, m.HandedOver)
		}
		if m.Serving != nil {
			p.serving = append(p.serving, m.Serving)
		}
		if m.Delivering != nil {
			p.delivering = append(p.delivering, m.Delivering)
		}
		if m.Unclaimed != nil {
			p.unclaimed = append(p.unclaimed, m.Unclaimed)
		}
		if m.Accepted != nil {
			p.accepted = append(p.accepted, m.Accepted)
		}
		if m.Untaken != nil {
			p.untaken = append(p.untaken, m.Untaken)
		}
		if m.Sequel != nil {
			p.sequel = append(p.sequel, m.Sequel)
		}
		if m.CatchUp != nil || m.Behind != nil || m.Taken != nil || m.Keep != nil {
			if p.catchUp != nil || p.behind != nil || p.taken != nil || p.keep != nil {
				panic("router: a second module wants to keep messages: " + m.Name)
			}
			p.catchUp, p.behind, p.taken, p.keep = m.CatchUp, m.Behind, m.Taken, m.Keep
		}
		if m.Wanted != nil {
			if p.wanted != nil {
				panic("router: a second module chooses among presence: " + m.Name)
			}
			p.wanted = m.Wanted
		}
		if m.Service != nil {
			for _, d := range m.Service.Domains() {
				if p.services[d] != nil {
					panic("router: a second module wants to answer for " + d + ": " + m.Name)
				}
				p.services[d] = m.Service
			}
		}
		for _, q := range m.IQ {
			if q.Scope&Host != 0 {
				own(p.hostIQ, q, m.Name)
			}
			if q.Scope&Account != 0 {
				own(p.accountIQ, q, m.Name)
				switch {
				case q.NoAccount != nil:
					p.nobodyIQ[q.Payload] = q.NoAccount
				case q.Others != nil:
					p.ownIQ[q.Payload] = q.Others
				default:
					p.ownIQ[q.Payload] = xmpp.ServiceUnavailable("")
				}
			}
		}
	}
	r.plan.Store(p)
}

func addStage(to *[3][]func(*Envelope), s Stage) {
	for i, f := range [3]func(*Envelope){s.Message, s.Presence, s.IQ} {
		if f != nil {
			to[i] = append(to[i], f)
		}
	}
}

// own gives the payload to a module. It panics if another has it.
func own(m map[xmpp.Name]func(*Envelope), q IQ, module string) {
	if m[q.Payload] != nil {
		panic(fmt.Sprintf("router: module %s wants %s, which has an owner", module, q.Payload))
	}
	m[q.Payload] = q.Handle
}

// Modules are those given to Use last that are on, in order; another slice after each Use.
func (r *Router) Modules() []Module { return r.plan.Load().modules }

// StreamFeatures are those that the modules offer after login on a stream to this host, as XML.
func (r *Router) StreamFeatures(host string) string {
	var all strings.Builder
	for _, m := range r.Modules() {
		all.WriteString(m.StreamFeature)
		if m.StreamFeatureOf != nil {
			all.WriteString(m.StreamFeatureOf(host))
		}
	}
	return all.String()
}

// Route decides the way of one stanza and goes it. The sender's address must have been checked. On return the envelope
// says what became of the stanza and which writes must finish before it is acknowledged.
func (r *Router) Route(e *Envelope) {
	r.Stats.Routed[e.Stanza.Kind-xmpp.Message].Add(1)
	own := e.Batch == nil
	if own {
		e.Batch = new(Batch)
	}
	follow := r.follows()
	if follow {
		r.sayCame(e)
	}
	r.route(e)
	if follow {
		r.saySettled(e)
	}
	if e.Outcome != Forwarded { // counted where it is decided
		r.Stats.Outcomes[e.Outcome].Add(1)
	}
	if e.Outcome == Refused && !e.Quiet && !e.told && !e.Carried {
		r.bounce(e)
	}
	if own {
		e.Batch.Flush()
		e.Batch = nil
	}
}

func (r *Router) route(e *Envelope) {
	// RFC 6120 §10.3.1: as if it were addressed to the sender's own account, for whoever keeps, copies or gets it
	// (§8.1.1.1).
	if e.Session != nil && e.Stanza.Kind == xmpp.Message && e.Stanza.To.IsZero() {
		addressed := *e.Stanza
		addressed.To = e.Session.bare
		e.Replace(&addressed)
	}
	// leaving: the sender is a session of ours
	if e.Session != nil && !e.Left && !e.Carried {
		if ask(&r.plan.Load().leaving, e); e.Settled() {
			return
		}
	}
	// a component that may do more than others?
	if f := r.plan.Load().brought; e.Component != "" && f != nil {
		if f(e); e.Settled() {
			return
		}
	}
	to := e.Stanza.To
	if to.IsZero() { // RFC 6120 §10.3: the sender's own account
		if e.Session == nil {
			e.Settle(Dropped)
			return
		}
		to = e.Session.bare
	}
	if !r.Serves(to.Domain()) {
		// to a domain we serve as a service?
		if s := r.plan.Load().services[to.Domain()]; s != nil {
			r.serve(e, s)
			return
		}
		// to a domain that is not ours?
		r.depart(e, to)
		return
	}
	// a request that a component answers?
	var another func(*Envelope)
	if f := r.plan.Load().delegated; f != nil && e.Stanza.Kind == xmpp.IQ && to.Resource() == "" {
		another = f(e, to)
	}
	// a request to the host?
	if to.Local() == "" {
		if another != nil {
			another(e)
			return
		}
		r.toHost(e)
		return
	}
	// a request that an account takes from itself alone?
	if e.Stanza.Kind == xmpp.IQ && another == nil && r.ownOnly(e, to) {
		return
	}
	// to an account that is at home on another node?
	if r.handsOver(e, to) {
		return
	}
	// arriving: the recipient is ours
	if ask(&r.plan.Load().arriving, e); e.Settled() {
		return
	}
	e.owner = to.Bare().String()
	switch e.Stanza.Kind {
	case xmpp.Message:
		if r.message(e, to); e.Outcome == Delivered || e.Outcome == Stored {
			for _, f := range r.plan.Load().accepted {
				f(e)
			}
		}
	case xmpp.Presence:
		r.presence(e, to)
	case xmpp.IQ:
		if another != nil {
			another(e)
			return
		}
		r.iq(e, to)
	}
}

func ask(stage *[3][]func(*Envelope), e *Envelope) {
	for _, f := range stage[e.Stanza.Kind-xmpp.Message] {
		if f(e); e.Settled() {
			return
		}
	}
}

// bounce returns a refused stanza to the session that sent it.
func (r *Router) bounce(e *Envelope) {
	s := e.Stanza
	if s.Type == xmpp.TypeError || s.Type == xmpp.TypeResult || e.Err == nil {
		return
	}
	reply := s.ErrorReply(e.Err)
	if e.Session != nil {
		reply.To = e.Session.addr
		if reply.From.IsZero() {
			reply.From = e.Session.bare
		}
		e.Session.Send(e.Batch, Delivery{Stanza: &reply, Copy: true})
		return
	}
	// Nobody waits for it: the server's own stanzas, or a session that has ended meanwhile.
	r.Emit(&reply, e.Batch)
}

// Emit routes a stanza of the server's own making, such as a reply or a push. An error on the way ends there. A nil
// batch writes at once.
func (r *Router) Emit(s *xmpp.Stanza, b *Batch) {
	r.Route(&Envelope{Stanza: s, Quiet: true, Batch: b})
}

// Answer replies to the request in the envelope with a result.
func (r *Router) Answer(e *Envelope, payload []byte) {
	e.Settle(Delivered)
	reply := e.Stanza.Result(payload)
	r.reply(e.Session, &reply, e.Batch)
}

// AnswerAfter is Answer once the write is durable: the result of a write is an acknowledgement. If the write fails the
// requester is told to wait. The payload must be owned.
func (r *Router) AnswerAfter(e *Envelope, p *storage.Pending, payload []byte) {
	r.ReplyAfter(e, p, e.Stanza.Result(payload))
}

// ReplyAfter is AnswerAfter with a reply that says more than that it is done.
func (r *Router) ReplyAfter(e *Envelope, p *storage.Pending, ok xmpp.Stanza) {
	e.Settle(Delivered)
	if done, err := p.Finished(); done && err == nil {
		r.reply(e.Session, &ok, e.Batch)
		return
	}
	e.Await(p)
	failed := e.Stanza.ErrorReply(Unavailable())
	s := e.Session
	p.Then(func(err error) {
		if err != nil {
			r.reply(s, &failed, nil)
			return
		}
		r.reply(s, &ok, nil)
	})
}

func (r *Router) reply(to *Session, reply *xmpp.Stanza, b *Batch) {
	if to == nil {
		r.Emit(reply, b)
		return
	}
	reply.To = to.addr
	if reply.From.IsZero() {
		reply.From = to.bare
	}
	d := Delivery{Stanza: reply, Copy: true}
	if b == nil {
		to.SendNow(d)
		return
	}
	to.Send(b, d)
}

// Unavailable is the error for a stanza that cannot be stored now (docs/promises.md §4).
func Unavailable() *xmpp.Error {
	return xmpp.ResourceConstraint("the server cannot store this now, try again later").WithType(xmpp.ErrorWait)
}
