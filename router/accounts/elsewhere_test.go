package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

// other is who keeps passwords in place of the service, in memory.
type other struct {
	mu        sync.Mutex // guards the rest
	passwords map[string]string
	err       error         // of each question
	takes     time.Duration // each question, unless its context ends before
	asked     []string
}

func (o *other) String() string { return "the other" }

func (o *other) question(ctx context.Context, what string) error {
	o.mu.Lock()
	o.asked = append(o.asked, what)
	takes, err := o.takes, o.err
	o.mu.Unlock()
	select {
	case <-time.After(takes):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *other) questions() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked)
}

func (o *other) set(user jid.JID, password string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if delete(o.passwords, user.String()); password != "" {
		o.passwords[user.String()] = password
	}
}

func (o *other) fail(err error, takes time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err, o.takes = err, takes
}

func (o *other) Check(ctx context.Context, user jid.JID, password string) error {
	if err := o.question(ctx, user.String()+" "+password); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if password == "" || o.passwords[user.String()] != password {
		return ErrNotAuthorized
	}
	return nil
}

func (o *other) Known(ctx context.Context, users []jid.JID) (known []jid.JID, err error) {
	var names []string
	for _, u := range users {
		names = append(names, u.String())
	}
	if err := o.question(ctx, "known "+strings.Join(names, " ")); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, u := range users {
		if o.passwords[u.String()] != "" {
			known = append(known, u)
		}
	}
	return known, nil
}

func (o *other) SetPassword(ctx context.Context, user jid.JID, password string) error {
	if err := o.question(ctx, "set "+user.String()); err != nil {
		return err
	}
	o.set(user, password)
	return nil
}

const cacheFor = 30 * time.Second

// awayService is a service whose accounts of capulet.example are kept by another, but for nurse's.
func awayService(t *testing.T) (*Service, *memory, *other) {
	o := &other{passwords: map[string]string{juliet.String(): "wherefore"}}
	s, m := service(t, Options{Elsewhere: &Elsewhere{Backend: o, Hosts: []string{juliet.Domain()},
		Here: []jid.JID{nurse}, Cache: cacheFor}})
	return s, m, o
}

var nurse = jid.MustParse("nurse@" + juliet.Domain())

