// Package announcements writes to all users of a host on its behalf: to those who are online at once, to the others
// when they come (XEP-0133 §4.23 to §4.28). There are announcements, which are kept for some time for whoever is away;
// a message of the day, which stands until it is taken back and which everybody gets once; and a welcome, which new
// accounts get at their first login. All are kept in storage.
//
// What is written is a message of type normal from the host: it is archived, stored and acknowledged like all others.
// Of each user it is kept up to where they have got everything. A server that is killed in between writes again rather
// than not at all.
package announcements

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// What a host may announce.
const (
	MaxText = 8 << 10             // bytes
	MaxKept = 10                  // announcements that are kept at a time
	MaxKeep = 90 * 24 * time.Hour // how long one is
)

// A Kind is one of the two texts that stand until they are taken back.
type Kind string

// The kinds, and their keys in storage.
const (
	OfTheDay Kind = "motd"
	Welcome  Kind = "welcome"
)

// announcementKey begins the keys of announcements; what follows is Notice.ID.
const announcementKey = "announcement/"

// seenKey is the one record of a user.
const seenKey = "seen"

// ErrText is returned for what cannot be announced.
var ErrText = fmt.Errorf("an announcement has 1 to %d bytes of text, without control characters "+
	"but for tabs and line ends", MaxText)

// ErrTooMany is returned when a host has MaxKept announcements.
var ErrTooMany = fmt.Errorf("%d announcements are kept for those who are away, and no more: withdraw one, or "+
	"announce to those who are online alone", MaxKept)

// ErrOff is returned while the module takes no part.
var ErrOff = errors.New("announcements are off: modules.announcements in the configuration turns them on")

// ErrNone is returned for an announcement that is not there.
var ErrNone = errors.New("there is no such announcement")

// A Notice is something that is announced.
type Notice struct {
	ID    string // of an announcement, within its host
	Text  string
	Made  time.Time // exact to the nanosecond; of two notices of a host it differs
	Until time.Time // when it is kept no more; zero: until it is taken back
}

// Accounts says when an account was made.
type Accounts interface {
	Get(ctx context.Context, user jid.JID) (accounts.Account, error)
}

// Announcements is the module. It is safe for concurrent use.
type Announcements struct {
	parts.Switch
	router   *router.Router
	accounts Accounts
	store    storage.Map
	log      *slog.Logger

	seed   maphash.Seed
	giving [64]sync.Mutex // who gives to a user; by the user's hash

	mu    sync.Mutex // guards hosts, not what is in them
	hosts map[string]*board
}

// A board is what a host announces.
type board struct {
	mu     sync.Mutex // guards the rest, and is held while it is read from storage
	loaded bool
	read   time.Time
	kept   []Notice         // in the order in which they were made
	stand  map[Kind]*Notice // nil: there is none
}

// Of makes the announcements of a server.
func Of(p parts.Parts) *Announcements {
	a := New(p.Router, p.Accounts, p.Store.Map("announcements"), p.Log)
	a.Switch = p.Switch("announcements")
	return a
}

// New returns the module. The store is of this module alone.
func New(r *router.Router, users Accounts, store storage.Map, log *slog.Logger) *Announcements {
	return &Announcements{router: r, accounts: users, store: store, log: log, seed: maphash.MakeSeed(),
		hosts: map[string]*board{}}
}

// Module says where announcements take part.
func (a *Announcements) Module() router.Module {
	return router.Module{
		Name:    "announcements",
		Leaving: router.Stage{Presence: a.leaving},
		Portable: []router.Portable{{Spaces: []string{"map announcements"},
			Stays: "announcements are the host's, and whose account is new gets those that are made from then on"}},
		Removed: parts.Erase(a.store.DeleteOwner),
	}
}

