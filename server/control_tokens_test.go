package server

import (
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/admin"
	"jackdaw/router/tokens"
)

func TestTokensAreManagedWithAndWithoutAServer(t *testing.T) {
	bothWays(t, func(t *testing.T, c *Client) {
		ctx := t.Context()
		for _, u := range []string{"romeo@localhost", "juliet@localhost"} {
			if err := c.AddUser(ctx, u, "secret"); err != nil {
				t.Fatal(err)
			}
		}
		if list, err := c.Tokens(ctx, ""); err != nil || len(list) > 0 {
			t.Fatalf("at first %v, %v", list, err)
		}
		wish := admin.TokenWish{JID: "romeo@localhost", Label: "ci\x1b[31m  job", Scopes: []string{"send:to=*@localhost", "multicast"},
			CIDRs: []string{"192.0.2.7/24", "2001:db8::1"}, Rate: "10/m", Burst: 5, MaxBytes: 1000, Life: time.Hour}
		made, err := c.AddToken(ctx, wish)
		if err != nil {
			t.Fatal(err)
		}
		if made.ID != tokens.IDOf(made.Token) || made.Kind != "account" || made.JID != "romeo@localhost" ||
			made.Label != "ci[31m job" || made.Rate != "10/m" || made.Burst != 5 || made.MaxBytes != 1000 ||
			!slices.Equal(made.Scopes, []string{"multicast", "send:to=*@localhost"}) ||
			!slices.Equal(made.CIDRs, []string{"192.0.2.0/24", "2001:db8::1/128"}) ||
			made.Expires.Sub(made.Created) > time.Hour || made.Expires.Sub(made.Created) < time.Hour-2*time.Second {
			t.Errorf("made %+v", made)
		}
		usual, err := c.AddToken(ctx, admin.TokenWish{JID: "juliet@localhost", Scopes: []string{"send"}})
		if err != nil || usual.Expires.Sub(usual.Created).Round(time.Minute) != admin.DefaultTokenLife ||
			usual.Rate != "1/s" || usual.Burst != 60 {
			t.Errorf("by default %+v, %v", usual, err)
		}
		long, err := c.AddToken(ctx, admin.TokenWish{JID: "juliet@localhost", Scopes: []string{"muc"}, Life: -1})
		if err != nil || !long.Expires.IsZero() {
			t.Errorf("for ever %+v, %v", long, err)
		}
		list, err := c.Tokens(ctx, "romeo@localhost")
		if err != nil || len(list) != 1 || list[0].ID != made.ID || list[0].Token != "" || list[0].Expired {
			t.Errorf("romeo's: %+v, %v", list, err)
		}
		if list, err := c.Tokens(ctx, ""); err != nil || len(list) != 3 || list[2].ID != made.ID {
			t.Errorf("all: %+v, %v", list, err)
		}
		next, err := c.RotateToken(ctx, made.ID, time.Minute, "")
		if err != nil || next.Token == made.Token || next.Label != made.Label || next.Rate != made.Rate ||
			next.OldUntil.IsZero() || next.OldUntil.After(time.Now().Add(time.Minute)) {
			t.Errorf("rotated: %+v, %v", next, err)
		}
		if list, err := c.Tokens(ctx, "romeo@localhost"); err != nil || len(list) != 2 ||
			!slices.ContainsFunc(list, func(i admin.TokenInfo) bool { return i.ID == made.ID && i.Replaced == next.ID }) {
			t.Errorf("after the rotation: %+v, %v", list, err)
		}
		mine := tokens.Generate(tokens.KindAccount)
		if last, err := c.RotateToken(ctx, next.ID, 0, mine); err != nil || last.Token != mine || !last.OldUntil.IsZero() {
			t.Errorf("rotated at once: %+v, %v", last, err)
		}
		if err := c.RevokeToken(ctx, usual.ID); err != nil {
			t.Error(err)
		}
		if n, err := c.RevokeTokens(ctx, "romeo@localhost"); err != nil || n != 2 {
			t.Errorf("revoked %d, %v", n, err)
		}
		if list, err := c.Tokens(ctx, ""); err != nil || len(list) != 1 || list[0].ID != long.ID {
			t.Errorf("left: %+v, %v", list, err)
		}
		for want, f := range map[string]func() error{
			"no such token": func() error { return c.RevokeToken(ctx, usual.ID) },
			"16 letters":    func() error { return c.RevokeToken(ctx, "x") },
			"there is no such account": func() error {
				_, err := c.Tokens(ctx, "nurse@localhost")
				return err
			},
			"not served here": func() error {
				_, err := c.AddToken(ctx, admin.TokenWish{JID: "a@elsewhere.example", Scopes: []string{"send"}})
				return err
			},
			"no network": func() error {
				_, err := c.AddToken(ctx, admin.TokenWish{JID: "juliet@localhost", Scopes: []string{"send"}, CIDRs: []string{"10.0.0"}})
				return err
			},
		} {
			if err := f(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", want, err)
			}
		}
	})
}
