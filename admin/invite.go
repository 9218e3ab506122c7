package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"jackdaw/modules/invitations"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

// Invitations is what a Service asks of modules/invitations.
type Invitations interface {
	Make(ctx context.Context, o invitations.Order) (invitations.Invitation, error)
	List(ctx context.Context, host string) ([]invitations.Invitation, error)
	Revoke(ctx context.Context, host, which string) error
}

// A Wish asks for an invitation; what is empty is chosen.
type Wish struct {
	Host    string // "": that of the contact or account, else the first
	Contact string // whom one gets as a contact
	Reset   string // whose password is set anew
	// NoAccount leaves the contact alone: whoever has an account gets it.
	NoAccount bool
	Uses      int
	Expires   time.Duration
}

// InvitationInfo is what is shown of an invitation. URL and URI are shown when it is made, and never again.
type InvitationInfo struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"` // account, contact, reset
	Host    string    `json:"host"`
	By      string    `json:"by,omitempty"` // "": by command
	Contact string    `json:"contact,omitempty"`
	User    string    `json:"user,omitempty"` // the address that is made, or gets another password
	Uses    int       `json:"uses"`
	Used    int       `json:"used"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	URL     string    `json:"url,omitempty"`
	URI     string    `json:"uri,omitempty"`
}

func shownInvitation(v invitations.Invitation) InvitationInfo {
	out := InvitationInfo{ID: v.ID, Kind: string(v.Kind), Host: v.Host, By: v.By.String(), Contact: v.Contact.String(),
		Uses: v.Uses, Used: v.Used, Created: v.Created, Expires: v.Expires, URL: v.URL, URI: v.URI}
	if v.Name != "" {
		out.User = v.Name + "@" + v.Host
	}
	return out
}

// ErrNoPage says that a password cannot be set by a link, since there is no page to lead to.
var ErrNoPage = errors.New("nobody reaches a page of this server: set listen.https, " +
	"or http.url where a proxy has HTTPS")

// Invite makes an invitation.
func (s *Service) Invite(ctx context.Context, by By, w Wish) (InvitationInfo, error) {
	o := invitations.Order{Host: w.Host, Kind: invitations.Account, Uses: w.Uses, Life: w.Expires}
	whose := w.Contact
	switch {
	case w.Contact != "" && w.Reset != "":
		return InvitationInfo{}, errors.New("an invitation gives a contact or a new password: " +
			"leave out one of the two")
	case w.NoAccount && w.Contact == "":
		return InvitationInfo{}, errors.New("an invitation without an account is one to a contact: say whose")
	case w.NoAccount:
		o.Kind = invitations.Contact
	case w.Reset != "":
		o.Kind, whose = invitations.Reset, w.Reset
	}
	if whose != "" {
		who, err := jid.Parse(whose)
		if err != nil || who.Local() == "" || !who.IsBare() {
			return InvitationInfo{}, fmt.Errorf("%q is no address of an account", whose)
		}
		if o.Host == "" {
			o.Host = who.Domain()
		}
		if o.Kind == invitations.Reset {
			if who.Domain() != o.Host {
				return InvitationInfo{}, fmt.Errorf("%s: %w", who, invitations.ErrContact)
			}
			if err := s.o.Accounts.MaySetPassword(who); err != nil {
				return InvitationInfo{}, err
			}
			o.Name = who.Local()
		} else {
			o.Contact = who
		}
	}
	if o.Host == "" {
		o.Host = s.o.Config().Hosts[0].Domain
	}
	list, err := s.hosts(o.Host)
	if err != nil {
		return InvitationInfo{}, err
	}
	o.Host = list[0]
	if o.Kind == invitations.Account && s.o.Config().Accounts.Elsewhere(o.Host) {
		return InvitationInfo{}, fmt.Errorf("%w: accounts of %s are made where their passwords are kept (accounts.backend)",
			accounts.ErrElsewhere, o.Host)
	}
	v, err := s.o.Invitations.Make(ctx, o)
	if err == nil && v.Kind == invitations.Reset && v.URL == "" {
		err = errors.Join(ErrNoPage, s.o.Invitations.Revoke(ctx, v.Host, v.ID))
	}
	return shownInvitation(v), s.said(err, by, "invited", "id", v.ID, "kind", v.Kind, "host", v.Host,
		"contact", v.Contact, "name", v.Name, "uses", v.Uses, "expires", v.Expires)
}

// Invitations lists those that can be used, of a host, or with "" of all.
func (s *Service) Invitations(ctx context.Context, host string) ([]InvitationInfo, error) {
	all := []InvitationInfo{}
	list, err := s.hosts(host)
	if err != nil {
		return nil, err
	}
	for _, host := range list {
		of, err := s.o.Invitations.List(ctx, host)
		if err != nil {
			return nil, err
		}
		for _, v := range of {
			all = append(all, shownInvitation(v))
		}
	}
	return all, nil
}

// RevokeInvitation ends the invitation with this id or link. With "" it is looked for on all hosts. Errors:
// invitations.ErrNothing.
func (s *Service) RevokeInvitation(ctx context.Context, by By, host, which string) error {
	list, err := s.hosts(host)
	if err != nil {
		return err
	}
	which = strings.TrimSpace(which)
	for _, host := range list {
		if err = s.o.Invitations.Revoke(ctx, host, which); !errors.Is(err, invitations.ErrNothing) {
			return s.said(err, by, "invitation revoked", "host", host)
		}
	}
	return err
}
