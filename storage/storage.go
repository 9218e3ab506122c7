// Package storage names the few shapes in which the server keeps what must survive it, and what an engine promises
// about them.
//
// There are three: Map (owner, key → value, with a version for each owner), Log (append-only for each owner, with ids
// that rise with time) and Accounts. Modules put typed records on top; every record they write starts with a version
// byte of theirs. Engines live in subfolders and all pass storage/storetest.
//
// A write returns at once with a Pending, which finishes when the write is durable as docs/promises.md §2 says of the
// engine. Reads of the same process see a write as soon as the call that made it has returned, durable or not.
//
// An answer to a write may rest on an earlier one: the write is a repetition, or finds what it wants there already.
// Then its Pending is that of what it rests on, and its error that of an engine which will never make that durable. A
// nil Pending without an error says that all of it is durable.
package storage

import (
	"context"
	"errors"
	"time"
)

// Errors that engines return, to be tested with errors.Is.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("exists already")
	ErrConflict    = errors.New("changed meanwhile") // Update with a version condition, Append with At
	ErrFull        = errors.New("over quota")        // Log.Append over AppendOptions' limits; nothing was written
	ErrUnavailable = errors.New("storage is unavailable")
	ErrTaken       = errors.New("another server has taken the storage") // with ErrUnavailable; for good
	// ErrElsewhere is that of writes for an owner that is at home on another node, or nowhere for now; it comes with
	// ErrUnavailable. What is known of the owner is forgotten, and nothing was acknowledged.
	ErrElsewhere = errors.New("the owner is at home elsewhere")
	ErrClosed    = errors.New("storage is closed")
)

// An Engine keeps everything of one server. All methods are safe for concurrent use.
//
// Owners, peers and users may be any strings without NUL; keys and Dedup values any strings at all. A call whose
// context has ended returns its error and does nothing.
type Engine interface {
	// Map and Log return the named space; the same name is always the same space. Names are lower-case words fixed in
	// the code of a module.
	Map(space string) Map
	Log(space string) Log
	Accounts() Accounts
	APIAccounts() Accounts // the gateway's accounts; Account.User is a plain name

	// Promise says in one line what an acknowledged write survives (for the log at start).
	Promise() string
	// Err is nil while the engine can acknowledge. After an error of fsync it stays non-nil for ever; while Redis is
	// away it wraps ErrUnavailable.
	Err() error
	// Close finishes all pendings and lets go of the files. Later calls return ErrClosed.
	Close() error
}

// An Observer is an engine that can be asked how long its writes take. All engines here are.
type Observer interface {
	// Observe has f called after each commit that succeeded, with the time until it was durable: the embedded engine's
	// from the first write of a group that is not a removal, Redis's of each round trip that writes. f is called on the
	// engine's goroutines, several at a time, and must not block; nil ends it.
	Observe(f func(d time.Duration))
}

// A Releaser is an engine that several nodes share, each of which writes for the owners that are at home there.
type Releaser interface {
	// Release waits until the writes of the owners that gone names are durable, then forgets these owners. Those that
	// are not when the context ends fail; so do calls that come meanwhile. Other owners wait for nothing.
	Release(ctx context.Context, gone func(owner string) bool) error
}

// An Entry is one key of a Map. Deleted entries are reported by Since only.
type Entry struct {
	Key     string
	Value   []byte
	Version uint64 // of the owner when this key last changed
	Deleted bool
}

// A Change of one key.
type Change struct {
	Key    string
	Value  []byte // copied by the engine before Update returns
	Delete bool   // deleting what is not there is no error
}

// AnyVersion makes Update unconditional.
const AnyVersion = ^uint64(0)

