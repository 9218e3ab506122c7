package scenes

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

const tower = "tower@rooms.localhost"

// spoken is a post for all in the tower, by a nick if there is one.
func spoken(text, nick string) string {
	if nick != "" {
		nick = "<nick xmlns='http://jabber.org/protocol/nick'>" + nick + "</nick>"
	}
	return "<message type='groupchat' id='" + text + "' to='" + tower + "'><body>" + text + "</body>" + nick + "</message>"
}

var (
	saidOf     = regexp.MustCompile(`<body>([^<]*)`)
	occupantOf = regexp.MustCompile(`<occupant-id [^>]*id=['"]([^'"]+)`)
)

// An account posts into a room without being in it, and a program in its name by a nick of its own (docs/http.md §2).
func TestPostsIntoARoom(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Users: []string{"romeo", "juliet", "alarm"}})
			r := enterManaged(t, s, "romeo", "desk")
			r.say("<presence to='" + tower + "/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
			var got []string // since it was last looked at
			set := func(fields string) {
				t.Helper()
				r.marks++
				id := fmt.Sprintf("set-%d", r.marks)
				r.say("<iq type='set' id='" + id + "' to='" + tower + "'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>" +
					"<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>" +
					"<field var='muc#roomconfig_persistentroom'><value>1</value></field>" + fields + "</x></query></iq>")
				if got = append(got, r.until(id)...); !strings.Contains(r.last, "result") {
					t.Fatalf("the room is not configured: %s", r.last)
				}
			}
			affiliate := func(user, affiliation string) {
				t.Helper()
				r.marks++
				id := fmt.Sprintf("rank-%d", r.marks)
				r.say("<iq type='set' id='" + id + "' to='" + tower + "'><query xmlns='http://jabber.org/protocol/muc#admin'><item jid='" + user +
					"@localhost' affiliation='" + affiliation + "'/></query></iq>")
				if got = append(got, r.until(id)...); !strings.Contains(r.last, "result") {
					t.Fatalf("no affiliation: %s", r.last)
				}
			}
			post := func(user, message string, want int, says string) {
				t.Helper()
				status, text := web(t, "http://"+s.HTTP+"/message", user, message)
				if status != want || !strings.Contains(text, says) {
					t.Errorf("%s posts %s: %d %s, want %d with %q", user, message, status, text, want, says)
				}
			}
			set("")
			got = r.settled()[:0]

			post("alarm", spoken("fire", ""), 200, "OK")
			post("alarm", spoken("smoke", "Sirens"), 200, "OK")
			post("alarm", strings.Replace(spoken("ashes", "romeo"), " type='groupchat'", "", 1), 200, "OK") // who is somebody else
			got = r.settled()
			if len(got) != 3 {
				t.Fatalf("%d messages came, want 3: %q", len(got), got)
			}
			ids := map[string]bool{}
			for i, want := range []string{"/alarm", "/Sirens", "/romeo (2)"} {
				if from := harness.Attr(got[i], "from"); from != tower+want {
					t.Errorf("message %d is from %s, want %s", i, from, tower+want)
				}
				if !strings.Contains(got[i], "<stanza-id ") || strings.Contains(got[i], "protocol/nick") {
					t.Errorf("message %d has no id, or its nick twice: %s", i, got[i])
				}
				if m := occupantOf.FindStringSubmatch(got[i]); m != nil {
					ids[m[1]] = true
				}
			}
			if len(ids) != 3 {
				t.Errorf("%d occupant ids for three voices", len(ids))
			}
			r.say("<iq type='set' id='kept' to='" + tower + "'><query xmlns='urn:xmpp:mam:2'/></iq>")
			if kept := r.until("kept"); len(kept) != 3 || !strings.Contains(kept[1], "smoke") {
				t.Errorf("the archive has %q", kept)
			}
			got = nil

			set("<field var='muc#roomconfig_membersonly'><value>1</value></field>")
			post("alarm", spoken("no", "Sirens"), 403, "registration-required")
			affiliate("alarm", "member")
			post("alarm", spoken("yes", "Sirens"), 200, "OK")
			set("<field var='muc#roomconfig_membersonly'><value>0</value></field><field var='muc#roomconfig_moderatedroom'><value>1</value></field>")
			post("alarm", spoken("aye", "Sirens"), 200, "OK")
			affiliate("alarm", "none")
			post("alarm", spoken("nay", "Sirens"), 403, "forbidden")
			affiliate("alarm", "outcast")
			post("alarm", spoken("hush", ""), 403, "forbidden")
			post("juliet", strings.Replace(spoken("forged", ""), "<message ", "<message from='romeo@localhost' ", 1), 403, "forge")
			var heard []string
			for _, one := range append(got, r.settled()...) {
				if m := saidOf.FindStringSubmatch(one); m != nil {
					heard = append(heard, m[1])
				}
			}
			if strings.Join(heard, " ") != "yes aye" {
				t.Errorf("romeo heard %q", heard)
			}

			r.say("<iq type='set' id='end' to='" + tower + "'><query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query></iq>")
			r.until("end")
			post("juliet", spoken("echo", ""), 403, "item-not-found")
		})
	}
}
