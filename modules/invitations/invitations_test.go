package invitations

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

var romeo, juliet, admin = jid.MustParse("romeo@example.org"), jid.MustParse("juliet@example.org"), jid.MustParse("admin@example.org")

type house struct {
	*testing.T
	*Invitations
	users    *accounts.Service
	settings config.Invitations
	closed   bool
	friends  []string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	engine, err := embedded.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return houseOn(t, engine)
}

func houseOn(t *testing.T, engine storage.Engine) *house {
	t.Helper()
	users, err := accounts.New(t.Context(), engine, accounts.Options{Iterations: 4096})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{T: t, users: users, settings: config.Default().Modules.Invitations}
	hosts := []string{"example.org", "other.example"}
	r := router.New(router.Options{Hosts: hosts, Users: users, Log: moduletest.Discard()})
	h.Invitations = New(Options{Router: r, Accounts: users, Store: engine.Map("invitations"), Log: moduletest.Discard(),
		Settings: func() config.Invitations { return h.settings }, Registers: func(string) bool { return !h.closed },
		Hosts: func() []string { return hosts }, URL: func(host string) string { return "https://" + host },
		Befriend: func(_ *router.Batch, user, contact jid.JID) (*storage.Pending, error) {
			h.friends = append(h.friends, user.Local()+" "+contact.Local())
			return nil, nil
		}})
	for _, user := range []jid.JID{romeo, juliet, admin} {
		h.create(user)
	}
	return h
}

func (h *house) create(user jid.JID) {
	h.Helper()
	if err := h.users.Create(context.Background(), user, "secret"); err != nil {
		h.Fatal(err)
	}
}

func (h *house) make(o Order) Invitation {
	h.Helper()
	if o.Host == "" {
		o.Host = "example.org"
	}
	v, err := h.Make(context.Background(), o)
	if err != nil {
		h.Fatal(err)
	}
	return v
}

// use registers somebody by a token, as package registration does, and returns the condition of a refusal.
func (h *house) use(token, name string, admitted time.Time) string {
	user := jid.MustParse(name)
	ctx := context.Background()
	c, bad := h.Claim(ctx, token, user, admitted)
	if bad != nil {
		return string(bad.Condition)
	}
	var err error
	if c.Reset {
		err = h.users.SetPassword(ctx, user, "new")
	} else {
		err = h.users.Create(ctx, user, "secret")
	}
	if err != nil {
		if err := c.Drop(ctx); err != nil {
			h.Error(err)
		}
		return err.Error()
	}
	if err := c.Keep(ctx); err != nil {
		h.Error(err)
	}
	return ""
}

func (h *house) admits(token string) string {
	if _, bad := h.Admit(context.Background(), "example.org", token); bad != nil {
		return string(bad.Condition)
	}
	return ""
}

func (h *house) left() int {
	h.Helper()
	all, err := h.List(context.Background(), "example.org")
	if err != nil {
		h.Fatal(err)
	}
	return len(all)
}

func TestLinksAreThoseOfTheSpecifications(t *testing.T) {
	h := newHouse(t)
	for _, test := range []struct {
		order Order
		want  string
	}{
		{Order{Kind: Account}, "xmpp:example.org?register;preauth=T"},
		{Order{Kind: Account, Name: "Hamlet"}, "xmpp:hamlet@example.org?register;preauth=T"},
		{Order{Kind: Account, Contact: romeo}, "xmpp:romeo@example.org?roster;preauth=T;ibr=y"},
		{Order{Kind: Account, Contact: romeo, Name: "ophelia"}, "xmpp:ophelia@example.org?register;preauth=T"},
		{Order{Kind: Contact, Contact: romeo}, "xmpp:romeo@example.org?roster;preauth=T"},
		{Order{Kind: Reset, Name: "juliet"}, "xmpp:juliet@example.org?register;preauth=T"},
	} {
		v := h.make(test.order)
		if got := strings.Replace(v.URI, v.Token, "T", 1); got != test.want {
			t.Errorf("%+v: %s, want %s", test.order, got, test.want)
		}
		if v.URL != "https://example.org/invite/"+v.Token || len(v.Token) < 26 {
			t.Errorf("%s", v.URL)
		}
	}
	if got := address(jid.MustParse("o+neil#x@example.org")); got != "o%2Bneil%23x@example.org" {
		t.Error(got)
	}
}

