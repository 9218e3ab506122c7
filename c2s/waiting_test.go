package c2s

import (
	"strings"
	"testing"

	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

func TestOnlyWhoKnowsThePasswordHearsThatTheAccountWaits(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	user := jid.MustParse("mercutio@" + host)
	err := h.accounts.Apply(t.Context(), user, password, accounts.Source{Exempt: true}, accounts.Bounds{Host: 1})
	if err != nil {
		t.Fatal(err)
	}
	const why = "<text xml:lang='en'>an administrator has to approve this account before it can be used</text></failure>"
	for _, m := range []sasl.Mechanism{sasl.ScramSHA256, sasl.ScramSHA1, sasl.Plain} {
		for secret, want := range map[string]string{
			password: "<account-disabled/>" + why,
			"x":      "<not-authorized/></failure>",
		} {
			c := h.connect(DirectTLS).handshake()
			c.header()
			if got := c.auth(m, sasl.Credentials{User: "mercutio", Password: secret}); !strings.HasSuffix(got, want) {
				t.Errorf("%s, %s: %s", m, secret, got)
			}
			// Another account on the same stream is another matter.
			ok := sasl.Credentials{User: "romeo", Password: password}
			if got := c.auth(m, ok); !strings.HasPrefix(got, "<success") {
				t.Errorf("%s, %s: then %s", m, secret, got)
			}
			c.close()
		}
		c, _ := h.secure("mercutio")
		el := c.auth2(m, sasl.Credentials{User: "mercutio", Password: password}, "")
		if got := el.Child(xmpp.Name{Space: xmpp.NSSASL, Local: string(sasl.AccountDisabled)}); el.Name.Local != "failure" ||
			got == nil || !strings.HasPrefix(text(el, "text"), "an administrator has to approve") {
			t.Errorf("%s by SASL2: %s", m, el.Append(nil))
		}
		c.close()
	}
	if n := h.Stats.Logins.Load(); n != 6 {
		t.Errorf("%d logins, want those of romeo", n)
	}
	if err := h.accounts.Approve(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	c := h.connect(DirectTLS).handshake()
	defer c.close()
	c.header()
	if got := c.auth(sasl.ScramSHA256, sasl.Credentials{User: "mercutio", Password: password}); !strings.HasPrefix(got, "<success") {
		t.Errorf("approved: %s", got)
	}
}
