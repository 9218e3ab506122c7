// Package posts keeps what becomes of messages that are posted (modules/httpmessage, and whatever posts by it): who
// posted when, in whose name, to whom, and for each recipient delivered, stored or queued; later taken, when a client
// has acknowledged it (XEP-0198), received (XEP-0184), displayed (XEP-0333) or bounced, with the reason. It never keeps
// what a message says.
//
// Nothing is added to a message but an id, where its sender gave none. What happens to it later is told by the router
// (router.Sequel), or is seen in answers that pass: receipts, markers and errors. Either finds its post by the sender
// and the id of the message, and the recipient.
//
// Records are written once for many posts and many changes; those whose sender is told the id, before the answer. What
// happened within the last second may be missing after a crash: then a record says less than is so, never more.
// docs/decisions/0038-what-became-of-it.md has the reasons.
//
// Left out: what one's own devices tell each other of what was read (XEP-0490), since that is not for the sender; and
// receipts in rooms, which XEP-0184 §5.3 advises against.
package posts

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/config"
	"jackdaw/modules/internal/parts"
	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Limits of what is kept, of whom may wait for it, and for how long.
type Limits struct {
	Keep    time.Duration // of a record
	Account int64         // bytes of records of one account; beyond, its oldest go
	All     int64         // bytes of all; beyond, the oldest of all go, and then nothing is tracked
	Streams int           // of one account, at a time
}

// Bounds that are not worth a setting.
const (
	maxStreams = 500         // of all accounts
	maxWaits   = 1000        // posts that wait for what becomes of them, of all accounts
	maxWaitsOf = 50          // of one account
	maxMemory  = 64 << 20    // bytes of records in memory that are not written yet; beyond, nothing is tracked
	flushBytes = 4 << 20     // from so much on they are written at once
	maxCached  = 4 << 20     // bytes of records in memory that are written
	cachedFor  = time.Minute // since something happened to one of them
	maxQueued  = 4096        // answers to posts that are not in memory; beyond, they are not noted
	flushAfter = time.Second // from a change to its being written
)

// Options of New; all but Full are needed.
type Options struct {
	Router  *router.Router
	Records storage.Log // of this module alone; the owner is the account
	Limits  func() Limits
	Off     func() bool // whether the module takes no part now
	Full    func() bool // whether the disk has no room for records now; nil: it always has
	Lanes   int         // how many records are written at a time, where storage is distant; 0 is 1
	Log     *slog.Logger
}

// Tracker is the module, and what posts are reported to. It implements posting.Tracker. It is safe for concurrent use.
type Tracker struct {
	o     Options
	clock atomic.Uint64 // the last stamp
	quit  chan struct{} // closed by Quit
	jobs  chan job
	round chan struct{} // asks for a round of the keeper
	sizes sizes

	// writes is held for reading by who writes records, so that those of an account that is removed are not written again.
	writes  sync.RWMutex
	flushes sync.Mutex // held by who writes dirty pages

	mu       sync.Mutex // guards the rest, and all that is reached from there
	accounts map[string]*account
	index    index
	indexed  bool // it knows what was written before the start
	dirty    []*page
	timer    *time.Timer // calls flush
	due      time.Time   // when; zero: it will not
	pressing int         // notArmed and so on
	unsaved  int         // bytes of pages that are not written
	cached   pages       // those that are
	streams  int
	waits    int
	quitting bool
	closed   bool

	Stats Stats
}

// Stats count since the start.
type Stats struct {
	Tracked atomic.Int64 // posts
	Missed  atomic.Int64 // posts that were not, for want of room
	Changes [len(counted)]atomic.Int64
	Ignored atomic.Int64 // answers that there was no time to look after
}

// counted are the outcomes of Stats.Changes.
var counted = [...]router.Outcome{router.Delivered, router.Taken, router.Received, router.Displayed, router.Bounced}

// An account has posts in memory, or streams.
type account struct {
	name  string
	posts map[uint64]*post
	open  *page // takes further posts; nil: none does
	feed  *feed // nil: nobody follows
	waits int
}

// Of makes the module of a server.
func Of(p parts.Parts) *Tracker {
	on, lanes := p.Switch("posts"), 1
	if p.Config().Storage.Engine == config.EngineRedis {
		lanes = 16
	}
	return New(Options{Router: p.Router, Records: p.Store.Log("posts"), Full: p.Space.Low, Lanes: lanes, Log: p.Log,
		Off: func() bool { return !on.On() },
		Limits: func() Limits {
			c := p.Config()
			return Limits{Keep: c.Modules.Posts.Keep, Account: c.Modules.Posts.MaxBytes, All: c.Modules.Posts.MaxTotal,
				Streams: c.Modules.Posts.Streams}
		}})
}

// New returns the module. Run must be called for records to go when their time has come, and Close at the end.
func New(o Options) *Tracker {
	t := &Tracker{o: o, quit: make(chan struct{}), jobs: make(chan job, maxQueued), round: make(chan struct{}, 1),
		accounts: map[string]*account{}}
	t.index.init()
	t.sizes.round = t.round
	return t
}

// Module says where the tracker takes part: it comes behind blocking, and sees answers before others stop them.
func (t *Tracker) Module() router.Module {
	return router.Module{
		Name: "posts",
		Specs: []router.Spec{
			{Name: "XEP-0184", Version: "1.4.0", Note: "what the server sees of receipts for posts over HTTP"},
			{Name: "XEP-0333", Version: "1.0.0", Note: "likewise of markers"},
		},
		Leaving:  router.Stage{Message: t.leaving},
		Arriving: router.Stage{Message: t.arriving},
		// Errors to foreign addresses in whose name somebody posts.
		Departing: router.Stage{Message: t.arriving},
		Sequel:    t.sequel,
		Portable: []router.Portable{{Spaces: []string{"log posts"},
			Stays: "what became of messages that this server has sent"}},
		Moved:   t.moved,
		Removed: t.removed,
	}
}

