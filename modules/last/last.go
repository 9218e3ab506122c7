// Package last tells how long ago a user was last here, and how long the host has
// been running (XEP-0012).
//
// Of an account it tells those who may see its presence, and nobody else (§3, §8):
// an account that does not exist answers as one that is none of the asker's business. The
// moment is that at which the last session was gone; with stream management that is
// when nobody may resume it any more. Requests to a client are delivered to it under the
// same condition (§4). Nothing of that is written while a session lasts, so that a killed
// server remembers the logout before. For administrators the beginning of a session is
// written too, the first of an hour and account (Times).
package last

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Roster knows whether a contact may see the presence of a user. Both addresses are bare.
type Roster interface {
	Sees(user, contact jid.JID) (bool, error)
}

const (
	key      = "last"  // of the record of an owner's logout
	loginKey = "login" // of that of a login

	// loginEvery is how exact the time of a login is kept: whoever logs in again and again costs a write in that time.
	loginEvery = time.Hour
	// maxNoted bounds whom is remembered to have been written in that time; beyond, some are written once more.
	maxNoted = 1 << 16

	recordVersion = 1

	// maxStatus bounds the status that is kept, in bytes.
	maxStatus = 1024
)

var query = xmpp.Name{Space: xmpp.NSLast, Local: "query"}

// Options of New; all are needed.
type Options struct {
	Router *router.Router
	Users  router.Users
	Roster Roster
	Store  storage.Map // of this module alone
	Log    *slog.Logger
}

type last struct {
	Options
	start time.Time

	mu sync.Mutex // guards the rest
	// noted are those whose login has been written since the time notedFrom.
	noted     map[string]struct{}
	notedFrom time.Time
	// status is what a session said when it became unavailable, until it ends or comes back.
	status map[*router.Session]string
}

// Of makes the module of a server.
func Of(p parts.Parts, contacts Roster) router.Module {
	return New(Options{Router: p.Router, Users: p.Accounts, Roster: contacts, Store: p.Store.Map("last"), Log: p.Log})
}

// New returns the module; the host's uptime counts from now.
func New(o Options) router.Module {
	l := &last{Options: o, start: time.Now(), status: map[*router.Session]string{}}
	return l.module()
}

func (l *last) module() router.Module {
	return router.Module{
		Name:            "last",
		Specs:           []router.Spec{{Name: "XEP-0012", Version: "2.0"}},
		Features:        []string{xmpp.NSLast},
		AccountFeatures: []string{xmpp.NSLast},
		IQ: []router.IQ{
			{Payload: query, Scope: router.Host, Handle: l.host},
			{Payload: query, Scope: router.Account, Handle: l.account, NoAccount: l.noAccount},
		},
		Leaving:  router.Stage{Presence: l.leaving},
		Arriving: router.Stage{IQ: l.arriving},
		Bound:    l.bound,
		Ended:    l.ended,
		Portable: l.portable(),
		Removed:  parts.Erase(l.Store.DeleteOwner),
	}
}

func (l *last) host(e *router.Envelope) {
	if e.Stanza.Type == xmpp.TypeGet {
		l.answer(e, time.Since(l.start), "") // §5: no text
	}
}

func (l *last) account(e *router.Envelope) {
	if e.Stanza.Type != xmpp.TypeGet {
		return
	}
	owner := e.Stanza.To.Bare()
	if e.FromOwn() {
		owner = e.Session.Bare()
	} else if l.refuseStranger(e); e.Settled() {
		return
	}
	if len(l.Router.Sessions(owner)) > 0 {
		l.answer(e, 0, "")
		return
	}
	b, err := l.Store.Get(context.Background(), owner.String(), key)
	if errors.Is(err, storage.ErrNotFound) {
		e.Refuse(xmpp.ItemNotFound("this user has not been here yet"))
		return
	}
	var r record
	if err == nil {
		r, err = parse(b)
	}
	if err != nil {
		l.Log.Warn("last activity unreadable", "user", owner, "err", err)
		e.Refuse(router.Unavailable())
		return
	}
	l.answer(e, time.Since(r.at), r.status)
}

// noAccount answers as account does to strangers.
func (l *last) noAccount(e *router.Envelope) {
	if e.Stanza.Type == xmpp.TypeGet {
		forbid(e)
	}
}

// arriving keeps requests of strangers from clients (§4): an answer would say that the client is there.
func (l *last) arriving(e *router.Envelope) {
	if e.Stanza.Type != xmpp.TypeGet || !e.Stanza.To.IsFull() {
		return
	}
	if name, _ := e.Stanza.First(); name == query && !e.FromOwn() {
		l.refuseStranger(e)
	}
}