func TestTheStoreHasNoToken(t *testing.T) {
	h := newHouse(t)
	v := h.make(Order{Kind: Account})
	all, _, err := h.o.Store.List(t.Context(), "example.org")
	if err != nil || len(all) != 1 {
		t.Fatal(len(all), err)
	}
	if s := all[0].Key + string(all[0].Value); strings.Contains(strings.ToUpper(s), v.Token) {
		t.Error(s)
	}
}

func TestInvitationsThatCannotBeMade(t *testing.T) {
	h := newHouse(t)
	h.make(Order{Kind: Account, Name: "kept"})
	for _, test := range []struct {
		order Order
		want  error
	}{
		{Order{Kind: Account, Uses: -1}, ErrBounds},
		{Order{Kind: Account, Uses: MaxUses + 1}, ErrBounds},
		{Order{Kind: Account, Life: time.Second}, ErrBounds},
		{Order{Kind: Account, Life: MaxLife + 1}, ErrBounds},
		{Order{Kind: Account, Name: "x", Uses: 2}, ErrBounds},
		{Order{Kind: Account, Name: "a b"}, ErrUser},
		{Order{Kind: Account, Name: "romeo"}, ErrName},
		{Order{Kind: Account, Name: "kept"}, ErrName},
		{Order{Kind: Account, Name: "KEPT"}, ErrName},
		{Order{Kind: Account, Contact: jid.MustParse("nobody@example.org")}, ErrNobody},
		{Order{Kind: Account, Contact: jid.MustParse("romeo@other.example")}, ErrContact},
		{Order{Kind: Contact}, ErrNobody},
		{Order{Kind: Reset, Name: "nobody"}, ErrNobody},
	} {
		test.order.Host = "example.org"
		if _, err := h.Make(t.Context(), test.order); !errors.Is(err, test.want) {
			t.Errorf("%+v: %v, want %v", test.order, err, test.want)
		}
	}
	h.closed = true
	if _, err := h.Make(t.Context(), Order{Host: "example.org", Kind: Account}); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	h.make(Order{Kind: Contact, Contact: romeo})
	h.make(Order{Kind: Reset, Name: "romeo"})
}

// used has somebody use the token before.
func used(name string) func(h *house, v Invitation) string {
	return func(h *house, v Invitation) string {
		h.use(v.Token, name, time.Now())
		return v.Token
	}
}

