package console

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"jackdaw/admin"
)

// makeToken makes a token of an account and shows it on the page that follows, this once.
func (c *Console) makeToken(v *visit, address string) {
	w := admin.TokenWish{JID: address, Label: v.field("label"), Scopes: strings.Fields(v.field("scopes")),
		CIDRs: strings.FieldsFunc(v.field("cidrs"), func(r rune) bool { return r == ' ' || r == ',' })}
	days, err := whole(v.field("days"))
	w.Life = time.Duration(days) * 24 * time.Hour
	var made admin.TokenInfo
	if err == nil {
		made, err = c.o.Admin.AddToken(v.r.Context(), v.by(), w)
	}
	query := url.Values{"jid": {address}}
	if err != nil {
		v.done(err, "", "/account", query)
		return
	}
	v.c.sessions.say(v.session, word{Text: "This is the token. It is shown only now:", Link: made.Token})
	v.goTo("/account", query)
}

// revokeToken ends a token of an account.
func (c *Console) revokeToken(v *visit, address string) {
	id := v.field("id")
	list, err := c.o.Admin.Tokens(v.r.Context(), address)
	if err == nil && !slices.ContainsFunc(list, func(t admin.TokenInfo) bool { return t.ID == id }) {
		err = errors.New("the account has no such token")
	}
	if err == nil {
		err = c.o.Admin.RevokeToken(v.r.Context(), v.by(), id)
	}
	v.done(err, "The token is revoked: whatever shows it is refused.", "/account", url.Values{"jid": {address}})
}
