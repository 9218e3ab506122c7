package registration

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// book stands for the accounts: passwords by user.
type book struct {
	passwords map[jid.JID]string
	listeners []func(jid.JID, accounts.Change)
	fail      error
	during    func()     // a change is being made
	mu        sync.Mutex // for what Run does meanwhile
	waiting   []accounts.Application
	reserved  jid.JID
	bounds    accounts.Bounds // of the last application
}

func (b *book) Apply(_ context.Context, user jid.JID, password string, from accounts.Source, most accounts.Bounds,
) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bounds = most
	if err := b.check(user, false); err != nil {
		return err
	}
	b.passwords[user] = password
	b.waiting = append(b.waiting, accounts.Application{User: user, Asked: time.Now(), From: from.Network()})
	return nil
}

func (b *book) Waiting(_ context.Context, host string) ([]accounts.Application, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if host != moduletest.Host {
		return nil, nil
	}
	return slices.Clone(b.waiting), nil
}

func (b *book) Refuse(ctx context.Context, user jid.JID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = slices.DeleteFunc(b.waiting, func(a accounts.Application) bool { return a.User == user })
	return b.Delete(ctx, user)
}

func (b *book) Reserved(user jid.JID) bool { return user == b.reserved }

func (b *book) OnChange(f func(jid.JID, accounts.Change)) { b.listeners = append(b.listeners, f) }

func (b *book) notify(user jid.JID, what accounts.Change) {
	for _, f := range b.listeners {
		f(user, what)
	}
}

func (b *book) check(user jid.JID, exists bool) error {
	if b.during != nil {
		b.during()
	}
	_, ok := b.passwords[user]
	switch {
	case b.fail != nil:
		return b.fail
	case ok && !exists:
		return fmt.Errorf("x: %w", accounts.ErrExists)
	case !ok && exists:
		return fmt.Errorf("x: %w", accounts.ErrNotFound)
	}
	return nil
}

func (b *book) Create(_ context.Context, user jid.JID, password string) error {
	if err := b.check(user, false); err != nil {
		return err
	}
	b.passwords[user] = password
	return nil
}

func (b *book) SetPassword(_ context.Context, user jid.JID, password string) error {
	if err := b.check(user, true); err != nil {
		return err
	}
	b.passwords[user] = password
	b.notify(user, accounts.PasswordChanged)
	return nil
}

func (b *book) Delete(_ context.Context, user jid.JID) error {
	if err := b.check(user, true); err != nil {
		return err
	}
	delete(b.passwords, user)
	b.notify(user, accounts.Deleted)
	return nil
}

type house struct {
	*router.Router
	*Registration
	book    *book
	limits  Limits
	policy  config.Registration
	erased  []jid.JID
	bill    *moduletest.Client
	address string // of strangers
	told    []string
}

var bill = jid.MustParse("bill@example.org")

// limits are those of the configuration's defaults.
var limits = Limits{Creations: Rate{Burst: 3, Every: 20 * time.Minute},
	Attempts: Rate{Burst: 20, Every: 3 * time.Minute}, Waiting: accounts.Bounds{Host: 9, Address: 4},
	Age: 24 * time.Hour}

func newHouse(t *testing.T) *house {
	h := &house{Router: moduletest.New("bill", "juliet"), policy: config.RegistrationOpen, address: "192.0.2.1", limits: limits}
	h.book = &book{passwords: map[jid.JID]string{bill: "old", jid.MustParse("juliet@example.org"): "old"}}
	h.Registration = New(Options{Router: h.Router, Accounts: h.book, Log: moduletest.Discard(),
		Hosts: func() []string { return []string{moduletest.Host, "other.example"} },
		Tell: func(host, about, line string) {
			h.book.mu.Lock()
			defer h.book.mu.Unlock()
			h.told = append(h.told, host+" "+about+": "+line)
		},
		Policy: func(string) config.Registration { return h.policy }, Limits: func() Limits { return h.limits }})
	h.Use(h.Module(), router.Module{Name: "data", Removed: func(user jid.JID) error {
		h.erased = append(h.erased, user)
		return nil
	}})
	h.bill = moduletest.Login(t, h.Router, "bill/globe")
	return h
}

func request(typ, to, content string) string {
	if to != "" {
		to = ` to='` + to + `'`
	}
	return `<iq type='` + typ + `' id='1'` + to + `><query xmlns='jabber:iq:register'>` + content + `</query></iq>`
}

const change = `<username>bill</username><password>new</password>`

func (h *house) refused(t *testing.T, xml string, want xmpp.Condition) {
	t.Helper()
	if e := h.bill.Send(xml); e.Err == nil || e.Err.Condition != want {
		t.Errorf("%s: %v, %v, want %s", xml, e.Outcome, e.Err, want)
	}
	h.bill.Received()
}