func TestWhatATokenIsGoodFor(t *testing.T) {
	const no = string(xmpp.CondItemNotFound)
	for _, test := range []struct {
		name  string
		order Order
		// between happens after the invitation was made; it returns the token that is used.
		between   func(h *house, v Invitation) string
		user      string
		want      string // of the use
		wantAdmit string
	}{
		{"as it is", Order{Kind: Account}, nil, "a@example.org", "", ""},
		{"malformed", Order{Kind: Account}, func(*house, Invitation) string { return "../x" }, "a@example.org", no, no},
		{"empty", Order{Kind: Account}, func(*house, Invitation) string { return "" }, "a@example.org", no, no},
		{"long", Order{Kind: Account}, func(_ *house, v Invitation) string { return v.Token + strings.Repeat("A", 64) }, "a@example.org", no, no},
		{"unknown", Order{Kind: Account}, func(*house, Invitation) string { return "AAAAAAAAAAAAAAAAAAAAAAAAAA" }, "a@example.org", no, no},
		{"its id", Order{Kind: Account}, func(_ *house, v Invitation) string { return v.ID }, "a@example.org", no, no},
		{"on another host", Order{Kind: Account}, nil, "a@other.example", no, ""},
		{"of another host", Order{Kind: Account, Host: "other.example"}, nil, "a@example.org", no, no},
		{"used", Order{Kind: Account}, used("b@example.org"), "a@example.org", no, no},
		{"used once of two", Order{Kind: Account, Uses: 2}, used("b@example.org"), "a@example.org", "", ""},
		{"given back", Order{Kind: Account}, used("romeo@example.org"), "a@example.org", "", ""},
		{"revoked by id", Order{Kind: Account}, func(h *house, v Invitation) string {
			if err := h.Revoke(context.Background(), "example.org", v.ID); err != nil {
				h.Error(err)
			}
			return v.Token
		}, "a@example.org", no, no},
		{"revoked by link", Order{Kind: Account}, func(h *house, v Invitation) string {
			if err := h.Revoke(context.Background(), "example.org", v.URL); err != nil {
				h.Error(err)
			}
			return v.Token
		}, "a@example.org", no, no},
		{"by a user who has gone", Order{Kind: Account, By: romeo}, func(h *house, v Invitation) string {
			h.delete(romeo)
			return v.Token
		}, "a@example.org", no, no},
		{"by a user who is disabled", Order{Kind: Account, By: romeo}, func(h *house, v Invitation) string {
			if err := h.users.SetDisabled(context.Background(), romeo, true); err != nil {
				h.Error(err)
			}
			return v.Token
		}, "a@example.org", no, no},
		{"whose contact has gone", Order{Kind: Account, By: admin, Contact: romeo}, func(h *house, v Invitation) string {
			h.delete(romeo)
			return v.Token
		}, "a@example.org", "", ""},
		{"after registration was closed", Order{Kind: Account}, func(h *house, v Invitation) string { h.closed = true; return v.Token }, "a@example.org", no, no},
		{"for a contact alone", Order{Kind: Contact, Contact: romeo}, nil, "a@example.org", no, no},
		{"for the name", Order{Kind: Account, Name: "a"}, nil, "a@example.org", "", ""},
		{"for another name", Order{Kind: Account, Name: "b"}, nil, "a@example.org", "not-acceptable", ""},
		{"for a password", Order{Kind: Reset, Name: "romeo"}, nil, "romeo@example.org", "", ""},
		{"for another's password", Order{Kind: Reset, Name: "romeo"}, nil, "juliet@example.org", "not-acceptable", ""},
		{"for the password of who has gone", Order{Kind: Reset, Name: "romeo"}, func(h *house, v Invitation) string {
			h.delete(romeo)
			h.create(romeo)
			return v.Token
		}, "romeo@example.org", no, no},
		{"where the module is off", Order{Kind: Account}, func(h *house, v Invitation) string {
			h.Switch = func() bool { return false }
			return v.Token
		}, "a@example.org", no, no},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(t)
			v := h.make(test.order)
			token := v.Token
			if test.between != nil {
				token = test.between(h, v)
			}
			if got := h.admits(token); got != test.wantAdmit {
				t.Errorf("admitted: %q, want %q", got, test.wantAdmit)
			}
			if got := h.use(token, test.user, time.Now()); got != test.want {
				t.Errorf("used: %q, want %q", got, test.want)
			}
		})
	}
}

// delete removes an account and what is kept of it, as package server does.
func (h *house) delete(user jid.JID) {
	h.Helper()
	if err := h.users.Delete(context.Background(), user); err != nil {
		h.Fatal(err)
	}
	if err := h.removed(user); err != nil {
		h.Fatal(err)
	}
}

func TestAnInvitationExpires(t *testing.T) {
	h := newHouse(t)
	v := h.make(Order{Kind: Account, Name: "hamlet", Life: MinLife})
	r := h.record(v)
	r.Expires = time.Now().Add(-time.Second)
	h.store(v, r)
	if got := h.admits(v.Token); got != string(xmpp.CondItemNotFound) {
		t.Errorf("admitted: %q", got)
	}
	if h.left() != 0 {
		t.Error("it is listed")
	}
	if got := h.use(v.Token, "hamlet@example.org", time.Now()); got != string(xmpp.CondItemNotFound) {
		t.Errorf("used: %q", got)
	}
	if err := h.sweep(t.Context(), "example.org"); err != nil || h.record(v) == nil {
		t.Errorf("swept too early: %v", err)
	}
	// Whoever was admitted in time goes on.
	if got := h.use(v.Token, "hamlet@example.org", time.Now().Add(-time.Minute)); got != "" {
		t.Errorf("used in time: %q", got)
	}
}

