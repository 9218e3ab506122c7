package server

import (
	"context"
)

func (c *Control) decide(ctx context.Context, in switched) (nothing, error) {
	if in.To == "off" {
		return nothing{}, c.Admin.Refuse(ctx, by(ctx), in.Name)
	}
	return nothing{}, c.Admin.Approve(ctx, by(ctx), in.Name)
}

// Approve lets the user of an account that waits for approval log in.
func (c *Client) Approve(ctx context.Context, user string) error {
	return do(ctx, c, "user.decide", switched{user, "on"})
}

// Refuse removes an account that waits for approval.
func (c *Client) Refuse(ctx context.Context, user string) error {
	return do(ctx, c, "user.decide", switched{user, "off"})
}
