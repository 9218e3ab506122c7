package accounts

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

var roomy = Bounds{Host: 100, Address: 100}

func fromAddr(addr string) Source { return Source{Addr: netip.MustParseAddr(addr)} }

// waitingNow are the local parts of who waits on a host.
func waitingNow(t *testing.T, s *Service, host string) (names []string) {
	t.Helper()
	list, err := s.Waiting(t.Context(), host)
	must(t, err)
	for _, one := range list {
		names = append(names, one.User.Local())
	}
	slices.Sort(names)
	return names
}

func TestAnAccountThatWaitsIsNobodyUntilItIsApproved(t *testing.T) {
	s, m := service(t, Options{Admins: []jid.JID{juliet}})
	var heard []Change
	s.OnChange(func(_ jid.JID, what Change) { heard = append(heard, what) })
	must(t, s.Apply(t.Context(), juliet, "wherefore", fromAddr("192.0.2.1"), roomy))
	if err := s.Create(t.Context(), juliet, "other"); !errors.Is(err, ErrExists) {
		t.Errorf("its name is free: %v", err)
	}
	for _, c := range []struct {
		password string
		want     error
	}{{"wherefore", ErrWaiting}, {"therefore", ErrNotAuthorized}} {
		for range 2 { // nothing is remembered
			err := s.Authenticate(t.Context(), Source{}, juliet, c.password)
			if !errors.Is(err, c.want) || errors.Is(err, ErrWaiting) != (c.want == ErrWaiting) {
				t.Errorf("%s: %v", c.password, err)
			}
		}
	}
	keys, ok, err := s.Keys(t.Context(), juliet, sasl.SHA256)
	if !ok || !errors.Is(err, ErrWaiting) || !keys.VerifyPassword("wherefore") {
		t.Errorf("keys: %v, %v", ok, err)
	}
	if exists, err := s.Exists(t.Context(), juliet); exists || err != nil {
		t.Errorf("others see it: %v, %v", exists, err)
	}
	if r, err := s.Rights(t.Context(), juliet); err != nil || r.Active() || r.Has(PermAdmin) {
		t.Errorf("it has rights: %+v, %v", r, err)
	}
	if a, err := s.Get(t.Context(), juliet); err != nil || !a.Waiting || a.Disabled || a.Active() {
		t.Errorf("shown as %+v, %v", a, err)
	}
	for _, disabled := range []bool{true, false} {
		if err := s.SetDisabled(t.Context(), juliet, disabled); !errors.Is(err, ErrWaiting) {
			t.Errorf("disabled %v: %v", disabled, err)
		}
	}
	if a := m.users.list[juliet.String()]; !a.Disabled {
		t.Error("an earlier version would let it in")
	}
	if got := waitingNow(t, s, juliet.Domain()); !slices.Equal(got, []string{"juliet"}) {
		t.Errorf("waiting: %v", got)
	}
	if got := slices.DeleteFunc(heard, func(c Change) bool { return c == 0 }); len(got) != 0 {
		t.Errorf("others have heard %v", got)
	}
	heard = nil
	asked := m.users.list[juliet.String()].Created
	must(t, s.Approve(t.Context(), juliet))
	must(t, s.Authenticate(t.Context(), Source{}, juliet, "wherefore"))
	// What hosts say to new accounts since then is for this one, too.
	if a, err := s.Get(t.Context(), juliet); err != nil || !a.Active() || !a.Created.After(asked) {
		t.Errorf("approved: %+v, %v", a, err)
	}
	if !slices.Equal(heard, []Change{Created}) {
		t.Errorf("others have heard %v", heard)
	}
	if !s.Permitted(t.Context(), juliet, PermAdmin) {
		t.Error("it lacks its rights")
	}
	for _, decide := range []error{s.Approve(t.Context(), juliet), s.Refuse(t.Context(), juliet)} {
		if !errors.Is(decide, ErrNotWaiting) {
			t.Errorf("decided twice: %v", decide)
		}
	}
	if got := waitingNow(t, s, juliet.Domain()); len(got) != 0 {
		t.Errorf("waiting: %v", got)
	}
}

func TestARefusedAccountIsGone(t *testing.T) {
	s, m := service(t, Options{})
	must(t, s.Apply(t.Context(), juliet, "wherefore", fromAddr("192.0.2.1"), roomy))
	var heard []Change
	s.OnChange(func(_ jid.JID, what Change) { heard = append(heard, what) })
	must(t, s.Refuse(t.Context(), juliet))
	if len(m.users.list) != 0 || len(waitingNow(t, s, juliet.Domain())) != 0 || !slices.Contains(heard, Deleted) {
		t.Errorf("left: %v, heard %v", m.users.list, heard)
	}
	if err := s.Refuse(t.Context(), juliet); !errors.Is(err, ErrNotFound) {
		t.Errorf("refused twice: %v", err)
	}
	must(t, s.Apply(t.Context(), juliet, "wherefore", fromAddr("192.0.2.1"), roomy))
	must(t, s.Delete(t.Context(), juliet)) // as any account
	must(t, s.Apply(t.Context(), juliet, "wherefore", fromAddr("192.0.2.1"), roomy))
}

