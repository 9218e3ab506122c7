package muc

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"jackdaw/xmpp/jid"
)

func TestAdministratorsListAndShowRooms(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1", "roomname=Coven", "moderatedroom=1", "roomsecret=x", "passwordprotectedroom=1")
	w.admin("crone", `<item affiliation='admin' jid='hag@example.org'/>`)
	w.admin("crone", `<item affiliation='outcast' jid='king@example.org'/>`)
	w.say("crone", "thrice the brinded cat")
	page, more, err := w.m.List(domain, "", 1)
	if err != nil || more || len(page) != 1 || page[0] != (Summary{Addr: jid.MustParse(coven), Name: "Coven",
		Creator: "crone@example.org", Public: true, Occupants: 1}) {
		t.Errorf("%+v, %v, %v", page, more, err)
	}
	for _, name := range []string{"bog", "den", "abyss"} {
		w.send("hag", `<presence to='`+name+`@`+domain+`/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	}
	var seen []string
	after, pages := "", 0
	for more := true; more; pages++ {
		page, more, err = w.m.List(domain, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			seen = append(seen, r.Addr.Local())
		}
		after = seen[len(seen)-1]
	}
	if pages > 3 || !slices.IsSorted(seen) || !slices.Contains(seen, jid.MustParse(coven).Local()) {
		t.Errorf("%d pages: %q", pages, seen)
	}
	d, err := w.m.Show(t.Context(), jid.MustParse(coven))
	if err != nil || !d.Persistent || !d.Password || !d.Moderated || d.Locked || d.MembersOnly || d.Outcasts != 1 ||
		!slices.Equal(d.Owners, []string{"crone@example.org"}) || !slices.Equal(d.Admins, []string{"hag@example.org"}) ||
		len(d.Inside) != 1 || d.Inside[0] != (Presence{"first", "crone@example.org", "moderator", "owner"}) ||
		d.ArchivedRecords == 0 || d.ArchivedBytes == 0 {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := w.m.Show(t.Context(), jid.MustParse("none@"+domain)); !errors.Is(err, ErrNoRoom) {
		t.Errorf("none: %v", err)
	}
	w.restart()
	if d, err := w.m.Show(t.Context(), jid.MustParse(coven)); err != nil || d.Name != "Coven" || d.Occupants != 0 {
		t.Errorf("from storage: %+v, %v", d, err)
	}
}

func TestAdministratorsDestroyARoom(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1", "roomname=Coven")
	if err := w.m.Destroy(t.Context(), jid.MustParse(coven), "it is <over>"); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.got("crone"), ""); !strings.Contains(got, "<destroy><reason>it is &lt;over></reason></destroy>") &&
		!strings.Contains(got, "<destroy><reason>it is &lt;over&gt;</reason></destroy>") {
		t.Errorf("crone sees %s", got)
	}
	for range 2 {
		if err := w.m.Destroy(t.Context(), jid.MustParse(coven), ""); !errors.Is(err, ErrNoRoom) {
			t.Errorf("once more: %v", err)
		}
		w.restart()
	}
	if page, _, err := w.m.List(domain, "", 0); err != nil || len(page) != 0 {
		t.Errorf("left: %+v, %v", page, err)
	}
}

func TestAdministratorsGiveARoomAnOwner(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1")
	w.join("hag", "second")
	w.got("hag")
	for _, user := range []string{"hag@example.org", "witch@elsewhere.example"} {
		if err := w.m.Own(t.Context(), jid.MustParse(coven), jid.MustParse(user)); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.brief("hag"); !strings.Contains(got, "second owner/moderator") {
		t.Errorf("hag sees %s", got)
	}
	w.restart()
	if d, err := w.m.Show(t.Context(), jid.MustParse(coven)); err != nil ||
		!slices.Equal(d.Owners, []string{"crone@example.org", "hag@example.org", "witch@elsewhere.example"}) {
		t.Errorf("%+v, %v", d, err)
	}
	if err := w.m.Own(t.Context(), jid.MustParse("none@"+domain), jid.MustParse("hag@example.org")); !errors.Is(err, ErrNoRoom) {
		t.Errorf("of none: %v", err)
	}
}