func (h *house) record(v Invitation) *record {
	h.Helper()
	k, _ := hash(v.Token)
	r, err := h.get(context.Background(), v.Host, k)
	if err != nil {
		h.Fatal(err)
	}
	return r
}

func (h *house) store(v Invitation, r *record) {
	h.Helper()
	k, _ := hash(v.Token)
	changes, err := put(k, r)
	if err == nil {
		_, _, err = h.o.Store.Update(context.Background(), v.Host, storage.AnyVersion, changes...)
	}
	if err != nil {
		h.Fatal(err)
	}
}

func TestWhatHasExpiredIsSweptAndItsNameIsFree(t *testing.T) {
	h := newHouse(t)
	v := h.make(Order{Kind: Account, Name: "hamlet"})
	if kept, err := h.Keeps(t.Context(), jid.MustParse("hamlet@example.org")); !kept || err != nil {
		t.Errorf("kept: %v, %v", kept, err)
	}
	r := h.record(v)
	r.Expires = time.Now().Add(-2 * grace)
	h.store(v, r)
	if kept, err := h.Keeps(t.Context(), jid.MustParse("hamlet@example.org")); kept || err != nil {
		t.Errorf("still kept: %v, %v", kept, err)
	}
	h.make(Order{Kind: Account, Name: "hamlet"}) // in place of the other
	if err := h.sweep(t.Context(), "example.org"); err != nil || h.record(v) != nil || h.left() != 1 {
		t.Errorf("%v, %d left", err, h.left())
	}
	if kept, err := h.Keeps(t.Context(), jid.MustParse("hamlet@example.org")); !kept || err != nil {
		t.Errorf("kept: %v, %v", kept, err)
	}
}

// TestOneUseIsOneAccount has ten race for a token of one use, and thirty for one of ten.
func TestOneUseIsOneAccount(t *testing.T) {
	h := newHouse(t)
	for _, test := range []struct{ uses, racers int }{{1, 10}, {10, 30}} {
		v := h.make(Order{Kind: Account, Uses: test.uses})
		var made atomic.Int32
		var wg sync.WaitGroup
		for n := range test.racers {
			wg.Go(func() {
				switch got := h.use(v.Token, fmt.Sprintf("u%d-%d@example.org", test.uses, n), time.Now()); got {
				case "":
					made.Add(1)
				case string(xmpp.CondItemNotFound):
				default:
					t.Error(got)
				}
			})
		}
		wg.Wait()
		all, err := h.users.List(t.Context(), "example.org")
		if err != nil {
			t.Fatal(err)
		}
		there := 0
		for _, a := range all {
			if strings.HasPrefix(a.User.Local(), fmt.Sprintf("u%d-", test.uses)) {
				there++
			}
		}
		if int(made.Load()) != test.uses || there != test.uses {
			t.Errorf("%d uses: %d were told that they have one, %d accounts are there", test.uses, made.Load(), there)
		}
	}
	if h.left() != 0 {
		t.Error("what is used up is listed")
	}
}

