package server

import (
	"context"
	"log/slog"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"jackdaw/config"
	"jackdaw/modules/upload"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/space"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// fileParts are what the service of files is made of.
type fileParts struct {
	router   *router.Router
	store    storage.Engine
	accounts *accounts.Service
	config   func() *config.Config // in force
	places   func() []upload.Place
	log      *slog.Logger
}

// newFiles makes the service of files, which lie below the data directory or in a bucket.
func newFiles(p fileParts) (*upload.Service, error) {
	cfg := p.config()
	where, err := fileStore(cfg)
	if err != nil {
		return nil, err
	}
	node := ""
	if cfg.Cluster.On() {
		node = cfg.Cluster.NodeName()
	}
	return upload.New(upload.Options{Router: p.router, Records: p.store.Log("upload"), Keys: p.store.Map("upload"),
		Dir: filesDir(cfg), Store: where, Shared: cfg.Modules.Upload.Shared, Node: node, Log: p.log,
		Places: p.places,
		May: func(ctx context.Context, user jid.JID) (bool, error) {
			r, err := p.accounts.Rights(ctx, user)
			return err == nil && r.Active(), err
		},
		Settings: func() upload.Settings {
			c := p.config()
			u := &c.Modules.Upload
			return upload.Settings{MaxSize: u.MaxSize, Quota: u.Quota, Keep: u.Keep, Stall: c.Limits.HTTPBodyTime,
				Space: spaceBounds(c)}
		}}), nil
}

// spaceBounds are how much is to stay free on the disk.
func spaceBounds(c *config.Config) space.Bounds {
	return space.Bounds{Warn: int64(c.Limits.DiskWarn), Reserve: int64(c.Limits.DiskReserve)}
}

// filePlaces are the domains at which files can be uploaded, and where clients find them: none where no listener is
// known that clients reach.
func filePlaces(c *config.Config, l *config.Listen) (all []upload.Place) {
	for _, host := range c.Hosts {
		domain, ok := c.UploadDomain(host.Domain)
		if !ok {
			continue
		}
		if at := filesAt(c, host.Domain, l); at != "" {
			all = append(all, upload.Place{Domain: domain, URL: at})
		}
	}
	return all
}

// filesAt is the URL of a host's files, "" if there is none that works: the one that is configured, else a path below
// what HTTP serves.
func filesAt(c *config.Config, host string, l *config.Listen) string {
	at := publicURL(c, host, l)
	switch {
	case c.Modules.Upload.URL != "" && servesHTTP(l):
		return c.Modules.Upload.URL
	case at == "":
		return ""
	}
	return at + strings.TrimRight(upload.Path, "/")
}

// sayWhereFilesAre logs where clients will send files, which is easily another place than the administrator thinks.
func (h *house) sayWhereFilesAre() {
	if !h.cfg.Load().Modules.Enabled("upload") {
		return
	}
	places := h.filePlaces()
	for _, p := range places {
		h.o.Log.Info("files can be uploaded", "service", p.Domain, "url", p.URL)
	}
	if len(places) == 0 {
		h.o.Log.Info("files cannot be uploaded", "reason",
			"no listener is known that clients reach: listen.https, or http.url")
	}
}

// files exports what the service of files counts.
func (m *metrics) files(c *upload.Stats) {
	m.gauge("jackdaw_uploads_active", "Files being taken.", c.Active.Load)
	m.counters([]counter{
		{"jackdaw_upload_slots_total", "Slots for files given to clients.", c.Slots.Load},
		{"jackdaw_upload_slots_refused_total", "Requests for a slot that were refused.", c.Refused.Load},
		{"jackdaw_upload_bytes_total", "Bytes of files taken.", c.Bytes.Load},
		{"jackdaw_upload_panics_total", "Panics recovered while taking or serving a file; should be 0.", c.Panics.Load},
	})
	for i, status := range upload.Statuses {
		labels := prometheus.Labels{"status": strconv.Itoa(status)}
		m.counter("jackdaw_uploads_total", "Files sent, by status.", labels, c.Puts[i].Load)
		m.counter("jackdaw_downloads_total", "Requests for files, by status.", labels, c.Requests[i].Load)
	}
}
