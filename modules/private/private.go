// Package private keeps small pieces of XML for their owner (XEP-0049): settings
// and bookmarks of clients.
//
// A piece is known by the name and namespace of its outermost element; several of one
// name in one request are kept together. Storing an empty element without attributes
// forgets the piece, since that is what a client gets for one that is not there. The
// namespaces that §2.3 calls reserved are not refused, which is optional: clients
// use some of them.
//
// Bookmarks of rooms (XEP-0048) are those of Bookmarks, if there are some there: so that clients that keep them
// elsewhere see the same (XEP-0402 §5.3).
package private

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// What an account may keep, beside the bytes in all that New is told of.
const (
	MaxSize   = 256 << 10 // bytes of one piece
	MaxPieces = 100
)

// maxAnswer is how many bytes an answer may have before the last piece is added: two pieces of the largest size fit.
const maxAnswer = MaxSize

const recordVersion = 1 // the first byte; the rest is XML

var query = xmpp.Name{Space: xmpp.NSPrivate, Local: "query"}

// Bookmarks are where else bookmarks of rooms are kept. They are <conference/> elements of XEP-0048.
type Bookmarks interface {
	On() bool // whether that is so now
	// Conferences are those of a user; ok is false if none have been kept there ever.
	Conferences(user jid.JID) (all []*xmpp.Element, ok bool, err error)
	// SetConferences replaces them all. written is what has been written here; what is returned is awaited before the
	// user gets the result.
	SetConferences(b *router.Batch, user jid.JID, all []*xmpp.Element, written *storage.Pending) (*storage.Pending, error)
}

// Private is the module. It is safe for concurrent use.
type Private struct {
	parts.Switch
	router    *router.Router
	store     storage.Map
	limit     func() int
	elsewhere Bookmarks // nil: nowhere
	log       *slog.Logger
}

// Of makes the private storage of a server.
func Of(p parts.Parts) *Private {
	m := New(p.Router, p.Store.Map("private"), func() int { return p.Config().Limits.PrivateBytes }, p.Log)
	m.Switch = p.Switch("private")
	return m
}

// New returns the module. The store is of this module alone. limit says how many bytes an account may keep, whenever
// that matters.
func New(r *router.Router, store storage.Map, limit func() int, log *slog.Logger) *Private {
	return &Private{router: r, store: store, limit: limit, log: log}
}

// BookmarksAreIn says where else bookmarks are kept. It must be said before the module is used.
func (p *Private) BookmarksAreIn(b Bookmarks) { p.elsewhere = b }

// bookmarks are where else they are kept now, nil for nowhere.
func (p *Private) bookmarks() Bookmarks {
	if p.elsewhere == nil || !p.elsewhere.On() {
		return nil
	}
	return p.elsewhere
}

// Module says where private storage takes part.
func (p *Private) Module() router.Module {
	return router.Module{
		Name:     "private",
		Specs:    []router.Spec{{Name: "XEP-0049", Version: "1.2"}},
		Features: []string{xmpp.NSPrivate},
		IQ: []router.IQ{{Payload: query, Scope: router.Account, Handle: p.handle,
			Others: xmpp.Forbidden("private data is for its owner alone")}}, // §2.3, example 3
		Portable: p.portable(),
		Removed:  parts.Erase(p.store.DeleteOwner),
	}
}

func (p *Private) handle(e *router.Envelope) {
	q := e.Stanza.Child(query)
	if q == nil {
		e.Refuse(xmpp.BadRequest(""))
		return
	}
	pieces := q.Children()
	for _, c := range pieces {
		// §2.3: each must have a namespace of its own.
		if s := c.Name.Space; s == "" || s == xmpp.NSPrivate || s == xmpp.NSClient {
			e.Refuse(xmpp.NotAcceptable("each element needs a namespace of its own"))
			return
		}
	}
	if e.Stanza.Type == xmpp.TypeSet {
		p.set(e, pieces)
		return
	}
	p.get(e, pieces)
}

