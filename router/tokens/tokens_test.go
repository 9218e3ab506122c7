package tokens

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

func TestATokenHasTheBytesThatItWasMadeOf(t *testing.T) {
	b := [16]byte{1, 2, 3, 254, 255, 15: 7}
	secret := Of(KindHook, b)
	if kind, ok := KindOf(secret); !ok || kind != KindHook || len(secret) != Length {
		t.Errorf("%s is a token: %v, %v", secret, kind, ok)
	}
	if got, ok := BytesOf(KindHook, secret); !ok || got != b {
		t.Errorf("%s has the bytes %v, %v", secret, got, ok)
	}
	for _, wrong := range []string{"", secret[1:], Of(KindAccount, b), secret[:Length-1] + "x"} {
		if _, ok := BytesOf(KindHook, wrong); ok {
			t.Errorf("%s has bytes", wrong)
		}
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var romeo, juliet = jid.MustParse("romeo@example.org"), jid.MustParse("juliet@example.org")

// A shop is a service with its accounts, and a clock that tests put forward.
type shop struct {
	*Service
	t        testing.TB
	dir      string
	engine   storage.Engine
	accounts *accounts.Service
	store    storage.Map
	ahead    time.Duration
	most     int
	told     []string
}

func open(t testing.TB) *shop {
	t.Helper()
	s := &shop{t: t, dir: t.TempDir(), most: DefaultMost}
	s.reopen()
	for _, u := range []jid.JID{romeo, juliet} {
		if err := s.accounts.Create(t.Context(), u, "secret"); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { s.engine.Close() })
	return s
}

// reopen closes what is open and opens it as another process would.
func (s *shop) reopen() {
	s.t.Helper()
	if s.engine != nil {
		if err := s.engine.Close(); err != nil {
			s.t.Fatal(err)
		}
	}
	var err error
	if s.engine, err = embedded.Open(s.dir); err != nil {
		s.t.Fatal(err)
	}
	o := accounts.Options{Iterations: sasl.MinIterations}
	if s.accounts, err = accounts.New(s.t.Context(), s.engine, o); err != nil {
		s.t.Fatal(err)
	}
	s.store = s.engine.Map(Space)
	s.Service = New(Options{Store: s.store, Accounts: s.accounts, Most: func() int { return s.most },
		Now:  func() time.Time { return time.Now().Add(s.ahead) },
		Tell: func(owner jid.JID, line string) { s.told = append(s.told, owner.String()+": "+line) }})
}

func scopes(t testing.TB, list ...string) Scopes {
	t.Helper()
	s, err := ParseScopes(list...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// make makes one of romeo's that may send, with what change says.
func (s *shop) make(change func(*Spec)) (string, Token) {
	s.t.Helper()
	spec := Spec{Kind: KindAccount, Owner: romeo, Scopes: scopes(s.t, "send"), Label: "cron"}
	if change != nil {
		change(&spec)
	}
	secret, token, err := s.Make(s.t.Context(), spec)
	if err != nil {
		s.t.Fatal(err)
	}
	return secret, token
}

var home = accounts.Source{Addr: netip.MustParseAddr("192.0.2.7")}

// wants opens a token and compares the error.
func (s *shop) wants(secret string, want error) Token {
	s.t.Helper()
	t, err := s.Open(s.t.Context(), secret, home)
	if !errors.Is(err, want) || want == nil && err != nil {
		s.t.Fatalf("Open: %v, want %v", err, want)
	}
	return t
}

func TestATokenIsWhatItsPageSays(t *testing.T) {
	for _, k := range []Kind{KindAccount, KindHook} {
		seen := map[string]bool{}
		for range 100 {
			secret := Generate(k)
			if len(secret) != 36 || strings.Trim(secret, "abcdefghijklmnopqrstuvwxyz0123456789") != "" || seen[secret] {
				t.Fatalf("%q", secret)
			}
			seen[secret] = true
			if got, ok := KindOf(secret); got != k || !ok {
				t.Fatalf("%q: %v, %v", secret, got, ok)
			}
		}
	}
}

// TestTypingErrorsNeedNoLookUp: a store that fails is not asked.
func TestTypingErrorsNeedNoLookUp(t *testing.T) {
	s := open(t)
	secret, _ := s.make(nil)
	if err := s.engine.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range secret {
		for _, c := range []byte("a2z0J_") {
			if wrong := secret[:i] + string(c) + secret[i+1:]; wrong != secret {
				if _, err := s.Open(t.Context(), wrong, accounts.Source{Exempt: true}); !errors.Is(err, ErrMalformed) {
					t.Fatalf("%q for %q: %v", wrong, secret, err)
				}
			}
		}
		if i > 0 {
			swapped := []byte(secret)
			swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
			if _, ok := KindOf(string(swapped)); ok && string(swapped) != secret {
				t.Errorf("%q passes for %q", swapped, secret)
			}
		}
	}
	for _, wrong := range []string{"", "jdt", secret[1:], secret + "a", strings.ToUpper(secret), " " + secret, "jdx" + secret[3:],
		strings.Repeat("é", 18)} {
		if _, ok := KindOf(wrong); ok {
			t.Errorf("%q passes", wrong)
		}
	}
}

func FuzzKindOf(f *testing.F) {
	f.Add(Generate(KindAccount))
	f.Add("jdt")
	f.Fuzz(func(t *testing.T, s string) {
		if k, ok := KindOf(s); ok && (len(s) != Length || !strings.HasPrefix(s, string(k)) || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") != "") {
			t.Errorf("%q passes as %q", s, k)
		}
	})
}

func TestATokenOpensUntilItIsRevoked(t *testing.T) {
	s := open(t)
	secret, made := s.make(nil)
	got := s.wants(secret, nil)
	if got.ID != made.ID || got.Owner != romeo || got.Label != "cron" || got.Scopes.String() != "send" || got.ID != IDOf(secret) {
		t.Errorf("%+v, made %+v", got, made)
	}
	s.reopen()
	s.wants(secret, nil)
	if err := s.Revoke(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	s.wants(secret, ErrUnknown)
	s.reopen()
	s.wants(secret, ErrUnknown)
	if err := s.Revoke(t.Context(), made.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
	if list, err := s.List(t.Context(), romeo); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
	s.wants(Generate(KindAccount), ErrUnknown)
}

// TestAnotherProcessRevokes: what the store says counts, whatever this process has seen.
func TestAnotherProcessRevokes(t *testing.T) {
	s := open(t)
	secret, made := s.make(nil)
	s.wants(secret, nil)
	other := New(Options{Store: s.store, Accounts: s.accounts})
	if err := other.Revoke(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	s.wants(secret, ErrUnknown)
}

func TestNothingStoredIsTheToken(t *testing.T) {
	s := open(t)
	secret, _ := s.make(nil)
	hook, _ := s.make(func(spec *Spec) { spec.Kind, spec.Hook, spec.Scopes = KindHook, "ops", Scopes{} })
	s.wants(secret, nil)
	s.Service.flush(t.Context())
	if err := s.engine.Close(); err != nil {
		t.Fatal(err)
	}
	found := false
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || bytes.Contains(b, []byte("cron"))
		for _, one := range []string{secret, hook} {
			if bytes.Contains(b, []byte(one[3:29])) {
				t.Errorf("%s has the token", path)
			}
		}
		return err
	})
	if err != nil || !found {
		t.Errorf("looked nowhere: %v, %v", found, err)
	}
	s.engine = nil
	s.reopen()
}

func TestWhatEndsATokenOrKeepsItOut(t *testing.T) {
	s := open(t)
	expiring, _ := s.make(func(spec *Spec) { spec.Expires = time.Now().Add(time.Hour) })
	local, _ := s.make(func(spec *Spec) { spec.CIDRs = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	near, _ := s.make(func(spec *Spec) {
		spec.CIDRs = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("192.0.2.0/24")}
	})
	s.wants(expiring, nil)
	s.wants(near, nil)
	s.wants(local, ErrAddress)
	if _, err := s.Open(t.Context(), local, accounts.Source{Exempt: true}); err != nil {
		t.Errorf("on a unix socket: %v", err)
	}
	if _, err := s.Open(t.Context(), near, accounts.Source{Exempt: true}); !errors.Is(err, ErrAddress) {
		t.Errorf("on a unix socket, not meant: %v", err)
	}
	if _, err := s.Open(t.Context(), near, accounts.Source{Addr: netip.MustParseAddr("::ffff:192.0.2.9")}); err != nil {
		t.Errorf("mapped: %v", err)
	}
	s.ahead = time.Hour
	s.wants(expiring, ErrExpired)
	if err := s.accounts.SetDisabled(t.Context(), romeo, true); err != nil {
		t.Fatal(err)
	}
	s.wants(near, ErrOwner)
	if err := s.accounts.SetDisabled(t.Context(), romeo, false); err != nil {
		t.Fatal(err)
	}
	s.wants(near, nil)
	if err := s.accounts.SetPassword(t.Context(), romeo, "another"); err != nil {
		t.Fatal(err)
	}
	s.wants(near, nil)
	if err := s.accounts.Delete(t.Context(), romeo); err != nil {
		t.Fatal(err)
	}
	s.wants(near, ErrUnknown)
	if err := s.accounts.Create(t.Context(), romeo, "secret"); err != nil {
		t.Fatal(err)
	}
	s.wants(near, ErrUnknown)
	if all, err := s.Owners(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("owners: %v, %v", all, err)
	}
}

// TestATokenIsNotThatOfALaterAccount: what a crash has left behind opens nothing.
func TestATokenIsNotThatOfALaterAccount(t *testing.T) {
	s := open(t)
	secret, made := s.make(nil)
	b, err := s.store.Get(t.Context(), made.ID, keyToken)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.accounts.Delete(t.Context(), romeo); err != nil {
		t.Fatal(err)
	}
	back := storage.Change{Key: keyToken, Value: b}
	if _, _, err := s.store.Update(t.Context(), made.ID, storage.AnyVersion, back); err != nil {
		t.Fatal(err)
	}
	s.wants(secret, ErrOwner)
	if err := s.accounts.Create(t.Context(), romeo, "secret"); err != nil {
		t.Fatal(err)
	}
	s.wants(secret, ErrOwner)
}

func TestTheRateIsThatOfTheToken(t *testing.T) {
	s := open(t)
	slow, _ := s.make(func(spec *Spec) { spec.Rate = Rate{Every: time.Minute, Burst: 2} })
	usual, made := s.make(nil)
	if made.Rate != DefaultRate {
		t.Errorf("made with %+v", made.Rate)
	}
	began := time.Now()
	s.Service.o.Now = func() time.Time { return began.Add(s.ahead) }
	s.wants(slow, nil)
	s.wants(slow, nil)
	_, err := s.Open(t.Context(), slow, home)
	var fast TooFast
	if !errors.As(err, &fast) || fast.Seconds() != 60 || fast.Token.Owner != romeo {
		t.Fatalf("the third: %v", err)
	}
	s.ahead = time.Minute
	s.wants(slow, nil)
	if _, err := s.Open(t.Context(), slow, home); !errors.As(err, &fast) {
		t.Errorf("after a minute, twice: %v", err)
	}
	for range 60 {
		s.wants(usual, nil)
	}
	if _, err := s.Open(t.Context(), usual, home); !errors.As(err, &fast) || fast.Seconds() != 1 {
		t.Errorf("the 61st: %v", err)
	}
	if wait := s.accounts.Throttle().Wait(home, "romeo@example.org"); wait != 0 {
		t.Errorf("it counted as a failure: %v", wait)
	}
}

func TestFailuresCountButKeepNobodyOut(t *testing.T) {
	s := open(t)
	good, _ := s.make(nil)
	for range 5 {
		s.wants(Generate(KindAccount), ErrUnknown)
	}
	var slow accounts.ErrThrottled
	if _, err := s.Open(t.Context(), Generate(KindAccount), home); !errors.As(err, &slow) {
		t.Errorf("the sixth: %v", err)
	}
	if err := s.accounts.Authenticate(t.Context(), home, juliet, "secret"); !errors.As(err, &slow) {
		t.Errorf("a password from there: %v", err)
	}
	s.wants(good, nil)
	// A program on this machine slows itself down, and nobody else.
	here, wrong := accounts.Source{Addr: netip.MustParseAddr("127.0.0.1"), Exempt: true}, Generate(KindAccount)
	for range 30 {
		s.Open(t.Context(), wrong, here)
	}
	if _, err := s.Open(t.Context(), wrong, here); !errors.As(err, &slow) {
		t.Errorf("the same program: %v", err)
	}
	if _, err := s.Open(t.Context(), Generate(KindAccount), here); !errors.Is(err, ErrUnknown) {
		t.Errorf("another program: %v", err)
	}
}
