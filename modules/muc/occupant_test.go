package muc

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// enter is join with limits of the history.
func (w *world) enter(who, nick, history string) []string {
	w.t.Helper()
	w.client(who).Received()
	w.send(who, `<presence to='`+coven+`/`+nick+`'><x xmlns='http://jabber.org/protocol/muc'>`+history+`</x></presence>`)
	var bodies []string
	for _, d := range w.client(who).Deliveries() {
		if b := d.Stanza.Child(room.BodyName); b != nil {
			bodies = append(bodies, b.Text())
			if d.Stanza.Child(xmpp.Name{Space: xmpp.NSDelay, Local: "delay"}).Attr("from") != coven {
				w.t.Errorf("the delay of %s is not the room's", b.Text())
			}
		}
	}
	w.send(who, `<presence type='unavailable' to='`+coven+`/`+nick+`'/>`)
	return bodies
}

func TestHistoryIsShownWithinAllLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.instant("muc#maxhistoryfetch=4")
		start := time.Now()
		for i := range 6 {
			w.say("crone", fmt.Sprint(i))
			pass(10 * time.Second)
		}
		w.send("crone", `<message type='groupchat' to='`+coven+`'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>`)
		one := len(`<message type='groupchat' id='m' from='` + coven + `/first' to='hag@example.org/pda'></message>`)
		for history, want := range map[string]string{
			``:                            "[2 3 4 5]",
			`<history maxstanzas='0'/>`:   "[]",
			`<history maxstanzas='3'/>`:   "[3 4 5]",
			`<history maxstanzas='100'/>`: "[2 3 4 5]",
			`<history maxchars='0'/>`:     "[]",
			fmt.Sprintf(`<history maxchars='%d'/>`, one):                            "[]",
			`<history maxchars='100000'/>`:                                          "[2 3 4 5]",
			`<history seconds='25'/>`:                                               "[4 5]",
			`<history seconds='0'/>`:                                                "[]",
			`<history since='1970-01-01T00:00:00Z'/>`:                               "[2 3 4 5]",
			`<history maxstanzas='1' seconds='25'/>`:                                "[5]",
			`<history maxstanzas='x'/>`:                                             "[2 3 4 5]",
			`<history since='` + xmpp.FormatTime(start.Add(25*time.Second)) + `'/>`: "[3 4 5]",
		} {
			if got := fmt.Sprint(w.enter("hag", "third", history)); got != want {
				t.Errorf("%s: %s, want %s", history, got, want)
			}
		}
		if got := w.enter("hag", "third", `<history maxchars='700'/>`); len(got) == 0 || len(got) == 4 {
			t.Errorf("700 characters hold %v", got)
		}
		w.configure("crone", "muc#maxhistoryfetch=0")
		if got := w.enter("hag", "third", ""); len(got) != 0 {
			t.Errorf("a room that shows nothing shows %v", got)
		}
	})
}

func TestInvitationsGoThroughTheRoom(t *testing.T) {
	w := newWorld(t)
	w.instant("passwordprotectedroom=1", "roomsecret=cauldronburn", "whois=anyone")
	w.client("hecate").Available(0)
	w.send("crone", `<message id='i' to='`+coven+`'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='hecate@example.org'><reason>Hey</reason>`+
		`<continue thread='t'/></invite></x></message>`)
	w.client("hecate").Want(`<message id='i' from='` + coven + `' to='hecate@example.org'><x xmlns='http://jabber.org/protocol/muc#user'>` +
		`<invite from='crone@example.org'><reason>Hey</reason><continue thread='t'/></invite><password>cauldronburn</password></x></message>`)
	w.send("hecate", `<message id='d' to='`+coven+`'><x xmlns='http://jabber.org/protocol/muc#user'><decline to='crone@example.org/pda'><reason>Too busy</reason></decline></x></message>`)
	got := w.got("crone")
	moduletest.Same(t, got[len(got)-1], `<message id='d' from='`+coven+`' to='crone@example.org/pda'><x xmlns='http://jabber.org/protocol/muc#user'>`+
		`<decline from='hecate@example.org'><reason>Too busy</reason></decline></x></message>`)
	w.wantRefused(w.send("hecate", `<message to='`+coven+`'><x xmlns='http://jabber.org/protocol/muc#user'><decline to='king@example.org'/></x></message>`), "cancel:item-not-found")
	for to, want := range map[string]string{
		"@": "modify:jid-malformed", "heath@rooms.example.org": "cancel:item-not-found", "nobody@example.org": "cancel:item-not-found", "example.org": "modify:jid-malformed"} {
		w.wantRefused(w.send("crone", `<message to='`+coven+`'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='`+to+`'/></x></message>`), want)
	}
	w.wantRefused(w.send("crone", `<message to='`+coven+`'><body>x</body></message>`), "modify:bad-request")
}

