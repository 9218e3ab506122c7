package muc

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// register submits the form for a nick.
func (w *world) register(who, nick string) *router.Envelope {
	w.t.Helper()
	return w.send(who, `<iq type='set' id='r' to='`+coven+`'><query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'>`+
		`<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#register</value></field><field var='muc#register_roomnick'><value>`+nick+`</value></field></x></query></iq>`)
}

// decision is what an admin says of a registration.
func decision(kind string, fields ...string) string {
	form := `<message to='` + coven + `'><x xmlns='jabber:x:data' type='` + kind + `'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#register</value></field>`
	for i := 0; i < len(fields); i += 2 {
		form += `<field var='` + fields[i] + `'><value>` + fields[i+1] + `</value></field>`
	}
	return form + `</x></message>`
}

// persons are those whom the coven knows, as "name affiliation nick asks".
func (w *world) persons() string {
	var out []string
	for _, a := range []room.Affiliation{room.Owner, room.Admin, room.Member, room.Unaffiliated, room.Outcast} {
		for _, name := range w.room().Named(a) {
			p := w.room().People[name]
			user, asks := strings.TrimSuffix(name, "@example.org"), strings.TrimSuffix("?"+p.Asks, "?")
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s%s", user, a, p.Nick, asks)))
		}
	}
	return strings.Join(out, ", ")
}

func TestRegistrationsWaitForAnAdmin(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1", "jackdaw#registration_approval=1")
	w.client("king").Available(0)
	w.admin("crone", `<item jid='king@example.org' affiliation='admin'/>`)
	w.join("hag", "third")
	for _, who := range []string{"crone", "king", "hag"} {
		w.brief(who)
	}
	w.register("hag", "thirdwitch")
	w.wantBrief("hag", "result")
	form := `<x xmlns='jabber:x:data' type='form'><title>Registration request</title><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#register</value></field>` +
		`<field var='jackdaw#register_jid' type='jid-single' label='Address'><value>hag@example.org</value></field>` +
		`<field var='muc#register_roomnick' type='text-single' label='Nick'><value>thirdwitch</value></field>` +
		`<field var='muc#register_allow' type='boolean' label='May this user register with the room?'><value>0</value></field></x>`
	for to, who := range map[string]string{"crone@example.org/pda": "crone", "king@example.org": "king"} {
		if got := w.got(who); len(got) != 1 {
			t.Errorf("%s got %s", who, got)
		} else {
			moduletest.Same(t, got[0], `<message from='`+coven+`' to='`+to+`'>`+form+`</message>`)
		}
	}
	w.register("hag", "thirdwitch")
	w.wantBrief("hag", "result")
	w.wantBrief("crone", "")
	w.wantRefused(w.register("witch", "thirdwitch"), "cancel:conflict")
	w.send("hag", `<iq type='get' id='r' to='`+coven+`'><query xmlns='jabber:iq:register'/></iq>`)
	if got := w.got("hag"); !strings.Contains(got[0], "<value>thirdwitch</value>") || !strings.Contains(got[0], "has yet to approve") {
		t.Errorf("hag got %s", got)
	}
	w.restart()
	w.join("crone", "first")
	w.join("hag", "third")
	w.brief("hag")
	if got := w.persons(); got != "crone owner, king admin, hag none ?thirdwitch" {
		t.Errorf("after a restart there are %s", got)
	}
	for _, step := range []struct{ who, xml, want string }{
		{"hag", decision("submit", allowField, "1", nickField, "thirdwitch"), "auth:forbidden"},
		{"king", decision("submit", nickField, "thirdwitch"), "modify:bad-request"},
		{"king", decision("submit", allowField, "maybe", nickField, "thirdwitch"), "modify:bad-request"},
		{"king", decision("submit", allowField, "1", nickField, "other"), "cancel:item-not-found"},
		{"king", decision("submit", allowField, "1", askerField, "witch@example.org", nickField, "thirdwitch"), "cancel:item-not-found"},
		{"king", decision("cancel"), "dropped"},
	} {
		w.wantRefused(w.send(step.who, step.xml), step.want)
	}
	w.brief("hag")
	w.wantRefused(w.send("king", decision("submit", allowField, "1", nickField, "thirdwitch")), "delivered")
	w.wantBrief("hag", "third member/participant jid 110")
	w.wantRefused(w.send("king", decision("submit", allowField, "1", nickField, "thirdwitch")), "cancel:item-not-found")
	if got := w.persons(); got != "crone owner, king admin, hag member thirdwitch" {
		t.Errorf("there are %s", got)
	}
	w.register("hag", "oldhag") // of a member nobody has to approve
	w.wantBrief("hag", "third member/participant jid 110, result")
}

