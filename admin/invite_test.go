package admin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/modules/invitations"
)

// A host stands for the invitations.
type host struct {
	orders  []invitations.Order
	revoked []string
	url     string
}

func (h *host) Make(_ context.Context, o invitations.Order) (invitations.Invitation, error) {
	h.orders = append(h.orders, o)
	return invitations.Invitation{ID: "id", Kind: o.Kind, Host: o.Host, Contact: o.Contact, Name: o.Name, URL: h.url}, nil
}

func (h *host) List(_ context.Context, host string) ([]invitations.Invitation, error) {
	return []invitations.Invitation{{ID: host, Name: "a", Host: host}}, nil
}

func (h *host) Revoke(_ context.Context, host, which string) error {
	if which != host && which != "id" {
		return invitations.ErrNothing
	}
	h.revoked = append(h.revoked, host+" "+which)
	return nil
}

func TestInvitationsAreThoseOfHostsThatAreServed(t *testing.T) {
	s, _ := service(t, nil)
	s.o.Config().Hosts = append(s.o.Config().Hosts, config.Host{Domain: "b.example"})
	h := &host{url: "https://x"}
	s.o.Invitations = h
	ctx := t.Context()
	for _, c := range []struct {
		wish Wish
		want string // kind, host, contact, name; or what the error says
	}{
		{Wish{}, "account localhost  "},
		{Wish{Host: "B.example"}, "account b.example  "},
		{Wish{Host: "c.example"}, "not served here"},
		{Wish{Contact: "romeo@b.example"}, "account b.example romeo@b.example "},
		{Wish{Contact: "romeo@b.example", NoAccount: true}, "contact b.example romeo@b.example "},
		{Wish{NoAccount: true}, "say whose"},
		{Wish{Contact: "b.example"}, "no address"},
		{Wish{Contact: "romeo@b.example/x"}, "no address"},
		{Wish{Reset: "romeo@b.example"}, "reset b.example  romeo"},
		{Wish{Reset: "romeo@b.example", Host: "localhost"}, "not of the host"},
		{Wish{Reset: "romeo@b.example", Contact: "romeo@b.example"}, "leave out one"},
	} {
		v, err := s.Invite(ctx, Command, c.wish)
		got := strings.Join([]string{v.Kind, v.Host, v.Contact, strings.TrimSuffix(v.User, "@"+v.Host)}, " ")
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%+v: %q, want %q", c.wish, got, c.want)
		}
	}
	_, err := s.Invite(ctx, Command, Wish{Uses: 3, Expires: time.Hour})
	if err != nil || h.orders[len(h.orders)-1].Uses != 3 {
		t.Error(err)
	}
	h.url = ""
	if _, err := s.Invite(ctx, Command, Wish{Reset: "romeo@b.example"}); !errors.Is(err, ErrNoPage) || len(h.revoked) != 1 {
		t.Errorf("a password without a page: %v, revoked %q", err, h.revoked)
	}
	if list, err := s.Invitations(ctx, ""); err != nil || len(list) != 2 || list[1].User != "a@b.example" {
		t.Errorf("%v, %v", list, err)
	}
	must(t, s.RevokeInvitation(ctx, Command, "", "b.example"))
	if err := s.RevokeInvitation(ctx, Command, "localhost", "b.example"); !errors.Is(err, invitations.ErrNothing) {
		t.Error(err)
	}
}
