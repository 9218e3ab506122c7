package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"jackdaw/admin"
)

// Control is the face of an admin.Service for the commands of cmd/jackdaw, over HTTP with JSON: in the running server
// on a unix socket that only its own user may open, or, when no server runs, in the process of the command, over a
// pipe. Client hides which.
//
// The protocol is between one version of the binary and itself and promises
// nothing to others.
type Control struct {
	Admin *admin.Service

	keeper *keeper // of backups; nil: there are none
	// present tells a component who is at this node; nil where there is one.
	present func(component string)
}

type (
	nothing     struct{}
	name        admin.NameRequest
	switched    admin.SwitchRequest
	deviceOf    admin.DeviceRequest
	reloading   admin.ReloadRequest
	permissions admin.PermissionsRequest

	reply[T any] struct {
		Result T
		Error  string `json:",omitempty"`
	}
)

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
	operation(mux, "user.decide", c.decide)
	operation(mux, "user.keep", c.keep)
	operation(mux, "user.devices", c.devices)
	operation(mux, "user.devices.revoke", c.revokeDevice)
	operation(mux, "user.grant", c.grant)
	operation(mux, "user.revoke", c.revoke)
	operation(mux, "token.add", c.addToken)
	operation(mux, "token.list", c.tokens)
	operation(mux, "token.revoke", c.revokeToken)
	operation(mux, "token.revoke-all", c.revokeTokens)
	operation(mux, "token.rotate", c.rotateToken)
	operation(mux, "api-account.add", c.addAPIAccount)
	operation(mux, "api-account.del", c.deleteAPIAccount)
	operation(mux, "api-account.list", c.listAPIAccounts)
	operation(mux, "sessions", c.sessions)
	operation(mux, "sessions.kick", c.kick)
	operation(mux, "node.sessions", c.sessionsHere)
	operation(mux, "node.sessions-of", c.sessionsOfHere)
	operation(mux, "node.kick", c.kickHere)
	operation(mux, "node.counts", c.countsHere)
	operation(mux, "node.peers", c.peersHere)
	operation(mux, "node.rooms", c.roomsHere)
	operation(mux, "node.bots", c.botsHere)
	operation(mux, "node.tokens", c.tokensHere)
	operation(mux, "node.announced", c.announcedHere)
	operation(mux, "node.reload", c.reloadHere)
	operation(mux, "node.stop", c.stopHere)
	operation(mux, "node.component", c.greetHere)
	operation(mux, "peers", c.peers)
	operation(mux, "reload", c.reload)
	operation(mux, "rooms", c.rooms)
	operation(mux, "rooms.show", c.room)
	operation(mux, "rooms.destroy", c.destroyRoom)
	operation(mux, "rooms.own", c.ownRoom)
	operation(mux, "bot.add", c.addBot)
	operation(mux, "bot.list", c.bots)
	operation(mux, "bot.log", c.botLog)
	operation(mux, "bot.test", c.testBot)
	operation(mux, "bot.remove", c.removeBot)
	operation(mux, "uploads", c.uploads)
	operation(mux, "uploads.users", c.uploadUsers)
	operation(mux, "uploads.remove", c.removeUploads)
	operation(mux, "hook.add", c.addHook)
	operation(mux, "hook.change", c.changeHook)
	operation(mux, "hook.list", c.hooks)
	operation(mux, "hook.show", c.hook)
	operation(mux, "hook.remove", c.removeHook)
	operation(mux, "hook.rotate", c.rotateHook)
	operation(mux, "hook.test", c.testHook)
	operation(mux, "invite", c.invite)
	operation(mux, "invite.list", c.invitations)
	operation(mux, "invite.revoke", c.revokeInvitation)
	operation(mux, "announce", c.announce)
	operation(mux, "announce.list", c.announcements)
	operation(mux, "announce.withdraw", c.withdraw)
	operation(mux, "announce.standing", c.standing)
	operation(mux, "announce.stand", c.stand)
	mux.HandleFunc("POST /user.batch", c.batch)
	mux.HandleFunc("POST /backup", c.backup)
	mux.HandleFunc("POST /export", c.export)
	mux.HandleFunc("POST /import", c.importFile)
	mux.HandleFunc("POST /node.import", c.importHere)
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

func (c *Control) addUser(ctx context.Context, in admin.Login) (nothing, error) {
	return nothing{}, c.Admin.AddUser(ctx, by(ctx), in.Name, in.Password)
}

