// Package accounts is the one place that knows who may log in and what an account may do. SASL, HTTP, in-band
// registration and the control socket all ask it.
//
// It keeps SCRAM keys only (RFC 5802 §3, RFC 7677), never a password; takes a password in the forms in which clients
// prepare it (sasl.Forms); bounds the work of key derivation; remembers verified passwords for a short time, so that a
// request over HTTP costs a keyed hash and no derivation; answers for unknown and disabled accounts as it does for a
// wrong password, in the same time (RFC 5802 §9); throttles failed logins; and resolves the permissions that were
// granted, configured or follow from being an administrator.
//
// Left out: SASL itself (package sasl), tokens, and the question which domains are served here: whoever creates an
// account has asked that before.
package accounts

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// Errors of this package, to be tested with errors.Is. Their texts say what to do and are meant for the administrator;
// a peer is told no more than the condition (RFC 6120 §6.5).
var (
	// ErrNotAuthorized stands alike for a wrong password, an unknown user and a disabled account.
	ErrNotAuthorized = errors.New("user name or password is wrong, or the account is disabled")
	ErrExists        = errors.New("the account exists already: change its password or choose another name")
	// ErrAwaited is an ErrExists, too.
	ErrAwaited  = fmt.Errorf("%w (its import was begun: finish that, or remove what has come)", ErrExists)
	ErrNotFound = errors.New("there is no such account: check the spelling, or create it first")
	// ErrUnavailable wraps what the storage engine said. Nothing was acknowledged; a write may have been made all the
	// same.
	ErrUnavailable = errors.New("accounts cannot be used now because of the storage: " +
		"try again later, and look at the server's log")
	ErrUser       = errors.New("this names no account: it takes the form user@domain")
	ErrPassword   = errors.New("password refused")
	ErrPermission = errors.New("no such permission")
	// ErrWaiting is an ErrNotAuthorized, too. Only whoever knows the password may be told.
	ErrWaiting    = fmt.Errorf("%w: an administrator has to approve it first", ErrNotAuthorized)
	ErrNotWaiting = errors.New("the account does not wait for approval")
)

// A Change tells an OnChange listener what happened to an account.
type Change uint8

// What can happen to an account. All but PermissionsChanged and Created end its live sessions and its tokens.
const (
	PasswordChanged Change = iota + 1
	Disabled
	Deleted
	PermissionsChanged
	Created
)

// String returns the change as words for a log.
func (c Change) String() string {
	switch c {
	case PasswordChanged:
		return "password changed"
	case Disabled:
		return "disabled"
	case Deleted:
		return "deleted"
	case PermissionsChanged:
		return "permissions changed"
	case Created:
		return "created"
	}
	return "unknown change"
}

// An Account is what may be shown of a user's account: no keys.
type Account struct {
	User        jid.JID      // bare
	Disabled    bool         // by an administrator
	Waiting     bool         // for approval by one; it is not Disabled then
	Permissions []Permission // granted to this account, sorted; not those of the configuration
	Created     time.Time
	Changed     time.Time // when the password was set
}

// Active says that the user may log in.
func (a Account) Active() bool { return !a.Disabled && !a.Waiting }

// A Service keeps the accounts in a storage engine. All its methods are safe for concurrent use. A method that changes
// something returns when the change is durable and every OnChange listener has returned. When its context ends first,
// the change may still be made, and is announced then.
type Service struct {
	users, api book
	notes      storage.Map // of this package
	weak       weak
	granted    granted
	leaving    leaving
	vouched    *cache[vouch] // by bare JID, of accounts whose password is elsewhere
	questions  *Questions
	bearers    *cache[string] // bare JIDs, by the keyed hash of a token of theirs
	shown      shownTokens
	rights     *cache[*Rights] // by bare JID
	settings   atomic.Pointer[settings]
	throttle   *Throttle
	slots      chan struct{} // one token for each derivation at work
	macs       sync.Pool     // of *macState
	secret     [32]byte      // makes fake keys; in storage, so that they outlive a restart

	mu        sync.Mutex // guards listeners
	listeners []func(jid.JID, Change)
}

// A book is one kind of accounts, and the passwords remembered for them.
type book struct {
	store      storage.Accounts
	remembered *cache[remembered]
}