// leaving gives a user who becomes available what there is.
func (a *Announcements) leaving(e *router.Envelope) {
	if e.Session == nil || !e.Stanza.To.IsZero() || e.Stanza.Type != xmpp.TypeAvailable || e.Session.Presence() != nil {
		return
	}
	if _, err := a.give(e.Session.Bare(), e.Batch); err != nil {
		a.log.Warn("announcements not given", "user", e.Session.Bare(), "error", err)
	}
}

// readFor is how long a board is taken for true where other nodes change it too. They say so, but may not be heard.
const readFor = time.Minute

// Renew says that another node has changed what a host announces. A text is given to all of the host's users who have a
// session here, as Announce does with one that is not kept; with give they get what is kept. reached says how many.
func (a *Announcements) Renew(host, text string, give bool) (reached int) {
	if b, err := a.board(host); err == nil { // what cannot be read is not loaded
		b.loaded = false
		b.mu.Unlock()
	}
	switch {
	case !a.On():
		return 0
	case text != "":
		return a.say(host, text)
	case give:
		return a.giveAll(host)
	}
	return 0
}

// say gives a text to all users of a host who have a session, and says how many there are.
func (a *Announcements) say(host, text string) (reached int) {
	a.everybody(host, func(user jid.JID) {
		if a.send(user, Notice{Text: text}, nil) {
			reached++
		}
	})
	return reached
}

// board returns that of a host, loaded and locked.
func (a *Announcements) board(host string) (*board, error) {
	a.mu.Lock()
	b := a.hosts[host]
	if b == nil {
		b = &board{}
		a.hosts[strings.Clone(host)] = b
	}
	a.mu.Unlock()
	b.mu.Lock()
	if b.loaded && (a.router.Alone() || time.Since(b.read) < readFor) {
		return b, nil
	}
	b.read = time.Now()
	entries, _, err := a.store.List(context.Background(), host)
	if err != nil {
		b.mu.Unlock()
		return nil, fmt.Errorf("read the announcements of %s: %w", host, err)
	}
	b.kept, b.stand = nil, map[Kind]*Notice{}
	for _, e := range entries {
		n, err := parse(e.Value)
		if err != nil {
			b.mu.Unlock()
			return nil, fmt.Errorf("read %s of %s: %w", e.Key, host, err)
		}
		if id, ok := strings.CutPrefix(e.Key, announcementKey); ok {
			n.ID = id
			b.kept = append(b.kept, n)
		} else {
			b.stand[Kind(e.Key)] = &n
		}
	}
	b.loaded = true
	return b, nil
}

// write changes the records of a host and waits until they are durable.
func (a *Announcements) write(ctx context.Context, host string, changes ...storage.Change) error {
	_, p, err := a.store.Update(ctx, host, storage.AnyVersion, changes...)
	if err == nil {
		err = p.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("keep what %s announces: %w", host, err)
	}
	return nil
}

// Announce writes to all users of a host: to those who have a session now, and for keep (0: not at all, at most
// MaxKeep) also to those who come. It says how many it has reached at once. Errors: ErrOff, ErrText, ErrTooMany, the
// storage's, or the context's.
func (a *Announcements) Announce(ctx context.Context, host, text string, keep time.Duration) (reached int, err error) {
	if !a.On() {
		return 0, ErrOff
	}
	if text, err = fitting(text); err != nil {
		return 0, err
	}
	now := time.Now()
	if keep <= 0 {
		return a.say(host, text), nil
	}
	b, err := a.board(host)
	if err != nil {
		return 0, err
	}
	if err := a.keep(ctx, host, b, Notice{Text: text, Until: now.Add(min(keep, MaxKeep))}); err != nil {
		return 0, err
	}
	return a.giveAll(host), nil
}

