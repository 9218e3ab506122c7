package muc

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
)

const brewing = "brewing@elsewhere.example/pot"

// errorOf is an error of a client for what the occupant of this nick has written.
func errorOf(nick, id, by, condition string) string {
	return `<message type='error' id='` + id + `' to='` + coven + `/` + nick +
		`'><body>echo</body><error type='modify'` + by + `>` +
		`<` + condition + ` xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>` +
		`<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>` +
		`brewing@elsewhere.example does not like it</text></error></message>`
}

func (w *world) letter(who, nick, id string) {
	w.t.Helper()
	w.send(who, `<message type='chat' id='`+id+`' to='`+coven+`/`+nick+`'><body>psst</body></message>`)
}

func TestAnErrorForAPrivateMessageReachesWhoWroteIt(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	w.send(brewing, `<presence to='`+coven+`/far'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	w.letter("hag", "far", "p1")
	w.brief("hag")
	w.brief("crone")
	w.send(brewing, errorOf("third", "p1", " by='brewing@elsewhere.example'", "policy-violation"))
	moduletest.Same(t, strings.Join(w.client("hag").Received(), ""),
		`<message type='error' id='p1' from='`+coven+`/far' to='hag@example.org/pda'><error type='modify'>`+
			`<policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
	w.send(brewing, errorOf("third", "p1", "", "policy-violation"))
	w.wantBrief("hag", "") // told once

	// The way back of a client here is the same.
	w.letter("crone", "third", "p2")
	w.brief("hag")
	w.send("hag", errorOf("first", "p2", "", "not-acceptable"))
	w.wantBrief("crone", "modify:not-acceptable")

	// An error that says that an occupant is gone is told, and removes it.
	w.letter("hag", "far", "p3")
	w.send(brewing, errorOf("third", "p3", "", "service-unavailable"))
	w.wantBrief("hag", "modify:service-unavailable, far! none/none 333")
}

func TestAnErrorForAnythingElseReachesNobody(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	w.join("witch", "second")
	w.letter("crone", "third", "p")
	for _, who := range []string{"crone", "hag", "witch"} {
		w.brief(who)
	}
	w.say("crone", "to all")
	w.brief("crone")
	w.send("hag", errorOf("first", "m", "", "policy-violation"))   // for what was said to all
	w.send("witch", errorOf("first", "p", "", "policy-violation")) // for what was not written to her
	w.send("king", errorOf("first", "p", "", "policy-violation"))  // and is not even there
	w.wantBrief("crone", "")
	for i := range maxLetters { // the first is forgotten
		w.letter("crone", "third", fmt.Sprint("q", i))
	}
	w.send("hag", errorOf("first", "p", "", "policy-violation"))
	w.wantBrief("crone", "")
}

func TestAnErrorForARequestHidesTheRealAddress(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.send(brewing, `<presence to='`+coven+`/far'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	w.join("hag", "third")
	w.brief("hag")
	w.remote.Sent()
	w.send("hag", `<iq type='get' id='v' to='`+coven+`/far'><query xmlns='jabber:iq:version'/></iq>`)
	_, rest, _ := strings.Cut(strings.Join(w.remote.Sent(), ""), " id='")
	id, _, _ := strings.Cut(rest, "'")
	w.send(brewing, `<iq type='error' id='`+id+`' to='`+coven+
		`/third'><error type='cancel' by='brewing@elsewhere.example'>`+
		`<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:brewing@elsewhere.example</gone></error></iq>`)
	moduletest.Same(t, strings.Join(w.client("hag").Received(), ""),
		`<iq type='error' id='v' from='`+coven+`/far' to='hag@example.org/pda'><error type='cancel'>`+
			`<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`)
}

func TestAProbeIsAnswered(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	w.send(brewing, `<presence to='`+coven+`/far'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	w.brief("hag")
	w.brief("crone")
	w.remote.Sent()
	probe := func(who, nick string) {
		w.send(who, `<presence type='probe' id='p' to='`+coven+`/`+nick+`'/>`)
	}
	probe("hag", "first")
	w.wantBrief("hag", "first owner/moderator")
	probe("crone", "third") // and sees addresses
	w.wantBrief("crone", "third none/participant jid")
	probe("hag", "third")
	w.wantBrief("hag", "third none/participant jid 110")
	probe("hag", "nobody")
	w.wantBrief("hag", "nobody! none/none")
	probe("brewing@elsewhere.example", "first") // its server
	if got := strings.Join(w.remote.Sent(), ""); !strings.Contains(got, "from='"+coven+
		"/first' to='brewing@elsewhere.example'") {
		t.Errorf("the server was sent %s", got)
	}
	probe("witch", "first")
	w.wantBrief("witch", "")
	w.wantBrief("crone", "")
}

func TestIdsThatOthersHaveGivenStay(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	w.brief("crone")
	var ids strings.Builder
	for _, by := range []string{"bridge.example.net", "brewing@elsewhere.example", coven, "example.org",
		"crone@example.org", domain, "@"} {
		ids.WriteString(`<stanza-id xmlns='urn:xmpp:sid:0' id='x' by='` + by + `'/>`)
	}
	for _, kind := range []string{`type='groupchat' to='` + coven + `'`, `type='chat' to='` + coven + `/first'`} {
		w.send("hag", `<message id='1' `+kind+`><body>x</body>`+ids.String()+`</message>`)
		got := strings.Join(w.client("crone").Received(), "")
		if n := strings.Count(got, " id='x'"); n != 2 || !strings.Contains(got, "by='bridge.example.net'") ||
			!strings.Contains(got, "by='brewing@elsewhere.example'") {
			t.Errorf("%s: crone got %s", kind, got)
		}
	}
}

func TestWhatIsMarkedToBeStoredBelongsToTheHistory(t *testing.T) {
	const secret, store, noStore = `<encrypted xmlns='urn:xmpp:omemo:2'/>`, `<store xmlns='urn:xmpp:hints'/>`,
		`<no-store xmlns='urn:xmpp:hints'/>`
	w := newWorld(t)
	w.instant("persistentroom=1")
	for id, payload := range map[string]string{"kept": secret + store, "spoken": "<body>x</body>", "lost": secret,
		"here": "<body>y</body>" + noStore, "neither": secret + store + noStore} {
		w.send("crone", `<message type='groupchat' id='`+id+`' to='`+coven+`'>`+payload+`</message>`)
	}
	for _, when := range []string{"now", "after a restart"} {
		w.join("hag", "third")
		got := strings.Join(w.client("hag").Received(), "")
		for id, want := range map[string]bool{"kept": true, "spoken": true, "lost": false, "here": false,
			"neither": false} {
			if strings.Contains(got, "id='"+id+"'") != want {
				t.Errorf("%s: %s is shown: %t", when, id, !want)
			}
		}
		w.send("hag", `<presence type='unavailable' to='`+coven+`/third'/>`)
		w.brief("hag")
		w.restart()
	}
}

func TestClientsOfTheOldVersionModerateToo(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	w.say("hag", "spam")
	id := w.ids("hag")[0]
	w.client("hag").Received()
	w.client("crone").Received()
	apply := func(who, id, what string) string {
		w.t.Helper()
		return refused(w.send(who, `<iq type='set' id='m' to='`+coven+`'><apply-to xmlns='urn:xmpp:fasten:0' id='`+id+
			`'>`+what+`</apply-to></iq>`))
	}
	const moderate = `<moderate xmlns='urn:xmpp:message-moderate:0'>` +
		`<retract xmlns='urn:xmpp:message-retract:0'/><reason>Spam</reason></moderate>`
	for _, test := range []struct{ who, id, what, want string }{
		{"hag", id, moderate, "auth:forbidden"},
		{"crone", id, "", "modify:bad-request"},
		{"crone", id, `<moderate xmlns='urn:xmpp:message-moderate:0'/>`, "modify:bad-request"},
		{"crone", "1", moderate, "cancel:item-not-found"},
		{"crone", id, moderate, "delivered"},
	} {
		if got := apply(test.who, test.id, test.what); got != test.want {
			t.Errorf("%s, %s, %s: %s, want %s", test.who, test.id, test.what, got, test.want)
		}
	}
	got := strings.Join(w.client("hag").Received(), "")
	for _, want := range []string{`<retract xmlns='urn:xmpp:message-retract:1' id='` + id + `'>`,
		`<apply-to xmlns='urn:xmpp:fasten:0' id='` + id + `'><moderated xmlns='urn:xmpp:message-moderate:0' by='` +
			coven + `/first'>` +
			`<retract xmlns='urn:xmpp:message-retract:0'/><reason>Spam</reason></moderated></apply-to>`} {
		if !strings.Contains(got, want) {
			t.Errorf("hag got %s, without %s", got, want)
		}
	}
	// Only the room says so.
	w.client("crone").Received()
	w.send("hag", `<message type='groupchat' id='f' to='`+coven+
		`'><body>b</body><apply-to xmlns='urn:xmpp:fasten:0' id='`+id+`'>`+
		`<moderated xmlns='urn:xmpp:message-moderate:0'/></apply-to></message>`)
	if got := strings.Join(w.client("crone").Received(), ""); !strings.Contains(got, "<body>b") ||
		strings.Contains(got, "apply-to") {
		t.Errorf("crone got %s", got)
	}
}

func TestTheNameOfARoomIsReadAsPeopleWriteIt(t *testing.T) {
	w := newWorld(t)
	const room = `friends\26family\20room@rooms.example.org`
	w.send("crone", `<presence to='`+room+`/first'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	w.client("crone").Received()
	w.send("crone", `<iq type='get' id='i' to='`+room+`'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
	if got := strings.Join(w.client("crone").Received(), ""); !strings.Contains(got, `name='friends&amp;family room'`) {
		t.Errorf("the room says %s", got)
	}
}
