package c2s

import (
	"context"
	"errors"
	"strings"
	"testing"

	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

// directory knows the password of everybody, or nothing.
type directory struct{ away bool }

func (d *directory) Check(_ context.Context, _ jid.JID, secret string) error {
	switch {
	case d.away:
		return errors.New("connection refused")
	case secret != password:
		return accounts.ErrNotAuthorized
	}
	return nil
}

func (d *directory) Known(_ context.Context, users []jid.JID) ([]jid.JID, error) { return users, nil }
func (d *directory) SetPassword(context.Context, jid.JID, string) error          { return accounts.ErrElsewhere }
func (d *directory) String() string                                              { return "a directory" }

func TestWhereAnotherKnowsThePasswordItHasToBeShown(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	d := &directory{}
	options := accounts.Options{Iterations: 4096, Elsewhere: &accounts.Elsewhere{Backend: d, Hosts: []string{host}}}
	if err := h.accounts.SetOptions(options); err != nil {
		t.Fatal(err)
	}
	c := h.connect(DirectTLS).handshake()
	features := c.header()
	for _, one := range []string{"SCRAM", "HT-SHA", "upgrade"} {
		if strings.Contains(features, one) {
			t.Errorf("%s is offered: %s", one, features)
		}
	}
	if n := strings.Count(features, ">PLAIN<"); n != 2 {
		t.Errorf("PLAIN is offered %d times, want for each profile: %s", n, features)
	}
	// An account from before has keys, which are of no use; one that is new is made.
	if got := c.auth(sasl.ScramSHA256, sasl.Credentials{User: "romeo", Password: password}); !strings.Contains(got, "<invalid-mechanism/>") {
		t.Errorf("SCRAM: %s", got)
	}
	if got := c.auth(sasl.Plain, sasl.Credentials{User: "newcomer", Password: "wrong"}); !strings.Contains(got, "<not-authorized/>") {
		t.Errorf("a wrong password: %s", got)
	}
	d.away = true
	if got := c.auth(sasl.Plain, sasl.Credentials{User: "newcomer", Password: password}); !strings.Contains(got, "<temporary-auth-failure/>") {
		t.Errorf("away: %s", got)
	}
	d.away = false
	if got := c.auth(sasl.Plain, sasl.Credentials{User: "newcomer", Password: password}); !strings.HasPrefix(got, "<success") {
		t.Errorf("the right one: %s", got)
	}
	c.close()
}
