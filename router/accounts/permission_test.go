package accounts

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

func TestPatternsMatchWhatTheyAreDocumentedTo(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no string // addresses
	}{
		{"*", "trac a@trac a@b.example/r", ""},
		{"alice@example.com", "alice@example.com alice@example.com/phone ALICE@Example.Com", "alice@x.example.com bob@example.com example.com malice@example.com"},
		{"Alice@EXAMPLE.com", "alice@example.com", ""},
		{"*@trac", "ticket-1@trac a@trac/r", "trac a@trac.example a@x.trac a@xtrac"},
		{"ticket-*@trac", "ticket-1@trac ticket-@trac", "ticket@trac xticket-1@trac"},
		{"*-bot@trac", "a-bot@trac -bot@trac", "a-bots@trac bot@trac"},
		{"a*b*c@trac", "abc@trac a1b2c@trac abcbc@trac aabbcc@trac", "ab@trac acb@trac abcd@trac"},
		{"a*a@trac", "aa@trac aba@trac", "a@trac"},
		{"trac", "trac a@trac trac/r", "a@x.trac xtrac"},
		{"*.example.com", "a@x.example.com x.example.com a@x.y.example.com/r", "a@example.com example.com a@xexample.com a@x.example.com.evil.example"},
		{"*@*.example.com", "a@x.example.com", "x.example.com a@example.com"},
		{"*@*", "a@b a@b.example", "b"},
		{"*@xn--bcher-kva.example", "a@b\u00fccher.example", "a@bucher.example"},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		for _, a := range strings.Fields(c.yes) {
			if !p.Matches(jid.MustParse(a)) {
				t.Errorf("%s does not match %s", c.pattern, a)
			}
		}
		for _, a := range strings.Fields(c.no) {
			if p.Matches(jid.MustParse(a)) {
				t.Errorf("%s matches %s", c.pattern, a)
			}
		}
		if p.Matches(jid.JID{}) {
			t.Errorf("%s matches no address", c.pattern)
		}
		again, err := ParsePattern(p.String())
		if err != nil || again.String() != p.String() {
			t.Errorf("%s is written as %s, which reads as %s, %v", c.pattern, p, again, err)
		}
	}
	if (Pattern{}).Matches(juliet) {
		t.Error("the zero pattern matches")
	}
}

func TestPatternsThatCouldMatchMoreThanMeantAreRefused(t *testing.T) {
	for _, s := range []string{"", "@", "a@", "@trac", "*example.com", "example.*", "a.*.example", "*.", "**", "*.*", "*@*example.com", "a@b/c", "a@b@c", "*@*.*.example", "a b@c", "a\x00*@c", "*@"} {
		if p, err := ParsePattern(s); !errors.Is(err, ErrPattern) {
			t.Errorf("%q is accepted as %q, %v", s, p, err)
		}
	}
}

func TestPatternOfALocalPartMatchesAsTheRegularExpression(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		glob := rapid.StringMatching(`[ab*]{1,8}`).Draw(t, "glob")
		local := rapid.StringMatching(`[ab]{1,10}`).Draw(t, "local")
		want := regexp.MustCompile("^" + strings.ReplaceAll(glob, "*", ".*") + "$").MatchString(local)
		p, err := ParsePattern(glob + "@trac")
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Matches(jid.MustParse(local + "@trac")); got != want {
			t.Fatalf("%s matches %s: %v, want %v", glob, local, got, want)
		}
	})
}

func TestPermissionsAreReadAndNormalised(t *testing.T) {
	for in, want := range map[string]Permission{
		"multicast":                  PermMulticast,
		"forge_sender=*@TRAC":        "forge_sender=*@trac",
		"forge_sender=*.Example.Com": "forge_sender=*.example.com",
		"forge_sender=*":             PermForgeSender,
	} {
		got, err := ParsePermission(in)
		if err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "fly", "Multicast", "multicast=*@trac", "admin=", "forge_sender=", "forge_sender=*trac"} {
		if got, err := ParsePermission(in); err == nil {
			t.Errorf("%q is accepted as %q", in, got)
		}
	}
}

