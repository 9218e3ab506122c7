package lookup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a resolver that takes its time, on the clock of a bubble. A name that it
// does not know does not exist; one that takes for ever waits for its context.
type fake struct {
	srv   map[string][]*net.SRV   // by "xmpp-server a.example."
	addrs map[string][]netip.Addr // by "ip4 a.example."
	delay map[string]time.Duration
	err   map[string]error

	mu    sync.Mutex // guards asked
	asked []string
}

const forever = time.Duration(1<<63 - 1)

func (r *fake) wait(ctx context.Context, question string) error {
	r.mu.Lock()
	r.asked = append(r.asked, question)
	r.mu.Unlock()
	if !strings.HasSuffix(question, ".") {
		return errors.New("a search domain would be used")
	}
	if d := r.delay[question]; d == forever {
		<-ctx.Done()
		return &net.DNSError{Err: ctx.Err().Error(), IsTimeout: true}
	} else if d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return r.err[question]
}

var errNone = &net.DNSError{Err: "no such host", IsNotFound: true}

func (r *fake) LookupSRV(ctx context.Context, service, _, name string) (string, []*net.SRV, error) {
	question := service + " " + name
	if err := r.wait(ctx, question); err != nil {
		return "", nil, err
	}
	if s := r.srv[question]; len(s) > 0 {
		return "", s, nil
	}
	return "", nil, errNone
}

func (r *fake) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	question := network + " " + name
	if err := r.wait(ctx, question); err != nil {
		return nil, err
	}
	if a := r.addrs[question]; len(a) > 0 {
		return a, nil
	}
	return nil, errNone
}

// count says how often a question was asked.
func (r *fake) count(question string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.asked {
		if q == question {
			n++
		}
	}
	return n
}

func addrs(s ...string) (a []netip.Addr) {
	for _, x := range s {
		a = append(a, netip.MustParseAddr(x))
	}
	return a
}

// dialer is a network of addresses that answer after a while, refuse, or are
// silent. It notes when each was dialled and whether its connections were closed.
type dialer struct {
	answers  map[string]time.Duration // by IP
	refuses  map[string]bool
	stubborn bool // connects even when its context is done

	start  time.Time
	mu     sync.Mutex // guards what follows
	log    []string   // "0s 192.0.2.1"
	opened int
	closed int
}

type tracked struct {
	net.Conn
	d *dialer
}

func (c tracked) Close() error {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.closed++
	return nil
}

func (d *dialer) dial(ctx context.Context, _, address string) (net.Conn, error) {
	ip, _, _ := net.SplitHostPort(address)
	d.mu.Lock()
	d.log = append(d.log, fmt.Sprint(time.Since(d.start), " ", ip))
	d.mu.Unlock()
	if d.refuses[ip] {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	wait, ok := d.answers[ip]
	if !ok {
		wait = forever
	}
	done := ctx.Done()
	if d.stubborn {
		done = nil
	}
	select {
	case <-time.After(wait):
		d.mu.Lock()
		d.opened++
		d.mu.Unlock()
		return tracked{d: d}, nil
	case <-done:
		return nil, ctx.Err()
	}
}

// dialHost has a target of one name run a race, and checks when which address was dialled.
func dialHost(t *testing.T, r *fake, d *dialer, want ...string) (*Conn, error) {
	t.Helper()
	f := New(Options{Resolver: r, Dialer: d.dial})
	d.start = time.Now()
	c, err := f.DialTarget(t.Context(), Target{Domain: "a.example", Host: "a.example", Port: 5269})
	synctest.Wait()
	if !slices.Equal(d.log, want) {
		t.Errorf("dialled %v, want %v", d.log, want)
	}
	return c, err
}

func TestSilentIPv6DelaysIPv4By250Milliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fake{addrs: map[string][]netip.Addr{
			"ip6 a.example.": addrs("2001:db8::1", "2001:db8::2"), "ip4 a.example.": addrs("192.0.2.1")}}
		d := &dialer{answers: map[string]time.Duration{"192.0.2.1": 30 * time.Millisecond}}
		_, err := dialHost(t, r, d, "0s 2001:db8::1", "250ms 192.0.2.1")
		if took := time.Since(d.start); err != nil || took != 280*time.Millisecond {
			t.Errorf("took %v, %v", took, err)
		}
	})
}

