// Package parts is what a server gives to its modules. Each takes from it what it needs and reads its own settings in
// its function Of; the function New beside it, where there is one, knows nothing of the server's configuration.
package parts

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"slices"

	"jackdaw/config"
	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/budget"
	"jackdaw/router/devices"
	"jackdaw/router/space"
	"jackdaw/router/tokens"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// Parts are those of one server; all but Space and URL are needed.
type Parts struct {
	Router   *router.Router
	Store    Store    // a storage.Engine
	Accounts Accounts // router/accounts
	Devices  *devices.Service
	Tokens   *tokens.Service // of programs that post
	// Config returns the configuration in force; it is asked whenever it matters.
	Config func() *config.Config
	Space  *space.Watch // of the disk on which the store is; nil: there is always room
	// URL is where others reach HTTP of a host, without a slash at its end, "" where they do not; nil: nowhere.
	URL     func(host string) string
	Budgets *budget.Book // of accounts; nil: there are none
	// Post sends a message for an account as a request to POST /message does, once anything is served.
	Post posting.Post
	// Node is the name of this one of several nodes, another after each time that it joined; "" where there is one.
	Node    string
	Version string // of the build
	Log     *slog.Logger
}

// Store names the spaces of the modules, each by the name of its module.
type Store interface {
	Map(space string) storage.Map
	Log(space string) storage.Log
}

// Accounts is what modules need of router/accounts.
type Accounts interface {
	router.Users
	Create(ctx context.Context, user jid.JID, password string) error
	SetPassword(ctx context.Context, user jid.JID, password string) error
	Delete(ctx context.Context, user jid.JID) error
	List(ctx context.Context, domain string) ([]accounts.Account, error)
	OnChange(f func(user jid.JID, what accounts.Change))
	Get(ctx context.Context, user jid.JID) (accounts.Account, error)
	Rights(ctx context.Context, user jid.JID) (*accounts.Rights, error)
	Throttle() *accounts.Throttle
	Derive(purpose string, of ...string) [sha256.Size]byte
	Page(ctx context.Context, domain, after string, limit int) ([]accounts.Account, error)
	Apply(ctx context.Context, user jid.JID, password string, from accounts.Source, most accounts.Bounds) error
	Waiting(ctx context.Context, host string) ([]accounts.Application, error)
	Refuse(ctx context.Context, user jid.JID) error
	Reserved(user jid.JID) bool
	Granted(ctx context.Context) ([]jid.JID, error)
}

// Registration says who may create accounts of a host now. Where another knows their passwords, nobody may.
func (p Parts) Registration(host string) config.Registration {
	cfg := p.Config()
	if !p.Switch("registration").On() || cfg.Accounts.Elsewhere(host) {
		return config.RegistrationClosed
	}
	return cfg.Registration
}

// maxAdmins is how many administrators of a host there are who get what is said to all of them.
const maxAdmins = 100

// Admins are the administrators of a host: those that hosts[].admins names, and who was granted the permission, which
// is one of the whole server. Storage that is away leaves out the latter.
func (p Parts) Admins(host string) (all []jid.JID) {
	h := p.Config().Host(host)
	if h == nil {
		return nil
	}
	for _, a := range h.Admins {
		if j, err := jid.Parse(a); err == nil { // they have been checked
			all = append(all, j)
		}
	}
	granted, err := p.Accounts.Granted(context.Background())
	if err != nil {
		p.Log.Warn("who was granted admin cannot be read", "error", err)
	}
	for _, j := range granted {
		if !slices.Contains(all, j) && p.Config().Host(j.Domain()) != nil && len(all) < maxAdmins {
			all = append(all, j)
		}
	}
	return all
}

// Administers says whether somebody may act as an administrator of a host: hosts[].admins names them, or they have the
// permission, from whichever host.
func (p Parts) Administers(host string, who jid.JID) bool {
	if h := p.Config().Host(host); h != nil && slices.Contains(h.Admins, who.Bare().String()) {
		return true
	}
	if p.Config().Host(who.Domain()) == nil {
		return false
	}
	r, err := p.Accounts.Rights(context.Background(), who)
	return err == nil && r.Has(accounts.PermAdmin)
}

// Erase returns the function Removed of a module that keeps everything of a user under the user's name. remove is
// storage.Map.DeleteOwner or does the same.
func Erase(remove func(ctx context.Context, owner string) (*storage.Pending, error)) func(user jid.JID) error {
	return func(user jid.JID) error {
		ctx := context.Background()
		p, err := remove(ctx, user.String())
		if err != nil {
			return err
		}
		return p.Wait(ctx)
	}
}

// A Switch tells a module, and those that are given it, whether it takes part now. Nil: it does.
type Switch func() bool

// Switch is that of a module: the configuration turns it off by its name.
func (p Parts) Switch(module string) Switch {
	return func() bool { return !p.Config().Modules.Off[module] }
}

// On says whether the module takes part now.
func (s Switch) On() bool { return s == nil || s() }
