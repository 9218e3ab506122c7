package router

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A Delivery is one stanza for one session.
type Delivery struct {
	Stanza *xmpp.Stanza // borrowed: the outlet copies what it keeps
	Kept   uint64       // id of the copy in storage that goes once the session has taken this one; 0: none
	// Copy marks what need not find another way if the session ends without having taken it: carbons, pushes, presence.
	Copy bool
	// Receipt, if not nil, finishes when the session has taken the stanza or, should it end before, when the stanza is
	// durable elsewhere. The outlet finishes the one, perhaps holding locks, the router the other.
	Receipt *storage.Pending
}

// An Undelivered stanza is one that a session had been given and never took.
type Undelivered struct {
	Stanza  xmpp.Stanza // owned
	Kept    uint64
	Receipt *storage.Pending
}

// An Outlet is the connection side of a session. c2s implements it. All methods are safe for concurrent use; none but
// WaitBelow blocks, and none calls the router (it may hold locks).
type Outlet interface {
	// Send queues a stanza. wake says that nobody is writing and the caller must call Flush after what else it has to
	// send. A session that has ended ignores it and hands it back through Router.Unbind or, if that is over, returns ok
	// = false.
	Send(d Delivery) (wake, ok bool)
	// Flush writes what is queued, as far as the socket takes it, and leaves the rest to a goroutine.
	Flush()
	// Prompt says that what is sent now is taken as soon as it is flushed, as far as one can tell: the client need not
	// confirm it, and its connection is not behind.
	Prompt() bool
	// Detached says that the connection is gone and the session waits to be resumed.
	Detached() bool
	// Full says that more waits for the session than it may have: what can wait elsewhere is not to be sent. It does
	// not end for that.
	Full() bool
	// WaitBelow returns when less than n bytes are queued or unacknowledged and the session is not full, or with an
	// error when it has ended.
	WaitBelow(ctx context.Context, n int) error
	// End closes the stream with a stream error (RFC 6120 §4.9.3), or politely if the condition is empty. It returns at
	// once.
	End(condition, text string)
}

// A Keeper is an Outlet that can be told of copies of what it has been given. c2s implements it. Both methods are
// called under the owner's lock.
type Keeper interface {
	// Uncopied returns the messages that the client has not taken, in order, from the first on that has no copy and has
	// not been returned before: Kept is zero for those. first is for Copied.
	Uncopied() (list []Undelivered, first uint64)
	// Copied is told of the copies, as Kept. A message that has been taken meanwhile is reported with it.
	Copied(list []Undelivered, first uint64)
}

// A Connection is how the client of a session is connected.
type Connection struct {
	Address netip.Addr // zero while the session waits to be resumed
	TLS     string     // the version; "" in the clear
	Device  string     // that the client said it is (devices.Device); "" if it said nothing
	Since   time.Time  // the beginning of the session
	Expires time.Time  // of a session that waits to be resumed; zero else
}

// Connected is an Outlet that knows its connection. c2s implements it.
type Connected interface {
	Connection() Connection
}

// Flags are what a session has asked for, by the module that owns the flag.
type Flags uint32

// The flags.
const (
	FlagRoster   Flags = 1 << iota // interested in roster pushes (RFC 6121 §2.1.6)
	FlagCarbons                    // XEP-0280
	FlagBlocking                   // interested in block list pushes (XEP-0191 §3.3)
)

// A Session is a bound resource of a user. The router makes it in Bind.
type Session struct {
	addr  jid.JID // full
	bare  jid.JID
	out   Outlet
	u     *user
	stats *Stats
	flags atomic.Uint32
	state atomic.Pointer[availability] // nil: no presence sent yet, or unavailable

	hold     atomic.Int32 // how many hold it back: messages for it queue in storage; raised under the owner's lock
	supplies supplies
}

// availability is what the session last broadcast (RFC 6121 §4.2). Immutable.
type availability struct {
	presence *xmpp.Stanza
	priority int8
}

// Addr is the full address.
func (s *Session) Addr() jid.JID { return s.addr }

// Bare is the address of the account.
func (s *Session) Bare() jid.JID { return s.bare }

// Siblings are all sessions of the account, this one among them while it lasts. It costs no lookup. The slice must not
// be changed.
func (s *Session) Siblings() []*Session { return s.u.list() }

// Presence is the last presence broadcast, nil if the session is not available. It must not be changed.
func (s *Session) Presence() *xmpp.Stanza {
	if a := s.state.Load(); a != nil {
		return a.presence
	}
	return nil
}

// Priority is that of the last presence; 0 if the session is not available.
func (s *Session) Priority() int8 {
	if a := s.state.Load(); a != nil {
		return a.priority
	}
	return 0
}

// Is says whether all of the flags are set.
func (s *Session) Is(f Flags) bool { return Flags(s.flags.Load())&f == f }

// Set sets or clears flags.
func (s *Session) Set(f Flags, on bool) {
	if on {
		s.flags.Or(uint32(f))
	} else {
		s.flags.And(^uint32(f))
	}
}

// takes says whether the session takes messages sent to the bare address (RFC 6121 §8.5.2.1.1: available, with a
// priority that is not negative).
func (s *Session) takes() bool {
	a := s.state.Load()
	return a != nil && a.priority >= 0
}

// Detached says that the connection is gone and the session waits to be resumed (XEP-0198 §5).
func (s *Session) Detached() bool { return s.out.Detached() }

// Connection is how the client is connected; zero where that is unknown.
func (s *Session) Connection() Connection {
	if c, ok := s.out.(Connected); ok {
		return c.Connection()
	}
	return Connection{}
}

// Prompt says that the session takes at once what it is sent, as far as one can tell.
func (s *Session) Prompt() bool { return s.out.Prompt() }

// Held says that messages for the session queue in storage, from where it is being brought them.
func (s *Session) Held() bool { return s.hold.Load() > 0 }

// waits says whether a message that can be stored goes to storage rather than to this session.
func (s *Session) waits() bool { return s.Held() || s.out.Full() }

// Full says that more waits for the session than it may have, though it may be taking it.
func (s *Session) Full() bool { return s.out.Full() }

// End closes the session's stream with a stream error, or politely if the condition is empty.
func (s *Session) End(condition, text string) { s.out.End(condition, text) }

// WaitBelow returns when less than n bytes wait for the client to take them and the session is not full, or with an
// error when it has ended.
func (s *Session) WaitBelow(ctx context.Context, n int) error { return s.out.WaitBelow(ctx, n) }

// Send gives a stanza to this session alone and leaves the writing to the batch. It says whether the session took it.
func (s *Session) Send(b *Batch, d Delivery) bool {
	if s.supplies.any.Load() && s.queues(b, &d) {
		return true
	}
	wake, ok := s.out.Send(d)
	return s.sent(b, d.Stanza, wake, ok)
}

// sent counts what the outlet has taken.
func (s *Session) sent(b *Batch, what *xmpp.Stanza, wake, ok bool) bool {
	if ok {
		s.stats.Sent[what.Kind-xmpp.Message].Add(1)
	}
	if wake {
		b.Add(s.out)
	}
	return ok
}

// SendNow is Send for a caller without a batch.
func (s *Session) SendNow(d Delivery) bool {
	var b Batch
	defer b.Flush()
	return s.Send(&b, d)
}
