package devices

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var romeo, juliet = jid.MustParse("romeo@example.org"), jid.MustParse("juliet@example.org")

const (
	phone  = "d4565fa7-4d72-4749-b3d3-740edbf87770"
	laptop = "1b5f7ab2-0ba9-4d2c-9c5a-2d8a8a3f1f9e"
)

// A shop is a service with its accounts, and a clock that tests put forward.
type shop struct {
	*Service
	t        testing.TB
	accounts *accounts.Service
	store    storage.Map
	ahead    time.Duration
	lifetime time.Duration
}

func open(t testing.TB) *shop {
	t.Helper()
	engine, err := embedded.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	a, err := accounts.New(t.Context(), engine, accounts.Options{Iterations: sasl.MinIterations})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []jid.JID{romeo, juliet} {
		if err := a.Create(t.Context(), u, "secret"); err != nil {
			t.Fatal(err)
		}
	}
	s := &shop{t: t, accounts: a, store: engine.Map("devices"), lifetime: 30 * 24 * time.Hour}
	s.Service = New(Options{Store: s.store, Accounts: a, Lifetime: func() time.Duration { return s.lifetime },
		Now: func() time.Time { return time.Now().Add(s.ahead) }})
	return s
}

// login is one with the password, which begins now.
func (s *shop) login(user jid.JID, agent string) Login {
	return Login{User: user, Agent: Agent{ID: agent, Software: "Gajim", Device: "desk"}, Mechanism: sasl.ScramSHA256,
		Began: s.o.Now()}
}

func (s *shop) issue(user jid.JID, agent string) string {
	s.t.Helper()
	secret, expires, err := s.Issue(s.t.Context(), s.login(user, agent), sasl.HTSHA256None)
	if err != nil || len(secret) < 43 || expires.Before(s.o.Now().Add(s.lifetime-time.Minute)) {
		s.t.Fatalf("%q until %v: %v", secret, expires, err)
	}
	return secret
}

// use tries a secret, and says what came of it: "", "due", or the failure.
func (s *shop) use(secret string, u Use) string {
	s.t.Helper()
	due, err := s.Use(s.t.Context(), u, func(b []byte) bool { return string(b) == secret })
	switch f, failed := errors.AsType[sasl.Failure](err); {
	case failed:
		return string(f)
	case err != nil:
		s.t.Fatal(err)
	case due:
		return "due"
	}
	return ""
}

func (s *shop) want(want, secret string, u Use) {
	s.t.Helper()
	if got := s.use(secret, u); got != want {
		s.t.Errorf("got %q, want %q", got, want)
	}
}

func of(user jid.JID, agent string) Use {
	return Use{User: user, Agent: agent, Mechanism: sasl.HTSHA256None}
}

func TestATokenIsGoodForItsDeviceAndMechanism(t *testing.T) {
	s := open(t)
	secret := s.issue(romeo, phone)
	bound := of(romeo, phone)
	bound.Mechanism = sasl.HTSHA256Exporter
	for name, u := range map[string]Use{"another mechanism": bound, "another device": of(romeo, laptop),
		"another user": of(juliet, phone), "nobody": of(jid.MustParse("nobody@example.org"), phone)} {
		if got := s.use(secret, u); got != "not-authorized" {
			t.Errorf("%s: %q", name, got)
		}
	}
	s.want("not-authorized", secret[:len(secret)-1], of(romeo, phone))
	s.want("", secret, of(romeo, phone))
	s.want("", secret, of(romeo, phone))
}

// XEP-0484 §3.5.
func TestTheOldTokenIsGoodUntilTheNewOneIsUsed(t *testing.T) {
	s := open(t)
	first := s.issue(romeo, phone)
	s.want("", first, of(romeo, phone))
	s.ahead = 25 * time.Hour
	s.want("due", first, of(romeo, phone))
	unused := s.issue(romeo, phone)
	second := s.issue(romeo, phone)
	s.want("not-authorized", unused, of(romeo, phone))
	s.want("due", first, of(romeo, phone))
	s.want("", second, of(romeo, phone))
	s.want("not-authorized", first, of(romeo, phone))
	s.want("", second, of(romeo, phone))
}

