package accounts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

func TestCreatedAccountHoldsKeysOfEachHashAndNoPassword(t *testing.T) {
	s, m := service(t, Options{Iterations: 5000})
	must(t, s.Create(t.Context(), juliet, "wherefore"))
	a := m.users.list[juliet.String()]
	var got []string
	for _, c := range a.Credentials {
		got = append(got, fmt.Sprint(c.Hash, " ", c.Iterations, " ", len(c.Salt)))
	}
	if want := []string{"SHA-1 5000 16", "SHA-256 5000 16", "SHA-512 5000 16"}; !slices.Equal(got, want) {
		t.Errorf("credentials %q, want %q", got, want)
	}
	if dump := fmt.Sprintf("%q", fmt.Sprint(a)); strings.Contains(dump, "wherefore") {
		t.Errorf("the stored account shows the password: %s", dump)
	}
	for _, h := range []sasl.Hash{sasl.SHA1, sasl.SHA256} {
		keys, ok, err := s.Keys(t.Context(), juliet, h)
		must(t, err)
		if !ok || !keys.VerifyPassword("wherefore") || keys.VerifyPassword("therefore") {
			t.Errorf("%s keys do not stand for the password", h)
		}
	}
}

func TestCreateReturnsWhenTheAccountIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := service(t, Options{})
		m.hold = true
		done := make(chan error, 1)
		go func() { done <- s.Create(t.Context(), juliet, "wherefore") }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("returned %v before the commit", err)
		default:
		}
		m.commit(nil)
		must(t, <-done)
	})
}

func TestTheNameOfAnAccountIsFreeWhenItsDataAreErased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := service(t, Options{})
		must(t, s.Create(t.Context(), juliet, "wherefore"))
		erased := make(chan struct{})
		s.OnChange(func(_ jid.JID, what Change) {
			if what == Deleted {
				<-erased
			}
		})
		gone := make(chan error, 2)
		impatient, leave := context.WithCancel(t.Context())
		go func() { gone <- s.Delete(impatient, juliet) }()
		synctest.Wait()
		leave()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("whoever waits no more: %v", err)
		}
		made := make(chan error, 1)
		go func() { made <- s.Create(t.Context(), juliet, "another") }()
		go func() { gone <- s.Delete(t.Context(), juliet) }()
		synctest.Wait()
		select {
		case err := <-made:
			t.Fatalf("the name was taken before: %v", err)
		case err := <-gone:
			t.Fatalf("it was deleted twice: %v", err)
		default:
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Create(canceled, juliet, "a third"); !errors.Is(err, context.Canceled) {
			t.Errorf("without patience: %v", err)
		}
		must(t, s.Create(t.Context(), jid.MustParse("nurse@example.org"), "wherefore"))
		close(erased)
		must(t, <-made)
		if err := <-gone; err != nil && !errors.Is(err, ErrNotFound) { // the second one comes before or after
			t.Errorf("the second deletion: %v", err)
		}
	})
}

func TestCreateRefusesBadPasswordsAndNames(t *testing.T) {
	s, m := service(t, Options{})
	must(t, s.Create(t.Context(), juliet, "wherefore"))
	full, _ := romeo.WithResource("orchard")
	for _, c := range []struct {
		user     jid.JID
		password string
		want     error
		text     string
	}{
		{juliet, "other", ErrExists, "exists already"},
		{romeo, "", ErrPassword, "empty"},
		{romeo, strings.Repeat("x", 1025), ErrPassword, "longer than 1024 bytes"},
		{romeo, "a\x00b", ErrPassword, "control characters"},
		{romeo, "a\xffb", ErrPassword, "UTF-8"},
		{romeo, "a\u2028b", ErrPassword, "not allowed"},
		{romeo.DomainJID(), "password", ErrUser, "user@domain"},
		{full, "password", ErrUser, "user@domain"},
		{jid.JID{}, "password", ErrUser, "user@domain"},
	} {
		err := s.Create(t.Context(), c.user, c.password)
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("create %s: %v, want %v with %q", c.user, err, c.want, c.text)
		}
	}
	if len(m.users.list) != 1 {
		t.Errorf("%d accounts are stored, want 1", len(m.users.list))
	}
	must(t, s.Create(t.Context(), romeo, strings.Repeat("x", 1024)))
}

