package registration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

func TestWhoRegistersWaitsForApproval(t *testing.T) {
	h := newHouse(t)
	h.policy = config.RegistrationApprove
	if inBand, byToken := h.Offered(moduletest.Host); !inBand || byToken {
		t.Errorf("offered %v, %v", inBand, byToken)
	}
	v := h.Visit(moduletest.Host, from(h.address))
	moduletest.Same(t, h.ask(t, v, request("get", "", "")), `<iq type='result' id='1'><query xmlns='jabber:iq:register'>`+
		`<instructions>Choose a user name and a password. You can log in when an administrator has approved your account.`+
		`</instructions><username/><password/></query></iq>`)
	if got := h.ask(t, v, form("ophelia", "x")); got != done {
		t.Error(got)
	}
	if len(h.book.waiting) != 1 || h.book.waiting[0].User.Local() != "ophelia" || h.book.bounds != limits.Waiting {
		t.Errorf("waiting %v, bounds %v", h.book.waiting, h.book.bounds)
	}
	if len(h.told) != 1 || !strings.HasPrefix(h.told[0], "example.org 192.0.2.1: ophelia@example.org has registered and waits") {
		t.Errorf("administrators are told %q", h.told)
	}
}

func TestAnApplicationMayBeRefusedAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		fail error
		want string
	}{
		{"juliet", nil, "conflict"},
		{"escalus", nil, "conflict"}, // the configuration names an administrator
		{"ophelia", fmt.Errorf("x: %w", accounts.ErrHostFull), "resource-constraint"},
		{"ophelia", fmt.Errorf("x: %w", accounts.ErrAddressFull), "resource-constraint"},
		{"ophelia", accounts.ErrPassword, "not-acceptable"},
	} {
		for _, policy := range []config.Registration{config.RegistrationApprove, config.RegistrationOpen} {
			h := newHouse(t)
			h.policy, h.book.fail, h.book.reserved = policy, c.fail, jid.MustParse("escalus@example.org")
			if got := h.register(t, form(c.name, "x")); got != c.want {
				t.Errorf("%s, %s: %s, want %s", c.name, policy, got, c.want)
			}
			if len(h.told) != 0 {
				t.Errorf("%s: told %q", c.name, h.told)
			}
		}
	}
}

func TestTheInvitedNeedNoApproval(t *testing.T) {
	h, d := invitedHouse(t)
	h.policy = config.RegistrationApprove
	h.book.reserved = jid.MustParse("escalus@example.org")
	v := h.Visit(moduletest.Host, from(h.address))
	h.ask(t, v, token("twice"))
	for _, step := range []struct{ name, want string }{{"escalus", "conflict"}, {"ophelia", done}} {
		if got := h.ask(t, v, form(step.name, "x")); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	if len(h.book.waiting) != 0 || len(h.told) != 0 || d.uses["twice"] != 1 || d.open != 0 {
		t.Errorf("waiting %v, told %q, %d uses left", h.book.waiting, h.told, d.uses["twice"])
	}
}

func TestWhoWaitsTooLongIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.policy = config.RegistrationApprove
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { h.Run(ctx); close(ended) }()
		synctest.Wait() // it has looked once, and waits
		h.register(t, form("ophelia", "x"))
		time.Sleep(12 * time.Hour)
		synctest.Wait()
		h.register(t, form("laertes", "x"))
		time.Sleep(12*time.Hour + tick)
		synctest.Wait()
		if len(h.book.waiting) != 1 || h.book.waiting[0].User.Local() != "laertes" {
			t.Errorf("waiting: %v", h.book.waiting)
		}
		if last := h.told[len(h.told)-1]; len(h.told) != 3 || !strings.Contains(last, "ophelia@example.org has waited too long") {
			t.Errorf("told %q", h.told)
		}
		cancel()
		<-ended
	})
}

// elsewhere are the homes of a node whose accounts are all at home on others but those who are here.
type elsewhere struct{ here string }

func (n *elsewhere) Here(owner string) bool        { return owner == n.here }
func (n *elsewhere) Send(string, *router.Envelope) {}
func (n *elsewhere) Tell(router.Sequel)            {}

func TestANodeRemovesThoseWhoWaitTooLongOfItsOwnOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.policy = config.RegistrationApprove
		h.register(t, form("laertes", "x"))
		h.register(t, form("ophelia", "x"))
		h.SetHomes(&elsewhere{here: "ophelia@" + moduletest.Host})
		told := len(h.told)
		<-time.After(2 * limits.Age)
		if err := h.expire(t.Context(), moduletest.Host); err != nil {
			t.Fatal(err)
		}
		if len(h.book.waiting) != 1 || h.book.waiting[0].User.Local() != "laertes" || len(h.told) != told+1 {
			t.Errorf("waiting: %v, told %q", h.book.waiting, h.told)
		}
	})
}
