package server

import (
	"context"

	"jackdaw/admin"
)

// A botTest says what a bot is to be tested with.
type botTest admin.TrialRequest

func (c *Control) addBot(ctx context.Context, in admin.BotOrder) (nothing, error) {
	return nothing{}, c.Admin.AddBot(ctx, by(ctx), in)
}

func (c *Control) removeBot(ctx context.Context, in name) (nothing, error) {
	return nothing{}, c.Admin.RemoveBot(ctx, by(ctx), in.Name)
}

func (c *Control) bots(ctx context.Context, _ nothing) ([]admin.BotInfo, error) {
	return c.Admin.Bots(ctx)
}

func (c *Control) botLog(ctx context.Context, in name) ([]admin.DeliveryInfo, error) {
	return c.Admin.BotLog(ctx, in.Name)
}

func (c *Control) testBot(ctx context.Context, in botTest) (admin.TrialInfo, error) {
	return c.Admin.TestBot(ctx, in.Name, in.Text)
}

// AddBot makes an account a bot, or gives a bot other settings.
func (c *Client) AddBot(ctx context.Context, o admin.BotOrder) error { return do(ctx, c, "bot.add", o) }

// RemoveBot makes a bot an account like others.
func (c *Client) RemoveBot(ctx context.Context, user string) error {
	return do(ctx, c, "bot.remove", name{user})
}

// Bots lists the bots by address.
func (c *Client) Bots(ctx context.Context) ([]admin.BotInfo, error) {
	return call[[]admin.BotInfo](ctx, c, "bot.list", nothing{})
}

// BotLog is the last requests to a bot, the newest first.
func (c *Client) BotLog(ctx context.Context, user string) ([]admin.DeliveryInfo, error) {
	return call[[]admin.DeliveryInfo](ctx, c, "bot.log", name{user})
}

// TestBot posts a text to the program of a bot and says what it would have answered.
func (c *Client) TestBot(ctx context.Context, user, text string) (admin.TrialInfo, error) {
	return call[admin.TrialInfo](ctx, c, "bot.test", botTest{user, text})
}
