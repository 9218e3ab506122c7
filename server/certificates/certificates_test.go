package certificates

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day = 24 * time.Hour

// said is a log to read from.
type said struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A client is a service with its log, which runs until stop.
type client struct {
	*Service
	ca      *authority
	log     said
	changes int
	stop    func()
}

// in is a bubble with an authority and a directory.
func in(t *testing.T, f func(t *testing.T, ca *authority, dir string)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { f(t, newAuthority(t), filepath.Join(dir, "acme")) })
}

// start has a client want certificates for these names. Names that begin with "missing" have no addresses.
func start(t *testing.T, ca *authority, dir string, change func(*Settings), names ...string) *client {
	t.Helper()
	c := &client{ca: ca}
	c.Service = New(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&c.log, nil)), Transport: ca,
		Changed: func() { c.changes++ },
		Lookup: func(_ context.Context, _, name string) error {
			if strings.HasPrefix(name, "missing") {
				return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
			}
			return errors.New("the DNS is away")
		}})
	set := Settings{Names: names, Directory: ca.directory(), Email: "me@a.example"}
	if change != nil {
		change(&set)
	}
	if err := c.Configure(set); err != nil {
		t.Fatal(err)
	}
	ca.mu.Lock()
	ca.clients = append(ca.clients, c.Service)
	ca.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	c.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(c.stop)
	return c
}

func (c *client) status(t *testing.T, name string) Status {
	t.Helper()
	for _, one := range c.Status() {
		if one.Name == name {
			return one
		}
	}
	t.Fatalf("%s is not known", name)
	return Status{}
}

func (c *client) record(name string) record { return (*c.held.Load())[name].record }

// wait lets time pass.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestEachNameGetsACertificateOfItsOwn(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		c := start(t, ca, dir, nil, "a.example", "rooms.a.example")
		wait(time.Minute)
		for _, name := range []string{"a.example", "rooms.a.example"} {
			cert := c.Certificate(name)
			if cert == nil || cert.Leaf.VerifyHostname(name) != nil ||
				len(cert.Leaf.DNSNames) != 1 || len(cert.Certificate) != 2 {
				t.Fatalf("%s: %+v\n%s", name, cert, c.log.String())
			}
			if s := c.status(t, name); s.Problem != "" || s.Failures != 0 || !s.Until.Equal(cert.Leaf.NotAfter) {
				t.Errorf("status: %+v", s)
			}
		}
		if c.Certificate("b.example") != nil || c.changes == 0 || c.Stats.Obtained.Load() != 2 || ca.see(&ca.accounts) != 1 {
			t.Errorf("changes %d, obtained %d, accounts %d", c.changes, c.Stats.Obtained.Load(), ca.see(&ca.accounts))
		}
		if fmt.Sprint(ca.challenges()) != "[tls-alpn-01 a.example tls-alpn-01 rooms.a.example]" {
			t.Errorf("challenges: %s", ca.challenges())
		}
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s is %s", path, info.Mode())
			}
			if strings.Contains(path, challengesDir) && !d.IsDir() {
				t.Errorf("%s was left", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if log := c.log.String(); strings.Contains(log, "PRIVATE") || strings.Count(log, "certificate obtained") != 2 {
			t.Errorf("log: %s", log)
		}
	})
}

func TestAnswersThatWereLeftAreRemoved(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		left := filepath.Join(dir, challengesDir, "http", "left")
		if err := writeFile(left, []byte("left.thumb")); err != nil {
			t.Fatal(err)
		}
		start(t, ca, dir, nil, "a.example")
		wait(time.Minute)
		if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
			t.Error("it is still there", err)
		}
	})
}

func TestARestartOrdersNothing(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		c := start(t, ca, dir, nil, "a.example")
		wait(time.Minute)
		first := c.Certificate("a.example").Leaf
		for range 5 {
			c.stop()
			c = start(t, ca, dir, nil, "a.example")
			if got := c.Certificate("a.example"); got == nil || !got.Leaf.Equal(first) {
				t.Fatal("the certificate is not there at once")
			}
			wait(day)
		}
		if n := len(ca.ordered("a.example")); n != 1 || ca.see(&ca.accounts) != 1 {
			t.Errorf("%d orders, %d accounts", n, ca.see(&ca.accounts))
		}
	})
}

