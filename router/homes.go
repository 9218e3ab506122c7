package router

import (
	"context"
	"errors"

	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Homes knows where owners are at home, where there are several nodes: everything that concerns an account, a room, a
// domain of a service or a pair of domains is decided on one node, its home. cluster/relay implements it. All methods
// are safe for concurrent use.
type Homes interface {
	// Here says whether an owner is at home on this node: a bare address, a domain of a service, or a pair of domains
	// (see PairOf). It is asked for every stanza.
	Here(owner string) bool
	// Send hands a stanza over to the home of an owner, having called Router.Forward, and in order with what it was given
	// before for the same owner. It keeps no byte of the stanza.
	Send(owner string, e *Envelope)
	// Tell passes a sequel on to the home of the sender. It neither blocks nor fails: who is told may miss one.
	Tell(s Sequel)
}

// SetHomes says that there are several nodes. It comes before anything is served.
func (r *Router) SetHomes(h Homes) { r.homes.Store(&h) }

// Here says whether an owner is at home on this node, as Homes.Here does; true of all where there is only one.
func (r *Router) Here(owner string) bool {
	h := r.homes.Load()
	return h == nil || (*h).Here(owner)
}

// IsHome says whether an address is that of an account of ours, or of one that might be, that is at home on this node.
func (r *Router) IsHome(user jid.JID) bool {
	return r.Serves(user.Domain()) && (r.homes.Load() == nil || r.Here(user.Bare().String()))
}

// ErrElsewhere is that of Bind for an account that is at home on another node by now.
var ErrElsewhere = errors.New("the account is at home on another node")

// Alone says that this is the only node.
func (r *Router) Alone() bool { return r.homes.Load() == nil }

// PairOf is the owner that stands for what goes from a domain of ours to a domain that is not.
func PairOf(local, remote string) string { return local + ">" + remote }

// handsOver gives a stanza for an account to the account's home, if that is another node.
func (r *Router) handsOver(e *Envelope, to jid.JID) bool {
	if r.homes.Load() == nil {
		return false
	}
	return r.handsOverTo(to.Bare().String(), e)
}

// handsOverToPeer does so with a stanza for a domain that is not ours: what waits for it is kept in one place.
func (r *Router) handsOverToPeer(e *Envelope, to jid.JID) bool {
	if r.homes.Load() == nil {
		return false
	}
	return r.handsOverTo(PairOf(e.Stanza.From.Domain(), to.Domain()), e)
}

// HandOver gives a stanza to the home of an owner whom it is about, whoever it is addressed to, if that is another
// node. There Route goes on as behind the stages of the sender.
func (r *Router) HandOver(owner string, e *Envelope) bool { return r.handsOverTo(owner, e) }

func (r *Router) handsOverTo(owner string, e *Envelope) bool {
	h := r.homes.Load()
	// What another node has handed over is here: Here may say no for a while after a slot has come, so that what waits
	// for it goes ahead.
	if h == nil || owner == "" || e.Carried || (*h).Here(owner) {
		return false
	}
	for _, f := range r.plan.Load().handedOver {
		if f(e); e.Settled() {
			return true
		}
	}
	(*h).Send(owner, e)
	return true
}

// An Answer is what the home of a recipient has said of a stanza that was Forwarded.
type Answer struct {
	Outcome  Outcome
	Err      *xmpp.Error // why it was refused
	StanzaID uint64      // see Fate.StanzaID
	Told     bool        // the sender has been told why it was refused, see RefuseTold
	Open     bool        // more is to be expected soon: it was delivered and there is a kept copy

	written storage.Pending
	r       *Router
	s       *Session
	kind    xmpp.Kind // what an error reply needs of the stanza
	typ     xmpp.Type
	quiet   bool
	own     bool
	id      string
	from    jid.JID
	to      jid.JID
	undo    []undo
	one     [1]undo // so many there are mostly
}

// Forward settles an envelope whose recipient is at home on another node, and prepares the answer, an empty one. What
// becomes of it is given to Finish, once.
func (r *Router) Forward(e *Envelope, a *Answer) {
	s := e.Stanza
	a.r, a.s, a.kind, a.typ, a.quiet, a.own = r, e.Session, s.Kind, s.Type, e.Quiet, e.Own
	a.id, a.from, a.to = s.ID, s.From, s.To
	a.undo = append(a.one[:0], e.undo...)
	e.Answer = a
	e.Settle(Forwarded)
	e.Await(&a.written)
}

// Finish says what became of it, after all that was written for it is durable. The sender is told of an error, as by
// Route. For what a service of ours has made, and for requests, the error comes back as from a peer.
func (a *Answer) Finish(o Outcome, err *xmpp.Error, id uint64, told, open bool) {
	a.Outcome, a.Err, a.StanzaID, a.Told, a.Open = o, err, id, told, open
	if o == Refused && len(a.undo) > 0 { // which may wait for storage
		go func() {
			for _, u := range a.undo {
				u.f(u.owner, u.id)
			}
			a.finish()
		}()
		return
	}
	a.finish()
}

func (a *Answer) finish() {
	if a.Outcome == Refused && !a.Told && a.Err != nil && (!a.quiet || a.own || a.kind == xmpp.IQ) {
		a.bounce()
	}
	a.written.Finish(nil)
}

// Then calls f when all that Finish does is done.
func (a *Answer) Then(f func()) { a.written.Then(func(error) { f() }) }

func (a *Answer) bounce() {
	head := xmpp.Stanza{Kind: a.kind, Type: a.typ, ID: a.id, From: a.from, To: a.to}
	if a.s == nil && a.own {
		reply := head.ErrorReply(a.Err)
		a.r.Route(&Envelope{Stanza: &reply, Quiet: true, Own: true})
		return
	}
	e := Envelope{Stanza: &head, Session: a.s, Batch: new(Batch), Fate: Fate{Err: a.Err}}
	a.r.bounce(&e)
	e.Batch.Flush()
}

// Settlement is the outcome of an envelope whose pendings have finished, with the error of one that was refused.
func (e *Envelope) Settlement() (Outcome, *xmpp.Error) {
	if e.Answer != nil {
		return e.Answer.Outcome, e.Answer.Err
	}
	return e.Outcome, e.Err
}

// Follow settles an envelope as another one is that was made for it, and waits for what that one waits for.
func (e *Envelope) Follow(other *Envelope) {
	e.Await(other.Pendings...)
	e.Settle(other.Outcome)
	e.Answer = other.Answer
}

// WasTold says whether the sender of a refused stanza knows of it: see RefuseTold.
func (f *Fate) WasTold() bool { return f.told }

// Standin returns a session that stands for one at another node: it has the full address, is in nobody's table, and
// what it is sent is routed to its address. It may be used for many envelopes.
func (r *Router) Standin(full jid.JID) *Session {
	return &Session{addr: full, bare: full.Bare(), out: &standin{r: r, to: full}, stats: new(Stats)}
}

// standin is the outlet of a session at another node. What limits there are for the session are kept at its home.
type standin struct {
	r  *Router
	to jid.JID
}

// Send implements Outlet. Emit finds the home; what it keeps it copies.
func (o *standin) Send(d Delivery) (wake, ok bool) {
	s := *d.Stanza
	s.To = o.to
	o.r.Emit(&s, nil)
	if d.Receipt != nil {
		d.Receipt.Finish(nil)
	}
	return false, true
}

func (o *standin) Flush()                               {}
func (o *standin) Prompt() bool                         { return false }
func (o *standin) Detached() bool                       { return false }
func (o *standin) Full() bool                           { return false }
func (o *standin) WaitBelow(context.Context, int) error { return nil }
func (o *standin) End(string, string)                   {}

// Receive routes a stanza that another node has handed over, see Envelope.Carried. Whoever calls it gives the error of
// a refused one back to that node, where the sender is told.
func (r *Router) Receive(e *Envelope) {
	e.Carried = true
	r.Route(e)
}

// Release ends what is served here for owners that are at home elsewhere from now on: their sessions, each of which
// gives back what was not taken, and then what the modules know of them. It returns when that is done, or with the
// error of ctx; what is left then goes on ending. While it runs Homes.Here must not say true of them.
func (r *Router) Release(ctx context.Context, gone func(owner string) bool, condition, text string) error {
	bares := map[string]bool{}
	r.EachSession(func(s *Session) bool {
		if bare := s.bare.String(); gone(bare) {
			bares[bare] = true
			s.End(condition, text)
		}
		return true
	})
	var err error
	for bare := range bares {
		for none := r.table.whenNone(bare); none != nil && err == nil; none = r.table.whenNone(bare) {
			select {
			case <-none:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		r.WithOwner(bare, func() {}) // whoever thought that it is at home here has written what it had to
	}
	for _, m := range r.plan.Load().all {
		if m.Moved != nil {
			m.Moved(gone)
		}
	}
	return err
}

// Coming says that owners are about to be at home on this node, before anything is routed to them.
func (r *Router) Coming() {
	for _, m := range r.Modules() {
		if m.Coming != nil {
			m.Coming()
		}
	}
}

// Lost says that the sessions of accounts of other homes have ended without a word.
func (r *Router) Lost(gone func(bare string) bool) {
	for _, m := range r.Modules() {
		if m.Lost != nil {
			m.Lost(gone)
		}
	}
}
