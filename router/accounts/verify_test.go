package accounts

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

func TestWrongUnknownAndDisabledFailAlike(t *testing.T) {
	s, _ := service(t, Options{})
	off := jid.MustParse("tybalt@capulet.example")
	must(t, s.Create(t.Context(), juliet, "wherefore"))
	must(t, s.Create(t.Context(), off, "prince of cats"))
	must(t, s.Verify(t.Context(), off, "prince of cats"))
	must(t, s.SetDisabled(t.Context(), off, true))
	for _, c := range []struct {
		user     jid.JID
		password string
	}{{juliet, "therefore"}, {juliet, ""}, {juliet, "a\x00"}, {romeo, "wherefore"}, {off, "prince of cats"}, {jid.JID{}, "x"}} {
		if err := s.Verify(t.Context(), c.user, c.password); err != ErrNotAuthorized {
			t.Errorf("%s: %v, want ErrNotAuthorized itself", c.user, err)
		}
	}
	must(t, s.SetDisabled(t.Context(), off, false))
	must(t, s.Verify(t.Context(), off, "prince of cats"))
}

func TestFailuresTakeTheTimeOfADerivation(t *testing.T) {
	s, m := service(t, Options{Iterations: 20000})
	must(t, s.Create(t.Context(), juliet, "wherefore"))
	off := jid.MustParse("tybalt@capulet.example")
	must(t, s.Create(t.Context(), off, "prince of cats"))
	must(t, s.SetDisabled(t.Context(), off, true))
	// An account of an older configuration has fewer iterations.
	must(t, s.SetOptions(Options{Iterations: 4096}))
	must(t, s.Create(t.Context(), romeo, "x"))
	must(t, s.SetOptions(Options{Iterations: 20000}))
	m.users.list["bare@a.example"] = storage.Account{User: "bare@a.example"} // no keys at all

	// CPU time, which other work on the machine does not touch; Verify derives on the thread that calls it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cpu := func() time.Duration {
		var r unix.Timespec // getrusage counts in ticks on some machines
		must(t, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &r))
		return time.Duration(r.Nano())
	}
	logins := [][2]string{
		{juliet.String(), "wrong"},
		{"nobody@a.example", "wrong"},
		{off.String(), "wrong"},
		{off.String(), "prince of cats"},
		{romeo.String(), "wrong"},
		{"bare@a.example", "wrong"},
	}
	// The fastest of several counts, and they take turns: what slows the processor down meets all of them.
	least := make([]time.Duration, len(logins))
	for round := range 10 {
		for i, l := range logins {
			start := cpu()
			if err := s.Verify(t.Context(), jid.MustParse(l[0]), l[1]); err != ErrNotAuthorized {
				t.Fatalf("%s: %v", l[0], err)
			}
			if took := cpu() - start; round == 0 || took < least[i] {
				least[i] = took
			}
		}
	}
	for i, l := range logins {
		if got, want := least[i], least[0]; got < want/2 || got > want*2 {
			t.Errorf("%s takes %v, a wrong password %v", l[0], got, want)
		}
	}
}

func TestRightPasswordIsRememberedForFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := service(t, Options{})
		must(t, s.Create(t.Context(), juliet, "wherefore"))
		m.gets = 0
		verify := func(wantGets int) {
			t.Helper()
			must(t, s.Verify(t.Context(), juliet, "wherefore"))
			if m.gets != wantGets {
				t.Errorf("the store was read %d times, want %d", m.gets, wantGets)
			}
		}
		verify(1)
		verify(1)
		pass(5*time.Minute - 1)
		verify(1)
		if err := s.Verify(t.Context(), juliet, "wrong"); err != ErrNotAuthorized {
			t.Errorf("wrong password beside a remembered one: %v", err)
		}
		verify(2) // the wrong one has not displaced it
		// A hit does not prolong it.
		pass(1)
		verify(3)
	})
}

func TestAnyChangeDropsTheRememberedPassword(t *testing.T) {
	s, m := service(t, Options{})
	must(t, s.Create(t.Context(), juliet, "one"))
	must(t, s.Verify(t.Context(), juliet, "one"))
	must(t, s.SetPassword(t.Context(), juliet, "two"))
	if err := s.Verify(t.Context(), juliet, "one"); err != ErrNotAuthorized {
		t.Errorf("the old password: %v", err)
	}
	must(t, s.Verify(t.Context(), juliet, "two"))
	gets := m.gets
	must(t, s.Grant(t.Context(), juliet, PermAdmin))
	must(t, s.Verify(t.Context(), juliet, "two"))
	if m.gets == gets {
		t.Error("a grant left the password remembered")
	}
	must(t, s.Delete(t.Context(), juliet))
	if err := s.Verify(t.Context(), juliet, "two"); err != ErrNotAuthorized {
		t.Errorf("the password of a deleted account: %v", err)
	}
}

