package server

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"jackdaw/config"
	"jackdaw/modules"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

// Control does what the commands of cmd/jackdaw ask for, over HTTP with JSON: in
// the running server on a unix socket that only its own user may open, or, when no
// server runs, in the process of the command, over a pipe. So there is one
// implementation of each operation and two ways to it; Client hides which.
//
// The protocol is between one version of the binary and itself and promises
// nothing to others.
type Control struct {
	Accounts *accounts.Service
	// Config returns the configuration in force.
	Config func() *config.Config
	// Kept tells what the modules keep of a user; nil where nobody asks.
	Kept Kept
	// Devices are those of accounts; nil where nobody asks.
	Devices Devices
	// Log hears what was changed; nil: nobody does.
	Log *slog.Logger
	// Live is nil when no server runs.
	Live Live
}

// Live is what only a running server can do. Its methods are safe for
// concurrent use.
type Live interface {
	Sessions() []SessionInfo // in any order; the slice is the caller's
	// Kick ends the sessions of an account, or the one of a full address, and
	// says how many there were.
	Kick(user jid.JID) int
	// Peers lists the streams of other servers and of components, and what waits for peers.
	Peers() PeersInfo
	// Reload takes up the configuration and certificates as the files are now, and returns what the configuration warns
	// of. On an error all stays as it was. A host with accounts or sessions goes with dropHost only.
	Reload(dropHost bool) (warnings []string, err error)
}

// Kept is what Control asks of modules.Set.
type Kept interface {
	Stored(ctx context.Context, user jid.JID) ([]modules.Stored, error)
	LastTimes(ctx context.Context, user jid.JID) (login, left time.Time, err error)
}

type (
	nothing     struct{}
	name        struct{ Name string }
	switched    struct{ Name, To string }
	reloading   struct{ DropHost bool }
	permissions struct {
		Name        string
		Permissions []string
	}
	reply[T any] struct {
		Result T
		Error  string `json:",omitempty"`
	}
)

// ErrNotRunning is the answer to what needs a running server.
var ErrNotRunning = errors.New("no server runs on this data directory: start it with `jackdaw serve`")

// wholeBatch is the Index of an outcome that stands for all that were not settled.
const wholeBatch = -1

// maxBatch is how many bytes of accounts one request may carry; Client stays far below.
const maxBatch = 16 << 20

// Handler serves all operations.
func (c *Control) Handler() http.Handler {
	mux := http.NewServeMux()
	operation(mux, "user.add", c.addUser)
	operation(mux, "user.passwd", c.setPassword)
	operation(mux, "user.del", c.deleteUser)
	operation(mux, "user.list", c.listUsers)
	operation(mux, "user.show", c.showUser)
	operation(mux, "user.switch", c.switchUser)
	operation(mux, "user.devices", c.devices)
	operation(mux, "user.devices.revoke", c.revokeDevice)
	operation(mux, "user.grant", c.grant)
	operation(mux, "user.revoke", c.revoke)
	operation(mux, "api-account.add", c.addAPIAccount)
	operation(mux, "api-account.del", c.deleteAPIAccount)
	operation(mux, "api-account.list", c.listAPIAccounts)
	operation(mux, "sessions", c.sessions)
	operation(mux, "sessions.kick", c.kick)
	operation(mux, "peers", c.peers)
	operation(mux, "reload", c.reload)
	mux.HandleFunc("POST /user.batch", c.batch)
	return mux
}

// operation mounts f under a name: its argument and its result are JSON.
func operation[In, Out any](mux *http.ServeMux, name string, f func(context.Context, In) (Out, error)) {
	mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
		var in In
		var out reply[Out]
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
		err := d.Decode(&in)
		if err == nil {
			out.Result, err = f(r.Context(), in)
		}
		if err != nil {
			out.Error = err.Error()
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out) // whoever asked has gone
	})
}

// user reads the bare address of an account.
func user(s string) (jid.JID, error) {
	j, err := jid.Parse(s)
	if err != nil || j.Local() == "" || !j.IsBare() {
		return jid.JID{}, fmt.Errorf("%q: %w", s, accounts.ErrUser)
	}
	return j, nil
}

