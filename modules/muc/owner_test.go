package muc

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestAnOwnerConfiguresTheRoomByAForm(t *testing.T) {
	w := newWorld(t)
	w.join("crone", "first")
	w.brief("crone")
	w.send("crone", `<iq type='get' id='f' to='`+coven+`'><query xmlns='http://jabber.org/protocol/muc#owner'/></iq>`)
	got := w.client("crone").Deliveries()
	if len(got) != 1 || got[0].Stanza.Type != xmpp.TypeResult {
		t.Fatalf("crone got %v", got)
	}
	form := string(got[0].Stanza.Payload)
	for _, field := range []string{"roomname", "roomdesc", "lang", "persistentroom", "publicroom", "membersonly", "moderatedroom", "passwordprotectedroom",
		"roomsecret", "whois", "changesubject", "allowinvites", "allowpm", "maxusers", "presencebroadcast", "getmemberlist", "enablelogging", "roomadmins", "roomowners"} {
		if !strings.Contains(form, "var='muc#roomconfig_"+field+"'") {
			t.Errorf("there is no field %s in %s", field, form)
		}
	}
	w.wantRefused(w.configure("crone", "roomname=A Dark Cave", "persistentroom=1", "publicroom=0", "moderatedroom=1", "maxusers=50", "muc#maxhistoryfetch=7"), "delivered")
	w.restart()
	c := room.Settings{}
	w.join("crone", "first")
	if c = w.room().Conf; c.Name != "A Dark Cave" || !c.Persistent || c.Public || !c.Moderated || c.MaxOccupants != 50 ||
		c.History != 7 {
		t.Errorf("after a restart the settings are %+v", c)
	}
	for _, field := range []string{"persistentroom=maybe", "whois=me", "allowpm=me", "maxusers=-1", "muc#maxhistoryfetch=x", "presencebroadcast=king",
		"roomowners=@", "passwordprotectedroom=1", "roomname=" + strings.Repeat("x", maxText+1)} {
		w.wantRefused(w.configure("crone", field), "modify:not-acceptable")
	}
	for form, want := range map[string]string{
		``:                                       "modify:bad-request",
		`<x xmlns='jabber:x:data'/>`:             "modify:bad-request",
		`<x xmlns='jabber:x:data' type='form'/>`: "modify:bad-request",
		`<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>x</value></field></x>`: "modify:bad-request",
		`<x xmlns='jabber:x:data' type='cancel'/>`:                                                   "delivered",
	} {
		w.wantRefused(w.send("crone", `<iq type='set' id='c' to='`+coven+`'><query xmlns='http://jabber.org/protocol/muc#owner'>`+form+`</query></iq>`), want)
	}
}

func TestWhoCancelsTheFirstConfigurationDestroysTheRoom(t *testing.T) {
	w := newWorld(t)
	w.join("crone", "first")
	w.brief("crone")
	w.send("crone", `<iq type='set' id='c' to='`+coven+`'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='cancel'/></query></iq>`)
	w.wantBrief("crone", "first! none/none destroy 110, result")
	if w.room() != nil {
		t.Error("the room is there")
	}
}

func TestChangesOfPrivacyAreTold(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	for _, step := range []struct{ field, codes string }{
		{"enablelogging=0", "171"}, {"enablelogging=1", "170"}, {"whois=anyone", "172"}, {"whois=moderators", "173"},
		{"roomname=x", "104"}, {"enablearchiving=0", "171"},
	} {
		w.brief("hag")
		w.configure("crone", step.field)
		w.wantBrief("hag", " message "+step.codes)
	}
	w.configure("crone", "roomname=x")
	w.wantBrief("hag", "")
}

func TestRolesWhosePresenceIsNotShown(t *testing.T) {
	w := newWorld(t)
	w.instant("moderatedroom=1", "presencebroadcast=moderator,participant")
	w.join("hag", "third")
	w.wantBrief("crone", "")
	w.wantBrief("hag", "first owner/moderator, third none/visitor jid 110 170,  subject:")
	w.admin("crone", `<item nick='third' role='participant'/>`)
	w.wantBrief("crone", "result, third none/participant jid")
	w.admin("crone", `<item nick='third' role='visitor'/>`)
	w.wantBrief("crone", "result, third! none/none jid")
	w.configure("crone", "presencebroadcast=moderator,participant,visitor")
	w.wantBrief("crone", "third none/visitor jid,  message 104, result")
}

