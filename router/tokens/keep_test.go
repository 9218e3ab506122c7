package tokens

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"jackdaw/xmpp/jid"
)

// TestATokenMovesWithItsAccount: on the other server it opens as before, also when the account comes after it.
func TestATokenMovesWithItsAccount(t *testing.T) {
	from, to := open(t), open(t)
	secret, _ := from.make(func(spec *Spec) {
		spec.Expires, spec.MaxBytes, spec.Rate = time.Now().Add(time.Hour), 77, Rate{time.Minute, 9}
		spec.CIDRs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	hook, _ := from.make(func(spec *Spec) { spec.Kind, spec.Hook, spec.Scopes = KindHook, "ops", Scopes{} })
	kept, err := from.Kept(t.Context(), romeo)
	if err != nil || len(kept) != 2 {
		t.Fatal(kept, err)
	}
	nurse := jid.MustParse("nurse@example.org") // who has no account yet
	for _, k := range kept {
		k.Owner = nurse
		for _, dry := range []bool{true, false} {
			came, pendings, err := to.Restore(t.Context(), k, dry)
			if err != nil || !came || dry != (len(pendings) == 0) {
				t.Fatalf("dry %t: %t, %v", dry, came, err)
			}
			if err := settle(t.Context(), nil, pendings); err != nil {
				t.Fatal(err)
			}
		}
		if came, _, err := to.Restore(t.Context(), k, false); came || err != nil {
			t.Errorf("once more: %t, %v", came, err)
		}
		k.Owner = juliet
		if came, _, err := to.Restore(t.Context(), k, false); came || !errors.As(err, new(Refused)) {
			t.Errorf("for somebody else: %t, %v", came, err)
		}
	}
	to.wants(secret, ErrOwner)
	to.look(t.Context()) // which must not take them for what a crash has left
	if err := to.accounts.Create(t.Context(), nurse, "secret"); err != nil {
		t.Fatal(err)
	}
	to.look(t.Context())
	got := to.wants(secret, nil)
	if got.Owner != nurse || got.MaxBytes != 77 || got.Rate != (Rate{time.Minute, 9}) || got.Label != "cron" ||
		!got.Created.Equal(kept[0].Created) && !got.Created.Equal(kept[1].Created) {
		t.Errorf("%+v", got)
	}
	if got := to.wants(hook, nil); got.Hook != "ops" {
		t.Errorf("%+v", got)
	}
	to.ahead = time.Hour
	to.wants(secret, ErrExpired)
}

func TestWhatCannotBeRestoredIsRefused(t *testing.T) {
	s := open(t)
	secret, _ := s.make(nil)
	kept, err := s.Kept(t.Context(), romeo)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Kept){
		"no kind":      func(k *Kept) { k.Kind = "jdx" },
		"no scopes":    func(k *Kept) { k.Scopes = Scopes{} },
		"no rate":      func(k *Kept) { k.Rate.Every = -1 },
		"a hook":       func(k *Kept) { k.Kind, k.Hook = KindHook, "" },
		"no successor": func(k *Kept) { k.Successor = "../x" },
		"nobody's":     func(k *Kept) { k.Owner = jid.MustParse("example.org") },
		"size":         func(k *Kept) { k.MaxBytes = -1 },
	} {
		k := kept[0]
		k.SHA256[0]++
		change(&k)
		if came, _, err := s.Restore(t.Context(), k, false); came || !errors.As(err, new(Refused)) {
			t.Errorf("%s: %t, %v", name, came, err)
		}
	}
	s.most = 1
	for i := range 10 {
		k := kept[0]
		k.SHA256[1] += byte(i + 1)
		_, _, err = s.Restore(t.Context(), k, false)
	}
	if !errors.Is(err, ErrTooMany) {
		t.Errorf("too many: %v", err)
	}
	s.wants(secret, nil)
}

func TestNoTokenIsTakenWhileTheyAreOff(t *testing.T) {
	s := open(t)
	secret, _ := s.make(nil)
	off := true
	s.Service.o.On = func() bool { return !off }
	s.wants(secret, ErrOff)
	off = false
	s.wants(secret, nil)
}