func (p *Private) get(e *router.Envelope, pieces []*xmpp.Element) {
	if len(pieces) == 0 { // §3, Bad Format
		e.Refuse(xmpp.BadRequest("say which element you want"))
		return
	}
	for _, c := range pieces {
		if c.Name.Space != pieces[0].Name.Space { // §2.3
			e.Refuse(xmpp.BadRequest("ask for one namespace at a time"))
			return
		}
	}
	var w xmpp.Writer
	w.Start(xmpp.NSPrivate, "query")
	given := make(map[string]bool, len(pieces))
	for _, c := range pieces {
		if given[c.Name.Local] { // each once, however often it is asked for
			continue
		}
		given[c.Name.Local] = true
		if len(w.Bytes()) > maxAnswer {
			e.Refuse(xmpp.ResourceConstraint("too much for one answer: ask for less at a time").WithType(xmpp.ErrorModify))
			return
		}
		b, err := p.store.Get(context.Background(), e.Session.Bare().String(), key(c.Name))
		if c.Name == rooms {
			b, err = p.withRooms(e.Session.Bare(), b, err)
		}
		switch {
		case errors.Is(err, storage.ErrNotFound):
			w.Start(c.Name.Space, c.Name.Local).End()
		case err != nil || len(b) == 0 || b[0] != recordVersion:
			p.log.Warn("private data unreadable", "user", e.Session.Bare(), "err", err)
			e.Refuse(router.Unavailable())
			return
		default:
			w.Raw(b[1:])
		}
	}
	p.router.Answer(e, w.End().Bytes())
}

func (p *Private) set(e *router.Envelope, pieces []*xmpp.Element) {
	if len(pieces) == 0 { // §2.3
		e.Refuse(xmpp.NotAcceptable("nothing to store"))
		return
	}
	var changes []storage.Change
	for _, c := range pieces {
		k := key(c.Name)
		i := slices.IndexFunc(changes, func(o storage.Change) bool { return o.Key == k })
		if i < 0 {
			i = len(changes)
			changes = append(changes, storage.Change{Key: k, Delete: true})
		}
		if len(c.Content) == 0 && len(c.Attrs) == 0 {
			continue
		}
		if changes[i].Delete {
			changes[i] = storage.Change{Key: k, Value: []byte{recordVersion}}
		}
		if changes[i].Value = c.Append(changes[i].Value); len(changes[i].Value)-1 > MaxSize {
			e.Refuse(xmpp.ResourceConstraint("an element takes 256 KiB at most").WithType(xmpp.ErrorModify))
			return
		}
	}
	ctx, owner := context.Background(), e.Session.Bare().String()
	for {
		version, fits, err := p.room(ctx, owner, changes)
		if err == nil && !fits {
			e.Refuse(xmpp.ResourceConstraint("there is no room for more elements"))
			return
		}
		var pending *storage.Pending
		if err == nil {
			_, pending, err = p.store.Update(ctx, owner, version, changes...)
		}
		switch {
		case errors.Is(err, storage.ErrConflict): // another session was faster: count again
			continue
		case err != nil:
			p.log.Warn("private data not stored", "user", owner, "err", err)
			e.Refuse(router.Unavailable())
			return
		}
		elsewhere := p.bookmarks()
		for _, c := range changes {
			if c.Key == key(rooms) && elsewhere != nil {
				if pending, err = elsewhere.SetConferences(e.Batch, e.Session.Bare(), conferences(pieces),
					pending); err != nil {
					p.log.Warn("bookmarks not stored", "user", owner, "err", err)
					e.Refuse(router.Unavailable())
					return
				}
			}
		}
		p.router.AnswerAfter(e, pending, nil)
		return
	}
}

// room says whether the account has room for the changes, and at which version. What does not grow fits.
func (p *Private) room(ctx context.Context, owner string, changes []storage.Change) (
	version uint64, fits bool, err error) {
	entries, version, err := p.store.List(ctx, owner)
	if err != nil {
		return 0, false, err
	}
	sizes, before, after := make(map[string]int, len(entries)+len(changes)), 0, 0
	for _, e := range entries {
		sizes[e.Key] = len(e.Key) + len(e.Value)
		before += sizes[e.Key]
	}
	for _, c := range changes {
		if delete(sizes, c.Key); !c.Delete {
			sizes[c.Key] = len(c.Key) + len(c.Value)
		}
	}
	for _, n := range sizes {
		after += n
	}
	fits = len(sizes) <= max(MaxPieces, len(entries)) && after <= max(p.limit(), before)
	return version, fits, nil
}

// key of a piece. No name has a space in it.
func key(n xmpp.Name) string { return n.Local + " " + n.Space }