func TestRenewalAfterTwoThirdsOfTheLifetime(t *testing.T) {
	for _, days := range []time.Duration{6, 45, 64, 90} {
		t.Run(fmt.Sprint(int(days), " days"), func(t *testing.T) {
			in(t, func(t *testing.T, ca *authority, dir string) {
				ca.lifetime = days * day
				c := start(t, ca, dir, nil, "a.example")
				const long = 190
				for range long {
					wait(day)
					if left := time.Until(c.Certificate("a.example").Leaf.NotAfter); left < days*day/3-time.Hour {
						t.Fatalf("only %s are left", left)
					}
				}
				at := ca.ordered("a.example")
				if want := 1 + int(long/(days*2/3)); len(at) < want-1 || len(at) > want {
					t.Errorf("%d orders, want %d", len(at), want)
				}
				for i := 1; i < len(at); i++ {
					if d := at[i].Sub(at[i-1]); d < days*day*2/3 || d > days*day*2/3+time.Hour {
						t.Errorf("renewed after %s", d)
					}
				}
			})
		})
	}
}

func TestANameWithoutARecordFailsAlone(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		c := start(t, ca, dir, nil, "missing.a.example", "a.example")
		wait(time.Hour)
		if c.Certificate("a.example") == nil || c.Certificate("missing.a.example") != nil {
			t.Fatal(c.log.String())
		}
		s := c.status(t, "missing.a.example")
		if !strings.Contains(s.Problem, "no address") || !strings.Contains(s.Do, "add an A or AAAA record for missing.a.example") {
			t.Errorf("%+v", s)
		}
		if n := len(ca.ordered("missing.a.example")); n != 0 {
			t.Errorf("%d orders that can only fail", n)
		}
		if n := strings.Count(c.log.String(), "missing.a.example has"); n > 1 {
			t.Errorf("said %d times", n)
		}
		if n := strings.Count(c.log.String(), "no certificate obtained"); n != 1 {
			t.Errorf("said %d times:\n%s", n, c.log.String())
		}
	})
}

func TestFailuresWaitLongerAndTakeTurnsOfChallenges(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		ca.closed[TLSALPN01], ca.closed[HTTP01] = true, true
		c := start(t, ca, dir, nil, "a.example")
		for range 12 { // a restart changes nothing
			wait(5 * time.Minute)
			c.stop()
			c = start(t, ca, dir, nil, "a.example")
		}
		if n := len(ca.ordered("a.example")); n < 3 || n > 5 {
			t.Errorf("%d orders in the first hour", n)
		}
		if got := fmt.Sprint(ca.challenges()[:3]); got != "[tls-alpn-01 a.example http-01 a.example tls-alpn-01 a.example]" {
			t.Errorf("challenges: %s", got)
		}
		s := c.status(t, "a.example")
		if s.Failures < 3 || !strings.Contains(s.Problem, "connection refused") || !strings.Contains(s.Do, "of a.example must lead to this server") {
			t.Errorf("%+v", s)
		}
		wait(30 * day)
		at := ca.ordered("a.example")
		if n := len(at); n > 45 {
			t.Errorf("%d orders in a month", n)
		}
		if d := at[len(at)-1].Sub(at[len(at)-2]); d < 20*time.Hour || d > 28*time.Hour {
			t.Errorf("in the end every %s", d)
		}
		ca.mu.Lock()
		ca.closed[HTTP01] = false
		ca.mu.Unlock()
		wait(3 * day)
		if c.Certificate("a.example") == nil || c.status(t, "a.example").Failures != 0 {
			t.Errorf("it did not recover: %s", c.log.String())
		}
	})
}

func TestTheOldCertificateStaysWhileRenewalFails(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		c := start(t, ca, dir, nil, "a.example")
		wait(time.Minute)
		old := c.Certificate("a.example").Leaf
		ca.mu.Lock()
		ca.first = func(path string, w http.ResponseWriter, _ []byte) bool {
			problem(w, 503, "serverInternal", "away")
			return true
		}
		ca.mu.Unlock()
		wait(89 * day)
		c.stop()
		c = start(t, ca, dir, nil, "a.example")
		wait(3 * day)
		if got := c.Certificate("a.example"); got == nil || !got.Leaf.Equal(old) {
			t.Fatal("the old one is gone")
		}
		ca.mu.Lock()
		ca.first = nil
		ca.mu.Unlock()
		wait(2 * day)
		if c.Certificate("a.example").Leaf.Equal(old) {
			t.Error(c.log.String())
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		begun := time.Now()
		orders := 0
		ca.first = func(path string, w http.ResponseWriter, _ []byte) bool {
			if path != "/order" {
				return false
			}
			orders++
			w.Header().Set("Retry-After", begun.Add(50*time.Hour).UTC().Format(http.TimeFormat))
			problem(w, 429, "rateLimited", "too many certificates already")
			return true
		}
		c := start(t, ca, dir, nil, "a.example")
		for range 48 {
			wait(time.Hour)
			c.stop()
			c = start(t, ca, dir, nil, "a.example")
			if err := c.Configure(*c.settings.Load()); err != nil { // a reload is in a hurry
				t.Fatal(err)
			}
		}
		if s := c.status(t, "a.example"); orders != 1 || !strings.Contains(s.Problem, "too many certificates already (rateLimited)") ||
			!strings.Contains(s.Do, "wait") {
			t.Errorf("%d orders; %+v", orders, s)
		}
		ca.mu.Lock()
		ca.first = nil
		ca.mu.Unlock()
		wait(3 * time.Hour)
		if c.Certificate("a.example") == nil {
			t.Error(c.log.String())
		}
	})
}

