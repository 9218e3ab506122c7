// Package bots lets a program answer for an account: what is written to the account is posted to a URL, and what the
// program answers is the reply (docs/hooks.md §6). The program needs no library of XMPP, no session and no port.
//
// A bot is an account of ours that an administrator has given a URL. A message for it is queued in storage before it is
// acknowledged (modules/internal/outgoing): those of each sender go out in order, one at a time, for an hour, and again
// after a crash under the same key. A message that the account's own clients can take goes to them as well; where there
// is none, the queue is the delivery and nothing waits offline.
//
// While the server runs, a bot has a session that speaks for it: contacts see it online, it is a joined occupant of its
// rooms, and requests to it are answered. In a room it hears what begins with its trigger or names it, and private
// messages.
//
// Errors, what was delayed, what says nothing, and what a bot of this server has written do not go out, nor do copies
// (carbons, archives). Encrypted messages only go to bots that ask for them. Left out: commands (XEP-0050), files.
package bots

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/modules/internal/outgoing"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/budget"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	// MaxBots is how many bots a server has at most, each with parallel requests at once.
	MaxBots  = 200
	parallel = 4
	// age is how long a message is tried.
	age = time.Hour
	// maxQueued and maxQueuedBytes bound what waits for a bot; each who writes has a share of it.
	maxQueued      = 10000
	maxQueuedBytes = 64 << 20
	// perSecond and burst are how many messages one may write to one bot: two programs that answer each other end here.
	perSecond = 2
	burst     = 60

	// owner is who has the bots in the map.
	owner = "bots"
)

// Errors of the functions for administrators.
var (
	ErrNone = errors.New("it is no bot: `jackdaw bot list` names them")
	ErrMany = errors.New("there are as many bots as may be, 200: remove one")
	ErrOff  = errors.New("bots are off: modules.bots in the configuration turns them on")
)

// Options of New; all are needed.
type Options struct {
	Router *router.Router
	Users  router.Users
	// Active says whether an account may be used, Admin whether it administers; ctx ends with the server.
	Active, Admin func(ctx context.Context, user jid.JID) bool
	// IsRoom says whether there is a room with this address, of a domain that is ours.
	IsRoom func(room jid.JID) bool
	// URL is where others reach HTTP of a host, "" where they do not.
	URL func(host string) string
	// Derive makes of these words what nobody else can (accounts.Service.Derive).
	Derive func(purpose string, of ...string) [sha256.Size]byte
	// Budgets are those of accounts; nil: there are none.
	Budgets *budget.Book
	// Store, Replies, Queue and Done are of this module alone: the bots, what late answers need, what waits for bots,
	// and their last requests.
	Store, Replies storage.Map
	Queue, Done    storage.Log
	// On says whether the module takes part now.
	On  func() bool
	Log *slog.Logger
}

// Bots is the module. It is safe for concurrent use.
type Bots struct {
	o      Options
	poster func(public bool) poster
	rates  *budget.Book

	ctx     context.Context // ends with Close
	end     context.CancelFunc
	running atomic.Bool // from Run on: requests go out

	Stats Stats

	all     atomic.Pointer[map[jid.JID]*bot] // replaced with mu held; nil: not read yet
	stale   atomic.Bool                      // owners have come home since: other nodes may know of other bots
	mu      sync.Mutex                       // guards changes of the bots
	looked  time.Time                        // when the bots were last read; guarded by mu
	work    sync.WaitGroup                   // of lives
	endless context.Context                  // of lives; guarded by mu, nil before Run
}

// Stats count since the start.
type Stats struct {
	Taken   atomic.Int64 // requests that a program has taken
	Failed  atomic.Int64 // requests that none has taken
	Lost    atomic.Int64 // messages that were given up
	Answers atomic.Int64 // messages that bots have sent
}

// Of makes the module of a server.
func Of(p parts.Parts, isRoom func(room jid.JID) bool) *Bots {
	rights := func(ctx context.Context, user jid.JID) *accounts.Rights {
		r, err := p.Accounts.Rights(ctx, user)
		if err != nil {
			return new(accounts.Rights)
		}
		return r
	}
	url := p.URL
	if url == nil {
		url = func(string) string { return "" }
	}
	return New(Options{Router: p.Router, Users: p.Accounts, IsRoom: isRoom,
		Store: p.Store.Map("bots"), Replies: p.Store.Map("bots-replies"),
		Queue: p.Store.Log("bots"), Done: p.Store.Log("bots-done"), URL: url, Derive: p.Accounts.Derive,
		Budgets: p.Budgets,
		Active:  func(ctx context.Context, user jid.JID) bool { return rights(ctx, user).Active() },
		Admin:   func(ctx context.Context, user jid.JID) bool { return rights(ctx, user).Has(accounts.PermAdmin) },
		On:      p.Switch("bots").On, Log: p.Log})
}