func TestARegistrationIsRefusedOrTakenBackWithoutAWordToOthers(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1", "jackdaw#registration_approval=1")
	w.join("hag", "third")
	w.client("witch").Available(0)
	w.brief("crone")
	w.register("hag", "thirdwitch")
	w.brief("hag")
	w.brief("crone")
	w.wantRefused(w.send("crone", decision("submit", allowField, "0", askerField, "hag@example.org")), "delivered")
	w.wantBrief("hag", "")
	w.wantBrief("crone", "")
	w.register("witch", "second")
	w.brief("witch")
	w.send("witch", `<iq type='set' id='r' to='`+coven+`'><query xmlns='jabber:iq:register'><remove/></query></iq>`)
	w.wantBrief("witch", "result")
	w.wantRefused(w.send("witch", `<iq type='set' id='r' to='`+coven+`'><query xmlns='jabber:iq:register'><remove/></query></iq>`), "auth:registration-required")
	if got := w.persons(); got != "crone owner" {
		t.Errorf("there are %s", got)
	}
	// A user who is not in the room is told, having asked.
	w.register("witch", "second")
	w.brief("witch")
	w.send("crone", decision("submit", allowField, "true", askerField, "witch@example.org"))
	w.wantBrief("witch", " message member/none jid 101")
	// What has become impossible meanwhile.
	w.register("hag", "fourth")
	w.join("king", "fourth")
	w.wantRefused(w.send("crone", decision("submit", allowField, "1", nickField, "fourth")), "cancel:conflict")
	w.admin("crone", `<item jid='example.org' affiliation='outcast'/>`)
	w.wantRefused(w.send("crone", decision("submit", allowField, "1", askerField, "hag@example.org")), "cancel:not-allowed")
	w.admin("crone", `<item jid='hag@example.org' affiliation='outcast'/>`)
	w.wantRefused(w.send("crone", decision("submit", allowField, "1", askerField, "hag@example.org")), "cancel:item-not-found")
	w.wantRefused(w.register("hag", "fourth"), "cancel:not-allowed")
}

func TestRegistrationIsNoWayRoundWhatKeepsSomebodyOut(t *testing.T) {
	for _, c := range []struct {
		fields  string
		enters  bool
		becomes string
	}{
		{"publicroom=1", false, "member"},
		{"publicroom=1", true, "member"},
		{"membersonly=1", false, "none"},
		{"passwordprotectedroom=1 roomsecret=x", false, "none"},
		{"passwordprotectedroom=1 roomsecret=x", true, "member"},
		{"moderatedroom=1", false, "none"},
		{"moderatedroom=1", true, "none"},
		{"jackdaw#registration_approval=1", true, "none"},
	} {
		w := newWorld(t)
		w.instant(strings.Fields(c.fields)...)
		if c.enters {
			w.wantRefused(w.send("hag", `<presence to='`+coven+`/third'><x xmlns='http://jabber.org/protocol/muc'><password>x</password></x></presence>`), "delivered")
		}
		w.wantRefused(w.register("hag", "third"), "delivered")
		if got := w.room().People["hag@example.org"].Affiliation.String(); got != c.becomes {
			t.Errorf("%s, in the room %v: registration makes hag %s, want %s", c.fields, c.enters, got, c.becomes)
		}
	}
}

func TestWhoIsAdmittedToAMembersOnlyRoomIsInvited(t *testing.T) {
	w := newWorld(t)
	w.instant("membersonly=1")
	w.client("hag").Available(0)
	w.register("hag", "third")
	w.brief("hag")
	w.send("crone", decision("submit", allowField, "1", nickField, "third"))
	w.wantBrief("hag", " message invite")
	w.wantRefused(w.join("hag", "third"), "delivered")
}

func TestRegistrationsThatWaitAreBounded(t *testing.T) {
	w := newWorld(t)
	w.instant("jackdaw#registration_approval=1")
	for i := range maxAsking / 4 {
		w.wantRefused(w.register(fmt.Sprintf("user%d@b.example/x", i), fmt.Sprint("nick", i)), "delivered")
	}
	w.wantRefused(w.register("more@sub.b.example/x", "more"), "wait:resource-constraint")
	w.wantRefused(w.register("user1@b.example/x", "other"), "delivered")
	w.wantRefused(w.send("crone", decision("submit", allowField, "0", nickField, "nick0")), "delivered")
	w.wantRefused(w.register("more@sub.b.example/x", "more"), "delivered")
	w.wantRefused(w.register("hag", "third"), "delivered") // those of one domain leave room for others
	taken := maxAsking/4 + 1
	for i := range maxAsking {
		if e := w.register(fmt.Sprintf("user@b%d.example/x", i), fmt.Sprint("one", i)); e.Outcome != router.Refused {
			taken++
		}
	}
	if taken < maxAsking/2 || taken > maxAsking-3 {
		t.Errorf("%d wait", taken)
	}
}

func TestAPostInAnAdminsNameApprovesOfNothing(t *testing.T) {
	w := newWorld(t)
	w.instant("jackdaw#registration_approval=1")
	w.register("hag", "third")
	s := moduletest.Parse(t, decision("submit", allowField, "1", nickField, "third"))
	s.From = jid.MustParse("crone@example.org/pda")
	e := &router.Envelope{Stanza: s, Account: jid.MustParse("king@example.org"), Quiet: true}
	w.Route(e)
	w.wantRefused(e, "auth:forbidden")
}