// refuseStranger refuses who may not see the presence of the user addressed (§8).
func (l *last) refuseStranger(e *router.Envelope) {
	switch ok, err := l.Roster.Sees(e.Stanza.To.Bare(), e.Stanza.From.Bare()); {
	case err != nil:
		l.Log.Warn("roster unreadable", "user", e.Stanza.To.Bare(), "err", err)
		e.Refuse(router.Unavailable())
	case !ok:
		forbid(e)
	}
}

func forbid(e *router.Envelope) {
	e.Refuse(xmpp.Forbidden("only who may see the presence of this user may ask"))
}

// leaving notes what a session says when it becomes unavailable.
func (l *last) leaving(e *router.Envelope) {
	if !e.Stanza.To.IsZero() { // directed presence is for its recipient alone
		return
	}
	text := ""
	if e.Stanza.Type == xmpp.TypeUnavailable {
		if s := e.Stanza.Child(xmpp.Name{Space: xmpp.NSClient, Local: "status"}); s != nil {
			text = s.Text()
		}
	} else if e.Stanza.Type != xmpp.TypeAvailable {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Stanza.Type == xmpp.TypeAvailable {
		delete(l.status, e.Session)
		return
	}
	if len(text) > maxStatus {
		text = strings.ToValidUTF8(text[:maxStatus], "")
	}
	l.status[e.Session] = strings.Clone(text)
}

// bound notes when a user logged in.
func (l *last) bound(s *router.Session) {
	if now := time.Now(); l.note(s.Bare().String(), now) {
		l.keep(s.Bare(), loginKey, record{at: now})
	}
}

// note says whether the login of a user is worth a write.
func (l *last) note(owner string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.noted == nil || now.Sub(l.notedFrom) >= loginEvery || len(l.noted) >= maxNoted {
		l.noted, l.notedFrom = map[string]struct{}{}, now
	}
	if _, known := l.noted[owner]; known {
		return false
	}
	l.noted[strings.Clone(owner)] = struct{}{}
	return true
}

// ended notes when the last session of a user went that had been there for others to see.
func (l *last) ended(s *router.Session, presence *xmpp.Stanza) {
	l.mu.Lock()
	status, left := l.status[s]
	delete(l.status, s)
	l.mu.Unlock()
	if presence == nil && !left || len(l.Router.Sessions(s.Bare())) > 0 {
		return
	}
	l.keep(s.Bare(), key, record{time.Now(), status})
}

// keep writes a record; nobody waits for it.
func (l *last) keep(user jid.JID, key string, r record) {
	// Sessions of a deleted account end after its data was erased.
	ctx := context.Background()
	if ok, err := l.Users.Exists(ctx, user); err != nil || !ok {
		return
	}
	_, p, err := l.Store.Update(ctx, user.String(), storage.AnyVersion, storage.Change{Key: key, Value: r.append(nil)})
	if err != nil {
		l.Log.Warn("last activity not stored", "user", user, "err", err)
		return
	}
	p.Then(func(err error) {
		if err != nil {
			l.Log.Warn("last activity not stored", "user", user, "err", err)
		}
	})
}

func (l *last) answer(e *router.Envelope, ago time.Duration, status string) {
	var w xmpp.Writer
	w.Start(xmpp.NSLast, "query").AttrInt("seconds", int64(max(ago, 0)/time.Second))
	if status != "" {
		w.Text(status)
	}
	l.Router.Answer(e, w.End().Bytes())
}

// Times returns when a user last logged in, which may have been up to an hour later, and when the last session of the
// user ended, from the map of this module; zero for what is not known.
func Times(ctx context.Context, store storage.Map, user jid.JID) (login, left time.Time, err error) {
	if login, err = at(ctx, store, user, loginKey); err == nil {
		left, err = at(ctx, store, user, key)
	}
	return login, left, err
}

func at(ctx context.Context, store storage.Map, user jid.JID, key string) (time.Time, error) {
	b, err := store.Get(ctx, user.Bare().String(), key)
	if errors.Is(err, storage.ErrNotFound) {
		return time.Time{}, nil
	}
	var r record
	if err == nil {
		r, err = parse(b)
	}
	return r.at, err
}

// A record is when a user left, and what was said then.
type record struct {
	at     time.Time
	status string
}

// append writes the version, the seconds since 1970 in eight bytes, and the status.
func (r record) append(dst []byte) []byte {
	dst = append(dst, recordVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.at.Unix()))
	return append(dst, r.status...)
}

func parse(b []byte) (record, error) {
	if len(b) < 9 || b[0] != recordVersion {
		return record{}, fmt.Errorf("record of %d bytes in an unknown version", len(b))
	}
	return record{time.Unix(int64(binary.BigEndian.Uint64(b[1:])), 0), string(b[9:])}, nil
}
