// Package devices lets users see which clients have access to their account, and take it from one (XEP-0494).
//
// A client that says which installation it is when it logs in (XEP-0388 §2.3) is a device: it is listed as long as it
// may come back by itself, or is here. Any other client is listed while its session lasts. Taking access from a client
// ends its sessions and its token; where it has shown the password, the answer says that only another password keeps it
// out (XEP-0494 §3.2).
//
// Left out: grants (OAuth), since there are none, and restricted permissions: whoever has logged in may do everything.
package devices

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	known "jackdaw/router/devices"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// patience is how long a request waits for the storage.
const patience = 30 * time.Second

// Known are the devices that the server knows: router/devices.
type Known interface {
	List(ctx context.Context, user jid.JID) ([]known.Device, error)
	Remove(ctx context.Context, user jid.JID, device string) error
}

// Options of New; all are needed.
type Options struct {
	Router *router.Router
	Known  Known
	Erase  func(ctx context.Context, owner string) (*storage.Pending, error) // all that Known has of a user
	Log    *slog.Logger
}

type devices struct{ Options }

// Of makes the module of a server.
func Of(p parts.Parts) router.Module {
	return New(Options{Router: p.Router, Known: p.Devices, Erase: p.Store.Map(known.Space).DeleteOwner, Log: p.Log})
}

// New returns the module.
func New(o Options) router.Module {
	d := &devices{o}
	own := func(local string, handle func(*router.Envelope, *xmpp.Element)) router.IQ {
		name := xmpp.Name{Space: xmpp.NSClientAccess, Local: local}
		return router.IQ{Payload: name, Scope: router.Account, Handle: func(e *router.Envelope) {
			switch el := e.Stanza.Child(name); {
			case el == nil, (e.Stanza.Type == xmpp.TypeGet) != (local == "list"):
				e.Refuse(xmpp.BadRequest(""))
			default:
				handle(e, el)
			}
		}}
	}
	return router.Module{
		Name:            "devices",
		Specs:           []router.Spec{{Name: "XEP-0494", Version: "0.1.0"}},
		AccountFeatures: []string{xmpp.NSClientAccess},
		IQ:              []router.IQ{own("list", d.list), own("revoke", d.revoke)}, // for the owner alone (§5)
		Portable: []router.Portable{{Spaces: []string{"map " + known.Space},
			Stays: "a client gets a new token when it logs in by password"}},
		Removed: parts.Erase(o.Erase),
	}
}

// sessionID is how a session is called that is of no device.
func sessionID(s *router.Session) string {
	sum := sha256.Sum256([]byte("session\x00" + s.Addr().String() + "\x00" + s.Connection().Since.UTC().String()))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// list answers with all that has access (XEP-0494 §3.1).
func (d *devices) list(e *router.Envelope, _ *xmpp.Element) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	user := e.Session.Bare()
	all, err := d.Known.List(ctx, user)
	if err != nil {
		d.Log.Warn("devices unreadable", "user", user, "err", err)
		e.Refuse(router.Unavailable())
		return
	}
	since := map[string]time.Time{} // of the newest session of a device
	var others []*router.Session
	for _, s := range e.Session.Siblings() {
		switch at := s.Connection(); {
		case !slices.ContainsFunc(all, func(one known.Device) bool { return one.ID == at.Device }):
			others = append(others, s)
		case at.Since.After(since[at.Device]):
			since[at.Device] = at.Since
		}
	}
	var w xmpp.Writer
	w.Start(xmpp.NSClientAccess, "clients")
	for _, one := range all {
		at, connected := since[one.ID]
		if !connected && !one.Access() {
			continue
		}
		if at.After(one.Last) {
			one.Last = at
		}
		appendClient(&w, one, connected)
	}
	for _, s := range others {
		at := s.Connection().Since
		appendClient(&w, known.Device{ID: sessionID(s), First: at, Last: at, Password: true}, true)
	}
	d.Router.Answer(e, w.End().Bytes())
}

// appendClient writes one client (XEP-0494 §3.1).
func appendClient(w *xmpp.Writer, one known.Device, connected bool) {
	w.Start("", "client").Attr("connected", strconv.FormatBool(connected)).Attr("id", one.ID).Attr("type", "session")
	w.Leaf("", "first-seen", xmpp.FormatTime(one.First)).Leaf("", "last-seen", xmpp.FormatTime(one.Last))
	w.Start("", "auth")
	if one.Password {
		w.Start("", "password").End()
	}
	if one.Token {
		w.Start("", "fast").End()
	}
	w.End()
	w.Start("", "permission").Attr("status", "unrestricted").End()
	if one.Software != "" || one.Name != "" {
		w.Start("", "user-agent")
		if one.Software != "" {
			w.Leaf("", "software", one.Software)
		}
		if one.Name != "" {
			w.Leaf("", "device", one.Name)
		}
		w.End()
	}
	w.End()
}

// revoke takes access from a client (XEP-0494 §3.2). This holds up the stream that asked until it is durable, and no
// other.
func (d *devices) revoke(e *router.Envelope, el *xmpp.Element) {
	id, user := el.Attr("id"), e.Session.Bare()
	if id == "" {
		e.Refuse(xmpp.BadRequest("say which client"))
		return
	}
	for _, s := range e.Session.Siblings() {
		if sessionID(s) == id {
			s.End(string(xmpp.CondNotAuthorized), "access was revoked")
			e.Refuse(resetRequired())
			return
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	password := false
	all, err := d.Known.List(ctx, user)
	for _, one := range all {
		password = password || one.ID == id && one.Password
	}
	if err == nil {
		err = d.Known.Remove(ctx, user, id)
	}
	switch {
	case errors.Is(err, known.ErrNotFound):
		e.Refuse(xmpp.ItemNotFound("there is no such client"))
	case err != nil:
		d.Log.Warn("a device was not removed", "user", user, "err", err)
		e.Refuse(router.Unavailable())
	case password:
		d.Log.Info("device removed", "account", user, "device", id, "by", "user")
		e.Refuse(resetRequired())
	default:
		d.Log.Info("device removed", "account", user, "device", id, "by", "user")
		d.Router.Answer(e, nil)
	}
}

// resetRequired says that a client which has shown the password may come back with it.
func resetRequired() *xmpp.Error {
	return xmpp.ServiceUnavailable("it can log in again until the password is changed").
		WithApp(xmpp.NSClientAccess, "password-reset-required")
}
