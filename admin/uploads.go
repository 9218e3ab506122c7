package admin

import (
	"context"
	"slices"
	"strings"
	"time"

	"jackdaw/modules/upload"
	"jackdaw/xmpp/jid"
)

// Uploads is what a Service asks of modules/upload.
type Uploads interface {
	Used(ctx context.Context, user jid.JID) (upload.Usage, error)
	Users(ctx context.Context) ([]upload.Usage, error)
	Files(ctx context.Context, user jid.JID, place uint64, limit int) (page []upload.File, next uint64, err error)
	Remove(ctx context.Context, user jid.JID, ids ...string) (n int, err error)
}

// UsageInfo is how much an account has on the disk.
type UsageInfo struct {
	JID   string `json:"jid"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
}

// FileInfo is a file that a user has uploaded.
type FileInfo struct {
	ID      string    `json:"id"` // who knows it can fetch the file
	Name    string    `json:"name"`
	Type    string    `json:"type"` // "" if the client has not said it
	Size    int64     `json:"size"`
	Created time.Time `json:"created"`
	Until   time.Time `json:"until,omitzero"` // when it goes, if its client has said so
}

// UploadUsers lists who has files on the disk, those with most first. It looks at all files.
func (s *Service) UploadUsers(ctx context.Context) ([]UsageInfo, error) {
	list, err := s.o.Uploads.Users(ctx)
	if err != nil {
		return nil, err
	}
	all := []UsageInfo{} // not null in JSON
	for _, u := range list {
		all = append(all, UsageInfo{JID: u.Owner, Files: u.Files, Bytes: u.Bytes})
	}
	slices.SortFunc(all, func(a, b UsageInfo) int {
		if a.Bytes != b.Bytes {
			return int(min(max(b.Bytes-a.Bytes, -1), 1))
		}
		return strings.Compare(a.JID, b.JID)
	})
	return all, nil
}

// UserUploads lists up to limit files of an account (at most MaxPage, which 0 means), the oldest first, that come after
// a place; 0 begins. next is the place to go on from, 0 if there are no more.
func (s *Service) UserUploads(ctx context.Context, address string, place uint64, limit int,
) (page []FileInfo, next uint64, err error) {
	j, err := user(address)
	if err != nil {
		return nil, 0, err
	}
	if _, err := s.o.Accounts.Get(ctx, j); err != nil {
		return nil, 0, err
	}
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	list, next, err := s.o.Uploads.Files(ctx, j, place, limit)
	for _, f := range list {
		page = append(page, FileInfo(f))
	}
	return page, next, err
}

// RemoveUploads deletes files of an account, or with no ids all of them, and says how many. Errors: upload.ErrNoFile,
// of one that is not the account's; those before it are gone then.
func (s *Service) RemoveUploads(ctx context.Context, by By, address string, ids ...string) (n int, err error) {
	j, err := user(address)
	if err != nil {
		return 0, err
	}
	if passed, err := s.pass(ctx, by, j, "uploads.remove", FilesRequest{address, ids}, &n); passed {
		return n, err
	}
	if _, err := s.o.Accounts.Get(ctx, j); err != nil {
		return 0, err
	}
	n, err = s.o.Uploads.Remove(ctx, j, ids...)
	if n > 0 {
		_ = s.said(nil, by, "files removed", "account", j, "files", n) // though others could not be
	}
	return n, err
}
