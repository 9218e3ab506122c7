package accounts

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func from(addr string) Source { return Source{Addr: netip.MustParseAddr(addr)} }

// fails makes n failures at once.
func fails(t *Throttle, s Source, account string, n int) {
	for range n {
		t.Failed(s, account)
	}
}

func wantWait(t *testing.T, th *Throttle, s Source, account string, want time.Duration) {
	t.Helper()
	if got := th.Wait(s, account); got != want {
		t.Errorf("%s against %s waits %v, want %v", s.Addr, account, got, want)
	}
}

func TestBackOffDoublesFromOneSecondToFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := NewThrottle(time.Now)
		s := from("192.0.2.1")
		fails(th, s, "a", 4)
		wantWait(t, th, s, "a", 0)
		for _, seconds := range []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300} {
			fails(th, s, "a", 1)
			wantWait(t, th, s, "a", time.Duration(seconds)*time.Second)
		}
		pass(300*time.Second - 1)
		wantWait(t, th, s, "a", 1)
		pass(1)
		wantWait(t, th, s, "a", 0)
		if err := th.Check(s, "a"); err != nil {
			t.Errorf("after the wait: %v", err)
		}
	})
}

func TestGuessingAtManyAccountsIsSlowedDownByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := NewThrottle(time.Now)
		s := from("192.0.2.1")
		for i := range 6 {
			th.Failed(s, fmt.Sprint("account", i))
		}
		wantWait(t, th, s, "another", 2*time.Second)
		wantWait(t, th, from("192.0.2.2"), "account1", 0)
	})
}

func TestAnAccountIsNeverLockedForOtherAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := NewThrottle(time.Now)
		for i := range 1000 {
			fails(th, from(fmt.Sprintf("198.51.%d.%d", i/250, i%250)), "a", 10)
		}
		wantWait(t, th, from("192.0.2.2"), "a", 0)
	})
}

func TestSuccessForgetsThePairButNotTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := NewThrottle(time.Now)
		s := from("192.0.2.1")
		fails(th, s, "victim", 4)
		th.Succeeded(s, "own")
		th.Failed(s, "victim")
		wantWait(t, th, s, "victim", time.Second)
		pass(forgetPair) // the address has forgotten all, the pair one
		fails(th, s, "victim", 1)
		wantWait(t, th, s, "victim", time.Second)
		th.Succeeded(s, "victim")
		wantWait(t, th, s, "victim", 0)
	})
}

func TestWhoGuessesForADayGetsOneGuessInFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := NewThrottle(time.Now)
		s := from("192.0.2.1")
		guesses := 0
		for end := time.Now().Add(24 * time.Hour); time.Now().Before(end); guesses++ {
			th.Failed(s, "a")
			pass(max(th.Wait(s, "a"), time.Millisecond))
		}
		if guesses > 24*60/5+20 {
			t.Errorf("%d guesses in a day", guesses)
		}
	})
}

func TestSlipsOfAnOfficeDoNotAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := NewThrottle(time.Now)
		s := from("192.0.2.1")
		for i := range 500 {
			th.Failed(s, fmt.Sprint("clerk", i))
			wantWait(t, th, s, "boss", 0)
			pass(forgetAddr)
		}
	})
}

func TestAddressesOfOneNetworkAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := NewThrottle(time.Now)
		fails(th, from("2001:db8::1"), "a", 5)
		wantWait(t, th, from("2001:db8::ffff:2"), "b", time.Second)
		wantWait(t, th, from("2001:db8:0:1::1"), "a", 0)
		fails(th, from("::ffff:192.0.2.1"), "a", 5)
		wantWait(t, th, from("192.0.2.1"), "b", time.Second)
		fails(th, from("fe80::1%eth0"), "a", 5)
		wantWait(t, th, from("fe80::2"), "b", time.Second)
		fails(th, Source{}, "a", 5)
		wantWait(t, th, Source{}, "b", time.Second)
	})
}

func TestExemptAddressIsSlowedDownOnlyAgainstOneAccountAfterTwentyFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := NewThrottle(time.Now)
		s := Source{Addr: netip.MustParseAddr("127.0.0.1"), Exempt: true}
		for i := range 1000 {
			th.Failed(s, fmt.Sprint("account", i))
		}
		wantWait(t, th, s, "other", 0)
		fails(th, s, "a", 19)
		wantWait(t, th, s, "a", 0)
		fails(th, s, "a", 1)
		wantWait(t, th, s, "a", time.Second)
		wantWait(t, th, s, "other", 0)
		// The same address from the header of a trusted proxy is another source.
		wantWait(t, th, from("127.0.0.1"), "a", 0)
		fails(th, s, "a", 20)
		wantWait(t, th, s, "a", DefaultBackoffMax)
		th.Succeeded(s, "a")
		wantWait(t, th, s, "a", 0)
		if err := th.Check(Source{Exempt: true}, "a"); err != nil {
			t.Errorf("unix socket: %v", err)
		}
	})
}

func TestThrottleIsBoundedAndAFloodDisplacesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := NewThrottle(time.Now)
		guesser := from("192.0.2.1")
		fails(th, guesser, "a", 14)
		for i := range 3 * throttleMax {
			a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			th.Failed(Source{Addr: a}, "a")
		}
		if n := len(th.entries); n > throttleMax {
			t.Errorf("%d entries, want at most %d", n, throttleMax)
		}
		wantWait(t, th, guesser, "a", DefaultBackoffMax)
		// What is forgotten goes, though nothing sweeps the whole.
		pass(24 * time.Hour)
		fails(th, Source{Exempt: true}, "a", throttleMax/2)
		if n := len(th.entries); n > throttleMax/4 {
			t.Errorf("%d forgotten entries are left", n)
		}
		wantWait(t, th, guesser, "a", 0)
	})
}