func TestPasswordsThatNormaliseAlikeAreTheSame(t *testing.T) {
	s, _ := service(t, Options{})
	must(t, s.Create(t.Context(), juliet, "e\u0301tude\u00a0x")) // decomposed, no-break space
	must(t, s.Verify(t.Context(), juliet, "\u00e9tude x"))
}

func TestAccountsAreListedByDomain(t *testing.T) {
	s, m := service(t, Options{})
	for i := range 2500 { // more than one page
		u := fmt.Sprintf("u%04d@a.example", i)
		m.users.list[u] = storage.Account{User: u}
	}
	m.users.list["x@b.example"] = storage.Account{User: "x@b.example", Disabled: true, Permissions: []string{"admin"}}
	for domain, want := range map[string]int{"": 2501, "a.example": 2500, "b.example": 1, "c.example": 0} {
		list, err := s.List(t.Context(), domain)
		must(t, err)
		if len(list) != want {
			t.Errorf("domain %q lists %d accounts, want %d", domain, len(list), want)
		}
	}
	a, err := s.Get(t.Context(), jid.MustParse("x@b.example/r"))
	must(t, err)
	if !a.Disabled || !slices.Equal(a.Permissions, []Permission{PermAdmin}) {
		t.Errorf("got %+v", a)
	}
	for user, want := range map[string]bool{"x@b.example": true, "y@b.example": false} {
		if got, err := s.Exists(t.Context(), jid.MustParse(user)); err != nil || got != want {
			t.Errorf("%s exists: %v, %v, want %v", user, got, err, want)
		}
	}
}

func TestChangesOfAnUnknownAccountAreNotFound(t *testing.T) {
	s, _ := service(t, Options{})
	for name, f := range map[string]func() error{
		"SetPassword": func() error { return s.SetPassword(t.Context(), juliet, "x") },
		"SetDisabled": func() error { return s.SetDisabled(t.Context(), juliet, true) },
		"Grant":       func() error { return s.Grant(t.Context(), juliet, PermAdmin) },
		"Revoke":      func() error { return s.Revoke(t.Context(), juliet, PermAdmin) },
		"Delete":      func() error { return s.Delete(t.Context(), juliet) },
		"Get":         func() error { _, err := s.Get(t.Context(), juliet); return err },
		"DeleteAPI":   func() error { return s.DeleteAPI(t.Context(), "trac") },
	} {
		if err := f(); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", name, err)
		}
	}
}

func TestEachChangeIsAnnouncedOnceDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := service(t, Options{})
		must(t, s.Create(t.Context(), juliet, "wherefore"))
		var mu sync.Mutex
		var heard []string
		s.OnChange(func(user jid.JID, what Change) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, fmt.Sprint(user, " ", what))
		})
		for _, c := range []struct {
			do   func() error
			want string
		}{
			{func() error { return s.SetPassword(t.Context(), juliet, "new") }, "password changed"},
			{func() error { return s.SetDisabled(t.Context(), juliet, true) }, "disabled"},
			{func() error { return s.SetDisabled(t.Context(), juliet, false) }, "permissions changed"},
			{func() error { return s.Grant(t.Context(), juliet, PermMulticast) }, "permissions changed"},
			{func() error { return s.Revoke(t.Context(), juliet, PermMulticast) }, "permissions changed"},
			{func() error { return s.Delete(t.Context(), juliet) }, "deleted"},
			{func() error { return s.Restore(t.Context(), juliet, storage.Account{}, "there") }, "created"},
		} {
			m.mu.Lock()
			m.hold = true
			m.mu.Unlock()
			done := make(chan error, 1)
			go func() { done <- c.do() }()
			synctest.Wait()
			mu.Lock()
			if len(heard) > 0 {
				t.Errorf("heard %q before the commit", heard)
			}
			mu.Unlock()
			m.commit(nil)
			must(t, <-done)
			mu.Lock()
			if want := juliet.String() + " " + c.want; len(heard) != 1 || heard[0] != want {
				t.Errorf("heard %q when the call returned, want %q", heard, want)
			}
			heard = nil
			mu.Unlock()
		}
	})
}