// New returns the service over an engine, which stays the caller's. The first time on an empty store it writes a secret
// and waits until that is durable.
func New(ctx context.Context, engine storage.Engine, o Options) (*Service, error) {
	c, err := compile(o)
	if err != nil {
		return nil, err
	}
	notes := engine.Map(secretSpace)
	secret, err := loadSecret(ctx, notes)
	if err != nil {
		return nil, fmt.Errorf("load the secret of unknown accounts: %w", unavailable(err))
	}
	s := &Service{
		users:    book{engine.Accounts(), newCache[remembered](rememberMax)},
		api:      book{engine.APIAccounts(), newCache[remembered](rememberMax)},
		notes:    notes,
		vouched:  newCache[vouch](rememberMax),
		bearers:  newCache[string](rememberMax),
		rights:   newCache[*Rights](rightsMax),
		throttle: NewThrottle(time.Now),
		slots:    make(chan struct{}, cmp.Or(o.DerivationsPerCore, DefaultDerivationsPerCore)*runtime.GOMAXPROCS(0)),
		secret:   secret,
	}
	if err := s.weak.load(ctx, notes); err != nil {
		return nil, err
	}
	var key [32]byte
	rand.Read(key[:]) // never returns an error
	s.questions = new(Questions)
	if c.elsewhere != nil {
		c.elsewhere.guard.count = s.questions
	}
	s.macs.New = func() any { return newMACState(key[:]) }
	s.throttle.setBackoff(c.first, c.most)
	s.settings.Store(c)
	return s, nil
}

// SetOptions replaces the options while the service runs; what they say about permissions is in force when it returns.
// Invalid ones change nothing.
func (s *Service) SetOptions(o Options) error {
	c, err := compile(o)
	if err != nil {
		return err
	}
	if c.elsewhere != nil {
		c.elsewhere.guard.count = s.questions
	}
	old := s.settings.Swap(c)
	s.throttle.setBackoff(c.first, c.most)
	s.rights.clear()
	if old.elsewhere != nil || c.elsewhere != nil { // another may know the passwords now
		s.users.remembered.clear()
		s.vouched.clear()
		s.bearers.clear()
	}
	return nil
}

// Throttle returns the throttle of failed logins that all ways to log in share.
func (s *Service) Throttle() *Throttle { return s.throttle }

// OnChange has f called after each change of an account that lives sessions or tokens may depend on, once it is
// durable. f may block; what made the change waits for it. Listeners stay for ever and are called in the order given.
func (s *Service) OnChange(f func(user jid.JID, what Change)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(slices.Clip(s.listeners), f)
}

func (s *Service) notify(user jid.JID, what Change) {
	s.mu.Lock()
	listeners := s.listeners
	s.mu.Unlock()
	for _, f := range listeners {
		f(user, what)
	}
}

// Create makes an account. Errors: ErrUser, ErrPassword, ErrExists, ErrUnavailable, or the context's.
func (s *Service) Create(ctx context.Context, user jid.JID, password string) error {
	p, err := s.create(ctx, user, password)
	if err != nil {
		return err
	}
	return s.settle(ctx, p, user, Created)
}

// create derives and writes without waiting for the disk.
func (s *Service) create(ctx context.Context, user jid.JID, password string) (*storage.Pending, error) {
	a, err := s.fresh(ctx, user, password)
	if err != nil {
		return nil, err
	}
	return s.make(ctx, user, a)
}

// make writes a new account.
func (s *Service) make(ctx context.Context, user jid.JID, a storage.Account) (*storage.Pending, error) {
	if err := s.leaving.over(ctx, a.User); err != nil {
		return nil, about(a.User, err)
	}
	p, err := s.users.store.Create(ctx, a)
	s.forget(user)
	if err != nil {
		return nil, about(user.String(), err)
	}
	return p, nil
}

// fresh is a new account as it is going to be written, unless its name is taken.
func (s *Service) fresh(ctx context.Context, user jid.JID, password string) (a storage.Account, err error) {
	if !user.IsBare() || !named(user) {
		return a, fmt.Errorf("create %q: %w", user, ErrUser)
	}
	if e := s.settings.Load().elsewhere; e.keeps(user.String()) {
		return a, e.refusal(user, "make the account there, and it is made here when its user logs in first; "+
			"or name it in accounts.local of the configuration, and this server keeps it")
	}
	if err := fitting(password); err != nil {
		return a, err
	}
	// A name that is taken must not cost a derivation.
	switch _, err := s.users.store.Get(ctx, user.String()); {
	case err == nil:
		return a, about(user.String(), storage.ErrExists)
	case !errors.Is(err, storage.ErrNotFound):
		return a, about(user.String(), err)
	}
	switch awaited, err := s.awaited(ctx, user); {
	case err != nil:
		return a, about(user.String(), err)
	case awaited:
		return a, fmt.Errorf("%s: %w", user, ErrAwaited)
	}
	credentials, err := s.derive(ctx, password)
	if err != nil {
		return a, err
	}
	now := time.Now().UTC()
	return storage.Account{User: strings.Clone(user.String()), Credentials: credentials, Created: now, Changed: now}, nil
}

