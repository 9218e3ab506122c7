package router

import (
	"context"
	"errors"
	"fmt"

	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A Portable says how what a module keeps goes into the exchange format of XEP-0227 and comes out of it. Every space
// that a module has in storage is in one of its Portables: a test names those that are forgotten.
type Portable struct {
	// Spaces are the ones that it speaks of, "map NAME" or "log NAME".
	Spaces []string
	// Stays, if not empty, says why nothing of them is exported. There is nothing else then.
	Stays string

	// Export writes what is kept of a user, as children of <user/>: complete elements, each with its namespace on it
	// where that is not the one of <user/>. put may be given any pieces of them.
	Export func(ctx context.Context, user jid.JID, put func(xml []byte) error) error
	// Import reads them.
	Import []Section

	// ExportHost and ImportHost are the same for what a host keeps, as children of <host/>.
	ExportHost func(ctx context.Context, host string, put func(xml []byte) error) error
	ImportHost []Section
}

// A Section is a kind of child of <user/> or <host/>.
type Section struct {
	Name xmpp.Name
	// What it is made of, in the plural, for people: "contacts".
	What string
	// Depth says what Import is given: 0, the child itself; 1, its children one by one, so that there may be any number
	// of them; 2, theirs.
	Depth int
	// Import stores what an element says. It never replaces what is there: it may be given the same once more. An error
	// ends the import; what cannot come for a reason in the element is said by Incoming.Refuse.
	Import func(ctx context.Context, in *Incoming) error
}

// Incoming is an element that is imported, and what becomes of it.
type Incoming struct {
	User    jid.JID // or the domain of a host
	Element *xmpp.Element
	Within  []*xmpp.Element // the start tags around it, from the child of <user/> on
	// Dry says that nothing is to be written: only whether it could be is asked.
	Dry bool

	Came   int // how many things are new here
	Had    int // how many are here already
	Lost   []string
	Writes []*storage.Pending // to be awaited

	last *uint64
}

// NewIncoming returns one without an outcome. last is where Place remembers what it has given.
func NewIncoming(user jid.JID, el *xmpp.Element, within []*xmpp.Element, dry bool, last *uint64) *Incoming {
	return &Incoming{User: user, Element: el, Within: within, Dry: dry, last: last}
}

// Refuse says that something cannot come, and why.
func (in *Incoming) Refuse(format string, args ...any) {
	in.Lost = append(in.Lost, fmt.Sprintf(format, args...))
}

// Take says that something came, and what is to be awaited.
func (in *Incoming) Take(p *storage.Pending) {
	in.Came++
	if p != nil {
		in.Writes = append(in.Writes, p)
	}
}

// Place returns the id for a record that should have the given one, or that of its time: the same or the next above all
// that were placed before, for this user and section. The same elements in the same order get the same ids.
func (in *Incoming) Place(id uint64) uint64 {
	*in.last = max(id, *in.last+1)
	return *in.last
}

// Append stores a record under the id that it must have. It is there already if an earlier import brought it; behind
// what came here by itself there is no place for it.
func (in *Incoming) Append(ctx context.Context, log storage.Log, owner string, r storage.Record) error {
	if in.Dry {
		behind, _, err := log.Page(ctx, owner, storage.Query{After: max(r.ID, 1) - 1, Limit: 1})
		switch {
		case err != nil:
			return err
		case len(behind) == 0:
			in.Take(nil)
		case behind[0].ID == r.ID:
			in.Had++
		default:
			in.Refuse("newer ones are here already")
		}
		return nil
	}
	_, _, p, err := log.Append(ctx, owner, r, storage.AppendOptions{At: r.ID})
	switch {
	case err == nil:
		in.Take(p)
		return nil
	case !errors.Is(err, storage.ErrConflict):
		return err
	}
	switch _, err := log.Get(ctx, owner, r.ID); {
	case err == nil:
		in.Had++
	case errors.Is(err, storage.ErrNotFound):
		in.Refuse("newer ones are here already")
	default:
		return err
	}
	return nil
}

// Namespaces of exports: that of XEP-0227, and ours for what it has no place for.
const (
	NSPie      = "urn:xmpp:pie:0"
	NSPortable = "urn:x-jackdaw:portable:0"
)
