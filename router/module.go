package router

import (
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A Module is one feature, as plain data. The order of modules given to New is the order in every stage.
type Module struct {
	Name string
	// Off says that it takes part in nothing but Removed: what it keeps of an account goes with the account.
	Off bool
	// Needs names modules without which it takes no part.
	Needs []string
	Specs []Spec // what it implements; docs/xeps.md is made of this

	// Features are announced by disco#info of the host, AccountFeatures by that of an account.
	Features        []string
	AccountFeatures []string
	// AccountFeaturesNow are the same for features that depend on what else takes part; it may be called at any time
	// after Use.
	AccountFeaturesNow func() []string
	// StreamFeature is offered after login, as XML (RFC 6120 §4.3.2), "" for none.
	StreamFeature string
	// StreamFeatureOf is the same for a feature that differs between hosts; it may be called at any time after Use.
	StreamFeatureOf func(host string) string

	IQ []IQ
	// Inline is what it does for a session while its resource is bound, with the login (XEP-0386).
	Inline []Inline
	// Service, if not nil, answers for domains of its own.
	Service *Service

	// Leaving sees what a session of ours sends, before anything else, but for the copies of a multicast
	// (Envelope.Left). Departing sees what is about to go to a peer, whoever sends it, after the sender policy.
	// Arriving sees what is addressed to an account of ours, existing or not, but for requests to the host. All may
	// replace the stanza, or settle the envelope.
	Leaving   Stage
	Departing Stage
	Arriving  Stage
	// HandedOver sees what is about to go to the home of its recipient, on another node, where the modules see it arrive.
	// It is called where the sender is at home, whoever sends it. It may refuse it.
	HandedOver func(e *Envelope)
	// Brought sees what a component brings (Envelope.Component), before anything else does, and once more where it has
	// been handed over to. At most one module has it.
	Brought func(e *Envelope)
	// Delegated is asked for each IQ to a host, or to the bare address of an account there, existing or not, which need
	// not be named (RFC 6120 §10.3). What it returns takes the place of whoever owns the payload; nil: nothing does. At
	// most one module has it.
	Delegated func(e *Envelope, to jid.JID) func(e *Envelope)
	// Serving sees what is addressed to a domain of a service, before the service does.
	Serving func(e *Envelope)
	// Delivering sees a message and the sessions that are about to get it.
	Delivering func(e *Envelope, to []*Session)
	// Unclaimed is offered a message of type normal or chat that no session takes; it runs under the owner's lock (see
	// Router.WithOwner).
	Unclaimed func(e *Envelope)
	// Accepted sees a message that has been given to sessions of an account of ours, or stored for it, but for one that
	// comes back from a session. It decides nothing. The caller may hold locks of its own: nothing may be routed from
	// here.
	Accepted func(e *Envelope)
	// Untaken learns which messages worth storing a session had been given when its connection was lost, and has not
	// taken: at once if it waits to be resumed, else after it has ended. The slice is borrowed.
	Untaken func(s *Session, left []Undelivered)
	// CatchUp brings an account what was stored for it, since a session of it became able to take messages, or another
	// has left something. Until done is called, further messages are offered to Unclaimed. At most one module has it.
	CatchUp func(s *Session, done func())
	// Behind learns that a message for a session has been stored since the session is full: the session catches up by
	// itself from now on, and is held (Router.Hold) until it has. It runs under the owner's lock. At most one module
	// has it.
	Behind func(s *Session)
	// Keep stores copies of what a session has been given without one and has not taken yet, and sets Kept, before
	// anything else is stored for the account: what is stored is brought in order. It finishes the receipts of what it
	// stores, and takes them out. What already has a copy is among the messages since that may have to be moved behind.
	// It runs under the owner's lock, and the session has not ended. At most one module has it.
	Keep func(s *Session, given []Undelivered)
	// Taken learns that a session has taken stanzas whose copies were kept; the session may have ended since. The slice
	// is the caller's. At most one module has it.
	Taken func(s *Session, kept []uint64)
	// Sequel learns what becomes of messages that are Tracked, after they have been routed. It must neither block nor
	// route: the caller may hold locks.
	Sequel func(s Sequel)

	// Wanted says whether presence of another account is given to a session that is full. At most one module has it.
	Wanted func(s *Session, e *Envelope) bool

	// Bound sees a session after it has been made. Ended sees it after it has been removed from the table, with the
	// presence it had, nil if it was not available.
	Bound func(s *Session)
	Ended func(s *Session, last *xmpp.Stanza)
	// Moved has it forget what it knows of owners (accounts, rooms, domains) for which gone says true: they are not at
	// home on this node any more, or about to come home. Their sessions have ended.
	Moved func(gone func(owner string) bool)
	// Coming says that owners are about to be at home on this node: what it knows of rows that all nodes write may be old.
	Coming func()
	// Lost says that the sessions of accounts of other homes have ended without a word, since their node has died.
	Lost func(gone func(bare string) bool)
	// Portable says how what it keeps is exported and imported.
	Portable []Portable
	// Removed erases everything of a deleted account.
	Removed func(user jid.JID) error
}

// A Spec is a specification that a module implements.
type Spec struct {
	Name    string // "RFC 6121 §2", "XEP-0280"
	Version string // of the XEP
	Note    string // what is left out
}

// A Stage is a module's part in one stage, by kind of stanza; nil takes no part.
type Stage struct {
	Message, Presence, IQ func(e *Envelope)
}

// Scope says to whom a request is addressed.
type Scope uint8

// The scopes. A request without 'to' is one to the sender's own account (RFC 6120 §10.3.3).
const (
	Host    Scope = 1 << iota // a domain that we serve
	Account                   // the bare address of a user of ours
)

// An IQ says that a module owns the requests with this payload.
type IQ struct {
	Payload xmpp.Name
	Scope   Scope
	// Handle answers with Router.Answer, Router.AnswerAfter or Envelope.Refuse. For Account it is called for accounts
	// that exist, and for what their own sessions ask; for what others ask only with NoAccount.
	Handle func(e *Envelope)
	// NoAccount says that others than the account itself may ask. It is called instead for an address at a domain of
	// ours that is nobody's account, and answers as Handle does to those who may not know that there is one.
	NoAccount func(e *Envelope)
	// Others is what others are refused with if there is no NoAccount, whether there is such an account or not, so that
	// nobody learns which accounts exist; nil stands for service-unavailable (RFC 6121 §8.5.1).
	Others *xmpp.Error
}