func TestCheckThatOverlapsAChangeDoesNotBringTheOldPasswordBack(t *testing.T) {
	s, m := service(t, Options{})
	must(t, s.Create(t.Context(), juliet, "one"))
	credentials, err := s.derive(t.Context(), "two")
	must(t, err)
	var once sync.Once
	m.reading = func() { // the account is read, its keys not yet used
		once.Do(func() {
			must(t, s.modify(t.Context(), juliet, PasswordChanged, func(a *storage.Account) error {
				a.Credentials = credentials
				return nil
			}))
		})
	}
	must(t, s.Verify(t.Context(), juliet, "one")) // it began before the change
	if err := s.Verify(t.Context(), juliet, "one"); err != ErrNotAuthorized {
		t.Errorf("the old password after the change: %v", err)
	}
}

func TestRequestsThatComeAtOnceShareOneDerivation(t *testing.T) {
	s, m := service(t, Options{})
	must(t, s.Create(t.Context(), juliet, "wherefore"))
	for range cap(s.slots) - 1 { // one slot is left
		must(t, s.acquire(t.Context()))
	}
	m.gets = 0
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := s.Verify(t.Context(), juliet, "wherefore"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if m.gets != 1 {
		t.Errorf("%d derivations, want 1", m.gets)
	}
}

func TestRememberedPasswordsAreBounded(t *testing.T) {
	c := newCache[int](128)
	for i := range 10000 {
		k := fmt.Sprint(i)
		c.put(k, i, c.epoch(k))
		if v, ok := c.get(k); !ok || v != i {
			t.Fatalf("%d is not there after put", i)
		}
	}
	n := 0
	for i := range c.shards {
		n += len(c.shards[i].entries)
	}
	if n > 128 {
		t.Errorf("%d entries, want at most 128", n)
	}
	c.clear()
	if _, ok := c.get("9999"); ok {
		t.Error("there after clear")
	}
}

func TestFakeKeysAreStableOverARestartAndFitNothing(t *testing.T) {
	s, m := service(t, Options{})
	must(t, s.Create(t.Context(), juliet, "wherefore"))
	must(t, s.SetDisabled(t.Context(), juliet, true))
	again, err := New(t.Context(), m, Options{Iterations: 4096})
	must(t, err)
	other, _ := service(t, Options{})
	for _, user := range []jid.JID{juliet, romeo} {
		for _, h := range []sasl.Hash{sasl.SHA1, sasl.SHA256, sasl.SHA512} {
			k1, ok1, err1 := s.Keys(t.Context(), user, h)
			k2, ok2, err2 := again.Keys(t.Context(), user, h)
			k3, _, _ := other.Keys(t.Context(), user, h)
			if ok1 || ok2 || err1 != nil || err2 != nil {
				t.Fatalf("%s %s: %v %v %v %v", user, h, ok1, ok2, err1, err2)
			}
			if d := cmp.Diff(k1, k2); d != "" {
				t.Errorf("%s %s changed over a restart: %s", user, h, d)
			}
			if cmp.Equal(k1.Salt, k3.Salt) {
				t.Errorf("%s %s has the same salt on another server", user, h)
			}
			if k1.Iterations != 4096 || len(k1.Salt) != sasl.SaltSize || k1.VerifyPassword("wherefore") {
				t.Errorf("%s %s: %+v", user, h, k1)
			}
		}
	}
	if secret, iterations := s.FakeParameters(); len(secret) != 32 || iterations != 4096 {
		t.Errorf("parameters %d bytes, %d iterations", len(secret), iterations)
	}
}

func TestSecretOfAnotherVersionStopsTheStart(t *testing.T) {
	m := newMemory()
	m.values[secretSpace+"/"+secretOwner+"/"+secretKey] = make([]byte, 33)
	if _, err := New(t.Context(), m, Options{}); err == nil {
		t.Error("started with a record of version 0")
	}
}

func TestAuthenticateThrottlesGuessesButNotTheOwnerElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := service(t, Options{})
		must(t, s.Create(t.Context(), juliet, "wherefore"))
		bad := Source{Addr: netip.MustParseAddr("192.0.2.1")}
		good := Source{Addr: netip.MustParseAddr("192.0.2.2")}
		for range throttleFree {
			if err := s.Authenticate(t.Context(), bad, juliet, "guess"); err != ErrNotAuthorized {
				t.Fatalf("a guess: %v", err)
			}
		}
		var throttled ErrThrottled
		err := s.Authenticate(t.Context(), bad, juliet, "wherefore")
		if !errors.As(err, &throttled) || throttled.Seconds() != 1 || err.Error() != "too many failed logins: try again in 1 s" {
			t.Errorf("the next guess: %v", err)
		}
		must(t, s.Authenticate(t.Context(), good, juliet, "wherefore"))
		if err := s.Authenticate(t.Context(), bad, juliet, "wherefore"); !errors.As(err, &throttled) {
			t.Errorf("a guess at a remembered password: %v", err)
		}
		pass(time.Second)
		must(t, s.Authenticate(t.Context(), bad, juliet, "wherefore"))
		if _, err := s.AuthenticateAPI(t.Context(), bad, "trac", "x"); err != ErrNotAuthorized {
			t.Errorf("API account: %v", err)
		}
	})
}