func TestPermissionsComeFromGrantsConfigurationAndAdmins(t *testing.T) {
	everyone := map[Permission][]string{
		PermHTTPMessage: {"*"},
		PermMulticast:   {"*@montague.example"},
		PermGateway:     {"paris@verona.example"},
	}
	admin := jid.MustParse("prince@verona.example")
	s, m := service(t, Options{Everyone: everyone, Admins: []jid.JID{admin}})
	granted := map[string][]string{
		"juliet@capulet.example": {"forge_sender=*@trac"},
		"romeo@montague.example": nil,
		"paris@verona.example":   {"forge_sender"},
		"prince@verona.example":  nil,
		"nurse@capulet.example":  {"admin"},
	}
	for user, p := range granted {
		m.users.list[user] = storage.Account{User: user, Permissions: p}
	}
	m.users.list["off@montague.example"] = storage.Account{User: "off@montague.example", Permissions: []string{"admin"}, Disabled: true}
	has := map[string][]Permission{
		"juliet@capulet.example": {PermHTTPMessage},
		"romeo@montague.example": {PermHTTPMessage, PermMulticast},
		"paris@verona.example":   {PermHTTPMessage, PermGateway, PermForgeSender},
		"prince@verona.example":  {PermHTTPMessage, PermAdmin, PermMulticast, PermForgeSender},
		"nurse@capulet.example":  {PermHTTPMessage, PermAdmin, PermMulticast, PermForgeSender},
		"off@montague.example":   nil,
		"stranger@else.example":  nil,
		"ghost@montague.example": nil,
	}
	for user, want := range has {
		for _, p := range permissions {
			if got := s.Permitted(t.Context(), jid.MustParse(user+"/r"), p); got != slices.Contains(want, p) {
				t.Errorf("%s has %s: %v", user, p, got)
			}
		}
		r, err := s.Rights(t.Context(), jid.MustParse(user))
		must(t, err)
		if r.Active() != (want != nil) {
			t.Errorf("%s is active: %v", user, r.Active())
		}
	}
	for _, c := range []struct {
		user, sender string
		want         bool
	}{
		{"juliet@capulet.example", "ticket-1@trac", true},
		{"juliet@capulet.example", "trac", false},
		{"juliet@capulet.example", "juliet@capulet.example/balcony", true},
		{"juliet@capulet.example", "nurse@capulet.example", false},
		{"juliet@capulet.example", "capulet.example", false},
		{"romeo@montague.example", "ticket-1@trac", false},
		{"paris@verona.example", "ticket-1@trac", true},
		{"nurse@capulet.example", "trac", true},
		{"off@montague.example", "off@montague.example", false},
		{"stranger@else.example", "stranger@else.example", false},
	} {
		if got := s.MayForge(t.Context(), jid.MustParse(c.user), jid.MustParse(c.sender)); got != c.want {
			t.Errorf("%s as %s: %v", c.user, c.sender, got)
		}
	}
	if s.MayForge(t.Context(), admin, jid.JID{}) {
		t.Error("an admin may send in the name of nobody")
	}
	must(t, s.SetOptions(Options{Iterations: 4096, Everyone: map[Permission][]string{}}))
	if s.Permitted(t.Context(), admin, PermAdmin) || s.Permitted(t.Context(), juliet, PermHTTPMessage) {
		t.Error("what the old options gave is still there")
	}
}