func TestAUserSeesTheRegistration(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct{ to, from string }{
		{"example.org", "example.org"}, {"", "bill@example.org"}, {"bill@example.org", "bill@example.org"},
	} {
		h.bill.Send(request("get", c.to, ""))
		h.bill.Want(`<iq type='result' id='1' from='` + c.from + `' to='bill@example.org/globe'><query xmlns='jabber:iq:register'><registered/>` +
			`<instructions>To change your password, send your user name and the new password.</instructions><username>bill</username><password/></query></iq>`)
	}
}

func TestAUserChangesThePassword(t *testing.T) {
	for _, to := range []string{"example.org", "bill@example.org", ""} {
		h := newHouse(t)
		h.policy = config.RegistrationClosed
		h.bill.Send(request("set", to, change))
		from := to
		if to == "" {
			from = "bill@example.org"
		}
		h.bill.Want(`<iq type='result' id='1' from='` + from + `' to='bill@example.org/globe'/>`)
		if got := h.book.passwords[bill]; got != "new" {
			t.Errorf("to %q: the password is %q", to, got)
		}
	}
}

func TestOnlyTheClientThatHasChangedThePasswordStays(t *testing.T) {
	synctest.Test(t, onlyTheClientThatHasChangedThePasswordStays)
}

func onlyTheClientThatHasChangedThePasswordStays(t *testing.T) {
	h := newHouse(t)
	other := moduletest.Login(t, h.Router, "bill/other")
	var stay []bool
	h.book.OnChange(func(jid.JID, accounts.Change) {
		stay = append(stay, h.Stays(h.bill.Session), h.Stays(other.Session))
	})
	h.bill.Send(request("set", "", change))
	h.book.notify(bill, accounts.PasswordChanged) // by an administrator
	h.bill.Send(request("set", "", "<remove/>"))
	synctest.Wait()
	if want := []bool{true, false, false, false, false, false}; !slices.Equal(stay, want) {
		t.Errorf("stay: %v, want %v", stay, want)
	}
}

func TestAPasswordChangeNeedsTheOwnNameAndAPassword(t *testing.T) {
	h := newHouse(t)
	for content, want := range map[string]xmpp.Condition{
		"":                                     xmpp.CondBadRequest,
		"<username>bill</username>":            xmpp.CondBadRequest,
		"<password>new</password>":             xmpp.CondBadRequest,
		"<username>bill</username><password/>": xmpp.CondBadRequest,
		"<username>juliet</username><password>new</password>": xmpp.CondNotAllowed,
		"<username/><password>new</password>":                 xmpp.CondNotAllowed,
		"<username>b@d</username><password>new</password>":    xmpp.CondNotAllowed,
	} {
		h.refused(t, request("set", "example.org", content), want)
	}
	for user, password := range h.book.passwords {
		if password != "old" {
			t.Errorf("%s has the password %q", user, password)
		}
	}
}

func TestErrorsOfAccountsHaveTheirConditions(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		err  error
		want xmpp.Condition
	}{
		{accounts.ErrPassword, xmpp.CondNotAcceptable}, {accounts.ErrUser, xmpp.CondNotAcceptable},
		{accounts.ErrNotFound, xmpp.CondRegistrationRequired}, {accounts.ErrExists, xmpp.CondConflict},
		{accounts.ErrUnavailable, xmpp.CondResourceConstraint}, {context.DeadlineExceeded, xmpp.CondResourceConstraint},
	} {
		h.book.fail = fmt.Errorf("bill: %w", c.err)
		h.refused(t, request("set", "example.org", change), c.want)
	}
	h.book.fail = accounts.ErrUnavailable
	h.refused(t, request("set", "example.org", "<remove/>"), xmpp.CondResourceConstraint)
	if len(h.erased) != 0 {
		t.Errorf("erased %v, though nothing was deleted", h.erased)
	}
}

func TestOthersAreNotForbiddenMoreThanNobody(t *testing.T) {
	h := newHouse(t)
	for _, to := range []string{"juliet@example.org", "hamlet@example.org"} {
		h.refused(t, request("get", to, ""), xmpp.CondForbidden)
		h.refused(t, request("set", to, change), xmpp.CondForbidden)
		h.refused(t, request("set", to, "<remove/>"), xmpp.CondForbidden)
	}
}

func TestAUserOfAnotherHostHasNoRegistrationHere(t *testing.T) {
	h := newHouse(t)
	h.SetHosts([]string{moduletest.Host, "b.example"})
	h.refused(t, request("get", "b.example", ""), xmpp.CondServiceUnavailable)
	h.refused(t, request("set", "b.example", change), xmpp.CondRegistrationRequired)
	h.refused(t, request("set", "b.example", "<remove/>"), xmpp.CondRegistrationRequired)
	if h.book.passwords[bill] != "old" {
		t.Error("the account is gone or changed")
	}
}