func TestAChangeIsAnnouncedThoughTheCallerHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := service(t, Options{})
		must(t, s.Create(t.Context(), juliet, "wherefore"))
		heard := make(chan Change, 1)
		s.OnChange(func(_ jid.JID, what Change) { heard <- what })
		m.hold = true
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.SetDisabled(ctx, juliet, true) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("returned %v, want context.Canceled", err)
		}
		m.commit(nil)
		if what := <-heard; what != Disabled {
			t.Errorf("heard %v", what)
		}
	})
}

func TestAWriteThatIsLostIsNeitherAcknowledgedNorAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := service(t, Options{})
		must(t, s.Create(t.Context(), juliet, "wherefore"))
		s.OnChange(func(jid.JID, Change) { t.Error("announced") })
		m.hold = true
		done := make(chan error, 1)
		go func() { done <- s.Delete(t.Context(), juliet) }()
		synctest.Wait()
		m.commit(errors.New("disk is gone"))
		if err := <-done; !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "disk is gone") {
			t.Errorf("returned %v, want ErrUnavailable with the reason", err)
		}
	})
}

func TestStorageThatIsAwayIsUnavailableAndNoWrongPassword(t *testing.T) {
	s, m := service(t, Options{})
	must(t, s.Create(t.Context(), juliet, "wherefore"))
	m.setFail(storage.ErrUnavailable)
	for name, f := range map[string]func() error{
		"Create":      func() error { return s.Create(t.Context(), romeo, "x") },
		"SetPassword": func() error { return s.SetPassword(t.Context(), juliet, "x") },
		"Verify":      func() error { return s.Verify(t.Context(), juliet, "wherefore") },
		"Keys":        func() error { _, _, err := s.Keys(t.Context(), juliet, sasl.SHA1); return err },
		"Rights":      func() error { _, err := s.Rights(t.Context(), juliet); return err },
		"Exists":      func() error { _, err := s.Exists(t.Context(), juliet); return err },
		"List":        func() error { _, err := s.List(t.Context(), ""); return err },
		"VerifyAPI":   func() error { _, err := s.VerifyAPI(t.Context(), "trac", "x"); return err },
		"CreateAPI":   func() error { return s.CreateAPI(t.Context(), "trac", "x", []string{"trac"}) },
		"New":         func() error { _, err := New(t.Context(), m, Options{}); return err },
	} {
		err := f()
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, ErrNotAuthorized) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
	if s.Permitted(t.Context(), juliet, PermHTTPMessage) {
		t.Error("permitted while nothing is known")
	}
}

func TestBatchSharesCommitsAndReportsEachAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := service(t, Options{})
		must(t, s.Create(t.Context(), juliet, "wherefore"))
		m.hold = true
		list := []NewAccount{{juliet, "x"}, {romeo, ""}}
		for i := range 20 {
			list = append(list, NewAccount{jid.MustParse(fmt.Sprintf("u%d@a.example", i)), "secret"})
		}
		list = append(list, list[5]) // twice
		got := make(map[int]error)
		done := make(chan error, 1)
		go func() {
			done <- s.CreateBatch(t.Context(), list, func(i int, err error) {
				if _, ok := got[i]; ok {
					t.Errorf("account %d is reported twice", i)
				}
				got[i] = err
			})
		}()
		synctest.Wait()
		if len(m.held) != 20 {
			t.Errorf("%d writes wait for a commit, want all 20 at once", len(m.held))
		}
		m.commit(nil)
		must(t, <-done)
		if len(got) != len(list) {
			t.Fatalf("%d outcomes for %d accounts", len(got), len(list))
		}
		if !errors.Is(got[0], ErrExists) || !errors.Is(got[1], ErrPassword) {
			t.Errorf("outcomes %v, %v", got[0], got[1])
		}
		if twice := errors.Is(got[5], ErrExists) != errors.Is(got[22], ErrExists); !twice {
			t.Errorf("of two accounts of one name: %v, %v", got[5], got[22])
		}
		for i := 6; i < 22; i++ {
			must(t, got[i])
			must(t, s.Verify(t.Context(), list[i].User, "secret"))
		}
	})
}

