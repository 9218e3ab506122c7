package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"jackdaw/config"
	"jackdaw/storage"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp/jid"
)

// healthEvery is how often a running server looks whether its storage can acknowledge writes.
const healthEvery = time.Second

// watchStorage says once that the storage cannot acknowledge any more, with what to do, and once that it can again,
// until ctx ends. /healthz asks the same question, storage.Engine.Err, so the two never disagree for longer than
// healthEvery.
func (h *house) watchStorage(ctx context.Context) {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	var since time.Time // zero while all is well
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := h.store.Err()
		switch {
		case err == nil && !since.IsZero():
			h.o.Log.Info("storage is back, writes are acknowledged again",
				"after", time.Since(since).Round(time.Second))
			since = time.Time{}
		case err != nil && since.IsZero() && !errors.Is(err, storage.ErrClosed):
			since = time.Now()
			if errors.Is(err, embedded.ErrFailed) || errors.Is(err, embedded.ErrNoRoom) { // its log has said so
				continue
			}
			h.o.Log.Error("storage failed, nothing is acknowledged", "error", err, "do", remedy(h.cfg.Load(), err))
		}
	}
}

// remedy says what an administrator does about an error of the storage.
func remedy(cfg *config.Config, err error) string {
	if errors.Is(err, storage.ErrTaken) {
		return "end one of the two servers, then restart this one if it is to go on"
	}
	if cfg.Storage.Engine == config.EngineRedis {
		place, _ := cfg.Storage.Redis.Place() // the configuration was checked
		return fmt.Sprintf("bring Redis at %s back, or the way to it; this server goes on by itself then",
			strings.Join(place.Addrs, ", "))
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room on the disk of " + cfg.Data +
			", then restart this server if it does not say that storage is back"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "raise the limit of open files (LimitNOFILE), then restart this server if it does not say " +
			"that storage is back"
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return "make " + cfg.Data + " writable for the user of this server, then restart it"
	}
	return "look at the disk of " + cfg.Data + " and at the system's log, then restart this server; " +
		"what was acknowledged is on disk"
}

// sayWhoIsServed says whether others than this machine can reach the server.
func (h *house) sayWhoIsServed() {
	cfg := h.cfg.Load()
	l := cfg.Listen
	for _, list := range [][]string{l.C2S, l.C2STLS, l.TLS, l.S2S, l.S2STLS, l.HTTP, l.HTTPS} {
		for _, addr := range list {
			if !config.Loopback(addr) {
				return
			}
		}
	}
	log := h.o.Log.Info
	if len(cfg.Hosts) != 1 || cfg.Hosts[0].Domain != "localhost" { // somebody has said whom it is for
		log = h.o.Log.Warn
	}
	log("only this machine is served: every listener is on loopback", "do", `for others set listen.c2s: [":5222"] and listen.c2s_tls: [":5223"]`)
}

// sayCertificatesInUse names the certificate of each host.
func (h *house) sayCertificatesInUse() {
	for _, c := range h.certs.inUse() {
		file, issuer := c.file, c.leaf.Issuer.String()
		switch {
		case c.issued:
			file = "by itself (acme)"
		case file == "":
			file, issuer = "self-signed", "this server"
		}
		h.o.Log.Info("certificate in use", "host", c.domain, "file", file, "issuer", issuer,
			"until", c.leaf.NotAfter.Format(time.DateOnly))
	}
}

// sayAdmins warns of administrators of the configuration who have no account here, which is mostly a slip in the name,
// and returns the same as text. Those of other servers are told of reports, and need none.
func (h *house) sayAdmins(ctx context.Context) (warnings []string) {
	cfg := h.cfg.Load()
	for i, host := range cfg.Hosts {
		for _, admin := range host.Admins {
			user, err := jid.Parse(admin)
			if err != nil || cfg.Host(user.Domain()) == nil { // it was checked
				continue
			}
			// A store that cannot be read says so itself.
			if there, err := h.accounts.Exists(ctx, user); err != nil || there {
				continue
			}
			do := "create it with `jackdaw user add " + admin + "`, or correct the name"
			if cfg.Accounts.Elsewhere(user.Domain()) && !slices.Contains(cfg.Accounts.Local, admin) {
				do = "it is made when its user logs in first; correct the name if there is no such user (accounts.backend)"
			}
			h.o.Log.Warn("an administrator has no account", "account", admin,
				"key", fmt.Sprintf("hosts[%d].admins", i), "do", do)
			warnings = append(warnings, fmt.Sprintf("hosts[%d].admins: %s has no account: %s", i, admin, do))
		}
	}
	return warnings
}

// sayIfRoot warns of a server that runs as root on another user's data: what it creates is closed to that user.
func sayIfRoot(o RunOptions, data string) {
	owner, ok := OwnerOf(data)
	if os.Geteuid() == 0 && ok && owner.UID != 0 {
		o.Log.Warn("this server runs as root, and its data directory belongs to another user, "+
			"who will not be able to read what is new there",
			"data", data, "owner", owner.UID, "do", "run it as that user (User= in the unit)")
	}
}