func TestRemovalIsAnsweredBeforeTheSessionsEnd(t *testing.T) {
	synctest.Test(t, removalIsAnswered)
}

func removalIsAnswered(t *testing.T) {
	h := newHouse(t)
	h.book.OnChange(func(user jid.JID, what accounts.Change) { // as package server does
		if what != accounts.Deleted {
			t.Errorf("%s: %s", user, what)
		}
		if err := h.Remove(user); err != nil {
			t.Error(err)
		}
	})
	other := moduletest.Login(t, h.Router, "bill/home")
	if e := h.bill.Send(request("set", "", "<remove/>")); e.Outcome != router.Delivered {
		t.Errorf("outcome: %v", e.Outcome)
	}
	h.bill.Want(`<iq type='result' id='1' from='bill@example.org' to='bill@example.org/globe'/>`)
	synctest.Wait()
	for _, client := range []*moduletest.Client{h.bill, other} {
		if _, ok := client.Out.Send(router.Delivery{Stanza: &xmpp.Stanza{Kind: xmpp.Presence}}); ok {
			t.Errorf("%s has not ended", client.Addr())
		}
	}
	if _, ok := h.book.passwords[bill]; ok || len(h.erased) != 1 || h.erased[0] != bill {
		t.Errorf("account there: %v, erased: %v", ok, h.erased)
	}
}

func TestAChangeThatNobodyHearsOfIsAnsweredToo(t *testing.T) {
	h := newHouse(t)
	h.book.listeners = nil
	h.bill.Send(request("set", "", "<remove/>"))
	h.bill.Want(`<iq type='result' id='1' from='bill@example.org' to='bill@example.org/globe'/>`)
}

func TestRemoveStandsAlone(t *testing.T) {
	h := newHouse(t)
	h.refused(t, request("set", "", "<remove/><username>bill</username>"), xmpp.CondBadRequest)
	if _, ok := h.book.passwords[bill]; !ok {
		t.Error("the account is gone")
	}
}

func TestOneChangeAtATime(t *testing.T) {
	h := newHouse(t)
	second := moduletest.Login(t, h.Router, "bill/home")
	h.book.during = func() {
		h.book.during = nil
		if e := second.Send(request("set", "", change)); e.Err == nil || e.Err.Condition != xmpp.CondResourceConstraint {
			t.Errorf("the second change: %v, %v", e.Outcome, e.Err)
		}
	}
	h.bill.Send(request("set", "", change))
	h.bill.Want(`<iq type='result' id='1' from='bill@example.org' to='bill@example.org/globe'/>`)
}

// register sends what a stranger sends and returns the answer.
func (h *house) register(t *testing.T, xml string) string {
	t.Helper()
	return h.ask(t, h.Visit(moduletest.Host, from(h.address)), xml)
}

// ask sends what a stranger sends on one stream and returns the answer.
func (h *house) ask(t *testing.T, visit func(context.Context, *xmpp.Stanza) xmpp.Stanza, xml string) string {
	t.Helper()
	s := visit(t.Context(), moduletest.Parse(t, xml))
	if e := s.Err(); e != nil {
		return string(e.Condition)
	}
	return string(s.Append(nil))
}

func from(address string) accounts.Source {
	a := netip.MustParseAddr(address)
	return accounts.Source{Addr: a, Exempt: a.Unmap().IsLoopback()}
}

func form(name, password string) string {
	return request("set", "", "<username>"+name+"</username><password>"+password+"</password>")
}

const done = `<iq type='result' id='1'/>`

func TestAStrangerCreatesAnAccount(t *testing.T) {
	h := newHouse(t)
	if ours, _ := h.Offered(moduletest.Host); !ours {
		t.Error("it is not offered")
	}
	if others, _ := h.Offered("b.example"); others {
		t.Error("it is offered for a host that is not ours")
	}
	moduletest.Same(t, h.register(t, request("get", "example.org", "")), `<iq type='result' id='1' from='example.org'><query xmlns='jabber:iq:register'>`+
		`<instructions>Choose a user name and a password.</instructions><username/><password/></query></iq>`)
	if got := h.register(t, form("Hamlet", "Ophelia")); got != done {
		t.Errorf("creation: %s", got)
	}
	if got := h.book.passwords[jid.MustParse("hamlet@example.org")]; got != "Ophelia" {
		t.Errorf("the password is %q", got)
	}
	if got := h.register(t, form("hamlet", "x")); got != "conflict" {
		t.Errorf("the same name again: %s", got)
	}
}