func TestWhoIsInvitedIntoAMembersOnlyRoomMayEnter(t *testing.T) {
	w := newWorld(t)
	w.instant("membersonly=1", "allowinvites=1")
	w.client("hecate").Available(0)
	w.admin("crone", `<item jid='hag@example.org' affiliation='member'/>`)
	w.join("hag", "third")
	w.send("hag", `<message to='`+coven+`'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='hecate@example.org'/></x></message>`)
	got := w.client("hecate").Deliveries()
	if len(got) != 1 || !strings.Contains(string(got[0].Stanza.Payload), "<invite from='"+coven+"/third'/>") {
		t.Errorf("hecate got %v", got)
	}
	w.wantRefused(w.join("hecate", "x"), "delivered")
}

func TestVisitorsAskForVoice(t *testing.T) {
	w := newWorld(t)
	w.instant("moderatedroom=1")
	w.join("hag", "third")
	w.brief("crone")
	w.wantRefused(w.say("hag", "x"), "auth:forbidden")
	form := func(more string) string {
		return `<message to='` + coven + `'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#request</value></field>` +
			`<field var='muc#role'><value>participant</value></field>` + more + `</x></message>`
	}
	w.wantRefused(w.send("hag", form("")), "delivered")
	got := w.client("crone").Deliveries()
	if len(got) != 1 || !strings.Contains(string(got[0].Stanza.Payload), "<value>third</value>") ||
		!strings.Contains(string(got[0].Stanza.Payload), "muc#request_allow") {
		t.Fatalf("crone got %v", got)
	}
	yes := form(`<field var='muc#roomnick'><value>third</value></field><field var='muc#request_allow'><value>true</value></field>`)
	w.wantRefused(w.send("hag", yes), "auth:forbidden")
	w.brief("hag")
	w.wantRefused(w.send("crone", yes), "delivered")
	w.wantBrief("hag", "third none/participant jid 110")
	w.wantRefused(w.say("hag", "x"), "delivered")
	w.admin("crone", `<item nick='third' role='visitor'/>`)
	w.configure("crone", "jackdaw#voice_requests=0")
	w.wantRefused(w.send("hag", form("")), "auth:forbidden")
	w.wantRefused(w.send("witch", form("")), "modify:not-acceptable")
	// Coming again gives nobody another voice.
	w.configure("crone", "moderatedroom=0")
	w.send("hag", `<presence type='unavailable' to='`+coven+`/third'/>`)
	w.join("hag", "third")
	w.wantRefused(w.say("hag", "x"), "auth:forbidden")
}

func TestRegistrationReservesANick(t *testing.T) {
	w := newWorld(t)
	w.instant()
	ask := `<iq type='get' id='r' to='` + coven + `'><query xmlns='jabber:iq:register'/></iq>`
	submit := func(who, nick string) *router.Envelope {
		return w.send(who, `<iq type='set' id='r' to='`+coven+`'><query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'>`+
			`<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#register</value></field><field var='muc#register_roomnick'><value>`+nick+`</value></field></x></query></iq>`)
	}
	w.send("hag", ask)
	if got := w.client("hag").Received(); !strings.Contains(got[0], "muc#register_roomnick") {
		t.Errorf("the form is %s", got)
	}
	w.wantRefused(submit("hag", "first"), "cancel:conflict")
	w.brief("hag")
	submit("hag", "third")
	w.wantBrief("hag", "result")
	w.send("hag", ask)
	w.client("hag").Want(`<iq type='result' id='r' from='` + coven + `' to='hag@example.org/pda'><query xmlns='jabber:iq:register'><registered/><username>third</username></query></iq>`)
	w.wantRefused(w.join("witch", "third"), "cancel:conflict")
	w.wantRefused(submit("witch", "third"), "cancel:conflict")
	w.send("hag", `<iq type='get' id='n' to='`+coven+`'><query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/></iq>`)
	w.client("hag").Want(`<iq type='result' id='n' from='` + coven + `' to='hag@example.org/pda'><query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'>` +
		`<identity category='conference' type='text' name='third'/></query></iq>`)
	w.configure("crone", "jackdaw#registered_nicks=1")
	w.join("hag", "oldhag")
	w.wantBrief("hag", "first owner/moderator, third member/participant jid 110 170 210,  subject:")
	w.wantRefused(w.send("hag", `<presence to='`+coven+`/oldhag'/>`), "cancel:not-acceptable")
	w.brief("hag")
	w.send("hag", `<iq type='set' id='r' to='`+coven+`'><query xmlns='jabber:iq:register'><remove/></query></iq>`)
	w.wantBrief("hag", "third none/participant jid 110, result")
	w.configure("crone", "jackdaw#registration=0")
	w.wantRefused(w.send("witch", ask), "cancel:not-allowed")
	w.wantRefused(w.send("witch", strings.ReplaceAll(ask, coven, "nowhere@rooms.example.org")), "cancel:item-not-found")
	w.wantRefused(w.send("crone", `<iq type='set' id='r' to='`+coven+`'><query xmlns='jabber:iq:register'/></iq>`), "modify:bad-request")
}

func TestLimitsOfUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.limits.MessageRate, w.limits.RoomsPerUser, w.limits.Occupants = 2, 2, 3
		w.exempt = "king"
		w.instant()
		for range burst * 2 {
			w.wantRefused(w.say("crone", "x"), "delivered")
		}
		w.wantRefused(w.say("crone", "x"), "wait:resource-constraint")
		pass(time.Second)
		w.wantRefused(w.say("crone", "x"), "delivered")
		make := func(who, room string) *router.Envelope {
			return w.send(who, `<presence to='`+room+`@rooms.example.org/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
		}
		w.wantRefused(make("crone", "a"), "delivered")
		w.wantRefused(make("crone", "b"), "wait:resource-constraint")
		for _, room := range []string{"c", "d", "e"} {
			w.wantRefused(make("king", room), "delivered")
		}
		w.join("hag", "1")
		w.join("witch", "2")
		moved := 0
		for ; moved < 1000 && refused(w.send("hag", `<presence to='`+coven+`/1'/>`)) == "delivered"; moved++ {
		}
		if moved != 2*w.limits.RoomsPerUser+burst*w.limits.MessageRate-1 {
			t.Errorf("hag moves %d times at once", moved)
		}
		w.wantRefused(w.join("hecate", "3"), "wait:service-unavailable")
		w.admin("crone", `<item jid='hecate@example.org' affiliation='admin'/>`)
		w.wantRefused(w.join("hecate", "3"), "delivered")
	})
}

func TestGhostsAreRemovedWithAReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.instant()
		for _, who := range []string{"a@b.example/x", "c@b.example/x", "d@b.example/x", "e@b.example/x"} {
			w.wantRefused(w.join(who, who[:1]), "delivered")
		}
		w.brief("crone")
		w.remote.Sent()
		w.send("a@b.example/x", `<message type='error' id='1' to='`+coven+`/first'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
		w.wantBrief("crone", "a! none/none jid 333")
		if sent := w.remote.Sent(); len(sent) != 4 || !strings.Contains(sent[0], "<reason>an error came back: gone</reason>") || !strings.Contains(sent[0], "<status code='110'/>") {
			t.Errorf("the peer was sent %s", sent)
		}
		w.send("c@b.example/x", `<message type='error' id='1' to='`+coven+`/first'><error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
		w.wantBrief("crone", "")
		pass(silence)
		w.m.tend(time.Now())
		pings := w.remote.Sent()
		if len(pings) != 3 || !strings.Contains(pings[0], "<ping xmlns='urn:xmpp:ping'/>") {
			t.Fatalf("the peer was sent %s", pings)
		}
		w.send("c@b.example/x", `<iq type='result' id='`+pingID+`' to='`+coven+`'/>`)
		w.send("d@b.example/x", `<iq type='error' id='`+pingID+`' to='`+coven+`'><error type='cancel'><feature-not-implemented xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`)
		pass(answerWithin + time.Second)
		w.m.tend(time.Now())
		w.wantBrief("crone", "e! none/none jid 333")
		w.remote.Denied = map[string]bool{"b.example": true}
		w.say("crone", "anybody there?")
		if got := w.brief("crone"); got != "first: anybody there?, c! none/none jid 333, d! none/none jid 333" {
			t.Errorf("crone got %s", got)
		}
	})
}

func TestAFullQueueThrowsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.instant()
		w.wantRefused(w.join("a@b.example/x", "a"), "delivered")
		w.brief("crone")
		w.remote.Full = map[string]bool{"b.example": true}
		w.say("crone", "anybody there?")
		w.wantBrief("crone", "first: anybody there?")
		w.remote.Full = nil
		w.remote.Sent()
		w.say("crone", "still there?")
		if sent := w.remote.Sent(); len(sent) != 1 || !strings.Contains(sent[0], "still there?") {
			t.Errorf("the peer was sent %s", sent)
		}
	})
}

func TestAForgedSenderGetsNobodyIntoARoom(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.brief("crone")
	for _, xml := range []string{
		`<presence from='crone@example.org/pda' to='` + coven + `/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>`,
		`<presence from='ticket@trac.example/x' to='` + coven + `/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>`,
		`<iq type='set' id='1' from='crone@example.org/pda' to='` + coven + `'><query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query></iq>`,
	} {
		e := &router.Envelope{Stanza: moduletest.Parse(t, xml), Account: jid.MustParse("king@example.org"), Quiet: true}
		if w.Route(e); e.Err == nil || e.Err.Condition != xmpp.CondForbidden {
			t.Errorf("%s fared as %v", xml, e.Outcome)
		}
	}
	e := &router.Envelope{Stanza: moduletest.Parse(t, `<message type='groupchat' from='crone@example.org' to='`+coven+`'><body>by HTTP</body></message>`),
		Account: jid.MustParse("crone@example.org"), Quiet: true}
	w.Route(e)
	w.wantBrief("crone", "first: by HTTP")
}

func TestTheServiceListsItsPublicRoomsInPages(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"d", "a", "c", "b", "hidden"} {
		to := name + "@rooms.example.org"
		w.send("crone", `<presence to='`+to+`/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
		w.send("crone", `<iq type='set' id='c' to='`+to+`'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>`+
			`<field var='muc#roomconfig_persistentroom'><value>1</value></field><field var='muc#roomconfig_roomname'><value>Room `+name+`</value></field>`+
			`<field var='muc#roomconfig_publicroom'><value>`+map[bool]string{true: "0", false: "1"}[name == "hidden"]+`</value></field></x></query></iq>`)
	}
	w.restart()
	list := func(set string) string {
		w.client("hag").Received()
		w.send("hag", `<iq type='get' id='l' to='rooms.example.org'><query xmlns='http://jabber.org/protocol/disco#items'>`+set+`</query></iq>`)
		got := w.client("hag").Deliveries()
		q := got[0].Stanza.Child(itemsQuery)
		if q == nil {
			return short(got[0].Stanza)
		}
		out := ""
		for _, c := range q.Children() {
			switch c.Name.Local {
			case "item":
				out += c.Attr("jid")[:1]
			case "set":
				out += fmt.Sprintf(" %s of %s", c.ChildLocal("first").Attr("index"), c.ChildLocal("count").Text())
			}
		}
		return out
	}
	set := func(inner string) string { return `<set xmlns='http://jabber.org/protocol/rsm'>` + inner + `</set>` }
	for request, want := range map[string]string{
		"":                  "abcd",
		set("<max>2</max>"): "ab 0 of 4",
		set("<max>2</max><after>b@rooms.example.org</after>"):   "cd 2 of 4",
		set("<max>1</max><before/>"):                            "d 3 of 4",
		set("<max>2</max><before>d@rooms.example.org</before>"): "bc 1 of 4",
		set("<max>2</max><index>1</index>"):                     "bc 1 of 4",
	} {
		if got := list(request); got != want {
			t.Errorf("%s: %q, want %q", request, got, want)
		}
	}
	w.send("hag", `<iq type='get' id='i' to='rooms.example.org'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
	if got := w.got("hag"); !strings.Contains(got[0], "<identity category='conference' type='text' name='Rooms'/>") || !strings.Contains(got[0], "var='http://jabber.org/protocol/muc'") {
		t.Errorf("the service is %s", got)
	}
	w.send("hag", `<iq type='get' id='i' to='hidden@rooms.example.org'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
	if got := w.got("hag"); !strings.Contains(got[0], "name='Room hidden'") || !strings.Contains(got[0], "muc_hidden") || !strings.Contains(got[0], "muc#roominfo_occupants") {
		t.Errorf("the hidden room is %s", got)
	}
	w.wantRefused(w.send("hag", `<iq type='get' id='i' to='hidden@rooms.example.org'><query xmlns='http://jabber.org/protocol/disco#info' node='http://jabber.org/protocol/muc#traffic'/></iq>`), "cancel:service-unavailable")
	w.wantRefused(w.send("hag", `<iq type='get' id='i' to='nowhere@rooms.example.org'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`), "cancel:item-not-found")
}

// pass lets the time of a bubble go by.
func pass(d time.Duration) { <-time.After(d) }

func TestTheEndOfTheServiceIsTold(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("a@b.example/x", "a")
	w.join("hag", "third")
	w.brief("hag")
	w.brief("crone")
	w.remote.Sent()
	w.m.Close()
	w.wantBrief("hag", "third! none/none jid 110 332")
	w.wantBrief("crone", "first! owner/none jid 110 332")
	if sent := w.remote.Sent(); len(sent) != 1 || !strings.Contains(sent[0], "<status code='332'/>") {
		t.Errorf("the peer was sent %s", sent)
	}
}
