package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// Errors about accounts whose passwords another knows, to be tested with errors.Is.
var (
	// ErrElsewhere is the answer to what only that other can do.
	ErrElsewhere = errors.New("the password of this account is kept elsewhere")
	// ErrAway is an ErrUnavailable, too.
	ErrAway error = away("who keeps the passwords of these accounts cannot be asked now: " +
		"try again later, and look at the server's log")
	// ErrStrange is for a Backend: there is an answer, and it does not say whether the password is right. It is ErrAway
	// to whoever asked, and no reason to leave the backend alone: others' questions may be answered.
	ErrStrange = errors.New("the answer does not say whether the user may log in")
)

type away string

func (a away) Error() string        { return string(a) }
func (a away) Is(target error) bool { return target == ErrUnavailable }

// A Backend knows the passwords of accounts. Its methods are safe for concurrent use and give up when the context ends.
// Besides the errors named, any other says that there was no answer.
type Backend interface {
	// Check says whether the password is the user's, and the user one who may log in; else the error is
	// ErrNotAuthorized, or ErrStrange. It is never asked for an empty password, and says no to one.
	Check(ctx context.Context, user jid.JID, password string) error
	// Known returns those of these users who may log in: MaxKnown of one host at most. Errors: ErrStrange.
	Known(ctx context.Context, users []jid.JID) ([]jid.JID, error)
	// SetPassword sets it. Errors: ErrElsewhere where it is not set from here, ErrPassword, ErrNotFound, ErrStrange.
	SetPassword(ctx context.Context, user jid.JID, password string) error
	// String names it for administrators, without any secret.
	String() string
}

// MaxKnown is how many users a Backend is asked for at once.
const MaxKnown = 100

// Elsewhere says which accounts have their passwords elsewhere.
type Elsewhere struct {
	Backend Backend
	Hosts   []string      // whose accounts; empty: those of all
	Here    []jid.JID     // accounts of these hosts that are kept here all the same
	Cache   time.Duration // how long an answer is good, from when it was asked for
	// SetsPasswords says that Backend may do so.
	SetsPasswords bool
	Log           *slog.Logger // nil: nobody reads it
}

// elsewhere is that at work; nil: all passwords are here.
type elsewhere struct {
	Elsewhere
	here  map[string]bool
	guard *guard
}

func compileElsewhere(o *Elsewhere) *elsewhere {
	if o == nil {
		return nil
	}
	e := &elsewhere{Elsewhere: *o, here: make(map[string]bool, len(o.Here))}
	if e.Log == nil {
		e.Log = slog.New(slog.DiscardHandler)
	}
	for _, j := range o.Here {
		e.here[j.Bare().String()] = true
	}
	e.guard = newGuard(e.Backend.String(), e.Log)
	return e
}

// has says whether accounts of a host are there.
func (e *elsewhere) has(host string) bool {
	return e != nil && (len(e.Hosts) == 0 || slices.Contains(e.Hosts, host))
}

// keeps says whether the password of an account is there.
func (e *elsewhere) keeps(name string) bool {
	if e == nil {
		return false
	}
	host, _ := storage.SplitUser(name)
	return e.has(host) && !e.here[name]
}

// refusal is what an administrator is told who wants what only the backend does.
func (e *elsewhere) refusal(user jid.JID, do string) error {
	return fmt.Errorf("%s: %w, by %s: %s", user.Bare(), ErrElsewhere, e.Backend, do)
}

// Elsewhere says whether the passwords of a host are kept elsewhere: then only mechanisms that hand over the password
// can be offered, and nobody creates an account.
func (s *Service) Elsewhere(host string) bool { return s.settings.Load().elsewhere.has(host) }

// Questions are those to who keeps passwords elsewhere.
func (s *Service) Questions() *Questions { return s.questions }

// BackendUp says whether who keeps passwords elsewhere has answered the last question; it is true where nobody does.
func (s *Service) BackendUp() bool {
	e := s.settings.Load().elsewhere
	return e == nil || e.guard.up()
}