// A Map holds small values by owner and key, such as a roster. The version of an owner starts at 0 (nothing was ever
// written) and rises by one with each Update that has changes.
type Map interface {
	// Get returns ErrNotFound for a key that is not there. The value is the caller's.
	Get(ctx context.Context, owner, key string) ([]byte, error)
	// List returns all keys of an owner in ascending order, and the owner's version.
	List(ctx context.Context, owner string) ([]Entry, uint64, error)
	// Update applies all changes or none; of two changes to one key the later wins. With a version other than
	// AnyVersion it returns ErrConflict if the owner is not at that version. Without changes it writes nothing and
	// returns the version that is there with its Pending: that is the answer to whoever wants what is so already.
	Update(ctx context.Context, owner string, version uint64, changes ...Change) (uint64, *Pending, error)
	// Since returns what changed after that version, each key once, with its current value, in the order of the changes
	// (of one Update: of the keys). ok is false when the engine no longer knows (the caller lists instead): deletions
	// are not kept for ever, and DeleteOwner starts again at 0.
	Since(ctx context.Context, owner string, version uint64) (changes []Entry, current uint64, ok bool, err error)
	// Size is the number of an owner's keys and the bytes of them and their values. It is counted anew each time,
	// without copying anything.
	Size(ctx context.Context, owner string) (keys int, bytes int64, err error)
	// DeleteOwner forgets all keys and the version of an owner.
	DeleteOwner(ctx context.Context, owner string) (*Pending, error)
}

// A Record of a Log.
type Record struct {
	ID   uint64 // microseconds since 1970, made unique and rising for each owner; set by Append
	Peer string // for Query.Peer; may be empty
	Data []byte // copied by the engine before Append returns; the caller's when read
}

// Time is when the record was appended.
func (r Record) Time() time.Time { return time.UnixMicro(int64(r.ID)) }

// AppendOptions bound an Append and make it repeatable.
type AppendOptions struct {
	// Dedup, if not empty, tells this record from others of the owner: a second Append with it within DedupWindow
	// writes nothing and returns the first id and dup, even if the record was removed since, and after a restart.
	Dedup string
	// Span bounds how long Dedup is remembered; the zero value does not.
	Span Span
	// MaxRecords and MaxBytes (of Data) bound what the owner holds after the append; 0 means no bound.
	MaxRecords int
	MaxBytes   int64
	// At, if not 0, is the id that the record gets, whatever the time is: for what was kept elsewhere before. Append
	// returns ErrConflict, and writes nothing, unless it is above all that the owner was ever given.
	At uint64
	// Fair also refuses, with ErrFull, a record whose Peer would have more than its share of MaxRecords or MaxBytes:
	// see Fair. A record without a Peer is nobody's, and is refused only when there is no room at all.
	Fair bool
}

// A Span is that of a Dedup value which somebody has made for one way, and does not ask for again once the way is over.
// An engine may forget the value then.
type Span struct {
	Asker  Asker // nil: DedupWindow is what counts
	Number uint64
}

// An Asker knows which of the values that it has numbered may be asked for yet. It answers at once, whatever locks its
// caller has.
type Asker interface {
	Asks(number uint64) bool
}

// Over says whether the value is not asked for again.
func (s Span) Over() bool { return s.Asker != nil && !s.Asker.Asks(s.Number) }

// Fair says whether one of those who share a place may have more of it. The place has room for most, 0 for no bound;
// all is what is taken, own what that one has taken of it. One may have a third of what is left free beside all. Alone
// that is a quarter of the place; and however many take as much as they may, something is left for whoever comes next.
// The first may have what it wants of a place that is small.
func Fair(most, all, own, more int64) bool {
	return most == 0 || all == 0 && more <= most || 3*(own+more) <= most-all-more
}

// DedupWindow is how long a Dedup value is remembered at least.
const DedupWindow = 24 * time.Hour

// A Query of a Log. The zero value pages from the oldest.
type Query struct {
	Peer          string // only records of this peer; empty: all
	After, Before uint64 // exclusive ids; 0: open. Times are ids too: see IDAt
	Limit         int    // at most so many; 0: 100
	Backward      bool   // the newest of the range; still returned in ascending order
}

