package scenes

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// The scripts share a server, but for the end of it, which comes last.
func TestRooms(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Config: "limits: {rooms_per_user: 3, room_message_rate: 20}\n", C2S: "resume_window: 1m"})
			for _, script := range []string{"rooms", "rooms_rights", "rooms_archive", "rooms_restart"} {
				play(t, s, script)
			}
		})
	}
}

func TestWhatARoomHasAcknowledgedSurvivesAKill(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Users: []string{"romeo", "juliet"}})
			const room = "balcony@rooms.localhost"
			g := enterManaged(t, s, "romeo", "desk")
			g.say("<presence to='" + room + "/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
			g.say("<iq type='set' id='open' to='" + room + "'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>" +
				"<field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query></iq>")
			g.until("open")
			const n = 25 // fewer than a user may send at once
			for i := range n {
				g.say(fmt.Sprintf("<message type='groupchat' id='m%d' to='%s'><body>said %d</body></message>", i, room, i))
			}
			g.acknowledged()
			s.Kill()
			s.Launch()
			j := enter(t, s, "juliet", "desk")
			j.say("<iq type='set' id='all' to='" + room + "'><query xmlns='urn:xmpp:mam:2'/></iq>")
			if got := j.until("all"); len(got) != n || !strings.Contains(got[n-1], fmt.Sprintf("<body>said %d</body>", n-1)) {
				t.Errorf("%d of %d messages are in the archive", len(got), n)
			}
		})
	}
}

// Whoever is elsewhere makes no rooms here (XEP-0045 §10.1.1), but enters them.
func TestUsersOfOtherServersMakeNoRooms(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			const far, room = "coven.example", "heath@rooms.localhost"
			authority := peers.NewAuthority(t)
			peer := fakepeer.Start(t, fakepeer.Options{Domains: []string{far}}.Certified(t, authority, peers.None))
			own := authority.Issue(harness.Domain, peers.None)
			s := harness.Start(t, harness.Options{Place: place, Env: append(authority.Env(), quick...),
				Users: []string{"romeo"}, Federate: true, Cert: own.Cert, Key: own.Key, S2S: fmt.Sprintf("resolve: {%q: %q}", far, peer.Addr)})
			for _, domain := range []string{harness.Domain, "rooms.localhost"} {
				peer.Locate(domain, s.S2S)
			}
			link, err := peer.Connect(far, "rooms.localhost", fakepeer.Way{})
			if err != nil {
				t.Fatal(err)
			}
			tries := func(id string) string {
				t.Helper()
				if err := link.Send("<presence id='" + id + "' from='hag@" + far + "/broom' to='" + room + "/hag'><x xmlns='http://jabber.org/protocol/muc'/></presence>"); err != nil {
					t.Fatal(err)
				}
				got, err := peer.Until(func(s fakepeer.Stanza) bool { return s.Attr("id") == id })
				if err != nil {
					t.Fatal(err)
				}
				return got[len(got)-1].Raw
			}
			if got := tries("one"); !strings.Contains(got, "<error type='cancel' by='"+room+"'") || !strings.Contains(got, "<not-allowed ") {
				t.Errorf("a user of another server makes a room: %s", got)
			}
			g := enter(t, s, "romeo", "desk")
			g.say("<presence to='" + room + "/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
			g.settled()
			if got := tries("two"); !strings.Contains(got, "<item-not-found ") {
				t.Errorf("before it is open: %s", got)
			}
			g.say("<iq type='set' id='open' to='" + room + "'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>")
			g.until("open")
			if got := tries("three"); !strings.Contains(got, "<status code='110'/>") {
				t.Errorf("a user of another server enters a room: %s", got)
			}
		})
	}
}