func TestStrangersAreRefusedWhatTheyMayNotDo(t *testing.T) {
	h := newHouse(t)
	h.address = "127.0.0.1"
	for xml, want := range map[string]string{
		form("", "x"):                       "not-acceptable",
		form("hamlet", ""):                  "not-acceptable",
		form("a b", "x"):                    "not-acceptable",
		form("a@b", "x"):                    "not-acceptable",
		request("set", "", ""):              "not-acceptable",
		request("set", "", "<remove/>"):     "unexpected-request",
		request("get", "b.example", ""):     "not-allowed",
		request("get", "example.org/x", ""): "not-allowed",
		`<iq type='get' id='1'><query xmlns='jabber:iq:auth'/></iq>`: "service-unavailable",
	} {
		if got := h.register(t, xml); got != want {
			t.Errorf("%s: %s, want %s", xml, got, want)
		}
	}
	if len(h.book.passwords) != 2 {
		t.Errorf("accounts: %v", h.book.passwords)
	}
}

func TestClosedHostsCreateNothing(t *testing.T) {
	h := newHouse(t)
	for _, h.policy = range []config.Registration{config.RegistrationClosed, config.RegistrationInvite} {
		if a, b := h.Offered(moduletest.Host); a || b {
			t.Errorf("%s: offered", h.policy)
		}
		if got := h.register(t, request("get", "", "")); got != "service-unavailable" {
			t.Errorf("%s, get: %s", h.policy, got)
		}
		if got := h.register(t, form("hamlet", "x")); got != "not-allowed" {
			t.Errorf("%s, set: %s", h.policy, got)
		}
	}
}

func TestAnAddressCreatesThreeAccountsAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		n := 0
		next := func() string { n++; return h.register(t, form(fmt.Sprint("u", n), "x")) }
		h.address = "2001:db8::1"
		for range 3 {
			if got := next(); got != done {
				t.Fatal(got)
			}
		}
		h.address = "2001:db8::ffff:2" // the same /64
		if got := next(); got != "not-acceptable" {
			t.Errorf("the fourth: %s", got)
		}
		h.address = "2001:db8:0:1::1"
		if got := next(); got != done {
			t.Errorf("from another network: %s", got)
		}
		h.address = "2001:db8::1"
		<-time.After(20 * time.Minute)
		if got := next(); got != done {
			t.Errorf("20 minutes later: %s", got)
		}
		if got := next(); got != "not-acceptable" {
			t.Errorf("and one more: %s", got)
		}
	})
}

func TestTakenNamesUseUpAttemptsOnly(t *testing.T) {
	h := newHouse(t)
	for range 19 {
		if got := h.register(t, form("juliet", "x")); got != "conflict" {
			t.Fatal(got)
		}
	}
	if got := h.register(t, form("hamlet", "x")); got != done {
		t.Errorf("the 20th attempt: %s", got)
	}
	if got := h.register(t, form("ophelia", "x")); got != "not-acceptable" {
		t.Errorf("the 21st attempt: %s", got)
	}
}

func TestTheLimitsAreThoseOfTheConfigurationInForce(t *testing.T) {
	h := newHouse(t)
	h.limits.Creations.Burst = 1
	if got := h.register(t, form("hamlet", "x")); got != done {
		t.Fatal(got)
	}
	if got := h.register(t, form("ophelia", "x")); got != "not-acceptable" {
		t.Errorf("beyond one: %s", got)
	}
	h.limits.Creations.Burst, h.address = 5, "192.0.2.2"
	for i := range 5 {
		if got := h.register(t, form(fmt.Sprintf("u%d", i), "x")); got != done {
			t.Errorf("number %d of 5: %s", i+1, got)
		}
	}
}

func TestLoopbackIsNotLimited(t *testing.T) {
	h := newHouse(t)
	for i, address := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
		h.address = address
		for k := range 5 {
			if got := h.register(t, form(fmt.Sprintf("u%d-%d", i, k), "x")); got != done {
				t.Errorf("%s: %s", address, got)
			}
		}
	}
}

func TestTheAddressesRememberedAreBounded(t *testing.T) {
	var l limiter
	now := time.Now()
	address := func(i int) accounts.Source {
		return accounts.Source{Addr: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}
	}
	const n = 5 * maxAddresses / 2
	for i := range n {
		for range 3 {
			l.take(address(i), now, limits, false)
		}
	}
	if len(l.now)+len(l.old) > 2*maxAddresses {
		t.Errorf("%d addresses are kept", len(l.now)+len(l.old))
	}
	if ok, _ := l.take(address(n-1), now, limits, false); ok {
		t.Error("the last address is forgotten")
	}
	if ok, _ := l.take(address(n-maxAddresses), now, limits, false); ok {
		t.Error("an address of the older generation is forgotten")
	}
}
