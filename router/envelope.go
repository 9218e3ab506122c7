package router

import (
	"slices"

	"jackdaw/router/budget"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// An Outcome is what became of a stanza for its recipient.
type Outcome uint8

// The outcomes, as the report of an HTTP post names them.
const (
	Undecided Outcome = iota
	Delivered         // handed to at least one session, or to the module that owns it
	Stored            // kept for a recipient who is away
	Queued            // on its way to a peer
	Refused           // an error went, or would go, back to the sender
	Dropped           // ignored, as a specification asks
)

// String is the word used in reports, logs and metrics.
func (o Outcome) String() string {
	return [...]string{"undecided", "delivered", "stored", "queued", "refused", "dropped"}[o]
}

// An Envelope is a stanza on its way, with what the router knows about it. It
// belongs to the goroutine that called Route; neither it nor the bytes of its
// Stanza may be kept after Route has returned.
type Envelope struct {
	// Stanza is replaced, never changed: what a stage wants to say differently
	// is a new head around the same payload.
	Stanza *xmpp.Stanza

	// Session is the client session that sent it; nil for HTTP, peers, services and the server's own.
	Session *Session
	// Account is the authenticated account behind it. It differs from the
	// sender's address when that is forged. Zero for peers, services and the server's own stanzas.
	Account jid.JID
	// Budget is that of who sent it, for what is made of it beyond what was read; nil: it has no limit.
	Budget *budget.Budget
	// Peer is the domain that brought it over a server stream, which has proved to be the sender's; "" for what is ours.
	Peer string
	// Durable says that the sender is promised an acknowledgement: what is not
	// safely in the hands of the recipient must be in storage before the
	// pendings have finished.
	Durable bool
	// Dedup, if not empty, tells repeated sendings of the same message apart from
	// new messages: (sender, key), for storage.DedupWindow.
	Dedup string
	// Quiet suppresses the error reply to the sender; the caller of Route reads Err.
	Quiet bool
	// Left says that it left its session as part of another stanza, of which this is a copy: the leaving stage
	// has seen that one.
	Left bool
	// Own says that a service of ours has made the stanza and answers for every element in it: nobody else has put in what only
	// a server may say.
	Own bool
	// Shared says that the bytes of the payload stay as they are for ever, so that who keeps the stanza need not copy
	// them, and that others with the very same bytes are copies of this one, for other recipients.
	Shared bool
	// Returned says that a session had been given it, ended, and never took it.
	Returned bool
	// Batch collects the sessions that must be flushed; never nil inside Route.
	Batch *Batch

	// Kept is the id of the recipient's copy in storage, 0 if there is none.
	Kept uint64
	// StanzaID is the id under which the recipient's account knows the message, already stamped (Stamp). It is 0 as
	// long as nobody has said, and NoStanzaID if nobody is to give it one.
	StanzaID uint64
	// SentID is the id under which the sender's account knows the message, 0 for none. It is not in the stanza, which
	// goes to others.
	SentID uint64
	// Receipt, if not nil, goes with the message to its one session and is awaited then (see Delivery).
	Receipt *storage.Pending

	Outcome  Outcome
	Err      *xmpp.Error // why it was refused
	Pendings []*storage.Pending
	owner    string // the recipient's account while it is delivered
	undo     []undo
	stamped  *stamped
}

// undo is a write that a refusal takes back.
type undo struct {
	f     func(owner string, id uint64)
	owner string
	id    uint64
}

// Settled says whether the stanza's way has been decided.
func (e *Envelope) Settled() bool { return e.Outcome != Undecided }

// Settle decides the stanza's way; later stages are not asked.
func (e *Envelope) Settle(o Outcome) { e.Outcome = o }

// Refuse settles the stanza with an error for its sender. RFC 6120 §8.3.1: an
// error is never answered with an error, so that one is dropped.
func (e *Envelope) Refuse(err *xmpp.Error) {
	for _, u := range e.undo {
		u.f(u.owner, u.id)
	}
	e.undo = e.undo[:0]
	if e.Stanza.Type == xmpp.TypeError {
		e.Outcome = Dropped
		return
	}
	e.Outcome, e.Err = Refused, err
}

// OnRefusal has f called if the stanza is refused later on its way: it takes back what its caller has written.
func (e *Envelope) OnRefusal(f func(owner string, id uint64), owner string, id uint64) {
	e.undo = append(e.undo, undo{f, owner, id})
}

// Await adds a write that must be durable before the stanza is acknowledged.
func (e *Envelope) Await(p *storage.Pending) {
	if p == nil || len(e.Pendings) > 0 && e.Pendings[len(e.Pendings)-1] == p {
		return
	}
	e.Pendings = append(e.Pendings, p)
}

// AfterAll calls f when all those writes have finished, or one of them has failed.
func (e *Envelope) AfterAll(f func(error)) { afterAll(slices.Clone(e.Pendings), f) }

// FromOwn says whether the stanza comes from a session of the account it is addressed to.
func (e *Envelope) FromOwn() bool {
	return e.Session != nil && (e.Stanza.To.IsZero() || e.Stanza.To.Bare() == e.Session.Bare())
}

// Reset makes the envelope ready for another stanza, keeping what it has allocated.
func (e *Envelope) Reset() {
	e.unstamp()
	*e = Envelope{Pendings: e.Pendings[:0], Batch: e.Batch, undo: e.undo[:0]}
}

// A Batch remembers which sessions have something to write, so that stanzas
// that arrive together leave together: its owner calls Flush when it has
// routed all that it had at hand. The zero value is ready. Not for concurrent use.
type Batch struct{ woken []Outlet }

func (b *Batch) add(o Outlet) { b.woken = append(b.woken, o) }

// Flush lets the collected sessions write.
func (b *Batch) Flush() {
	for i, o := range b.woken {
		o.Flush()
		b.woken[i] = nil
	}
	b.woken = b.woken[:0]
}
