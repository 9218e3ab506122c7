// Package forged keeps what is said to a forged foreign sender on this server. A program with the permission
// may post in the name of an address of another domain, to recipients here alone (the router sees to that);
// the domain has never heard of it, so no error and no reply may go there on our behalf.
//
// Who got such a message from whom is remembered for a week, for the last thousand senders of each recipient. Meanwhile errors
// and results that are on their way to the sender are dropped and counted, and all else is refused with an error that
// says why. If the address turns out to be a real correspondent, by sending the recipient a stanza over a server stream, it is
// forgotten. For services, which speak for addresses without number, it is remembered for the domain.
//
// A forged sender of a domain of ours is not kept here: what is sent to it stays here anyway, and module disco says that it
// takes nothing.
package forged

import (
	"context"
	"log/slog"
	"sync/atomic"

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
	Store  storage.Map // of this module alone
	Log    *slog.Logger
}

// Forged is the module. It is safe for concurrent use.
type Forged struct {
	o     Options
	pairs *pairs

	Stats Stats
}

// Stats count since the start what did not leave.
type Stats struct {
	Dropped atomic.Int64 // errors and results
	Refused atomic.Int64 // replies of any kind
}

// New returns the module.
func New(o Options) *Forged { return &Forged{o: o, pairs: newPairs(o.Store)} }

// Module says where it takes part. It comes after blocking: who has blocked the sender has got nothing to reply to.
func (f *Forged) Module() router.Module {
	return router.Module{
		Name:      "forged",
		Arriving:  router.Stage{Message: f.arriving, Presence: f.heard, IQ: f.heard},
		Serving:   f.arriving,
		Departing: router.Stage{Message: f.departing, Presence: f.departing, IQ: f.departing},
		Removed: func(user jid.JID) error {
			p, err := f.pairs.remove(user.String())
			if err != nil {
				return err
			}
			return p.Wait(context.Background())
		},
	}
}

// owner is in whose name it is remembered what an address of ours got.
func (f *Forged) owner(ours jid.JID) string {
	if f.o.Router.Serves(ours.Domain()) {
		return ours.Bare().String()
	}
	return ours.Domain()
}

// arriving remembers a sender who is not of the account behind it, nor of this server.
func (f *Forged) arriving(e *router.Envelope) {
	from := e.Stanza.From
	if e.Account.IsZero() || from.MatchesBare(e.Account) || from.IsZero() || f.o.Router.Owns(from.Domain()) {
		f.heard(e)
		return
	}
	to := e.Stanza.To
	owner, sender := f.owner(to), from.Bare().String()
	known, err := f.pairs.fresh(owner, sender)
	if known {
		return
	}
	if err == nil && f.o.Router.Serves(to.Domain()) {
		var exists bool
		if exists, err = f.o.Users.Exists(context.Background(), to.Bare()); err == nil && !exists {
			return // nobody will reply
		}
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
