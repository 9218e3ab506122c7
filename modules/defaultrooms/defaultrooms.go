// Package defaultrooms puts rooms among the bookmarks of everybody at a host, so that clients enter them by themselves
// (XEP-0402): a company's room is there when somebody logs in for the first time. A room that is for members only takes
// the user as one.
//
// Each account is given each room once, at its next login; whoever takes it out of the bookmarks is not given it again.
package defaultrooms

import (
	"context"
	"log/slog"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// recordVersion is the value under the address of each room that an account was given.
const recordVersion = 1

// Bookmarks of users.
type Bookmarks interface {
	// AddConference adds a room that is entered at login, unless it is among them.
	AddConference(b *router.Batch, user, room jid.JID) (*storage.Pending, error)
}

// Rooms takes users for members of rooms.
type Rooms interface {
	// Admit makes a user a member of a room here that is for members only, unless it is something there already. Of a room
	// that is not there, or not here, there is nothing to do.
	Admit(user, room jid.JID) error
}

// Options of New; all are needed.
type Options struct {
	Given     storage.Map // of this module alone; the owner is a bare address
	Bookmarks Bookmarks
	Rooms     Rooms
	// Of are the rooms of a host.
	Of  func(host string) []jid.JID
	Log *slog.Logger
}

type defaultRooms struct{ Options }

// Of makes the module of a server.
func Of(p parts.Parts, b Bookmarks, r Rooms) router.Module {
	return New(Options{Given: p.Store.Map("defaultrooms"), Bookmarks: b, Rooms: r, Log: p.Log,
		Of: func(host string) (rooms []jid.JID) {
			h := p.Config().Host(host)
			if h == nil {
				return nil
			}
			for _, s := range h.Rooms {
				if room, err := jid.Parse(s); err == nil { // they have been checked
					rooms = append(rooms, room)
				}
			}
			return rooms
		}})
}

// New returns the module.
func New(o Options) router.Module {
	d := &defaultRooms{o}
	return router.Module{Name: "defaultrooms", Needs: []string{"pep", "muc"}, Bound: d.bound,
		Portable: []router.Portable{{Spaces: []string{"map defaultrooms"},
			Stays: "an account that moves is given the rooms of its new server"}},
		Removed: parts.Erase(o.Given.DeleteOwner)}
}

// bound gives a user who has logged in what is new.
func (d *defaultRooms) bound(s *router.Session) {
	user := s.Bare()
	rooms := d.Of(user.Domain())
	if len(rooms) == 0 {
		return
	}
	var b router.Batch
	defer b.Flush()
	if err := d.give(&b, user, rooms); err != nil {
		d.Log.Warn("default rooms are not given to a user, who gets them at a later login", "user", user, "error", err)
	}
}

func (d *defaultRooms) give(b *router.Batch, user jid.JID, rooms []jid.JID) error {
	ctx, owner := context.Background(), user.String()
	entries, _, err := d.Given.List(ctx, owner)
	if err != nil {
		return err
	}
	given := map[string]bool{}
	for _, e := range entries {
		given[e.Key] = true
	}
	for _, room := range rooms {
		if given[room.String()] {
			continue
		}
		if err := d.Rooms.Admit(user, room); err != nil {
			return err
		}
		if _, err := d.Bookmarks.AddConference(b, user, room); err != nil {
			return err
		}
		// Last: whoever was given one twice has it once.
		change := storage.Change{Key: room.String(), Value: []byte{recordVersion}}
		if _, _, err := d.Given.Update(ctx, owner, storage.AnyVersion, change); err != nil {
			return err
		}
	}
	return nil
}