// New returns the module. Nothing goes out before Run.
func New(o Options) *Bots {
	m := &Bots{o: o, poster: func(public bool) poster { return outgoing.NewClient(parallel, public) },
		rates: budget.New(func() budget.Rate { return budget.Rate{PerSecond: perSecond, Burst: burst} })}
	m.ctx, m.end = context.WithCancel(context.Background())
	return m
}

// Module says where it takes part. It comes after the archive and carbons, and before what stores messages for accounts
// that are away.
func (m *Bots) Module() router.Module {
	return router.Module{
		Name: "bots",
		Specs: []router.Spec{{Name: "XEP-0085", Version: "2.1", Note: "composing and active of bots"},
			{Name: "XEP-0184", Version: "1.4.0", Note: "receipts of bots"}},
		Arriving:   router.Stage{Message: m.mark, IQ: m.asked},
		Departing:  router.Stage{Message: m.mark},
		Serving:    m.mark,
		Delivering: m.delivering,
		Unclaimed:  m.unclaimed,
		Coming:     func() { m.stale.Store(true) },
		Lost:       m.lost,
		Portable: []router.Portable{{Spaces: []string{"map bots", "map bots-replies", "log bots", "log bots-done"},
			Stays: "a program that this server posts to, with a secret that both share"}},
		Removed: func(user jid.JID) error {
			err := m.Remove(context.Background(), user)
			if errors.Is(err, ErrNone) {
				return nil
			}
			return err
		},
	}
}