func TestUsersAreBounded(t *testing.T) {
	h := newHouse(t)
	h.settings.PerAccount, h.settings.Uses, h.settings.Expires = 2, 3, time.Hour
	order := Order{Host: "example.org", Kind: Contact, By: romeo, Contact: romeo, Own: true, Uses: 500, Life: MaxLife}
	v := h.make(order)
	if life := v.Expires.Sub(v.Created); v.Uses != 3 || life != time.Hour {
		t.Errorf("%d uses for %s", v.Uses, life)
	}
	var wg sync.WaitGroup
	var made atomic.Int32
	for range 8 {
		wg.Go(func() {
			if _, err := h.Make(context.Background(), order); err == nil {
				made.Add(1)
			} else if !errors.Is(err, ErrQuota) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d were made beside the first", made.Load())
	}
	order.By, order.Contact = juliet, juliet
	h.make(order)
	if err := h.Revoke(t.Context(), "example.org", v.ID); err != nil {
		t.Fatal(err)
	}
	order.By, order.Contact = romeo, romeo
	h.make(order)
}

func TestInviterAndInvitedAreContacts(t *testing.T) {
	h := newHouse(t)
	v := h.make(Order{Kind: Account, Contact: romeo, By: romeo})
	if got := h.use(v.Token, "a@example.org", time.Now()); got != "" {
		t.Fatal(got)
	}
	if got := strings.Join(h.friends, ", "); got != "a romeo, romeo a" {
		t.Error(got)
	}
}

func TestATokenGrantsASubscription(t *testing.T) {
	h := newHouse(t)
	tokens := map[string]string{}
	for name, o := range map[string]Order{"contact": {Kind: Contact, Contact: romeo}, "account": {Kind: Account, Contact: romeo},
		"nobody": {Kind: Account}, "juliet": {Kind: Contact, Contact: juliet}, "reset": {Kind: Reset, Name: "romeo"}} {
		tokens[name] = h.make(o).Token
	}
	laura := jid.MustParse("laura@peer.example")
	for name, want := range map[string]bool{"contact": true, "account": true, "nobody": false, "juliet": false, "reset": false} {
		settle, ok := h.Subscribe(romeo, laura, tokens[name])
		if ok != want {
			t.Errorf("%s: %v", name, ok)
		}
		if ok {
			settle(false) // given back
			if settle, ok = h.Subscribe(romeo, laura, tokens[name]); !ok {
				t.Errorf("%s, a second time", name)
				continue
			}
			settle(true)
			if _, ok = h.Subscribe(romeo, juliet, tokens[name]); ok {
				t.Errorf("%s: it was used before", name)
			}
		}
	}
	if h.left() != 3 {
		t.Errorf("%d left", h.left())
	}
}

func TestAnOpenClaimIsSettledByWhatBecameOfIt(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	v := h.make(Order{Kind: Account, Contact: romeo, Uses: 2})
	for _, name := range []string{"there", "gone"} {
		if _, bad := h.Claim(ctx, v.Token, jid.MustParse(name+"@example.org"), time.Now()); bad != nil {
			t.Fatal(bad)
		}
	}
	h.create(jid.MustParse("there@example.org")) // and the process ends
	if got := h.use(v.Token, "a@example.org", time.Now()); got != string(xmpp.CondItemNotFound) {
		t.Errorf("while both are open: %q", got)
	}
	r := h.record(v)
	for i := range r.Claims {
		r.Claims[i].At = time.Now().Add(-2 * grace)
	}
	h.store(v, r)
	if got := h.admits(v.Token); got != "" {
		t.Errorf("admitted: %q", got)
	}
	if err := h.sweep(ctx, "example.org"); err != nil {
		t.Fatal(err)
	}
	if r := h.record(v); r.Used != 1 || len(r.Claims) != 0 {
		t.Errorf("%d used, %d open", r.Used, len(r.Claims))
	}
	if got := strings.Join(h.friends, ", "); got != "there romeo, romeo there" {
		t.Error(got)
	}
	if got := h.use(v.Token, "a@example.org", time.Now()); got != "" {
		t.Errorf("the use that is left: %q", got)
	}
}

func TestStorageThatIsAwayIsNoWrongToken(t *testing.T) {
	store := moduletest.NewStore()
	h := newHouse(t)
	h.o.Store = store.Map("invitations")
	v := h.make(Order{Kind: Account})
	store.Fail(storage.ErrUnavailable)
	if got := h.admits(v.Token); got != string(xmpp.CondResourceConstraint) {
		t.Errorf("admitted: %q", got)
	}
	if got := h.use(v.Token, "a@example.org", time.Now()); got != string(xmpp.CondResourceConstraint) {
		t.Errorf("used: %q", got)
	}
	if _, ok := h.Subscribe(romeo, juliet, v.Token); ok {
		t.Error("granted")
	}
}

func TestRunSweepsUntilItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := moduletest.NewStore()
		i := New(Options{Store: store.Map("invitations"), Log: moduletest.Discard(), Hosts: func() []string { return []string{"example.org"} }})
		now := time.Now()
		r := &record{Kind: Account, Most: 1, Created: now, Expires: now.Add(MinLife)}
		changes, err := put(strings.Repeat("a", 64), r)
		if err == nil {
			_, _, err = i.o.Store.Update(t.Context(), "example.org", storage.AnyVersion, changes...)
		}
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go i.Run(ctx)
		for n, want := range []int{1, 0} {
			time.Sleep(time.Second)
			synctest.Wait()
			if keys, _, err := i.o.Store.Size(ctx, "example.org"); keys != want || err != nil {
				t.Errorf("%d: %d keys, %v", n, keys, err)
			}
			time.Sleep(sweeping)
		}
		cancel()
	})
}

