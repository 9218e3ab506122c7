package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"jackdaw/admin"
	"jackdaw/config"
	"jackdaw/modules"
	"jackdaw/modules/upload"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/accounts/byhttp"
	"jackdaw/router/accounts/ldap"
	"jackdaw/router/accounts/oauth"
	"jackdaw/storage"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp/jid"
)

// AccountOptions are what a configuration says about accounts. They fail where a file that it names cannot be read.
func AccountOptions(cfg *config.Config, log *slog.Logger) (accounts.Options, error) {
	p := cfg.HTTP.Permissions
	o := accounts.Options{
		Iterations: cfg.C2S.ScramIterations,
		BackoffMin: cfg.Limits.LoginBackoffMin, BackoffMax: cfg.Limits.LoginBackoffMax,
		DerivationsPerCore: cfg.Limits.DerivationsPerCore,
		Everyone: map[accounts.Permission][]string{
			accounts.PermHTTPMessage: p.HTTPMessage,
			accounts.PermMulticast:   p.Multicast,
			accounts.PermForgeSender: p.ForgeSender,
			accounts.PermGateway:     p.XMPPGateway,
		},
	}
	for _, h := range cfg.Hosts {
		for _, a := range h.Admins {
			j, err := jid.Parse(a)
			if err != nil {
				return o, fmt.Errorf("admin %q of %s: %w", a, h.Domain, err)
			}
			o.Admins = append(o.Admins, j)
		}
	}
	var err error
	o.Elsewhere, err = accountsElsewhere(&cfg.Accounts, log)
	return o, err
}

// accountsElsewhere says whose passwords another knows, and how that is asked.
func accountsElsewhere(a *config.Accounts, log *slog.Logger) (e *accounts.Elsewhere, err error) {
	if a.Backend == config.BackendInternal {
		return nil, nil
	}
	e = &accounts.Elsewhere{Hosts: a.Hosts, Cache: a.Cache, Log: log}
	for _, s := range a.Local {
		j, err := jid.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("accounts.local: %q: %w", s, err)
		}
		e.Here = append(e.Here, j)
	}
	switch a.Backend {
	case config.BackendLDAP:
		e.SetsPasswords = a.LDAP.ChangePassword
		e.Backend, err = ldap.New(a.LDAP, log)
	case config.BackendHTTP:
		e.Backend, err = byhttp.New(a.HTTP)
	case config.BackendOAuth:
		e.Backend, err = oauth.New(a.OAuth)
	}
	return e, err
}

// OpenControl brings up a Control on the store itself, for a command when no server runs: accounts, and the modules,
// which erase what they keep of a deleted one. close waits for all writes and lets go of the store. The engine refuses
// a store that another process holds. Only with create is a store made that is not there, else the error says so.
func OpenControl(ctx context.Context, cfg *config.Config, create bool) (c *Control, close func() error, err error) {
	o, store, err := openAdmin(ctx, cfg, create)
	if err != nil {
		return nil, nil, err
	}
	return &Control{Admin: admin.New(o), keeper: newKeeper(cfg, store)}, store.Close, nil
}

func openAdmin(ctx context.Context, cfg *config.Config, create bool) (
	o admin.Options, store storage.Engine, err error) {
	open := openEngine
	switch {
	case create:
		open = openStore
	case !holdsData(cfg):
		return o, nil, fmt.Errorf("%s: %w", cfg.Data, ErrNoData)
	}
	if store, err = open(ctx, cfg, nil, embedded.Options{}); err != nil {
		return o, nil, err
	}
	if o, err = offline(ctx, store, cfg); err != nil {
		return o, nil, errors.Join(err, store.Close())
	}
	return o, store, nil
}

// offline makes what an admin.Service needs of a store that no server has opened.
func offline(ctx context.Context, store storage.Engine, cfg *config.Config) (o admin.Options, err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	options, err := AccountOptions(cfg, log)
	if err != nil {
		return o, err
	}
	users, err := accounts.New(ctx, store, options)
	if err != nil {
		return o, err
	}
	current := func() *config.Config { return cfg }
	r := router.New(router.Options{Hosts: domains(cfg), Users: users, Log: log})
	nowhere := func() []upload.Place { return nil }
	files, err := newFiles(fileParts{r, store, users, current, nowhere, log})
	if err != nil {
		return o, err
	}
	known := newDevices(store, users, current, log)
	nobody := func(jid.JID, string, string) {} // what a running server has to say is not said here
	programs := newTokens(store, users, current, nobody, log)
	features := modules.All(modules.Deps{Router: r, Store: store, Accounts: users, Devices: known,
		Tokens: programs, Config: current,
		URL: func(host string) string { return programsURL(cfg, host, &cfg.Listen) }, Log: log})
	r.Use(features.Modules(files.Module())...)
	users.OnChange(func(user jid.JID, what accounts.Change) {
		if what != accounts.Deleted {
			return
		}
		if err := r.Remove(user); err != nil {
			log.Error("erase what is kept of a deleted account", "account", user, "error", err,
				"do", "make the account once more and remove it again, when storage is well")
		}
	})
	return admin.Options{Accounts: users, Config: current, Kept: features, Devices: known,
		Hooks:       features.Hooks,
		URL:         func(host string) string { return programsURL(cfg, host, &cfg.Listen) },
		Tokens:      programs,
		Invitations: features.Invitations,
		Roster:      features.Roster, Announcements: features.Announcements, Rooms: features.Rooms,
		Bots: features.Bots, Uploads: files}, nil
}
