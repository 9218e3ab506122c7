// Package admin is what an administrator may do, once: accounts, sessions, devices, peers. It has several faces, which
// read requests and write answers and decide nothing: the control socket of package server, behind the commands of
// cmd/jackdaw, and what else administrators use.
//
// Addresses are taken as people write them, and errors are for people: they say what was wrong and what to do.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"jackdaw/config"
	"jackdaw/modules"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/devices"
	"jackdaw/xmpp/jid"
)

// By is who asks for something, as the log names it: Command, or the bare address of an administrator, which whoever
// calls has authenticated.
type By string

// Command is whoever may run the commands of cmd/jackdaw on the data directory.
const Command By = "command"

// ErrNotRunning is the answer to what needs a running server.
var ErrNotRunning = errors.New("no server runs on this data directory: start it with `jackdaw serve`")

// Options are the parts that a Service works on.
type Options struct {
	Accounts *accounts.Service
	// Config returns the configuration in force.
	Config func() *config.Config
	// Kept tells what the modules keep of a user; nil where nobody asks.
	Kept Kept
	// Devices are those of accounts; nil where nobody asks.
	Devices Devices
	// Tokens are those of programs; nil where nobody asks.
	Tokens Tokens
	// Roster has the contacts of users; nil where nobody asks.
	Roster Roster
	// Invitations lead people in; nil where nobody does.
	Invitations Invitations
	// Hooks are addresses at which programs post; nil where there are none.
	Hooks Hooks
	// URL is where HTTP of a host is reached, without a slash at its end; "": nowhere. Nil: nobody knows.
	URL func(host string) string
	// Announcements write to everybody; nil where nobody does.
	Announcements Announcements
	// Rooms is the service of rooms; nil where nobody asks.
	Rooms Rooms
	// Bots are accounts that programs answer for; nil where nobody asks.
	Bots Bots
	// Uploads is the service of files; nil where nobody asks.
	Uploads Uploads
	// Elsewhere has other nodes do what concerns their accounts; nil where there are none.
	Elsewhere Elsewhere
	// Log hears what was changed, and by whom; nil: nobody does.
	Log *slog.Logger
	// Live is nil when no server runs.
	Live Live
}

// Live is what only a running server can do. Its methods are safe for concurrent use.
type Live interface {
	Sessions() []SessionInfo // in any order; the slice is the caller's
	// SessionsOf are those of an account.
	SessionsOf(user jid.JID) []SessionInfo
	// Kick ends the sessions of an account, or the one of a full address, and says how many there were.
	Kick(user jid.JID) int
	// Peers lists the streams of other servers and of components, and what waits for peers.
	Peers() PeersInfo
	// Reload takes up the configuration and certificates as the files are now, and returns what the configuration warns
	// of. On an error all stays as it was. A host with accounts or sessions goes with dropHost only.
	Reload(dropHost bool) (warnings []string, err error)
	// Stop stops the server when some time has passed; another call sets another time.
	Stop(after time.Duration)
}

// Kept is what a Service asks of modules.Set.
type Kept interface {
	Stored(ctx context.Context, user jid.JID) ([]modules.Stored, error)
	LastTimes(ctx context.Context, user jid.JID) (login, left time.Time, err error)
	KeepOf(ctx context.Context, user jid.JID) (keep time.Duration, own bool, err error)
	SetKeep(ctx context.Context, user jid.JID, keep time.Duration, own bool) error
	// Portable says how what modules keep is exported and imported.
	Portable() []router.Portable
}

// Devices is what a Service asks of devices.Service.
type Devices interface {
	List(ctx context.Context, user jid.JID) ([]devices.Device, error)
	Remove(ctx context.Context, user jid.JID, device string) error
}

// Roster is what a Service asks of modules/roster.
type Roster interface {
	// Query is a roster as XML (RFC 6121 §2.2), and how many items it has.
	Query(user jid.JID) (query []byte, items int, err error)
}

// Service does what administrators ask for. It does not ask who may: its faces let in nobody else. Its methods are safe
// for concurrent use. Besides the errors that they name they return accounts.ErrUser for what names no account,
// accounts.ErrNotFound for one that is not there, accounts.ErrUnavailable while storage is away, and the context's.
type Service struct{ o Options }

// New makes a Service of its parts, which stay the caller's.
func New(o Options) *Service { return &Service{o} }

// user reads the bare address of an account.
func user(s string) (jid.JID, error) {
	j, err := jid.Parse(s)
	if err != nil || j.Local() == "" || !j.IsBare() {
		return jid.JID{}, fmt.Errorf("%q: %w", s, accounts.ErrUser)
	}
	return j, nil
}

// domain reads the name of a host.
func domain(s string) (string, error) {
	j, err := jid.Parse(s)
	if err != nil || j.Local() != "" || j.Resource() != "" {
		return "", fmt.Errorf("%q is no domain", s)
	}
	return j.Domain(), nil
}

// Administers says whether an account is an administrator: it has the permission and is of a host that is served.
func (s *Service) Administers(ctx context.Context, who jid.JID) bool {
	return who.Local() != "" && s.o.Config().Host(who.Domain()) != nil &&
		s.o.Accounts.Permitted(ctx, who.Bare(), accounts.PermAdmin)
}

// served refuses a domain that is not ours: an account there could never log in.
func (s *Service) served(domain string) error {
	cfg := s.o.Config()
	if cfg.Host(domain) != nil {
		return nil
	}
	var ours []string
	for _, h := range cfg.Hosts {
		ours = append(ours, h.Domain)
	}
	return fmt.Errorf("%s is not served here: add it to hosts in the configuration, or use one of %s",
		domain, strings.Join(ours, ", "))
}

// said logs what was changed, unless it failed.
func (s *Service) said(err error, by By, what string, args ...any) error {
	if err == nil && s.o.Log != nil {
		s.o.Log.Info(what, append(args, "by", string(by))...)
	}
	return err
}
