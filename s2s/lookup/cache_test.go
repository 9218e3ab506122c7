package lookup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnswersAreKeptForTheirTime(t *testing.T) {
	broken := errors.New("server misbehaving")
	for name, c := range map[string]struct {
		r    *fake
		keep time.Duration
	}{
		"found":      {&fake{srv: map[string][]*net.SRV{"xmpp-server a.example.": {{Target: "b.example.", Port: 5269}}}}, keepFound},
		"no service": {&fake{srv: map[string][]*net.SRV{"xmpp-server a.example.": {{Target: "."}}}}, keepMissing},
		"not found":  {&fake{}, keepMissing},
		"failed":     {&fake{err: map[string]error{"xmpp-server a.example.": broken}}, keepFailed},
		"half": {&fake{srv: map[string][]*net.SRV{"xmpp-server a.example.": {{Target: "b.example.", Port: 5269}}},
			err: map[string]error{"xmpps-server a.example.": broken}}, keepFailed},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := New(Options{Resolver: c.r})
			_, first := f.Targets(t.Context(), "a.example")
			time.Sleep(c.keep - 1) // of the bubble
			_, again := f.Targets(t.Context(), "a.example")
			if n := c.r.count("xmpp-server a.example."); n != 1 || fmt.Sprint(first) != fmt.Sprint(again) {
				t.Errorf("%s: asked %d times before its end: %v, then %v", name, n, first, again)
			}
			time.Sleep(time.Nanosecond)
			_, _ = f.Targets(t.Context(), "a.example")
			if n := c.r.count("xmpp-server a.example."); n != 2 {
				t.Errorf("%s: asked %d times after its end", name, n)
			}
		})
	}
}

func TestAddressesAreKeptForTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fake{addrs: map[string][]netip.Addr{"ip4 a.example.": addrs("192.0.2.1")}}
		d := &dialer{answers: map[string]time.Duration{"192.0.2.1": 0}}
		f := New(Options{Resolver: r, Dialer: d.dial})
		for minute, want := range [][2]int{{1, 1}, {1, 2}, {1, 3}, {1, 4}, {1, 5}, {2, 6}} {
			if _, err := f.Dial(t.Context(), "a.example"); err != nil {
				t.Fatal(err)
			}
			if got := [2]int{r.count("ip4 a.example."), r.count("ip6 a.example.")}; got != want {
				t.Errorf("minute %d: asked %v times, want %v", minute, got, want)
			}
			time.Sleep(time.Minute) // of the bubble
		}
	})
}

func TestClockOfTheOptionsIsUsed(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	r := &fake{}
	f := New(Options{Resolver: r, Now: func() time.Time { return now }})
	for range 3 {
		_, _ = f.Targets(t.Context(), "a.example")
		now = now.Add(keepMissing)
	}
	if n := r.count("xmpp-server a.example."); n != 3 {
		t.Errorf("asked %d times", n)
	}
}

func TestLookupsOfOneDomainAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fake{delay: map[string]time.Duration{"xmpp-server a.example.": time.Second},
			srv: map[string][]*net.SRV{"xmpp-server a.example.": {{Target: "b.example.", Port: 5269}}}}
		f := New(Options{Resolver: r})
		impatient, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				if i%2 == 0 {
					wantTargets(t, f, "a.example", "b.example:5269")
					return
				}
				_, err := f.Targets(impatient, "a.example")
				wantReason(t, err, LookupFailed, false)
				if !errors.Is(err, context.Canceled) {
					t.Errorf("the error is %v", err)
				}
			})
		}
		synctest.Wait()
		leave() // half of them, among these perhaps the first
		all.Wait()
		for _, service := range []string{"xmpp-server", "xmpps-server"} {
			if n := r.count(service + " a.example."); n != 1 {
				t.Errorf("%s: asked %d times", service, n)
			}
		}
	})
}

func TestLookupThatNobodyWaitsForIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fake{delay: map[string]time.Duration{"xmpp-server a.example.": 5 * time.Second}}
		f := New(Options{Resolver: r})
		start := time.Now()
		for n := 1; n <= 3; n++ {
			ctx, leave := context.WithTimeout(t.Context(), time.Second)
			if _, err := f.Targets(ctx, "a.example"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the error is %v", err)
			}
			leave()
			// Only a new query: what became of the old one is not kept as an answer.
			if got := r.count("xmpp-server a.example."); got != n {
				t.Errorf("asked %d times, want %d", got, n)
			}
		}
		wantTargets(t, f, "a.example", "a.example:5269")
		if took := time.Since(start); took != 8*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	fetched := 0
	c := newCache(func() time.Time { return now }, func(_ context.Context, key int) (int, time.Duration) {
		fetched++
		return -key, time.Duration(key) * time.Second
	})
	const asked = 2 * maxEntries
	for key := range asked {
		if v, err := c.get(t.Context(), key); v != -key || err != nil {
			t.Fatalf("%d: %d, %v", key, v, err)
		}
		if len(c.kept) > maxEntries {
			t.Fatalf("%d entries are kept", len(c.kept))
		}
	}
	if len(c.kept) != maxEntries || len(c.flights) != 0 || fetched != asked {
		t.Errorf("%d entries, %d flights, %d fetched", len(c.kept), len(c.flights), fetched)
	}
	// What has expired goes first.
	now = now.Add(1000 * time.Hour)
	if _, err := c.get(t.Context(), asked); err != nil || len(c.kept) >= maxEntries {
		t.Errorf("%d entries after all have expired, %v", len(c.kept), err)
	}
}

func TestWhatExpiresSoonestIsDroppedFirst(t *testing.T) {
	now := time.Unix(0, 0)
	c := newCache(func() time.Time { return now }, func(_ context.Context, key int) (int, time.Duration) {
		if key%2 == 0 {
			return key, time.Minute
		}
		return key, time.Hour
	})
	for key := range maxEntries + 1000 {
		_, _ = c.get(t.Context(), key)
	}
	long := 0
	for key := range c.kept {
		long += key % 2
	}
	// Of sixteen that chance picks there is one of the short-lived half, almost always.
	if all := (maxEntries + 1000) / 2; long < all-10 {
		t.Errorf("of %d long-lived entries %d are left", all, long)
	}
}