func TestTokensExpire(t *testing.T) {
	s := open(t)
	secret := s.issue(romeo, phone)
	s.ahead = s.lifetime - time.Minute
	s.want("due", secret, of(romeo, phone))
	s.ahead = s.lifetime + time.Minute
	s.want("credentials-expired", secret, of(romeo, phone))
	s.want("not-authorized", "guess", of(romeo, phone))
}

// XEP-0484 §3.4.
func TestACountCountsOnce(t *testing.T) {
	s := open(t)
	secret := s.issue(romeo, phone)
	counted := func(n uint64) Use {
		u := of(romeo, phone)
		u.Count = n
		return u
	}
	s.want("", secret, counted(5))
	s.want("not-authorized", secret, counted(5))
	s.want("not-authorized", secret, counted(4))
	s.want("", secret, counted(6))
	// Of many that come at once with the same one is let in.
	in := make(chan string, 8)
	var wg sync.WaitGroup
	for range cap(in) {
		wg.Go(func() { in <- s.use(secret, counted(7)) })
	}
	wg.Wait()
	close(in)
	let := 0
	for got := range in {
		if got == "" {
			let++
		} else if got != "not-authorized" {
			t.Errorf("got %q", got)
		}
	}
	if let != 1 {
		t.Errorf("%d were let in", let)
	}
}