// IDAt is the lowest id that a record appended at t or later can have.
func IDAt(t time.Time) uint64 { return uint64(max(t.UnixMicro(), 0)) }

// A Log holds records of an owner in the order they were appended.
type Log interface {
	// Append writes a record. On dup, id is that of the first one and the Pending is that of the first write if it is
	// still on its way. ErrFull writes nothing.
	Append(ctx context.Context, owner string, r Record, o AppendOptions) (id uint64, dup bool, p *Pending, err error)
	// Page returns records in ascending order, and whether the range holds more.
	Page(ctx context.Context, owner string, q Query) (records []Record, more bool, err error)
	// Get returns one record, or ErrNotFound.
	Get(ctx context.Context, owner string, id uint64) (Record, error)
	// Lookup finds the record that was appended with this Dedup value, with the Pending of the append; ErrNotFound if
	// there is none or it was removed.
	Lookup(ctx context.Context, owner, dedup string) (Record, *Pending, error)
	// Replace puts other Data into a record, which keeps its id and peer; ErrNotFound if there is none.
	Replace(ctx context.Context, owner string, id uint64, data []byte) (*Pending, error)
	// Remove deletes records by id; unknown ids are no error. Dedup values stay. An engine may write it together with
	// what comes later, within 100 ms: a crash before its Pending has finished brings the records back, under the same
	// ids.
	Remove(ctx context.Context, owner string, ids ...uint64) (*Pending, error)
	// Trim deletes the owner's records with ids below before. It may be as slow as Remove.
	Trim(ctx context.Context, owner string, before uint64) (*Pending, error)
	// Size is the number of records and the bytes of their Data.
	Size(ctx context.Context, owner string) (records int, bytes int64, err error)
	// DeleteOwner forgets the owner's records and Dedup values.
	DeleteOwner(ctx context.Context, owner string) (*Pending, error)
	// Owners calls f with each owner that has records, in no promised order, until f returns false.
	Owners(ctx context.Context, f func(owner string) bool) error
}

// A Credential holds the SCRAM keys of one hash (RFC 5802 §3); never a password.
type Credential struct {
	Hash                       string // "SHA-1", "SHA-256"
	Salt, StoredKey, ServerKey []byte
	Iterations                 int
}

// An Account is somebody who may log in.
type Account struct {
	User        string // bare JID; a plain name for API accounts
	Credentials []Credential
	Disabled    bool
	Permissions []string // "multicast", "forge_sender=*@trac", sorted
	Domains     []string // API accounts: the domains they may post for
	Created     time.Time
	Changed     time.Time // credentials last changed
	// Approval says what an administrator has to decide, or has decided: ApprovalAsked, ApprovalRefused, or "" of all
	// other accounts. One that has it is Disabled as well, so that a version that does not know it lets nobody in.
	Approval string `json:",omitempty"`
}

// The values of Account.Approval.
const (
	ApprovalAsked   = "asked"   // somebody has registered, and waits
	ApprovalRefused = "refused" // it is being removed
)

// Accounts holds credentials and permissions.
type Accounts interface {
	// Get returns ErrNotFound for an unknown user.
	Get(ctx context.Context, user string) (Account, error)
	// Create returns ErrExists if the user is there. The errors of this and the other calls are answers to reads: they
	// wait for nothing.
	Create(ctx context.Context, a Account) (*Pending, error)
	// Modify reads, lets f change, and writes as one step; ErrNotFound for an unknown user, f's error if it returns one
	// (nothing is written then). f cannot change User, must not use the engine, and may be called again if somebody
	// else wrote meanwhile.
	Modify(ctx context.Context, user string, f func(*Account) error) (*Pending, error)
	// Delete returns ErrNotFound for an unknown user.
	Delete(ctx context.Context, user string) (*Pending, error)
	// List returns up to limit users (0: 100) after the given one in ascending order of (domain, localpart); domain ""
	// means all. API accounts are of no domain.
	List(ctx context.Context, domain, after string, limit int) ([]Account, error)
}