func TestARoomIsDestroyedWithAReasonAndANewPlace(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1")
	w.say("crone", "secret")
	w.join("hag", "third")
	w.brief("hag")
	w.got("crone")
	w.send("crone", `<iq type='set' id='begone' to='`+coven+`'><query xmlns='http://jabber.org/protocol/muc#owner'><destroy jid='heath@rooms.example.org'>`+
		`<password>p</password><reason>Macbeth doth come</reason></destroy></query></iq>`)
	w.client("hag").Want(`<presence type='unavailable' from='` + coven + `/third' to='hag@example.org/pda'><occupant-id xmlns='urn:xmpp:occupant-id:0' id='` + idIn(w, "hag", t) + `'/>` +
		`<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='none'/><destroy jid='heath@rooms.example.org'><password>p</password>` +
		`<reason>Macbeth doth come</reason></destroy><status code='110'/></x></presence>`)
	w.wantBrief("crone", "first! none/none destroy 110, result")
	w.restart()
	w.join("hag", "third")
	w.wantBrief("hag", "third owner/moderator mav jid 110 170 201,  subject:")
}

// idIn is the occupant id that hag had in the room that has gone; it is read from what she got.
func idIn(w *world, who string, t *testing.T) string {
	t.Helper()
	c := w.client(who)
	got := c.Deliveries()
	if len(got) != 1 {
		t.Fatalf("%s got %v", who, got)
	}
	el := got[0].Stanza.Child(room.OccupantName)
	c.Out.Send(router.Delivery{Stanza: got[0].Stanza}) // it is looked at once more
	return el.Attr("id")
}

func TestKicksAndBansAreTold(t *testing.T) {
	w := newWorld(t)
	w.instant()
	for _, who := range []string{"hag", "witch"} {
		w.join(who, who)
	}
	w.brief("hag")
	w.brief("witch")
	w.brief("crone")
	w.admin("crone", `<item nick='hag' role='none'><reason>Avaunt</reason></item>`)
	raw := w.got("hag")
	moduletest.Same(t, raw[0], `<presence type='unavailable' from='`+coven+`/hag' to='hag@example.org/pda'><x xmlns='http://jabber.org/protocol/muc#user'>`+
		`<item affiliation='none' role='none' jid='hag@example.org/pda'><actor nick='first'/><reason>Avaunt</reason></item><status code='110'/><status code='307'/></x></presence>`)
	w.wantBrief("witch", "hag! none/none 307")
	w.wantBrief("crone", "result, hag! none/none jid 307")
	w.join("hag", "hag")
	w.brief("hag")
	w.brief("witch")
	w.admin("crone", `<item jid='hag@example.org' affiliation='outcast'><reason>Treason</reason></item>`)
	w.wantBrief("hag", "hag! outcast/none jid 110 301")
	w.wantBrief("witch", "hag! outcast/none 301")
	w.brief("crone")
	w.send("crone", `<iq type='get' id='l' to='`+coven+`'><query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='outcast'/></query></iq>`)
	w.client("crone").Want(`<iq type='result' id='l' from='` + coven + `' to='crone@example.org/pda'><query xmlns='http://jabber.org/protocol/muc#admin'>` +
		`<item affiliation='outcast' jid='hag@example.org'><reason>Treason</reason></item></query></iq>`)
	w.admin("crone", `<item jid='hag@example.org' affiliation='none'/>`)
	w.wantRefused(w.join("hag", "hag"), "delivered")
	w.admin("crone", `<item jid='example.org' affiliation='outcast'/>`)
	if got := w.brief("witch"); !strings.HasSuffix(got, "witch! none/none jid 110 301") {
		t.Errorf("a ban of the domain leaves witch with %s", got)
	}
	if w.room().Occupant("first") == nil {
		t.Error("an owner is banned with the domain")
	}
}

func TestMembershipComesAndGoes(t *testing.T) {
	w := newWorld(t)
	w.instant("membersonly=1", "passwordprotectedroom=1", "roomsecret=cauldronburn")
	w.client("hag").Available(0)
	w.admin("crone", `<item jid='hag@example.org' affiliation='member' nick='third'/>`)
	got := w.client("hag").Deliveries()
	if len(got) != 1 || !strings.Contains(string(got[0].Stanza.Payload), "<invite from='crone@example.org'/><password>cauldronburn</password>") {
		t.Fatalf("hag got %v", got)
	}
	w.wantBrief("crone", " message member/none mav jid, result")
	w.send("hag", `<presence to='`+coven+`/x'><x xmlns='http://jabber.org/protocol/muc'><password>cauldronburn</password></x></presence>`)
	w.brief("hag")
	w.brief("crone")
	w.admin("crone", `<item jid='hag@example.org' affiliation='none'/>`)
	w.wantBrief("hag", "x! none/none jid 110 321")
	w.wantBrief("crone", "x! none/none mav jid 321, result")
	w.configure("crone", "membersonly=0", "passwordprotectedroom=0")
	w.admin("crone", `<item jid='hag@example.org' affiliation='admin'/>`)
	w.brief("hag")
	w.admin("crone", `<item jid='hag@example.org' affiliation='member'/>`)
	w.wantBrief("hag", " message member/none jid 101")
}

