// Package forged keeps what is said to a forged foreign sender on this server. A program with the permission
// may post in the name of an address of another domain, to recipients here alone (the router sees to that);
// the domain has never heard of it, so no error and no reply may go there on our behalf.
//
// It is remembered for a week who got such a message from whom, for the last thousand senders of each recipient.
// Meanwhile errors and results that are on their way to the sender are dropped and counted, and all else is refused
// with an error that says why. If the address turns out to be a real correspondent, by sending the recipient a stanza
// over a server stream, it is forgotten. For services, which speak for addresses without number, it is remembered for
// the domain.
//
// A forged sender of a domain of ours is nobody's account; what is sent to it stays here anyway, and module disco says
// that it takes nothing. With a hook, what clients reply to either kind of sender is posted to a URL instead, from a
// queue in storage: an acknowledged reply is taken by the program there or comes back.
package forged

import (
	"context"
	"log/slog"
	"sync/atomic"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const takesNone = "this address is used by a program on this server and takes no replies"

// Options of New; all are needed.
type Options struct {
	Router *router.Router
	Users  router.Users
	// Store and Replies are of this module alone.
	Store   storage.Map
	Replies storage.Log
	// Hook is the URL that replies are posted to, "" for none. Asked whenever it matters.
	Hook func() string
	Log  *slog.Logger
}

// Forged is the module. It is safe for concurrent use.
type Forged struct {
	o     Options
	pairs *pairs
	hook  *hook

	Stats Stats
}

// Stats count since the start what did not leave.
type Stats struct {
	Dropped atomic.Int64 // errors and results
	Refused atomic.Int64 // replies of any kind
	Posted  atomic.Int64 // replies that the hook took
	Failed  atomic.Int64 // replies that it did not take
}

// Of makes the module of a server.
func Of(p parts.Parts) *Forged {
	return New(Options{Router: p.Router, Users: p.Accounts, Store: p.Store.Map("forged"), Replies: p.Store.Log("forged"),
		Hook: func() string {
			c := p.Config() // asked for every message; most servers have none
			if c.HTTP.SenderHook == "" || !c.Modules.Enabled("forged") {
				return ""
			}
			return c.HTTP.SenderHook
		}, Log: p.Log})
}

// Hooked says whether replies of our users to forged senders are posted somewhere now.
func (f *Forged) Hooked() bool { return f.hook.on() }

// New returns the module, and goes on posting what was queued.
func New(o Options) *Forged {
	f := &Forged{o: o, pairs: newPairs(o.Store)}
	f.hook = newHook(o, &f.Stats)
	return f
}

// Close ends the posting of replies; those queued are posted after the next start.
func (f *Forged) Close() { f.hook.close() }

// Module says where it takes part. It comes after blocking, since whoever has blocked the sender has got nothing to
// reply to, and after carbons, which copy replies too.
func (f *Forged) Module() router.Module {
	return router.Module{
		Name:      "forged",
		Leaving:   router.Stage{Message: f.leaving},
		Arriving:  router.Stage{Message: f.arriving, Presence: f.heard, IQ: f.heard},
		Serving:   f.arriving,
		Departing: router.Stage{Message: f.departing, Presence: f.departing, IQ: f.departing},
		Portable: []router.Portable{{Spaces: []string{"map forged", "log forged"},
			Stays: "it is about messages that this server has sent"}},
		Moved: func(gone func(owner string) bool) {
			f.pairs.moved(gone)
			f.hook.moved(gone)
		},
		Coming:  func() { f.hook.coming.Store(looks) },
		Removed: parts.Erase(f.pairs.remove),
	}
}

// owner is in whose name it is remembered what an address of ours got.
func (f *Forged) owner(ours jid.JID) string {
	if f.o.Router.Serves(ours.Domain()) {
		return ours.Bare().String()
	}
	return ours.Domain()
}

// forges says whether the sender is not of the account behind it and takes no replies: it is foreign, or
// replies are for the hook.
func (f *Forged) forges(e *router.Envelope) bool {
	from := e.Stanza.From
	switch {
	case e.Stanza.Kind != xmpp.Message, e.Session != nil, e.Peer != "", from.IsZero():
		return false
	case !f.o.Router.Owns(from.Domain()):
		return !e.Account.IsZero()
	default: // an API account is no user, and what the server sends itself is from somebody who exists
		return f.hook.on() && e.Stanza.Type != xmpp.TypeError && from.Local() != "" && f.o.Router.Serves(from.Domain())
	}
}

// exists says whether an address is one of an account of ours.
func (f *Forged) exists(j jid.JID) (bool, error) {
	if !f.o.Router.Serves(j.Domain()) {
		return false, nil
	}
	return f.o.Users.Exists(context.Background(), j.Bare())
}

// arriving remembers a forged sender.
func (f *Forged) arriving(e *router.Envelope) {
	if !f.forges(e) {
		f.heard(e)
		return
	}
	to, from := e.Stanza.To, e.Stanza.From
	owner, sender := f.owner(to), from.Bare().String()
	known, err := f.pairs.fresh(owner, sender)
	if known {
		return
	}
	// A user who does not exist will not reply, and one who does can be replied to.
	here, real := true, false
	if err == nil && f.o.Router.Serves(to.Domain()) {
		here, err = f.exists(to)
	}
	if err == nil {
		real, err = f.exists(from)
	}
	if err == nil && (!here || real) {
		return
	}
	var p *storage.Pending
	if err == nil {
		p, err = f.pairs.add(owner, sender)
	}
	if err != nil { // what is not remembered could be answered
		f.o.Log.Warn("a forged sender cannot be remembered", "recipient", owner, "error", err)
		e.Refuse(router.Unavailable())
		return
	}
	e.Await(p)
}

// heard forgets a sender who proves to be real. An error is no proof: it answers something.
func (f *Forged) heard(e *router.Envelope) {
	if e.Peer == "" || e.Stanza.Type == xmpp.TypeError {
		return
	}
	owner := f.owner(e.Stanza.To)
	p, err := f.pairs.drop(owner, e.Stanza.From.Bare().String())
	if err != nil {
		f.o.Log.Warn("a forged sender cannot be forgotten", "recipient", owner, "error", err)
		return
	}
	e.Await(p)
}

// leaving hands a reply of a client to the hook.
func (f *Forged) leaving(e *router.Envelope) {
	to := e.Stanza.To
	if !f.hook.on() || to.IsZero() || !isReply(e.Stanza) {
		return
	}
	known, err := f.pairs.has(e.Session.Bare().String(), to.Bare().String())
	if err == nil && known {
		var exists bool
		if exists, err = f.exists(to); err == nil && !exists {
			f.hook.take(e)
		}
	}
	if err != nil {
		f.o.Log.Warn("a message is refused, since it could be a reply to a forged sender", "error", err)
		e.Refuse(router.Unavailable())
	}
}

// departing keeps here what is meant for a forged sender.
func (f *Forged) departing(e *router.Envelope) {
	s := e.Stanza
	known, err := f.pairs.has(f.owner(s.From), s.To.Bare().String())
	answer := s.Type == xmpp.TypeError || s.Type == xmpp.TypeResult
	switch {
	case err != nil && answer:
		f.o.Log.Warn("an answer to a peer is dropped, since its sender could be forged", "error", err)
		e.Settle(router.Dropped)
	case err != nil:
		f.o.Log.Warn("a stanza for a peer is refused, since its sender could be forged", "error", err)
		e.Refuse(router.Unavailable())
	case !known:
	case answer:
		f.Stats.Dropped.Add(1)
		e.Settle(router.Dropped)
	default:
		f.Stats.Refused.Add(1)
		e.Refuse(xmpp.ServiceUnavailable(takesNone))
	}
}
