package posting

import (
	"context"
	"errors"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// Errors of a Tracker.
var (
	ErrNoPost  = errors.New("no such post is kept")
	ErrCursor  = errors.New("not a cursor of this list")
	ErrStreams = errors.New("too many streams of this account")
	ErrClosed  = errors.New("the server is stopping")
)

// A Sent is a post that is about to be routed.
type Sent struct {
	ID      string  // that Tracker.NewID gave
	Account string  // whose it is: a bare address, or what APIAccount says
	Sender  jid.JID // of the message
	// MessageID is the id attribute of the message; it may be ID, and is not empty.
	MessageID string
	// Said says that its sender is told the ID: Settle then returns a write to be awaited. All others are written within a
	// moment, several together.
	Said bool
}

// APIAccount is how an API account is named as the owner of posts. No address has a space before the resource.
func APIAccount(name string) string { return "api account " + name }

// A Tracker keeps what becomes of posts. modules/posts implements it. It is safe for concurrent use.
type Tracker interface {
	// On says whether the module takes part now; while it is off nothing is tracked, and nothing need be asked.
	On() bool
	// NewID returns an id for a post, and for its message if that has none.
	NewID() string
	// Begin comes before the first of the n copies is routed; to says for whom each is, and is not kept. What it returns
	// is nil if the post is not to be tracked.
	Begin(s Sent, n int, to func(i int) jid.JID) Tracking

	// Record returns what is kept of a post: with limit recipients from the first on, which is an index. account is whose
	// it is, "" for anybody's. ErrNoPost if there is none, also where it is another's.
	Record(ctx context.Context, account, id string, first, limit int) (Record, error)
	// List returns what is kept of the posts of an account, from a time or behind a cursor on, the oldest first, each with
	// its first limit recipients at most; next is the cursor for what follows, "" at the end.
	List(ctx context.Context, account string, since time.Time, cursor string, most, limit int) (
		list []Record, next string, err error)
	// Follow opens a stream of what becomes of the posts of an account; since is the id of the last change that was
	// seen, 0 for none: then it begins now. ErrStreams or ErrClosed if there may be none. Close must follow.
	Follow(account string, since uint64) (Stream, error)
}

// A Tracking is a post on its way.
type Tracking interface {
	// Settle comes when all copies have been routed. of says what became of each, and whether more is to be expected
	// soon (open). The write that it returns is to be awaited by those that are told the id; it may be nil.
	Settle(of func(i int) (outcome router.Outcome, reason string, open bool)) *storage.Pending
	// Drop comes instead, if nothing was sent.
	Drop()
	// Wait returns when nothing more is to be expected soon, when ctx ends or when the server stops. It says false if too
	// many wait already.
	Wait(ctx context.Context) (waited bool)
	// Now is what has become of one recipient's copy.
	Now(i int) (router.Outcome, string)
}

// A Record is what is kept of a post: never what it says.
type Record struct {
	ID, Account, MessageID string
	Sender                 jid.JID
	At                     time.Time
	Total                  int // recipients
	Counts                 map[router.Outcome]int
	First                  int // the index of the first of Recipients
	Recipients             []Became
}

// A Became is what became of the copy for one recipient.
type Became struct {
	To      jid.JID
	Outcome router.Outcome
	Reason  string    // of a refusal or a bounce: a condition of RFC 6120 §8.3.3 or a word of docs/http.md
	At      time.Time // of the outcome, in milliseconds
}

// A Change is one of a stream.
type Change struct {
	ID uint64 // rises; 0 while changes come that were before the stream
	// Post is the id of the post.
	Post  string
	Total int // recipients, of a post that is new; then Became is empty
	Became
}

// A Stream of changes belongs to one goroutine.
type Stream interface {
	// Next waits for changes. The slice is the caller's until the next call. After those before the stream there is one
	// with nothing but its ID. An error ends the stream: ErrClosed, or that of storage or ctx.
	Next(ctx context.Context) ([]Change, error)
	Close()
}