func (c *Control) setPassword(ctx context.Context, in admin.Login) (nothing, error) {
	return nothing{}, c.Admin.SetPassword(ctx, by(ctx), in.Name, in.Password)
}

func (c *Control) deleteUser(ctx context.Context, in name) (nothing, error) {
	return nothing{}, c.Admin.DeleteUser(ctx, by(ctx), in.Name)
}

// listUsers answers with all accounts: whoever may ask may read the store itself.
func (c *Control) listUsers(ctx context.Context, in name) ([]admin.UserInfo, error) {
	all := []admin.UserInfo{} // not null in JSON
	for from := ""; ; {
		page, next, err := c.Admin.Users(ctx, in.Name, from, 0)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if next == "" {
			return all, nil
		}
		from = next
	}
}

func (c *Control) showUser(ctx context.Context, in name) (admin.UserInfo, error) {
	return c.Admin.User(ctx, in.Name)
}

func (c *Control) keep(ctx context.Context, in switched) (nothing, error) {
	return nothing{}, c.Admin.SetKeep(ctx, by(ctx), in.Name, in.To)
}

func (c *Control) switchUser(ctx context.Context, in switched) (nothing, error) {
	if in.To == "off" {
		return nothing{}, c.Admin.Disable(ctx, by(ctx), in.Name)
	}
	return nothing{}, c.Admin.Enable(ctx, by(ctx), in.Name)
}

func (c *Control) grant(ctx context.Context, in permissions) (nothing, error) {
	return nothing{}, c.Admin.Grant(ctx, by(ctx), in.Name, in.Permissions)
}

func (c *Control) revoke(ctx context.Context, in permissions) (nothing, error) {
	return nothing{}, c.Admin.Revoke(ctx, by(ctx), in.Name, in.Permissions)
}

func (c *Control) addAPIAccount(ctx context.Context, in admin.Login) (nothing, error) {
	return nothing{}, c.Admin.AddAPIAccount(ctx, by(ctx), in.Name, in.Password, in.Domains)
}

func (c *Control) deleteAPIAccount(ctx context.Context, in name) (nothing, error) {
	return nothing{}, c.Admin.DeleteAPIAccount(ctx, by(ctx), in.Name)
}

func (c *Control) listAPIAccounts(ctx context.Context, _ nothing) ([]admin.APIAccountInfo, error) {
	return c.Admin.APIAccounts(ctx)
}

func (c *Control) devices(ctx context.Context, in name) ([]admin.DeviceInfo, error) {
	return c.Admin.UserDevices(ctx, in.Name)
}

func (c *Control) revokeDevice(ctx context.Context, in deviceOf) (knows bool, err error) {
	return c.Admin.RevokeDevice(ctx, by(ctx), in.Name, in.Device)
}

func (c *Control) sessions(context.Context, nothing) ([]admin.SessionInfo, error) {
	return c.Admin.Sessions()
}

func (c *Control) kick(ctx context.Context, in name) (int, error) {
	return c.Admin.Kick(by(ctx), in.Name)
}

func (c *Control) peers(context.Context, nothing) (admin.PeersInfo, error) { return c.Admin.Peers() }

func (c *Control) reload(_ context.Context, in reloading) ([]string, error) {
	return c.Admin.Reload(admin.Command, in.DropHost)
}

// BatchOutcome is how one line of a batch went; Error is empty if well.
type BatchOutcome struct {
	Index int
	Error string `json:",omitempty"`
}

// batch creates the accounts of a body with one admin.Login per line, and answers with a BatchOutcome per line as each
// is settled.
func (c *Control) batch(w http.ResponseWriter, r *http.Request) {
	var list []admin.Login
	// The whole body comes first: HTTP/1.1 does not promise reading after writing.
	d := json.NewDecoder(bufio.NewReader(http.MaxBytesReader(w, r.Body, maxBatch)))
	for {
		var in admin.Login
		if err := d.Decode(&in); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		list = append(list, in)
	}
	out := json.NewEncoder(w)
	tell := func(i int, err error) {
		o := BatchOutcome{Index: i}
		if err != nil {
			o.Error = err.Error()
		}
		_ = out.Encode(o) // whoever asked has gone; the accounts are made all the same
	}
	flush := http.NewResponseController(w)
	shown := time.Now()
	err := c.Admin.AddUsers(r.Context(), admin.Command, list, func(i int, err error) {
		tell(i, err)
		if time.Since(shown) > 100*time.Millisecond { // a progress bar needs no more
			shown = time.Now()
			_ = flush.Flush()
		}
	})
	if err != nil {
		tell(wholeBatch, err)
	}
}