// ask is verify for an account whose password is elsewhere, which says who has an account.
func (s *Service) ask(
	ctx context.Context, e *elsewhere, name, password string, again func() error,
) (*storage.Account, error) {
	mac := s.mac(name, password)
	if a := s.users.recall(name, &mac); a != nil {
		return a, nil
	}
	user, err := jid.Parse(name)
	// An empty password would be no question: RFC 4513 §5.1.2 has directories agree to it.
	bad := password == "" || !utf8.ValidString(password) || strings.ContainsRune(password, 0)
	if err != nil || !named(user) || bad {
		return nil, ErrNotAuthorized
	}
	var a *storage.Account
	var here error // what storage says
	err = e.guard.do(ctx, func() (done bool, err error) {
		if again != nil {
			if err := again(); err != nil {
				return true, err
			}
		}
		// Of many requests that came at once, those that had their turn first have asked for all.
		a = s.users.recall(name, &mac)
		return a != nil, nil
	}, func(limited context.Context) error {
		epoch, asked := s.users.remembered.epoch(name), time.Now()
		err := e.Backend.Check(limited, user, password)
		if _, ok := e.Backend.(Bearers); ok && err == nil && !s.shown.keep(name, password) {
			return errShown
		}
		if err == nil {
			a, here = s.letIn(ctx, user, remembered{mac: mac, expires: asked.Add(e.Cache)}, asked, epoch)
		}
		return err
	})
	if err == nil {
		err = here
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// letIn returns the account of a user whom the backend has let in, and remembers the password. One that is not here yet
// is made.
func (s *Service) letIn(
	ctx context.Context, user jid.JID, r remembered, asked time.Time, epoch uint64,
) (*storage.Account, error) {
	name := user.String()
	a, err := s.users.store.Get(ctx, name)
	if errors.Is(err, storage.ErrNotFound) {
		if err = s.arrive(ctx, user, asked); err != nil {
			return nil, err
		}
		epoch = s.users.remembered.epoch(name) // to make it was a change
		a, err = s.users.store.Get(ctx, name)
	}
	switch {
	case err != nil:
		return nil, about(name, err)
	case waiting(a):
		return nil, ErrWaiting
	case a.Disabled:
		return nil, ErrNotAuthorized
	}
	r.account = &a
	s.users.remembered.put(name, r, epoch)
	s.vouched.put(name, vouch{asked: asked, good: true}, s.vouched.epoch(name))
	return &a, nil
}

// arrive makes the account of a user whom the backend has let in. It has no keys, and Changed is zero: nobody here
// knows when the password was set.
func (s *Service) arrive(ctx context.Context, user jid.JID, asked time.Time) error {
	switch awaited, err := s.awaited(ctx, user); {
	case err != nil:
		return about(user.String(), err)
	case awaited:
		return fmt.Errorf("%s is being imported: %w", user, ErrUnavailable)
	}
	p, err := s.make(ctx, user, storage.Account{User: strings.Clone(user.String()), Created: asked.UTC()})
	switch {
	case errors.Is(err, ErrExists): // another login of the same user was first
		return nil
	case err != nil:
		return err
	}
	return s.settle(ctx, p, user, Created)
}

// MaySetPassword says whether the password of an account can be set from here: nil, or ErrElsewhere with what to do.
func (s *Service) MaySetPassword(user jid.JID) error {
	if e := s.settings.Load().elsewhere; e.keeps(user.Bare().String()) && !e.SetsPasswords {
		return e.refusal(user, "change it there")
	}
	return nil
}

// passOn has the backend set a password.
func (s *Service) passOn(ctx context.Context, e *elsewhere, user jid.JID, password string) error {
	err := e.guard.do(ctx, nil, func(ctx context.Context) error { return e.Backend.SetPassword(ctx, user, password) })
	switch {
	case errors.Is(err, ErrElsewhere):
		return e.refusal(user, "change it there")
	case err != nil:
		return err
	}
	return s.modify(ctx, user, PasswordChanged, func(a *storage.Account) error {
		a.Changed = time.Now().UTC()
		return nil
	})
}

// vouch is what the backend has said of an account without its password.
type vouch struct {
	asked time.Time
	good  bool
}

// Vouch asks whether who keeps the password of an account still lets its user in, for whoever acts for it without a
// password. It is nil at once for an account that is kept here, and where the answer is known from less than
// Elsewhere.Cache ago. Errors: ErrNotAuthorized, ErrAway, or the context's.
func (s *Service) Vouch(ctx context.Context, user jid.JID) error {
	user = user.Bare()
	name := user.String()
	e := s.settings.Load().elsewhere
	if !e.keeps(name) {
		return nil
	}
	if v, ok := s.vouched.get(name); ok && time.Since(v.asked) < e.Cache {
		if !v.good {
			return ErrNotAuthorized
		}
		return nil
	}
	good, err := s.know(ctx, e, []jid.JID{user}, false)
	if err == nil && !good[name] {
		err = ErrNotAuthorized
	}
	return err
}

// know asks which of these users may log in, and ends what the others have; live says that they are here, and else it
// is ended once.
func (s *Service) know(ctx context.Context, e *elsewhere, users []jid.JID, live bool) (map[string]bool, error) {
	var known []jid.JID
	var asked time.Time
	err := e.guard.do(ctx, nil, func(ctx context.Context) error {
		var err error
		asked = time.Now()
		known, err = s.known(ctx, e, users)
		return err
	})
	if err != nil {
		return nil, err
	}
	good := make(map[string]bool, len(known))
	for _, j := range known {
		good[j.Bare().String()] = true
	}
	for _, user := range users {
		name := user.String()
		old, had := s.vouched.get(name)
		s.vouched.put(name, vouch{asked, good[name]}, s.vouched.epoch(name))
		if good[name] {
			continue
		}
		s.users.remembered.drop(name)
		fresh := !had || old.good
		if fresh {
			e.Log.Warn("who keeps the password of an account lets its user in no more", "account", user,
				"by", e.Backend.String())
		}
		if fresh || live { // a login that was on its way may have come since
			s.notify(user, Disabled)
		}
	}
	return good, nil
}

// watchEvery is how often the backend is asked for who is here. Together with Elsewhere.Cache and the time of a
// question it is a minute at most.
const watchEvery = 25 * time.Second

// Watch asks again and again, until ctx ends, for those who are here by a password that is kept elsewhere; each of live
// once. To listeners, one who may not be here any more is Disabled. While nobody answers, all stay.
func (s *Service) Watch(ctx context.Context, live func() []jid.JID) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if e := s.settings.Load().elsewhere; e != nil {
				s.look(ctx, e, live())
			}
		}
	}
}

// look asks for some users now.
func (s *Service) look(ctx context.Context, e *elsewhere, live []jid.JID) {
	byHost := map[string][]jid.JID{}
	for _, user := range live {
		if user = user.Bare(); e.keeps(user.String()) {
			byHost[user.Domain()] = append(byHost[user.Domain()], user)
		}
	}
	for _, users := range byHost {
		for some := range slices.Chunk(users, MaxKnown) {
			if _, err := s.know(ctx, e, some, true); err != nil && ctx.Err() == nil {
				e.Log.Debug("who is logged in stays, unasked", "by", e.Backend.String(), "error", err)
				return
			}
		}
	}
}
