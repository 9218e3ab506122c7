package server

import (
	"context"

	"jackdaw/admin"
)

type invited struct{ Host, Which string }

func (c *Control) invite(ctx context.Context, in admin.Wish) (admin.InvitationInfo, error) {
	return c.Admin.Invite(ctx, by(ctx), in)
}

func (c *Control) invitations(ctx context.Context, in invited) ([]admin.InvitationInfo, error) {
	return c.Admin.Invitations(ctx, in.Host)
}

func (c *Control) revokeInvitation(ctx context.Context, in invited) (nothing, error) {
	return nothing{}, c.Admin.RevokeInvitation(ctx, by(ctx), in.Host, in.Which)
}

// Invite makes an invitation.
func (c *Client) Invite(ctx context.Context, w admin.Wish) (admin.InvitationInfo, error) {
	return call[admin.InvitationInfo](ctx, c, "invite", w)
}

// Invitations lists those that can be used, of a host, or with "" of all.
func (c *Client) Invitations(ctx context.Context, host string) ([]admin.InvitationInfo, error) {
	return call[[]admin.InvitationInfo](ctx, c, "invite.list", invited{Host: host})
}

// RevokeInvitation ends the one with this id or link, of a host, or with "" of any.
func (c *Client) RevokeInvitation(ctx context.Context, host, which string) error {
	return do(ctx, c, "invite.revoke", invited{host, which})
}