func TestListsOfOwnersAndAdminsInAFormAreComplete(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "hag")
	w.brief("hag")
	w.configure("crone", "roomadmins=hag@example.org,witch@example.org", "roomowners=crone@example.org,king@example.org")
	w.wantBrief("hag", "hag admin/moderator mav jid 110, first owner/moderator jid,  message owner/none mav jid,  message admin/none mav jid")
	r := w.room()
	if got := fmt.Sprint(r.Named(room.Owner), r.Named(room.Admin)); got != "[crone@example.org king@example.org] [hag@example.org witch@example.org]" {
		t.Errorf("owners and admins are %s", got)
	}
	w.configure("crone", "roomadmins=witch@example.org", "roomowners=crone@example.org")
	w.wantBrief("hag", "hag none/participant jid 110")
	if got := fmt.Sprint(r.Named(room.Owner), r.Named(room.Admin)); got != "[crone@example.org] [witch@example.org]" {
		t.Errorf("owners and admins are %s", got)
	}
	w.configure("crone", "roomowners=crone@example.org,king@example.org")
	w.configure("crone", "roomowners=crone@example.org")
	if got := fmt.Sprint(r.Named(room.Owner), r.Named(room.Admin)); got != "[crone@example.org] [king@example.org witch@example.org]" {
		t.Errorf("owners and admins are %s", got)
	}
}

func TestADeletedAccountLeavesNothingToWhoComesAfterIt(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1")
	w.admin("crone", `<item jid='hag@example.org' affiliation='admin'/><item jid='witch@example.org' affiliation='member' nick='second'/>`)
	w.send("crone", `<presence type='unavailable' to='`+coven+`/first'/>`)
	w.restart()
	if err := w.Remove(jid.MustParse("crone@example.org")); err != nil {
		t.Fatal(err)
	}
	if err := w.Remove(jid.MustParse("witch@example.org")); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.join("hag", "x")
	if r := w.room(); len(r.People) != 1 || r.People["hag@example.org"].Affiliation != room.Owner || len(r.Nicks) != 0 {
		t.Errorf("people are %v, nicks %v", r.People, r.Nicks)
	}
}

func TestAnswersToChangesWaitForStorage(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1")
	w.store.Hold()
	w.admin("crone", `<item jid='hag@example.org' affiliation='member'/>`)
	w.configure("crone", "roomname=x")
	w.send("crone", `<iq type='set' id='v' to='`+coven+`'><vCard xmlns='vcard-temp'><FN>x</FN></vCard></iq>`)
	if got := w.brief("crone"); strings.Contains(got, "result") {
		t.Errorf("answered before: %s", got)
	}
	w.store.Release(nil)
	w.wantBrief("crone", "result, result, result")
	e := w.client("crone").SendDurable(`<message type='groupchat' to='` + coven + `'><body>x</body></message>`)
	if len(e.Pendings) != 0 {
		t.Error("what is stored at once is waited for")
	}
	w.store.Hold()
	if e = w.client("crone").SendDurable(`<message type='groupchat' to='` + coven + `'><body>x</body></message>`); len(e.Pendings) != 1 {
		t.Errorf("%d writes are waited for", len(e.Pendings))
	}
	w.store.Release(nil)
}

func TestStorageThatIsAwayMakesTheSenderWait(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1")
	w.store.Fail(fmt.Errorf("away"))
	w.wantRefused(w.say("crone", "x"), "wait:resource-constraint")
	w.wantRefused(w.admin("crone", `<item jid='hag@example.org' affiliation='member'/>`), "wait:resource-constraint")
	w.wantRefused(w.configure("crone", "roomname=x"), "wait:resource-constraint")
	w.wantRefused(w.send("hag", `<presence to='heath@rooms.example.org/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>`), "wait:resource-constraint")
	if r := w.room(); len(r.People) != 1 || r.Conf.Name != "" {
		t.Errorf("what could not be stored has taken effect: %v %+v", r.People, r.Conf)
	}
	w.store.Fail(nil)
	w.wantRefused(w.say("crone", "x"), "delivered")
}

