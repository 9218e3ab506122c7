package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"jackdaw/admin"
	"jackdaw/router/accounts"
)

// hasUploads says whether files are taken here.
func (c *Console) hasUploads() bool { return c.o.Config().Modules.Enabled("upload") }

// maxUploaders is how many accounts the page shows, those with most on the disk.
const maxUploaders = 200

func (c *Console) uploads(v *visit) {
	if !c.hasUploads() {
		c.o.Site.Error(v.w, v.r, http.StatusNotFound)
		return
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), searchTime) // it looks at all files
	defer cancel()
	list, err := c.o.Admin.UploadUsers(ctx)
	wrong := ""
	if err != nil {
		wrong = sentence(err)
	}
	files, bytes := 0, int64(0)
	for _, u := range list {
		files, bytes = files+u.Files, bytes+u.Bytes
	}
	v.show("uploads", "Uploads", struct {
		Wrong       string
		Files, More int
		Bytes       int64
		Users       []admin.UsageInfo
	}{wrong, files, max(len(list)-maxUploaders, 0), bytes, list[:min(len(list), maxUploaders)]})
}

// upload shows the files of one account.
func (c *Console) upload(v *visit) {
	address := v.asked("jid")
	from, err := uint64(0), error(nil)
	if s := v.asked("from"); s != "" {
		from, err = strconv.ParseUint(s, 10, 64)
	}
	var list []admin.FileInfo
	next, bad := uint64(0), err != nil || !c.hasUploads()
	if !bad {
		list, next, err = c.o.Admin.UserUploads(v.r.Context(), address, from, perPage)
	}
	switch {
	case bad, errors.Is(err, accounts.ErrNotFound), errors.Is(err, accounts.ErrUser):
		c.o.Site.Error(v.w, v.r, http.StatusNotFound)
		return
	case err != nil:
		v.failed("upload", err)
		return
	}
	on := ""
	if next != 0 {
		on = Path + "/upload?" + url.Values{"jid": {address}, "from": {strconv.FormatUint(next, 10)}}.Encode()
	}
	v.show("upload", "Files of "+address, struct {
		JID, Next string
		First     bool
		Files     []admin.FileInfo
	}{address, on, from == 0, list})
}

// removeUploads removes one file of an account, or all.
func (c *Console) removeUploads(v *visit) {
	address := v.field("jid")
	query := url.Values{"jid": {address}}
	var ids []string
	switch v.field("action") {
	case "remove":
		ids = []string{v.field("id")}
	case "remove-all":
		if v.field("again") != address {
			v.done(errors.New("nothing is removed: type the address of the account to confirm"), "", "/upload", query)
			return
		}
	default:
		c.o.Site.Error(v.w, v.r, http.StatusBadRequest)
		return
	}
	n, err := c.o.Admin.RemoveUploads(v.r.Context(), v.by(), address, ids...)
	v.done(err, count(n, "file is", "files are")+" removed.", "/upload", query)
}
