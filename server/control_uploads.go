package server

import (
	"context"

	"jackdaw/admin"
)

// A filesOf names files of an account; none: all.
type filesOf admin.FilesRequest

func (c *Control) uploadUsers(ctx context.Context, _ nothing) ([]admin.UsageInfo, error) {
	return c.Admin.UploadUsers(ctx)
}

// uploads answers with all files of an account, as listUsers does with accounts.
func (c *Control) uploads(ctx context.Context, in name) ([]admin.FileInfo, error) {
	all := []admin.FileInfo{} // not null in JSON
	for place := uint64(0); ; {
		page, next, err := c.Admin.UserUploads(ctx, in.Name, place, 0)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if next == 0 {
			return all, nil
		}
		place = next
	}
}

func (c *Control) removeUploads(ctx context.Context, in filesOf) (n int, err error) {
	return c.Admin.RemoveUploads(ctx, by(ctx), in.Name, in.IDs...)
}

// UploadUsers lists who has files on the disk, those with most first.
func (c *Client) UploadUsers(ctx context.Context) ([]admin.UsageInfo, error) {
	return call[[]admin.UsageInfo](ctx, c, "uploads.users", nothing{})
}

// Uploads lists the files of an account.
func (c *Client) Uploads(ctx context.Context, user string) ([]admin.FileInfo, error) {
	return call[[]admin.FileInfo](ctx, c, "uploads", name{user})
}

// RemoveUploads deletes files of an account, or with no ids all of them, and says how many.
func (c *Client) RemoveUploads(ctx context.Context, user string, ids []string) (n int, err error) {
	return call[int](ctx, c, "uploads.remove", filesOf{user, ids})
}