func TestGrantsAreKeptSortedOnceAndRevokedWhole(t *testing.T) {
	s, m := service(t, Options{})
	must(t, s.Create(t.Context(), juliet, "x"))
	stored := func(want ...string) {
		t.Helper()
		if got := m.users.list[juliet.String()].Permissions; !slices.Equal(got, want) {
			t.Errorf("stored %q, want %q", got, want)
		}
	}
	must(t, s.Grant(t.Context(), juliet, PermMulticast, "forge_sender=*@TRAC"))
	must(t, s.Grant(t.Context(), juliet, "forge_sender=*@trac", "forge_sender=a@b", PermForgeSender, PermAdmin))
	stored("admin", "forge_sender", "forge_sender=*@trac", "forge_sender=a@b", "multicast")
	if err := s.Grant(t.Context(), juliet, PermGateway, "fly"); !errors.Is(err, ErrPermission) {
		t.Errorf("grant of what there is not: %v", err)
	}
	must(t, s.Revoke(t.Context(), juliet, "forge_sender=*@Trac", PermGateway))
	stored("admin", "forge_sender", "forge_sender=a@b", "multicast")
	must(t, s.Revoke(t.Context(), juliet, PermForgeSender))
	stored("admin", "multicast")
	a, err := s.Get(t.Context(), juliet)
	must(t, err)
	if !slices.Equal(a.Permissions, []Permission{PermAdmin, PermMulticast}) {
		t.Errorf("shown %q", a.Permissions)
	}
}

func TestRightsAreReadAgainAfterAMinuteAndOutliveAnAbsentStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := service(t, Options{})
		must(t, s.Create(t.Context(), juliet, "x"))
		if s.Permitted(t.Context(), juliet, PermMulticast) {
			t.Fatal("permitted without a grant")
		}
		// Another process grants it.
		m.users.list[juliet.String()] = storage.Account{User: juliet.String(), Permissions: []string{"multicast"}}
		pass(rightsFor - 1)
		if s.Permitted(t.Context(), juliet, PermMulticast) {
			t.Error("not cached")
		}
		pass(1)
		if !s.Permitted(t.Context(), juliet, PermMulticast) {
			t.Error("not read again after a minute")
		}
		m.setFail(storage.ErrUnavailable)
		pass(time.Hour)
		if !s.Permitted(t.Context(), juliet, PermMulticast) {
			t.Error("forgotten while the store is away")
		}
	})
}

// A login asks for the keys, then for what it may do, and whether the password is still that of the keys.
func TestALoginReadsTheAccountOnceAndSeesChangesAtOnce(t *testing.T) {
	s, m := service(t, Options{Iterations: sasl.MinIterations})
	ctx, user := t.Context(), jid.MustParse("juliet@example.org")
	if err := s.Create(ctx, user, "secret"); err != nil {
		t.Fatal(err)
	}
	read := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.gets
	}
	login := func() (changed time.Time) {
		t.Helper()
		before := read()
		if _, ok, err := s.Keys(ctx, user, sasl.SHA256); !ok || err != nil {
			t.Fatalf("keys: %v, %v", ok, err)
		}
		r, err := s.Rights(ctx, user)
		if err != nil || !r.Active() {
			t.Fatalf("rights: %+v, %v", r, err)
		}
		shown, err := s.Shown(ctx, user)
		held, err2 := s.Keyring(ctx, user)
		if err != nil || err2 != nil || !shown.Has(sasl.SHA512) || shown.hashes != held.hashes ||
			!shown.changed.Equal(held.changed) || !r.Changed().Equal(held.changed) {
			t.Errorf("shown %+v, held %+v, changed %v", shown, held, r.Changed())
		}
		if got := read() - before - 1; got != 1 { // without that of the keyring
			t.Errorf("read %d times", got)
		}
		return r.Changed()
	}
	first := login()
	if err := s.SetPassword(ctx, user, "another"); err != nil {
		t.Fatal(err)
	}
	if second := login(); !second.After(first) {
		t.Errorf("password of %v, then of %v", first, second)
	}
	if err := s.SetDisabled(ctx, user, true); err != nil {
		t.Fatal(err)
	}
	if shown, err := s.Shown(ctx, user); err != nil || !shown.Has(sasl.SHA256) {
		t.Errorf("of a disabled account %+v, %v are shown", shown, err)
	}
}