func TestOwnersGiveHats(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1")
	w.join("hag", "third")
	command := func(who, node string, fields ...string) *router.Envelope {
		form := ""
		for i := 0; i < len(fields); i += 2 {
			form += `<field var='hats#` + fields[i] + `'><value>` + fields[i+1] + `</value></field>`
		}
		if form != "" {
			form = `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:hats:commands</value></field>` + form + `</x>`
		}
		return w.send(who, `<iq type='set' id='h' to='`+coven+`'><command xmlns='http://jabber.org/protocol/commands' action='execute' node='urn:xmpp:hats:commands:`+node+`'>`+form+`</command></iq>`)
	}
	w.wantRefused(command("hag", "create", "title", "Host", "uri", "urn:host"), "auth:forbidden")
	w.wantRefused(command("crone", "create", "title", "Host"), "modify:bad-request")
	w.wantRefused(command("crone", "create", "title", "Host", "uri", "urn:host", "hue", "x"), "modify:not-acceptable")
	w.wantRefused(command("crone", "assign", "jid", "hag@example.org", "uri", "urn:host"), "cancel:item-not-found")
	w.wantRefused(command("crone", "nothing"), "cancel:item-not-found")
	w.brief("crone")
	command("crone", "create")
	if got := w.got("crone"); !strings.Contains(got[0], "status='executing'") || !strings.Contains(got[0], "hats#title") {
		t.Errorf("crone got %s", got)
	}
	w.wantRefused(command("crone", "create", "title", "Host", "uri", "urn:host", "hue", "10.5"), "delivered")
	w.brief("hag")
	w.wantRefused(command("crone", "assign", "jid", "hag@example.org", "uri", "urn:host"), "delivered")
	const hats = `<hats xmlns='urn:xmpp:hats:0'><hat title='Host' uri='urn:host' hue='10.5'/></hats>`
	if got := w.got("hag"); len(got) != 1 || !strings.Contains(got[0], hats) {
		t.Errorf("hag got %s", got)
	}
	w.restart()
	w.join("crone", "first")
	w.brief("crone")
	w.send("hag", `<presence to='`+coven+`/third'><x xmlns='http://jabber.org/protocol/muc'/><hats xmlns='urn:xmpp:hats:0'><hat title='Queen' uri='urn:queen'/></hats></presence>`)
	if got := w.got("crone"); len(got) != 1 || !strings.Contains(got[0], hats) || strings.Contains(got[0], "Queen") {
		t.Errorf("crone got %s", got)
	}
	command("crone", "list-assigned")
	if got := w.got("crone"); !strings.Contains(got[0], "<field var='hats#jid'><value>hag@example.org</value></field>") {
		t.Errorf("crone got %s", got)
	}
	w.wantRefused(command("crone", "destroy", "uri", "urn:host"), "delivered")
	if got := w.got("crone"); strings.Contains(strings.Join(got, ""), "<hat ") || !strings.Contains(got[0], "<presence") {
		t.Errorf("crone got %s", got)
	}
	if len(w.room().People) != 1 {
		t.Errorf("people are %v", w.room().People)
	}
	w.send("crone", `<iq type='get' id='i' to='`+coven+`'><query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/></iq>`)
	if got := w.got("crone"); strings.Count(got[len(got)-1], "<item ") != 6 { // the commands of XEP-0317 §4
		t.Errorf("crone got %s", got)
	}
}

func TestUsersAreAdmittedByTheServer(t *testing.T) {
	w := newWorld(t)
	hag, nowhere := jid.MustParse("hag@example.org"), jid.MustParse("nowhere@"+domain)
	admit := func(user, room jid.JID) {
		t.Helper()
		if err := w.m.Admit(user, room); err != nil {
			t.Errorf("%s into %s: %v", user, room, err)
		}
	}
	admit(hag, nowhere)
	admit(hag, jid.MustParse("room@elsewhere.example"))
	if w.m.inMemory(nowhere) != nil {
		t.Error("a room was made")
	}
	w.instant()
	rank := func(user jid.JID) room.Affiliation { return w.room().AffiliationOf(user) }
	admit(hag, jid.MustParse(coven))
	if got := rank(hag); got != room.Unaffiliated {
		t.Errorf("in a room that is open hag is %s", got)
	}
	w.configure("crone", "membersonly=1", "persistentroom=1")
	w.admin("crone", `<item jid='witch@example.org' affiliation='outcast'/>`)
	w.brief("crone")
	admit(hag, jid.MustParse(coven))
	for user, want := range map[string]room.Affiliation{"witch": room.Outcast, "crone": room.Owner, "hag": room.Member} {
		j := jid.MustParse(user + "@example.org")
		admit(j, jid.MustParse(coven))
		if got := rank(j); got != want {
			t.Errorf("%s is %s", user, got)
		}
	}
	w.restart()
	w.join("hag", "hag")
	w.wantBrief("hag", "hag member/participant jid 110 170,  subject:")
}
