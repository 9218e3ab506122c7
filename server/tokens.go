package server

import (
	"log/slog"

	"jackdaw/config"
	programs "jackdaw/modules/tokens"
	"jackdaw/router/accounts"
	"jackdaw/router/tokens"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// newTokens makes the service that knows the tokens of programs. tell has a user written to.
func newTokens(store storage.Engine, users *accounts.Service, current func() *config.Config,
	tell func(user jid.JID, about, line string), log *slog.Logger) *tokens.Service {
	return tokens.New(tokens.Options{Store: store.Map(tokens.Space), Accounts: users, Log: log,
		On:   func() bool { return current().Modules.Enabled(programs.Name) },
		Tell: func(owner jid.JID, line string) { tell(owner, "tokens", line) }})
}
