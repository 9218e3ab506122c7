package router

import (
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

	// What follows is known later, if at all, and never the outcome of an envelope: see Sequel.

	Taken     // a client has acknowledged it (XEP-0198)
	Received  // a client has confirmed it to the sender (XEP-0184)
	Displayed // its reader has seen it (XEP-0333)
	Bounced   // an error came back after it had been accepted

	// Forwarded says that the home of the recipient decides, on another node: see Fate.Answer. It is never reported.
	Forwarded
)

// String is the word used in reports, logs and metrics.
func (o Outcome) String() string {
	return [...]string{"undecided", "delivered", "stored", "queued", "refused", "dropped", "taken", "received",
		"displayed", "bounced", "forwarded"}[o]
}

// An Envelope is a stanza on its way: what came in, which are its own fields, and what became of it, which is its Fate.
// Whoever calls Route fills in what came in; from there on that stays as it is, but for the stanza, which a stage may
// Replace. The Fate begins empty and is only written by the methods that it names. So nobody who is handed an envelope
// assigns to a field of it (testsuite/house).
//
// It belongs to the goroutine that called Route; neither it nor the bytes of its Stanza may be kept after Route has
// returned.
type Envelope struct {
	// Stanza is what came, or what a stage has put in its place.
	Stanza *xmpp.Stanza

	// Session is the client session that sent it; nil for HTTP, peers, services and the server's own.
	Session *Session
	// Account is the authenticated account behind it. It differs from the sender's address when that is forged. It is
	// zero for peers, services and the server's own stanzas.
	Account jid.JID
	// Budget is that of the sender, for what is made of the stanza beyond what was read; nil: it has no limit.
	Budget *budget.Budget
	// Peer is the domain that brought it over a server stream, which has proved to be the sender's; "" for what is
	// ours.
	Peer string
	// Component is the domain of the component that brought it, which has proved its secret, or for which a deputy
	// (Router.Deputy) sends it; "" for what is not of one.
	Component string
	// Durable says that the sender is promised an acknowledgement: what is not safely in the hands of the recipient
	// must be in storage before the pendings have finished.
	Durable bool
	// Dedup, if not empty, tells repeated sendings of the same message apart from new messages: (sender, key), for
	// storage.DedupWindow. DedupKey knows more.
	Dedup string
	// Span is that of Dedup.
	Span storage.Span
	// Quiet suppresses the error reply to the sender; the caller of Route reads Err.
	Quiet bool
	// Left says that it left its session as part of another stanza, of which this is a copy: the leaving stage has seen
	// that one.
	Left bool
	// Own says that a service of ours has made the stanza and answers for every element in it: nobody else has put in
	// what only a server may say.
	Own bool
	// Shared says that the bytes of the payload stay as they are for ever, so that whoever keeps the stanza need not
	// copy them, and that others with the very same bytes are copies of this one, for other recipients.
	Shared bool
	// Tracked says that its sender asks what becomes of it later: whoever keeps it tells the router (Router.Tell). It has
	// an id then.
	Tracked bool
	// Carried says that another node has handed it over, where its sender is at home: the stages that concern the sender
	// have seen it.
	Carried bool
	// Returned says that a session had been given it, ended, and never took it. Its Fate then begins with the Kept of
	// the first time.
	Returned bool
	// Batch collects the sessions that must be flushed; never nil inside Route.
	Batch *Batch

	Fate
}

// A Fate is what is decided about a stanza on its way. Everybody may read it. It is written by
//
//	Settle, Refuse, RefuseTold  Outcome and Err   whoever decides the way: a stage, a service, the router
//	Await                       Pendings          whoever writes something that the acknowledgement has to wait for
//	OnRefusal                                     whoever writes something that a refusal takes back
//	Keep                        Kept              the module that keeps messages, before sessions get them
//	Identify                    StanzaID          the recipient's archive, and whoever stores a message again
//	Repeat                      Repeated          the recipient's archive
//	IdentifySent                SentID            the sender's archive
//	AwaitTaking                                   the module that keeps messages
//	Forward                     Answer            the Homes
//	DedupKey                                      whoever asks first
type Fate struct {
	Outcome  Outcome
	Err      *xmpp.Error // why it was refused
	Pendings []*storage.Pending

	// Kept is the id of the recipient's copy in storage, 0 if there is none.
	Kept uint64
	// StanzaID is the id under which the recipient's account knows the message. It is 0 as long as nobody has said, and
	// NoStanzaID if nobody is to give it one.
	StanzaID uint64
	// Repeated says that the recipient's archive has the message from when it came before: it is not given to anybody
	// again.
	Repeated bool
	// SentID is the id under which the sender's account knows the message, 0 for none. It is not in the stanza, which
	// goes to others.
	SentID uint64
	// Answer is what the home of the recipient says of a stanza that was Forwarded, valid once the Pendings have
	// finished; nil for others.
	Answer *Answer

	told    bool             // the sender has been told why it was refused
	receipt *storage.Pending // goes with the message to its one session and is awaited then (see Delivery)
	keyed   bool             // DedupKey has been asked
	key     string           // what it has found
	owner   string           // the recipient's account while it is delivered
	undo    []undo
	stamped *stamped
}