func TestTheFirstLoginMakesTheAccountAndNobodyElseDoes(t *testing.T) {
	s, m, o := awayService(t)
	var changes []string
	s.OnChange(func(user jid.JID, what Change) { changes = append(changes, user.String()+" "+what.String()) })
	if err := s.Verify(t.Context(), juliet, "therefore"); err != ErrNotAuthorized {
		t.Errorf("a wrong password: %v", err)
	}
	if len(m.users.list) != 0 {
		t.Errorf("a wrong password has made %v", m.users.list)
	}
	must(t, s.Verify(t.Context(), juliet, "wherefore"))
	a := m.users.list[juliet.String()]
	if a.User != juliet.String() || len(a.Credentials) != 0 || !a.Changed.IsZero() || a.Created.IsZero() {
		t.Errorf("the account that was made: %+v", a)
	}
	if want := []string{juliet.String() + " created"}; !slices.Equal(changes, want) {
		t.Errorf("told: %q, want %q", changes, want)
	}
	r, err := s.Rights(t.Context(), juliet)
	must(t, err)
	if !r.Active() || !r.Has(PermHTTPMessage) {
		t.Error("the account that was made has no rights")
	}
	// Nobody makes one by another way, and the error says what to do.
	tybalt := jid.MustParse("tybalt@" + juliet.Domain())
	for what, err := range map[string]error{
		"create": s.Create(t.Context(), tybalt, "x"),
		"apply":  s.Apply(t.Context(), tybalt, "x", Source{}, Bounds{9, 9}),
		"set":    s.SetPassword(t.Context(), juliet, "x"),
		"may":    s.MaySetPassword(juliet),
	} {
		if !errors.Is(err, ErrElsewhere) || !strings.Contains(fmt.Sprint(err), "there") {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, s.CreateBatch(t.Context(), []NewAccount{{tybalt, "x"}}, func(_ int, err error) {
		if !errors.Is(err, ErrElsewhere) {
			t.Errorf("of many: %v", err)
		}
	}))
	// Those of other hosts, and who is named, are kept here.
	for _, here := range []jid.JID{romeo, nurse} {
		must(t, s.Create(t.Context(), here, "own"))
		must(t, s.Verify(t.Context(), here, "own"))
		must(t, s.SetPassword(t.Context(), here, "another"))
		must(t, s.Vouch(t.Context(), here))
	}
	if s.Elsewhere(romeo.Domain()) || !s.Elsewhere(juliet.Domain()) {
		t.Error("which hosts are elsewhere is told wrong")
	}
	for _, q := range o.questions() {
		if !strings.HasPrefix(q, juliet.String()) {
			t.Errorf("the other was asked %q", q)
		}
	}
	if _, ok, err := s.Keys(t.Context(), juliet, sasl.SHA256); ok || err != nil {
		t.Errorf("keys of who is elsewhere: %v, %v", ok, err)
	}
}

func TestKeysFromBeforeCountNoMoreElsewhere(t *testing.T) {
	o := &other{passwords: map[string]string{juliet.String(): "wherefore"}}
	s, _ := service(t, Options{})
	must(t, s.Create(t.Context(), juliet, "old"))
	must(t, s.Verify(t.Context(), juliet, "old")) // it is remembered
	must(t, s.SetOptions(Options{Elsewhere: &Elsewhere{Backend: o, Cache: cacheFor}}))
	if err := s.Verify(t.Context(), juliet, "old"); err != ErrNotAuthorized {
		t.Errorf("the password from before: %v", err)
	}
	if _, ok, _ := s.Keys(t.Context(), juliet, sasl.SHA256); ok {
		t.Error("SCRAM takes keys from before")
	}
	must(t, s.Verify(t.Context(), juliet, "wherefore"))
	must(t, s.SetOptions(Options{}))
	if err := s.Verify(t.Context(), juliet, "wherefore"); err != ErrNotAuthorized {
		t.Errorf("a password of another, remembered: %v", err)
	}
}

func TestNoQuestionIsAskedForWhatIsNoPassword(t *testing.T) {
	s, _, o := awayService(t)
	for _, p := range []string{"", "a\x00b", "a\xff", strings.Repeat("x", sasl.MaxPassword+1)} {
		if err := s.Verify(t.Context(), juliet, p); err != ErrNotAuthorized {
			t.Errorf("%.10q: %v", p, err)
		}
	}
	if q := o.questions(); len(q) > 0 {
		t.Errorf("asked: %q", q)
	}
}

func TestAPasswordIsRefusedSoonAfterItIsRefusedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, o := awayService(t)
		o.fail(nil, 2*time.Second) // what counts is when the question was asked
		asked := time.Now()
		must(t, s.Verify(t.Context(), juliet, "wherefore"))
		o.set(juliet, "")
		for time.Since(asked) < cacheFor {
			must(t, s.Verify(t.Context(), juliet, "wherefore"))
			time.Sleep(time.Second)
		}
		if err := s.Verify(t.Context(), juliet, "wherefore"); err != ErrNotAuthorized {
			t.Errorf("after %s: %v", time.Since(asked), err)
		}
		if n := len(o.questions()); n != 2 {
			t.Errorf("%d questions, want 2", n)
		}
	})
}

func TestOfManyWhoComeAtOnceFewAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, o := awayService(t)
		must(t, s.Verify(t.Context(), juliet, "wherefore")) // which makes the account
		time.Sleep(cacheFor)
		asked := len(o.questions())
		o.fail(nil, time.Second)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { must(t, s.Verify(t.Context(), juliet, "wherefore")) })
		}
		all.Wait()
		// As many as may be asked at once, and nobody after them.
		if n := len(o.questions()) - asked; n > askAtOnce {
			t.Errorf("%d questions", n)
		}
	})
}

func TestWhoIsDisabledHereIsRefusedThoughKnownElsewhere(t *testing.T) {
	s, _, _ := awayService(t)
	must(t, s.Verify(t.Context(), juliet, "wherefore"))
	must(t, s.SetDisabled(t.Context(), juliet, true))
	if err := s.Verify(t.Context(), juliet, "wherefore"); err != ErrNotAuthorized {
		t.Errorf("disabled here: %v", err)
	}
	must(t, s.SetDisabled(t.Context(), juliet, false))
	must(t, s.Verify(t.Context(), juliet, "wherefore"))
}

func TestWhoeverActsWithoutThePasswordIsRefusedWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, o := awayService(t)
		ended := 0
		s.OnChange(func(_ jid.JID, what Change) {
			if what == Disabled {
				ended++
			}
		})
		must(t, s.Verify(t.Context(), juliet, "wherefore"))
		o.set(juliet, "")
		removed := time.Now()
		for s.Vouch(t.Context(), juliet) == nil {
			time.Sleep(time.Second)
		}
		if d := time.Since(removed); d > cacheFor {
			t.Errorf("vouched for %s", d)
		}
		for range 200 {
			if err := s.Vouch(t.Context(), juliet); err != ErrNotAuthorized {
				t.Errorf("afterwards: %v", err)
			}
			time.Sleep(time.Second)
		}
		if n := len(o.questions()); n > 10 {
			t.Errorf("a token that is refused asks all the time: %d questions", n)
		}
		if ended != 1 {
			t.Errorf("ended %d times, want once", ended)
		}
		o.set(juliet, "wherefore")
		must(t, s.Verify(t.Context(), juliet, "wherefore"))
		must(t, s.Vouch(t.Context(), juliet))
		o.fail(errors.New("away"), 0)
		time.Sleep(cacheFor)
		if err := s.Vouch(t.Context(), juliet); !errors.Is(err, ErrAway) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("nobody can say: %v", err)
		}
	})
}