func TestFamiliesAreTriedInTurnIPv6First(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fake{addrs: map[string][]netip.Addr{
			"ip6 a.example.": addrs("2001:db8::1", "2001:db8::2", "2001:db8::3", "::ffff:192.0.2.9", "ff02::1"),
			"ip4 a.example.": addrs("192.0.2.1", "0.0.0.0", "192.0.2.2")}}
		_, err := dialHost(t, r, &dialer{}, "0s 2001:db8::1", "250ms 192.0.2.1", "500ms 2001:db8::2", "750ms 192.0.2.2",
			"1s 2001:db8::3")
		wantReason(t, err, Unreachable, false)
	})
}

func TestRefusalStartsTheNextAttemptAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fake{addrs: map[string][]netip.Addr{
			"ip6 a.example.": addrs("2001:db8::1"), "ip4 a.example.": addrs("192.0.2.1", "192.0.2.2")}}
		d := &dialer{refuses: map[string]bool{"2001:db8::1": true, "192.0.2.1": true}, answers: map[string]time.Duration{"192.0.2.2": 0}}
		if _, err := dialHost(t, r, d, "0s 2001:db8::1", "0s 192.0.2.1", "0s 192.0.2.2"); err != nil {
			t.Error(err)
		}
	})
}

func TestAllRefusingIsRefusedAndSomeSilentIsUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fake{addrs: map[string][]netip.Addr{"ip4 a.example.": addrs("192.0.2.1", "192.0.2.2")}}
		d := &dialer{refuses: map[string]bool{"192.0.2.1": true, "192.0.2.2": true}}
		_, err := dialHost(t, r, d, "0s 192.0.2.1", "0s 192.0.2.2")
		wantReason(t, err, Refused, false)
		d = &dialer{refuses: map[string]bool{"192.0.2.1": true}}
		_, err = dialHost(t, r, d, "0s 192.0.2.1", "0s 192.0.2.2")
		wantReason(t, err, Unreachable, false)
		if took := time.Since(d.start); took != attemptTimeout {
			t.Errorf("an attempt took %v", took)
		}
	})
}

func TestFirstToAnswerWinsAndTheOthersAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fake{addrs: map[string][]netip.Addr{
			"ip6 a.example.": addrs("2001:db8::1"), "ip4 a.example.": addrs("192.0.2.1")}}
		d := &dialer{answers: map[string]time.Duration{"2001:db8::1": 400 * time.Millisecond, "192.0.2.1": 100 * time.Millisecond},
			stubborn: true}
		c, err := dialHost(t, r, d, "0s 2001:db8::1", "250ms 192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // of the bubble
		synctest.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.opened != 2 || d.closed != 1 {
			t.Errorf("opened %d, closed %d", d.opened, d.closed)
		}
		if c.Target != "a.example:5269" || c.DirectTLS {
			t.Errorf("won: %+v", c)
		}
	})
}

func TestSlowIPv6LookupIsWaitedForShortly(t *testing.T) {
	both := map[string][]netip.Addr{"ip6 a.example.": addrs("2001:db8::1"), "ip4 a.example.": addrs("192.0.2.1")}
	for _, c := range []struct {
		six, four time.Duration
		want      []string
	}{
		{30 * time.Millisecond, 0, []string{"30ms 2001:db8::1", "280ms 192.0.2.1"}},
		{70 * time.Millisecond, 0, []string{"50ms 192.0.2.1", "300ms 2001:db8::1"}},
		{0, time.Second, []string{"0s 2001:db8::1", "1s 192.0.2.1"}},
		{forever, 20 * time.Millisecond, []string{"70ms 192.0.2.1"}},
		{20 * time.Millisecond, forever, []string{"20ms 2001:db8::1"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &fake{addrs: both, delay: map[string]time.Duration{"ip6 a.example.": c.six, "ip4 a.example.": c.four}}
			_, err := dialHost(t, r, &dialer{}, c.want...)
			wantReason(t, err, Unreachable, false)
		})
	}
}

