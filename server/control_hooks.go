package server

import (
	"context"
	"time"

	"jackdaw/admin"
)

type rotated admin.RotateHookRequest

func (c *Control) addHook(ctx context.Context, in admin.HookWish) (admin.HookInfo, error) {
	return c.Admin.AddHook(ctx, by(ctx), in)
}

func (c *Control) changeHook(ctx context.Context, in admin.HookWish) (admin.HookInfo, error) {
	return c.Admin.ChangeHook(ctx, by(ctx), in)
}

func (c *Control) hooks(ctx context.Context, _ nothing) ([]admin.HookInfo, error) {
	return c.Admin.Hooks(ctx)
}

func (c *Control) hook(ctx context.Context, in name) (admin.HookInfo, error) {
	return c.Admin.Hook(ctx, in.Name)
}

func (c *Control) removeHook(ctx context.Context, in name) (nothing, error) {
	return nothing{}, c.Admin.RemoveHook(ctx, by(ctx), in.Name)
}

func (c *Control) rotateHook(ctx context.Context, in rotated) (admin.HookInfo, error) {
	return c.Admin.RotateHook(ctx, by(ctx), in.Name, in.Overlap)
}

func (c *Control) testHook(ctx context.Context, in name) (admin.HookReport, error) {
	return c.Admin.TestHook(ctx, by(ctx), in.Name)
}

// AddHook makes a hook.
func (c *Client) AddHook(ctx context.Context, w admin.HookWish) (admin.HookInfo, error) {
	return call[admin.HookInfo](ctx, c, "hook.add", w)
}

// ChangeHook changes the settings of a hook that w names.
func (c *Client) ChangeHook(ctx context.Context, w admin.HookWish) (admin.HookInfo, error) {
	return call[admin.HookInfo](ctx, c, "hook.change", w)
}

// Hooks lists all hooks.
func (c *Client) Hooks(ctx context.Context) ([]admin.HookInfo, error) {
	return call[[]admin.HookInfo](ctx, c, "hook.list", nothing{})
}

// Hook shows one.
func (c *Client) Hook(ctx context.Context, hook string) (admin.HookInfo, error) {
	return call[admin.HookInfo](ctx, c, "hook.show", name{hook})
}

// RemoveHook removes a hook and its tokens.
func (c *Client) RemoveHook(ctx context.Context, hook string) error {
	return do(ctx, c, "hook.remove", name{hook})
}

// RotateHook makes another token for a hook; the others count no longer than overlap.
func (c *Client) RotateHook(ctx context.Context, hook string, overlap time.Duration) (admin.HookInfo, error) {
	return call[admin.HookInfo](ctx, c, "hook.rotate", rotated{hook, overlap})
}

// TestHook sends a notice by a hook.
func (c *Client) TestHook(ctx context.Context, hook string) (admin.HookReport, error) {
	return call[admin.HookReport](ctx, c, "hook.test", name{hook})
}
