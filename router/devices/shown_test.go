package devices

import (
	"strings"
	"testing"
	"time"

	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

// one is the only device that there is.
func (s *shop) one() Device {
	s.t.Helper()
	all, err := s.List(s.t.Context(), romeo)
	if err != nil || len(all) != 1 {
		s.t.Fatalf("%v, %v", all, err)
	}
	return all[0]
}

func (s *shop) seen(l Login) {
	s.t.Helper()
	if err := s.Seen(s.t.Context(), l); err != nil {
		s.t.Fatal(err)
	}
}

func TestWhoHasShownThePasswordHasAccessUntilItIsAnother(t *testing.T) {
	s := open(t)
	s.issue(romeo, phone)
	if d := s.one(); !d.Password || !d.Token || !d.Access() || d.Software != "Gajim" || d.Name != "desk" {
		t.Errorf("after a login for a token: %+v", d)
	}
	byToken := s.login(romeo, phone)
	byToken.Mechanism = sasl.HTSHA256None
	s.seen(byToken)
	if d := s.one(); !d.Password || d.Mechanism != sasl.HTSHA256None {
		t.Errorf("after a login by the token: %+v", d)
	}
	if err := s.accounts.SetDisabled(t.Context(), romeo, true); err != nil {
		t.Fatal(err)
	}
	if s.one().Access() {
		t.Error("a device of a disabled account has access")
	}
	if err := s.accounts.SetDisabled(t.Context(), romeo, false); err != nil {
		t.Fatal(err)
	}
	if d := s.one(); !d.Password || d.Token {
		t.Errorf("of an account that was disabled and is not: %+v", d)
	}
	if err := s.accounts.SetPassword(t.Context(), romeo, "another"); err != nil {
		t.Fatal(err)
	}
	if s.one().Access() {
		t.Error("the old password gives access")
	}
	s.seen(s.login(romeo, phone)) // within the hour, and written all the same
	if d := s.one(); !d.Password {
		t.Errorf("after a login with the new password: %+v", d)
	}
}

func TestADeviceThatIsAwayIsForgotten(t *testing.T) {
	s := open(t)
	s.lifetime = 48 * time.Hour
	s.o.Keep = func() time.Duration { return 24 * time.Hour }
	s.seen(s.login(romeo, phone))
	s.issue(romeo, laptop)
	listed := func(want ...string) {
		t.Helper()
		all, err := s.List(t.Context(), romeo)
		if err != nil || len(all) != len(want) {
			t.Fatalf("%v, %v; want %v", all, err, want)
		}
		for i := range want {
			if all[i].ID != ID(romeo, want[i]) {
				t.Errorf("%d is %+v", i, all[i])
			}
		}
	}
	listed(laptop, phone)
	s.ahead = 25 * time.Hour
	listed(laptop) // it has a token
	s.ahead = 49 * time.Hour
	listed()
	s.seen(s.login(romeo, "2e6d5a3c-7b3e-4f4e-9a55-0d5c3f0a9b11"))
	entries, _, err := s.store.List(t.Context(), romeo.String())
	if err != nil || len(entries) != 1 {
		t.Errorf("kept: %d, %v", len(entries), err)
	}
}

func TestDevicesOfWhoNeverComesBackAreForgotten(t *testing.T) {
	s := open(t)
	s.seen(s.login(romeo, phone))
	s.issue(romeo, laptop)
	s.seen(s.login(juliet, phone))
	kept := func(user jid.JID, want int) {
		t.Helper()
		if err := s.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, _, err := s.store.Size(t.Context(), user.String()); err != nil || n != want {
			t.Errorf("kept of %s: %d, %v; want %d", user, n, err, want)
		}
	}
	s.ahead = 29 * 24 * time.Hour
	kept(romeo, 2) // for ever
	s.o.Keep = func() time.Duration { return 24 * time.Hour }
	kept(romeo, 1) // it has a token
	kept(juliet, 0)
	s.ahead = 31 * 24 * time.Hour
	s.accounts.SetHomes(func(user string) bool { return user != romeo.String() })
	kept(romeo, 1) // his home does that
	s.accounts.SetHomes(func(string) bool { return true })
	kept(romeo, 0)
}

func TestWhereNobodySeesDevicesOnlyTokensAreKept(t *testing.T) {
	s := open(t)
	s.o.Shown = func() bool { return false }
	s.seen(s.login(romeo, laptop))
	if n, _, err := s.store.Size(t.Context(), romeo.String()); err != nil || n != 0 {
		t.Errorf("kept: %d, %v", n, err)
	}
	s.issue(romeo, phone)
	if d := s.one(); d.Software != "" || d.Name != "" || !d.Token {
		t.Errorf("kept: %+v", d)
	}
}

func TestWhatADeviceSaysIsOneLineThatCanBeShown(t *testing.T) {
	for in, want := range map[string]string{
		"": "", " \t\r\n": "", "Gajim": "Gajim", "a\u2028 \u200b b\u202e\x00\x1b[31mc": "a b[31mc", "Handy \U0001f4f1": "Handy \U0001f4f1",
		strings.Repeat("ä", 70): strings.Repeat("ä", 64), strings.Repeat("x", 63) + " y": strings.Repeat("x", 63),
	} {
		if got := clean(in); got != want {
			t.Errorf("%q becomes %q, not %q", in, got, want)
		}
	}
}
