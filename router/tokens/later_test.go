package tokens

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

func TestUsesAreCountedAndWrittenLater(t *testing.T) {
	s := open(t)
	secret, made := s.make(nil)
	for range 3 {
		s.wants(secret, nil)
	}
	check := func(uses int64) {
		t.Helper()
		list, err := s.List(t.Context(), romeo)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		one := list[0]
		lately := one.Last.Second() == 0 && time.Since(one.Last) < 2*time.Minute
		if one.Uses != uses || uses > 0 && (one.From != home.Addr || !lately) {
			t.Errorf("%d uses, last %v from %v, want %d", one.Uses, one.Last, one.From, uses)
		}
	}
	check(3)
	if _, err := s.store.Get(t.Context(), made.ID, keyUsage); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("written at once: %v", err)
	}
	s.flush(t.Context())
	check(3)
	s.wants(secret, nil)
	check(4)
	s.reopen() // a crash loses what was not written
	check(3)
	// What is written of a token that was revoked meanwhile brings nothing back.
	s.wants(secret, nil)
	other := New(Options{Store: s.store, Accounts: s.accounts})
	if err := other.Revoke(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	s.flush(t.Context())
	if keys, _, err := s.store.Size(t.Context(), made.ID); err != nil || keys != 0 {
		t.Errorf("%d keys are back, %v", keys, err)
	}
	if len(s.used) > 0 {
		t.Error("it is remembered")
	}
}

func TestRotation(t *testing.T) {
	s := open(t)
	old, made := s.make(func(spec *Spec) {
		spec.Expires = time.Now().Add(30 * 24 * time.Hour)
		spec.CIDRs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		spec.Rate = Rate{Every: time.Millisecond, Burst: 7}
	})
	s.ahead = 20 * 24 * time.Hour
	next, fresh, err := s.Rotate(t.Context(), made.ID, 24*time.Hour, "")
	if err != nil {
		t.Fatal(err)
	}
	if fresh.ID == made.ID || fresh.Label != made.Label || fresh.Rate != made.Rate ||
		!slices.Equal(fresh.CIDRs, made.CIDRs) ||
		fresh.Expires.Sub(fresh.Created) != made.Expires.Sub(made.Created) || fresh.Scopes.String() != "send" {
		t.Errorf("%+v of %+v", fresh, made)
	}
	s.wants(old, nil)
	s.wants(next, nil)
	_, _, err = s.Rotate(t.Context(), made.ID, 0, "")
	if !errors.Is(err, ErrSuperseded) || !strings.Contains(err.Error(), fresh.ID) {
		t.Errorf("rotated twice: %v", err)
	}
	s.ahead += 24 * time.Hour
	s.wants(old, ErrExpired)
	s.wants(next, nil)
	last, third, err := s.Rotate(t.Context(), fresh.ID, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	s.wants(next, ErrUnknown)
	s.wants(last, nil)
	// Rotating for ever fills nothing.
	s.most = 3
	for range 20 {
		if _, third, err = s.Rotate(t.Context(), third.ID, time.Hour, ""); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrTooMany) {
		t.Errorf("so often: %v", err)
	}
	s.ahead += 2 * time.Hour
	s.look(t.Context())
	if list, err := s.List(t.Context(), romeo); err != nil || len(list) != 1 {
		t.Errorf("left: %d, %v", len(list), err)
	}
}

func TestAnAccountHasSoManyTokensAndNoMore(t *testing.T) {
	s := open(t)
	s.most = 3
	var all []Token
	for range 3 {
		_, one := s.make(nil)
		all = append(all, one)
	}
	spec := Spec{Kind: KindAccount, Owner: romeo, Scopes: scopes(t, "send")}
	if _, _, err := s.Make(t.Context(), spec); !errors.Is(err, ErrTooMany) {
		t.Errorf("the fourth: %v", err)
	}
	s.make(func(spec *Spec) { spec.Owner = juliet })
	if err := s.Revoke(t.Context(), all[1].ID); err != nil {
		t.Fatal(err)
	}
	s.make(nil)
	var running sync.WaitGroup
	s.most = 6
	for range 10 {
		running.Go(func() { s.Make(t.Context(), spec) })
	}
	running.Wait()
	if list, err := s.List(t.Context(), romeo); err != nil || len(list) != 6 {
		t.Errorf("at once: %d, %v", len(list), err)
	}
}

func TestWhatCannotBeMadeIsSaid(t *testing.T) {
	s := open(t)
	known, _ := s.make(nil)
	for _, row := range []struct {
		want string
		spec Spec
	}{
		{"no such account", Spec{Kind: KindAccount, Owner: jid.MustParse("nurse@example.org"), Scopes: scopes(t, "send")}},
		{"user@domain", Spec{Kind: KindAccount, Owner: jid.MustParse("example.org"), Scopes: scopes(t, "send")}},
		{"without scopes", Spec{Kind: KindAccount, Owner: romeo}},
		{"to whom", Spec{Kind: KindAccount, Owner: romeo, Scopes: scopes(t, "gateway", "multicast", "forge_sender")}},
		{"opens that alone", Spec{Kind: KindHook, Owner: romeo, Hook: "ops", Scopes: scopes(t, "send")}},
		{"name of a hook", Spec{Kind: KindHook, Owner: romeo}},
		{"hook:ops is a scope", Spec{Kind: KindAccount, Owner: romeo, Hook: "ops", Scopes: scopes(t, "send")}},
		{"expired already", Spec{Kind: KindAccount, Owner: romeo, Scopes: scopes(t, "send"), Expires: time.Now().Add(-time.Hour)}},
		{"no rate", Spec{Kind: KindAccount, Owner: romeo, Scopes: scopes(t, "send"), Rate: Rate{Every: -1}}},
		{"no size", Spec{Kind: KindAccount, Owner: romeo, Scopes: scopes(t, "send"), MaxBytes: -1}},
		{"no token", Spec{Kind: KindAccount, Owner: romeo, Scopes: scopes(t, "send"), Secret: "hunter2"}},
		{"begins with jdh", Spec{Kind: KindAccount, Owner: romeo, Scopes: scopes(t, "send"), Secret: Generate(KindHook)}},
		{"there already", Spec{Kind: KindAccount, Owner: juliet, Scopes: scopes(t, "send"), Secret: known}},
	} {
		_, _, err := s.Make(t.Context(), row.spec)
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", row.want, err)
		}
	}
	if list, err := s.List(t.Context(), juliet); err != nil || len(list) > 0 {
		t.Errorf("made: %v, %v", list, err)
	}
	for _, id := range []string{"", "x", known, strings.Repeat("a", 17), "../etc/passwd1234"} {
		if err := s.Revoke(t.Context(), id); !errors.Is(err, ErrID) {
			t.Errorf("revoke %q: %v", id, err)
		}
	}
}