// bots are all, by their addresses. Nobody changes the map.
func (m *Bots) bots() (map[jid.JID]*bot, error) {
	if all := m.all.Load(); all != nil && !m.stale.Load() {
		return *all, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if all := m.all.Load(); all != nil && !m.stale.Load() {
		return *all, nil
	}
	if err := m.look(m.ctx); err != nil {
		return nil, err
	}
	return *m.all.Load(), nil
}

// current are the bots as storage has them, where other nodes may have changed them since they were read.
func (m *Bots) current(ctx context.Context) (map[jid.JID]*bot, error) {
	if m.all.Load() == nil || m.o.Router.Alone() {
		return m.bots()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.look(ctx); err != nil {
		return nil, err
	}
	return *m.all.Load(), nil
}

// lookAfter has the bots read, unless that has begun after a moment. So many who ask at once wait for one read.
func (m *Bots) lookAfter(ctx context.Context, moment time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.looked.After(moment) {
		return nil
	}
	return m.look(ctx)
}

// look reads the bots. Those that are as before go on, others begin and end. The caller holds mu.
func (m *Bots) look(ctx context.Context) error {
	before := map[jid.JID]*bot{}
	if all := m.all.Load(); all != nil {
		before = *all
	}
	m.stale.Store(false)
	began := time.Now()
	entries, _, err := m.o.Store.List(ctx, owner)
	if err != nil {
		m.stale.Store(true)
		return err
	}
	m.looked = began
	all := map[jid.JID]*bot{}
	var begin []*bot
	for _, e := range entries {
		one, err := readBot(e.Value)
		if err != nil {
			m.o.Log.Error("a bot cannot be read", "bot", e.Key, "error", err, "do", "add it again")
			continue
		}
		b := before[one.JID]
		if b == nil || !bytes.Equal(b.record, e.Value) {
			b = m.newBot(one, e.Value)
			begin = append(begin, b)
		}
		all[one.JID] = b
	}
	m.all.Store(&all)
	for j, b := range before {
		if all[j] != b {
			b.close()
		}
	}
	for _, b := range begin {
		m.revive(b)
	}
	return nil
}

// named is the bot of an address, nil if it is none or takes no part.
func (m *Bots) named(j jid.JID) (*bot, error) {
	all, err := m.bots()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	b := all[j.Bare()]
	if b == nil || !m.active(b) {
		return nil, nil
	}
	return b, nil
}

// active says whether the bot is to be there: its account is at home here, and in use, as that of its owner is.
func (m *Bots) active(b *bot) bool {
	return m.o.On() && m.o.Router.IsHome(b.JID) && m.o.Active(m.ctx, b.JID) &&
		(b.Owner.IsZero() || m.o.Active(m.ctx, b.Owner))
}

// replace puts the map of bots with a change in the place of the one before. The caller holds mu.
func (m *Bots) replace(change func(map[jid.JID]*bot)) {
	next := maps.Clone(*m.all.Load())
	change(next)
	m.all.Store(&next)
}

// Run lets bots live, and requests go out, until ctx ends.
func (m *Bots) Run(ctx context.Context) {
	m.running.Store(true)
	for {
		all, err := m.bots()
		if err == nil {
			m.mu.Lock()
			m.endless = ctx
			for _, b := range all {
				m.revive(b)
			}
			m.mu.Unlock()
			break
		}
		m.o.Log.Warn("bots wait for storage", "error", err)
		if !pause(ctx, again) {
			return
		}
	}
	for !m.o.Router.Alone() && pause(ctx, comesHome) { // other nodes change them, too
		if _, err := m.current(ctx); err != nil && ctx.Err() == nil {
			m.o.Log.Warn("bots cannot be read from storage", "error", err)
		}
	}
	<-ctx.Done()
	m.running.Store(false)
	m.mu.Lock()
	m.endless = nil
	m.mu.Unlock()
	m.work.Wait()
}

// revive begins the life of a bot. The caller holds mu.
func (m *Bots) revive(b *bot) {
	if m.endless == nil || m.endless.Err() != nil {
		return
	}
	ctx, end := context.WithCancel(m.endless)
	b.end, b.ended = end, make(chan struct{})
	m.work.Go(func() {
		defer close(b.ended)
		defer end()
		b.live(ctx)
	})
	b.queue.Kick()
}

// Close ends what goes out; what is queued goes out after the next start. It comes after Run.
func (m *Bots) Close() {
	m.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	if all := m.all.Load(); all != nil {
		for _, b := range *all {
			b.close()
		}
	}
}

// A poster makes requests; an outgoing.Client does.
type poster interface {
	Do(ctx context.Context, r outgoing.Request) (outgoing.Answer, error)
	Close()
}

// A bot is one of them, as long as its settings stay as they are.
type bot struct {
	Bot
	record []byte // of it
	m      *Bots
	queue  *outgoing.Queue
	// every reaches all addresses, public the public ones alone.
	every, public poster
	history       history
	end           context.CancelFunc // of its life; nil: it has none. The module's mu guards it, and ended
	ended         chan struct{}      // closed after its life

	session atomic.Pointer[router.Session]
	budget  *budget.Budget // of the account
	rooms   rooms
	replies replies
}

func (m *Bots) newBot(one Bot, record []byte) *bot {
	b := &bot{Bot: one, record: record, m: m, every: m.poster(false), public: m.poster(true)}
	b.budget = m.o.Budgets.Open(one.JID.String())
	b.history = history{log: m.o.Done, owner: one.JID.String()}
	b.rooms.all, b.rooms.look = map[jid.JID]*seat{}, make(chan struct{}, 1)
	for _, r := range one.Rooms {
		b.rooms.all[r] = &seat{why: "not yet"}
	}
	b.queue = outgoing.New(outgoing.Options{Log: m.o.Queue, Owner: one.JID.String(),
		MaxRecords: maxQueued, MaxBytes: maxQueuedBytes, Age: age, Parallel: parallel,
		Sender: sender, Try: b.try, Waits: func(storage.Record, error, time.Duration) {}, Lost: b.lost,
		On: func() bool { return m.running.Load() && m.active(b) }, Logger: m.o.Log})
	return b
}

// close ends what a bot does; its queue stays.
func (b *bot) close() {
	if b.end != nil {
		b.end()
		<-b.ended
	}
	b.queue.Close()
	b.every.Close()
	b.public.Close()
	b.budget.Close()
}

// Answers says whether a session is that of a bot, which writes to nobody who has not written to it.
func (m *Bots) Answers(s *router.Session) bool {
	all, err := m.bots()
	if err != nil || len(all) == 0 {
		return false
	}
	b := all[s.Bare()]
	return b != nil && b.session.Load() == s
}

// client is the one that may go where the bot may. Who is no administrator reaches nothing inside (docs/security.md).
func (b *bot) client(ctx context.Context) poster {
	if b.Owner.IsZero() || b.m.o.Admin(ctx, b.Owner) {
		return b.every
	}
	return b.public
}

// pause says whether to go on after a while.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// sorted are the bots by address.
func sorted(all map[jid.JID]*bot) []*bot {
	return slices.SortedFunc(maps.Values(all), func(a, b *bot) int {
		return a.JID.Compare(b.JID)
	})
}

var (
	nameBody    = xmpp.Name{Space: xmpp.NSClient, Local: "body"}
	nameThread  = xmpp.Name{Space: xmpp.NSClient, Local: "thread"}
	nameDelay   = xmpp.Name{Space: xmpp.NSDelay, Local: "delay"}
	nameMUCUser = xmpp.Name{Space: xmpp.NSMUCUser, Local: "x"}
	nameReceipt = xmpp.Name{Space: xmpp.NSReceipts, Local: "request"}
	nameBot     = xmpp.Name{Space: nsBot, Local: "bot"}
)

// nsBot marks what a bot of a jackdaw has written.
const nsBot = "urn:x-jackdaw:bot:0"
