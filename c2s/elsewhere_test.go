package c2s

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"jackdaw/router/accounts"
	"jackdaw/xmpp"
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

// issuer knows one token of each user, "token of NAME".
type issuer struct{ directory }

func (i *issuer) Terms() (scope, discovery string) { return "xmpp", "https://login.example/" }
func (i *issuer) Whose(_ context.Context, host, token string) (user jid.JID, until time.Time, err error) {
	name, ok := strings.CutPrefix(token, "token-of-")
	switch {
	case i.away:
		return user, until, errors.New("connection refused")
	case token == "no-scope":
		return user, until, accounts.ErrScope
	case !ok:
		return user, until, accounts.ErrNotAuthorized
	}
	user, err = jid.New(name, host, "")
	return user, until, err
}

func TestATokenLogsInOverTLS(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	i := &issuer{}
	if err := h.accounts.SetOptions(accounts.Options{Iterations: 4096,
		Elsewhere: &accounts.Elsewhere{Backend: i, Hosts: []string{host}}}); err != nil {
		t.Fatal(err)
	}
	clear := h.connect(STARTTLS)
	if features := clear.header(); strings.Contains(features, "OAUTHBEARER") {
		t.Errorf("offered without TLS: %s", features)
	}
	clear.close()
	c := h.connect(DirectTLS).handshake()
	if features := c.header(); strings.Count(features, ">OAUTHBEARER<") != 2 {
		t.Errorf("not offered for each profile: %s", features)
	}
	message := func(authzID, token, more string) string {
		return base64.StdEncoding.EncodeToString([]byte("n," + authzID + ",\x01" + more + "auth=Bearer " + token + "\x01\x01"))
	}
	show := func(authzID, token, more string) string {
		c.send("<auth xmlns='" + xmpp.NSSASL + "' mechanism='OAUTHBEARER'>" + message(authzID, token, more) + "</auth>")
		return c.read()
	}
	refused := func(answer, status string) { // RFC 7628 §3.2.2
		t.Helper()
		_, text, _ := strings.Cut(strings.TrimSuffix(answer, "</challenge>"), ">")
		b, err := base64.StdEncoding.DecodeString(text)
		want := `{"status":"` + status + `","scope":"xmpp","openid-configuration":"https://login.example/"}`
		if err != nil || string(b) != want {
			t.Fatalf("told %q (%s), want %s", b, answer, want)
		}
		c.send("<response xmlns='" + xmpp.NSSASL + "'>AQ==</response>")
		if got := c.read(); !strings.Contains(got, "<not-authorized/>") {
			t.Errorf("and then %s", got)
		}
	}
	refused(show("", "wrong", ""), "invalid_token")
	refused(show("", "no-scope", ""), "insufficient_scope")
	refused(show("", "token-of-romeo", "host=elsewhere.example\x01"), "invalid_request")
	for _, row := range []struct{ answer, want string }{
		{show("a=juliet@"+host, "token-of-romeo", ""), "<invalid-authzid/>"},
		{show("a=romeo", "token-of-romeo", ""), "<invalid-authzid/>"},
		{show("", "a b", ""), "<malformed-request/>"},
	} {
		if !strings.Contains(row.answer, row.want) {
			t.Errorf("%s, want %s", row.answer, row.want)
		}
	}
	i.away = true
	if got := show("", "token-of-romeo", ""); !strings.Contains(got, "<temporary-auth-failure/>") {
		t.Errorf("away: %s", got)
	}
	i.away = false
	if got := show("a=romeo@"+host, "token-of-romeo", "host="+host+"\x01port=5223\x01"); !strings.HasPrefix(got, "<success") {
		t.Errorf("a good one: %s", got)
	}
	c.close()
	c = h.connect(DirectTLS).handshake()
	c.header()
	c.send("<authenticate xmlns='" + xmpp.NSSASL2 + "' mechanism='OAUTHBEARER'><initial-response>" + message("", "token-of-ann", "") +
		"</initial-response></authenticate>")
	if got := c.read(); !strings.Contains(got, "<authorization-identifier>ann@"+host+"<") {
		t.Errorf("SASL2: %s", got)
	}
	c.close()
}
