package muc

import (
	"context"
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

// results asks the archive of the coven and returns what comes: each message as "id nick: body", "id nick: retracted",
// then how it ended.
func (w *world) results(who, form string) (got []string) {
	w.t.Helper()
	c := w.client(who)
	c.Received()
	e := w.send(who, `<iq type='set' id='q' to='`+coven+`'><query xmlns='urn:xmpp:mam:2' queryid='f'>`+form+`</query></iq>`)
	if e.Err != nil {
		return []string{string(e.Err.Condition)}
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		c.Wait(1)
		for _, d := range c.Deliveries() {
			c.Take()
			s := d.Stanza
			if s.Kind == xmpp.IQ {
				if err := s.Err(); err != nil {
					return append(got, string(err.Condition))
				}
				return append(got, string(s.Type.String()))
			}
			result := s.Child(xmpp.Name{Space: xmpp.NSMAM, Local: "result"})
			forwarded := result.Child(xmpp.Name{Space: xmpp.NSForward, Local: "forwarded"})
			m := forwarded.Child(xmpp.Name{Space: xmpp.NSClient, Local: "message"})
			text := "?"
			switch {
			case m.Child(xmpp.Name{Space: "urn:xmpp:message-retract:1", Local: "retracted"}) != nil:
				text = "retracted"
			case m.Child(room.RetractName) != nil:
				text = "retraction"
			case m.ChildLocal("subject") != nil:
				text = "subject"
			case m.ChildLocal("body") != nil:
				text = m.ChildLocal("body").Text()
			}
			if x := m.Child(room.UserName); x != nil {
				text += " by " + x.ChildLocal("item").Attr("jid")
			}
			from := jid.MustParse(m.Attr("from"))
			got = append(got, strings.TrimPrefix(from.Resource()+": "+text, " "))
		}
	}
	w.t.Fatal("no answer")
	return nil
}

func (w *world) wantResults(who, form, want string) {
	w.t.Helper()
	if got := strings.Join(w.results(who, form), ", "); got != want {
		w.t.Errorf("%s got %q, want %q", who, got, want)
	}
}

func TestARoomHasAnArchive(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1")
	w.join("hag", "third")
	w.say("crone", "one")
	w.say("hag", "two")
	w.send("hag", `<message type='groupchat' to='`+coven+`'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>`)
	w.send("hag", `<message type='groupchat' to='`+coven+`'><body>off the record</body><no-store xmlns='urn:xmpp:hints'/></message>`)
	w.send("crone", `<message type='groupchat' to='`+coven+`'><subject>Fire</subject></message>`)
	w.restart()
	w.wantResults("hag", "", "first: one, third: two, first: subject, result")
	with := func(who string) string {
		return `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field var='with'><value>` + who + `</value></field></x>`
	}
	w.wantResults("witch", with(coven+"/third"), "third: two, result")
	w.wantResults("witch", with("hag@example.org"), "result")
	w.wantResults("crone", with("hag@example.org"), "third: two by hag@example.org, result")
	w.wantResults("hag", `<set xmlns='http://jabber.org/protocol/rsm'><max>1</max><before/></set>`, "first: subject, result")
	w.wantResults("hag", with("@"), "jid-malformed")
	w.wantRefused(w.send("hag", `<iq type='set' id='q' to='`+coven+`'><query xmlns='urn:xmpp:mam:2' node='urn:x'/></iq>`), "cancel:feature-not-implemented")
	w.brief("hag")
	w.send("hag", `<iq type='get' id='m' to='`+coven+`'><metadata xmlns='urn:xmpp:mam:2'/></iq>`)
	if got := w.client("hag").Received(); len(got) != 1 || !strings.Contains(got[0], "<start ") {
		t.Errorf("metadata: %s", got)
	}
}

func TestAnArchiveIsForThoseWhoMayEnter(t *testing.T) {
	w := newWorld(t)
	w.instant("membersonly=1")
	w.say("crone", "one")
	w.wantResults("hag", "", "forbidden")
	w.admin("crone", `<item jid='hag@example.org' affiliation='member'/>`)
	w.wantResults("hag", "", "first: one, result")
	w.configure("crone", "membersonly=0", "passwordprotectedroom=1", "roomsecret=x")
	w.wantResults("witch", "", "forbidden")
	w.configure("crone", "passwordprotectedroom=0")
	w.wantResults("witch", "", "first: one, result")
	w.admin("crone", `<item jid='witch@example.org' affiliation='outcast'/>`)
	w.wantResults("witch", "", "forbidden")
	w.configure("crone", "enablelogging=0")
	w.wantResults("hag", "", "service-unavailable")
	w.configure("crone", "enablelogging=1", "whois=anyone")
	w.say("crone", "two")
	w.wantResults("hag", "", "first: one, first: two by crone@example.org/pda, result")
	w.configure("crone", "whois=moderators")
	w.wantResults("hag", "", "first: one, first: two, result")
}

func TestANewRoomHasNothingOfAnOldOne(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.say("crone", "one")
	w.restart() // as after a crash: nobody has left
	w.join("hag", "x")
	w.configure("hag")
	w.wantResults("hag", "", "result")
}

// ids are the ids in the archive of what somebody got since the last call.
func (w *world) ids(who string) (ids []string) {
	w.t.Helper()
	for _, d := range w.client(who).Deliveries() {
		if el := d.Stanza.Child(stanzaID); el != nil {
			ids = append(ids, el.Attr("id"))
		}
	}
	return ids
}

func TestMessagesAreTakenBack(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1")
	w.join("hag", "third")
	w.join("witch", "second")
	w.ids("crone")
	for _, text := range []string{"one", "two", "three"} {
		w.say("hag", text)
	}
	ids := w.ids("crone")
	if len(ids) != 3 {
		t.Fatalf("ids %v", ids)
	}
	retract := func(who, id string) *router.Envelope {
		return w.send(who, `<message type='groupchat' id='r' to='`+coven+`'><retract xmlns='urn:xmpp:message-retract:1' id='`+id+`'/><body>fallback</body></message>`)
	}
	moderate := func(who, id string) *router.Envelope {
		return w.send(who, `<iq type='set' id='mod' to='`+coven+`'><moderate xmlns='urn:xmpp:message-moderate:1' id='`+id+`'><retract xmlns='urn:xmpp:message-retract:1'/><reason>Spam</reason></moderate></iq>`)
	}
	retract("hag", ids[0])
	retract("witch", ids[1]) // not hers
	w.wantRefused(moderate("witch", ids[1]), "auth:forbidden")
	w.wantRefused(moderate("king", ids[1]), "modify:not-acceptable")
	w.wantRefused(moderate("crone", "1"), "cancel:item-not-found")
	w.wantRefused(moderate("crone", "x"), "cancel:item-not-found")
	w.client("witch").Received()
	w.client("crone").Received()
	moderate("crone", ids[2])
	got := w.got("witch")
	if len(got) != 1 || !strings.Contains(got[0], `<retract xmlns='urn:xmpp:message-retract:1' id='`+ids[2]+`'><moderated xmlns='urn:xmpp:message-moderate:1' by='`+coven+`/first'>`) ||
		!strings.Contains(got[0], `<reason>Spam</reason></retract>`) || !strings.Contains(got[0], "from='"+coven+"' ") {
		t.Errorf("witch got %s", got)
	}
	if got := w.brief("crone"); !strings.HasSuffix(got, "result") {
		t.Errorf("crone got %s", got)
	}
	w.wantResults("hag", "", "third: retracted, third: two, third: retracted, third: retraction, second: retraction, : retraction, result")
	if got := strings.Join(w.enter("hecate", "x", ""), ","); got != "two,fallback,fallback" {
		t.Errorf("who enters is shown %s", got)
	}
	// Only the room moderates.
	w.client("crone").Received()
	w.send("hag", `<message type='groupchat' id='f' to='`+coven+`'><retract xmlns='urn:xmpp:message-retract:1' id='`+ids[1]+`'><moderated xmlns='urn:xmpp:message-moderate:1' by='x'/></retract><body>b</body></message>`)
	if got := w.client("crone").Received(); len(got) != 1 || strings.Contains(got[0], "moderated") {
		t.Errorf("crone got %s", got)
	}
}

func TestARepeatedMessageIsSaidOnce(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	w.brief("crone")
	said := `<message type='groupchat' id='m' to='` + coven + `'><body>x</body><origin-id xmlns='urn:xmpp:sid:0' id='o'/></message>`
	w.send("hag", said)
	first := w.client("hag").Received()
	w.brief("crone")
	w.send("hag", said)
	w.wantBrief("crone", "")
	if again := w.client("hag").Received(); len(again) != 1 || again[0] != first[len(first)-1] {
		t.Errorf("hag got %s, then %s", first[len(first)-1], again)
	}
}

func TestARoomHasAPicture(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1")
	w.join("hag", "third")
	w.brief("hag")
	const card = `<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>aGVs
	bG8=</BINVAL></PHOTO></vCard>`
	const hash = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d" // of hello
	w.send("crone", `<iq type='set' id='v' to='`+coven+`'>`+card+`</iq>`)
	got := w.client("hag").Received()
	if len(got) != 2 || !strings.Contains(got[0], "<photo>"+hash+"</photo>") || !strings.Contains(got[1], "<status code='104'/>") {
		t.Fatalf("hag got %s", got)
	}
	w.restart()
	w.send("hag", `<iq type='get' id='v' to='`+coven+`'><vCard xmlns='vcard-temp'/></iq>`)
	moduletest.Same(t, w.got("hag")[0], `<iq type='result' id='v' from='`+coven+`' to='hag@example.org/pda'>`+card+`</iq>`)
	w.send("hag", `<iq type='get' id='i' to='`+coven+`'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
	if got := w.got("hag"); !strings.Contains(got[0], "<field var='muc#roominfo_avatarhash' type='text-multi'><value>"+hash+"</value></field>") {
		t.Errorf("the room says %s", got)
	}
	w.send("crone", `<iq type='set' id='v' to='`+coven+`'><vCard xmlns='vcard-temp'/></iq>`)
	w.send("hag", `<iq type='get' id='i' to='`+coven+`'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
	if got := w.got("hag"); strings.Contains(got[0], "avatarhash") {
		t.Errorf("the room says %s", got)
	}
	w.wantRefused(w.send("crone", `<iq type='set' id='v' to='`+coven+`'><vCard xmlns='vcard-temp'><NOTE>`+strings.Repeat("x", maxCard)+`</NOTE></vCard></iq>`), "modify:policy-violation")
}

func TestOldMessagesAndUnusedRoomsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.limits.Keep = time.Hour
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.m.Run(ctx); close(done) }()
		w.instant("persistentroom=1")
		w.say("crone", "one")
		pass(90 * time.Minute)
		w.say("crone", "two")
		pass(time.Hour)
		w.wantResults("crone", "", "first: two by crone@example.org, result")
		if w.room() == nil {
			t.Error("a room that somebody is in is let go of")
		}
		w.send("crone", `<presence type='unavailable' to='`+coven+`/first'/>`)
		pass(idle + 2*every)
		if w.room() != nil {
			t.Error("a room that nobody is in stays in memory")
		}
		if len(w.m.guests.by) != 0 {
			t.Errorf("guests stay: %v", w.m.guests.by)
		}
		w.join("hag", "x")
		if got := w.brief("hag"); !strings.Contains(got, "first: two") {
			t.Errorf("hag got %s", got)
		}
		cancel()
		<-done
	})
}