func FuzzToken(f *testing.F) {
	f.Add("")
	f.Add("7QZ3LTFWY2OX4RNEJ5KUDH6VCA")
	f.Add("../../etc/passwd")
	f.Add("\x00 token")
	f.Fuzz(func(t *testing.T, token string) {
		h, ok := hash(token)
		if ok != (h != "") || ok && (len(h) != 64 || len(token) > maxToken || strings.ContainsAny(token, "/. \x00")) {
			t.Errorf("%q: %q, %v", token, h, ok)
		}
	})
}

func FuzzRecord(f *testing.F) {
	for _, r := range []record{{}, {Kind: Account, By: romeo, Name: "a", Most: 3, Claims: []claim{{User: juliet}}}} {
		b, err := r.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{recordVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readRecord(b)
		if err != nil {
			return
		}
		if _, err := r.encode(); err != nil {
			t.Error(err)
		}
	})
}

func TestWhoMayOfferWhat(t *testing.T) {
	for _, test := range []struct {
		name   string
		offer  Offer
		admin  bool
		users  bool
		closed bool
		want   string // the URI, or the condition of a refusal
	}{
		{"a user", Offer{By: romeo, Contact: true}, false, false, false, "xmpp:romeo@example.org?roster;preauth=T"},
		{"a user who may", Offer{By: romeo, Contact: true}, false, true, false, "xmpp:romeo@example.org?roster;preauth=T;ibr=y"},
		{"an admin", Offer{By: admin, Contact: true}, true, false, false, "xmpp:admin@example.org?roster;preauth=T;ibr=y"},
		{"an admin, closed", Offer{By: admin, Contact: true}, true, false, true, "xmpp:admin@example.org?roster;preauth=T"},
		{"an account", Offer{By: admin, Create: true}, true, false, false, "xmpp:example.org?register;preauth=T"},
		{"an account by name", Offer{By: admin, Create: true, Name: "a", Contact: true}, true, false, false, "xmpp:a@example.org?register;preauth=T"},
		{"an account, closed", Offer{By: admin, Create: true}, true, false, true, "not-allowed"},
		{"a name that is taken", Offer{By: admin, Create: true, Name: "romeo"}, true, false, false, "conflict"},
		{"a name that cannot be", Offer{By: admin, Create: true, Name: "a b"}, true, false, false, "not-acceptable"},
		{"a contact elsewhere", Offer{By: jid.MustParse("admin@other.example"), Create: true, Contact: true}, true, false, false, "not-allowed"},
		{"too many", Offer{By: romeo, Contact: true}, false, false, false, "resource-constraint"},
	} {
		h := newHouse(t)
		h.settings.Users, h.closed, h.settings.PerAccount = test.users, test.closed, 1
		if test.name == "too many" {
			h.make(Order{Kind: Contact, By: romeo, Contact: romeo})
		}
		test.offer.Host = "example.org"
		v, refused := h.Offer(t.Context(), test.offer, test.admin)
		got := strings.Replace(v.URI, v.Token, "T", 1)
		if refused != nil {
			got = string(refused.Condition)
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