// keep adds an announcement to a board, which it unlocks.
func (a *Announcements) keep(ctx context.Context, host string, b *board, n Notice) error {
	defer b.mu.Unlock()
	n.Made = b.moment()
	n.ID = fmt.Sprintf("%016x", n.Made.UnixNano())
	var changes []storage.Change
	var kept []Notice
	for _, old := range b.kept {
		if n.Made.After(old.Until) {
			changes = append(changes, storage.Change{Key: announcementKey + old.ID, Delete: true})
		} else {
			kept = append(kept, old)
		}
	}
	if len(kept) >= MaxKept {
		return ErrTooMany
	}
	changes = append(changes, storage.Change{Key: announcementKey + n.ID, Value: n.append(nil)})
	if err := a.write(ctx, host, changes...); err != nil {
		b.loaded = false // it may be there or not
		return err
	}
	b.kept = append(kept, n)
	return nil
}

// moment is now, later than what is on the board. The caller holds mu.
func (b *board) moment() time.Time {
	now := time.Now()
	later := func(n *Notice) {
		if n != nil && !now.After(n.Made) {
			now = n.Made.Add(1)
		}
	}
	for i := range b.kept {
		later(&b.kept[i])
	}
	for _, n := range b.stand {
		later(n)
	}
	return now
}

// Kept are the announcements of a host that are kept for those who are away, the oldest first.
func (a *Announcements) Kept(host string) ([]Notice, error) {
	b, err := a.board(host)
	if err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	now := time.Now()
	return slices.DeleteFunc(slices.Clone(b.kept), func(n Notice) bool { return now.After(n.Until) }), nil
}

// Withdraw has an announcement kept no more. Errors: ErrNone, the storage's, or the context's.
func (a *Announcements) Withdraw(ctx context.Context, host, id string) error {
	b, err := a.board(host)
	if err != nil {
		return err
	}
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.kept, func(n Notice) bool { return n.ID == id })
	if i < 0 {
		return ErrNone
	}
	if err := a.write(ctx, host, storage.Change{Key: announcementKey + id, Delete: true}); err != nil {
		b.loaded = false
		return err
	}
	b.kept = slices.Delete(slices.Clone(b.kept), i, i+1)
	return nil
}

// Standing is a text of a host that stands; "" if there is none.
func (a *Announcements) Standing(host string, k Kind) (string, error) {
	b, err := a.board(host)
	if err != nil {
		return "", err
	}
	defer b.mu.Unlock()
	if n := b.stand[k]; n != nil {
		return n.Text, nil
	}
	return "", nil
}

// Stand sets a text of a host that stands, or with "" takes it back. With edit, who has got the one before does not get
// this one. A message of the day is given to those who are online at once; reached says to how many. Errors: ErrOff,
// ErrText, the storage's, or the context's.
func (a *Announcements) Stand(ctx context.Context, host string, k Kind, text string, edit bool,
) (reached int, err error) {
	if !a.On() {
		return 0, ErrOff
	}
	if text != "" {
		if text, err = fitting(text); err != nil {
			return 0, err
		}
	}
	b, err := a.board(host)
	if err != nil {
		return 0, err
	}
	if err := a.stand(ctx, host, b, k, text, edit); err != nil || k != OfTheDay || text == "" {
		return 0, err
	}
	return a.giveAll(host), nil
}

// stand does it on a board, which it unlocks.
func (a *Announcements) stand(ctx context.Context, host string, b *board, k Kind, text string, edit bool) error {
	defer b.mu.Unlock()
	var next *Notice
	change := storage.Change{Key: string(k), Delete: true}
	if text != "" {
		next = &Notice{Text: text, Made: b.moment()}
		if old := b.stand[k]; old != nil && edit {
			next.Made = old.Made
		}
		change = storage.Change{Key: string(k), Value: next.append(nil)}
	}
	if err := a.write(ctx, host, change); err != nil {
		b.loaded = false
		return err
	}
	b.stand[k] = next
	return nil
}

// fitting is a text as it is announced.
func fitting(text string) (string, error) {
	text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
	bad := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' || r == 0xFFFE || r == 0xFFFF }
	if text == "" || len(text) > MaxText || !utf8.ValidString(text) || strings.ContainsFunc(text, bad) {
		return "", ErrText
	}
	return text, nil
}
