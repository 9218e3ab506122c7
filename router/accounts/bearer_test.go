package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/xmpp/jid"
)

// issuer is an other whose passwords are tokens, by themselves: a token's user is who has it as a password.
type issuer struct {
	*other
	until time.Time
}

func (i *issuer) Terms() (scope, discovery string) { return "xmpp", "https://x/" }

func (i *issuer) Whose(ctx context.Context, host, token string) (user jid.JID, until time.Time, err error) {
	if err := i.question(ctx, "whose "+token); err != nil {
		return user, until, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for name, all := range i.passwords {
		if slices.Contains(strings.Fields(all), token) {
			return jid.MustParse(name), i.until, nil
		}
	}
	return user, until, ErrNotAuthorized
}

func (i *issuer) Check(ctx context.Context, user jid.JID, token string) error {
	whose, _, err := i.Whose(ctx, user.Domain(), token)
	if err == nil && whose != user {
		err = ErrNotAuthorized
	}
	return err
}

var stranger = Source{Addr: netip.MustParseAddr("192.0.2.1")}

// bearerService is awayService with an issuer, where juliet has the tokens one and two, and nurse, who is kept here,
// has one too.
func bearerService(t *testing.T) (*Service, *issuer) {
	i := &issuer{other: &other{passwords: map[string]string{juliet.String(): "one two", nurse.String(): "nurses"}}}
	s, _ := service(t, Options{Elsewhere: &Elsewhere{Backend: i, Hosts: []string{juliet.Domain()},
		Here: []jid.JID{nurse}, Cache: cacheFor}})
	return s, i
}

func TestATokenSaysWhoItIs(t *testing.T) {
	s, i := bearerService(t)
	host := juliet.Domain()
	for range 2 {
		if user, err := s.Bearer(t.Context(), stranger, host, "one"); err != nil || user != juliet {
			t.Errorf("%s, %v", user, err)
		}
	}
	if n := len(i.questions()); n != 1 {
		t.Errorf("%d questions, want 1", n)
	}
	if ok, err := s.Exists(t.Context(), juliet); !ok || err != nil {
		t.Errorf("her account: %v, %v", ok, err)
	}
	must(t, s.Verify(t.Context(), juliet, "two")) // as a password
	for name, try := range map[string]func() error{
		"nobody's":        func() error { _, err := s.Bearer(t.Context(), stranger, host, "none"); return err },
		"of one kept":     func() error { _, err := s.Bearer(t.Context(), stranger, host, "nurses"); return err },
		"empty":           func() error { _, err := s.Bearer(t.Context(), stranger, host, ""); return err },
		"too long":        func() error { _, err := s.Bearer(t.Context(), stranger, host, strings.Repeat("x", 5000)); return err },
		"of another host": func() error { _, err := s.Bearer(t.Context(), stranger, "other.example", "one"); return err },
	} {
		if err := try(); !errors.Is(err, ErrNotAuthorized) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if scope, discovery, ok := s.Bears(host); scope != "xmpp" || discovery != "https://x/" || !ok {
		t.Errorf("terms: %q, %q, %v", scope, discovery, ok)
	}
	if _, _, ok := s.Bears("other.example"); ok {
		t.Error("another host bears, too")
	}
	must(t, s.SetDisabled(t.Context(), juliet, true))
	if _, err := s.Bearer(t.Context(), stranger, host, "one"); !errors.Is(err, ErrNotAuthorized) {
		t.Errorf("disabled here: %v", err)
	}
	i.fail(errors.New("away"), 0)
	if _, err := s.Bearer(t.Context(), stranger, host, "three"); !errors.Is(err, ErrAway) {
		t.Errorf("away: %v", err)
	}
}

func TestATokenIsNoLongerGoodThanItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := bearerService(t)
		i.until = time.Now().Add(time.Second)
		asks := func(token string, want error) {
			t.Helper()
			if _, err := s.Bearer(t.Context(), stranger, juliet.Domain(), token); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", token, err, want)
			}
		}
		asks("one", nil)
		i.set(juliet, "two")
		asks("one", nil)
		time.Sleep(time.Second)
		asks("one", ErrNotAuthorized)
		// One that is taken back is good for the time of the cache, from when it was asked for.
		i.until = time.Time{}
		asked := time.Now()
		asks("two", nil)
		i.set(juliet, "")
		time.Sleep(cacheFor - time.Nanosecond)
		asks("two", nil)
		time.Sleep(time.Nanosecond)
		if asks("two", ErrNotAuthorized); time.Since(asked) > cacheFor {
			t.Error("it took longer")
		}
	})
}

func TestWhoIsHereByATokenLeavesWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := bearerService(t)
		gone := make(chan time.Time, 100)
		s.OnChange(func(user jid.JID, what Change) {
			if user == juliet && what == Disabled {
				gone <- time.Now()
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Watch(ctx, func() []jid.JID { return []jid.JID{juliet, nurse} })
		}()
		defer func() { cancel(); <-done }()
		comes := func(token string) {
			t.Helper()
			_, err := s.Bearer(t.Context(), stranger, juliet.Domain(), token)
			must(t, err)
		}
		comes("one")
		comes("two")
		must(t, s.SetOptions(Options{Elsewhere: &Elsewhere{Backend: i, Hosts: []string{juliet.Domain()},
			Here: []jid.JID{nurse}, Cache: cacheFor}})) // a reload forgets no token
		i.set(juliet, "one") // the other was taken back
		time.Sleep(4 * watchEvery)
		i.fail(errors.New("away"), 0)
		time.Sleep(4 * watchEvery)
		if len(gone) > 0 {
			t.Fatal("she was sent away")
		}
		i.fail(nil, 0)
		i.set(juliet, "")
		removed := time.Now()
		if d := (<-gone).Sub(removed); d > time.Minute {
			t.Errorf("she stayed for %s", d)
		}
		if err := s.Vouch(t.Context(), juliet); !errors.Is(err, ErrNotAuthorized) {
			t.Errorf("without a token: %v", err)
		}
		i.set(juliet, "two three") // the one that was taken back is not asked for again
		time.Sleep(2 * watchEvery)
		comes("three")
		must(t, s.Vouch(t.Context(), juliet))
	})
}

func TestTokensInUseAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shownTokens
		for i := range shownOfOne + 2 {
			s.keep("juliet", fmt.Sprint(i))
		}
		if got := s.of("juliet"); len(got) != shownOfOne || got[0] != fmt.Sprint(shownOfOne+1) || s.n != shownOfOne {
			t.Errorf("%q, %d", got, s.n)
		}
		s.drop("juliet", "nothing")
		for _, token := range s.of("juliet") {
			s.drop("juliet", token)
		}
		if s.n != 0 || len(s.by) != 0 {
			t.Errorf("%d, %v", s.n, s.by)
		}
		for i := range shownMax {
			if !s.keep(fmt.Sprint(i), "x") {
				t.Fatalf("%d: no room", i)
			}
		}
		time.Sleep(shownFor)
		if s.keep("one more", "x") || !s.keep("7", "x") { // which is still good
			t.Error("the bound does not hold")
		}
		time.Sleep(shownFor / 2)
		if !s.keep("one more", "x") || s.n != 2 || len(s.by) != 2 {
			t.Errorf("%d tokens of %d users after the others have gone", s.n, len(s.by))
		}
	})
}
