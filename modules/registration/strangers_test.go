package registration

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// desk stands for the invitations: by token, what each is good for and how often.
type desk struct {
	uses    map[string]int
	names   map[string]string
	reset   map[string]bool
	keeps   map[string]bool
	expired bool
	open    int // claims
}

func (d *desk) On() bool { return true }

func (d *desk) Admit(_ context.Context, host, token string) (Admission, *xmpp.Error) {
	if host != moduletest.Host || d.uses[token] == 0 || d.expired {
		return Admission{}, xmpp.ItemNotFound("")
	}
	return Admission{Name: d.names[token], Reset: d.reset[token]}, nil
}

func (d *desk) Claim(_ context.Context, token string, user jid.JID, admitted time.Time) (Claim, *xmpp.Error) {
	switch {
	case d.uses[token] == 0 || admitted.IsZero():
		return Claim{}, xmpp.ItemNotFound("")
	case d.names[token] != "" && d.names[token] != user.Local():
		return Claim{}, xmpp.NotAcceptable("")
	}
	d.uses[token]--
	d.open++
	return Claim{Admission: Admission{Name: d.names[token], Reset: d.reset[token]},
		Keep: func(context.Context) error { d.open--; return nil },
		Drop: func(context.Context) error { d.uses[token]++; d.open--; return nil }}, nil
}

func (d *desk) Keeps(_ context.Context, user jid.JID) (bool, error) {
	return d.keeps[user.Local()], nil
}

func invitedHouse(t *testing.T) (*house, *desk) {
	h := newHouse(t)
	h.policy = config.RegistrationInvite
	d := &desk{uses: map[string]int{"once": 1, "twice": 2, "named": 1, "reset": 1},
		names: map[string]string{"named": "hamlet", "reset": "juliet"}, reset: map[string]bool{"reset": true},
		keeps: map[string]bool{"hamlet": true}}
	h.InviteBy(d)
	h.Registration.o.Throttle = accounts.NewThrottle(time.Now)
	return h, d
}

func token(t string) string {
	return `<iq type='set' id='1' to='example.org'><preauth xmlns='urn:xmpp:pars:0' token='` + t + `'/></iq>`
}

func TestATokenAdmitsAStrangerToRegister(t *testing.T) {
	h, d := invitedHouse(t)
	if inBand, byToken := h.Offered(moduletest.Host); !inBand || !byToken {
		t.Error("it is not offered")
	}
	v := h.Visit(moduletest.Host, from(h.address))
	for _, step := range []struct{ xml, want string }{
		{request("get", "", ""), "not-allowed"},
		{form("hamlet", "x"), "not-allowed"},
		{token("wrong"), "item-not-found"},
		{form("ophelia", "x"), "not-allowed"},
		{token("once"), `<iq type='result' id='1' from='example.org'/>`},
		{form("juliet", "x"), "conflict"},
		{form("ophelia", "x"), done},
		{form("laertes", "x"), "item-not-found"},
	} {
		if got := h.ask(t, v, step.xml); got != step.want {
			t.Errorf("%s: %s, want %s", step.xml, got, step.want)
		}
	}
	if d.open != 0 || d.uses["once"] != 0 || h.book.passwords[jid.MustParse("ophelia@example.org")] != "x" {
		t.Errorf("%d claims are open, %d uses are left", d.open, d.uses["once"])
	}
	if got := h.register(t, form("laertes", "x")); got != "not-allowed" { // on another stream
		t.Errorf("without a token: %s", got)
	}
}

func TestATokenThatExpiresAfterItWasAdmittedIsGood(t *testing.T) {
	h, d := invitedHouse(t)
	v := h.Visit(moduletest.Host, from(h.address))
	h.ask(t, v, token("once"))
	d.expired = true
	if got := h.ask(t, v, form("ophelia", "x")); got != done {
		t.Error(got)
	}
}

func TestATokenMayBeForOneName(t *testing.T) {
	h, _ := invitedHouse(t)
	h.policy = config.RegistrationOpen
	if got := h.register(t, form("hamlet", "x")); got != "conflict" { // it is kept
		t.Errorf("a stranger takes the name: %s", got)
	}
	v := h.Visit(moduletest.Host, from(h.address))
	h.ask(t, v, token("named"))
	moduletest.Same(t, h.ask(t, v, request("get", "", "")), `<iq type='result' id='1'><query xmlns='jabber:iq:register'>`+
		`<instructions>Choose a password. The user name is the one of your invitation.</instructions><username>hamlet</username><password/></query></iq>`)
	if got := h.ask(t, v, form("laertes", "x")); got != "not-acceptable" {
		t.Errorf("another name: %s", got)
	}
	if got := h.ask(t, v, form("hamlet", "x")); got != done {
		t.Errorf("the name: %s", got)
	}
}

func TestATokenMaySetAPassword(t *testing.T) {
	h, _ := invitedHouse(t)
	v := h.Visit(moduletest.Host, from(h.address))
	h.ask(t, v, token("reset"))
	for name, want := range map[string]string{"bill": "not-acceptable", "hamlet": "not-acceptable"} {
		if got := h.ask(t, v, form(name, "new")); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := h.ask(t, v, form("juliet", "new")); got != done || h.book.passwords[jid.MustParse("juliet@example.org")] != "new" {
		t.Error(got)
	}
}

func TestAnUnclearOutcomeLeavesTheUseOpen(t *testing.T) {
	h, d := invitedHouse(t)
	v := h.Visit(moduletest.Host, from(h.address))
	h.ask(t, v, token("once"))
	h.book.fail = fmt.Errorf("x: %w", context.DeadlineExceeded)
	if got := h.ask(t, v, form("ophelia", "x")); got != "resource-constraint" || d.open != 1 {
		t.Errorf("%s, %d claims open", got, d.open)
	}
}

func TestTheInvitedAreNotLimitedByAccounts(t *testing.T) {
	h, d := invitedHouse(t)
	d.uses["once"] = 50
	for i := range 50 {
		v := h.Visit(moduletest.Host, from(h.address))
		h.ask(t, v, token("once"))
		if got := h.ask(t, v, form(fmt.Sprint("u", i), "x")); got != done {
			t.Fatalf("number %d: %s", i, got)
		}
	}
}

func TestWhoGuessesTokensIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := invitedHouse(t)
		d.uses["once"] = 10
		for i := range 5 {
			if got := h.ask(t, h.Visit(moduletest.Host, from(h.address)), token(fmt.Sprint("guess", i))); got != "item-not-found" {
				t.Fatalf("guess %d: %s", i, got)
			}
		}
		if got := h.ask(t, h.Visit(moduletest.Host, from(h.address)), token("once")); got != "resource-constraint" {
			t.Errorf("after five: %s", got)
		}
		if got := h.ask(t, h.Visit(moduletest.Host, from("192.0.2.77")), token("once")); got == "resource-constraint" {
			t.Errorf("another address: %s", got)
		}
		time.Sleep(time.Minute)
		if got := h.ask(t, h.Visit(moduletest.Host, from(h.address)), token("once")); got == "resource-constraint" {
			t.Errorf("a minute later: %s", got)
		}
	})
}

func TestNothingOfATokenWhereRegistrationIsClosed(t *testing.T) {
	h, _ := invitedHouse(t)
	h.policy = config.RegistrationClosed
	if a, b := h.Offered(moduletest.Host); a || b {
		t.Error("it is offered")
	}
	if got := h.register(t, token("once")); got != "service-unavailable" {
		t.Error(got)
	}
}
