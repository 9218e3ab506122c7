package scenes

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// The scripts share a server, but for the end of it, which comes last.
func TestRooms(t *testing.T) {
	t.Parallel()
	for _, engine := range harness.Engines {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Engine: engine, Config: "limits: {rooms_per_user: 3, room_message_rate: 20}\n", C2S: "resume_window: 1m"})
			for _, script := range []string{"rooms", "rooms_rights", "rooms_archive", "rooms_restart"} {
				play(t, s, script)
			}
		})
	}
}

func TestWhatARoomHasAcknowledgedSurvivesAKill(t *testing.T) {
	t.Parallel()
	for _, engine := range harness.Engines {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Engine: engine, Users: []string{"romeo", "juliet"}})
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
