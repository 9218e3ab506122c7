package muc

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/modules/muc/room"
	"jackdaw/xmpp"

	"pgregory.net/rapid"
)

// A view is what a client believes of the occupants of the room: "affiliation/role", by nick.
type view map[string]string

// see takes over what a client was given.
func (v view) see(w *world, who string) {
	for _, d := range w.client(who).Deliveries() {
		s := d.Stanza
		x := s.Child(room.UserName)
		if s.Kind != xmpp.Presence || x == nil || s.Type == xmpp.TypeError {
			continue
		}
		nick, item := s.From.Resource(), x.ChildLocal("item")
		self, codes := false, ""
		for _, c := range x.Children() {
			if c.Name.Local == "status" {
				codes += c.Attr("code") + " "
				self = self || c.Attr("code") == "110"
			}
		}
		switch {
		case s.Type == xmpp.TypeUnavailable && self && !strings.Contains(codes, "303"):
			clear(v)
		case s.Type == xmpp.TypeUnavailable:
			delete(v, nick)
		default:
			v[nick] = item.Attr("affiliation") + "/" + item.Attr("role")
		}
	}
}

// Whatever happens, all occupants see the room as it is.
func TestEverybodySeesTheRoomAsItIs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		w.instant("persistentroom=1")
		clients := []string{"crone", "crone/phone", "hag", "hag/phone", "witch", "king"}
		views := map[string]view{}
		for _, c := range clients {
			views[c] = view{}
		}
		views["crone"]["first"] = "owner/moderator"
		nicks := []string{"first", "second", "third", "fourth"}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			who := rapid.SampledFrom(clients).Draw(rt, "who")
			nick := rapid.SampledFrom(nicks).Draw(rt, "nick")
			switch rapid.IntRange(0, 11).Draw(rt, "step") {
			case 0, 1, 2:
				w.join(who, nick)
			case 3:
				w.send(who, `<presence type='unavailable' to='`+coven+`/`+nick+`'/>`)
			case 4:
				w.send(who, `<presence to='`+coven+`/`+nick+`'/>`)
			case 5:
				w.client(who).LogoutTaken()
				delete(w.users, who)
				delete(w.users, who+"/pda")
				clear(views[who])
			case 6:
				w.admin("crone", `<item nick='`+nick+`' role='`+rapid.SampledFrom([]string{"none", "visitor", "participant", "moderator"}).Draw(rt, "role")+`'/>`)
			case 7:
				user := rapid.SampledFrom([]string{"hag", "witch", "king"}).Draw(rt, "user")
				w.admin("crone", `<item jid='`+user+`@example.org' affiliation='`+rapid.SampledFrom([]string{"outcast", "none", "member", "admin", "owner"}).Draw(rt, "affiliation")+`'/>`)
			case 8:
				w.configure("crone", "membersonly="+rapid.SampledFrom([]string{"0", "1"}).Draw(rt, "members only"))
			case 9:
				w.configure("crone", "moderatedroom="+rapid.SampledFrom([]string{"0", "1"}).Draw(rt, "moderated"))
			case 10:
				w.configure("crone", nickLock+"="+rapid.SampledFrom([]string{"0", "1"}).Draw(rt, "locked nicks"))
			case 11:
				w.register(who, nick)
			}
			real := view{}
			r := w.room()
			in := map[string]bool{}
			if r != nil {
				for _, o := range r.Occupants() {
					real[o.Nick] = r.Rank(o).String() + "/" + o.Role.String()
					for _, s := range o.Seats {
						in[strings.TrimSuffix(s.Full.Local()+"/"+s.Full.Resource(), "/pda")] = true
					}
				}
			}
			for _, c := range clients {
				views[c].see(w, c)
				want := view{}
				if in[c] {
					want = real
				}
				if !maps.Equal(views[c], want) {
					rt.Fatalf("%s sees %s, the room is %s", c, views[c], want)
				}
			}
			if r != nil && len(r.Seats()) != len(in) {
				rt.Fatalf("%d seats for %v", len(r.Seats()), slices.Collect(maps.Keys(in)))
			}
		}
		for _, c := range clients {
			w.client(c).LogoutTaken()
		}
		w.m.guests.forget(time.Now().Add(2 * idle))
		if len(w.m.guests.by) != 0 || len(w.m.guests.in) != 0 {
			rt.Fatalf("guests stay: %v", w.m.guests.by)
		}
	})
}

func (v view) String() string {
	var out []string
	for _, nick := range slices.Sorted(maps.Keys(v)) {
		out = append(out, fmt.Sprintf("%s %s", nick, v[nick]))
	}
	return "[" + strings.Join(out, ", ") + "]"
}
