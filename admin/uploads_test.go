package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"jackdaw/modules/upload"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

// shelf is the files of romeo: a and b.
type shelf struct{ removed []string }

func (f *shelf) Used(context.Context, jid.JID) (upload.Usage, error) {
	return upload.Usage{Files: 2, Bytes: 7}, nil
}

func (f *shelf) Users(context.Context) ([]upload.Usage, error) {
	return []upload.Usage{{Owner: "b@localhost", Bytes: 1}, {Owner: "a@localhost", Bytes: 1}, {Owner: "c@localhost", Bytes: 1 << 40}}, nil
}

func (f *shelf) Files(_ context.Context, _ jid.JID, place uint64, limit int) ([]upload.File, uint64, error) {
	return []upload.File{{ID: fmt.Sprint(place, " ", limit)}}, place + 1, nil
}

func (f *shelf) Remove(_ context.Context, user jid.JID, ids ...string) (int, error) {
	f.removed = append(f.removed, user.String()+" "+strings.Join(ids, ","))
	if slices.Contains(ids, "none") {
		return 1, upload.ErrNoFile
	}
	return 2, nil
}

func TestFilesAreThoseOfAccounts(t *testing.T) {
	s, log := service(t, nil)
	f := &shelf{}
	s.o.Uploads = f
	ctx := t.Context()
	must(t, s.AddUser(ctx, Command, "romeo@localhost", "x"))
	all, err := s.UploadUsers(ctx)
	if err != nil || len(all) != 3 || all[0].JID != "c@localhost" || all[1].JID != "a@localhost" {
		t.Errorf("%+v, %v", all, err)
	}
	page, next, err := s.UserUploads(ctx, "romeo@localhost", 4, 0)
	if err != nil || len(page) != 1 || page[0].ID != fmt.Sprint("4 ", MaxPage) || next != 5 {
		t.Errorf("%+v, %d, %v", page, next, err)
	}
	if n, err := s.RemoveUploads(ctx, "juliet@localhost", "romeo@localhost", "a", "none"); n != 1 || !errors.Is(err, upload.ErrNoFile) {
		t.Errorf("%d, %v", n, err)
	}
	if want := `msg="files removed" account=romeo@localhost files=1 by=juliet@localhost`; !strings.Contains(log.String(), want) {
		t.Errorf("logged %s", log)
	}
	_, _, list := s.UserUploads(ctx, "nobody@localhost", 0, 0)
	_, remove := s.RemoveUploads(ctx, Command, "nobody@localhost")
	for _, err := range []error{list, remove} {
		if !errors.Is(err, accounts.ErrNotFound) {
			t.Errorf("of nobody: %v", err)
		}
	}
	if len(f.removed) != 1 {
		t.Errorf("removed: %q", f.removed)
	}
}