// SetPassword replaces the password, also one that is kept elsewhere, where that can be done from here. Errors:
// ErrPassword, ErrNotFound, ErrElsewhere, ErrUnavailable, or the context's.
func (s *Service) SetPassword(ctx context.Context, user jid.JID, password string) error {
	if err := s.MaySetPassword(user); err != nil {
		return err
	}
	if err := fitting(password); err != nil {
		return err
	}
	if _, err := s.users.store.Get(ctx, user.Bare().String()); err != nil {
		return about(user.Bare().String(), err)
	}
	if e := s.settings.Load().elsewhere; e.keeps(user.Bare().String()) {
		return s.passOn(ctx, e, user.Bare(), password)
	}
	credentials, err := s.derive(ctx, password)
	if err != nil {
		return err
	}
	return s.modifyThen(ctx, user, PasswordChanged, func(a *storage.Account) error {
		// As late as can be: whoever began to log in before it may have proved the old password.
		a.Credentials, a.Changed = credentials, time.Now().UTC()
		return nil
	}, func() error { return s.reckon(ctx, user.Bare().String(), credentials) })
}

// SetDisabled keeps the user from logging in, or allows it again. The account keeps its password and permissions, but
// has none of them while disabled. Errors: ErrWaiting, ErrNotFound, ErrUnavailable, or the context's.
func (s *Service) SetDisabled(ctx context.Context, user jid.JID, disabled bool) error {
	what := Disabled
	if !disabled {
		what = PermissionsChanged // it has them again
	}
	return s.modify(ctx, user, what, func(a *storage.Account) error {
		if waiting(*a) {
			return ErrWaiting
		}
		a.Disabled = disabled
		return nil
	})
}

// Grant adds permissions to those of the account. Errors: ErrPermission, ErrNotFound, ErrUnavailable, or the context's.
func (s *Service) Grant(ctx context.Context, user jid.JID, permissions ...Permission) error {
	names, err := spell(permissions)
	if err != nil {
		return err
	}
	return s.modify(ctx, user, PermissionsChanged, func(a *storage.Account) error {
		all := append(slices.Clone(a.Permissions), names...)
		slices.Sort(all)
		a.Permissions = slices.Compact(all)
		return nil
	})
}

// Revoke takes permissions back. PermForgeSender takes back all narrowed forms of it too, so that nothing of it is
// left; a narrowed form only itself. What the configuration gives stays; what was not granted is no error.
func (s *Service) Revoke(ctx context.Context, user jid.JID, permissions ...Permission) error {
	names, err := spell(permissions)
	if err != nil {
		return err
	}
	return s.modify(ctx, user, PermissionsChanged, func(a *storage.Account) error {
		a.Permissions = slices.DeleteFunc(slices.Clone(a.Permissions), func(have string) bool {
			name, _, _ := strings.Cut(have, "=")
			return slices.Contains(names, have) || slices.Contains(names, name)
		})
		return nil
	})
}

func spell(permissions []Permission) ([]string, error) {
	names := make([]string, 0, len(permissions))
	for _, p := range permissions {
		p, err := ParsePermission(string(p))
		if err != nil {
			return nil, err
		}
		names = append(names, string(p))
	}
	return names, nil
}

// Delete removes the account. What other packages keep of the user they remove when they hear of it. Errors:
// ErrNotFound, ErrUnavailable, or the context's.
func (s *Service) Delete(ctx context.Context, user jid.JID) error {
	user = user.Bare()
	end, err := s.leaving.begin(ctx, user.String())
	if err != nil {
		return about(user.String(), err)
	}
	p, err := s.users.store.Delete(ctx, user.String())
	s.forget(user)
	if err == nil {
		err = s.reckon(ctx, user.String(), nil)
	}
	if err == nil {
		err = s.decided(ctx, user)
	}
	if errors.Is(err, storage.ErrNotFound) {
		var awaited bool
		if awaited, err = s.awaited(ctx, user); err == nil && !awaited {
			err = storage.ErrNotFound
		} else if err == nil {
			p, err = s.arrived(ctx, user)
		}
	}
	if err != nil {
		end()
		return about(user.String(), err)
	}
	return s.settleThen(ctx, p, user, Deleted, end)
}

func (s *Service) modify(ctx context.Context, user jid.JID, what Change, f func(*storage.Account) error) error {
	return s.modifyThen(ctx, user, what, f, func() error { return nil })
}