func TestWhoWaitsIsBounded(t *testing.T) {
	for _, c := range []struct {
		name string
		from []string // of those who wait
		next string
		most Bounds
		want error
	}{
		{"room for all", []string{"192.0.2.1", "192.0.2.1"}, "192.0.2.1", Bounds{Host: 3, Address: 3}, nil},
		{"the host is full", []string{"192.0.2.1", "192.0.2.2"}, "192.0.2.3", Bounds{Host: 2, Address: 3}, ErrHostFull},
		{"the address is full", []string{"192.0.2.1", "192.0.2.1"}, "192.0.2.1", Bounds{Host: 9, Address: 2}, ErrAddressFull},
		{"another address", []string{"192.0.2.1", "192.0.2.1"}, "192.0.2.2", Bounds{Host: 9, Address: 2}, nil},
		{"one /64", []string{"2001:db8::1", "2001:db8::2"}, "2001:db8::3", Bounds{Host: 9, Address: 2}, ErrAddressFull},
		{"another /64", []string{"2001:db8::1", "2001:db8::2"}, "2001:db8:0:1::1", Bounds{Host: 9, Address: 2}, nil},
		{"this machine", []string{"", ""}, "", Bounds{Host: 9, Address: 2}, nil},
		{"this machine, full host", []string{"", ""}, "", Bounds{Host: 2, Address: 2}, ErrHostFull},
	} {
		s, m := service(t, Options{})
		source := func(addr string) Source {
			if addr == "" {
				return Source{Addr: netip.MustParseAddr("127.0.0.1"), Exempt: true}
			}
			return fromAddr(addr)
		}
		for i, addr := range c.from {
			must(t, s.Apply(t.Context(), jid.MustParse(fmt.Sprintf("u%d@example.org", i)), "secret", source(addr), roomy))
		}
		must(t, s.Apply(t.Context(), jid.MustParse("other@elsewhere.example"), "secret", source(c.next), roomy))
		err := s.Apply(t.Context(), jid.MustParse("next@example.org"), "secret", source(c.next), c.most)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, made := m.users.list["next@example.org"]; made != (c.want == nil) {
			t.Errorf("%s: made is %v", c.name, made)
		}
		if c.want == nil {
			continue
		}
		// A decision makes room, also one of an earlier version, which knows nothing of notes.
		m.users.list["u0@example.org"] = storage.Account{User: "u0@example.org"}
		if err := s.Apply(t.Context(), jid.MustParse("next@example.org"), "secret", source(c.next), c.most); err != nil {
			t.Errorf("%s, after a decision: %v", c.name, err)
		}
	}
}

func TestOfTwoWhoApplyForANameOneHasIt(t *testing.T) {
	s, _ := service(t, Options{})
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for i := range 8 {
		wg.Go(func() { errs <- s.Apply(t.Context(), juliet, fmt.Sprint("secret", i), fromAddr("192.0.2.1"), roomy) })
	}
	wg.Wait()
	close(errs)
	made := 0
	for err := range errs {
		if err == nil {
			made++
		} else if !errors.Is(err, ErrExists) {
			t.Error(err)
		}
	}
	if got := waitingNow(t, s, juliet.Domain()); made != 1 || len(got) != 1 {
		t.Errorf("%d made, waiting %v", made, got)
	}
}

func TestWhatAProcessLeftBehindIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := service(t, Options{})
		host := juliet.Domain()
		at := func(name string) jid.JID { return jid.MustParse(name + "@" + host) }
		apply := func(name string) { must(t, s.Apply(t.Context(), at(name), "secret", fromAddr("192.0.2.1"), roomy)) }
		for _, name := range []string{"lost", "refused", "enabled", "waits"} {
			apply(name)
		}
		delete(m.users.list, at("lost").String()) // it was noted, and never made
		half := m.users.list[at("refused").String()]
		half.Approval = storage.ApprovalRefused
		m.users.list[at("refused").String()] = half
		old := m.users.list[at("enabled").String()] // by an earlier version: `user enable`
		old.Disabled, old.Approval = false, ""
		m.users.list[at("enabled").String()] = old
		if err := s.Apply(t.Context(), at("lost"), "secret", fromAddr("192.0.2.1"), roomy); !errors.Is(err, ErrExists) {
			t.Errorf("it may be on its way: %v", err)
		}
		if got := waitingNow(t, s, host); !slices.Equal(got, []string{"waits"}) {
			t.Errorf("waiting: %v", got)
		}
		if _, there := m.users.list[at("refused").String()]; there {
			t.Error("the refused account is there")
		}
		must(t, s.Authenticate(t.Context(), Source{}, at("enabled"), "secret"))
		pass(settleTime)
		apply("lost")
		if got := waitingNow(t, s, host); !slices.Equal(got, []string{"lost", "waits"}) {
			t.Errorf("waiting: %v", got)
		}
		list, err := s.Waiting(t.Context(), host)
		must(t, err)
		if list[0].User.Local() != "waits" || list[0].From != netip.MustParseAddr("192.0.2.1") ||
			time.Since(list[0].Asked) < settleTime {
			t.Errorf("the first is %+v", list[0])
		}
	})
}

func TestNamesOfTheConfigurationAreReserved(t *testing.T) {
	s, _ := service(t, Options{Admins: []jid.JID{juliet}, Everyone: map[Permission][]string{
		PermForgeSender: {romeo.String()}, PermMulticast: {"*@example.org"}, PermHTTPMessage: {"*"}}})
	for name, want := range map[string]bool{juliet.String(): true, romeo.String(): true, "x@example.org": false} {
		if got := s.Reserved(jid.MustParse(name)); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