// TestWhoIsLoggedInLeavesWithinAMinute has a user log in as late as the cache allows.
func TestWhoIsLoggedInLeavesWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, o := awayService(t)
		gone := make(chan time.Time, 10)
		s.OnChange(func(user jid.JID, what Change) {
			if user == juliet && what == Disabled {
				gone <- time.Now()
			}
		})
		var mu sync.Mutex
		live := []jid.JID{nurse, romeo}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Watch(ctx, func() []jid.JID {
				mu.Lock()
				defer mu.Unlock()
				return slices.Clone(live)
			})
		}()
		must(t, s.Verify(t.Context(), juliet, "wherefore"))
		o.set(juliet, "")
		removed := time.Now()
		time.Sleep(cacheFor - time.Nanosecond)
		must(t, s.Verify(t.Context(), juliet, "wherefore"))
		mu.Lock()
		live = append(live, juliet)
		mu.Unlock()
		if d := (<-gone).Sub(removed); d > time.Minute {
			t.Errorf("she stayed for %s", d)
		}
		<-gone // as long as she is there
		// While nobody answers, all stay.
		o.set(juliet, "wherefore")
		time.Sleep(watchEvery)
		for len(gone) > 0 {
			<-gone
		}
		o.fail(errors.New("away"), 0)
		time.Sleep(10 * watchEvery)
		if len(gone) > 0 {
			t.Error("a backend that is away has ended sessions")
		}
		for _, q := range o.questions() {
			if strings.Contains(q, nurse.String()) || strings.Contains(q, romeo.String()) {
				t.Errorf("asked %q", q)
			}
		}
		cancel()
		<-done
	})
}

func TestAPasswordIsPassedOnAndEndsWhatTheOldOneHas(t *testing.T) {
	o := &other{passwords: map[string]string{juliet.String(): "wherefore"}}
	s, m := service(t, Options{Elsewhere: &Elsewhere{Backend: o, Cache: cacheFor, SetsPasswords: true}})
	changed := 0
	s.OnChange(func(_ jid.JID, what Change) {
		if what == PasswordChanged {
			changed++
		}
	})
	if err := s.SetPassword(t.Context(), juliet, "new"); !errors.Is(err, ErrNotFound) {
		t.Errorf("of who was never here: %v", err)
	}
	must(t, s.Verify(t.Context(), juliet, "wherefore"))
	must(t, s.SetPassword(t.Context(), juliet, "new"))
	if err := s.Verify(t.Context(), juliet, "wherefore"); err != ErrNotAuthorized {
		t.Errorf("the old password: %v", err)
	}
	must(t, s.Verify(t.Context(), juliet, "new"))
	if a := m.users.list[juliet.String()]; changed != 1 || a.Changed.IsZero() || len(a.Credentials) > 0 {
		t.Errorf("changed %d times: %+v", changed, a)
	}
	o.fail(fmt.Errorf("too short: %w", ErrPassword), 0)
	if err := s.SetPassword(t.Context(), juliet, "a"); !errors.Is(err, ErrPassword) {
		t.Errorf("one that is refused: %v", err)
	}
}

func TestOthersLogInWhileABackendIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, o := awayService(t)
		must(t, s.Create(t.Context(), romeo, "own"))
		o.fail(nil, time.Hour)
		began := time.Now()
		outcomes := make(chan error, 1000)
		for i := range 1000 {
			user := jid.MustParse(fmt.Sprintf("u%d@%s", i, juliet.Domain()))
			go func() { outcomes <- s.Verify(context.Background(), user, "x") }()
		}
		synctest.Wait()
		if n := len(outcomes); n < 1000-askWaiting-askAtOnce {
			t.Errorf("%d are refused at once: more wait than may", n)
		}
		must(t, s.Verify(t.Context(), romeo, "own"))
		if d := time.Since(began); d > 0 {
			t.Errorf("romeo waited for %s", d)
		}
		for range 1000 {
			if err := <-outcomes; !errors.Is(err, ErrAway) {
				t.Errorf("%v, want ErrAway", err)
			}
		}
		if d := time.Since(began); d > 2*askTime {
			t.Errorf("somebody waited for %s", d)
		}
		// Now one at a time tries, and then all.
		asked := len(o.questions())
		must(t, s.Verify(t.Context(), romeo, "own"))
		for range 100 {
			if err := s.Verify(t.Context(), juliet, "wherefore"); !errors.Is(err, ErrAway) {
				t.Errorf("%v, want ErrAway", err)
			}
		}
		if n := len(o.questions()) - asked; n > 1 {
			t.Errorf("%d questions to who does not answer", n)
		}
		o.fail(nil, 0)
		time.Sleep(awayAtMost)
		must(t, s.Verify(t.Context(), juliet, "wherefore"))
		if err := s.Verify(t.Context(), juliet, "x"); err != ErrNotAuthorized {
			t.Errorf("back again: %v", err)
		}
	})
}

func TestABackendIsLeftAloneLongerAndLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, o := awayService(t)
		o.fail(errors.New("connection refused"), 0)
		began := time.Now()
		for time.Since(began) < 10*time.Minute {
			if err := s.Verify(t.Context(), juliet, "wherefore"); !errors.Is(err, ErrAway) {
				t.Fatalf("%v, want ErrAway", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		// 3 at once, then after 1, 2, 4, 8, 16 and each 30 seconds.
		if n := len(o.questions()); n < 20 || n > 30 {
			t.Errorf("%d questions in ten minutes", n)
		}
	})
}

// TestAStrangeAnswerConcernsOneUserAlone: who has a name that a backend cannot stand must not keep others out.
func TestQuestionsAreCounted(t *testing.T) {
	s, _, o := awayService(t)
	var asked *Questions
	check := func(what string, err error, up bool) {
		t.Helper()
		o.fail(err, 0)
		_ = s.Verify(t.Context(), juliet, what)
		if s.BackendUp() != up {
			t.Errorf("%s, %v: up is %v", what, err, !up)
		}
	}
	asked = s.Questions()
	check("wherefore", nil, true)
	check("wherefore", nil, true) // remembered
	check("wrong", nil, true)
	check("strange", ErrStrange, true)
	for range askFailures + 2 {
		check("away", errors.New("away"), false)
	}
	// A reload counts on.
	must(t, s.SetOptions(Options{Elsewhere: &Elsewhere{Backend: o, Hosts: []string{juliet.Domain()}}}))
	check("wherefore", nil, true)
	got := [...]int64{asked.Good.Load(), asked.Refused.Load(), asked.Strange.Load(), asked.Unanswered.Load(),
		asked.Spared.Load()}
	if want := [...]int64{2, 1, 1, askFailures, 2}; got != want {
		t.Errorf("good, refused, strange, unanswered, spared: %v, want %v", got, want)
	}
	must(t, s.SetOptions(Options{}))
	if !s.BackendUp() {
		t.Error("a backend that is not there is not up")
	}
}

func TestAStrangeAnswerConcernsOneUserAlone(t *testing.T) {
	s, _, o := awayService(t)
	o.fail(fmt.Errorf("status 500: %w", ErrStrange), 0)
	for range 2 * askFailures {
		if err := s.Verify(t.Context(), jid.MustParse("odd@"+juliet.Domain()), "x"); !errors.Is(err, ErrAway) {
			t.Fatalf("%v, want ErrAway", err)
		}
	}
	o.fail(nil, 0)
	must(t, s.Verify(t.Context(), juliet, "wherefore"))
}

func TestWhoGivesUpIsNoSignThatABackendIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, o := awayService(t)
		o.fail(nil, time.Second)
		for range 2 * askFailures {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if err := s.Verify(ctx, juliet, "wherefore"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want that of the context", err)
			}
			cancel()
		}
		must(t, s.Verify(t.Context(), juliet, "wherefore"))
	})
}

func TestGuessesAreThrottledBeforeTheyAreAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, o := awayService(t)
		from := Source{Addr: netip.MustParseAddr("192.0.2.1")}
		slow := 0
		for i := range 50 {
			err := s.Authenticate(t.Context(), from, juliet, fmt.Sprint("guess", i))
			if _, throttled := errors.AsType[ErrThrottled](err); throttled {
				slow++
			} else if err != ErrNotAuthorized {
				t.Errorf("guess %d: %v", i, err)
			}
		}
		if n := len(o.questions()); slow != 45 || n != 5 {
			t.Errorf("%d guesses were asked for, %d throttled", n, slow)
		}
		must(t, s.Authenticate(t.Context(), Source{Addr: netip.MustParseAddr("192.0.2.2")}, juliet, "wherefore"))
	})
}

func TestANameThatIsBeingImportedWaits(t *testing.T) {
	s, m, _ := awayService(t)
	must(t, s.Await(t.Context(), juliet))
	if err := s.Verify(t.Context(), juliet, "wherefore"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("while it is imported: %v", err)
	}
	must(t, s.Restore(t.Context(), juliet, storage.Account{Permissions: []string{"multicast"}}, ""))
	must(t, s.Verify(t.Context(), juliet, "wherefore"))
	if a := m.users.list[juliet.String()]; !slices.Equal(a.Permissions, []string{"multicast"}) {
		t.Errorf("it is %+v", a)
	}
}