// undo is a write that a refusal takes back.
type undo struct {
	f     func(owner string, id uint64)
	owner string
	id    uint64
}

// Replace puts another stanza in the place of the one that came: a new head around the same payload, or another
// payload. The stanza before, which others may have, is not changed.
func (e *Envelope) Replace(s *xmpp.Stanza) { e.Stanza = s }

// Settled says whether the stanza's way has been decided.
func (f *Fate) Settled() bool { return f.Outcome != Undecided }

// Settle decides the stanza's way; later stages are not asked.
func (f *Fate) Settle(o Outcome) { f.Outcome = o }

// Refuse settles the stanza with an error for its sender. RFC 6120 §8.3.1: an error is never answered with an error, so
// that one is dropped.
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

// RefuseTold is Refuse for whoever has told the sender already, in words of its own.
func (e *Envelope) RefuseTold(err *xmpp.Error) {
	e.told = true
	e.Refuse(err)
}

// OnRefusal has undone called if the stanza is refused later on its way: it takes back what its caller has written.
func (f *Fate) OnRefusal(undone func(owner string, id uint64), owner string, id uint64) {
	f.undo = append(f.undo, undo{undone, owner, id})
}

// Await adds writes that must be durable before the stanza is acknowledged.
func (f *Fate) Await(writes ...*storage.Pending) {
	for _, p := range writes {
		if p != nil && (len(f.Pendings) == 0 || f.Pendings[len(f.Pendings)-1] != p) {
			f.Pendings = append(f.Pendings, p)
		}
	}
}

// AwaitTaking says that the acknowledgement waits until the one session that gets the message has taken it.
func (f *Fate) AwaitTaking() { f.receipt = storage.NewPending() }

// Keep says which copy in storage goes once a session has taken the message.
func (f *Fate) Keep(id uint64) { f.Kept = id }

// Identify says under which id the recipient's account knows the message, or NoStanzaID.
func (f *Fate) Identify(id uint64) { f.StanzaID = id }

// Repeat says that the message has come before.
func (f *Fate) Repeat() { f.Repeated = true }

// Archived says whether the recipient's archive has the message, under StanzaID.
func (f *Fate) Archived() bool { return f.StanzaID != 0 && f.StanzaID != NoStanzaID }

// IdentifySent says under which id the sender's account knows the message.
func (f *Fate) IdentifySent(id uint64) { f.SentID = id }

// FromOwn says whether the stanza comes from a session of the account it is addressed to.
func (e *Envelope) FromOwn() bool {
	return e.Session != nil && (e.Stanza.To.IsZero() || e.Stanza.To.Bare() == e.Session.Bare())
}

// Reset makes the envelope ready for another stanza, keeping what it has allocated.
func (e *Envelope) Reset() {
	e.unstamp()
	*e = Envelope{Batch: e.Batch, Fate: Fate{Pendings: e.Pendings[:0], undo: e.undo[:0]}}
}

// A Flusher has something to write when the stanzas at hand have been routed: a session's outlet, or a link to another
// node.
type Flusher interface {
	Flush()
}

// A Batch remembers who has something to write, so that stanzas that arrive together leave together: its owner calls
// Flush when it has routed all that it had at hand. The zero value is ready. Not for concurrent use.
type Batch struct{ woken []Flusher }

// Add has f flushed with the others. It may be given several times.
func (b *Batch) Add(f Flusher) {
	if n := len(b.woken); n == 0 || b.woken[n-1] != f {
		b.woken = append(b.woken, f)
	}
}

// Flush lets those that were collected write.
func (b *Batch) Flush() {
	for i, o := range b.woken {
		o.Flush()
		b.woken[i] = nil
	}
	b.woken = b.woken[:0]
}