func TestGuessesThatComeAtOnceMeetTheThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where no second passes, after which the next guess would be checked
		s, _ := service(t, Options{})
		must(t, s.Create(t.Context(), juliet, "wherefore"))
		from := Source{Addr: netip.MustParseAddr("192.0.2.1")}
		var all sync.WaitGroup
		var mu sync.Mutex
		checked := 0
		for i := range 100 {
			all.Go(func() {
				if s.Authenticate(t.Context(), from, juliet, fmt.Sprint("guess", i)) == ErrNotAuthorized {
					mu.Lock()
					defer mu.Unlock()
					checked++
				}
			})
		}
		all.Wait()
		if most := throttleFree + cap(s.slots); checked > most {
			t.Errorf("%d of 100 guesses were checked, want at most %d", checked, most)
		}
	})
}

func TestConcurrentUseIsSafe(t *testing.T) {
	s, _ := service(t, Options{Admins: []jid.JID{romeo}})
	must(t, s.Create(t.Context(), juliet, "p0"))
	must(t, s.Create(t.Context(), romeo, "x"))
	s.OnChange(func(jid.JID, Change) {})
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				must(t, s.Verify(t.Context(), romeo, "x"))
				s.Permitted(t.Context(), juliet, PermMulticast)
				s.MayForge(t.Context(), juliet, romeo)
				if _, _, err := s.Keys(t.Context(), juliet, sasl.SHA256); err != nil {
					t.Error(err)
				}
				from := Source{Addr: netip.MustParseAddr("::1"), Exempt: true}
				s.Throttle().Failed(from, "a")
				s.Throttle().Wait(from, "a")
				s.Throttle().Succeeded(from, "a")
			}
		})
	}
	for i := range 10 {
		must(t, s.SetPassword(t.Context(), juliet, fmt.Sprint("p", i)))
		must(t, s.Verify(t.Context(), juliet, fmt.Sprint("p", i)))
		must(t, s.Grant(t.Context(), juliet, PermMulticast))
		if !s.Permitted(t.Context(), juliet, PermMulticast) {
			t.Error("a grant is not in force at once")
		}
		must(t, s.Revoke(t.Context(), juliet, PermMulticast))
		if s.Permitted(t.Context(), juliet, PermMulticast) {
			t.Error("a revocation is not in force at once")
		}
		must(t, s.SetOptions(Options{Iterations: 4096}))
	}
	close(stop)
	all.Wait()
}

func TestBothPreparationsOfAPasswordLogIn(t *testing.T) {
	const typed, prepared = "\u00b5torrent", "\u03bctorrent"
	s, m := service(t, Options{})
	must(t, s.Create(t.Context(), juliet, typed))
	check := func(when string, password string, want error) {
		t.Helper()
		if err := s.Verify(t.Context(), juliet, password); err != want {
			t.Errorf("%s: %q: %v, want %v", when, password, err, want)
		}
	}
	check("created", typed, nil)
	check("created", prepared, nil)
	check("created", "utorrent", ErrNotAuthorized)
	for _, h := range hashes {
		k, ok, err := s.Keys(t.Context(), juliet, h)
		if !ok || err != nil || k.OtherStoredKey == nil || !k.VerifyPassword(prepared) {
			t.Errorf("%v: %+v, %v, %v", h, k, ok, err)
		}
	}
	must(t, s.SetPassword(t.Context(), juliet, prepared))
	check("changed", typed, nil)
	check("changed", prepared, nil)
	must(t, s.SetPassword(t.Context(), juliet, "wherefore"))
	check("changed again", "wherefore", nil)
	check("changed again", typed, ErrNotAuthorized)

	// An account that was made when OpaqueString alone counted: the second form is the only one.
	must(t, s.SetPassword(t.Context(), juliet, typed))
	a := m.users.list[juliet.String()]
	a.Credentials = []storage.Credential{a.Credentials[1], a.Credentials[3]}
	m.users.list[juliet.String()] = a
	s.forget(juliet)
	check("old", typed, nil)
}
