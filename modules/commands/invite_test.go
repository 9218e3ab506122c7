package commands

import (
	"testing"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestUsersInviteFriendsAndAdministratorsPeople(t *testing.T) {
	var wishes []Wish
	on := true
	r := moduletest.New("romeo", "juliet")
	c := New(r, Invite(Inviting{On: func() bool { return on }, Admin: func(who jid.JID) bool { return who.Local() == "juliet" },
		Make: func(w Wish) (Link, *xmpp.Error) {
			wishes = append(wishes, w)
			if w.Name == "taken" {
				return Link{}, xmpp.Conflict("")
			}
			return Link{URI: "xmpp:x", Page: "https://x", Expires: time.Date(2017, 11, 6, 2, 56, 15, 0, time.UTC)}, nil
		}})...)
	r.Use(c.Module(), router.Module{Name: "disco"})
	h := &house{t: t, Router: r, c: c, romeo: moduletest.Login(t, r, "romeo/orchard"), juliet: moduletest.Login(t, r, "juliet/balcony")}
	const link = `<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:invite#invitation</value></field>
		<field var='uri' type='text-single' label='Link for a client'><value>xmpp:x</value></field>
		<field var='landing-url' type='text-single' label='Link for a browser'><value>https://x</value></field>
		<field var='expire' type='text-single' label='Good until'><value>2017-11-06T02:56:15Z</value></field></x>`
	h.want(h.run(h.romeo, `node='urn:xmpp:invite#invite'`, ""), `<command xmlns='http://jabber.org/protocol/commands' xml:lang='en' sessionid='S'
		node='urn:xmpp:invite#invite' status='completed'>`+link+`</command>`)
	h.refused(h.run(h.romeo, `node='urn:xmpp:invite#create-account'`, ""), "cancel forbidden")
	id := h.want(h.run(h.juliet, `node='urn:xmpp:invite#create-account'`, ""), `<command xmlns='http://jabber.org/protocol/commands'
		xml:lang='en' sessionid='S' node='urn:xmpp:invite#create-account' status='executing'><actions execute='complete'><complete/></actions>
		<x xmlns='jabber:x:data' type='form'><title>Invite somebody to an account</title>
		<field var='username' type='text-single' label='User name (empty: whoever is invited chooses)'/>
		<field var='roster-subscription' type='boolean' label='You become contacts'/></x></command>`)
	at := `node='urn:xmpp:invite#create-account' sessionid='` + id + `'`
	form := func(name string) string {
		return `<x xmlns='jabber:x:data' type='submit'><field var='username'><value>` + name + `</value></field>` +
			`<field var='roster-subscription'><value>1</value></field></x>`
	}
	h.refused(h.run(h.juliet, at, form("taken")), "cancel conflict")
	h.want(h.run(h.juliet, at, form("hamlet")), `<command xmlns='http://jabber.org/protocol/commands' xml:lang='en' sessionid='S'
		node='urn:xmpp:invite#create-account' status='completed'>`+link+`</command>`)
	if len(wishes) != 3 || wishes[0] != (Wish{By: jid.MustParse("romeo@example.org"), Host: "example.org", Contact: true}) ||
		wishes[2] != (Wish{By: jid.MustParse("juliet@example.org"), Host: "example.org", Create: true, Name: "hamlet", Contact: true}) {
		t.Errorf("%+v", wishes)
	}
	on = false
	h.refused(h.run(h.romeo, `node='urn:xmpp:invite#invite'`, ""), "cancel forbidden")
}