// Quit lets those go who wait or follow: it comes before the posts end.
func (t *Tracker) Quit() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.quitting {
		t.quitting = true
		close(t.quit)
	}
}

// Close writes what has not been written. It comes before the store is closed.
func (t *Tracker) Close() {
	t.Quit()
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := t.flush(ctx, nil); err != nil {
		t.o.Log.Warn("what became of the last posts is not kept", "error", err)
	}
}

// patience bounds how long a write of records may take.
const patience = 15 * time.Second

// stamp is the time in microseconds, each once.
func (t *Tracker) stamp() uint64 {
	now := uint64(time.Now().UnixMicro())
	for {
		last := t.clock.Load()
		next := max(now, last+1)
		if t.clock.CompareAndSwap(last, next) {
			return next
		}
	}
}

const idDigits = 16

// NewID implements posting.Tracker. The id is the time: it can be guessed, and is of no use to others.
func (t *Tracker) NewID() string { return nameOf(t.stamp()) }

// nameOf writes the id of a post: "m-" and 16 digits.
func nameOf(id uint64) string {
	const hex = "0123456789abcdef"
	b := [2 + idDigits]byte{'m', '-'}
	for i := range idDigits {
		b[len(b)-1-i] = hex[id>>(4*i)&15]
	}
	return string(b[:])
}

// idOf reads what nameOf wrote; 0 if it is something else.
func idOf(name string) (id uint64) {
	if len(name) != 2+idDigits || name[:2] != "m-" {
		return 0
	}
	for _, c := range []byte(name[2:]) {
		switch {
		case c >= '0' && c <= '9':
			id = id<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			id = id<<4 | uint64(c-'a'+10)
		default:
			return 0
		}
	}
	return id
}

// On implements posting.Tracker.
func (t *Tracker) On() bool { return !t.o.Off() }

// off says that nothing is tracked now.
func (t *Tracker) off() bool {
	return t.o.Off() || t.o.Full != nil && t.o.Full()
}

// Begin implements posting.Tracker.
func (t *Tracker) Begin(s posting.Sent, n int, to func(i int) jid.JID) posting.Tracking {
	id := idOf(s.ID)
	if id == 0 || n == 0 || t.off() {
		return nil
	}
	p := &post{t: t, id: id, sender: s.Sender, said: s.Said}
	if p.to = p.one[:]; n > 1 { // most have one recipient
		p.to = make([]recipient, n)
	}
	if s.MessageID != s.ID {
		p.messageID = s.MessageID
	}
	for i := range p.to {
		p.to[i].to = to(i)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.unsaved > maxMemory || t.sizes.over(t.o.Limits().All) {
		t.Stats.Missed.Add(1)
		return nil
	}
	a := t.account(s.Account)
	if a.posts[id] != nil { // the id is not one of ours
		return nil
	}
	p.of = a
	a.posts[id] = p
	t.unsaved += p.size()
	t.know(p)
	t.Stats.Tracked.Add(1)
	return p
}

// account finds or makes an account. The caller holds mu.
func (t *Tracker) account(name string) *account {
	a := t.accounts[name]
	if a == nil {
		a = &account{name: name, posts: map[uint64]*post{}}
		t.accounts[name] = a
	}
	return a
}

// tidy forgets an account of which there is nothing in memory. The caller holds mu.
func (t *Tracker) tidy(a *account) {
	if len(a.posts) == 0 && a.feed == nil && a.waits == 0 && t.accounts[a.name] == a {
		delete(t.accounts, a.name)
	}
}

// know has answers find the post, where its id does not lead there. The caller holds mu.
func (t *Tracker) know(p *post) {
	if p.messageID != "" || p.sender.Bare().String() != p.of.name {
		t.index.add(p.sender, p.message(), place{p.of.name, p.id})
	}
}

// removed erases what is kept of an account.
func (t *Tracker) removed(user jid.JID) error {
	t.writes.Lock()
	defer t.writes.Unlock()
	t.mu.Lock()
	if a := t.accounts[user.String()]; a != nil {
		t.drop(a)
	}
	t.mu.Unlock()
	ctx := context.Background()
	p, err := t.o.Records.DeleteOwner(ctx, user.String())
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

// handOver bounds how long accounts that move wait for what became of their posts to be written.
const handOver = 2 * time.Second

// moved writes what is not written yet of accounts that are at home elsewhere from now on, and forgets them. Those who
// wait or follow ask again at their home.
func (t *Tracker) moved(gone func(owner string) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), handOver)
	defer cancel()
	if err := t.flush(ctx, gone); err != nil {
		t.o.Log.Warn("what became of the last posts of accounts that move is not kept", "error", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, a := range t.accounts {
		if !gone(name) {
			continue
		}
		for _, p := range a.posts {
			p.release()
		}
		if a.feed != nil {
			a.feed.end()
		}
		t.drop(a)
	}
}

// conditionOf is the reason of a bounce: one word that RFC 6120 knows.
func conditionOf(s *xmpp.Stanza) string {
	if e := s.Err(); e != nil {
		return string(e.Condition)
	}
	return string(xmpp.CondUndefinedCondition)
}
