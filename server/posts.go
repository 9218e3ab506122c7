package server

import (
	"context"

	"jackdaw/config"
	"jackdaw/modules/httpmessage"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

// newPosts makes the service behind POST /message. It comes before the modules, which post by it.
func (h *house) newPosts(store storage.Engine) *httpmessage.Service {
	cfg := h.cfg.Load()
	return httpmessage.New(httpmessage.Options{Router: h.router, Accounts: h.accounts, Engine: store,
		Hosts: func() []string { return domains(h.cfg.Load()) }, Settings: postSettings(cfg),
		Lanes: lanes(cfg), Budgets: h.senders, Foresight: foresight{h}, Upload: h.keepFile, Tokens: h.tokens,
		Rooms: func(domain string) bool { return h.features.Rooms.Serves(domain) }, Log: h.o.Log})
}

func postSettings(cfg *config.Config) httpmessage.Settings {
	l := cfg.Limits
	users, groups, _ := cfg.HTTP.Sockets()
	return httpmessage.Settings{MaxBody: cfg.HTTP.MaxBody, MaxRecipients: cfg.HTTP.MaxRecipients,
		BodyTime: l.HTTPBodyTime, OwnAddress: cfg.HTTP.ForgedRemote == config.ForgedOwnAddress,
		TrustedProxies: cfg.HTTP.TrustedProxies, SocketUsers: users, SocketGroups: groups, Resolve: cfg.S2S.Resolve,
		Stanza: stream.Limits{Bytes: cfg.HTTP.MaxBody, Depth: l.Depth, Elements: l.Elements,
			Attributes: l.Attributes, Declarations: l.Namespaces}}
}

// lanes of a post: where storage is far, the copies of many recipients share round trips and commits.
func lanes(cfg *config.Config) int {
	if cfg.Storage.Far() {
		return 16
	}
	return 1
}

// foresight is what features know of a post that is not sent.
type foresight struct{ h *house }

// Blocks implements httpmessage.Foresight.
func (f foresight) Blocks(user, other jid.JID) bool { return f.h.features.Blocks(user, other) }

// Sees implements httpmessage.Foresight.
func (f foresight) Sees(user, other jid.JID) (bool, error) {
	return f.h.features.Roster.Sees(user, other)
}

// keepFile keeps a file that came with a post, as one that its account has uploaded.
func (h *house) keepFile(ctx context.Context, user jid.JID, name, kind string, data []byte) (string, error) {
	cfg, domain := h.cfg.Load(), ""
	if cfg.Modules.Enabled("upload") {
		domain, _ = cfg.UploadDomain(user.Domain())
	}
	return h.files.Keep(ctx, domain, user, name, kind, data)
}