func TestOneFamilyThatCannotBeLookedUpIsNoHarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fake{addrs: map[string][]netip.Addr{"ip4 a.example.": addrs("192.0.2.1")},
			delay: map[string]time.Duration{"ip6 a.example.": forever}}
		d := &dialer{answers: map[string]time.Duration{"192.0.2.1": 0}}
		if _, err := dialHost(t, r, d, "50ms 192.0.2.1"); err != nil {
			t.Error(err)
		}
		r = &fake{err: map[string]error{"ip6 a.example.": errors.New("server misbehaving")}}
		_, err := dialHost(t, r, &dialer{})
		wantReason(t, err, LookupFailed, false) // of the other there is none
		r = &fake{addrs: map[string][]netip.Addr{"ip4 a.example.": addrs("0.0.0.0"), "ip6 a.example.": addrs("::", "ff02::1")}}
		_, err = dialHost(t, r, &dialer{})
		wantReason(t, err, NoAddress, true)
	})
}

func TestCallerWhoLeavesEndsTheAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fake{srv: map[string][]*net.SRV{"xmpp-server a.example.": {{Target: "a.example.", Port: 1}, {Target: "b.example.", Port: 2}}},
			addrs: map[string][]netip.Addr{"ip4 a.example.": addrs("192.0.2.1"), "ip4 b.example.": addrs("192.0.2.1")}}
		d := &dialer{start: time.Now()}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := New(Options{Resolver: r, Dialer: d.dial}).Dial(ctx, "a.example")
		wantReason(t, err, Unreachable, false)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(d.start) != time.Second || len(d.log) != 1 {
			t.Errorf("%v after %v: %v", err, time.Since(d.start), d.log)
		}
		r.delay = map[string]time.Duration{"ip4 c.example.": forever, "xmpp-server d.example.": forever}
		for _, domain := range []string{"c.example", "d.example"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err = New(Options{Resolver: r, Dialer: d.dial}).Dial(ctx, domain)
			wantReason(t, err, LookupFailed, false)
			cancel()
		}
	})
}

func TestDialIsBoundedForEachTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var records []*net.SRV
		for i := range 100 {
			records = append(records, &net.SRV{Target: fmt.Sprintf("h%d.example.", i), Port: 5269})
		}
		r := &fake{srv: map[string][]*net.SRV{"xmpp-server a.example.": records}, addrs: map[string][]netip.Addr{}}
		for i := range 100 {
			for j := range 20 {
				name := fmt.Sprintf("h%d.example.", i)
				r.addrs["ip4 "+name] = append(r.addrs["ip4 "+name], netip.AddrFrom4([4]byte{192, 0, 2, byte(j)}))
			}
		}
		d := &dialer{start: time.Now()}
		_, err := New(Options{Resolver: r, Dialer: d.dial}).Dial(t.Context(), "a.example")
		wantReason(t, err, Unreachable, false)
		each := attemptTimeout + (maxAddresses-1)*attemptDelay + resolutionDelay
		if took := time.Since(d.start); len(d.log) != maxTargets*maxAddresses || took > maxTargets*each {
			t.Errorf("%d attempts in %v", len(d.log), took)
		}
	})
}

func TestStuckDomainDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fake{delay: map[string]time.Duration{}, addrs: map[string][]netip.Addr{
			"ip4 silent.example.": addrs("192.0.2.66"), "ip4 well.example.": addrs("192.0.2.1"), "ip4 also.example.": addrs("192.0.2.1")}}
		for _, service := range []string{"xmpp-server", "xmpps-server"} {
			r.delay[service+" stuck.example."] = forever
		}
		d := &dialer{answers: map[string]time.Duration{"192.0.2.1": 0}, start: time.Now()}
		f := New(Options{Resolver: r, Dialer: d.dial})
		var stuck sync.WaitGroup
		for range 100 {
			for domain, want := range map[string]Reason{"stuck.example": LookupFailed, "silent.example": Unreachable} {
				stuck.Go(func() {
					_, err := f.Dial(t.Context(), domain)
					wantReason(t, err, want, false)
				})
			}
		}
		synctest.Wait()
		for _, domain := range []string{"well.example", "also.example", "well.example"} {
			before := time.Now()
			// IPv6 is known at once to be missing, so that nothing is waited for.
			if _, err := f.Dial(t.Context(), domain); err != nil || time.Since(before) > resolutionDelay {
				t.Errorf("%s: %v after %v", domain, err, time.Since(before))
			}
		}
		stuck.Wait()
		if took := time.Since(d.start); took > queryTimeout+resolutionDelay {
			t.Errorf("the stuck ones took %v", took)
		}
	})
}
