package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"jackdaw/config"
	"jackdaw/modules/muc"
	"jackdaw/xmpp/jid"
)

// rooms are three at each domain, by the names a, b and c.
type rooms struct{ said []string }

func (r *rooms) List(domain, after string, limit int) (page []muc.Summary, more bool, err error) {
	for _, local := range []string{"a", "b", "c"} {
		switch {
		case local <= after:
		case len(page) == limit:
			return page, true, nil
		default:
			page = append(page, muc.Summary{Addr: jid.MustParse(local + "@" + domain)})
		}
	}
	return page, false, nil
}

func (r *rooms) there(room jid.JID) error {
	if !strings.Contains("abc", room.Local()) {
		return muc.ErrNoRoom
	}
	return nil
}

func (r *rooms) Show(_ context.Context, room jid.JID) (muc.Detail, error) {
	return muc.Detail{Summary: muc.Summary{Addr: room, Name: "A"}, Inside: []muc.Presence{{Nick: "x"}}}, r.there(room)
}

func (r *rooms) Destroy(_ context.Context, room jid.JID, reason string) error {
	r.said = append(r.said, "destroy "+room.String()+" "+reason)
	return r.there(room)
}

func (r *rooms) Own(_ context.Context, room, user jid.JID) error {
	r.said = append(r.said, "own "+room.String()+" "+user.String())
	return r.there(room)
}

func (r *rooms) Exists(room jid.JID) (bool, error) { return r.there(room) == nil, nil }

func (r *rooms) Loaded(string) []muc.Loaded { return nil }

func TestRoomsAreListedInPages(t *testing.T) {
	s, _ := service(t, nil)
	s.o.Rooms = &rooms{}
	s.o.Config().Hosts = append(s.o.Config().Hosts, config.Host{Domain: "b.example"})
	for limit := 1; limit <= 7; limit++ {
		seen := ""
		from, pages := "", 0
		for {
			page, next, err := s.Rooms("", from, limit)
			must(t, err)
			pages++
			for _, r := range page {
				seen += r.JID + " "
			}
			if from = next; next == "" {
				break
			}
		}
		if want := "a@rooms.localhost b@rooms.localhost c@rooms.localhost a@rooms.b.example b@rooms.b.example c@rooms.b.example "; seen != want || pages > 6/limit+1 {
			t.Errorf("limit %d: %d pages: %s", limit, pages, seen)
		}
	}
	for host, want := range map[string]int{"b.example": 3, "rooms.b.example": 3, "": 6} {
		if page, _, err := s.Rooms(host, "", 0); err != nil || len(page) != want {
			t.Errorf("%q: %+v, %v", host, page, err)
		}
	}
	s.o.Config().Modules.MUC.Domain = "chat.example"
	if page, _, err := s.Rooms("b.example", "", 0); err != nil || len(page) != 3 || page[0].JID != "a@chat.example" {
		t.Errorf("a domain that hosts share: %+v, %v", page, err)
	}
	for _, wrong := range [][2]string{{"a@b", ""}, {"c.example", ""}, {"", "x"}, {"", "a@rooms.c.example"}} {
		if _, _, err := s.Rooms(wrong[0], wrong[1], 0); err == nil {
			t.Errorf("listed %q", wrong)
		}
	}
}

func TestARoomIsShownAndEndedAndOwned(t *testing.T) {
	s, log := service(t, nil)
	r := &rooms{}
	s.o.Rooms = r
	ctx := t.Context()
	must(t, s.AddUser(ctx, Command, "romeo@localhost", "x"))
	got, err := s.Room(ctx, "a@rooms.localhost")
	if err != nil || got.Name != "A" || len(got.Inside) != 1 || got.Owners == nil {
		t.Errorf("%+v, %v", got, err)
	}
	const by = By("juliet@localhost")
	must(t, s.DestroyRoom(ctx, by, "a@rooms.localhost", "why"))
	must(t, s.OwnRoom(ctx, by, "B@rooms.localhost", "romeo@localhost"))
	must(t, s.OwnRoom(ctx, by, "b@rooms.localhost", "somebody@elsewhere.example"))
	if want := "[destroy a@rooms.localhost why own b@rooms.localhost romeo@localhost own b@rooms.localhost somebody@elsewhere.example]"; fmt.Sprint(r.said) != want {
		t.Errorf("done: %q", r.said)
	}
	for _, want := range []string{`msg="room destroyed" room=a@rooms.localhost by=juliet@localhost`,
		`msg="owner of a room added" room=b@rooms.localhost owner=romeo@localhost by=juliet@localhost`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("logged %s", log)
		}
	}
	_, none := s.Room(ctx, "z@rooms.localhost")
	_, elsewhere := s.Room(ctx, "a@rooms.elsewhere.example")
	for _, err := range []error{none, elsewhere, s.DestroyRoom(ctx, by, "z@rooms.localhost", ""),
		s.OwnRoom(ctx, by, "z@rooms.localhost", "romeo@localhost")} {
		if !errors.Is(err, muc.ErrNoRoom) {
			t.Errorf("got %v", err)
		}
	}
	if err := s.OwnRoom(ctx, by, "a@rooms.localhost", "nobody@localhost"); err == nil {
		t.Error("owned by nobody")
	}
	if _, err := s.Room(ctx, "rooms.localhost"); err == nil {
		t.Error("a domain is a room")
	}
}
