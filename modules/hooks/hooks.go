// Package hooks lets other programs send messages by the HTTP requests that they make already: alerts, builds, what a
// script has to say. A hook is a named row: who owns it, who gets the message, in whose name, how it is drawn, which
// token opens it. A face of package notice reads the request; what is sent goes by the one way behind POST /message
// (posting.Post), with the permissions that the owner has at that time.
//
// A path that opens a hook is a secret: it is never in a log, an error or a number (docs/hooks.md).
//
// Left out: what the requests of each program mean, which package notice knows, and hooks that users make by
// themselves.
package hooks

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/modules/internal/parts"
	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/tokens"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// Name is that of the module in the configuration.
const Name = "hooks"

// rowOwner has all hooks in the map of this module, by name. Another map has what each of them has sent, by its id.
const rowOwner = "hooks"

const (
	// MaxHooks is how many there may be.
	MaxHooks = 10000
	// maxAtOnce is how many requests are read and sent at a time, each of which may hold a few times its body in memory.
	maxAtOnce = 16
	// patience is how long a request waits for others.
	patience = 3 * time.Second
	// retrySeconds is what a program should wait before it tries again what may pass later.
	retrySeconds = 5
)

// Tokens is what is needed of router/tokens.
type Tokens interface {
	Make(ctx context.Context, spec tokens.Spec) (secret string, t tokens.Token, err error)
	Open(ctx context.Context, secret string, from accounts.Source) (tokens.Token, error)
	List(ctx context.Context, owner jid.JID) ([]tokens.Token, error)
	Revoke(ctx context.Context, id string) error
	Rotate(ctx context.Context, id string, overlap time.Duration, secret string) (string, tokens.Token, error)
}

// Accounts is what is needed of router/accounts.
type Accounts interface {
	Exists(ctx context.Context, user jid.JID) (bool, error)
	Rights(ctx context.Context, user jid.JID) (*accounts.Rights, error)
}

// Settings may change while the service runs.
type Settings struct {
	MaxBody  int           // bytes of a request's body
	MaxText  int           // characters of a message
	BodyTime time.Duration // for a body to arrive
	// TrustedProxies are those whose X-Forwarded-For counts.
	TrustedProxies []netip.Prefix
}

// Options of New. All are needed but those that say what happens without them.
type Options struct {
	Store interface {
		Map(space string) storage.Map
	}
	Tokens   Tokens
	Accounts Accounts
	// Post sends; nil where no server runs.
	Post posting.Post
	// Serves says whether a domain is one of our hosts, Rooms which are the domains of our rooms.
	Serves func(domain string) bool
	Rooms  func() []string
	// Face is the name of the face that a whole virtual host has; "": it has none. Nil: no host has one.
	Face     func(host string) string
	Settings func() Settings // asked for each request
	Log      *slog.Logger
}

// Hooks is the service. It is safe for concurrent use.
type Hooks struct {
	o     Options
	rows  storage.Map
	state storage.Map
	slots chan struct{} // taken by requests that are read and sent
	bigs  chan struct{} // and by those with a big body, too
	held  atomic.Int64  // bytes of bodies there are

	changing sync.Mutex // held while rows are changed

	mu    sync.Mutex // guards gates
	gates map[string]*gate

	// Stats may be read at any time.
	Stats Stats
}

// Stats count since the start.
type Stats struct {
	Outcomes [len(Outcomes)]atomic.Int64 // requests, by the index of Outcomes
	Panics   atomic.Int64
}

// An Outcome is what became of a request, as an index of Outcomes.
type Outcome int

// The outcomes.
const (
	Sent         Outcome = iota // at least one recipient's copy is in safe hands
	Ignored                     // the request is fine, and nothing is to be shown
	Repeated                    // it was sent before
	Invalid                     // nothing can be made of the request
	Unauthorized                // no token, or one that is not good
	Refused                     // nobody may get it
	Unavailable                 // it may pass later
)

// Outcomes are their names.
var Outcomes = [...]string{"sent", "ignored", "repeated", "invalid", "unauthorized", "refused", "unavailable"}

// Of makes the hooks of a server.
func Of(p parts.Parts) *Hooks {
	s := New(Options{Store: p.Store, Tokens: p.Tokens, Accounts: p.Accounts, Post: p.Post, Serves: p.Router.Serves,
		Rooms: func() []string { return p.Config().RoomDomains() },
		Face: func(host string) string {
			if h := p.Config().Host(host); h != nil {
				return h.Face
			}
			return ""
		},
		Settings: func() Settings {
			cfg := p.Config()
			return Settings{MaxBody: cfg.Hooks.MaxBody, MaxText: cfg.Hooks.MaxText, BodyTime: cfg.Limits.HTTPBodyTime,
				TrustedProxies: cfg.HTTP.TrustedProxies}
		}, Log: p.Log})
	return s
}

// New returns the service.
func New(o Options) *Hooks {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Face == nil {
		o.Face = func(string) string { return "" }
	}
	return &Hooks{o: o, rows: o.Store.Map("hooks"), state: o.Store.Map("hookstate"),
		slots: make(chan struct{}, maxAtOnce),
		bigs:  make(chan struct{}, bigsAtOnce), gates: map[string]*gate{}}
}

// Module returns the module, which erases the hooks of accounts that are removed.
func (s *Hooks) Module() router.Module {
	return router.Module{
		Name: Name,
		Portable: []router.Portable{{
			Spaces: []string{"map hooks"},
			Export: s.exported,
			Import: []router.Section{{Name: hooksName, What: "hooks", Depth: 1, Import: s.imported}},
		}, {
			Spaces: []string{"map hookstate"},
			Stays:  "what hooks have sent, for what follows in the next days",
		}},
		Removed: s.removed,
	}
}

// removed removes the hooks of an account, whose tokens go by themselves.
func (s *Hooks) removed(user jid.JID) error {
	ctx := context.Background()
	all, err := s.List(ctx)
	if err != nil {
		return err
	}
	for _, h := range all {
		if h.Owner == user {
			if err := s.remove(ctx, h); err != nil {
				return err
			}
		}
	}
	return nil
}