func TestWhoRegistersBearsThatNickWhereNoOtherMayBeBorne(t *testing.T) {
	w := newWorld(t)
	w.instant("jackdaw#registered_nicks=1")
	w.join("hag", "third")
	w.join("hag/phone", "third")
	w.join("witch", "second")
	for _, who := range []string{"crone", "hag", "hag/phone", "witch"} {
		w.brief(who)
	}
	w.register("hag", "oldhag")
	w.wantBrief("witch", "third member/participant, third! member/participant>oldhag 303, oldhag member/participant 210")
	w.wantBrief("hag/phone", "third member/participant jid 110, third! member/participant>oldhag jid 110 303, oldhag member/participant jid 110 210")
	w.say("hag/phone", "hi")
	w.wantBrief("witch", "oldhag: hi")
	// A client that has lost what it knew enters by another nick, and is told which one it has.
	w.brief("hag")
	w.join("hag", "third")
	w.wantBrief("hag", "first owner/moderator, second none/participant, oldhag member/participant jid 110 170 210, oldhag: hi,  subject:")
	// So are those who bear another one when the owners begin to ask for it.
	w.configure("crone", "jackdaw#registered_nicks=0")
	w.send("hag", `<presence to='`+coven+`/third'/>`)
	w.brief("witch")
	w.configure("crone", "jackdaw#registered_nicks=1")
	w.wantBrief("witch", "third! member/participant>oldhag 303, oldhag member/participant 210,  message 104")
	if r := w.room(); len(r.Occupant("oldhag").Seats) != 2 || len(r.Occupants()) != 3 {
		t.Errorf("oldhag has %d clients, %d are in the room", len(r.Occupant("oldhag").Seats), len(r.Occupants()))
	}
}

func TestWhoLeavesARoomUnconfiguredIsToldThatItHasEnded(t *testing.T) {
	w := newWorld(t)
	w.join("crone", "first")
	w.brief("crone")
	w.send("crone", `<presence type='unavailable' to='`+coven+`/first'/>`)
	w.wantBrief("crone", "first! owner/none jid destroy 110")
	if w.room() != nil {
		t.Error("the room is there")
	}
}

func TestHistoryThatAnOwnerBringsKeepsItsOwnTime(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1")
	w.join("hag", "third")
	const brought = `<message type='groupchat' to='` + coven + `'><body>x</body><delay xmlns='urn:xmpp:delay' stamp='2004-09-29T01:54:37Z'/></message>`
	w.send("crone", brought)
	w.send("hag", brought)
	delays := func(who string) (out []string) {
		w.client(who).Received()
		w.join(who, who)
		for _, d := range w.client(who).Deliveries() {
			if !d.Stanza.Has(room.BodyName) {
				continue
			}
			n := 0
			for _, c := range xmpp.Index(d.Stanza.Payload) {
				if c.Name == (xmpp.Name{Space: xmpp.NSDelay, Local: "delay"}) {
					n++
				}
			}
			out = append(out, fmt.Sprint(d.Stanza.From.Resource(), " ", n))
		}
		return out
	}
	for _, who := range []string{"witch", "king"} {
		if got := fmt.Sprint(delays(who)); got != "[first 1 third 2]" {
			t.Errorf("%s got %s", who, got)
		}
		w.restart()
	}
}

func TestAPingToARoomThatIsNotThereSaysThatOneIsNotInIt(t *testing.T) {
	w := newWorld(t)
	const to = "nowhere@rooms.example.org"
	w.wantRefused(w.send("hag", `<iq type='get' id='1' to='`+to+`/x'><ping xmlns='urn:xmpp:ping'/></iq>`), "cancel:not-acceptable")
	w.wantRefused(w.send("hag", `<iq type='get' id='1' to='`+to+`'><ping xmlns='urn:xmpp:ping'/></iq>`), "cancel:item-not-found")
	w.wantRefused(w.send("hag", `<iq type='get' id='1' to='`+to+`/x'><query xmlns='jabber:iq:version'/></iq>`), "cancel:item-not-found")
}

func TestWhoIsInvitedKeepsTheHats(t *testing.T) {
	w := newWorld(t)
	w.instant("membersonly=1")
	w.room().People["hag@example.org"] = room.Person{Hats: []string{"urn:host"}}
	w.client("hag").Available(0)
	w.wantRefused(w.send("crone", `<message to='`+coven+`'><x xmlns='http://jabber.org/protocol/muc#user'>`+
		`<invite to='hag@example.org'/></x></message>`), "delivered")
	if got := w.room().People["hag@example.org"]; got.Affiliation != room.Member || len(got.Hats) != 1 {
		t.Errorf("hag is %+v", got)
	}
}

func TestARegistrationThatCannotBeStoredIsRefused(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1", "jackdaw#registration_approval=1")
	w.store.Fail(storage.ErrUnavailable)
	w.wantRefused(w.register("hag", "third"), "wait:resource-constraint")
	w.store.Fail(nil)
	if got := w.persons(); got != "crone owner" {
		t.Errorf("there are %s", got)
	}
}
