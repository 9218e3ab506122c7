// Package vcard keeps a vCard for each account, readable by the world and written
// by its owner (XEP-0054).
//
// It is kept as the client wrote it. Whoever is given to OnChange learns of each new one, and may change it, so that
// avatars of both kinds are the same (XEP-0153, XEP-0398), and vCards of both kinds (XEP-0292). Left out is a vCard of
// the host.
package vcard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	key           = "vcard" // of the only record of an owner
	recordVersion = 1       // the first byte; the rest is XML
)

var payload = xmpp.Name{Space: xmpp.NSVCard, Local: "vCard"}

// A Change is a vCard that its owner has written: its photo, without which Data is empty, and the whole of it.
type Change struct {
	User         jid.JID
	Type         string // as the owner has it
	Data, Before []byte
	Card, Was    *xmpp.Element // Was is nil if there was none
}

// Changed is told of a change. written is the write of the vCard; what is returned is awaited before the owner gets the
// result.
type Changed func(b *router.Batch, c Change, written *storage.Pending) *storage.Pending

// VCard is the module. It is safe for concurrent use.
type VCard struct {
	parts.Switch
	router  *router.Router
	store   storage.Map
	limit   func() int
	changed Changed
	log     *slog.Logger
}

// Of makes the vCards of a server.
func Of(p parts.Parts) *VCard {
	v := New(p.Router, p.Store.Map("vcard"), func() int { return p.Config().Limits.VCardBytes }, p.Log)
	v.Switch = p.Switch("vcard")
	return v
}

// New returns the module. The store is of this module alone. limit says how many bytes a vCard may have, whenever that
// matters.
func New(r *router.Router, store storage.Map, limit func() int, log *slog.Logger) *VCard {
	return &VCard{router: r, store: store, limit: limit, log: log}
}

// OnChange has f told of each change. It must be said before the module is used; a second call replaces the first.
func (v *VCard) OnChange(f Changed) { v.changed = f }

// Module says where vCards take part.
func (v *VCard) Module() router.Module {
	return router.Module{
		Name: "vcard",
		Specs: []router.Spec{
			{Name: "XEP-0054", Version: "1.3.0", Note: "the host has none"},
			{Name: "XEP-0153", Version: "1.1.1", Note: "the hash in presence is the business of pep"},
		},
		Features:        []string{xmpp.NSVCard},
		AccountFeatures: []string{xmpp.NSVCard},
		IQ: []router.IQ{{
			Payload: payload,
			Scope:   router.Account,
			Handle: func(e *router.Envelope) {
				if e.Stanza.Type == xmpp.TypeSet {
					v.set(e)
					return
				}
				v.get(e)
			},
			NoAccount: func(e *router.Envelope) {
				if e.Stanza.Type == xmpp.TypeSet { // as for an account of another
					forbid(e)
				}
			},
		}},
		Portable: v.portable(),
		Removed:  parts.Erase(v.store.DeleteOwner),
	}
}

func (v *VCard) get(e *router.Envelope) {
	own := e.FromOwn()
	b, err := v.store.Get(context.Background(), account(e), key)
	switch {
	case err == nil && len(b) > 0 && b[0] == recordVersion:
		v.router.Answer(e, b[1:])
	case errors.Is(err, storage.ErrNotFound) && own: // §3.1
		e.Refuse(xmpp.ItemNotFound("there is no vCard yet"))
	case errors.Is(err, storage.ErrNotFound): // §3.3: as if there were no account
		e.Refuse(xmpp.ServiceUnavailable(""))
	default:
		v.log.Warn("vCard unreadable", "user", account(e), "err", err)
		e.Refuse(router.Unavailable())
	}
}

func (v *VCard) set(e *router.Envelope) {
	if !e.FromOwn() { // §3.2
		forbid(e)
		return
	}
	card := e.Stanza.ChildBytes(payload)
	if most := v.limit(); len(card) > most {
		e.Refuse(xmpp.ResourceConstraint(fmt.Sprintf("a vCard takes %d bytes at most", most)).WithType(xmpp.ErrorModify))
		return
	}
	c, known := v.change(e, card)
	record := append(make([]byte, 0, 1+len(card)), recordVersion)
	_, p, err := v.store.Update(context.Background(), account(e), storage.AnyVersion,
		storage.Change{Key: key, Value: append(record, card...)})
	if err != nil {
		v.log.Warn("vCard not stored", "user", account(e), "err", err)
		e.Refuse(router.Unavailable())
		return
	}
	if known {
		p = v.changed(e.Batch, c, p)
	}
	v.router.AnswerAfter(e, p, nil)
}

// Card is the vCard of a user, nil if there is none that can be read. The error is that of the store.
func (v *VCard) Card(ctx context.Context, user jid.JID) (*xmpp.Element, error) {
	b, err := v.store.Get(ctx, user.Bare().String(), key)
	switch {
	case errors.Is(err, storage.ErrNotFound), err == nil && (len(b) == 0 || b[0] != recordVersion):
		return nil, nil
	case err != nil:
		return nil, err
	}
	card, err := xmpp.ParseElement(b[1:])
	if err != nil {
		return nil, nil // it is the owner's, and says nothing
	}
	return card, nil
}

func forbid(e *router.Envelope) {
	e.Refuse(xmpp.Forbidden("only its owner may change a vCard"))
}

func account(e *router.Envelope) string {
	if e.Stanza.To.IsZero() {
		return e.Session.Bare().String()
	}
	return e.Stanza.To.Bare().String()
}
