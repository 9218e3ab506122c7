package server

import (
	"context"
	"time"

	"jackdaw/admin"
	"jackdaw/modules/announcements"
)

type (
	announcing admin.AnnounceRequest
	announced  admin.AnnouncedRequest
	standing   admin.StandingRequest
	notified   admin.NoticeRequest
)

func (c *Control) announce(ctx context.Context, in announcing) (reached int, err error) {
	return c.Admin.Announce(ctx, by(ctx), in.Host, in.Text, in.Keep)
}

func (c *Control) announcements(_ context.Context, in announced) ([]admin.AnnouncementInfo, error) {
	return c.Admin.KeptAnnouncements(in.Host)
}

func (c *Control) withdraw(ctx context.Context, in announced) (nothing, error) {
	return nothing{}, c.Admin.WithdrawAnnouncement(ctx, by(ctx), in.Host, in.ID)
}

func (c *Control) standing(_ context.Context, in standing) (string, error) {
	return c.Admin.Standing(in.Host, announcements.Kind(in.Kind))
}

func (c *Control) stand(ctx context.Context, in standing) (reached int, err error) {
	return c.Admin.Stand(ctx, by(ctx), in.Host, announcements.Kind(in.Kind), in.Text, in.Edit)
}

func (c *Control) announcedHere(_ context.Context, in notified) (reached int, err error) {
	return c.Admin.Announced(in.Host, in.Text, in.Give), nil
}

// Announce writes to all users of a host, or with "" of all hosts, and for the time keep to those who come. It says how
// many it has reached at once.
func (c *Client) Announce(ctx context.Context, host, text string, keep time.Duration) (reached int, err error) {
	return call[int](ctx, c, "announce", announcing{host, text, keep})
}

// Announcements lists what is kept for those who are away, of a host, or with "" of all.
func (c *Client) Announcements(ctx context.Context, host string) ([]admin.AnnouncementInfo, error) {
	return call[[]admin.AnnouncementInfo](ctx, c, "announce.list", announced{Host: host})
}

// Withdraw has an announcement kept no more.
func (c *Client) Withdraw(ctx context.Context, host, id string) error {
	return do(ctx, c, "announce.withdraw", announced{host, id})
}