func TestASecretThatSomebodyHasMadeIsTaken(t *testing.T) {
	s := open(t)
	mine := Generate(KindHook)
	got, made := s.make(func(spec *Spec) { spec.Kind, spec.Secret, spec.Scopes, spec.Hook = KindHook, mine, Scopes{}, "ops" })
	if got != mine || made.Hook != "ops" || !made.Scopes.Hook("ops") || made.Scopes.Hook("other") {
		t.Errorf("%q, %+v", got, made)
	}
	if opened := s.wants(mine, nil); opened.Hook != "ops" || opened.Kind != KindHook {
		t.Errorf("%+v", opened)
	}
}

func TestOwnersAreToldThreeTimesAndTokensGo(t *testing.T) {
	s := open(t)
	s.make(func(spec *Spec) { spec.Expires, spec.Label = time.Now().Add(365*24*time.Hour), "backup" })
	s.make(func(spec *Spec) { spec.Expires, spec.Label = time.Now().Add(time.Hour), "short" })
	s.make(nil)
	const day = 24 * time.Hour
	for _, row := range []struct {
		after time.Duration
		want  string
	}{
		{0, ""}, {350 * day, ""}, {351*day + time.Minute, "in 14 days"}, {352 * day, ""}, {362*day + time.Minute, "in 3 days"},
		{363 * day, ""}, {364*day + time.Minute, "within a day"}, {364*day + 2*time.Hour, ""}, {365*day + time.Minute, ""},
	} {
		s.told = nil
		s.ahead = row.after
		s.o.Accounts.SetHomes(func(string) bool { return false }) // as on a node that is not his home
		s.look(t.Context())
		if len(s.told) > 0 {
			t.Errorf("after %v told %q elsewhere than at home", row.after, s.told)
		}
		s.o.Accounts.SetHomes(func(string) bool { return true })
		s.look(t.Context())
		s.reopen()
		s.look(t.Context())
		switch {
		case row.want == "" && len(s.told) > 0, row.want != "" && len(s.told) != 1:
			t.Errorf("after %v told %q", row.after, s.told)
		case row.want != "" && (!strings.Contains(s.told[0], row.want) || !strings.Contains(s.told[0], "romeo@example.org: The token “backup”")):
			t.Errorf("after %v told %q, want %q", row.after, s.told, row.want)
		}
	}
	s.ahead = 396 * day
	s.look(t.Context())
	if list, err := s.List(t.Context(), romeo); err != nil || len(list) != 1 || list[0].Label != "cron" {
		t.Errorf("left: %v, %v", list, err)
	}
}

// TestWhatACrashHasLeftGoes: a list that leads to nothing.
func TestWhatACrashHasLeftGoes(t *testing.T) {
	s := open(t)
	_, made := s.make(nil)
	if _, err := s.store.DeleteOwner(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(t.Context(), romeo); err != nil || len(list) > 0 {
		t.Errorf("listed: %v, %v", list, err)
	}
	s.look(t.Context())
	if all, err := s.Owners(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("owners: %v, %v", all, err)
	}
}

func TestUsesAndRevocationsAtOnce(t *testing.T) {
	s := open(t)
	var running sync.WaitGroup
	for i := range 8 {
		secret, made := s.make(func(spec *Spec) { spec.Label = fmt.Sprint(i) })
		running.Go(func() {
			for range 30 {
				s.Open(t.Context(), secret, home)
			}
			if err := s.Revoke(t.Context(), made.ID); err != nil {
				t.Error(err)
			}
			if _, err := s.Try(t.Context(), secret, home); !errors.Is(err, ErrUnknown) {
				t.Errorf("after it was revoked: %v", err)
			}
		})
		running.Go(func() { s.flush(t.Context()) })
	}
	running.Wait()
	s.flush(t.Context())
	if len(s.used) > 0 {
		t.Errorf("%d are remembered", len(s.used))
	}
}

func BenchmarkOpen(b *testing.B) {
	s := open(b)
	secret, _ := s.make(func(spec *Spec) { spec.Rate = Rate{Every: 1, Burst: maxBurst} })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Open(b.Context(), secret, home); err != nil {
			b.Fatal(err)
		}
	}
}