func TestBatchEndsWithItsContext(t *testing.T) {
	s, m := service(t, Options{})
	m.hold = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	list := []NewAccount{{juliet, "x"}, {romeo, "y"}}
	if err := s.CreateBatch(ctx, list, func(int, error) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("returned %v, want context.Canceled", err)
	}
}

func TestDerivationsAreBoundedAndTheQueueEndsWithTheContext(t *testing.T) {
	s, m := service(t, Options{})
	must(t, s.Create(t.Context(), juliet, "wherefore"))
	for range cap(s.slots) {
		must(t, s.acquire(t.Context()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gets := m.gets
	if err := s.Verify(ctx, juliet, "wherefore"); !errors.Is(err, context.Canceled) {
		t.Errorf("verify with all slots taken: %v", err)
	}
	if m.gets != gets {
		t.Error("went past the queue")
	}
	if err := s.SetPassword(ctx, juliet, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("set the password with all slots taken: %v", err)
	}
	s.release()
	must(t, s.Verify(t.Context(), juliet, "wherefore"))
}

func TestOptionsThatCannotBeAreRefusedAndChangeNothing(t *testing.T) {
	s, _ := service(t, Options{Admins: []jid.JID{juliet}})
	must(t, s.Create(t.Context(), juliet, "wherefore"))
	for _, o := range []Options{
		{Iterations: 4095},
		{Iterations: 1 << 30},
		{Admins: []jid.JID{romeo.DomainJID()}},
		{Everyone: map[Permission][]string{"fly": {"*"}}},
		{Everyone: map[Permission][]string{PermMulticast: {"*example.com"}}},
	} {
		if err := s.SetOptions(o); err == nil {
			t.Errorf("accepted %+v", o)
		}
		if _, err := New(t.Context(), newMemory(), o); err == nil {
			t.Errorf("New accepted %+v", o)
		}
	}
	if !s.Permitted(t.Context(), juliet, PermAdmin) {
		t.Error("the refused options are in force")
	}
}

func TestAPIAccountsAreApartFromUsers(t *testing.T) {
	s, _ := service(t, Options{})
	ctx := t.Context()
	must(t, s.CreateAPI(ctx, "Trac", "secret", []string{"TRAC", "a.example", "trac"}))
	for range 2 { // derived, then remembered
		a, err := s.VerifyAPI(ctx, "trac", "secret")
		must(t, err)
		if a.Name != "trac" || !slices.Equal(a.Domains, []string{"a.example", "trac"}) || !a.MayPostFor("trac") || a.MayPostFor("b.example") {
			t.Errorf("got %+v", a)
		}
	}
	for _, c := range [][2]string{{"trac", "wrong"}, {"nobody", "secret"}, {"tr@c", "secret"}, {"", "secret"}} {
		if _, err := s.VerifyAPI(ctx, c[0], c[1]); !errors.Is(err, ErrNotAuthorized) {
			t.Errorf("%q: %v", c, err)
		}
	}
	if err := s.Verify(ctx, jid.MustParse("trac"), "secret"); !errors.Is(err, ErrNotAuthorized) {
		t.Errorf("an API account logs in as a user: %v", err)
	}
	if err := s.CreateAPI(ctx, "tRac", "x", []string{"trac"}); !errors.Is(err, ErrExists) {
		t.Errorf("created twice: %v", err)
	}
	if err := s.CreateAPI(ctx, "a:b", "x", []string{"trac"}); !errors.Is(err, ErrName) {
		t.Errorf("a name with a colon: %v", err)
	}
	if s.CreateAPI(ctx, "b", "x", nil) == nil || s.CreateAPI(ctx, "b", "x", []string{"a b"}) == nil {
		t.Error("created without a good domain")
	}
	list, err := s.ListAPI(ctx)
	must(t, err)
	if len(list) != 1 || list[0].Name != "trac" {
		t.Errorf("list %+v", list)
	}
	must(t, s.DeleteAPI(ctx, "TRAC"))
	if _, err := s.VerifyAPI(ctx, "trac", "secret"); !errors.Is(err, ErrNotAuthorized) {
		t.Errorf("a deleted account verifies: %v", err)
	}
}
