package server

import (
	"context"
	"time"

	"jackdaw/admin"
)

type rotating admin.RotateRequest

func (c *Control) addToken(ctx context.Context, in admin.TokenWish) (admin.TokenInfo, error) {
	return c.Admin.AddToken(ctx, by(ctx), in)
}

func (c *Control) tokens(ctx context.Context, in name) ([]admin.TokenInfo, error) {
	return c.Admin.Tokens(ctx, in.Name)
}

func (c *Control) revokeToken(ctx context.Context, in name) (nothing, error) {
	return nothing{}, c.Admin.RevokeToken(ctx, by(ctx), in.Name)
}

func (c *Control) revokeTokens(ctx context.Context, in name) (int, error) {
	return c.Admin.RevokeTokens(ctx, by(ctx), in.Name)
}

func (c *Control) rotateToken(ctx context.Context, in rotating) (admin.TokenInfo, error) {
	return c.Admin.RotateToken(ctx, by(ctx), in.ID, in.Overlap, in.Secret)
}

// AddToken makes a token, which the answer alone has.
func (c *Client) AddToken(ctx context.Context, w admin.TokenWish) (admin.TokenInfo, error) {
	return call[admin.TokenInfo](ctx, c, "token.add", w)
}

// Tokens lists those of an account, or with "" of all.
func (c *Client) Tokens(ctx context.Context, user string) ([]admin.TokenInfo, error) {
	return call[[]admin.TokenInfo](ctx, c, "token.list", name{user})
}

// RevokeToken ends the one with this id.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return do(ctx, c, "token.revoke", name{id})
}

// RevokeTokens ends all of an account that act as it, and says how many there were.
func (c *Client) RevokeTokens(ctx context.Context, user string) (int, error) {
	return call[int](ctx, c, "token.revoke-all", name{user})
}

// RotateToken makes a token in place of another, which is good for no longer than the overlap. secret is the token
// itself, if it is made already.
func (c *Client) RotateToken(ctx context.Context, id string, overlap time.Duration, secret string,
) (admin.TokenInfo, error) {
	return call[admin.TokenInfo](ctx, c, "token.rotate", rotating{id, overlap, secret})
}