func TestATokenMayBeUsedForTheLastTime(t *testing.T) {
	s := open(t)
	secret := s.issue(romeo, phone)
	last := of(romeo, phone)
	last.Invalidate = true
	s.want("", secret, last)
	s.want("not-authorized", secret, of(romeo, phone))
	if list, err := s.List(t.Context(), romeo); err != nil || len(list) != 1 || list[0].Token {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestTokensEndWithWhatTheyRestOn(t *testing.T) {
	for name, end := range map[string]func(s *shop) error{
		"another password": func(s *shop) error { return s.accounts.SetPassword(s.t.Context(), romeo, "other") },
		"disabled":         func(s *shop) error { return s.accounts.SetDisabled(s.t.Context(), romeo, true) },
		"disabled for a while": func(s *shop) error {
			ctx := s.t.Context()
			return errors.Join(s.accounts.SetDisabled(ctx, romeo, true), s.accounts.SetDisabled(ctx, romeo, false))
		},
		"removed": func(s *shop) error { return s.accounts.Delete(s.t.Context(), romeo) },
		"made anew": func(s *shop) error {
			return errors.Join(s.accounts.Delete(s.t.Context(), romeo), s.accounts.Create(s.t.Context(), romeo, "secret"))
		},
		"the device is removed": func(s *shop) error { return s.Remove(s.t.Context(), romeo, ID(romeo, phone)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			secret, began := s.issue(romeo, phone), s.login(romeo, laptop)
			byToken := s.login(romeo, phone)
			byToken.Mechanism = sasl.HTSHA256None
			other := s.issue(juliet, phone)
			if err := end(s); err != nil {
				t.Fatal(err)
			}
			if got := s.use(secret, of(romeo, phone)); got != "not-authorized" && got != "credentials-expired" {
				t.Errorf("the token is good: %q", got)
			}
			// A login that began before gets none.
			for _, l := range []Login{began, byToken} {
				if name == "the device is removed" && l.Agent.ID == laptop {
					continue // another
				}
				if got, _, err := s.Issue(t.Context(), l, sasl.HTSHA256None); err == nil && s.use(got, of(romeo, l.Agent.ID)) == "" {
					t.Errorf("a login of before has got a token that is good")
				}
			}
			if err := s.Seen(t.Context(), byToken); name == "the device is removed" && !errors.Is(err, ErrNotFound) {
				t.Errorf("seen all the same: %v", err)
			}
			s.want("", other, of(juliet, phone))
			if left, _, err := s.store.List(t.Context(), romeo.String()); err != nil || name == "removed" && len(left) > 0 {
				t.Errorf("%d records are left, %v", len(left), err)
			}
		})
	}
}

func TestDevicesAreListedWithWhatTheySayOfThemselves(t *testing.T) {
	s := open(t)
	l := s.login(romeo, phone)
	l.Agent.Software, l.Agent.Device = " Con\x00versa\ntions ", strings.Repeat("ü", 100)
	if err := s.Seen(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	s.ahead = time.Minute
	s.issue(romeo, laptop)
	list, err := s.List(t.Context(), romeo)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	at, away := list[0], list[1]
	if at.ID != ID(romeo, laptop) || !at.Token || at.Software != "Gajim" || at.Name != "desk" || at.Mechanism != sasl.ScramSHA256 {
		t.Errorf("%+v", at)
	}
	if away.Token || away.Software != "Conversa tions" || away.Name != strings.Repeat("ü", maxName) || !away.First.Equal(away.Last) {
		t.Errorf("%+v", away)
	}
	if strings.Contains(fmt.Sprintf("%+v", list), phone) || ID(romeo, phone) == ID(juliet, phone) {
		t.Error("the id of the client is to be seen, or is the same for everybody")
	}
	s.ahead = 2 * time.Hour
	if err := s.Seen(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if list, err = s.List(t.Context(), romeo); err != nil || list[0].ID != away.ID || !list[0].Last.After(list[0].First) {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestTheDeviceThatWasAwayForLongestIsForgotten(t *testing.T) {
	s := open(t)
	for i := range Most + 5 {
		s.ahead = time.Duration(i) * time.Minute
		s.issue(romeo, fmt.Sprint("device ", i))
	}
	list, err := s.List(t.Context(), romeo)
	if err != nil || len(list) != Most {
		t.Fatalf("%d devices, %v", len(list), err)
	}
	for _, d := range list {
		for i := range 5 {
			if d.ID == ID(romeo, fmt.Sprint("device ", i)) {
				t.Errorf("device %d is remembered", i)
			}
		}
	}
}

func TestRemovalIsTold(t *testing.T) {
	s := open(t)
	told := ""
	s.OnRemoved(func(user jid.JID, device string) { told = user.String() + " " + device })
	s.issue(romeo, phone)
	if err := s.Remove(t.Context(), juliet, ID(romeo, phone)); !errors.Is(err, ErrNotFound) || told != "" {
		t.Errorf("another's: %v, told %q", err, told)
	}
	if err := s.Remove(t.Context(), romeo, ID(romeo, phone)); err != nil || told != romeo.String()+" "+ID(romeo, phone) {
		t.Errorf("%v, told %q", err, told)
	}
	if list, err := s.List(t.Context(), romeo); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// A login that finds all as it was writes nothing.
func TestALoginThatChangesNothingWritesNothing(t *testing.T) {
	s := open(t)
	secret := s.issue(romeo, phone)
	s.want("", secret, of(romeo, phone))
	l := s.login(romeo, phone)
	l.Mechanism = sasl.HTSHA256None
	if err := s.Seen(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	_, before, err := s.store.List(t.Context(), romeo.String())
	if err != nil {
		t.Fatal(err)
	}
	s.want("", secret, of(romeo, phone))
	if err := s.Seen(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if _, after, err := s.store.List(t.Context(), romeo.String()); err != nil || after != before {
		t.Errorf("version %d after %d, %v", after, before, err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("\x01{}"))
	f.Add((&record{Tokens: []*token{{Secret: "x", Mechanism: sasl.HTSHA256None}}}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			return
		}
		if _, err := decode(r.encode()); err != nil {
			t.Error(err)
		}
	})
}
