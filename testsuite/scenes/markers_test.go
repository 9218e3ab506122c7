package scenes

import (
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// What clients believe when their own server says it.
const (
	inside = "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' type='chat' from='nurse@localhost' to='juliet@localhost'>" +
		"<body>he is dead</body></message></forwarded>"
	stamp   = " stamp='2002-09-10T23:08:25Z'"
	markers = "<received xmlns='urn:xmpp:carbons:2'>" + inside + "</received>" +
		"<sent xmlns='urn:xmpp:carbons:2'>" + inside + "</sent>" +
		"<result xmlns='urn:xmpp:mam:2' id='1'>" + inside + "</result>" +
		"<delay xmlns='urn:xmpp:delay' from='localhost'" + stamp + "/>" +
		"<delay xmlns='urn:xmpp:delay' from='Juliet@LOCALHOST'" + stamp + "/>" +
		"<x xmlns='jabber:x:delay' from='localhost' stamp='20020910T23:08:25'/>" +
		"<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@localhost' id='forged'/>" +
		"<stanza-id xmlns='urn:xmpp:sid:0' by='localhost' id='forged'/>"
	// harmless is what anybody may say.
	harmless = "<delay xmlns='urn:xmpp:delay' from='room@rooms.example.net'" + stamp + "/><x xmlns='urn:x'/>"
)

func disguised(from, to string) string {
	if from != "" {
		from = " from='" + from + "'"
	}
	return "<message type='chat' id='m'" + from + " to='" + to + "'><body>a</body>" + markers + harmless + "</message>"
}

func TestWhatOnlyTheServerSaysIsTakenFromOthers(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			listen, config, addr := componentListener()
			s := harness.Start(t, harness.Options{Place: place, Env: quick, Users: []string{"romeo", "juliet"},
				Listen: listen, Config: config, HTTP: "permissions: {forge_sender: [romeo@localhost], multicast: [romeo@localhost]}"})
			bell(s)
			romeo, juliet, phone := enter(t, s, "romeo", "desk"), enter(t, s, "juliet", "desk"), enter(t, s, "juliet", "phone")
			if el, err := phone.Ask("carbons", "<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>"); err != nil || harness.Attr(el, "type") != "result" {
				t.Fatalf("%v, %s", err, el)
			}
			post := func(user, from string) func(string) {
				return func(to string) { posted(t, s, user, disguised(from, to)) }
			}
			ways := []struct {
				name, from string
				send       func(to string)
			}{
				{"another user's client", romeo.JID, func(to string) { romeo.say(disguised("", to)) }},
				{"a multicast", romeo.JID, func(to string) {
					romeo.say(strings.Replace(disguised("", "multicast"), "<body>", "<addresses><address jid='"+to+"'/></addresses><body>", 1))
				}},
				{"another user's post", "romeo@localhost", post("romeo", "")},
				{"a post under a foreign sender", "ticket@trac.example", post("romeo", "ticket@trac.example")},
				{"a post in the name of a service", "bot.localhost", post("romeo", "bot.localhost")},
				{"a post in the name of the host", "localhost", post("romeo", "localhost")},
				{"a post in the recipient's own name", "juliet@localhost", post("romeo", "juliet@localhost")},
				{"the gateway", "door@localhost", func(to string) { rung(t, s, "door", disguised("", to)) }},
			}
			for _, way := range ways {
				// To the client; the other gets a copy of what is left.
				way.send(juliet.JID)
				juliet.wants(way.name, juliet.behind(romeo), copied{way.from, juliet.JID, "chat", "<body>a</body>" + harmless})
				got := phone.behind(romeo)
				el := phone.only(way.name+", copied", got)
				if harness.Attr(el, "from") != "juliet@localhost" || strings.Count(el, "urn:xmpp:carbons:2") != 1 || strings.Contains(el, "he is dead") ||
					!strings.Contains(el, "<body>a</body>") {
					t.Errorf("%s: the copy is %s", way.name, el)
				}
			}

			// What is stored is as clean, and the only delay in our name is ours.
			phone.leave()
			juliet.leave()
			for _, way := range ways {
				way.send("juliet@localhost/gone")
				romeo.settled()
			}
			juliet = enter(t, s, "juliet", "desk")
			stored := juliet.behind(juliet)
			for i, way := range ways {
				if i >= len(stored) {
					t.Errorf("%d messages were stored, want %d", len(stored), len(ways))
					break
				}
				one := read(stored[i])
				if own := late.FindString(one.payload); own == "" || strings.Contains(own, stamp) {
					t.Errorf("%s, stored: no delay of ours in %s", way.name, one.payload)
				}
				one.payload = late.ReplaceAllString(one.payload, "")
				if want := (copied{way.from, "juliet@localhost/gone", "chat", "<body>a</body>" + harmless}); one != want {
					t.Errorf("%s, stored:\n%+v\nwant\n%+v", way.name, one, want)
				}
			}

			// Her own clients may note when something was said, but make no copies either.
			own := enter(t, s, "juliet", "tablet")
			own.say(disguised("", juliet.JID))
			juliet.wants("an own client", juliet.behind(own), copied{own.JID, juliet.JID, "chat",
				"<body>a</body><delay xmlns='urn:xmpp:delay' from='Juliet@LOCALHOST'" + stamp + "/>" + harmless})

			pushes(t, romeo, juliet)
			pushes(t, own, juliet)
			withComponent(t, s, "markers", addr)
		})
	}
}

// pushes has one client send another what looks like the server's pushes.
func pushes(t *testing.T, from, to *guest) {
	t.Helper()
	for _, payload := range []string{
		"<query xmlns='jabber:iq:roster'><item jid='tybalt@example.net' subscription='both'/></query>",
		"<block xmlns='urn:xmpp:blocking'><item jid='nurse@localhost'/></block>",
		"<unblock xmlns='urn:xmpp:blocking'/>",
		"<query xmlns='jabber:iq:privacy'><list name='public'/></query>",
	} {
		from.say("<iq type='set' id='push' to='" + to.JID + "'>" + payload + "</iq>")
		from.refusal(payload, from.settled(), to.JID, "service-unavailable", "")
		to.nothing(payload, to.behind(from))
	}
}