// modifyThen is modify, with something to be done when the change can be seen.
func (s *Service) modifyThen(ctx context.Context, user jid.JID, what Change, f func(*storage.Account) error,
	then func() error) error {
	user = user.Bare()
	p, err := s.users.store.Modify(ctx, user.String(), f)
	s.forget(user)
	if err == nil {
		err = then()
	}
	if err != nil {
		return about(user.String(), err)
	}
	return s.settle(ctx, p, user, what)
}

// forget drops all that is held in memory of a user. It is called after the write is visible to readers and before it
// is durable: what was read before cannot be cached any more then (see cache.put).
func (s *Service) forget(user jid.JID) {
	s.users.remembered.drop(user.String())
	s.rights.drop(user.String())
	s.granted.changed(user.Bare())
}

// settle waits until a write is durable and announced. The announcement does not depend on ctx: a session must end even
// if whoever asked for it has gone.
func (s *Service) settle(ctx context.Context, p *storage.Pending, user jid.JID, what Change) error {
	return s.settleThen(ctx, p, user, what, func() {})
}

// settleThen is settle with what is to be done at the end, whoever waits for it.
func (s *Service) settleThen(ctx context.Context, p *storage.Pending, user jid.JID, what Change, then func()) error {
	done := make(chan error, 1)
	p.Then(func(err error) {
		if err != nil {
			then()
			done <- err
			return
		}
		go func() { // listeners may block, the engine must not
			s.notify(user, what)
			then()
			done <- nil
		}()
	})
	select {
	case err := <-done:
		if err != nil {
			return about(user.String(), err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Get returns an account. Errors: ErrNotFound, ErrUnavailable, or the context's.
func (s *Service) Get(ctx context.Context, user jid.JID) (Account, error) {
	a, err := s.users.store.Get(ctx, user.Bare().String())
	if err != nil {
		return Account{}, about(user.Bare().String(), err)
	}
	return shown(a)
}

// Exists says whether there is an account, disabled or not. It is asked for every message that no session takes, so a
// yes comes from memory, as Rights does.
func (s *Service) Exists(ctx context.Context, user jid.JID) (bool, error) {
	if r, known := s.rights.get(user.Bare().String()); known && r.exists && r.fresh() {
		return true, nil
	}
	s.rights.drop(user.Bare().String()) // another process may have made it since
	r, err := s.Rights(ctx, user)
	if err != nil {
		return false, err
	}
	return r.exists, nil
}

// List returns the accounts of a domain, or with "" all of them, in ascending order of domain and user.
func (s *Service) List(ctx context.Context, domain string) ([]Account, error) {
	var all []Account
	err := pages(ctx, s.users.store, domain, func(a storage.Account) error {
		account, err := shown(a)
		all = append(all, account)
		return err
	})
	return all, err
}

// Page returns up to limit accounts of a domain, or with "" of all, that come after a bare address in the order of
// List; "" begins. Errors: ErrUnavailable, or the context's.
func (s *Service) Page(ctx context.Context, domain, after string, limit int) ([]Account, error) {
	list, err := s.users.store.List(ctx, domain, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", unavailable(err))
	}
	page := make([]Account, len(list))
	for i, a := range list {
		if page[i], err = shown(a); err != nil {
			return nil, err
		}
	}
	return page, nil
}

func shown(a storage.Account) (Account, error) {
	user, err := jid.Parse(a.User)
	if err != nil {
		return Account{}, fmt.Errorf("stored account %q: %w", a.User, err)
	}
	waits := waiting(a)
	out := Account{User: user, Disabled: a.Disabled && !waits, Waiting: waits, Created: a.Created, Changed: a.Changed}
	for _, p := range a.Permissions {
		out.Permissions = append(out.Permissions, Permission(p))
	}
	return out, nil
}

// named says that j can be the address of a user.
func named(j jid.JID) bool { return j.Local() != "" && j.Domain() != "" }

// about turns an error of the engine into one of ours that says whose.
func about(user string, err error) error {
	switch {
	case errors.Is(err, storage.ErrNotFound):
		err = ErrNotFound
	case errors.Is(err, storage.ErrExists):
		err = ErrExists
	case errors.Is(err, ErrWaiting), errors.Is(err, ErrNotWaiting):
	default:
		err = unavailable(err)
	}
	return fmt.Errorf("%s: %w", user, err)
}

// unavailable marks an error of the engine; that of a context stays what it is.
func unavailable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w (%w)", ErrUnavailable, err)
}
