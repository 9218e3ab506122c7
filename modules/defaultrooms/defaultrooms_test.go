package defaultrooms

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// A desk notes what users are given.
type desk struct {
	said   []string
	broken bool
}

func (d *desk) AddConference(_ *router.Batch, user, room jid.JID) (*storage.Pending, error) {
	if d.broken {
		return nil, errors.New("broken")
	}
	d.said = append(d.said, fmt.Sprint(user.Local(), " ", room.Local()))
	return nil, nil
}

func (d *desk) Admit(user, room jid.JID) error {
	d.said = append(d.said, fmt.Sprint(user.Local(), " into ", room.Local()))
	return nil
}

func TestEverybodyIsGivenEachRoomOnce(t *testing.T) {
	r, d := moduletest.New("romeo", "juliet"), &desk{}
	rooms := []jid.JID{jid.MustParse("team@rooms.example.org")}
	given := moduletest.NewStore().Map("defaultrooms")
	r.Use(New(Options{Given: given, Bookmarks: d, Rooms: d, Log: moduletest.Discard(),
		Of: func(host string) []jid.JID {
			if host != "example.org" {
				t.Errorf("the rooms of %s are asked for", host)
			}
			return rooms
		}}), router.Module{Name: "pep"}, router.Module{Name: "muc"})
	login := func(who, want string) {
		t.Helper()
		d.said = nil
		moduletest.Login(t, r, who)
		if got := strings.Join(d.said, ", "); got != want {
			t.Errorf("%s: %s; want %s", who, got, want)
		}
	}
	login("romeo/orchard", "romeo into team, romeo team")
	login("romeo/balcony", "")
	d.broken = true
	login("juliet/balcony", "juliet into team")
	d.broken = false
	login("juliet/garden", "juliet into team, juliet team") // it is tried again
	rooms = append(rooms, jid.MustParse("all@rooms.example.org"))
	login("romeo/garden", "romeo into all, romeo all")
	rooms = nil
	login("romeo/tomb", "")
	rooms = []jid.JID{jid.MustParse("team@rooms.example.org")}
	if err := r.Remove(jid.MustParse("romeo@example.org")); err != nil {
		t.Fatal(err)
	}
	if left, _, err := given.List(t.Context(), "romeo@example.org"); err != nil || len(left) > 0 {
		t.Errorf("left of a removed account: %v, %v", left, err)
	}
}