func TestTwoProcessesNeverOrderTwice(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		names := []string{"a.example", "b.example", "c.example"}
		var all []*client
		for range 3 {
			all = append(all, start(t, ca, dir, nil, names...))
		}
		ca.mu.Lock()
		ca.clients = []*Service{all[2].Service} // whoever is asked answers for all
		ca.mu.Unlock()
		wait(2 * time.Minute)
		for range 125 {
			for _, c := range all {
				for _, name := range names {
					if c.Certificate(name) == nil {
						t.Fatal(c.log.String())
					}
				}
			}
			wait(day)
		}
		for _, name := range names {
			if n := len(ca.ordered(name)); n != 3 { // at 0, 60 and 120 days
				t.Errorf("%s: %d orders", name, n)
			}
		}
		if ca.see(&ca.accounts) != 1 {
			t.Errorf("%d accounts", ca.see(&ca.accounts))
		}
	})
}

func TestAReloadLooksAgainAtWhatWasMended(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		ca.closed[TLSALPN01], ca.closed[HTTP01] = true, true
		c := start(t, ca, dir, nil, "a.example")
		wait(80 * time.Minute)
		before := len(ca.ordered("a.example"))
		set := *c.settings.Load()
		for range 10 { // an impatient one is not let through each time
			if err := c.Configure(set); err != nil {
				t.Fatal(err)
			}
			wait(time.Second)
		}
		if n := len(ca.ordered("a.example")) - before; n > 1 {
			t.Errorf("%d orders by ten reloads", n)
		}
		wait(20 * time.Minute)
		ca.mu.Lock()
		clear(ca.closed)
		ca.mu.Unlock()
		if err := c.Configure(set); err != nil {
			t.Fatal(err)
		}
		wait(time.Minute)
		if c.Certificate("a.example") == nil {
			t.Error(c.log.String())
		}
	})
}

func TestNamesAndAuthorityMayChange(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		other := newAuthority(t)
		c := start(t, ca, dir, nil, "a.example")
		wait(time.Minute)
		set := *c.settings.Load()
		set.Names = []string{"b.example"}
		if err := c.Configure(set); err != nil {
			t.Fatal(err)
		}
		wait(time.Minute)
		if c.Certificate("a.example") != nil || c.Certificate("b.example") == nil || len(ca.ordered("a.example")) != 1 {
			t.Error(c.log.String())
		}
		set.Names, set.Directory = []string{"a.example"}, other.directory()
		c.o.Transport = other
		other.clients = ca.clients
		if err := c.Configure(set); err != nil {
			t.Fatal(err)
		}
		if c.Certificate("a.example") == nil {
			t.Error("the old one is gone before the new one is there")
		}
		wait(time.Minute)
		if len(other.ordered("a.example")) != 1 || other.accounts != 1 {
			t.Error(c.log.String())
		}
		if err := c.Configure(Settings{}); err != nil {
			t.Fatal(err)
		}
		if c.Certificate("a.example") != nil || len(c.Status()) != 0 {
			t.Error("it is off")
		}
	})
}

func TestChallengesAreAnsweredForOurNamesAlone(t *testing.T) {
	in(t, func(t *testing.T, ca *authority, dir string) {
		c := start(t, ca, dir, nil, "a.example")
		wait(time.Minute)
		pair := filepath.Join(dir, challengesDir, "tls", "a.example.pem")
		text, err := challengePair("a.example", "token.thumb", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := writeFile(pair, text); err != nil {
			t.Fatal(err)
		}
		ask := func(name string) error {
			_, err := c.TLS().GetCertificate(&tls.ClientHelloInfo{ServerName: name, SupportedProtos: []string{ALPN}})
			return err
		}
		if err := ask("a.example"); err != nil {
			t.Error(err)
		}
		for _, name := range []string{"", "b.example", "../tls/a.example", "a.example/../a.example", "A.EXAMPLE"} {
			if ask(name) == nil {
				t.Errorf("%q was answered", name)
			}
		}
	})
}

func TestTokensNeverBecomePaths(t *testing.T) {
	for _, s := range []string{"", ".", "..", "../account", "a/b", "a.pem", "a\x00b", "a b", strings.Repeat("x", 201), "ä"} {
		if goodToken(s) {
			t.Errorf("%q is a token", s)
		}
	}
	if !goodToken("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA") {
		t.Error("a token is none")
	}
}
