package accounts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

// ErrScope is an ErrNotAuthorized, too: the token is good, and not for this.
var ErrScope = fmt.Errorf("%w: the token lacks the scope that accounts.oauth.scope asks for", ErrNotAuthorized)

// errShown is said where too many tokens are in use.
var errShown = fmt.Errorf("%w: more than %d tokens are in use", ErrStrange, shownMax)

// Bearers is a Backend to which access tokens are what passwords are to others (RFC 6750): Check looks at one. It is
// never asked whom it knows, but for each of the tokens that users have shown.
type Bearers interface {
	Backend
	// Whose returns the user at a host whom a token lets in, and until when; the zero time: nobody says. Errors:
	// ErrNotAuthorized, ErrScope, ErrStrange.
	Whose(ctx context.Context, host, token string) (user jid.JID, until time.Time, err error)
	// Terms are what a client is told whose token is not good (RFC 7628 §3.2.2): the scope, and where it learns how to
	// get a token; "": nothing.
	Terms() (scope, discovery string)
}

// bearers is the backend of a host, if it knows tokens; nil: it does not.
func (e *elsewhere) bearers(host string) Bearers {
	if !e.has(host) {
		return nil
	}
	b, _ := e.Backend.(Bearers)
	return b
}

// Bears says whether users of a host log in by tokens, and what a client is told whose token is not good.
func (s *Service) Bears(host string) (scope, discovery string, ok bool) {
	b := s.settings.Load().elsewhere.bearers(host)
	if b == nil {
		return "", "", false
	}
	scope, discovery = b.Terms()
	return scope, discovery, true
}

// Bearer says whose a token is, behind the throttle, to which it reports the outcome. Errors: ErrNotAuthorized,
// ErrScope, ErrAway, ErrUnavailable, an ErrThrottled, the context's; ErrWaiting, with the user, where the account waits
// for approval.
func (s *Service) Bearer(ctx context.Context, from Source, host, token string) (user jid.JID, err error) {
	e := s.settings.Load().elsewhere
	b := e.bearers(host)
	if b == nil || token == "" || len(token) > sasl.MaxBearer {
		return jid.JID{}, ErrNotAuthorized
	}
	if err := s.throttle.Check(from, host); err != nil {
		return jid.JID{}, err
	}
	sum := s.mac("@"+host, token) // no user has this name
	of := string(sum[:])
	if name, ok := s.bearers.get(of); ok {
		mac := s.mac(name, token)
		if s.users.recall(name, &mac) != nil {
			return jid.Parse(name)
		}
	}
	var here error // what is so on our side
	err = e.guard.do(ctx, nil, func(limited context.Context) error {
		asked := time.Now()
		whose, until, err := b.Whose(limited, host, token)
		name := whose.String()
		switch {
		case err != nil:
			return err
		case whose.Domain() != host || !named(whose) || !e.keeps(name):
			return ErrNotAuthorized
		}
		expires := asked.Add(e.Cache)
		if !until.IsZero() && until.Before(expires) {
			expires = until
		}
		epoch := s.users.remembered.epoch(name)
		if !s.shown.keep(name, token) {
			return errShown
		}
		user = whose
		_, here = s.letIn(ctx, whose, remembered{mac: s.mac(name, token), expires: expires}, asked, epoch)
		if here == nil {
			s.bearers.put(of, name, s.bearers.epoch(of))
		}
		return nil
	})
	if err == nil {
		err = here
	}
	switch {
	case err == nil:
		s.throttle.Succeeded(from, host)
		return user, nil
	case errors.Is(err, ErrWaiting):
		return user, err
	case errors.Is(err, ErrNotAuthorized):
		s.throttle.Failed(from, host)
	}
	return jid.JID{}, err
}

// known asks which of these users may log in.
func (s *Service) known(ctx context.Context, e *elsewhere, users []jid.JID) (known []jid.JID, err error) {
	b, ok := e.Backend.(Bearers)
	if !ok {
		return e.Backend.Known(ctx, users)
	}
	const atOnce = 8
	var (
		turns = make(chan struct{}, atOnce)
		all   sync.WaitGroup
		mu    sync.Mutex // guards known and err
	)
	for _, user := range users {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			good, failed := s.bears(ctx, b, user)
			mu.Lock()
			defer mu.Unlock()
			if good {
				known = append(known, user)
			}
			if failed != nil && err == nil {
				err = failed
			}
		})
	}
	all.Wait()
	if err != nil {
		return nil, err
	}
	return known, nil
}

// bears says whether one of the tokens that a user has shown is still good. One that is not is forgotten.
func (s *Service) bears(ctx context.Context, b Bearers, user jid.JID) (bool, error) {
	name := user.String()
	for _, token := range s.shown.of(name) {
		whose, _, err := b.Whose(ctx, user.Domain(), token)
		switch {
		case err == nil && whose == user:
			return s.shown.keep(name, token), nil
		case err != nil && !errors.Is(err, ErrNotAuthorized):
			return false, err
		}
		s.shown.drop(name, token)
	}
	return false, nil
}

const (
	// shownOfOne is how many tokens of a user are asked for again, the newest, and shownMax how many of all.
	shownOfOne, shownMax = 4, 50000
	// shownFor is how long a token is kept that nobody asks for again: its user is not here.
	shownFor = 5 * time.Minute
)

// shownTokens are those that users have come in by, which have to be asked for again while they are here. They are in
// memory alone.
type shownTokens struct {
	mu    sync.Mutex // guards the rest
	by    map[string][]shownToken
	n     int
	swept time.Time
}

type shownToken struct {
	token string
	good  time.Time // when it was good for the last time
}

// of are the tokens of a user, the newest first.
func (s *shownTokens) of(name string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range slices.Backward(s.by[name]) {
		all = append(all, t.token)
	}
	return all
}

// keep notes that a token is good now; false: there is no room.
func (s *shownTokens) keep(name, token string) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.by[name]
	if i := slices.IndexFunc(list, func(t shownToken) bool { return t.token == token }); i >= 0 {
		list[i].good = now
		return true
	}
	if s.n >= shownMax && now.Sub(s.swept) > shownFor/10 {
		s.swept = now
		s.sweep(now)
		list = s.by[name]
	}
	switch {
	case len(list) >= shownOfOne:
		list = slices.Delete(list, 0, 1)
		s.n--
	case s.n >= shownMax:
		return false
	}
	if s.by == nil {
		s.by = map[string][]shownToken{}
	}
	s.by[name] = append(list, shownToken{token, now})
	s.n++
	return true
}

// sweep forgets the tokens of those who are not here.
func (s *shownTokens) sweep(now time.Time) {
	for name, list := range s.by {
		before := len(list)
		list = slices.DeleteFunc(list, func(t shownToken) bool { return now.Sub(t.good) > shownFor })
		s.n -= before - len(list)
		if s.by[name] = list; len(list) == 0 {
			delete(s.by, name)
		}
	}
}

func (s *shownTokens) drop(name, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.by[name])
	list := slices.DeleteFunc(s.by[name], func(t shownToken) bool { return t.token == token })
	s.n -= before - len(list)
	if s.by[name] = list; len(list) == 0 {
		delete(s.by, name)
	}
}