// served refuses a domain that is not ours: an account there could never log in.
func (c *Control) served(domain string) error {
	cfg := c.Config()
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

func (c *Control) newUser(s string) (jid.JID, error) {
	j, err := user(s)
	if err == nil {
		err = c.served(j.Domain())
	}
	return j, err
}

func (c *Control) addUser(ctx context.Context, in Login) (nothing, error) {
	j, err := c.newUser(in.Name)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, c.said(c.Accounts.Create(ctx, j, in.Password), "account created", "account", j)
}

// said logs what a command has changed, unless it failed.
func (c *Control) said(err error, what string, args ...any) error {
	if err == nil && c.Log != nil {
		c.Log.Info(what, append(args, "by", "command")...)
	}
	return err
}

func (c *Control) setPassword(ctx context.Context, in Login) (nothing, error) {
	j, err := user(in.Name)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, c.said(c.Accounts.SetPassword(ctx, j, in.Password), "password set", "account", j)
}

func (c *Control) deleteUser(ctx context.Context, in name) (nothing, error) {
	j, err := user(in.Name)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, c.said(c.Accounts.Delete(ctx, j), "account removed", "account", j)
}

func (c *Control) listUsers(ctx context.Context, in name) ([]UserInfo, error) {
	domain := in.Name
	if domain != "" {
		j, err := jid.Parse(domain)
		if err != nil || j.Local() != "" || j.Resource() != "" {
			return nil, fmt.Errorf("%q is no domain", domain)
		}
		domain = j.Domain()
	}
	list, err := c.Accounts.List(ctx, domain)
	if err != nil {
		return nil, err
	}
	connected := map[string]int{}
	if c.Live != nil {
		for _, s := range c.Live.Sessions() {
			bare, _, _ := strings.Cut(s.JID, "/")
			connected[bare]++
		}
	}
	if domain != "" && len(list) == 0 {
		// A host that was taken out of the configuration may have accounts still.
		if err := c.served(domain); err != nil {
			return nil, err
		}
	}
	out := make([]UserInfo, len(list))
	for i, a := range list {
		out[i] = c.shown(a, connected[a.User.String()])
	}
	return out, nil
}

func (c *Control) shown(a accounts.Account, sessions int) UserInfo {
	u := UserInfo{JID: a.User.String(), Disabled: a.Disabled, Created: a.Created, Changed: a.Changed,
		Sessions:    sessions,
		Permissions: []string{}, Rights: []RightInfo{}} // not null in JSON
	for _, p := range a.Permissions {
		u.Permissions = append(u.Permissions, string(p))
	}
	for _, h := range c.Accounts.HeldOf(a) {
		u.Rights = append(u.Rights, RightInfo{Permission: string(h.Permission), Source: h.Source,
			Everybody: h.Everybody})
	}
	return u
}

func (c *Control) showUser(ctx context.Context, in name) (UserInfo, error) {
	j, err := user(in.Name)
	if err != nil {
		return UserInfo{}, err
	}
	a, err := c.Accounts.Get(ctx, j)
	if err != nil {
		return UserInfo{}, err
	}
	sessions, newest := 0, time.Time{}
	if c.Live != nil {
		for _, s := range c.Live.Sessions() {
			if bare, _, _ := strings.Cut(s.JID, "/"); bare == j.String() {
				sessions++
				if s.Since.After(newest) {
					newest = s.Since
				}
			}
		}
	}
	u := c.shown(a, sessions)
	u.LastLogin = newest
	if c.Kept == nil {
		return u, nil
	}
	login, left, err := c.Kept.LastTimes(ctx, j)
	if err != nil {
		return UserInfo{}, err
	}
	if login.After(u.LastLogin) {
		u.LastLogin = login
	}
	if sessions == 0 {
		u.LastSeen = left
	}
	stored, err := c.Kept.Stored(ctx, j)
	for _, one := range stored {
		u.Stored = append(u.Stored, StoredInfo(one))
	}
	return u, err
}

func (c *Control) switchUser(ctx context.Context, in switched) (nothing, error) {
	j, err := user(in.Name)
	if err != nil {
		return nothing{}, err
	}
	what := "account enabled"
	if in.To == "off" {
		what = "account disabled"
	}
	return nothing{}, c.said(c.Accounts.SetDisabled(ctx, j, in.To == "off"), what, "account", j)
}

func (in permissions) parse() (jid.JID, []accounts.Permission, error) {
	j, err := user(in.Name)
	if err != nil {
		return j, nil, err
	}
	var list []accounts.Permission
	for _, s := range in.Permissions {
		p, err := accounts.ParsePermission(s)
		if err != nil {
			return j, nil, err
		}
		list = append(list, p)
	}
	return j, list, nil
}

func (c *Control) grant(ctx context.Context, in permissions) (nothing, error) {
	j, list, err := in.parse()
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, c.said(c.Accounts.Grant(ctx, j, list...), "permissions granted", "account", j,
		"permissions", list)
}

func (c *Control) revoke(ctx context.Context, in permissions) (nothing, error) {
	j, list, err := in.parse()
	if err != nil {
		return nothing{}, err
	}
	if err := c.said(c.Accounts.Revoke(ctx, j, list...), "permissions revoked", "account", j,
		"permissions", list); err != nil {
		return nothing{}, err
	}
	return nothing{}, c.Accounts.StillHeld(ctx, j, list...)
}

func (c *Control) addAPIAccount(ctx context.Context, in Login) (nothing, error) {
	for _, d := range in.Domains {
		j, err := jid.Parse(d)
		if err != nil || j.Local() != "" || j.Resource() != "" {
			return nothing{}, fmt.Errorf("%q is no domain", d)
		}
		if err := c.served(j.Domain()); err != nil {
			return nothing{}, err
		}
	}
	return nothing{}, c.said(c.Accounts.CreateAPI(ctx, in.Name, in.Password, in.Domains), "API account created",
		"account", in.Name, "domains", in.Domains)
}

func (c *Control) deleteAPIAccount(ctx context.Context, in name) (nothing, error) {
	return nothing{}, c.said(c.Accounts.DeleteAPI(ctx, in.Name), "API account removed", "account", in.Name)
}

func (c *Control) listAPIAccounts(ctx context.Context, _ nothing) ([]APIAccountInfo, error) {
	list, err := c.Accounts.ListAPI(ctx)
	var out []APIAccountInfo
	for _, a := range list {
		out = append(out, APIAccountInfo(a))
	}
	return out, err
}

func (c *Control) sessions(context.Context, nothing) ([]SessionInfo, error) {
	if c.Live == nil {
		return nil, ErrNotRunning
	}
	list := c.Live.Sessions()
	slices.SortFunc(list, func(a, b SessionInfo) int { return strings.Compare(a.JID, b.JID) })
	return list, nil
}

func (c *Control) kick(_ context.Context, in name) (int, error) {
	if c.Live == nil {
		return 0, ErrNotRunning
	}
	j, err := jid.Parse(in.Name)
	if err != nil || j.Local() == "" {
		return 0, fmt.Errorf("%q is not the address of a user or a session", in.Name)
	}
	n := c.Live.Kick(j)
	if n == 0 {
		return 0, fmt.Errorf("%s is not connected", j)
	}
	return n, c.said(nil, "sessions ended", "address", j, "sessions", n)
}

func (c *Control) peers(context.Context, nothing) (PeersInfo, error) {
	if c.Live == nil {
		return PeersInfo{}, ErrNotRunning
	}
	p := c.Live.Peers()
	slices.SortFunc(p.Links, func(a, b LinkInfo) int {
		return cmp.Or(strings.Compare(a.Remote, b.Remote), strings.Compare(a.Local, b.Local),
			strings.Compare(a.Direction, b.Direction))
	})
	slices.SortFunc(p.Queues, func(a, b QueueInfo) int {
		return cmp.Or(strings.Compare(a.Remote, b.Remote), strings.Compare(a.Local, b.Local))
	})
	return p, nil
}

func (c *Control) reload(_ context.Context, in reloading) ([]string, error) {
	if c.Live == nil {
		return nil, ErrNotRunning
	}
	return c.Live.Reload(in.DropHost)
}

// batch creates the accounts of a body with one Login per line, and answers
// with a BatchOutcome per line as each is settled.
func (c *Control) batch(w http.ResponseWriter, r *http.Request) {
	var list []accounts.NewAccount
	var index []int // in the request, of each in list
	out := json.NewEncoder(w)
	tell := func(i int, err error) {
		o := BatchOutcome{Index: i}
		if err != nil {
			o.Error = err.Error()
		}
		_ = out.Encode(o) // whoever asked has gone; the accounts are made all the same
	}
	// The whole body comes first: HTTP/1.1 does not promise reading after writing.
	var refused []func()
	d := json.NewDecoder(bufio.NewReader(http.MaxBytesReader(w, r.Body, maxBatch)))
	for i := 0; ; i++ {
		var in Login
		if err := d.Decode(&in); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		j, err := c.newUser(in.Name)
		if err != nil {
			refused = append(refused, func() { tell(i, err) })
			continue
		}
		list, index = append(list, accounts.NewAccount{User: j, Password: in.Password}), append(index, i)
	}
	for _, f := range refused {
		f()
	}
	flush := http.NewResponseController(w)
	shown := time.Now()
	err := c.Accounts.CreateBatch(r.Context(), list, func(i int, err error) {
		tell(index[i], c.said(err, "account created", "account", list[i].User))
		if time.Since(shown) > 100*time.Millisecond { // a progress bar needs no more
			shown = time.Now()
			_ = flush.Flush()
		}
	})
	if err != nil {
		tell(wholeBatch, err)
	}
}
